"""The ``ontology`` command: tables, sheets and lists of types."""

import argparse
from pathlib import Path

import pytest

from finener.data_scripts.corpus import CorpusError, load_ontology
from finener.data_scripts.ontology import add_arguments, read_ontology, run
from finener.ontology_finener import Ontology

RUFES = Path(__file__).resolve().parents[1] / "data" / "tac" / "rufes_types.tsv"


def write(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def command(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([str(argument) for argument in arguments]))


def types(ontology):
    return [(t.id, t.label, t.parents, t.assignable) for t in ontology.types]


def test_our_own_table(tmp_path, capsys):
    table = write(tmp_path / "types.tsv", "id\tlabel\tparents\tassignable\norg\tgroup\t\tno\norg.team\tteam\torg\t\n")
    assert command("--input", table, "--output_file", tmp_path / "mine.json") == 0
    ontology = load_ontology(str(tmp_path / "mine.json"))
    assert ontology.name == "mine"
    assert types(ontology) == [("org", "group", (), False), ("org.team", "team", ("org",), True)]
    assert capsys.readouterr().out == (
        "level  types  assignable\n─────  ─────  ──────────\n1          1           0\n2          1           1\n\n"
        f"Written to {tmp_path}/mine.json: mine, 2 types\n"
    )


def test_a_list_whose_ids_spell_their_path(tmp_path):
    path = write(tmp_path / "ids.txt", "GPE.UrbanArea.City\r\nPER\r\nPER.HeadOfNASAUnit\r\nGPE\r\n")
    assert types(read_ontology(path, "mine")) == [
        ("GPE", "GPE", (), True),  # comes later in the list
        ("GPE.UrbanArea", "urban area", ("GPE",), False),  # not in the list: made to fill the gap
        ("GPE.UrbanArea.City", "city", ("GPE.UrbanArea",), True),
        ("PER", "PER", (), True),
        ("PER.HeadOfNASAUnit", "head of NASA unit", ("PER",), True),
    ]


@pytest.mark.parametrize(
    ("ids", "separator", "expected"),
    [
        ("/person/artist\n/person\n", "/", [("/person", "person", ()), ("/person/artist", "artist", ("/person",))]),
        ("person-actor\n", "-", [("person", "person", ()), ("person-actor", "actor", ("person",))]),
        ("a.b\nwork_of_art\n", "", [("a.b", "a.b", ()), ("work_of_art", "work of art", ())]),
        ("a::b\n", "::", [("a", "a", ()), ("a::b", "b", ("a",))]),
    ],
)
def test_separators(tmp_path, ids, separator, expected):
    ontology = read_ontology(write(tmp_path / "ids.txt", ids), "mine", separator)
    assert [(t.id, t.label, t.parents) for t in ontology.types] == expected


def test_a_sheet_with_a_column_a_level(tmp_path, capsys):
    out = tmp_path / "rufes.json"
    columns = ("--column", "Type", "Subtype", "Subsubtype")
    assert command("--input", RUFES, "--output_file", out, "--name", "rufes", *columns) == 0
    ontology = Ontology.from_json(out)
    assert ontology.name == "rufes"
    assert [(t.id, t.assignable) for t in ontology.types] == [
        ("PER", True),
        ("PER.Politician", True),
        ("GPE", True),
        ("GPE.UrbanArea", False),
        ("GPE.UrbanArea.City", True),
        ("ORG", True),
        ("ORG.Company", True),
        ("FAC", True),
        ("FAC.Attraction", True),
    ]
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:5]]
    assert rows == [["1", "4", "4"], ["2", "4", "3"], ["3", "1", "1"]]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_csv_sheet(tmp_path, delimiter):
    text = f'no{delimiter}type id{delimiter}notes\r\n1{delimiter}PER.Mayor{delimiter}"one, or;\r\ntwo ""x"""\r\n{delimiter}{delimiter}\r\n'
    path = write(tmp_path / "my sheet.csv", b"\xef\xbb\xbf" + text.encode())
    assert read_ontology(path, "mine", columns=["type id"]).ids == ("PER", "PER.Mayor")


def test_a_sheet_of_tabs_keeps_quotes(tmp_path):
    path = write(tmp_path / "a.tsv", 'type\tnotes\nPER\t"open\nGPE\tx\n')
    assert read_ontology(path, "mine", columns=["type"]).ids == ("PER", "GPE")


def test_json_and_tsv_hold_the_same(tmp_path):
    path = write(tmp_path / "ids.txt", "PER.Mayor\n")
    for out in ("mine.json", "mine.tsv"):
        command("--input", path, "--output_file", tmp_path / out)
    assert Ontology.from_tsv(tmp_path / "mine.tsv").types == Ontology.from_json(tmp_path / "mine.json").types


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.txt", "PER\nGPE\nPER\n", {}, "a.txt:3: the id 'PER' was in {path}:1 already"),
        ("a.txt", "PER\n\nGPE\n", {}, "a.txt:2: expected the id of a type, found a blank"),
        ("a.txt", "PER..Mayor\n", {}, "a.txt:1: expected the id of a type, found a blank, or a blank part, in 'PER..Mayor'"),
        ("a.txt", "PER.\n", {}, "a.txt:1: expected the id of a type"),
        ("a.txt", "", {}, "a.txt: expected types, found none"),
        ("a.txt", "PER\tperson\n", {}, "a.txt:1: expected one id a line, found several cells"),
        ("a.txt", b"caf\xe9\n", {}, "a.txt:1: expected UTF-8, found the byte 0xe9"),
        ("a.tsv", "Type\tNote\nPER\tx\n", {"columns": ["type"]}, "a.tsv:1: expected the column type, found Type, Note"),
        ("a.tsv", "Type\tNote\n\tx\n", {"columns": ["Type"]}, "a.tsv:2: expected the id of a type, found a blank"),
        ("a.tsv", "A\tB\tC\nPER\t\tX\n", {"columns": ["A", "B", "C"]}, "a.tsv:2: expected a type, then a subtype and so on"),
        ("a.csv", 'Type\nPER\n"GPE\n', {"columns": ["Type"]}, "not a valid CSV file"),
        ("a.xlsx", "PK", {}, "a.xlsx: expected text; export the sheet as .csv or .tsv"),
    ],
)  # fmt: skip
def test_bad_files_say_what_was_expected(tmp_path, name, content, options, message):
    path = write(tmp_path / name, content)
    with pytest.raises(CorpusError) as error:
        read_ontology(path, "mine", **options)
    assert message.format(path=path) in str(error.value)


def test_bad_arguments(tmp_path):
    path = write(tmp_path / "a.tsv", "id\nPER\n")
    with pytest.raises(CorpusError, match=r"there is no such file"):
        command("--input", tmp_path / "b.txt", "--output_file", tmp_path / "o.json")
    with pytest.raises(CorpusError, match=r"expected a name that ends in \.json or \.tsv"):
        command("--input", path, "--output_file", tmp_path / "o.yaml")
    with pytest.raises(CorpusError, match=r"is the input; give another name"):
        command("--input", path, "--output_file", path)
    assert path.read_text() == "id\nPER\n"

"""The builders' common ground and the ``build`` command, shown on column files and our own records."""

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from datasets import load_dataset
from datasets.exceptions import DatasetGenerationError

from finener.data_scripts import build
from finener.data_scripts.__main__ import main
from finener.data_scripts.corpora.conll import Conll
from finener.data_scripts.corpora.records import Records
from finener.data_scripts.corpus import (
    CorpusError,
    check_surface,
    find_files,
    load_ontology,
    outermost,
    read_lines,
    read_table,
    read_xml,
)
from finener.data_scripts.record_files import read_records
from finener.data_scripts.schema import FEATURES, validate_record
from finener.ontology_finener import Ontology

ONTOLOGY = "id\tparents\nper\t\nloc\t\n"
COLUMNS = "Ann B-per\nLee I-per\nleft O\nBree B-loc\n\nthe O\nShire B-loc\n"


@pytest.fixture
def types_file(tmp_path):
    path = tmp_path / "toy.tsv"
    path.write_text(ONTOLOGY, encoding="utf-8")
    return str(path)


def write(path, text=COLUMNS):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def surfaces(record):
    return [record["text"][m["start"] : m["end"]] for m in record["mentions"]]


# ---------------------------------------------------------------- builders


def test_a_builder_is_a_datasets_builder(tmp_path, types_file):
    files = {"train": write(tmp_path / "a.txt"), "test": [write(tmp_path / "b.txt")]}
    builder = Conll(data_files=files, ontology=types_file, source="tale", cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare()
    train = builder.as_dataset("train")
    assert train.features == FEATURES
    assert [surfaces(r) for r in train] == [["Ann Lee", "Bree"], ["Shire"]]
    assert [m["types"] for m in train[0]["mentions"]] == [["per"], ["loc"]]
    assert {(r["source"], r["typed"], r["ontology"]) for r in train} == {("tale", True, "toy")}
    assert [r["id"] for r in builder.as_dataset("test")] == ["b#0", "b#1"]
    assert [surfaces(r) for r in builder.as_streaming_dataset("train")] == [["Ann Lee", "Bree"], ["Shire"]]
    report = builder.reports["train"]
    assert (report.files, report.documents, report.records, report.mentions) == (1, 1, 2, 3)
    assert report.types == {"loc": 2, "per": 1}


def test_a_changed_file_and_a_changed_option_are_seen(tmp_path, types_file):
    path = tmp_path / "a.txt"
    for text, ontology in ((COLUMNS, types_file), (COLUMNS, ""), (COLUMNS + "\nYes O\n", "")):
        builder = Conll(data_files=write(path, text), ontology=ontology, cache_dir=str(tmp_path / "cache"))
        builder.download_and_prepare()
        assert builder.as_dataset("train")[0]["typed"] == bool(ontology)
        assert len(builder.as_dataset("train")) == 2 + ("Yes" in text)


def test_a_bad_line_is_named_by_file_and_line(tmp_path):
    path = write(tmp_path / "a.txt", "Ann B-per\nLee I-loc\n")
    with pytest.raises(DatasetGenerationError) as error:
        Conll(data_files=path, cache_dir=str(tmp_path / "cache")).download_and_prepare()
    assert f"{path}:2: the tag 'I-loc'" in str(error.value.__cause__)


def test_types_outside_the_ontology_are_refused(tmp_path, types_file):
    path = write(tmp_path / "a.txt", "Ann B-person\n")
    with pytest.raises(CorpusError, match=r"train: record 'a#0': mention 0: unknown type: .*'person'"):
        build.build("conll", {"train": [path]}, tmp_path / "out", {"ontology": types_file})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "toy.tsv"]


def test_doubled_ids_are_refused(tmp_path):
    twins = [write(tmp_path / "x" / "a.txt"), write(tmp_path / "y" / "a.txt")]
    with pytest.raises(CorpusError, match="train: the id 'a#0' comes up twice"):
        build.build("conll", {"train": twins}, tmp_path / "out")


def test_records_builder(tmp_path):
    path = write(tmp_path / "r.jsonl", '{"id": "a", "text": "Ann 😀", "mentions": [{"start": 0, "end": 3}]}\n')
    builder = Records(data_files={"dev": path}, cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare()
    record = builder.as_dataset("dev")[0]
    assert record == validate_record(record)
    assert surfaces(record) == ["Ann"]
    write(tmp_path / "r.jsonl", '{"id": "a", "text": "Ann", "mentions": [{"start": 0, "end": 9}]}\n')
    with pytest.raises(DatasetGenerationError) as error:
        Records(data_files={"dev": path}, cache_dir=str(tmp_path / "cache")).download_and_prepare()
    assert f"{path}:1: record 'a': mention 0: [0, 9) is out of range" in str(error.value.__cause__)


# ---------------------------------------------------------------- files


def test_files_folders_and_splits(tmp_path):
    folder = tmp_path / "my files"
    for name in ("b.txt", "deep/a.txt", "notes.md"):
        write(folder / name)
    assert find_files(str(folder), ("*.txt",), "Conll") == {
        "train": [str(folder / "b.txt"), str(folder / "deep" / "a.txt")]
    }
    assert find_files({"dev": [folder / "notes.md"]}, ("*.txt",), "Conll") == {"dev": [str(folder / "notes.md")]}
    with pytest.raises(CorpusError, match=r"no files to read; expected e\.g\. Conll"):
        find_files(None, ("*.txt",), "Conll")
    with pytest.raises(CorpusError, match=r"my files: the folder holds no file called \*\.xml"):
        find_files(folder, ("*.xml",), "Conll")
    with pytest.raises(CorpusError, match="there is no such file or folder"):
        find_files("nowhere.txt", ("*.txt",), "Conll")


def test_arguments_name_splits(tmp_path, monkeypatch):
    assert build.split_arguments(["a", "dev=b", "c", "train=d"]) == {"train": ["a", "d"], "dev": ["b", "c"]}
    monkeypatch.chdir(tmp_path)
    write(Path("x=y.txt"))
    assert build.split_arguments(["x=y.txt"]) == {"train": ["x=y.txt"]}


def test_ontologies_by_name_and_file(types_file):
    assert load_ontology("") is None
    assert load_ontology("aida").name == "aida"
    assert "per" in load_ontology(types_file)
    with pytest.raises(CorpusError, match="no ontology 'adia'; expected one of aida, "):
        load_ontology("adia")


def test_gzipped_lines_are_read_as_they_are(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("Ann\r\nCafé".encode()))
    assert list(read_lines(tmp_path / "a.txt.gz")) == [(1, "Ann"), (2, "Café")]


def test_tables_are_read_by_column_name(tmp_path):
    path = write(tmp_path / "t.tab", "b\ta\r\n1\t2\r\n\r\n")
    assert list(read_table(path, ["a", "b"])) == [(f"{path}:2", {"b": "1", "a": "2"})]
    with pytest.raises(CorpusError, match=r"t\.tab:1: expected the columns a, c; missing c"):
        list(read_table(path, ["a", "c"]))
    write(tmp_path / "t.tab", "a\tb\n1\n")
    with pytest.raises(CorpusError, match=r"t\.tab:2: expected 2 cells between TABs, found 1"):
        list(read_table(path, ["a"]))


def test_xml_bombs_and_broken_xml_are_refused(tmp_path):
    path = write(tmp_path / "x.xml", '<!DOCTYPE a [<!ENTITY b "bb">]>\n<a>&b;</a>')
    with pytest.raises(CorpusError, match=r"x\.xml: refused, because it declares entities"):
        read_xml(path)
    write(tmp_path / "x.xml", "<a>\n<b>")
    with pytest.raises(CorpusError, match=r"x\.xml:2: broken or truncated XML"):
        read_xml(path)


# ---------------------------------------------------------------- spans


def test_outermost_spans_stay():
    dropped = Counter()
    spans = [(5, 9, ["b"]), (0, 4, ["x"]), (0, 9, ["a"]), (0, 9, ["c"]), (7, 12, ["d"]), (12, 14, [])]
    assert outermost(spans, dropped) == [(0, 9, ["a", "c"]), (12, 14, [])]
    assert dropped == {
        "mention: same span as another, types joined": 1,
        "mention: inside a longer one": 2,
        "mention: crosses another": 1,
    }


@pytest.mark.parametrize(
    ("start", "end", "hint"),
    [
        (0, 2, "expected 'Ann' at [0, 2), found 'An'; the end is one too small: are the file's ends inclusive?"),
        (0, 4, "expected 'Ann' at [0, 4), found 'Ann '; the end is one too large: are the file's ends exclusive?"),
        (1, 4, "expected 'Ann' at [1, 4), found 'nn '"),
        (3, 99, "[3, 99) lies outside the text of 8 characters; expected 'Ann' there"),
    ],
)
def test_surfaces_are_checked(start, end, hint):
    check_surface("Ann left", 0, 3, "Ann", "a.tab:1")
    with pytest.raises(CorpusError, match=re.escape(f"a.tab:1: {hint}")):
        check_surface("Ann left", start, end, "Ann", "a.tab:1")


# ---------------------------------------------------------------- the command


def test_build_writes_a_dataset_folder(tmp_path, types_file, capsys):
    train, test = write(tmp_path / "my data" / "a.txt"), write(tmp_path / "my data" / "b.txt", "# x\nAnn B-per\n")
    out = tmp_path / "deep er" / "out"
    options = ["--ontology", types_file, "--comment", "# x"]
    assert main(["build", "conll", "--data_files", train, f"test={test}", "--output_dir", str(out), *options]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"train +1 +1 +2 +3 +2\n", printed)
    assert "test: left out 1 × line: comment" in printed
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == [
        "README.md",
        "data/test-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
        "ontology.json",
        "report.json",
    ]
    assert [surfaces(r) for r in read_records(out / "data" / "train-00000-of-00001.parquet")] == [
        ["Ann Lee", "Bree"],
        ["Shire"],
    ]
    assert Ontology.from_json(out / "ontology.json").name == "toy"
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["splits"]["test"]["dropped"] == {"line: comment": 1}
    assert report["splits"]["train"]["types"] == {"loc": 2, "per": 1}
    loaded = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))  # by the card's front matter
    assert {split: len(part) for split, part in loaded.items()} == {"train": 2, "test": 1}
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "build conll --data_files train=a.txt test=b.txt --ontology toy.tsv" in card
    assert str(tmp_path) not in card + json.dumps(report)  # no path of the builder's machine


def test_types_that_no_ontology_names_are_not_lost_in_silence(tmp_path, capsys):
    path, options = write(tmp_path / "a.txt"), ["--output_dir", str(tmp_path / "out")]
    assert main(["build", "conll", "--data_files", path, *options]) == 0
    assert "None of these 3 mentions has types, for no ontology says what they are" in capsys.readouterr().out


def test_a_failed_build_leaves_nothing(tmp_path, capsys):
    path = write(tmp_path / "a.txt", COLUMNS + "\nBo I-per\n")
    assert main(["build", "conll", "--data_files", path, "--output_dir", str(tmp_path / "out")]) == 1
    assert f"error: {path}:9: the tag 'I-per' of 'Bo' breaks the scheme IOB2" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_holds_something_is_left_alone(tmp_path, capsys):
    path = write(tmp_path / "out" / "a.txt")
    assert main(["build", "conll", "--data_files", path, "--output_dir", str(tmp_path / "out")]) == 1
    assert "out is not an empty folder" in capsys.readouterr().err


def test_every_corpus_has_a_page_and_a_builder(capsys):
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    for name in build.BUILDERS:
        facts, text = build.read_page(name)
        assert set(facts) == {"pretty_name", "license", "language", "homepage"}
        assert facts["pretty_name"] in listed
        for section in ("Layout", "How to get it", "Licence", "Citation", "What is read"):
            assert f"\n## {section}\n" in text, (name, section)
        assert f"build {name} " in text
        assert build.find_builder(name).__doc__
    assert re.search(r"^yago +8,295", listed, re.MULTILINE)


def test_a_list_of_ids_becomes_an_ontology_and_is_used_by_its_file(tmp_path, capsys):
    write(tmp_path / "ids.txt", "\ufeffper\nloc.city\n")
    made = tmp_path / "mine.json"
    assert main(["ontology", "--input", str(tmp_path / "ids.txt"), "--output_file", str(made)]) == 0
    assert "mine, 3 types" in capsys.readouterr().out
    ontology = load_ontology(str(made))
    assert (ontology.ids, ontology.assignable) == (("per", "loc", "loc.city"), (True, False, True))


def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_header(tmp_path):
    assert load_ontology(write(tmp_path / "mine.tsv", "\ufeffid\nper\n")).ids == ("per",)

"""OntoNotes 5.0 in both layouts, on files written for this project (``tests/data/ontonotes``)."""

from collections import Counter
from pathlib import Path

import pytest
from datasets.exceptions import DatasetGenerationError

from finener.data_scripts.corpora.ontonotes5 import GENRES, VALUES, OntoNotes5, read_ontonotes, unescape_token
from finener.data_scripts.corpus import CorpusError, ReadReport
from finener.ontology_finener import Ontology
from finener.paths import ONTOLOGIES

DATA = Path(__file__).resolve().parents[2] / "data" / "ontonotes"
COLUMNS = DATA / "nw" / "nyx" / "00" / "nyx_0001.gold_conll"
NAMES = DATA / "wb" / "nyx" / "00" / "nyx_0004.name"


def names(record):
    """Each mention as (start, text, type)."""
    return [(m["start"], record["text"][m["start"] : m["end"]], *m["types"]) for m in record["mentions"]]


def read(tmp_path, *files, **options):
    builder = OntoNotes5(data_files=[str(file) for file in files], cache_dir=str(tmp_path / "cache"), **options)
    try:
        builder.download_and_prepare()
    except DatasetGenerationError as error:
        raise error.__cause__ from None
    return list(builder.as_dataset("train")), builder.reports["train"]


def test_columns():
    report, notes = ReadReport(), Counter()
    records = list(read_ontonotes(COLUMNS, ontology="ontonotes", report=report, notes=notes))
    assert [(r["id"], r["doc_id"], r["text"], names(r)) for r in records] == [
        (
            "nw/nyx/00/nyx_0001/000#0",
            "nw/nyx/00/nyx_0001/000",
            "Ada Quist ( 54 ) left Oslo .",
            [(0, "Ada Quist", "PERSON"), (12, "54", "DATE"), (22, "Oslo", "GPE")],
        ),
        (
            "nw/nyx/00/nyx_0001/000#1",
            "nw/nyx/00/nyx_0001/000",
            '" Bells over 東京 / 😀 " sold well .',
            [(2, "Bells over 東京 / 😀", "WORK_OF_ART")],
        ),
    ]
    assert all(r["exhaustive"] and r["typed"] and r["source"] == "ontonotes5" for r in records)
    assert report.dropped == {"mention: inside a longer one": 1}  # 東京
    assert notes["tokens had escapes undone, such as -LRB- for ("] == 6  # -LRB- -RRB- /. `` \/ ''


def test_name_files():
    notes = Counter()
    records = list(read_ontonotes(NAMES, ontology="ontonotes", notes=notes))
    assert [(r["id"], r["text"], names(r)) for r in records] == [
        (
            "wb/nyx/00/nyx_0004#0",
            "The pro-Rhenish camp of Pitt & Lowe ( UK ) grew 🙂 .",
            [(8, "Rhenish", "NORP"), (24, "Pitt & Lowe ( UK )", "ORG")],  # a tag inside a token; an entity, escapes
        ),
        (
            "wb/nyx/00/nyx_0004#1",
            "An Oslo-led team and an anti-Roman one met two times .",
            [(3, "Oslo", "GPE"), (29, "Roman", "NORP"), (43, "two", "CARDINAL")],  # E_OFF="4", S_OFF="5"
        ),
        ("wb/nyx/00/nyx_0004#2", "No name here < 3 .", []),
    ]
    assert notes == {
        "tokens had escapes undone, such as -LRB- for (": 3,
        "tags were taken off that mark no name, such as <TURN>": 1,
        "names begin or end inside a token": 3,
    }


def test_the_builder_reads_both_layouts_of_a_folder(tmp_path):
    records, report = read(tmp_path, DATA)
    assert Counter(r["doc_id"] for r in records) == {
        "bc/nyx/00/nyx_0002/000": 1,
        "bc/nyx/00/nyx_0002/001": 1,
        "nw/nyx/00/nyx_0001/000": 2,
        "wb/nyx/00/nyx_0004": 3,
    }
    assert {r["ontology"] for r in records} == {"ontonotes"}
    # The part of nyx_0002 without a name stays, since its document has one elsewhere; nyx_0003 has none at all.
    assert report.dropped == {
        "document: no name in it, so perhaps never annotated": 1,
        "mention: inside a longer one": 1,
    }
    assert report.notes == [
        "9 tokens had escapes undone, such as -LRB- for (",
        "1 tags were taken off that mark no name, such as <TURN>",
        "3 names begin or end inside a token",
    ]


def test_newswire_and_web_names_without_types(tmp_path):
    records, report = read(tmp_path, DATA, subset="newswire_web", names_only=True, ontology="")
    assert [r["doc_id"][:2] for r in records] == ["nw", "nw", "wb", "wb", "wb"]
    assert [text for r in records for _, text in names(r)] == [
        "Ada Quist",
        "Oslo",
        "Bells over 東京 / 😀",
        "Rhenish",
        "Pitt & Lowe ( UK )",
        "Oslo",
        "Roman",
    ]
    assert not any(r["typed"] for r in records)
    assert report.dropped == {
        "document: broadcast conversation": 1,
        "document: pivot text": 1,
        "mention: DATE": 1,
        "mention: CARDINAL": 1,
        "mention: inside a longer one": 1,
    }


def test_genres_can_be_named(tmp_path):
    records, _ = read(tmp_path, DATA, subset="bc, wb")
    assert {r["doc_id"][:2] for r in records} == {"bc", "wb"}
    with pytest.raises(CorpusError, match=r"subset: expected all, newswire_web, or genres of bc, .*, found 'news'"):
        read(tmp_path / "b", DATA, subset="news")


def test_the_genre_may_be_a_folder(tmp_path):
    path = tmp_path / "my data" / "mz" / "a.name"
    path.parent.mkdir(parents=True)
    path.write_bytes(b'\xef\xbb\xbf<DOC DOCNO="a_0001">\r\n<ENAMEX TYPE="GPE">Oslo</ENAMEX> waits .\r\n</DOC>\r\n')
    records = list(read_ontonotes(path, genres={"mz"}, ontology="ontonotes"))
    assert [(r["doc_id"], r["text"], names(r)) for r in records] == [("a_0001", "Oslo waits .", [(0, "Oslo", "GPE")])]
    bad = tmp_path / "a.name"
    bad.write_bytes(path.read_bytes())
    with pytest.raises(CorpusError, match=r"a\.name:1: expected a genre \(bc, .*\) where the document's name begins"):
        list(read_ontonotes(bad))


def test_a_name_file_without_names_was_annotated(tmp_path):
    path = tmp_path / "a.name"
    path.write_text('<DOC DOCNO="nw/x_1@0001@x@nw@en@on">\nNobody came .\n</DOC>\n', encoding="utf-8")
    assert [(r["text"], r["exhaustive"], names(r)) for r in read_ontonotes(path)] == [("Nobody came .", True, [])]


def test_the_18_types_are_shipped():
    ontology = Ontology.from_json(ONTOLOGIES / "ontonotes.json")
    assert len(ontology) == 18 and set(ontology.ids) >= VALUES | {"PERSON", "GPE", "WORK_OF_ART"}
    assert len(GENRES) == 7


@pytest.mark.parametrize(
    ("token", "word"),
    [
        ("-LRB-", "("),
        (":-RRB-", ":)"),
        ("1\\/2", "1/2"),
        ("AT-AMP-T", "AT&T"),
        ("/?", "?"),
        ("``", '"'),
        ("and/or", "and/or"),
        ("x''", "x''"),
        ("-", "-"),
    ],
)
def test_escapes(token, word):
    assert unescape_token(token) == word


# ---------------------------------------------------------------- bad input


def row(word="Oslo", name="(GPE)"):
    return f"nw/x_1 0 0 {word} NN * - - - - {name} -\n"


BEGIN, END = "#begin document (nw/x_1); part 000\n", "\n#end document\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Oslo B-GPE\n", ":1: expected '#begin document (…); part 000' (CoNLL-2012) or '<DOC DOCNO=\"…\">' (.name), found 'Oslo"),
        (BEGIN + "nw/x_1 0 0 Oslo NN *\n" + END, ":2: expected at least 12 columns, found 6"),
        (BEGIN + row(name="B-GPE") + END, ":2: expected a name as in '(PERSON*', '*', '*)' or '(GPE)' in column 11, found 'B-GPE'"),
        (BEGIN + row(word="[WORD]") + END, ":2: a skeleton file, whose words are [WORD]"),
        (BEGIN + row(name="*)") + END, ":2: token 1 of the sentence closes a name that was not begun"),
        (BEGIN + row() + row(name="(GPE*") + END, ":2: expected the name GPE to end in its sentence"),
        (BEGIN + row(), ": expected '#end document' of nw/x_1/000, found the file's end: is it truncated?"),
        (BEGIN + row() + BEGIN, ":3: expected '#end document' of nw/x_1/000 first"),
        (BEGIN + row() + END + row(), ":5: expected '#begin document (…); part 000' first"),
    ],
)  # fmt: skip
def test_bad_columns_say_file_and_line(tmp_path, content, message):
    check_error(tmp_path / "a b.gold_conll", content, message)


DOC = '<DOC DOCNO="nw/x_1@0001@x@nw@en@on">\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<DOC>\nOslo\n</DOC>\n", ':1: expected </DOC>, then <DOC DOCNO="nw/wsj/00/wsj_0001@…">'),
        (DOC + "Oslo\n", ": expected </DOC> of nw/x_1, found the file's end: is it truncated?"),
        (DOC + "</DOC>\nOslo\n", ':3: expected <DOC DOCNO="…"> first'),
        (DOC + "<ENAMEX>Oslo</ENAMEX>\n</DOC>\n", ':2: expected <ENAMEX TYPE="…">, found \'<ENAMEX>\''),
        (DOC + 'a <ENAMEX TYPE="GPE">Oslo\n</DOC>\n', ":2: expected the name GPE to end in its line"),
        (DOC + "Oslo</ENAMEX>\n</DOC>\n", ":2: </ENAMEX> closes a name that was not begun"),
        (DOC + 'a <ENAMEX TYPE="GPE"> </ENAMEX> b\n</DOC>\n', ":2: an empty name in"),
        (DOC + '<ENAMEX TYPE="GPE" S_OFF="2" E_OFF="2">Oslo</ENAMEX>\n</DOC>\n', ":2: expected S_OFF and E_OFF to leave something of"),
        (DOC + '<ENAMEX TYPE="GPE" S_OFF="x">Oslo</ENAMEX>\n</DOC>\n', ":2: expected a number of characters in S_OFF, found 'x'"),
    ],
)  # fmt: skip
def test_bad_name_files_say_file_and_line(tmp_path, content, message):
    check_error(tmp_path / "a b.name", content, message)


def check_error(path, content, message):
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError) as error:
        list(read_ontonotes(path))
    assert f"{path}{message}" in str(error.value)


def test_bad_bytes_and_unknown_types(tmp_path):
    path = tmp_path / "a.name"
    path.write_bytes(DOC.encode() + b"caf\xe9\n</DOC>\n")
    with pytest.raises(CorpusError, match=r"a\.name:2: expected UTF-8, found the byte 0xe9"):
        list(read_ontonotes(path))
    path.write_text(DOC + '<ENAMEX TYPE="PERSN">Ann</ENAMEX>\n</DOC>\n')
    with pytest.raises(CorpusError, match=r"record 'nw/x_1#0': .*'PERSN' is not a type of ontology 'ontonotes'"):
        read(tmp_path, path)

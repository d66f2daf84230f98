"""spaCy's DocBin: sentences, marked and unmarked tokens."""

import sys

import pytest

from finener.data_scripts.build import build
from finener.data_scripts.corpora.docbin import read_docbin
from finener.data_scripts.corpora.records import read_records
from finener.data_scripts.corpus import CorpusError, ReadReport
from finener.data_scripts.schema import validate_record

tokens = pytest.importorskip("spacy.tokens", reason="spaCy is not installed")
Vocab = pytest.importorskip("spacy.vocab").Vocab

WORDS = ["Ann", "Lee", "sat", "in", "東京", "😀", ".", " ", "Bo", "stood", "."]
SPACES = [True, True, True, True, False, True, True, False, True, False, False]
ENTITIES = ["B-per", "I-per", "O", "O", "B-loc", "O", "O", "O", "B-per", "O", "O"]


def make(ents=ENTITIES, words=WORDS, spaces=SPACES, starts=()):
    doc = tokens.Doc(Vocab(), words=words, spaces=spaces, ents=ents)
    for token in doc:
        if starts:
            token.is_sent_start = token.i in starts
    return doc


def write(path, *docs, **options):
    tokens.DocBin(docs=docs, **options).to_disk(path)
    return path


def read(path):
    report = ReadReport()
    records = list(read_docbin(path, ontology="toy", report=report))
    assert all(validate_record(r) == r for r in records)
    return records, report


def found(record):
    return [(record["text"][m["start"] : m["end"]], m["types"]) for m in record["mentions"]]


def test_a_record_for_each_sentence(tmp_path):
    records, report = read(write(tmp_path / "my docs.spacy", make(starts=(0, 7)), make()))
    assert [r["text"] for r in records] == [
        "Ann Lee sat in 東京😀 .",
        "Bo stood.",
        "Ann Lee sat in 東京😀 .  Bo stood.",  # without marks, the whole document
    ]
    assert [found(r) for r in records] == [
        [("Ann Lee", ["per"]), ("東京", ["loc"])],
        [("Bo", ["per"])],
        [("Ann Lee", ["per"]), ("東京", ["loc"]), ("Bo", ["per"])],
    ]
    assert [(r["id"], r["doc_id"]) for r in records] == [
        ("my docs/0#0", "my docs/0"),
        ("my docs/0#1", "my docs/0"),
        ("my docs/1#0", "my docs/1"),
    ]
    assert all(r["exhaustive"] and r["typed"] and r["source"] == "docbin" for r in records)
    assert not report.dropped


def test_unmarked_tokens(tmp_path):
    half = make(["B-per", "I-per", None, None, "B-loc", None, None, None, None, None, None], starts=(0, 7))
    none = make(None)
    records, report = read(write(tmp_path / "a.spacy", half, none))
    assert [found(r) for r in records] == [[("Ann Lee", ["per"]), ("東京", ["loc"])]]
    assert not records[0]["exhaustive"]
    assert report.dropped == {"sentence: nobody said where its entities are": 2}
    # An unmarked token of white space does no harm, and no entities at all are an annotation too.
    (record,), _ = read(write(tmp_path / "b.spacy", make(["O"] * 7 + [None] + ["O"] * 3)))
    assert (record["exhaustive"], record["mentions"]) == (True, [])


def test_what_is_left_out_is_counted(tmp_path):
    blank = make(words=[" ", "\n"], spaces=[False, False], ents=["O", "O"])
    crossing = make(["O"] * 5 + ["B-per"] + ["I-per"] * 3 + ["O"] * 2, starts=(0, 7))
    spaces = make(["O"] * 6 + ["B-per", "I-per", "B-per", "O", "O"])
    spaces.spans["sc"] = [tokens.Span(spaces, 0, 2, label="per"), tokens.Span(spaces, 0, 1, label="per")]
    only_space = make(["O"] * 7 + ["B-per"] + ["O"] * 3)
    records, report = read(write(tmp_path / "a.spacy", blank, crossing, spaces, only_space, make([], [], [])))
    assert [found(r) for r in records] == [[], [], [(".", ["per"]), ("Bo", ["per"])], []]
    assert report.dropped == {
        "sentence: white space only": 1,
        "mention: goes over the end of a sentence": 1,
        "mention: in the span group 'sc', not in doc.ents": 2,
        "mention: white space only": 1,
    }


def test_a_file_of_something_else(tmp_path):
    whole = write(tmp_path / "a.spacy", make()).read_bytes()
    path = tmp_path / "b.spacy"
    for content in (b"", b"Ann O\n", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(CorpusError, match=r"b\.spacy: expected a DocBin, as spaCy 3 writes it"):
            read(path)


def test_without_spacy_the_error_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "a.spacy", make())
    monkeypatch.setitem(sys.modules, "spacy.tokens", None)
    with pytest.raises(CorpusError, match=r'pip install "finener\[spacy\]"'):
        read(path)


def test_builder(tmp_path):
    types = tmp_path / "toy.tsv"
    types.write_text("id\nper\nloc\n")
    write(tmp_path / "train.spacy", make(starts=(0, 7)))
    write(tmp_path / "dev.spacy", make())
    files = {"train": [tmp_path / "train.spacy"], "dev": [tmp_path / "dev.spacy"]}
    reports = build("docbin", files, tmp_path / "out", {"ontology": str(types), "source": "mine"})
    records = list(read_records(tmp_path / "out" / "data" / "train-00000-of-00001.parquet"))
    assert [found(r) for r in records] == [[("Ann Lee", ["per"]), ("東京", ["loc"])], [("Bo", ["per"])]]
    assert {(r["source"], r["ontology"]) for r in records} == {("mine", "toy")}
    assert [reports[split].mentions for split in ("train", "dev")] == [3, 3]

"""brat's standoff: offsets over line ends, and what is not a mention."""

import shutil
from pathlib import Path

import pytest

from finener.data_scripts.build import build
from finener.data_scripts.corpora.brat import Brat, read_brat
from finener.data_scripts.corpora.records import read_records
from finener.data_scripts.corpus import CorpusError, ReadReport
from finener.data_scripts.schema import validate_record

TEXT = Path(__file__).parents[2] / "data" / "brat" / "inn.txt"
ANNOTATION = TEXT.with_suffix(".ann")
OTHER_LINES = {
    "line: relation": 1,
    "line: event": 1,
    "line: attribute": 2,
    "line: link to a database": 1,
    "line: note": 1,
    "line: equivalence": 1,
}


def read(text_file=TEXT, annotation_file=ANNOTATION, **options):
    report = ReadReport()
    records = list(read_brat(text_file, annotation_file, ontology="inn", report=report, **options))
    assert all(validate_record(r) == r for r in records)
    return records, report


def found(record):
    return [(record["text"][m["start"] : m["end"]], m["types"]) for m in record["mentions"]]


def write(tmp_path, text, annotation):
    """A document of those bytes."""
    text_file, annotation_file = tmp_path / "a b.txt", tmp_path / "a b.ann"
    text_file.write_bytes(text)
    annotation_file.write_bytes(annotation)
    return text_file, annotation_file


def test_a_record_for_each_line():
    records, report = read()
    assert [r["text"] for r in records] == [
        "Ann Lee 😀 bought the Red",
        "Inn of Bree.",
        "Bo of Bree Town met Ann and Bob Lee.",
    ]
    assert [found(r) for r in records] == [
        [("Ann Lee", ["Person"])],
        [("Bree", ["Place"])],
        [("Bo", ["Person"]), ("Bree Town", ["Place"]), ("Bob Lee", ["Person"])],
    ]
    assert [(m["start"], m["end"]) for m in records[2]["mentions"]] == [(0, 2), (6, 15), (28, 35)]
    assert report.dropped == OTHER_LINES | {
        "mention: trigger of an event": 1,
        "mention: of several stretches": 1,
        "mention: goes over the end of a line": 1,
        "mention: inside a longer one": 1,
    }
    assert [(r["id"], r["doc_id"], r["source"], r["exhaustive"]) for r in records][2] == ("inn#2", "inn", "brat", True)


def test_a_record_for_the_whole_document():
    (record,), report = read(unit="document", exhaustive=False)
    assert record["text"] == TEXT.read_text(encoding="utf-8").strip()
    assert found(record)[:3] == [("Ann Lee", ["Person"]), ("Red\nInn", ["Place"]), ("Bree", ["Place"])]
    assert "mention: goes over the end of a line" not in report.dropped
    assert not record["exhaustive"]


def test_windows_line_ends_are_two_characters(tmp_path):
    # Of a line end inside a mention, brat writes \n as a blank and leaves \r.
    annotation = b"T1\tPerson 11 13\tBo\r\nT2\tPlace 0 14\tAnn sat.\r  Bo \r\n"
    records, report = read(*write(tmp_path, b"\xef\xbb\xbfAnn sat.\r\n Bo \r\n", annotation))
    assert [found(r) for r in records] == [[], [("Bo", ["Person"])]]
    assert report.dropped == {"mention: goes over the end of a line": 1}
    with pytest.raises(CorpusError) as error:
        read(*write(tmp_path, b"Ann sat.\r\n Bo \r\n", b"T1\tPerson 10 12\tBo\n"))
    assert "a b.ann:1: expected 'Bo' at [10, 12), found ' B'; the text's line ends are \\r\\n" in str(error.value)


def test_a_mention_that_brat_cut_at_a_line_end_is_whole(tmp_path):
    files = write(tmp_path, b"the Red\n  Inn", b"T1\tPlace 4 7;10 13\tRed Inn\n")
    records, _ = read(*files, unit="document")
    assert found(records[0]) == [("Red\n  Inn", ["Place"])]
    assert read(*files)[1].dropped == {"mention: goes over the end of a line": 1}
    with pytest.raises(CorpusError, match=r"a b\.ann:1: expected 'Red Ink' at \[4, 13\), found 'Red   Inn'"):
        read(*write(tmp_path, b"the Red\n  Inn", b"T1\tPlace 4 7;10 13\tRed Ink\n"))


def test_outer_white_space_is_no_part_of_a_mention(tmp_path):
    records, report = read(*write(tmp_path, b"Ann  sat", b"T1\tPerson 0 4\tAnn \nT2\tPerson 3 5\t  \n"))
    assert found(records[0]) == [("Ann", ["Person"])]
    assert report.dropped == {"mention: white space only": 1}


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (b"\nT1\tPerson 0 2\tAnn", ":2: expected 'Ann' at [0, 2), found 'An'; the end is one too small"),
        (b"T1\tPerson 0 4\tAnn", ":1: expected 'Ann' at [0, 4), found 'Ann '; the end is one too large"),
        (b"T1\tPerson 4 9\tsat..", ":1: [4, 9) lies outside the text of 8 characters"),
        (b"T1\tPerson 3 3\tAnn", ":1: [3, 3) lies outside"),
        (b"T1 Person 0 3 Ann", ":1: expected a line such as 'T1<TAB>Person 0 3<TAB>Ann', found 'T1 Person 0 3 Ann'"),
        (b"T1\tPerson 0 3", ":1: expected a line such as 'T1<TAB>Person 0 3<TAB>Ann'"),
        (b"X1\tPerson 0 3\tAnn", ":1: expected a line such as"),
        (b"T1\tPerson 0 3\tAnn\xe9", ":1: expected UTF-8, found the byte 0xe9"),
    ],
)
def test_bad_lines_say_file_and_line(tmp_path, annotation, message):
    files = write(tmp_path, b"Ann sat.", annotation)
    with pytest.raises(CorpusError) as error:
        read(*files)
    assert f"{files[1]}{message}" in str(error.value)


def test_bad_bytes_and_unknown_units(tmp_path):
    with pytest.raises(CorpusError, match=r"a b\.txt:2: expected UTF-8, found the byte 0xe9"):
        read(*write(tmp_path, b"Ann\ncaf\xe9\n", b""))
    with pytest.raises(CorpusError, match="unknown unit 'page'; expected 'line' or 'document'"):
        read(unit="page")


def test_builder_reads_folders(tmp_path):
    folder = tmp_path / "a collection"
    (folder / "deep").mkdir(parents=True)
    for file in (TEXT, ANNOTATION):
        shutil.copy(file, folder / "deep" / f"inn.v2{file.suffix}")
    (folder / "todo.txt").write_text("Bo sat.")
    types = tmp_path / "inn.tsv"
    types.write_text("id\nPerson\nPlace\n")
    options = {"ontology": str(types), "source": "tales"}
    reports = build("brat", {"train": [folder]}, tmp_path / "out", options)
    records = list(read_records(tmp_path / "out" / "data" / "train-00000-of-00001.parquet"))
    assert [found(r) for r in records] == [found(r) for r in read()[0]]
    assert {(r["doc_id"], r["source"], r["ontology"]) for r in records} == {("inn.v2", "tales", "inn")}
    assert reports["train"].dropped["document: no .ann beside its .txt"] == 1
    types.write_text("id\nPerson\n")
    with pytest.raises(CorpusError, match=r"unknown type: .*Place"):
        build("brat", {"train": [folder]}, tmp_path / "out2", options)


def test_an_annotation_needs_its_text(tmp_path):
    files = [str(ANNOTATION)]
    with pytest.raises(CorpusError, match=r"expected inn\.txt and inn\.ann among the data files, found \['\.ann'\]"):
        build("brat", {"train": files}, tmp_path / "out")
    assert Brat(data_files=str(TEXT.parent), cache_dir=str(tmp_path)).config.exhaustive

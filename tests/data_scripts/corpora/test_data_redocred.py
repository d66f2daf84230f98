"""Re-DocRED: sentences, names, and the types of entities whose name is known."""

from __future__ import annotations

import json

import pytest

from finener.data_scripts.build import build
from finener.data_scripts.corpora.redocred import make_typer, read_redocred
from finener.data_scripts.corpus import CorpusError, ReadReport, load_ontology

DOCUMENT = {
    "title": "Zora Quill",
    "sents": [
        ["Zora", "Quill", "was", "a", "Norwegian", "painter", "."],
        ["Quill", "met", "the", "Oslo", "River", "Band", "in", "1920", "."],
        ["Nobody", "was", "there", "."],
    ],
    "vertexSet": [
        [
            {"sent_id": 0, "pos": [0, 2], "type": "PER", "name": "Zora Quill"},
            {"sent_id": 1, "pos": [0, 1], "type": "PER", "name": "Quill"},
            {"sent_id": 1, "pos": [0, 1], "type": "PER", "name": "Quill"},
        ],
        [{"sent_id": 0, "pos": [4, 5], "type": "LOC"}],
        [{"sent_id": 1, "pos": [3, 6], "type": "ORG"}],
        [{"sent_id": 1, "pos": [3, 5], "type": "LOC"}],
        [{"sent_id": 1, "pos": [7, 8], "type": "TIME"}],
    ],
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "types.tsv"
    path.write_text("Oslo River Band\tMusicalOrganization108246613\nNorwegian\tPainter110391653\n", encoding="utf-8")
    return [str(path)]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def spans(record):
    return [(record["text"][m["start"] : m["end"]], m["types"], m["origin"]) for m in record["mentions"]]


def test_sentences_with_their_names_and_without_times(tmp_path):
    report = ReadReport()
    first, second, third = read_redocred(write(tmp_path / "dev.json", json.dumps([DOCUMENT])), report=report)
    assert first["text"] == "Zora Quill was a Norwegian painter ."
    assert spans(first) == [("Zora Quill", [], ""), ("Norwegian", [], "")]
    assert spans(second) == [("Quill", [], ""), ("Oslo River Band", [], "")]
    assert (third["mentions"], third["exhaustive"], third["typed"]) == ([], True, False)
    assert [first["id"], third["id"], third["doc_id"]] == ["dev/0#0", "dev/0#2", "dev/0"]
    left_out = {"mention: a time or a number": 1, "mention: inside a longer one": 1, "mention: twice in its entity": 1}
    assert report.dropped == left_out


def test_an_entity_has_the_types_of_its_title_in_every_sentence_where_they_are_of_its_kind(tmp_path, tables):
    report = ReadReport()
    typer = make_typer(load_ontology("yago"), tables)
    path = write(tmp_path / "dev.json", json.dumps([DOCUMENT]))
    first, second, third = read_redocred(path, typer=typer, report=report)
    painter, band = (
        ["Painter110391653"],
        ["MusicalOrganization108246613"],
    )  # the first sentence says that she was a painter
    assert spans(first) == [("Zora Quill", painter, "title:Zora_Quill"), ("Norwegian", [], "")], "a place is no painter"
    assert spans(second) == [("Quill", painter, "title:Zora_Quill"), ("Oslo River Band", band, "title:Oslo_River_Band")]
    assert (second["typed"], second["ontology"], third["typed"], third["ontology"]) == (True, "yago", False, "")
    assert report.dropped["types: not of the kind that is marked"] == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[{", r"dev\.json is not JSON.*expected a list of documents"),
        ("{}", r"dev\.json: expected a list of documents, .*found \{\}"),
        ('[{"title": "A", "sents": [[1]], "vertexSet": []}]', r"document 0: expected an object such as"),
        ('[{"title": "A", "sents": [["a"]]}]', r"document 0: expected an object such as"),
        (
            '[{"title": "A", "sents": [["a"]], "vertexSet": [[{"sent_id": 0, "pos": [0, 2], "type": "PER"}]]}]',
            r"document 0 \('A'\): .*pos a range of its 1 tokens",
        ),
        (
            '[{"title": "A", "sents": [["a"]], "vertexSet": [[{"sent_id": 3, "pos": [0, 1], "type": "PER"}]]}]',
            r"document 0 \('A'\): .*sent_id below 1",
        ),
        (
            '[{"title": "A", "sents": [["a"]], "vertexSet": [[{"sent_id": 0, "pos": 3, "type": "PER"}]]}]',
            r"document 0 \('A'\): expected mentions",
        ),
        ('[{"title": "A", "sents": [["a"]], "vertexSet": [7]}]', r"document 0 \('A'\): expected mentions"),
    ],
)
def test_what_is_not_a_document_is_told_with_its_place(tmp_path, content, told):
    path = write(tmp_path / "dev.json", content)
    with pytest.raises(CorpusError, match=told):
        list(read_redocred(path))


def test_the_command_builds_both_forms(tmp_path, tables):
    path = str(write(tmp_path / "train.json", json.dumps([DOCUMENT])))
    report = build("redocred", {"train": [path]}, tmp_path / "plain")["train"]
    assert (report.records, report.mentions, len(report.types)) == (3, 4, 0)
    options = {"ontology": "yago", "tables": tables[0]}
    report = build("redocred", {"train": [path]}, tmp_path / "typed", options)["train"]
    assert (report.mentions, dict(report.types)) == (4, {"Painter110391653": 2, "MusicalOrganization108246613": 1})
    with pytest.raises(Exception) as error:
        build("redocred", {"train": [path]}, tmp_path / "bad", {"tables": tables[0]})
    assert "choose these with --ontology yago" in f"{error.value} {error.value.__cause__}"

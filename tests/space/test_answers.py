"""Mentions down to a level, and the files to download."""

from __future__ import annotations

import csv
import io
import json

import pytest

import tiny
from answers import CSV_COLUMNS, as_csv, as_json, cut, cut_answer, n_levels, path_to

SOURCE = tiny.two_parent_ontology()


@pytest.mark.parametrize(
    ("level", "finest", "types"),
    [
        (1, "physical", ["physical"]),
        (2, "person", ["physical", "person"]),
        (3, "artist", ["physical", "person", "artist"]),
        (9, "artist", ["physical", "person", "artist"]),
        (0, "physical", ["physical"]),
    ],
)
def test_a_level_cuts_off_what_is_below_it(mention, level, finest, types):
    shown = cut(mention, SOURCE, level)
    assert (shown["entity_group"], list(shown["types"])) == (finest, types)
    assert shown["label"] == finest and shown["labels"] == {t: t for t in types}
    assert (shown["word"], shown["start"], shown["score"]) == ("Frida <Kahlo>", 0, 0.975)
    assert list(mention["types"]) == ["physical", "person", "artist"], "the answer itself stays"


def test_of_several_finest_types_the_surest_is_named(museum):
    assert cut(museum, SOURCE, 3)["entity_group"] == "building"
    assert cut(museum, SOURCE, 1)["entity_group"] == "physical"


def test_the_path_goes_through_the_deepest_parent(museum, mention):
    assert n_levels(SOURCE) == 5
    assert path_to("museum", museum, SOURCE) == ["physical", "place", "building", "museum"]
    assert path_to("organization", museum, SOURCE) == ["abstract", "organization"]
    assert path_to("physical", mention, SOURCE) == ["physical"]


def test_the_json_is_what_the_pipeline_gives_with_its_text(answer):
    texts = json.loads(as_json(cut_answer(answer, 2)))
    assert [(t["id"], t["text"], len(t["mentions"])) for t in texts] == [
        ("d1", "Frida <Kahlo> saw Louvre & left.", 2),
        ("d2", "Nobody came.", 0),
    ]
    first = texts[0]["mentions"][0]
    assert first["types"] == {"physical": 0.99, "person": 0.9} and first["entity_group"] == "person"
    assert texts[0]["text"][first["start"] : first["end"]] == first["word"]


def test_the_csv_has_a_row_for_each_mention_and_quotes_what_needs_it(answer):
    answer.mentions[0][0]["word"] = 'Frida "F", Kahlo\n'
    rows = list(csv.DictReader(io.StringIO(as_csv(cut_answer(answer, 5)), newline="")))
    assert tuple(rows[0]) == CSV_COLUMNS and len(rows) == 2
    assert rows[0]["word"] == 'Frida "F", Kahlo\n'
    assert rows[1] == {
        "id": "d1",
        "start": "18",
        "end": "24",
        "word": "Louvre",
        "score": "0.5000",
        "type": "museum",
        "label": "museum",
        "type_score": "0.6000",
        "path": "physical > place > building > museum",
    }

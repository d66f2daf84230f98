"""Mentions for people: what is marked and how, what a page may do to it, and the columns of the table."""

from __future__ import annotations

import math
import re
import sys
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest

import finener
from finener.ontology_finener import EntityType, Ontology, OntologyError
from finener.prediction.look import show, to_dataframe, to_html, to_text

import tiny

TEXT = "Frida Kahlo painted in Mexico City."
MENTIONS = [
    {
        "start": 0,
        "end": 11,
        "score": 0.8,
        "entity_group": "per.artist.painter",
        "types": {"per": 0.95, "per.artist": 0.9, "per.artist.painter": 0.7, "per.politician": 0.6},
        "labels": {
            "per": "person",
            "per.artist": "artist",
            "per.artist.painter": "painter",
            "per.politician": "politician",
        },
    },
    {"start": 23, "end": 34, "score": 0.9, "entity_group": "loc.city", "types": {"loc": 0.9, "loc.city": 0.5}},
]


class Reader(HTMLParser):
    """The text of a page, its tags, and what their titles say."""

    def __init__(self, page: str):
        super().__init__()
        self.text, self.tags, self.titles = "", [], []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.titles += [value for name, value in attrs if name == "title"]
        assert {name for name, _ in attrs} <= {"style", "title", "dir"}

    def handle_data(self, data: str) -> None:
        self.text += data


# -------------------------------------------------------------------- in the text


def test_with_an_ontology_the_way_down_to_the_best_type_is_told_and_the_other_most_specific_ones(target):
    shown = to_text(TEXT, MENTIONS, target)
    assert shown == (
        "[Frida Kahlo: person › artist › painter 0.70, politician 0.60] painted in [Mexico City: loc › city 0.50]."
    )


def test_without_one_the_most_specific_type_stands_alone():
    assert to_text(TEXT, MENTIONS) == "[Frida Kahlo: painter 0.70] painted in [Mexico City: loc.city 0.50]."


def test_of_several_parents_the_better_one_is_on_the_way_and_long_ways_are_cut_in_the_middle(source):
    types = {"abstract": 0.9, "organization": 0.8, "museum": 0.7, "artmuseum": 0.6}
    mention = {"start": 0, "end": 6, "types": types}
    assert to_text("Louvre", [mention], source) == "[Louvre: abstract › organization › museum › artmuseum 0.60]"
    types |= {"physical": 0.95, "place": 0.9, "building": 0.9}
    assert to_text("Louvre", [mention], source) == "[Louvre: physical › … › museum › artmuseum 0.60]"


def test_gold_mentions_of_records_have_no_scores_and_untyped_ones_no_types(target):
    gold = [{"start": 0, "end": 11, "types": ["per.politician"]}, {"start": 23, "end": 34, "types": []}]
    assert to_text(TEXT, gold, target) == "[Frida Kahlo: per › politician] painted in [Mexico City]."
    assert to_text(TEXT, gold) == "[Frida Kahlo: per.politician] painted in [Mexico City]."
    assert "<small" not in to_html(TEXT, gold[1:])


def test_nested_mentions_nest_and_crossing_ones_are_an_error():
    nested = [
        {"start": s, "end": e, "types": [t]} for s, e, t in [(9, 17, "b"), (0, 17, "a"), (0, 4, "c"), (0, 17, "d")]
    ]
    text = "Bank of [England]."
    assert to_text("Bank of  England.", [*nested]) == "[[[Bank: c] of  [England.: b]: d]: a]"
    assert Reader(to_html(text, nested)).tags.count("mark") == 4
    with pytest.raises(ValueError, match=r"the mentions \[0, 4\) and \[3, 6\) cross"):
        to_text(text, [{"start": 3, "end": 6, "types": []}, {"start": 0, "end": 4, "types": []}])


def test_html_is_the_text_with_marks_and_nothing_in_it_is_taken_for_html():
    text = '<script>alert("1")</script> & <b>Ann</b>\n\ttold'
    evil = '"><img src=x onerror=alert(1)>'
    at = text.index("Ann")
    mention = {
        "start": at,
        "end": at + 3,
        "entity_group": evil,
        "types": {evil: 0.5, "<i>": 0.4},
        "labels": {"<i>": "<u>"},
    }
    page = Reader(to_html(text, [mention]))
    assert page.tags == ["div", "mark", "small"]
    assert page.text == text.replace("Ann", f"Ann{evil} 0.50")
    assert page.titles == [f"{evil} 0.50\n<u> 0.40"]


def test_every_type_is_in_the_title():
    first, second = Reader(to_html(TEXT, MENTIONS)).titles
    assert first == "mention 0.80\nperson 0.95\nartist 0.90\npainter 0.70\npolitician 0.60"
    assert second == "mention 0.90\nloc 0.90\nloc.city 0.50"


def test_a_type_always_has_the_same_colour_and_others_have_others():
    hues = [
        re.findall(r"hsl\((\d+),", to_html(text, found)) for text, found in [(TEXT, MENTIONS), (TEXT, MENTIONS[:1])]
    ]
    assert hues[0][:1] == hues[1] and len(set(hues[0])) == 2


def test_control_characters_are_seen_not_obeyed():
    text = "a\x1b[31mb\x00c\x9b1md\ud83de\tf\n"
    mention = {"start": 0, "end": 1, "types": ["\x1b[2J"]}
    for shown in (to_text(text, [mention]), to_html(text, [mention])):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", shown)
        assert "␛[31mb␀c�1md�e\tf\n" in shown and "␛[2J" in shown
        shown.encode("utf-8")


# -------------------------------------------------------------------- where it is shown


def test_colours_are_for_terminals_only(capsys, monkeypatch):
    show(TEXT, MENTIONS)
    plain = capsys.readouterr().out
    assert plain == to_text(TEXT, MENTIONS) + "\n" and "\x1b" not in plain
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show(TEXT, MENTIONS)
    coloured = capsys.readouterr().out
    assert "\x1b[" in coloured and re.sub(r"\x1b\[\d+m", "", coloured) == plain
    monkeypatch.setenv("NO_COLOR", "1")
    show(TEXT, MENTIONS)
    assert capsys.readouterr().out == plain


def test_a_notebook_displays_html_with_the_brackets_beside_it(capsys, monkeypatch):
    displayed = []
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(
        sys.modules, "IPython.display", SimpleNamespace(display=lambda data, raw: displayed.append((data, raw)))
    )
    assert show(TEXT, MENTIONS) is None
    assert displayed == [({"text/html": to_html(TEXT, MENTIONS), "text/plain": to_text(TEXT, MENTIONS)}, True)]
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    show(TEXT, MENTIONS)
    assert capsys.readouterr().out == to_text(TEXT, MENTIONS) + "\n"


def test_it_shows_what_the_pipeline_gives(target_model, tokenizer):
    ner = finener.FinenerPipeline(model=target_model, tokenizer=tokenizer)
    n_mentions = 0
    for text in tiny.GOLD:
        found = ner(text)
        shown = to_text(text, found, target_model.config.target_ontology)
        assert shown.count(": ") == len(found)
        for mention in found:
            assert f"[{mention['word']}: " in shown
        n_mentions += len(found)
    assert n_mentions > 3


# -------------------------------------------------------------------- the table


def test_a_table_has_a_row_for_each_mention():
    table = to_dataframe(TEXT, MENTIONS)
    assert list(table.columns) == [
        "record", "start", "end", "word", "score", "entity_group", "label", "type_score", "types"
    ]  # fmt: skip
    assert table.values.tolist() == [
        [0, 0, 11, "Frida Kahlo", 0.8, "per.artist.painter", "painter", 0.7, MENTIONS[0]["types"]],
        [0, 23, 34, "Mexico City", 0.9, "loc.city", "loc.city", 0.5, MENTIONS[1]["types"]],
    ]


def test_a_table_of_types_has_a_row_for_each_mention_and_type(target):
    table = to_dataframe([TEXT, "Nobody."], [MENTIONS, []], rows="types", ontology=target)
    assert list(table.columns) == ["record", "start", "end", "word", "score", "type", "label", "type_score"]
    assert table["type"].tolist() == [*MENTIONS[0]["types"], *MENTIONS[1]["types"]]
    assert table["label"].tolist() == ["person", "artist", "painter", "politician", "loc", "city"]
    assert table["type_score"].tolist() == [0.95, 0.9, 0.7, 0.6, 0.9, 0.5]


def test_records_bring_their_ids_and_their_mentions(target):
    predicted = {"id": "d#0", "text": TEXT, "mentions": [
        {"start": 0, "end": 11, "score": 0.8, "types": ["per", "per.politician"], "type_scores": [0.9, 0.6]}
    ]}  # fmt: skip
    gold = {"id": "d#1", "text": "Ann left.", "mentions": [{"start": 0, "end": 3, "types": ["per"], "score": None}]}
    table = to_dataframe([predicted, gold], ontology=target)
    assert table["record"].tolist() == ["d#0", "d#1"]
    assert table["entity_group"].tolist() == ["per.politician", "per"]
    assert (
        table["type_score"].tolist()[0] == 0.6 and math.isnan(table["type_score"][1]) and math.isnan(table["score"][1])
    )
    assert to_dataframe([predicted])["entity_group"].tolist() == [None], "nobody told which type is the most specific"
    assert to_dataframe([gold], [MENTIONS[:0]]).empty
    assert to_dataframe([{"id": "x", "text": TEXT}], [MENTIONS])["record"].tolist() == ["x", "x"]


def test_a_table_without_mentions_has_the_same_columns_of_the_same_kinds():
    for rows in ("mentions", "types"):
        empty, full = to_dataframe([], [], rows=rows), to_dataframe(TEXT, MENTIONS, rows=rows)
        assert list(empty.columns) == list(full.columns)
        numbers = ["start", "end", "score", "type_score"]
        assert empty[numbers].dtypes.tolist() == full[numbers].dtypes.tolist()


# -------------------------------------------------------------------- what a person is told


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: show([TEXT], [MENTIONS]), TypeError, "expected one text, got list; of several: for text, mentions in zip"),
        (lambda: show(TEXT, [MENTIONS]), TypeError, r"expected the mentions of the text, such as \[\{'start': 0"),
        (lambda: show(TEXT, [{"start": 0, "end": 99, "types": {}}]), ValueError, r"\[0, 99\) is out of range of a text of 35"),
        (lambda: to_dataframe([TEXT]), TypeError, r"to_dataframe\(texts, ner\(texts\)\), or records"),
        (lambda: to_dataframe(TEXT), TypeError, r"to_dataframe\(texts, ner\(texts\)\), or records"),
        (lambda: to_dataframe(TEXT, MENTIONS, rows="words"), ValueError, "rows must be one of mentions, types, got 'words'"),
        (lambda: to_dataframe([TEXT, TEXT], [MENTIONS]), ValueError, "shorter"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_told(call: Any, error: type[Exception], told: str):
    with pytest.raises(error, match=told):
        call()


def test_types_that_the_ontology_lacks_are_told():
    with pytest.raises(OntologyError, match="'loc' is not a type of ontology 'mine'"):
        to_text(TEXT, MENTIONS[1:], Ontology("mine", [EntityType("per")]))


def test_the_names_are_public():
    assert (finener.show, finener.to_html, finener.to_dataframe) == (show, to_html, to_dataframe)

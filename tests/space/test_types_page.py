"""The ontology browser: what a search finds, and that thousands of types are not all on the page."""

from __future__ import annotations

import json
from html import escape

import pytest

from finener.ontology_finener import EntityType, Ontology
from finener.paths import ROOT

import tiny
import types_page
from types_page import MOST_SHOWN, browser, inside, path, search

SOURCE = tiny.two_parent_ontology()


@pytest.fixture(scope="module")
def yago() -> Ontology:
    return Ontology.from_dict(json.loads((ROOT / "ontologies" / "yago.json").read_text(encoding="utf-8")))


def test_whole_labels_come_first_then_beginnings_then_the_rest():
    types = [EntityType("a", "lead singer"), EntityType("b", "singer-songwriter"), EntityType("c", "Singer")]
    types += [
        EntityType("singer.d", "tenor"),
        EntityType("e", "alto", description="A low SINGER."),
        EntityType("f", "x"),
    ]
    assert [types[i].id for i in search("  SINGER ", Ontology("o", types))] == ["c", "b", "a", "singer.d", "e"]


def test_only_some_of_many_matches_are_shown_and_the_rest_are_counted(yago):
    found = search("er", yago)
    assert len(found) > 1000
    html = browser("er", yago)
    assert html.count("<details") == MOST_SHOWN and f"and {len(found) - MOST_SHOWN:,} more" in html
    assert f"<b>{len(found):,} types</b>" in html


def test_without_a_query_the_roots_are_there(yago):
    html = browser(" ", yago)
    assert html.count("<details") == 3 and "<b>8,295 types</b>, 17 levels, 3 at the top" in html
    flat = Ontology("flat", [EntityType(str(i)) for i in range(MOST_SHOWN + 5)])
    assert "and 5 more" in browser("", flat) and "no hierarchy" in browser("", flat)


def test_a_type_shows_its_path_and_what_is_below_it():
    assert path(SOURCE.index("artmuseum"), SOURCE) == ["physical", "place", "building", "museum", "artmuseum"]
    assert "physical › place › building" in browser("museum", SOURCE)
    html = inside(SOURCE.index("organization"), SOURCE)
    assert [t in html for t in ("museum", "company", "person")] == [True, True, False]
    assert "Below building and organization." in inside(SOURCE.index("museum"), SOURCE)
    assert "Nothing is below it." in inside(SOURCE.index("artmuseum"), SOURCE)
    target = tiny.target_ontology()
    assert "No mention has this as its most specific type." in inside(target.index("per.artist"), target)


def test_names_and_queries_are_escaped():
    nasty = '<img src=x onerror="y">'
    ontology = Ontology("o", [EntityType(nasty, "", (), True, nasty), EntityType("b", nasty, (nasty,))])
    for html in (browser("", ontology), browser("img", ontology), browser(nasty + "z", ontology), inside(0, ontology)):
        assert "<img" not in html and escape("<img") in html
    assert types_page.search(nasty, ontology) == [0, 1]

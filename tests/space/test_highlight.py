"""The result as HTML: everything escaped, every mention with its tree, and colours that tell types apart."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import pytest

from finener.ontology_finener import EntityType, Ontology

import tiny
from answers import as_csv, as_json, cut, cut_answer
from highlight import GOLDEN_ANGLE, LEAST_COLOURS, colour_type, hues, page, tree
from reading import Answer, Text

SOURCE = tiny.two_parent_ontology()
NASTY = '<script>alert("x")</script> & {{x}} ${y}'


def parsed(html: str) -> ElementTree.Element:
    """The page as a tree; fails where a tag is not closed or a character not escaped."""
    return ElementTree.fromstring(re.sub(r" hidden>", ' hidden="">', html))


def text_of(element: ElementTree.Element) -> str:
    return "".join(element.itertext())


def without_labels(element: ElementTree.Element) -> str:
    """The text alone, without cards and the labels in the mentions."""
    if element.tag == "small" or element.get("class") == "card":
        return ""
    return (element.text or "") + "".join(without_labels(child) + (child.tail or "") for child in element)


def of_class(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [e for e in element.iter() if name in e.get("class", "").split()]


def test_the_text_is_all_there_and_each_mention_is_a_button_for_its_card(answer):
    html = parsed(page(cut_answer(answer, 5)))
    buttons, cards = of_class(html, "mention"), of_class(html, "card")
    assert [text_of(b) for b in buttons] == ["Frida <Kahlo> artist", "Louvre museum"]
    assert [b.get("aria-controls") for b in buttons] == [c.get("id") for c in cards] and len(cards) == 2
    assert all((b.get("role"), b.get("tabindex"), b.get("aria-expanded")) == ("button", "0", "false") for b in buttons)
    plain = [without_labels(box) for box in of_class(html, "text")]
    assert plain == ["Frida <Kahlo> saw Louvre & left.", "Nobody came."]
    assert [h.text for h in html.iter("h3")] == ["d1", "d2"]


@pytest.mark.parametrize("place", ["text", "id", "type"])
def test_all_that_comes_from_outside_is_escaped(place):
    name = NASTY if place == "type" else "painter"
    ontology = Ontology("own", [EntityType(name, name)])
    text = Text(NASTY if place == "id" else "d1", NASTY if place == "text" else "Ann left")
    types = {name: 0.5}
    mention = {"entity_group": name, "score": 0.5, "word": text.text[0:8], "start": 0, "end": 8, "types": types}
    html = page(cut_answer(Answer(ontology, [text], [[mention]]), 1))
    assert "<script" not in html and html.count("&lt;script&gt;") >= 1
    assert NASTY in text_of(parsed(html)) or place == "text"
    assert place != "text" or NASTY[8:] in text_of(parsed(html))


def test_the_tree_is_the_hierarchy_with_every_type_once(museum):
    root = parsed(tree(cut(museum, SOURCE, 5), SOURCE)).find("ul")

    def branches(ul):
        return {
            text_of(of_class(li, "name")[0]).split()[0]: branches(li.find("ul")) if li.find("ul") is not None else {}
            for li in ul
        }

    assert branches(root) == {
        "physical": {"place": {"building": {"museum": {}}}},
        "abstract": {"organization": {}},
    }
    (finest,) = of_class(root, "finest")
    assert text_of(of_class(finest, "name")[0]) == "museum also below organization"
    assert text_of(of_class(finest, "score")[0]) == "0.60"
    assert of_class(finest, "bar")[0].find("i").get("style") == "width:60%"


def test_the_downloads_are_the_files(answer):
    shown = cut_answer(answer, 2)
    links = [a for a in parsed(page(shown)).iter("a")]
    content = [base64.b64decode(a.get("href").partition("base64,")[2]).decode() for a in links]
    assert [a.get("download") for a in links] == ["mentions.json", "mentions.csv"]
    assert content == [as_json(shown), as_csv(shown)]


def test_without_a_mention_the_page_says_so_and_offers_no_file(answer):
    nothing = Answer(SOURCE, answer.texts[1:], [[]])
    html = parsed(page(nothing))
    assert text_of(of_class(html, "count")[0]) == "0 mentions Lower the thresholds to see weaker ones."
    assert not list(html.iter("a")) and not of_class(html, "legend")


def test_roots_have_colours_and_where_they_are_few_what_is_below_them():
    roots = Ontology("flat", [EntityType(str(i)) for i in range(LEAST_COLOURS)])
    assert hues(roots) == {i: pytest.approx(i * GOLDEN_ANGLE % 360, abs=0.1) for i in range(LEAST_COLOURS)}
    assert {SOURCE.ids[i] for i in hues(SOURCE)} == {t for t in SOURCE.ids if SOURCE.depths[SOURCE.index(t)] <= 2}
    assert SOURCE.ids[colour_type("museum", SOURCE)] == "building", "of its ancestors the one with the fewest below it"
    assert SOURCE.ids[colour_type("physical", SOURCE)] == "physical"

"""Running text, links, sentences and category names of pages."""

import time
from pathlib import Path

import pytest

from finener.data_scripts.silver.category_names import category_head
from finener.data_scripts.silver.titles import read_nouns
from finener.data_scripts.silver.wikitext import parse_page, split_sentences, why_no_article

ONTOLOGIES = Path(__file__).resolve().parents[3] / "ontologies"


@pytest.fixture(scope="module")
def nouns():
    return read_nouns(ONTOLOGIES / "yago_nouns.tsv")


def links(passage):
    return [(passage.text[k.start : k.end], k.target) for k in passage.links]


def only_paragraph(wikitext):
    (paragraph,) = parse_page(wikitext).paragraphs
    return paragraph


@pytest.mark.parametrize(
    ("wikitext", "text", "expected"),
    [
        ("See the [[city]]s.", "See the citys.", [("citys", "City")]),
        ("See [[town|the town]]ship, ok.", "See the township, ok.", [("the township", "Town")]),
        ("In [[New_York#History|old York]] now", "In old York now", [("old York", "New York")]),
        ("A [[#Notes|note]] here", "A note here", []),
        ("[[:Category:Towns|Towns]] and [[wikt:go|go]] and [[:fr:Rue|rue]]", "Towns and go and rue", []),
        ("[[2001: A Tale]] ran", "2001: A Tale ran", [("2001: A Tale", "2001: A Tale")]),
        ("'''Bree''' and ''[[Rohan]]''s", "Bree and Rohans", [("Rohan", "Rohan")]),
        ('The [["Bree"]] and [[Rohan|Rohan, ]] x', 'The "Bree" and Rohan, x', [("Bree", '"Bree"'), ("Rohan", "Rohan")]),
        (
            "In [[Washington, D.C.|Washington, D.C.]] ok",
            "In Washington, D.C. ok",
            [("Washington, D.C.", "Washington, D.C.")],
        ),
        ("Bree&nbsp;&amp; Rohan&mdash;both", "Bree & Rohan—both", []),
        ("😀 [[東京]] is big", "😀 東京 is big", [("東京", "東京")]),
        ("Bree{{cite|x=[[A]]}} (; {{lang|x|}}, ) is<ref>no [[B]]</ref> small<!-- c -->.", "Bree is small.", []),
        ("It has {{convert|12|km}} of {{nowrap|old road}}", "It has 12 km of old road", []),
        ("[http://x.org The site] at http://y.org [http://z.org]", "The site at", []),
        ("One\ntwo [[Bree]]", "One two Bree", [("Bree", "Bree")]),
        ("[[File:a.jpg|thumb|A [[Bree]] b]]Text [[Image:b.png]] on", "Text on", []),
        ("[[File:a.jpg|thumb|of [[Bree]]]] Text", "Text", []),
        ("Seen [http://x.org by [[Bo Lee]]], twice", "Seen by Bo Lee, twice", [("Bo Lee", "Bo Lee")]),
        ("It is <nowiki>[[Bree]]</nowiki> &lt;ref> AT&T", "It is [[Bree]] <ref> AT&T", []),
        ("{{Infobox\n| a = {{b|[[c]]}}\n}} '''Bree''' is{{efn|a {{b}}}} old", "Bree is old", []),
        ('A<ref name=x>b<ref/>c</ref> town<ref name="y" /> was<ref>[[X]] {{cite</ref> here', "A town was here", []),
        ("{{nowrap|the {{small|[[Old Road|road]]}}}} is", "the road is", [("road", "Old Road")]),
    ],
)
def test_plain_text_and_links(wikitext, text, expected):
    paragraph = only_paragraph(wikitext)
    assert (paragraph.text, links(paragraph)) == (text, expected)


def test_only_prose_is_kept():
    article = parse_page(
        "{{Infobox|name=[[Bree]]}}\n== Past ==\nBree is old.\n\nIt stands.\n* a [[list]]\n** item\n:said [[Ann]]\nMore prose.\n"
        "{| class=x\n| cell [[Rohan]]\n|}\n code here\n<gallery>\nFile:x.jpg|[[x]]\n</gallery>\n<blockquote>A quote.</blockquote>\n"
        "=== Sub ===\nEnd.\n==References==\nGone.\n===Books===\nGone too.\n== Later ==\nBack.\n"
        "[[Category:Towns in Eriador|*]][[Category:Bree]]\n[[fr:Bree]]"
    )
    assert [p.text for p in article.paragraphs] == [
        "Bree is old.",
        "It stands.",
        "More prose.",
        "A quote.",
        "End.",
        "Back.",
    ]
    assert article.categories == ("Towns in Eriador", "Bree")


def test_deep_and_broken_wikitext_does_not_fail():
    for wikitext in ("[[" * 500, "{{" * 500, "'''" * 501, "<div>" * 300, "{|\n" * 100, "", " ", "x" * 100_000):
        for paragraph in parse_page(wikitext).paragraphs:
            assert paragraph.text == paragraph.text.strip()


def test_a_broken_page_costs_linear_time():
    pieces = (
        "[[a|",
        "{{a|",
        "<ref>",
        "<ul></ol>",
        "{| {{ ]] ",
        "''[[a]]",
        "<!--",
        "[http://a ",
        "<nowiki>",
        "=",
        "[[a|[b",
        " (",
        "&a",
    )
    for piece in pieces:
        times = []
        for count in (2_000, 32_000):
            start = time.process_time()
            parse_page(piece * count)
            times.append(time.process_time() - start)
        assert times[1] < 80 * max(times[0], 0.02), piece  # 16 times the text; 256 times the time would be a square


@pytest.mark.parametrize(
    ("title", "text", "reason"),
    [
        ("Bree", "'''Bree''' is a town. {{Infobox disease}} {{main|Disambiguation in logic}}", ""),
        ("Bree", "'''Bree''' may be: {{Disambiguation|geo}}", "disambiguation page"),
        ("Bree", "{{place name disambiguation}}", "disambiguation page"),
        ("Bree (disambiguation)", "…", "disambiguation page"),
        ("Bree", "[[Category:Place name disambiguation pages]]", "disambiguation page"),
        ("List of towns", "They are:", "list"),
        ("Listowel", "A town.", ""),
    ],
)
def test_pages_that_are_no_articles(title, text, reason):
    assert why_no_article(title, text) == reason


def test_sentences_keep_their_links_whole():
    paragraph = only_paragraph(
        "Dr. Lee saw [[Who Is It? A Tale|Who Is It? A Tale]] 😀 twice. Then [[Bree]] slept.  [[Rohan]] too!"
    )
    sentences = split_sentences(paragraph)
    assert [s.text for s in sentences] == ["Dr. Lee saw Who Is It? A Tale 😀 twice.", "Then Bree slept.", "Rohan too!"]
    assert [links(s) for s in sentences] == [
        [("Who Is It? A Tale", "Who Is It? A Tale")],
        [("Bree", "Bree")],
        [("Rohan", "Rohan")],
    ]


def test_category_heads(nouns):
    assert category_head("Rivers of France", nouns) == "river"
    assert category_head("History of France", nouns) == ""

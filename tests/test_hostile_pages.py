"""Names that are HTML or Markdown, in every page and card that is written of them."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from finener.data_scripts.build import build
from finener.data_scripts.schema import validate_record
from finener.data_scripts.silver.report import make_page
from finener.data_scripts.tables import printable
from finener.metrics.card import CardFacts, write_card
from finener.metrics.report import write_report
from finener.metrics.scoring import Options, judge
from finener.ontology_finener import EntityType, Ontology
from finener.prediction.look import to_html

from answers import cut_answer
from highlight import page as space_page
from reading import Answer, Text
from types_page import browser

NASTY = "</script></style>\n\n```\n<x-evil onload=a>'\" onmouseover=a x='|[l](javascript:a)![i](http://x/y)`<x-evil>"


class Elements(HTMLParser):
    """The elements of a page, and the attributes and addresses they have."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses |= {value for name, value in attrs if name in ("href", "src")}


def is_harmless(page: str) -> bool:
    found = Elements(page)
    bad = any("javascript:" in (address or "") or "//x/y" in (address or "") for address in found.addresses)
    return (
        bool(found.tags) and "x-evil" not in found.tags and not {"onload", "onmouseover"} & found.attributes and not bad
    )


def rendered(card: Path) -> str:
    """A card as the Hub would show it if it let HTML through."""
    text = re.sub(r"\A---\n.*?\n---\n", "", card.read_text(encoding="utf-8"), flags=re.DOTALL)
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


@pytest.fixture(scope="module")
def ontology() -> Ontology:
    return Ontology(
        NASTY, [EntityType("top", NASTY, description=NASTY), EntityType(NASTY, NASTY, ("top",), description=NASTY)]
    )


def record(types, is_gold):
    scores = {} if is_gold else {"score": 0.5, "type_scores": [0.5] * len(types)}
    mentions = [{"start": 0, "end": 3, "types": types, "origin": NASTY, **scores}]
    text = {"id": NASTY, "doc_id": NASTY, "source": NASTY, "text": f"Ann {NASTY}"}
    return validate_record({**text, "mentions": mentions, "exhaustive": True, "typed": True, "ontology": NASTY})


def mention(ontology):
    labels = {type_id: NASTY for type_id in ontology.ids}
    types = {type_id: 0.5 for type_id in ontology.ids}
    return {
        "entity_group": NASTY,
        "label": NASTY,
        "score": 0.5,
        "word": "Ann",
        "start": 0,
        "end": 3,
        "types": types,
        "labels": labels,
    }


def test_the_check_sees_what_it_looks_for():
    assert (
        not is_harmless(f"<p>{NASTY}</p>")
        and not is_harmless('<p title="" onload="a">')
        and is_harmless("<p>&lt;x-evil&gt;</p>")
    )
    assert not is_harmless('<a href="javascript:a">') and not is_harmless('<img src="http://x/y">')


def test_shown_mentions(ontology):
    assert is_harmless(to_html(f"Ann {NASTY}", [mention(ontology)], ontology))


def test_the_error_report(ontology, tmp_path):
    gold, predicted = [record(["top", NASTY], True)], [record(["top"], False)]
    page = write_report(judge(gold, predicted, ontology), tmp_path, Options(resamples=0), gold, NASTY)
    assert is_harmless(page.read_text(encoding="utf-8"))


def test_the_space(ontology):
    html = space_page(cut_answer(Answer(ontology, [Text(NASTY, f"Ann {NASTY}")], [[mention(ontology)]]), 5))
    assert is_harmless(html) and is_harmless(browser("", ontology)) and is_harmless(browser(NASTY, ontology))


def test_the_silver_report(ontology):
    counts = {NASTY: 2}
    report = {
        **dict.fromkeys(("articles", "sentences", "mentions", "types", "types with ancestors"), 2),
        "share of capitalised links with types": 0.5,
        "options": {"dumps": [{"name": NASTY}]},
        "ontology": NASTY,
        **dict.fromkeys(
            ("type counts", "type counts with ancestors", "mentions by origin", "typed links by source"), counts
        ),
        **dict.fromkeys(("rows of type tables by source", "rows of type tables left out"), counts),
        "dropped": {f"link: {NASTY}": 1},
    }
    assert is_harmless(make_page(report, ontology))


def test_a_models_card(ontology, tmp_path):
    figures = {f"typed_{part}": 0.5 for part in ("precision", "recall", "f1")}
    results = {
        **dict.fromkeys(("name", "encoder", "ontology"), NASTY),
        "phase": NASTY,
        "seed": 1,
        "earlier": [],
        "config": {"typing_data": [NASTY], "detection_data": [NASTY], "freeze": NASTY},
        "records": {"train": 1, "dev": 1, "test": 1},
        "type_support": {"types": 1, "mentions": 1, "seen_1": 1, "seen_10": 1, "seen_50": 1},
        "unpredictable": {"mentions": 1, "of": 1, "records": 1},
        "test": {NASTY: figures},
        "shown": [{"text": NASTY, "mentions": []}],
    }
    (tmp_path / "ontology.json").write_text('{"source": null, "target": null}', encoding="utf-8")
    facts = CardFacts(license=NASTY, datasets=[NASTY], language=[NASTY], tags=[NASTY], base_model=NASTY)
    write_card(tmp_path, results, facts, repo=NASTY, revision=NASTY)
    assert is_harmless(rendered(tmp_path / "README.md"))


def test_the_card_of_a_built_corpus(tmp_path):
    line = {"tokens": ["Ann", "left"], "mentions": [{"start": 0, "end": 1, "labels": [NASTY]}]}
    (tmp_path / "a.json").write_text(json.dumps(line) + "\n", encoding="utf-8")
    build("figer_json", {"train": [str(tmp_path / "a.json")]}, tmp_path / "out", {"drop_unknown_types": True})
    card = tmp_path / "out" / "README.md"
    assert "1 types are not in the ontology" in card.read_text(encoding="utf-8") and is_harmless(rendered(card))


def test_a_line_for_the_terminal_steers_none():
    assert printable("a\x1b[31m\nb\r\u2028\u202ec é東😀") == "a [31m b   c é東😀"

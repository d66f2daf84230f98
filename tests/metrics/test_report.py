"""The error report: a page that is safe and self-contained."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from finener.metrics.errors import KINDS, count_kinds, find_cases
from finener.metrics.pairing import pair_records
from finener.metrics.report import build_report, describe_case, frequency_dots, heat_map, render_page, write_report
from finener.metrics.scoring import Options, judge
from finener.ontology_finener import EntityType, Ontology

from worded import TEXT, record


def cases_of(gold, predicted, ontology):
    return list(find_cases(pair_records([record("a", gold)], [record("a", predicted)], ontology), ontology))


SCORED_GOLD = [record("a", {"Ann Lee": ["per.politician"], "Bob": ["per"], "Rome": ["loc"]})]
SCORED = [
    record(
        "a",
        {
            "Ann Lee": ({"per": 0.9, "per.politician": 0.4}, 0.99),
            "Bob": ({"org": 0.7}, 0.8),
            "Monday": ({"loc": 0.6}, 0.3),
        },
    )
]


def test_a_heat_map_keeps_what_matters_and_loses_no_mention():
    cells = [{"gold": f"t{i:02}", "predicted": f"t{i:02}", "mentions": 20.0 - i} for i in range(20)]
    cells += [
        {"gold": "t19", "predicted": "t18", "mentions": 30.0},
        {"gold": None, "predicted": "t00", "mentions": 2.0},
    ]
    small = heat_map(cells, most=4)
    assert small["names"] == ["t00", "t01", "t18", "t19", "16 other types", "no type"] and small["shown"] == 4
    assert sum(cell["mentions"] for row in small["rows"] for cell in row) == sum(c["mentions"] for c in cells)
    assert small["rows"][3][2] == {"mentions": 30.0, "share": 30 / 31}
    assert small["rows"][5][0]["mentions"] == 2.0
    assert small["rows"][4][4]["mentions"] == sum(20 - i for i in range(2, 18))
    assert (small["right"], small["wrong"], small["types"]) == (210.0, 32.0, 20)
    assert heat_map([])["names"] == ["no type"]


TRAIN = [record("t", {"Ann Lee": ["per.politician"], "Rome": ["loc.city.capital"]})]


class Page(HTMLParser):
    """Elements with their attributes, and whether every one is closed."""

    VOID = {"meta", "link", "input", "br", "wbr"}

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def count(self, tag, **attributes):
        return sum(t == tag and attributes.items() <= a.items() for t, a in self.elements)


@pytest.fixture
def report(target):
    return build_report(judge(SCORED_GOLD, SCORED, target), Options(resamples=20), TRAIN)


def test_the_report_tells_what_the_parts_found(report, target):
    judged = judge(SCORED_GOLD, SCORED, target)
    assert report["kinds"] == dict.fromkeys(KINDS, 0) | {
        "too_generic": 0,
        "correct": 1,
        "confused": 1,
        "missed": 1,
        "spurious": 1,
    }
    assert report["kinds"] == count_kinds(find_cases(judged.pairs, target))
    assert [case["kind"] for case in report["worst"]] == ["confused", "missed", "spurious"]  # 0.56, 0.5, 0.18
    assert set(report["examples"]) == {"correct", "confused", "missed", "spurious"}
    assert report["ontology"] == {"name": "tgt", "types": 10, "levels": 3}
    assert {row["type"]: row["training"] for row in report["types"]}["loc"] == 1
    assert json.loads(json.dumps(report)) == report


def test_a_case_shows_its_mentions_in_the_text(target):
    (case,) = cases_of({"Ann Lee": ["per.politician"]}, {"Lee met": ({"per": 0.75}, 0.5)}, target)
    shown = describe_case(case, target)
    assert [(s["text"], s["gold"], s["predicted"]) for s in shown["segments"]] == [
        ("Ann ", True, False),
        ("Lee", True, True),
        (" met", False, True),
        (TEXT[11:], False, False),
    ]
    assert shown["gold"] == {"start": 0, "end": 7, "text": "Ann Lee", "types": ["per.politician"]}
    assert shown["predicted"]["types"] == [["per", 0.75]]


def test_a_long_text_is_cut_around_the_mention_at_spaces(target):
    text = "word " * 200 + "Ann Lee" + " word" * 200
    gold = [record("a", {(1000, 1007): ["per"]}, text=text)]
    (case,) = find_cases(pair_records(gold, [record("a", {}, text=text)], target), target)
    first, before, mention, after, last = (segment["text"] for segment in describe_case(case, target)["segments"])
    assert (first, mention, last) == ("…", "Ann Lee", "…")
    assert before == " word" * 31 + " " and after == " word" * 32


def test_the_page_holds_every_part_and_loads_nothing(report):
    text = render_page(report, "My model")
    page = Page(text)
    assert page.count("article") == 3
    assert page.count("svg") == 5  # two curves for types, two for mentions, F1 against training mentions
    assert page.count("table", **{"class": "heat"}) == 2  # loc.city.capital is in training only
    assert {a["href"] for t, a in page.elements if t == "a"} == {
        f"#{a['id']}" for t, a in page.elements if t == "section"
    }
    assert not any(name in a for _, a in page.elements for name in ("src", "srcset", "action", "data", "poster"))
    assert all(a["href"].startswith(("#", "data:")) for _, a in page.elements if "href" in a)
    assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttp|\bimport\(", text)
    csp = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert csp.startswith("default-src 'none';")
    assert "None" not in page.words and "Undefined" not in text and "{{" not in text
    for name in ("mention", "typed", "partial", "macro", "pair"):
        assert f"{report['scores'][f'{name}_f1']:.3f}" in page.words


def test_all_text_from_records_is_escaped():
    evil = "<script>alert(1)</script> \"'&<img src=x onerror=alert(2)>"
    kind = "<b>\"type'"
    ontology = Ontology(evil, [EntityType(kind, evil), EntityType("other")])
    gold = [record(evil, {(0, 25): [kind], (26, 30): ["other"]}, evil, text=evil)]
    predicted = [record(evil, {(0, 25): ({"other": 0.5}, 0.5), (27, 30): ({kind: 0.4}, 1.0)}, evil, text=evil)]
    text = render_page(build_report(judge(gold, predicted, ontology), Options(resamples=0), gold), evil)
    page = Page(text)
    assert page.count("script") == 1 and page.count("img") == 0 and page.count("b") == len(re.findall("<b>", text))
    assert not any(name.startswith("on") for _, a in page.elements for name in a)
    assert "<script>alert" not in text and "<b>\"type'" not in text
    assert "".join(page.words).count("<script>alert(1)</script>") >= 3  # readers still see it
    assert not any(
        "onerror" in value for _, a in page.elements for n, value in a.items() if n not in ("title",) and value
    )


def test_gold_that_is_not_exhaustive_is_told_on_the_page(target):
    gold = [{**r, "exhaustive": False} for r in SCORED_GOLD]
    predicted = [
        record(
            "a",
            {
                "Ann Lee": ({"per": 0.9}, 0.9),
                "Bob": ({"per": 0.9}, 0.9),
                "Rome": ({"per": 0.9}, 0.9),
                "Monday": ({"loc": 0.5}, 0.5),
            },
        )
    ]
    report = build_report(judge(gold, predicted, target), Options(resamples=0))
    assert set(report["calibration"]) == {"types"} and report["basis"] == "gold mentions"
    assert report["kinds"]["spurious"] == report["kinds"]["missed"] == 0
    words = "".join(Page(render_page(report, "x")).words)
    assert "1 of 1 gold records do not mark every mention" in words
    assert "at the gold mentions" in words and "give them with --train" in words


@pytest.mark.parametrize(
    "predicted", [{}, {"Bob": ["thing"]}, {"Bob": ({"thing": 0.5}, 0.5), "Rome": ({"thing": 1.0}, 1.0)}]
)
@pytest.mark.parametrize("gold", [{}, {"Bob": ["thing"]}, {"Bob": ["thing"], "Rome": ["thing"]}])
def test_an_ontology_of_one_type_and_next_to_no_mentions(gold, predicted):
    one = Ontology("tgt", [EntityType("thing")])
    judged = judge([record("a", gold)], [record("a", predicted)], one)
    text = render_page(build_report(judged, Options(resamples=0), [record("t", {"Bob": ["thing"]})]), "one")
    assert "nan" not in "".join(Page(text).words)


def test_three_thousand_types_stay_a_page_that_opens(tmp_path):
    types = [EntityType(f"r{i}") for i in range(60)]
    types += [EntityType(f"r{i % 60}.{i}", "", (f"r{i % 60}",)) for i in range(2940)]
    ontology = Ontology("tgt", types)
    gold = [record(str(i), {"Bob": [t.id], "Rome": ["r0"]}) for i, t in enumerate(types)]
    predicted = [record(str(i), {"Bob": ({types[i // 2].id: 0.5}, 0.9)}) for i in range(len(types))]
    page = write_report(
        judge(gold, predicted, ontology), tmp_path / "new" / "folder", Options(resamples=20), gold, "large"
    )
    assert page == tmp_path / "new" / "folder" / "index.html"
    parsed = Page(page.read_text(encoding="utf-8"))
    assert parsed.count("circle", **{"class": "type"}) == 3000
    assert parsed.count("article") == 50
    assert page.stat().st_size < 3_000_000
    report = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    assert len(report["types"]) == 3000 and len(report["worst"]) == 50
    assert [len(heat_map(level)["names"]) for level in report["confusions"]] == [14, 14]


def test_dots_are_placed_by_the_logarithm_of_training_mentions():
    rows = [{"type": "a", "gold": 9, "f1": 0.5, "training": 99}, {"type": "b", "gold": 1, "f1": 1.0, "training": 9}]
    rows += [{"type": "c", "gold": 0, "f1": 0.0, "training": 7}, {"type": "d", "gold": 4, "f1": 0.0, "training": 0}]
    found = frequency_dots(rows)
    assert [(d["row"]["type"], d["x"], d["y"]) for d in found["dots"]] == [
        ("a", 1.0, 0.5),
        ("d", 0.0, 0.0),
        ("b", 0.5, 1.0),
    ]
    assert [n for _, n in found["ticks"]] == [0, 1, 10]
    assert frequency_dots([{"type": "a", "gold": 9, "f1": 0.5}]) is None

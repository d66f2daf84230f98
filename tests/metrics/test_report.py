"""The error report: kinds of error, confusions, calibration, and a page that is safe and self-contained."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import metrics
from finener.metrics.calibration import ScoredItems, calibration, scored_mentions, scored_types, sweep
from finener.metrics.errors import KINDS, NOTHING, confusions, count_kinds, find_cases, is_group_name
from finener.metrics.pairing import pair_records
from finener.metrics.report import build_report, describe_case, frequency_dots, heat_map, render_page, write_report
from finener.metrics.scoring import Options, judge, score
from finener.ontology_finener import EntityType, Ontology
from finener.prediction.direct import cut_types

TEXT = "Ann Lee met Bob at Acme in Rome on Monday with Zoë and the Syrians."


def span(words):
    return TEXT.index(words), TEXT.index(words) + len(words)


def record(record_id, mentions, ontology="tgt", text=TEXT, **changes):
    """Mentions as {words or span: types}, with scores as {words or span: ({type: score}, mention score)}."""
    rows = []
    for place, types in mentions.items():
        start, end = span(place) if isinstance(place, str) else place
        scored, score = types if isinstance(types, tuple) else (dict.fromkeys(types), None)
        rows.append(
            {
                "start": start,
                "end": end,
                "types": list(scored),
                "score": score,
                "type_scores": list(scored.values()) if score is not None else None,
            }
        )
    return {
        "id": record_id,
        "doc_id": record_id,
        "source": "",
        "text": text,
        "mentions": rows,
        "exhaustive": True,
        "typed": True,
        "ontology": ontology,
    } | changes


def cases_of(gold, predicted, ontology):
    return list(find_cases(pair_records([record("a", gold)], [record("a", predicted)], ontology), ontology))


# -------------------------------------------------------------------- kinds of error


@pytest.mark.parametrize(
    ("gold", "predicted", "kind"),
    [
        ({"Bob": ["per.politician"]}, {"Bob": ["per", "per.politician"]}, "correct"),
        ({"Bob": ["per.politician"]}, {"Bob": ["per", "per.artist"]}, "confused"),  # a sibling
        ({"Bob": ["per.artist.painter"]}, {"Bob": ["per.politician"]}, "confused"),  # another branch below the root
        ({"Bob": ["per"]}, {"Bob": ["org"]}, "confused"),  # another root
        ({"Bob": ["per", "org"]}, {"Bob": ["per", "loc"]}, "confused"),  # one of two is wrong
        ({"Bob": ["per"]}, {"Bob": ["per.politician"]}, "too_specific"),
        ({"Bob": ["per"]}, {"Bob": ["per", "org"]}, "too_specific"),  # one type more
        ({"Bob": ["per.artist.painter"]}, {"Bob": ["per"]}, "too_generic"),
        ({"Bob": ["per"]}, {"Bob": []}, "too_generic"),
        ({}, {"Syrians": ["per"]}, "group"),
        ({}, {"Monday": ["loc"]}, "spurious"),
        ({"Ann Lee": ["per"]}, {"Ann": ["per"]}, "boundary"),
        ({"Ann": ["per"]}, {"Ann Lee": ["per"]}, "boundary"),
        ({"Ann": ["per"]}, {}, "missed"),
    ],
)
def test_every_kind_of_error(target, gold, predicted, kind):
    assert [case.kind for case in cases_of(gold, predicted, target)] == [kind]


@pytest.mark.parametrize(
    ("name", "gold", "predicted", "kind"),
    [
        ("Southern Maryland", "loc.position.region", "gpe.provincestate.provincestate", "confused"),
        ("Syrians", None, "gpe.country.country", "group"),
        ("Obama", "per.politician", "per.politician.headofgovernment", "too_specific"),
        ("SANA news agency", "org.commercialorganization.newsagency", "org", "too_generic"),
    ],
)
def test_the_papers_own_examples_are_of_the_kinds_that_it_names(name, gold, predicted, kind):
    aida = Ontology.from_json(Path(metrics.__file__).parent.parent / "ontologies" / "aida.json")
    text = f"It was {name}."
    place = (7, 7 + len(name))
    records = [record("a", {place: [types]} if types else {}, "aida", text) for types in (gold, predicted)]
    pairs = pair_records([records[0]], [records[1]], aida)
    assert [case.kind for case in find_cases(pairs, aida)] == [kind]


def test_each_mention_comes_once_and_the_best_overlap_wins(target):
    gold = {"Ann Lee": ["per"], "Bob at Acme": ["org"], "Rome": ["loc"]}
    predicted = {"Lee met Bob": ["per"], "at Acme": ["org"], "Rome": ["loc"], "Monday": ["loc"]}
    found = [
        (case.kind, case.gold and TEXT[slice(*case.gold)], case.predicted and TEXT[slice(*case.predicted)])
        for case in cases_of(gold, predicted, target)
    ]
    # "Lee met Bob" overlaps both; "Bob at Acme" overlaps "at Acme" more, so it is left to "Ann Lee"
    assert found == [
        ("boundary", "Ann Lee", "Lee met Bob"),
        ("boundary", "Bob at Acme", "at Acme"),
        ("correct", "Rome", "Rome"),
        ("spurious", None, "Monday"),
    ]


def test_one_prediction_over_two_gold_mentions_is_a_boundary_error_and_a_miss(target):
    kinds = [case.kind for case in cases_of({"Ann": ["per"], "Lee": ["per"]}, {"Ann Lee": ["per"]}, target)]
    assert kinds == ["boundary", "missed"]


def test_cost_is_sureness_times_distance(target):
    def cost(gold, predicted):
        (case,) = cases_of(gold, predicted, target)
        return case.sureness, case.cost

    wrong = {"per": 0.9, "per.politician": 0.5}
    assert cost({"Bob": ["org"]}, {"Bob": (wrong, 0.8)}) == (pytest.approx(0.4), pytest.approx(0.4))  # 0.8 × 0.5
    # the parent earns a half, from either side
    assert cost({"Bob": ["per.politician"]}, {"Bob": ({"per": 0.9}, 0.8)}) == pytest.approx((0.72, 0.36))
    # 3 of 7 characters and the right type
    assert cost({"Ann Lee": ["per"]}, {"Ann": ({"per": 1.0}, 0.7)}) == pytest.approx((0.7, 0.7 * (1 - 3 / 7)))
    assert cost({"Bob": ["per"]}, {}) == (0.5, 0.5)
    assert cost({}, {"Bob": ["per"]}) == (1.0, 1.0)  # no scores told: sure
    assert cost({"Bob": ["per"]}, {"Bob": ["per"]}) == (1.0, 0.0)


@pytest.mark.parametrize(
    "name",
    [
        "Syrians",
        "South Korean",
        "Ukrainian",
        "the Dutch",
        "Japanese",
        "Turkish",
        "Irishmen",
        "Frenchman",
        "Israeli",
        "Germans",
        "Zulus",
    ],
)
def test_names_of_peoples(name):
    assert is_group_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "Japan",
        "Helsinki",
        "Vatican",
        "Syria",
        "Adrian",
        "The Guardian",
        "cheese",
        "polish",
        "Paris",
        "Bob",
        "Germany",
        "Roman Catholic Church",
    ],
)
def test_names_of_no_peoples(name):
    assert not is_group_name(name)


# -------------------------------------------------------------------- confusions


def named(level, ontology):
    names = {NOTHING: None} | dict(enumerate(ontology.ids))
    return {(names[i], names[j]): n for (i, j), n in level.items()}


def test_confusions_worked_by_hand(target):
    gold = {
        "Ann Lee": ["per.artist.painter"],  # found as politician
        "Bob": ["per.politician"],  # found as its root only
        "Acme": ["org.company"],  # right
        "Rome": ["loc.city"],  # missed
        "Zoë": ["org", "loc"],  # two types, one wrong instead of both
    }
    predicted = {
        "Ann Lee": ["per.politician"],
        "Bob": ["per"],
        "Acme": ["org.company"],
        "Monday": ["loc"],
        "Zoë": ["per"],
    }
    roots, second, third = [named(level, target) for level in confusions(cases_of(gold, predicted, target), target)]
    assert roots == {
        ("per", "per"): 2,
        ("org", "org"): 1,
        ("loc", None): 1,
        (None, "loc"): 1,
        ("org", "per"): 1,
        ("loc", "per"): 1,
    }
    assert second == {
        ("per.artist", "per.politician"): 1,
        ("per.politician", None): 1,
        ("org.company", "org.company"): 1,
        ("loc.city", None): 1,
    }
    assert third == {("per.artist.painter", None): 1}


def test_a_gold_type_is_shared_out_among_several_wrong_ones(target):
    (roots, *_) = confusions(cases_of({"Bob": ["per"]}, {"Bob": ["org", "loc"]}, target), target)
    assert named(roots, target) == {("per", "org"): 0.5, ("per", "loc"): 0.5}


def test_a_boundary_error_is_a_miss_and_a_spurious_mention(target):
    (roots, *_) = confusions(cases_of({"Ann Lee": ["per"]}, {"Ann": ["per"]}, target), target)
    assert named(roots, target) == {("per", None): 1, (None, "per"): 1}


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


# -------------------------------------------------------------------- calibration, thresholds


def items(scores, right, gold=10):
    return ScoredItems(np.array(scores), np.array(right, bool), np.ones(len(scores), bool), gold)


def test_calibration_worked_by_hand():
    found = calibration(items([0.62, 0.64, 0.66, 0.68, 0.95, 1.0], [1, 0, 0, 1, 1, 1]))
    low, high = found["bins"]
    assert low == pytest.approx({"low": 0.6, "high": 0.7, "items": 4, "score": 0.65, "right": 0.5})
    assert high == pytest.approx(
        {"low": 0.9, "high": 1.0, "items": 2, "score": 0.975, "right": 1.0}
    )  # 1.0 is in the last bin
    assert found["ece"] == pytest.approx((4 * 0.15 + 2 * 0.025) / 6)
    assert calibration(items([], [])) == {"items": 0, "ece": 0.0, "bins": []}


def test_perfect_calibration_has_no_error():
    assert calibration(items([0.75] * 4, [1, 1, 1, 0]))["ece"] == pytest.approx(0.0)


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


def test_types_are_calibrated_where_the_mention_is_right(target):
    (pair,) = pair_records(SCORED_GOLD, SCORED, target)
    types = scored_types([pair], target)
    assert sorted(zip(types.scores, types.right, types.is_comparable, strict=True)) == [
        (0.4, True, True),
        (0.6, False, False),  # of Monday, which is no mention
        (0.7, False, True),
        (0.9, True, True),
    ]
    assert types.gold == 4
    assert calibration(types)["items"] == 3
    mentions = scored_mentions([pair])
    assert sorted(zip(mentions.scores, mentions.right, strict=True)) == [(0.3, False), (0.8, True), (0.99, True)]
    assert mentions.gold == 3


def test_a_sweep_scores_what_is_left_above_each_threshold(target):
    pairs = pair_records(SCORED_GOLD, SCORED, target)
    rows = sweep(scored_types(pairs, target), (0.0, 0.4, 0.5, 0.8, 0.95))
    assert [(r["predicted"], r["precision"], r["recall"]) for r in rows] == [
        (4, 2 / 4, 2 / 4),
        (4, 2 / 4, 2 / 4),  # a score equal to the threshold stays
        (3, 1 / 3, 1 / 4),
        (1, 1.0, 1 / 4),
        (0, 0.0, 0.0),
    ]
    for row in rows:  # the same as cutting the types of the records
        cut = score(judge(SCORED_GOLD, cut_types(SCORED, row["threshold"]), target), Options(resamples=0))
        assert cut["scores"]["pair_f1"] == pytest.approx(row["f1"])


# -------------------------------------------------------------------- the page

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

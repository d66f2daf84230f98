"""Kinds of error and confusions."""

from __future__ import annotations

from pathlib import Path

import pytest

import metrics
from finener.metrics.errors import NOTHING, confusions, find_cases, is_group_name
from finener.metrics.pairing import pair_records
from finener.ontology_finener import Ontology

from worded import TEXT, record


def cases_of(gold, predicted, ontology):
    return list(find_cases(pair_records([record("a", gold)], [record("a", predicted)], ontology), ontology))


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

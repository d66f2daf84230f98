"""Whether scores mean what they say, and what a threshold leaves."""

from __future__ import annotations

import numpy as np
import pytest

from finener.metrics.calibration import ScoredItems, calibration, scored_mentions, scored_types, sweep
from finener.metrics.pairing import pair_records
from finener.metrics.scoring import Options, judge, score
from finener.prediction.direct import cut_types

from worded import record


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
    assert mentions.gold == 3 and mentions.is_comparable.all()


def test_a_sweep_goes_by_twentieths_up_to_nearly_one():
    found = [row["threshold"] for row in sweep(items([0.5], [1]))]
    assert found == pytest.approx([*np.arange(0, 0.96, 0.05), 0.99])


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

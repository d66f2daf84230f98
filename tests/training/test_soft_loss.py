"""W of the soft loss, from what a model confuses."""

from __future__ import annotations

import pytest
import torch

from finener.training.soft_loss import estimate_credit

from runs import record


def test_confusions_smoothed_by_a_prior_are_weights_by_hand(target):
    gold = [
        record("0", "[Ada|per.politician] met [Bo|per.politician], [Cy|per.politician] and [Di|per.politician]", "tgt"),
        record("1", "[Rome|loc.city] or [Oslo|loc.city,org]; [Bree|]", "tgt"),
    ]
    guess = [
        record("0", "[Ada|per,per.politician] met [Bo|per.politician], [Cy|per] and [Di|org]", "tgt"),
        record("1", "[Rome|org] or [Oslo|org]; [Bree|org]", "tgt"),
    ]
    prior = target.soft_label_weights(
        0.5
    )  # of per.politician: itself 2/3, per 1/3; of org: itself; of loc.city: itself 2/3, loc 1/3
    found = estimate_credit(gold, guess, target, prior, strength=3.0)
    politician, per, org, loc, city = (target.index(t) for t in ("per.politician", "per", "org", "loc", "loc.city"))
    expected = torch.zeros(10)
    expected[[politician, per, org]] = torch.tensor([2 + 2.0, 1 + 1.0, 1.0]) / 7
    torch.testing.assert_close(found[politician], expected)
    expected = torch.zeros(10)
    expected[[city, loc, org]] = torch.tensor([2.0, 1.0, 1.5]) / 4.5  # two gold types share a mention
    torch.testing.assert_close(found[city], expected)
    never_seen = target.index("loc.city.capital")
    torch.testing.assert_close(found[never_seen], prior[never_seen] / prior[never_seen].sum())


def test_no_confusion_is_worth_more_than_the_gold_type(target):
    gold, guess = ([record(str(i), f"[Ann|{t}]", "tgt") for i in range(50)] for t in ("per", "org"))
    found = estimate_credit(gold, guess, target, target.soft_label_weights(0.5), strength=2.0)
    assert found[target.index("per")][[target.index("per"), target.index("org")]].tolist() == [0.5, 0.5]
    assert found.sum(1).tolist() == pytest.approx([1.0] * 10)


def test_confusions_need_the_same_mentions_and_some_types(target):
    prior, gold = target.soft_label_weights(0.5), [record("7", "[Ann|per] left", "tgt")]
    with pytest.raises(ValueError, match="record '7': the predictions are not of the gold mentions"):
        estimate_credit(gold, [record("7", "Ann [left|per]", "tgt")], target, prior)
    with pytest.raises(ValueError, match="no gold mentions with types of 'tgt'"):
        estimate_credit([], [], target, prior)

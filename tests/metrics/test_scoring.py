"""What can be measured of which records, by level, type and name, and how sure it is."""

from __future__ import annotations

import re

import numpy as np
import pytest

from finener.metrics import intervals
from finener.metrics.breakdown import (
    level_counts,
    macro_over_types,
    scores_by_level,
    scores_by_training,
    scores_by_type,
    type_counts,
)
from finener.metrics.counting import COUNTS, count_end_to_end, count_typing, no_counts, training_counts
from finener.metrics.intervals import _interval, bootstrap, bootstrap_parts, paired_bootstrap
from finener.metrics.pairing import PairingError, pair_records
from finener.metrics.scoring import Options, judge, record_counts, score
from finener.ontology_finener import EntityType, Ontology

from judged import ANN, BOB, GOLD, PREDICTED, ROME, record

# -------------------------------------------------------------------- break-downs


def test_every_level_and_type_worked_by_hand(target):
    counts = type_counts(pair_records(GOLD, PREDICTED, target), target)
    levels = [(r["level"], r["types"], r["gold"], r["predicted"], r["hit"]) for r in scores_by_level(counts, target)]
    assert levels == [
        # per, org, loc: gold 3 per, 1 org, 1 loc; predicted 3 per and 3 loc
        (0, 3, 5, 6, 4),
        # gold politician, company, artist, city; predicted politician twice and city
        (1, 4, 4, 3, 2),
        (2, 2, 2, 0, 0),  # painter, capital
    ]
    rows = {r["type"]: r for r in scores_by_type(counts, target)}
    assert set(rows) == set(target.ids) - {"per.artist.singer"}
    assert rows["per.politician"] | {"label": ""} == {
        "type": "per.politician",
        "label": "",
        "level": 1,
        "gold": 1,
        "predicted": 2,
        "hit": 1,
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
    }
    assert (rows["org"]["gold"], rows["org"]["predicted"], rows["org"]["f1"]) == (1, 0, 0.0)
    # the 9 types in gold: per 1, politician 2/3, loc 1/2, city 1, five that were never right
    assert macro_over_types(counts)["f1"] == pytest.approx((1 + 2 / 3 + 1 / 2 + 1) / 9)
    assert macro_over_types(np.zeros((3, 3))) == {}


def test_the_levels_of_the_records_add_up_to_those_of_all(target):
    pairs = pair_records(GOLD, PREDICTED, target)
    by_record = level_counts(pairs, target)
    assert by_record[0].tolist() == [[3, 4, 2], [2, 2, 1], [0, 0, 0]]
    levels = scores_by_level(type_counts(pairs, target), target)
    assert by_record.sum(0).tolist() == [[row[name] for name in ("gold", "predicted", "hit")] for row in levels]


def test_types_are_put_together_by_tens_of_training_mentions(target):
    rows = scores_by_training(np.zeros((10, 3), int), np.zeros(10, int))
    assert [(row["least"], row["most"]) for row in rows] == [(0, 0), (1, 9), (10, 99), (100, 999), (1000, None)]


def test_types_by_training_mentions_worked_by_hand(target):
    train = [
        record("t1", {ANN: ["per.politician"], BOB: ["per"], ROME: ["loc.city"]}),
        record("t2", {ANN: ["per"]}),
        record("other", {ANN: ["artist"]}, ontology="src"),
    ]
    training = training_counts(train, target)
    assert dict(zip(target.ids, training.tolist(), strict=True)) == dict.fromkeys(target.ids, 0) | {
        "per": 3,
        "per.politician": 1,
        "loc": 1,
        "loc.city": 1,
    }
    counts = type_counts(pair_records(GOLD, PREDICTED, target), target)
    rows = scores_by_training(counts, training, bounds=(1, 3))
    assert [(r["least"], r["most"], r["types"], r["gold"], r["predicted"], r["hit"]) for r in rows] == [
        (0, 0, 5, 5, 0, 0),  # artist, painter, org, company, capital
        (1, 2, 3, 3, 6, 3),  # politician 1 of 2, loc 1 of 3, city 1 of 1
        (3, None, 1, 3, 3, 3),  # per
    ]
    assert {r["type"]: r["training"] for r in scores_by_type(counts, target, training)}["per"] == 3


def test_seen_and_unseen_names_worked_by_hand(target):
    train = [record("t", {(0, 7): [], (9, 13): []}, text="ANN LEE, ROME", typed=False)]  # found whatever the case
    result = score(judge(GOLD, PREDICTED, target), Options(resamples=0), train)
    seen, unseen = result["seen"]["seen"], result["seen"]["unseen"]
    # seen: Ann Lee in both records, Rome; all found, one of three with all its types
    assert (seen["mention_f1"], seen["typed_f1"]) == (1.0, pytest.approx(1 / 3))
    # unseen: Bob and Acme in gold; Monday besides in the predictions, and no types right
    assert unseen["mention_precision"] == pytest.approx(2 / 3) and unseen["mention_recall"] == 1.0
    assert unseen["typed_f1"] == 0.0
    assert seen["given_strict"] == pytest.approx(1 / 3) and unseen["given_strict"] == 0.0
    # (span, type) pairs: seen 2 + 3 + 3 in gold, 2 + 1 + 2 predicted, all of these right
    assert (seen["pair_precision"], seen["pair_recall"]) == (1.0, pytest.approx(5 / 8))


# -------------------------------------------------------------------- intervals


def detection_counts(rows):
    """Rows of (gold, predicted, hit) as counts."""
    names = ("mention_gold", "mention_predicted", "mention_hit")
    return np.array([[(no_counts() | dict(zip(names, row, strict=True)))[n] for n in COUNTS] for row in rows])


def test_an_interval_leaves_out_as_many_values_below_as_above():
    assert _interval(np.arange(101.0), 0.9) == pytest.approx((5.0, 95.0))


def test_the_bootstrap_equals_drawing_units_one_by_one():
    rng = np.random.default_rng(3)
    gold = rng.integers(1, 6, 30)
    hit = rng.integers(0, gold + 1)
    rows = np.stack([gold, gold, hit], 1)
    units = [f"d{i // 2}" for i in range(30)]  # two records for each document
    recalls = []
    for _ in range(4000):
        drawn = rng.integers(0, 15, 15)
        parts = rows.reshape(15, 2, 3)[drawn].reshape(-1, 3).sum(0)
        recalls.append(parts[2] / parts[0])
    expected = np.quantile(recalls, [0.025, 0.975])
    assert bootstrap(detection_counts(rows), units, 4000)["mention_recall"] == pytest.approx(tuple(expected), abs=0.01)


def test_the_seed_decides_the_interval_and_the_block_size_does_not(monkeypatch):
    rows = [(2, 2, i % 3) for i in range(20)]
    counts, units = detection_counts(rows), range(20)
    first = bootstrap(counts, units, 200, seed=1)
    assert bootstrap(counts, units, 200, seed=1) == first != bootstrap(counts, units, 200, seed=2)
    for rows_at_once in (60, 5):
        monkeypatch.setattr(intervals, "ROWS_AT_ONCE", rows_at_once)
        assert bootstrap(counts, units, 200, seed=1) == first


def test_records_of_one_document_stay_together():
    """Ten records each of a perfect and a hopeless document: recall is anything from 0 to 1, whatever single records say."""
    counts = detection_counts([(1, 1, 1)] * 10 + [(1, 1, 0)] * 10)
    by_document = bootstrap(counts, ["good"] * 10 + ["bad"] * 10)["mention_recall"]
    by_record = bootstrap(counts, range(20))["mention_recall"]
    assert by_document == (0.0, 1.0)
    assert 0.2 < by_record[0] < 0.4 and 0.6 < by_record[1] < 0.8


def test_resamples_without_anything_to_measure_do_not_count():
    counts = detection_counts([(1, 1, 1), (0, 0, 0)])
    assert bootstrap(counts, range(2))["mention_f1"] == (1.0, 1.0)


def test_a_system_against_itself_differs_by_nothing():
    counts = detection_counts([(2, 2, i % 3) for i in range(12)])
    assert paired_bootstrap(counts, counts, range(12))["mention_f1"] == {
        "difference": 0.0,
        "low": 0.0,
        "high": 0.0,
        "p": 1.0,
    }


def test_pairing_sees_a_small_difference_that_single_intervals_hide():
    """One more hit in every document, whose difficulty varies much more than that."""
    hits = [i % 9 for i in range(18)]
    better = detection_counts([(10, 10, hit + 1) for hit in hits])
    worse = detection_counts([(10, 10, hit) for hit in hits])
    found = paired_bootstrap(better, worse, range(18))["mention_recall"]
    assert found == pytest.approx({"difference": 0.1, "low": 0.1, "high": 0.1, "p": 0.001})
    assert bootstrap(better, range(18))["mention_recall"][0] < bootstrap(worse, range(18))["mention_recall"][1]
    assert paired_bootstrap(worse, better, range(18))["mention_recall"]["difference"] == pytest.approx(-0.1)


def test_p_is_twice_the_share_of_resamples_on_the_other_side():
    better, worse = detection_counts([(1, 1, 1), (1, 1, 1)]), detection_counts([(1, 1, 0), (1, 1, 1)])
    # The second record alone is drawn in a quarter of the resamples: then there is no difference.
    assert paired_bootstrap(better, worse, range(2))["mention_f1"]["p"] == pytest.approx(0.5, abs=0.05)


def test_intervals_are_of_1000_resamples_of_seed_0_at_95_percent():
    counts = detection_counts([(3, 3, i % 4) for i in range(9)])
    told = {"resamples": 1000, "seed": 0, "level": 0.95}
    assert bootstrap(counts, range(9)) == bootstrap(counts, range(9), **told)
    assert bootstrap(counts, range(9)) != bootstrap(counts, range(9), seed=1)
    parts = counts[:, None, :3]
    assert bootstrap_parts(parts, range(9)) == bootstrap_parts(parts, range(9), **told)
    assert bootstrap_parts(parts, range(9)) != bootstrap_parts(parts, range(9), seed=1)
    other = detection_counts([(3, 3, i * i % 3) for i in range(9)])
    assert paired_bootstrap(counts, other, range(9)) == paired_bootstrap(counts, other, range(9), **told)
    assert paired_bootstrap(counts, other, range(9)) != paired_bootstrap(counts, other, range(9), seed=1)


def test_scores_that_one_system_was_not_measured_by_are_not_compared():
    found, nothing = detection_counts([(0, 2, 0)] * 4), detection_counts([(0, 0, 0)] * 4)
    assert set(paired_bootstrap(found, found, range(4))) == {"mention_precision", "mention_recall", "mention_f1"}
    assert paired_bootstrap(found, nothing, range(4)) == paired_bootstrap(nothing, found, range(4)) == {}


def test_a_part_with_a_single_pair_has_an_interval():
    counts = np.array([[[1, 0, 0], [0, 0, 0]]] * 2)  # gold has one pair in each record of the first part
    counts[1] = 0
    assert bootstrap_parts(counts, range(2), 50) == [(0.0, 0.0), None]
    single = [bootstrap_parts(counts, range(2), 1, seed)[0] for seed in range(40)]
    assert set(single) == {(0.0, 0.0), None} and single.count(None) < 20, "a quarter of the resamples draw no pair"


def test_one_unit_or_unequal_records_are_an_error():
    counts = detection_counts([(1, 1, 1)] * 3)
    with pytest.raises(ValueError, match="at least two, got 1"):
        bootstrap(counts, ["d"] * 3)
    with pytest.raises(ValueError, match="the same records; got 3 and 2"):
        paired_bootstrap(counts, counts[:2], range(3))


def test_the_interval_of_the_only_level_is_that_of_all_pairs():
    flat = Ontology("tgt", [EntityType("person"), EntityType("place")])
    gold = [record(str(i), {ANN: ["person"], ROME: ["place"]}) for i in range(5)]
    found = [record(str(i), {ANN: ["person"], **({ROME: ["place", "person"]} if i % 2 else {})}) for i in range(5)]
    result = score(judge(gold, found, flat), Options(resamples=200))
    (row,) = result["levels"]
    assert row["f1"] == pytest.approx(result["scores"]["pair_f1"])
    assert row["interval"] == pytest.approx(result["intervals"]["pair_f1"])
    assert row["interval"][0] < row["f1"] < row["interval"][1]


def test_a_level_without_a_pair_has_no_interval(target):
    gold = [record(str(i), {ANN: ["per"]}) for i in range(3)]
    levels = score(judge(gold, gold, target), Options(resamples=20))["levels"]
    assert [row["interval"] for row in levels] == [[1.0, 1.0], None, None]
    assert "interval" not in score(judge(gold, gold, target), Options(resamples=0))["levels"][0]


# -------------------------------------------------------------------- what can be measured


def test_gold_that_is_not_exhaustive_leaves_the_types_of_gold_mentions(target):
    gold = [{**r, "exhaustive": False} for r in GOLD]
    result = score(judge(gold, PREDICTED, target), Options(resamples=0))
    assert {name.split("_")[0] for name in result["scores"]} == {"given"}
    assert result["basis"] == "gold mentions"
    # Monday is not held against it: 3 per, 1 org, 1 loc in gold, 3 per and 2 loc predicted
    assert [result["levels"][0][k] for k in ("gold", "predicted", "hit")] == [5, 5, 4]
    assert "2 of 2 gold records do not mark every mention" in result["notes"][0]


def test_records_are_judged_for_what_they_tell(target):
    untyped = record("c", {ANN: []}, typed=False)
    gold = [GOLD[0], {**GOLD[1], "exhaustive": False}, untyped]
    predicted = [*PREDICTED, record("c", {ANN: ["per"]})]
    result = score(judge(gold, predicted, target), Options(resamples=0))
    counts = dict(zip(COUNTS, record_counts(judge(gold, predicted, target)).sum(0), strict=True))
    assert (counts["mention_gold"], counts["typed_gold"], counts["given"]) == (4, 3, 5)
    assert len(result["notes"]) == 2 and "made of the others" in result["notes"][0] and "1 of 3" in result["notes"][1]


def test_predictions_on_the_gold_mentions_measure_typing_alone(target):
    found = [PREDICTED[0], {**PREDICTED[1], "mentions": PREDICTED[1]["mentions"][:1]}]  # Rome was not found
    judged = judge(GOLD, found, target)
    assert "1 of 5 gold mentions are not among the predicted ones" in judged.notes[0]
    assert "given_strict" not in score(judged, Options(resamples=0))["scores"]
    result = score(judge(GOLD, found, target, given=PREDICTED), Options(resamples=0))
    assert result["notes"] == []
    assert result["scores"]["given_strict"] == 1 / 5 and result["scores"]["mention_recall"] == 4 / 5
    with pytest.raises(PairingError, match="1 of 5 gold mentions have no prediction, such as 'Rome' of record 'b'"):
        judge(GOLD, PREDICTED, target, given=found)


def test_exactly_the_gold_mentions_are_suspicious(target):
    perfect = judge(GOLD, GOLD, target)
    assert "exactly the gold ones" in perfect.notes[0]
    assert set(score(perfect, Options(resamples=0))["scores"].values()) == {1.0}


def test_a_record_without_a_document_is_one(target):
    alone = {key: value for key, value in GOLD[0].items() if key != "doc_id"}
    assert [pair_records([gold], PREDICTED, target)[0].doc_id for gold in (GOLD[0], alone)] == ["d1", "a"]


def test_an_ancestor_earns_half_for_each_edge_unless_told(target):
    pair = pair_records(GOLD, PREDICTED, target)[1]
    assert count_end_to_end(pair, target) == count_end_to_end(pair, target, decay=0.5)
    assert count_end_to_end(pair, target) != count_end_to_end(pair, target, decay=0.4)


def test_untyped_records_count_for_no_types(target):
    (pair,) = pair_records([record("a", {ANN: []}, typed=False)], PREDICTED, target)
    assert count_typing(pair, target) == no_counts()


def test_predictions_without_gold_are_counted(target):
    judged = judge(GOLD[:1], PREDICTED, target)
    assert "1 predictions have no gold record" in judged.notes[0] and len(judged.pairs) == 1


def test_nothing_to_measure_is_an_error(target):
    gold, nothing = [record("a", {}, exhaustive=False)], [record("a", {ANN: ["per"]})]
    with pytest.raises(PairingError, match=r"nothing can be measured\. 1 of 1 gold records do not mark every mention"):
        judge(gold, nothing, target)


def test_an_ontology_of_one_type():
    one = Ontology("tgt", [EntityType("thing")])
    gold = [record("a", {ANN: ["thing"], BOB: ["thing"]}), record("b", {})]
    result = score(judge(gold, [record("a", {ANN: ["thing"]}), record("b", {})], one), Options(resamples=50))
    assert result["scores"]["pair_f1"] == result["scores"]["partial_f1"] == pytest.approx(2 / 3)
    assert [row["f1"] for row in result["levels"]] == [pytest.approx(2 / 3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.5}, "decay must lie in [0, 1], got 1.5"),
        ({"resamples": -1}, "resamples must not be negative, got -1"),
        ({"resampled": "token"}, "one of document, record, got 'token'"),
    ],
)
def test_options_that_make_no_sense_are_an_error(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Options(**options)

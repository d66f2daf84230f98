"""Scores agree with those of other scorers: neleval's definitions and seqeval."""

from __future__ import annotations

import pytest

from finener.metrics.counting import score_records

from judged import random_records


def neleval(gold, predicted, keys, weight=None):
    """What neleval counts, from its documentation: annotations are matched by the fields of ``keys``; with weights by all fields but the
    type, each match counting what the pair of gold and system type weighs, each annotation what its type weighs against itself.
    """

    def annotations(records):
        for r in records:
            for m in r["mentions"]:
                fields = {"docid": r["id"], "start": m["start"], "end": m["end"], "type": m["types"][0]}
                yield tuple(fields[k] for k in keys), fields["type"]

    gold, predicted = dict(annotations(gold)), dict(annotations(predicted))
    weight = weight or (lambda *_: 1.0)
    hit = sum(weight(gold[k], predicted[k]) for k in gold.keys() & predicted.keys())
    precision = hit / sum(weight(t, t) for t in predicted.values())
    recall = hit / sum(weight(t, t) for t in gold.values())
    return precision, recall, 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("decay", [0.5, 0.3])
def test_mentions_types_and_partial_credit_agree_with_nelevals_definitions(target, decay):
    gold, predicted = random_records(0, target)
    scores = score_records(gold, predicted, target, decay)

    def weight(gold_type, system_type):
        steps = target.depths[target.index(gold_type)] - target.depths[target.index(system_type)]
        return decay**steps if system_type in target.closure([gold_type]) else 0.0

    span = ("docid", "start", "end")
    expected = {
        "mention": neleval(gold, predicted, span),  # strong_mention_match
        "typed": neleval(gold, predicted, (*span, "type")),  # strong_typed_mention_match
        "partial": neleval(gold, predicted, span, weight),  # the same with type weights
    }
    for measure, figures in expected.items():
        assert tuple(scores[f"{measure}_{part}"] for part in ("precision", "recall", "f1")) == pytest.approx(figures)
    assert 0.1 < expected["typed"][2] < expected["partial"][2] < expected["mention"][2] < 0.9


def test_typed_mentions_agree_with_seqeval(target):
    seqeval = pytest.importorskip("seqeval.metrics", reason="seqeval is not installed: nothing to compare with")
    scheme = pytest.importorskip("seqeval.scheme", reason="seqeval is not installed: nothing to compare with")
    gold, predicted = random_records(1, target)

    def tags(one):
        row = ["O"] * len(one["text"])
        for m in one["mentions"]:
            row[m["start"] : m["end"]] = [f"B-{m['types'][0]}"] + [f"I-{m['types'][0]}"] * (m["end"] - m["start"] - 1)
        return row

    scores = score_records(gold, predicted, target)
    sides = [[tags(r) for r in side] for side in (gold, predicted)]
    for ours, theirs in (("precision", "precision_score"), ("recall", "recall_score"), ("f1", "f1_score")):
        expected = getattr(seqeval, theirs)(*sides, mode="strict", scheme=scheme.IOB2)
        assert 0.1 < expected < 0.9
        assert scores[f"typed_{ours}"] == pytest.approx(expected)

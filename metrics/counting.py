"""Counts of right and wrong mentions and types, and the scores made of them.

Everything is a sum over records, so counts of parts, processes and folds add up to the counts of the whole.
A prediction and a gold mention are compared by their span (any hashable value) and their types (indices of one ontology).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

try:
    from ..ontology_finener import Ontology
except ImportError:
    from ontology_finener import Ontology

Mentions = Mapping[Hashable, Iterable[int]]
"""Spans → type indices."""

COUNTS = (
    # detection
    "mention_gold",
    "mention_predicted",
    "mention_hit",
    # end to end: the right span with the right types
    "typed_gold",
    "typed_predicted",
    "typed_hit",
    "credit_predicted",
    "credit_gold",
    "pair_gold",
    "pair_predicted",
    "pair_hit",
    # types of gold mentions
    "given",
    "given_strict",
    "given_macro_precision",
    "given_macro_recall",
    "given_gold",
    "given_predicted",
    "given_hit",
)


def no_counts() -> dict[str, float]:
    """Zero for every name in ``COUNTS``."""
    return dict.fromkeys(COUNTS, 0.0)


def add_counts(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The sum of several counts."""
    total = no_counts()
    for part in parts:
        for name, value in part.items():
            total[name] += value
    return total


def count_detection(gold: Iterable[Hashable], predicted: Iterable[Hashable]) -> dict[str, float]:
    """Mentions by span alone."""
    gold, predicted = set(gold), set(predicted)
    return {"mention_gold": len(gold), "mention_predicted": len(predicted), "mention_hit": len(gold & predicted)}


def partial_credit(
    gold: Iterable[int], predicted: Iterable[int], ontology: Ontology, decay: float
) -> tuple[float, float]:
    """Credit of a mention's predicted types, seen from the prediction and from gold, each in [0, 1].

    Predicting ``j`` for gold ``i`` earns ``decay ** n`` when ``j`` is ``n`` edges above ``i``, 1 when they are equal, else 0: the TAC
    scorer's rule. Of several most specific types each counts with its best partner.
    """
    gold, predicted = ontology.most_specific_indices(gold), ontology.most_specific_indices(predicted)
    if not gold or not predicted:
        return 0.0, 0.0
    steps = {i: ontology.steps_up(i) for i in gold}
    credit = {(i, j): decay ** steps[i][j] if j in steps[i] else 0.0 for i in gold for j in predicted}
    from_predicted = sum(max(credit[i, j] for i in gold) for j in predicted) / len(predicted)
    from_gold = sum(max(credit[i, j] for j in predicted) for i in gold) / len(gold)
    return from_predicted, from_gold


def count_typed(gold: Mentions, predicted: Mentions, ontology: Ontology, decay: float = 0.5) -> dict[str, float]:
    """End to end: a hit needs the span and exactly the gold types; pairs are (span, type) on closed type sets."""
    counts = no_counts()
    counts["typed_gold"], counts["typed_predicted"] = len(gold), len(predicted)
    closed_gold = {span: set(ontology.closure_indices(types)) for span, types in gold.items()}
    closed_predicted = {span: set(ontology.closure_indices(types)) for span, types in predicted.items()}
    counts["pair_gold"] = sum(map(len, closed_gold.values()))
    counts["pair_predicted"] = sum(map(len, closed_predicted.values()))
    for span in closed_gold.keys() & closed_predicted.keys():
        counts["pair_hit"] += len(closed_gold[span] & closed_predicted[span])
        counts["typed_hit"] += closed_gold[span] == closed_predicted[span]
        from_predicted, from_gold = partial_credit(gold[span], predicted[span], ontology, decay)
        counts["credit_predicted"] += from_predicted
        counts["credit_gold"] += from_gold
    return counts


def count_given(gold: Iterable[int], predicted: Iterable[int], ontology: Ontology) -> dict[str, float]:
    """Typing of one gold mention, on closed type sets (Ling & Weld 2012: strict, loose macro, loose micro)."""
    gold, predicted = set(ontology.closure_indices(gold)), set(ontology.closure_indices(predicted))
    hit = len(gold & predicted)
    return {
        "given": 1,
        "given_strict": gold == predicted,
        "given_macro_precision": hit / len(predicted) if predicted else 0.0,
        "given_macro_recall": hit / len(gold) if gold else 0.0,
        "given_gold": len(gold),
        "given_predicted": len(predicted),
        "given_hit": hit,
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _f1(precision: float, recall: float) -> float:
    return _ratio(2 * precision * recall, precision + recall)


def scores_of_counts(counts: Mapping[str, float]) -> dict[str, float]:
    """Precision, recall and F1, each in [0, 1], of ``mention``, ``typed`` (strict), ``partial`` and ``pair``; ``given_*`` of gold mentions.

    A group without gold and without predictions is left out, so that nothing that was not measured looks like a zero.
    """
    rows = {
        "mention": (counts["mention_hit"],) * 2 + (counts["mention_predicted"], counts["mention_gold"]),
        "typed": (counts["typed_hit"],) * 2 + (counts["typed_predicted"], counts["typed_gold"]),
        "partial": (counts["credit_predicted"], counts["credit_gold"], counts["typed_predicted"], counts["typed_gold"]),
        "pair": (counts["pair_hit"],) * 2 + (counts["pair_predicted"], counts["pair_gold"]),
        "given_micro": (counts["given_hit"],) * 2 + (counts["given_predicted"], counts["given_gold"]),
        "given_macro": (
            counts["given_macro_precision"],
            counts["given_macro_recall"],
            counts["given"],
            counts["given"],
        ),
    }
    scores = {}
    for name, (hit_predicted, hit_gold, predicted, gold) in rows.items():
        if predicted or gold:
            precision, recall = _ratio(hit_predicted, predicted), _ratio(hit_gold, gold)
            scores |= {f"{name}_precision": precision, f"{name}_recall": recall, f"{name}_f1": _f1(precision, recall)}
    if counts["given"]:
        scores["given_strict"] = counts["given_strict"] / counts["given"]
    return scores


def score_records(
    gold: Iterable[Mapping[str, Any]], predicted: Iterable[Mapping[str, Any]], ontology: Ontology, decay: float = 0.5
) -> dict[str, float]:
    """Scores predicted records against gold ones, paired by id.

    Args:
        gold: exhaustive records typed with ``ontology``. predicted: records with the same ids and texts, in any order.

    Raises:
        ValueError: when there is no gold, an id has no partner, or two texts of one id differ.
    """
    by_id = {record["id"]: record for record in predicted}
    counts = no_counts()
    seen = 0
    for record in gold:
        partner = by_id.get(record["id"])
        if partner is None or partner["text"] != record["text"]:
            what = "no prediction has this id" if partner is None else "its prediction has another text"
            raise ValueError(f"gold record {record['id']!r}: {what}; predict on the very records that are scored")
        spans = [_indexed(r, ontology) for r in (record, partner)]
        counts = add_counts([counts, count_detection(*spans), count_typed(*spans, ontology, decay)])
        seen += 1
    if not seen:
        raise ValueError("there are no gold records to score against")
    return scores_of_counts(counts)


def _indexed(record: Mapping[str, Any], ontology: Ontology) -> dict[tuple[int, int], list[int]]:
    return {(m["start"], m["end"]): [ontology.index(t) for t in m["types"]] for m in record["mentions"]}


def type_support(
    records: Iterable[Mapping[str, Any]], ontology: Ontology, least: Iterable[int] = (1, 10, 50)
) -> dict[str, int]:
    """How many types a corpus really trains: types, ancestors included, with at least so many mentions.

    Args:
        records: those typed with ``ontology`` count. least: numbers of mentions.

    Returns:
        ``{"types": C, "mentions": …, "seen_1": …, "seen_10": …, "seen_50": …}``.
    """
    seen = dict.fromkeys(range(len(ontology)), 0)
    mentions = 0
    for record in records:
        if record["typed"] and record["ontology"] == ontology.name:
            for mention in record["mentions"]:
                mentions += 1
                for i in ontology.closure_indices(map(ontology.index, mention["types"])):
                    seen[i] += 1
    counts = {f"seen_{n}": sum(times >= n for times in seen.values()) for n in least}
    return {"types": len(ontology), "mentions": mentions, **counts}

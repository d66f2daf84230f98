"""Counts of right and wrong mentions and types, and the scores made of them.

Everything is a sum over records, so counts of parts, processes and folds add up to the counts of the whole.
A prediction and a gold mention are compared by their span (any hashable value) and their types (indices of one ontology).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from finener.metrics.credit import Credit, decay_row
from finener.metrics.pairing import Pair, pair_records
from finener.ontology_finener import Ontology

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
    "macro_predicted",
    "macro_gold",
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
    gold: Iterable[int], predicted: Iterable[int], ontology: Ontology, decay: float, credit: Credit | None = None
) -> tuple[float, float]:
    """Credit of a mention's predicted types, seen from the prediction and from gold, each in [0, 1].

    Predicting ``j`` for gold ``i`` earns ``decay ** n`` when ``j`` is ``n`` edges above ``i``, 1 when they are equal, else 0: the TAC
    scorer's rule. Of several most specific types each counts with its best partner.

    Args:
        gold: type indices.
        predicted: type indices.
        ontology: of both.
        decay: in [0, 1].
        credit: W itself, in place of the decay: see :func:`finener.metrics.credit.read_credit`.
    """
    gold, predicted = ontology.most_specific_indices(gold), ontology.most_specific_indices(predicted)
    if not gold or not predicted:
        return 0.0, 0.0
    rows = [decay_row(ontology, i, decay) if credit is None else credit[i] for i in gold]
    from_predicted = sum(max(row.get(j, 0.0) for row in rows) for j in predicted) / len(predicted)
    from_gold = sum(max(row.get(j, 0.0) for j in predicted) for row in rows) / len(gold)
    return from_predicted, from_gold


def count_typed(
    gold: Mentions, predicted: Mentions, ontology: Ontology, decay: float = 0.5, credit: Credit | None = None
) -> dict[str, float]:
    """End to end: a hit needs the span and exactly the gold types; pairs are (span, type) on closed type sets.

    Args:
        gold: of one or several records.
        predicted: of the same.
        ontology: of both.
        decay: see :func:`partial_credit`.
        credit: see :func:`partial_credit`.
    """
    counts = no_counts()
    counts["typed_gold"], counts["typed_predicted"] = len(gold), len(predicted)
    closed_gold = {span: set(ontology.closure_indices(types)) for span, types in gold.items()}
    closed_predicted = {span: set(ontology.closure_indices(types)) for span, types in predicted.items()}
    counts["pair_gold"] = sum(map(len, closed_gold.values()))
    counts["pair_predicted"] = sum(map(len, closed_predicted.values()))
    for span in closed_gold.keys() & closed_predicted.keys():
        hit = len(closed_gold[span] & closed_predicted[span])
        counts["pair_hit"] += hit
        counts["macro_gold"] += _ratio(hit, len(closed_gold[span]))
        counts["macro_predicted"] += _ratio(hit, len(closed_predicted[span]))
        counts["typed_hit"] += closed_gold[span] == closed_predicted[span]
        from_predicted, from_gold = partial_credit(gold[span], predicted[span], ontology, decay, credit)
        counts["credit_predicted"] += from_predicted
        counts["credit_gold"] += from_gold
    return counts


def count_given(gold: Iterable[int], predicted: Iterable[int], ontology: Ontology) -> dict[str, float]:
    """Typing of one gold mention, on closed type sets: strict, loose macro and loose micro, as Ling & Weld (2012) name them.

    A mention without predicted types has the precision 0 and counts, so ``given_macro_precision`` is a mean over all mentions. Ling &
    Weld take it over the mentions with a prediction; the two are equal where every mention is given a type.
    """
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


def precision_recall_f1(
    hit_predicted: float, hit_gold: float, predicted: float, gold: float
) -> tuple[float, float, float]:
    """P, R and F1, each in [0, 1]; 0 where there is nothing to divide by.

    Args:
        hit_predicted: credit of the predictions.
        hit_gold: credit as gold sees it; the same where hits are all or nothing.
        predicted: number of predictions.
        gold: number of gold items.
    """
    precision, recall = _ratio(hit_predicted, predicted), _ratio(hit_gold, gold)
    return precision, recall, _ratio(2 * precision * recall, precision + recall)


def scores_of_counts(counts: Mapping[str, float]) -> dict[str, float]:
    """Precision, recall and F1, each in [0, 1], of ``mention``, ``typed`` (strict), ``partial``, ``macro`` (loose) and ``pair`` (loose
    micro); ``given_*`` of gold mentions.

    ``macro_precision`` and ``given_macro_precision`` are divided by all predicted, or all gold, mentions; Ling & Weld (2012) divide by
    those that were given a type, and so do not see that a system leaves the hard ones alone.

    A group without gold and without predictions is left out, so that nothing that was not measured looks like a zero.
    """
    rows = {
        "mention": (counts["mention_hit"],) * 2 + (counts["mention_predicted"], counts["mention_gold"]),
        "typed": (counts["typed_hit"],) * 2 + (counts["typed_predicted"], counts["typed_gold"]),
        "partial": (counts["credit_predicted"], counts["credit_gold"], counts["typed_predicted"], counts["typed_gold"]),
        "macro": (counts["macro_predicted"], counts["macro_gold"], counts["typed_predicted"], counts["typed_gold"]),
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
            row = precision_recall_f1(hit_predicted, hit_gold, predicted, gold)
            scores |= {f"{name}_{part}": value for part, value in zip(("precision", "recall", "f1"), row, strict=True)}
    if counts["given"]:
        scores["given_strict"] = counts["given_strict"] / counts["given"]
    return scores


def count_end_to_end(
    pair: Pair, ontology: Ontology, decay: float = 0.5, credit: Credit | None = None
) -> dict[str, float]:
    """One record's counts of detection where gold is exhaustive, and of typed mentions where it is typed too.

    Args:
        pair: gold and prediction.
        ontology: of their types.
        decay: see :func:`partial_credit`.
        credit: see :func:`partial_credit`.
    """
    parts = [count_detection(pair.gold, pair.predicted)] if pair.exhaustive else []
    if pair.is_judged_end_to_end:
        parts.append(count_typed(pair.gold, pair.predicted, ontology, decay, credit))
    return add_counts(parts)


def count_typing(pair: Pair, ontology: Ontology) -> dict[str, float]:
    """One record's counts of the types at its gold mentions; a gold mention that is not among the predicted ones has none.

    Args:
        pair: gold, and predictions made on the gold mentions.
        ontology: of their types.
    """
    typed = pair.at_gold_mentions() if pair.typed else pair.restricted(lambda *_: False)
    return add_counts(count_given(types, typed.predicted.get(span, []), ontology) for span, types in typed.gold.items())


def score_records(
    gold: Iterable[Mapping[str, Any]], predicted: Iterable[Mapping[str, Any]], ontology: Ontology, decay: float = 0.5
) -> dict[str, float]:
    """Scores predicted records against gold ones end to end, paired by id. :func:`finener.metrics.scoring.score` tells more.

    Args:
        gold: records; those that are exhaustive are judged for detection, those that are typed with ``ontology`` too for types.
        predicted: records with the same ids and texts, in any order.
        ontology: of their types.
        decay: see :func:`partial_credit`.

    Raises:
        PairingError: see :func:`finener.metrics.pairing.pair_records`.
    """
    pairs = pair_records(gold, predicted, ontology)
    return scores_of_counts(add_counts(count_end_to_end(pair, ontology, decay) for pair in pairs))


def training_counts(records: Iterable[Mapping[str, Any]], ontology: Ontology) -> np.ndarray:
    """(C): training mentions of each type, ancestors included.

    Args:
        records: those typed with ``ontology`` count.
        ontology: with C types.
    """
    counts = np.zeros(len(ontology), dtype=np.int64)
    for record in records:
        if record["typed"] and record["ontology"] == ontology.name:
            for mention in record["mentions"]:
                counts[ontology.closure_indices(map(ontology.index, mention["types"]))] += 1
    return counts


def type_support(
    records: Iterable[Mapping[str, Any]], ontology: Ontology, least: Iterable[int] = (1, 10, 50)
) -> dict[str, int]:
    """How many types a corpus really trains: types, ancestors included, with at least so many mentions.

    Args:
        records: those typed with ``ontology`` count.
        ontology: with the types.
        least: numbers of mentions.

    Returns:
        ``{"types": C, "mentions": …, "seen_1": …, "seen_10": …, "seen_50": …}``.
    """
    own = [r for r in records if r["typed"] and r["ontology"] == ontology.name]
    counts = training_counts(own, ontology)
    seen = {f"seen_{n}": int((counts >= n).sum()) for n in least}
    return {"types": len(ontology), "mentions": sum(len(r["mentions"]) for r in own), **seen}

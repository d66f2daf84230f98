"""Do scores mean what they say, and where should they be cut?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from finener.metrics.counting import precision_recall_f1
from finener.metrics.pairing import Pair
from finener.ontology_finener import Ontology

THRESHOLDS = (*(i / 20 for i in range(20)), 0.99)


@dataclass(frozen=True)
class ScoredItems:
    """Predicted items with their scores.

    Args:
        scores: (n) in [0, 1].
        right: (n) whether gold has the item.
        is_comparable: (n) whether the item counts for calibration.
        gold: number of gold items.
    """

    scores: np.ndarray
    right: np.ndarray
    is_comparable: np.ndarray
    gold: int


def scored_types(pairs: Iterable[Pair], ontology: Ontology) -> ScoredItems:
    """(span, type) pairs on closed type sets. Those at gold spans are comparable: a type's score supposes that its mention is one.

    Args:
        pairs: end to end, or ``at_gold_mentions()``. Predicted types without a score are left out.
        ontology: of their types.
    """
    rows, gold = [], 0
    for pair in pairs:
        closed = {span: set(ontology.closure_indices(types)) for span, types in pair.gold.items()}
        gold += sum(map(len, closed.values()))
        for span, scores in pair.type_scores.items():
            rows += [(score, i in closed.get(span, ()), span in closed) for i, score in scores.items()]
    return _items(rows, gold)


def scored_mentions(pairs: Iterable[Pair]) -> ScoredItems:
    """Predicted spans; all are comparable. Those without a score are left out.

    Args:
        pairs: exhaustive ones.
    """
    pairs = list(pairs)
    rows = [(score, span in pair.gold, True) for pair in pairs for span, score in pair.mention_scores.items()]
    return _items(rows, sum(len(pair.gold) for pair in pairs))


def _items(rows: Sequence[tuple[float, bool, bool]], gold: int) -> ScoredItems:
    table = np.array(rows, dtype=float).reshape(-1, 3)
    return ScoredItems(table[:, 0], table[:, 1] > 0, table[:, 2] > 0, gold)


def calibration(items: ScoredItems, bins: int = 10) -> dict[str, float | list[dict[str, float]]]:
    """The calibration curve and its expected calibration error.

    Args:
        items: the comparable ones count.
        bins: of equal width; a score on an edge belongs to the upper bin.

    Returns:
        ``items``, ``ece`` (the mean of \\|share right − mean score\\| over bins, weighted by their items; 0 without items) and ``bins``: of
        those that hold any, ``low``, ``high``, ``items``, ``score`` (mean) and ``right`` (share).
    """
    scores, right = items.scores[items.is_comparable], items.right[items.is_comparable]
    places = np.minimum((scores * bins).astype(int), bins - 1)
    rows, error = [], 0.0
    for i in np.unique(places).tolist():
        inside = places == i
        row = {"low": i / bins, "high": (i + 1) / bins, "items": int(inside.sum())}
        row |= {"score": float(scores[inside].mean()), "right": float(right[inside].mean())}
        error += row["items"] * abs(row["right"] - row["score"])
        rows.append(row)
    return {"items": len(scores), "ece": error / len(scores) if len(scores) else 0.0, "bins": rows}


def sweep(items: ScoredItems, thresholds: Sequence[float] = THRESHOLDS) -> list[dict[str, float]]:
    """P, R and F1 of the items that score at least a threshold.

    Args:
        items: all count. Items that the model had cut already are not in its output, so low thresholds change nothing.
        thresholds: in [0, 1].

    Returns:
        One row for each: ``threshold``, ``predicted``, ``precision``, ``recall``, ``f1``.
    """
    rows = []
    for threshold in thresholds:
        kept = items.scores >= threshold
        hits, predicted = int((kept & items.right).sum()), int(kept.sum())
        precision, recall, f1 = precision_recall_f1(hits, hits, predicted, items.gold)
        rows.append(
            {"threshold": threshold, "predicted": predicted, "precision": precision, "recall": recall, "f1": f1}
        )
    return rows

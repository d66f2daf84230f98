"""Scores of parts: of each type, of each level of the hierarchy, of types by training mentions, of unseen and seen names.

A (span, type) pair counts for its type; type sets are closed, so a mention counts on every level down to its most specific type.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from finener.metrics.counting import precision_recall_f1
from finener.metrics.pairing import Pair, Span
from finener.ontology_finener import Ontology

TRAINING_BOUNDS = (1, 10, 100, 1000)  # of the buckets 0, 1–9, 10–99, 100–999, 1,000 and more


def type_counts(pairs: Iterable[Pair], ontology: Ontology) -> np.ndarray:
    """(C, 3): gold, predicted and common (span, type) pairs of each type, on closed type sets.

    Args:
        pairs: end to end those with ``is_judged_end_to_end``; for types of gold mentions those of ``at_gold_mentions()``.
        ontology: with C types.
    """
    counts = np.zeros((len(ontology), 3), dtype=np.int64)
    for pair in pairs:
        for column, types in enumerate(_types_of(pair, ontology)):
            np.add.at(counts[:, column], types, 1)
    return counts


def _types_of(pair: Pair, ontology: Ontology) -> tuple[list[int], list[int], list[int]]:
    """The types of a pair's gold, predicted and common (span, type) pairs, on closed type sets."""
    gold, predicted = (
        {(span, i) for span, types in mentions.items() for i in ontology.closure_indices(types)}
        for mentions in (pair.gold, pair.predicted)
    )
    return [i for _, i in gold], [i for _, i in predicted], [i for _, i in gold & predicted]


def scores_by_type(counts: np.ndarray, ontology: Ontology, training: np.ndarray | None = None) -> list[dict[str, Any]]:
    """One row for each type that occurs in gold or predictions, in the order of the ontology.

    Args:
        counts: of :func:`type_counts`.
        ontology: with the types.
        training: of :func:`finener.metrics.counting.training_counts`.

    Returns:
        ``type``, ``label``, ``level`` (0 for roots), ``gold``, ``predicted``, ``hit``, ``precision``, ``recall``, ``f1`` and, with
        ``training``, ``training``.
    """
    rows = []
    for i in np.flatnonzero(counts[:, :2].sum(1)).tolist():
        row = {"type": ontology.ids[i], "label": ontology.types[i].label, "level": ontology.depths[i]}
        rows.append(row | _row(counts[i]) | ({} if training is None else {"training": int(training[i])}))
    return rows


def scores_by_level(counts: np.ndarray, ontology: Ontology) -> list[dict[str, Any]]:
    """One row for each level: micro over its types, and ``types``, how many of them occur in gold or predictions.

    Args:
        counts: of :func:`type_counts`.
        ontology: with the types; a type's level is its longest way from a root.
    """
    depths, occurs = np.array(ontology.depths), counts[:, :2].any(1)
    return [
        {"level": level, "types": int(occurs[depths == level].sum())} | _row(counts[depths == level].sum(0))
        for level in range(max(ontology.depths) + 1)
    ]


def level_counts(pairs: Iterable[Pair], ontology: Ontology) -> np.ndarray:
    """(N, L, 3), the counts of each pair by level: what intervals resample.

    Args:
        pairs: see :func:`type_counts`.
        ontology: of L levels.
    """
    depths = np.array(ontology.depths)
    pairs = list(pairs)
    counts = np.zeros((len(pairs), max(ontology.depths) + 1, 3), dtype=np.int64)
    for row, pair in zip(counts, pairs, strict=True):
        for column, types in enumerate(_types_of(pair, ontology)):
            np.add.at(row[:, column], depths[types], 1)
    return counts


def scores_by_training(
    counts: np.ndarray, training: np.ndarray, bounds: Sequence[int] = TRAINING_BOUNDS
) -> list[dict[str, Any]]:
    """One row for each range of training mentions: micro over the types in it.

    Args:
        counts: of :func:`type_counts`.
        training: of :func:`finener.metrics.counting.training_counts`.
        bounds: where a new range begins.

    Returns:
        ``least`` and ``most`` training mentions (``most`` is None for the last), ``types`` that occur in gold or predictions, and scores.
    """
    places, occurs = np.array([bisect.bisect_right(bounds, n) for n in training.tolist()]), counts[:, :2].any(1)
    edges = [0, *bounds, None]
    return [
        {"least": edges[i], "most": None if edges[i + 1] is None else edges[i + 1] - 1}
        | {"types": int(occurs[places == i].sum())}
        | _row(counts[places == i].sum(0))
        for i in range(len(edges) - 1)
    ]


def macro_over_types(counts: np.ndarray) -> dict[str, float]:
    """Mean precision, recall and F1 of the types that occur in gold; empty where none does."""
    rows = [_row(row) for row in counts if row[0]]
    return {name: sum(row[name] for row in rows) / len(rows) for name in ("precision", "recall", "f1") if rows}


def _row(counts: np.ndarray) -> dict[str, Any]:
    gold, predicted, hit = counts.tolist()
    precision, recall, f1 = precision_recall_f1(hit, hit, predicted, gold)
    return {"gold": gold, "predicted": predicted, "hit": hit, "precision": precision, "recall": recall, "f1": f1}


# -------------------------------------------------------------------- unseen and seen


def surfaces(records: Iterable[Mapping[str, Any]]) -> set[str]:
    """The case-folded texts of all mentions of the training records."""
    return {r["text"][m["start"] : m["end"]].casefold() for r in records for m in r["mentions"]}


def split_by_seen(pairs: Iterable[Pair], seen: set[str]) -> dict[str, list[Pair]]:
    """Each pair twice: with only the mentions, gold and predicted, whose text training has shown (``seen``) and has not (``unseen``).

    Args:
        pairs: of gold and predictions.
        seen: of :func:`surfaces`.
    """

    def was_seen(pair: Pair, span: Span) -> bool:
        return pair.text[slice(*span)].casefold() in seen

    pairs = list(pairs)
    return {
        "seen": [pair.restricted(was_seen) for pair in pairs],
        "unseen": [pair.restricted(lambda pair, span: not was_seen(pair, span)) for pair in pairs],
    }

"""Everything that can be measured of predictions, in one call: what ``finener score`` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from finener.metrics.breakdown import (
    level_counts,
    macro_over_types,
    scores_by_level,
    scores_by_training,
    scores_by_type,
    split_by_seen,
    surfaces,
    type_counts,
)
from finener.metrics.counting import (
    COUNTS,
    add_counts,
    count_end_to_end,
    count_typing,
    scores_of_counts,
    training_counts,
)
from finener.metrics.credit import Credit
from finener.metrics.intervals import bootstrap, bootstrap_parts, paired_bootstrap
from finener.metrics.pairing import Pair, PairingError, count_unpaired, pair_records
from finener.ontology_finener import Ontology

RESAMPLED = ("document", "record")


@dataclass
class Judged:
    """Gold and predictions, paired, and what can be judged of them.

    Args:
        ontology: of all types.
        pairs: every gold record with its prediction.
        typing: the pairs whose predictions tell the types of every typed gold mention; empty where none do.
        notes: sentences for people: what was not measured or not judged, and why.
    """

    ontology: Ontology
    pairs: list[Pair]
    typing: list[Pair]
    notes: list[str] = field(default_factory=list)

    @property
    def end_to_end(self) -> list[Pair]:
        """Those pairs whose spans and types may be judged together."""
        return [pair for pair in self.pairs if pair.is_judged_end_to_end]

    @property
    def broken_down(self) -> list[Pair]:
        """What tables by type and level are made of: the end-to-end pairs; where there are none, the typed gold mentions."""
        return self.end_to_end or [pair.at_gold_mentions() for pair in self.typing]

    @property
    def basis(self) -> str:
        """Which of both: ``"end to end"`` or ``"gold mentions"``."""
        return "end to end" if self.end_to_end else "gold mentions"


def judge(
    gold: Sequence[Mapping[str, Any]],
    predicted: Sequence[Mapping[str, Any]],
    ontology: Ontology,
    given: Sequence[Mapping[str, Any]] | None = None,
) -> Judged:
    """Pairs records and finds out what can be measured.

    Args:
        gold: records.
        predicted: one for each gold record.
        ontology: of the types of all.
        given: predictions made on the gold mentions (``finener predict --gold_mentions``), for the measures of gold mentions. Without,
            ``predicted`` serves where it has all typed gold mentions.

    Raises:
        PairingError: see :func:`finener.metrics.pairing.pair_records`; or when nothing can be measured.
    """
    pairs = pair_records(gold, predicted, ontology)
    judged = Judged(ontology, pairs, [p for p in pairs if p.typed and any(p.gold.values())])
    extra = count_unpaired(pairs, predicted)
    if extra:
        judged.notes.append(f"{extra} predictions have no gold record and are not judged.")
    if given is not None:
        judged.typing = [p for p in pair_records(gold, given, ontology) if p.typed and any(p.gold.values())]
    _judge_typing(judged, given is not None)
    _judge_detection(judged)
    if not judged.typing and not any(pair.exhaustive for pair in pairs):
        raise PairingError("nothing can be measured. " + " ".join(judged.notes))
    return judged


def _judge_typing(judged: Judged, is_given: bool) -> None:
    mentions = [(p, span) for p in judged.typing for span, types in p.gold.items() if types]
    lacking = [(p.id, p.text[slice(*span)]) for p, span in mentions if span not in p.predicted]
    if lacking and is_given:
        raise PairingError(
            f"{len(lacking)} of {len(mentions)} gold mentions have no prediction, such as {lacking[0][1]!r} of record "
            f"{lacking[0][0]!r}: these predictions were not made on the gold mentions; make them with finener predict --gold_mentions"
        )
    if lacking:
        judged.typing = []
        judged.notes.append(
            f"The types of gold mentions are not measured: {len(lacking)} of {len(mentions)} gold mentions are not among the "
            "predicted ones. Predict with finener predict --gold_mentions and give that file as --given."
        )


def _judge_detection(judged: Judged) -> None:
    n = len(judged.pairs)
    partial, untyped = (sum(not getattr(pair, name) for pair in judged.pairs) for name in ("exhaustive", "typed"))
    if partial:
        judged.notes.append(
            f"{partial} of {n} gold records do not mark every mention: detection and end-to-end measures are impossible there"
            + (" and were made of the others." if partial < n else ".")
        )
    if untyped:
        judged.notes.append(f"{untyped} of {n} gold records have no types: only detection is measured there.")
    as_given = all(pair.gold.keys() == pair.predicted.keys() for pair in judged.pairs)
    if as_given and any(pair.exhaustive and pair.gold for pair in judged.pairs):
        judged.notes.append(
            "The predicted mentions are exactly the gold ones. If the model was given them, detection and end-to-end figures say nothing."
        )


def record_counts(judged: Judged, decay: float = 0.5, credit: Credit | None = None) -> np.ndarray:
    """(N, len(COUNTS)), the counts of each gold record: what :mod:`finener.metrics.intervals` resamples.

    Args:
        judged: of :func:`judge`.
        decay: see :func:`finener.metrics.counting.partial_credit`.
        credit: see there.
    """
    typing = {pair.id: count_typing(pair, judged.ontology) for pair in judged.typing}
    rows = [
        add_counts([count_end_to_end(pair, judged.ontology, decay, credit), typing.get(pair.id, {})])
        for pair in judged.pairs
    ]
    return np.array([[row[name] for name in COUNTS] for row in rows])


def scores_of_rows(counts: np.ndarray) -> dict[str, float]:
    """Scores of the sum of the records' counts.

    Args:
        counts: of :func:`record_counts`.
    """
    return scores_of_counts(dict(zip(COUNTS, counts.sum(0).tolist(), strict=True)))


@dataclass(frozen=True)
class Options:
    """How to score.

    Args:
        decay: partial credit for each edge that a prediction stays above gold, in [0, 1].
        credit: W itself, in place of the decay: see :func:`finener.metrics.credit.read_credit`.
        resamples: of the bootstrap; 0 leaves intervals out.
        resampled: what a resample draws: ``"document"`` or ``"record"``.
        seed: of the resamples.
    """

    decay: float = 0.5
    credit: Credit | None = None
    resamples: int = 1000
    resampled: str = "document"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.decay <= 1.0:
            raise ValueError(f"decay must lie in [0, 1], got {self.decay}")
        if self.resamples < 0:
            raise ValueError(f"resamples must not be negative, got {self.resamples}")
        if self.resampled not in RESAMPLED:
            raise ValueError(f"resampled must be one of {', '.join(RESAMPLED)}, got {self.resampled!r}")

    def units(self, pairs: Iterable[Pair]) -> list[str]:
        """What each record belongs to, for the resamples."""
        return [pair.doc_id if self.resampled == "document" else pair.id for pair in pairs]


DEFAULTS = Options()


def score(
    judged: Judged,
    options: Options = DEFAULTS,
    train: Sequence[Mapping[str, Any]] | None = None,
    baseline: Judged | None = None,
) -> dict[str, Any]:
    """Scores, intervals and break-downs.

    Args:
        judged: of :func:`judge`.
        options: how to score.
        train: training records, for unseen names and training counts.
        baseline: another system's predictions for the same gold.

    Returns:
        A dictionary that JSON can hold: ``records``, ``documents``, ``scores``, ``intervals``, ``basis`` of the tables, ``macro`` over
        types, ``levels``, ``types``, ``notes``; with ``train`` also ``training`` (by training mentions) and ``seen`` (seen and unseen
        names); with ``baseline`` also ``baseline`` (its scores) and ``difference``.
    """
    counts = record_counts(judged, options.decay, options.credit)
    by_type = type_counts(judged.broken_down, judged.ontology)
    training = None if train is None else training_counts(train, judged.ontology)
    notes = list(judged.notes)
    result: dict[str, Any] = {
        "records": len(judged.pairs),
        "documents": len({pair.doc_id for pair in judged.pairs}),
        "scores": scores_of_rows(counts),
        "intervals": _intervals(counts, judged, options, notes),
        "resampled": options.resampled,
        "basis": judged.basis,
        "macro": macro_over_types(by_type),
        "levels": _levels(judged, by_type, options),
        "types": scores_by_type(by_type, judged.ontology, training),
    }
    if train is not None:
        result["training"] = scores_by_training(by_type, training)
        result["seen"] = _seen(judged, surfaces(train), options)
    if baseline is not None:
        other = record_counts(baseline, options.decay, options.credit)
        result["baseline"] = scores_of_rows(other)
        notes += [f"Baseline: {note}" for note in baseline.notes if note not in notes]
        units = options.units(judged.pairs)
        if options.resamples and len(set(units)) > 1:
            result["difference"] = paired_bootstrap(counts, other, units, options.resamples, options.seed)
    return result | {"notes": notes}


def _intervals(counts: np.ndarray, judged: Judged, options: Options, notes: list[str]) -> dict[str, list[float]]:
    units = options.units(judged.pairs)
    if not options.resamples:
        return {}
    if len(set(units)) < 2:
        notes.append(f"There are no intervals: a bootstrap needs at least two {options.resampled}s.")
        return {}
    found = bootstrap(counts, units, options.resamples, options.seed)
    return {name: list(interval) for name, interval in found.items()}


def _levels(judged: Judged, by_type: np.ndarray, options: Options) -> list[dict[str, Any]]:
    """Scores by level, with the ``interval`` of F1 where there are intervals."""
    rows, units = scores_by_level(by_type, judged.ontology), options.units(judged.broken_down)
    if not options.resamples or len(set(units)) < 2:
        return rows
    counts = level_counts(judged.broken_down, judged.ontology)
    found = bootstrap_parts(counts, units, options.resamples, options.seed)
    return [row | {"interval": interval and list(interval)} for row, interval in zip(rows, found, strict=True)]


def _seen(judged: Judged, seen: set[str], options: Options) -> dict[str, dict[str, float]]:
    """Scores of the mentions whose text training has shown, and of the others."""
    end_to_end, typing = split_by_seen(judged.pairs, seen), split_by_seen(judged.typing, seen)
    return {
        name: scores_of_rows(
            record_counts(Judged(judged.ontology, end_to_end[name], typing[name]), options.decay, options.credit)
        )
        for name in ("seen", "unseen")
    }

"""How sure a score is: bootstrap intervals, and paired ones of the difference of two systems.

Counts are sums over records, so a resample is a weighted sum of rows: all resamples are one matrix product.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from finener.metrics.counting import COUNTS, scores_of_counts

ROWS_AT_ONCE = 10_000_000  # drawn units in memory, all resamples of a block together


def bootstrap(
    counts: np.ndarray, units: Sequence[Hashable], resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of every score.

    Args:
        counts: (N, len(COUNTS)), one row for each record.
        units: (N), what each record belongs to: the units are resampled whole. Sentences of one document resemble each other, so records
            drawn one by one give intervals that are too narrow.
        resamples: number of draws.
        seed: the same seed draws the same resamples.
        level: share of the resamples that an interval holds.

    Returns:
        Score → (low, high). A score is missing where it was not measured; resamples in which it can't be measured do not count.

    Raises:
        ValueError: when there are fewer than two units.
    """
    found = _resampled_scores(_by_unit(counts, units), resamples, seed)
    return {name: _interval(values[~np.isnan(values)], level) for name, values in found.items()}


def bootstrap_parts(
    counts: np.ndarray, units: Sequence[Hashable], resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> list[tuple[float, float] | None]:
    """Percentile bootstrap intervals of the F1 of each part, such as a level of the hierarchy.

    Args:
        counts: (N, P, 3): gold, predicted and common pairs of each record in each part.
        units: (N), see :func:`bootstrap`.
        resamples: number of draws.
        seed: of the draws.
        level: share of the resamples that an interval holds.

    Returns:
        (P): (low, high), or None where a part holds no pair.

    Raises:
        ValueError: when there are fewer than two units.
    """
    sums = _by_unit(counts.reshape(len(counts), -1), units)
    drawn = np.concatenate([draw @ sums for draw in _draws(len(sums), resamples, seed)]).reshape(-1, *counts.shape[1:])
    gold, predicted, hit = np.moveaxis(drawn, -1, 0)  # (R, P) each
    f1 = np.divide(2 * hit, gold + predicted, out=np.full(hit.shape, np.nan), where=gold + predicted > 0)
    measured = [values[~np.isnan(values)] for values in f1.T]
    return [_interval(values, level) if len(values) else None for values in measured]


def paired_bootstrap(
    counts: np.ndarray,
    baseline: np.ndarray,
    units: Sequence[Hashable],
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, dict[str, float]]:
    """Differences of two systems on the same records: both are scored on the same resamples.

    Args:
        counts: (N, len(COUNTS)) of the system.
        baseline: the same of the other, record by record.
        units: see :func:`bootstrap`.
        resamples: number of draws.
        seed: of the draws.
        level: share of the resamples that an interval holds.

    Returns:
        Score → ``difference`` (system minus baseline), ``low``, ``high``, and ``p``: twice the smaller share of the resamples on either
        side of no difference, at least 1 / resamples. Scores that only one of them was measured by are left out.

    Raises:
        ValueError: when there are fewer than two units, or the counts are not of equally many records.
    """
    if counts.shape != baseline.shape:
        raise ValueError(
            f"paired systems are scored on the same records; got {len(counts)} and {len(baseline)} of them"
        )
    whole = [scores_of_counts(dict(zip(COUNTS, part.sum(0).tolist(), strict=True))) for part in (counts, baseline)]
    found = [_resampled_scores(_by_unit(part, units), resamples, seed) for part in (counts, baseline)]
    differences = {}
    for name in whole[0].keys() & whole[1].keys():
        values = found[0][name] - found[1][name]
        values = values[~np.isnan(values)]
        low, high = _interval(values, level)
        smaller = min(np.mean(values <= 0), np.mean(values >= 0))
        differences[name] = {
            "difference": whole[0][name] - whole[1][name],
            "low": low,
            "high": high,
            "p": float(min(1.0, max(2 * smaller, 1 / resamples))),
        }
    return {name: differences[name] for name in whole[0] if name in differences}


def _by_unit(counts: np.ndarray, units: Sequence[Hashable]) -> np.ndarray:
    """(U, len(COUNTS)), the sums of each unit's records."""
    places = {unit: i for i, unit in enumerate(dict.fromkeys(units))}
    if len(places) < 2:
        raise ValueError(f"a bootstrap resamples units, such as documents: it needs at least two, got {len(places)}")
    sums = np.zeros((len(places), counts.shape[1]))
    np.add.at(sums, [places[unit] for unit in units], counts)
    return sums


def _draws(n_units: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of (resamples, U): how often each resample draws each unit."""
    rng = np.random.default_rng(seed)
    block = max(1, ROWS_AT_ONCE // n_units)
    for start in range(0, resamples, block):
        yield rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=min(block, resamples - start))


def _resampled_scores(sums: np.ndarray, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Score → (resamples), NaN where a resample holds nothing to measure it by."""
    measured = scores_of_counts(dict(zip(COUNTS, sums.sum(0).tolist(), strict=True)))
    rows = np.concatenate([draw @ sums for draw in _draws(len(sums), resamples, seed)])
    scores = [scores_of_counts(dict(zip(COUNTS, row, strict=True))) for row in rows.tolist()]
    return {name: np.array([row.get(name, np.nan) for row in scores]) for name in measured}


def _interval(values: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

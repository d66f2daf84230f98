"""Decoding without torch, in numpy: tags and span probabilities of the CRF, and which types a mention is given.

The same results as ``layers_finener`` and ``decoding_finener``, for models that onnxruntime runs. Letters in shape comments: B records,
W words, M mentions, H state size, C types of one ontology. Spans are half-open.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np

from .ontology_finener import Ontology, OntologyError

O, B, I = range(3)  # noqa: E741
LEAST_PROBABILITY = 1e-3  # of a type that the expected types look at; as in decoding_finener
ROUNDS = 10


def _logsumexp(scores: np.ndarray, axis: int) -> np.ndarray:
    highest = scores.max(axis, keepdims=True)
    return np.log(np.exp(scores - highest).sum(axis)) + highest.squeeze(axis)


class Crf:
    """The CRF over O, B, I.

    Args:
        start, transitions, end: scores of a first tag (3), of [from, to] (3, 3), of a last tag (3); very low where BIO forbids one.
    """

    def __init__(self, start: Sequence[float], transitions: Sequence[Sequence[float]], end: Sequence[float]):
        self.start, self.transitions, self.end = (np.array(part, np.float32) for part in (start, transitions, end))

    def decode(self, emissions: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The spans of the best tags (Viterbi), (M, 3): record, first word, one past the last.

        Args:
            emissions: (B, W, 3). mask: (B, W) bool, a prefix of each row.
        """
        width = emissions.shape[1]
        best, pointers = self.start + emissions[:, 0], []
        for t in range(1, width):
            steps = best[:, :, None] + self.transitions
            pointers.append(steps.argmax(1))
            best = np.where(mask[:, t, None], steps.max(1) + emissions[:, t], best)
        tags = [(best + self.end).argmax(1)]
        for t in range(width - 1, 0, -1):
            before = np.take_along_axis(pointers[t - 1], tags[-1][:, None], 1)[:, 0]
            tags.append(np.where(mask[:, t], before, tags[-1]))
        return _spans_of_tags(np.where(mask, np.stack(tags[::-1], 1), O))

    def span_probabilities(self, emissions: np.ndarray, mask: np.ndarray, spans: np.ndarray) -> np.ndarray:
        """The probability of each span (M, 3), (M,) in [0, 1], summed over all taggings of the rest. Arguments as in :meth:`decode`."""
        emissions, transitions, end = (a.astype(np.float64) for a in (emissions, self.transitions, self.end))
        alphas, betas = self._sums(emissions, mask)
        totals = _logsumexp(alphas[:, -1] + end, 1)
        inside = np.pad((emissions[:, :, I] + transitions[I, I]).cumsum(1), ((0, 0), (1, 0)))
        record, first, stop = spans.T
        is_long = stop - first > 1
        score = alphas[record, first, B] + inside[record, stop] - inside[record, first + 1]
        score += np.where(is_long, transitions[B, I] - transitions[I, I], 0.0)  # the first step in is B → I
        last, after = np.where(is_long, I, B), np.minimum(stop, mask.shape[1] - 1)
        leave = transitions[last] + emissions[record, after] + betas[record, after]
        at_end = stop >= mask.sum(1)[record]
        score += np.where(at_end, end[last], _logsumexp(leave[:, [O, B]], 1))
        return np.minimum(np.exp(score - totals[record]), 1.0).astype(np.float32)

    def _sums(self, emissions: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-sums over all prefixes that end in each tag, and over all suffixes that follow it, (B, W, 3) each."""
        alphas, betas = np.empty_like(emissions), np.empty_like(emissions)
        alphas[:, 0], betas[:, -1] = self.start + emissions[:, 0], self.end
        for t in range(1, emissions.shape[1]):
            step = _logsumexp(alphas[:, t - 1, :, None] + self.transitions, 1) + emissions[:, t]
            alphas[:, t] = np.where(mask[:, t, None], step, alphas[:, t - 1])
        for t in range(emissions.shape[1] - 1, 0, -1):
            step = _logsumexp(self.transitions + (emissions[:, t] + betas[:, t])[:, None, :], 2)
            betas[:, t - 1] = np.where(mask[:, t, None], step, betas[:, t])
        return alphas, betas


def _spans_of_tags(tags: np.ndarray) -> np.ndarray:
    """The spans that legal tags (B, W) mark, (M, 3): record, first word, one past the last."""
    width = tags.shape[1]
    breaks = np.where(tags == I, width, np.arange(width))  # where a span that is open must have ended
    breaks = np.pad(breaks, ((0, 0), (0, 1)), constant_values=width)
    next_break = np.minimum.accumulate(breaks[:, ::-1], 1)[:, ::-1]
    record, first = np.nonzero(tags == B)
    return np.stack([record, first, next_break[record, first + 1]], 1)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-logits))


def pool_mentions(states: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """The mean of each mention's words: (B, W, H) states and (M, 3) spans → (M, H)."""
    return np.stack([states[record, first:stop].mean(0) for record, first, stop in spans])


class TypeChooser:
    """Chooses the types of a mention as ``TypeDecoder`` does.

    Args:
        ontology: of the C types.
        threshold: its parts ``default``, ``levels`` and ``types``, as in ``read_threshold``.
        one_type: softmax scores, of which one type with its path is chosen; else those of a sigmoid for each type.
        credit: entries (gold, predicted, credit) of W, sorted, where the path of the highest expected F1 is chosen.
    """

    def __init__(
        self,
        ontology: Ontology,
        threshold: Mapping[str, Any],
        one_type: bool = False,
        credit: Iterable[tuple[int, int, float]] | None = None,
    ):
        self.ontology, self.one_type = ontology, one_type
        self.depths, self.assignable = np.array(ontology.depths), np.array(ontology.assignable)
        self.least = self._least_scores(threshold)
        self.closures = [np.array(sorted(above | {i})) for i, above in enumerate(ontology.ancestors)]
        # Every assignable type is one of these or below one, so that none scores higher than the best of them.
        is_below = [any(ontology.assignable[a] for a in above) for above in ontology.ancestors]
        self.highest = np.flatnonzero(self.assignable & ~np.array(is_below))
        self.credit: dict[int, tuple[np.ndarray, np.ndarray]] | None = None
        if credit is not None:
            rows = groupby(credit, key=lambda entry: entry[0])
            of_gold = {gold: tuple(zip(*entries, strict=True)) for gold, entries in rows}
            self.credit = {g: (np.array(p), np.array(c, np.float32)) for g, (_, p, c) in of_gold.items()}

    def _least_scores(self, threshold: Mapping[str, Any]) -> np.ndarray:
        """The least score of each type, (C)."""
        levels = [*threshold["levels"], *[threshold["default"]] * (max(self.depths) + 1 - len(threshold["levels"]))]
        least = np.array(levels, np.float32)[self.depths]
        for name, value in threshold["types"].items():
            least[self.ontology.index(name)] = value
        return least

    def choose(self, logits: np.ndarray, threshold: float | None = None) -> dict[str, float]:
        """Types and scores of a mention, at least one, closed under ancestors, from the roots down.

        Args:
            logits: (C) raw. threshold: least score of each type, in [0, 1], in place of the head's.
        """
        least = self.least if threshold is None else np.full_like(self.least, threshold)
        found = self._path(logits, least) if self.one_type else self._several(logits, least)
        return {self.ontology.ids[i]: float(score) for i, score in found.items()}

    def choose_best(self, logits: np.ndarray, k: int, allowed: Collection[int] | None = None) -> dict[str, float]:
        """The ``k`` types of a mention at which most of the score stops, closed, from the roots down; as ``TypeDecoder`` has it.

        Args:
            logits: (C) raw. k: at least 1; fewer where there are no more. allowed: indices of the types to choose from; None: all.

        Raises:
            OntologyError: when none of ``allowed`` is assignable.
        """
        may_be = self.assignable.copy()
        if allowed is not None:
            may_be &= np.isin(np.arange(len(may_be)), list(allowed))
        if not may_be.any():
            raise OntologyError(
                f"none of the types that are asked for is assignable in ontology {self.ontology.name!r}"
            )
        if self.one_type:
            own = self._probabilities(logits)
        else:
            scores = self._all_capped(_sigmoid(logits))
            own = self._stopping(scores)
        order = np.argsort(np.where(may_be, -own, 1.0), kind="stable")
        types = self._closed(order[: min(k, int(may_be.sum()))])
        found = self._summed(own, types) if self.one_type else {i: scores[i] for i in types}
        return {self.ontology.ids[i]: float(score) for i, score in found.items()}

    @cached_property
    def _levels(self) -> list[np.ndarray]:
        """The edges as (n, 2) indices of child and parent, one array for each depth of the child, from the roots down."""
        by_depth = groupby(self.ontology.edges, key=lambda edge: self.ontology.depths[edge[0]])
        return [np.array(list(edges)) for _, edges in by_depth]

    def _all_capped(self, scores: np.ndarray) -> np.ndarray:
        """Sigmoid scores (C), each capped by those of its type's ancestors."""
        scores = scores.copy()
        for edges in self._levels:
            np.minimum.at(scores, edges[:, 0], scores[edges[:, 1]])
        return scores

    def _stopping(self, scores: np.ndarray) -> np.ndarray:
        """Coherent sigmoid scores (C), each less the best one of its type's children."""
        below = np.zeros_like(scores)
        for edges in self._levels:
            np.maximum.at(below, edges[:, 1], scores[edges[:, 0]])
        return scores - below

    def _several(self, logits: np.ndarray, least: np.ndarray) -> dict[int, np.float32]:
        scores = _sigmoid(logits)
        passing = np.flatnonzero((scores >= least) & self.assignable)
        chosen = [i for i in passing if self._capped(scores, i) >= least[i]] or [self._best(scores)]
        return {i: self._capped(scores, i) for i in self._closed(chosen)}

    def _capped(self, scores: np.ndarray, i: int) -> np.float32:
        """A type's score, capped by those of its ancestors."""
        return scores[self.closures[i]].min()

    def _best(self, scores: np.ndarray) -> int:
        """The assignable type of the highest capped score; of equal ones the deepest, then the first."""
        top = max(self._capped(scores, i) for i in self.highest)
        may_be = np.flatnonzero((scores >= top) & self.assignable)
        return max((i for i in may_be if self._capped(scores, i) >= top), key=lambda i: (self.depths[i], -i))

    def _path(self, logits: np.ndarray, least: np.ndarray) -> dict[int, np.float32]:
        said = self._probabilities(logits)
        best = int(logits.argmax()) if self.credit is None else self._best_expected(said)
        scores = self._summed(said, self._closed([best]))
        passes = [i for i, s in scores.items() if (s >= least[i] and self.assignable[i]) or self.depths[i] == 0]
        return {i: scores[i] for i in self._closed(passes)}

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        """How likely each type is the gold one, (C)."""
        said = np.exp(logits - logits.max())
        said /= said.sum()
        return said if self.credit is None else self._gold_probabilities(said)

    def _summed(self, probabilities: np.ndarray, types: Iterable[int]) -> dict[int, np.float32]:
        """Softmax scores, summed over each of the types and all below it."""
        order, runs = self.ontology.subtree_runs
        sums = np.append(0.0, probabilities[order].cumsum(dtype=np.float64))
        totals = {i: sum(sums[stop] - sums[start] for start, stop in runs[i]) for i in types}
        return {i: np.float32(min(max(total, 0.0), 1.0)) for i, total in totals.items()}

    def _gold_probabilities(self, said: np.ndarray) -> np.ndarray:
        """How likely each type is gold, (C), of what a model with the soft loss says; as in ``decoding_finener``."""
        types = np.flatnonzero((said >= LEAST_PROBABILITY) | (np.arange(len(said)) == said.argmax()))
        predicted, credit = (np.concatenate(parts) for parts in zip(*(self.credit[i] for i in types), strict=True))
        places = np.repeat(np.arange(len(types)), [len(self.credit[i][0]) for i in types])
        gold = said[types].astype(np.float64)
        for _ in range(ROUNDS):
            expected = np.bincount(predicted, credit * gold[places], len(said)).clip(1e-30)
            gold *= np.bincount(places, credit * (said / expected)[predicted], len(types))
        likely = np.zeros_like(said)
        likely[types] = gold
        return likely

    def _best_expected(self, probabilities: np.ndarray) -> int:
        """The assignable type whose path has the highest expected F1 against that of the gold type; of equal ones the deepest."""
        types = self._closed(np.flatnonzero(probabilities))
        scores = self._summed(probabilities, types)
        of_gold = sum(scores.values(), np.float32(0))
        expected = {
            i: 2 * sum((scores[a] for a in self.closures[i]), np.float32(0)) / (len(self.closures[i]) + of_gold)
            for i in types
            if self.assignable[i]
        }
        return max(reversed(expected), key=expected.__getitem__)

    def _closed(self, types: Iterable[int]) -> list[int]:
        """The types and their ancestors, from the roots down."""
        closed = {int(a) for i in types for a in self.closures[i]}
        return sorted(closed, key=lambda i: (self.depths[i], i))

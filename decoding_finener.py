"""From scores to types: which types of an ontology each mention is given.

Letters in shape comments: M mentions, C types of one ontology (source or target), N (mention, type) pairs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from functools import cached_property, lru_cache
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .ontology_finener import Ontology, OntologyError

BLOCK_CELLS = 1 << 19  # what is summed at a time stays in a processor's cache
LEAST_PROBABILITY = 1e-3  # of a type that :func:`gold_probabilities` looks at
ROUNDS = 10  # of :func:`gold_probabilities`; 200 choose the same types

Threshold = float | Mapping[str, Any]
"""One for all types, or by level and type: see :func:`read_threshold`."""

SparseRows = tuple[Tensor, Tensor, Tensor]
"""A matrix by rows: first entry of each row, and one past the last of all (C + 1), columns (n), values (n)."""


def read_threshold(threshold: Threshold, ontology: Ontology) -> tuple[float, Sequence[float], Mapping[str, float]]:
    """The parts of a threshold: a type has its own, else its level's, else the default.

    Args:
        threshold: one number in [0, 1], or ``{"default": 0.5, "levels": [0.6, 0.4], "types": {"per": 0.7}}``, of which the key
            ``default`` must be there; levels go from the roots down.
        ontology: of the types.

    Returns:
        The default, those of the first levels, and those of single types by id; each in [0, 1].

    Raises:
        OntologyError: on another form, a number out of range, an unknown type, or more levels than there are.
    """
    parts = threshold if isinstance(threshold, Mapping) else {"default": threshold}
    levels, own = parts.get("levels", []), parts.get("types", {})
    if "default" not in parts or not parts.keys() <= {"default", "levels", "types"}:
        raise OntologyError(f"expected a number or the keys default, levels and types; got {threshold!r}")
    n_levels = max(ontology.depths) + 1
    if not isinstance(levels, Sequence) or not isinstance(own, Mapping) or len(levels) > n_levels:
        raise OntologyError(f"expected a list of at most {n_levels} levels and a dict of types; got {threshold!r}")
    for value in [parts["default"], *levels, *own.values()]:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise OntologyError(f"thresholds must lie in [0, 1]; got {value!r}")
    for type_id in own:
        ontology.index(type_id)
    return parts["default"], levels, own


def finest(device: torch.device) -> torch.dtype:
    """What long sums are made in: fp64, which Apple's GPUs do not have."""
    return torch.float32 if device.type == "mps" else torch.float64


class ChosenTypes(NamedTuple):
    """The types of M mentions as N (mention, type, score) triples, by mention and then from the roots down."""

    mentions: Tensor  # (N) indices
    types: Tensor  # (N) indices
    scores: Tensor  # (N) in [0, 1]
    n_mentions: int  # M


class Lists:
    """Lists of different lengths, (lists) ``sizes``, end to end in ``items``, to be looked up many at a time."""

    def __init__(self, items: Tensor, sizes: Tensor):
        self.items, self.sizes = items, sizes
        self.starts = sizes.cumsum(0) - sizes

    @classmethod
    def of(cls, lists: Sequence[Sequence[Any]], device: torch.device) -> Lists:
        """Of lists of whole numbers, on a device."""
        items = torch.tensor([item for row in lists for item in row], dtype=torch.long, device=device)
        return cls(items, torch.tensor([len(row) for row in lists], device=device))

    def __call__(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """(N) numbers of lists → for each item of these the place in ``wanted`` that it comes from, and the items."""
        sizes = self.sizes[wanted]
        places = torch.repeat_interleave(sizes)
        shifts = self.starts[wanted] - (sizes.cumsum(0) - sizes)
        return places, self.items[shifts[places] + torch.arange(len(places), device=places.device)]


def gold_probabilities(said: Tensor, credit: SparseRows) -> Tensor:
    """How likely each type is gold, (M, C) in [0, 1], of a mention to whose types a model with the soft loss gives ``said``.

    The loss makes ``said`` the mean of W's rows over the types that may be gold: an ancestor is said where only what is below it is
    meant. Of all distributions over gold types, this is the one whose mean row is nearest to ``said`` in Kullback-Leibler divergence,
    by expectation maximisation. With W the identity nothing changes. Types that are said with less than ``LEAST_PROBABILITY`` count
    for nothing, but for the likeliest of each mention.

    Args:
        said: (M, C) softmax probabilities. credit: W, (C, C), rows summing to one, no zero on its diagonal where a type may be said.
    """
    starts, columns, values = credit
    seen = (said >= LEAST_PROBABILITY).scatter_(1, said.argmax(1, keepdim=True), True)
    mentions, types = seen.nonzero(as_tuple=True)
    places, entries = Lists(torch.arange(len(columns), device=said.device), starts.diff())(types)
    fine = finest(said.device)
    weights, gold = values[entries].to(fine), said[mentions, types].to(fine)
    cells, cell = (mentions[places] * said.shape[1] + columns[entries]).unique(return_inverse=True)
    said_there = said.flatten()[cells].to(fine)
    for _ in range(ROUNDS):
        expected = torch.zeros_like(said_there).index_add_(0, cell, weights * gold[places]).clamp(min=1e-30)
        gold = gold * torch.zeros_like(gold).index_add_(0, places, weights * (said_there / expected)[cell])
    return torch.zeros_like(said).index_put_((mentions, types), gold.to(said.dtype))


class TypeDecoder:
    """Chooses types by their scores; get one by :func:`type_decoder`, which keeps it.

    Scores are made coherent first: a sigmoid score is capped by those of all ancestors, a softmax score is the sum over the type
    and all below it. With softmax, each mention gets one type with its path: the likeliest, or, where W of the soft loss is given, that
    of the highest expected F1 of (mention, type) pairs under :func:`gold_probabilities`.

    Few of the M · C pairs are ever chosen, so only these are looked at, where they are few.

    Args:
        ontology: the C types.
        device: of the scores.

    Raises:
        OntologyError: when no type is assignable.
    """

    @torch.inference_mode(False)  # what is kept may be used in training too
    def __init__(self, ontology: Ontology, device: torch.device):
        if not any(ontology.assignable):
            raise OntologyError(f"no type of ontology {ontology.name!r} is assignable, so that none can be chosen")
        self.ontology, self.device = ontology, device
        self.depths = torch.tensor(ontology.depths, device=device)
        self.assignable = torch.tensor(ontology.assignable, device=device)
        self.from_roots = self.depths.argsort(stable=True)
        self.ranks = self.from_roots.argsort()
        self.closures = Lists.of([sorted(above | {i}) for i, above in enumerate(ontology.ancestors)], device)
        # Every assignable type is one of these or below one, so that none scores higher than the best of them.
        over = [any(ontology.assignable[a] for a in above) for above in ontology.ancestors]
        self.highest = (self.assignable & ~torch.tensor(over, device=device)).nonzero()[:, 0]
        self._last: tuple[Any, Tensor | None] = None, None  # the threshold that was last asked for, and each type's

    @cached_property
    @torch.inference_mode(False)
    def levels(self) -> list[Tensor]:
        """The edges as (2, n) indices of children and parents, one for each depth of the child, from the roots down."""
        by_depth = groupby(self.ontology.edges, key=lambda edge: self.ontology.depths[edge[0]])
        return [torch.tensor(list(edges), device=self.device).T for _, edges in by_depth]

    @cached_property
    @torch.inference_mode(False)
    def _runs(self) -> tuple[Tensor, Lists]:
        order, runs = self.ontology.subtree_runs
        return torch.tensor(order, device=self.device), Lists.of(runs, self.device)

    def _least(self, threshold: Threshold) -> Tensor:
        """The least score of each type, (C), kept until another threshold is asked for."""
        last, least = self._last
        if least is None or threshold != last:
            least = self._least_scores(threshold)
            self._last = deepcopy(threshold), least  # a caller may change its own
        return least

    def _least_scores(self, threshold: Threshold) -> Tensor:
        default, levels, own = read_threshold(threshold, self.ontology)
        by_level = [*levels, *[default] * (len(self.levels) + 1 - len(levels))]
        least = torch.tensor(by_level, dtype=torch.float32, device=self.device)[self.depths]
        indices = torch.tensor(list(map(self.ontology.index, own)), dtype=torch.long, device=self.device)
        return least.index_copy_(0, indices, least.new_tensor(list(own.values())))

    def scores(self, logits: Tensor, *, one_type: bool = False, credit: SparseRows | None = None) -> Tensor:
        """Coherent scores (M, C) in [0, 1] of raw logits (M, C): by a sigmoid for each type, or by softmax for ``one_type``.

        ``credit``: W, where softmax scores are to be those of gold types, see :func:`gold_probabilities`.
        """
        if not one_type:
            return self._capped(logits.float().sigmoid())
        mentions, types = torch.ones_like(logits, dtype=torch.bool).nonzero(as_tuple=True)
        return self._below(self._probabilities(logits, credit), mentions, types).view_as(logits)

    def _probabilities(self, logits: Tensor, credit: SparseRows | None) -> Tensor:
        probabilities = logits.float().softmax(1)
        return probabilities if credit is None else gold_probabilities(probabilities, credit)

    def _capped(self, scores: Tensor) -> Tensor:
        """Sigmoid scores (M, C), each capped by those of its type's ancestors."""
        scores = scores.clone()
        for children, parents in self.levels:
            scores.scatter_reduce_(1, children.expand(len(scores), -1), scores[:, parents], "amin")
        return scores

    def _capped_at(self, scores: Tensor, mentions: Tensor, types: Tensor) -> Tensor:
        """As :meth:`_capped`, at N pairs only."""
        if 8 * len(types) > scores.numel():  # most of them: it takes less to work on all
            return self._capped(scores)[mentions, types]
        places, above = self.closures(types)
        return scores[mentions, types].scatter_reduce_(0, places, scores[mentions[places], above], "amin")

    def _below(self, probabilities: Tensor, mentions: Tensor, types: Tensor) -> Tensor:
        """Softmax scores (M, C), summed over the type and all below it, each once: at N pairs, sorted by mention."""
        order, runs = self._runs
        fine = finest(self.device)
        places, runs_of = runs(types)
        wanted = torch.cat([mentions[places, None], runs_of], 1)
        n_rows = max(1, BLOCK_CELLS // len(order))
        sizes, parts = (wanted[:, 0] // n_rows).bincount().tolist(), [probabilities.new_zeros(0, dtype=fine)]
        for block, of_block in zip(probabilities.split(n_rows), wanted.split(sizes), strict=False):
            sums = block[:, order].cumsum(1, dtype=fine)
            rows, start, stop = of_block.T
            parts.append(sums[rows % n_rows, stop - 1] - sums[rows % n_rows, start - 1] * (start > 0))
        totals = parts[0].new_zeros(len(types)).index_add_(0, places, torch.cat(parts))
        return totals.clamp(0.0, 1.0).to(probabilities.dtype)

    @torch.no_grad()
    def choose(
        self, logits: Tensor, threshold: Threshold, *, one_type: bool = False, credit: SparseRows | None = None
    ) -> ChosenTypes:
        """The types of each mention, at least one, closed under ancestors; but for ``threshold``, arguments as in :meth:`scores`."""
        if not one_type:
            return self.choose_several(logits.float().sigmoid(), threshold)
        probabilities = self._probabilities(logits, credit)
        mentions, types = self.paths(logits.argmax(1) if credit is None else self.best_expected(probabilities))
        scores = self._below(probabilities, mentions, types)
        return self.cut_paths(ChosenTypes(mentions, types, scores, len(logits)), threshold)

    @torch.no_grad()
    def choose_best(
        self,
        logits: Tensor,
        k: int,
        *,
        one_type: bool = False,
        credit: SparseRows | None = None,
        allowed: Collection[int] | None = None,
    ) -> ChosenTypes:
        """The ``k`` assignable types of each mention at which most of the score stops, closed under ancestors.

        With softmax it is the type's own probability that stops there, with sigmoid its score less the best one of its children. Of equal
        ones the first are taken.

        Args:
            logits, one_type, credit: as in :meth:`scores`. k: at least 1; fewer where there are no more.
            allowed: indices of the types to choose from; None: all.

        Raises:
            OntologyError: when none of ``allowed`` is assignable.
        """
        scores = self.scores(logits, one_type=one_type, credit=credit)
        own = self._probabilities(logits, credit) if one_type else self._stopping(scores)
        may_be = self.assignable.clone()
        if allowed is not None:
            may_be &= torch.zeros_like(may_be).index_fill_(0, torch.tensor(list(allowed), device=self.device), True)
        if not may_be.any():
            raise OntologyError(
                f"none of the types that are asked for is assignable in ontology {self.ontology.name!r}"
            )
        own, k = own.masked_fill(~may_be, -1.0), min(k, int(may_be.sum()))
        last = own.topk(k, 1).values[:, -1:]  # (M, 1)
        above, tied = own > last, own == last
        best = above | (tied & (tied.cumsum(1) <= k - above.sum(1, keepdim=True)))
        mentions, types = self._closed(*best.nonzero(as_tuple=True), len(best))
        return ChosenTypes(mentions, types, scores[mentions, types], len(best))

    def _stopping(self, scores: Tensor) -> Tensor:
        """Coherent sigmoid scores (M, C), each less the best one of its type's children."""
        below = torch.zeros_like(scores)
        for children, parents in self.levels:
            below.scatter_reduce_(1, parents.expand(len(scores), -1), scores[:, children], "amax")
        return scores - below

    def best_expected(self, probabilities: Tensor) -> Tensor:
        """The assignable type, (M), whose path has the highest expected F1 against that of the gold type.

        It is taken as ``2 · E(types in both) / E(types of both)``: the sum of the path's scores, beside its length and the sum of all
        scores. Ties go to the deepest type.

        Args:
            probabilities: (M, C) in [0, 1] of being the gold type; an assignable type above zero in each row. Few are above zero.
        """
        n_mentions = len(probabilities)
        mentions, types = self._closed(*probabilities.nonzero(as_tuple=True), n_mentions)
        scores = self._below(probabilities, mentions, types)
        places, above = self.closures(types)
        at = torch.searchsorted(self._keys(mentions, types), self._keys(mentions[places], above))
        in_both = torch.zeros_like(scores).index_add_(0, places, scores[at])
        of_gold = scores.new_zeros(n_mentions).index_add_(0, mentions, scores)
        expected = 2 * in_both / (self.closures.sizes[types] + of_gold[mentions])
        expected = expected.masked_fill(~self.assignable[types], -1.0)
        highest = expected.new_full((n_mentions,), -1.0).scatter_reduce_(0, mentions, expected, "amax")
        best = (expected == highest[mentions]).nonzero()[:, 0]  # from the roots down
        last = best.new_zeros(n_mentions).scatter_reduce_(0, mentions[best], best, "amax")
        return types[last]

    def choose_several(self, scores: Tensor, threshold: Threshold) -> ChosenTypes:
        """Each mention's assignable types that score at least their threshold; where none does, the best one. With their ancestors.

        ``scores``: (M, C) in [0, 1], coherent or not yet. Ties for the best go to the deepest type, then to the first.
        """
        mentions, types = self._passing(scores, self._least(threshold))
        rest = (mentions.bincount(minlength=len(scores)) == 0).nonzero()[:, 0]
        if len(rest):
            mentions, types = torch.cat([mentions, rest]), torch.cat([types, self.best(scores[rest])])
        mentions, types = self._closed(mentions, types, len(scores))
        return ChosenTypes(mentions, types, self._capped_at(scores, mentions, types), len(scores))

    def best(self, scores: Tensor) -> Tensor:
        """The assignable type of the highest coherent score, (M), of scores as in :meth:`choose_several`."""
        mentions = torch.arange(len(scores), device=self.device).repeat_interleave(len(self.highest))
        tops = self._capped_at(scores, mentions, self.highest.repeat(len(scores)))
        mentions, types = self._passing(scores, tops.view(len(scores), len(self.highest)).amax(1, keepdim=True))
        last = len(self.depths) - 1
        deepest = self.depths[types] * (last + 1) + last - types  # and, of equally deep ones, the first
        best = deepest.new_zeros(len(scores)).scatter_reduce_(0, mentions, deepest, "amax")
        return last - best % (last + 1)

    def _passing(self, scores: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
        """The pairs of mentions and assignable types whose coherent score is at least ``least``, (C) or (M, 1)."""
        mentions, types = ((scores >= least) & self.assignable).nonzero(as_tuple=True)
        passes = self._capped_at(scores, mentions, types) >= least.expand_as(scores)[mentions, types]
        return mentions[passes], types[passes]

    def paths(self, best: Tensor) -> tuple[Tensor, Tensor]:
        """The pairs of mentions and of their best types (M) with all ancestors."""
        return self._closed(torch.arange(len(best), device=self.device), best, len(best))

    def cut_paths(self, found: ChosenTypes, threshold: Threshold) -> ChosenTypes:
        """Paths less what is not assignable or scores below its threshold, where nothing below it stays; a root always does."""
        mentions, types, scores, n_mentions = found
        passes = (scores >= self._least(threshold)[types]) & self.assignable[types] | (self.depths[types] == 0)
        kept = self._keys(*self._closed(mentions[passes], types[passes], n_mentions))
        places = torch.searchsorted(self._keys(mentions, types), kept)
        return ChosenTypes(mentions[places], types[places], scores[places], n_mentions)

    def _keys(self, mentions: Tensor, types: Tensor) -> Tensor:
        """A number for each pair that grows by mention and then from the roots down."""
        return mentions * len(self.ranks) + self.ranks[types]

    def _closed(self, mentions: Tensor, types: Tensor, n_mentions: int) -> tuple[Tensor, Tensor]:
        """The pairs and those of all ancestors, each once, in the order of :class:`ChosenTypes`."""
        n_types = len(self.ranks)
        if 8 * len(types) > n_mentions * n_types:
            # Whole numbers, not booleans, of which a GPU makes no largest.
            chosen = torch.zeros(n_mentions, n_types, dtype=torch.uint8, device=self.device)
            chosen[mentions, types] = 1
            for children, parents in reversed(self.levels):
                chosen.scatter_reduce_(1, parents.expand(n_mentions, -1), chosen[:, children], "amax")
            mentions, ranks = chosen[:, self.from_roots].nonzero(as_tuple=True)
            return mentions, self.from_roots[ranks]
        places, above = self.closures(types)
        keys = self._keys(mentions[places], above).unique()
        return keys // n_types, self.from_roots[keys % n_types]

    def named(self, chosen: ChosenTypes) -> list[dict[str, float]]:
        """Ids and scores of the types of each mention, from the roots down."""
        rows: list[dict[str, float]] = [{} for _ in range(chosen.n_mentions)]
        for mention, i, score in zip(*(column.tolist() for column in chosen[:3]), strict=True):
            rows[mention][self.ontology.ids[i]] = score
        return rows


@lru_cache(maxsize=8)
def type_decoder(ontology: Ontology, device: torch.device) -> TypeDecoder:
    """The decoder of an ontology's scores on a device, built once."""
    return TypeDecoder(ontology, device)

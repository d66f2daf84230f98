"""Which types to cut: thresholds that fit dev data, for all types, for each level, or for each type that has enough data."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from finener.decoding_finener import ChosenTypes, Threshold, type_decoder
from finener.metrics.pairing import PairingError
from finener.ontology_finener import Ontology

BY = ("global", "level", "type")
CANDIDATES = tuple(i / 20 for i in range(20))
LEAST_MENTIONS = 20  # gold ones of a type that gets a threshold of its own


@dataclass(frozen=True)
class DevScores:
    """What a model says of dev data before anything is cut. M predicted mentions, C types, D documents.

    Args:
        scores: (M, C) in [0, 1], coherent.
        best: (M) the best types, where the model gives each mention one path; None where it gives several.
        gold: (M, C) closed gold types of the mention of that span; none where gold has no such mention.
        document: (M) the number of its document.
        missed: (D) closed gold types of the mentions that were not found.
        gold_mentions: (D) gold mentions.
    """

    scores: Tensor
    best: Tensor | None
    gold: Tensor
    document: Tensor
    missed: Tensor
    gold_mentions: Tensor

    def of_documents(self, chosen: Iterable[int]) -> DevScores:
        """The part of some documents."""
        chosen = torch.tensor(sorted(chosen), dtype=torch.long)
        rows = torch.isin(self.document, chosen)
        best = None if self.best is None else self.best[rows]
        return DevScores(
            self.scores[rows],
            best,
            self.gold[rows],
            self.document[rows],
            self.missed[chosen],
            self.gold_mentions[chosen],
        )


@dataclass(frozen=True)
class Calibration:
    """Thresholds and what they are worth, as F1 in [0, 1] of what they were chosen for.

    Args:
        threshold: for ``FinenerConfig.type_threshold`` or ``target_type_threshold``.
        by: one of BY.
        before: F1 on dev with the thresholds that the model had.
        after: F1 on the same dev data, which is flattering: it chose them.
        held_out: F1 on documents that did not choose, by BY; an honest guess of what is gained.
    """

    threshold: Threshold
    by: str
    before: float
    after: float
    held_out: Mapping[str, float]


def dev_scores(
    gold: Sequence[Mapping[str, Any]], predicted: Iterable[Mapping[str, Any]], ontology: Ontology, *, is_path: bool
) -> DevScores:
    """Brings predictions that were made with a threshold of 0 into rows.

    Args:
        gold: exhaustive records typed with ``ontology``.
        predicted: one for each, in the same order. They may come one by one: with all types in each, they take more room than their rows.
        ontology: of the types.
        is_path: each mention has one path of types (softmax); otherwise all types (sigmoid).

    Raises:
        PairingError: on a gold record that is not exhaustive and typed with the ontology, or when gold has no mention.
    """
    documents: dict[str, int] = {}
    rows, targets, numbers, missed, mentions = [], [], [], [], []
    for record, prediction in zip(gold, predicted, strict=True):
        if not record["exhaustive"] or record["ontology"] != ontology.name:
            raise PairingError(
                f"gold record {record['id']!r}: expected exhaustive records typed with {ontology.name!r}, to choose thresholds by"
            )
        number = documents.setdefault(record["doc_id"], len(documents))
        missed += [0] * (len(documents) - len(missed))
        mentions += [0] * (len(documents) - len(mentions))
        mentions[number] += len(record["mentions"])
        own = {
            (m["start"], m["end"]): ontology.closure_indices(map(ontology.index, m["types"]))
            for m in record["mentions"]
        }
        for mention in prediction["mentions"]:
            indices = [ontology.index(type_id) for type_id in mention["types"]]
            rows.append(torch.zeros(len(ontology)))
            rows[-1][indices] = torch.tensor(mention["type_scores"])
            targets.append(torch.zeros(len(ontology), dtype=torch.bool))
            targets[-1][own.pop((mention["start"], mention["end"]), [])] = True
            numbers.append(number)
        missed[number] += sum(map(len, own.values()))
    if not sum(missed) and not any(target.any() for target in targets):
        raise PairingError("the gold records have no typed mention; expected some to choose thresholds by")
    scores = torch.stack(rows) if rows else torch.zeros(0, len(ontology))
    depths = torch.tensor(ontology.depths) + 1
    best = ((scores > 0) * depths).argmax(1) if is_path else None
    gold_types = torch.stack(targets) if targets else torch.zeros(0, len(ontology), dtype=torch.bool)
    numbers, missed, mentions = (torch.tensor(values, dtype=torch.long) for values in (numbers, missed, mentions))
    return DevScores(scores, best, gold_types, numbers, missed, mentions)


def pair_f1(dev: DevScores, ontology: Ontology, threshold: Threshold) -> float:
    """F1 of (span, type) pairs on closed type sets."""
    chosen = _choose(dev, ontology, threshold)
    hits = int(dev.gold[chosen.mentions, chosen.types].sum())
    return 2 * hits / max(1, len(chosen.types) + _gold_items(dev, "pairs"))


def strict_f1(dev: DevScores, ontology: Ontology, threshold: Threshold) -> float:
    """F1 of mentions whose span and whole type set are right."""
    chosen = _choose(dev, ontology, threshold)
    hits, predicted = torch.zeros(2, len(dev.scores), dtype=torch.long)
    hits.index_add_(0, chosen.mentions, dev.gold[chosen.mentions, chosen.types].long())
    predicted.index_add_(0, chosen.mentions, torch.ones_like(chosen.types))
    right = (hits == predicted) & (hits == dev.gold.sum(1)) & (hits > 0)
    return 2 * int(right.sum()) / max(1, len(dev.scores) + _gold_items(dev, "strict"))


MEASURES = {"pairs": pair_f1, "strict": strict_f1}


def _choose(dev: DevScores, ontology: Ontology, threshold: Threshold) -> ChosenTypes:
    decoder = type_decoder(ontology, dev.scores.device)
    if dev.best is None:
        return decoder.choose_several(dev.scores, threshold)
    mentions, types = decoder.paths(dev.best)
    found = ChosenTypes(mentions, types, dev.scores[mentions, types], len(dev.scores))
    return decoder.cut_paths(found, threshold)


def _gold_items(dev: DevScores, measure: str) -> int:
    """What recall is of: (span, type) pairs, or mentions."""
    if measure == "pairs":
        return int(dev.gold.sum()) + int(dev.missed.sum())
    return int(dev.gold_mentions.sum())


NEVER = len(CANDIDATES)  # the threshold, as the number of a candidate, of types that nobody has tried yet
PAIRS_AT_ONCE = 4096


class _Search:
    """Tries thresholds of some types while those of the others stay.

    A mention has a type when this or a type below it passes. So all that is kept is how many such types pass, for each type and mention:
    other thresholds for a few types change the counts of these and of their ancestors only, however many types there are. Arrays are
    (types, M): a type is looked at in all mentions at once. At the start no type passes.

    Args:
        dev: what to choose by.
        ontology: of the types.
        measure: one of MEASURES.
    """

    def __init__(self, dev: DevScores, ontology: Ontology, measure: str):
        self.decoder = type_decoder(ontology, dev.scores.device)
        self.measure, self.gold_items = measure, _gold_items(dev, measure)
        self.gold, self.in_gold = dev.gold.T.contiguous(), dev.gold.sum(1)
        self.candidate = torch.full((len(ontology),), NEVER)
        # How many of the candidates, the lowest first, each score passes.
        passed = torch.bucketize(dev.scores.T.contiguous(), torch.tensor(CANDIDATES), right=True, out_int32=True)
        self.passed = passed.to(torch.uint8) * self.decoder.assignable[:, None]
        self.passing = torch.zeros_like(
            self.passed, dtype=torch.float32
        )  # whole numbers; torch adds them up fastest in fp32
        best = self.decoder.best(dev.scores) if dev.best is None else dev.best
        mentions, types = self.decoder.paths(best)
        path = torch.zeros_like(self.gold).index_put_((types, mentions), torch.tensor(True))
        self.fallback = self._counts(path)
        if dev.best is not None:
            is_root = (self.decoder.depths == 0)[:, None]
            self.passed *= path & ~is_root
            self.passing += path & is_root  # roots of a path always stay
        self.n_passing = self.passing.sum(0)
        self.counts = self._counts(self.passing > 0)

    def _counts(self, chosen: Tensor) -> Tensor:
        """Chosen types and right ones of each mention, (2, M), of booleans (C, M)."""
        return torch.stack([chosen.sum(0), (chosen & self.gold).sum(0)])

    def improve(self, group: Sequence[int]) -> float:
        """Gives types that have the same threshold the candidate with the best F1, if that gains anything; returns their threshold."""
        members = torch.tensor(group)
        places, above = self.decoder.closures(members)
        columns, rows = above.unique(return_inverse=True)
        passed, now = self.passed[members], int(self.candidate[members[0]])
        old = _above(passed > now, places, rows, len(columns), "sum")
        others = self.passing[columns] - old > 0
        lost = (self.passing[columns] > 0) & ~others
        base = self.counts - torch.stack([lost.sum(0), (lost & self.gold[columns]).sum(0)])
        most = _above(passed, places, rows, len(columns), "amax").long()
        counts = base + torch.stack([_at_least(most, ~others), _at_least(most, ~others & self.gold[columns])], 1)
        rest = self.n_passing - (passed > now).sum(0)
        is_typed = (rest > 0) | (passed.amax(0) > torch.arange(NEVER)[:, None])
        found = self._f1(torch.where(is_typed[:, None], counts, self.fallback))
        best = max(range(NEVER), key=found.__getitem__)
        if now == NEVER or found[best] > found[now]:
            self.candidate[members] = best
            self.counts, self.n_passing = counts[best], rest + (passed > best).sum(0)
            self.passing[columns] += _above(passed > best, places, rows, len(columns), "sum") - old
            now = best
        return CANDIDATES[now]

    def _f1(self, counts: Tensor) -> list[float]:
        """F1 of chosen and right types, (candidates, 2, M)."""
        predicted, hits = counts.unbind(1)
        if self.measure == "pairs":
            right, n_predicted = hits.sum(1).tolist(), predicted.sum(1).tolist()
        else:
            right = ((hits == predicted) & (hits == self.in_gold) & (hits > 0)).sum(1).tolist()
            n_predicted = [counts.shape[2]] * len(counts)
        return [2 * r / max(1, n + self.gold_items) for r, n in zip(right, n_predicted, strict=True)]


def _above(values: Tensor, places: Tensor, rows: Tensor, n_rows: int, how: str) -> Tensor:
    """The sum or the highest of some types' values (types, M) at each type of their closure, (n_rows, M).

    Args:
        values: at least 0.
        places, rows: (N) pairs of these types and of types at or above them.
        n_rows: types in the closure.
        how: sum or amax.
    """
    found = torch.zeros(n_rows, values.shape[1])
    for part in values.any(1)[places].nonzero()[:, 0].split(PAIRS_AT_ONCE):
        index = rows[part, None].expand(-1, values.shape[1])
        found.scatter_reduce_(0, index, values[places[part]].float(), how)
    return found


def _at_least(most: Tensor, counted: Tensor) -> Tensor:
    """For each candidate the counted types of each mention that pass it, (candidates, M), of (types, M)."""
    histogram = torch.zeros(NEVER + 1, most.shape[1], dtype=torch.long).scatter_add_(0, most, counted.long())
    return histogram.flip(0).cumsum(0).flip(0)[1:]


def tune(dev: DevScores, ontology: Ontology, by: str, measure: str = "pairs", least: int = LEAST_MENTIONS) -> Threshold:
    """The thresholds with the best F1 on dev; of equal ones the lowest, and a level or a type leaves its elders' only to gain.

    Args:
        dev: what to choose by.
        ontology: of the types.
        by: one of BY.
        measure: one of MEASURES.
        least: gold mentions that a type must have to get a threshold of its own.
    """
    *_, threshold = islice(_tuned(dev, ontology, measure, least), BY.index(by) + 1)
    return threshold


def _tuned(dev: DevScores, ontology: Ontology, measure: str, least: int = LEAST_MENTIONS) -> Iterator[Threshold]:
    """What :func:`tune` finds for each of BY in turn: each kind starts from the one before."""
    search = _Search(dev, ontology, measure)
    default = search.improve(range(len(ontology)))
    yield default
    levels: list[list[int]] = [[] for _ in range(max(ontology.depths) + 1)]
    for i, depth in enumerate(ontology.depths):
        levels[depth].append(i)
    by_level = {"default": default, "levels": [search.improve(level) for level in levels]}
    yield by_level | {"types": {}}
    own = (dev.gold.sum(0) >= least).nonzero()[:, 0].tolist()
    yield by_level | {"types": {ontology.ids[i]: search.improve([i]) for i in own}}


def calibrate(
    dev: DevScores,
    ontology: Ontology,
    now: Threshold,
    by: str = "auto",
    folds: int = 5,
    seed: int = 0,
    measure: str = "pairs",
) -> Calibration:
    """Chooses thresholds; with ``by="auto"`` the kind that holds up best on documents that did not choose, in doubt the simplest.

    Args:
        dev: what to choose by.
        ontology: of the types.
        now: the thresholds that the model has.
        by: one of BY, or "auto".
        folds: parts into which the documents are drawn; each is scored with thresholds that the others chose.
        seed: of the draw.
        measure: one of MEASURES: whose F1 is to be best.

    Raises:
        ValueError: on another kind or measure, or when there are fewer documents than folds.
    """
    if by not in (*BY, "auto"):
        raise ValueError(f"by must be auto or one of {', '.join(BY)}; got {by!r}")
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {', '.join(MEASURES)}; got {measure!r}")
    if not 2 <= folds <= len(dev.missed):
        raise ValueError(f"folds must lie in [2, {len(dev.missed)}], the number of dev documents; got {folds}")
    order = list(range(len(dev.missed)))
    random.Random(seed).shuffle(order)
    parts = [
        (dev.of_documents(set(order) - set(fold)), dev.of_documents(fold))
        for fold in (order[i::folds] for i in range(folds))
    ]
    f1 = MEASURES[measure]
    kinds = BY if by == "auto" else (by,)
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for train, test in parts:
        tuned = islice(_tuned(train, ontology, measure), BY.index(kinds[-1]) + 1)
        for kind, threshold in zip(BY, tuned, strict=False):
            if kind in found:
                found[kind].append(f1(test, ontology, threshold))
    held_out = {kind: sum(values) / len(values) for kind, values in found.items()}
    kind = max(held_out, key=held_out.__getitem__)
    threshold = tune(dev, ontology, kind, measure)
    return Calibration(threshold, kind, f1(dev, ontology, now), f1(dev, ontology, threshold), held_out)

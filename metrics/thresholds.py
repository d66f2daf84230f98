"""Which types to cut: thresholds that fit dev data, for all types, for each level, or for each type that has enough data."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from finener.decoding_finener import ChosenTypes, Threshold, type_decoder
from finener.metrics.pairing import PairingError
from finener.ontology_finener import Ontology

BY = ("global", "level", "type")
CANDIDATES = tuple(i / 20 for i in range(20))


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


def tune(dev: DevScores, ontology: Ontology, by: str, measure: str = "pairs", least: int = 20) -> Threshold:
    """The thresholds with the best F1 on dev; of equal ones the lowest, and a level or a type leaves its elders' only to gain.

    Args:
        dev: what to choose by.
        ontology: of the types.
        by: one of BY.
        measure: one of MEASURES.
        least: gold mentions that a type must have to get a threshold of its own.
    """
    search = ThresholdSearch(dev, ontology, measure)
    default = CANDIDATES[search.improve(list(range(len(ontology))))]
    if by == "global":
        return default
    levels: list[list[int]] = [[] for _ in range(max(ontology.depths) + 1)]
    for i, depth in enumerate(ontology.depths):
        levels[depth].append(i)
    own: dict[str, float] = {}
    parts = {"default": default, "levels": [CANDIDATES[search.improve(level)] for level in levels], "types": own}
    if by == "type":
        for i in (dev.gold.sum(0) >= least).nonzero()[:, 0].tolist():
            own[ontology.ids[i]] = CANDIDATES[search.improve([i])]
    return parts


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
    f1, held_out = MEASURES[measure], {}
    for kind in BY if by == "auto" else (by,):
        found = [f1(test, ontology, tune(train, ontology, kind, measure)) for train, test in parts]
        held_out[kind] = sum(found) / len(found)
    kind = max(held_out, key=held_out.__getitem__)
    threshold = tune(dev, ontology, kind, measure)
    return Calibration(threshold, kind, f1(dev, ontology, now), f1(dev, ontology, threshold), held_out)

"""Decoding as it is defined, over all (mention, type) cells: slow, and what the sparse form is held against."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from finener.decoding_finener import LEAST_PROBABILITY, ROUNDS, Threshold, read_threshold
from finener.ontology_finener import EntityType, Ontology


def random_dag(size: int, seed: int, assignable: float = 0.8) -> Ontology:
    """Types in random order, a third of them with two parents, some not assignable."""
    draw = random.Random(seed)
    rows = []
    for i in range(size):
        n_parents = min(i, draw.choice([0, 1, 1, 1, 2, 2]) if i > 2 else 0)
        parents = tuple(f"t{p}" for p in draw.sample(range(i), n_parents))
        rows.append(EntityType(f"t{i}", parents=parents, assignable=draw.random() < assignable or i == size - 1))
    draw.shuffle(rows)
    return Ontology("random", rows)


def thresholds(ontology: Ontology, threshold: Threshold) -> Tensor:
    """The least score of each type, (C)."""
    default, levels, own = read_threshold(threshold, ontology)
    by_level = [*levels, *[default] * (max(ontology.depths) + 1)]
    return torch.tensor([own.get(t, by_level[d]) for t, d in zip(ontology.ids, ontology.depths, strict=True)])


def cap_by_parents(ontology: Ontology, scores: Tensor) -> Tensor:
    """(M, C) → (M, C), no type above its parents."""
    scores = scores.clone()
    for child, parent in ontology.edges:
        scores[:, child] = torch.minimum(scores[:, child], scores[:, parent])
    return scores


def sum_over_subtrees(ontology: Ontology, probabilities: Tensor) -> Tensor:
    """(M, C) → (M, C), the sum over the type and all below it, each once."""
    sums = probabilities.double()
    for i, above in enumerate(ontology.ancestors):
        sums[:, list(above)] += probabilities[:, i, None].double()
    return sums.clamp(max=1.0).to(probabilities.dtype)


def close(ontology: Ontology, chosen: Tensor) -> Tensor:
    """(M, C) booleans → (M, C) booleans, with ancestors."""
    closed = chosen.clone()
    for child, parent in reversed(ontology.edges):
        closed[:, parent] |= closed[:, child]
    return closed


def choose_several(ontology: Ontology, scores: Tensor, threshold: Threshold) -> Tensor:
    """(M, C) coherent scores → (M, C) booleans."""
    assignable = torch.tensor(ontology.assignable)
    chosen = (scores >= thresholds(ontology, threshold)) & assignable
    for row in (~chosen.any(1)).nonzero()[:, 0].tolist():
        own = scores[row].masked_fill(~assignable, -1.0)
        chosen[row, max((own == own.max()).nonzero()[:, 0].tolist(), key=ontology.depths.__getitem__)] = True
    return close(ontology, chosen)


def choose_paths(ontology: Ontology, scores: Tensor, best: Tensor, threshold: Threshold) -> Tensor:
    """(M, C) coherent scores and (M) best types → (M, C) booleans."""
    path = close(ontology, torch.zeros_like(scores, dtype=torch.bool).scatter_(1, best[:, None], True))
    is_root = torch.tensor([not parents for parents in ontology.parents])
    passes = (scores >= thresholds(ontology, threshold)) & torch.tensor(ontology.assignable)
    return close(ontology, path & (passes | is_root))


def gold_probabilities(said: Tensor, credit: Tensor, rounds: int = ROUNDS) -> Tensor:
    """(M, C) softmax probabilities and a dense W (C, C) → (M, C) of gold types: expectation maximisation."""
    best = torch.nn.functional.one_hot(said.argmax(1), said.shape[1]) == 1
    gold = torch.where((said >= LEAST_PROBABILITY) | best, said, 0.0).double()
    for _ in range(rounds):
        expected = gold @ credit.double()
        gold = gold * (torch.where(expected > 0, said.double() / expected, 0.0) @ credit.double().T)
    return gold.to(said.dtype)


def best_expected(ontology: Ontology, probabilities: Tensor) -> Tensor:
    """(M, C) probabilities of gold types → (M) types whose paths have the highest expected F1; of equal ones the deepest."""
    scores = sum_over_subtrees(ontology, probabilities).double()
    best = []
    for row in scores.tolist():
        of_path = {}
        for i in range(len(ontology)):
            path = ontology.closure_indices([i])
            if ontology.assignable[i] and row[i] > 0:
                of_path[i] = round(sum(row[t] for t in path) / (len(path) + sum(row)), 6), ontology.depths[i]
        best.append(max(of_path, key=of_path.__getitem__))
    return torch.tensor(best, dtype=torch.long)


def named_scores(ontology: Ontology, scores: Tensor, chosen: Tensor) -> list[dict[str, float]]:
    """Ids and scores of the chosen types of each mention, from the roots down."""
    rows = []
    for row, own in zip(scores.tolist(), chosen, strict=True):
        indices = sorted(own.nonzero()[:, 0].tolist(), key=ontology.depths.__getitem__)
        rows.append({ontology.ids[i]: row[i] for i in indices})
    return rows


def choose(
    ontology: Ontology, logits: Tensor, threshold: Threshold, *, one_type: bool, credit: Tensor | None = None
) -> list[dict[str, float]]:
    """What ``TypeDecoder.choose`` and ``named`` must give; ``credit`` is W, (C, C)."""
    if credit is not None:
        gold = gold_probabilities(logits.float().softmax(1), credit)
        scores = sum_over_subtrees(ontology, gold)
        return named_scores(ontology, scores, choose_paths(ontology, scores, best_expected(ontology, gold), threshold))
    if one_type:
        scores = sum_over_subtrees(ontology, logits.float().softmax(1))
        return named_scores(ontology, scores, choose_paths(ontology, scores, logits.argmax(1), threshold))
    scores = cap_by_parents(ontology, logits.float().sigmoid())
    return named_scores(ontology, scores, choose_several(ontology, scores, threshold))

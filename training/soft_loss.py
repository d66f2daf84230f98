"""W of the soft loss: from a file, or from what a model confuses."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from finener.ontology_finener import Ontology
from finener.training.records import Record


def credit_matrix(credit: Mapping[int, Mapping[int, float]], size: int) -> Tensor:
    """W as ``metrics.credit.read_credit`` gives it → (K, K)."""
    weights = torch.zeros(size, size)
    for gold, row in credit.items():
        weights[gold, list(row)] = torch.tensor(list(row.values()))
    return weights


def estimate_credit(
    gold: Iterable[Record], predicted: Iterable[Record], ontology: Ontology, prior: Tensor, strength: float = 10.0
) -> Tensor:
    """W from what a model confuses: how often it says type ``j`` of a mention whose type is ``i``.

    The counts are smoothed by a prior W, as if each gold type had been seen ``strength`` times more and confused in that way: the mean of
    the posterior under a Dirichlet prior. So a type that was never seen keeps the prior's row. No other type gets more than the gold type.
    A mention of several most specific types shares its count among them. Neither the paper nor its slides say how an estimate was made.

    Args:
        gold: records typed with the ontology, that the model was not trained on.
        predicted: the same records with the same mentions in the same order, typed by the model.
        ontology: of the K types.
        prior: (K, K), at least 0, no zero row.
        strength: of the prior, in mentions.

    Returns:
        (K, K), rows summing to one.

    Raises:
        ValueError: when the mentions of the two are not the same, or there are none with types.
    """
    counts = torch.zeros(len(ontology), len(ontology))
    for record, guess in zip(gold, predicted, strict=True):
        if [(m["start"], m["end"]) for m in record["mentions"]] != [(m["start"], m["end"]) for m in guess["mentions"]]:
            raise ValueError(f"record {record['id']!r}: the predictions are not of the gold mentions")
        for mention, found in zip(record["mentions"], guess["mentions"], strict=True):
            rows, columns = (ontology.most_specific_indices(map(ontology.index, m["types"])) for m in (mention, found))
            for i, j in itertools.product(rows, columns):
                counts[i, j] += 1 / (len(rows) * len(columns))
    if not counts.any():
        raise ValueError(f"there are no gold mentions with types of {ontology.name!r} to estimate confusions from")
    weights = counts + strength * prior / prior.sum(1, keepdim=True)
    own = weights.diagonal()[:, None]  # zero where a type is not assignable, which is never gold
    weights = torch.where(own > 0, torch.minimum(weights, own), weights)
    return weights / weights.sum(1, keepdim=True)

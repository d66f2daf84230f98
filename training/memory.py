"""What fine-tuning may not forget: the source types as they were scored before it.

M mentions, C source types.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from finener.layers_finener import LOSS_PARTS, flat_spans
from finener.modeling_finener import FinenerForTokenClassification
from finener.training.collator import READ_KEYS

TRAINED_PARTS = (*LOSS_PARTS, "memory")
"""The losses of a training step: the model's own, and that of :class:`SourceMemory`."""


class SourceMemory:
    """A model's source types as they were when this was made: it reads the same batches, and tells how far the model has gone.

    No source records are needed: the mentions that fine-tuning trains on are those that are compared.
    Source: Li and Hoiem 2016, Learning without Forgetting; with a sigmoid for each type in place of their softmax.

    Args:
        model: a copy of it is kept; a frozen encoder is shared.
    """

    def __init__(self, model: FinenerForTokenClassification):
        is_shared = not any(p.requires_grad for p in model.encoder.parameters())
        self._before = copy.deepcopy(model, {id(model.encoder): model.encoder} if is_shared else None)
        self._before.conversion = None  # its types are not compared
        self._before.requires_grad_(False).eval()

    @torch.no_grad()
    def logits(self, batch: Mapping[str, Any]) -> Tensor:
        """Raw source logits of a batch's mentions, (M, C), as they were."""
        reading = self._before.read(**{key: batch[key] for key in READ_KEYS if key in batch})
        spans = flat_spans(batch["mention_spans"])
        return self._before.type_mentions(reading.word_states, reading.states, spans)[0]

    def loss(self, batch: Mapping[str, Any], type_logits: Tensor) -> Tensor:
        """Mean over a batch's mentions of :func:`memory_loss`; 0 where there are none. ``type_logits``: raw, (M, C), as they are."""
        return memory_loss(type_logits, self.logits(batch)).sum() / max(1, len(type_logits))


def memory_loss(logits: Tensor, before: Tensor) -> Tensor:
    """How far each mention's scores are from what they were, (M,) in nats, at least 0: Kullback-Leibler divergence, summed over types.

    Args:
        logits: (M, C) raw. before: (M, C) raw, what they were.
    """
    logits, before = logits.float(), before.float()
    scores = before.sigmoid()
    cross, own = (binary_cross_entropy_with_logits(x, scores, reduction="none") for x in (logits, before))
    return (cross - own).sum(1)


def count_mentions(batch: Mapping[str, Any]) -> Tensor:
    """How many mentions a batch has, what the memory loss is averaged over."""
    return (batch["mention_spans"][:, :, 0] >= 0).sum()

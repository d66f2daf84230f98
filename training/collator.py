"""Records → batches. Letters in shape comments are those of ``modeling_finener``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from finener.configuration_finener import FinenerConfig
from finener.layers_finener import B, I, O
from finener.ontology_finener import Ontology
from finener.training.encoder_states import WordStateCache
from finener.training.records import Record
from finener.windows_finener import EncodedText, TextEncoder

# Of each record, for evaluation: whether every mention is marked; whether its types are those that are judged; how many gold mentions
# have no word span, and how many closed types these have.
FACTS = ("exhaustive", "judged", "lost_mentions", "lost_pairs")


KEPT_ENCODINGS = 50_000  # about 5 kB each
NOT_FOR_MODEL = ("ids", "facts")
READ_KEYS = (
    "input_ids",
    "attention_mask",
    "word_starts",
    "word_shapes",
    "word_states",
)  # what the model reads of texts


class FinenerCollator:
    """Records (each at most one window long, see :func:`cut_record`) → the batch that the model reads.

    Keys, always all of them: ``input_ids``, ``attention_mask`` (B, T), ``word_starts`` (B, W), ``word_shapes`` (B, W, F),
    ``labels`` (B, W), ``mention_spans`` (B, S, 2), ``type_labels`` (B, S, L), ``target_type_labels`` (B, S, L), ``facts`` (B, 4), see
    ``FACTS``, ``ids`` (list of B), and, with a cache, ``word_states`` (B, W, D).

    Args:
        encoder: turns text into words.
        config: of the model: its ontologies say which of the two type labels a record's types go to.
        cache: word states of a frozen encoder.
    """

    def __init__(self, encoder: TextEncoder, config: FinenerConfig, cache: WordStateCache | None = None):
        self.encoder = encoder
        self.source = config.ontology
        self.target = config.target_ontology
        self.judged = config.target_ontology or config.ontology
        self.target_is_closed = config.target_activation == "sigmoid"
        self.cache = cache
        self._encoded: dict[str, EncodedText] = {}  # beside cached states tokenizing would be a quarter of a step

    def __call__(self, records: Sequence[Record]) -> dict[str, Any]:
        """The batch of some records."""
        encodings = [self._encode(record["text"]) for record in records]
        batch = self.encoder.pad([self.encoder.whole_window(encoded) for encoded in encodings])
        width = batch["word_starts"].shape[1]
        batch["labels"] = torch.full((len(records), width), -100)
        batch["facts"] = torch.zeros(len(records), len(FACTS), dtype=torch.long)
        spans, source, target = [], [], []
        for row, (record, encoded) in enumerate(zip(records, encodings, strict=True)):
            places = encoded.word_spans(record["mentions"])
            kept = [(span, m) for span, m in zip(places, record["mentions"], strict=True) if span]
            lost = [m for span, m in zip(places, record["mentions"], strict=True) if not span]
            pairs = [self._labels(record, m, self.judged, True) for m in lost]
            is_judged = record["typed"] and record["ontology"] == self.judged.name
            batch["facts"][row] = torch.tensor([record["exhaustive"], is_judged, len(lost), sum(map(len, pairs))])
            if record["exhaustive"]:
                batch["labels"][row, : len(encoded.words)] = O
                for (first, stop), _ in kept:
                    batch["labels"][row, first:stop] = I
                    batch["labels"][row, first] = B
            spans.append([list(span) for span, _ in kept])
            source.append([self._labels(record, m, self.source, True) for _, m in kept])
            target.append([self._labels(record, m, self.target, self.target_is_closed) for _, m in kept])
        batch["mention_spans"] = _padded(spans, 2)
        batch["type_labels"] = _padded(source)
        batch["target_type_labels"] = _padded(target)
        batch["ids"] = [record["id"] for record in records]
        if self.cache is not None:
            batch["word_states"] = self._states(records, width)
        return batch

    def _labels(self, record: Record, mention: Mapping[str, Any], ontology: Ontology | None, closed: bool) -> list[int]:
        if ontology is None or not record["typed"] or record["ontology"] != ontology.name:
            return []
        indices = [ontology.index(t) for t in mention["types"]]
        return ontology.closure_indices(indices) if closed else ontology.most_specific_indices(indices)

    def _encode(self, text: str) -> EncodedText:
        if self.cache is None:
            return self.encoder.encode(text)
        if text not in self._encoded:
            if len(self._encoded) == KEPT_ENCODINGS:
                self._encoded.clear()
            self._encoded[text] = self.encoder.encode(text)
        return self._encoded[text]

    def _states(self, records: Sequence[Record], width: int) -> Tensor:
        rows = [self.cache[record["text"]] for record in records]
        states = torch.zeros(len(rows), width, rows[0].shape[1], dtype=torch.float16)
        for row, own in enumerate(rows):
            states[row, : len(own)] = own
        return states


def _padded(rows: Sequence[Sequence[Sequence[int]]], least: int = 1) -> Tensor:
    """(B, S, L) with -1 padding; S and L at least 1 and ``least``."""
    n_mentions = max(1, *(len(row) for row in rows))
    n_labels = max([least, *(len(cell) for row in rows for cell in row)])
    padded = torch.full((len(rows), n_mentions, n_labels), -1)
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            padded[i, j, : len(cell)] = torch.tensor(cell, dtype=torch.long)
    return padded


def model_inputs(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What ``forward`` takes of a batch."""
    return {k: v for k, v in batch.items() if k not in NOT_FOR_MODEL}


def loss_counts(batch: Mapping[str, Any], target_is_closed: bool) -> Tensor:
    """What each loss part of a batch is averaged over, in the order of ``LOSS_PARTS``: words, gold types, mentions (or gold types)."""
    targets = batch["target_type_labels"] >= 0
    return torch.stack(
        [
            (batch["labels"] >= 0).sum(),
            (batch["type_labels"] >= 0).sum(),
            targets.sum() if target_is_closed else targets.any(2).sum(),
        ]
    )

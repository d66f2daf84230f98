"""Evaluation by counts: what each record adds to the scores and to the losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import EvalPrediction

from finener.layers_finener import LOSS_PARTS, detection_loss, flat_labels
from finener.metrics.counting import COUNTS, add_counts, count_detection, count_given, count_typed, scores_of_counts
from finener.modeling_finener import FinenerForTokenClassification, FinenerOutput, Reading
from finener.ontology_finener import Ontology
from finener.training.collator import READ_KEYS


def evaluate_batch(model: FinenerForTokenClassification, batch: Mapping[str, Any]) -> Tensor:
    """What each record of a batch adds: its counts, the sum of each loss part and what that counts, (B, len(COUNTS) + 6) float.

    The encoder runs once; the gold spans and the decoded ones are typed from the same states.
    """
    reading = model.read(**{key: batch[key] for key in READ_KEYS if key in batch})
    given = model.judge(reading, mention_spans=batch["mention_spans"])
    counts = count_batch(model, batch, given, found=model.judge(reading))
    return torch.cat([counts, record_losses(model, batch, reading, given).cpu()], 1)


def record_losses(
    model: FinenerForTokenClassification, batch: Mapping[str, Tensor], reading: Reading, given: FinenerOutput
) -> Tensor:
    """Each record's part of each loss, and what it counts, in the order of ``LOSS_PARTS``: (B, 3) sums beside (B, 3) counts."""
    labels = {key: flat_labels(batch["mention_spans"], batch[key]) for key in ("type_labels", "target_type_labels")}
    parts = {
        "detection": detection_loss(model.crf, reading.emissions, batch["labels"], reading.mask),
        "typing": model.type_head.loss(given.type_logits, labels["type_labels"]),
    }
    if model.conversion is not None:
        parts["conversion"] = model.conversion.loss(given.target_type_logits, labels["target_type_labels"])
    losses = reading.emissions.new_zeros(2, len(LOSS_PARTS), len(batch["labels"]), dtype=torch.float)
    for i, part in enumerate(LOSS_PARTS):
        for row, values in zip(losses, parts.get(part, ()), strict=False):
            if part == "detection":  # of records; the others are of mentions
                row[i] = values
            else:
                row[i].index_add_(0, given.mention_spans[:, 0], values.to(row.dtype))
    return losses.flatten(0, 1).T


def count_batch(
    model: FinenerForTokenClassification, batch: Mapping[str, Tensor], given: FinenerOutput, found: FinenerOutput
) -> Tensor:
    """Counts of each record, (B, len(COUNTS)) float.

    Args:
        model: says which types are judged: the target's where it has a conversion head, else the source's.
        batch: of :class:`FinenerCollator`. given: output on the gold spans. found: output on the decoded spans.
    """
    is_target = model.conversion is not None
    ontology = model.config.target_ontology if is_target else model.config.ontology
    labels = batch["target_type_labels" if is_target else "type_labels"].tolist()
    facts = batch["facts"].tolist()
    decoded = _by_record(found, model.select_types(found), ontology, len(facts), model.config.detection_threshold)
    typed = _by_record(given, model.select_types(given), ontology, len(facts))
    rows = []
    for r, (exhaustive, judged, lost_mentions, lost_pairs) in enumerate(facts):
        spans = [tuple(span) for span in batch["mention_spans"][r].tolist() if span[0] >= 0]
        gold = {span: [t for t in types if t >= 0] for span, types in zip(spans, labels[r], strict=False)}
        parts = [count_given(gold[span], typed[r][span], ontology) for span in gold if gold[span]]
        if exhaustive:
            parts += [count_detection(gold, decoded[r]), {"mention_gold": lost_mentions}]
        if exhaustive and judged:
            parts += [count_typed(gold, decoded[r], ontology), {"typed_gold": lost_mentions, "pair_gold": lost_pairs}]
        counts = add_counts(parts)
        rows.append([counts[name] for name in COUNTS])
    return torch.tensor(rows, dtype=torch.float)


def _by_record(
    output: FinenerOutput, kinds: Sequence[Mapping[str, float]], ontology: Ontology, n_records: int, least: float = 0.0
) -> list[dict[tuple[int, int], list[int]]]:
    """The typed spans of each record of an output, those whose probability is at least ``least``."""
    records: list[dict[tuple[int, int], list[int]]] = [{} for _ in range(n_records)]
    rows = zip(output.mention_spans.tolist(), output.mention_scores.tolist(), kinds, strict=True)
    for (record, first, stop), score, types in rows:
        if score >= least:
            records[record][first, stop] = [ontology.index(t) for t in types]
    return records


def metrics_of_counts(prediction: EvalPrediction, weights: Mapping[str, float]) -> dict[str, float]:
    """Scores of all records' counts together, and their losses, for ``Trainer.evaluate``.

    Args:
        prediction: (N, len(COUNTS) + 6) of all N records, see :func:`evaluate_batch`.
        weights: of each loss part.

    Returns:
        The scores; ``score``, the mean of detection and typing F1; ``loss_PART``, each part's mean over what it counts; and ``loss``, their
        weighted sum. None of them depends on how the records were batched.
    """
    totals = np.asarray(prediction.predictions).reshape(-1, len(COUNTS) + 2 * len(LOSS_PARTS)).sum(0, float).tolist()
    counts, sums, numbers = np.split(totals, [len(COUNTS), len(COUNTS) + len(LOSS_PARTS)])
    scores = scores_of_counts(dict(zip(COUNTS, counts.tolist(), strict=True)))
    parts = [scores[name] for name in ("mention_f1", "given_micro_f1") if name in scores]
    losses = {part: s / n for part, s, n in zip(LOSS_PARTS, sums.tolist(), numbers.tolist(), strict=True) if n}
    return {
        **scores,
        "score": sum(parts) / max(1, len(parts)),
        **{f"loss_{part}": loss for part, loss in losses.items()},
        "loss": sum(weights[part] * loss for part, loss in losses.items()),
    }

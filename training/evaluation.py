"""Evaluation by counts: what each record adds to the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import EvalPrediction

from finener.metrics.counting import COUNTS, add_counts, count_detection, count_given, count_typed, scores_of_counts
from finener.modeling_finener import FinenerForTokenClassification, FinenerOutput
from finener.ontology_finener import Ontology


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


def metrics_of_counts(prediction: EvalPrediction) -> dict[str, float]:
    """Scores of all records' counts together, for ``Trainer.evaluate``; ``score`` is the mean of detection and typing F1."""
    totals = np.asarray(prediction.predictions).reshape(-1, len(COUNTS)).sum(0).tolist()
    scores = scores_of_counts(dict(zip(COUNTS, totals, strict=True)))
    parts = [scores[name] for name in ("mention_f1", "given_micro_f1") if name in scores]
    return {**scores, "score": sum(parts) / max(1, len(parts))}

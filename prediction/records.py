"""Records in, predicted records out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from transformers import AutoTokenizer

from finener.modeling_finener import FinenerForTokenClassification
from finener.pipeline_finener import FinenerPipeline, ontology_of_head


def predict_records(
    pipe: FinenerPipeline,
    records: Iterable[Mapping[str, Any]],
    *,
    head: Any = None,
    gold_mentions: bool = False,
    batch_size: int = 32,
) -> Iterator[dict[str, Any]]:
    """Predicts record by record, in order.

    Args:
        pipe: a finener pipeline.
        records: each with a ``text``; other keys are carried over.
        head: see :class:`FinenerPipeline`.
        gold_mentions: type the mentions that the records bring; otherwise these are ignored.
        batch_size: records and windows that go through the model together.

    Yields:
        The records with predicted ``mentions`` (``types`` closed under ancestors, ``type_scores`` beside them, ``score`` of the span).
    """
    ontology = ontology_of_head(pipe.model.config, head).name
    arguments = {"batch_size": batch_size} | ({} if head is None else {"head": head})
    records = iter(records)
    while group := list(islice(records, batch_size)):
        if gold_mentions:
            arguments["mentions"] = [[(m["start"], m["end"]) for m in r.get("mentions", [])] for r in group]
        for record, found in zip(group, pipe([r["text"] for r in group], **arguments), strict=True):
            mentions = [
                {
                    "start": m["start"],
                    "end": m["end"],
                    "types": list(m["types"]),
                    "score": m["score"],
                    "type_scores": list(m["types"].values()),
                }
                for m in found
            ]
            yield {**record, "mentions": mentions, "exhaustive": False, "typed": True, "ontology": ontology}


def load_pipeline(model: str, device: str | None = None) -> FinenerPipeline:
    """The pipeline of a model folder or Hub repo, run with this project's own code, not the repo's."""
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=True)
    return FinenerPipeline(
        model=FinenerForTokenClassification.from_pretrained(model), tokenizer=tokenizer, device=device
    )

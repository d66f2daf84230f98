"""Records in, predicted records out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import tee
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, try_to_load_from_cache

from finener.answers_finener import heads_of_call
from finener.data_scripts.raw_files import one_line
from finener.modeling_finener import FinenerForTokenClassification
from finener.pipeline_finener import FinenerPipeline


class ModelError(ValueError):
    """A model's files can't be loaded. The message names the folder or repo, and what is wrong."""


def predict_records(
    pipe: FinenerPipeline,
    records: Iterable[Mapping[str, Any]],
    *,
    gold_mentions: bool = False,
    batch_size: int = 32,
    **asked: Any,
) -> Iterator[dict[str, Any]]:
    """Predicts record by record, in order.

    Args:
        pipe: a finener pipeline.
        records: each with a ``text``; other keys are carried over.
        gold_mentions: type the mentions that the records bring; otherwise these are ignored.
        batch_size: most windows that go through the model together; records are read ahead as in :class:`FinenerPipeline`.
        asked: ``head`` (but ``both``), ``types``, ``type_threshold``, ``top_k``, ``detection_threshold``: see :class:`FinenerPipeline`.

    Yields:
        The records with predicted ``mentions`` (``types`` closed under ancestors, ``type_scores`` beside them, ``score`` of the span).
    """
    of_types = {name: value for name, value in asked.items() if name != "detection_threshold"}
    [head], _ = heads_of_call(pipe.types_by_name, **of_types, are_given=gold_mentions)
    of_texts, of_mentions, records = tee(records, 3)
    arguments = dict(asked)
    if gold_mentions:
        arguments["mentions"] = ([(m["start"], m["end"]) for m in r.get("mentions", [])] for r in of_mentions)
    else:
        del of_mentions  # or it would hold every record
    found = pipe((r["text"] for r in of_texts), batch_size=batch_size, **arguments)
    for mentions, record in zip(found, records, strict=True):
        yield {
            **record,
            "mentions": [_as_predicted(m) for m in mentions],
            "exhaustive": False,
            "typed": True,
            "ontology": head.ontology.name,
        }


def _as_predicted(mention: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "start": mention["start"],
        "end": mention["end"],
        "types": list(mention["types"]),
        "score": mention["score"],
        "type_scores": list(mention["types"].values()),
    }


def load_pipeline(model: str, device: str | torch.device | None = None) -> FinenerPipeline:
    """The pipeline of a model folder or Hub repo, run with this project's own code, not the repo's.

    Raises:
        FileNotFoundError: at once, when the name is that of a folder which is not there.
        ModelError: when one of its files is missing, broken, or not what the others say.
    """
    check_model(model)
    try:
        loaded = FinenerForTokenClassification.from_pretrained(model)
        pipe = FinenerPipeline(model=loaded, tokenizer=loaded.own_tokenizer(), device=device)
        pipe("Ann")  # some of what is wrong in a folder shows only when the model reads
        return pipe
    except Exception as error:  # transformers, tokenizers and safetensors have no one error for a broken file
        raise ModelError(f"{model}: the model can't be loaded: {one_line(error)}") from error


def check_model(model: str) -> None:
    """Raises FileNotFoundError, without asking the Hub, when there is neither such a folder nor, by its name, such a Hub repo.

    Offline a repo must be in the cache.
    """
    if Path(model).is_dir():
        return
    is_path = model.startswith((".", "/", "~")) or model.count("/") > 1 or "\\" in model
    is_path = is_path or ("/" in model and Path(model).parent.is_dir())  # outputs/my-modle, where outputs is a folder
    if is_path or (constants.HF_HUB_OFFLINE and not isinstance(try_to_load_from_cache(model, "config.json"), str)):
        where = "" if is_path else ", nor is a Hub repo of that name in the cache (offline)"
        raise FileNotFoundError(
            f"{model}: no such model folder{where}; expected what train_finener.py wrote, or a Hub repo such as user/my-model"
        )

"""A token classifier of transformers' own that learns to tag as a finener model does."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import (
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    AutoModelForTokenClassification,
    DataCollatorForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    set_seed,
)

from finener.export.stock_types import StockTypes
from finener.modeling_finener import FinenerForTokenClassification

UNREAD = -100  # label of special tokens, which teach nothing


def new_stock_model(
    full: FinenerForTokenClassification, twins: Mapping[int, int], types: StockTypes, seed: int
) -> PreTrainedModel:
    """The full model's encoder under a new layer of tags.

    Args:
        full: stays as it is.
        twins: sub-tokens that are new to the encoder, each with the one that it starts from: see :func:`stock_tokenizer`.
        types: that the tags tell.
        seed: of what is new.

    Raises:
        ValueError: when transformers has no token classifier on this kind of encoder.
    """
    config = copy.deepcopy(full.config.encoder_config)
    if type(config) not in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING:
        raise ValueError(f"transformers has no token classifier on {config.model_type!r}: no stock model can be made")
    config.id2label = dict(enumerate(types.tags))
    config.label2id = {tag: i for i, tag in enumerate(types.tags)}
    set_seed(seed)
    model = AutoModelForTokenClassification.from_config(config).float()
    model.base_model.load_state_dict(full.encoder.state_dict())  # all of them, or an error
    if twins:
        _add_twins(model, twins)
    return model


def _add_twins(model: PreTrainedModel, twins: Mapping[int, int]) -> None:
    """New embeddings: those of the sub-tokens that they start from, all moved in one direction, so that a capital is a feature."""
    known = model.get_input_embeddings().num_embeddings
    model.resize_token_embeddings(max(known, 1 + max(twins)), mean_resizing=False)
    weights = model.get_input_embeddings().weight.data  # (V, encoder size)
    mark = torch.randn(weights.shape[1]) * weights[:known].std() / 2
    weights[list(twins)] = weights[list(twins.values())] + mark


def tagged(record: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, types: StockTypes) -> dict[str, Any]:
    """A text as it trains: every sub-token of a mention has a tag, so that any aggregation of the pipeline joins them.

    Args:
        record: its ``text`` is one that the model reads at a time, longer ones are cut; each of its ``mentions`` has one type.
        tokenizer: a fast one. types: that the tags tell.

    Returns:
        ``input_ids``, ``attention_mask`` and ``labels``.
    """
    encoding = tokenizer(
        record["text"],
        truncation=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_token_type_ids=False,
    )
    labels = [UNREAD if special else 0 for special in encoding.pop("special_tokens_mask")]
    offsets = encoding.pop("offset_mapping")
    for mention in record["mentions"]:
        inside = [
            i
            for i, (start, end) in enumerate(offsets)
            if labels[i] != UNREAD and start < mention["end"] and end > mention["start"]
        ]
        begin = types.tag_of[mention["types"][0]]
        for i in inside:
            labels[i] = begin + (i != inside[0])
    return {**encoding, "labels": labels}


def train_stock_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Mapping[str, Any]],
    *,
    epochs: float,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> None:
    """Trains with transformers' own trainer: AdamW, a tenth of the steps warming up, then down to zero.

    The embeddings of sub-tokens stay as they are: few texts hold few of them. The new layer learns ten times as fast as the encoder.

    Args:
        model: of :func:`new_stock_model`; is changed. tokenizer: for the padding. examples: of :func:`tagged`.
        epochs: over the examples. batch_size: texts at a time, on each device. learning_rate: of the encoder, at its peak.
        seed: of the order.
    """
    model.get_input_embeddings().requires_grad_(False)
    encoder = [p for p in model.base_model.parameters() if p.requires_grad]
    new = [p for name, p in model.named_parameters() if not name.startswith(f"{model.base_model_prefix}.")]
    groups = [{"params": encoder}, {"params": new, "lr": 10 * learning_rate}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, weight_decay=0.01)
    with TemporaryDirectory(prefix="finener-stock-") as work:
        settings = TrainingArguments(
            output_dir=work,
            num_train_epochs=epochs,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
            warmup_steps=0.1,
            train_sampling_strategy="group_by_length",
            save_strategy="no",
            logging_strategy="epoch",
            report_to="none",
            disable_tqdm=not sys.stderr.isatty(),
            dataloader_pin_memory=False,
            seed=seed,
        )
        collator = DataCollatorForTokenClassification(tokenizer)
        data = list(examples)
        Trainer(model, settings, data_collator=collator, train_dataset=data, optimizers=(optimizer, None)).train()
    model.requires_grad_(True).eval()

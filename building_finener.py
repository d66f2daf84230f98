"""How a model comes about: from an encoder, with a head for new target types, whose vectors start at the types' names."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

from .configuration_finener import CONVERSION_KNOBS, KNOBS, FinenerConfig, check_knobs
from .json_finener import read_json
from .layers_finener import ConversionHead, credit_rows, decay_rows
from .ontology_finener import Ontology

STARTS = ("names", "random")


class Building(PreTrainedModel):
    """The part of :class:`~finener.modeling_finener.FinenerForTokenClassification` that makes and extends models."""

    fresh_start: str | None = None  # "names" or "random" of a head that was just made; training reads it
    # In which the encoder multiplies matrices; None: in that of its weights, or of an autocast around the model. Not saved.
    encoder_autocast: torch.dtype | None = None

    @classmethod
    def from_encoder(
        cls,
        encoder: str | os.PathLike,
        ontology: Ontology,
        *,
        start: str = "names",
        autocast: torch.dtype | None = None,
        device: torch.device | str | None = None,
        revision: str = "main",
        token: str | bool | None = None,
        cache_dir: str | os.PathLike | None = None,
        **knobs: Any,
    ) -> Self:
        """A new model on a pretrained encoder: the one place where pretrained weights enter.

        Args:
            encoder: name or folder of any ``AutoModel`` text encoder with a fast tokenizer.
            ontology: the source types.
            start: ``names``: each type's vector starts at the encoder's embedding of its label and its parents' labels, so
                ``type_vector_size`` is the encoder's. ``random``: as in the paper.
            autocast: in what the encoder multiplies matrices, for the names and until a trainer sets it (``encoder_dtype``) or the model
                is loaded again, such as ``torch.bfloat16``; None: in the weights' own.
            device: where the model is put, and reads the names of thousands of types; None: the processor.
            revision, token, cache_dir: which version of ``encoder`` on the Hub, with whose rights, kept where; as in transformers.
            **knobs: of :class:`FinenerConfig`. ``use_word_shape`` defaults to True where the tokenizer lower-cases.

        Raises:
            ValueError: on an unknown knob or one that ``start`` contradicts, or when the checkpoint does not hold all of the encoder's
                weights, which would stay random.
        """
        check_knobs(knobs, {*KNOBS} - {"encoder_config", "ontology", "target_ontology"})
        hub = {"revision": revision, "token": token, "cache_dir": cache_dir}
        if PreTrainedConfig.get_config_dict(encoder, **hub)[0].get("model_type") == FinenerConfig.model_type:
            raise ValueError(
                f"{encoder} is a finener model: load it with FinenerForTokenClassification.from_pretrained(…)"
            )
        tokenizer = AutoTokenizer.from_pretrained(encoder, **hub)
        encoder_config = AutoConfig.from_pretrained(encoder, **hub)
        encoder_config.dtype = torch.float32  # training starts in it, whatever the checkpoint is stored in
        knobs = _started(start, knobs, "type_vector_size", encoder_config.hidden_size)
        knobs.setdefault("use_word_shape", tokenizer.tokenize("Ab") == tokenizer.tokenize("ab"))
        model = cls(FinenerConfig(encoder_config=encoder_config, ontology=ontology, **knobs)).eval()
        pretrained, loading = without_pooler(
            AutoModel.from_pretrained,
            encoder,
            output_loading_info=True,
            dtype=torch.float32,
            use_safetensors=True,  # the other kind of weights is a pickle
            **hub,
        )
        missing = [key for key in loading["missing_keys"] if "pooler" not in key]
        if missing:
            raise ValueError(
                f"{encoder} lacks {len(missing)} of its encoder's weights ({missing[:3]} …); they would stay random"
            )
        model.encoder.load_state_dict(pretrained.state_dict())
        model.config.name_or_path, model.config._commit_hash = encoder, revision  # for own_tokenizer
        model.encoder_autocast = autocast
        if device is not None:
            model.to(device)
        if start == "names":
            model.type_head.score.weight.data.copy_(model._embed_types(ontology, tokenizer))
        model.fresh_start = start
        return model

    def add_conversion(
        self, target_ontology: Ontology, *, start: str = "names", tokenizer: Any = None, **knobs: Any
    ) -> None:
        """Puts a new conversion head to ``target_ontology`` on the model, replacing one that is there.

        Args:
            target_ontology: the target types.
            start: ``names``: each target type's vector starts at the encoder's embedding of its label and its parents' labels, and,
                where the source head's vectors have the encoder's size too, the head starts from what it has learnt
                (``conversion_skip``). ``random``: as in the paper.
            tokenizer: the encoder's, for ``names``. None: it is loaded from where the model was loaded from.
            **knobs: the config's: conversion_input, conversion_norm, conversion_hidden_size, target_vector_size, conversion_skip,
                target_activation, target_decoding, soft_loss_decay, soft_loss_weights, and the thresholds. ``target_type_threshold`` and
                ``soft_loss_weights`` are not taken over from a head before.

        Raises:
            ValueError: on a bad knob, one that pre-training has fixed or that ``start`` contradicts, or without a tokenizer.
        """
        check_knobs(knobs, CONVERSION_KNOBS, f"; fine-tuning may set {', '.join(CONVERSION_KNOBS)}")
        size = self.config.encoder_config.hidden_size
        knobs = _started(start, knobs, "target_vector_size", size)
        knobs.setdefault("conversion_skip", start == "names" and self.config.type_vector_size == size)
        config = self.config.with_conversion(target_ontology, **knobs)
        vectors = self._embed_types(target_ontology, tokenizer or self.own_tokenizer()) if start == "names" else None
        self.config = config
        state_size = self.type_head.project.in_features if config.type_vector_size else self.type_head.score.in_features
        self.conversion = ConversionHead(state_size, config).to(self.device, self.type_head.score.weight.dtype)
        self.conversion.apply(self._init_weights)
        if vectors is not None:
            self.conversion.score.weight.data.copy_(vectors)
        self.fresh_start = start

    def set_soft_loss_weights(self, weights: Tensor) -> None:
        """Puts another W in the place of the one of ``soft_loss_decay``. It is saved with the types, exactly.

        Rows are scaled to sum to one. Types that are not assignable are never predicted: their columns are left out.

        Args:
            weights: (K, K), dense or sparse, at least 0: what predicting the column's type is worth when gold is the row's.

        Raises:
            ValueError: without softmax targets, on another shape, a number below 0 or not finite, or a zero row.
        """
        if self.conversion is None or not self.conversion.one_type:
            raise ValueError("only softmax targets have a soft loss, and so weights of it")
        ontology = self.config.target_ontology
        rows = credit_rows(weights, ontology)
        is_decay = rows == decay_rows(ontology, self.config.soft_loss_decay)
        self.config.soft_loss_weights = None if is_decay else rows
        self.conversion.credit = None  # built anew when it is needed

    def _embed_types(self, ontology: Ontology, tokenizer: Any) -> Tensor:
        """The encoder's embeddings of the types' names, (C, encoder size), without dropout, though the model be in training."""
        mode = self.training
        with self.encoder_precision():
            vectors = embed_names(self.eval().encoder, tokenizer, [ontology.name_path(t) for t in ontology.ids])
        self.train(mode)
        return vectors

    def encoder_precision(self) -> AbstractContextManager:
        """Within it the encoder multiplies matrices in ``encoder_autocast``; where that is None, as whoever calls the model has it."""
        return (
            nullcontext() if self.encoder_autocast is None else torch.autocast(self.device.type, self.encoder_autocast)
        )

    def own_tokenizer(self) -> Any:
        """The tokenizer where the model was loaded from, without running code that lies there. Raises ValueError when there is none."""
        place, revision = self.config.name_or_path, self.config._commit_hash or "main"
        try:
            if not place:
                raise OSError("the model was not loaded from anywhere")
            # With the encoder's config it needs no code of the folder.
            options = {"config": self.config.encoder_config, "revision": revision, "trust_remote_code": False}
            # Where fetching it fails, transformers goes on without, and the tokenizer is another one.
            cached_file(place, "tokenizer_config.json", revision=revision, _raise_exceptions_for_missing_entries=False)
            tokenizer = AutoTokenizer.from_pretrained(place, **options)
            if len(tokenizer) <= len(tokenizer.all_special_tokens):  # what transformers makes of no files
                raise OSError(f"{place} holds no tokenizer")
            return tokenizer
        except (OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"the tokenizer could not be read where the model came from, {place or 'nowhere'}: pass "
                "tokenizer=AutoTokenizer.from_pretrained(…) to add_conversion (or start='random'), processing_class=… to "
                f"FinenerTrainer ({reason})"
            ) from error

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None, *args: Any, **kwargs: Any) -> Any:
        """As in transformers. Earlier versions kept W of the soft loss as a matrix among the weights: it is taken over."""
        kwargs["use_safetensors"] = True  # the other kind of weights is a pickle
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if model.config._has_dense_credit and model.conversion is not None and model.conversion.one_type:
            location = {k: kwargs[k] for k in ("cache_dir", "revision", "subfolder", "token") if k in kwargs}
            credit = _stored_weight(model.config.name_or_path, "conversion.credit", **location)
            own = model.config.target_ontology.soft_label_weights(model.config.soft_loss_decay)
            if credit is not None and not torch.equal(credit, (own / own.sum(1, keepdim=True)).to(credit.dtype)):
                model.set_soft_loss_weights(credit)
        return loaded


def _started(start: str, knobs: dict[str, Any], size_knob: str, size: int) -> dict[str, Any]:
    """Knobs with the size of type vectors that a start asks for. Raises ValueError on another size, or another start."""
    if start not in STARTS:
        raise ValueError(f"start must be one of {', '.join(STARTS)}; got {start!r}")
    if start == "names" and knobs.setdefault(size_knob, size) != size:
        raise ValueError(
            f"vectors that start from names have the encoder's size, {size}; got {size_knob}={knobs[size_knob]!r}: leave it out, or "
            "start='random'"
        )
    if start == "random" and knobs.get("conversion_skip"):
        raise ValueError(
            "conversion_skip needs start='names': vectors that start at random would meet those of the source types"
        )
    return knobs


def without_pooler(build: Callable, *args: Any, **kwargs: Any) -> Any:
    """Builds an encoder without its unused pooler, which some classes have no argument for."""
    try:
        return build(*args, add_pooling_layer=False, **kwargs)
    except TypeError:
        return build(*args, **kwargs)


@torch.no_grad()
def embed_names(encoder: PreTrainedModel, tokenizer: Any, names: list[str], batch_size: int = 128) -> Tensor:
    """Mean-pooled, unit-length last states of short texts, (len(names), encoder size)."""
    rows, order = [], sorted(range(len(names)), key=lambda i: len(names[i]))
    for at in range(0, len(order), batch_size):
        texts = [names[i] for i in order[at : at + batch_size]]
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(encoder.device)
        states = encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        mask = batch["attention_mask"][:, :, None]
        rows.append((states * mask).sum(1) / mask.sum(1))
    back = torch.tensor(order).argsort()
    return nn.functional.normalize(torch.cat(rows), dim=1)[back]


def _stored_weight(place: str | os.PathLike, name: str, **location: Any) -> Tensor | None:
    """One tensor of a saved model, or None."""
    index = cached_file(place, SAFE_WEIGHTS_INDEX_NAME, _raise_exceptions_for_missing_entries=False, **location)
    files = read_json(index)["weight_map"] if index else {name: SAFE_WEIGHTS_NAME}
    with safe_open(cached_file(place, files.get(name, SAFE_WEIGHTS_NAME), **location), "pt") as weights:
        return weights.get_tensor(name) if name in weights.keys() else None  # noqa: SIM118

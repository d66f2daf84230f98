"""The finener model: encoder → BiLSTM → CRF over untyped tags, and type heads that run on mentions only.

Letters in shape comments: B records, T sub-tokens, W words, M mentions in the whole batch, S mentions per record (padded),
L gold types per mention (padded), C source types, K target types, F shape features, H state size. Spans are half-open.
"""

from __future__ import annotations

import inspect
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput, cached_file

from .configuration_finener import TAGS, FinenerConfig
from .layers_finener import (
    SHAPE_FEATURES,
    ConversionHead,
    LinearChainCRF,
    TypeHead,
    conversion_loss,
    detection_loss,
    flat_labels,
    flat_spans,
    pool_mentions,
    spans_of_tags,
    typing_loss,
)
from .ontology_finener import Ontology

# Files of the Hub repo that transformers does not copy beside the weights by itself.
SIBLING_FILES = ("pipeline_finener.py", "handler.py")


@dataclass
class FinenerOutput(ModelOutput):
    """What :meth:`FinenerForTokenClassification.forward` returns.

    Args:
        loss: unweighted sum of the loss parts, when labels are given.
        losses: each part's mean over what it counts.
        counts: what each part was averaged over (words, gold types, mentions).
        logits: emissions (B, W, 3) for O, B, I.
        mention_spans: (M, 3) record, first word, one past the last: the gold spans if given, else the decoded ones.
        mention_scores: (M,) probability of each span under the CRF, in [0, 1]; None in training mode, where nothing reads it.
        type_logits: raw source logits (M, C).
        target_type_logits: raw target logits (M, K), or None without a conversion head.
    """

    loss: Tensor | None = None
    losses: dict[str, Tensor] | None = None
    counts: dict[str, Tensor] | None = None
    logits: Tensor | None = None
    mention_spans: Tensor | None = None
    mention_scores: Tensor | None = None
    type_logits: Tensor | None = None
    target_type_logits: Tensor | None = None


class FinenerForTokenClassification(PreTrainedModel):
    """Detects mentions and gives each its types. Loaded by ``AutoModel`` and ``AutoModelForTokenClassification`` alike.

    Example:
        >>> model = FinenerForTokenClassification.from_encoder("bert-base-cased", ontology)  # doctest: +SKIP
        >>> model.save_pretrained("my-model")  # doctest: +SKIP
    """

    config_class = FinenerConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _supports_sdpa = True
    _keep_in_fp32_modules_strict = ["crf"]

    def __init__(self, config: FinenerConfig):
        super().__init__(config)
        if config.ontology is None:
            raise ValueError(
                "a finener model needs types: FinenerConfig(ontology=Ontology.from_json('ontologies/yago.json'), …)"
            )
        self.encoder = _without_pooler(AutoModel.from_config, config.encoder_config)
        n_layers = len(config.encoder_layers) if config.encoder_layer_mix == "concat" else 1
        encoder_size = n_layers * config.encoder_config.hidden_size
        if config.encoder_layer_mix == "learned":
            self.layer_weights = nn.Parameter(torch.empty(len(config.encoder_layers)))
        self.encoder_dropout = nn.Dropout(config.encoder_dropout)
        self.lstm = nn.LSTM(
            encoder_size + (SHAPE_FEATURES if config.use_word_shape else 0),
            config.lstm_hidden_size,
            config.lstm_layers,
            batch_first=True,
            bidirectional=True,
        )
        self.lstm_dropout = nn.Dropout(config.lstm_dropout)
        state_size = 2 * config.lstm_hidden_size
        self.tagger = nn.Linear(state_size, len(TAGS))
        self.crf = LinearChainCRF()
        if config.mention_state == "lstm+encoder":
            state_size += encoder_size
        self.type_head = TypeHead(state_size, config)
        self.conversion = ConversionHead(state_size, config) if config.target_ontology is not None else None
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        from transformers import initialization as init

        super()._init_weights(module)
        if isinstance(module, LinearChainCRF):
            for scores in (module.transitions, module.start, module.end):
                init.zeros_(scores)
        elif module is self.type_head.score:  # not TypeHead: transformers skips a module without parameters of its own
            init.constant_(module.bias, math.log(self.config.type_prior / len(self.config.ontology)))
        elif isinstance(module, ConversionHead):
            credit = self.config.target_ontology.soft_label_weights(self.config.soft_loss_decay)
            init.copy_(module.credit, credit / credit.sum(1, keepdim=True))
            init.copy_(module.assignable, torch.tensor(self.config.target_ontology.assignable))
            init.kaiming_uniform_(module.hidden.weight, a=math.sqrt(5))  # 0.02 is too small a start for so few units
            if module.skip:
                init.zeros_(module.project.weight)
        elif module is self and self.config.encoder_layer_mix == "learned":
            init.zeros_(self.layer_weights)

    def train(self, mode: bool = True) -> FinenerForTokenClassification:
        """As in torch, but a part that is frozen stays in evaluation mode: its dropout is off, its states repeat."""
        super().train(mode)
        for part in (self.encoder, self.lstm):
            _rest_frozen_parts(part)
        if not self.lstm.training:
            self.encoder_dropout.eval()
        return self

    # ---------------------------------------------------------------- forward, in steps that can be called apart

    def encoder_states(self, input_ids: Tensor, attention_mask: Tensor, word_starts: Tensor) -> Tensor:
        """The chosen layers' states of each word's first sub-token, side by side.

        Args:
            input_ids, attention_mask: (B, T). word_starts: (B, W), -1 padding.

        Returns:
            (B, W, layers × encoder size), zero in padding.
        """
        layers = self.config.encoder_layers
        only_last = layers in ([-1], [self.config.encoder_config.num_hidden_layers])
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=not only_last)
        states = output.last_hidden_state if only_last else torch.cat([output.hidden_states[i] for i in layers], 2)
        index = word_starts.clamp(min=0)[:, :, None].expand(-1, -1, states.shape[2])
        return states.gather(1, index) * (word_starts >= 0)[:, :, None]

    def contextualize(self, word_states: Tensor, word_shapes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Word states → (mixed encoder states (B, W, D), BiLSTM states (B, W, H)); ``word_shapes`` (B, W, F), ``mask`` (B, W)."""
        if self.config.encoder_layer_mix == "learned":
            layers = word_states.unflatten(2, (len(self.config.encoder_layers), -1))
            word_states = (layers * self.layer_weights.softmax(0)[:, None]).sum(2)
        word_states = word_states.to(self.tagger.weight.dtype)
        features = self.encoder_dropout(word_states)
        if self.config.use_word_shape:
            features = torch.cat([features, word_shapes.to(features.dtype)], 2)
        lengths = mask.sum(1).clamp(min=1).cpu()  # a record without words still needs a row
        packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=mask.shape[1])
        return word_states, self.lstm_dropout(states)

    def detect(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """The spans of the best tagging, (M, 3): record, first word, one past the last."""
        return spans_of_tags(self.crf.decode(emissions, mask))

    def type_mentions(self, word_states: Tensor, states: Tensor, spans: Tensor) -> tuple[Tensor, Tensor | None]:
        """Raw type logits of spans (M, 3): source (M, C) and, with a conversion head, target (M, K)."""
        mentions = pool_mentions(states, spans, self.config.mention_pooling)
        if self.config.mention_state == "lstm+encoder":
            mentions = torch.cat([mentions, pool_mentions(word_states, spans, self.config.mention_pooling)], 1)
        type_logits, vectors = self.type_head(mentions)
        return type_logits, self.conversion(type_logits, mentions, vectors) if self.conversion is not None else None

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        word_starts: Tensor,
        word_shapes: Tensor,
        word_states: Tensor | None = None,
        labels: Tensor | None = None,
        mention_spans: Tensor | None = None,
        type_labels: Tensor | None = None,
        target_type_labels: Tensor | None = None,
    ) -> FinenerOutput:
        """Tags words and types mentions.

        Args:
            input_ids, attention_mask: (B, T).
            word_starts: (B, W) index of each word's first sub-token, -1 padding.
            word_shapes: (B, W, F) from the tokenizer side; read when the config has ``use_word_shape``.
            word_states: (B, W, D) what :meth:`encoder_states` returned earlier, when the encoder is frozen: it is not run again.
            labels: (B, W) O/B/I, -100 in padding and in records that are not exhaustive.
            mention_spans: (B, S, 2) gold first word and one past the last, -1 padding. None: the decoded mentions are typed.
            type_labels: (B, S, L) closed source types, -1 padding.
            target_type_labels: (B, S, L) target types, -1 padding: most specific for softmax, closed for sigmoid.
        """
        mask = word_starts >= 0
        if word_states is None:
            word_states = self.encoder_states(input_ids, attention_mask, word_starts)
        word_states, states = self.contextualize(word_states, word_shapes, mask)
        emissions = self.tagger(states)
        spans = self.detect(emissions, mask) if mention_spans is None else flat_spans(mention_spans)
        type_logits, target_logits = self.type_mentions(word_states, states, spans)
        parts: dict[str, tuple[Tensor, Tensor]] = {}
        if labels is not None:
            parts["detection"] = detection_loss(self.crf, emissions, labels, mask)
        if mention_spans is not None and type_labels is not None:
            parts["typing"] = typing_loss(type_logits, flat_labels(mention_spans, type_labels))
        if mention_spans is not None and target_type_labels is not None and target_logits is not None:
            gold = flat_labels(mention_spans, target_type_labels)
            soft = self.config.target_activation == "softmax"
            parts["conversion"] = (
                conversion_loss(target_logits, gold, self.conversion.credit)
                if soft
                else typing_loss(target_logits, gold)
            )
        losses = {name: total / count.clamp(min=1) for name, (total, count) in parts.items()}
        return FinenerOutput(
            loss=torch.stack(list(losses.values())).sum() if losses else None,
            losses=losses or None,
            counts={name: count for name, (_, count) in parts.items()} or None,
            logits=emissions,
            mention_spans=spans,
            mention_scores=None if self.training else self.crf.span_probabilities(emissions, mask, spans),
            type_logits=type_logits,
            target_type_logits=target_logits,
        )

    # ---------------------------------------------------------------- scores

    def source_scores(self, type_logits: Tensor) -> Tensor:
        """Coherent scores of the source types: (M, C) raw logits → (M, C) in [0, 1], no type above its parents."""
        return self.config.ontology.cap_by_parents(type_logits.float().sigmoid())

    def target_scores(self, target_type_logits: Tensor) -> Tensor:
        """Coherent scores of the target types: (M, K) raw logits → (M, K) in [0, 1]."""
        if self.config.target_activation == "softmax":
            return self.config.target_ontology.sum_over_subtrees(target_type_logits.float().softmax(1))
        return self.config.target_ontology.cap_by_parents(target_type_logits.float().sigmoid())

    def select_types(self, output: FinenerOutput, head: str | None = None) -> list[dict[str, float]]:
        """The types of each mention of an output, closed under ancestors, with their scores, from the roots down.

        Args:
            output: what :meth:`forward` returned.
            head: ``target``, ``source``, or None for the target types where the model has them.
        """
        head = head or ("target" if self.conversion is not None else "source")
        if head not in ("source", "target") or (head == "target" and self.conversion is None):
            raise ValueError(f"head must be 'source' or, for a fine-tuned model, 'target'; got {head!r}")
        if head == "source":
            ontology, scores = self.config.ontology, self.source_scores(output.type_logits)
            return ontology.named_scores(scores, ontology.choose_several(scores, self.config.type_threshold))
        ontology, threshold = self.config.target_ontology, self.config.target_type_threshold
        scores = self.target_scores(output.target_type_logits)
        if self.config.target_activation == "sigmoid":
            chosen = ontology.choose_several(scores, threshold)
        else:
            chosen = ontology.choose_paths(scores, output.target_type_logits.argmax(1), threshold)
        return ontology.named_scores(scores, chosen)

    # ---------------------------------------------------------------- parts

    def freeze(self, part: str, unfrozen_layers: int = 0) -> None:
        """Takes a part out of training: ``encoder``, or ``detection`` (encoder, BiLSTM, tag projection and CRF).

        Args:
            unfrozen_layers: so many of the encoder's last layers stay in training.

        Raises:
            ValueError: on another part, or where the encoder has no such layers.
        """
        modules = {"encoder": [self.encoder], "detection": [self.encoder, self.lstm, self.tagger, self.crf]}
        if part not in modules:
            raise ValueError(f"only the encoder or detection can be frozen, got {part!r}")
        for module in modules[part]:
            module.requires_grad_(False)
        if part == "detection" and self.config.encoder_layer_mix == "learned":
            self.layer_weights.requires_grad_(False)
        if unfrozen_layers:
            n_layers = self.config.encoder_config.num_hidden_layers
            lists = [m for m in self.encoder.modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers]
            if part != "encoder" or not lists or not 0 < unfrozen_layers <= n_layers:
                raise ValueError(
                    f"the last {unfrozen_layers} layers can't stay in training with {part} frozen: freeze the encoder, and unfreeze 1 … "
                    f"{n_layers if lists else 0} of its layers"
                )
            for layer in lists[0][-unfrozen_layers:]:
                layer.requires_grad_(True)

    def add_conversion(self, target_ontology: Ontology, *, names_by: Any = None, **knobs: Any) -> None:
        """Puts a new conversion head to ``target_ontology`` on the model, replacing one that is there.

        Args:
            target_ontology: the target types.
            names_by: the encoder's tokenizer: each target type's vector then starts at the encoder's embedding of its label and its
                parents' labels, and ``target_vector_size`` is the encoder's.
            **knobs: the config's: conversion_input, conversion_norm, conversion_hidden_size, target_vector_size, conversion_skip,
                target_activation, soft_loss_decay, and the thresholds. ``target_type_threshold`` is not taken over from a head before.

        Raises:
            ValueError: on a bad knob.
        """
        knobs = {"target_type_threshold": None} | knobs  # the one of other types would mean nothing
        if names_by is not None:
            knobs = {"target_vector_size": self.config.encoder_config.hidden_size} | knobs
        config = FinenerConfig(
            **{**self.config.to_dict(), "ontology": self.config.ontology, "target_ontology": target_ontology, **knobs}
        )
        config.name_or_path = self.config.name_or_path
        self.config = config
        state_size = self.type_head.project.in_features if config.type_vector_size else self.type_head.score.in_features
        self.conversion = ConversionHead(state_size, config).to(self.device, self.type_head.score.weight.dtype)
        self.conversion.apply(self._init_weights)
        if names_by is not None:
            self._start_at_names(self.conversion.score, target_ontology, names_by)

    def set_soft_loss_weights(self, weights: Tensor) -> None:
        """Puts another W in the place of the one of ``soft_loss_decay``.

        Rows are scaled to sum to one. Types that are not assignable are never predicted: their columns are left out.

        Args:
            weights: (K, K), at least 0: what predicting the column's type is worth when gold is the row's.

        Raises:
            ValueError: without softmax targets, on another shape, a number below 0 or not finite, or a zero row.
        """
        if self.conversion is None or not self.conversion.one_type:
            raise ValueError("only softmax targets have a soft loss, and so weights of it")
        ids, assignable = self.config.target_ontology.ids, self.conversion.assignable
        if weights.shape != (len(ids), len(ids)):
            raise ValueError(f"soft loss weights must be {len(ids)} × {len(ids)}; got {tuple(weights.shape)}")
        if not (weights.isfinite() & (weights >= 0)).all():
            raise ValueError("soft loss weights must be finite and at least 0")
        weights = weights.float().to(assignable.device).masked_fill(~assignable, 0.0)
        empty = weights.sum(1) == 0
        if bad := [ids[i] for i in (empty & assignable).nonzero()[:, 0]]:
            raise ValueError(
                f"the soft loss weights of {', '.join(bad[:5])} are all zero: such a type could not be learnt"
            )
        weights[empty, empty] = 1.0
        self.conversion.credit.copy_(weights / weights.sum(1, keepdim=True))

    def _start_at_names(self, score: nn.Linear, ontology: Ontology, tokenizer: Any) -> None:
        """Starts the vectors of a head's types at the encoder's embeddings of their names."""
        size = self.config.encoder_config.hidden_size
        if score.in_features != size:
            raise ValueError(f"vectors that start from names have the encoder's size, {size}; got {score.in_features}")
        names = [ontology.name_path(t) for t in ontology.ids]
        score.weight.data.copy_(embed_names(self.encoder, tokenizer, names))

    @classmethod
    def from_encoder(
        cls, encoder: str | os.PathLike, ontology: Ontology, *, type_vectors_from_names: bool = False, **knobs: Any
    ) -> FinenerForTokenClassification:
        """A new model on a pretrained encoder: the one place where pretrained weights enter.

        Args:
            encoder: name or folder of any ``AutoModel`` text encoder with a fast tokenizer.
            ontology: the source types.
            type_vectors_from_names: start each type's vector at the encoder's embedding of its label and its parents' labels.
            **knobs: of :class:`FinenerConfig`. ``use_word_shape`` defaults to True where the tokenizer lower-cases.

        Raises:
            ValueError: on an unknown knob, or when the checkpoint does not hold all of the encoder's weights, which would stay random.
        """
        unknown = sorted(set(knobs) - set(inspect.signature(FinenerConfig).parameters))
        if unknown:
            raise ValueError(f"unknown knobs {unknown}: see FinenerConfig")
        if PreTrainedConfig.get_config_dict(encoder)[0].get("model_type") == FinenerConfig.model_type:
            raise ValueError(
                f"{encoder} is a finener model: load it with FinenerForTokenClassification.from_pretrained(…)"
            )
        tokenizer = AutoTokenizer.from_pretrained(encoder)
        encoder_config = AutoConfig.from_pretrained(encoder)
        encoder_config.dtype = torch.float32  # training starts in it, whatever the checkpoint is stored in
        knobs.setdefault("use_word_shape", tokenizer.tokenize("Ab") == tokenizer.tokenize("ab"))
        if type_vectors_from_names:
            knobs.setdefault("type_vector_size", encoder_config.hidden_size)
        model = cls(FinenerConfig(encoder_config=encoder_config, ontology=ontology, **knobs)).eval()
        pretrained, loading = _without_pooler(
            AutoModel.from_pretrained, encoder, output_loading_info=True, dtype=torch.float32
        )
        missing = [key for key in loading["missing_keys"] if "pooler" not in key]
        if missing:
            raise ValueError(
                f"{encoder} lacks {len(missing)} of its encoder's weights ({missing[:3]} …); they would stay random"
            )
        model.encoder.load_state_dict(pretrained.state_dict())
        if type_vectors_from_names:
            model._start_at_names(model.type_head.score, ontology, tokenizer)
        return model

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """As in transformers, and the pipeline's and handler's code beside it, so that the folder is a whole Hub repo."""
        super().save_pretrained(save_directory, *args, **kwargs)
        for name in SIBLING_FILES:
            here = Path(__file__).with_name(name)
            source = here if here.is_file() else Path(cached_file(self.config._name_or_path, name))
            if source.resolve() != (Path(save_directory) / name).resolve():
                shutil.copyfile(source, Path(save_directory) / name)


def _rest_frozen_parts(module: nn.Module) -> None:
    """Puts what is frozen of a module into evaluation mode; of a partly frozen encoder, its frozen layers."""
    trained = {p.requires_grad for p in module.parameters()}
    if trained == {False}:
        module.eval()
    elif len(trained) == 2:
        for child in module.children():
            _rest_frozen_parts(child)


def _without_pooler(build: Callable, *args: Any, **kwargs: Any) -> Any:
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


FinenerForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")

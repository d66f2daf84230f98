"""The finener model: encoder → BiLSTM → CRF over untyped tags, and type heads that run on mentions only.

Letters in shape comments: B records, T sub-tokens, W words, M mentions in the whole batch, S mentions per record (padded),
L gold types per mention (padded), C source types, K target types, F shape features, H state size. Spans are half-open.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoModel
from transformers.utils import ModelOutput, can_return_tuple

from .building_finener import Building, without_pooler
from .configuration_finener import TAGS, FinenerConfig
from .decoding_finener import Threshold, TypeDecoder, type_decoder
from .layers_finener import (
    SHAPE_FEATURES,
    ConversionHead,
    LinearChainCRF,
    TypeHead,
    detection_loss,
    flat_labels,
    flat_spans,
    pool_mentions,
    spans_of_tags,
)

# transformers carries what is imported relatively to and from the Hub: so a saved folder is a whole repo.
if TYPE_CHECKING:
    from .handler import EndpointHandler  # noqa: F401
    from .pipeline_finener import FinenerPipeline  # noqa: F401

# What a whole model supports is what its encoder supports.
_OF_THE_ENCODER = (
    "supports_gradient_checkpointing",
    *("_supports_sdpa", "_supports_flash_attn", "_supports_flex_attn", "_supports_attention_backend"),
)


@dataclass
class Reading:
    """What one run of the encoder and the BiLSTM gives; :meth:`FinenerForTokenClassification.judge` types any spans of it.

    Args:
        word_states: (B, W, D) the encoder's states of the words, zero in padding.
        states: (B, W, H) those of the BiLSTM.
        emissions: (B, W, 3) for O, B, I.
        mask: (B, W) bool, where there are words.
        hidden_states, attentions: the encoder's, (B, T, encoder size) and (B, heads, T, T) by layer, where they were asked for.
    """

    word_states: Tensor
    states: Tensor
    emissions: Tensor
    mask: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


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
        hidden_states, attentions: see :class:`Reading`.
    """

    loss: Tensor | None = None
    losses: dict[str, Tensor] | None = None
    counts: dict[str, Tensor] | None = None
    logits: Tensor | None = None
    mention_spans: Tensor | None = None
    mention_scores: Tensor | None = None
    type_logits: Tensor | None = None
    target_type_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class FinenerForTokenClassification(Building):
    """Detects mentions and gives each its types. Loaded by ``AutoModel`` and ``AutoModelForTokenClassification`` alike.

    Example:
        >>> model = FinenerForTokenClassification.from_encoder("bert-base-cased", ontology)  # doctest: +SKIP
        >>> model.save_pretrained("my-model")  # doctest: +SKIP
    """

    config_class = FinenerConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _supports_sdpa = supports_gradient_checkpointing = True  # of most encoders: each model takes over those of its own
    _keep_in_fp32_modules_strict = ["crf"]
    _keys_to_ignore_on_load_unexpected = [r"^conversion\.credit$"]  # of earlier versions: see from_pretrained

    def __init__(self, config: FinenerConfig):
        encoder = without_pooler(AutoModel.from_config, config.encoder_config)
        for name in _OF_THE_ENCODER:  # transformers looks at them on the whole model, before there is an encoder
            setattr(self, name, getattr(encoder, name))
        super().__init__(config)
        if config.ontology is None:
            raise ValueError(
                "a finener model needs types: FinenerConfig(ontology=Ontology.from_json('ontologies/yago.json'), …)"
            )
        self.encoder = encoder
        encoder_size = len(config.encoder_layers) * config.encoder_config.hidden_size
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
            init.copy_(module.assignable, torch.tensor(self.config.target_ontology.assignable))
            init.kaiming_uniform_(module.hidden.weight, a=math.sqrt(5))  # 0.02 is too small a start for so few units
            if module.skip:
                init.zeros_(module.project.weight)

    def train(self, mode: bool = True) -> FinenerForTokenClassification:
        """As in torch, but a part that is frozen stays in evaluation mode: its dropout is off, its states repeat."""
        super().train(mode)
        for part in (self.encoder, self.lstm):
            _rest_frozen_parts(part)
        if not self.lstm.training:
            self.encoder_dropout.eval()
        return self

    # ---------------------------------------------------------------- forward, in steps that can be called apart

    def get_input_embeddings(self) -> nn.Module:
        """The encoder's."""
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Gives the encoder other ones."""
        self.encoder.set_input_embeddings(value)

    def encoder_states(self, input_ids: Tensor, attention_mask: Tensor, word_starts: Tensor) -> Tensor:
        """The chosen layers' states of each word's first sub-token, side by side.

        Args:
            input_ids, attention_mask: (B, T). word_starts: (B, W), -1 padding.

        Returns:
            (B, W, layers × encoder size), zero in padding.
        """
        return self._run_encoder(word_starts, input_ids=input_ids, attention_mask=attention_mask)[0]

    def _run_encoder(self, word_starts: Tensor, **inputs: Any) -> tuple[Tensor, Any, Any]:
        """Word states (B, W, D), and the encoder's hidden states and attentions where ``inputs`` or the config ask for them."""
        asked = {
            name: getattr(self.config, name) if inputs.get(name) is None else inputs[name]
            for name in ("output_hidden_states", "output_attentions")
        }
        layers = self.config.encoder_layers
        only_last = layers in ([-1], [self.config.encoder_config.num_hidden_layers])
        inputs = {name: value for name, value in inputs.items() if value is not None}
        needed = {"output_hidden_states": asked["output_hidden_states"] or not only_last}
        with self.encoder_precision():
            output = self.encoder(**inputs | asked | needed)
        states = output.last_hidden_state if only_last else torch.cat([output.hidden_states[i] for i in layers], 2)
        index = word_starts.clamp(min=0)[:, :, None].expand(-1, -1, states.shape[2])
        word_states = states.gather(1, index) * (word_starts >= 0)[:, :, None]
        hidden_states = output.hidden_states if asked["output_hidden_states"] else None
        return word_states, hidden_states, output.attentions if asked["output_attentions"] else None

    def contextualize(self, word_states: Tensor, word_shapes: Tensor | None, mask: Tensor) -> Tensor:
        """Word states (B, W, D) → BiLSTM states (B, W, H); ``word_shapes`` (B, W, F), ``mask`` (B, W)."""
        features = self.encoder_dropout(word_states)
        if self.config.use_word_shape:
            if word_shapes is None:
                raise ValueError("this model reads the shapes of words: give word_shapes (B, W, F)")
            features = torch.cat([features, word_shapes.to(features.dtype)], 2)
        lengths = mask.sum(1).clamp(min=1).cpu()  # a record without words still needs a row
        if int(lengths.min()) == mask.shape[1]:  # no padding, as with a single text: it takes less
            return self.lstm_dropout(self.lstm(features)[0])
        packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=mask.shape[1])
        return self.lstm_dropout(states)

    def read(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        word_starts: Tensor | None = None,
        word_shapes: Tensor | None = None,
        word_states: Tensor | None = None,
        **encoder_inputs: Any,
    ) -> Reading:
        """Runs the encoder and the BiLSTM once. Arguments as in :meth:`forward`, which says what ``encoder_inputs`` there are.

        Raises:
            ValueError: without ``word_starts``.
        """
        if word_starts is None:
            raise ValueError(
                "finener reads words, not sub-tokens alone: call pipeline('token-classification', model=…, trust_remote_code=True)(text), "
                "or give word_starts (B, W)"
            )
        mask, hidden_states, attentions = word_starts >= 0, None, None
        if word_states is None:
            word_states, hidden_states, attentions = self._run_encoder(
                word_starts, input_ids=input_ids, attention_mask=attention_mask, **encoder_inputs
            )
        word_states = word_states.to(self.dtype)  # not a layer's: quantization replaces layers
        states = self.contextualize(word_states, word_shapes, mask)
        return Reading(word_states, states, self.tagger(states), mask, hidden_states, attentions)

    def detect(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """The spans of the best tagging, (M, 3): record, first word, one past the last."""
        return spans_of_tags(self.crf.decode(emissions, mask))

    def type_mentions(self, word_states: Tensor, states: Tensor, spans: Tensor) -> tuple[Tensor, Tensor | None]:
        """Raw type logits of spans (M, 3): source (M, C) and, with a conversion head, target (M, K)."""
        pooled = [states, word_states] if self.config.mention_state == "lstm+encoder" else [states]
        mentions = pool_mentions(spans, *pooled)
        type_logits, vectors = self.type_head(mentions)
        return type_logits, self.conversion(type_logits, mentions, vectors) if self.conversion is not None else None

    def judge(
        self,
        reading: Reading,
        labels: Tensor | None = None,
        mention_spans: Tensor | None = None,
        type_labels: Tensor | None = None,
        target_type_labels: Tensor | None = None,
    ) -> FinenerOutput:
        """Decodes mentions of a reading, or takes those given, and types them. Arguments as in :meth:`forward`.

        Evaluation judges one reading twice: with the gold spans, and without.
        """
        emissions, mask = reading.emissions, reading.mask
        spans = self.detect(emissions, mask) if mention_spans is None else flat_spans(mention_spans)
        type_logits, target_logits = self.type_mentions(reading.word_states, reading.states, spans)
        parts: dict[str, tuple[Tensor, Tensor]] = {}
        if labels is not None:
            parts["detection"] = detection_loss(self.crf, emissions, labels, mask)
        if mention_spans is not None and type_labels is not None:
            parts["typing"] = self.type_head.loss(type_logits, flat_labels(mention_spans, type_labels))
        if mention_spans is not None and target_type_labels is not None and target_logits is not None:
            parts["conversion"] = self.conversion.loss(target_logits, flat_labels(mention_spans, target_type_labels))
        counts = {name: count.sum() for name, (_, count) in parts.items()}
        losses = {name: loss.sum() / counts[name].clamp(min=1) for name, (loss, _) in parts.items()}
        return FinenerOutput(
            loss=torch.stack(list(losses.values())).sum() if losses else None,
            losses=losses or None,
            counts=counts or None,
            logits=emissions,
            mention_spans=spans,
            mention_scores=None if self.training else self.crf.span_probabilities(emissions, mask, spans),
            type_logits=type_logits,
            target_type_logits=target_logits,
            hidden_states=reading.hidden_states,
            attentions=reading.attentions,
        )

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        word_starts: Tensor | None = None,
        word_shapes: Tensor | None = None,
        word_states: Tensor | None = None,
        labels: Tensor | None = None,
        mention_spans: Tensor | None = None,
        type_labels: Tensor | None = None,
        target_type_labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> FinenerOutput:
        """Tags words and types mentions: :meth:`judge` of what :meth:`read` reads.

        Args:
            input_ids, attention_mask: (B, T).
            word_starts: (B, W) index of each word's first sub-token, -1 padding.
            word_shapes: (B, W, F) from the tokenizer side; read when the config has ``use_word_shape``.
            word_states: (B, W, D) what :meth:`encoder_states` returned earlier, when the encoder is frozen: it is not run again.
            labels: (B, W) O/B/I, -100 in padding and in records that are not exhaustive.
            mention_spans: (B, S, 2) gold first word and one past the last, -1 padding. None: the decoded mentions are typed.
            type_labels: (B, S, L) closed source types, -1 padding.
            target_type_labels: (B, S, L) target types, -1 padding: most specific for softmax, closed for sigmoid.
            inputs_embeds: (B, T, embedding size) in place of ``input_ids``.
            token_type_ids: (B, T), for encoders that read them.
            output_attentions, output_hidden_states: return the encoder's too; None: as the config says.

        Raises:
            ValueError: without ``word_starts``: the pipeline makes them of a text.
        """
        encoder_inputs = {
            "inputs_embeds": inputs_embeds,
            "token_type_ids": token_type_ids,
            "output_attentions": output_attentions,
            "output_hidden_states": output_hidden_states,
        }
        reading = self.read(
            input_ids, attention_mask, word_starts, word_shapes=word_shapes, word_states=word_states, **encoder_inputs
        )
        return self.judge(reading, labels, mention_spans, type_labels, target_type_labels)

    # ---------------------------------------------------------------- scores

    def source_scores(self, type_logits: Tensor) -> Tensor:
        """Coherent scores of the source types: (M, C) raw logits → (M, C) in [0, 1], no type above its parents."""
        return type_decoder(self.config.ontology, type_logits.device).scores(type_logits)

    def target_scores(self, target_type_logits: Tensor) -> Tensor:
        """Coherent scores of the target types: (M, K) raw logits → (M, K) in [0, 1]."""
        decoder = type_decoder(self.config.target_ontology, target_type_logits.device)
        return decoder.scores(target_type_logits, **self._target_decoding(target_type_logits.device))

    def _target_decoding(self, device: torch.device) -> dict[str, Any]:
        """How target types are decoded: arguments of ``TypeDecoder``."""
        credit = self.conversion.credit_on(device) if self.config.target_decoding == "expected" else None
        return {"one_type": self.config.target_activation == "softmax", "credit": credit}

    def select_types(
        self, output: FinenerOutput, head: str | None = None, threshold: Threshold | None = None
    ) -> list[dict[str, float]]:
        """The types of each mention of an output, closed under ancestors, with their scores, from the roots down.

        Args:
            output: what :meth:`forward` returned.
            head: ``target``, ``source``, or None for the target types where the model has them.
            threshold: in place of the config's.

        Raises:
            ValueError: on another head, or ``target`` without a conversion head.
        """
        logits, decoder, own, how = self._parts_of_head(output, head)
        return decoder.named(decoder.choose(logits, own if threshold is None else threshold, **how))

    def best_types(
        self, output: FinenerOutput, head: str | None, k: int, allowed: Collection[int] | None = None
    ) -> list[dict[str, float]]:
        """As :meth:`select_types`, ``k`` types whatever their threshold: see :meth:`TypeDecoder.choose_best`."""
        logits, decoder, _, how = self._parts_of_head(output, head)
        return decoder.named(decoder.choose_best(logits, k, allowed=allowed, **how))

    def _parts_of_head(
        self, output: FinenerOutput, head: str | None
    ) -> tuple[Tensor, TypeDecoder, Threshold, dict[str, Any]]:
        """A head's logits, their decoder, the config's threshold, and how they are decoded."""
        head = head or ("target" if self.conversion is not None else "source")
        if head not in ("source", "target") or (head == "target" and self.conversion is None):
            raise ValueError(f"head must be 'source' or, for a fine-tuned model, 'target'; got {head!r}")
        config, logits = self.config, output.type_logits
        if head == "source":
            return logits, type_decoder(config.ontology, logits.device), config.type_threshold, {}
        decoder = type_decoder(config.target_ontology, logits.device)
        return output.target_type_logits, decoder, config.target_type_threshold, self._target_decoding(logits.device)

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
        if unfrozen_layers:
            layers = self.layers() or nn.ModuleList()
            if part != "encoder" or not 0 < unfrozen_layers <= len(layers):
                raise ValueError(
                    f"the last {unfrozen_layers} layers can't stay in training with {part} frozen: freeze the encoder, and unfreeze 1 … "
                    f"{len(layers)} of its layers"
                )
            for layer in layers[-unfrozen_layers:]:
                layer.requires_grad_(True)

    def layers(self) -> nn.ModuleList | None:
        """The encoder's layers, from the first on; None where it does not keep them in one list."""
        n_layers = self.config.encoder_config.num_hidden_layers
        lists = [m for m in self.encoder.modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers]
        return lists[0] if lists else None


def _rest_frozen_parts(module: nn.Module) -> None:
    """Puts what is frozen of a module into evaluation mode; of a partly frozen encoder, its frozen layers."""
    trained = {p.requires_grad for p in module.parameters()}
    if trained == {False}:
        module.eval()
    elif len(trained) == 2:
        for child in module.children():
            _rest_frozen_parts(child)


FinenerForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")

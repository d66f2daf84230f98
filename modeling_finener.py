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

try:
    from .configuration_finener import TAGS, FinenerConfig
    from .ontology_finener import Ontology, TypeMapping
except ImportError:
    if __package__:
        raise
    from configuration_finener import TAGS, FinenerConfig
    from ontology_finener import Ontology, TypeMapping

O, B, I = range(len(TAGS))  # noqa: E741
FORBIDDEN = -1e4  # a finite log-score: −∞ would turn gradients into NaN
SHAPE_FEATURES = 10  # F: see pipeline_finener.word_shape
LOSS_PARTS = ("detection", "typing", "conversion")
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


# -------------------------------------------------------------------- detection


class LinearChainCRF(nn.Module):
    """A conditional random field over O, B, I in which I never starts a record nor follows O.

    Everything is computed in fp32, whatever the model's dtype.
    """

    def __init__(self):
        super().__init__()
        self.transitions = nn.Parameter(torch.empty(len(TAGS), len(TAGS)))  # [from, to]
        self.start = nn.Parameter(torch.empty(len(TAGS)))
        self.end = nn.Parameter(torch.empty(len(TAGS)))

    def _scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """Start (3), transition (3, 3) and end (3) scores, with what BIO forbids made impossible."""
        is_inside = torch.arange(len(TAGS), device=self.start.device) == I
        start = self.start.float().masked_fill(is_inside, FORBIDDEN)
        after_outside = (~is_inside & (torch.arange(len(TAGS), device=self.start.device) == O))[:, None] & is_inside
        return start, self.transitions.float().masked_fill(after_outside, FORBIDDEN), self.end.float()

    def _forward_scores(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Log-sums over all prefixes that end in each tag, (B, W, 3); padding repeats the last word's."""
        start, transitions, _ = self._scores()
        alpha = start + emissions[:, 0]
        alphas = [alpha]
        for t in range(1, emissions.shape[1]):
            step = torch.logsumexp(alpha[:, :, None] + transitions, 1) + emissions[:, t]
            alpha = torch.where(mask[:, t, None], step, alpha)
            alphas.append(alpha)
        return torch.stack(alphas, 1)

    def _backward_scores(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Log-sums over all suffixes that follow each tag, (B, W, 3); padding holds the end scores."""
        _, transitions, end = self._scores()
        beta = end.expand(len(emissions), -1)
        betas = [beta]
        for t in range(emissions.shape[1] - 1, 0, -1):
            step = torch.logsumexp(transitions + (emissions[:, t] + beta)[:, None, :], 2)
            beta = torch.where(mask[:, t, None], step, beta)
            betas.append(beta)
        return torch.stack(betas[::-1], 1)

    def nll(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Negative log-likelihood of the tags.

        Args:
            emissions: (B, W, 3). tags: (B, W), any value in padding. mask: (B, W) bool, a prefix of each row.

        Returns:
            (B,), in nats; 0 for a record without words.
        """
        emissions, tags = emissions.float(), tags.masked_fill(~mask, O)
        start, transitions, end = self._scores()
        picked = emissions.gather(2, tags[:, :, None])[:, :, 0] * mask
        steps = transitions[tags[:, :-1], tags[:, 1:]] * mask[:, 1:]
        last = tags.gather(1, (mask.sum(1, keepdim=True) - 1).clamp(min=0))[:, 0]
        path = start[tags[:, 0]] + picked.sum(1) + steps.sum(1) + end[last]
        total = torch.logsumexp(self._forward_scores(emissions, mask)[:, -1] + end, 1)
        return (total - path) * mask[:, 0]

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """The best tags (Viterbi), (B, W); O in padding. Arguments as in :meth:`nll`."""
        emissions = emissions.float()
        start, transitions, end = self._scores()
        best, pointers = start + emissions[:, 0], []
        for t in range(1, emissions.shape[1]):
            step, pointer = (best[:, :, None] + transitions).max(1)
            best = torch.where(mask[:, t, None], step + emissions[:, t], best)
            pointers.append(pointer)
        tag = (best + end).argmax(1)
        tags = [tag]
        for t in range(emissions.shape[1] - 1, 0, -1):
            before = pointers[t - 1].gather(1, tag[:, None])[:, 0]
            tag = torch.where(mask[:, t], before, tag)
            tags.append(tag)
        return torch.stack(tags[::-1], 1).masked_fill(~mask, O)

    @torch.no_grad()
    def span_probabilities(self, emissions: Tensor, mask: Tensor, spans: Tensor) -> Tensor:
        """The probability that exactly this span is a mention, summed over all taggings of the rest.

        Args:
            emissions, mask: as in :meth:`nll`. spans: (M, 3) record, first word, one past the last.

        Returns:
            (M,) in [0, 1].
        """
        emissions = emissions.float()
        _, transitions, end = self._scores()
        alphas, betas = self._forward_scores(emissions, mask), self._backward_scores(emissions, mask)
        totals = torch.logsumexp(alphas[:, -1] + end, 1)
        inside = nn.functional.pad((emissions[:, :, I] + transitions[I, I]).cumsum(1), (1, 0))
        record, first, stop = spans.T
        score = alphas[record, first, B] + inside[record, stop] - inside[record, first + 1]
        # The first step into the span is B → I, not I → I.
        score = score + torch.where(stop - first > 1, transitions[B, I] - transitions[I, I], 0.0)
        last = torch.where(stop - first > 1, I, B)
        after = stop.clamp(max=mask.shape[1] - 1)
        leave = (transitions[last] + emissions[record, after] + betas[record, after])[:, [O, B]].logsumexp(1)
        at_end = stop >= mask.sum(1)[record]
        score = score + torch.where(at_end, end[last], leave)
        return (score - totals[record]).exp().clamp(max=1.0)


def spans_of_tags(tags: Tensor) -> Tensor:
    """The spans that legal BIO tags mark: (B, W) → (M, 3) record, first word, one past the last."""
    width = tags.shape[1]
    positions = torch.arange(width, device=tags.device).expand_as(tags)
    breaks = torch.where(tags == I, width, positions)  # where a span that is open must have ended
    next_break = nn.functional.pad(breaks, (0, 1), value=width).flip(1).cummin(1).values.flip(1)[:, 1:]
    record, first = (tags == B).nonzero(as_tuple=True)
    return torch.stack([record, first, next_break[record, first]], 1)


# -------------------------------------------------------------------- typing


def pool_mentions(states: Tensor, spans: Tensor, pooling: str) -> Tensor:
    """One state per mention: (B, W, H) states and (M, 3) spans → (M, H); ``pooling`` is mean, max or first."""
    record, first, stop = spans.T
    if pooling == "first":
        return states[record, first]
    longest = int((stop - first).max()) if len(spans) else 1
    offsets = torch.arange(longest, device=states.device)
    inside = offsets < (stop - first)[:, None]  # (M, longest)
    words = states[record[:, None], (first[:, None] + offsets).clamp(max=states.shape[1] - 1)]
    if pooling == "max":
        return words.masked_fill(~inside[:, :, None], torch.finfo(states.dtype).min).amax(1)
    return (words * inside[:, :, None]).sum(1) / (stop - first).clamp(min=1)[:, None]


class TypeHead(nn.Module):
    """Scores a mention's state against one vector per type: (M, H) → (M, C)."""

    def __init__(self, state_size: int, config: FinenerConfig):
        super().__init__()
        size = config.type_vector_size
        self.project = nn.Linear(state_size, size) if size else nn.Identity()
        self.score = nn.Linear(size or state_size, len(config.ontology))

    def forward(self, mentions: Tensor) -> tuple[Tensor, Tensor]:
        """Raw logits (M, C) of mention states (M, H), and the vectors that the types' vectors are compared with."""
        vectors = self.project(mentions)
        return self.score(vectors), vectors


class ConversionHead(nn.Module):
    """Source logits (M, C), the mention state (M, H), or both, → target logits (M, K): a hidden ReLU layer, and a score for each type.

    With ``conversion_norm`` the raw logits, most of them far below zero, are brought to zero mean and unit variance first: thousands of
    inputs that hardly vary would drown those that do. The paper feeds them as they are.

    With ``conversion_skip`` the hidden layer only corrects the vector that the source type head compares with the source types' vectors,
    and starts at no correction: where both kinds of types start from their names, the head types from the first step on.

    With softmax, types that are not assignable get the finite score ``FORBIDDEN``. ``credit`` (K, K) is the W of the soft loss, rows
    summing to one: only training reads it, but it is stored with the weights, so that training can go on with it.
    """

    def __init__(self, state_size: int, config: FinenerConfig):
        super().__init__()
        n_source, n_target = len(config.ontology), len(config.target_ontology)
        self.parts = config.conversion_input.split("+")
        self.one_type, self.skip = config.target_activation == "softmax", config.conversion_skip
        self.normalise = nn.LayerNorm(n_source) if config.conversion_norm and "logits" in self.parts else nn.Identity()
        sizes = {"logits": n_source, "mention": state_size}
        self.hidden = nn.Linear(sum(sizes[part] for part in self.parts), config.conversion_hidden_size)
        size = config.target_vector_size
        self.project = nn.Linear(config.conversion_hidden_size, size) if size else nn.Identity()
        self.score = nn.Linear(size or config.conversion_hidden_size, n_target)
        self.register_buffer("credit", torch.empty(n_target, n_target))
        self.register_buffer("assignable", torch.empty(n_target, dtype=torch.bool))

    def forward(self, type_logits: Tensor, mentions: Tensor, source_vectors: Tensor) -> Tensor:
        """Raw target logits (M, K)."""
        inputs = {"logits": self.normalise(type_logits), "mention": mentions}
        features = torch.cat([inputs[part] for part in self.parts], 1)
        vectors = self.project(torch.relu(self.hidden(features)))
        logits = self.score(vectors + source_vectors if self.skip else vectors)
        return logits.masked_fill(~self.assignable, FORBIDDEN) if self.one_type else logits


# -------------------------------------------------------------------- losses: pure functions, each a sum and its count


def _multi_hot(labels: Tensor, size: int) -> Tensor:
    """Type indices (M, L), -1 padding → (M, size) of zeros and ones."""
    hot = torch.zeros(len(labels), size + 1, device=labels.device)
    return hot.scatter_(1, labels.masked_fill(labels < 0, size), 1.0)[:, :size]


def detection_loss(crf: LinearChainCRF, emissions: Tensor, labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """CRF negative log-likelihood, summed over the records that have labels, and the number of their words."""
    labelled = (labels >= 0) & mask
    return crf.nll(emissions, labels.clamp(min=0), mask)[labelled.any(1)].sum(), labelled.sum()


def typing_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross entropy summed over mentions and types, and the number of gold types.

    Dividing by the gold types rather than by M·C keeps the loss's scale, and so its weight, the same for 100 or 10,000 types.

    Args:
        logits: (M, C) raw. labels: (M, L) closed gold types, -1 padding; a row of padding only is left out.
    """
    typed = (labels >= 0).any(1)
    logits, labels = logits[typed].float(), labels[typed]
    gold = _multi_hot(labels, logits.shape[1])
    return nn.functional.binary_cross_entropy_with_logits(logits, gold, reduction="sum"), (labels >= 0).sum()


def conversion_loss(logits: Tensor, labels: Tensor, credit: Tensor) -> tuple[Tensor, Tensor]:
    """Hierarchy-aware soft cross entropy ``−Σ y* log p`` with ``y* = y · W``, summed, and the number of mentions.

    Source: Hagiwara et al. 2019. A mention with several most specific types shares its mass among their rows.

    Args:
        logits: (M, K) raw. labels: (M, L) most specific gold types, -1 padding. credit: (K, K), rows summing to one.
    """
    typed = (labels >= 0).any(1)
    logits, labels = logits[typed].float(), labels[typed]
    gold = _multi_hot(labels, logits.shape[1])
    target = (gold / gold.sum(1, keepdim=True).clamp(min=1.0)) @ credit.float()
    return -(target * logits.log_softmax(1)).sum(), typed.sum()


# -------------------------------------------------------------------- the model


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

    def start_at_shares(self, shares: Tensor) -> None:
        """Starts the biases of the head that is trained, the conversion head where there is one, at how often each type is gold.

        So that rare types need not be pushed down first (Lin et al. 2017, Focal Loss, section 3.3, with a prior for each type).

        Args:
            shares: (C) or (K), in (0, 1): part of the mentions that are of each type; with softmax, of which it is a most specific type.

        Raises:
            ValueError: on another shape or a share that is 0, 1 or beyond.
        """
        score = (self.type_head if self.conversion is None else self.conversion).score
        if shares.shape != score.bias.shape or not ((shares > 0) & (shares < 1)).all():
            raise ValueError(f"expected {len(score.bias)} shares between 0 and 1, got {tuple(shares.shape)}")
        is_softmax = self.conversion is not None and self.conversion.one_type
        score.bias.data.copy_(shares.log() if is_softmax else shares.logit())

    def start_at_mapping(self, mapping: TypeMapping) -> int:
        """Starts target types at the source types that a table maps to them: vectors and biases at their mean, by the table's weights.

        So fine-tuning begins with what pre-training knows of them. Of several source types in one line of descent only the most general
        counts, whatever their weights, as its score is that of those below it too. A type that the table gives nothing starts at the
        mean of its children, and without those where it was.

        Args:
            mapping: from this model's source types to its target types.

        Returns:
            How many types now start at source types.

        Raises:
            ValueError: without a conversion head with ``conversion_skip``, or when the table is of other types.
        """
        if self.conversion is None or not self.conversion.skip:
            raise ValueError(
                "a mapping gives target vectors only where they meet the source head's: set conversion_skip"
            )
        own = [self.config.ontology.digest, self.config.target_ontology.digest]
        if [mapping.source.digest, mapping.target.digest] != own:
            raise ValueError(
                f"the mapping goes {mapping.source.name} → {mapping.target.name}, not between this model's types"
            )
        shares = mapping.mean_weights().to(self.device, self.dtype)
        is_mapped = shares.any(1)
        source, score = self.type_head.score, self.conversion.score
        with torch.no_grad():
            score.weight[is_mapped] = (shares @ source.weight)[is_mapped]
            score.bias[is_mapped] = (shares @ source.bias)[is_mapped]
        return int(is_mapped.sum())

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


def flat_spans(mention_spans: Tensor) -> Tensor:
    """(B, S, 2) with -1 padding → (M, 3) record, first word, one past the last."""
    record, row = (mention_spans[:, :, 0] >= 0).nonzero(as_tuple=True)
    return torch.cat([record[:, None], mention_spans[record, row]], 1)


def flat_labels(mention_spans: Tensor, labels: Tensor) -> Tensor:
    """Labels (B, S, L) of the spans that :func:`flat_spans` keeps, (M, L)."""
    return labels[mention_spans[:, :, 0] >= 0]


FinenerForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")

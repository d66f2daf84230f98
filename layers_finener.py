"""The parts of a finener model: the CRF, the type heads, and the loss functions.

Letters in shape comments: B records, T sub-tokens, W words, M mentions in the whole batch, S mentions per record (padded),
L gold types per mention (padded), C source types, K target types, F shape features, H state size. Spans are half-open.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .configuration_finener import TAGS, FinenerConfig

O, B, I = range(len(TAGS))  # noqa: E741


FORBIDDEN = -1e4  # a finite log-score: −∞ would turn gradients into NaN


SHAPE_FEATURES = 10  # F: see pipeline_finener.word_shape


LOSS_PARTS = ("detection", "typing", "conversion")


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


def flat_spans(mention_spans: Tensor) -> Tensor:
    """(B, S, 2) with -1 padding → (M, 3) record, first word, one past the last."""
    record, row = (mention_spans[:, :, 0] >= 0).nonzero(as_tuple=True)
    return torch.cat([record[:, None], mention_spans[record, row]], 1)


def flat_labels(mention_spans: Tensor, labels: Tensor) -> Tensor:
    """Labels (B, S, L) of the spans that :func:`flat_spans` keeps, (M, L)."""
    return labels[mention_spans[:, :, 0] >= 0]

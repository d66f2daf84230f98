"""The parts of a finener model: the CRF, the type heads, and the loss functions.

Letters in shape comments: B records, T sub-tokens, W words, M mentions in the whole batch, S mentions per record (padded),
L gold types per mention (padded), C source types, K target types, F shape features, H state size. Spans are half-open.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .configuration_finener import TAGS, CreditRows, FinenerConfig
from .decoding_finener import Lists, SparseRows, finest
from .ontology_finener import Ontology
from .words_finener import SHAPE_FEATURES as SHAPE_FEATURES

O, B, I = range(len(TAGS))  # noqa: E741
FORBIDDEN = -1e4  # a finite log-score: −∞ would turn gradients into NaN
FEW_MENTIONS = 8  # so many and fewer are scored by :func:`_types_as_rows`
LOSS_PARTS = ("detection", "typing", "conversion")


class LinearChainCRF(nn.Module):
    """A conditional random field over O, B, I in which I never starts a record nor follows O.

    Everything is computed in fp32, whatever the model's dtype, but for span probabilities: those of a long record need fp64.
    """

    def __init__(self):
        super().__init__()
        self.transitions = nn.Parameter(torch.empty(len(TAGS), len(TAGS)))  # [from, to]
        self.start = nn.Parameter(torch.empty(len(TAGS)))
        self.end = nn.Parameter(torch.empty(len(TAGS)))

    def scores(self, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
        """Start (3), transition (3, 3) and end (3) scores, with what BIO forbids made impossible."""
        tags = torch.arange(len(TAGS), device=self.start.device)
        start = self.start.to(dtype).masked_fill(tags == I, FORBIDDEN)
        after_outside = (tags == O)[:, None] & (tags == I)
        return start, self.transitions.to(dtype).masked_fill(after_outside, FORBIDDEN), self.end.to(dtype)

    @staticmethod
    def _steps(emissions: Tensor, mask: Tensor, transitions: Tensor) -> Tensor:
        """What the step to each word but the first scores, (B, W - 1, from, to); one into padding changes nothing."""
        stay = torch.full_like(transitions, FORBIDDEN).fill_diagonal_(0.0)
        return torch.where(mask[:, 1:, None, None], transitions + emissions[:, 1:, None, :], stay)

    def _both_ways(
        self, emissions: Tensor, mask: Tensor, scores: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Log-sums over all prefixes that end in each tag, and over all suffixes that follow it: (B, W, 3) each.

        Padding repeats the last word's prefixes, and holds the end scores. A suffix is a prefix of the record read backwards, so that one
        loop gives both.
        """
        start, transitions, end = scores
        steps = self._steps(emissions, mask, transitions)
        steps = torch.cat([steps, steps.flip(1).transpose(2, 3)])  # (2 B, W - 1, 3, 3)
        sums = [torch.cat([start + emissions[:, 0], end.expand(len(emissions), -1)])]
        for step in steps.unbind(1):
            sums.append(torch.logsumexp(sums[-1][:, :, None] + step, 1))
        prefixes, suffixes = torch.stack(sums, 1).chunk(2)
        return prefixes, suffixes.flip(1)

    def _log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Log-sum over all taggings, (B,).

        Each word is a 3 × 3 matrix of what the step to it scores, and neighbours are multiplied until one is left: log₂ W rounds of
        operations in place of W, which is what the loss costs on a GPU.
        """
        start, transitions, end = self.scores(emissions.dtype)
        steps = self._steps(emissions, mask, transitions)
        while (n := steps.shape[1]) > 1:
            left, right = steps[:, 0 : n - 1 : 2], steps[:, 1::2]
            product = torch.logsumexp(left[..., None] + right[:, :, None], 3)  # over the tag between
            steps = torch.cat([product, steps[:, n - n % 2 :]], 1)
        last = start + emissions[:, 0]
        if steps.shape[1]:
            last = torch.logsumexp(last[:, :, None] + steps[:, 0], 1)
        return torch.logsumexp(last + end, 1)

    def nll(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Negative log-likelihood of the tags.

        Args:
            emissions: (B, W, 3). tags: (B, W), any value in padding. mask: (B, W) bool, a prefix of each row.

        Returns:
            (B,), in nats; 0 for a record without words.
        """
        emissions, tags = emissions.float(), tags.masked_fill(~mask, O)
        start, transitions, end = self.scores()
        picked = emissions.gather(2, tags[:, :, None])[:, :, 0] * mask
        steps = transitions[tags[:, :-1], tags[:, 1:]] * mask[:, 1:]
        last = tags.gather(1, (mask.sum(1, keepdim=True) - 1).clamp(min=0))[:, 0]
        path = start[tags[:, 0]] + picked.sum(1) + steps.sum(1) + end[last]
        return (self._log_partition(emissions, mask) - path) * mask[:, 0]

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """The best tags (Viterbi), (B, W); O in padding. Arguments as in :meth:`nll`."""
        emissions = emissions.float()
        start, transitions, end = self.scores()
        best, pointers = start + emissions[:, 0], []
        for step in self._steps(emissions, mask, transitions).unbind(1):
            best, pointer = (best[:, :, None] + step).max(1)
            pointers.append(pointer)
        tags = [(best + end).argmax(1, keepdim=True)]
        for pointer in reversed(pointers):
            tags.append(pointer.gather(1, tags[-1]))
        return torch.cat(tags[::-1], 1).masked_fill(~mask, O)

    @torch.no_grad()
    def span_probabilities(self, emissions: Tensor, mask: Tensor, spans: Tensor) -> Tensor:
        """The probability that exactly this span is a mention, summed over all taggings of the rest.

        Args:
            emissions, mask: as in :meth:`nll`. spans: (M, 3) record, first word, one past the last.

        Returns:
            (M,) in [0, 1].
        """
        emissions = emissions.to(finest(emissions.device))  # sums over 512 words drift by .01 in fp32
        scores = _, transitions, end = self.scores(emissions.dtype)
        alphas, betas = self._both_ways(emissions, mask, scores)
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
        return (score - totals[record]).exp().clamp(max=1.0).float()


def spans_of_tags(tags: Tensor) -> Tensor:
    """The spans that legal BIO tags mark: (B, W) → (M, 3) record, first word, one past the last."""
    width = tags.shape[1]
    positions = torch.arange(width, device=tags.device).expand_as(tags)
    breaks = torch.where(tags == I, width, positions)  # where a span that is open must have ended
    next_break = nn.functional.pad(breaks, (0, 1), value=width).flip(1).cummin(1).values.flip(1)[:, 1:]
    record, first = (tags == B).nonzero(as_tuple=True)
    return torch.stack([record, first, next_break[record, first]], 1)


def pool_mentions(spans: Tensor, *states: Tensor) -> Tensor:
    """The mean of each mention's words: (M, 3) spans and states (B, W, H), of several those of a word side by side → (M, all H)."""
    record, first, stop = spans.T
    longest = int((stop - first).max()) if len(spans) else 1
    offsets = torch.arange(longest, device=spans.device)
    inside = offsets < (stop - first)[:, None]  # (M, longest)
    place = record[:, None], (first[:, None] + offsets).clamp(max=states[0].shape[1] - 1)
    words = torch.cat([of_words[place] for of_words in states], 2)
    return (words * inside[:, :, None]).sum(1) / (stop - first).clamp(min=1)[:, None]


def _is_plain(layer: nn.Module, inputs: Tensor) -> bool:
    """Whether a layer is what it was made as, neither quantized nor adapted, and its weights are where its inputs are."""
    return type(layer) is nn.Linear and layer.weight.device == inputs.device


def _types_as_rows(layer: nn.Linear, vectors: Tensor) -> Tensor:
    """What a layer gives, (M, C), by a product of which the C types are the rows: of few mentions a processor makes it sooner."""
    return torch.addmm(layer.bias[:, None], layer.weight, vectors.T).T


class TypeHead(nn.Module):
    """Scores a mention's state against one vector per type: (M, H) → (M, C)."""

    below_gold_weight = 1.0  # see typing_loss; the trainer sets it, and it is not saved

    def __init__(self, state_size: int, config: FinenerConfig):
        super().__init__()
        self.config = config
        self.dag: TypeRows | None = None  # built when the loss first needs it
        size = config.type_vector_size
        self.project = nn.Linear(state_size, size) if size else nn.Identity()
        self.score = nn.Linear(size or state_size, len(config.ontology))

    def forward(self, mentions: Tensor) -> tuple[Tensor, Tensor]:
        """Raw logits (M, C) of mention states (M, H), and the vectors that the types' vectors are compared with."""
        vectors = self.project(mentions)
        if torch.is_inference_mode_enabled() and len(vectors) <= FEW_MENTIONS and _is_plain(self.score, vectors):
            return _types_as_rows(self.score, vectors), vectors  # in the pipeline alone: neither trained nor exported
        return self.score(vectors), vectors

    def loss(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """:func:`typing_loss` of (M, C) logits and (M, L) labels; types below the gold ones weigh ``below_gold_weight``."""
        if self.below_gold_weight == 1.0:
            return typing_loss(logits, labels)
        if self.dag is None or self.dag.parents.items.device != logits.device:
            self.dag = type_rows(self.config.ontology, logits.device)
        return typing_loss(logits, labels, self.dag, self.below_gold_weight)


class ConversionHead(nn.Module):
    """Source logits (M, C), the mention state (M, H), or both, → target logits (M, K): a hidden ReLU layer, and a score for each type.

    With ``conversion_norm`` the raw logits, most of them far below zero, are brought to zero mean and unit variance first: thousands of
    inputs that hardly vary would drown those that do. The paper feeds them as they are.

    With ``conversion_skip`` the hidden layer only corrects the vector that the source type head compares with the source types' vectors,
    and starts at no correction: where both kinds of types start from their names, the head types from the first step on.

    With softmax, types that are not assignable get the finite score ``FORBIDDEN``.
    """

    def __init__(self, state_size: int, config: FinenerConfig):
        super().__init__()
        self.config = config
        n_source, n_target = len(config.ontology), len(config.target_ontology)
        self.parts = config.conversion_input.split("+")
        self.one_type, self.skip = config.target_activation == "softmax", config.conversion_skip
        self.normalise = nn.LayerNorm(n_source) if config.conversion_norm and "logits" in self.parts else nn.Identity()
        sizes = {"logits": n_source, "mention": state_size}
        self.hidden = nn.Linear(sum(sizes[part] for part in self.parts), config.conversion_hidden_size)
        size = config.target_vector_size
        self.project = nn.Linear(config.conversion_hidden_size, size) if size else nn.Identity()
        self.score = nn.Linear(size or config.conversion_hidden_size, n_target)
        self.register_buffer("assignable", torch.empty(n_target, dtype=torch.bool))
        self.credit: SparseRows | None = None  # W of the soft loss, built when it is first needed

    def forward(self, type_logits: Tensor, mentions: Tensor, source_vectors: Tensor) -> Tensor:
        """Raw target logits (M, K)."""
        inputs = {"logits": self.normalise(type_logits), "mention": mentions}
        features = torch.cat([inputs[part] for part in self.parts], 1)
        vectors = self.project(torch.relu(self.hidden(features)))
        logits = self.score(vectors + source_vectors if self.skip else vectors)
        return logits.masked_fill(~self.assignable, FORBIDDEN) if self.one_type else logits

    def loss(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """:func:`conversion_loss` with softmax, else :func:`typing_loss`, of (M, K) logits and (M, L) labels."""
        if not self.one_type:
            return typing_loss(logits, labels)
        return conversion_loss(logits, labels, self.credit_on(logits.device))

    @torch.inference_mode(False)  # it is kept for training too
    def credit_on(self, device: torch.device) -> SparseRows:
        """W of the soft loss, (K, K), rows summing to one."""
        if self.credit is None or self.credit[0].device != device:
            ontology = self.config.target_ontology
            entries = self.config.soft_loss_weights or decay_rows(ontology, self.config.soft_loss_decay)
            self.credit = tuple(part.to(device) for part in sparse_rows(entries, len(ontology)))
        return self.credit


def decay_rows(ontology: Ontology, decay: float) -> CreditRows:
    """The entries (gold, predicted, credit) above zero of the W of a decay, each gold type's summing to one, sorted."""
    gold, predicted, credit = ontology.soft_label_rows(decay)
    credit = credit / torch.zeros(len(ontology)).index_add(0, gold, credit)[gold]
    return CreditRows(zip(gold.tolist(), predicted.tolist(), credit.tolist(), strict=True))


def credit_rows(weights: Tensor, ontology: Ontology) -> CreditRows:
    """The entries (gold, predicted, credit) above zero of a W, each gold type's summing to one, sorted.

    Types that are not assignable are never predicted: their columns are left out.

    Args:
        weights: (K, K), dense or sparse, at least 0: what predicting the column's type is worth when gold is the row's.

    Raises:
        ValueError: on another shape, a number below 0 or not finite, or a row of zeros.
    """
    size, ids = len(ontology), ontology.ids
    if weights.shape != (size, size):
        raise ValueError(f"soft loss weights must be {size} × {size}; got {tuple(weights.shape)}")
    entries = weights.detach().cpu().float().to_sparse().coalesce()
    (gold, predicted), values = entries.indices(), entries.values()
    if not (values.isfinite() & (values >= 0)).all():
        raise ValueError("soft loss weights must be finite and at least 0")
    assignable = torch.tensor(ontology.assignable, device="cpu")
    kept = assignable[predicted] & (values > 0)
    gold, predicted, values = gold[kept], predicted[kept], values[kept]
    empty = torch.bincount(gold, minlength=size) == 0
    if bad := [ids[i] for i in (empty & assignable).nonzero()[:, 0]]:
        raise ValueError(f"the soft loss weights of {', '.join(bad[:5])} are all zero: such a type could not be learnt")
    alone = empty.nonzero()[:, 0]  # never gold
    gold, predicted = torch.cat([gold, alone]), torch.cat([predicted, alone])
    values = torch.cat([values, torch.ones(len(alone))])
    values = values / torch.zeros(size).index_add(0, gold, values)[gold]
    return CreditRows(sorted(zip(gold.tolist(), predicted.tolist(), values.tolist(), strict=True)))


Cells = tuple[Tensor, Tensor]
"""Some cells of a matrix of mentions and types: (N) mentions, (N) types."""


class TypeRows(NamedTuple):
    """Of each type its parents, and all types below it."""

    parents: Lists
    below: Lists


def type_rows(ontology: Ontology, device: torch.device) -> TypeRows:
    """The rows of a type system, on a device."""
    below: list[list[int]] = [[] for _ in ontology.ids]
    for i, ancestors in enumerate(ontology.ancestors):
        for j in ancestors:
            below[j].append(i)
    return TypeRows(Lists.of(ontology.parents, device), Lists.of(below, device))


def below_gold(labels: Tensor, dag: TypeRows) -> Cells:
    """The types below one of a mention's most specific gold types, which are neither gold nor known to be wrong.

    Args:
        labels: (M, L) closed gold types, -1 padding. dag: of the C types.

    Returns:
        (N) mentions and types; a pair comes twice where two of the mention's most specific types have the type below them.
    """
    mention, gold = _gold_cells(labels)
    of, parents = dag.parents(gold)
    n_types = len(dag.parents.sizes)
    is_lowest = ~torch.isin(mention * n_types + gold, mention[of] * n_types + parents)
    mention, lowest = mention[is_lowest], gold[is_lowest]
    of, types = dag.below(lowest)
    return mention[of], types


def sparse_rows(entries: CreditRows, size: int) -> SparseRows:
    """Sorted entries of a (``size``, ``size``) matrix, its rows found in one step."""
    gold, predicted, credit = zip(*entries, strict=True)
    ends = torch.bincount(torch.tensor(gold), minlength=size).cumsum(0)
    return nn.functional.pad(ends, (1, 0)), torch.tensor(predicted), torch.tensor(credit)


def _gold_cells(labels: Tensor) -> Cells:
    """The (mention, type) pairs of labels (M, L), -1 padding."""
    mention, place = (labels >= 0).nonzero(as_tuple=True)
    return mention, labels[mention, place]


def _at(places: Tensor, values: Tensor) -> Tensor:
    """Values (n) at n true places of (M) booleans, 0 at the others."""
    return values.new_zeros(len(places)).masked_scatter(places, values)


def detection_loss(crf: LinearChainCRF, emissions: Tensor, labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """CRF negative log-likelihood of each record, 0 where it has no labels, and the number of its labelled words: (B,) and (B,)."""
    labelled = (labels >= 0) & mask
    return crf.nll(emissions, labels.clamp(min=0), mask) * labelled.any(1), labelled.sum(1)


class _TypingLoss(torch.autograd.Function):
    """Binary cross entropy of each mention, summed over its types, (M,), of raw logits (M, C) and the cells that are gold.

    Few cells are gold. So all are first taken as wrong, and then these corrected: there is no matrix of targets, nor one of weights, and
    nothing but the logits is kept for the gradient.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, gold: Cells, light: Cells, weight: float) -> Tensor:
        ctx.save_for_backward(logits, *gold, *light)
        ctx.weight = weight
        raw = logits.float()
        losses = nn.functional.softplus(raw)  # −log(1 − p)
        losses[gold] = nn.functional.softplus(-raw[gold])  # −log p
        losses[light] *= weight
        return losses.sum(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        logits, *cells = ctx.saved_tensors
        gold, light = tuple(cells[:2]), tuple(cells[2:])
        raw = logits.float()
        slopes = raw.sigmoid()
        slopes[gold] = -(-raw[gold]).sigmoid()
        slopes[light] *= ctx.weight
        return slopes.mul_(gradient[:, None]).to(logits.dtype), None, None, None


def typing_loss(
    logits: Tensor, labels: Tensor, dag: TypeRows | None = None, below_gold_weight: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Binary cross entropy of each mention, summed over its types, and the number of its gold types: (M,) and (M,).

    Dividing by the gold types rather than by M·C keeps the loss's scale, and so its weight, the same for 100 or 10,000 types.

    Args:
        logits: (M, C) raw. labels: (M, L) closed gold types, -1 padding; a row of padding only loses nothing.
        dag: of the C types; with it, the types of :func:`below_gold` weigh ``below_gold_weight``, at least 0, and the others 1.
    """
    typed = (labels >= 0).any(1)
    chosen = typed.nonzero()[:, 0]
    rows, own = labels[chosen], logits if len(chosen) == len(logits) else logits.index_select(0, chosen)
    light = (chosen[:0], chosen[:0]) if dag is None else below_gold(rows, dag)
    return _at(typed, _TypingLoss.apply(own, _gold_cells(rows), light, below_gold_weight)), (labels >= 0).sum(1)


def conversion_loss(logits: Tensor, labels: Tensor, credit: SparseRows) -> tuple[Tensor, Tensor]:
    """Hierarchy-aware soft cross entropy ``−Σ y* log p`` with ``y* = y · W`` of each mention, and whether it counts: (M,) and (M,).

    Source: Hagiwara et al. 2019. A mention with several most specific types shares its mass among their rows.

    Args:
        logits: (M, K) raw. labels: (M, L) most specific gold types, -1 padding. credit: W, (K, K), rows summing to one.
    """
    typed = (labels >= 0).any(1)
    logits, labels = logits[typed].float(), labels[typed]
    starts, columns, values = credit
    mention, place = (labels >= 0).nonzero(as_tuple=True)
    of, entry = Lists(torch.arange(len(columns), device=columns.device), starts.diff())(labels[mention, place])
    owner, share = mention[of], 1.0 / (labels >= 0).sum(1)
    target = torch.zeros_like(logits).index_put_((owner, columns[entry]), values[entry] * share[owner], accumulate=True)
    return _at(typed, -(target * logits.log_softmax(1)).sum(1)), typed.long()


def flat_spans(mention_spans: Tensor) -> Tensor:
    """(B, S, 2) with -1 padding → (M, 3) record, first word, one past the last."""
    record, row = (mention_spans[:, :, 0] >= 0).nonzero(as_tuple=True)
    return torch.cat([record[:, None], mention_spans[record, row]], 1)


def flat_labels(mention_spans: Tensor, labels: Tensor) -> Tensor:
    """Labels (B, S, L) of the spans that :func:`flat_spans` keeps, (M, L)."""
    return labels[mention_spans[:, :, 0] >= 0]

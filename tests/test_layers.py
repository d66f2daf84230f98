import math
import random

import pytest
import torch

from finener.configuration_finener import CreditRows
from finener.layers_finener import (
    FEW_MENTIONS,
    B,
    I,
    O,
    below_gold,
    conversion_loss,
    detection_loss,
    pool_mentions,
    sparse_rows,
    type_rows,
    typing_loss,
)

import tiny


def test_a_words_state_is_that_of_its_first_sub_token(any_tokenizer):
    model = tiny.tiny_model(any_tokenizer, encoder_layers=(0, -1))
    batch = tiny.text_batch(model, any_tokenizer, tiny.LONG, tiny.SHORT)
    with torch.no_grad():
        states = model.encoder_states(batch["input_ids"], batch["attention_mask"], batch["word_starts"])
        hidden = model.encoder(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True
        ).hidden_states
    for record, starts in enumerate(batch["word_starts"].tolist()):
        for word, start in enumerate(starts):
            expected = (
                torch.cat([hidden[0][record, start], hidden[-1][record, start]]) if start >= 0 else torch.zeros(32)
            )
            assert torch.equal(states[record, word], expected)


def test_a_mentions_state_is_the_mean_of_its_words():
    states = torch.tensor([[[1.0, -1], [2, -1], [3, -4], [99, 99]], [[99, 99], [99, 99], [-7, -5], [-11, 5]]])
    spans = torch.tensor([[0, 0, 3], [0, 2, 3], [1, 2, 4]])
    assert pool_mentions(spans, states).tolist() == [[2.0, -2.0], [3.0, -4.0], [-9.0, 0.0]]


def test_two_states_of_a_word_are_pooled_side_by_side():
    states, spans = torch.rand(2, 3, 4), torch.tensor([[0, 0, 2], [1, 1, 2]])
    one, other = states.split([1, 3], 2)
    assert torch.equal(pool_mentions(spans, one, other), pool_mentions(spans, states))


@pytest.mark.parametrize("n_mentions", [0, 1, FEW_MENTIONS, FEW_MENTIONS + 1])
def test_few_mentions_are_scored_as_many_are(model, n_mentions):
    states = torch.randn(n_mentions, model.type_head.score.in_features)
    expected, vectors = model.type_head(states)
    with torch.inference_mode():
        logits, same = model.type_head(states)
    assert logits.shape == (n_mentions, len(model.config.ontology)) and torch.equal(same, vectors)
    tiny.close(logits, expected)


def test_no_mentions_are_pooled_to_no_states():
    assert pool_mentions(torch.zeros(0, 3, dtype=torch.long), torch.ones(2, 3, 5)).shape == (0, 5)
    assert pool_mentions(torch.tensor([[0, 1, 1]]), torch.ones(2, 3, 5)).tolist() == [[0.0] * 5], "no words, no NaN"


def test_word_shapes_tell_apart_what_an_uncased_encoder_cannot():
    tokenizer = tiny.wordpiece_tokenizer(lowercase=True)
    for use_word_shape in (True, False):
        model = tiny.tiny_model(tokenizer, use_word_shape=use_word_shape)
        upper, lower = (tiny.outputs(model, tokenizer, text).logits for text in ("New York", "new york"))
        assert torch.equal(upper, lower) is not use_word_shape


def sigmoid_loss(logit: float, gold: bool) -> float:
    return math.log1p(math.exp(-logit if gold else logit))


def test_typing_loss_by_hand_leaves_out_mentions_without_types():
    logits = torch.tensor([[0.0, 2.0, -1.0], [1.0, -1.0, 0.5], [50.0, 50.0, 50.0]])
    labels = torch.tensor([[0, 1], [2, -1], [-1, -1]])
    losses, counts = typing_loss(logits, labels)
    first = sigmoid_loss(0, True) + sigmoid_loss(2, True) + sigmoid_loss(-1, False)
    second = sigmoid_loss(1, False) + sigmoid_loss(-1, False) + sigmoid_loss(0.5, True)
    assert losses.tolist() == pytest.approx([first, second, 0.0])
    assert counts.tolist() == [2, 1, 0]


def closed_labels(ontology, *mentions: str) -> torch.Tensor:
    """(M, L) of mentions whose types are joined by commas; "" has none."""
    rows = [torch.tensor([ontology.index(t) for t in ontology.closure(filter(None, m.split(",")))]) for m in mentions]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1).long()


BELOW = {
    "person": {"artist"},
    "artist": set(),
    "organization": {"company", "museum", "artmuseum"},
    "building": {"museum", "artmuseum"},
    # museum has two parents: below the one gold type though the other is absent; gold, with both, where both are above it
    "building,organization": {"museum", "artmuseum", "company"},
    "museum": {"artmuseum"},
    "physical": {"person", "artist", "place", "building", "museum", "artmuseum"},
    # what is above another gold type tells no more than that one
    "person,physical": {"artist"},
    "artist,place": {"building", "museum", "artmuseum"},
    "": set(),
}


def test_below_gold_are_those_below_the_most_specific_types_of_a_dag():
    ontology = tiny.two_parent_ontology()
    cells = below_gold(closed_labels(ontology, *BELOW), type_rows(ontology, torch.device("cpu")))
    found = {types: set() for types in BELOW}
    for mention, i in zip(*(part.tolist() for part in cells), strict=True):
        found[list(BELOW)[mention]].add(ontology.ids[i])
    assert found == BELOW


@pytest.mark.parametrize("weight", [0.0, 0.25])
def test_types_below_gold_weigh_less_in_the_typing_loss(tokenizer, weight):
    """By hand: every other absent type counts as wrong, and what the loss is divided by stays the number of gold types."""
    head, ontology = tiny.tiny_model(tokenizer).type_head, tiny.two_parent_ontology()
    labels = closed_labels(ontology, *BELOW)
    logits = torch.randn(len(BELOW), len(ontology), generator=torch.Generator().manual_seed(0), requires_grad=True)
    head.below_gold_weight = weight
    losses, counts = head.loss(logits, labels)
    for mention, (types, below) in enumerate(BELOW.items()):
        gold = set(ontology.closure(filter(None, types.split(","))))
        assert counts[mention] == len(gold)
        by_hand = [
            sigmoid_loss(logits[mention, i].item(), t in gold) * (weight if t in below else 1.0)
            for i, t in enumerate(ontology.ids)
        ]
        assert losses[mention].item() == pytest.approx(sum(by_hand) if gold else 0.0, rel=1e-5)
    losses.sum().backward()
    gradient = {
        (types, t): logits.grad[mention, i].item()
        for mention, types in enumerate(BELOW)
        for i, t in enumerate(ontology.ids)
    }
    assert all((gradient[types, t] == 0) is (weight == 0) for types, below in BELOW.items() for t in below)
    assert gradient["person", "place"] > 0 > gradient["person", "physical"]


def dense_typing_loss(logits, labels, ontology, weight):
    """The typing loss over matrices of all targets and all weights."""
    gold, weights = torch.zeros_like(logits), torch.ones_like(logits)
    for mention, row in enumerate(labels.tolist()):
        own = [i for i in row if i >= 0]
        gold[mention, own] = 1
        lowest = set(ontology.most_specific_indices(own))
        weights[mention, [i for i, above in enumerate(ontology.ancestors) if above & lowest]] = weight
        weights[mention] *= bool(own)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, gold, weights, reduction="none")
    return losses.sum(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("weight", [1.0, 0.25, 0.0])
@pytest.mark.parametrize("untyped", [0, 9])
def test_the_typing_loss_and_its_gradient_are_those_of_dense_targets(tokenizer, dtype, weight, untyped):
    """Of random mentions of a DAG, with logits from where a new head starts to where a softplus overflows."""
    head, ontology = tiny.tiny_model(tokenizer).type_head, tiny.two_parent_ontology()
    draw = random.Random(0)
    mentions = [",".join(draw.sample(ontology.ids, draw.choice([1, 1, 2, 3]))) for _ in range(40)] + [""] * untyped
    draw.shuffle(mentions)
    labels = closed_labels(ontology, *mentions)
    scale = torch.tensor([1.0, 10.0, 100.0])[torch.arange(len(mentions)) % 3, None]
    logits = (torch.randn(len(mentions), len(ontology), generator=torch.Generator().manual_seed(0)) * scale).to(dtype)
    logits.requires_grad_()
    shares = torch.rand(len(mentions), generator=torch.Generator().manual_seed(1))
    head.below_gold_weight = weight
    losses, _ = head.loss(logits, labels)
    (gradient,) = torch.autograd.grad((losses * shares).sum(), logits)
    expected = dense_typing_loss(logits.float(), labels, ontology, weight)
    (dense,) = torch.autograd.grad((expected * shares).sum(), logits)
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, dense, rtol=1e-6, atol=1e-6)
    assert gradient.dtype == dtype and gradient.any()


def test_the_typing_loss_keeps_no_matrix_of_targets():
    logits, labels = torch.zeros(5, 1000, requires_grad=True), torch.tensor([[0, 7, -1]] * 5)
    losses, _ = typing_loss(logits, labels)
    kept, waiting = [], [losses.grad_fn]
    while waiting:
        node = waiting.pop()
        kept += [tensor for tensor in getattr(node, "saved_tensors", ()) if tensor.numel() >= logits.numel()]
        waiting += [before for before, _ in node.next_functions if before is not None]
    assert [tensor.data_ptr() for tensor in kept] == [logits.data_ptr()]


def test_with_a_weight_of_one_types_below_gold_are_wrong(tokenizer):
    head, ontology = tiny.tiny_model(tokenizer).type_head, tiny.two_parent_ontology()
    labels, logits = closed_labels(ontology, *BELOW), torch.randn(len(BELOW), len(ontology))
    assert torch.equal(head.loss(logits, labels)[0], typing_loss(logits, labels)[0])


IDENTITY = sparse_rows(CreditRows((i, i, 1.0) for i in range(4)), 4)


@pytest.mark.parametrize("loss", [typing_loss, lambda *args: conversion_loss(*args, IDENTITY)])
def test_losses_of_no_mentions_are_none(loss):
    logits = torch.zeros(0, 4, requires_grad=True)
    losses, counts = loss(logits, torch.zeros(0, 2, dtype=torch.long))
    losses.sum().backward()
    assert (losses.shape, counts.shape, logits.grad.shape) == ((0,), (0,), (0, 4))


def test_detection_loss_leaves_out_records_without_labels(model):
    emissions = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    labels = torch.tensor([[B, I, O, O], [-100] * 4, [O, B, I, -100]])
    losses, counts = detection_loss(model.crf, emissions, labels, mask)
    each = model.crf.nll(emissions, labels.clamp(min=0), mask).tolist()
    assert losses.tolist() == pytest.approx([each[0], 0.0, each[2]])
    assert counts.tolist() == [4, 0, 3]
    nothing, none = detection_loss(model.crf, emissions, torch.full_like(labels, -100), mask)
    assert not nothing.any() and not none.any()


def test_the_loss_is_the_sum_of_its_named_parts_each_divided_by_what_it_counts(target_model, tokenizer):
    batch = tiny.gold_batch(target_model, tokenizer)
    output = target_model(**batch)
    closed = int((batch["type_labels"] >= 0).sum())
    assert {name: int(n) for name, n in output.counts.items()} == {"detection": 35, "typing": closed, "conversion": 7}
    assert output.loss.item() == pytest.approx(sum(output.losses.values()).item())
    assert output.losses["typing"].item() == pytest.approx(
        typing_loss(output.type_logits, batch["type_labels"][batch["mention_spans"][:, :, 0] >= 0])[0].sum().item()
        / closed
    )


def test_sigmoid_targets_are_trained_by_binary_cross_entropy_on_closed_types(tokenizer):
    model = tiny.tiny_model(tokenizer, target=True, target_activation="sigmoid")
    batch = tiny.gold_batch(model, tokenizer)
    output = model(**batch)
    gold = torch.zeros_like(output.target_type_logits)
    for mention, own in enumerate(tiny.gold_of(model)):
        gold[mention, model.config.target_ontology.closure_indices([own])] = 1
    expected = torch.nn.functional.binary_cross_entropy_with_logits(output.target_type_logits, gold, reduction="sum")
    assert output.losses["conversion"].item() == pytest.approx((expected / gold.sum()).item(), rel=1e-5)
    assert output.losses["conversion"] < 50, "a parent that is not assignable is gold too when types are closed"

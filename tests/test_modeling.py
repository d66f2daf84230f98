import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertForMaskedLM, BertModel, DistilBertConfig, DistilBertModel

from finener.configuration_finener import FinenerConfig
from finener.layers_finener import FORBIDDEN, B, I, O, conversion_loss, detection_loss, pool_mentions, typing_loss
from finener.modeling_finener import FinenerForTokenClassification, FinenerOutput, embed_names
from finener.ontology_finener import EntityType, Ontology
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.mapping import TypeMapping
from finener.training.start import start_at_mapping, start_at_shares

import tiny

# Knobs that change what the model is made of.
VARIANTS = {
    "default": {},
    "target": {"target": True},
    "learned mix, shapes": {"encoder_layers": (0, 1, 2), "encoder_layer_mix": "learned", "use_word_shape": True},
    "concat, max": {"encoder_layers": (-1, 1), "mention_pooling": "max", "type_vector_size": 6},
    "everything": {
        "target": True,
        "encoder_layers": (-1, 0),
        "encoder_layer_mix": "learned",
        "use_word_shape": True,
        "mention_state": "lstm+encoder",
        "mention_pooling": "first",
        "type_vector_size": 5,
        "conversion_input": "logits+mention",
        "target_activation": "sigmoid",
    },
    "raw logits": {"target": True, "conversion_norm": False, "target_vector_size": 7},
    "mention alone": {"target": True, "conversion_input": "mention", "lstm_layers": 1},
}
SHORT, LONG, EMPTY = "The new museum of York", "The Louvre bought a portrait by Leonardo.", " "


@pytest.fixture(params=VARIANTS)
def knobs(request: pytest.FixtureRequest) -> dict:
    return VARIANTS[request.param]


@torch.no_grad()
def outputs(model: FinenerForTokenClassification, tokenizer, *texts: str) -> FinenerOutput:
    return model(**tiny.text_batch(model, tokenizer, *texts))


def close(found: Tensor, expected: Tensor) -> None:
    """Equal but for the order in which floats were summed."""
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def train(model: FinenerForTokenClassification, batch: dict[str, Tensor], steps: int, lr: float = 0.01) -> None:
    """Some steps with every label, dropout as configured."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(steps):
            optimizer.zero_grad()
            model(**batch).loss.backward()
            optimizer.step()
    model.eval()


# -------------------------------------------------------------------- records and padding


def test_outputs_of_a_record_do_not_depend_on_the_padding_beside_it(any_tokenizer, knobs):
    model = tiny.tiny_model(any_tokenizer, **knobs)
    together = outputs(model, any_tokenizer, SHORT, LONG, EMPTY)
    found = 0
    for record, text in enumerate((SHORT, LONG)):
        alone = outputs(model, any_tokenizer, text)
        own = together.mention_spans[:, 0] == record
        assert torch.equal(together.mention_spans[own, 1:], alone.mention_spans[:, 1:])
        width = alone.logits.shape[1]
        close(together.logits[record, :width], alone.logits[0])
        for name in ("type_logits", "target_type_logits", "mention_scores"):
            if getattr(alone, name) is not None:
                close(getattr(together, name)[own], getattr(alone, name))
        found += len(alone.mention_spans)
    assert found, "the random model must find something to compare"


@pytest.mark.parametrize("texts", [(EMPTY,), ("", SHORT), (SHORT, EMPTY, LONG)])
def test_a_record_without_words_has_no_mentions_and_finite_outputs(target_model, tokenizer, texts):
    batch = tiny.gold_batch(target_model, tokenizer, {text: {} for text in texts})
    with torch.no_grad():
        output = target_model(**batch)
        decoded = target_model(**tiny.text_batch(target_model, tokenizer, *texts))
    wordless = {i for i, text in enumerate(texts) if not text.strip()}
    assert wordless.isdisjoint(decoded.mention_spans[:, 0].tolist())
    assert output.loss.isfinite() and output.logits.isfinite().all() and decoded.mention_scores.isfinite().all()
    assert output.counts["detection"] == sum(len(text.split()) + text.count(".") for text in texts)


def test_a_batch_without_mentions_trains_every_head_with_zero_gradients(tokenizer, knobs):
    model = tiny.tiny_model(tokenizer, **knobs).train()
    output = model(**tiny.gold_batch(model, tokenizer, {"Nobody came.": {}, LONG: {}}))
    assert output.type_logits.shape == (0, 10)
    assert all(loss == 0 for name, loss in output.losses.items() if name != "detection")
    assert output.losses["detection"] > 0 and output.loss == output.losses["detection"]
    output.loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert not model.type_head.score.weight.grad.any() and model.tagger.weight.grad.any()


def test_states_that_were_computed_before_replace_the_encoder(tokenizer, knobs):
    model = tiny.tiny_model(tokenizer, **knobs)
    batch = tiny.text_batch(model, tokenizer, SHORT, LONG)
    with torch.no_grad():
        states = model.encoder_states(batch["input_ids"], batch["attention_mask"], batch["word_starts"])
        whole = model(**batch)
        model.encoder = None
        cached = model(**batch, word_states=states)
    assert torch.equal(whole.logits, cached.logits) and torch.equal(whole.type_logits, cached.type_logits)


def test_detection_scores_are_left_out_in_training_only(model, tokenizer):
    batch = tiny.gold_batch(model, tokenizer)
    assert model(**batch).mention_scores.shape == (7,)
    assert model.train()(**batch).mention_scores is None


# -------------------------------------------------------------------- word and mention states


def test_a_words_state_is_that_of_its_first_sub_token(any_tokenizer):
    model = tiny.tiny_model(any_tokenizer, encoder_layers=(0, -1))
    batch = tiny.text_batch(model, any_tokenizer, LONG, SHORT)
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


def test_a_learned_mix_is_the_softmax_weighted_mean_of_the_layers(tokenizer):
    model = tiny.tiny_model(tokenizer, encoder_layers=(0, 1, 2), encoder_layer_mix="learned")
    assert model.layer_weights.tolist() == [0, 0, 0], "it starts as the plain mean"
    batch = tiny.text_batch(model, tokenizer, LONG)
    shares = torch.tensor([0.5, 0.2, 0.3])
    with torch.no_grad():
        model.layer_weights.copy_(shares.log() + 7)
        states = model.encoder_states(batch["input_ids"], batch["attention_mask"], batch["word_starts"])
        mixed, _ = model.contextualize(states, batch["word_shapes"], batch["word_starts"] >= 0)
    layers = states.split(16, 2)
    close(mixed, sum(share * layer for share, layer in zip(shares, layers, strict=True)))


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", [[2.0, -2.0], [3.0, -4.0], [-9.0, 0.0]]),
        ("max", [[3.0, -1.0], [3.0, -4.0], [-7.0, 5.0]]),
        ("first", [[1.0, -1.0], [3.0, -4.0], [-7.0, -5.0]]),
    ],
)
def test_mention_pooling_by_hand(pooling, expected):
    states = torch.tensor([[[1.0, -1], [2, -1], [3, -4], [99, 99]], [[99, 99], [99, 99], [-7, -5], [-11, 5]]])
    spans = torch.tensor([[0, 0, 3], [0, 2, 3], [1, 2, 4]])
    assert pool_mentions(states, spans, pooling).tolist() == expected


@pytest.mark.parametrize("pooling", ["mean", "max", "first"])
def test_no_mentions_are_pooled_to_no_states(pooling):
    assert pool_mentions(torch.ones(2, 3, 5), torch.zeros(0, 3, dtype=torch.long), pooling).shape == (0, 5)


def test_word_shapes_tell_apart_what_an_uncased_encoder_cannot():
    tokenizer = tiny.wordpiece_tokenizer(lowercase=True)
    for use_word_shape in (True, False):
        model = tiny.tiny_model(tokenizer, use_word_shape=use_word_shape)
        upper, lower = (outputs(model, tokenizer, text).logits for text in ("New York", "new york"))
        assert torch.equal(upper, lower) is not use_word_shape


# -------------------------------------------------------------------- losses


def sigmoid_loss(logit: float, gold: bool) -> float:
    return math.log1p(math.exp(-logit if gold else logit))


def test_typing_loss_by_hand_leaves_out_mentions_without_types():
    logits = torch.tensor([[0.0, 2.0, -1.0], [1.0, -1.0, 0.5], [50.0, 50.0, 50.0]])
    labels = torch.tensor([[0, 1], [2, -1], [-1, -1]])
    total, count = typing_loss(logits, labels)
    first = sigmoid_loss(0, True) + sigmoid_loss(2, True) + sigmoid_loss(-1, False)
    second = sigmoid_loss(1, False) + sigmoid_loss(-1, False) + sigmoid_loss(0.5, True)
    assert total.item() == pytest.approx(first + second)
    assert count.item() == 3


def test_conversion_loss_by_hand_shares_the_mass_among_leaves():
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0], [9.0, 9.0, 9.0]])
    credit = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.5, 0.0, 0.5]])
    labels = torch.tensor([[1, 2], [0, -1], [-1, -1]])
    total, count = conversion_loss(logits, labels, credit)
    log_p = logits.log_softmax(1).tolist()
    first = -(0.375 * log_p[0][0] + 0.375 * log_p[0][1] + 0.25 * log_p[0][2])
    assert total.item() == pytest.approx(first - log_p[1][0])
    assert count.item() == 2


@pytest.mark.parametrize("loss", [typing_loss, lambda *args: conversion_loss(*args, torch.eye(4))])
def test_losses_of_no_mentions_are_zero(loss):
    logits = torch.zeros(0, 4, requires_grad=True)
    total, count = loss(logits, torch.zeros(0, 2, dtype=torch.long))
    total.backward()
    assert (total.item(), count.item(), logits.grad.shape) == (0.0, 0, (0, 4))


def test_detection_loss_leaves_out_records_without_labels(model):
    emissions = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    labels = torch.tensor([[B, I, O, O], [-100] * 4, [O, B, I, -100]])
    total, count = detection_loss(model.crf, emissions, labels, mask)
    each = model.crf.nll(emissions, labels.clamp(min=0), mask)
    assert total.item() == pytest.approx((each[0] + each[2]).item())
    assert count.item() == 7
    nothing, none = detection_loss(model.crf, emissions, torch.full_like(labels, -100), mask)
    assert (nothing.item(), none.item()) == (0.0, 0)


def test_the_loss_is_the_sum_of_its_named_parts_each_divided_by_what_it_counts(target_model, tokenizer):
    batch = tiny.gold_batch(target_model, tokenizer)
    output = target_model(**batch)
    closed = int((batch["type_labels"] >= 0).sum())
    assert {name: int(n) for name, n in output.counts.items()} == {"detection": 35, "typing": closed, "conversion": 7}
    assert output.loss.item() == pytest.approx(sum(output.losses.values()).item())
    assert output.losses["typing"].item() == pytest.approx(
        typing_loss(output.type_logits, batch["type_labels"][batch["mention_spans"][:, :, 0] >= 0])[0].item() / closed
    )


def gold_of(model: FinenerForTokenClassification) -> list[int]:
    return [model.config.target_ontology.index(t) for names in tiny.GOLD.values() for _, t in names.values()]


def test_soft_loss_with_decay_zero_is_plain_cross_entropy(tokenizer):
    model = tiny.tiny_model(tokenizer, target=True, soft_loss_decay=0.0)
    output = model(**tiny.gold_batch(model, tokenizer))
    plain = torch.nn.functional.cross_entropy(output.target_type_logits, torch.tensor(gold_of(model)))
    assert output.losses["conversion"].item() == pytest.approx(plain.item(), rel=1e-5)


def test_soft_loss_gives_ancestors_their_share(target_model, tokenizer, target):
    output = target_model(**tiny.gold_batch(target_model, tokenizer))
    log_p = output.target_type_logits.log_softmax(1)
    shares = {
        "per.artist.painter": {"per.artist.painter": 0.8, "per": 0.2},  # 1 : 0.25, its direct parent is not assignable
        "per.politician": {"per.politician": 2 / 3, "per": 1 / 3},
        "loc.city.capital": {"loc.city.capital": 4 / 7, "loc.city": 2 / 7, "loc": 1 / 7},
        "loc.city": {"loc.city": 2 / 3, "loc": 1 / 3},
        "org.company": {"org.company": 2 / 3, "org": 1 / 3},
        "org": {"org": 1.0},
    }
    expected = -sum(
        share * log_p[mention, target.index(t)].item()
        for mention, gold in enumerate(gold_of(target_model))
        for t, share in shares[target.ids[gold]].items()
    )
    assert output.losses["conversion"].item() == pytest.approx(expected / 7, rel=1e-5)


def test_sigmoid_targets_are_trained_by_binary_cross_entropy_on_closed_types(tokenizer):
    model = tiny.tiny_model(tokenizer, target=True, target_activation="sigmoid")
    batch = tiny.gold_batch(model, tokenizer)
    output = model(**batch)
    gold = torch.zeros_like(output.target_type_logits)
    for mention, own in enumerate(gold_of(model)):
        gold[mention, model.config.target_ontology.closure_indices([own])] = 1
    expected = torch.nn.functional.binary_cross_entropy_with_logits(output.target_type_logits, gold, reduction="sum")
    assert output.losses["conversion"].item() == pytest.approx((expected / gold.sum()).item(), rel=1e-5)
    assert output.losses["conversion"] < 50, "a parent that is not assignable is gold too when types are closed"


# -------------------------------------------------------------------- training


def test_four_sentences_are_learned_by_heart(tokenizer):
    learner = {"encoder_layers": (0, -1), "lstm_hidden_size": 24, "lstm_layers": 1, "soft_loss_decay": 0.0}
    model = tiny.tiny_model(tokenizer, target=True, **learner, encoder_dropout=0.0, lstm_dropout=0.0)
    batch = tiny.gold_batch(model, tokenizer)
    before = model(**batch).losses
    train(model, batch, steps=120, lr=0.03)
    after = model(**batch).losses
    assert all(after[name] < 0.05 < 0.5 < before[name] for name in ("detection", "typing", "conversion")), after
    pipeline = FinenerPipeline(model=model, tokenizer=tokenizer)
    for head, which in (("source", 0), ("target", 1)):
        found = {text: {m["word"]: m["entity_group"] for m in pipeline(text, head=head)} for text in tiny.GOLD}
        assert found == {text: {name: t[which] for name, t in names.items()} for text, names in tiny.GOLD.items()}


def test_every_parameter_changes_in_one_training_step(tokenizer, knobs):
    model = tiny.tiny_model(tokenizer, **knobs)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, tiny.gold_batch(model, tokenizer), steps=1)
    assert [name for name, p in model.named_parameters() if torch.equal(p, before[name])] == []


def test_frozen_detection_is_bit_equal_after_training_the_types(tokenizer, knobs):
    model = tiny.tiny_model(tokenizer, **knobs)
    batch = tiny.gold_batch(model, tokenizer)
    before, decoded = outputs(model, tokenizer, *tiny.GOLD), model(**batch)
    model.freeze("detection")
    train(model, batch, steps=3)
    after = outputs(model, tokenizer, *tiny.GOLD)
    assert torch.equal(before.logits, after.logits)
    assert torch.equal(before.mention_spans, after.mention_spans)
    assert torch.equal(before.mention_scores, after.mention_scores)
    assert not torch.equal(decoded.type_logits, model(**batch).type_logits)


def test_a_frozen_encoder_stays_while_the_rest_is_trained(model, tokenizer):
    encoder = {name: p.clone() for name, p in model.encoder.state_dict().items()}
    tagger = model.tagger.weight.detach().clone()
    model.freeze("encoder")
    train(model, tiny.gold_batch(model, tokenizer), steps=1)
    assert all(torch.equal(p, encoder[name]) for name, p in model.encoder.state_dict().items())
    assert not torch.equal(tagger, model.tagger.weight)


@pytest.mark.parametrize(
    ("part", "in_training"),
    [
        ("encoder", {"encoder": False, "encoder_dropout": True, "lstm": True, "lstm_dropout": True}),
        ("detection", {"encoder": False, "encoder_dropout": False, "lstm": False, "lstm_dropout": True}),
    ],
)
def test_what_is_frozen_stays_in_evaluation_mode(model, part, in_training):
    model.freeze(part)
    model.train()
    assert {name: getattr(model, name).training for name in in_training} == in_training


@pytest.mark.parametrize("n", [1, 2])
def test_the_last_layers_of_a_frozen_encoder_may_be_trained(model, tokenizer, n):
    model.freeze("encoder", unfrozen_layers=n)
    model.train()
    layers = model.encoder.encoder.layer
    assert [layer.training for layer in layers] == [False] * (2 - n) + [True] * n
    assert not model.encoder.embeddings.training and not model.encoder.embeddings.dropout.training
    before = {name: p.clone() for name, p in model.encoder.state_dict().items()}
    train(model, tiny.gold_batch(model, tokenizer), steps=1)
    changed = {name for name, p in model.encoder.state_dict().items() if not torch.equal(p, before[name])}
    free = tuple(f"encoder.layer.{2 - i}." for i in range(1, n + 1))
    assert changed == {name for name in before if name.startswith(free)}


@pytest.mark.parametrize(("part", "n"), [("encoder", 3), ("encoder", -1), ("detection", 1)])
def test_layers_that_are_not_there_or_belong_to_frozen_detection_stay_frozen(model, part, n):
    with pytest.raises(ValueError, match=rf"the last {n} layers can't stay in training with {part} frozen.* 1 … 2 of"):
        model.freeze(part, unfrozen_layers=n)


def test_layers_are_found_in_another_architecture(tokenizer, source):
    encoder = DistilBertConfig(vocab_size=len(tokenizer), dim=16, n_layers=3, n_heads=2, hidden_dim=32)
    model = FinenerForTokenClassification(FinenerConfig(encoder, source))
    model.freeze("encoder", unfrozen_layers=1)
    trained = {name.rpartition("layer.")[2][0] for name, p in model.encoder.named_parameters() if p.requires_grad}
    assert trained == {"2"}


def test_only_parts_that_exist_can_be_frozen(model):
    with pytest.raises(ValueError, match="only the encoder or detection can be frozen, got 'types'"):
        model.freeze("types")


# -------------------------------------------------------------------- scores and types


def test_no_type_scores_above_its_parents(target_model, source, target):
    logits = 3 * torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    for scores, ontology in (
        (target_model.source_scores(logits), source),
        (target_model.target_scores(logits), target),
    ):
        assert ((scores >= 0) & (scores <= 1)).all()
        assert all((scores[:, child] <= scores[:, parent]).all() for child, parent in ontology.edges)


def test_softmax_targets_score_what_their_subtree_holds(target_model, target):
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0]]).log()
    scores = dict(zip(target.ids, target_model.target_scores(logits)[0].tolist(), strict=True))
    expected = {"per": 0.6 / 0.7, "per.artist": 0.5 / 0.7, "per.artist.painter": 0.3 / 0.7, "loc": 0.1 / 0.7, "org": 0}
    assert {t: scores[t] for t in expected} == pytest.approx(expected)


def test_selected_types_are_closed_under_ancestors_and_never_none(tokenizer, knobs):
    model = tiny.tiny_model(tokenizer, **knobs, type_threshold=0.6)
    output = outputs(model, tokenizer, *tiny.GOLD)
    heads = {"source": model.config.ontology, "target": model.config.target_ontology}
    for head, ontology in heads.items():
        if ontology is not None:
            chosen = model.select_types(output, head)
            assert len(chosen) == len(output.mention_spans) > 0
            assert all(types and sorted(ontology.closure(types)) == sorted(types) for types in chosen)


def test_types_come_from_the_target_head_where_there_is_one(model, target_model, tokenizer, source, target):
    assert set(model.select_types(outputs(model, tokenizer, LONG))[0]) <= set(source.ids)
    assert set(target_model.select_types(outputs(target_model, tokenizer, LONG))[0]) <= set(target.ids)


@pytest.mark.parametrize("head", ["target", "aida"])
def test_a_head_that_the_model_lacks_is_an_error(model, tokenizer, head):
    with pytest.raises(ValueError, match=f"head must be 'source' or, for a fine-tuned model, 'target'; got '{head}'"):
        model.select_types(outputs(model, tokenizer, SHORT), head)


def test_a_type_that_is_not_assignable_is_never_predicted_by_softmax(target_model, tokenizer, target):
    artist = target.index("per.artist")
    with torch.no_grad():
        target_model.conversion.score.bias[artist] = 1e3
        output = target_model(**tiny.gold_batch(target_model, tokenizer))
    assert (output.target_type_logits[:, artist] == FORBIDDEN).all()
    assert (output.target_type_logits.softmax(1)[:, artist] == 0).all()
    assert not any(target.most_specific(types) == ["per.artist"] for types in target_model.select_types(output))
    assert output.loss.isfinite()


def test_types_below_one_that_is_not_assignable_can_be_predicted_by_sigmoid(tokenizer):
    model = tiny.tiny_model(tokenizer, target=True, target_activation="sigmoid")
    with torch.no_grad():
        model.conversion.score.bias[:4] = 1e3
    types = model.select_types(outputs(model, tokenizer, LONG))
    assert all({"per", "per.artist", "per.artist.painter"} <= set(of_mention) for of_mention in types)


def shuffled(ontology: Ontology, order: list[int]) -> Ontology:
    return Ontology(ontology.name, [ontology.types[i] for i in order], ontology.source)


def test_the_order_of_the_types_changes_no_score(target_model, tokenizer, source, target):
    order, target_order = [7, 2, 9, 0, 4, 1, 8, 3, 6, 5], [3, 0, 9, 8, 1, 2, 7, 6, 5, 4]
    others = {"ontology": shuffled(source, order), "target_ontology": shuffled(target, target_order)}
    other = tiny.tiny_model(tokenizer, target=True, **others)
    state = target_model.state_dict()
    for name, places in (("type_head", order), ("conversion", target_order)):
        state[f"{name}.score.weight"] = state[f"{name}.score.weight"][places]
        state[f"{name}.score.bias"] = state[f"{name}.score.bias"][places]
    state["conversion.hidden.weight"] = state["conversion.hidden.weight"][:, order]
    state["conversion.credit"] = state["conversion.credit"][target_order][:, target_order]
    state["conversion.assignable"] = state["conversion.assignable"][target_order]
    assert torch.equal(other.conversion.credit, state["conversion.credit"]), "W follows the types"
    other.load_state_dict(state)
    results = [FinenerPipeline(model=m, tokenizer=tokenizer) for m in (target_model, other)]
    for head in ("source", "target"):
        expected, found = (pipeline(list(tiny.GOLD), head=head) for pipeline in results)
        pairs = [
            (a, b) for first, second in zip(expected, found, strict=True) for a, b in zip(first, second, strict=True)
        ]
        assert len(pairs) > 3
        for a, b in pairs:
            assert b["types"] == pytest.approx(a["types"], abs=1e-6)
            assert (a["word"], a["entity_group"]) == (b["word"], b["entity_group"])
    batches = [tiny.gold_batch(m, tokenizer) for m in (target_model, other)]
    assert other(**batches[1]).loss.item() == pytest.approx(target_model(**batches[0]).loss.item(), rel=1e-5)


def test_a_types_logit_does_not_depend_on_which_other_types_there_are(model, tokenizer, source):
    part = source.subset(source.closure(["artist", "company"]))
    kept = [source.index(t) for t in part.ids]
    smaller = tiny.tiny_model(tokenizer, ontology=part)
    state = model.state_dict()
    smaller.load_state_dict({k: v[kept] if k.startswith("type_head.score") else v for k, v in state.items()})
    expected, found = (outputs(m, tokenizer, *tiny.GOLD).type_logits for m in (model, smaller))
    close(found, expected[:, kept])


def test_the_first_typing_loss_hardly_grows_with_the_number_of_types(tokenizer):
    """Per gold type it is about log(C / prior) + prior / gold types: from 100 to 10,000 types it doubles, where the sum grows 100-fold."""
    losses = {}
    for n in (100, 10_000):
        types = [*tiny.two_parent_ontology().types, *(EntityType(f"root{i}") for i in range(n - 10))]
        model = tiny.tiny_model(tokenizer, ontology=Ontology("src", types), initializer_range=0.02)
        batch = tiny.gold_batch(model, tokenizer)
        losses[n] = model(**batch).losses["typing"].item()
        mentions, gold = 7, int((batch["type_labels"] >= 0).sum())
        assert losses[n] == pytest.approx(math.log(n / 3.0) + 3.0 * mentions / gold, rel=0.05)
    assert losses[10_000] < 2.2 * losses[100]


# -------------------------------------------------------------------- the encoder's weights


def encoder_weights(folder: Path) -> dict[str, Tensor]:
    return {k: v for k, v in load_file(folder / "model.safetensors").items() if "pooler" not in k}


@pytest.mark.parametrize("lowercase", [False, True])
def test_from_encoder_copies_all_weights_and_sees_whether_the_tokenizer_lower_cases(tmp_path, source, lowercase):
    folder = tiny.save_tiny_encoder(tmp_path, tiny.wordpiece_tokenizer(lowercase))
    model = FinenerForTokenClassification.from_encoder(folder, source, lstm_hidden_size=8)
    weights = encoder_weights(folder)
    assert set(weights) == set(model.encoder.state_dict()) and len(weights) > 30
    assert all(torch.equal(value, weights[name]) for name, value in model.encoder.state_dict().items())
    assert model.config.use_word_shape is lowercase
    assert not model.training
    assert model.config.encoder_config.vocab_size == len(tiny.wordpiece_tokenizer(lowercase))


def test_use_word_shape_may_be_set_against_the_tokenizer(encoder_folder, source):
    model = FinenerForTokenClassification.from_encoder(encoder_folder, source, use_word_shape=True)
    assert model.config.use_word_shape is True


def test_from_encoder_takes_the_encoder_out_of_a_masked_lm(tmp_path, tokenizer, source):
    BertForMaskedLM(tiny.encoder_config(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = FinenerForTokenClassification.from_encoder(tmp_path, source)
    stored = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(value, stored[f"bert.{name}"]) for name, value in model.encoder.state_dict().items())


def test_from_encoder_takes_encoders_that_know_no_pooler(tmp_path, tokenizer, source):
    config = DistilBertConfig(vocab_size=len(tokenizer), dim=16, n_layers=2, n_heads=2, hidden_dim=32)
    DistilBertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = FinenerForTokenClassification.from_encoder(tmp_path, source, lstm_hidden_size=8)
    weights = encoder_weights(tmp_path)
    assert all(torch.equal(value, weights[name]) for name, value in model.encoder.state_dict().items())
    assert outputs(model, tokenizer, LONG).logits.isfinite().all()


def test_from_encoder_trains_in_full_precision_whatever_is_stored(tmp_path, tokenizer, source):
    BertModel(tiny.encoder_config(tokenizer)).to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = FinenerForTokenClassification.from_encoder(tmp_path, source)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    weights = encoder_weights(tmp_path)
    assert all(torch.equal(value, weights[name].float()) for name, value in model.encoder.state_dict().items())


def test_from_encoder_refuses_a_checkpoint_that_lacks_some_of_the_encoder(tmp_path, tokenizer, source):
    file = tiny.save_tiny_encoder(tmp_path, tokenizer) / "model.safetensors"
    weights = load_file(file)
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(
        ValueError, match=r"lacks 1 of its encoder's weights \(\['encoder\.layer\.1\.output\.dense\.weight'\]"
    ):
        FinenerForTokenClassification.from_encoder(tmp_path, source)


def test_from_encoder_refuses_a_finener_model_without_running_its_code(tmp_path, model, tokenizer, source):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"is a finener model: load it with .*from_pretrained"):
        FinenerForTokenClassification.from_encoder(tmp_path, source)


def test_type_vectors_may_start_from_the_types_names(encoder_folder, tokenizer, source):
    model = FinenerForTokenClassification.from_encoder(encoder_folder, source, type_vectors_from_names=True)
    assert model.config.type_vector_size == 16
    for i, name in ((0, "physical"), (7, "museum, building, organization")):
        ids = tokenizer(name, return_tensors="pt")
        with torch.no_grad():
            state = model.encoder(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"]).last_hidden_state
        expected = torch.nn.functional.normalize(state[0].mean(0), dim=0)
        close(model.type_head.score.weight[i].detach(), expected)


def test_names_are_embedded_in_their_order_whatever_the_batches(model, tokenizer):
    names = ["a", "long name of a type", "b b", "c", "another name"]
    alone = torch.cat([embed_names(model.encoder, tokenizer, [name]) for name in names])
    close(embed_names(model.encoder, tokenizer, names, batch_size=2), alone)


def test_a_model_without_types_says_how_to_give_them():
    with pytest.raises(ValueError, match=r"a finener model needs types: FinenerConfig\(ontology=Ontology.from_json"):
        FinenerForTokenClassification(FinenerConfig())


# -------------------------------------------------------------------- saving and loading


def test_a_saved_model_comes_back_bit_equal(tmp_path, tokenizer, knobs):
    model = tiny.tiny_model(tokenizer, **knobs)
    model.save_pretrained(tmp_path)
    again, loading = FinenerForTokenClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(loading.values()), loading
    stored = load_file(tmp_path / "model.safetensors")
    assert set(stored) == set(again.state_dict()) == set(model.state_dict())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    expected, found = (outputs(m, tokenizer, *tiny.GOLD) for m in (model, again))
    close(found.logits, expected.logits)  # not bit-equal: memory of files is aligned otherwise, and kernels mind
    close(found.type_logits, expected.type_logits)


def test_a_saved_folder_is_a_whole_hub_repo(tmp_path, model):
    model.save_pretrained(tmp_path)
    modules = {
        f"{name}_finener.py" for name in ("configuration", "decoding", "layers", "modeling", "ontology", "pipeline")
    }
    files = {file.name for file in tmp_path.iterdir()}
    assert files == modules | {"handler.py", "config.json", "ontology.json", "model.safetensors"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "asked for"])
def test_half_precision_reloads_finite_with_the_crf_in_full_precision(tmp_path, tokenizer, knobs, dtype, stored):
    model = tiny.tiny_model(tokenizer, **knobs)
    crf = {name: p.clone() for name, p in model.crf.state_dict().items()}
    (model.to(dtype) if stored else model).save_pretrained(tmp_path)
    asked = {} if stored else {"dtype": dtype}
    again = FinenerForTokenClassification.from_pretrained(tmp_path, **asked)
    assert again.encoder.dtype == again.tagger.weight.dtype == again.type_head.score.weight.dtype == dtype
    for name, p in again.crf.state_dict().items():
        assert p.dtype == torch.float32
        assert torch.equal(p, crf[name].to(dtype).float() if stored else crf[name])
    output = outputs(again, tokenizer, *tiny.GOLD, EMPTY)
    assert output.logits.dtype == dtype and len(output.mention_spans)
    assert all(v.isfinite().all() for k, v in output.items() if isinstance(v, Tensor))
    assert ((output.mention_scores >= 0) & (output.mention_scores <= 1)).all()
    assert all(model.select_types(output))


# -------------------------------------------------------------------- a conversion head for a model that has none


def test_add_conversion_leaves_the_source_side_as_it_was(model, tokenizer, target):
    before = outputs(model, tokenizer, LONG)
    model.add_conversion(target, conversion_hidden_size=5, soft_loss_decay=0.25)
    after = outputs(model, tokenizer, LONG)
    assert torch.equal(before.logits, after.logits) and torch.equal(before.type_logits, after.type_logits)
    assert after.target_type_logits.shape == (len(after.mention_spans), len(target))
    assert model.conversion.hidden.out_features == 5
    weights = target.soft_label_weights(0.25)
    assert torch.equal(model.conversion.credit, weights / weights.sum(1, keepdim=True))
    assert model.config.target_ontology is target and model.config.lstm_hidden_size == 8


def test_add_conversion_replaces_a_head_that_is_there(target_model, tokenizer, source):
    target_model.add_conversion(source, conversion_input="logits+mention")
    output = outputs(target_model, tokenizer, LONG)
    assert output.target_type_logits.shape[1] == len(source)
    assert target_model.conversion.hidden.in_features == 10 + 16


def test_add_conversion_refuses_a_bad_knob(model, target):
    with pytest.raises(ValueError, match="soft_loss_decay must lie in"):
        model.add_conversion(target, soft_loss_decay=2.0)
    assert model.conversion is None and model.config.target_ontology is None


@pytest.mark.parametrize("norm", [True, False])
def test_conversion_reads_the_logits_as_they_are_or_normalised(tokenizer, norm):
    model = tiny.tiny_model(tokenizer, target=True, conversion_norm=norm)
    output, head = outputs(model, tokenizer, LONG), model.conversion
    logits = output.type_logits
    if norm:
        logits = (logits - logits.mean(1, keepdim=True)) / (logits.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    hidden = (logits @ head.hidden.weight.T + head.hidden.bias).clamp(min=0)
    expected = (hidden @ head.score.weight.T + head.score.bias).masked_fill(~head.assignable, FORBIDDEN)
    assert len(expected)
    close(output.target_type_logits, expected.detach())


def test_target_vectors_may_start_from_the_target_types_names(model, tokenizer, target):
    model.add_conversion(target, names_by=tokenizer)
    assert model.config.target_vector_size == 16
    expected = embed_names(model.encoder, tokenizer, [target.name_path(t) for t in target.ids])
    close(model.conversion.score.weight.detach(), expected)
    with pytest.raises(ValueError, match="vectors that start from names have the encoder's size, 16; got 5"):
        model.add_conversion(target, names_by=tokenizer, target_vector_size=5)


def test_with_a_skip_connection_a_new_head_types_with_the_source_heads_vectors(tokenizer, source):
    model = tiny.tiny_model(tokenizer, type_vector_size=16)
    model.add_conversion(source, target_vector_size=16, conversion_skip=True, target_activation="sigmoid")
    model.conversion.score.load_state_dict(model.type_head.score.state_dict())
    output = outputs(model, tokenizer, LONG)
    close(output.target_type_logits, output.type_logits)
    model.conversion.project.weight.data.normal_()
    assert not torch.allclose(outputs(model, tokenizer, LONG).target_type_logits, output.type_logits)


def test_target_types_may_start_at_the_source_types_that_a_table_maps_to_them(tokenizer, source, target):
    model = tiny.tiny_model(tokenizer, type_vector_size=16)
    model.add_conversion(target, target_vector_size=16, conversion_skip=True, target_activation="sigmoid")
    before = model.conversion.score.weight.detach().clone()
    table = TypeMapping(source, target, [("artist", "per.artist.painter", 1.0), ("place", "loc", 0.5)])
    assert start_at_mapping(model, table) == 4, "painter, artist and per above it, loc"
    own, theirs = model.conversion.score, model.type_head.score
    for target_id, source_id in (("per.artist.painter", "artist"), ("per", "artist"), ("loc", "place")):
        close(own.weight[target.index(target_id)], theirs.weight[source.index(source_id)])
        close(own.bias[target.index(target_id)], theirs.bias[source.index(source_id)])
    close(own.weight[target.index("loc.city")], before[target.index("loc.city")])
    output = outputs(model, tokenizer, LONG)
    close(output.target_type_logits[:, target.index("loc")], output.type_logits[:, source.index("place")])
    assert len(output.type_logits)


def test_a_new_conversion_head_takes_no_threshold_over_from_the_one_before(tokenizer, target, tmp_path):
    model = tiny.tiny_model(tokenizer, target=True)
    model.config.target_type_threshold = {"default": 0.4, "levels": [], "types": {"per": 0.3}}
    other = Ontology("other", [EntityType("name")])
    for activation, expected in (("softmax", 0.0), ("sigmoid", 0.5)):
        model.add_conversion(other, target_activation=activation)
        assert model.config.target_type_threshold == expected
    model.add_conversion(target, target_activation="sigmoid", target_type_threshold=0.0)
    model.save_pretrained(tmp_path)
    assert FinenerConfig.from_pretrained(tmp_path).target_type_threshold == 0.0, "what was asked for, not the default"


def test_a_table_that_does_not_fit_the_model_starts_nothing(tokenizer, source, target):
    table = TypeMapping(source, target, [("place", "loc", 1.0)])
    model = tiny.tiny_model(tokenizer, type_vector_size=16)
    model.add_conversion(target, target_vector_size=16)
    with pytest.raises(ValueError, match="where they meet the source head's: set conversion_skip"):
        start_at_mapping(model, table)
    model.add_conversion(target, target_vector_size=16, conversion_skip=True)
    with pytest.raises(ValueError, match="the mapping goes tgt → src, not between this model's types"):
        start_at_mapping(model, TypeMapping(target, source, [("loc", "place", 1.0)]))


def test_biases_may_start_at_each_types_share(model, tokenizer, target):
    shares = torch.linspace(0.1, 0.9, len(model.config.ontology))
    start_at_shares(model, shares)
    close(model.type_head.score.bias.detach().sigmoid(), shares)
    for activation, back in (("sigmoid", torch.sigmoid), ("softmax", torch.exp)):
        model.add_conversion(target, target_activation=activation)
        start_at_shares(model, shares[: len(target)])
        close(back(model.conversion.score.bias.detach()), shares[: len(target)])
    for bad in (shares[:3], torch.zeros(len(target)), torch.ones(len(target))):
        with pytest.raises(ValueError, match="shares between 0 and 1"):
            start_at_shares(model, bad)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_target_of_one_type_is_that_type_for_every_mention(tokenizer, activation):
    only = Ontology("tgt", [EntityType("name")])
    model = tiny.tiny_model(tokenizer, target_ontology=only, target_activation=activation)
    gold = {text: {name: (types[0], "name") for name, types in names.items()} for text, names in tiny.GOLD.items()}
    batch = tiny.gold_batch(model, tokenizer, gold)
    first = model(**batch).losses["conversion"].item()
    assert (first == 0.0) == (activation == "softmax")  # nothing to choose
    train(model, batch, steps=30)
    output = model(**batch)
    assert output.losses["conversion"].item() <= first and model.select_types(output) == [
        {"name": pytest.approx(1.0, abs=0.2)} for _ in range(7)
    ]


# -------------------------------------------------------------------- W of the soft loss


def test_other_soft_loss_weights_are_scaled_stored_and_come_back(target_model, tokenizer, target, tmp_path):
    weights = torch.zeros(10, 10)
    weights[range(10), range(10)] = 2.0
    weights[:, 1] = 1.0  # per.artist, which is not assignable
    weights[4, 0], weights[4, 5] = 1.0, 1.0  # per.politician → per, org
    target_model.set_soft_loss_weights(weights)
    target_model.save_pretrained(tmp_path)
    again = FinenerForTokenClassification.from_pretrained(tmp_path)
    for model in (target_model, again):
        credit = model.conversion.credit
        expected = torch.eye(10)
        expected[1] = torch.eye(10)[1]
        expected[4, [4, 0, 5]] = torch.tensor([0.5, 0.25, 0.25])
        assert torch.equal(credit, expected)
    log_p = (output := target_model(**tiny.gold_batch(target_model, tokenizer))).target_type_logits.log_softmax(1)
    loss = -sum((expected[gold] @ log_p[mention]).item() for mention, gold in enumerate(gold_of(target_model)))
    assert output.losses["conversion"].item() == pytest.approx(loss / 7, rel=1e-5)


def zero_row(weights: Tensor) -> Tensor:
    weights[4] = 0.0
    weights[4, 1] = 1.0  # credit for a type that is never predicted is none
    return weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w[:9], r"must be 10 × 10; got \(9, 10\)"),
        (zero_row, r"weights of per\.politician are all zero"),
        (lambda w: w - 0.1, "finite and at least 0"),
        (lambda w: w / 0.0, "finite and at least 0"),
    ],
    ids=["shape", "zero row", "negative", "not finite"],
)
def test_bad_soft_loss_weights_are_told_and_change_nothing(target_model, change, message):
    before = target_model.conversion.credit.clone()
    with pytest.raises(ValueError, match=message):
        target_model.set_soft_loss_weights(change(torch.eye(10)))
    assert torch.equal(target_model.conversion.credit, before)


@pytest.mark.parametrize("knobs", [{}, {"target": True, "target_activation": "sigmoid"}], ids=["no head", "sigmoid"])
def test_only_softmax_targets_have_soft_loss_weights(tokenizer, knobs):
    with pytest.raises(ValueError, match="only softmax targets have a soft loss"):
        tiny.tiny_model(tokenizer, **knobs).set_soft_loss_weights(torch.eye(10))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_converted_model_is_saved_and_comes_back(tmp_path, model, tokenizer, target, dtype):
    model.save_pretrained(tmp_path / "before")
    converted = FinenerForTokenClassification.from_pretrained(tmp_path / "before", dtype=dtype)
    converted.add_conversion(target)
    expected = outputs(converted, tokenizer, LONG)
    converted.save_pretrained(tmp_path / "after")
    again = FinenerForTokenClassification.from_pretrained(tmp_path / "after")
    found = outputs(again, tokenizer, LONG)
    assert again.dtype == dtype and found.target_type_logits.dtype == dtype
    torch.testing.assert_close(found.target_type_logits, expected.target_type_logits)
    assert again.config.target_ontology.digest == target.digest

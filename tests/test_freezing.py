import pytest
import torch
from transformers import DistilBertConfig

from finener.configuration_finener import FinenerConfig
from finener.modeling_finener import FinenerForTokenClassification
from finener.pipeline_finener import FinenerPipeline

import tiny


def test_four_sentences_are_learned_by_heart(tokenizer):
    learner = {"encoder_layers": (0, -1), "lstm_hidden_size": 24, "lstm_layers": 1, "soft_loss_decay": 0.0}
    model = tiny.tiny_model(tokenizer, target=True, **learner, encoder_dropout=0.0, lstm_dropout=0.0)
    batch = tiny.gold_batch(model, tokenizer)
    before = model(**batch).losses
    tiny.train(model, batch, steps=120, lr=0.03)
    after = model(**batch).losses
    assert all(after[name] < 0.05 < 0.5 < before[name] for name in ("detection", "typing", "conversion")), after
    pipeline = FinenerPipeline(model=model, tokenizer=tokenizer)
    for head, which in (("source", 0), ("target", 1)):
        found = {text: {m["word"]: m["entity_group"] for m in pipeline(text, head=head)} for text in tiny.GOLD}
        assert found == {text: {name: t[which] for name, t in names.items()} for text, names in tiny.GOLD.items()}


def test_every_parameter_changes_in_one_training_step(tokenizer, knobs):
    model = tiny.tiny_model(tokenizer, **knobs)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    tiny.train(model, tiny.gold_batch(model, tokenizer), steps=1)
    assert [name for name, p in model.named_parameters() if torch.equal(p, before[name])] == []


def test_frozen_detection_is_bit_equal_after_training_the_types(tokenizer, knobs):
    model = tiny.tiny_model(tokenizer, **knobs)
    batch = tiny.gold_batch(model, tokenizer)
    before, decoded = tiny.outputs(model, tokenizer, *tiny.GOLD), model(**batch)
    model.freeze("detection")
    tiny.train(model, batch, steps=3)
    after = tiny.outputs(model, tokenizer, *tiny.GOLD)
    assert torch.equal(before.logits, after.logits)
    assert torch.equal(before.mention_spans, after.mention_spans)
    assert torch.equal(before.mention_scores, after.mention_scores)
    assert not torch.equal(decoded.type_logits, model(**batch).type_logits)


def test_a_frozen_encoder_stays_while_the_rest_is_trained(model, tokenizer):
    encoder = {name: p.clone() for name, p in model.encoder.state_dict().items()}
    tagger = model.tagger.weight.detach().clone()
    model.freeze("encoder")
    tiny.train(model, tiny.gold_batch(model, tokenizer), steps=1)
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
    tiny.train(model, tiny.gold_batch(model, tokenizer), steps=1)
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

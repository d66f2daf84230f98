import pytest
import torch
from transformers import FlaubertConfig

from finener.configuration_finener import FinenerConfig
from finener.modeling_finener import FinenerForTokenClassification

import tiny


def test_outputs_of_a_record_do_not_depend_on_the_padding_beside_it(any_tokenizer, knobs):
    model = tiny.tiny_model(any_tokenizer, **knobs)
    together = tiny.outputs(model, any_tokenizer, tiny.SHORT, tiny.LONG, tiny.EMPTY)
    found = 0
    for record, text in enumerate((tiny.SHORT, tiny.LONG)):
        alone = tiny.outputs(model, any_tokenizer, text)
        own = together.mention_spans[:, 0] == record
        assert torch.equal(together.mention_spans[own, 1:], alone.mention_spans[:, 1:])
        width = alone.logits.shape[1]
        tiny.close(together.logits[record, :width], alone.logits[0])
        for name in ("type_logits", "target_type_logits", "mention_scores"):
            if getattr(alone, name) is not None:
                tiny.close(getattr(together, name)[own], getattr(alone, name))
        found += len(alone.mention_spans)
    assert found, "the random model must find something to compare"


@pytest.mark.parametrize("texts", [(tiny.EMPTY,), ("", tiny.SHORT), (tiny.SHORT, tiny.EMPTY, tiny.LONG)])
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
    output = model(**tiny.gold_batch(model, tokenizer, {"Nobody came.": {}, tiny.LONG: {}}))
    assert output.type_logits.shape == (0, 10)
    assert all(loss == 0 for name, loss in output.losses.items() if name != "detection")
    assert output.losses["detection"] > 0 and output.loss == output.losses["detection"]
    output.loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert not model.type_head.score.weight.grad.any() and model.tagger.weight.grad.any()


def test_states_that_were_computed_before_replace_the_encoder(tokenizer, knobs):
    model = tiny.tiny_model(tokenizer, **knobs)
    batch = tiny.text_batch(model, tokenizer, tiny.SHORT, tiny.LONG)
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


# -------------------------------------------------------------------- in steps


def test_evaluation_judges_gold_and_decoded_spans_of_one_reading(target_model, tokenizer):
    batch = tiny.gold_batch(target_model, tokenizer)
    texts = {k: v for k, v in batch.items() if "labels" not in k and k != "mention_spans"}
    gold = {k: v for k, v in batch.items() if k not in texts}
    runs = []
    target_model.encoder.register_forward_hook(lambda *_: runs.append(1))
    with torch.no_grad():
        reading = target_model.read(**texts)
        given, found = target_model.judge(reading, **gold), target_model.judge(reading)
        assert len(runs) == 1
        for judged, whole in ((given, target_model(**batch)), (found, target_model(**texts))):
            assert torch.equal(judged.mention_spans, whole.mention_spans)
            assert torch.equal(judged.target_type_logits, whole.target_type_logits)
            assert judged.loss == whole.loss


# -------------------------------------------------------------------- as transformers' models


def test_what_a_tokenizer_gives_is_not_enough_and_the_error_names_the_pipeline(model, tokenizer):
    with pytest.raises(ValueError, match=r"reads words, not sub-tokens alone: call pipeline\('token-classification'"):
        model(**tokenizer("Frida Kahlo", return_tensors="pt"))


def test_word_shapes_are_needed_only_where_they_are_read(model, tokenizer):
    batch = tiny.text_batch(model, tokenizer, tiny.LONG)
    shapes = batch.pop("word_shapes")
    assert torch.equal(model(**batch).logits, model(**batch, word_shapes=shapes).logits)
    reader = tiny.tiny_model(tokenizer, use_word_shape=True)
    with pytest.raises(ValueError, match="give word_shapes"):
        reader(**batch)


@pytest.mark.parametrize("layers", [[-1], [0, 1]])
def test_the_encoders_states_and_attentions_come_when_they_are_asked_for(tokenizer, layers):
    model = tiny.tiny_model(tokenizer, encoder_layers=layers, attn_implementation="eager")
    batch = tiny.text_batch(model, tokenizer, tiny.LONG)
    plain = model(**batch, output_hidden_states=None, output_attentions=None, return_dict=None, inputs_embeds=None)
    assert plain.hidden_states is None and plain.attentions is None
    full = model(**batch, output_hidden_states=True, output_attentions=True)
    n = batch["input_ids"].shape[1]
    assert [h.shape for h in full.hidden_states] == [(1, n, 16)] * 3
    assert [a.shape for a in full.attentions] == [(1, 2, n, n)] * 2
    assert torch.equal(plain.logits, full.logits)
    model.config.output_hidden_states = True
    assert len(model(**batch).hidden_states) == 3
    as_tuple = model(**batch, return_dict=False)
    assert isinstance(as_tuple, tuple) and torch.equal(as_tuple[0], plain.logits)


def test_embeddings_may_be_given_in_place_of_tokens(model, tokenizer):
    batch = tiny.text_batch(model, tokenizer, tiny.LONG)
    expected = model(**batch).logits
    ids = batch.pop("input_ids")
    assert torch.equal(model(**batch, inputs_embeds=model.get_input_embeddings()(ids)).logits, expected)


def test_new_tokens_reach_the_encoders_config(model, tmp_path):
    before = model.config.encoder_config.vocab_size
    assert model.resize_token_embeddings(before + 3).num_embeddings == before + 3
    assert model.encoder.config.vocab_size == before + 3 and "vocab_size" not in vars(model.config)
    model.save_pretrained(tmp_path)
    again = FinenerForTokenClassification.from_pretrained(tmp_path)
    assert torch.equal(again.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_gradient_checkpointing_changes_no_gradient(tokenizer):
    model = tiny.tiny_model(tokenizer, encoder_dropout=0.0, lstm_dropout=0.0)
    batch, gradients = tiny.gold_batch(model, tokenizer), []
    for module in model.encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for checkpointed in (False, True):
        if checkpointed:
            is_new = hasattr(model, "activation_checkpointing_enable")  # its name in newer transformers
            enable = model.activation_checkpointing_enable if is_new else model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        model.train().zero_grad()
        model(**batch).loss.backward()
        gradients.append([p.grad.clone() for p in model.encoder.parameters()])
    assert model.is_activation_checkpointing if is_new else model.is_gradient_checkpointing
    for plain, again in zip(*gradients, strict=True):
        tiny.close(plain, again)


def test_a_model_supports_what_its_encoder_supports(model, tokenizer, source):
    names = ("supports_gradient_checkpointing", "_supports_sdpa", "_supports_flash_attn", "_supports_flex_attn")
    assert all(getattr(model, name) for name in names), "as BERT does"
    encoder = FlaubertConfig(emb_dim=16, n_layers=1, n_heads=2, n_words=20)
    other = FinenerForTokenClassification(FinenerConfig(encoder, source))
    assert [getattr(other, name) for name in names] == [getattr(other.encoder, name) for name in names]
    assert not other._supports_flex_attn

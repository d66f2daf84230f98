"""A frozen encoder's states, computed once."""

from __future__ import annotations

import gc

import pytest
import torch

from finener.layers_finener import LOSS_PARTS
from finener.training import encoder_states
from finener.training.arguments import ArgumentError
from finener.training.collator import model_inputs
from finener.training.encoder_states import WordStateCache, encoder_digest
from finener.windows_finener import TextEncoder

import tiny
from runs import SOURCE, TARGET, collate, parameters, record, still_model, trainer


@pytest.mark.parametrize("layers", [[-1], [-1, 1]])
def test_cached_states_give_the_same_losses_and_predictions_without_running_the_encoder(
    tokenizer, tmp_path, monkeypatch, layers
):
    model = tiny.tiny_model(tokenizer, target=True, encoder_layers=layers)
    model.freeze("encoder")
    records = [*SOURCE, *TARGET, record("empty", " ")]
    cache = WordStateCache(tmp_path / "states")
    cache.build([r["text"] for r in records], model, TextEncoder(tokenizer, model.config), batch_size=3)
    plain = collate(model, tokenizer, records)
    cached = collate(model, tokenizer, records, cache)
    assert cached["word_states"].dtype == torch.float16
    assert cached["word_states"].shape == (*plain["word_starts"].shape, 16 * len(layers))
    plain, cached = model_inputs(plain), model_inputs(cached)
    expected = model(**plain)

    def refuse(*args, **kwargs):
        raise AssertionError("the encoder ran")

    monkeypatch.setattr(model.encoder, "forward", refuse)
    with pytest.raises(AssertionError, match="the encoder ran"):
        model(**plain)
    output = model(**cached)
    assert set(output.losses) == set(LOSS_PARTS)
    for part in LOSS_PARTS:
        assert output.losses[part].item() == pytest.approx(expected.losses[part].item(), rel=2e-3)
    torch.testing.assert_close(output.logits, expected.logits, rtol=0, atol=5e-3)
    assert model.select_types(output) != [] and [list(t) for t in model.select_types(output)] == [
        list(t) for t in model.select_types(expected)
    ]


def test_no_more_texts_than_a_file_holds_are_tokenized_at_a_time(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(encoder_states, "TEXTS_OF_A_FILE", 2)
    model = tiny.tiny_model(tokenizer)
    cache, texts = WordStateCache(tmp_path), [tiny.LONG, tiny.SHORT, " ", "Ada left", tiny.SHORT, "Ada"]
    cache.build(texts, model, TextEncoder(tokenizer, model.config))
    assert len(list(tmp_path.glob("*.states"))) == len(list(tmp_path.glob("*.json"))) == 3
    again = WordStateCache(tmp_path)
    monkeypatch.setattr(model.encoder, "forward", None)  # calling it would raise
    again.build(texts, model, TextEncoder(tokenizer, model.config))
    assert all(torch.equal(cache[text], again[text]) for text in texts)
    assert [len(again[text]) for text in ("Ada", "Ada left", " ")] == [1, 2, 0]


def test_training_and_evaluation_read_the_states_alone(tokenizer, tmp_path, monkeypatch):
    model = still_model(tokenizer)
    plain = trainer(model, tokenizer, tmp_path, SOURCE, SOURCE, freeze="encoder", cache_encoder_states=False).evaluate()
    changes = {"freeze": "encoder", "encoder_states_folder": str(tmp_path / "states"), "max_steps": 2}
    trainer(model, tokenizer, tmp_path, SOURCE, SOURCE, **changes).get_train_dataloader()
    assert len(list((tmp_path / "states").glob("*.states"))) == 1
    monkeypatch.setattr(model.encoder, "forward", None)  # calling it would raise
    run = trainer(model, tokenizer, tmp_path, SOURCE, SOURCE, **changes)
    before = parameters(model)
    metrics = run.evaluate()
    assert {k for k in plain if k.endswith("f1")} and all(
        metrics[k] == plain[k] for k in plain if k.endswith(("f1", "precision", "recall"))
    )
    run.train()
    changed = {name.split(".")[0] for name, p in parameters(model).items() if not torch.equal(p, before[name])}
    assert "lstm" in changed and "encoder" not in changed


def test_bfloat16_is_the_encoders_alone_and_its_states_are_kept_apart(tokenizer, tmp_path):
    folder, seen = tmp_path / "states", []
    for dtype in ("float32", "bfloat16"):
        model = still_model(tokenizer)
        settings = {"freeze": "encoder", "encoder_states_folder": str(folder), "encoder_dtype": dtype}
        run = trainer(model, tokenizer, tmp_path, SOURCE, SOURCE, **settings)
        assert all(p.dtype == torch.float32 for p in model.parameters())
        batch = next(iter(run.get_train_dataloader()))
        seen.append((batch["word_states"].float(), run.evaluate()["eval_loss"]))
    (exact, loss), (rounded, near) = seen
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.05)
    assert near == pytest.approx(loss, rel=0.02) and near != loss
    assert len({file.name.partition("-")[0] for file in folder.glob("*.json")}) == 2
    with pytest.raises(ArgumentError, match="encoder_dtype must be one of float32, bfloat16; got 'fp16'"):
        trainer(model, tokenizer, tmp_path, SOURCE, encoder_dtype="fp16")


def test_a_trained_encoder_gets_its_gradients_in_bfloat16_too(tokenizer, tmp_path):
    model = still_model(tokenizer)
    before = parameters(model)
    trainer(model, tokenizer, tmp_path, SOURCE, freeze="nothing", encoder_dtype="bfloat16", max_steps=2).train()
    changed = {name.split(".")[0] for name, p in parameters(model).items() if not torch.equal(p, before[name])}
    assert {"encoder", "lstm"} <= changed
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_the_encoder_is_hashed_once_for_each_set_of_records_however_often_it_is_evaluated(
    tokenizer, tmp_path, monkeypatch
):
    hashed, digest = [], encoder_states.encoder_digest
    monkeypatch.setattr(encoder_states, "encoder_digest", lambda *args: hashed.append(1) or digest(*args))
    changes = {"freeze": "encoder", "num_train_epochs": 4, "eval_strategy": "epoch"}
    run = trainer(still_model(tokenizer), tokenizer, tmp_path, SOURCE, SOURCE[:3], **changes)
    run.train()
    assert len([row for row in run.state.log_history if "eval_score" in row]) == 4 and len(hashed) == 2
    run.evaluate()
    assert len(hashed) == 3, "after training the encoder may have changed"


def test_states_that_no_folder_was_named_for_are_gone_with_the_trainer(tokenizer, tmp_path):
    run = trainer(still_model(tokenizer), tokenizer, tmp_path, SOURCE, SOURCE, freeze="encoder")
    run.evaluate()
    folder = run._states.cache.folder
    assert list(folder.glob("*.states"))
    del run
    gc.collect()
    assert not folder.exists()


def test_states_that_half_precision_can_not_hold_are_an_error(tokenizer, tmp_path):
    model = still_model(tokenizer)
    model.encoder.encoder.layer[-1].output.LayerNorm.weight.data.fill_(1e6)
    with pytest.raises(FloatingPointError, match=r"such as .* do not fit half precision.*cache_encoder_states: false"):
        WordStateCache(tmp_path / "states").build(["Ann left"], model, TextEncoder(tokenizer, model.config))
    assert not list((tmp_path / "states").glob("*.json"))


def test_states_are_kept_in_a_folder_and_depend_on_the_text_alone(tokenizer, tmp_path, monkeypatch):
    model, texts = still_model(tokenizer), [r["text"] for r in [*SOURCE, *TARGET]]
    encoder, first = TextEncoder(tokenizer, model.config), WordStateCache(tmp_path / "states")
    first.build(texts, model, encoder)
    other_order = WordStateCache(tmp_path / "other")
    other_order.build(texts[:1], model, encoder)
    other_order.build(texts[::-1], model, encoder, batch_size=1)
    assert len(set(texts)) > 3 and all(torch.equal(first[text], other_order[text]) for text in texts)
    with monkeypatch.context() as patched:
        patched.setattr(model.encoder, "forward", None)  # calling it would raise
        kept = WordStateCache(tmp_path / "states")
        kept.build(texts[1:], model, encoder)
    assert all(torch.equal(first[text], kept[text]) for text in texts)


def test_another_encoder_does_not_read_the_states_in_a_folder(tokenizer, tmp_path):
    model, text = still_model(tokenizer), SOURCE[0]["text"]
    before, after = WordStateCache(tmp_path / "states"), WordStateCache(tmp_path / "states")
    before.build([text], model, TextEncoder(tokenizer, model.config))
    next(model.encoder.parameters()).data.mul_(2.0)
    after.build([text], model, TextEncoder(tokenizer, model.config))
    assert not torch.equal(before[text], after[text])


def test_the_digest_of_an_encoder_follows_from_all_of_its_state_scalars_too(tokenizer):
    digests = []
    for scale in (1.0, 1.0, 2.0):
        torch.manual_seed(0)
        model = tiny.tiny_model(tokenizer)
        model.encoder.register_buffer("scale", torch.tensor(scale))
        digests.append(encoder_digest(model, TextEncoder(tokenizer, model.config)))
    assert digests[0] == digests[1] != digests[2]


def test_a_text_that_was_not_cached_is_an_error(model, tokenizer, tmp_path):
    cache = WordStateCache(tmp_path / "states")
    cache.build([SOURCE[0]["text"]], model, TextEncoder(tokenizer, model.config))
    with pytest.raises(KeyError):
        collate(model, tokenizer, [SOURCE[1]], cache)


def test_states_of_weights_that_have_changed_since_are_not_read(tokenizer, tmp_path):
    model = still_model(tokenizer)
    made = trainer(model, tokenizer, tmp_path, dev=SOURCE, freeze="encoder")
    before = made.evaluate()["eval_loss"]
    with torch.no_grad():
        for values in model.encoder.parameters():
            values.mul_(2)
    fresh = trainer(model, tokenizer, tmp_path, dev=SOURCE, freeze="encoder").evaluate()["eval_loss"]
    assert made.evaluate()["eval_loss"] == fresh != before

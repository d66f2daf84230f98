"""Fine-tuning with a memory of the source types: they stay where they were, however batches are cut."""

from __future__ import annotations

import math

import pytest
import torch

from finener.layers_finener import flat_spans
from finener.training.arguments import ArgumentError
from finener.training.memory import SourceMemory, memory_loss

import tiny
from runs import (
    FROM_GIVEN,
    MORE_TARGET,
    TARGET,
    collate,
    parameters,
    record,
    results_of,
    run,
    says,
    still_model,
    trainer,
)

RECORDS = [*TARGET, *MORE_TARGET]


def source_logits(model, tokenizer, records):
    """Raw source logits of the records' mentions, (M, C)."""
    batch = collate(model, tokenizer, records)
    keys = ("input_ids", "attention_mask", "word_starts", "word_shapes")
    with torch.no_grad():
        reading = model.eval().read(**{key: batch[key] for key in keys})
        return model.type_mentions(reading.word_states, reading.states, flat_spans(batch["mention_spans"]))[0]


def fine_tuned(tokenizer, folder, memory_weight, **changes):
    """A model that was fine-tuned, its source logits before and after, and the log's last losses."""
    model = still_model(tokenizer, target=True)
    before = source_logits(model, tokenizer, RECORDS)
    options = {"max_steps": 30, "per_device_train_batch_size": 8, "learning_rate": 0.05, "logging_steps": 30} | changes
    tuning = trainer(
        model, tokenizer, folder, RECORDS, weights={"conversion": 1.0}, memory_weight=memory_weight, **options
    )
    tuning.train()
    return model, before, source_logits(model, tokenizer, RECORDS), tuning.state.log_history[0]


def test_the_loss_is_the_divergence_of_each_types_score_from_what_it_was():
    before = torch.tensor([[0.0, math.log(3.0)], [1.0, -2.0]])  # 1/2 and 3/4
    now = torch.tensor([[math.log(3.0), 0.0], [1.0, -2.0]], requires_grad=True)
    by_hand = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    by_hand += 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    losses = memory_loss(now, before)
    torch.testing.assert_close(losses, torch.tensor([by_hand, 0.0]))
    losses.sum().backward()
    # of a sigmoid: what it is less what it was
    torch.testing.assert_close(now.grad, torch.tensor([[0.25, -0.25], [0.0, 0.0]]))


@pytest.mark.parametrize("freeze", ["nothing", "encoder"])
def test_source_scores_stay_with_a_memory_and_target_types_are_learnt_still(tokenizer, tmp_path, freeze):
    changes = {"freeze": freeze, "optim": "adamw_torch", "learning_rate": 0.01}
    _, before, without, log = fine_tuned(tokenizer, tmp_path, 0.0, **changes)
    _, _, kept, kept_log = fine_tuned(tokenizer, tmp_path, 10.0, **changes)
    moved, moved_less = ((after.sigmoid() - before.sigmoid()).abs().mean() for after in (without, kept))
    assert moved_less < 0.6 * moved
    assert "loss_memory" not in log and kept_log["loss_memory"] > 0
    assert kept_log["loss_conversion"] < 1.2 * log["loss_conversion"]


def test_accumulating_small_batches_remembers_as_one_large_batch_does(tokenizer, tmp_path):
    once, *_, log = fine_tuned(tokenizer, tmp_path, 0.5, max_steps=3, logging_steps=3)
    for size in (4, 1):
        changes = {"max_steps": 3, "logging_steps": 3, "per_device_train_batch_size": size}
        other, *_, other_log = fine_tuned(tokenizer, tmp_path, 0.5, gradient_accumulation_steps=8 // size, **changes)
        assert other_log["loss_memory"] == pytest.approx(log["loss_memory"], rel=1e-4)
        for name, expected in parameters(once).items():
            torch.testing.assert_close(parameters(other)[name], expected, rtol=1e-4, atol=1e-6)


def test_a_memory_stays_as_it_is_while_the_model_goes_on(tokenizer):
    model = still_model(tokenizer, target=True)
    memory, batch = SourceMemory(model), collate(model, tokenizer, RECORDS)
    before = source_logits(model, tokenizer, RECORDS)
    torch.testing.assert_close(memory.logits(batch), before)
    assert memory.loss(batch, before) == pytest.approx(0.0, abs=1e-6)
    tiny.train(model, tiny.gold_batch(model, tokenizer), steps=2)
    torch.testing.assert_close(memory.logits(batch), before)
    assert memory.loss(batch, source_logits(model, tokenizer, RECORDS)) > 0
    assert all(p.requires_grad for p in model.parameters())


def test_only_a_frozen_encoder_is_shared(tokenizer):
    model = tiny.tiny_model(tokenizer, target=True)
    model.freeze("encoder", unfrozen_layers=1)
    assert SourceMemory(model)._before.encoder is not model.encoder
    assert model.encoder.encoder.layer[-1].output.dense.weight.requires_grad
    model.freeze("encoder")
    assert SourceMemory(model)._before.encoder is model.encoder
    assert model.type_head.score.weight.requires_grad


def test_records_without_mentions_have_nothing_to_remember(tokenizer):
    model = still_model(tokenizer, target=True)
    batch = collate(model, tokenizer, [record("none", "Nobody came.", "tgt")])
    assert SourceMemory(model).loss(batch, torch.zeros(0, 10)).item() == 0.0


def test_a_memory_is_of_fine_tuning(tokenizer, tmp_path, workplace):
    with pytest.raises(
        ArgumentError, match="memory_weight keeps what fine-tuning would forget: leave it out of pretrain"
    ):
        trainer(tiny.tiny_model(tokenizer), tokenizer, tmp_path, weights={"typing": 1.0}, memory_weight=0.1)
    says("leave it out of pretrain", "--phases", "pretrain", "--memory_weight", "0.1")
    with pytest.raises(ArgumentError, match=r"memory_weight must be at least 0; got -0\.1"):
        trainer(tiny.tiny_model(tokenizer, target=True), tokenizer, tmp_path, memory_weight=-0.1)


def test_the_script_remembers_and_logs_it(given):
    run(*FROM_GIVEN, "--memory_weight", "0.1")
    results = results_of(given / "out" / "final")
    assert results["config"]["memory_weight"] == 0.1
    logged = [row["loss_memory"] for row in results["dev"]["curve"] if "loss_memory" in row]
    assert logged and all(0 <= value < 10 for value in logged) and logged[-1] > 0


def test_a_second_training_still_holds_the_model_to_what_it_was_at_first(tokenizer, tmp_path):
    model = still_model(tokenizer, target=True)
    before = source_logits(model, tokenizer, RECORDS)
    settings = {"memory_weight": 0.1, "freeze": "encoder", "max_steps": 3, "learning_rate": 0.05}
    run = trainer(model, tokenizer, tmp_path, RECORDS, **settings)
    run.train()
    assert not torch.equal(source_logits(model, tokenizer, RECORDS), before)
    run.train()
    torch.testing.assert_close(run.memory.logits(collate(model, tokenizer, RECORDS)), before)


def test_a_weight_below_the_gold_types_where_source_types_are_not_trained_is_an_error(tokenizer, tmp_path):
    model = still_model(tokenizer, target=True)
    with pytest.raises(ArgumentError, match="below_gold_weight is of the source types, which are not trained here"):
        trainer(model, tokenizer, tmp_path, RECORDS, weights={"conversion": 1.0}, below_gold_weight=0.0)
    trainer(model, tokenizer, tmp_path, RECORDS, weights={"conversion": 1.0, "typing": 1.0}, below_gold_weight=0.0)

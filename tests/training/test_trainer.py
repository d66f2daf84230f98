"""Training by the trainer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from finener.pipeline_finener import FinenerPipeline
from finener.prediction.records import predict_records
from finener.training.collator import loss_counts, model_inputs
from finener.training.records import mix_records

import tiny
from runs import DEV, SOURCE, TARGET, collate, parameters, still_model, trainer


def emissions(model, tokenizer, records):
    batch = collate(model, tokenizer, records)
    with torch.no_grad():
        return model(**model_inputs(batch)).logits


def untyped(of: dict[str, Any]) -> dict[str, Any]:
    return {**of, "typed": False, "ontology": "", "mentions": [{**m, "types": []} for m in of["mentions"]]}


def test_with_detection_frozen_fine_tuning_leaves_every_emission_bit_equal(tokenizer, tmp_path):
    model = tiny.tiny_model(tokenizer, target=True, encoder_layers=[-1, 1])
    model.freeze("detection")
    emitted, before = emissions(model, tokenizer, DEV[True]), parameters(model)
    weights = {"conversion": 1.0}
    changes = {"optim": "adamw_torch", "weight_decay": 0.1, "max_steps": 5, "per_device_train_batch_size": 2}
    trainer(
        model, tokenizer, tmp_path, TARGET, DEV[True], weights, eval_strategy="steps", eval_steps=2, **changes
    ).train()
    model.eval()
    assert torch.equal(emissions(model, tokenizer, DEV[True]), emitted)
    changed = {name.split(".")[0] for name, p in parameters(model).items() if not torch.equal(p, before[name])}
    assert changed == {"type_head", "conversion"}


def test_both_losses_fall_in_mixed_training_and_are_logged_by_name(tokenizer, tmp_path):
    model = still_model(tokenizer)
    typing = [{**r, "exhaustive": False} for r in SOURCE]
    detection = [untyped(r) for r in SOURCE]
    mixed = mix_records(detection, typing, 0.5, seed=0)
    run = trainer(
        model,
        tokenizer,
        tmp_path,
        mixed,
        optim="adamw_torch",
        learning_rate=0.01,
        num_train_epochs=20,
        per_device_train_batch_size=8,
        logging_strategy="epoch",
    )
    run.train()
    curves = {
        name: [row[f"loss_{name}"] for row in run.state.log_history if f"loss_{name}" in row]
        for name in ("detection", "typing", "conversion")
    }
    assert len(curves["detection"]) == len(curves["typing"]) == 20 and curves["conversion"] == []
    assert curves["detection"][-1] < 0.85 * curves["detection"][0]
    assert curves["typing"][-1] < 0.85 * curves["typing"][0]


def test_neither_task_starves_the_other(tokenizer, tmp_path):
    """With both tasks in an epoch each loss falls nearly as far as without the other, after as many passes over its records."""
    typing = [{**r, "exhaustive": False} for r in SOURCE]
    detection = [untyped(r) for r in SOURCE]
    falls = {}
    for name, records in {
        "detection": detection,
        "typing": typing,
        "both": mix_records(detection, typing, 0.5, 0),
    }.items():
        model = still_model(tokenizer)
        changes = {"optim": "adamw_torch", "learning_rate": 0.01, "num_train_epochs": 60, "logging_strategy": "epoch"}
        run = trainer(model, tokenizer, tmp_path, records, per_device_train_batch_size=len(records) // 2, **changes)
        run.train()
        logged = [row for row in run.state.log_history if "loss" in row]
        assert len(logged) == 60
        falls[name] = {k: logged[0][k] - logged[-1][k] for k in logged[0] if k.startswith("loss_")}
    for task in ("detection", "typing"):
        assert falls["both"][f"loss_{task}"] > 0.7 * falls[task][f"loss_{task}"] > 0.7


def test_one_epoch_trains_on_detection_only_typing_only_and_full_records_at_the_stated_ratio(tokenizer, tmp_path):
    full = SOURCE[:2]  # exhaustive and typed: they train both
    typing = [{**r, "exhaustive": False} for r in SOURCE[3:5]]
    detection = [{**untyped(r), "id": f"{r['id']}!"} for r in SOURCE[5:]]
    mixed = mix_records(detection, [*full, *typing], 0.5, seed=0)
    ids = [r["id"] for r in mixed]
    assert len(ids) == 8 and sum(i.endswith("!") for i in ids) == 4 and set(ids) >= {"s0", "s1", "s3", "s4"}
    run = trainer(still_model(tokenizer), tokenizer, tmp_path, mixed, max_steps=1, per_device_train_batch_size=8)
    counts, sums = [], run._sums
    run.log = lambda logs, *a, **k: counts.append(sums[1].tolist()) if "loss" in logs else None
    run.args.logging_steps = 1
    run.train()
    batch = collate(run.model, tokenizer, mixed)
    assert counts[0] == [*loss_counts(batch, False).tolist(), 0]  # there is no memory
    words = {r["id"]: int((collate(run.model, tokenizer, [r])["labels"] >= 0).sum()) for r in mixed}
    assert all((words[i] > 0) == (i.endswith("!") or i in ("s0", "s1")) for i in ids)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_the_encoder_may_have_a_learning_rate_of_its_own(tokenizer, tmp_path, weight_decay):
    before = parameters(still_model(tokenizer))
    moved = {}
    for rate in (None, 0.01, 0.05):
        model = still_model(tokenizer)
        changes = {"max_steps": 1, "per_device_train_batch_size": 8, "weight_decay": weight_decay}
        run = trainer(model, tokenizer, tmp_path, SOURCE, encoder_learning_rate=rate, **changes)
        run.train()
        groups = run.optimizer.param_groups
        trained = [p for group in groups for p in group["params"]]
        assert len(trained) == len({id(p) for p in trained}) == len(list(model.parameters()))
        moved[rate] = {name: p - before[name] for name, p in parameters(model).items()}
    for name in before:
        factor = 0.2 if name.startswith("encoder.") else 1.0
        torch.testing.assert_close(moved[0.01][name], factor * moved[0.05][name], rtol=1e-3, atol=1e-6)
        factor = 0.1 if name.startswith("encoder.") else 1.0  # the rest's rate is 0.1
        torch.testing.assert_close(moved[0.01][name], factor * moved[None][name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("target", [False, True], ids=["source", "target"])
def test_a_handful_of_sentences_is_learnt_by_heart(tokenizer, tmp_path, target):
    model = still_model(tokenizer, target=target)
    records = TARGET[:3] if target else SOURCE[:5]
    changes = {"optim": "adamw_torch", "learning_rate": 0.01, "max_steps": 120, "per_device_train_batch_size": 8}
    run = trainer(model, tokenizer, tmp_path, records, records, **changes)
    assert run.evaluate()["eval_typed_f1"] < 0.5
    run.train()
    metrics = run.evaluate()
    assert metrics["eval_mention_f1"] == metrics["eval_typed_f1"] == metrics["eval_given_strict"] == 1.0
    pipe = FinenerPipeline(model=model.eval(), tokenizer=tokenizer, device="cpu")
    for gold, found in zip(records, predict_records(pipe, records), strict=True):
        assert [(m["start"], m["end"]) for m in found["mentions"]] == [(m["start"], m["end"]) for m in gold["mentions"]]


def test_an_epoch_shows_every_record_once_and_each_epoch_in_another_order(tokenizer, tmp_path):
    model = tiny.tiny_model(tokenizer)
    run = trainer(model, tokenizer, tmp_path, SOURCE, num_train_epochs=3, per_device_train_batch_size=1)
    seen, collator = [], run.data_collator
    run.data_collator = lambda records: seen.extend(r["id"] for r in records) or collator(records)
    run.train()
    epochs = [seen[i : i + 8] for i in (0, 8, 16)]
    assert [sorted(epoch) for epoch in epochs] == [[r["id"] for r in SOURCE]] * 3
    assert len(set(map(tuple, epochs))) == 3


def test_the_order_of_an_epoch_follows_from_seed_and_epoch_alone(model, tokenizer, tmp_path):
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        torch.rand(3)  # what a process has drawn before must not matter
        run = trainer(model, tokenizer, tmp_path, SOURCE, seed=seed, per_device_train_batch_size=1)
        torch.rand(epoch)
        sampler = run._get_train_sampler()
        sampler.set_epoch(epoch)
        return tuple(sampler)

    assert order(3, 1) == order(3, 1)
    assert len({order(seed, epoch) for seed in (3, 40) for epoch in (0, 1)}) == 4


def test_every_trainable_parameter_moves_in_training(tokenizer, tmp_path):
    model = tiny.tiny_model(tokenizer, target=True, conversion_input="logits+mention", mention_state="lstm+encoder")
    before = parameters(model)
    trainer(model, tokenizer, tmp_path, [*SOURCE, *TARGET], max_steps=3, per_device_train_batch_size=13).train()
    still = {name for name, p in parameters(model).items() if torch.equal(p, before[name])}
    assert {name for name in still if "token_type" not in name} == set()

"""Losses in training: they do not depend on how batches are cut, and stop where they are not finite."""

from __future__ import annotations

import pytest
import torch

from finener.layers_finener import LOSS_PARTS
from finener.training.arguments import ArgumentError
from finener.training.collator import loss_counts, model_inputs

import tiny
from runs import SOURCE, TARGET, collate, parameters, record, still_model, trainer


def after_one_step(tokenizer, folder, records, weights=None, batch_size=8, accumulation=1, settings=None, **knobs):
    model = still_model(tokenizer, target=True, **knobs)
    run = trainer(
        model,
        tokenizer,
        folder,
        records,
        weights=weights,
        max_steps=1,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        logging_steps=1,
        **(settings or {}),
    )
    result = run.train()
    return parameters(model), result.training_loss, run.state.log_history[0]


MIXED = [*SOURCE[:6], *TARGET[:2], *SOURCE[6:], *TARGET[2:3], record("u", "[Ann] left [Bree]", "", exhaustive=True)]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("records", [SOURCE, MIXED[:8], MIXED[2:10]], ids=["one task", "mixed", "other mix"])
def test_accumulating_small_batches_equals_one_large_batch(tokenizer, tmp_path, records, activation):
    """Eight records at once, in fours, in twos and one by one: the same step, whatever each batch holds."""
    assert len(records) == 8
    before = parameters(tiny.tiny_model(tokenizer, target=True))
    once, loss, log = after_one_step(tokenizer, tmp_path, records, target_activation=activation)
    assert max((once[name] - before[name]).abs().max() for name in once) > 0.01
    for batch_size in (4, 2, 1):
        other, other_loss, other_log = after_one_step(
            tokenizer, tmp_path, records, None, batch_size, 8 // batch_size, target_activation=activation
        )
        assert other_loss == pytest.approx(loss, rel=1e-5)
        for name in once:
            torch.testing.assert_close(other[name], once[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
        parts = {k: v for k, v in log.items() if k.startswith("loss_")}
        assert {k: other_log[k] for k in parts} == pytest.approx(parts, rel=1e-5)


def test_accumulation_is_exact_where_types_below_gold_weigh_less(tokenizer, tmp_path):
    settings = {"below_gold_weight": 0.25}
    once, loss, _ = after_one_step(tokenizer, tmp_path, MIXED[:8], settings=settings)
    other, other_loss, _ = after_one_step(tokenizer, tmp_path, MIXED[:8], None, 2, 4, settings)
    plain, plain_loss, _ = after_one_step(tokenizer, tmp_path, MIXED[:8])
    assert other_loss == pytest.approx(loss, rel=1e-5) and loss < plain_loss - 1e-3
    for name in once:
        torch.testing.assert_close(other[name], once[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    assert not torch.allclose(plain["type_head.score.bias"], once["type_head.score.bias"])


def test_the_evaluation_loss_is_that_of_training(tokenizer, tmp_path):
    """Of one step that starts from the evaluated weights, over the same records; and it is less where finer types are not known."""
    losses = {}
    for weight in (0.0, 1.0):
        model = still_model(tokenizer)
        run = trainer(
            model, tokenizer, tmp_path, SOURCE, SOURCE, max_steps=1, logging_steps=1, below_gold_weight=weight
        )
        before = run.evaluate()["eval_loss_typing"]
        run.train()
        losses[weight] = next(log["loss_typing"] for log in run.state.log_history if "loss_typing" in log)
        assert before == pytest.approx(losses[weight], rel=1e-4)
    assert losses[0.0] < losses[1.0]


@pytest.mark.parametrize("weight", [-0.1, 1.5, float("nan")])
def test_a_weight_out_of_range_is_refused(tokenizer, tmp_path, weight):
    with pytest.raises(ArgumentError, match=r"below_gold_weight must lie in \[0, 1\]; got"):
        trainer(still_model(tokenizer), tokenizer, tmp_path, SOURCE, below_gold_weight=weight)


def test_each_part_is_averaged_over_what_it_counts(tokenizer):
    model = tiny.tiny_model(tokenizer, target=True)
    records = [SOURCE[0], TARGET[0], TARGET[3], record("n", "[Ann|person] left us", exhaustive=False)]
    batch = collate(model, tokenizer, records)
    output = model(**model_inputs(batch))
    # words of the three exhaustive records; artist 3 + person 2 + company 3 + person 2; mentions with target types
    by_hand = {"detection": 6 + 6 + 4, "typing": 10, "conversion": 5}
    assert {k: v.item() for k, v in output.counts.items()} == by_hand
    assert loss_counts(batch, target_is_closed=False).tolist() == list(by_hand.values())
    sigmoid = tiny.tiny_model(tokenizer, target=True, target_activation="sigmoid")
    batch = collate(sigmoid, tokenizer, records)
    output = sigmoid(**model_inputs(batch))
    # painter 3 + politician 2 + company 2; singer and politician 4; city 2
    assert output.counts["conversion"].item() == 13
    assert loss_counts(batch, target_is_closed=True).tolist() == [16, 10, 13]


@pytest.mark.parametrize("part", LOSS_PARTS)
def test_a_weight_scales_its_own_part_and_no_other(tokenizer, tmp_path, part):
    records = [*SOURCE[:4], *TARGET[:4]]
    losses = {}
    for weight in (0.0, 1.0, 2.5):
        weights = dict.fromkeys(LOSS_PARTS, 1.0) | {part: weight}
        _, losses[weight], log = after_one_step(tokenizer, tmp_path, records, weights)
        parts = {name: log[f"loss_{name}"] for name in LOSS_PARTS}
        assert losses[weight] == pytest.approx(sum(weights[name] * parts[name] for name in LOSS_PARTS), rel=1e-4)
    assert losses[2.5] - losses[1.0] == pytest.approx(1.5 * (losses[1.0] - losses[0.0]), rel=1e-3)


def test_a_part_that_is_not_named_weighs_nothing(tokenizer, tmp_path):
    before = parameters(tiny.tiny_model(tokenizer, target=True))
    after, loss, log = after_one_step(tokenizer, tmp_path, SOURCE, {"detection": 1.0})
    assert loss == pytest.approx(log["loss_detection"], rel=1e-4)
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"encoder", "lstm", "tagger", "crf"}


@pytest.mark.parametrize(
    ("parameter", "named", "not_named"),
    [
        ("crf.transitions", "detection", "typing"),
        ("type_head.score.bias", "typing", "detection"),
        ("conversion.score.bias", "conversion", "typing"),
    ],
)
def test_a_loss_that_is_not_finite_stops_training_and_names_the_part(
    target_model, tokenizer, tmp_path, parameter, named, not_named
):
    with torch.no_grad():
        target_model.get_parameter(parameter)[..., 0] = float("nan")
    run = trainer(target_model, tokenizer, tmp_path, [*SOURCE, *TARGET], max_steps=1, per_device_train_batch_size=16)
    with pytest.raises(FloatingPointError, match="is not finite at step 0") as error:
        run.train()
    assert named in str(error.value) and not_named not in str(error.value)


def test_a_loss_that_is_not_finite_names_the_records_of_its_batch(target_model, tokenizer, tmp_path):
    with torch.no_grad():
        target_model.conversion.score.bias[0] = float("inf")
    run = trainer(target_model, tokenizer, tmp_path, TARGET[:2], max_steps=1, per_device_train_batch_size=1)
    with pytest.raises(
        FloatingPointError, match=r"conversion is not finite at step 0, in the batch of the records t[01];"
    ):
        run.train()
    run = trainer(target_model, tokenizer, tmp_path, dev=TARGET[:2])
    with pytest.raises(FloatingPointError, match="in the batch of the records t1, t0;"):
        run.evaluate()


def test_a_batch_without_a_mention_trains_detection_alone(tokenizer, tmp_path):
    records = [record(f"n{i}", "Nobody came.") for i in range(4)]
    before = parameters(still_model(tokenizer, target=True))
    after, loss, log = after_one_step(tokenizer, tmp_path, records)
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"encoder", "lstm", "tagger", "crf"}
    assert {name for name in log if name.startswith("loss_")} == {"loss_detection"}
    assert loss > 0 and all(p.isfinite().all() for p in after.values())


def test_a_batch_with_nothing_to_learn_is_a_step_of_zero(tokenizer):
    model = still_model(tokenizer, target=True)
    output = model(**model_inputs(collate(model, tokenizer, [record("n", "Nobody came.", exhaustive=False)])))
    output.loss.backward()
    assert output.loss == 0 and all(p.grad is None or not p.grad.any() for p in model.parameters())

"""Evaluation equals scoring the pipeline's predictions, however it is batched."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from transformers import EvalPrediction, set_seed

from finener.layers_finener import LOSS_PARTS
from finener.metrics.counting import COUNTS, score_records
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.records import predict_records
from finener.training.collator import model_inputs
from finener.training.evaluation import metrics_of_counts

from runs import DEV, SOURCE, TARGET, collate, still_model, trainer

MEASURES = [f"{m}_{p}" for m in ("mention", "typed", "partial", "pair") for p in ("precision", "recall", "f1")]


@pytest.fixture(scope="module")
def trained(tokenizer, tmp_path_factory):
    """Gives models that get something right and something wrong; thresholds are set after training."""

    @functools.cache
    def train(target: bool, activation: str):
        model = still_model(tokenizer, target=target, target_activation=activation)
        set_seed(0)
        folder, records = tmp_path_factory.mktemp("trained"), TARGET if target else SOURCE
        changes = {"optim": "adamw_torch", "learning_rate": 0.02, "max_steps": 30, "per_device_train_batch_size": 8}
        trainer(model, tokenizer, folder, records, **changes).train()
        return model.eval()

    def get(target: bool, target_activation: str = "softmax", **thresholds: float):
        model = copy.deepcopy(train(target, target_activation))
        vars(model.config).update(thresholds)
        return model

    return get


@pytest.mark.parametrize(
    ("target", "knobs"),
    [
        (False, {}),
        (True, {}),
        (True, {"target_activation": "sigmoid", "target_type_threshold": 0.4}),
        (True, {"target_type_threshold": 0.6}),
        (True, {"target_decoding": "expected"}),
        (False, {"detection_threshold": 0.5}),
    ],
    ids=["source", "softmax", "sigmoid", "softmax with a threshold", "softmax, expected F1", "detection threshold"],
)
def test_evaluation_gives_the_very_numbers_of_scoring_the_pipelines_predictions(
    trained, tokenizer, tmp_path, target, knobs
):
    model = trained(target, **knobs)
    ontology = model.config.target_ontology if target else model.config.ontology
    dev = DEV[target]
    metrics = trainer(model, tokenizer, tmp_path, dev=dev).evaluate()
    pipe = FinenerPipeline(model=model.eval(), tokenizer=tokenizer, device="cpu")
    scores = score_records(dev, predict_records(pipe, dev), ontology)
    assert {name: metrics[f"eval_{name}"] for name in MEASURES} == pytest.approx(
        {name: scores[name] for name in MEASURES}
    )
    assert 0 < scores["typed_f1"] < scores["mention_f1"] < 1
    # a gold mention inside a word can't be predicted, and costs recall
    lost = sum(len(r["mentions"]) for r in dev) - sum(
        (collate(model, tokenizer, [r])["mention_spans"][:, :, 0] >= 0).sum().item() for r in dev
    )
    assert lost > 0


def test_evaluation_of_given_mentions_equals_counting_the_pipelines_types(trained, tokenizer, tmp_path):
    from finener.metrics.counting import add_counts, count_given, scores_of_counts

    model = trained(False)
    source = model.config.ontology
    dev = [r for r in DEV[False] if r["id"] != "v1"]  # whose mention inside a word has no state of its own
    metrics = trainer(model, tokenizer, tmp_path, dev=dev).evaluate()
    pipe = FinenerPipeline(model=model.eval(), tokenizer=tokenizer, device="cpu")
    counts = []
    for gold, found in zip(dev, predict_records(pipe, dev, gold_mentions=True), strict=True):
        for wanted, got in zip(gold["mentions"], found["mentions"], strict=True):
            if wanted["types"]:
                indices = ([source.index(t) for t in m["types"]] for m in (wanted, got))
                counts.append(count_given(*indices, source))
    scores = {k: v for k, v in scores_of_counts(add_counts(counts)).items() if k.startswith("given")}
    assert {k: metrics[f"eval_{k}"] for k in scores} == pytest.approx(scores)
    assert 0 < scores["given_strict"] < 1
    assert metrics["eval_score"] == pytest.approx((metrics["eval_mention_f1"] + scores["given_micro_f1"]) / 2)


def test_records_that_are_not_exhaustive_or_of_another_ontology_are_not_judged_for_what_they_lack(
    trained, tokenizer, tmp_path
):
    model = trained(False)
    partial = [{**r, "exhaustive": False} for r in SOURCE]
    metrics = trainer(model, tokenizer, tmp_path, dev=partial).evaluate()
    assert "eval_given_micro_f1" in metrics and not {k for k in metrics if k.startswith(("eval_mention", "eval_typed"))}
    metrics = trainer(model, tokenizer, tmp_path, dev=TARGET).evaluate()
    assert "eval_mention_f1" in metrics and not {k for k in metrics if k.startswith(("eval_typed", "eval_given"))}
    both = trainer(model, tokenizer, tmp_path, dev=[*SOURCE, *TARGET]).evaluate()
    alone = trainer(model, tokenizer, tmp_path, dev=SOURCE).evaluate()
    assert both["eval_typed_f1"] == alone["eval_typed_f1"] and both["eval_mention_f1"] != alone["eval_mention_f1"]


@pytest.mark.parametrize("target", [False, True])
def test_evaluation_does_not_depend_on_the_batch_size(trained, tokenizer, tmp_path, target):
    model = trained(target)
    runs = [
        trainer(model, tokenizer, tmp_path, dev=DEV[target], per_device_eval_batch_size=size).evaluate()
        for size in (1, 3, 8)
    ]
    exact = [
        {k: v for k, v in run.items() if k.endswith(("precision", "recall", "f1", "strict", "score"))} for run in runs
    ]
    assert len(exact[0]) == 23 and exact[0] == exact[1] == exact[2]
    losses = [{k: v for k, v in run.items() if k.startswith("eval_loss")} for run in runs]
    parts = {"eval_loss", "eval_loss_detection", "eval_loss_conversion" if target else "eval_loss_typing"}
    assert losses[0].keys() == parts
    for other in losses[1:]:
        assert losses[0] == pytest.approx(other, rel=1e-5)
    assert losses[0]["eval_loss"] == pytest.approx(sum(losses[0].values()) / 2)


def test_the_loss_of_evaluation_is_the_models_own(trained, tokenizer, tmp_path):
    model = trained(True)
    metrics = trainer(model, tokenizer, tmp_path, dev=DEV[True]).evaluate()
    with torch.no_grad():
        output = model(**model_inputs(collate(model, tokenizer, DEV[True])))
    for part in ("detection", "conversion"):
        assert metrics[f"eval_loss_{part}"] == pytest.approx(output.losses[part].item(), rel=1e-5)


def test_sums_over_more_words_than_single_precision_can_count_are_exact():
    rows = torch.zeros(3, len(COUNTS) + 2 * len(LOSS_PARTS))
    rows[:, len(COUNTS)] = torch.tensor([0.0, 0.0, 2.0**24 + 2])
    rows[:, len(COUNTS) + len(LOSS_PARTS)] = torch.tensor([2.0**24, 1.0, 1.0])
    found = metrics_of_counts(EvalPrediction(rows.numpy(), rows.numpy()), dict.fromkeys(LOSS_PARTS, 1.0))
    assert found["loss_detection"] == found["loss"] == 1.0

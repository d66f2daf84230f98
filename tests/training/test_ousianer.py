"""The rows of OusiaNER's tables, each from its YAML: rehearsed for a few steps on a tiny encoder, with the real ontologies and mapping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from finener.configuration_finener import FinenerConfig
from finener.data_scripts.record_files import read_records, write_records
from finener.ontology_finener import Ontology
from finener.paths import ROOT
from finener.prediction.records import load_pipeline, predict_records
from finener.training import phases as train_finener
from finener.training.arguments import parse_arguments

import tiny
from runs import record

SAMPLE = ROOT / "examples" / "aida_sample"
ROWS = ("aida", "aida_plain_loss", "aida_feedback")
FEW_STEPS = ("--max_steps", "4", "--eval_strategy", "steps", "--save_strategy", "steps", "--logging_steps", "1",
             "--eval_steps", "2", "--save_steps", "2", "--use_cpu", "true", "--disable_tqdm", "true")  # fmt: skip


def rehearse(row: str, *changes: str) -> None:
    train_finener.main(["--config", str(ROOT / "configs" / f"ousianer_{row}.yaml"), "--use_cpu", "true", *changes])


def sample(part: str, n: int) -> list[dict[str, Any]]:
    """Some of the sample's records."""
    return [r for r in read_records(SAMPLE / f"{part}.jsonl") if r["mentions"]][:n]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, tokenizer) -> Path:
    """Where all rows of the table lie after one run of each YAML."""
    folder = tmp_path_factory.mktemp("ousianer")
    encoder = tiny.save_tiny_encoder(folder / "encoder", tokenizer)
    yago = Ontology.from_json(ROOT / "ontologies" / "yago.json")
    person = next(t for t in yago.ids if t.startswith("Person1"))
    typing = [record(f"silver{i}", f"[Ada|{person}] saw [Bo|{person}].", "yago", exhaustive=False) for i in range(8)]
    files = {
        "ontonotes": [record(f"onto{i}", "[Ann] came to [Bree].", "") for i in range(4)],
        "ontonotes_dev": [record(f"dev{i}", "[Cy] left.", "") for i in range(2)],
        "silver": typing,
        "train": sample("train", 12),
        "dev": sample("dev", 6),
        "test": sample("test", 6),
    }
    for name, records in files.items():
        write_records(records, folder / f"{name}.jsonl")

    def at(*names: str) -> list[str]:
        return [str(folder / f"{name}.jsonl") for name in names]

    def out(row: str) -> tuple[str, str]:
        return "--output_dir", str(folder / row)

    rehearse("pretrain", *out("pretrain"), *FEW_STEPS, "--encoder", str(encoder), "--detection_data", *at("ontonotes"),
             "--typing_data", *at("silver"), "--dev_data", *at("ontonotes_dev"), "--held_out_share", "0.25",
             "--ontology", str(ROOT / "ontologies" / "yago.json"))  # fmt: skip
    given = ("--model", str(folder / "pretrain"), "--dev_data", *at("dev"), "--test_data", *at("test"),
             "--target_ontology", str(ROOT / "ontologies" / "aida.json"),
             "--mapping", str(ROOT / "ontologies" / "mappings" / "yago_to_aida.tsv"))  # fmt: skip
    rehearse("aida_direct", *out("aida_direct"), *given)
    for row in ROWS:
        data = at("train")
        if row == "aida_feedback":
            write_records(correct(folder / "aida", sample("test", 12)[6:]), folder / "feedback.jsonl")
            data = at("train", "feedback")
        rehearse(row, *out(row), *FEW_STEPS, *given, "--typing_data", *data)
    return folder


def correct(model: Path, gold: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a person makes of a model's output: its records, with the mentions put right."""
    predicted = predict_records(load_pipeline(str(model), "cpu"), gold)
    return [
        {**guess, "mentions": right["mentions"], "exhaustive": True}
        for guess, right in zip(predicted, gold, strict=True)
    ]


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def config(folder: Path) -> FinenerConfig:
    return FinenerConfig.from_pretrained(folder)


def test_pre_training_has_the_papers_values(outputs):
    used = results(outputs / "pretrain")["config"]
    assert (used["learning_rate"], used["lr_scheduler_type"], used["freeze"]) == (0.001, "constant", "encoder")
    knobs = config(outputs / "pretrain")
    assert (knobs.lstm_layers, knobs.lstm_hidden_size, knobs.lstm_dropout, knobs.encoder_dropout) == (2, 200, 0.5, 0.5)
    assert len(knobs.ontology) > 7000 and knobs.target_ontology is None
    curve = results(outputs / "pretrain")["dev"]["curve"]
    assert {"loss_detection", "loss_typing"} <= {key for row in curve for key in row}


@pytest.mark.parametrize(("row", "decay"), [("aida", 0.5), ("aida_plain_loss", 0.0), ("aida_feedback", 0.5)])
def test_fine_tuning_has_the_papers_values(outputs, row, decay):
    told = results(outputs / row)
    used = told["config"]
    assert (used["learning_rate"], used["warmup_steps"], used["freeze"]) == (1e-5, 2500, "detection")
    knobs = config(outputs / row)
    assert (knobs.conversion_input, knobs.conversion_norm, knobs.conversion_hidden_size) == ("logits", False, 200)
    assert (knobs.target_activation, knobs.soft_loss_decay, knobs.target_ontology.name) == ("softmax", decay, "aida")
    assert knobs.soft_loss_weights is None, "W is the one of the decay"
    assert set(told["test"]) == {"Direct", "fine-tuned"} and told["records"]["test"] == 6
    assert [run["phase"] for run in told["earlier"]] == ["pretrain"]


@pytest.mark.parametrize("row", ROWS)
def test_fine_tuning_trains_the_types_and_leaves_detection_bit_equal(outputs, row):
    before, after = (load_file(outputs / name / "model.safetensors") for name in ("pretrain", row))
    frozen = ("encoder", "lstm", "tagger", "crf")
    assert all(torch.equal(w, after[name]) for name, w in before.items() if name.split(".")[0] in frozen)
    assert all(row["loss_conversion"] > 0 for row in results(outputs / row)["dev"]["curve"] if "loss_conversion" in row)


def test_direct_trains_nothing_and_is_the_baseline_that_stands_beside_the_fine_tuned_rows(outputs):
    direct = results(outputs / "aida_direct")
    assert {p.name for p in (outputs / "aida_direct").iterdir()} == {"results.json"}
    assert set(direct["test"]) == {"Direct"} and direct["phase"] == "direct"
    for row in ROWS:
        beside = results(outputs / row)
        assert beside["test"]["Direct"] == direct["test"]["Direct"] and beside["direct"] == direct["direct"]
    assert 0 < direct["direct"]["reach"]["types"] <= 1


def test_feedback_joins_the_training_records_and_starts_from_the_same_pre_trained_model(outputs):
    plain, fed = (results(outputs / row) for row in ("aida", "aida_feedback"))
    corrected = list(read_records(outputs / "feedback.jsonl"))
    assert all(r["exhaustive"] and r["ontology"] == "aida" for r in corrected)
    more = sum(len(r["mentions"]) for r in corrected)
    assert more > 0 and fed["type_support"]["mentions"] == plain["type_support"]["mentions"] + more
    assert fed["config"]["model"] == plain["config"]["model"] and fed["earlier"] == plain["earlier"]


# -------------------------------------------------------------------- the YAMLs themselves, as they are


def test_the_yamls_ask_for_what_the_paper_tells_and_for_what_training_md_adds():
    def asked(row):
        ((args, training),) = parse_arguments(["--config", str(ROOT / "configs" / f"ousianer_{row}.yaml")])
        return args, training

    args, training = asked("pretrain")
    assert (args.phase, args.encoder, args.detection_share, training.freeze) == (
        "pretrain",
        "bert-base-cased",
        0.3,
        "encoder",
    )
    assert (training.learning_rate, training.per_device_train_batch_size, training.num_train_epochs) == (1e-3, 32, 5)
    assert (training.lr_scheduler_type, args.early_stopping_patience) == ("constant", 2)
    args, training = asked("aida")
    assert (args.phase, training.freeze, args.early_stopping_patience) == ("finetune", "detection", 10)
    assert (training.learning_rate, training.warmup_steps, training.weight_decay) == (1e-5, 2500, 0.01)
    assert (training.max_steps, training.per_device_train_batch_size, training.lr_scheduler_type) == (
        25_000,
        16,
        "linear",
    )


@pytest.mark.parametrize(
    ("row", "changed"),
    [("aida_plain_loss", {"knobs", "output_dir"}), ("aida_feedback", {"typing_data", "output_dir"})],
)
def test_rows_differ_in_nothing_but_what_they_are_about(row, changed):
    own, plain = (
        yaml.safe_load((ROOT / "configs" / f"ousianer_{name}.yaml").read_text(encoding="utf-8"))
        for name in (row, "aida")
    )
    assert {key for key in own.keys() | plain.keys() if own.get(key) != plain.get(key)} == changed
    knobs = {key for key in own["knobs"] | plain["knobs"] if own["knobs"].get(key) != plain["knobs"].get(key)}
    assert knobs == ({"soft_loss_decay"} if "knobs" in changed else set())

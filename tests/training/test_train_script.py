"""``train_finener.py``: what a run leaves, and how runs follow each other."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from finener.data_scripts.record_files import read_records, write_records
from finener.metrics.counting import score_records
from finener.prediction.records import load_pipeline, predict_records
from finener.training.records import data_hash

from runs import COMMON, FINETUNE, PRETRAIN, differing, record, results_of, run, weights, write_config

# -------------------------------------------------------------------- what a run leaves


@pytest.mark.parametrize("name", ["pretrained", "final"])
def test_each_phase_leaves_a_whole_model_folder_and_its_checkpoint(finished, name):
    files = {p.name for p in (finished / "out" / name).iterdir()}
    assert files >= {
        "config.json",
        "model.safetensors",
        "ontology.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
        "results.json",
        "configuration_finener.py",
        "modeling_finener.py",
        "ontology_finener.py",
        "naming_finener.py",
        "pipeline_finener.py",
        "words_finener.py",
        "handler.py",
    }
    checkpoints = list((finished / "out" / "checkpoints" / name).glob("checkpoint-*"))
    assert 1 <= len(checkpoints) <= 2  # the last and, where it is another, the best
    assert all((c / "optimizer.pt").is_file() for c in checkpoints)
    assert not list((finished / "out" / name).glob("checkpoint-*"))


def test_the_results_hold_what_proves_the_figures(finished):
    pretrained, final = (results_of(finished / "out" / name) for name in ("pretrained", "final"))
    for results, phase, ontology in ((pretrained, "pretrain", "src"), (final, "finetune", "tgt")):
        assert (results["phase"], results["ontology"], results["seed"]) == (phase, ontology, 5)
        assert results["encoder"] == "encoder"
        assert results["command"] == "train_finener.py --config run.yaml"
        assert results["config"]["learning_rate"] == 0.01 and results["config"]["use_cpu"] is True
        assert results["versions"]["torch"] == version("torch")
        assert set(results["versions"]) >= {"python", "transformers", "tokenizers", "accelerate", "datasets"}
        assert {row["epoch"] for row in results["dev"]["curve"]} >= {1.0, 2.0}
        assert results["seconds"] > 0
        logged = {k for row in results["dev"]["curve"] for k in row}
        assert {"loss_detection", "eval_score", "eval_loss"} <= logged
    assert pretrained["earlier"] == []
    assert [run["phase"] for run in final["earlier"]] == ["pretrain"]
    assert all(final["earlier"][0][key] == pretrained[key] for key in ("data", "records", "config", "type_support"))
    # the section's value beats the common one, and both beat the default
    assert pretrained["config"]["num_train_epochs"] == 2 and "num_train_epochs" not in final["config"]  # 3: the default
    assert pretrained["config"]["knobs"] == PRETRAIN["knobs"] and final["config"]["knobs"] == FINETUNE["knobs"]
    assert pretrained["test"] == {} and set(final["test"]) == {"Direct", "fine-tuned"}
    assert pretrained["records"] == {"train": 12, "dev": 8, "test": 0}  # 6 with types to learn, as many again
    assert final["records"] == {"train": 5, "dev": 8, "test": 3}
    assert final["type_support"] == {"types": 10, "mentions": 9, "seen_1": 10, "seen_10": 0, "seen_50": 0}
    assert final["unpredictable"] == {"mentions": 2, "of": 22, "records": 2}  # Fix, in train and in dev
    assert final["data"]["test"] == data_hash(read_records(finished / "test.jsonl"))
    assert final["data"]["train"] == data_hash(read_records(finished / "target.jsonl"))
    assert 0 <= final["direct"]["threshold"] < 1 and final["direct"]["reach"]["gold_mentions"] == pytest.approx(2 / 5)


def test_the_test_scores_are_those_of_the_model_that_was_saved(finished):
    pipe = load_pipeline(str(finished / "out" / "final"), "cpu")
    test = list(read_records(finished / "test.jsonl"))
    scores = score_records(test, predict_records(pipe, test), pipe.model.config.target_ontology)
    assert results_of(finished / "out" / "final")["test"]["fine-tuned"] == pytest.approx(scores)
    assert pipe.model.config.detection_threshold == 0.2


def test_the_dev_scores_are_those_of_the_best_epoch(finished):
    for name in ("pretrained", "final"):
        dev = results_of(finished / "out" / name)["dev"]
        by_epoch = [row["eval_score"] for row in dev["curve"] if "eval_score" in row]
        assert dev["scores"]["score"] == pytest.approx(max(by_epoch), abs=1e-6)


def test_the_results_and_the_card_tell_no_path_of_the_machine(finished):
    for path in [*(finished / "out").glob("*/results.json"), *(finished / "out").glob("*/README.md")]:
        text = path.read_text(encoding="utf-8")
        assert str(finished) not in text and str(Path.home()) not in text and str(Path.cwd()) not in text
        assert not re.findall(r"[\"'`\s](/[\w.-]+/[\w./-]*)", text)


def test_the_card_shows_the_figures_of_the_results(finished):
    final = results_of(finished / "out" / "final")
    card = ModelCard.load(finished / "out" / "final" / "README.md")
    for system, scores in final["test"].items():
        figures = " | ".join(f"{scores[f'typed_{part}']:.3f}" for part in ("precision", "recall", "f1"))
        assert f"| {system} | typed, strict | {figures} |" in card.text
    assert [w["text"] for w in card.data.to_dict()["widget"]] == FINETUNE["show"]
    assert "base_model" not in card.data.to_dict()  # the encoder is a folder


def test_the_run_prints_support_losses_scores_and_the_shown_texts(finished):
    printed = (finished / "printed.txt").read_text(encoding="utf-8")
    assert "pretrain: 12 training records, 8 dev records; 12 typed mentions train" in printed
    assert "finetune: 5 training records, 8 dev records; 9 typed mentions train 10 of 10 types" in printed
    assert "2 of 22 gold mentions begin or end inside a word" in printed and "'Fix' in …'preFixed" in printed
    assert "loss_detection" in printed and "loss_typing" in printed and "loss_conversion" in printed
    assert re.search(r"fine-tuned +typed, strict +0\.\d{3}|fine-tuned +typed, strict +1\.000", printed)
    assert "Direct: threshold" in printed
    for text in FINETUNE["show"]:
        assert text in printed


def test_fine_tuning_leaves_detection_as_pre_training_left_it(finished):
    before, after = (load_file(finished / "out" / name / "model.safetensors") for name in ("pretrained", "final"))
    for name, weight in before.items():
        if name.split(".")[0] in ("encoder", "lstm", "tagger", "crf"):
            assert torch.equal(weight, after[name]), name
    assert any(not torch.equal(w, after[name]) for name, w in before.items() if name.startswith("type_head"))


def test_the_final_folder_loads_in_a_fresh_process_far_from_the_project(finished, tmp_path):
    program = """
import json, sys
from transformers import AutoModelForTokenClassification, pipeline
model, loading = AutoModelForTokenClassification.from_pretrained(sys.argv[1], trust_remote_code=True, output_loading_info=True)
assert not any(loading.values()), loading
ner = pipeline("token-classification", model=sys.argv[1], trust_remote_code=True, device="cpu")
print(json.dumps([type(ner).__name__, ner(sys.argv[2])]))
"""
    text = FINETUNE["show"][0]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-c", program, str(finished / "out" / "final"), text]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    name, mentions = json.loads(done.stdout.splitlines()[-1])
    expected = load_pipeline(str(finished / "out" / "final"), "cpu")(text)
    assert name == "FinenerPipeline" and [m["types"].keys() for m in mentions] == [m["types"].keys() for m in expected]
    assert [(m["start"], m["end"], m["entity_group"]) for m in mentions] == [
        (m["start"], m["end"], m["entity_group"]) for m in expected
    ]
    assert [m["score"] for m in mentions] == pytest.approx([m["score"] for m in expected], rel=1e-4)
    assert results_of(finished / "out" / "final")["shown"][0]["text"] == text
    shown = results_of(finished / "out" / "final")["shown"][0]["mentions"]
    assert [m["word"] for m in shown] == [m["word"] for m in expected]


# -------------------------------------------------------------------- runs beside each other


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(workplace):
    short = ("--phases", "pretrain", "--num_train_epochs", "1")
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        run(*short, "--output_dir", f"out/{name}", "--seed", seed)
    a, b, c = (workplace / "out" / name for name in "abc")
    assert differing(weights(a), weights(b)) == []
    assert len(differing(weights(a), weights(c))) > 5
    first, second = results_of(a), results_of(b)
    assert first["dev"] == second["dev"] and first["data"] == second["data"]


def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(workplace):
    write_config(workplace, load_best_model_at_end=False)  # the last weights, whichever are the best
    options = ("--phases", "pretrain", "--detection_share", "0.4")
    run(*options, "--output_dir", "out/straight", "--num_train_epochs", "2")
    run(*options, "--output_dir", "out/stopped", "--num_train_epochs", "1")
    halfway = weights(workplace / "out" / "stopped")
    printed = run(
        *options, "--output_dir", "out/stopped", "--num_train_epochs", "2", "--resume_from_checkpoint", "true"
    )
    assert "resuming from out/checkpoints/stopped/checkpoint-" in printed
    straight, resumed = (weights(workplace / "out" / name) for name in ("straight", "stopped"))
    assert differing(straight, resumed) == []
    assert len(differing(halfway, resumed)) > 5


def test_resuming_without_a_checkpoint_says_so_and_starts_from_the_beginning(workplace):
    printed = run("--phases", "pretrain", "--num_train_epochs", "1", "--resume_from_checkpoint", "true")
    assert "no checkpoint in out/checkpoints/pretrained: starting from the beginning" in printed
    assert (workplace / "out" / "pretrained" / "model.safetensors").is_file()


def test_fine_tuning_alone_starts_from_the_model_that_is_named(finished, workplace):
    shutil.copytree(finished / "out" / "pretrained", workplace / "given")
    run("--phases", "finetune", "--model", "given", "--results_file", "somewhere/else.json")
    final = workplace / "out" / "final"
    assert differing(weights(final), weights(finished / "out" / "final")) == []  # what both phases in a row gave
    assert json.loads((workplace / "somewhere" / "else.json").read_text()) == results_of(final)
    assert results_of(final)["encoder"] == "encoder"


def test_pre_training_goes_on_with_the_model_that_is_named(given):
    go_on = {**PRETRAIN, "knobs": {}, "freeze": "nothing", "encoder_learning_rate": 1e-4, "num_train_epochs": 1}
    write_config(given, phases=["pretrain"], encoder=None, ontology=None, model="given", pretrain=go_on)
    before, folder = weights(given / "given"), given / "out" / "pretrained"
    run("--learning_rate", "0", "--encoder_learning_rate", "0")
    assert differing(weights(folder), before) == []  # it starts there, also its types
    printed = run()
    changed = differing(weights(folder), before)
    assert {name.partition(".")[0] for name in changed} >= {"encoder", "tagger", "type_head"}
    results = results_of(folder)
    assert [phase["phase"] for phase in results["earlier"]] == ["pretrain"] and results["encoder"] == "encoder"
    assert "mentions train" in printed


def test_training_without_dev_data_keeps_the_last_weights(workplace):
    config = {**COMMON, "pretrain": PRETRAIN, "dev_data": [], "load_best_model_at_end": False, "num_train_epochs": 1}
    write_config(workplace, yaml.safe_dump(config) + "eval_strategy: no\n")
    run("--phases", "pretrain")
    results = results_of(workplace / "out" / "pretrained")
    assert results["dev"]["scores"] == {} and results["records"]["dev"] == 0
    last = load_file(next((workplace / "out/checkpoints/pretrained").glob("checkpoint-*")) / "model.safetensors")
    assert differing(last, weights(workplace / "out" / "pretrained")) == []


def test_a_long_record_is_trained_on_in_parts(workplace):
    long = record("long", "[Ada|artist] and [Bo|person] saw [ACME|company]. " * 12)
    write_records([long], workplace / "typing.jsonl")
    run("--phases", "pretrain", "--num_train_epochs", "1", "--detection_share", "0")
    results = results_of(workplace / "out" / "pretrained")
    assert results["records"]["train"] > 3
    assert results["type_support"]["mentions"] == 36
    assert results["unpredictable"]["of"] == 36 + 13  # train and dev


def test_without_cached_states_the_losses_are_the_same_up_to_half_precision(workplace):
    curves = []
    for name, cached in (("a", "true"), ("b", "false")):
        run(
            "--phases",
            "pretrain",
            "--num_train_epochs",
            "1",
            "--output_dir",
            f"out/{name}",
            "--cache_encoder_states",
            cached,
        )
        curve = results_of(workplace / "out" / name)["dev"]["curve"]
        curves.append([row["loss"] for row in curve if "loss" in row])
    assert len(curves[0]) == 3 and curves[0] == pytest.approx(curves[1], rel=0.02)


def test_a_resumed_run_keeps_the_encoders_learning_rate_and_its_frozen_layers(workplace):
    write_config(workplace, load_best_model_at_end=False)
    options = ("--phases", "pretrain", "--unfreeze_layers", "1", "--encoder_learning_rate", "1e-4")
    run(*options, "--output_dir", "out/straight", "--num_train_epochs", "2")
    run(*options, "--output_dir", "out/stopped", "--num_train_epochs", "1")
    run(*options, "--output_dir", "out/stopped", "--num_train_epochs", "2", "--resume_from_checkpoint", "true")
    straight, resumed = (weights(workplace / "out" / name) for name in ("straight", "stopped"))
    assert differing(straight, resumed) == []
    fresh = load_file(workplace / "encoder" / "model.safetensors")
    changed = {name for name, p in fresh.items() if not torch.equal(p, straight.get(f"encoder.{name}", p))}
    assert changed and all(name.startswith("encoder.layer.1.") for name in changed)


def evaluated(folder: Path) -> list[float]:
    return [row["eval_score"] for row in results_of(folder)["dev"]["curve"] if "eval_score" in row]


def test_training_stops_when_the_score_no_longer_grows_and_a_resumed_run_knows_how_long_it_has_waited(workplace):
    still = ("--phases", "pretrain", "--learning_rate", "0", "--early_stopping_patience", "3")
    run(*still, "--output_dir", "out/straight", "--num_train_epochs", "9")
    assert len(set(evaluated(workplace / "out/straight"))) == 1
    assert (
        results_of(workplace / "out/straight")["dev"]["curve"][-1]["epoch"] == 4.0
    )  # the first is the best, and three more
    run(*still, "--output_dir", "out/stopped", "--num_train_epochs", "2")
    run(*still, "--output_dir", "out/stopped", "--num_train_epochs", "9", "--resume_from_checkpoint", "true")
    assert results_of(workplace / "out/stopped")["dev"]["curve"][-1]["epoch"] == 4.0

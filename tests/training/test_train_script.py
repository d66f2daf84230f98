"""The training script, as people run it: a YAML file, a folder of records, and what it leaves or says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from finener.configuration_finener import FinenerConfig
from finener.data_scripts.record_files import read_records, write_records
from finener.data_scripts.schema import RecordError
from finener.metrics.counting import score_records
from finener.ontology_finener import EntityType, Ontology
from finener.paths import ROOT
from finener.prediction.records import load_pipeline, predict_records
from finener.training import phases as train_finener
from finener.training.arguments import ArgumentError, parse_arguments
from finener.training.records import data_hash, hold_out_documents
from finener.training.soft_loss import estimate_credit
from finener.training.start import type_shares

import tiny
from runs import (
    COMMON,
    FINETUNE,
    PRETRAIN,
    SOURCE,
    differing,
    make_workplace,
    record,
    results_of,
    run,
    says,
    weights,
    write_config,
)


@pytest.fixture
def workplace(tmp_path, encoder_folder, monkeypatch) -> Path:
    """An own folder, which is the working directory."""
    make_workplace(tmp_path, encoder_folder)
    write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, encoder_folder) -> Path:
    """The folder of a run of both phases; what it printed is in ``printed.txt``."""
    folder = make_workplace(tmp_path_factory.mktemp("finished"), encoder_folder)
    write_config(folder)
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["/somewhere/train_finener.py", "--config", "run.yaml"])
        (folder / "printed.txt").write_text(run(), encoding="utf-8")
    return folder


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
        "pipeline_finener.py",
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
        assert results["versions"]["torch"] == torch.__version__
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


# -------------------------------------------------------------------- W of the soft loss


@pytest.fixture
def given(finished, workplace) -> Path:
    """A workplace with the pre-trained model in ``given`` and a fine-tuned one in ``tuned``; the YAML goes on from the first."""
    shutil.copytree(finished / "out" / "pretrained", workplace / "given")
    shutil.copytree(finished / "out" / "final", workplace / "tuned")
    return workplace


FROM_GIVEN = ("--phases", "finetune", "--model", "given", "--num_train_epochs", "1")


def credit_of(folder: Path) -> torch.Tensor:
    """W of a saved model, (K, K)."""
    config = FinenerConfig.from_pretrained(folder)
    rows = config.soft_loss_weights
    if rows is None:
        w = config.target_ontology.soft_label_weights(config.soft_loss_decay)
        return w / w.sum(1, keepdim=True)
    credit = torch.zeros(10, 10)
    for gold, predicted, value in rows:
        credit[gold, predicted] = value
    return credit


def test_soft_loss_weights_come_from_a_file(given):
    (given / "w.tsv").write_text("per.politician\tper\t0.25\nper.politician\torg\t0.75\nloc\torg\t1\n")
    run(*FROM_GIVEN, "--soft_loss_weights", "w.tsv")
    target, found = tiny.target_ontology(), credit_of(given / "out" / "final")
    expected = torch.eye(10)
    i, j, k, loc = (target.index(t) for t in ("per.politician", "per", "org", "loc"))
    expected[i, [i, j, k]] = torch.tensor([0.5, 0.125, 0.375])
    expected[loc, [loc, k]] = 0.5
    torch.testing.assert_close(found, expected)
    assert results_of(given / "out" / "final")["config"]["soft_loss_weights"] == "w.tsv"


def test_soft_loss_weights_come_from_the_confusions_of_a_model_on_the_dev_records(given):
    run(*FROM_GIVEN, "--soft_loss_weights", "tuned")
    target, pipe = tiny.target_ontology(), load_pipeline("tuned", "cpu")
    dev = [r for r in read_records("dev_target.jsonl") if r["typed"]]
    guess = predict_records(pipe, dev, gold_mentions=True)
    expected = estimate_credit(dev, guess, target, target.soft_label_weights(0.5))
    found = credit_of(given / "out" / "final")
    torch.testing.assert_close(found, expected)
    assert not torch.equal(found, credit_of(given / "tuned"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.json", "[[1, 0], [0, 1]]", r"w\.json: expected 10 × 10 numbers.* found 2 × 2"),
        ("w.json", '{"per": {"per": 0}}', r"w\.json: the row of 'per' is zero"),
        ("w.tsv", "per\tperson\t0.5\n", r"w\.tsv:1: .*'person' is not a type of ontology 'tgt'"),
        ("w.txt", "", r"expected a \.tsv, \.json or \.npy file, or a model of the same target types: .*w\.txt"),
    ],
    ids=["shape", "zero row", "unknown type", "no such form"],
)
def test_bad_soft_loss_weights_end_the_run_before_it_trains(given, name, content, message):
    (given / name).write_text(content)
    says(message, *FROM_GIVEN, "--soft_loss_weights", name)
    assert not (given / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--soft_loss_weights", "given"), "the model given has other target types than 'tgt'"),
        (("--soft_loss_weights", "none.tsv"), r"No such file.*none\.tsv"),
        (("--soft_loss_weights", "w.tsv", "--knobs", "{soft_loss_decay: 0.3}"), "leave soft_loss_decay out"),
        (
            ("--soft_loss_weights", "w.tsv", "--knobs", "{target_activation: sigmoid}"),
            "only softmax targets have a soft",
        ),
        (("--soft_loss_weights", "tuned", "--dev_data", "dev_source.jsonl"), "no gold mentions with types of 'tgt'"),
    ],
)
def test_soft_loss_weights_that_can_not_be_had_are_an_error(given, options, message):
    (given / "w.tsv").touch()
    config = yaml.safe_load((given / "run.yaml").read_text())
    write_config(given, finetune={k: v for k, v in config["finetune"].items() if k != "mapping"})
    says(message, *FROM_GIVEN, *options)


# -------------------------------------------------------------------- what fine-tuning may train


def test_detection_may_be_tuned_too_and_detection_records_then_keep_their_share(given):
    run(*FROM_GIVEN, "--freeze", "encoder", "--detection_data", "detection.jsonl", "--detection_share", "0.5",
        "--knobs", "{conversion_norm: false, conversion_input: logits+mention}")  # fmt: skip
    told = results_of(given / "out" / "final")
    assert (
        told["records"]["train"] == 5 + 5
    )  # 5 of the target, of which all are exhaustive, and as many of 8 for detection
    assert {"loss_detection", "loss_conversion"} <= {k for row in told["dev"]["curve"] for k in row}
    before, after = (weights(given / name) for name in ("given", "out/final"))
    changed = {name.split(".")[0] for name, p in before.items() if not torch.equal(p, after[name])}
    assert changed >= {"lstm", "tagger", "crf"} and "encoder" not in changed
    assert after["conversion.project.weight"].shape[0] == 16


def test_target_types_may_start_at_the_source_types_of_a_table(workplace):
    write_config(
        workplace,
        pretrain=PRETRAIN | {"num_train_epochs": 1},
        finetune=FINETUNE | {"type_start": "mapping", "learning_rate": 1e-9},
    )
    assert "6 of 10 target types start at source types" in run()
    before, after = (weights(workplace / "out" / name) for name in ("pretrained", "final"))
    source, target = tiny.two_parent_ontology(), tiny.target_ontology()
    for target_id, source_id in (("loc", "place"), ("per", "person"), ("per.artist", "artist"), ("org", "company")):
        own = after["conversion.score.weight"][target.index(target_id)]
        torch.testing.assert_close(own, before["type_head.score.weight"][source.index(source_id)])


def test_a_table_for_a_model_that_has_no_use_of_it_is_an_error(given):
    write_config(given, pretrain=PRETRAIN | {"type_start": "random", "output_dir": "random", "num_train_epochs": 1})
    run("--phases", "pretrain")
    says(
        "type_start: mapping: .*pre-train with type_start: names",
        *FROM_GIVEN,
        "--model",
        "random",
        "--type_start",
        "mapping",
    )
    says("No such file.*none.tsv", *FROM_GIVEN, "--type_start", "mapping", "--mapping", "none.tsv")
    says("needs mapping: the TSV", *FROM_GIVEN, "--type_start", "mapping", "--mapping", "")


def test_the_priors_of_types_are_their_shares_of_the_training_mentions(target):
    ontology = target
    gold = [["per.politician"], ["per.politician", "per"], ["org"], []]
    mentions = [{"start": 0, "end": 1, "types": types} for types in gold]
    records = [
        {"typed": True, "ontology": ontology.name, "mentions": mentions},
        {"typed": False, "ontology": "", "mentions": mentions},
    ]
    for most_specific, expected in (
        (False, {"per": 3, "per.politician": 3, "org": 2}),
        (True, {"per": 1, "per.politician": 3, "org": 2}),
    ):
        shares = type_shares(records, ontology, most_specific=most_specific)
        counts = {t: round(5 * share) for t, share in zip(ontology.ids, shares.tolist(), strict=True)}
        assert counts == {**dict.fromkeys(ontology.ids, 1), **expected}


def test_a_target_of_one_type_is_fine_tuned_and_scored(given):
    only = Ontology("tgt", [EntityType("name")])
    only.to_json("tgt.json")
    for name in ("target", "dev_target", "test"):
        records = list(read_records(f"{name}.jsonl"))
        for mention in (m for r in records for m in r["mentions"]):
            mention["types"] = ["name"]
        write_records(records, f"{name}.jsonl")
    Path("mapping.tsv").write_text("person\tname\n")
    run(*FROM_GIVEN)
    scores = results_of(given / "out" / "final")["test"]["fine-tuned"]
    assert scores["typed_f1"] == scores["mention_f1"]


# -------------------------------------------------------------------- the Direct phase


DIRECT = {"output_dir": "out/direct", "model": "given", "test_data": ["test.jsonl"], "mapping": "mapping.tsv"}


def test_direct_scores_as_beside_fine_tuning_and_follows_pre_training(finished, given):
    write_config(given, phases=["direct"], direct=DIRECT)
    printed = run()
    told, beside = results_of(given / "out" / "direct"), results_of(finished / "out" / "final")
    assert told["test"] == {"Direct": beside["test"]["Direct"]} and told["direct"] == beside["direct"]
    assert [r["phase"] for r in told["earlier"]] == ["pretrain"] and told["records"] == {"dev": 8, "test": 3}
    assert "Direct: threshold" in printed and "Test part, 3 records" in printed
    write_config(given, phases=["pretrain", "direct"], direct={k: v for k, v in DIRECT.items() if k != "model"})
    run("--num_train_epochs", "1")
    assert results_of(given / "out" / "direct")["config"]["model"] == "out/pretrained"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, r"model is not set: direct starts from a pre-trained finener model"),
        ({"mapping": None}, r"mapping is not set"),
        ({"knobs": {"type_threshold": 0.1}}, r"direct takes the model as it is; leave out the knobs type_threshold"),
        ({"test_data": []}, r"nothing to score: test_data has no exhaustive record typed with 'tgt'"),
        ({"test_data": ["dev_source.jsonl"]}, r"nothing to score: test_data has no exhaustive record typed with 'tgt'"),
        ({"dev_data": ["dev_source.jsonl"]}, r"Direct baseline needs dev_data with target types"),
    ],
)
def test_a_direct_phase_that_lacks_something_says_what(given, changes, message):
    write_config(given, phases=["direct"], direct=DIRECT | changes)
    says(message)


# -------------------------------------------------------------------- bad input that only training would meet


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--test_data", "empty.jsonl"), r"expected test records, found none in empty\.jsonl"),
        (("--dev_data", "empty.jsonl"), r"expected dev records, found none in empty\.jsonl"),
        (("--typing_data", "empty.jsonl"), r"expected train records, found none in empty\.jsonl"),
        (("--mapping", "bad.tsv"), r"bad\.tsv:2: .*'per\.pianist' is not a type of ontology 'tgt'"),
        (("--typing_data", "typing.jsonl"), r"nothing to learn from 6 training records: no mention has types of 'tgt' \(they are typed with 'src'\), and detection"),
        (("--detection_data", "detection.jsonl"), r"detection_data trains nothing with freeze: detection"),
        (("--encoder_learning_rate", "1e-5"), r"encoder_learning_rate has no effect with freeze: detection"),
        (("--unfreeze_layers", "1"), r"can't stay in training with detection frozen"),
        (("--unfreeze_layers", "1", "--freeze", "nothing"), r"unfreeze_layers needs freeze: encoder"),
        (("--unfreeze_layers", "3", "--freeze", "encoder"), r"unfreeze 1 … 2 of its layers"),
        (("--freeze", "types"), r"freeze must be one of nothing, encoder, detection; got 'types'"),
        (("--early_stopping_patience", "0"), r"early_stopping_patience is 1 or more"),
        (("--early_stopping_patience", "2", "--load_best_model_at_end", "false"), r"early_stopping_patience is 1 or more, and"),
    ],
)  # fmt: skip
def test_what_can_not_work_ends_the_run_before_it_trains(given, options, message):
    (given / "empty.jsonl").touch()
    (given / "bad.tsv").write_text("person\tper\nartist\tper.pianist\n")
    says(message, *FROM_GIVEN, *options)
    assert not (given / "out").exists()


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_records(given, monkeypatch):
    original = train_finener.build_model

    def broken(args):
        model, tokenizer = original(args)
        with torch.no_grad():
            model.conversion.hidden.weight.fill_(float("nan"))
        return model, tokenizer

    monkeypatch.setattr(train_finener, "build_model", broken)
    says(r"the loss of conversion is not finite at step 0, in the batch of the records (t\d, ){3}t\d", *FROM_GIVEN)


# -------------------------------------------------------------------- arguments


def test_the_command_line_beats_the_section_and_the_section_beats_the_common_part(workplace):
    write_config(workplace, weight_decay=0.5, pretrain={**PRETRAIN, "learning_rate": 0.02}, finetune={"seed": 9})
    (_, pretrain), (_, finetune) = parse_arguments(["--config", "run.yaml"])
    assert (pretrain.learning_rate, finetune.learning_rate) == (0.02, 0.01)
    assert (pretrain.seed, finetune.seed) == (5, 9)
    assert pretrain.weight_decay == finetune.weight_decay == 0.5
    command_line = ["--config", "run.yaml", "--learning_rate", "0.3", "--weight_decay=0", "--dev_data", "a", "b"]
    for args, training in parse_arguments(command_line):
        assert (training.learning_rate, training.weight_decay, args.dev_data) == (0.3, 0.0, ["a", "b"])


def test_phases_come_from_the_command_line_the_yaml_or_the_default(workplace):
    def phases(*command_line):
        return [args.phase for args, _ in parse_arguments(list(command_line))]

    assert phases() == ["pretrain"]
    assert phases("--config", "run.yaml") == ["pretrain", "finetune"]
    assert phases("--config", "run.yaml", "--phases", "finetune") == ["finetune"]
    write_config(workplace, phases="finetune")
    assert phases("--config", "run.yaml") == ["finetune"]
    write_config(workplace, phases=None, phase="finetune")
    assert phases("--config", "run.yaml") == ["finetune"]


def test_yaml_numbers_lists_and_mappings_arrive_as_what_they_are(workplace):
    write_config(
        workplace,
        "learning_rate: 1e-3\nnum_train_epochs: 2\nwarmup_steps: 0.1\nuse_cpu: true\nshow: a text\n"
        "dev_data: dev.jsonl\nknobs: {lstm_layers: 1, encoder_layers: [-1, 1]}\nhub_model_id: null\n",
    )
    ((args, training),) = parse_arguments(["--config", "run.yaml"])
    assert training.learning_rate == 0.001 and isinstance(training.learning_rate, float)
    assert (training.num_train_epochs, training.warmup_steps, training.use_cpu) == (2.0, 0.1, True)
    assert (args.show, args.dev_data) == (["a text"], ["dev.jsonl"])
    assert args.knobs == {"lstm_layers": 1, "encoder_layers": [-1, 1]}
    ((args, _),) = parse_arguments(["--config", "run.yaml", "--knobs", "{lstm_layers: 3}"])
    assert args.knobs == {"lstm_layers": 3}


def test_every_config_of_the_project_names_only_keys_that_exist():
    configs = sorted((ROOT / "configs").glob("*.yaml"))
    assert configs
    for path in configs:
        assert parse_arguments(["--config", str(path), "--use_cpu", "true"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rte": 1}, r"run\.yaml: unknown key 'learning_rte'; did you mean 'learning_rate'\?"),
        ({"pretrain": {**PRETRAIN, "typng_data": []}}, r"unknown key 'typng_data'; did you mean 'typing_data'\?"),
        ({"pretrain": {"knobs": {"lstm_layer": 1}}}, r"unknown knob 'lstm_layer'; did you mean 'lstm_layers'\?"),
        ({"pretrain": {"knobs": {"ontology": "x"}}}, r"unknown knob 'ontology'"),
        ({"phases": ["pretain"]}, r"unknown phase 'pretain'; there are pretrain, finetune, direct"),
        ({"pretrain": [1]}, r"pretrain must hold 'key: value' lines"),
        ({"knobs": 3, "pretrain": None}, r"knobs must hold 'key: value' lines, e\.g\. lstm_layers: 1"),
        ({"encoder": None}, r"encoder is not set: name an AutoModel, e\.g\. encoder: bert-base-cased"),
        ({"encoder": "python:no_such_package"}, r"encoder python:no_such_package: the package is not installed"),
        ({"encoder": "python:json"}, r"encoder python:json: .* carries no model"),
        ({"ontology": None}, r"ontology is not set: name the JSON or TSV file"),
        ({"ontology": "missing.json"}, r"no ontology file at missing\.json"),
        ({"dev_data": ["missing.jsonl"]}, r"No such file.*'missing\.jsonl'"),
        ({"pretrain": {"typing_data": []}}, r"there is nothing to train on: typing_data and detection_data are empty"),
        ({"dev_data": None}, r"name dev_data, or set eval_strategy: no and load_best_model_at_end: false"),
        ({"phases": ["finetune"]}, r"model is not set: .* model: outputs/pretrained"),
    ],
)
def test_a_mistake_in_the_yaml_ends_with_what_was_expected(workplace, changes, message):
    write_config(workplace, **changes)
    says(message)
    assert not (workplace / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n- b\n", r"run\.yaml must hold 'key: value' lines, e\.g\. learning_rate: 0\.001"),
        ("", r"run\.yaml must hold 'key: value' lines"),
        ("just text\n", r"run\.yaml must hold 'key: value' lines.*found 'just text'"),
        ("a: [1\n", r"can't read run\.yaml: .*line 2"),
        ("1: 2\n", r"unknown key 1"),
    ],
)
def test_a_file_that_is_no_yaml_mapping_is_an_error(workplace, content, message):
    write_config(workplace, content)
    says("(?s)" + message)


def test_a_config_that_is_not_there_is_an_error(workplace):
    (workplace / "run.yaml").unlink()
    says(r"can't read run\.yaml: .*No such file")


@pytest.mark.parametrize(
    ("command_line", "message"),
    [
        (["--knobs", "{lstm_layer: 1}"], r"unknown knob 'lstm_layer'; did you mean 'lstm_layers'\?"),
        (["--phases", "tune"], r"unknown phase 'tune'; there are pretrain, finetune, direct"),
        (["--phase", "finetune", "--phases", "pretrain"], r"choose what to run with --phases finetune"),
    ],
)
def test_a_mistake_on_the_command_line_ends_with_what_was_expected(workplace, command_line, message):
    says(message, *command_line)


@pytest.mark.parametrize("command_line", [["--learning_rte", "1"], ["--learning", "1"]], ids=["unknown", "abbreviated"])
def test_an_unknown_flag_is_refused(workplace, capsys, command_line):
    with pytest.raises(SystemExit):
        run(*command_line)
    assert f"unrecognized arguments: {' '.join(command_line)}" in capsys.readouterr().err


def test_a_knob_that_pre_training_fixed_can_not_be_set_by_fine_tuning(finished, workplace):
    shutil.copytree(finished / "out" / "pretrained", workplace / "given")
    write_config(workplace, finetune={**FINETUNE, "knobs": {"lstm_layers": 2, "target_activation": "sigmoid"}})
    says(r"knobs \['lstm_layers'\] were fixed by pre-training; fine-tuning may set conversion_input, ", "--phases", "finetune",
         "--model", "given")  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (record("r7", "[Ann|per]", "other"), r"record 'r7' is typed with 'other'; this run knows src, tgt"),
        (record("r7", "[Ann|artst]"), r"record 'r7': 'artst' is not a type of ontology 'src' .*did you mean 'artist'"),
        (
            {"id": "r7", "text": "Ann", "mentions": [{"start": 0, "end": 9}]},
            r"typing\.jsonl:2: record 'r7': .*out of range",
        ),
        ({"id": "r7"}, r"typing\.jsonl:2: the key 'text' is missing; expected a record such as"),
    ],
    ids=["unknown ontology", "unknown type", "out of range", "no text"],
)
def test_a_bad_record_ends_the_run_with_its_place(workplace, bad, message):
    lines = [json.dumps(r) for r in (SOURCE[0], bad)]
    (workplace / "typing.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    says(message)


def test_the_direct_baseline_without_dev_data_of_the_target_is_an_error(finished, workplace):
    shutil.copytree(finished / "out" / "pretrained", workplace / "given")
    says(r"Direct baseline needs dev_data with target types", "--phases", "finetune", "--model", "given", "--dev_data",
         "dev_source.jsonl")  # fmt: skip


@pytest.mark.parametrize(
    ("command_line", "message"),
    [
        (["--encoder", "no/encoder"], "encoder 'no/encoder' is neither a folder here nor can it be fetched"),
        (
            ["--phases", "finetune", "--model", "out/no"],
            "model 'out/no' is neither a folder here nor can it be fetched",
        ),
    ],
)
def test_weights_that_are_not_there_are_an_error_that_names_them(workplace, command_line, message):
    says(message, *command_line)


# -------------------------------------------------------------------- parts


@pytest.mark.parametrize(("share", "held"), [(0.0, 0), (0.25, 1), (0.5, 2), (1.0, 4)])
def test_whole_documents_are_held_out_and_only_their_records_with_mentions(share, held):
    records = []
    for document in "abcd":
        records += [record(f"{document}{i}", "[Ann|artist] left" if i else "Nobody.") for i in range(3)]
    records += [record("e0", "Nobody.")]
    for r in records:
        r["doc_id"] = r["id"][0]
    kept, out = hold_out_documents(records, share, seed=0)
    assert len({r["doc_id"] for r in out}) == held and len(out) == 2 * held
    assert not {r["doc_id"] for r in out} & {r["doc_id"] for r in kept}
    assert all(r["mentions"] for r in out)
    assert (kept, out) == hold_out_documents(records, share, seed=0)


def test_the_errors_of_bad_input_are_value_errors():
    assert issubclass(ArgumentError, ValueError) and issubclass(RecordError, ValueError)

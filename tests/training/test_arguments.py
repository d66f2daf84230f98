"""The keys of a YAML and the command line, and the parts that phases are made of."""

from __future__ import annotations

import json
import shutil

import pytest

from finener.data_scripts.schema import RecordError
from finener.paths import ROOT
from finener.training import phases
from finener.training.arguments import ArgumentError, parse_arguments
from finener.training.records import hold_out_documents

from runs import FINETUNE, PRETRAIN, SOURCE, record, run, says, write_config

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
        ({"num_train_epochs": "twenty"}, r"^train_finener: num_train_epochs.*: invalid float value: 'twenty'$"),
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
        ("a: [1\n", r"run\.yaml: not YAML .*line 2"),
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
        (
            ["--learning_rte", "1"],
            r"^train_finener: there is no argument --learning_rte; did you mean 'learning_rate'\?$",
        ),
        (["--learning", "1"], r"there is no argument --learning; did you mean"),
        (["--num_train_epochs", "twenty"], r"num_train_epochs.*: invalid float value: 'twenty'$"),
        (["--learning_rate", "-1"], r"learning_rate must be at least 0, such as 0\.001; got -1$"),
        (["--report_to", "wundb"], r"report_to: there is no tracker 'wundb'; there are .*wandb"),
        (["--report_to", "comet_ml"], r"report_to: comet_ml is not installed \(installed: .*\): pip install comet_ml$"),
        (["--eval_strategy", "often"], r"often is not a valid IntervalStrategy, please select one of"),
        (["--phases", "tune"], r"unknown phase 'tune'; there are pretrain, finetune, direct"),
        (["--phase", "finetune", "--phases", "pretrain"], r"choose what to run with --phases finetune"),
    ],
)
def test_a_mistake_on_the_command_line_ends_with_what_was_expected(workplace, command_line, message):
    says(message, *command_line)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [("learning_rate", "-1", "at least 0"), ("report_to", "comet_ml", "not installed")],
)
def test_a_value_that_can_not_be_is_told_before_anything_is_loaded(workplace, argument, value, message):
    write_config(workplace, encoder="no/such/encoder")
    says(f"{argument}.*{message}", f"--{argument}", value)


def test_debug_shows_the_whole_trace(workplace):
    write_config(workplace)
    with pytest.raises(ArgumentError, match="there is no argument --learning_rte"):
        run("--learning_rte", "1", "--debug")
    with pytest.raises(SystemExit):
        run("--learning_rte", "1")


def test_a_librarys_refusal_is_its_last_line(workplace, monkeypatch):
    write_config(workplace)

    def refuse(*_):
        raise ValueError("a paragraph\n\nwith a reason at its end\n")

    monkeypatch.setattr(phases, "run_phase", refuse)
    says(r"^train_finener: with a reason at its end \(--debug shows where\)$")


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

"""``finener score`` and ``report`` on files, and the metric for ``evaluate``."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from finener.data_scripts.record_files import write_records
from finener.metrics.__main__ import main
from finener.metrics.counting import score_records
from finener.metrics.scoring import Options, judge, score

from judged import ANN, GOLD, PREDICTED, TEXT, record

METRIC = str(Path(__file__).resolve().parents[2] / "metrics" / "finener_metric.py")


@pytest.fixture
def files(tmp_path, target):
    target.to_json(tmp_path / "tgt.json")
    write_records(GOLD, tmp_path / "gold.jsonl")
    write_records(PREDICTED, tmp_path / "pred.jsonl")
    write_records([record("t", {ANN: ["per"]})], tmp_path / "train.jsonl")
    return tmp_path


def run(folder, command="score", **arguments):
    options = {"gold": "gold.jsonl", "pred": "pred.jsonl", "ontology": "tgt.json"} | arguments
    flags = [[f"--{name}", str(folder / value)] for name, value in options.items()]
    return main([command, *itertools.chain(*flags)])


def test_the_command_prints_and_writes_what_was_measured(files, capsys, target):
    assert run(files, train="train.jsonl", output_file="out/scores.json", baseline="gold.jsonl") == 0
    printed = capsys.readouterr().out
    written = json.loads((files / "out/scores.json").read_text(encoding="utf-8"))
    assert written["scores"] == score_records(GOLD, PREDICTED, target) | {
        name: value for name, value in written["scores"].items() if name.startswith("given")
    }
    for name, label in (("mention", "detection"), ("typed", "typed, strict"), ("macro", "typed, loose macro")):
        figures = [f"{written['scores'][f'{name}_{part}']:.3f}" for part in ("precision", "recall", "f1")]
        low, high = written["intervals"][f"{name}_f1"]
        assert re.search(rf"^{label} +{' +'.join(figures)} +{low:.3f}–{high:.3f}$", printed, re.M)
    assert re.search(rf"^strict accuracy +{written['scores']['given_strict']:.3f}", printed, re.M)
    row = written["difference"]["typed_f1"]
    assert re.search(rf"^typed, strict, F1 +{re.escape(format(row['difference'], '+.3f'))} ", printed, re.M)
    assert written["difference"]["typed_f1"]["difference"] == written["scores"]["typed_f1"] - 1
    assert re.search(r"^loc\.city +1 +1 +1\.000 +1\.000 +1\.000 +0$", printed, re.M)
    assert re.search(r"^unseen in training +typed, strict", printed, re.M)


def test_one_document_has_no_interval_and_the_command_says_so(files, capsys):
    write_records([{**r, "doc_id": "d"} for r in GOLD], files / "gold.jsonl")
    assert run(files, output_file="scores.json") == 0
    assert "There are no intervals: a bootstrap needs at least two documents" in capsys.readouterr().out
    assert json.loads((files / "scores.json").read_text())["intervals"] == {}


@pytest.mark.parametrize("command", ["score", "report"])
@pytest.mark.parametrize(
    ("name", "records", "message"),
    [
        ("gold.jsonl", [], "there are no gold records to score against"),
        ("pred.jsonl", PREDICTED[:1], "gold record 'b': no prediction has this id"),
        (
            "pred.jsonl",
            [PREDICTED[0], {**PREDICTED[1], "text": TEXT + "!"}],
            "gold record 'b': its prediction has another text",
        ),
        (
            "pred.jsonl",
            [record("a", {ANN: ["pe"]})],
            "pred.jsonl:1: record 'a': mention 0: unknown type: 'pe' is not a type",
        ),
        (
            "gold.jsonl",
            [record("a", {ANN: ["artist"]}, ontology="src")],
            "expected types of the ontology 'tgt', the record says 'src'",
        ),
    ],
    ids=["empty gold", "missing", "other text", "unknown type", "other ontology"],
)
def test_bad_files_are_an_error_that_says_what_is_wrong(files, capsys, command, name, records, message):
    write_records(records, files / name)
    assert run(files, command, **({"output_dir": "out"} if command == "report" else {})) == 1
    assert message in capsys.readouterr().err
    assert not (files / "out").exists()


# -------------------------------------------------------------------- the evaluate metric


def test_the_evaluate_metric_scores_as_the_functions_do(target, tmp_path, monkeypatch):
    evaluate = pytest.importorskip("evaluate", reason="evaluate is not installed: the metric is for it alone")
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path)
    metric = evaluate.load(METRIC)
    bare = [{k: v for k, v in r.items() if k != "source"} for r in PREDICTED]  # left-out keys have their defaults
    found = metric.compute(predictions=bare, references=GOLD, ontology=target, decay=0.25)
    assert found == score(judge(GOLD, PREDICTED, target), Options(0.25, resamples=0))
    assert found["scores"]["partial_f1"] != score_records(GOLD, PREDICTED, target)["partial_f1"]


def test_the_evaluate_metric_takes_records_one_by_one_and_names_what_is_wrong(target, tmp_path, monkeypatch):
    evaluate = pytest.importorskip("evaluate", reason="evaluate is not installed: the metric is for it alone")
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path)
    metric = evaluate.load(METRIC)
    for gold, predicted in zip(GOLD, PREDICTED, strict=True):
        metric.add(prediction=predicted, reference=gold)
    with pytest.raises(ValueError, match="needs the ontology of the types"):
        metric.compute()
    with pytest.raises(ValueError, match="unknown key 'txt'"):
        metric.add(prediction={"id": "a", "txt": ""}, reference=GOLD[0])

"""How fast and how good an exported model is: torch, ONNX, and ONNX with 8-bit weights, on the same texts.

Each figure of time is a median over interleaved runs over all texts, from text to mentions. Besides the seconds that pass, the processor's
time is measured on one thread, which other work on the machine disturbs less. F1 is that of the gold records. Writes results/onnx.json.

Usage: python benchmarks/onnx_speed.py --model outputs/quickstart [--texts A.jsonl B.jsonl] [--gold C.jsonl] [--threads 2] [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from finener.answers_finener import ontology_of_head
from finener.data_scripts.record_files import read_records
from finener.export.onnx_folder import export_onnx, quantize_folder
from finener.metrics.scoring import Options, judge, score
from finener.onnx_finener import READER_NAME, TYPES_NAME, OnnxPipeline
from finener.ontology_finener import Ontology
from finener.paths import ROOT
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.records import load_pipeline
from finener.training.records import data_hash
from finener.training.results import versions

Answer = list[list[dict[str, Any]]]
SAMPLE = ROOT / "examples" / "aida_sample"
SHOWN = ("mention_f1", "pair_f1")
FORMS = ("onnx", "onnx int8")


def export_forms(pipe: FinenerPipeline, work: Path) -> dict[str, Path]:
    """The folders of both exported forms."""
    folders = {form: work / form.replace(" ", "-") for form in FORMS}
    whole, quantized = folders.values()
    export_onnx(pipe, whole)
    quantize_folder(shutil.copytree(whole, quantized))
    return folders


def seconds(ways: Mapping[str, Callable[[Sequence[str]], Answer]], texts: Sequence[str], runs: int, clock: Any) -> dict:
    """Median seconds of each way over interleaved runs, after one that does not count, and how many times as fast as torch each is."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):
        for name, way in ways.items():
            start = clock()
            way(texts)
            if run:
                times[name].append(clock() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {
        name: statistics.median(a / b for a, b in zip(times["torch"], times[name], strict=True)) for name in FORMS
    }
    return {
        "seconds": {name: round(value, 3) for name, value in medians.items()},
        "texts_per_second": {name: round(len(texts) / value, 1) for name, value in medians.items()},
        "times_as_fast_as_torch": {name: round(value, 2) for name, value in ratios.items()},
    }


def parity(answer: Answer, expected: Answer) -> dict[str, Any]:
    """In how many texts the mentions and their types are the same, and the largest difference of a score there."""
    keys = ("start", "end", "entity_group")
    same, differences = 0, [0.0]
    for found, own in zip(answer, expected, strict=True):
        if [[*(m[k] for k in keys), set(m["types"])] for m in found] == [
            [*(m[k] for k in keys), set(m["types"])] for m in own
        ]:
            same += 1
            for a, b in zip(found, own, strict=True):
                differences += [abs(a["score"] - b["score"]), *(abs(a["types"][t] - b["types"][t]) for t in a["types"])]
    return {
        "texts": len(expected),
        "identical": same,
        "largest_difference_of_a_score": float(f"{max(differences):.2g}"),
    }


def f1(answer: Answer, gold: Sequence[Mapping[str, Any]], ontology: Ontology) -> dict[str, float]:
    """F1 of detection and of (span, type) pairs."""
    predicted = [
        {**record, "mentions": [{**m, "types": list(m["types"])} for m in mentions], "ontology": ontology.name}
        for record, mentions in zip(gold, answer, strict=True)
    ]
    told = score(judge(gold, predicted, ontology), Options(resamples=0))["scores"]
    return {name: round(told[name], 4) for name in SHOWN}


def measure(
    pipe: FinenerPipeline, work: Path, texts: Sequence[str], gold: Sequence[Mapping], threads: int, runs: int
) -> dict[str, Any]:
    """Sizes, times, parity and F1 of the three forms."""
    folders = export_forms(pipe, work)
    results: dict[str, Any] = {"megabytes": {}}
    for n_threads, clock, name in ((1, time.process_time, "processor"), (threads, time.perf_counter, "clock")):
        torch.set_num_threads(n_threads)
        ways = {"torch": pipe} | {form: OnnxPipeline(folder, n_threads) for form, folder in folders.items()}
        results[name] = {"threads": n_threads, **seconds(ways, texts, runs, clock)}
    expected = pipe(texts)
    ontology = ontology_of_head(pipe.model.config)
    asked = [record["text"] for record in gold]
    results["parity"] = {form: parity(ways[form](texts), expected) for form in FORMS}
    results["f1"] = {name: f1(way(asked), gold, ontology) for name, way in ways.items()}
    weights = sum(p.numel() * p.element_size() for p in pipe.model.parameters())
    sizes = {form: sum((folders[form] / n).stat().st_size for n in (READER_NAME, TYPES_NAME)) for form in FORMS}
    results["megabytes"] = {name: round(size / 1e6, 1) for name, size in {"torch": weights, **sizes}.items()}
    return results


def main() -> None:
    """Measures and writes the results file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a model")
    parser.add_argument(
        "--texts", type=Path, nargs="+", default=sorted(SAMPLE.glob("*.jsonl")), help="for speed, parity"
    )
    parser.add_argument("--gold", type=Path, default=SAMPLE / "test.jsonl", help="for F1")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    pipe = load_pipeline(args.model, "cpu")
    records, gold = [r for path in args.texts for r in read_records(path)], list(read_records(args.gold))
    before = os.getloadavg()[0]
    with TemporaryDirectory() as work:
        told = measure(pipe, Path(work), [r["text"] for r in records], gold, args.threads, args.runs)
    config = pipe.model.config
    results = {
        "command": " ".join(["python benchmarks/onnx_speed.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "other_work": f"load of the machine {before:.1f} before and {os.getloadavg()[0]:.1f} after",
        "versions": versions() | {name: version(name) for name in ("onnx", "onnxruntime", "onnxscript")},
        "model": {
            "encoder": config.encoder_config.model_type,
            "layers": config.encoder_config.num_hidden_layers,
            "hidden_size": config.encoder_config.hidden_size,
            "source_types": len(config.ontology),
            "target_types": len(config.target_ontology or ()),
        },
        "data": {"texts": data_hash(records), "gold": data_hash(gold), "gold_records": len(gold)},
        "runs": args.runs,
        **told,
    }
    text = json.dumps(results, indent=1) + "\n"
    (ROOT / "results" / "onnx.json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

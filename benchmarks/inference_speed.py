"""How many words a second a model reads, from text to answers, beside its encoder alone.

The encoder alone is the floor: the same tokenizer and texts, sorted by length and padded as little as can be, and nothing done with its
states. Time is that of the processor on one thread, which other work on the machine disturbs less than the clock's. Runs of all numbers of
types take turns with those of the encoder; each figure is a median, each ratio the median of the runs' own. Of a model's types the most
frequent are kept where fewer are asked for; where more are, types are added below the leaves that no mention is given. Loading and
memory are those of a fresh process. Writes results/bench_inference.json.

Usage: python benchmarks/inference_speed.py --model outputs/quickstart_pretrained [--texts A.jsonl FOLDER …] [--number 256]
           [--types 100 1000 8295 68423] [--batch_sizes 1 32] [--runs 5] [--output results/bench_inference.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from finener.benchmarks.type_counts import narrow, widen
from finener.configuration_finener import FinenerConfig
from finener.data_scripts.record_files import read_records, record_files
from finener.modeling_finener import FinenerForTokenClassification
from finener.paths import ROOT
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.records import load_pipeline
from finener.training.records import data_hash
from finener.training.results import told_command, versions, write_results
from finener.words_finener import split_words

SAMPLE = ROOT / "examples" / "aida_sample"
SENTENCE = (
    "The Mexican painter Frida Kahlo was born in Coyoacán in 1907 and married Diego Rivera, whose murals hang in the National Palace in "
    "Mexico City."
)
TIMES_ONE = 5  # calls with one sentence in a run
TEXTS_OF_A_BATCH = 32  # at most: small batches get by with fewer texts
ENCODER = "encoder"
FRESH = """
import json, re, sys, time
from pathlib import Path
import torch
from finener.prediction.records import load_pipeline
torch.set_num_threads(1)
def most():  # not getrusage's, which a process takes over from the one that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
texts, start = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")), time.process_time()
pipe = load_pipeline(sys.argv[1], "cpu")
loading, loaded = time.process_time() - start, most()
pipe(texts)
print(json.dumps([loading, loaded, most()]))
"""


@torch.no_grad()
def with_types(pipe: FinenerPipeline, size: int) -> FinenerPipeline:
    """The pipeline with as many types: see the module's docstring."""
    old, head = pipe.model.config.ontology, pipe.model.type_head.score
    by_bias = [old.ids[i] for i in head.bias.argsort(descending=True).tolist()]
    ontology = widen(old, size) if size >= len(old) else narrow(old, size, by_bias)
    model = FinenerForTokenClassification(
        FinenerConfig.from_dict({**pipe.model.config.to_dict(), "ontology": ontology})
    )
    weights = pipe.model.state_dict()
    kept = [i for i, own in enumerate(ontology.ids) if own in old]
    rows = [old.index(ontology.ids[i]) for i in kept]
    vectors, biases = torch.zeros(size, head.in_features), torch.full((size,), float(head.bias.min()))
    vectors[kept], biases[kept] = head.weight[rows], head.bias[rows]
    model.load_state_dict({**weights, "type_head.score.weight": vectors, "type_head.score.bias": biases})
    return FinenerPipeline(model=model, tokenizer=pipe.tokenizer, device="cpu")


@torch.inference_mode()
def run_encoder(pipe: FinenerPipeline, texts: Sequence[str], batch_size: int) -> None:
    """The floor: texts through the tokenizer and the encoder."""
    ids = sorted(pipe.tokenizer(list(texts), truncation=True)["input_ids"], key=len)
    for at in range(0, len(ids), batch_size):
        batch = pipe.tokenizer.pad({"input_ids": ids[at : at + batch_size]}, return_tensors="pt")
        pipe.model.encoder(**batch)


def interleaved(ways: Mapping[Any, Callable[[], Any]], runs: int) -> dict[Any, dict[str, float]]:
    """Median seconds of each way, and the median of the runs' ratios of the encoder's seconds to its own; a first run does not count."""
    times: dict[Any, list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            if run:
                times[name].append(time.process_time() - start)
    return {
        name: {
            "seconds": statistics.median(own),
            "of_the_encoder": round(statistics.median(a / b for a, b in zip(times[ENCODER], own, strict=True)), 3),
        }
        for name, own in times.items()
    }


def throughput(
    pipes: Mapping[int, FinenerPipeline], texts: Sequence[str], batch_size: int, runs: int
) -> list[dict[str, Any]]:
    """Words a second of each number of types, and of the encoder alone, whose number of types is None."""
    first = next(iter(pipes.values()))
    ways: dict[Any, Callable[[], Any]] = {ENCODER: lambda: run_encoder(first, texts, batch_size)}
    ways |= {size: lambda pipe=pipe: pipe(list(texts), batch_size=batch_size) for size, pipe in pipes.items()}
    n_words = sum(len(split_words(text)) for text in texts)
    return [
        {
            "types": None if name == ENCODER else name,
            "batch_size": batch_size,
            "words_per_second": round(n_words / told["seconds"], 1),
            "of_the_encoder": told["of_the_encoder"],
        }
        for name, told in interleaved(ways, runs).items()
    ]


def latency(pipes: Mapping[int, FinenerPipeline], runs: int) -> list[dict[str, Any]]:
    """Milliseconds of a call with one sentence, beside those of the encoder alone."""
    first = next(iter(pipes.values()))
    ways: dict[Any, Callable[[], Any]] = {ENCODER: lambda: run_encoder(first, [SENTENCE], 1)}
    ways |= {size: lambda pipe=pipe: pipe(SENTENCE) for size, pipe in pipes.items()}
    return [
        {
            "types": None if name == ENCODER else name,
            "milliseconds": round(1000 * told["seconds"], 2),
            "times_the_encoder": round(1 / told["of_the_encoder"], 2),
        }
        for name, told in interleaved(ways, runs * TIMES_ONE).items()
    ]


def fresh_process(pipe: FinenerPipeline, texts: Sequence[str]) -> dict[str, float]:
    """What a process takes that loads a model and reads texts: seconds of the processor, and megabytes at most (Linux tells them)."""
    with TemporaryDirectory() as folder:
        pipe.save_pretrained(folder)
        asked = Path(folder) / "texts.json"
        asked.write_text(json.dumps(list(texts)), encoding="utf-8")
        program = [sys.executable, "-c", FRESH, folder, str(asked)]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        on_disk = sum(path.stat().st_size for path in Path(folder).rglob("*") if path != asked)
    loading, loaded, at_most = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        "loading_seconds": round(loading, 2),
        "megabytes_on_disk": round(on_disk / 1e6, 1),
        "megabytes_loaded": round(loaded * 1024 / 1e6),
        "megabytes_at_most": round(at_most * 1024 / 1e6),
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a model before fine-tuning")
    parser.add_argument("--texts", type=Path, nargs="+", default=[SAMPLE], help="records, files or folders")
    parser.add_argument("--number", type=int, default=256, help="of texts, drawn with a fixed seed")
    parser.add_argument("--types", type=int, nargs="+", default=[100, 1000, 8295, 68423])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "bench_inference.json")
    return parser.parse_args()


def main() -> None:
    """Command line: see the module's docstring."""
    args = parse()
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    records = [r for path in args.texts for r in read_records(record_files([path]))]
    records = random.Random(0).sample(records, min(args.number, len(records)))
    texts, pipe = [r["text"] for r in records], load_pipeline(args.model, "cpu")
    if pipe.model.conversion is not None:
        sys.exit("--model must be one before fine-tuning, whose types can be made fewer and more")
    pipes, load = {size: with_types(pipe, size) for size in args.types}, os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    for size in args.batch_sizes:
        rows += throughput(pipes, texts[: TEXTS_OF_A_BATCH * size], size, args.runs)
        print(*rows[-1 - len(pipes) :], sep="\n", flush=True)
    encoder = pipe.model.config.encoder_config
    results = {
        "command": told_command(["benchmarks/inference_speed.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread",
        "versions": versions(),
        "encoder": {name: getattr(encoder, name) for name in ("model_type", "num_hidden_layers", "hidden_size")},
        "data": {"records": data_hash(records), "number": len(records)},
        "runs": args.runs,
        "rows": rows,
        "one_sentence": latency(pipes, args.runs),
        "fresh_process": [{"types": size, **fresh_process(own, texts)} for size, own in pipes.items()],
        "other_work": f"load of the machine {load:.1f} before and {os.getloadavg()[0]:.1f} after",
    }
    write_results(results, args.output)
    print(json.dumps({name: results[name] for name in ("one_sentence", "fresh_process")}, indent=1))


if __name__ == "__main__":
    main()

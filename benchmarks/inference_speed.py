"""How many words a second a model reads, from text to answers, beside its encoder alone.

The encoder alone is the floor: the same tokenizer and texts, in batches as the pipeline makes them, and nothing done with its
states. Time is that of the processor on one thread, which other work on the machine disturbs less than the clock's. Runs of all numbers of
types take turns with those of the encoder; each figure is a median, each ratio the median of the runs' own. Of a model's types the most
frequent are kept where fewer are asked for; where more are, types are added below the leaves that no mention is given. Loading and
memory are those of a fresh process. With --before the code of another commit takes turns too, in a process of its own, with the same
models. Writes results/bench_inference.json.

Usage: python benchmarks/inference_speed.py --model outputs/quickstart_pretrained [--texts A.jsonl FOLDER …] [--number 256]
           [--types 100 1000 8295 68423] [--batch_sizes 1 32] [--runs 5] [--before COMMIT] [--output results/bench_inference.json]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
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
from finener.windows_finener import BATCH_TOKENS, batches_of_like_length
from finener.words_finener import split_words

SAMPLE = ROOT / "examples" / "aida_sample"
SENTENCE = (
    "The Mexican painter Frida Kahlo was born in Coyoacán in 1907 and married Diego Rivera, whose murals hang in the National Palace in "
    "Mexico City."
)
TIMES_ONE = 5  # calls with one sentence in a run
TEXTS_OF_A_BATCH = 32  # at most: small batches get by with fewer texts
ENCODER, NOW, BEFORE = "encoder", "now", "before"
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

BEFORE_PROGRAM = """
import json, sys, time
import torch
from finener.prediction.records import load_pipeline
torch.set_num_threads(1)
pipes = [load_pipeline(folder, "cpu") for folder in sys.argv[1:]]
for line in sys.stdin:
    at, texts, batch_size = json.loads(line)
    start = time.process_time()
    pipes[at](texts, batch_size=batch_size)
    print("seconds", time.process_time() - start, flush=True)
"""

Reader = Callable[[Any, int], float]
"""Reads a text, or a list of texts, with a size of batches: the processor's seconds."""


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
def run_encoder(pipe: FinenerPipeline, texts: str | Sequence[str], batch_size: int) -> None:
    """The floor: texts through the tokenizer and the encoder."""
    texts = [texts] if isinstance(texts, str) else list(texts)
    ids = pipe.tokenizer(texts, truncation=True)["input_ids"]
    sizes = {i: len(own) for i, own in enumerate(ids)}
    for chosen in batches_of_like_length(sizes, batch_size, BATCH_TOKENS):
        batch = pipe.tokenizer.pad({"input_ids": [ids[i] for i in chosen]}, return_tensors="pt")
        pipe.model.encoder(**batch)


def seconds_of(read: Callable[[Any, int], Any], texts: Any, batch_size: int) -> float:
    """The processor's seconds that a call takes."""
    start = time.process_time()
    read(texts, batch_size)
    return time.process_time() - start


class OtherCommit:
    """Pipelines in a process that runs the code of another commit, until it is closed.

    Args:
        commit: any name that git knows. folder: an empty one. pipes: saved into it and loaded by the other code. root: of the repository.
    """

    def __init__(self, commit: str, folder: Path, pipes: Sequence[FinenerPipeline], root: Path = ROOT):
        code = subprocess.run(["git", "archive", commit], cwd=root, stdout=subprocess.PIPE, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(code)) as archive:
            archive.extractall(folder / "finener", filter="data")
        models = [folder / f"model_{at}" for at, _ in enumerate(pipes)]
        for pipe, model in zip(pipes, models, strict=True):
            pipe.save_pretrained(model)
        self.process = subprocess.Popen(
            [sys.executable, "-c", BEFORE_PROGRAM, *map(str, models)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self, at: int, texts: Any, batch_size: int) -> float:
        """The processor's seconds of the pipeline at a place. Raises RuntimeError when the other code ended."""
        self.process.stdin.write(json.dumps([at, texts, batch_size]) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("seconds "):
                return float(line.split()[1])
        raise RuntimeError("the code of the other commit ended: what it printed stands above")

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def readers_of(pipes: Mapping[int, FinenerPipeline], other: OtherCommit | None) -> dict[tuple[str, int | None], Reader]:
    """By code and number of types what reads texts; the encoder alone has None types."""
    encoder = partial(run_encoder, next(iter(pipes.values())))
    calls = {size: lambda texts, n, pipe=pipe: pipe(texts, batch_size=n) for size, pipe in pipes.items()}
    readers: dict[tuple[str, int | None], Reader] = {(ENCODER, None): partial(seconds_of, encoder)}
    readers |= {(NOW, size): partial(seconds_of, call) for size, call in calls.items()}
    if other is not None:
        readers |= {(BEFORE, size): partial(other.read, at) for at, size in enumerate(pipes)}
    return readers


def interleaved(ways: Mapping[Any, Callable[[], float]], runs: int) -> dict[Any, dict[str, float]]:
    """Median seconds of each way, and the median of the runs' ratios of the first way's seconds to its own; a first run does not count."""
    times: dict[Any, list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):
        for name, way in ways.items():
            seconds = way()
            if run:
                times[name].append(seconds)
    floor = next(iter(times.values()))
    return {
        name: {
            "seconds": statistics.median(own),
            "of_the_encoder": round(statistics.median(a / b for a, b in zip(floor, own, strict=True)), 3),
        }
        for name, own in times.items()
    }


def throughput(readers: Mapping[Any, Reader], texts: Sequence[str], batch_size: int, runs: int) -> dict[Any, dict]:
    """Words a second of each reader."""
    n_words = sum(len(split_words(text)) for text in texts)
    ways = {name: partial(read, list(texts), batch_size) for name, read in readers.items()}
    return {
        name: {
            "types": name[1],
            "batch_size": batch_size,
            "words_per_second": round(n_words / told["seconds"], 1),
            "of_the_encoder": told["of_the_encoder"],
        }
        for name, told in interleaved(ways, runs).items()
    }


def latency(readers: Mapping[Any, Reader], runs: int) -> dict[Any, dict]:
    """Milliseconds of each reader with one sentence."""
    ways = {name: partial(read, SENTENCE, 1) for name, read in readers.items()}
    return {
        name: {
            "types": name[1],
            "milliseconds": round(1000 * told["seconds"], 2),
            "times_the_encoder": round(1 / told["of_the_encoder"], 2),
        }
        for name, told in interleaved(ways, runs * TIMES_ONE).items()
    }


def of_code(code: str, batches: Sequence[Mapping[Any, dict]], single: Mapping[Any, dict]) -> dict[str, list[dict]]:
    """The rows of results of one code, beside the encoder alone."""

    def rows(told: Mapping[Any, dict]) -> list[dict]:
        return [row for (own, _), row in told.items() if own in (ENCODER, code)]

    return {"rows": [row for told in batches for row in rows(told)], "one_sentence": rows(single)}


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
    parser.add_argument("--before", metavar="COMMIT", help="whose code is measured too")
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
    with ExitStack() as stack:
        other = None
        if args.before:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            other = OtherCommit(args.before, folder, list(pipes.values()))
            stack.callback(other.close)
        readers, batches = readers_of(pipes, other), []
        for size in args.batch_sizes:
            batches.append(throughput(readers, texts[: TEXTS_OF_A_BATCH * size], size, args.runs))
            print(*batches[-1].items(), sep="\n", flush=True)
        single = latency(readers, args.runs)
        print(*single.items(), sep="\n", flush=True)
    encoder = pipe.model.config.encoder_config
    results = {
        "command": told_command(["benchmarks/inference_speed.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread",
        "versions": versions(),
        "encoder": {name: getattr(encoder, name) for name in ("model_type", "num_hidden_layers", "hidden_size")},
        "data": {"records": data_hash(records), "number": len(records)},
        "runs": args.runs,
        **of_code(NOW, batches, single),
        **({"before": {"commit": args.before, **of_code(BEFORE, batches, single)}} if args.before else {}),
        "fresh_process": [{"types": size, **fresh_process(own, texts)} for size, own in pipes.items()],
        "other_work": f"load of the machine {load:.1f} before and {os.getloadavg()[0]:.1f} after",
    }
    write_results(results, args.output)
    print(json.dumps(results["fresh_process"], indent=1))


if __name__ == "__main__":
    main()

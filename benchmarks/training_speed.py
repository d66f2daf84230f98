"""How many sentences a second a model is trained on, and in how much memory: the GPU's where there is one, else the process's.

Ways to train: with a frozen encoder whose states are stored, with a frozen encoder that reads every sentence anew, with a free one, with
a free one in bfloat16, and with one whose states are computed again for the gradient; each with every number of types. Types that the
shipped ontology lacks are added below its leaves. Each run is a fresh process, and runs of the ways take turns; a way's figure is its
median step. What steps multiply and add is counted in a run of its own, for counting takes memory. Without a GPU, time is the processor's
on one thread. Writes results/bench_training_DEVICE.json.

Usage: python benchmarks/training_speed.py --encoder outputs/encoders/all-mpnet-base-v2 --records outputs/experiments/data/wikipedia
           [--types 8295 68423] [--ways stored frozen free] [--bf16] [--compile] [--batch_size 32] [--steps 40] [--runs 3]
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, TrainerCallback

from finener.benchmarks.type_counts import widen
from finener.data_scripts.record_files import read_records, record_files
from finener.modeling_finener import FinenerForTokenClassification
from finener.ontology_finener import Ontology
from finener.paths import ROOT
from finener.training.arguments import FinenerTrainingArguments
from finener.training.records import data_hash
from finener.training.results import told_command, versions, write_results
from finener.training.start import encoder_path
from finener.training.trainer import FinenerTrainer

WAYS = {
    "stored": {"freeze": "encoder", "cache_encoder_states": True},
    "frozen": {"freeze": "encoder", "cache_encoder_states": False},
    "free": {"freeze": "nothing"},
    "bfloat16": {"freeze": "nothing", "encoder_dtype": "bfloat16"},
    "checkpointed": {"freeze": "nothing", "gradient_checkpointing": True},
}
KNOBS = {"mention_state": "lstm+encoder", "lstm_layers": 1, "lstm_hidden_size": 128}
WARM_UP = 5  # steps of a run that do not count
COUNTED = 3  # steps whose operations are counted


class StepTimes(TrainerCallback):
    """The seconds of each step after the first few, by a clock."""

    def __init__(self, clock: Callable[[], float]):
        self.clock = clock
        self.times: list[float] = []
        self.before = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = self.clock()
        if state.global_step > WARM_UP:
            self.times.append(now - self.before)
        self.before = now


class StepOperations(TrainerCallback):
    """The floating-point operations of all steps: a multiplication and an addition are two."""

    def __init__(self) -> None:
        self.counter = FlopCounterMode(display=False)
        self.number = 0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer."""
        self.counter.__enter__()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer."""
        self.counter.__exit__(None, None, None)
        self.number += self.counter.get_total_flops()


def train(
    encoder: str,
    ontology: Ontology,
    way: str,
    records: Sequence[dict],
    args: argparse.Namespace,
    folder: Path,
    watcher: TrainerCallback,
    steps: int,
) -> None:
    """A run of so many steps, which ``watcher`` watches."""
    sizes = KNOBS | {"type_vector_size": size_of(encoder)["hidden_size"]}  # as of types that start at their names
    model = FinenerForTokenClassification.from_encoder(
        encoder, ontology, start="random", encoder_layers=[-1, args.layer], **sizes
    )
    if args.compile:
        model.encoder.compile(dynamic=True)
    settings = FinenerTrainingArguments(
        **WAYS[way],
        output_dir=str(folder / "out"),
        encoder_states_folder=str(folder / "states"),
        max_steps=steps,
        per_device_train_batch_size=args.batch_size,
        bf16=args.bf16,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        disable_tqdm=True,
    )
    FinenerTrainer(model, settings, train_dataset=records, callbacks=[watcher]).train()


def gigabytes_at_most() -> float:
    """Of the GPU where there is one, else of this process (Linux tells it)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024 / 1e9


def times_apart(way: str, types: int, records: Sequence[dict], args: argparse.Namespace) -> tuple[list[float], float]:
    """Of a run in a process of its own: its steps' seconds, and the process's gigabytes at most."""
    timer = StepTimes(time.perf_counter if torch.cuda.is_available() else time.process_time)
    _run(way, types, records, args, timer, WARM_UP + args.steps)
    return timer.times, gigabytes_at_most()


def operations_apart(way: str, types: int, records: Sequence[dict], args: argparse.Namespace) -> float:
    """The floating-point operations of a step, the mean of the first few."""
    counted = StepOperations()
    _run(way, types, records, args, counted, COUNTED)
    return counted.number / COUNTED


def _run(
    way: str, types: int, records: Sequence[dict], args: argparse.Namespace, watcher: TrainerCallback, steps: int
) -> None:
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    ontology = widen(Ontology.from_json(ROOT / "ontologies" / "yago.json"), types)
    with TemporaryDirectory() as folder:
        train(args.encoder, ontology, way, records, args, Path(folder), watcher, steps)


def measure(records: Sequence[dict], args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each way and number of types."""
    times: dict[tuple[str, int], list[float]] = {cell: [] for cell in itertools.product(args.ways, args.types)}
    memory = dict.fromkeys(times, 0.0)

    def apart(what: Callable, way: str, types: int) -> Any:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            return process.submit(what, way, types, records, args).result()

    flops = {cell: apart(operations_apart, *cell) for cell in times}
    for _, (way, types) in itertools.product(range(args.runs), times):
        seconds, taken = apart(times_apart, way, types)
        times[way, types] += seconds
        memory[way, types] = max(memory[way, types], taken)
        print(f"{way}, {types:,} types: {1000 * statistics.median(seconds):.0f} ms a step", flush=True)
    for (way, types), seconds in times.items():
        step = statistics.median(seconds)
        yield {
            "way": way,
            "types": types,
            "milliseconds_per_step": round(1000 * step, 2),
            "sentences_per_second": round(args.batch_size / step, 1),
            "gigaflops_per_step": round(flops[way, types] / 1e9, 1),
            "gpu_gigabytes" if torch.cuda.is_available() else "gigabytes": round(memory[way, types], 2),
        }


def size_of(encoder: str) -> dict[str, Any]:
    """What kind of encoder it is."""
    config = AutoConfig.from_pretrained(encoder)
    return {name: getattr(config, name) for name in ("model_type", "num_hidden_layers", "hidden_size")}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", required=True, type=encoder_path, help="folder, python:PACKAGE, or Hub name")
    parser.add_argument("--records", type=Path, required=True, help="folder of records of YAGO types")
    parser.add_argument("--types", type=int, nargs="+", default=[8295, 68423])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--layer", type=int, default=6, help="that is read beside the last")
    parser.add_argument("--bf16", action="store_true", help="mixed precision")
    parser.add_argument("--compile", action="store_true", help="compile the encoder")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--output", type=Path, help="default: results/bench_training_cpu.json or …_gpu.json")
    return parser.parse_args()


def main() -> None:
    """Command line: see the module's docstring."""
    args, is_gpu = parse(), torch.cuda.is_available()
    load = os.getloadavg()[0]
    needed = args.batch_size * (args.steps + WARM_UP)
    records = list(itertools.islice(read_records(record_files([args.records], "train")), needed))
    rows = []
    for row in measure(records, args):
        print(row, flush=True)
        rows.append(row)
    results = {
        "command": told_command(["benchmarks/training_speed.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {torch.cuda.get_device_name() if is_gpu else '1 thread'}",
        "other_work": f"load of the machine {load:.1f} before and {os.getloadavg()[0]:.1f} after",
        "encoder": size_of(args.encoder),
        "runs": args.runs,
        "versions": versions(),
        "data": {"records": data_hash(records), "number": len(records)},
        "rows": rows,
    }
    write_results(results, args.output or ROOT / "results" / f"bench_training_{'gpu' if is_gpu else 'cpu'}.json")


if __name__ == "__main__":
    main()

"""How many sentences a second a model is trained on, and in how much of the GPU's memory.

Ways to train: with a frozen encoder whose states are stored, with a frozen encoder that reads every sentence anew, and with a free one;
each with every number of types. Types that the shipped ontology lacks are added below its leaves. The steps of a way are timed in several
runs, interleaved with those of the others; its figure is the median step. Writes results/bench_training_DEVICE.json.

Usage: python benchmarks/training_speed.py --encoder outputs/encoders/all-mpnet-base-v2 --records outputs/experiments/data/wikipedia
           [--types 8295 68423] [--ways stored frozen free] [--bf16] [--compile] [--batch_size 32] [--steps 40] [--runs 3]
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import TrainerCallback

from finener.benchmarks.type_counts import widen
from finener.data_scripts.record_files import read_records, record_files
from finener.modeling_finener import FinenerForTokenClassification
from finener.ontology_finener import Ontology
from finener.paths import ROOT
from finener.training.arguments import FinenerTrainingArguments
from finener.training.records import data_hash
from finener.training.results import told_command, versions, write_results
from finener.training.trainer import FinenerTrainer

WAYS = {
    "stored": {"freeze": "encoder", "cache_encoder_states": True},
    "frozen": {"freeze": "encoder", "cache_encoder_states": False},
    "free": {"freeze": "nothing"},
}
KNOBS = {"mention_state": "lstm+encoder", "lstm_layers": 1, "lstm_hidden_size": 128}
WARM_UP = 5  # steps of a run that do not count


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


def train(
    encoder: str,
    ontology: Ontology,
    way: str,
    records: Sequence[dict],
    args: argparse.Namespace,
    folder: Path,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], float | None]:
    """The seconds of each step of a run, and the gigabytes of the GPU that it took at most."""
    model = FinenerForTokenClassification.from_encoder(
        encoder, ontology, start="random", encoder_layers=[-1, args.layer], **KNOBS
    )
    if args.compile:
        model.encoder.compile(dynamic=True)
    timer = StepTimes(clock)
    settings = FinenerTrainingArguments(
        **WAYS[way],
        output_dir=str(folder / "out"),
        encoder_states_folder=str(folder / "states"),
        max_steps=args.steps + WARM_UP,
        per_device_train_batch_size=args.batch_size,
        bf16=args.bf16,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        disable_tqdm=True,
    )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    FinenerTrainer(model, settings, train_dataset=records, callbacks=[timer]).train()
    return timer.times, torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None


def measure(records: Sequence[dict], args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each way and number of types."""
    yago = Ontology.from_json(ROOT / "ontologies" / "yago.json")
    cells = list(itertools.product(args.ways, (widen(yago, size) for size in args.types)))
    times: dict[tuple[str, int], list[float]] = {(way, len(ontology)): [] for way, ontology in cells}
    memory: dict[tuple[str, int], float | None] = {}
    with TemporaryDirectory() as folder:
        for _ in range(args.runs):
            for way, ontology in cells:
                own, memory[way, len(ontology)] = train(args.encoder, ontology, way, records, args, Path(folder))
                times[way, len(ontology)] += own
    for (way, size), seconds in times.items():
        step = statistics.median(seconds)
        row = {"way": way, "types": size, "milliseconds_per_step": round(1000 * step, 2)}
        row["sentences_per_second"] = round(args.batch_size / step, 1)
        yield row | ({"gpu_gigabytes": round(memory[way, size], 2)} if memory[way, size] is not None else {})


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", required=True, help="folder or Hub name")
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
    needed = args.batch_size * (args.steps + WARM_UP)
    records = list(itertools.islice(read_records(record_files([args.records], "train")), needed))
    rows = []
    for row in measure(records, args):
        print(row, flush=True)
        rows.append(row)
    results = {
        "command": told_command(["benchmarks/training_speed.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads"
        + (f", {torch.cuda.get_device_name()}" if is_gpu else ""),
        "versions": versions(),
        "data": {"records": data_hash(records), "number": len(records)},
        "rows": rows,
    }
    write_results(results, args.output or ROOT / "results" / f"bench_training_{'gpu' if is_gpu else 'cpu'}.json")


if __name__ == "__main__":
    main()

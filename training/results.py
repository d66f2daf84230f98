"""The results file of a phase, and what is printed of it."""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from finener.configuration_finener import FinenerConfig
from finener.data_scripts.record_files import count_rows
from finener.metrics.tables import scores_table
from finener.ontology_finener import Ontology
from finener.training.arguments import FinenerArguments, FinenerTrainingArguments
from finener.training.phase_data import PhaseData
from finener.training.records import data_hash, files_hash

# What a results file keeps of the phases that the model went through before.
EARLIER_KEYS = (
    "phase",
    "encoder",
    "ontology",
    "seed",
    "config",
    "versions",
    "data",
    "records",
    "type_support",
    "unpredictable",
)


def earlier_phases(args: FinenerArguments) -> list[dict[str, Any]]:
    """What the results file beside the model that fine-tuning starts from tells of how it was made, oldest first."""
    before = Path(args.model or "") / "results.json"
    if args.phase == "pretrain" or not before.is_file():
        return []
    results = json.loads(before.read_text(encoding="utf-8"))
    return [*results["earlier"], {key: results[key] for key in EARLIER_KEYS}]


def run_facts(
    args: FinenerArguments, training: FinenerTrainingArguments, config: FinenerConfig, ontology: Ontology
) -> dict[str, Any]:
    """What every results file tells of its run."""
    earlier = earlier_phases(args)
    return {
        "name": Path(training.output_dir).name,
        "phase": args.phase,
        "earlier": earlier,
        "encoder": earlier[0]["encoder"] if earlier else args.encoder or config.encoder_config.model_type,
        "ontology": ontology.name,
        "seed": training.seed,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "config": {**dataclasses.asdict(args), **_changed(training)},
        "versions": versions(),
    }


def data_facts(data: PhaseData) -> dict[str, Any]:
    """Hashes and numbers of a phase's records. Of a stream: those of its files, and in how many windows (``sampled``) types and mentions
    were counted.
    """
    parts = ("train", "dev", "test") if data.stream is None else ("dev", "test")
    hashes = {name: data_hash(getattr(data, name)) for name in parts}
    numbers = {name: len(getattr(data, name)) for name in parts}
    if data.stream is not None:
        hashes["train_files"] = files_hash(data.stream.all_files)
        numbers |= {"train": count_rows(data.stream.all_files), "sampled": len(data.train)}
    return {"data": hashes, "records": numbers}


def write_results(args: FinenerArguments, output_dir: Path, results: Mapping[str, Any]) -> None:
    """Writes the results file into the output folder and to where ``results_file`` wants it."""
    for path in {output_dir / "results.json", Path(args.results_file or output_dir / "results.json")}:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def print_scores(results: Mapping[str, Any]) -> None:
    """Prints the table of the test part, and what Direct could reach at most."""
    if results["test"]:
        print(f"\nTest part, {results['records']['test']} records:\n{scores_table(results['test'])}")
    if "direct" in results:
        reach = results["direct"]["reach"]
        print(
            f"Direct: threshold {results['direct']['threshold']:.2f}, tuned on dev; its mapping reaches {reach['types']:.0%} of the target "
            f"types, {reach['gold_types']:.0%} of those in the test part and {reach['gold_mentions']:.0%} of its mentions"
        )


def _changed(training: FinenerTrainingArguments) -> dict[str, Any]:
    """The training arguments that differ from transformers' own defaults, without those that name places on a machine."""
    places = {"output_dir", "logging_dir", "resume_from_checkpoint", "hub_token", "local_rank", "accelerator_config"}
    return {
        f.name: getattr(training, f.name)
        for f in dataclasses.fields(TrainingArguments)
        if f.init
        and f.name not in places
        and isinstance(getattr(training, f.name), (str, int, float, bool))
        and getattr(training, f.name) != f.default
    }


def versions() -> dict[str, str]:
    """What the numbers were made with."""
    packages = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "huggingface_hub", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}

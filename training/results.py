"""The results file of a phase, and what is printed of it."""

from __future__ import annotations

import dataclasses
import json
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainingArguments

from finener.configuration_finener import FinenerConfig
from finener.data_scripts.record_files import count_rows
from finener.json_finener import read_json
from finener.metrics.counting import type_support
from finener.metrics.places import base_model, is_hub_name
from finener.metrics.tables import scores_table
from finener.ontology_finener import Ontology
from finener.training.arguments import FinenerArguments, FinenerTrainingArguments, TrainerSettings
from finener.training.phase_data import PhaseData
from finener.training.records import data_hash, files_hash
from finener.training.stream import RecordStream, first_windows

if TYPE_CHECKING:
    from finener.training.trainer import FinenerTrainer

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


def earlier_phases(model: str | None) -> list[dict[str, Any]]:
    """What the results file beside the model that a phase starts from tells of how it was made, oldest first."""
    before = Path(model or "") / "results.json"
    if not model or not before.is_file():
        return []
    results = read_json(before)
    if not results.keys() >= {"earlier", *EARLIER_KEYS}:  # another program's file
        return []
    return [*results["earlier"], {key: results[key] for key in EARLIER_KEYS}]


def told_command(arguments: Sequence[str]) -> str:
    """A command line as results tell it: without the folder of the program, and without tokens, which are secrets."""
    told = " ".join([Path(arguments[0]).name, *arguments[1:]])
    return re.sub(r"(--?\w*token[= ]+)\S+|hf_\w{8,}", lambda found: f"{found[1] or ''}***", told)


def run_facts(
    args: FinenerArguments, training: FinenerTrainingArguments, config: FinenerConfig, ontology: Ontology
) -> dict[str, Any]:
    """What every results file tells of its run."""
    earlier = earlier_phases(args.model)
    facts = {
        "name": Path(training.output_dir).name,
        "phase": args.phase,
        "earlier": earlier,
        "encoder": earlier[0]["encoder"] if earlier else args.encoder or config.encoder_config.model_type,
        "ontology": ontology.name,
        "seed": training.seed,
        "command": told_command(sys.argv),
        "config": {**dataclasses.asdict(args), **_settings(training)},
        "versions": versions(),
    }
    return facts | {"base_model": base_model(facts)}


def data_facts(data: PhaseData) -> dict[str, Any]:
    """Hashes and numbers of a phase's records. Of a stream: those of its files, and in how many windows (``sampled``) types and mentions
    were counted.
    """
    parts = ("train", "dev", "test") if data.stream is None else ("dev", "test")
    hashes = {name: data_hash(getattr(data, name)) for name in parts}
    numbers = {name: len(getattr(data, name)) for name in parts}
    if data.stream is not None:
        hashes["train_files"] = files_hash(data.stream.all_sources)
        numbers |= {"train": count_rows(data.stream.all_sources), "sampled": len(data.train)}
    return {"data": hashes, "records": numbers}


def dev_facts(metrics: Mapping[str, float], log: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The dev scores of the model that is kept, and the curve of every logged value.

    Args:
        metrics: of ``Trainer.evaluate``; empty without dev records.
        log: the trainer's history.
    """
    keep = ("score", "precision", "recall", "f1", "strict", "loss")
    return {
        "scores": {k.removeprefix("eval_"): round(v, 6) for k, v in metrics.items() if k.endswith(keep)},
        "curve": [{k: v for k, v in row.items() if k == "epoch" or "loss" in k or k.endswith("_score")} for row in log],
    }


def results_of_trainer(trainer: FinenerTrainer, name: str | None = None) -> dict[str, Any]:
    """The results of a trainer that was used without a YAML, in the form of a phase's results file; nothing is tested.

    Of a stream nobody knows the number of records: types and mentions are those of its beginning, ``sampled`` windows.
    """
    config, train = trainer.model.config, trainer.train_dataset
    ontology = config.target_ontology or config.ontology
    earlier = earlier_phases(config.name_or_path)
    windows, is_stream = first_windows(train) if train is not None else [], isinstance(train, RecordStream)
    came_from = config.name_or_path if is_hub_name(config.name_or_path) else None
    results = {
        "name": name or Path(trainer.args.output_dir).name,
        "phase": "pretrain" if config.target_ontology is None else "finetune",
        "earlier": earlier,
        "encoder": earlier[0]["encoder"] if earlier else config.encoder_config.model_type,
        "ontology": ontology.name,
        "seed": trainer.args.seed,
        "command": "FinenerTrainer, in Python",
        "config": {
            "encoder" if config.target_ontology is None else "model": came_from,
            "typing_data": ["records in memory"],
            "detection_data": [],
            **_settings(trainer.args),
        },
        "versions": versions(),
        "type_support": type_support(windows, ontology),
        "unpredictable": trainer.unpredictable.to_dict(),
        "dev": dev_facts(_kept_scores(trainer), trainer.state.log_history),
        "data": {} if is_stream else {"train": data_hash(windows)},
        "records": ({"train": "a stream", "sampled": len(windows)} if is_stream else {"train": len(windows)})
        | {"test": 0},
        "test": {},
        "shown": [],
    }
    return results | {"base_model": base_model(results)}


def _kept_scores(trainer: FinenerTrainer) -> dict[str, float]:
    """The logged dev scores, of every set, of the model that is kept: the best one's where that was loaded at the end, else the last."""
    rows = [row for row in trainer.state.log_history if any(k.endswith("_score") for k in row)]
    best = trainer.state.best_global_step if trainer.args.load_best_model_at_end else None
    step = best or max((row["step"] for row in rows), default=None)
    # Of one step the first: what trainer.evaluate is given later need not be the dev records.
    return {k: v for row in reversed(rows) if row["step"] == step for k, v in row.items()}


def write_results(results: Mapping[str, Any], *paths: Path) -> None:
    """Writes a results file to one or several places."""
    for path in dict.fromkeys(paths):
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


def _settings(training: TrainingArguments) -> dict[str, Any]:
    """The trainer's settings, and transformers' arguments that differ from their defaults, without those that name places on a machine."""
    places = {"output_dir", "logging_dir", "resume_from_checkpoint", "hub_token", "local_rank", "accelerator_config"}
    settings = training if isinstance(training, TrainerSettings) else TrainerSettings()
    own = {f.name: getattr(settings, f.name) for f in dataclasses.fields(TrainerSettings)}
    return own | {
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
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"python": platform.python_version(), **{name: version(name) for name in packages}, "device": device}

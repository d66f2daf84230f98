"""A round of feedback on the AIDA sample: is a model better for having its output on new texts corrected?

    python scripts/feedback.py --model outputs/quickstart_pretrained

One half of the sample's training documents is what one has, the other half are new texts. A model fine-tuned on the first half predicts the
second, its output is corrected, and the same pre-trained model is fine-tuned again on both. No person corrects anything here: the sample's
gold mentions stand for what a person makes of the output. See docs/training.md. Run it where the paths of configs/quickstart.yaml begin.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from finener.data_scripts.record_files import read_records, write_records
from finener.data_scripts.tables import text_table
from finener.metrics.counting import add_counts, count_end_to_end
from finener.metrics.pairing import pair_records
from finener.metrics.tables import MEASURES
from finener.ontology_finener import Ontology
from finener.paths import ROOT
from finener.prediction.records import load_pipeline, predict_records
from finener.training.arguments import parse_arguments
from finener.training.phases import run_phase
from finener.training.records import data_hash
from finener.training.results import versions

Record = Mapping[str, Any]

CONFIG = ROOT / "configs" / "quickstart.yaml"
# Of the quickstart: pre-training's own keys, what is set for each run, and what a round has no use for.
LEFT_OUT = ("encoder", "ontology", "seed", "output_dir", "typing_data", "mapping", "show")
SEEDS = (1, 2, 3)
SCORES = ("mention_f1", "typed_f1", "partial_f1", "pair_f1")
WORK = {
    "left": "left as they were",
    "retyped": "type changed",
    "added": "boundaries added",
    "removed": "boundaries removed",
}


# ---------------------------------------------------------------- what a person does


def halves(records: Iterable[Record]) -> tuple[list[Record], list[Record]]:
    """What one has, and the new texts: every other document, in the order of the file, so that both halves hold news and encyclopaedia."""
    records = list(records)
    documents = list(dict.fromkeys(r["doc_id"] for r in records))
    had = set(documents[::2])
    return [r for r in records if r["doc_id"] in had], [r for r in records if r["doc_id"] not in had]


def correct(predicted: Iterable[Record], gold: Iterable[Record]) -> list[dict[str, Any]]:
    """Predicted records with their mentions put right; every name is marked now, so they may train detection too."""
    return [
        {**guess, "mentions": right["mentions"], "exhaustive": True}
        for guess, right in zip(predicted, gold, strict=True)
    ]


def count_work(predicted: Iterable[Record], corrected: Iterable[Record], ontology: Ontology) -> dict[str, int]:
    """What a person did to the mentions. A moved boundary is one removed and one added; types are compared with their ancestors."""
    pairs = pair_records(corrected, predicted, ontology)
    counts = add_counts(count_end_to_end(pair, ontology) for pair in pairs)
    spans, left = int(counts["mention_hit"]), int(counts["typed_hit"])
    return {
        "left": left,
        "retyped": spans - left,
        "added": int(counts["mention_gold"]) - spans,
        "removed": int(counts["mention_predicted"]) - spans,
    }


# ---------------------------------------------------------------- a round


def read_settings() -> dict[str, Any]:
    """The quickstart's fine-tuning without its Direct baseline. Detection is trained as well, for corrected boundaries shall count."""
    content = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    shared = {key: value for key, value in content.items() if key not in ("phases", "pretrain", "finetune")}
    settings = {**shared, **content["finetune"]}
    return {key: value for key, value in settings.items() if key not in LEFT_OUT} | {"freeze": "encoder"}


def finetune(settings: Mapping[str, Any], output_dir: Path, data: Sequence[Path], seed: int) -> dict[str, Any]:
    """Fine-tunes on some files and returns the results. All runs share the states of the frozen encoder."""
    own = {
        "phases": ["finetune"],
        "output_dir": str(output_dir),
        "typing_data": [str(path) for path in data],
        "encoder_states_folder": str(output_dir.parent / "states"),
        "seed": seed,
    }
    path = output_dir.parent / f"{output_dir.name}.yaml"
    path.write_text(yaml.safe_dump({**settings, **own}), encoding="utf-8")
    ((args, training),) = parse_arguments(["--config", str(path)])
    return run_phase(args, training)


def told_scores(results: Mapping[str, Any]) -> dict[str, float]:
    """The scores that are told here, of a run's results."""
    return {name: results["test"]["fine-tuned"][name] for name in SCORES}


def one_round(
    settings: Mapping[str, Any], had: Sequence[Record], new: Sequence[Record], folder: Path, seed: int
) -> dict[str, Any]:
    """Trains, predicts the new texts, corrects, and trains again from the same pre-trained model."""
    own, feedback = folder / "own.jsonl", folder / "corrected.jsonl"
    write_records(had, own)
    before = finetune(settings, folder / f"before_{seed}", [own], seed)
    pipe = load_pipeline(str(folder / f"before_{seed}"))
    predicted = list(predict_records(pipe, new))
    corrected = correct(predicted, new)
    write_records(corrected, feedback)
    after = finetune(settings, folder / f"after_{seed}", [own, feedback], seed)
    return {
        "seed": seed,
        "before": told_scores(before),
        "after": told_scores(after),
        "work": count_work(predicted, corrected, pipe.model.config.target_ontology),
        "earlier": before["earlier"],
    }


def rounds(model: str, seeds: Sequence[int]) -> dict[str, Any]:
    """A round with each seed, and what is to be known of them."""
    torch.set_num_threads(1)  # results must not depend on the number of cores
    started, settings = time.time(), {**read_settings(), "model": model}
    train = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["finetune"]["typing_data"]
    had, new = halves(r for path in train for r in read_records(path))
    dev, test = ([r for path in settings[f"{part}_data"] for r in read_records(path)] for part in ("dev", "test"))
    parts = {"had": had, "new": new, "dev": dev, "test": test}
    with tempfile.TemporaryDirectory() as folder:
        runs = [one_round(settings, had, new, Path(folder), seed) for seed in seeds]
    (earlier, *_) = [run.pop("earlier") for run in runs]
    return {
        "name": "feedback",
        "command": f"python scripts/feedback.py --model {model}",
        "earlier": earlier,
        "config": settings,
        "seeds": list(seeds),
        "data": {name: data_hash(records) for name, records in parts.items()},
        "records": {name: len(records) for name, records in parts.items()},
        "documents": {name: len({r["doc_id"] for r in records}) for name, records in parts.items()},
        "mentions": {name: sum(len(r["mentions"]) for r in records) for name, records in parts.items()},
        "versions": versions(),
        "runs": runs,
        "summary": summary(runs),
        "seconds": round(time.time() - started, 1),
    }


# ---------------------------------------------------------------- what is told


def mean_and_sd(values: Sequence[float]) -> dict[str, float]:
    """Over the seeds; one value has no spread."""
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else 0.0}


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Mean and standard deviation of the scores before and after, of the gain of each seed, and of the work."""
    values = {part: {name: [run[part][name] for run in runs] for name in runs[0][part]} for part in ("before", "after")}
    values["gain"] = {name: [run["after"][name] - run["before"][name] for run in runs] for name in runs[0]["after"]}
    values["work"] = {name: [run["work"][name] for run in runs] for name in WORK}
    return {part: {name: mean_and_sd(v) for name, v in scores.items()} for part, scores in values.items()}


def score_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """A line for each measure: before, after, gain."""
    told = results["summary"]
    return [
        [
            MEASURES[name.removesuffix("_f1")],
            *(f"{told[part][name]['mean']:.3f} ± {told[part][name]['sd']:.3f}" for part in ("before", "after")),
            f"{told['gain'][name]['mean']:+.3f} ± {told['gain'][name]['sd']:.3f}",
        ]
        for name in SCORES
    ]


def work_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """A line for each kind of work."""
    told = results["summary"]["work"]
    return [[label, f"{told[name]['mean']:.0f} ± {told[name]['sd']:.0f}"] for name, label in WORK.items()]


def report(results: Mapping[str, Any]) -> str:
    """The page for the terminal."""
    records, seeds = results["records"], len(results["seeds"])
    scores = text_table(["F1 on the test part", "before", "after", "gain"], score_rows(results))
    work = text_table(
        [f"new texts, {results['mentions']['new']} mentions once corrected", "mentions"], work_rows(results)
    )
    return (
        f"Trained on {records['had']} records, then on {records['had'] + records['new']}; mean ± standard deviation of {seeds} seeds\n\n"
        f"{scores}\n\n{work}\n\nGold mentions stand for a person's corrections."
    )


def main(command_line: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="outputs/quickstart_pretrained", help="folder of a pre-trained model")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "feedback.json", help="JSON to write")
    args = parser.parse_args(command_line)
    if not (Path(args.model) / "config.json").is_file():
        sys.exit(f"feedback: {args.model} is no pre-trained model: run `make quickstart`, which makes one there")
    results = rounds(args.model, SEEDS)
    args.output.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(report(results))


if __name__ == "__main__":
    main()

"""Makes the release models: trained on all the open data there are, ready for the Hub, what is not made yet.

    python -m finener.release --data ../shared/data --plan     # what there is to make, and how long it takes
    python -m finener.release --data ../shared/data            # make it; finished models stay when you stop it
    python -m finener.release --data ../shared/data --only finener-figer-base

See docs/release.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from finener.configuration_finener import FinenerConfig
from finener.data_scripts.record_files import write_records
from finener.data_scripts.tables import text_table
from finener.experiments.data import SILVER, Fold, Record, prepare, source_fold
from finener.experiments.plan import read_tables
from finener.experiments.program import FREE
from finener.experiments.run import choose_thresholds, read_yaml, threshold_knob
from finener.experiments.tables import mean_of
from finener.metrics.card import write_card
from finener.paths import ROOT
from finener.prediction.records import load_pipeline
from finener.training.arguments import parse_arguments
from finener.training.phases import run_phase
from finener.training.results import versions
from finener.training.start import read_dtype

RECIPES = ROOT / "release"
MEASURES = {"mention_f1": "detection", "pair_f1": "(span, type) pairs", "typed_f1": "typed, strict"} | {
    "given_micro_f1": "types of gold mentions, micro"
}


@dataclass(frozen=True)
class Model:
    """A release model.

    Args:
        name: of its folder and its Hub repo.
        spec: of models.yaml.
        fold: what trains it, and of a source model what chooses its threshold.
    """

    name: str
    spec: Mapping[str, Any]
    fold: Fold

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Its YAML."""
        return yaml.safe_load((RECIPES / f"{self.name}.yaml").read_text(encoding="utf-8"))

    @property
    def folder(self) -> Path:
        """Where it is left."""
        return ROOT / self.recipe["output_dir"]

    @property
    def phase(self) -> str:
        """``pretrain`` or ``finetune``."""
        return self.recipe["phases"][0]

    def before(self, models: Mapping[str, Model]) -> Model | None:
        """The release model that it starts from, where it starts from one."""
        return models.get(Path(self.recipe.get("model", "")).name)

    def key(self, models: Mapping[str, Model]) -> str:
        """Hash of recipe and data, and of the same of the model that it starts from."""
        before = self.before(models)
        content = [self.recipe, self.fold.hashes, before and before.key(models)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


# ---------------------------------------------------------------- data


def read_list() -> dict[str, Any]:
    """models.yaml: the models, and the licences of their data."""
    return yaml.safe_load((RECIPES / "models.yaml").read_text(encoding="utf-8"))


def licence_rows(model: Model, models: Mapping[str, Model]) -> list[list[str]]:
    """(corpus, training records, licence) of what trains a model and those that it starts from.

    Raises:
        KeyError: on a corpus without a licence in models.yaml.
    """
    counts = Counter(r["source"].partition("/")[0] for r in [*model.fold.train, *model.fold.detection])
    licences, before = read_list()["licences"], model.before(models)
    rows = [[name, f"{number:,}", licences[name]] for name, number in counts.most_common()]
    earlier = licence_rows(before, models) if before else []
    return rows + [[f"{name}, through {before.name}", number, licence] for name, number, licence in earlier]


def read_models(corpora: Mapping[str, list[Record]]) -> dict[str, Model]:
    """The models of models.yaml with their data, by name, source models first."""
    return {name: Model(name, spec, model_fold(spec["data"], corpora)) for name, spec in read_list()["models"].items()}


def model_fold(data: Mapping[str, Any], corpora: Mapping[str, list[Record]]) -> Fold:
    """A source model's data, of which a part of the entities chooses the checkpoint, or the whole of a target's corpora."""
    if data["split"] == "whole":
        return Fold("all", [r for name in data["corpora"] for r in corpora[name]], [], [])
    of_plan = read_yaml("plan")["sources"]["fewnerd_inside"]["typing"]
    typing = {name: of_plan[name] for name in data["typing"]}
    spec = {"silver": SILVER, "silver_share": 1.0, "detection": data["detection"], "typing": typing}
    return source_fold(corpora, spec, read_tables(typing, "ontologies/yago.json"), [])


def write_data(model: Model) -> None:
    """Writes the files that the recipe names."""
    for part, key in (("train", "typing_data"), ("dev", "dev_data"), ("detection", "detection_data")):
        for path in model.recipe.get(key, []):
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            write_records(getattr(model.fold, part), ROOT / path)


# ---------------------------------------------------------------- a model


def result_file(name: str) -> Path:
    """What is told of a model when its weights are elsewhere."""
    return ROOT / "results" / "release" / f"{name}.json"


def is_made(model: Model, models: Mapping[str, Model]) -> bool:
    """Whether the model is in its folder, whole, and made of this recipe and these data."""
    path, weights = result_file(model.name), model.folder / "model.safetensors"
    if not path.is_file() or not weights.is_file():
        return False
    told = json.loads(path.read_text(encoding="utf-8"))
    return told["key"] == model.key(models) and told["weights"]["sha256"] == file_hash(weights)


def make(model: Model, models: Mapping[str, Model]) -> dict[str, Any]:
    """Trains a model, sets its threshold, writes its card, and returns what is told of it.

    Raises:
        FileNotFoundError: before it trains, when the experiments have no figures for the card.
        KeyError: before it trains, on a corpus without a licence.
    """
    started = time.time()
    figures, sources = held_out_figures(model.spec["figures"]), licence_rows(model, models)  # before hours of training
    write_data(model)
    (args, training), *_ = parse_arguments(["--config", str(RECIPES / f"{model.name}.yaml")])
    results = run_phase(args, training)
    shutil.rmtree(model.folder.parent / "checkpoints", ignore_errors=True)
    if model.fold.dev:
        pipe = load_pipeline(str(model.folder))
        pipe.model.encoder_autocast = read_dtype(training.encoder_dtype)
        set_threshold(model, choose_thresholds(pipe, model.fold.dev, "source")["thresholds"]["pairs"])
    results |= {"name": model.name, "encoder": model.spec["base_model"], "sources": sources}
    results |= {"base_model": model.spec["base_model"]}
    results["config"] |= {"card": model.spec.get("card", {})}
    shown = show_figures(model, results, figures)
    weights = model.folder / "model.safetensors"
    return {
        "name": model.name,
        "key": model.key(models),
        "command": f"python -m finener.release --only {model.name}",
        "seconds": round(time.time() - started, 1),
        "weights": {"sha256": file_hash(weights), "bytes": weights.stat().st_size},
        "folder_bytes": sum(path.stat().st_size for path in model.folder.rglob("*") if path.is_file()),
        **shown,
        **{name: results[name] for name in ("seed", "records", "data", "type_support", "versions")},
        "dev": results["dev"]["scores"],
    }


def set_threshold(model: Model, threshold: float) -> None:
    """Writes the threshold of a model's types into its folder."""
    config = FinenerConfig.from_pretrained(model.folder)
    setattr(config, threshold_knob(model.phase), threshold)
    config.save_pretrained(model.folder)


def show_figures(model: Model, results: dict[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the experiments' figures into the folder of a model: results, card and, of a target without dev data, the threshold.

    Args:
        results: of the training; the figures come into them. figures: of :func:`held_out_figures`.

    Returns:
        The figures and the threshold, as they are told of the model.
    """
    if not model.fold.dev and figures["threshold"] is not None:
        set_threshold(model, figures["threshold"])
    results |= {"held_out": figures["rows"], "seeds": figures["seeds"]}
    (model.folder / "results.json").write_text(
        json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    write_card(model.folder, results)
    knob = threshold_knob(model.phase)
    return {
        knob: getattr(FinenerConfig.from_pretrained(model.folder), knob),
        "figures": {**model.spec["figures"], "seeds": figures["seeds"], "scores": figures["rows"]},
    }


def renew_figures(model: Model) -> bool:
    """Brings the figures of a model that is made to those of today's experiments; whether they were others."""
    path, figures = result_file(model.name), held_out_figures(model.spec["figures"])
    told = json.loads(path.read_text(encoding="utf-8"))
    if told["figures"]["seeds"] == figures["seeds"] and told["figures"]["scores"] == figures["rows"]:
        return False
    results = json.loads((model.folder / "results.json").read_text(encoding="utf-8"))
    write_told(told | show_figures(model, results, figures))
    return True


def write_told(told: Mapping[str, Any]) -> None:
    """Writes what is told of a model."""
    path = result_file(told["name"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def held_out_figures(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What the experiments measured of the same training on a part of the data.

    Args:
        spec: ``transfer``, ``encoder`` and ``system``.

    Returns:
        ``rows``: (measure, mean ± standard deviation over the seeds); ``seeds``: how many there are; ``threshold``: the mean of those that
        dev data chose for pairs, None where there were none.

    Raises:
        FileNotFoundError: when the experiments have no such run.
    """
    pattern = "{transfer}-{encoder}-{system}-*.json".format(**spec)
    found = [
        json.loads(p.read_text(encoding="utf-8")) for p in sorted((ROOT / "results" / "experiments").glob(pattern))
    ]
    if not found:
        raise FileNotFoundError(
            f"results/experiments holds no {pattern}, whose figures the card shows: python -m finener.experiments --only "
            f"'{pattern.removesuffix('.json')}'"
        )
    chosen = [fold["thresholds"]["pairs"] for result in found for fold in result["folds"] if "thresholds" in fold]
    return {
        "rows": [[label, mean_of(found, measure)] for measure, label in MEASURES.items() if mean_of(found, measure)],
        "seeds": len(found),
        "threshold": round(sum(chosen) / len(chosen), 3) if chosen else None,
    }


def file_hash(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------- the program


def to_make(models: Mapping[str, Model], wanted: Sequence[str]) -> list[Model]:
    """The models that are asked for and not made, each after the one that it starts from."""
    names: list[str] = []
    for name, model in models.items():
        if any(fnmatch(name, pattern) for pattern in wanted) and not is_made(model, models):
            line = [m.name for m in (model.before(models), model) if m and not is_made(m, models)]
            names += [n for n in line if n not in names]
    return [models[name] for name in names]


def estimate(model: Model) -> float:
    """Seconds that a model takes: as the last time, or as long as the experiments took for a training record on such a device."""
    if result_file(model.name).is_file():
        return json.loads(result_file(model.name).read_text(encoding="utf-8"))["seconds"]
    epochs, device = model.recipe["num_train_epochs"], versions()["device"]
    pattern = "{transfer}-{encoder}-{system}-*.json".format(**model.spec["figures"])
    for path in sorted((ROOT / "results" / "experiments").glob(pattern)):
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["versions"].get("device", "cpu") == device:
            records = sum(fold["records"]["train"] + fold["records"]["detection"] for fold in told["folds"])
            visits = records * told["config"]["num_train_epochs"]
            return told["seconds"] * epochs * (len(model.fold.train) + len(model.fold.detection)) / max(1, visits)
    return FREE[model.spec["figures"]["encoder"]] * epochs * len(model.fold.train)  # targets train the encoder too


def plan_table(models: Mapping[str, Model], wanted: Sequence[str]) -> str:
    """What there is to make, a line for each model."""
    waiting = [model.name for model in to_make(models, wanted)]
    rows = []
    for name, model in models.items():
        cells = [len(model.fold.train), len(model.fold.detection), len(model.fold.dev)]
        minutes = f"{estimate(model) / 60:.0f}"
        rows.append(
            [
                name,
                "to make" if name in waiting else "made" if is_made(model, models) else "",
                *map(str, cells),
                minutes,
            ]
        )
    total = sum(estimate(models[name]) for name in waiting)
    return (
        f"{text_table(['model', '', 'train', 'detection', 'dev', 'minutes'], rows)}\n\nabout {total / 60:.0f} minutes"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m finener.release", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the raw corpora, see docs/experiments.md")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="models, such as 'finener-yago-*'")
    parser.add_argument("--plan", action="store_true", help="only print what there is to make")
    args = parser.parse_args(arguments)
    data = args.data.resolve()
    os.chdir(ROOT)  # where the paths of the recipes begin
    models = read_models(prepare(data, ROOT / "outputs" / "experiments" / "data"))
    if not any(fnmatch(name, pattern) for name in models for pattern in args.only):
        parser.error(f"--only {' '.join(args.only)}: there is no such model; there are {', '.join(models)}")
    print(plan_table(models, args.only))
    if args.plan:
        return 0
    for model in to_make(models, args.only):
        told = make(model, models)
        write_told(told)
        print(f"{model.name}: {told['seconds'] / 60:.0f} minutes; {model.folder}", flush=True)
    for name, model in models.items():
        if any(fnmatch(name, pattern) for pattern in args.only) and renew_figures(model):
            print(f"{name}: its card shows today's figures of the experiments", flush=True)
    return 0

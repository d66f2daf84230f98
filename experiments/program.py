"""Runs the experiments of experiments/plan.yaml: every transfer by every system with every seed, what is not done yet.

    python -m finener.experiments --data ../shared/data --plan        # what there is to do, and how long it takes
    python -m finener.experiments --data ../shared/data               # do it; stop it and start it again as you like
    python -m finener.experiments --data ../shared/data --rerun figer-soft-1

A run is skipped when its result in results/experiments/ has the same hash of config and data. See docs/experiments.md.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from fnmatch import fnmatch
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from finener.data_scripts.holding import hold_folder
from finener.data_scripts.silver.executors import end_with_parent
from finener.data_scripts.tables import text_table
from finener.experiments.data import Fold, prepare
from finener.experiments.plan import make_quick, make_runs
from finener.experiments.run import CODE, Place, Run, code_hash, execute, read_yaml, source_model
from finener.paths import ROOT
from finener.training.results import versions

# Seconds of one core, about: for a training record in one epoch, by phase; for a text that the encoder reads; and to start, with decoding.
# A run that has a result with another seed, made on such a device, is estimated by that.
TRAIN = {"source": 0.012, "scratch": 0.003, "finetune": 0.003, "direct": 0.0}
FREE = {"minilm": 0.05, "mpnet": 0.2}  # training with a free encoder
READ = {"minilm": 0.012, "mpnet": 0.04}
START = 20.0
IN_PLACE = "see with --plan what is left to do"


def read_result(run: Run, place: Place) -> dict[str, Any] | None:
    """The result of a run, whatever it was made with; None where there is none."""
    path = place.result(run)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def is_done(run: Run, place: Place) -> bool:
    """Whether the run has a result of the same config and data."""
    result = read_result(run, place)
    return result is not None and result["key"] == run.key


def is_of_today(run: Run, place: Place) -> bool:
    """Whether the code that made a run's result is the code that is here."""
    result = read_result(run, place)
    return result is not None and result.get("code") == code_hash(CODE)


def key_file(run: Run, place: Place) -> Path:
    """Beside a source model: the key of the run that made it."""
    return place.model(run, run.folds[0]) / "key.txt"


def has_model(run: Run, place: Place) -> bool:
    """Whether a source run's model is there, and the one that its result is of."""
    mark = key_file(run, place)
    return mark.is_file() and mark.read_text(encoding="utf-8") == run.key


def to_do(runs: Sequence[Run], place: Place, renew: bool = False) -> list[Run]:
    """The runs that are not done, with ``renew`` also those that other code has done, and the source models that they need."""
    open_runs = {run.name for run in runs if not is_done(run, place) or (renew and not is_of_today(run, place))}
    lacking: dict[str, Run] = {}
    for run in runs:
        while run.source and (run.name in open_runs or run.name in lacking) and not has_model(run.source, place):
            run = lacking.setdefault(run.source.name, run.source)
    sources = [source for name, source in reversed(lacking.items()) if name not in {r.name for r in runs}]
    return [*sources, *(run for run in runs if run.name in open_runs or run.name in lacking)]


def estimate(run: Run, place: Place) -> float:
    """Seconds of one core that a run takes; of a GPU's worker where results were made on such a one."""
    device = versions()["device"]
    for path in sorted(place.results.glob(f"{run.transfer}-{run.encoder}-{run.system}-*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if result.get("versions", {}).get("device", "cpu") == device:
            return result["seconds"]
    is_free = run.config.get("freeze") == "nothing"
    train, epochs = FREE[run.encoder] if is_free else TRAIN[run.phase], run.config.get("num_train_epochs", 0)
    # A frozen encoder's states are read once and shared: the first source model has the most of the texts.
    is_first = run.phase == "source" and run.seed == 1 and run.system == next(iter(read_yaml("plan")["sources"]))
    read = READ[run.encoder] if is_free or is_first else 0.0
    return sum(
        START + read * texts_read(run, fold) + train * epochs * training_records(run, fold) for fold in run.folds
    )


def texts_read(run: Run, fold: Fold) -> int:
    """Texts that the encoder reads, but for a free encoder's training: of test with two thresholds and on gold mentions."""
    trained = 0 if run.phase == "direct" else training_records(run, fold) + len(fold.dev)
    return trained + len(fold.dev) + 3 * len(fold.test)


def training_records(run: Run, fold: Fold) -> int:
    """Records of an epoch."""
    share = run.config.get("detection_share", 0.0) if fold.detection else 0.0
    return round(len(fold.train) / (1 - share))


def plan_table(runs: Sequence[Run], place: Place, workers: int, renew: bool = False) -> str:
    """What there is to do, a line for each system of each transfer."""
    waiting = {run.name for run in to_do(runs, place, renew)}
    rows, total = [], 0.0
    for label in dict.fromkeys((run.transfer, run.encoder, run.system) for run in runs):
        own = [run for run in runs if (run.transfer, run.encoder, run.system) == label]
        seconds = sum(estimate(run, place) for run in own if run.name in waiting)
        total += seconds
        first = own[0].folds[0]
        n_open = sum(run.name in waiting for run in own)
        sizes = [len(first.train), len(first.detection), len(first.dev), len(first.test)]
        cells = [len(own), n_open, len(own[0].folds), *sizes, sum(f.removed for f in own[0].folds)]
        rows.append([" ".join(label), *map(str, cells), f"{seconds / 60:.1f}"])
    header = [
        "transfer, encoder, system",
        "runs",
        "to do",
        "folds",
        "train",
        "detection",
        "dev",
        "test",
        "removed",
        "minutes",
    ]
    told = f"{text_table(header, rows)}\n\nabout {total / workers / 60:.0f} minutes with {workers} workers"
    earlier = sum(run.name not in waiting and not is_of_today(run, place) for run in runs)
    return f"{told}; {earlier} runs were done by other code than today's: --renew does them again" if earlier else told


def work(run: Run, place: Place) -> dict[str, Any]:
    """Does a run in a worker and writes its result, whole or not at all. Source models stay."""
    result = make_source(run, place) if run.phase == "source" else execute(run, place)
    place.results.mkdir(parents=True, exist_ok=True)
    partial = place.result(run).with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(place.result(run))
    return result


def make_source(run: Run, place: Place) -> dict[str, Any]:
    """Does a source run and keeps its model, which has a key only while it is whole."""
    key_file(run, place).unlink(missing_ok=True)
    result = execute(run, place, keep=True)
    key_file(run, place).write_text(run.key, encoding="utf-8")
    return result


def do(runs: Sequence[Run], place: Place, workers: int) -> list[str]:
    """Does the runs, source models first, several at a time, and returns the names of those that failed.

    Raises:
        FolderInUse: when another program is at the same place.
    """
    with hold_folder(place.work, IN_PLACE):
        return _do(runs, place, workers)


def stages(runs: Iterable[Run]) -> list[list[Run]]:
    """The runs by how many models each builds on, none first: what a run starts from is of an earlier stage."""
    found: dict[int, list[Run]] = {}
    for run in runs:
        earlier, source = 0, run.source
        while source:
            earlier, source = earlier + 1, source.source
        found.setdefault(earlier, []).append(run)
    return [found[earlier] for earlier in sorted(found)]


def _do(runs: Sequence[Run], place: Place, workers: int) -> list[str]:
    started, done, failed = time.time(), 0, []
    for stage in stages(runs):
        # The longest first, so that none is left alone at the end.
        stage.sort(key=lambda run: -estimate(run, place))
        pool = ProcessPoolExecutor(max(1, min(workers, len(stage))), get_context("spawn"), initializer=end_with_parent)
        try:
            waiting = {pool.submit(work, run, place): run for run in stage}
            for future in as_completed(waiting):
                done += 1
                if error := future.exception():
                    failed.append(waiting[future].name)
                    told = f"{failed[-1]} FAILED: {type(error).__name__}: {error}"
                else:
                    told = summary(future.result())
                print(f"[{done}/{len(runs)}, {(time.time() - started) / 60:.1f} min] {told}", flush=True)
        finally:
            pool.shutdown(cancel_futures=True)
    return failed


def summary(result: Mapping[str, Any]) -> str:
    """A result in one line."""
    shown = {"mention_f1": "detection", "pair_f1": "pairs", "given_micro_f1": "gold mentions"}
    scores = [f"{label} {result['scores'][name]:.3f}" for name, label in shown.items() if name in result["scores"]]
    return f"{result['name']}: {', '.join(scores)}; {result['seconds']:.0f} s"


def rerun(run: Run, place: Place) -> bool:
    """Does a run again, and tells whether the predictions are the same.

    Results stay as they are. Of a run that starts from a source model which is not there, this is trained first, and kept. A source
    run is done apart, so that its model stays too; only one that goes on from another model is made anew in its place.

    Raises:
        ValueError: when there is no result to compare with.
        FolderInUse: when another program is at the same place.
    """
    before = read_result(run, place)
    if before is None:
        raise ValueError(f"{run.name} has no result in {place.results} to compare with")
    with hold_folder(place.work, IN_PLACE):
        return _rerun(run, place, before)


def _rerun(run: Run, place: Place, before: Mapping[str, Any]) -> bool:
    train_sources(run, place)
    if before["key"] != run.key:
        print(f"config or data of {run.name} changed since: expect other predictions")
    elif not is_of_today(run, place):
        print(f"the code changed since {run.name} was made: expect other predictions")
    apart = replace(place, work=place.work / "rerun")
    is_freed = run.phase == "source" and run.source
    after = make_source(run, place) if is_freed else execute(run, place if run.source else apart)
    same = before["predictions"] == after["predictions"]
    print(f"again:  {summary(after)}\nbefore: {summary(before)}\npredictions are {'the same' if same else 'DIFFERENT'}")
    return same


def train_sources(run: Run, place: Place) -> None:
    """Trains and keeps the source models that a run starts from and that are not there; their result files, if any, stay as they are."""
    if not run.source or has_model(run.source, place):
        return
    train_sources(run.source, place)
    minutes = estimate(run.source, place) / 60
    print(
        f"{run.name} starts from {run.source.name}, which is not there: training it, about {minutes:.0f} minutes",
        flush=True,
    )
    result = make_source(run.source, place)
    print(f"{summary(result)}; the model is kept in {source_model(run, place)}", flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m finener.experiments", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the raw corpora, see docs/experiments.md")
    parser.add_argument(
        "--silver", type=Path, help="silver records of YAGO types, a file or folder (default: built here)"
    )
    parser.add_argument(
        "--only", nargs="+", default=["*"], metavar="NAME", help="transfers, or runs such as 'figer-soft-*'"
    )
    parser.add_argument("--seeds", nargs="+", type=int, help="default: those of the plan")
    parser.add_argument("--plan", action="store_true", help="only print what there is to do")
    parser.add_argument(
        "--rerun",
        metavar="NAME",
        help="do one run again, its source model too where that is not there, and compare the predictions",
    )
    parser.add_argument("--renew", action="store_true", help="do again what was done by other code than today's")
    parser.add_argument("--quick", action="store_true", help="rehearse: one fold, one epoch, a few records, seed 1")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="runs at a time, a core each")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: see the module's docstring."""
    args = parse(arguments)
    plan = read_yaml("plan")
    work_dir = ROOT / "outputs" / "experiments"
    corpora = prepare(args.data, work_dir / "data", args.silver)
    everything = make_runs(plan, corpora, [1] if args.quick else sorted({*plan["seeds"], *(args.seeds or ())}))
    place = Place(work_dir, ROOT / "results" / "experiments")
    if args.quick:
        everything = make_quick(everything)
        place = Place(work_dir / "quick", work_dir / "quick" / "results")
    if args.rerun:
        named = [run for run in everything if run.name == args.rerun]
        if not named:
            some = ", ".join(run.name for run in everything[:5])
            raise ValueError(f"no run {args.rerun!r} in the plan; it has {some}, …")
        return 0 if rerun(named[0], place) else 1
    runs = [run for run in everything if any(fnmatch(run.name, p) or run.transfer == p for p in args.only)]
    runs = [run for run in runs if not args.seeds or run.seed in args.seeds]
    if not runs:
        raise ValueError(f"--only {' '.join(args.only)}: no such transfer or run in the plan")
    print(plan_table(runs, place, args.workers, args.renew))
    if not args.plan:
        failed = do(to_do(runs, place, args.renew), place, args.workers)
        if failed:
            print(f"{len(failed)} runs failed, their logs are in {place.work / 'runs'}: {', '.join(failed)}")
            return 1
    return 0

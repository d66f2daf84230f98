"""Systems that take turns, what is kept of their rounds, and medians and ratios of them."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

System = tuple[str, int | None]  # its name, and its number of types or tags, if it has any
Round = list[dict[str, Any]]  # of each system a row: "system", "types", and the seconds of what it did
NAMES = ("system", "types")


class Kept:
    """The rounds that are done, in a file, so that a benchmark that was stopped goes on."""

    def __init__(self, path: Path, asked: Mapping[str, Any]):
        """Reads the file, if it is of the same benchmark.

        Args:
            asked: what was measured and with what; rounds of anything else are dropped.
        """
        self.path, self.asked = path, json.loads(json.dumps(asked))
        self.parts: dict[str, dict[str, Any]] = {}
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["asked"] == self.asked:
                self.parts = found["parts"]

    def save(self) -> None:
        """Writes the file, as a whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({"asked": self.asked, "parts": self.parts}), encoding="utf-8")
        part.replace(self.path)

    def drop(self) -> None:
        """Removes the file: what it held is in the results."""
        self.path.unlink(missing_ok=True)


def take_turns(
    name: str, ways: Mapping[System, Callable[[], Mapping[str, float]]], runs: int, kept: Kept, *, warm_up: bool
) -> list[Round]:
    """Rounds in each of which every system runs once; those that are kept count too.

    Args:
        name: of the part of the benchmark. ways: what each system does, and how many seconds each thing took.
        warm_up: begin with a round that does not count.
    """
    rounds, start = kept.parts[name]["rounds"], time.perf_counter()
    if len(rounds) < runs and warm_up:
        for way in ways.values():
            way()
        print(f"{name}: a first round, which does not count, {_minutes_since(start)}", flush=True)
    while len(rounds) < runs:
        rounds.append([{"system": own, "types": types, **way()} for (own, types), way in ways.items()])
        kept.save()
        print(f"{name}: round {len(rounds)} of {runs}, {_minutes_since(start)}", flush=True)
    return rounds


def _minutes_since(start: float) -> str:
    return f"{(time.perf_counter() - start) / 60:.1f} minutes"


def of_system(row: Mapping[str, Any]) -> System:
    """The system that a row is of."""
    return row["system"], row["types"]


def medians(rounds: Sequence[Round]) -> dict[System, dict[str, float]]:
    """The median of each number of each system."""
    return {
        of_system(rows[0]): {key: statistics.median(row[key] for row in rows) for key in rows[0] if key not in NAMES}
        for rows in zip(*rounds, strict=True)
    }


def ratio(rounds: Sequence[Round], above: System, below: System, key: str) -> float:
    """The median of the rounds' ratios of two systems' numbers."""
    values = [{of_system(row): row[key] for row in done if key in row} for done in rounds]
    return statistics.median(own[above] / own[below] for own in values)

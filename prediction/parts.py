"""Batch prediction while it runs: each process's rows as they are done, so that a stopped run goes on, and one output is made.

``OUTPUT.parts/`` holds ``lock``, ``run.json`` (what is predicted and how), and for each process a file of lines ``[row, record, failure]``,
of which ``record`` or ``failure`` is null.
"""

from __future__ import annotations

import heapq
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from filelock import AcquireReturnProxy

from finener.data_scripts.holding import hold_folder
from finener.json_finener import read_json


class Done(NamedTuple):
    """A row that is done: its number, and its predicted record or what went wrong."""

    row: int
    record: dict[str, Any] | None
    failure: dict[str, str] | None


class Parts:
    """The parts of a run.

    Args:
        output: that the run makes.
    """

    def __init__(self, output: Path):
        self.folder = output.with_name(f"{output.name}.parts")
        self.held: AcquireReturnProxy | None = None

    def begin(self, run: Mapping[str, Any]) -> None:
        """Makes the folder, or goes on with what is there; by one process, before the others look into it.

        Args:
            run: what is predicted and how, as JSON can write it.

        Raises:
            ValueError: when another run is at it, or has left rows that were predicted otherwise.
        """
        self.held = hold_folder(self.folder, "choose another --output")
        told = self.folder / "run.json"
        if any(file.stat().st_size for file in self._files()):
            earlier = read_json(told)
            if changed := sorted(k for k in {*earlier, *run} if earlier.get(k) != run.get(k)):
                raise ValueError(
                    f"{self.folder} is what an earlier run left, with another {', '.join(changed)}: repeat that run to go on with it, "
                    "delete the folder, or choose another --output"
                )
        else:
            told.write_text(json.dumps(run), encoding="utf-8")

    def done(self) -> bytearray:
        """A bit for each row, 1 where it is done. A line that a killed process has not finished is cut off first."""
        bits = bytearray()
        for file in self._files():
            _cut_half_line(file)
            with file.open("rb") as lines:
                for line in lines:
                    row = int(line[1 : line.index(b",")])
                    if row >= 8 * len(bits):
                        bits.extend(bytes(row // 8 + 1 - len(bits)))
                    bits[row // 8] |= 1 << row % 8
        return bits

    def file(self, process: int, n_processes: int) -> Path:
        """Where a process writes the rows that it has done, in their order."""
        return self.folder / f"part-{process:05d}-of-{n_processes:05d}.jsonl"

    def in_order(self) -> Iterator[Done]:
        """All rows, by number. Raises ValueError where one is missing or there twice."""
        with ExitStack() as files:
            parts = [map(_read, files.enter_context(file.open("rb"))) for file in self._files()]
            for number, done in enumerate(heapq.merge(*parts, key=lambda done: done.row)):
                if done.row != number:
                    raise ValueError(
                        f"{self.folder}: expected row {number}, found {done.row}; delete the folder and start again"
                    )
                yield done

    def remove(self) -> None:
        """Takes the folder away, when the output is made: the rows first, for without ``run.json`` they would be of no known run."""
        for file in self._files():
            file.unlink()
        if self.held is not None:
            self.held.lock.release()
        shutil.rmtree(self.folder)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.jsonl"))


def is_done(bits: bytearray, row: int) -> bool:
    """Whether :meth:`Parts.done` has a row."""
    return row < 8 * len(bits) and bool(bits[row // 8] >> row % 8 & 1)


def line_of(done: Done) -> bytes:
    """A line of a part."""
    return json.dumps(done, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"


def _read(line: bytes) -> Done:
    return Done(*json.loads(line))


def _cut_half_line(file: Path) -> None:
    with file.open("rb+") as content:
        size = at = content.seek(0, 2)
        while at > 0:
            step = min(at, 2**16)
            content.seek(at - step)
            newline = content.read(step).rfind(b"\n")
            if newline >= 0:
                at = at - step + newline + 1
                break
            at -= step
        if at != size:
            content.truncate(at)

"""Speed and memory of the silver builder: ``python benchmarks/silver.py --dump excerpt.xml.bz2`` → ``results/silver_speed.json``.

The dump measured is a synthetic one: the excerpt's articles over and over, with titles, a part of the link targets and some words
of each copy's own, so that titles and vocabulary grow as a real dump's do. Runs with one and with two workers take turns, in local
processes and, with ``--executors local ray``, on Ray.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from xml.sax.saxutils import escape

import psutil

from finener.data_scripts.silver.dumps import Page, read_dump
from finener.paths import ROOT

_LINK = re.compile(r"\[\[([^\[\]|:#]+)\]\]")
_WORD = re.compile(r"\w+")
_STAGE = re.compile(r"^(\w+) +[\d,]+ tasks, ([\d,]+) s$", re.MULTILINE)
_PACKAGES = ("datatrove", "pyarrow", "sentencex", "inflect", "defusedxml")


def write_dumps(excerpt: Path, folder: Path, megabytes: float, files: int) -> tuple[list[Path], float]:
    """Writes a synthetic dump of so many MB of wikitext into ``files`` files, as Wikipedia's come.

    Returns:
        The files, and how many MB (10^6 bytes) of wikitext of articles they hold.
    """
    pages = [page for page in read_dump(excerpt) if not page.namespace]
    paths, copy, written = [], 0, 0
    for number in range(files):
        paths.append(folder / f"part {number}.xml")
        with paths[-1].open("w", encoding="utf-8") as file:
            file.write("<mediawiki>")
            while written < megabytes * 1e6 * (number + 1) / files:
                for page in pages:
                    title, redirect, text = _copied(page, copy)
                    written += len(text.encode())
                    lead = f'<redirect title="{escape(redirect)}" />' if redirect else ""
                    file.write(f"<page><title>{escape(title)}</title><ns>0</ns>{lead}<revision><text>{escape(text)}")
                    file.write("</text></revision></page>\n")
                copy += 1
            file.write("</mediawiki>")
    return paths, written / 1e6


def _copied(page: Page, copy: int) -> tuple[str, str, str]:
    """Title, redirect and text of a page in one copy; the first copy is the page as it is."""
    if not copy or page.redirect:
        return (f"{page.title} {copy}" if copy else page.title), page.redirect, "" if page.redirect else page.text
    count = iter(range(len(page.text)))
    text = _LINK.sub(lambda m: f"[[{m[1]} {copy}|{m[1]}]]" if next(count) % 4 == 0 else m[0], page.text)
    words = " ".join(f"{page.title.split()[0].lower()}x{copy:x}y{i}" for i in range(20))
    return f"{page.title} {copy}", "", f"{text}\n\nThere it says {words}.\n"


class PeakMemory(threading.Thread):
    """Watches a process and those it starts; ``peak`` is the largest resident set of any single one, in bytes."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.process, self.peak, self.over = psutil.Process(pid), 0, threading.Event()

    def run(self) -> None:
        """Looks five times a second."""
        while not self.over.wait(0.2):
            try:
                for process in [self.process, *self.process.children(recursive=True)]:
                    self.peak = max(self.peak, process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue


@dataclass(frozen=True)
class Way:
    """Where the tasks run, and how many at the same time."""

    executor: str
    workers: int

    def __str__(self) -> str:
        return f"{self.workers}" if self.executor == "local" else f"{self.executor} {self.workers}"


@dataclass(frozen=True)
class Run:
    """What a run took.

    Args:
        seconds: by the clock, start included.
        processor: seconds of all processes on a core; those of several workers, and Ray's, are not counted.
        peak: MB of the resident set of the largest process.
        stages: seconds of each stage by the clock, whole ones.
        disk: MB of the records and of what lies in ``work`` until the end.
    """

    seconds: float
    processor: float
    peak: float
    stages: dict[str, int]
    disk: dict[str, float]


def measure(dumps: list[Path], way: Way, scratch: Path, more: list[str]) -> Run:
    """A run of the command line, with ``more`` of its options."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        command = [sys.executable, "-m", "data_scripts", "silver", "--dump", *map(str, dumps), "--keep_work"]
        command += ["--output_dir", f"{folder}/out", "--executor", way.executor, "--workers", str(way.workers), *more]
        start, before = time.perf_counter(), _processor_seconds()
        with (Path(folder) / "told").open("w+", encoding="utf-8") as told:
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=told)
            memory = PeakMemory(process.pid)
            memory.start()
            code = process.wait()
            seconds = time.perf_counter() - start
            memory.over.set()
            told.seek(0)
            said = told.read()
        if code:
            raise SystemExit(f"the run failed with exit code {code}: {said[-2000:]}")
        stages = {name: int(time.replace(",", "")) for name, time in _STAGE.findall(said)}
        disk = {part: _size(Path(folder) / "out" / part) / 1e6 for part in ("data", "work")}
        return Run(seconds, _processor_seconds() - before, memory.peak / 1e6, stages, disk)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def machine_speedup(workers: int, seconds: float = 3.0, runs: int = 5) -> float:
    """How many times the work of one process so many do that share nothing, the median of runs: more can't be asked of the builder."""
    context = get_context("spawn")
    with context.Pool(workers) as pool:
        pool.map(_count_words, [0.1] * workers, chunksize=1)  # all have started
        gains = []
        for _ in range(runs):
            alone = pool.apply(_count_words, (seconds,))
            gains.append(sum(pool.map(_count_words, [seconds] * workers, chunksize=1)) / alone)
    return statistics.median(gains)


def _count_words(seconds: float) -> int:
    """How often a process can count a text's words in so many seconds."""
    text, rounds, end = "It has some words, which link to others. " * 50, 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        Counter(match[0] for match in _WORD.finditer(text))
        rounds += 1
    return rounds


def report(runs: dict[Way, list[Run]], megabytes: float) -> dict[str, object]:
    """What the runs of each way tell. A speedup is over the fewest workers of the same executor."""
    medians = {way: statistics.median(run.seconds for run in of_way) for way, of_way in runs.items()}
    fewest = {way: min((w for w in runs if w.executor == way.executor), key=lambda w: w.workers) for way in runs}
    first = next(iter(runs.values()))[0]
    alone = [way for way in runs if way.executor == "local" and way.workers == 1]
    processor = {way: statistics.median(run.processor for run in runs[way]) for way in alone}
    return {
        "median_seconds": {str(way): round(seconds, 2) for way, seconds in medians.items()},
        "megabytes_per_second_per_core": {str(w): round(megabytes / s / w.workers, 2) for w, s in medians.items()},
        "megabytes_per_processor_second": {str(way): round(megabytes / s, 2) for way, s in processor.items()},
        "speedup": {str(way): round(medians[fewest[way]] / s, 2) for way, s in medians.items()},
        "peak_megabytes_of_a_process": {str(w): round(max(run.peak for run in v)) for w, v in runs.items()},
        "seconds_of_stages": {str(way): of_way[0].stages for way, of_way in runs.items()},
        "megabytes_on_disk": {part: round(size, 1) for part, size in first.disk.items()},
        "seconds": {str(way): [round(run.seconds, 2) for run in of_way] for way, of_way in runs.items()},
    }


def main() -> None:
    """Measures, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dump", type=Path, required=True, help="a real excerpt, to be copied")
    parser.add_argument("--megabytes", type=float, default=100, help="of wikitext in the synthetic dump")
    parser.add_argument("--files", type=int, default=4, help="how many files it comes in")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--executors", nargs="+", default=["local"], choices=("local", "ray"))
    parser.add_argument("--shard_mb", type=float, help="as of silver; on Ray each task starts a process, for seconds")
    parser.add_argument("--scratch", type=Path, default=None, help="folder for the dump, four times its size free")
    parser.add_argument("--output_file", type=Path, default=ROOT / "results" / "silver_speed.json")
    args = parser.parse_args()
    more = ["--shard_mb", f"{args.shard_mb:g}"] if args.shard_mb else []
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        dumps, megabytes = write_dumps(args.dump, Path(folder), args.megabytes, args.files)
        runs: dict[Way, list[Run]] = {Way(e, workers): [] for e in args.executors for workers in args.workers}
        for number in range(args.runs):
            for way, of_way in runs.items():
                of_way.append(measure(dumps, way, Path(folder), more))
                told = of_way[-1]
                print(f"run {number + 1}, {way}: {told.seconds:.1f} s, {told.peak:.0f} MB", flush=True)
    excerpt = sum(len(page.text.encode()) for page in read_dump(args.dump))
    results = {
        "command": f"python benchmarks/silver.py --dump {args.dump.name} --megabytes {args.megabytes:g} --files {args.files} "
        f"--runs {args.runs} --workers {' '.join(map(str, args.workers))} --executors {' '.join([*args.executors, *more])}",
        "megabytes_of_wikitext": round(megabytes, 1),
        "wikitext_of_a_packed_byte": round(excerpt / args.dump.stat().st_size, 2),
        "cores": os.cpu_count(),
        "machine_speedup": {str(n): round(machine_speedup(n), 2) for n in args.workers if n > 1},
        "python": platform.python_version(),
        "versions": {name: version(name) for name in (*_PACKAGES, *(e for e in args.executors if e != "local"))},
        **report(runs, megabytes),
    }
    args.output_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

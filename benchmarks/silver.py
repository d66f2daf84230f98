"""Speed and memory of the silver builder: ``python benchmarks/silver.py --dump excerpt.xml.bz2`` → ``results/silver_speed.json``.

The dump measured is a synthetic one: the excerpt's articles over and over, with titles, a part of the link targets and some words
of each copy's own, so that titles and vocabulary grow as a real dump's do. Runs with one and with two workers take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from xml.sax.saxutils import escape

import psutil

from finener.data_scripts.silver.dumps import Page, read_dump
from finener.paths import ROOT

_LINK = re.compile(r"\[\[([^\[\]|:#]+)\]\]")
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


def measure(dumps: list[Path], workers: int, scratch: Path) -> tuple[float, float]:
    """Seconds of a run of the command line, start included, and the peak resident set of its largest process in MB."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        command = [sys.executable, "-m", "data_scripts", "silver", "--dump", *map(str, dumps)]
        command += ["--output_dir", f"{folder}/out", "--workers", str(workers)]
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        memory = PeakMemory(process.pid)
        memory.start()
        code = process.wait()
        seconds = time.perf_counter() - start
        memory.over.set()
        if code:
            raise SystemExit(f"the run failed with exit code {code}")
        return seconds, memory.peak / 1e6


def main() -> None:
    """Measures, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dump", type=Path, required=True, help="a real excerpt, to be copied")
    parser.add_argument("--megabytes", type=float, default=100, help="of wikitext in the synthetic dump")
    parser.add_argument("--files", type=int, default=4, help="how many files it comes in")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--scratch", type=Path, default=None, help="folder for the dump, twice its size free")
    parser.add_argument("--output_file", type=Path, default=ROOT / "results" / "silver_speed.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        dumps, megabytes = write_dumps(args.dump, Path(folder), args.megabytes, args.files)
        runs: dict[int, list[tuple[float, float]]] = {workers: [] for workers in args.workers}
        for number in range(args.runs):
            for workers in args.workers:
                runs[workers].append(measure(dumps, workers, Path(folder)))
                seconds, peak = runs[workers][-1]
                print(f"run {number + 1}, {workers} workers: {seconds:.1f} s, {peak:.0f} MB", flush=True)
    medians = {workers: statistics.median(seconds for seconds, _ in values) for workers, values in runs.items()}
    fewest = min(medians)
    results = {
        "command": f"python benchmarks/silver.py --dump {args.dump.name} --megabytes {args.megabytes:g} --files {args.files} "
        f"--runs {args.runs} --workers {' '.join(map(str, args.workers))}",
        "megabytes_of_wikitext": round(megabytes, 1),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
        "median_seconds": {str(workers): round(seconds, 2) for workers, seconds in medians.items()},
        "megabytes_per_second_per_core": {str(w): round(megabytes / s / w, 2) for w, s in medians.items()},
        "speedup": {str(w): round(medians[fewest] / s, 2) for w, s in medians.items()},
        "peak_megabytes_of_a_process": {str(w): round(max(peak for _, peak in v)) for w, v in runs.items()},
        "seconds": {str(w): [round(seconds, 2) for seconds, _ in v] for w, v in runs.items()},
    }
    args.output_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

"""What an ontology with tens of thousands of types costs: reading it, closing types under their ancestors, loading a model with it.

YAGO's own types are made more by children below the leaves. Each figure is the processor's time of a part in a fresh process that has
imported torch and transformers, the median of runs that take turns. Choosing thresholds of YAGO's own types is measured once, on made up
scores. Writes results/bench_ontologies.json.

Usage: python benchmarks/large_ontologies.py [--types 8295 68423 200000] [--closures 1000] [--mentions 4000] [--runs 5]
           [--output results/bench_ontologies.json]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from finener.benchmarks.type_counts import widen
from finener.configuration_finener import FinenerConfig
from finener.metrics.thresholds import DevScores, calibrate
from finener.ontology_finener import Ontology
from finener.paths import ONTOLOGIES, ROOT
from finener.training.results import told_command, versions, write_results

MENTIONS_OF_A_DOCUMENT = 20
READ = "from finener.ontology_finener import Ontology"
CLOSE = "[types.closure_indices([i]) for i in range(0, len(types), max(1, len(types) // {closures}))][:{closures}]"
# What each part is called, what runs before the clock starts, and what it measures.
PARTS = {
    "JSON": (READ, "Ontology.from_json({folder!r} + '/types.json')"),
    "a table": (READ, "Ontology.from_tsv({folder!r} + '/types.tsv')"),
    "a model's config": (
        "from finener.configuration_finener import FinenerConfig",
        "FinenerConfig.from_pretrained({folder!r})",
    ),
    "closures": (f"{READ}; types = Ontology.from_json({{folder!r}} + '/types.json')", CLOSE),
    "the same closures again": (
        f"{READ}; types = Ontology.from_json({{folder!r}} + '/types.json'); {CLOSE}",
        CLOSE,
    ),
}


def milliseconds(before: str, code: str) -> float:
    """The processor's time of ``code`` in a fresh process, after ``before``."""
    program = (
        f"import time, torch, transformers\n{before}\nstart = time.process_time()\n{code}\n"
        "print(1000 * (time.process_time() - start))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout.strip().splitlines()[-1])


def write_folder(types: Ontology, folder: Path) -> Path:
    """The types as JSON, as a table, and in the config of a model."""
    folder.mkdir()
    types.to_json(folder / "types.json")
    types.to_tsv(folder / "types.tsv")
    FinenerConfig({"model_type": "bert"}, types).save_pretrained(folder)
    return folder


def measured(folders: Mapping[int, Path], closures: int, runs: int) -> list[dict[str, Any]]:
    """A row for each number of types and part: the median of the runs, and the least and most."""
    times: dict[tuple[int, str], list[float]] = {(size, part): [] for size in folders for part in PARTS}
    for run in range(runs):
        for (size, part), own in times.items():
            own.append(
                milliseconds(*(code.format(folder=str(folders[size]), closures=closures) for code in PARTS[part]))
            )
        print(f"run {run + 1} of {runs}", flush=True)
    return [
        {
            "types": size,
            "part": part,
            "milliseconds": round(statistics.median(own), 1),
            "least": round(min(own), 1),
            "most": round(max(own), 1),
        }
        for (size, part), own in times.items()
    ]


def calibration(types: Ontology, mentions: int) -> dict[str, Any]:
    """Seconds of the processor that choosing thresholds takes, on scores that are right for half of the gold types or so.

    Args:
        mentions: 20 of a document; some types are frequent, most rare.
    """
    draws = torch.Generator().manual_seed(0)
    frequent = torch.randperm(len(types), generator=draws)
    leaves = frequent[torch.multinomial(1.0 / torch.arange(1, len(types) + 1), mentions, True, generator=draws)]
    gold = torch.zeros(mentions, len(types), dtype=torch.bool)
    for mention, leaf in enumerate(leaves.tolist()):
        gold[mention, types.closure_indices([leaf])] = True
    scores = (torch.randn(gold.shape, generator=draws) * 1.5 - 7 + 9 * gold).sigmoid()
    for child, parent in types.edges:
        scores[:, child] = torch.minimum(scores[:, child], scores[:, parent])
    documents = torch.arange(mentions) // MENTIONS_OF_A_DOCUMENT
    n = int(documents[-1]) + 1
    none, all_found = torch.zeros(n, dtype=torch.long), torch.full((n,), MENTIONS_OF_A_DOCUMENT)
    dev = DevScores(scores, None, gold, documents, none, all_found)
    start = time.process_time()
    chosen = calibrate(dev, types, 0.5)
    return {
        "types": len(types),
        "mentions": mentions,
        "seconds": round(time.process_time() - start, 1),
        "by": chosen.by,
    }


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--types", type=int, nargs="+", default=[8295, 68423, 200000])
    parser.add_argument("--closures", type=int, default=1000, help="of single types, spread over all")
    parser.add_argument("--mentions", type=int, default=4000, help="by which thresholds are chosen")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "bench_ontologies.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    yago = Ontology.from_json(ONTOLOGIES / "yago.json")
    with TemporaryDirectory() as work:
        folders = {size: write_folder(widen(yago, size), Path(work) / str(size)) for size in args.types}
        rows = measured(folders, args.closures, args.runs)
    results = {
        "command": told_command(["benchmarks/large_ontologies.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread",
        "versions": versions(),
        "closures": args.closures,
        "runs": args.runs,
        "rows": rows,
        "calibration": calibration(yago, args.mentions),
        "other_work": f"load of the machine {os.getloadavg()[0]:.1f} at the end",
    }
    write_results(results, args.output)


if __name__ == "__main__":
    main()

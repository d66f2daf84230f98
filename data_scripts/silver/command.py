"""Silver records from MediaWiki dumps: sentences whose linked names carry classes of an ontology.

A record is a sentence. It is typed and not exhaustive: a name without a mention may still be one. The work is done in stages
(:mod:`~finener.data_scripts.silver.stages`); a run that was stopped goes on where it was when it is started again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finener.data_scripts.holding import hold_folder
from finener.data_scripts.silver import stages
from finener.data_scripts.silver.dumps import is_packed
from finener.data_scripts.silver.executors import Cluster, run_stages
from finener.data_scripts.silver.plan import Plan, SilverError, whole
from finener.data_scripts.silver.report import report_table
from finener.paths import ONTOLOGIES

_MB = 2**20
_UNPACKED = 4  # how many times larger a dump is than its bz2 file, about
_ONE_PROCESS = Cluster()


def build_silver(
    dump: str | Path | Sequence[str | Path],
    output_dir: str | Path,
    *,
    types: Sequence[str | Path] = (),
    ontology: str | Path = ONTOLOGIES / "yago.json",
    gazetteer: str | Path = ONTOLOGIES / "yago_gazetteer.tsv",
    nouns: str | Path = ONTOLOGIES / "yago_nouns.tsv",
    repeats: bool = True,
    max_types: int | None = None,
    min_count: int = 1,
    shard_mb: float | None = None,
    cluster: Cluster = _ONE_PROCESS,
    keep_work: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Builds a data set of silver records: ``data/train-*.parquet``, ``report.json``, ``report.html``, ``ontology.json`` and a card.

    The same dump and options give the same bytes, whatever the cluster. A run that was stopped leaves its finished tasks in
    ``output_dir/work``; the same call goes on from there.

    Args:
        dump: MediaWiki XML dumps, plain or bz2, in order.
        output_dir: a new or empty folder, or that of a run that was stopped.
        types: tables of entity types, see :func:`~finener.data_scripts.silver.type_tables.read_types`.
        ontology: JSON file of the types; records name it.
        gazetteer: name → senses, see :func:`~finener.data_scripts.silver.titles.read_gazetteer`.
        nouns: singular noun → class, see :func:`~finener.data_scripts.silver.titles.read_nouns`.
        repeats: mark later occurrences of an article's own title and of its linked names too, with the origin "repeat".
        max_types: keep the so many most frequent types, ancestors counted along; None for all.
        min_count: keep types that at least so many mentions are of, ancestors counted along.
        shard_mb: size of a shard of wikitext in MiB; by default it grows with the dump, from 4 to 64.
        cluster: where the tasks run.
        keep_work: leave ``output_dir/work`` there.
        progress: show a bar for each stage on a terminal, else a line.

    Returns:
        The report, as in ``report.json``; {} with Slurm, whose jobs have only been submitted.

    Raises:
        DumpError: when a dump cannot be read to its end.
        TableError: on a table that is not as expected.
        SilverError: when the folder holds something else, or tasks failed.
        FolderInUse: when another run is at it.
        FileNotFoundError: when a file is not there.
    """
    dumps = tuple(Path(d).resolve() for d in ([dump] if isinstance(dump, (str, Path)) else dump))
    plan = Plan(
        dumps,
        _shards(dumps, shard_mb),
        Path(output_dir).resolve(),
        tuple(Path(table).resolve() for table in types),
        Path(ontology).resolve(),
        Path(gazetteer).resolve(),
        Path(nouns).resolve(),
        repeats,
        max_types,
        min_count,
    )
    report_file = plan.output_dir / "report.json"
    if not _is_done(plan):
        stages.forget()
        with hold_folder(plan.work, "choose another --output_dir"):
            run_stages(plan, cluster, progress)
    if not report_file.is_file():
        return {}
    if not keep_work and cluster.executor != "slurm":
        shutil.rmtree(plan.work, ignore_errors=True)
    return json.loads(report_file.read_text(encoding="utf-8"))


def _shards(dumps: Sequence[Path], shard_mb: float | None) -> tuple[int, ...]:
    """Into how many shards each dump is cut."""
    sizes = [dump.stat().st_size * (_UNPACKED if is_packed(dump) else 1) for dump in dumps]
    target = shard_mb * _MB if shard_mb else min(max(sum(sizes) / 256, 4 * _MB), 64 * _MB)
    return tuple(max(1, round(size / target)) for size in sizes)


def _is_done(plan: Plan) -> bool:
    """Whether the folder holds this build already; it is made ready when it does not.

    Raises:
        SilverError: when it holds something else.
    """
    options = plan.options()
    for path in (plan.output_dir / "report.json", plan.work / "plan.json"):
        if path.is_file():
            held = json.loads(path.read_text(encoding="utf-8"))
            held = held.get("options", {}) if path.name == "report.json" else held
            if held != options:
                other = ", ".join(sorted(key for key in options if held.get(key) != options[key]))
                raise SilverError(
                    f"{plan.output_dir} holds a build with other options ({other}); give another --output_dir, or delete it first"
                )
            return path.name == "report.json"
    if plan.output_dir.exists() and (not plan.output_dir.is_dir() or any(plan.output_dir.iterdir())):
        raise SilverError(f"{plan.output_dir} is not an empty folder; give a new --output_dir, or empty it first")
    plan.work.mkdir(parents=True)
    with whole(plan, plan.work / "plan.json") as path:
        path.write_text(json.dumps(options, ensure_ascii=False, indent=2), encoding="utf-8")
    return False


# ---------------------------------------------------------------- command line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the ``silver`` command."""
    add = parser.add_argument
    add("--dump", type=Path, nargs="+", required=True, help="MediaWiki XML dumps, plain or bz2, in order")
    add("--output_dir", type=Path, required=True, help="a new or empty folder, or that of a run that was stopped")
    tables = "tables of entity types: YAGO, DBpedia, or two columns of your own"
    add("--types", type=Path, nargs="*", default=[], help=tables)
    add("--max_types", type=int, help="keep so many types, the most frequent (default: all)")
    add("--min_count", type=int, default=1, help="keep types that so many mentions are of (default: 1)")
    add(
        "--no_repeats", action="store_true", help="do not mark later repeats of linked names and of the article's title"
    )
    add("--executor", choices=("local", "ray", "slurm"), default="local")
    add("--workers", type=int, default=1, help="how many tasks run at the same time (default: 1)")
    add("--mem_per_cpu_gb", type=int, default=2, help="memory that a task reserves on Ray and Slurm (default: 2)")
    add("--slurm_partition", default="")
    add("--slurm_time", default="12:00:00", help="time limit of each job (default: 12:00:00)")
    add("--shard_mb", type=float, help="size of a shard of wikitext in MiB (default: by the dump's size, 4 to 64)")
    add("--keep_work", action="store_true", help="leave the stages' own files in output_dir/work")
    add("--ontology", type=Path, default=ONTOLOGIES / "yago.json")
    add("--gazetteer", type=Path, default=ONTOLOGIES / "yago_gazetteer.tsv")
    add("--nouns", type=Path, default=ONTOLOGIES / "yago_nouns.tsv")


def run(args: argparse.Namespace) -> int:
    """The ``silver`` command."""
    report = build_silver(
        args.dump,
        args.output_dir,
        types=args.types,
        ontology=args.ontology,
        gazetteer=args.gazetteer,
        nouns=args.nouns,
        repeats=not args.no_repeats,
        max_types=args.max_types,
        min_count=args.min_count,
        shard_mb=args.shard_mb,
        cluster=Cluster(args.executor, args.workers, args.mem_per_cpu_gb, args.slurm_partition, args.slurm_time),
        keep_work=args.keep_work,
        progress=True,
    )
    if report:
        print(report_table(report))
        print(f"\nWritten to {args.output_dir}: data/*.parquet, ontology.json, report.json, report.html, README.md")
    else:
        print(
            f"The jobs are submitted; when the last one is done, {args.output_dir} holds data/*.parquet and report.html"
        )
    return 0

"""Silver records from MediaWiki dumps: sentences whose linked names carry classes of an ontology.

A record is a sentence. It is typed and not exhaustive: a name without a mention may still be one. The work is done in stages
(:mod:`~data_scripts.silver_stages`) on datatrove's executors; a run that was stopped goes on where it was when it is started again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any, Literal

from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.utils.logging import logger
from tqdm import tqdm

from finener.data_scripts.silver import stages as silver_stages
from finener.data_scripts.silver.plan import Plan, SilverError, whole
from finener.data_scripts.silver.report import report_table
from finener.data_scripts.silver.stages import STAGES, Stage
from finener.data_scripts.silver.wikitext import is_packed
from finener.paths import ONTOLOGIES

_MB = 2**20
_UNPACKED = 4  # how many times larger a dump is than its bz2 file, about


@dataclass(frozen=True)
class Cluster:
    """Where the tasks run.

    Args:
        executor: "local" processes, a "ray" cluster (one is started here unless there is one), or "slurm" jobs.
        workers: how many tasks run at the same time.
        mem_per_cpu_gb: what a task reserves on Ray and Slurm.
        partition: of Slurm.
        time: limit of a Slurm job.
    """

    executor: Literal["local", "ray", "slurm"] = "local"
    workers: int = 1
    mem_per_cpu_gb: int = 2
    partition: str = ""
    time: str = "12:00:00"


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
    cluster: Cluster = Cluster(),
    keep_work: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Builds a data set of silver records: ``data/train-*.parquet``, ``report.json``, ``report.html``, ``ontology.json`` and a card.

    The same dump and options give the same bytes, whatever the cluster. A run that was stopped leaves its finished tasks in
    ``output_dir/work``; the same call goes on from there.

    Args:
        dump: MediaWiki XML dumps, plain or bz2, in order.
        output_dir: a new or empty folder, or that of a run that was stopped.
        types: tables of entity types, see :func:`~data_scripts.type_tables.read_types`.
        ontology: JSON file of the types; records name it.
        gazetteer: name → senses, see :func:`~data_scripts.titles.read_gazetteer`.
        nouns: singular noun → class, see :func:`~data_scripts.titles.read_nouns`.
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
        silver_stages.forget()
        _run(plan, cluster, progress)
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


# ---------------------------------------------------------------- executors


def _run(plan: Plan, cluster: Cluster, progress: bool) -> None:
    if cluster.executor == "slurm":
        _submit(plan, cluster)
        return
    logger.disable("datatrove")  # its tasks' logs lie in work/logs
    try:
        with _ray(cluster) if cluster.executor == "ray" else contextlib.nullcontext():
            for kind in STAGES:
                stage, start = kind(plan), time.perf_counter()
                _executor(stage, cluster, progress).run()
                if progress and (cluster.executor == "ray" or not sys.stderr.isatty()):  # where there is no bar
                    seconds = time.perf_counter() - start
                    print(f"{stage.name:8} {stage.tasks:,} tasks, {seconds:,.0f} s", file=sys.stderr)
    finally:
        logger.enable("datatrove")


def _executor(stage: Stage, cluster: Cluster, progress: bool) -> PipelineExecutor:
    options = {"pipeline": [stage], "tasks": stage.tasks, "logging_dir": str(stage.plan.work / "logs" / stage.name)}
    if cluster.executor == "ray":
        return _RayExecutor(**options, workers=cluster.workers, mem_per_cpu_gb=cluster.mem_per_cpu_gb)
    return _LocalExecutor(**options, workers=cluster.workers, progress=progress)


class _LocalExecutor(LocalPipelineExecutor):
    """datatrove's local executor, on a pool that notices when a worker dies (the original waits for it for ever)."""

    def __init__(self, *args: Any, progress: bool, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.progress = progress

    def run(self) -> None:
        """Runs the tasks that are not finished."""
        stage = self.pipeline[0]
        ranks = self.get_incomplete_ranks()
        bar = tqdm(total=self.tasks, desc=f"{stage.name:8}", unit=" tasks", disable=None if self.progress else True)
        bar.update(self.tasks - len(ranks))
        with bar:
            if self.workers < 2:
                for rank in ranks:
                    _run_quietly(self, rank)
                    bar.update()
                return
            context = get_context("forkserver")
            # Imported once, not for seconds by every worker.
            context.set_forkserver_preload([silver_stages.__name__, "inflect"])
            pool = ProcessPoolExecutor(max(1, min(self.workers, len(ranks))), context, initializer=end_with_parent)
            try:
                for task in as_completed([pool.submit(_run_quietly, self, rank) for rank in ranks]):
                    task.result()
                    bar.update()
            except BrokenProcessPool:
                raise SilverError(
                    f"a worker died in the stage {stage.name!r}: it was killed, or the machine had no memory left for it. Start the "
                    "same command again (with fewer --workers): finished tasks are kept"
                ) from None
            finally:
                pool.shutdown(cancel_futures=True)


def _run_quietly(executor: PipelineExecutor, rank: int) -> None:
    """Runs a task; what datatrove says of it stands in the task's log file only."""
    with contextlib.redirect_stderr(io.StringIO()):
        logger.enable("datatrove")
        executor._run_for_rank(rank, local_rank=1)


def end_with_parent() -> None:
    """Makes a worker end when its parent is killed: it would wait for tasks for ever."""

    def watch() -> None:
        connection.wait([parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _RayExecutor(RayPipelineExecutor):
    """datatrove's Ray executor, that says so when tasks failed."""

    def run(self) -> None:
        """Runs the tasks that are not finished. Raises SilverError when some fail."""
        super().run()
        if failed := self.get_incomplete_ranks():
            stage = self.pipeline[0]
            reasons = [path.read_text(encoding="utf-8") for path in stage.failures()] or ["its worker died"]
            raise SilverError(
                f"{len(failed)} of {self.tasks} tasks of the stage {stage.name!r} failed; the first: {reasons[0]}. Logs are in "
                f"{stage.plan.work / 'logs' / stage.name}; start the same command again to go on: finished tasks are kept"
            )


@contextlib.contextmanager
def _ray(cluster: Cluster) -> Iterable[None]:
    """A Ray cluster: the one that is there, or one on this machine for as long as it is needed."""
    import ray

    if ray.is_initialized():
        yield
        return
    here = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": cluster.workers, "include_dashboard": False}
    ray.init(log_to_driver=False, **here)
    try:
        yield
    finally:
        ray.shutdown()


def _submit(plan: Plan, cluster: Cluster) -> None:
    """Submits the stages as Slurm jobs that wait for one another."""
    if not cluster.partition:
        raise SilverError("Slurm needs a partition, e.g. --executor slurm --slurm_partition cpu")
    path = shlex.quote(str(Path(sys.executable).parent))  # of the environment that finener is installed in
    before = None
    for kind in STAGES:
        stage = kind(plan)
        before = SlurmPipelineExecutor(
            pipeline=[stage],
            tasks=stage.tasks,
            workers=cluster.workers,
            time=cluster.time,
            partition=cluster.partition,
            qos="",  # the cluster's own default
            mem_per_cpu_gb=cluster.mem_per_cpu_gb,
            job_name=f"silver-{stage.name}",
            logging_dir=str(plan.work / "logs" / stage.name),
            env_command=f"export PATH={path}:$PATH",
            depends=before,
        )
    before.run()


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

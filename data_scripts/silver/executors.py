"""Where the silver builder's stages run: in local processes, on Ray, or as Slurm jobs; datatrove's executors, with what they lack."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
import threading
import time
from collections.abc import Iterator
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

from finener.data_scripts.silver import stages
from finener.data_scripts.silver.plan import Plan, SilverError


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


def run_stages(plan: Plan, cluster: Cluster, progress: bool) -> None:
    """Runs the stages one after the other, tasks that are finished left out; on Slurm it only submits them.

    Raises:
        SilverError: when tasks failed, or Slurm lacks its partition.
    """
    if cluster.executor == "slurm":
        _submit(plan, cluster)
        return
    logger.disable("datatrove")  # its tasks' logs lie in work/logs
    try:
        with _ray(cluster) if cluster.executor == "ray" else _pool(cluster.workers) as pool:
            for kind in stages.STAGES:
                stage, start = kind(plan), time.perf_counter()
                _executor(stage, cluster, pool, progress).run()
                if progress and (cluster.executor == "ray" or not sys.stderr.isatty()):  # where there is no bar
                    seconds = time.perf_counter() - start
                    print(f"{stage.name:8} {stage.tasks:,} tasks, {seconds:,.0f} s", file=sys.stderr)
    finally:
        logger.enable("datatrove")


def _executor(
    stage: stages.Stage, cluster: Cluster, pool: ProcessPoolExecutor | None, progress: bool
) -> PipelineExecutor:
    options = {"pipeline": [stage], "tasks": stage.tasks, "logging_dir": str(stage.plan.work / "logs" / stage.name)}
    if cluster.executor == "ray":
        return _RayExecutor(**options, workers=cluster.workers, mem_per_cpu_gb=cluster.mem_per_cpu_gb)
    return _LocalExecutor(**options, workers=cluster.workers, pool=pool, progress=progress)


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor | None]:
    """Processes that all stages share, so that each reads the tables once; None for a single worker, which is this process."""
    if workers < 2:
        yield None
        return
    context = get_context("forkserver")
    # Imported once, not for seconds by every worker.
    context.set_forkserver_preload([stages.__name__, "inflect"])
    pool = ProcessPoolExecutor(workers, context, initializer=end_with_parent)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


class _LocalExecutor(LocalPipelineExecutor):
    """datatrove's local executor, on a pool that notices when a worker dies (the original waits for it for ever)."""

    def __init__(self, *args: Any, pool: ProcessPoolExecutor | None, progress: bool, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.pool, self.progress = pool, progress

    def __getstate__(self) -> dict[str, Any]:
        """What a worker gets of it: all but the pool."""
        return {**vars(self), "pool": None}

    def run(self) -> None:
        """Runs the tasks that are not finished."""
        stage = self.pipeline[0]
        ranks = self.get_incomplete_ranks()
        bar = tqdm(total=self.tasks, desc=f"{stage.name:8}", unit=" tasks", disable=None if self.progress else True)
        bar.update(self.tasks - len(ranks))
        with bar:
            if self.pool is None:
                for rank in ranks:
                    _run_quietly(self, rank)
                    bar.update()
                return
            try:
                for task in as_completed([self.pool.submit(_run_quietly, self, rank) for rank in ranks]):
                    task.result()
                    bar.update()
            except BrokenProcessPool:
                raise SilverError(
                    f"a worker died in the stage {stage.name!r}: it was killed, or the machine had no memory left for it. Start the "
                    "same command again (with fewer --workers): finished tasks are kept"
                ) from None


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
def _ray(cluster: Cluster) -> Iterator[None]:
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
    for kind in stages.STAGES:
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

"""Training records that are read while training goes on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import IterableDataset

from finener.data_scripts.record_files import read_rows
from finener.data_scripts.schema import RecordError, validate_record
from finener.training.records import Record, Windows, cut_record, detection_beside, teaches
from finener.windows_finener import TextEncoder


class RecordStream(torch.utils.data.IterableDataset):
    """Windows of records that are read while training goes on, so memory holds the shuffle buffer, whatever the size of the sources.

    It never ends: pass follows pass over the sources, each shuffled in another way, which follows from the seed and the number of the pass
    alone. A process reads its own rows of each source: every n-th where there are n processes, for sources may differ in size and their
    number need not be a multiple of n. So processes have equal shares up to a row a source, none waits for another, and each pass of all
    of them together is every record once. Records are validated as they are read; ids are not compared, as that would take memory.

    Args:
        sources: files of records, or iterables of records that can be read again and again (a ``datasets.IterableDataset``). Records
            without a mention that are not exhaustive are left out; the others come once in a pass.
        encoder: cuts records into windows.
        detection_sources: mixed in, over and over, as ``detection_share`` asks; see :func:`~finener.training.records.mix_records`.
        detection_share: part of the windows, at any point of the stream, in [0, 1).
        check: called with each record; raises where it is not fit for training.
        buffer_size: windows that are shuffled together; their sources are shuffled too.
        seed: of the order.
        process, n_processes: which of how many processes reads.
        n_workers: of each process's data loader; they share its rows.

    Raises:
        RecordError: while it is read, on a bad record, or when a pass over the sources gives this process (or worker) nothing.
    """

    def __init__(
        self,
        sources: Sequence[Path | Iterable[Record]],
        encoder: TextEncoder,
        *,
        detection_sources: Sequence[Path | Iterable[Record]] = (),
        detection_share: float = 0.0,
        check: Callable[[Record], None] | None = None,
        buffer_size: int = 10_000,
        seed: int = 0,
        process: int = 0,
        n_processes: int = 1,
        n_workers: int = 0,
    ):
        detection_beside(0, detection_share)
        self.sources, self.detection_sources = list(sources), list(detection_sources)
        self.detection_share = detection_share
        self.encoder, self.check, self.buffer_size, self.seed = encoder, check, buffer_size, seed
        workers = max(1, n_workers)
        self.step = n_processes * workers
        self.firsts = range(process, self.step, n_processes)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        detection, drawn = self._passes(self.detection_sources), 0
        for n_typing, window in enumerate(self._passes(self.sources), 1):
            yield window
            while self.detection_sources and drawn < detection_beside(n_typing, self.detection_share):
                yield next(detection)
                drawn += 1

    @property
    def all_sources(self) -> list[Path | Iterable[Record]]:
        """What is read, in the order given."""
        return [*self.sources, *self.detection_sources]

    @cached_property
    def beginning(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The first windows of the sources and of the detection sources, a buffer of each: a sample of the stream."""
        typing, detection = (
            list(itertools.islice(self.one_pass(sources, 0), self.buffer_size)) if sources else []
            for sources in (self.sources, self.detection_sources)
        )
        return typing, detection

    def one_pass(self, sources: Sequence[Path | Iterable[Record]], number: int) -> IterableDataset:
        """This process's windows of some sources, once, in the order of pass ``number``."""
        rows = [(source, first) for source in range(len(sources)) for first in self.firsts]
        windows = IterableDataset.from_generator(partial(self._windows, sources), gen_kwargs={"rows": rows})
        return windows.shuffle(generator=np.random.default_rng([self.seed, number]), buffer_size=self.buffer_size)

    def _passes(self, sources: Sequence[Path | Iterable[Record]]) -> Iterator[dict[str, Any]]:
        for number in itertools.count():
            is_empty = True
            for window in self.one_pass(sources, number):
                yield window
                is_empty = False
            if is_empty:
                first = sources[0] if isinstance(sources[0], Path) else "the dataset"
                raise RecordError(
                    f"{first} and {len(sources) - 1} more have nothing to train on for one of {self.step} readers: expected at "
                    "least as many records with mentions as there are processes times data loader workers"
                )

    def _windows(self, sources: Sequence[Path | Iterable[Record]], rows: Sequence[tuple[int, int]]) -> Iterator[dict]:
        for source, first in rows:
            for record in _records(sources[source], first, self.step):
                if self.check is not None:
                    self.check(record)
                if teaches(record):
                    yield from cut_record(record, self.encoder)


def _records(source: Path | Iterable[Record], first: int, step: int) -> Iterator[Record]:
    """The validated records ``first``, ``first + step``, … of a source."""
    if isinstance(source, Path):
        return (record for _, record in read_rows(source, first=first, step=step))
    rows = _rows(source) if isinstance(source, IterableDataset) else source
    return (
        validate_record(record, where="the training stream") for record in itertools.islice(rows, first, None, step)
    )


def _rows(source: IterableDataset) -> Iterator[Record]:
    """All rows of a data set: in a data loader's worker, plain iteration would give that worker's shards alone."""
    return ({key: values[0] for key, values in batch.items()} for batch in source.iter(batch_size=1))


def first_windows(data: Windows | RecordStream) -> list[dict[str, Any]]:
    """The windows that train; of a stream those that it begins with, as a sample."""
    return [w for part in data.beginning for w in part] if isinstance(data, RecordStream) else data

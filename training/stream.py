"""Training records that are read while training goes on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import IterableDataset

from finener.data_scripts.record_files import read_rows
from finener.data_scripts.schema import RecordError
from finener.pipeline_finener import TextEncoder
from finener.training.records import Record, cut_record, detection_beside, teaches


class RecordStream(torch.utils.data.IterableDataset):
    """Windows of records that are read while training goes on, so memory holds the shuffle buffer, whatever the size of the files.

    It never ends: pass follows pass over the files, each shuffled in another way, which follows from the seed and the number of the pass
    alone. A process reads its own rows of each file: every n-th where there are n processes, for files may differ in size and their
    number need not be a multiple of n. So processes have equal shares up to a row a file, none waits for another, and each pass of all
    of them together is every record once. Records are validated as they are read; ids are not compared, as that would take memory.

    Args:
        files: of records, those without a mention that are not exhaustive left out; each once in a pass.
        encoder: cuts records into windows.
        detection_files: mixed in, over and over, as ``detection_share`` asks; see :func:`mix_records`.
        detection_share: part of the windows, at any point of the stream, in [0, 1).
        check: called with each record; raises where it is not fit for training.
        buffer_size: windows that are shuffled together; their files are shuffled too.
        seed: of the order.
        process, n_processes: which of how many processes reads.
        n_workers: of each process's data loader; they share its rows.

    Raises:
        RecordError: while it is read, on a bad record, or when a pass over the files gives this process (or worker) nothing.
    """

    def __init__(
        self,
        files: Sequence[Path],
        encoder: TextEncoder,
        *,
        detection_files: Sequence[Path] = (),
        detection_share: float = 0.0,
        check: Callable[[Record], None] | None = None,
        buffer_size: int = 10_000,
        seed: int = 0,
        process: int = 0,
        n_processes: int = 1,
        n_workers: int = 0,
    ):
        detection_beside(0, detection_share)
        self.files, self.detection_files, self.detection_share = list(files), list(detection_files), detection_share
        self.encoder, self.check, self.buffer_size, self.seed = encoder, check, buffer_size, seed
        workers = max(1, n_workers)
        self.step = n_processes * workers
        self.firsts = range(process, self.step, n_processes)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        detection, drawn = self._passes(self.detection_files), 0
        for n_typing, window in enumerate(self._passes(self.files), 1):
            yield window
            while self.detection_files and drawn < detection_beside(n_typing, self.detection_share):
                yield next(detection)
                drawn += 1

    @property
    def all_files(self) -> list[Path]:
        """What is read, in the order given."""
        return [*self.files, *self.detection_files]

    def one_pass(self, files: Sequence[Path], number: int) -> IterableDataset:
        """This process's windows of some files, once, in the order of pass ``number``."""
        rows = [(file, first) for file in files for first in self.firsts]
        windows = IterableDataset.from_generator(self._windows, gen_kwargs={"rows": rows})
        return windows.shuffle(generator=np.random.default_rng([self.seed, number]), buffer_size=self.buffer_size)

    def _passes(self, files: Sequence[Path]) -> Iterator[dict[str, Any]]:
        for number in itertools.count():
            is_empty = True
            for window in self.one_pass(files, number):
                yield window
                is_empty = False
            if is_empty:
                raise RecordError(
                    f"{files[0]} and {len(files) - 1} more files have nothing to train on for one of {self.step} readers: expected at "
                    "least as many records with mentions as there are processes times data loader workers"
                )

    def _windows(self, rows: Sequence[tuple[Path, int]]) -> Iterator[dict[str, Any]]:
        for file, first in rows:
            for _, record in read_rows(file, first=first, step=self.step):
                if self.check is not None:
                    self.check(record)
                if teaches(record):
                    yield from cut_record(record, self.encoder)

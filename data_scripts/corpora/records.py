"""Our own JSON Lines (or Parquet) of records as a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from finener.data_scripts.corpus import CorpusBuilder, ReadReport
from finener.data_scripts.record_files import read_records
from finener.data_scripts.schema import Record


class Records(CorpusBuilder):
    """Files of records as a dataset; every record is validated, and the first bad one is an error with file and line.

    With ``ontology`` the types must be of it; without, they are kept as they are.

    Example:
        >>> builder = Records(data_files={"train": "train.jsonl", "test": "test.jsonl"})
        >>> builder.download_and_prepare()
        >>> builder.as_dataset("train")
    """

    PATTERNS = ("*.jsonl", "*.parquet")

    def read(self, files: list[Path], ontology: str, report: ReadReport) -> Iterator[Record]:
        """Reads the files one after the other."""
        return read_records(files, self.ontology)

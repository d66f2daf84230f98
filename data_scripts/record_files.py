"""Files and folders of records: found, read and written."""

from __future__ import annotations

import glob
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from finener.data_scripts.raw_files import decode_line, open_parquet, parse_row, read_raw_lines
from finener.data_scripts.schema import EXAMPLE_RECORD, Record, RecordError, validate_record
from finener.ontology_finener import Ontology

# "train-00003-of-00008.parquet", or "train.jsonl".
_SPLIT_FILE = re.compile(
    r"(?:(?P<shard_of>\w+)-(?P<number>\d+)-of-(?P<total>\d+)|(?P<split>train|dev|validation|test))\.\w+"
)
_DEV_NAMES = ("dev", "validation")  # two names of one split


def record_files(paths: Iterable[str | os.PathLike], split: str = "train") -> list[Path]:
    """The files that paths stand for: a file is itself, ``data/*.jsonl`` all that match, a folder its files of one split.

    In a folder, at any depth, each ``.parquet`` and ``.jsonl`` file must tell its split by its name: ``train-00003-of-00008.parquet``,
    as the build command and ``datasets`` write it, or ``train.jsonl``. So nothing is trained on that was kept for a test.

    Args:
        paths: files, folders and patterns.
        split: "train", "test" or any other; "dev" and "validation" mean the same.

    Returns:
        Files in the order of the paths, those of a pattern or a folder sorted.

    Raises:
        FileNotFoundError: when a pattern matches nothing.
        RecordError: when a folder has no file of the split, lacks one of its shards, or holds files that do not tell their split.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            files += _files_of_split(path, split)
        elif not path.exists() and glob.has_magic(str(path)):
            found = sorted(map(Path, glob.glob(str(path), recursive=True)))
            if not found:
                raise FileNotFoundError(f"{path}: no file matches")
            files += found
        else:
            files.append(path)
    return files


def _files_of_split(folder: Path, split: str) -> list[Path]:
    advice = f"to read files whatever their names, give them or a pattern such as '{folder}/*.parquet'"
    files, shards = {}, {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".parquet", ".jsonl")):
        name = _SPLIT_FILE.fullmatch(path.name)
        if not name:
            raise RecordError(
                f"{path}: in a folder, expected files such as train-00000-of-00004.parquet or train.jsonl, whose name tells "
                f"their split; {advice}"
            )
        own = name["shard_of"] or name["split"]
        files.setdefault(own, []).append(path)
        if name["total"]:
            shards.setdefault((path.parent, own), set()).add((int(name["number"]), int(name["total"])))
    for (parent, own), numbered in shards.items():
        total = max(total for _, total in numbered)
        if odd := sorted(numbered ^ {(number, total) for number in range(total)}):
            raise RecordError(
                f"{parent}: expected {total} shards of {own!r}, each once; missing or left over: "
                f"{own}-{odd[0][0]:05d}-of-{odd[0][1]:05d}"
            )
    found = [path for name in (_DEV_NAMES if split in _DEV_NAMES else (split,)) for path in files.get(name, ())]
    if not found:
        raise RecordError(
            f"{folder}: no files of the split {split!r}; found {', '.join(sorted(files)) or 'none'}; {advice}"
        )
    return found


def read_records(
    paths: str | os.PathLike | Iterable[str | os.PathLike], ontology: Ontology | None = None
) -> Iterator[Record]:
    """Reads and validates records, one by one.

    Args:
        paths: a file or several: Parquet where the name ends in ``.parquet``, else JSON Lines (UTF-8, one record a line;
            lines of white space only are passed over).
        ontology: see :func:`validate_record`.

    Yields:
        Validated records, in file order.

    Raises:
        RecordError: on the first bad record, with file and line (or row); on a doubled id, with both places.
        FileNotFoundError: when a file is not there.
    """
    single = isinstance(paths, (str, os.PathLike))
    seen: dict[str, str] = {}
    for path in [paths] if single else paths:
        for where, record in read_rows(path, ontology):
            if record["id"] in seen:
                raise RecordError(
                    f"{where}: the id {record['id']!r} was already used at {seen[record['id']]}; ids must be unique"
                )
            seen[record["id"]] = where
            yield record


def read_rows(
    path: str | os.PathLike, ontology: Ontology | None = None, first: int = 0, step: int = 1
) -> Iterator[tuple[str, Record]]:
    """Reads and validates rows of one file in constant memory; ids are not compared.

    Args:
        path: see :func:`read_records`.
        ontology: see :func:`validate_record`.
        first: number of the first row (or line) to read, from 0.
        step: distance of the next: readers with first 0, 1, …, step - 1 share a file among them.

    Yields:
        The place, such as ``"train.jsonl:12"``, and the record, in file order.

    Raises:
        RecordError: on the first bad record, with file and line (or row).
        FileNotFoundError: when the file is not there.
    """
    path = Path(path)
    rows = _parquet_rows if path.suffix == ".parquet" else _json_lines
    for where, content in rows(path, first, step):
        yield where, validate_record(content, ontology, where)


def count_rows(paths: Iterable[str | os.PathLike]) -> int:
    """How many records files hold: what Parquet files say, and the lines of the others that are not blank. Nothing is validated."""
    count = 0
    for path in map(Path, paths):
        if path.suffix == ".parquet":
            with open_parquet(path, RecordError) as parquet:
                count += parquet.metadata.num_rows
        else:
            count += sum(not line.isspace() for _, line in read_raw_lines(path, RecordError))
    return count


def _json_lines(path: Path, first: int, step: int) -> Iterator[tuple[str, Any]]:
    # Lines are cut as bytes: str.splitlines would also cut at U+2028 and its like, which JSON allows inside strings.
    for number, line in itertools.islice(read_raw_lines(path, RecordError), first, None, step):
        where = f"{path}:{number}"
        text = decode_line(line, number, where, RecordError)
        if text.strip():
            yield where, parse_row(text, where, EXAMPLE_RECORD, RecordError)


def _parquet_rows(path: Path, first: int, step: int) -> Iterator[tuple[str, Any]]:
    import pyarrow

    with open_parquet(path, RecordError) as parquet:
        before = 0
        for batch in parquet.iter_batches(batch_size=1024):
            own = range((first - before) % step, len(batch), step)
            for row, content in zip(own, batch.take(pyarrow.array(own, "int64")).to_pylist(), strict=True):
                yield f"{path}:row {before + row + 1}", content
            before += len(batch)


def write_records(records: Iterable[Mapping[str, Any]], path: str | os.PathLike) -> int:
    """Validates records and writes them as JSON Lines.

    The file appears only when all of it is written, so a failed run leaves no half file behind.

    Returns:
        The number of records written.

    Raises:
        RecordError: on a record that is not valid, or a doubled id.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    seen: set[str] = set()
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            for number, record in enumerate(records):
                checked = validate_record(record, where=f"record number {number}")
                if checked["id"] in seen:
                    raise RecordError(
                        f"record number {number}: the id {checked['id']!r} was already used; ids must be unique"
                    )
                seen.add(checked["id"])
                file.write(json.dumps(checked, ensure_ascii=False) + "\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return len(seen)

"""What batch prediction reads: JSON Lines, text files, Parquet files, folders of LTF."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from finener.data_scripts.raw_files import decode_line, open_parquet, read_raw_lines
from finener.json_finener import parse_json

EXPECTED_FILES = (
    'a .jsonl file (one object with a "text" a line), a .txt file (one text a line), a .parquet file with a column "text", '
    "or a folder of .ltf.xml or .ltf.zip files"
)


class InputError(ValueError):
    """A part of the input can't be read; the message says what was expected."""


class Row(NamedTuple):
    """A row of the input as it stands there: its number, from 0, its place ("in.jsonl:12"), and the content, not read yet."""

    number: int
    place: str
    content: Any


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of a file, or the documents of a folder of LTF, in order, in constant memory.

    Raises:
        InputError: on another kind of file or folder, or one that is broken as a whole.
        FileNotFoundError: when it is not there.
    """
    if path.is_dir():
        return _documents(path)
    if path.suffix in (".jsonl", ".txt"):
        return _lines(path)
    if path.suffix == ".parquet":
        return _parquet(path)
    raise InputError(f"{path}: expected {EXPECTED_FILES}")


def count_rows(path: Path) -> int | None:
    """How many rows there are, where that is quick to tell."""
    if path.is_dir():
        return None
    if path.suffix == ".parquet":
        with open_parquet(path, InputError) as parquet:
            return parquet.metadata.num_rows
    with path.open("rb") as file:
        blocks = iter(lambda: file.read(2**20), b"")
        n_lines, last = 0, b"\n"
        for block in blocks:
            n_lines, last = n_lines + block.count(b"\n"), block[-1:]
    return n_lines + (last != b"\n")


def _lines(path: Path) -> Iterator[Row]:
    for number, line in read_raw_lines(path, InputError):
        yield Row(number - 1, f"{path}:{number}", line)


def _parquet(path: Path) -> Iterator[Row]:
    with open_parquet(path, InputError) as parquet:
        if "text" not in parquet.schema_arrow.names:
            raise InputError(f'{path}: expected a column "text", found {", ".join(parquet.schema_arrow.names)}')
        number = 0
        for batch in parquet.iter_batches(batch_size=256):
            for content in batch.to_pylist():
                yield Row(number, f"{path}:row {number + 1}", _as_json(content))
                number += 1


def _as_json(value: Any) -> Any:
    """A value of Parquet as JSON can write it: dates, decimals, bytes and their like as text."""
    if isinstance(value, dict):
        return {str(key): _as_json(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_as_json(part) for part in value]
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _documents(folder: Path) -> Iterator[Row]:
    from finener.data_scripts.corpora.ltf import LTF_PATTERNS, read_ltf

    files = sorted(file for pattern in LTF_PATTERNS for file in folder.rglob(pattern))
    if not files:
        raise InputError(f"{folder}: expected {EXPECTED_FILES}; found no LTF in it")
    for number, document in enumerate(read_ltf(files)):
        yield Row(number, document.place, {"id": document.id, "doc_id": document.id, "text": document.text})


def read_row(row: Row, gold_mentions: bool = False) -> dict[str, Any]:
    """The record of a row. One without an id gets its number, from 1.

    Args:
        gold_mentions: the mentions that it brings must be spans of its text; otherwise they may be anything.

    Raises:
        InputError: when it is no object with a ``text``, or is not UTF-8.
    """
    expected = '{"id": "1", "text": "Ann left."}'
    if gold_mentions:
        expected = '{"id": "1", "text": "Ann left.", "mentions": [{"start": 0, "end": 3}]}'
    content = row.content
    if isinstance(content, bytes):
        content = decode_line(content, row.number + 1, row.place, InputError).rstrip("\r\n")
    try:
        record = _record(content, row.place)
        _check(record, gold_mentions)
    except ValueError as error:
        raise InputError(f"{row.place}: expected {expected}, found {row.content!r:.60} ({error})") from None
    return {"id": str(row.number + 1), **record}


def _record(content: Any, place: str) -> Any:
    if not isinstance(content, str):
        return content
    return {"text": content} if place.rpartition(":")[0].endswith(".txt") else parse_json(content)


def _check(record: Any, gold_mentions: bool) -> None:
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise ValueError("no text")
    json.dumps(record, ensure_ascii=False).encode("utf-8")  # raises: half a surrogate pair can't be written
    text, mentions = record["text"], record.get("mentions", []) if gold_mentions else []
    if not isinstance(mentions, list):
        raise ValueError("mentions is no list")
    for mention in mentions:
        start, end = (mention.get("start"), mention.get("end")) if isinstance(mention, dict) else (None, None)
        are_numbers = type(start) is int and type(end) is int
        if not are_numbers or not 0 <= start < end <= len(text) or not text[start:end].strip():
            raise ValueError(f"{mention!r} is no span with a word of a text of {len(text)} characters")
    mentions.sort(key=lambda m: (m["start"], m["end"]))
    for left, right in pairwise(mentions):
        if right["start"] < left["end"]:
            raise ValueError(f"the mentions {left!r} and {right!r} overlap")

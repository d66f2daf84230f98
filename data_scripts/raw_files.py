"""Files that come from outside: unpacked, decoded and parsed within bounds.

Whatever a library says of a broken or hostile file becomes one line of the kind of error that the caller names, with the file and, where
there are lines, the line. What is not there, or may not be read, stays the OSError that it is.
"""

from __future__ import annotations

import bz2
import lzma
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from gzip import GzipFile  # `datasets` replaces gzip.open in builders' modules, by one that leaves the file open
from pathlib import Path
from typing import IO, Any, BinaryIO
from xml.etree.ElementTree import Element, ParseError
from zipfile import BadZipFile, ZipFile

import yaml
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse as parse_xml

from finener.json_finener import parse_json

MOST_LINE = 2**26  # bytes of a line
MOST_UNPACKED = 2**28  # bytes that are unpacked in one piece: a member of an archive, a page of a dump
MOST_VALUES = 100_000  # of a YAML file, those that an alias repeats counted again
MOST_DIGITS = 15  # of a place in a text; Python refuses to read some thousands

# What Python's unpackers raise on broken data; of OSErrors only those that no system call gave.
_BROKEN = (
    EOFError,
    BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    OverflowError,
)


Refusal = type[ValueError]


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def told_as(refusal: Refusal, path: str | os.PathLike, what: str) -> Iterator[None]:
    """Turns what unpackers raise into a refusal that names the file. ``what`` says what was found, "a broken archive"."""
    try:
        yield
    except refusal:
        raise
    except OSError as error:
        if error.filename is not None:
            raise
        raise refusal(f"{path}: {what} ({one_line(error)})") from None
    except (*_BROKEN, ValueError) as error:
        raise refusal(f"{path}: {what} ({one_line(error)})") from None


# ---------------------------------------------------------------- packed files


def open_packed(path: str | os.PathLike) -> BinaryIO:
    """A file, unpacked while it is read where its first bytes are those of gzip or bzip2."""
    with Path(path).open("rb") as raw:
        magic = raw.read(3)
    if magic[:2] == b"\x1f\x8b":
        return GzipFile(path)
    return bz2.open(path) if magic == b"BZh" else Path(path).open("rb")


def read_raw_lines(path: str | os.PathLike, refusal: Refusal) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and bytes of each line of a file, packed or not, in constant memory.

    Raises:
        ValueError: the refusal, on packed data that are broken or end early, and on a line of more than MOST_LINE bytes.
    """
    number = 0
    with open_packed(path) as file:
        while True:
            try:
                line = file.readline(MOST_LINE + 1)
            except (*_BROKEN, OSError) as error:
                if isinstance(error, OSError) and error.filename is not None:
                    raise
                raise refusal(
                    f"{path}:{number + 1}: the packed file is truncated or broken ({one_line(error)})"
                ) from None
            if not line:
                return
            number += 1
            if len(line) > MOST_LINE:
                raise refusal(f"{path}:{number}: expected lines of at most {MOST_LINE:,} bytes, found a longer one")
            yield number, line


def decode_line(line: bytes, number: int, where: str, refusal: Refusal) -> str:
    """A line of UTF-8; of the first one a byte order mark is taken off. Raises the refusal on other bytes."""
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise refusal(
            f"{where}: expected UTF-8, found the byte {line[error.start]:#04x} at {error.start}; save the file as UTF-8 first"
        ) from None


def read_text_lines(path: str | os.PathLike, refusal: Refusal) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line, without its end: of :func:`read_raw_lines`, by :func:`decode_line`."""
    for number, line in read_raw_lines(path, refusal):
        yield number, decode_line(line, number, f"{path}:{number}", refusal).rstrip("\r\n")


def members(path: str | os.PathLike, ending: str, refusal: Refusal) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each member of a zip archive whose name ends so, by name. Nothing is written anywhere.

    Raises:
        ValueError: the refusal, on a broken archive, and on a member that unpacks to more than MOST_UNPACKED bytes.
    """
    with told_as(refusal, path, "a broken archive"), ZipFile(path) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            if not info.filename.endswith(ending):
                continue
            if info.file_size > MOST_UNPACKED:  # which Python holds it to when it unpacks
                raise refusal(
                    f"{path}/{info.filename}: expected at most {MOST_UNPACKED:,} bytes, unpacked it has {info.file_size:,}"
                )
            with archive.open(info) as member:
                yield info.filename, member


def unpack(packed: bytes, where: str, refusal: Refusal) -> bytes:
    """What zlib has packed. Raises the refusal when it is broken or more than MOST_UNPACKED bytes."""
    with told_as(refusal, where, "its packed data are broken"):
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(packed, MOST_UNPACKED)
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise refusal(f"{where}: its packed data end early, or unpack to more than {MOST_UNPACKED:,} bytes")
        return content


# ---------------------------------------------------------------- Parquet


@contextmanager
def open_parquet(path: str | os.PathLike, refusal: Refusal) -> Iterator[Any]:
    """A Parquet file. Broken data that show while it is read end in a refusal too."""
    import pyarrow
    import pyarrow.parquet

    try:
        with Path(path).open("rb") as file:
            # A small buffer instead of whole row groups, which may be as large as the file.
            yield pyarrow.parquet.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
    except refusal:
        raise
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise refusal(f"{path}: not a Parquet file, or a broken one ({one_line(error)})") from None


# ---------------------------------------------------------------- JSON, YAML, XML


def parse_row(text: str, where: str, example: str, refusal: Refusal) -> Any:
    """The JSON value of a line. Raises the refusal, with the place and a good line, on what is none."""
    try:
        return parse_json(text)
    except ValueError as error:
        raise refusal(f"{where}: not JSON ({error}); expected one object a line, such as {example}") from None


def read_yaml(path: str | os.PathLike, refusal: Refusal) -> Any:
    """The content of a YAML file, of plain values only.

    Raises:
        ValueError: the refusal, on what is no YAML, and where aliases repeat more than MOST_VALUES values.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        count = _count(content, {})
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise refusal(f"{path}: not YAML ({one_line(error)})") from None
    if count > MOST_VALUES:
        raise refusal(f"{path}: expected at most {MOST_VALUES:,} values; what its aliases repeat are more")
    return content


def _count(content: Any, known: dict[int, int]) -> int:
    """How many values there are, each as often as it is reached; one that holds itself counts as more than any file may have."""
    if not isinstance(content, (dict, list, tuple, set)):
        return 1
    if id(content) not in known:
        known[id(content)] = MOST_VALUES + 1  # until it is counted
        parts: Sequence[Any] = [*content, *content.values()] if isinstance(content, dict) else list(content)
        known[id(content)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(content)]


def read_xml(path: str | os.PathLike, file: IO[bytes] | None, refusal: Refusal) -> Element:
    """The root of an XML file.

    Args:
        path: its name, for errors too.
        file: where given, it is read instead: a member of an archive.
        refusal: the error for what is broken, in an encoding that is not known, or declares entities, which could make it expand
            without bound. A document type may be named; nothing is fetched.
    """
    try:
        return parse_xml(file or path).getroot()
    except ParseError as error:
        raise refusal(f"{path}:{error.position[0]}: broken or truncated XML ({error})") from None
    except DefusedXmlException as error:
        raise refusal(
            f"{path}: refused, because it declares entities ({one_line(error)}); expected plain XML"
        ) from None
    except _BROKEN as error:
        raise refusal(f"{path}: its packed data are broken ({one_line(error)})") from None
    except (LookupError, ValueError) as error:
        raise refusal(
            f"{path}: its encoding is not what it says, or not known ({one_line(error)}); expected UTF-8"
        ) from None


def whole_number(cell: str) -> int | None:
    """A number of at most MOST_DIGITS ASCII digits, or None."""
    return int(cell) if len(cell) <= MOST_DIGITS and re.fullmatch(r"\d+", cell, re.ASCII) else None

"""MediaWiki dumps: their pages, and the titles of these."""

from __future__ import annotations

import bz2
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from finener.data_scripts.raw_files import MOST_UNPACKED


class DumpError(ValueError):
    """A dump cannot be read to its end. The message names the file and the last page that was read well."""


@dataclass(frozen=True)
class Page:
    """One page of a dump; ``redirect`` is the title it leads to, or ""."""

    title: str
    namespace: int
    redirect: str
    text: str


def is_packed(path: str | Path) -> bool:
    """Whether a file is bz2-compressed, by its content."""
    with Path(path).open("rb") as raw:
        return raw.read(3) == b"BZh"


def read_dump(path: str | Path) -> Iterator[Page]:
    """Reads a MediaWiki XML dump, plain or bz2-compressed (told apart by content), in constant memory.

    Yields:
        The pages in the dump's order; of a page with several revisions, the last one.

    Raises:
        DumpError: see :func:`read_dump_at`.
        FileNotFoundError: when there is no such file.
    """
    return (page for _, page in read_dump_at(path))


def read_dump_at(path: str | Path) -> Iterator[tuple[int, Page]]:
    """Reads a dump like :func:`read_dump`, and tells how far it is.

    Yields:
        How many bytes of the file had been read when the page was whole, and the page.

    Raises:
        DumpError: when the dump is truncated, is not XML or not a dump, has a page of more than MOST_UNPACKED bytes, or declares a
            document type or entities (which no dump does and which could make it expand without bound). Pages before that place have
            been yielded by then.
        FileNotFoundError: when there is no such file.
    """
    path, count, last = Path(path), 0, ""
    try:
        packed = is_packed(path)
        with path.open("rb") as raw, bz2.open(raw) if packed else raw as stream:
            for element in _page_elements(_Bounded(stream)):
                page = _page(element)
                yield raw.tell(), page
                count, last = count + 1, page.title
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except (EOFError, OSError, LookupError, ValueError, ParseError, DefusedXmlException, _NotADump) as error:
        reached = f"the last good page is {last!r}, number {count}" if count else "no page was read"
        raise DumpError(
            f"{path}: {_what_is_wrong(error)}; {reached}. Expected a complete pages-articles dump, .xml or .xml.bz2"
        ) from error


class _NotADump(Exception):
    pass


class _Bounded:
    """A stream of which only so much is read until ``left`` is set again: a page is held in memory while it is read."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.left = MOST_UNPACKED

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes. Raises _NotADump when a page does not end."""
        content = self._stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise _NotADump(f"a page of more than {MOST_UNPACKED:,} bytes")
        return content


def _what_is_wrong(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the file is truncated: its compressed data end too early"
    if isinstance(error, ParseError):
        return f"broken or truncated XML ({error})"
    if isinstance(error, DefusedXmlException):
        return f"refused, because it declares entities or a document type ({error})"
    if isinstance(error, (LookupError, ValueError)):
        return f"its encoding is not what it says, or not known ({error})"
    return str(error)


def _page_elements(stream: _Bounded) -> Iterator[Element]:
    """The ``page`` elements; each is emptied when the next one is asked for."""
    root = None
    for event, element in iterparse(stream, events=("start", "end"), forbid_dtd=True):
        if root is None:
            root = element
            if _local(root) != "mediawiki":
                raise _NotADump(f"the root element is <{_local(root)}>, not <mediawiki>")
        elif event == "end" and _local(element) == "page":
            yield element
            stream.left = MOST_UNPACKED
            root.clear()  # else every page would stay in the tree


def _local(element: Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _page(element: Element) -> Page:
    parts = {_local(part): part for part in element.iter()}
    title = parts["title"].text if "title" in parts else None
    number = parts["ns"].text if "ns" in parts else "0"
    if not title or not re.fullmatch(r"-?\d{1,9}", number or ""):
        raise _NotADump(f"a <page> without a title, or with the namespace {number!r}, which is no number")
    redirect = page_title(parts["redirect"].get("title", "")) if "redirect" in parts else ""
    text = parts["text"].text if "text" in parts else None
    return Page(page_title(title), int(number), redirect, text or "")


def page_title(target: str) -> str:
    """A link's target as a title: no section, blanks for underscores, the first letter upper case."""
    title = " ".join(html.unescape(target).replace("_", " ").split("#")[0].split())
    return title[:1].upper() + title[1:]

"""brat's standoff: a text and, beside it, a file of marked stretches (``x.txt`` and ``x.ann``)."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from finener.data_scripts.corpus import (
    CorpusBuilder,
    CorpusConfig,
    CorpusError,
    ReadReport,
    Span,
    check_surface,
    make_record,
    option,
    outermost,
    read_lines,
)
from finener.data_scripts.schema import Record

# What becomes a record; neither begins or ends with white space.
UNITS = {"line": re.compile(r"\S(?:[^\r\n]*\S)?"), "document": re.compile(r"\S(?:.*\S)?", re.DOTALL)}
_MENTION = re.compile(r"(T\S*)\t(\S+) (\d{1,15} \d{1,15}(?:;\d{1,15} \d{1,15})*)\t(.*)")
_TRIGGER = re.compile(r"E\S*\t\S+?:(T\S*)")
_OTHERS = {
    "R": "relation", "E": "event", "A": "attribute", "M": "attribute", "N": "link to a database", "#": "note", "*": "equivalence"
}  # fmt: skip


def read_brat(
    text_file: str | os.PathLike,
    annotation_file: str | os.PathLike,
    *,
    unit: str = "line",
    exhaustive: bool = True,
    ontology: str = "",
    source: str = "brat",
    report: ReadReport | None = None,
) -> Iterator[Record]:
    """Reads one document, one record for each line of its text that is not blank.

    Offsets are half-open and count code points of the file's text as it is, line ends included.

    Args:
        text_file: in UTF-8.
        annotation_file: its annotation, in UTF-8.
        unit: "line", or "document" for one record of the whole text.
        exhaustive: whether the records claim that every mention is marked.
        ontology: name of the type system; "" leaves the types out, and the records untyped.
        source: name of the corpus, in every record.
        report: told what was left out.

    Yields:
        Records; ``doc_id`` is the file's name without its ending, ``id`` is ``doc_id#n``.

    Raises:
        CorpusError: with file and line, on a line that is none of brat's, or a mention whose text is not what the line says.
    """
    report = report if report is not None else ReadReport()
    if unit not in UNITS:
        raise CorpusError(f"unknown unit {unit!r}; expected 'line' or 'document'")
    path = Path(text_file)
    # Not by lines: the offsets count line ends.
    text = _decode(path)
    places = [match.span() for match in UNITS[unit].finditer(text)]
    starts = [start for start, _ in places]
    spans: dict[tuple[int, int], list[Span]] = defaultdict(list)  # by the record's place
    for start, end, types in _spans(Path(annotation_file), text, report):
        place = places[bisect_right(starts, start) - 1]
        if end > place[1]:
            report.dropped["mention: goes over the end of a line"] += 1
        else:
            spans[place].append((start - place[0], end - place[0], types))
    for number, place in enumerate(places):
        kept = outermost(spans[place], report.dropped)
        yield make_record(
            f"{path.stem}#{number}", path.stem, source, text[slice(*place)], kept, ontology, exhaustive=exhaustive
        )


def _decode(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CorpusError(
            f"{path}:{line}: expected UTF-8, found the byte {content[error.start]:#04x}; save the file as UTF-8 first"
        ) from None


def _spans(path: Path, text: str, report: ReadReport) -> Iterator[Span]:
    """The mentions of an annotation file, without outer white space."""
    lines = [(f"{path}:{number}", line) for number, line in read_lines(path) if line.strip()]
    triggers = {match[1] for _, line in lines if (match := _TRIGGER.match(line))}
    for where, line in lines:
        if line[0] in _OTHERS:
            report.dropped[f"line: {_OTHERS[line[0]]}"] += 1
            continue
        match = _MENTION.fullmatch(line)
        if not match:
            raise CorpusError(f"{where}: expected a line such as 'T1<TAB>Person 0 3<TAB>Ann', found {line!r}")
        name, type_id, offsets, surface = match.groups()
        stretches = [tuple(map(int, stretch.split())) for stretch in offsets.split(";")]
        start, end = stretches[0][0], stretches[-1][1]
        if name in triggers:
            report.dropped["mention: trigger of an event"] += 1
        elif any(text[left[1] : right[0]].strip() for left, right in pairwise(stretches)):
            report.dropped["mention: of several stretches"] += 1
        elif not surface.strip():
            report.dropped["mention: white space only"] += 1
        else:
            _check(text, start, end, surface, where, cut=len(stretches) > 1)
            stretch = text[start:end]
            yield start + len(stretch) - len(stretch.lstrip()), start + len(stretch.rstrip()), [type_id]


def _check(text: str, start: int, end: int, surface: str, where: str, cut: bool) -> None:
    """Whether ``surface`` is what brat writes of the text there: line ends as blanks, and one blank where it has ``cut``."""
    if cut and surface.split() == text[start:end].split():
        return
    one_line, surface = (given.replace("\r", " ").replace("\n", " ") for given in (text, surface))
    try:
        check_surface(one_line, start, end, surface, where)
    except CorpusError as error:
        hint = "; the text's line ends are \\r\\n: were they counted as one character?" if "\r\n" in text else ""
        raise CorpusError(f"{error}{hint}") from None


# ---------------------------------------------------------------- the builder


@dataclass
class BratConfig(CorpusConfig):
    """Options of :func:`read_brat`."""

    unit: str = option("line", "what becomes a record: line or document")
    exhaustive: bool = option(True, "every mention is marked, so the records may train detection")
    source: str = option("brat", "name of the corpus, kept in each record")


class Brat(CorpusBuilder):
    """Folders of brat's ``.txt`` and ``.ann`` files as a dataset of records.

    Example:
        >>> builder = Brat(data_files={"train": "collection"}, ontology="my_types.tsv")
        >>> builder.download_and_prepare()
    """

    BUILDER_CONFIG_CLASS = BratConfig
    PATTERNS = ("*.txt", "*.ann")
    config: BratConfig

    def read(self, files: list[Path], ontology: str, report: ReadReport) -> Iterator[Record]:
        """Reads the documents one after the other; a text without annotation is left out, and counted."""
        # Both must be among the data files: what is not, `datasets` would not notice when it changes.
        endings: dict[Path, set[str]] = defaultdict(set)
        for file in files:
            endings[file.with_suffix("")].add(file.suffix)
        for stem, found in endings.items():
            text_file, annotation_file = (stem.with_name(stem.name + ending) for ending in (".txt", ".ann"))
            if not found <= {".txt", ".ann"} or ".txt" not in found:
                raise CorpusError(
                    f"{stem}: expected {text_file.name} and {annotation_file.name} among the data files, found {sorted(found)}"
                )
            if ".ann" not in found:
                report.dropped["document: no .ann beside its .txt"] += 1
                continue
            yield from read_brat(
                text_file,
                annotation_file,
                unit=self.config.unit,
                exhaustive=self.config.exhaustive,
                ontology=ontology,
                source=self.config.source,
                report=report,
            )

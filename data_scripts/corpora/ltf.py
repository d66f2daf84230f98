"""LTF, the XML form of the Linguistic Data Consortium's source texts, and the records of mentions that tables place in them."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from finener.data_scripts.corpus import (
    CorpusConfig,
    CorpusError,
    ReadReport,
    Span,
    check_surface,
    make_record,
    option,
    outermost,
    read_xml,
)
from finener.data_scripts.raw_files import members, whole_number
from finener.data_scripts.schema import Record
from finener.ontology_finener import Ontology, OntologyError

LTF_PATTERNS = ("*.ltf.xml", "*.ltf.zip")
MOST_CHARACTERS = 50_000_000  # of a document: what no segment covers is filled up


@dataclass
class LtfConfig(CorpusConfig):
    """Options of every corpus of tables and LTF texts."""

    languages: str = option("", "languages to read, as the texts name theirs, such as eng or eng,rus; '' reads all")
    skip_mismatches: bool = option(
        False,
        "leave out and count the mentions whose text is not what the table says, instead of stopping at the first",
    )


class Segment(NamedTuple):
    """A sentence of a document: its id, and its characters [start, end) there."""

    id: str
    start: int
    end: int


class LtfDocument(NamedTuple):
    """A source text.

    Args:
        id: the name that tables use.
        place: its file, for errors.
        text: the raw document, so that the corpus's offsets index into it. What no segment covers is not in the file: these
            characters are line ends here, as is one at the end.
        segments: its sentences, in order; they do not overlap.
        language: as the file names it ("eng"), "" where it does not.
    """

    id: str
    place: str
    text: str
    segments: tuple[Segment, ...]
    language: str


class TextMention(NamedTuple):
    """A line of a mention table: where it stands ("file:line"), characters [start, end) of the document, text and types."""

    place: str
    start: int
    end: int
    surface: str
    types: list[str]


# ---------------------------------------------------------------- texts


def read_ltf(files: Iterable[Path]) -> Iterator[LtfDocument]:
    """Reads source texts.

    Args:
        files: ``.ltf.xml`` files, and ``.zip`` archives, of which the ``.ltf.xml`` members are read.

    Raises:
        CorpusError: on a file that is broken, is not LTF, or has offsets that do not fit its text.
    """
    for file in files:
        if file.suffix != ".zip":
            yield from _documents(read_xml(file), str(file))
            continue
        for name, member in members(file, ".ltf.xml", CorpusError):
            yield from _documents(read_xml(f"{file}/{name}", member), f"{file}/{name}")


def _documents(root: Element, place: str) -> Iterator[LtfDocument]:
    documents = [document for document in root.iter("DOC") if document.get("id")]
    if not documents:
        raise CorpusError(
            f'{place}: expected LTF, that is <LCTL_TEXT><DOC id="…">…, found <{root.tag}> without such a DOC'
        )
    for document in documents:
        text, segments = "", []
        for element in document.iter("SEG"):
            segment, content = _segment(element, place)
            if segment.start < len(text):
                raise CorpusError(
                    f"{place}: segment {segment.id!r} begins at {segment.start}; expected no less than {len(text)}, where the "
                    "one before it ends"
                )
            text += "\n" * (segment.start - len(text)) + content
            segments.append(segment)
        length = _number(document, "raw_text_char_length", place) if "raw_text_char_length" in document.attrib else 0
        text += "\n" * max(length - len(text), 1)
        yield LtfDocument(
            document.attrib["id"], place, text, tuple(segments), document.get("lang") or root.get("lang", "")
        )


def _segment(element: Element, place: str) -> tuple[Segment, str]:
    segment = Segment(
        element.get("id", ""), _number(element, "start_char", place), _number(element, "end_char", place) + 1
    )
    content = element.findtext("ORIGINAL_TEXT") or ""
    if not segment.id or len(content) != segment.end - segment.start:
        hint = "; are the file's ends exclusive?" if len(content) == segment.end - segment.start - 1 else ""
        raise CorpusError(
            f"{place}: segment {segment.id!r}: expected an id, and an ORIGINAL_TEXT of {segment.end - segment.start} characters "
            f"(start_char {segment.start}, end_char {segment.end - 1}, inclusive), found {len(content)}{hint}"
        )
    return segment, content


def _number(element: Element, name: str, place: str) -> int:
    value = element.get(name, "")
    if (number := whole_number(value)) is None or number > MOST_CHARACTERS:
        raise CorpusError(
            f"{place}: {element.tag} {element.get('id')!r}: expected a number of at most {MOST_CHARACTERS:,} in {name}, found "
            f"{value!r:.80}"
        )
    return number


# ---------------------------------------------------------------- tables


def split_files(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Tables (``.tab``) and texts (``.xml``, ``.zip``), told by their suffix.

    Raises:
        CorpusError: on another suffix, or when one of the two is missing.
    """
    for file in files:
        if file.suffix not in (".tab", ".xml", ".zip"):
            raise CorpusError(
                f"{file}: expected a mention table (.tab) or texts (.ltf.xml, .ltf.zip); rename it if it is one"
            )
    tables = [file for file in files if file.suffix == ".tab"]
    texts = [file for file in files if file.suffix != ".tab"]
    if not tables or not texts:
        raise CorpusError(
            f"expected mention tables (.tab) and their texts (.ltf.xml, .ltf.zip), found {len(tables)} and {len(texts)}; give "
            "both, e.g. --data_files mentions.tab ltf/, in every split"
        )
    return tables, texts


def check_types(types: Sequence[str], ontology: Ontology | None, place: str) -> None:
    """Raises CorpusError, which names the place, when a type is none of the ontology; without one, every type is right."""
    try:
        for type_id in types if ontology else ():
            ontology.index(type_id)
    except OntologyError as error:
        raise CorpusError(f"{place}: {error}; or read spans only, with --ontology ''") from None


def choices(text: str) -> set[str]:
    """The parts of a comma-separated option: "R103, R107" → {"R103", "R107"}."""
    return {part.strip() for part in text.split(",") if part.strip()}


# ---------------------------------------------------------------- records


def table_records(
    mentions: Mapping[str, list[TextMention]],
    texts: Iterable[Path],
    *,
    source: str,
    ontology: str,
    exhaustive: bool,
    config: LtfConfig,
    report: ReadReport,
) -> Iterator[Record]:
    """The sentences of all documents that the tables name.

    Args:
        mentions: those of each document, by its id.
        texts: files of :func:`read_ltf`; documents that the tables do not name are left out and counted.
        source: name of the corpus, in every record.
        ontology: name of the types' ontology, "" for spans only.
        exhaustive: whether the tables hold every mention of their kind.
        config: the options.
        report: told what was left out.

    Raises:
        CorpusError: when the text of a document is missing or comes up twice, and on what :func:`segment_records` refuses.
    """
    languages = choices(config.languages)
    seen: dict[str, str] = {}
    for document in read_ltf(texts):
        if document.id in seen:
            raise CorpusError(
                f"{document.place}: the document {document.id!r} was in {seen[document.id]} already; give every text once"
            )
        seen[document.id] = document.place
        if document.id not in mentions:
            report.dropped["document: not in the tables"] += 1
        elif languages and document.language not in languages:
            report.dropped[f"document: language {document.language or 'not told'}"] += 1
        else:
            yield from segment_records(
                document,
                mentions[document.id],
                source=source,
                ontology=ontology,
                exhaustive=exhaustive,
                skip_mismatches=config.skip_mismatches,
                report=report,
            )
    missing = [name for name in mentions if name not in seen]
    if missing:
        more = f" (and of {len(missing) - 1} more documents)" if len(missing) > 1 else ""
        place = next((mention.place for mention in mentions[missing[0]]), "the tables")
        raise CorpusError(
            f"{place}: no text of the document {missing[0]!r}{more} among the files; expected an LTF file "
            "whose DOC has this id"
        )


def segment_records(
    document: LtfDocument,
    mentions: Iterable[TextMention],
    *,
    source: str,
    ontology: str,
    exhaustive: bool,
    skip_mismatches: bool,
    report: ReadReport,
) -> Iterator[Record]:
    """The sentences of a document with their mentions; each mention's text is compared with what the table says.

    A mention that crosses segments, or (with ``skip_mismatches``) has another text, is left out and counted, and its segments
    are no longer exhaustive. Segments that are not exhaustive and have no mention teach nothing: they are left out and counted.

    Yields:
        Records; ``id`` is ``DOCUMENT#SEGMENT``.

    Raises:
        CorpusError: when a mention lies outside the document, or (without ``skip_mismatches``) its text differs.
    """
    starts, ends = [segment.start for segment in document.segments], [segment.end for segment in document.segments]
    spans: dict[int, list[Span]] = {}
    incomplete: set[int] = set()
    for mention in mentions:
        touched = range(bisect_right(ends, mention.start), bisect_left(starts, mention.end))
        why = _why_not(document, mention, touched, skip_mismatches)
        if why:
            report.dropped[f"mention: {why}"] += 1
            incomplete.update(touched)
        else:
            start = starts[touched[0]]
            spans.setdefault(touched[0], []).append((mention.start - start, mention.end - start, mention.types))
    for number, segment in enumerate(document.segments):
        whole = exhaustive and number not in incomplete
        kept = outermost(spans.get(number, ()), report.dropped)
        if not kept and not whole:
            report.dropped["sentence: without a mention, and not exhaustive"] += 1
            continue
        yield make_record(
            f"{document.id}#{segment.id}",
            document.id,
            source,
            document.text[segment.start : segment.end],
            kept,
            ontology,
            exhaustive=whole,
        )


def _why_not(document: LtfDocument, mention: TextMention, touched: range, skip_mismatches: bool) -> str:
    """Why a mention can't be in a record, "" when it can; ``touched`` are the segments that hold a part of it."""
    start, end = mention.start, mention.end
    if not touched and 0 <= start < end <= len(document.text):
        return "outside the segments"
    within = (
        len(touched) == 1 and document.segments[touched[0]].start <= start and end <= document.segments[touched[0]].end
    )
    # Tables write a line end as a blank, and what stands between segments is not known.
    same = _one_blank(document.text[start:end]) == _one_blank(mention.surface)
    if not same and (within or len(mention.surface) != end - start):
        try:
            check_surface(document.text, start, end, mention.surface, f"{mention.place}, document {document.id!r}")
        except CorpusError as error:
            if skip_mismatches:
                return "text not as the table says"
            raise CorpusError(f"{error} (--skip_mismatches leaves such mentions out)") from None
    return "" if within else "crosses segments"


def _one_blank(text: str) -> str:
    return re.sub(r"\s+", " ", text)

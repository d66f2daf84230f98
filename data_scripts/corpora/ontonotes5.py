"""OntoNotes 5.0: the columns of CoNLL-2012, and the release's own ``.name`` files."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import unescape as unescape_xml

from finener.data_scripts.corpus import (
    CorpusBuilder,
    CorpusConfig,
    CorpusError,
    ReadReport,
    Span,
    join_tokens,
    make_record,
    option,
    outermost,
    read_lines,
)
from finener.data_scripts.raw_files import whole_number
from finener.data_scripts.schema import Record

# The first part of a document's name is its genre.
GENRES = {
    "bc": "broadcast conversation",
    "bn": "broadcast news",
    "mz": "magazines",
    "nw": "newswire",
    "pt": "pivot text",
    "tc": "telephone conversation",
    "wb": "web",
}
SUBSETS = {"all": frozenset(GENRES), "newswire_web": frozenset({"nw", "wb"})}
VALUES = frozenset({"DATE", "TIME", "PERCENT", "MONEY", "QUANTITY", "ORDINAL", "CARDINAL"})  # types that are no names

# How the treebanks write what would be markup there: anywhere in a token, or as a whole token.
ESCAPES = {
    "-LRB-": "(",
    "-RRB-": ")",
    "-LSB-": "[",
    "-RSB-": "]",
    "-LCB-": "{",
    "-RCB-": "}",
    "-LAB-": "<",
    "-RAB-": ">",
    "-AMP-": "&",
    "\\/": "/",
    "\\*": "*",
}
TOKEN_ESCAPES = {"``": '"', "''": '"', "`": "'", "/.": ".", "/?": "?", "/-": "-"}
_ESCAPE = re.compile("|".join(map(re.escape, ESCAPES)))

WORD_COLUMN, NAME_COLUMN, LEAST_COLUMNS = 3, 10, 12
_BEGIN = re.compile(r"#begin document \((.+?)\);(?: part (\d+))?\s*")
_NAME_CELL = re.compile(r"((?:\([^()*\s]+)*)\*?(\)*)")

_NAME_TAG = re.compile(r"<(/?)(?:ENA|TI|NU)MEX\b([^<>]*)>")
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
_OTHER_TAG = re.compile(r"</?(?!/?(?:ENA|TI|NU)MEX\b)[A-Za-z][^<>\s]*>")


class Sentence(NamedTuple):
    """The tokens joined by blanks, with its names; ``document`` is that of the record, with the part where there is one."""

    document: str
    text: str
    spans: list[Span]


@dataclass
class Document:
    """A document: the name that begins with its genre, where it begins ("file:line"), and its sentences."""

    name: str
    place: str
    sentences: list[Sentence] = field(default_factory=list)


def read_ontonotes(
    path: str | os.PathLike,
    *,
    genres: Collection[str] = SUBSETS["all"],
    names_only: bool = False,
    ontology: str = "",
    report: ReadReport | None = None,
    notes: Counter[str] | None = None,
) -> Iterator[Record]:
    """Reads a file of either layout into records, one a sentence; the text is the tokens joined by blanks.

    Args:
        path: a UTF-8 file whose first line tells the layout: ``#begin document`` or ``<DOC DOCNO=…>``.
        genres: those to keep, keys of GENRES.
        names_only: leaves out mentions of the types VALUES.
        ontology: name of the type system, "" for spans only.
        report: told what was left out.
        notes: counts what was undone or taken off, by kind.

    Yields:
        Records, exhaustive; ``doc_id`` is the document's name with its part, ``id`` is ``doc_id#n``.

    Raises:
        CorpusError: on a line that breaks its layout, and on a file that ends within a document.
    """
    path, report = Path(path), report if report is not None else ReadReport()
    notes = notes if notes is not None else Counter()
    first = next((line for _, line in read_lines(path) if line.strip()), "")
    columns = first.startswith("#begin document")
    if not columns and not first.startswith("<DOC"):
        raise CorpusError(
            f"{path}:1: expected '#begin document (…); part 000' (CoNLL-2012) or '<DOC DOCNO=\"…\">' (.name), found {first!r}"
        )
    for document in _column_documents(path, notes) if columns else _name_documents(path, notes):
        genre = _genre(document, path)
        if genre not in genres:
            report.dropped[f"document: {GENRES[genre]}"] += 1
        elif not document.sentences:
            report.dropped["document: no sentence in it"] += 1
        elif columns and not any(sentence.spans for sentence in document.sentences):
            # The column says * both for no name and for never annotated (all of the New Testament, for one).
            report.dropped["document: no name in it, so perhaps never annotated"] += 1
        else:
            yield from _records(document, names_only, ontology, report)


def _records(document: Document, names_only: bool, ontology: str, report: ReadReport) -> Iterator[Record]:
    numbers: Counter[str] = Counter()
    for sentence in document.sentences:
        spans = sentence.spans
        if names_only:
            report.dropped.update(f"mention: {types[0]}" for _, _, types in spans if types[0] in VALUES)
            spans = [span for span in spans if span[2][0] not in VALUES]
        record_id = f"{sentence.document}#{numbers[sentence.document]}"
        numbers[sentence.document] += 1
        yield make_record(
            record_id, sentence.document, "ontonotes5", sentence.text, outermost(spans, report.dropped), ontology
        )


def _genre(document: Document, path: Path) -> str:
    for part in (*document.name.split("/")[:1], *reversed(path.parts)):
        if part in GENRES:
            return part
    raise CorpusError(
        f"{document.place}: expected a genre ({', '.join(GENRES)}) where the document's name begins, such as nw/wsj/00/wsj_0001, "
        f"or among the file's folders, found {document.name!r}"
    )


def unescape_token(token: str) -> str:
    """What a token stands for: ``-LRB-`` → ``(``."""
    if token in TOKEN_ESCAPES:
        return TOKEN_ESCAPES[token]
    return _ESCAPE.sub(lambda match: ESCAPES[match[0]], token)


def _unescaped(tokens: list[str], notes: Counter[str]) -> list[str]:
    words = [unescape_token(token) for token in tokens]
    notes["tokens had escapes undone, such as -LRB- for ("] += sum(a != b for a, b in zip(tokens, words, strict=True))
    return words


# ---------------------------------------------------------------- CoNLL-2012


def _column_documents(path: Path, notes: Counter[str]) -> Iterator[Document]:
    """Documents of a column file; the parts of one follow each other."""
    document: Document | None = None
    part, rows, first = "", [], 0
    for number, line in read_lines(path):
        place = f"{path}:{number}"
        begins = _BEGIN.fullmatch(line)
        if rows and (not line.strip() or line.startswith("#")):
            document.sentences.append(_column_sentence(part, rows, f"{path}:{first}", notes))
            rows = []
        if begins:
            if part:
                raise CorpusError(f"{place}: expected '#end document' of {part} first, found {line!r}")
            if document is None or begins[1] != document.name:
                if document is not None:
                    yield document
                document = Document(begins[1], place)
            part = f"{begins[1]}/{begins[2]}" if begins[2] else begins[1]
        elif line.startswith("#end document"):
            part = ""
        elif line.strip():
            if not part:
                raise CorpusError(f"{place}: expected '#begin document (…); part 000' first, found {line!r}")
            first = first if rows else number
            rows.append(_column_row(line, place))
    if part:
        raise CorpusError(f"{path}: expected '#end document' of {part}, found the file's end: is it truncated?")
    if document is not None:
        yield document


def _column_row(line: str, place: str) -> tuple[str, re.Match]:
    cells = re.split(r"[ \t]+", line.strip(" \t"))
    if len(cells) < LEAST_COLUMNS:
        raise CorpusError(f"{place}: expected at least {LEAST_COLUMNS} columns, found {len(cells)} in {line!r}")
    name = _NAME_CELL.fullmatch(cells[NAME_COLUMN])
    if not name:
        raise CorpusError(
            f"{place}: expected a name as in '(PERSON*', '*', '*)' or '(GPE)' in column {NAME_COLUMN + 1}, found "
            f"{cells[NAME_COLUMN]!r}"
        )
    if cells[WORD_COLUMN] == "[WORD]":
        raise CorpusError(
            f"{place}: a skeleton file, whose words are [WORD]; expected what the shared task's skeleton2conll script makes of it"
        )
    return cells[WORD_COLUMN], name


def _column_sentence(document: str, rows: list[tuple[str, re.Match]], place: str, notes: Counter[str]) -> Sentence:
    words = _unescaped([word for word, _ in rows], notes)
    text, starts = join_tokens(words)
    spans: list[Span] = []
    opened: list[tuple[int, str]] = []
    for i, (_, name) in enumerate(rows):
        opened += [(starts[i], type_id) for type_id in name[1].split("(")[1:]]
        for _ in name[2]:
            if not opened:
                raise CorpusError(f"{place}: token {i + 1} of the sentence closes a name that was not begun")
            start, type_id = opened.pop()
            spans.append((start, starts[i] + len(words[i]), [type_id]))
    if opened:
        raise CorpusError(f"{place}: expected the name {opened[-1][1]} to end in its sentence")
    return Sentence(document, text, spans)


# ---------------------------------------------------------------- .name


def _name_documents(path: Path, notes: Counter[str]) -> Iterator[Document]:
    document: Document | None = None
    for number, line in read_lines(path):
        place, line = f"{path}:{number}", line.strip()
        if line.startswith("<DOC"):
            name = dict(_ATTRIBUTE.findall(line)).get("DOCNO")
            if document or not name:
                raise CorpusError(f'{place}: expected </DOC>, then <DOC DOCNO="nw/wsj/00/wsj_0001@…">, found {line!r}')
            document = Document(name.split("@")[0], place)
        elif line == "</DOC>" and document:
            yield document
            document = None
        elif line:
            if not document:
                raise CorpusError(f'{place}: expected <DOC DOCNO="…"> first, found {line!r}')
            sentence = _name_sentence(document.name, line, place, notes)
            document.sentences += [sentence] if sentence.text else []  # a line may hold nothing but <TURN>
    if document:
        raise CorpusError(f"{path}: expected </DOC> of {document.name}, found the file's end: is it truncated?")


def _name_sentence(document: str, line: str, place: str, notes: Counter[str]) -> Sentence:
    line, others = _OTHER_TAG.subn("", line)
    notes["tags were taken off that mark no name, such as <TURN>"] += others
    bare, tagged = _take_tags(line, place)
    tokens = list(re.finditer(r"[^ \t]+", bare))
    words = _unescaped([unescape_xml(token[0]) for token in tokens], notes)
    text, starts = join_tokens(words)
    spans: list[Span] = []
    for start, end, attributes in tagged:
        held = [i for i, token in enumerate(tokens) if token.end() > start and token.start() < end]
        if not held:
            raise CorpusError(f"{place}: an empty name in {line!r}")
        first, last = held[0], held[-1]
        # A tag may stand inside a token; S_OFF and E_OFF say the same of tags that stand around it.
        left = _length(bare[tokens[first].start() : start]) + _characters(attributes, "S_OFF", place)
        right = _length(bare[end : tokens[last].end()]) + _characters(attributes, "E_OFF", place)
        span = (starts[first] + left, starts[last] + len(words[last]) - right, [attributes["TYPE"]])
        if not span[0] < span[1]:
            raise CorpusError(f"{place}: expected S_OFF and E_OFF to leave something of {bare[start:end]!r}")
        notes["names begin or end inside a token"] += bool(left or right)
        spans.append(span)
    return Sentence(document, text, spans)


def _take_tags(line: str, place: str) -> tuple[str, list[tuple[int, int, dict[str, str]]]]:
    """The line without the tags of names, and for each name where it begins and ends there, and its attributes."""
    bare, rest = "", 0
    opened: list[tuple[int, dict[str, str]]] = []
    tagged = []
    for tag in _NAME_TAG.finditer(line):
        bare += line[rest : tag.start()]
        rest = tag.end()
        attributes = dict(_ATTRIBUTE.findall(tag[2]))
        if not tag[1]:
            if "TYPE" not in attributes:
                raise CorpusError(f'{place}: expected <ENAMEX TYPE="…">, found {tag[0]!r}')
            opened.append((len(bare), attributes))
        elif opened:
            tagged.append((opened[-1][0], len(bare), opened.pop()[1]))
        else:
            raise CorpusError(f"{place}: {tag[0]} closes a name that was not begun: {line!r}")
    if opened:
        raise CorpusError(f"{place}: expected the name {opened[-1][1]['TYPE']} to end in its line: {line!r}")
    return bare + line[rest:], tagged


def _length(part: str) -> int:
    return len(unescape_token(unescape_xml(part)))


def _characters(attributes: dict[str, str], name: str, place: str) -> int:
    if (number := whole_number(attributes.get(name, "0"))) is None:
        raise CorpusError(f"{place}: expected a number of characters in {name}, found {attributes[name]!r:.80}")
    return number


# ---------------------------------------------------------------- the builder


@dataclass
class OntoNotes5Config(CorpusConfig):
    """Options of OntoNotes."""

    ontology: str = option("ontonotes", "name or file of the ontology; '' reads spans without types")
    subset: str = option("all", f"{', '.join(SUBSETS)}, or genres of {', '.join(GENRES)}, comma-separated")
    names_only: bool = option(False, f"leave out {', '.join(sorted(VALUES))}")


class OntoNotes5(CorpusBuilder):
    """OntoNotes 5.0, in CoNLL-2012's columns or the release's ``.name`` files, as a dataset of records.

    Example:
        >>> builder = OntoNotes5(data_files={"train": "data/files/data/english/annotations"}, subset="newswire_web")
        >>> builder.download_and_prepare()
    """

    BUILDER_CONFIG_CLASS = OntoNotes5Config
    PATTERNS = ("*.name", "*gold_conll")
    config: OntoNotes5Config

    def read(self, files: list[Path], ontology: str, report: ReadReport) -> Iterator[Record]:
        """Reads the files one after the other."""
        genres, notes = self._genres(), Counter()
        for file in files:
            yield from read_ontonotes(
                file,
                genres=genres,
                names_only=self.config.names_only,
                ontology=ontology,
                report=report,
                notes=notes,
            )
        report.notes += [f"{count:,} {what}" for what, count in notes.items() if count]

    def _genres(self) -> Collection[str]:
        if self.config.subset in SUBSETS:
            return SUBSETS[self.config.subset]
        genres = {genre.strip() for genre in self.config.subset.split(",")}
        if not genres <= GENRES.keys():
            raise CorpusError(
                f"subset: expected {', '.join(SUBSETS)}, or genres of {', '.join(GENRES)}, found {self.config.subset!r}"
            )
        return genres

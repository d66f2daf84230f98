"""Column files of tokens and tags (CoNLL and its many kin): one token a line, a blank line after each sentence."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from finener.data_scripts.corpus import (
    CorpusBuilder,
    CorpusConfig,
    CorpusError,
    ReadReport,
    Span,
    join_tokens,
    make_record,
    option,
    read_lines,
)
from finener.data_scripts.schema import Record

SCHEMES = ("IO", "IOB1", "IOB2", "BIOES", "BILOU")
_PREFIXES = {"IO": "I", "IOB1": "IB", "IOB2": "BI", "BIOES": "BIES", "BILOU": "BILU"}
_TAG = re.compile(r"([BIESLU])(?:-(.+))?")


class _Row(NamedTuple):
    line: int
    token: str
    prefix: str  # "" for O, else one of B I E S L U
    type: str


class _Sentence(NamedTuple):
    document: int
    rows: list[_Row]


def read_conll(
    path: str | os.PathLike,
    *,
    text_column: int = 0,
    tag_column: int = -1,
    scheme: str = "auto",
    ontology: str = "",
    source: str = "conll",
    separator: str = "",
    comment: str = "",
    document: str = "",
    report: ReadReport | None = None,
) -> Iterator[Record]:
    """Reads a column file into records, one a sentence.

    The text is the tokens joined by blanks; the records are exhaustive. Windows line ends and a byte order mark are accepted, and
    ``-DOCSTART-`` begins a document.

    Args:
        path: a UTF-8 file.
        text_column: index of the token's column, from 0; a negative one counts from the end.
        tag_column: index of the tag's column.
        scheme: one of SCHEMES, or "auto" to tell it from the tags, see :func:`detect_scheme`. Tags without a prefix
            ("PER", or Few-NERD's "person-actor") are read as IO.
        ontology: name of the type system that the tags are of, whose types are kept as they are given; "" leaves the types out,
            and the records untyped.
        source: name of the corpus, in every record.
        separator: what stands between columns; "" for blanks and tabs.
        comment: where given, lines that begin with it are left out, and counted.
        document: where given, lines that begin with it begin a document.
        report: told the scheme and what was left out.

    Yields:
        Records; ``id`` is ``STEM#n``, ``doc_id`` is ``STEM`` or, where documents are marked, ``STEM/n``.

    Raises:
        CorpusError: on a line without one of the columns, or a tag that breaks its scheme.
    """
    path = Path(path)
    report = report if report is not None else ReadReport()
    if scheme not in (*SCHEMES, "auto"):
        raise CorpusError(f"unknown scheme {scheme!r}; expected 'auto' or one of {', '.join(SCHEMES)}")
    columns = _Columns(path, text_column, tag_column, separator, comment, document)
    scheme = scheme if scheme != "auto" else detect_scheme((s.rows for s in columns.sentences()), str(path))
    report.notes.append(f"{path.name}: the scheme is {scheme}")
    for number, (document_number, rows) in enumerate(columns.sentences()):
        text, starts = join_tokens([row.token for row in rows])
        spans: list[Span] = [
            (starts[first], starts[last] + len(rows[last].token), [rows[first].type] if rows[first].type else [])
            for first, last in _spans(rows, scheme, path)
        ]
        doc_id = f"{path.stem}/{document_number}" if document_number else path.stem
        yield make_record(f"{path.stem}#{number}", doc_id, source, text, spans, ontology)
    report.dropped.update(columns.dropped)


# ---------------------------------------------------------------- lines


class _Columns:
    """The sentences of a file, of whose columns two are kept."""

    def __init__(self, path: Path, text_column: int, tag_column: int, separator: str, comment: str, document: str):
        self.path = path
        self.text_column, self.tag_column = text_column, tag_column
        self.separator = separator
        self.comment = comment
        self.document = document
        self.dropped: Counter[str] = Counter()  # of the latest pass

    def sentences(self) -> Iterator[_Sentence]:
        self.dropped.clear()
        rows: list[_Row] = []
        document = 0
        for number, line in read_lines(self.path):
            begins_document = line.startswith("-DOCSTART-") or bool(self.document and line.startswith(self.document))
            if not line.strip() or begins_document:
                if rows:
                    yield _Sentence(document, rows)
                rows = []
                document += begins_document
            elif self.comment and line.startswith(self.comment):
                self.dropped["line: comment"] += 1
            elif (row := self._row(number, line)) is not None:
                rows.append(row)
        if rows:
            yield _Sentence(document, rows)

    def _row(self, number: int, line: str) -> _Row | None:
        cells = line.split(self.separator) if self.separator else re.split(r"[ \t]+", line.strip(" \t"))
        try:
            token, tag = cells[self.text_column].strip(), cells[self.tag_column].strip()
        except IndexError:
            raise CorpusError(
                f"{self.path}:{number}: expected the columns {self.text_column} (token) and {self.tag_column} (tag), such as "
                f"'London B-LOC', found {len(cells)} in {line!r}"
            ) from None
        if len(cells) < 2 or not tag:
            raise CorpusError(
                f"{self.path}:{number}: expected a token and a tag, such as 'London B-LOC', found {line!r}"
            )
        if not token and tag == "O":
            self.dropped["token: blank"] += 1
            return None
        if not token:
            raise CorpusError(f"{self.path}:{number}: a blank token has the tag {tag!r}; expected a word, or the tag O")
        if tag == "O":
            return _Row(number, token, "", "")
        match = _TAG.fullmatch(tag)
        return _Row(number, token, match[1], match[2] or "") if match else _Row(number, token, "I", tag)


# ---------------------------------------------------------------- tags


def detect_scheme(sentences: Iterable[list[_Row]], where: str = "") -> str:
    """Tells a file's scheme from all its tags.

    L or U speak for BILOU, E or S for BIOES. Without them, a B that no mention of its type stands before speaks for IOB2, other
    B for IOB1, and no B at all for IO.

    Raises:
        CorpusError: when tags of two schemes are mixed; the message begins with ``where``.
    """
    seen: dict[str, int] = {}  # prefix → the line where it was first met
    opening = False  # whether a B begins a mention that an I could have begun too
    for rows in sentences:
        before = None
        for row in rows:
            seen.setdefault(row.prefix, row.line)
            if row.prefix == "B" and not (before and before.prefix and before.type == row.type):
                opening = True
            before = row
    bilou, bioes = (sorted(set(letters) & seen.keys()) for letters in ("LU", "ES"))
    if bilou and bioes:
        raise CorpusError(
            f"{where}:{max(seen[bilou[0]], seen[bioes[0]])}: expected one scheme, found tags of two: {bilou[0]}- (BILOU, line "
            f"{seen[bilou[0]]}) and {bioes[0]}- (BIOES, line {seen[bioes[0]]})"
        )
    if bilou or bioes:
        return "BILOU" if bilou else "BIOES"
    if "B" not in seen:
        return "IO"
    return "IOB2" if opening else "IOB1"


def _spans(rows: list[_Row], scheme: str, path: Path) -> Iterator[tuple[int, int]]:
    """First and last row of each mention; raises CorpusError where a tag breaks the scheme."""
    closes = scheme in ("BIOES", "BILOU")
    open_at: int | None = None
    for i, row in enumerate(rows):
        if row.prefix and row.prefix not in _PREFIXES[scheme]:
            raise _broken(path, row, scheme, f"one of {', '.join(f'{p}-' for p in _PREFIXES[scheme])} or O")
        continues = open_at is not None and rows[i - 1].type == row.type and row.prefix in ("I", "E", "L")
        if open_at is not None and not continues:
            if closes:
                kind = rows[open_at].type
                raise _broken(
                    path, row, scheme, f"the mention of line {rows[open_at].line} to go on with I-{kind} or to end"
                )
            if scheme == "IOB1" and row.prefix == "B" and rows[i - 1].type != row.type:
                raise _broken(
                    path, row, scheme, f"I-{row.type}: in IOB1, B- stands only after a mention of the same type"
                )
            yield open_at, i - 1
            open_at = None
        elif open_at is None and row.prefix == "B" and scheme == "IOB1":
            raise _broken(path, row, scheme, f"I-{row.type}: in IOB1, B- stands only after a mention of the same type")
        if row.prefix in ("S", "U"):
            yield i, i
        elif row.prefix in ("E", "L"):
            if not continues:
                raise _broken(path, row, scheme, f"a mention that begins with B-{row.type} before")
            yield open_at, i
            open_at = None
        elif row.prefix == "I" and not continues and scheme not in ("IO", "IOB1"):
            raise _broken(path, row, scheme, f"B-{row.type} at a mention's beginning")
        elif row.prefix and not continues:
            open_at = i
    if open_at is not None:
        if closes:
            raise _broken(path, rows[-1], scheme, f"the mention of line {rows[open_at].line} to end in its sentence")
        yield open_at, len(rows) - 1


def _broken(path: Path, row: _Row, scheme: str, expected: str) -> CorpusError:
    tag = "-".join(filter(None, (row.prefix, row.type))) or "O"
    return CorpusError(
        f"{path}:{row.line}: the tag {tag!r} of {row.token!r} breaks the scheme {scheme}: expected {expected}"
    )


# ---------------------------------------------------------------- the builder


@dataclass
class ConllConfig(CorpusConfig):
    """Options of :func:`read_conll`."""

    text_column: int = option(0, "index of the token's column, from 0; negative: from the end")
    tag_column: int = option(-1, "index of the tag's column")
    scheme: str = option("auto", f"auto, or one of {', '.join(SCHEMES)}")
    source: str = option("conll", "name of the corpus, kept in each record")
    separator: str = option("", "what stands between columns; '' for blanks and tabs")
    comment: str = option("", "lines that begin with this are left out")
    document: str = option("", "lines that begin with this begin a document, as -DOCSTART- always does")


class Conll(CorpusBuilder):
    """Column files of tokens and tags as a dataset of records.

    Example:
        >>> builder = Conll(data_files={"train": "train.txt"}, ontology="conll")
        >>> builder.download_and_prepare()
        >>> builder.as_dataset("train")
    """

    BUILDER_CONFIG_CLASS = ConllConfig
    PATTERNS = ("*.conll", "*.txt", "*.iob2", "*.bio", "*.tsv")
    config: ConllConfig

    def read(self, files: list[Path], ontology: str, report: ReadReport) -> Iterator[Record]:
        """Reads the files one after the other."""
        names = ("text_column", "tag_column", "scheme", "source", "separator", "comment", "document")
        options = {name: getattr(self.config, name) for name in names}
        for file in files:
            yield from read_conll(file, ontology=ontology, report=report, **options)

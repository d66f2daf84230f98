"""GUM, the Georgetown University Multilayer corpus: entities as brackets in the last column of CoNLL-U."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from finener.data_scripts.corpus import (
    CorpusBuilder,
    CorpusConfig,
    CorpusError,
    ReadReport,
    Span,
    make_record,
    option,
    outermost,
    read_lines,
)
from finener.data_scripts.schema import Record

TITLE = "wikipedia:"  # the origin of a linked mention: "wikipedia:Lord_Byron"
_NUMBER = re.compile(
    r"(\d{1,15})(?:-(\d{1,15})|(\.\d{1,15}))?"
)  # 3, 3-4 (a token of several words), 3.1 (an empty node)
_BRACKET = re.compile(r"\(([^()]+)(\))?|([^()]+)\)")  # "(3-person-new", "(3-person-new)", "3)"
_PART = re.compile(r"\[\d+/\d+\]")  # "(3[1/2]-person": one of several stretches
_LAYOUT = "GRP-etype-infstat-salience-centering-minspan-link-identity"


class _Sentence(NamedTuple):
    rows: list[tuple[str, list[str]]]  # place ("file:line") and the ten cells
    facts: dict[str, str]  # "# key = value" comments; those of a document hold until its next one


class _Word(NamedTuple):
    start: int  # in the sentence's text
    end: int  # equal to the start for an empty node
    number: str
    upos: str
    head: str
    relation: str


class _Mention(NamedTuple):
    first: int  # index of its first word
    last: int
    type: str
    title: str  # "" without a link
    is_part: bool


def read_gum(
    path: str | os.PathLike,
    *,
    mentions: str = "names",
    keep_titles: bool = True,
    exhaustive: bool = True,
    ontology: str = "",
    report: ReadReport | None = None,
) -> Iterator[Record]:
    """Reads a CoNLL-U file of one or more GUM documents, one record a sentence; the text is that of ``# text``.

    Args:
        path: a UTF-8 file.
        mentions: "all" keeps every mention, "names" those whose head is a proper noun, or has one joined flat to it ("actor
            Ann Lee"), and that are no times. Of what is kept, the outermost stay.
        keep_titles: whether the ``origin`` of a linked mention names its Wikipedia article, as "wikipedia:Lord_Byron".
        exhaustive: whether the records claim that every mention is marked.
        ontology: name of the type system; "" leaves the types out, and the records untyped.
        report: told what was left out.

    Yields:
        Records; ``id`` is the sentence's, ``doc_id`` the document's, ``source`` "gum/GENRE".

    Raises:
        CorpusError: with file and line, on a row that is no CoNLL-U, words that are not in the text, brackets that do not match.
    """
    report = report if report is not None else ReadReport()
    if mentions not in ("names", "all"):
        raise CorpusError(f"unknown mentions {mentions!r}; expected 'names' or 'all'")
    for rows, facts in _sentences(Path(path)):
        text = facts["text"]
        if not text.strip("_ "):
            report.dropped["sentence: its words are masked by underscores"] += 1
            continue
        words = _words(rows, text)
        spans: list[Span] = []
        titles: dict[tuple[int, int], str] = {}
        for mention in _mentions(rows, facts["global.Entity"]):
            inside = [word for word in words[mention.first : mention.last + 1] if word.start < word.end]
            if reason := _reason_against(mention, inside, names_only=mentions == "names"):
                report.dropped[f"mention: {reason}"] += 1
                continue
            start, end = inside[0].start, inside[-1].end
            spans.append((start, end, [mention.type]))
            if mention.title and keep_titles:
                titles[start, end] = TITLE + mention.title
        source = f"gum/{facts['meta::genre']}" if "meta::genre" in facts else "gum"
        kept = outermost(spans, report.dropped)
        record = make_record(facts["sent_id"], facts["newdoc id"], source, text, kept, ontology, exhaustive=exhaustive)
        for found in record["mentions"]:
            found["origin"] = titles.get((found["start"], found["end"]), "")
        yield record


def _reason_against(mention: _Mention, words: list[_Word], names_only: bool) -> str:
    """Why a mention is left out, or ""."""
    if mention.is_part:
        return "part of one with a gap"
    if not words:
        return "on an empty node, which has no text"
    if names_only and mention.type == "time":
        return "a time, no name"
    return "no name" if names_only and not _is_name(words) else ""


def _is_name(words: list[_Word]) -> bool:
    numbers = {word.number for word in words}
    head = next((word for word in words if word.head not in numbers), words[0])
    return head.upos == "PROPN" or any(
        word.upos == "PROPN" and word.head == head.number and word.relation.startswith("flat") for word in words
    )


# ---------------------------------------------------------------- CoNLL-U


def _sentences(path: Path) -> Iterator[_Sentence]:
    facts: dict[str, str] = {}
    rows: list[tuple[str, list[str]]] = []
    for number, line in read_lines(path):
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            facts[key.strip()] = value.strip()
        elif line.strip():
            cells = line.split("\t")
            if len(cells) != 10 or not _NUMBER.fullmatch(cells[0]):
                raise CorpusError(
                    f"{path}:{number}: expected the ten cells of CoNLL-U between TABs, the first a number, found {line!r}"
                )
            rows.append((f"{path}:{number}", cells))
        elif rows:
            yield _checked(rows, facts)
            rows = []
            facts = {key: value for key, value in facts.items() if key not in ("text", "sent_id")}
    if rows:
        yield _checked(rows, facts)


def _checked(rows: list[tuple[str, list[str]]], facts: dict[str, str]) -> _Sentence:
    for key, example in (
        ("newdoc id", "GUM_bio_byron"),
        ("global.Entity", _LAYOUT),
        ("sent_id", "GUM_bio_byron-1"),
        ("text", "Lord Byron"),
    ):
        if not facts.get(key):
            raise CorpusError(f"{rows[0][0]}: expected a line such as '# {key} = {example}' before the sentence")
    return _Sentence(rows, facts)


def _words(rows: list[tuple[str, list[str]]], text: str) -> list[_Word]:
    """The words with their places in the text; those of one token divide it ("don't"), or have the whole of it each ("au": à, le)."""
    words: list[_Word] = []
    token, last_of_token = (0, 0), 0  # place and last word of the latest token of several words
    position = 0
    for where, cells in rows:
        number, last, is_empty = _NUMBER.fullmatch(cells[0]).groups()
        form = cells[1]
        if is_empty:
            place = (position, position)
        elif not last and int(number) <= last_of_token:
            divides = text.startswith(form, position, token[1])
            place = (position, position + len(form)) if divides else token
        else:
            position = max(position, token[1])
            start = len(text) - len(text[position:].lstrip())
            place = (start, start + len(form))
            if not text.startswith(form, start):
                raise CorpusError(f"{where}: expected {form!r} in '# text' here, found {text[slice(*place)]!r}")
        if last:
            token, last_of_token, position = place, int(last), place[0]
        else:
            words.append(_Word(*place, number=cells[0], upos=cells[3], head=cells[6], relation=cells[7]))
            position = place[1]
    if rest := text[max(position, token[1]) :].strip():
        raise CorpusError(f"{rows[-1][0]}: the words end here, but '# text' goes on with {rest!r}")
    return words


def _mentions(rows: list[tuple[str, list[str]]], layout: str) -> Iterator[_Mention]:
    """The mentions of a sentence, in the order of their ends; ``layout`` names the fields of an opening bracket."""
    fields = layout.split("-")
    if not {"GRP", "etype"} <= set(fields):
        raise CorpusError(f"{rows[0][0]}: expected fields such as '# global.Entity = {_LAYOUT}', found {layout!r}")
    waiting: list[tuple[str, int, dict[str, str]]] = []  # place, first word, values
    for where, index, begun, is_whole, ended in _brackets(rows):
        if begun:
            values = begun.split("-")
            if not 2 <= len(values) <= len(fields):
                raise CorpusError(f"{where}: expected the fields {layout}, found {begun!r}")
            waiting.append((where, index, dict(zip(fields, values, strict=False))))
            if not is_whole:
                continue
            ended = waiting[-1][2]["GRP"]
        found = next((i for i in reversed(range(len(waiting))) if waiting[i][2]["GRP"] == ended), None)
        if found is None:
            raise CorpusError(f"{where}: '{ended})' ends a mention that no '({ended}-' began in this sentence")
        _, first, known = waiting.pop(found)
        yield _Mention(first, index, known["etype"], unquote(known.get("identity", "")), bool(_PART.search(ended)))
    if waiting:
        where, _, known = waiting[0]
        raise CorpusError(f"{where}: the mention '({known['GRP']}-{known['etype']}' does not end in its sentence")


def _brackets(rows: list[tuple[str, list[str]]]) -> Iterator[tuple[str, int, str, str, str]]:
    """Place and index of a word, and the groups of _BRACKET for each of its brackets."""
    index = -1
    for where, cells in rows:
        index += "-" not in cells[0]
        for value in (cell.removeprefix("Entity=") for cell in cells[9].split("|") if cell.startswith("Entity=")):
            if _BRACKET.sub("", value):
                raise CorpusError(f"{where}: expected brackets such as '(3-person-new' and '3)', found {value!r}")
            for groups in _BRACKET.findall(value):
                yield where, index, *groups


# ---------------------------------------------------------------- the builder


@dataclass
class GumConfig(CorpusConfig):
    """Options of :func:`read_gum`."""

    ontology: str = option("gum", "name or file of the ontology; '' reads spans without types")
    mentions: str = option("names", "names, or all: also common nouns, pronouns and times")
    keep_titles: bool = option(True, "keep Wikipedia titles of linked mentions, in their origin")
    exhaustive: bool = option(True, "the records may train detection; their spans are GUM's whole noun phrases")


class Gum(CorpusBuilder):
    """GUM's CoNLL-U files, by document or in one piece for each split.

    Example:
        >>> builder = Gum(data_files={"train": "gum/dep"}, mentions="all")
        >>> builder.download_and_prepare()
    """

    BUILDER_CONFIG_CLASS = GumConfig
    PATTERNS = ("*.conllu",)
    config: GumConfig

    def read(self, files: list[Path], ontology: str, report: ReadReport) -> Iterator[Record]:
        """Reads the files one after the other."""
        titles = 0
        for file in files:
            for record in read_gum(
                file,
                mentions=self.config.mentions,
                keep_titles=self.config.keep_titles,
                exhaustive=self.config.exhaustive,
                ontology=ontology,
                report=report,
            ):
                titles += sum(bool(mention["origin"]) for mention in record["mentions"])
                yield record
        report.notes.append(f"{titles:,} mentions name their Wikipedia article")

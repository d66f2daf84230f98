"""Re-DocRED (and DocRED): Wikipedia abstracts in which people marked every name, the mentions of one entity joined."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finener.data_scripts.corpora.figer_json import is_strings
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
)
from finener.data_scripts.schema import Record
from finener.data_scripts.silver.titles import TitleTyper, lead_noun, read_gazetteer, read_nouns
from finener.data_scripts.silver.type_tables import read_types
from finener.json_finener import read_json
from finener.ontology_finener import Ontology
from finener.paths import ONTOLOGIES

EXAMPLE = (
    '{"title": "Ann Lee", "sents": [["Ann", "left"]], "vertexSet": [[{"sent_id": 0, "pos": [0, 1], "type": "PER"}]]}'
)
NAMES = ("PER", "ORG", "LOC", "MISC")
KINDS = {  # of TitleTyper: what a name of each coarse type may be; MISC is what is left
    "PER": ("person", "being"),
    "ORG": ("organization",),
    "LOC": ("place", "water", "structure", "organization"),  # "organization": states are both
}
_SPACE_BEFORE_MARK = re.compile(r" (?=[.,;:)])")
TITLE = "title:"  # the origin of a mention whose entity is known: "title:Lord_Byron"


def read_redocred(
    path: str | os.PathLike, *, typer: TitleTyper | None = None, report: ReadReport | None = None
) -> Iterator[Record]:
    """Reads a file of documents, one record a sentence; the text is the tokens joined by blanks.

    Times and numbers are left out; of mentions that overlap, the outermost stays.

    Args:
        path: a UTF-8 file, a JSON list of documents, each as EXAMPLE.
        typer: gives an entity the types of the document's title, or of the longest of its names that it knows, where these are of
            the kind that people said. A record is typed when one of its mentions has types. None: all records are untyped.
        report: told what was left out.

    Yields:
        Records; ``id`` is ``STEM/DOCUMENT#SENTENCE``, both counted from 0, ``doc_id`` is ``STEM/DOCUMENT``; the ``origin`` of a mention
        with types is "title:" and the name that gave them.

    Raises:
        CorpusError: with file and document, on what is not such a list, or a range outside its sentence.
    """
    path = Path(path)
    report = report if report is not None else ReadReport()
    documents = _read_documents(path)
    if typer is not None:
        typer.leads = {document["title"]: _lead(document, typer) for document in documents}
    for number, document in enumerate(documents):
        where = f"{path}: document {number} ({document['title']!r:.60})"
        joined = [join_tokens(tokens) for tokens in document["sents"]]
        spans: list[list[Span]] = [[] for _ in joined]
        origins: dict[tuple[int, int, int], str] = {}
        for entity in document["vertexSet"]:
            marked = _checked(entity, document["sents"], where)
            report.dropped["mention: twice in its entity"] += (len(entity) if isinstance(entity, list) else 1) - len(
                marked
            )
            names = [m for m in marked if m["type"] in NAMES]
            report.dropped["mention: a time or a number"] += len(marked) - len(names)
            texts = [" ".join(document["sents"][m["sent_id"]][slice(*m["pos"])]) for m in names]
            origin, types = _entity_types(names, texts, document["title"], typer, report)
            for mention in names:
                text, starts = joined[mention["sent_id"]]
                first, stop = mention["pos"]
                end = starts[stop - 1] + len(document["sents"][mention["sent_id"]][stop - 1])
                spans[mention["sent_id"]].append((starts[first], end, types))
                if origin:  # of two entities of one span, one that is known
                    origins[mention["sent_id"], starts[first], end] = origin
        for sentence, ((text, _), own) in enumerate(zip(joined, spans, strict=True)):
            kept = outermost(own, report.dropped)
            ontology = typer.ontology.name if typer and any(types for _, _, types in kept) else ""
            place = f"{path.stem}/{number}"
            record = make_record(f"{place}#{sentence}", place, "redocred", text, kept, ontology)
            for mention in record["mentions"]:
                mention["origin"] = origins.get((sentence, mention["start"], mention["end"]), "")
            yield record


def _read_documents(path: Path) -> list[dict[str, Any]]:
    try:
        documents = read_json(path)
    except ValueError as error:
        raise CorpusError(f"{error}; expected a list of documents, such as {EXAMPLE}") from None
    if not isinstance(documents, list):
        raise CorpusError(f"{path}: expected a list of documents, such as {EXAMPLE}, found {documents!r:.80}")
    for number, document in enumerate(documents):
        is_whole = isinstance(document, Mapping) and isinstance(document.get("title"), str)
        lists = [document.get(key) for key in ("sents", "vertexSet")] if is_whole else [None]
        if not all(isinstance(part, list) for part in lists) or not all(map(is_strings, lists[0])):
            raise CorpusError(
                f"{path}: document {number}: expected an object such as {EXAMPLE}, found {document!r:.80}"
            )
    return documents


def _checked(entity: Any, sentences: Sequence[Sequence[str]], where: str) -> list[Mapping[str, Any]]:
    """An entity's mentions, each once. Raises CorpusError on a mention that is not in its sentence."""
    found = {}
    for mention in entity if isinstance(entity, list) else [entity]:
        sentence, first, stop = _place(mention)
        if not 0 <= sentence < len(sentences) or not 0 <= first < stop <= len(sentences[sentence]):
            size = f" of its {len(sentences[sentence])} tokens" if 0 <= sentence < len(sentences) else ""
            raise CorpusError(
                f"{where}: expected mentions such as in {EXAMPLE}, sent_id below {len(sentences)} and pos a range{size}, the end one past "
                f"the last; found {mention!r}"
            )
        found[sentence, first, stop] = mention
    return list(found.values())


def _place(mention: Any) -> tuple[int, int, int]:
    """Sentence, first token and one past the last; (-1, 0, 0) of what is no mention."""
    if isinstance(mention, Mapping) and {"sent_id", "pos", "type"} <= mention.keys():
        numbers = [mention["sent_id"], *(mention["pos"] if isinstance(mention["pos"], list) else ())]
        if len(numbers) == 3 and all(isinstance(number, int) for number in numbers):
            return tuple(numbers)
    return -1, 0, 0


def _lead(document: Mapping[str, Any], typer: TitleTyper) -> str:
    """The noun that the document's first sentence calls its subject."""
    sentence = " ".join(document["sents"][0]) if document["sents"] else ""
    return lead_noun(_SPACE_BEFORE_MARK.sub("", sentence), typer.nouns)


def _entity_types(
    mentions: Sequence[Mapping[str, Any]],
    texts: Sequence[str],
    title: str,
    typer: TitleTyper | None,
    report: ReadReport,
) -> tuple[str, list[str]]:
    """The origin and the types of an entity, both empty where nothing fitting is known of its names."""
    if typer is None:
        return "", []
    coarse = {m["type"] for m in mentions}
    of_title = [title] if title.partition(" (")[0] in texts else []
    for name in [*of_title, *sorted(set(texts), key=lambda text: (-len(text), text))]:
        types, _ = typer.types(name)
        if not types:
            continue
        if all(is_of_kind(typer.kind(types), its) for its in coarse):
            return TITLE + name.replace(" ", "_"), list(types)
        report.dropped["types: not of the kind that is marked"] += 1
    return "", []


def is_of_kind(kind: str, coarse: str) -> bool:
    """Whether a :class:`TitleTyper`'s kind is what the coarse type says."""
    if coarse in KINDS:
        return kind in KINDS[coarse]
    return kind not in ("person", "place", "water")


# ---------------------------------------------------------------- the builder


@dataclass
class ReDocRedConfig(CorpusConfig):
    """Options of :func:`read_redocred`."""

    tables: str = option(
        "",
        "with an --ontology of YAGO's classes: tables of titles' types, as the silver builder reads them, joined by commas",
    )


class ReDocRed(CorpusBuilder):
    """Re-DocRED as a dataset of records.

    Example:
        >>> builder = ReDocRed(data_files={"train": "train_revised.json"})
        >>> builder.download_and_prepare()
        >>> builder.as_dataset("train")
    """

    BUILDER_CONFIG_CLASS = ReDocRedConfig
    PATTERNS = ("*.json",)
    config: ReDocRedConfig

    def read(self, files: list[Path], ontology: str, report: ReadReport) -> Iterator[Record]:
        """Reads the files one after the other."""
        tables = list(filter(None, self.config.tables.split(",")))
        if tables and self.ontology is None:
            raise CorpusError("tables give YAGO's classes: choose these with --ontology yago")
        for file in files:
            typer = make_typer(self.ontology, tables) if self.ontology else None
            yield from read_redocred(file, typer=typer, report=report)


def make_typer(ontology: Ontology, tables: Sequence[str]) -> TitleTyper:
    """What knows the types of names: WordNet's instances, the tables, and the words of a title."""
    nouns = read_nouns(ONTOLOGIES / "yago_nouns.tsv")
    typer = TitleTyper(ontology, read_gazetteer(ONTOLOGIES / "yago_gazetteer.tsv"), nouns, is_name=lambda word: True)
    rows = (row for table in tables for row in read_types(table, ontology, nouns))
    found: dict[str, tuple[tuple[str, ...], str]] = {}
    for title, classes, source in rows:
        found.setdefault(title, (classes, source))
    typer.tables = found
    return typer

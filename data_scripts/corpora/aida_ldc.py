"""The AIDA annotation packages of the Linguistic Data Consortium: LTF texts and tables of mentions."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from finener.data_scripts.corpora.ltf import (
    LTF_PATTERNS,
    LtfConfig,
    TextMention,
    check_types,
    choices,
    split_files,
    table_records,
)
from finener.data_scripts.corpus import CorpusBuilder, CorpusError, ReadReport, option, read_lines, read_table
from finener.data_scripts.raw_files import whole_number
from finener.data_scripts.schema import Record
from finener.ontology_finener import Ontology

TABLES = ("*_ent_mentions.tab", "*_arg_mentions.tab")
# Column that names the text's document → what else there must be: the releases' columns differ in order and number.
LAYOUTS = {
    "child_uid": ("type", "subtype", "subsubtype", "level"),  # Phase 1
    "provenance": ("type", "level"),  # seedling
}
PLACE = ("textoffset_startchar", "textoffset_endchar", "text_string")


def read_aida_mentions(
    path: str | os.PathLike, levels: Sequence[str], ontology: Ontology | None, dropped: Counter[str]
) -> Iterator[tuple[str, TextMention]]:
    """Reads a mention table of either layout, by the names of its columns.

    Args:
        path: ``*_ent_mentions.tab`` (seedling) or ``*_arg_mentions.tab`` (Phase 1).
        levels: those to keep, of nam, nom, pro and what else the column holds.
        ontology: where given, every kept type must be one of it.
        dropped: counts the lines that are left out, by reason.

    Yields:
        Document id and mention; the file's inclusive ends are made exclusive, and the mention has the one type that its
        columns spell, such as ``per.politician``.

    Raises:
        CorpusError: on a missing column, an offset that is no number, or a type that is unknown.
    """
    header = next((line for _, line in read_lines(path)), "").split("\t")
    document = next((column for column in LAYOUTS if column in header), "")
    if not document:
        raise CorpusError(
            f"{path}:1: expected a header with the column child_uid (Phase 1) or provenance (seedling), found {header!r}"
        )
    for place, row in read_table(path, (document, *PLACE, *LAYOUTS[document])):
        surface, level = row["text_string"], row["level"].strip().lower()
        start, end = (_offset(row[column], f"{place}: {column}") for column in PLACE[:2])
        if surface in ("EMPTY_NA", "EMPTY_TBD"):
            dropped[f"mention: its text is {surface}"] += 1
        elif start is None or end is None:
            dropped["mention: no offsets"] += 1
        elif level not in levels:
            dropped[f"mention: level {level or 'not given'}"] += 1
        else:
            types = [_type(row, place)]
            check_types(types, ontology, place)
            yield row[document], TextMention(place, start, end + 1, surface, types)


def _offset(cell: str, where: str) -> int | None:
    if cell.strip().lower() in ("", "nan", "empty_na", "empty_tbd"):
        return None
    if (number := whole_number(cell)) is None:
        raise CorpusError(f"{where}: expected the number of a character, or nothing, found {cell!r:.80}")
    return number


def _type(row: dict[str, str], place: str) -> str:
    """ "per", "politician", "unspecified" → "per.politician"."""
    parts = [row.get(column, "").strip().lower() for column in ("type", "subtype", "subsubtype")]
    parts = ["" if part in ("unspecified", "empty_na") else part for part in parts]
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    if not all(parts):
        raise CorpusError(
            f"{place}: expected a type, then a subtype, then a subsubtype, found {[row.get(c) for c in LAYOUTS['child_uid'][:3]]}"
        )
    return ".".join(parts)


# ---------------------------------------------------------------- the builder


@dataclass
class AidaLdcConfig(LtfConfig):
    """Options of the AIDA packages."""

    ontology: str = option("aida", "name or file of the ontology; '' reads spans without types")
    levels: str = option("nam", "which levels of mention to read: nam, nom, pro, comma-separated")
    topics: str = option("", "topics to read, as the tables' names begin, such as R103,R107; '' reads all")


class AidaLdc(CorpusBuilder):
    """AIDA's mention tables (seedling and Phase 1) and their LTF texts as a dataset of records.

    Example:
        >>> builder = AidaLdc(data_files={"train": ["data/R103", "data/R107", "ltf"], "dev": ["data/R105", "ltf"]})
        >>> builder.download_and_prepare()
    """

    BUILDER_CONFIG_CLASS = AidaLdcConfig
    PATTERNS = (*TABLES, *LTF_PATTERNS)
    config: AidaLdcConfig

    def read(self, files: list[Path], ontology: str, report: ReadReport) -> Iterator[Record]:
        """Reads all tables, then one text after the other. Not exhaustive: annotators marked what bears on the topic."""
        tables, texts = split_files(files)
        levels = choices(self.config.levels.lower())
        mentions: dict[str, list[TextMention]] = {}
        for table in self._of_topics(tables):
            for document, mention in read_aida_mentions(table, levels, self.ontology, report.dropped):
                mentions.setdefault(document, []).append(mention)
        yield from table_records(
            mentions,
            texts,
            source="aida_ldc",
            ontology=ontology,
            exhaustive=False,
            config=self.config,
            report=report,
        )

    def _of_topics(self, tables: list[Path]) -> list[Path]:
        wanted = choices(self.config.topics)
        found = {table.name.split("_")[0] for table in tables}
        if wanted - found:
            raise CorpusError(
                f"no table of the topic {', '.join(sorted(wanted - found))}; found tables of {', '.join(sorted(found))}"
            )
        return [table for table in tables if not wanted or table.name.split("_")[0] in wanted]

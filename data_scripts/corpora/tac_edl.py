"""TAC KBP entity discovery: the eight-column mention tables of EDL and RUFES, and their LTF texts."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
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
from finener.data_scripts.corpus import CorpusBuilder, CorpusError, ReadReport, option, read_lines
from finener.data_scripts.schema import Record
from finener.ontology_finener import Ontology

COLUMNS = ("run", "mention id", "text", "document:start-end", "entity", "type", "NAM, NOM or PRO", "confidence")
OPTIONAL_COLUMNS = 3  # of 2015; nobody reads them
KINDS = ("NAM", "NOM", "PRO")


def read_tac_mentions(
    path: str | os.PathLike, kinds: Collection[str], ontology: Ontology | None, dropped: Counter[str]
) -> Iterator[tuple[str, TextMention | None]]:
    """Reads a mention table, which has no header.

    Args:
        path: a ``.tab`` file of eight TAB-separated columns, see COLUMNS.
        kinds: which of KINDS to keep.
        ontology: where given, every kept type must be one of it.
        dropped: counts the mentions of other kinds.

    Yields:
        Document id and mention, None where it is left out; the file's inclusive ends are made exclusive, and the types of
        column 6, joined by ``;``, are kept as they are given.

    Raises:
        CorpusError: on a line that does not have these columns, or a type that is unknown.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        place, cells = f"{path}:{number}", line.split("\t")
        if not len(COLUMNS) <= len(cells) <= len(COLUMNS) + OPTIONAL_COLUMNS:
            raise CorpusError(
                f"{place}: expected {len(COLUMNS)} cells between TABs ({' | '.join(COLUMNS)}), found {len(cells)} in {line!r}"
            )
        where = re.fullmatch(r"(.+):(\d{1,15})-(\d{1,15})", cells[3], re.ASCII)
        if not where:
            raise CorpusError(
                f"{place}: expected DOCUMENT:START-END in column 4, such as 'APW_0001:114-118', found {cells[3]!r}"
            )
        if cells[6] not in KINDS:
            raise CorpusError(f"{place}: expected {', '.join(KINDS)} in column 7, found {cells[6]!r}")
        if cells[6] not in kinds:
            dropped[f"mention: {cells[6]}"] += 1
            yield where[1], None
            continue
        types = [part.strip() for part in cells[5].split(";") if part.strip()]
        if not types:
            raise CorpusError(f"{place}: expected types in column 6, such as 'PER' or 'PER;PER.Politician', found none")
        check_types(types, ontology, place)
        yield where[1], TextMention(place, int(where[2]), int(where[3]) + 1, cells[2], types)


# ---------------------------------------------------------------- the builder


@dataclass
class TacEdlConfig(LtfConfig):
    """Options of the TAC tables."""

    mention_types: str = option("NAM", f"which mentions to read: {', '.join(KINDS)}, comma-separated")
    exhaustive: bool = option(True, "whether the tables mark every mention of the texts that they name")


class TacEdl(CorpusBuilder):
    """TAC's EDL and RUFES mention tables and their LTF texts as a dataset of records.

    Example:
        >>> builder = TacEdl(data_files={"train": ["mentions.tab", "ltf"]}, ontology="rufes.json")
        >>> builder.download_and_prepare()
    """

    BUILDER_CONFIG_CLASS = TacEdlConfig
    PATTERNS = ("*.tab", *LTF_PATTERNS)
    config: TacEdlConfig

    def read(self, files: list[Path], ontology: str, report: ReadReport) -> Iterator[Record]:
        """Reads all tables, then one text after the other."""
        tables, texts = split_files(files)
        kinds = choices(self.config.mention_types.upper())
        if not kinds or not kinds <= set(KINDS):
            raise CorpusError(
                f"mention_types: expected some of {', '.join(KINDS)}, found {self.config.mention_types!r}"
            )
        mentions: dict[str, list[TextMention]] = {}
        for table in tables:
            for document, mention in read_tac_mentions(table, kinds, self.ontology, report.dropped):
                mentions.setdefault(document, []).extend([mention] if mention else [])
        yield from table_records(
            mentions,
            texts,
            source="tac_edl",
            ontology=ontology,
            exhaustive=self.config.exhaustive,
            config=self.config,
            report=report,
        )

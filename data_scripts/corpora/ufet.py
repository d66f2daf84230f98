"""Ultra-fine entity typing: one marked noun phrase a line, with its context and the types that people gave it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from finener.data_scripts.corpora.figer_json import KnownTypes, is_strings, read_json_rows
from finener.data_scripts.corpus import (
    CorpusBuilder,
    CorpusConfig,
    CorpusError,
    ReadReport,
    join_tokens,
    make_record,
    option,
)
from finener.data_scripts.schema import Record
from finener.data_scripts.silver.lexicon import word_set
from finener.ontology_finener import Ontology

EXAMPLE = (
    '{"annot_id": "a1", "left_context_token": ["Then"], "mention_span": "Ann Lee", "right_context_token": ["left"], '
    '"y_str": ["person", "artist"]}'
)
_KEYS = {"left_context_token": list, "mention_span": str, "right_context_token": list, "y_str": list}
_FUNCTION_WORDS = word_set(
    "a an the this that these those i me my mine myself you your yours yourself he him his himself she her hers herself it its "
    "itself we us our ours ourselves they them their theirs themselves who whom which what one some all both each"
)


def read_ufet(
    path: str | os.PathLike,
    *,
    ontology: Ontology | None = None,
    names_only: bool = False,
    drop_unknown_types: bool = False,
    report: ReadReport | None = None,
) -> Iterator[Record]:
    """Reads a file into records of one mention each, none of them exhaustive.

    The text is the tokens joined by blanks.

    Args:
        path: a UTF-8 file, one JSON object a line, as EXAMPLE.
        ontology: the types' ontology; None leaves the types out, and the records untyped.
        names_only: leave mentions out that are no names, see :func:`kind_of`, and count them.
        drop_unknown_types: leave types out that the ontology lacks, and count them, instead of stopping.
        report: told what was left out, and how many names, nominals and pronouns there are.

    Yields:
        Records; ``id`` is ``STEM#n``, ``doc_id`` is the line's ``annot_id``, or the id where it has none.

    Raises:
        CorpusError: with file and line, on what is not such an object, an empty mention or an unknown type.
    """
    path = Path(path)
    report = report if report is not None else ReadReport()
    types = KnownTypes(ontology, drop_unknown_types)
    kinds: Counter[str] = Counter()
    for number, (where, row) in enumerate(read_json_rows(path, _KEYS, EXAMPLE)):
        left, words, right = row["left_context_token"], row["mention_span"].split(), row["right_context_token"]
        if not words or not all(map(is_strings, (left, right, row["y_str"]))):
            raise CorpusError(f"{where}: expected lists of strings around a mention, such as {EXAMPLE}")
        kind = kind_of(words)
        kinds[kind] += 1
        if names_only and kind != "name":
            report.dropped[f"mention: a {kind}"] += 1
            continue
        text, starts = join_tokens([*left, *words, *right])
        start, end = starts[len(left)], starts[len(left) + len(words) - 1] + len(words[-1])
        yield make_record(
            f"{path.stem}#{number}",
            str(row.get("annot_id") or f"{path.stem}#{number}"),
            "ufet",
            text,
            [(start, end, types.of(row["y_str"], where))],
            ontology.name if ontology else "",
            exhaustive=False,
        )
    types.tell(report, path.name)
    report.notes.append(f"{path.name}: " + ", ".join(f"{kinds[k]:,} {k}s" for k in ("name", "nominal", "pronoun")))


def kind_of(words: list[str]) -> str:
    """ "pronoun" of nothing but articles and pronouns, "name" with a capital at the beginning of another word, else "nominal".

    A guess from the surface: a nominal that begins a sentence without an article counts as a name.
    """
    content = [word for word in words if word.lower() not in _FUNCTION_WORDS]
    if not content:
        return "pronoun"
    return "name" if any(word[0].isupper() for word in content) else "nominal"


@dataclass
class UfetConfig(CorpusConfig):
    """Options of :func:`read_ufet`."""

    ontology: str = option("ufet", "name or file of the ontology; '' reads spans without types")
    names_only: bool = option(False, "leave out mentions that are pronouns or hold no capitalised word")
    drop_unknown_types: bool = option(False, "leave types out that the ontology lacks, instead of stopping")


class Ufet(CorpusBuilder):
    """Ultra-fine entity typing's crowd and distant JSON Lines as a dataset of records.

    Example:
        >>> builder = Ufet(data_files={"train": "crowd/train.json", "dev": "crowd/dev.json"})
        >>> builder.download_and_prepare()
    """

    BUILDER_CONFIG_CLASS = UfetConfig
    PATTERNS = ("*.json",)
    config: UfetConfig

    def read(self, files: list[Path], ontology: str, report: ReadReport) -> Iterator[Record]:
        """Reads the files one after the other."""
        for file in files:
            yield from read_ufet(
                file,
                ontology=self.ontology,
                names_only=self.config.names_only,
                drop_unknown_types=self.config.drop_unknown_types,
                report=report,
            )

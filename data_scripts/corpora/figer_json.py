"""FIGER's JSON Lines: a sentence's tokens, and its mentions as ranges of tokens with the paths of their types."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from finener.data_scripts.raw_files import parse_row
from finener.data_scripts.schema import Record
from finener.ontology_finener import Ontology

EXAMPLE = '{"tokens": ["Ann", "left"], "mentions": [{"start": 0, "end": 1, "labels": ["/person"]}]}'
EXHAUSTIVE = ("auto", "yes", "no")


def read_figer_json(
    path: str | os.PathLike,
    *,
    ontology: Ontology | None = None,
    exhaustive: str = "auto",
    drop_unknown_types: bool = False,
    source: str = "figer",
    report: ReadReport | None = None,
) -> Iterator[Record]:
    """Reads a file of sentences into records, one a sentence.

    The text is the tokens joined by blanks. Of mentions that overlap, the outermost stays.

    Args:
        path: a UTF-8 file, one JSON object a line, as EXAMPLE; HAnDS's silver files call the mentions "links".
        ontology: the types' ontology; None leaves the types out, and the records untyped.
        exhaustive: whether every name is marked: "yes", "no", or "auto" for yes, except where the mentions are links.
        drop_unknown_types: leave types out that the ontology lacks, and count them, instead of stopping.
        source: name of the corpus, in every record.
        report: told what was left out.

    Yields:
        Records; ``id`` is ``STEM#n``, ``doc_id`` is ``STEM/FILEID``, or ``STEM`` where the file names no document.

    Raises:
        CorpusError: with file and line, on what is not such an object, a range outside the tokens, a name that the range does
            not hold, or an unknown type.
    """
    path = Path(path)
    report = report if report is not None else ReadReport()
    if exhaustive not in EXHAUSTIVE:
        raise CorpusError(f"exhaustive is {exhaustive!r}; expected one of {', '.join(EXHAUSTIVE)}")
    types = KnownTypes(ontology, drop_unknown_types)
    for number, (where, row) in enumerate(read_json_rows(path, {"tokens": list}, EXAMPLE)):
        tokens = row["tokens"]
        marked = row.get("mentions", row.get("links"))
        if not is_strings(tokens) or not isinstance(marked, list):
            raise CorpusError(f"{where}: expected lists of tokens and of mentions, such as {EXAMPLE}")
        text, starts = join_tokens(tokens)
        spans: list[Span] = []
        for mention in marked:
            start, end = _token_range(mention, tokens, where, is_link="mentions" not in row)
            spans.append((starts[start], starts[end - 1] + len(tokens[end - 1]), types.of(mention["labels"], where)))
        document = row.get("fileid", row.get("did"))
        yield make_record(
            f"{path.stem}#{number}",
            f"{path.stem}/{document}" if document not in ("", None) else path.stem,
            source,
            text,
            outermost(spans, report.dropped),
            ontology.name if ontology else "",
            exhaustive=exhaustive == "yes" or (exhaustive == "auto" and "mentions" in row),
        )
    types.tell(report, path.name)


def _token_range(mention: Any, tokens: Sequence[str], where: str, is_link: bool) -> tuple[int, int]:
    """First token and one past the last, checked; the name of a link is its anchor, which may differ from the tokens."""
    whole = isinstance(mention, Mapping) and all(isinstance(mention.get(key), int) for key in ("start", "end"))
    if not whole or not is_strings(mention.get("labels")):
        raise CorpusError(f"{where}: expected mentions with start, end and labels, as in {EXAMPLE}, found {mention!r}")
    start, end, name = mention["start"], mention["end"], mention.get("name")
    if not 0 <= start < end <= len(tokens):
        raise CorpusError(
            f"{where}: expected token ranges with 0 <= start < end <= {len(tokens)}, the end one past the last token, found "
            f"[{start}, {end})"
        )
    if name is not None and not is_link and " ".join(tokens[start:end]) != name:
        inclusive = " ".join(tokens[start : end + 1]) == name
        hint = "; the end is one too small: are the file's ends inclusive?" if inclusive else ""
        raise CorpusError(
            f"{where}: expected {name!r} in the tokens [{start}, {end}), found {' '.join(tokens[start:end])!r}{hint}"
        )
    return start, end


# ---------------------------------------------------------------- for readers of JSON Lines


class KnownTypes:
    """Brings a corpus's types in line with an ontology.

    Args:
        ontology: None where types are not wanted.
        drop: leave unknown types out, and count them, instead of stopping.
    """

    def __init__(self, ontology: Ontology | None, drop: bool):
        self.ontology = ontology
        self.drop = drop
        self.unknown: Counter[str] = Counter()

    def of(self, types: Iterable[str], where: str) -> list[str]:
        """A mention's types, each once. Raises CorpusError, which names ``where``, on an unknown one, unless they are dropped."""
        if self.ontology is None:
            return []
        types = list(dict.fromkeys(types))
        unknown = [t for t in types if t not in self.ontology]
        if unknown and not self.drop:
            raise CorpusError(
                f"{where}: {unknown[0]!r} is not a type of the ontology {self.ontology.name!r}; choose another with --ontology, or "
                "leave such types out with --drop_unknown_types"
            )
        self.unknown.update(unknown)
        return [t for t in types if t in self.ontology]

    def tell(self, report: ReadReport, name: str) -> None:
        """Counts what was left out, and notes the most frequent of it."""
        if self.unknown:
            report.dropped["type: not in the ontology"] += self.unknown.total()
            most = ", ".join(f"{type_id} ({count:,})" for type_id, count in self.unknown.most_common(10))
            report.notes.append(f"{name}: {len(self.unknown)} types are not in the ontology, most often {most}")


def is_strings(value: Any) -> bool:
    """Whether it is a list of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def read_json_rows(path: Path, keys: Mapping[str, type], example: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place ("file:line") and content of each line; lines of white space only are passed over.

    Args:
        path: a UTF-8 file, one JSON object a line.
        keys: what each object must hold, and of which kind.
        example: a good line, for the errors.

    Raises:
        CorpusError: on what is not such an object.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        row = parse_row(line, where, example, CorpusError)
        wrong = [key for key, kind in keys.items() if not isinstance(row, dict) or not isinstance(row.get(key), kind)]
        if wrong:
            raise CorpusError(
                f"{where}: expected {' and '.join(wrong)} in an object such as {example}, found {line[:80]!r}"
            )
        yield where, row


# ---------------------------------------------------------------- the builder


@dataclass
class FigerJsonConfig(CorpusConfig):
    """Options of :func:`read_figer_json`."""

    ontology: str = option(
        "figer", "figer (1k-WFB-g, HAnDS), figer_gold (FIGER(GOLD)), or a file; '' reads spans without types"
    )
    exhaustive: str = option(
        "auto", "whether every name is marked: yes, no, or auto: yes, except in HAnDS's silver files"
    )
    drop_unknown_types: bool = option(False, "leave types out that the ontology lacks, instead of stopping")


class FigerJson(CorpusBuilder):
    """FIGER's JSON Lines (1k-WFB-g, FIGER(GOLD), HAnDS) as a dataset of records.

    Example:
        >>> builder = FigerJson(data_files={"dev": "fner_dev.json", "test": "fner_test.json"})
        >>> builder.download_and_prepare()
        >>> builder.as_dataset("dev")
    """

    BUILDER_CONFIG_CLASS = FigerJsonConfig
    PATTERNS = ("*.json", "*.jsonl", "*.json.gz")
    config: FigerJsonConfig

    def read(self, files: list[Path], ontology: str, report: ReadReport) -> Iterator[Record]:
        """Reads the files one after the other."""
        for file in files:
            yield from read_figer_json(
                file,
                ontology=self.ontology,
                exhaustive=self.config.exhaustive,
                drop_unknown_types=self.config.drop_unknown_types,
                report=report,
            )

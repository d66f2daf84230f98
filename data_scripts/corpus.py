"""What all corpus builders share: raw files in, records out, and an account of what was left out on the way."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar
from xml.etree.ElementTree import Element

import datasets

from finener.data_scripts import raw_files
from finener.data_scripts.schema import FEATURES, Mention, Record, RecordError, validate_record
from finener.ontology_finener import Ontology, OntologyError
from finener.paths import ONTOLOGIES

Span = tuple[int, int, Sequence[str]]  # start, end, types


class CorpusError(ValueError):
    """A corpus is not as expected. The message names file and line, what was expected and what was found."""


@dataclass
class ReadReport:
    """What was read of one split, and what was left out. ``dropped`` and ``notes`` are the reader's, the rest is counted for it."""

    files: int = 0
    documents: int = 0
    records: int = 0
    mentions: int = 0
    types: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)  # "mention: inside a longer one" → how many
    notes: list[str] = field(default_factory=list)  # "train.txt: the scheme is IOB1"

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values; the most frequent types first."""
        content = asdict(self)
        return content | {"types": dict(self.types.most_common()), "dropped": dict(sorted(self.dropped.items()))}


# ---------------------------------------------------------------- builders


def option(default: Any, text: str) -> Any:
    """A field of a :class:`CorpusConfig`: ``text`` is the help of its command-line option."""
    return field(default=default, metadata={"help": text})


@dataclass
class CorpusConfig(datasets.BuilderConfig):
    """Options that every corpus has."""

    ontology: str = option(
        "", "name of a shipped ontology, or a .json or .tsv file of one; '' reads spans without types"
    )


class CorpusBuilder(datasets.GeneratorBasedBuilder):
    """A corpus as a dataset of records.

    A subclass says how to read its files (:meth:`read`); the base class finds the files, validates each record against the
    ontology, refuses doubled ids and keeps the account (``reports``, by split, complete when the split has been generated in
    this process). ``data_files`` takes a file, a folder, a list of them, or one of these for each split.

    Raises:
        CorpusError: on files that are missing or not as expected (``datasets`` wraps what :meth:`read` raises into its
            ``DatasetGenerationError``).
    """

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = CorpusConfig
    PATTERNS: ClassVar[tuple[str, ...]] = ("*",)  # which files of a folder are the corpus's
    config: CorpusConfig

    def __init__(self, *args: Any, data_files: Any = None, **kwargs: Any):
        super().__init__(*args, data_files=find_files(data_files, self.PATTERNS, type(self).__name__), **kwargs)
        self.ontology = load_ontology(self.config.ontology)
        self.reports: dict[str, ReadReport] = {}

    def read(self, files: list[Path], ontology: str, report: ReadReport) -> Iterator[Record]:
        """Reads one split.

        Args:
            files: its files, folders already replaced by what they hold.
            ontology: name of the type system for :func:`make_record`; "" where types are not wanted.
            report: to be told of everything that is left out.
        """
        raise NotImplementedError

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(description=(type(self).__doc__ or "").split("\n")[0], features=FEATURES)

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        # Tuples are not cut into shards: the files of some corpora only make sense together.
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"split": split, "files": tuple(files)})
            for split, files in dl_manager.download(self.config.data_files).items()
        ]

    def _generate_examples(self, split: str, files: tuple[str, ...]) -> Iterator[tuple[str, Record]]:
        report = self.reports[str(split)] = ReadReport(files=len(files))
        ids: set[str] = set()
        documents: set[str] = set()
        for record in self.read([Path(file) for file in files], self.ontology.name if self.ontology else "", report):
            try:
                record = validate_record(record, self.ontology)
            except RecordError as error:
                raise CorpusError(f"{split}: {error}") from None
            if record["id"] in ids:
                raise CorpusError(
                    f"{split}: the id {record['id']!r} comes up twice; ids begin with the file's name, so two files may share "
                    "one: rename one of them, or check that no file was given twice"
                )
            ids.add(record["id"])
            documents.add(record["doc_id"])
            report.records += 1
            report.mentions += len(record["mentions"])
            report.types.update(type_id for mention in record["mentions"] for type_id in mention["types"])
            report.documents = len(documents)
            yield record["id"], record


def find_files(data_files: Any, patterns: Sequence[str], builder: str) -> dict[str, list[str]]:
    """The files of each split.

    Args:
        data_files: a path, a list of paths, or {split: one of these}; without splits, everything is "train".
        patterns: which files of a folder to take, at any depth.
        builder: its name, for the error.

    Raises:
        CorpusError: when there is nothing to read, or a path does not exist.
    """
    if not data_files:
        raise CorpusError(
            f"no files to read; expected e.g. {builder}(data_files={{'train': 'path/to/file_or_folder'}})"
        )
    splits = data_files if isinstance(data_files, Mapping) else {"train": data_files}
    found: dict[str, list[str]] = {}
    for split, given in splits.items():
        paths = [given] if isinstance(given, (str, os.PathLike)) else list(given)
        found[str(split)] = [str(file) for path in paths for file in _files_at(Path(path), patterns)]
    return found


def _files_at(path: Path, patterns: Sequence[str]) -> list[Path]:
    if path.is_dir():
        files = {file for pattern in patterns for file in path.rglob(pattern) if file.is_file()}
        if not files:
            raise CorpusError(f"{path}: the folder holds no file called {' or '.join(patterns)}")
        return sorted(files)
    if not path.is_file():
        raise CorpusError(f"{path}: there is no such file or folder")
    return [path]


def load_ontology(name: str) -> Ontology | None:
    """The ontology of that name among the shipped ones, or in that .json or .tsv file; None for "".

    Raises:
        CorpusError: when there is none, or its file is not valid.
    """
    if not name:
        return None
    path = Path(name) if name.endswith((".json", ".tsv")) else ONTOLOGIES / f"{name}.json"
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in ONTOLOGIES.glob("*.json")))
        raise CorpusError(f"no ontology {name!r}; expected one of {shipped}, or a .json or .tsv file of your own")
    try:
        return Ontology.from_tsv(path) if path.suffix == ".tsv" else Ontology.from_json(path)
    except OntologyError as error:
        raise CorpusError(str(error)) from None


# ---------------------------------------------------------------- records


def make_record(
    record_id: str,
    doc_id: str,
    source: str,
    text: str,
    spans: Iterable[Span],
    ontology: str,
    *,
    exhaustive: bool = True,
) -> Record:
    """A gold record; without an ontology it is untyped, and the types are left out."""
    mentions = [
        Mention(start=s, end=e, types=list(types) if ontology else [], score=None, type_scores=None, origin="")
        for s, e, types in spans
    ]
    return Record(
        id=record_id,
        doc_id=doc_id,
        source=source,
        text=text,
        mentions=mentions,
        exhaustive=exhaustive,
        typed=bool(ontology),
        ontology=ontology,
    )


def join_tokens(tokens: Sequence[str]) -> tuple[str, list[int]]:
    """The tokens joined by blanks, and where each begins; token ``i`` ends at ``starts[i] + len(tokens[i])``."""
    starts, length = [], 0
    for token in tokens:
        starts.append(length)
        length += len(token) + 1
    return " ".join(tokens), starts


def outermost(spans: Iterable[Span], dropped: Counter[str]) -> list[Span]:
    """The spans that lie in no other, sorted; types of equal spans are joined, and of crossing spans the first stays.

    Args:
        spans: in any order.
        dropped: counts what is left out or joined.
    """
    kept: list[Span] = []
    for start, end, types in sorted(spans, key=lambda span: (span[0], -span[1])):
        if kept and start < kept[-1][1]:
            last = kept[-1]
            if (start, end) == last[:2]:
                kept[-1] = (start, end, list(dict.fromkeys([*last[2], *types])))
                dropped["mention: same span as another, types joined"] += 1
            else:
                dropped["mention: inside a longer one" if end <= last[1] else "mention: crosses another"] += 1
            continue
        kept.append((start, end, types))
    return kept


def check_surface(text: str, start: int, end: int, surface: str, where: str) -> None:
    """Whether ``text[start:end]`` is what the corpus says it is.

    Raises:
        CorpusError: when it is not; when the end seems to be off by one, the message says so.
    """
    if not 0 <= start < end <= len(text):
        raise CorpusError(
            f"{where}: [{start}, {end}) lies outside the text of {len(text)} characters; expected {surface!r} there"
        )
    found = text[start:end]
    if found == surface:
        return
    hint = ""
    if text[start : end + 1] == surface:
        hint = "; the end is one too small: are the file's ends inclusive?"
    elif text[start : end - 1] == surface:
        hint = "; the end is one too large: are the file's ends exclusive?"
    raise CorpusError(f"{where}: expected {surface!r} at [{start}, {end}), found {found!r}{hint}")


# ---------------------------------------------------------------- files


def read_lines(path: str | os.PathLike) -> Iterator[tuple[int, str]]:
    """Number, from 1, and content of each line of a file, gzip's and bzip2's too. A byte order mark and Windows line ends are taken off.

    Raises:
        CorpusError: with file and line, on bytes that are not UTF-8, packed data that are broken, a line without end.
    """
    # Cut as bytes: other line separators of Unicode may stand inside a line.
    return raw_files.read_text_lines(path, CorpusError)


def read_table(path: str | os.PathLike, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Place ("file:line") and cells, by column name, of a TAB-separated file whose first line names its columns.

    Args:
        path: a UTF-8 file.
        columns: those that must be there, in any order and among others.

    Raises:
        CorpusError: on a missing column, or a line with too few or too many cells.
    """
    header: list[str] = []
    for number, line in read_lines(path):
        cells = line.split("\t")
        if not header:
            header = [cell.strip() for cell in cells]
            if missing := [column for column in columns if column not in header]:
                raise CorpusError(
                    f"{path}:{number}: expected the columns {', '.join(columns)}; missing {', '.join(missing)} in {line!r}"
                )
        elif line.strip():
            if len(cells) != len(header):
                raise CorpusError(
                    f"{path}:{number}: expected {len(header)} cells between TABs, found {len(cells)} in {line!r}"
                )
            yield f"{path}:{number}", dict(zip(header, cells, strict=True))


def read_xml(path: str | os.PathLike, file: IO[bytes] | None = None) -> Element:
    """The root of an XML file.

    Args:
        path: its name, for errors too.
        file: where given, it is read instead: a member of an archive.

    Raises:
        CorpusError: when it is broken, or declares entities, which could make it expand without bound.
    """
    return raw_files.read_xml(path, file, CorpusError)

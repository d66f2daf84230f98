"""The ``ontology`` command: one's own types, from a table or a sheet → an ontology file."""

from __future__ import annotations

import argparse
import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from finener.data_scripts.corpus import CorpusError, read_lines
from finener.data_scripts.tables import text_table
from finener.ontology_finener import TSV_COLUMNS, EntityType, Ontology

ABSENT = ("", "unspecified", "n/a")  # how sheets write that a type goes no deeper


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        help=f"a .tsv with the columns {', '.join(TSV_COLUMNS)} (only id is required); or, with --column, a sheet (.csv or .tsv) "
        "with a header; or a list of ids, one a line",
    )
    parser.add_argument("--output_file", type=Path, required=True, help="the ontology, .json or .tsv")
    parser.add_argument(
        "--name", default="", help="of the ontology, as records will have it (default: the output file's)"
    )
    parser.add_argument(
        "--separator",
        default=".",
        help="what stands between the parts of an id that spells its path, as in PER.Politician (default: '.'); '' for none",
    )
    parser.add_argument(
        "--column",
        nargs="+",
        default=[],
        metavar="NAME",
        help="of a sheet, the column of the ids; several, such as Type Subtype Subsubtype, are joined by the separator",
    )


def run(args: argparse.Namespace) -> int:
    """The ``ontology`` command."""
    if args.output_file.suffix not in (".json", ".tsv"):
        raise CorpusError(f"--output_file {args.output_file}: expected a name that ends in .json or .tsv")
    if args.output_file.resolve() == args.input.resolve():
        raise CorpusError(f"--output_file {args.output_file} is the input; give another name")
    ontology = read_ontology(args.input, args.name or args.output_file.stem, args.separator, args.column)
    if args.output_file.suffix == ".json":
        ontology.to_json(args.output_file)
    else:
        ontology.to_tsv(args.output_file)
    print(levels_table(ontology))
    print(f"\nWritten to {args.output_file}: {ontology.name}, {len(ontology):,} types")
    return 0


def read_ontology(path: str | Path, name: str, separator: str = ".", columns: Sequence[str] = ()) -> Ontology:
    """Reads types from a table, a sheet or a list.

    Args:
        path: with ``columns``, a ``.csv`` or TAB-separated sheet; else a table of :meth:`Ontology.from_tsv`, told by its header,
            or a list of ids, one a line.
        name: of the ontology.
        separator: what stands between the parts of an id; not used for a table, which has its parents in a column.
        columns: the sheet's column of ids, or several whose cells together spell an id.

    Raises:
        CorpusError: on a missing column, a blank or doubled id. OntologyError: on a table that is not valid.
    """
    path = Path(path)
    if not path.is_file():
        raise CorpusError(f"{path}: there is no such file")
    if path.suffix in (".xlsx", ".xls", ".ods"):
        raise CorpusError(f"{path}: expected text; export the sheet as .csv or .tsv (UTF-8) first")
    lines = [line for _, line in read_lines(path)]
    header = lines[0].split("\t") if lines else []
    if not columns and "id" in header and set(header) <= set(TSV_COLUMNS):
        return Ontology.from_tsv(path, name)
    ids: dict[str, str] = {}
    for place, type_id in _sheet_ids(path, separator, columns) if columns else _list_ids(path):
        parts = type_id.split(separator) if separator else [type_id]
        if not type_id or not all(part.strip() for part in parts[1:]):
            raise CorpusError(f"{place}: expected the id of a type, found a blank, or a blank part, in {type_id!r}")
        if type_id in ids:
            raise CorpusError(f"{place}: the id {type_id!r} was in {ids[type_id]} already; expected every type once")
        ids[type_id] = place
    if not ids:
        raise CorpusError(f"{path}: expected types, found none")
    return Ontology(name, types_of_paths(ids, separator), source=path.name)


def _list_ids(path: Path) -> Iterable[tuple[str, str]]:
    for number, line in read_lines(path):
        if "\t" in line:
            raise CorpusError(
                f"{path}:{number}: expected one id a line, found several cells in {line!r}; name the ids' column with --column, or "
                f"give a header of some of {', '.join(TSV_COLUMNS)}"
            )
        yield f"{path}:{number}", line.strip()


def _sheet_ids(path: Path, separator: str, columns: Sequence[str]) -> Iterable[tuple[str, str]]:
    lines = [line for _, line in read_lines(path)]
    if path.suffix == ".csv":
        delimiter = max(",;", key=lines[0].count) if lines else ","  # some countries' spreadsheets write semicolons
        rows = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True)
    else:
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        header = [cell.strip() for cell in next(rows, [])]
        if missing := [column for column in columns if column not in header]:
            raise CorpusError(
                f"{path}:1: expected the column {', '.join(missing)}, found {', '.join(header)[:200] or 'nothing'}"
            )
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
            yield (
                f"{path}:{rows.line_num}",
                _joined([cells.get(c, "") for c in columns], separator, f"{path}:{rows.line_num}"),
            )
    except csv.Error as error:
        raise CorpusError(f"{path}:{rows.line_num}: not a valid CSV file ({error})") from None


def _joined(cells: list[str], separator: str, place: str) -> str:
    """["PER", "Politician", "unspecified"] → "PER.Politician"."""
    parts = ["" if cell.lower() in ABSENT else cell for cell in cells]
    while parts and not parts[-1]:
        parts.pop()
    if "" in parts:
        raise CorpusError(f"{place}: expected a type, then a subtype and so on, found a gap in {cells}")
    return separator.join(parts)


def types_of_paths(ids: Iterable[str], separator: str) -> list[EntityType]:
    """Types whose ids spell their path, each after its parent; a parent that is not among them is made, not assignable.

    A separator at the beginning, as in ``/person/artist``, is part of the id.

    Args:
        ids: without doubles.
        separator: "" for types without parents.
    """
    given = dict.fromkeys(ids)
    types: dict[str, EntityType] = {}
    for type_id in given:
        paths = _path(type_id, separator)
        for parent, path in zip(["", *paths], paths, strict=False):
            types.setdefault(
                path, EntityType(path, _label(path, separator), (parent,) if parent else (), path in given)
            )
    return list(types.values())


def _path(type_id: str, separator: str) -> list[str]:
    """ "PER.Politician.Mayor" → ["PER", "PER.Politician", "PER.Politician.Mayor"]."""
    if not separator:
        return [type_id]
    ends = [match.start() for match in re.finditer(re.escape(separator), type_id) if match.start()]
    return [type_id[:end] for end in (*ends, len(type_id))]


def _label(type_id: str, separator: str) -> str:
    """ "PER.Politician.HeadOfGovernment" → "head of government"; abbreviations keep their capitals."""
    last = type_id.rpartition(separator)[2] if separator else type_id
    words = re.sub(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_-]+", " ", last).split()
    return " ".join(word if len(word) > 1 and word.isupper() else word.lower() for word in words)


def levels_table(ontology: Ontology) -> str:
    """How many types there are on each level, and how many of them mentions may have as their own."""
    types = Counter(ontology.depths)
    assignable = Counter(depth for depth, own in zip(ontology.depths, ontology.assignable, strict=True) if own)
    rows = [[str(depth + 1), f"{types[depth]:,}", f"{assignable[depth]:,}"] for depth in sorted(types)]
    return text_table(["level", "types", "assignable"], rows)

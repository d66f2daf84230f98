"""W, the partial credit between types: ``W[i, j]`` is what predicting ``j`` earns when gold is ``i``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from finener.data_scripts.raw_files import one_line, read_text_lines
from finener.json_finener import read_json
from finener.ontology_finener import Ontology, OntologyError

Credit = Mapping[int, Mapping[int, float]]
"""Gold type → predicted type → credit in (0, 1]; what is not listed earns nothing."""


class CreditError(ValueError):
    """A file of partial credit is not valid; the message names the place, what was expected and what was found."""


def decay_row(ontology: Ontology, gold: int, decay: float) -> dict[int, float]:
    """One row of the default W: ``decay ** n`` for the ancestor ``n`` edges up (the shortest way), 1 for the type itself."""
    return {above: decay**steps for above, steps in ontology.steps_up(gold).items()}


def read_credit(path: str | Path, ontology: Ontology) -> Credit:
    """Reads W.

    Three forms, by the file's name:

    - ``.tsv``: lines ``gold TAB predicted TAB credit``; ``#`` starts a comment line.
    - ``.json``: ``{"gold": {"predicted": credit, …}, …}``, or a list of K rows of K numbers.
    - ``.npy``: a (K, K) matrix, rows gold, columns predicted, in the order of the ontology.

    In the first two, a pair that is not listed earns 1 when both types are equal, else 0. A row is divided by its diagonal, so that the
    gold type earns 1, also where W was estimated as probabilities. The direction is the one that the TAC scorer
    (neleval) documents and reads. Its ``weights-for-hierarchy`` writes the columns the other way round: do not use its output.

    Args:
        path: of the file.
        ontology: of gold and predicted types.

    Raises:
        CreditError: on another shape, an unknown type, a credit outside [0, 1], a pair listed twice, a zero row, or a type
            that earns more than the gold type itself.
        FileNotFoundError: when there is no such file.
    """
    path = Path(path)
    readers = {".tsv": _from_tsv, ".json": _from_json, ".npy": _from_npy}
    if path.suffix not in readers:
        raise CreditError(f"{path}: expected a .tsv, .json or .npy file of partial credit")
    rows: dict[int, dict[int, float]] = {}
    for where, gold, predicted, credit in readers[path.suffix](path, ontology):
        if not isinstance(credit, (int, float)) or isinstance(credit, bool) or not 0.0 <= credit <= 1.0:
            raise CreditError(f"{where}: expected a credit in [0, 1], found {credit!r}")
        row = rows.setdefault(gold, {})
        if predicted in row:
            raise CreditError(f"{where}: the pair {ontology.ids[gold]} → {ontology.ids[predicted]} is listed twice")
        row[predicted] = float(credit)
    return {i: _scaled(i, rows.get(i, {}), path, ontology) for i in range(len(ontology))}


def _scaled(gold: int, row: dict[int, float], path: Path, ontology: Ontology) -> dict[int, float]:
    """A row with 1 on its diagonal, without its zeros."""
    own = row.setdefault(gold, 1.0)
    best = max(row, key=row.__getitem__)
    if not row[best]:
        raise CreditError(f"{path}: the row of {ontology.ids[gold]!r} is zero: no prediction could earn anything there")
    if row[best] > own:
        raise CreditError(
            f"{path}: for gold {ontology.ids[gold]!r}, {ontology.ids[best]!r} earns {row[best]:g} and the type itself {own:g}; "
            "expected nothing to earn more than the gold type"
        )
    return {j: credit / own for j, credit in row.items() if credit}


Entry = tuple[str, int, int, Any]  # where, gold, predicted, credit


def _from_tsv(path: Path, ontology: Ontology) -> Iterator[Entry]:
    for number, line in read_text_lines(path, CreditError):
        if not line.strip() or line.startswith("#"):
            continue
        where, cells = f"{path}:{number}", line.split("\t")
        try:
            gold, predicted, credit = cells
            yield where, ontology.index(gold), ontology.index(predicted), float(credit)
        except ValueError as error:  # OntologyError is one
            raise CreditError(f"{where}: expected 'gold TAB predicted TAB credit', found {line!r} ({error})") from None


def _from_json(path: Path, ontology: Ontology) -> Iterator[Entry]:
    try:
        content = read_json(path)
    except ValueError as error:
        raise CreditError(str(error)) from None
    if isinstance(content, list):
        yield from _from_rows(path, content, ontology)
        return
    expected = 'expected {"gold type": {"predicted type": credit, …}, …} or a list of rows'
    if not isinstance(content, dict):
        raise CreditError(f"{path}: {expected}, found {type(content).__name__}")
    for gold, row in content.items():
        if not isinstance(row, dict):
            raise CreditError(f"{path}: {expected}, found {row!r} for {gold!r}")
        for predicted, credit in row.items():
            where = f"{path}: {gold} → {predicted}"
            try:
                yield where, ontology.index(gold), ontology.index(predicted), credit
            except OntologyError as error:
                raise CreditError(f"{where}: {error}") from None


def _from_npy(path: Path, ontology: Ontology) -> Iterator[Entry]:
    try:
        with path.open("rb") as file:
            matrix = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # numpy has no one error for a broken header
        raise CreditError(f"{path}: not a .npy file of numbers ({one_line(error)})") from None
    return _from_rows(path, matrix.tolist(), ontology, matrix.shape)


def _from_rows(path: Path, rows: Any, ontology: Ontology, shape: tuple[int, ...] | None = None) -> Iterator[Entry]:
    size = len(ontology)
    if shape is None:
        widths = sorted({len(row) if isinstance(row, list) else 0 for row in rows})
        shape = (len(rows), *(widths if len(widths) == 1 else [f"{widths[0]}…{widths[-1]}" if widths else 0]))
    if shape != (size, size):
        found = " × ".join(map(str, shape))
        raise CreditError(f"{path}: expected {size} × {size} numbers, one row and column for each type, found {found}")
    for i, row in enumerate(rows):
        for j, credit in enumerate(row):
            is_number = isinstance(credit, (int, float)) and math.isfinite(credit)
            if i == j or not is_number or credit:
                yield f"{path}: row {i}, column {j}", i, j, credit

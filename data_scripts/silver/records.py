"""Silver records as Parquet, under the types that were chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

import pyarrow
import pyarrow.parquet

from finener.data_scripts.schema import FEATURES
from finener.ontology_finener import Ontology

_ROWS = 10_000  # of a Parquet row group


class RecordWriter:
    """Writes records, and keeps the account of what became of their types.

    Args:
        ontology: of the types.
        kept: the types that stay; the others are replaced by their nearest kept ancestors.
    """

    def __init__(self, ontology: Ontology, kept: Iterable[str]):
        self.ontology = ontology
        self.numbers: Counter[str] = Counter()
        self.origins: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.types: Counter[int] = Counter()
        self.closed: Counter[int] = Counter()  # ancestors counted along
        self._kept = frozenset(map(ontology.index, kept))
        self._types = lru_cache(maxsize=100_000)(self._find_types)
        self._closure = lru_cache(maxsize=100_000)(ontology.closure_indices)

    def _find_types(self, indices: tuple[int, ...]) -> tuple[int, ...]:
        """The kept types, and the nearest kept ancestors of the others."""
        if self._kept.issuperset(indices):
            return indices
        return tuple(
            self.ontology.most_specific_indices(self._kept.intersection(self.ontology.closure_indices(indices)))
        )

    def write(self, articles: Iterable[tuple[str, list]], path: Path) -> None:
        """Writes a Parquet file.

        Args:
            articles: (title, [(text, [(start, end, type indices, origin)])]).
            path: the new file.
        """
        rows = (
            (f"{title}#{number}", title, text, list(self._mentions(mentions)))
            for title, sentences in articles
            for number, (text, mentions) in enumerate(sentences)
        )
        with pyarrow.parquet.ParquetWriter(path, FEATURES.arrow_schema, compression="zstd") as file:
            while group := tuple(islice(rows, _ROWS)):
                file.write_table(self._table(group))

    def _mentions(self, mentions: Iterable[tuple]) -> Iterator[tuple[int, int, list[str], str]]:
        for start, end, indices, origin in mentions:
            before = tuple(indices)
            after = self._types(before)
            if not after:
                self.dropped["mention: all its types were cut"] += 1
                continue
            if after != before:
                self.numbers["mentions with types cut to their ancestors"] += 1
            self.origins[origin.partition(":")[0]] += 1
            self.types.update(after)
            self.closed.update(self._closure(after))
            yield start, end, [self.ontology.ids[i] for i in after], origin

    def _table(self, rows: Sequence[tuple[str, str, str, list]]) -> pyarrow.Table:
        self.numbers["sentences"] += len(rows)
        self.numbers["sentences with a mention"] += sum(1 for row in rows if row[3])
        records = [
            {
                "id": record_id,
                "doc_id": title,
                "source": "wikipedia",
                "text": text,
                "mentions": [
                    {"start": s, "end": e, "types": types, "score": None, "type_scores": None, "origin": origin}
                    for s, e, types, origin in mentions
                ],
                "exhaustive": False,
                "typed": True,
                "ontology": self.ontology.name,
            }
            for record_id, title, text, mentions in rows
        ]
        return pyarrow.Table.from_pylist(records, schema=FEATURES.arrow_schema)

"""What a silver build is to do, and where its files lie."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4


class SilverError(ValueError):
    """A build cannot go on. The message says why, and what to do."""


@dataclass(frozen=True)
class Plan:
    """Everything that the stages must know.

    Args:
        dumps: MediaWiki dumps.
        shards: into how many shards each of them is cut.
        output_dir: the data set; the stages' own files lie in its folder ``work``.
        types: tables of entity types.
        ontology: JSON file of the types.
        gazetteer: see :func:`~finener.data_scripts.silver.titles.read_gazetteer`.
        nouns: see :func:`~finener.data_scripts.silver.titles.read_nouns`.
        repeats: mark later occurrences of an article's own title and of its linked names.
        max_types: keep so many types, the most frequent; None for all.
        min_count: keep types that so many mentions are of.
    """

    dumps: tuple[Path, ...]
    shards: tuple[int, ...]
    output_dir: Path
    types: tuple[Path, ...]
    ontology: Path
    gazetteer: Path
    nouns: Path
    repeats: bool
    max_types: int | None
    min_count: int

    def options(self) -> dict[str, Any]:
        """What makes this build differ from another; of a file, its name and size or hash, not where it lies."""
        return {
            "dumps": [{"name": path.name, "bytes": path.stat().st_size} for path in self.dumps],
            "types": [{"name": path.name, "bytes": path.stat().st_size} for path in self.types],
            **{
                name: {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
                for name in ("ontology", "gazetteer", "nouns")
                if (path := getattr(self, name))
            },
            "repeats": self.repeats,
            "max_types": self.max_types,
            "min_count": self.min_count,
            "shards": sum(self.shards),
        }

    @property
    def work(self) -> Path:
        """Where the stages keep their files."""
        return self.output_dir / "work"

    def file(self, stage: str, number: int = 0, suffix: str = ".jsonl") -> Path:
        """A file that a stage writes."""
        return self.work / stage / f"{number:05d}{suffix}"

    def counts(self, stage: str) -> Iterator[dict[str, Any]]:
        """The accounts that a stage's tasks gave, in order."""
        for path in sorted((self.work / "counts").glob(f"{stage}-*.json")):
            yield json.loads(path.read_text(encoding="utf-8"))

    def data_file(self, shard: int) -> Path:
        """A file of the data set."""
        return self.output_dir / "data" / f"train-{shard:05d}-of-{sum(self.shards):05d}.parquet"


@contextmanager
def whole(plan: Plan, path: Path) -> Iterator[Path]:
    """A path to write to; what was written becomes ``path`` when all went well, so that no half file is ever taken for a whole."""
    partial = plan.work / "partial" / f"{path.parent.name}-{path.stem}-{uuid4().hex}{path.suffix}"
    partial.parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    yield partial
    os.replace(partial, path)

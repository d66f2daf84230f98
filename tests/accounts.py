"""How many mentions the files of a corpus hold, counted another way than its reader does; None where that can't be told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def lines_of(paths: Iterable[Path]) -> list[str]:
    return [line for path in paths for line in path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").split("\n")]


_NAME = re.compile(r"<(?:ENA|TI|NU)MEX\b[^<>]*>")


def in_ontonotes(paths: list[Path], report: Any) -> int | None:
    """Names that are opened, where no document was left out."""
    if any(reason.startswith("document: ") for reason in report.dropped):
        return None
    count = 0
    for path in paths:
        for line in lines_of([path]):
            cells = re.split(r"[ \t]+", line.strip(" \t\r"))
            if path.suffix == ".name":
                count += len(_NAME.findall(line))
            elif len(cells) > 11 and not line.startswith("#"):
                count += cells[10].count("(")
    return count


def in_brat(paths: list[Path], report: Any) -> int:
    return sum(line.startswith("T") for line in lines_of(path for path in paths if path.suffix == ".ann"))


def in_tac(paths: list[Path], report: Any) -> int | None:
    return sum(bool(line.strip()) for line in lines_of(path for path in paths if path.suffix == ".tab"))


def in_aida(paths: list[Path], report: Any) -> int:
    tables = [path for path in paths if path.suffix == ".tab"]
    return sum(sum(bool(line.strip()) for line in lines_of([path])[1:]) for path in tables)


def in_figer(paths: list[Path], report: Any) -> int | None:
    if any(path.read_bytes()[:2] in (b"\x1f\x8b", b"BZ") for path in paths):
        return None
    found = [json.loads(line) for line in lines_of(paths) if line.strip()]
    return sum(len(row.get("mentions", row.get("links"))) for row in found)


def in_redocred(paths: list[Path], report: Any) -> int:
    entities = [entity for path in paths for d in json.loads(path.read_text("utf-8")) for entity in d["vertexSet"]]
    return sum(len(entity) if isinstance(entity, list) else 1 for entity in entities)

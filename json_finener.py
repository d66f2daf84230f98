"""JSON that comes from outside: whatever is wrong with it, the error is a ValueError."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

MOST_LEVELS = 200  # of lists and objects within each other


def parse_json(text: str) -> Any:
    """What JSON says. Raises ValueError on what is none, and on what is nested more than MOST_LEVELS deep."""
    try:
        content = json.loads(text)
        is_deep = text.count("[") + text.count("{") > MOST_LEVELS and _is_deeper(content, MOST_LEVELS)
    except RecursionError:
        is_deep = True
    if is_deep:
        raise ValueError(f"lists and objects stand more than {MOST_LEVELS} deep in each other")
    return content


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Python's garbage collector waits: it would look at all objects again and again while many are made that stay."""
    was_at_work = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_at_work:
            gc.enable()


@collector_at_rest()
def read_json(path: str | Path) -> Any:
    """The content of a JSON file. Raises ValueError, which names the file, when it holds something else."""
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def _is_deeper(content: Any, levels: int) -> bool:
    """Whether lists and objects stand more than so many deep in each other; looks at a whole level at a time."""
    level = [content] if isinstance(content, (dict, list)) else []
    for _ in range(levels):
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = [part for part in chain.from_iterable(parts) if isinstance(part, (dict, list))]
    return bool(level)


def is_text(value: object) -> bool:
    """Whether it is a string that can be written: half a surrogate pair, which JSON can spell, can't."""
    return isinstance(value, str) and (value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value))

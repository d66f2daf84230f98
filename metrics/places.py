"""What of a path may be told to the world: its last part. Where a file lies on somebody's machine is nobody's business."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# From the root, a drive or the home, with a folder in it: /home/me/data.jsonl, C:\data\train.jsonl. An address (https://…) is none.
ABSOLUTE = re.compile(r"(?<![\w.:/\\~-])(?:~|[A-Za-z]:)?[/\\]+(?:[^\s\"'`,:;()\[\]/\\]+[/\\]+)+[^\s\"'`,:;()\[\]/\\]*")
# Texts of people and names of types, which may hold a stroke.
_TEXTS = ("show", "shown", "card", "types")


def told_name(place: str) -> str:
    """The last part of a path or pattern, whatever its strokes: ``/home/me/train.jsonl`` → ``train.jsonl``."""
    return re.split(r"[/\\]", place.rstrip("/\\"))[-1]


def is_hub_name(name: str) -> bool:
    """Whether it can be the name of a Hub repo: ``user/name`` or ``name``, and nothing of that name lies here."""
    return bool(re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name)) and not name.startswith(".") and not Path(name).exists()


def base_model(results: Mapping[str, Any]) -> str | None:
    """The Hub name of what the run started from, or None where it started from a folder.

    Args:
        results: of a results file; it may say so itself, since folders are only known where it ran.
    """
    if "base_model" in results:
        return results["base_model"]
    model = results["config"].get("model")
    if model and not results["earlier"]:  # phases before this one are told by a folder that lay here
        return model if is_hub_name(model) else None
    first = [*results["earlier"], results][0]
    encoder = results["encoder"]
    is_named = "/" in encoder or encoder == first["config"].get("encoder")  # else it is but the kind of an encoder
    return encoder if is_named and is_hub_name(encoder) else None


def without_places(results: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a results file in which every path is its last part.

    Args:
        results: of a results file.
    """
    hub = base_model(results)
    told = {key: value if key in _TEXTS else _without_absolute(value) for key, value in results.items()}
    told["earlier"] = [_run(run, hub) for run in results["earlier"]]
    return _run(told, hub)


def _run(run: Mapping[str, Any], hub: str | None) -> dict[str, Any]:
    """One phase of a results file."""
    told = dict(run)
    told["config"] = {key: value if key in _TEXTS else _names(value, hub) for key, value in run["config"].items()}
    told |= {key: _names(run[key], hub) for key in ("encoder", "command") if key in run}
    return told


def _names(value: Any, hub: str | None) -> Any:
    """Every word with a stroke in it, but for the Hub name, as its last part."""
    if isinstance(value, str):
        return " ".join(w if w == hub or not re.search(r"[/\\]", w) else told_name(w) for w in value.split(" "))
    if isinstance(value, Mapping):
        return {key: _names(part, hub) for key, part in value.items()}
    return [_names(part, hub) for part in value] if isinstance(value, (list, tuple)) else value


def _without_absolute(value: Any) -> Any:
    if isinstance(value, str):
        return ABSOLUTE.sub(lambda found: told_name(found[0]), value)
    if isinstance(value, Mapping):
        return {key: _without_absolute(part) for key, part in value.items()}
    return [_without_absolute(part) for part in value] if isinstance(value, (list, tuple)) else value

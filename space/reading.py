"""Text or file in, mentions out: what a person gave is checked, and the pipeline asked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import getmodule
from pathlib import Path
from typing import Any

MOST_CHARACTERS = int(os.environ.get("MOST_CHARACTERS", "20000"))  # of all texts that are read at a time
MOST_OWN_TYPES = 500
OWN = "own"  # the answer to "whose types?" beside the heads, "target" and "source"
OWN_THRESHOLD = 0.5  # of the pipeline's types by name
FORMATS = (".txt", ".jsonl")


class InputError(ValueError):
    """What a person gave can't be read; the message says what was expected."""


@dataclass(frozen=True)
class Text:
    """A text with a name to tell it by: a record's id, a file's name, or nothing."""

    id: str
    text: str


@dataclass(frozen=True)
class Question:
    """What is asked of each text: ``head`` is ``target``, ``source`` or ``own``; thresholds lie in [0, 1]."""

    head: str
    own: str = ""  # the names of types, one a line
    detection: float = 0.0
    threshold: float = 0.5


@dataclass(frozen=True)
class Answer:
    """The texts, the mentions of each as the pipeline gives them, and the type system of these."""

    ontology: Any
    texts: list[Text]
    mentions: list[list[dict[str, Any]]]


# -------------------------------------------------------------------- what is read


def read_inputs(text: str, file: str | Path | None) -> list[Text]:
    """The texts to read: those of the file where there is one, else the text itself.

    Raises:
        InputError: when there is nothing to read or more than ``MOST_CHARACTERS``, and on a file that is not as it should be.
    """
    texts = [Text("", text or "")] if file is None else read_file(Path(file))
    texts = [t for t in texts if t.text.strip()]
    if not texts:
        raise InputError("There is nothing to read: type a text, or choose a .txt or .jsonl file.")
    size = sum(len(t.text) for t in texts)
    if size > MOST_CHARACTERS:
        raise InputError(
            f"That is {size:,} characters; this page reads at most {MOST_CHARACTERS:,} at a time. "
            "For more, run finener predict on your own machine."
        )
    return texts


def read_file(path: Path) -> list[Text]:
    """A ``.txt`` file as one text; of a ``.jsonl`` file the ``text`` of each line, named by its ``id``.

    Raises:
        InputError: on another kind of file, one that is not UTF-8, or a line that is no such object.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path.name}: expected a .txt or .jsonl file.")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path.name} is not UTF-8: save it with that encoding.") from None
    if path.suffix.lower() == ".txt":
        return [Text(path.name, content)]
    lines = ((number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip())
    return [_read_line(line, f"{path.name}, line {number}", number) for number, line in lines]


def _read_line(line: str, place: str, number: int) -> Text:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):  # a number of thousands of digits, lists that stand too deep in each other
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise InputError(f'{place}: expected an object with a text, {{"id": "1", "text": "Ann left Rome."}}')
    return Text(str(record.get("id", number)), record["text"])


# -------------------------------------------------------------------- what the model is asked


def can_name(pipe: Any) -> bool:
    """Whether the model gives types that it was not trained on: models that were saved before finener 0.3 can't."""
    return hasattr(pipe, "types_by_name")


def type_systems(config: Any) -> dict[str, Any]:
    """The heads of a model, best first, each with its ontology."""
    heads = {"target": config.target_ontology, "source": config.ontology}
    return {head: ontology for head, ontology in heads.items() if ontology is not None}


def model_threshold(config: Any, head: str) -> float:
    """The model's own threshold for types: where it has several, the default among them."""
    if head == OWN:
        return OWN_THRESHOLD
    threshold = config.target_type_threshold if head == "target" else config.type_threshold
    return threshold["default"] if isinstance(threshold, Mapping) else threshold


def own_types(lines: str, pipe: Any) -> Any:
    """The names, one a line, as a flat ontology; a name that comes twice counts once.

    Raises:
        InputError: without a name, or with more than ``MOST_OWN_TYPES``.
    """
    names = {name.casefold(): name for name in reversed([line.strip() for line in lines.splitlines()]) if name}
    if not 0 < len(names) <= MOST_OWN_TYPES:
        raise InputError(f"Give 1 to {MOST_OWN_TYPES} types, one a line; there are {len(names)}.")
    types = [{"id": name, "label": name, "parents": []} for name in reversed(names.values())]
    # The class that the pipeline itself knows: transformers imports a folder's code once for the config and once for the pipeline.
    return getmodule(type(pipe.types_by_name)).Ontology.from_dict({"name": "own types", "types": types})


def arguments(pipe: Any, question: Question) -> dict[str, Any]:
    """How the pipeline is called. The threshold for types is left to the model until a person moves it: it may differ by type."""
    asked: dict[str, Any] = {"detection_threshold": question.detection}
    if question.head == OWN:
        asked["types"] = own_types(question.own, pipe)
    else:
        asked["head"] = question.head
    if question.head == OWN or question.threshold != model_threshold(pipe.model.config, question.head):
        asked["type_threshold"] = question.threshold
    return asked


def find(pipe: Any, texts: list[Text], question: Question) -> Answer:
    """Asks the pipeline.

    Raises:
        ValueError: what the pipeline or :func:`own_types` say of types that can't be given.
    """
    asked = arguments(pipe, question)
    ontology = asked["types"] if question.head == OWN else type_systems(pipe.model.config)[question.head]
    return Answer(ontology, texts, pipe([t.text for t in texts], **asked))

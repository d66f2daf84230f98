"""Inference Endpoints: the Hub calls :class:`EndpointHandler` with the model's folder and each request.

The endpoint's server answers an error with status 400 and its message as JSON, ``{"error": "…"}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from transformers import pipeline

MOST_TEXTS = 1024  # of a request
MOST_CHARACTERS = 2**20  # of all its texts
MOST_TYPES = 1024  # that it asks for; the names of those that the model does not know are read by it too
MOST_TYPE_CHARACTERS = 2**16  # of all their names
MOST_MENTIONS = 4096  # that it gives to be typed
MOST = {"batch_size": 256, "top_k": 100}  # so that one request can't take all memory
STRATEGIES = (
    "simple",
    "first",
    "average",
    "max",
)  # which the Hub's clients name; to mentions, that are whole, they are all the same

EXPECTED = 'expected {"inputs": "a text", "parameters": {…}}, with a text or a list of texts'


def _truth(value: str) -> bool:
    return {"true": True, "false": False}[value.lower()]


# What a query string brings as text.
_OF_TEXT: dict[str, tuple[Callable[[str], Any], str]] = {
    "detection_threshold": (float, "a number in [0, 1]"),
    "type_threshold": (float, "a number in [0, 1]"),
    "top_k": (int, "a whole number"),
    "batch_size": (int, "a whole number"),
    "is_split_into_words": (_truth, "true or false"),
}


class EndpointHandler:
    """Serves a finener model.

    Args:
        path: folder of the model, with its code.
    """

    def __init__(self, path: str = ""):
        self.pipeline = pipeline("token-classification", model=path, trust_remote_code=True)

    def __call__(self, data: Mapping[str, Any]) -> Any:
        """Answers a request with the mentions of its text, or a list of those of each text.

        Args:
            data: ``{"inputs": text or texts, "parameters": {…}}``; the parameters are those of the pipeline's call, numbers may be strings,
                and ``null`` is as if it were not there. Of the parameters that the Hub's clients send to any token classifier,
                ``ignore_labels`` leaves out mentions whose ``entity_group`` is among them (a list, or in a query ``per,gpe``);
                ``aggregation_strategy`` and ``stride`` change nothing, for mentions are whole and texts of any length are read in
                overlapping windows. ``{"instances": [text, …]}``, or a list of ``{"inputs": text}``, is answered
                ``{"predictions": [mentions, …]}``.

        Raises:
            ValueError, TypeError: on another form, another parameter or value, or too much of something.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"{EXPECTED}; got {type(data).__name__}")
        parameters = _read_parameters(data.get("parameters"))
        ignored = parameters.pop("ignore_labels", ())
        has_instances = "inputs" not in data and "instances" in data
        inputs = _instances(data["instances"]) if has_instances else data.get("inputs")
        is_one = _is_one_text(inputs, bool(parameters.get("is_split_into_words")))
        found = self.pipeline(inputs, **parameters)
        answers = [
            [m for m in mentions if m["entity_group"] not in ignored] for mentions in ([found] if is_one else found)
        ]
        if has_instances:
            return {"predictions": answers}
        return answers[0] if is_one else answers


def _instances(given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise ValueError(f'expected {{"instances": ["a text", …]}}; got {given!r:.80}')
    return [one.get("inputs") if isinstance(one, Mapping) else one for one in given]


def _read_parameters(given: Any) -> dict[str, Any]:
    """The parameters of a request as the pipeline takes them, with ``ignore_labels``."""
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f'expected "parameters" to be an object such as {{"top_k": 3}}; got {given!r:.80}')
    read = {name: _read_value(name, value) for name, value in (given or {}).items() if value is not None}
    if (strategy := read.pop("aggregation_strategy", "simple")) not in STRATEGIES:
        raise ValueError(
            f"aggregation_strategy {strategy!r:.80} is not there: mentions are whole, leave the parameter out"
        )
    read.pop("stride", None)
    if "ignore_labels" in read:
        read["ignore_labels"] = _labels(read["ignore_labels"])
    for name, most in MOST.items():
        if isinstance(read.get(name), int) and read[name] > most:
            raise ValueError(f"{name} of a request must be at most {most}, got {read[name]}")
    if "types" in read:
        _check_types(read["types"])
    if (given_mentions := _pieces(read.get("mentions", []))) > MOST_MENTIONS:
        raise ValueError(f"a request may give {MOST_MENTIONS:,} mentions; got {given_mentions:,}")
    return read


def _pieces(given: Any) -> int:
    """Of [start, end] pairs, or lists of them, how many there are; what is of another form is for the pipeline to tell."""
    if isinstance(given, list) and any(isinstance(one, (list, Mapping)) for one in given):
        return sum(map(_pieces, given))
    return 1 if given else 0


def _labels(given: Any) -> list[str]:
    labels = given.split(",") if isinstance(given, str) else given
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"ignore_labels must be a list of types, got {labels!r:.80}")
    return [label.strip() for label in labels]


def _check_types(given: Any) -> None:
    types = [given] if isinstance(given, str) else given
    if not isinstance(types, list) or not all(isinstance(name, str) for name in types):
        raise ValueError(f'types must be a text or a list of texts such as ["astronomer", "city"], got {given!r:.80}')
    characters = sum(map(len, types))
    if len(types) > MOST_TYPES or characters > MOST_TYPE_CHARACTERS:
        raise ValueError(
            f"a request may ask for {MOST_TYPES:,} types of {MOST_TYPE_CHARACTERS:,} characters in all; "
            f"got {len(types):,} of {characters:,}"
        )


def _read_value(name: str, value: Any) -> Any:
    if name not in _OF_TEXT or not isinstance(value, str):
        return value
    read, expected = _OF_TEXT[name]
    try:
        return read(value)
    except (ValueError, KeyError):
        raise ValueError(f"{name} must be {expected}, got {value!r:.80}") from None


def _is_one_text(inputs: Any, in_words: bool) -> bool:
    """Whether a request brings a single text. Raises ValueError when it brings no text, or too much."""
    if not isinstance(inputs, (str, list)):
        raise ValueError(f"{EXPECTED}; got {type(inputs).__name__}")
    is_one = isinstance(inputs, str) or (in_words and bool(inputs) and isinstance(inputs[0], str))
    texts = [inputs] if is_one else inputs
    pieces = [piece for text in texts for piece in (text if in_words and isinstance(text, list) else [text])]
    for piece in pieces:
        if not isinstance(piece, str):
            raise ValueError(f"{EXPECTED}; got {piece!r:.80} among the texts")
    characters = sum(map(len, pieces))
    if len(texts) > MOST_TEXTS or characters > MOST_CHARACTERS:
        raise ValueError(
            f"a request may hold {MOST_TEXTS:,} texts of {MOST_CHARACTERS:,} characters in all; got {len(texts):,} of {characters:,}"
        )
    return is_one

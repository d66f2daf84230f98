"""The record: one form for corpora, predictions and metrics.

Characters are Python code points and spans are half-open: a mention is ``text[start:end]``.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from datasets import Features, List, Value

from finener.ontology_finener import Ontology, OntologyError


class Mention(TypedDict):
    """A name in a text: ``text[start:end]`` is not empty and has no outer white space."""

    start: int
    end: int
    types: list[str]
    score: float | None  # of the detection, in [0, 1]; None in gold
    type_scores: list[float] | None  # beside ``types``, each in [0, 1]; None in gold
    origin: str  # of silver mentions, how they were found and what they name ("link:Lord_Byron", "gazetteer"); see the corpus's page


class Record(TypedDict):
    """A stretch of text and its mentions, which are sorted and do not overlap."""

    id: str
    doc_id: str
    source: str
    text: str
    mentions: list[Mention]
    exhaustive: bool  # every mention is marked: the record may train and test detection
    typed: bool  # the mentions carry types of ``ontology``: the record may train and test typing
    ontology: str  # "" when untyped


FEATURES = Features(
    {
        "id": Value("string"),
        "doc_id": Value("string"),
        "source": Value("string"),
        "text": Value("string"),
        "mentions": List(
            {
                "start": Value("int32"),
                "end": Value("int32"),
                "types": List(Value("string")),
                "score": Value("float32"),
                "type_scores": List(Value("float32")),
                "origin": Value("string"),
            }
        ),
        "exhaustive": Value("bool"),
        "typed": Value("bool"),
        "ontology": Value("string"),
    }
)

EXAMPLE_RECORD = (
    '{"id": "d1#0", "doc_id": "d1", "source": "mine", "text": "Ann left.", "mentions": [{"start": 0, "end": 3, '
    '"types": ["per"]}], "exhaustive": true, "typed": true, "ontology": "aida"}'
)
EXAMPLE_MENTION = '{"start": 0, "end": 3, "types": ["per"]}'


class RecordError(ValueError):
    """A record, or a file of records, is not valid. The message names the place, what was expected and what was found."""


def validate_record(record: Mapping[str, Any], ontology: Ontology | None = None, where: str = "") -> Record:
    """Checks a record and brings it into its full form.

    Args:
        record: must hold ``id`` and ``text``. Defaults of the rest: ``doc_id`` the id, ``source`` "", ``mentions`` [],
            ``exhaustive`` and ``typed`` False, ``ontology`` ""; in a mention: ``types`` [], ``score`` and ``type_scores``
            None, ``origin`` "".
        ontology: where given, the types of a typed record must be its types, and the record must name it.
        where: the place that errors name, such as ``"train.jsonl:12"``.

    Returns:
        A new record with every key, its mentions sorted; the argument is left as it was.

    Raises:
        RecordError: on a missing or unknown key, a value of the wrong kind, an empty id, a mention that is out of range,
            blank, padded with white space or overlapping another, types that nobody named an ontology for, and (with
            ``ontology``) an unknown type.
    """
    place = f"{where}: " if where else ""
    checked = _checked_values(record, _RECORD_KEYS, ("id", "text"), place, "record", EXAMPLE_RECORD)
    if "doc_id" not in record or checked["doc_id"] == "":
        checked["doc_id"] = checked["id"]
    for key in ("id", "doc_id", "source", "text", "ontology"):
        _check_unicode(checked[key], key, place)
    if not checked["id"]:
        raise RecordError(f'{place}the id is empty; expected one that is unique in its corpus, e.g. "d1#0"')
    place = f"{place}record {checked['id']!r}: "
    _check_typing(checked, ontology, place)
    mentions = [
        _checked_mention(m, checked, ontology, f"{place}mention {i}: ") for i, m in enumerate(checked["mentions"])
    ]
    mentions.sort(key=lambda m: (m["start"], m["end"]))
    for left, right in itertools.pairwise(mentions):
        if right["start"] < left["end"]:
            raise RecordError(
                f"{place}the mentions {_quoted(checked['text'], left)} and {_quoted(checked['text'], right)} overlap; "
                "expected mentions that do not: keep the outermost"
            )
    checked["mentions"] = mentions
    return checked  # type: ignore[return-value]


def _is_span_end(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_score(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1


def _is_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) and v for v in value)


def _is_scores(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_score, value)))


# key: (what it must be, in words; its test; its default)
_Key = tuple[str, Callable[[object], bool], Any]

_STRING: _Key = ("a string", lambda v: isinstance(v, str), "")
_FLAG: _Key = ("true or false", lambda v: isinstance(v, bool), False)
_RECORD_KEYS: dict[str, _Key] = {
    "id": _STRING,
    "doc_id": _STRING,
    "source": _STRING,
    "text": _STRING,
    "mentions": ("a list of mentions", lambda v: isinstance(v, list), []),
    "exhaustive": _FLAG,
    "typed": _FLAG,
    "ontology": _STRING,
}
_MENTION_KEYS: dict[str, _Key] = {
    "start": ("a whole number", _is_span_end, 0),
    "end": ("a whole number", _is_span_end, 0),
    "types": ("a list of type ids", _is_strings, []),
    "score": ("null or a number in [0, 1]", lambda v: v is None or _is_score(v), None),
    "type_scores": ("null or a list of numbers in [0, 1]", _is_scores, None),
    "origin": _STRING,
}


def _checked_values(
    given: object, keys: dict[str, _Key], required: tuple[str, ...], place: str, noun: str, example: str
) -> dict[str, Any]:
    """The values of one object, defaults filled in, in the order of ``keys``."""
    if not isinstance(given, Mapping):
        raise RecordError(f"{place}expected a {noun} such as {example}, got {_short(given)}")
    for key in given:
        if key not in keys:
            close = difflib.get_close_matches(str(key), keys, 1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise RecordError(f"{place}unknown key {key!r}{hint}; a {noun} looks like {example}")
    values = {}
    for key, (kind, is_kind, default) in keys.items():
        if key not in given:
            if key in required:
                raise RecordError(f"{place}the key {key!r} is missing; expected a {noun} such as {example}")
            values[key] = list(default) if isinstance(default, list) else default
            continue
        values[key] = given[key]
        if not is_kind(given[key]):
            raise RecordError(f"{place}{key!r} must be {kind}, got {_short(given[key])}; a {noun} looks like {example}")
    return values


def _check_unicode(text: str, key: str, place: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RecordError(
            f"{place}{key!r} holds half a surrogate pair at character {error.start}, so it is not Unicode text: "
            "decode its source as UTF-16, or escape whole pairs"
        ) from None


def _check_typing(record: Mapping[str, Any], ontology: Ontology | None, place: str) -> None:
    """``typed`` and ``ontology`` must tell the same story."""
    if record["typed"] and not record["ontology"]:
        raise RecordError(
            f'{place}a typed record must name its ontology; expected e.g. "typed": true, "ontology": "aida"'
        )
    if record["ontology"] and not record["typed"]:
        raise RecordError(
            f"{place}the record names the ontology {record['ontology']!r} but is not typed; expected "
            f'"typed": true, "ontology": "{record["ontology"]}", or "ontology": "" where types are not marked'
        )
    if ontology is not None and record["typed"] and record["ontology"] != ontology.name:
        raise RecordError(
            f"{place}expected types of the ontology {ontology.name!r}, the record says {record['ontology']!r}"
        )


def _checked_mention(given: object, record: Mapping[str, Any], ontology: Ontology | None, place: str) -> Mention:
    mention = _checked_values(given, _MENTION_KEYS, ("start", "end"), place, "mention", EXAMPLE_MENTION)
    for key, texts in (("types", mention["types"]), ("origin", [mention["origin"]])):
        for name in texts:
            _check_unicode(name, key, place)
    text, start, end = record["text"], mention["start"], mention["end"]
    if not 0 <= start <= end <= len(text):
        raise RecordError(
            f"{place}[{start}, {end}) is out of range: expected 0 <= start < end <= {len(text)}, the length of the text "
            "in characters (code points)"
        )
    surface = text[start:end]
    if not surface.strip():
        raise RecordError(
            f"{place}[{start}, {end}) is {'empty' if not surface else 'blank'}; expected a span with a word in it"
        )
    if surface != surface.strip():
        left = start + len(surface) - len(surface.lstrip())
        right = left + len(surface.strip())
        raise RecordError(f"{place}{surface!r} at [{start}, {end}) has outer white space; expected [{left}, {right})")
    types, scores = mention["types"], mention["type_scores"]
    if types and not record["typed"]:
        raise RecordError(
            f'{place}has the types {types}, but the record is not typed; expected "typed": true, "ontology": "aida" in the record'
        )
    if len(set(types)) < len(types):
        raise RecordError(f"{place}lists a type more than once: {types}")
    if scores is not None and len(scores) != len(types):
        raise RecordError(
            f"{place}has {len(types)} types and {len(scores)} type_scores; expected one score for each type"
        )
    if ontology is not None:
        for type_id in types:
            try:
                ontology.index(type_id)
            except OntologyError as error:
                raise RecordError(f"{place}unknown type: {error}") from None
    return mention  # type: ignore[return-value]


def _short(value: object) -> str:
    shown = repr(value)
    return f"{type(value).__name__} {shown if len(shown) <= 80 else shown[:80] + '…'}"


def _quoted(text: str, mention: Mention) -> str:
    return f"{text[mention['start'] : mention['end']]!r} [{mention['start']}, {mention['end']})"

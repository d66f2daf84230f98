"""Mentions for people: marked in their text, in a notebook, in HTML and in a terminal, and as a table."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any
from zlib import crc32

from finener.ontology_finener import Ontology

if TYPE_CHECKING:
    import pandas as pd

MOST_LEVELS = 4  # of a path that is shown whole; of a longer one the first and the last two
ROWS = ("mentions", "types")

# Only styles of their own elements: a notebook on the Hub keeps nothing else. The marks bring both their colours, so that they can be read
# on a light and on a dark page; the text around them has the page's.
BOX = "line-height:2.1;white-space:pre-wrap;overflow-wrap:anywhere"
MARK = (
    "color:#161616;background:hsl({hue},75%,84%);padding:.2em .3em;border-radius:.35em;unicode-bidi:isolate;"
    "-webkit-box-decoration-break:clone;box-decoration-break:clone"
)
TAG = "font-size:.75em;margin-inline-start:.5em;color:#161616;opacity:.85;unicode-bidi:isolate"

# Control characters, which a terminal would obey, as their pictures; half a surrogate pair, which can't be written, as U+FFFD.
VISIBLE = {
    **{code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)},
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000)], 0xFFFD),
}


@dataclass(frozen=True)
class _Mention:
    """A mention of the pipeline or of a record, as it is shown."""

    start: int
    end: int
    score: float | None  # of the span
    types: dict[str, float | None]
    labels: dict[str, str]
    best: str | None  # the most specific type, where it is known
    paths: list[list[str]]  # from a root to each most specific type, the best first; without an ontology, types alone

    @property
    def tag(self) -> str:
        """The path to the best type, then the names of the others: ``person › artist › painter 0.70, politician 0.60``."""
        levels = [self.labels[t] for path in self.paths[:1] for t in path]
        if len(levels) > MOST_LEVELS:
            levels[1:-2] = ["…"]
        best = [" › ".join(levels)] if levels else []
        names = [*best, *(self.labels[path[-1]] for path in self.paths[1:])]
        return ", ".join(name + _decimals(self.types[path[-1]]) for name, path in zip(names, self.paths, strict=True))

    @property
    def details(self) -> str:
        """All types with their scores, a line each."""
        head = f"mention{_decimals(self.score)}" if self.score is not None else ""
        return "\n".join(filter(None, [head, *(self.labels[t] + _decimals(s) for t, s in self.types.items())]))

    @property
    def colour(self) -> int:
        """A number that is always the same for the mention's best type."""
        return crc32(self.paths[0][-1].encode("utf-8", "replace")) if self.paths else 0


def show(text: str, mentions: Sequence[Mapping[str, Any]], ontology: Ontology | None = None) -> None:
    """Shows the mentions of a text: displayed in a notebook, printed elsewhere, with colours where it is a terminal.

    Args:
        text: the text. mentions: of it, as the pipeline or a record has them; apart or nested.
        ontology: of the types. With it the path down to the best of the most specific types is shown, and the others' names; without it
            that type alone.

    Raises:
        TypeError: when that is not one text, or not its mentions.
        ValueError: when a mention is out of range, or two cross.
        OntologyError: when the ontology lacks one of the types.

    Example:
        >>> show("Ann left.", [{"start": 0, "end": 3, "entity_group": "per", "types": {"per": 0.9}}])
        [Ann: per 0.90] left.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is not None:
        from IPython.display import display  # who runs in a notebook has it

        display(
            {"text/html": to_html(text, mentions, ontology), "text/plain": to_text(text, mentions, ontology)}, raw=True
        )
    else:
        colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print(to_text(text, mentions, ontology, colours=colours))


def to_html(text: str, mentions: Sequence[Mapping[str, Any]], ontology: Ontology | None = None) -> str:
    """The text with its mentions marked, as a ``<div>`` that needs no style sheet and no script; all types are in the marks' ``title``.

    Args and errors are those of :func:`show`.
    """
    parts = []
    for kind, piece in _pieces(text, mentions, ontology):
        if isinstance(piece, str):
            parts.append(escape(piece))
        elif kind == "open":
            style = MARK.format(hue=piece.colour % 360)
            parts.append(f'<mark style="{style}" title="{escape(piece.details.translate(VISIBLE))}">')
        else:
            tag = f'<small style="{TAG}">{escape(piece.tag.translate(VISIBLE))}</small>' if piece.paths else ""
            parts.append(f"{tag}</mark>")
    return f'<div dir="auto" style="{BOX}">{"".join(parts)}</div>'


def to_text(
    text: str, mentions: Sequence[Mapping[str, Any]], ontology: Ontology | None = None, *, colours: bool = False
) -> str:
    """The text with its mentions in brackets: ``[Ann: person 0.90] left.``

    Args and errors are those of :func:`show`. ``colours`` puts a terminal's colour codes on the brackets.
    """
    parts = []
    for kind, piece in _pieces(text, mentions, ontology):
        if isinstance(piece, str):
            parts.append(piece)
            continue
        tag = f": {piece.tag.translate(VISIBLE)}" if piece.paths else ""
        mark = "[" if kind == "open" else f"{tag}]"
        parts.append(f"\x1b[{31 + piece.colour % 6}m{mark}\x1b[0m" if colours else mark)
    return "".join(parts)


def to_dataframe(
    texts: str | Iterable[Any],
    mentions: Iterable[Any] | None = None,
    *,
    ontology: Ontology | None = None,
    rows: str = "mentions",
) -> pd.DataFrame:
    """Mentions as a pandas table.

    Args:
        texts: a text, several texts, or records.
        mentions: those of the text, or a list of them for each text or record. None: those that the records have.
        ontology: of the types. It tells records' mentions which of their types is the most specific; the pipeline's say it.
        rows: ``mentions`` or ``types``.

    Returns:
        For ``mentions`` a row for each, with the columns ``record`` (its ``id``, or the text's number from 0), ``start``, ``end``
        (characters), ``word``, ``score`` (of the span; NaN where there is none), ``entity_group`` and ``label`` (the most specific type),
        ``type_score``, ``types`` ({id: score}). For ``types`` a row for each mention and type: ``record``, ``start``, ``end``, ``word``,
        ``score``, ``type``, ``label``, ``type_score``.

    Raises:
        TypeError, ValueError, OntologyError: as :func:`show`, and when there are not as many lists of mentions as texts.

    Example:
        >>> to_dataframe(texts, ner(texts)).groupby("label").size()
    """
    if rows not in ROWS:
        raise ValueError(f"rows must be one of {', '.join(ROWS)}, got {rows!r}")
    import pandas as pd  # half a second that only tables need

    table, of_mention = [], rows == "mentions"
    for record, text, of_text in _texts_with_mentions(texts, mentions):
        for mention in _read(text, of_text, ontology):
            place = [record, mention.start, mention.end, text[mention.start : mention.end], mention.score]
            for type_id in [mention.best] if of_mention else mention.types:
                row = [*place, type_id, mention.labels.get(type_id), mention.types.get(type_id)]
                table.append([*row, mention.types] if of_mention else row)
    kind = ["entity_group"] if of_mention else ["type"]
    columns = ["record", "start", "end", "word", "score", *kind, "label", "type_score", *(["types"] * of_mention)]
    frame = pd.DataFrame(table, columns=columns)
    return frame.astype({"start": "int64", "end": "int64", "score": "float64", "type_score": "float64"})


# -------------------------------------------------------------------- reading


def _pieces(text: str, mentions: Sequence[Mapping[str, Any]], ontology: Ontology | None) -> Iterator[tuple[str, Any]]:
    """The text in order, as ``("text", …)``, ``("open", mention)`` and ``("close", mention)``, control characters made visible."""
    found = _read(text, mentions, ontology)
    text, at, inside = text.translate(VISIBLE), 0, []
    for mention in [*sorted(found, key=lambda m: (m.start, -m.end)), None]:
        while inside and (mention is None or inside[-1].end <= mention.start):
            yield "text", text[at : inside[-1].end]
            at = inside[-1].end
            yield "close", inside.pop()
        if mention is not None:
            if inside and inside[-1].end < mention.end:
                first = inside[-1]
                raise ValueError(
                    f"the mentions [{first.start}, {first.end}) and [{mention.start}, {mention.end}) cross: only mentions that are apart "
                    "or nested can be shown"
                )
            yield "text", text[at : mention.start]
            at = mention.start
            yield "open", mention
            inside.append(mention)
    yield "text", text[at:]


def _read(text: str, mentions: Sequence[Mapping[str, Any]], ontology: Ontology | None) -> list[_Mention]:
    if not isinstance(text, str):
        raise TypeError(
            f"expected one text, got {type(text).__name__}; of several: for text, mentions in zip(texts, ner(texts)): …"
        )
    found = []
    for mention in mentions:
        if not isinstance(mention, Mapping) or not {"start", "end", "types"} <= mention.keys():
            example = "{'start': 0, 'end': 3, 'types': {'per': 0.9}}"
            raise TypeError(f"expected the mentions of the text, such as [{example}], got {mention!r:.80}")
        start, end = mention["start"], mention["end"]
        if not 0 <= start < end <= len(text):
            raise ValueError(
                f"mention [{start}, {end}) is out of range of a text of {len(text)} characters: is it another text's?"
            )
        types = _scored_types(mention)
        labels = {t: (mention.get("labels") or {}).get(t) or _label(t, ontology) for t in types}
        paths = _paths(types, mention.get("entity_group"), ontology)
        labels |= {t: _label(t, ontology) for path in paths for t in path if t not in labels}
        is_known = "entity_group" in mention or ontology is not None
        best = paths[0][-1] if paths and (is_known or len(types) == 1) else None
        found.append(_Mention(start, end, mention.get("score"), types, labels, best, paths))
    return found


def _scored_types(mention: Mapping[str, Any]) -> dict[str, float | None]:
    """The pipeline's ``types`` have their scores; a record's stand in ``type_scores``, if anywhere."""
    types = mention["types"]
    if isinstance(types, Mapping):
        return dict(types)
    return dict(zip(types, mention.get("type_scores") or [None] * len(types), strict=True))


def _label(type_id: str, ontology: Ontology | None) -> str:
    known = ontology is not None and type_id in ontology
    return (ontology.types[ontology.index(type_id)].label if known else "") or type_id


def _paths(types: Mapping[str, float | None], best: str | None, ontology: Ontology | None) -> list[list[str]]:
    """Paths to the most specific types. Without an ontology: the best one by itself, and where nobody tells it each type by itself."""
    if ontology is None:
        return [[t] for t in (types if best is None else [best])]
    ends = sorted(ontology.most_specific(types), key=lambda t: (t != best, -(types[t] or 0.0)))
    return [[ontology.ids[i] for i in _way_down(ontology, end, types)] for end in ends]


def _way_down(ontology: Ontology, type_id: str, types: Mapping[str, float | None]) -> list[int]:
    """From a root to the type; of several parents the one with the best score."""
    path = [ontology.index(type_id)]
    while parents := ontology.parents[path[-1]]:
        path.append(max(parents, key=lambda i: types.get(ontology.ids[i]) or 0.0))
    return path[::-1]


def _decimals(score: float | None) -> str:
    return "" if score is None else f" {score:.2f}"


def _texts_with_mentions(
    texts: str | Iterable[Any], mentions: Iterable[Any] | None
) -> Iterator[tuple[Any, str, Sequence[Mapping[str, Any]]]]:
    """(id or number, text, mentions) of each text or record."""
    if isinstance(texts, str) and mentions is not None:
        yield 0, texts, mentions
        return
    if mentions is None:
        texts = [texts] if isinstance(texts, str) else list(texts)
        if lacking := [t for t in texts if not isinstance(t, Mapping) or "mentions" not in t]:
            raise TypeError(
                f"expected texts and their mentions, to_dataframe(texts, ner(texts)), or records that have some; got {lacking[0]!r:.80}"
            )
        mentions = [record["mentions"] for record in texts]
    for number, (given, of_text) in enumerate(zip(texts, mentions, strict=True)):
        is_record = isinstance(given, Mapping)
        yield (given.get("id", number) if is_record else number), (given["text"] if is_record else given), of_text

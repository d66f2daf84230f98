"""Mentions in their text as HTML: each opens the tree of its types. All that comes from outside is escaped."""

from __future__ import annotations

import base64
import re
from collections import Counter
from functools import lru_cache
from html import escape
from typing import Any

from answers import as_csv, as_json, label_of, parent_of
from reading import Answer, Text

LEAST_COLOURS = 6  # where there are fewer roots, the types below them are told apart too
GOLDEN_ANGLE = 137.508  # degrees between the hues of neighbours


@lru_cache(maxsize=32)
def hues(ontology: Any) -> dict[int, float]:
    """The types that have a colour of their own, the roots and, where these are few, what is below them: index → hue in degrees."""
    depths = ontology.depths
    deepest = next((d for d in range(max(depths)) if sum(depth <= d for depth in depths) >= LEAST_COLOURS), max(depths))
    coloured = [i for i, depth in enumerate(depths) if depth <= deepest]
    return {i: round(place * GOLDEN_ANGLE % 360, 1) for place, i in enumerate(coloured)}


@lru_cache(maxsize=32)
def sizes(ontology: Any) -> Counter[int]:
    """How many types are below each type, by index."""
    return Counter(i for above in ontology.ancestors for i in above)


def colour_type(type_id: str, ontology: Any) -> int:
    """The type that lends a type its colour: of itself and its ancestors that have one, that with the fewest below it."""
    own = ontology.index(type_id)
    coloured = [i for i in (own, *ontology.ancestors[own]) if i in hues(ontology)]
    return min(coloured, key=lambda i: (sizes(ontology)[i], i))


def page(answer: Answer) -> str:
    """The whole result: legend, downloads, and each text with its mentions.

    Args:
        answer: of mentions as :func:`answers.cut` gives them.
    """
    n_mentions = sum(map(len, answer.mentions))
    count = f"{n_mentions:,} mention{'' if n_mentions == 1 else 's'}"
    hint = "Open one to see its types." if n_mentions else "Lower the thresholds to see weaker ones."
    rows = zip(answer.texts, answer.mentions, strict=True)
    texts = "".join(text_html(text, mentions, answer.ontology, n) for n, (text, mentions) in enumerate(rows))
    head = f'<p class="count"><b>{count}</b> {hint}</p>{downloads(answer) if n_mentions else ""}'
    return f'<div class="found"><div class="head">{head}</div>{legend(answer)}{texts}</div>'


def legend(answer: Answer) -> str:
    """The colours that occur, most frequent first."""
    groups = (m["entity_group"] for mentions in answer.mentions for m in mentions)
    counts = Counter(colour_type(group, answer.ontology) for group in groups)
    items = "".join(
        f'<li style="--hue:{hues(answer.ontology)[i]}"><i></i>{escape(label_of(answer.ontology, answer.ontology.ids[i]))} '
        f"<small>{n:,}</small></li>"
        for i, n in counts.most_common()
    )
    return f'<ul class="legend" aria-label="Colours">{items}</ul>' if items else ""


def downloads(answer: Answer) -> str:
    """Links that hold the files themselves, so that no one's text is written to the server's disk."""
    files = {"JSON": ("application/json", as_json(answer)), "CSV": ("text/csv", as_csv(answer))}
    return '<p class="downloads">' + "".join(_link(name, *file) for name, file in files.items()) + "</p>"


def _link(name: str, kind: str, content: str) -> str:
    data = base64.b64encode(content.encode("utf-8", "replace")).decode()
    return f'<a download="mentions.{name.lower()}" href="data:{kind};charset=utf-8;base64,{data}">Download {name}</a>'


def text_html(text: Text, mentions: list[dict[str, Any]], ontology: Any, number: int) -> str:
    """A text with its mentions, and its name above it where it has one.

    Args:
        mentions: in order, without overlaps.
        number: of the text on the page.
    """
    parts, at = [], 0
    for place, mention in enumerate(mentions):
        parts += [escape(text.text[at : mention["start"]]), mention_html(mention, ontology, f"m{number}-{place}")]
        at = mention["end"]
    name = f"<h3>{escape(text.id)}</h3>" if text.id else ""
    return f'{name}<div class="text">{"".join(parts)}{escape(text.text[at:])}</div>'


def mention_html(mention: dict[str, Any], ontology: Any, card_id: str) -> str:
    """A mention as a button, and behind it, hidden, the card of its types."""
    hue = hues(ontology)[colour_type(mention["entity_group"], ontology)]
    button = (
        f'<span class="mention" role="button" tabindex="0" aria-expanded="false" aria-controls="{card_id}" style="--hue:{hue}">'
        f"{escape(mention['word'])}<small> {escape(mention['label'])}</small></span>"
    )
    place = f"span {mention['score']:.2f} · characters {mention['start']}–{mention['end']}"
    head = f'<div class="card-head"><b>{escape(mention["word"])}</b><small>{place}</small></div>'
    card = f'<div class="card" id="{card_id}" style="--hue:{hue}" hidden>{head}{tree(mention, ontology)}</div>'
    return button + card


def tree(mention: dict[str, Any], ontology: Any) -> str:
    """The types of a mention from the roots down, as nested lists with a bar for each score."""
    below: dict[str | None, list[str]] = {}
    for type_id in mention["types"]:  # best first
        below.setdefault(parent_of(type_id, mention, ontology), []).append(type_id)

    def branch(parent: str | None) -> str:
        items = "".join(f"<li>{type_row(t, mention, ontology)}{branch(t)}</li>" for t in below.get(parent, []))
        return f"<ul>{items}</ul>" if items else ""

    return f'<div class="tree">{branch(None)}</div>'


def breakable(type_id: str) -> str:
    """An id, escaped, that may go on in the next line after a full stop, slash, hyphen or underscore."""
    return re.sub(r"([./_-])", r"\1<wbr/>", escape(type_id))


def type_row(type_id: str, mention: dict[str, Any], ontology: Any) -> str:
    """One type: its label, its id where that says more, further parents, and its score as a bar and a number."""
    index, score, label = ontology.index(type_id), mention["types"][type_id], label_of(ontology, type_id)
    shown = parent_of(type_id, mention, ontology)
    others = [label_of(ontology, ontology.ids[p]) for p in ontology.parents[index] if ontology.ids[p] != shown]
    code = f" <code>{breakable(type_id)}</code>" if type_id != label else ""
    also = f" <small>also below {escape(', '.join(others))}</small>" if others and shown else ""
    finest = " finest" if type_id == mention["entity_group"] else ""
    bar = f'<span class="bar" aria-hidden="true"><i style="width:{100 * score:.0f}%"></i></span>'
    name = f'<span class="name">{escape(label)}{code}{also}</span>'
    return f'<div class="type{finest}">{name}{bar}<span class="score">{score:.2f}</span></div>'

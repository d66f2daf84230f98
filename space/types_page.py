"""The ontology browser as HTML: matches of a search, or the roots; what is below a type is asked for when it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from answers import n_levels
from highlight import breakable

MOST_SHOWN = 60  # types in one list


def search(query: str, ontology: Any) -> list[int]:
    """The types whose label, id or description holds the query, whatever the case: as indices, whole labels first, then by depth."""
    wanted = " ".join(query.casefold().split())
    ranked = []
    for i, t in enumerate(ontology.types):
        label, type_id = t.label.casefold(), t.id.casefold()
        if wanted in (label, type_id):
            rank = 0
        elif label.startswith(wanted):
            rank = 1
        elif wanted in label or wanted in type_id:
            rank = 2
        elif wanted in t.description.casefold():
            rank = 3
        else:
            continue
        ranked.append((rank, ontology.depths[i], label, i))
    return [i for *_, i in sorted(ranked)]


def browser(query: str, ontology: Any) -> str:
    """What is shown for a query: the matches, or the roots where there is none."""
    if not query.strip():
        roots, levels = ontology.roots, n_levels(ontology)
        top = "no hierarchy" if levels == 1 else f"{levels} levels, {len(roots):,} at the top"
        return f'<p class="count"><b>{len(ontology):,} types</b>, {top}</p>{type_list(roots, ontology)}'
    found = search(query, ontology)
    if not found:
        return f'<p class="count">No type has <b>{escape(query)}</b> in its name, id or description.</p>'
    count = f'<p class="count"><b>{len(found):,} type{"" if len(found) == 1 else "s"}</b></p>'
    return count + type_list(found, ontology, with_path=True)


def type_list(indices: Sequence[int], ontology: Any, *, with_path: bool = False) -> str:
    """The first of some types, and how many there are beside them."""
    items = "".join(f"<li>{type_item(i, ontology, with_path=with_path)}</li>" for i in indices[:MOST_SHOWN])
    rest = len(indices) - MOST_SHOWN
    more = f'<li class="more">and {rest:,} more: search to narrow them down</li>' if rest > 0 else ""
    return f'<ul class="types">{items}{more}</ul>'


def type_item(index: int, ontology: Any, *, with_path: bool = False) -> str:
    """A type that opens. What is in it comes from :func:`inside`, by the page's script."""
    t, n_below = ontology.types[index], len(ontology.children[index])
    code = f" <code>{breakable(t.id)}</code>" if t.label and t.label != t.id else ""
    count = f" <small>{n_below:,} below</small>" if n_below else ""
    above = path(index, ontology)[:-1] if with_path else []
    trail = f'<span class="trail">{escape(" › ".join(above))}</span>' if above else ""
    summary = f"<summary><b>{escape(t.label or t.id)}</b>{code}{count}{trail}</summary>"
    return f'<details data-type="{index}">{summary}<div class="inside"></div></details>'


def path(index: int, ontology: Any) -> list[str]:
    """The labels from a root down to a type, by the deepest parent of each."""
    types = [index]
    while parents := ontology.parents[types[0]]:
        types.insert(0, max(parents, key=lambda p: (ontology.depths[p], -p)))
    return [ontology.types[i].label or ontology.ids[i] for i in types]


def inside(index: int, ontology: Any) -> str:
    """What an opened type holds: its description, where it is in the hierarchy, and the types below it."""
    t = ontology.types[index]
    facts = [t.description] if t.description else []
    if not t.assignable:
        facts.append("No mention has this as its most specific type.")
    parents = [ontology.types[p].label or ontology.ids[p] for p in ontology.parents[index]]
    if len(parents) > 1:
        facts.append(f"Below {', '.join(parents[:-1])} and {parents[-1]}.")
    if not ontology.children[index]:
        facts.append("Nothing is below it.")
    told = "".join(f"<p>{escape(fact)}</p>" for fact in facts)
    below = sorted(ontology.children[index], key=lambda i: ontology.types[i].label or ontology.ids[i])
    return told + (type_list(below, ontology) if below else "")

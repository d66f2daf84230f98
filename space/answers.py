"""What is shown of an answer: mentions down to a level, and the files to download."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from reading import Answer

CSV_COLUMNS = ("id", "start", "end", "word", "score", "type", "label", "type_score", "path")


def n_levels(ontology: Any) -> int:
    """How many levels a type system has; roots are the first."""
    return max(ontology.depths) + 1


def label_of(ontology: Any, type_id: str) -> str:
    """What a type is called."""
    return ontology.types[ontology.index(type_id)].label or type_id


def cut(mention: dict[str, Any], ontology: Any, level: int) -> dict[str, Any]:
    """A mention with its types of the first levels alone, at least the roots; ``entity_group`` is the most specific of these."""
    depth = {type_id: ontology.depths[ontology.index(type_id)] for type_id in mention["types"]}
    types = {type_id: score for type_id, score in mention["types"].items() if depth[type_id] < max(level, 1)}
    finest = max(ontology.most_specific(types), key=lambda type_id: (types[type_id], depth[type_id]))
    labels = {type_id: label_of(ontology, type_id) for type_id in types}
    return mention | {"entity_group": finest, "label": labels[finest], "types": types, "labels": labels}


def cut_answer(answer: Answer, level: int) -> Answer:
    """:func:`cut` of every mention."""
    mentions = [[cut(mention, answer.ontology, level) for mention in of_text] for of_text in answer.mentions]
    return Answer(answer.ontology, answer.texts, mentions)


def as_json(answer: Answer) -> str:
    """A list of texts: ``id``, ``text`` and the ``mentions`` as the pipeline writes them."""
    rows = zip(answer.texts, answer.mentions, strict=True)
    texts = [{"id": text.id, "text": text.text, "mentions": mentions} for text, mentions in rows]
    return json.dumps(texts, ensure_ascii=False, indent=1)


def as_csv(answer: Answer) -> str:
    """A row a mention: its place, its most specific type, and the labels from the root down to that."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for text, mentions in zip(answer.texts, answer.mentions, strict=True):
        for m in mentions:
            group = m["entity_group"]
            path = " > ".join(label_of(answer.ontology, type_id) for type_id in path_to(group, m, answer.ontology))
            place = text.id, m["start"], m["end"], m["word"], f"{m['score']:.4f}"
            writer.writerow([*place, group, m["label"], f"{m['types'][group]:.4f}", path])
    return table.getvalue()


def parent_of(type_id: str, mention: dict[str, Any], ontology: Any) -> str | None:
    """The parent below which a type of a mention is shown: of those that the mention has, the deepest; None of a root."""
    parents = [p for p in ontology.parents[ontology.index(type_id)] if ontology.ids[p] in mention["types"]]
    return ontology.ids[max(parents, key=lambda p: (ontology.depths[p], -p))] if parents else None


def path_to(type_id: str, mention: dict[str, Any], ontology: Any) -> list[str]:
    """The types from a root down to one."""
    path = [type_id]
    while (parent := parent_of(path[0], mention, ontology)) is not None:
        path.insert(0, parent)
    return path

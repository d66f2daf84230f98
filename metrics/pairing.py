"""Gold records beside their predictions, in the form that everything here counts on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from finener.ontology_finener import Ontology

Span = tuple[int, int]
"""Half-open, in code points of the record's text."""


class PairingError(ValueError):
    """Gold and predictions do not belong together; the message names the record."""


@dataclass(frozen=True)
class Pair:
    """A gold record and its prediction. Types are indices of one ontology, as the records list them: not closed.

    Args:
        gold: span → types; empty lists in a record that is not typed.
        predicted: span → types.
        type_scores: predicted span → type → score in [0, 1]; a span whose record tells no scores is missing.
        mention_scores: predicted span → score in [0, 1], where the record tells it.
        exhaustive: gold marks every mention: detection may be judged.
        typed: gold has types of the ontology: typing may be judged.
    """

    id: str
    doc_id: str
    text: str
    gold: Mapping[Span, list[int]]
    predicted: Mapping[Span, list[int]]
    type_scores: Mapping[Span, Mapping[int, float]]
    mention_scores: Mapping[Span, float]
    exhaustive: bool
    typed: bool

    @property
    def is_judged_end_to_end(self) -> bool:
        """Whether spans and types may be judged together."""
        return self.exhaustive and self.typed

    def restricted(self, keep: Callable[[Pair, Span], bool]) -> Pair:
        """The pair with only those gold and predicted mentions that ``keep`` accepts."""
        kept = {
            name: {span: value for span, value in getattr(self, name).items() if keep(self, span)}
            for name in ("gold", "predicted", "type_scores", "mention_scores")
        }
        return replace(self, **kept)

    def at_gold_mentions(self) -> Pair:
        """The pair with only the gold mentions that have types, and what is predicted at their spans: typing alone."""
        return self.restricted(lambda pair, span: bool(pair.gold.get(span)))


def pair_records(
    gold: Iterable[Mapping[str, Any]], predicted: Iterable[Mapping[str, Any]], ontology: Ontology
) -> list[Pair]:
    """Pairs records by id, in the order of gold. A prediction without a gold record is not judged: see :func:`count_unpaired`.

    Args:
        gold: records; those that are typed must be typed with ``ontology``.
        predicted: records with the same ids and texts, in any order.
        ontology: of the gold and predicted types.

    Raises:
        PairingError: when there is no gold, an id comes twice or has no partner, texts of one id differ, or a record is typed with another
            ontology.
        OntologyError: on an unknown type.
    """
    by_id: dict[str, Mapping[str, Any]] = {}
    for record in predicted:
        if record["id"] in by_id:
            raise PairingError(f"two predictions have the id {record['id']!r}; expected one for each record")
        by_id[record["id"]] = record
    pairs, seen = [], set()
    for record in gold:
        if record["id"] in seen:
            raise PairingError(f"two gold records have the id {record['id']!r}; ids must be unique")
        seen.add(record["id"])
        partner = by_id.get(record["id"])
        if partner is None or partner["text"] != record["text"]:
            what = "no prediction has this id" if partner is None else "its prediction has another text"
            raise PairingError(f"gold record {record['id']!r}: {what}; predict on the very records that are scored")
        pairs.append(_pair(record, partner, ontology))
    if not pairs:
        raise PairingError("there are no gold records to score against")
    return pairs


def count_unpaired(pairs: Iterable[Pair], predicted: Iterable[Mapping[str, Any]]) -> int:
    """How many predictions have no gold record, and so are not judged."""
    ids = {pair.id for pair in pairs}
    return sum(record["id"] not in ids for record in predicted)


def _pair(gold: Mapping[str, Any], predicted: Mapping[str, Any], ontology: Ontology) -> Pair:
    for record, what in ((gold, "gold record"), (predicted, "prediction")):
        if record["typed"] and record["ontology"] != ontology.name:
            raise PairingError(
                f"{what} {record['id']!r} has types of the ontology {record['ontology']!r}, expected {ontology.name!r}: "
                "name the ontology of both files"
            )
    typed = {(m["start"], m["end"]): [ontology.index(t) for t in m["types"]] for m in predicted["mentions"]}
    type_scores, mention_scores = {}, {}
    for mention in predicted["mentions"]:
        span = mention["start"], mention["end"]
        if mention.get("type_scores") is not None:
            type_scores[span] = dict(zip(typed[span], mention["type_scores"], strict=True))
        if mention.get("score") is not None:
            mention_scores[span] = mention["score"]
    return Pair(
        id=gold["id"],
        doc_id=gold.get("doc_id") or gold["id"],
        text=gold["text"],
        gold={(m["start"], m["end"]): [ontology.index(t) for t in m["types"]] for m in gold["mentions"]},
        predicted=typed,
        type_scores=type_scores,
        mention_scores=mention_scores,
        exhaustive=gold["exhaustive"],
        typed=gold["typed"],
    )

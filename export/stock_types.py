"""What a stock model tells of the full model's types: some of them, one for each mention, as BIO tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from finener.ontology_finener import Ontology

MOST_TYPES = 64  # a softmax over more tags asks for more data than one distils from, and no widget shows them apart


@dataclass(frozen=True)
class StockTypes:
    """The types of a stock model.

    Args:
        ontology: all types of the full model.
        ids: those that are told, in the order of the ontology.
    """

    ontology: Ontology
    ids: tuple[str, ...]

    @classmethod
    def at_level(cls, ontology: Ontology, level: int = 1) -> StockTypes:
        """The types of one level, 1 for the roots, and those above it that have none below them: they end there.

        Raises:
            ValueError: when there is no such level, or it has more than ``MOST_TYPES``.
        """
        levels = max(ontology.depths) + 1
        if not 1 <= level <= levels:
            raise ValueError(
                f"--level must be between 1, the roots, and {levels}, how many levels {ontology.name!r} has; got {level}"
            )
        depths, children = ontology.depths, ontology.children
        chosen = [i for i, depth in enumerate(depths) if depth == level - 1 or (depth < level - 1 and not children[i])]
        return cls(ontology, tuple(ontology.ids[i] for i in chosen))._checked(f"level {level} of {ontology.name!r}")

    @classmethod
    def of_ids(cls, ontology: Ontology, ids: Sequence[str]) -> StockTypes:
        """Some types, at any level.

        Raises:
            OntologyError: on one that is not there. ValueError: on none, or more than ``MOST_TYPES``.
        """
        chosen = sorted({ontology.index(type_id) for type_id in ids})
        return cls(ontology, tuple(ontology.ids[i] for i in chosen))._checked("--types")

    def _checked(self, where: str) -> StockTypes:
        n_roots, example = len(self.ontology.roots), " ".join(self.ontology.ids[i] for i in self.ontology.roots[:3])
        if not 1 <= len(self.ids) <= MOST_TYPES:
            raise ValueError(
                f"{where} has {len(self.ids)} types, {2 * len(self.ids) + 1} tags; a stock model has between 1 and {MOST_TYPES}: give "
                f"--level 1 ({n_roots} types), or the ids of those that matter, such as --types {example}"
            )
        return self

    @cached_property
    def names(self) -> dict[str, str]:
        """What the tags call each type: its label where every type has one of its own, else its id."""
        labels = [self.ontology.types[self.ontology.index(type_id)].label for type_id in self.ids]
        are_apart = all(labels) and len(set(labels)) == len(labels)
        return dict(zip(self.ids, labels if are_apart else self.ids, strict=True))

    @cached_property
    def tags(self) -> list[str]:
        """``O``, then ``B-`` and ``I-`` of each type's name."""
        return ["O", *(f"{part}-{name}" for name in self.names.values() for part in "BI")]

    @cached_property
    def tag_of(self) -> dict[str, int]:
        """Index of each type's ``B-`` tag; its ``I-`` tag is the next."""
        return {type_id: 1 + 2 * i for i, type_id in enumerate(self.ids)}

    def told(self, types: Sequence[str]) -> list[str]:
        """Of a mention's types and their ancestors those that are told, in the order of the ontology."""
        return [type_id for type_id in self.ontology.closure(types) if type_id in self.tag_of]

    def best(self, types: Sequence[str], scores: Mapping[str, float]) -> str | None:
        """The one type that a mention is told to have: the best scored of the most specific ones; None where none is told.

        Args:
            types: of the mention.
            scores: type → score; a type without counts least.
        """
        leaves = self.ontology.most_specific(self.told(types))
        return max(leaves, key=lambda type_id: scores.get(type_id, 0.0), default=None)

    def single(self, record: Mapping[str, Any], scored: Mapping[str, Any]) -> dict[str, Any]:
        """A record whose mentions have one told type each; those that have none are left out.

        Args:
            record: what is to be told. scored: the same text and spans as the full model types them, with ``type_scores``.
        """
        mentions = []
        for mention, other in zip(record["mentions"], scored["mentions"], strict=True):
            best = self.best(mention["types"], dict(zip(other["types"], other["type_scores"], strict=True)))
            mentions += [{**_span(mention), "types": [best]}] if best is not None else []
        return {**record, "mentions": mentions}

    def restricted(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A record with the told types alone, and the mentions that have one: what both models are judged by."""
        mentions = [{**_span(m), "types": self.told(m["types"])} for m in record["mentions"]]
        return {**record, "mentions": [mention for mention in mentions if mention["types"]]}


def _span(mention: Mapping[str, Any]) -> dict[str, int]:
    return {"start": mention["start"], "end": mention["end"]}

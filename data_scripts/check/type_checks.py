"""The part of ``check`` that knows the type system: what is odd about a mention's types, and how far the ontology is covered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from finener.data_scripts.check.findings import Findings, place_of
from finener.data_scripts.schema import Record
from finener.ontology_finener import Ontology, OntologyError


@dataclass(frozen=True)
class TypeFacts:
    """What the ontology says of a mention's types: their closure, as indices; their roots; (kind, note) of what is odd."""

    closed: tuple[int, ...]
    roots: frozenset[str]
    odd: tuple[tuple[str, str], ...]


def facts_of(types: Iterable[str], ontology: Ontology | None) -> TypeFacts:
    """What ``ontology`` says of a mention's types; without one, each type is a root and nothing is odd."""
    if ontology is None:
        return TypeFacts((), frozenset(types), ())
    odd, known = [], []
    for type_id in types:
        try:
            known.append(ontology.index(type_id))
        except OntologyError as error:
            odd.append(("unknown_type", str(error)))
    own = ontology.most_specific_indices(known)
    if unassignable := [ontology.ids[i] for i in own if not ontology.assignable[i]]:
        odd.append(("not_assignable", ", ".join(unassignable)))
    if own and all(not ontology.parents[i] and ontology.children[i] for i in own):
        odd.append(("only_root", ", ".join(ontology.ids[i] for i in own)))
    if above := sorted(set(known) - set(own)):
        odd.append(("redundant_type", ", ".join(ontology.ids[i] for i in above)))
    closed = ontology.closure_indices(known)
    roots = frozenset(ontology.ids[i] for i in closed if not ontology.parents[i])
    return TypeFacts(tuple(closed), roots, tuple(odd))


class TypeCheck:
    """Checks the types of typed records.

    Args:
        splits: names of the splits; types are learned from "train" where there is one, else from all.
        ontology: of the types; without one they are not checked.
        findings: where to write what is found.
        rare: a type with fewer mentions to learn from than this, but some, is rare.
    """

    def __init__(self, splits: Iterable[str], ontology: Ontology | None, findings: Findings, rare: int):
        self.ontology = ontology
        self.findings = findings
        self.rare = rare
        self._counts: dict[str, Counter[tuple[str, ...]]] = {split: Counter() for split in splits}
        self._facts: dict[tuple[str, ...], TypeFacts] = {}
        self._document = ""
        self._roots: dict[str, tuple[frozenset[str], str]] = {}  # surfaces of the document → roots and types at first

    def read(self, split: str, record: Record) -> None:
        """Checks the mentions of a typed record. A document's records are expected to come one after another."""
        if record["doc_id"] != self._document:
            self._document, self._roots = record["doc_id"], {}
        if self.ontology is None:
            self.findings.add("no_ontology", split=split, record=record["id"], note=record["ontology"])
        elif record["ontology"] != self.ontology.name:
            self.findings.add("other_ontology", split=split, record=record["id"], note=record["ontology"])
            return
        for mention in record["mentions"]:
            place = place_of(split, record, mention)
            types = tuple(mention["types"])
            if not types:
                self.findings.add("untyped_mention", **place)
                continue
            self._counts[split][types] += 1
            if types not in self._facts:
                self._facts[types] = facts_of(types, self.ontology)
            facts = self._facts[types]
            for kind, note in facts.odd:
                self.findings.add(kind, **place, note=note)
            roots, earlier = self._roots.setdefault(place["text"], (facts.roots, ", ".join(types)))
            if roots and facts.roots and not roots & facts.roots:
                self.findings.add("conflicting_types", **place, note=f"{', '.join(types)}; earlier {earlier}")

    def report(self) -> dict[str, Any] | None:
        """Types by level, and those that are rare, not trained or not seen; None when no type was checked."""
        ontology = self.ontology
        if ontology is None or not self._facts:
            return None
        mentions: dict[str, Counter[int]] = {split: Counter() for split in self._counts}
        on_level: dict[str, Counter[int]] = {split: Counter() for split in self._counts}
        for split, counts in self._counts.items():
            for types, n in counts.items():
                closed = self._facts[types].closed
                mentions[split].update(dict.fromkeys(closed, n))
                on_level[split].update(dict.fromkeys({ontology.depths[i] for i in closed}, n))
        everywhere = sum(mentions.values(), Counter())
        trained = mentions.get("train", everywhere)
        rare = sorted((i for i, n in trained.items() if n < self.rare), key=lambda i: (trained[i], i))
        untrained = sorted(set(everywhere) - set(trained), key=lambda i: (-everywhere[i], i))
        unseen = [i for i in range(len(ontology)) if i not in everywhere]
        for kind, indices, shown in (("rare_type", rare, trained), ("untrained_type", untrained, everywhere)):
            for i in indices:
                self.findings.add(kind, type=ontology.ids[i], note=f"{shown[i]:,}")
        self._add_unseen(unseen)
        return {
            "levels": [
                {
                    "level": depth + 1,
                    "types": ontology.depths.count(depth),
                    "seen": sum(ontology.depths[i] == depth for i in everywhere),
                    "rare": sum(ontology.depths[i] == depth for i in rare),
                    "mentions": {split: counts[depth] for split, counts in on_level.items()},
                }
                for depth in range(max(ontology.depths) + 1)
            ],
            "mentions": {
                ontology.ids[i]: {split: counts[i] for split, counts in mentions.items()} for i in sorted(everywhere)
            },
            "rare": [ontology.ids[i] for i in rare],
            "untrained": [ontology.ids[i] for i in untrained],
            "unseen": [ontology.ids[i] for i in unseen],
        }

    def _add_unseen(self, unseen: list[int]) -> None:
        """A branch that is not seen at all is shown by its top."""
        ontology = self.ontology
        self.findings.add("unseen_type", len(unseen))
        missing = set(unseen)
        below = Counter(above for i in unseen for above in ontology.ancestors[i])
        tops = [i for i in unseen if not missing.intersection(ontology.parents[i])]
        for i in sorted(tops, key=lambda i: (-below[i], i)):
            self.findings.add("unseen_type", 0, type=ontology.ids[i], note=f"+ {below[i]:,} below" if below[i] else "")

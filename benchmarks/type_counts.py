"""Type systems of any size, made of one that there is."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from finener.ontology_finener import EntityType, Ontology


def widen(ontology: Ontology, size: int) -> Ontology:
    """The ontology with children below its leaves, in turn, until it has ``size`` types.

    Raises:
        ValueError: when it has more already.
    """
    types = list(ontology.types)
    if size < len(types):
        raise ValueError(f"--types: {ontology.name} has {len(types)} types; expected so many or more, got {size}")
    parents = {parent for t in types for parent in t.parents}
    leaves = itertools.cycle([t.id for t in types if t.id not in parents])
    more = (EntityType(f"added_{i}", f"added {i}", (next(leaves),)) for i in range(size - len(types)))
    return Ontology(ontology.name, [*types, *more], ontology.source)


def narrow(ontology: Ontology, size: int, wanted: Iterable[str]) -> Ontology:
    """The ontology with ``size`` types: the first of ``wanted`` that there is room for with their ancestors.

    Args:
        size: at most as many as there are types. wanted: ids, all of them, the best first.
    """
    kept: set[str] = set()
    for own in wanted:
        closure = ontology.closure([own])
        if len(kept.union(closure)) <= size:
            kept.update(closure)
    return ontology.subset(t for t in ontology.ids if t in kept)

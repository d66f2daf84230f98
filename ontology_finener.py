"""The type system: a directed acyclic graph of types, in the form every other part reads it.

Letters in shape comments: C or K types, E (child, parent) edges.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .json_finener import collector_at_rest, is_text, read_json

if TYPE_CHECKING:  # an exported model reads its types without torch
    from torch import Tensor

ONTOLOGY_NAME = "ontology.json"

MOST_LEVELS = 1_000  # a type's ancestors are kept for each type
TSV_COLUMNS = ("id", "label", "parents", "assignable", "description")
TYPE_KEYS = frozenset(TSV_COLUMNS)  # of a type in JSON


class OntologyError(ValueError):
    """A type system, or a reference to one of its types, is not valid."""


@dataclass(frozen=True)
class EntityType:
    """One type.

    Args:
        id: the name used in records and scores, unique in its ontology.
        label: a few words for people and for the encoder ("head of government").
        parents: ids of the direct parents; empty for a root.
        assignable: False for a parent that was created only to fill a gap in the hierarchy: no mention is
            ever given it as its own type, so training puts no mass on it.
        description: a sentence for people, or empty.
    """

    id: str
    label: str = ""
    parents: tuple[str, ...] = ()
    assignable: bool = True
    description: str = ""

    def to_dict(self) -> dict:
        """The JSON form; what has its default value is left out."""
        entry: dict = {"id": self.id, "label": self.label, "parents": list(self.parents)}
        if not self.assignable:
            entry["assignable"] = False
        if self.description:
            entry["description"] = self.description
        return entry


class Ontology:
    """An immutable DAG of types. A type may have several parents.

    Args:
        name: short name that records refer to ("yago", "aida", "mine").
        types: the types, in the order that gives them their indices 0 … C-1.
        source: where the facts come from, for people.

    Raises:
        OntologyError: on an empty list, a doubled id, a parent that is not in the list, a cycle, or more than MOST_LEVELS levels.

    Example:
        >>> from finener.ontology_finener import EntityType, Ontology
        >>> onto = Ontology("mine", [EntityType("org"), EntityType("org.team", parents=("org",))])
        >>> onto.closure(["org.team"])
        ['org', 'org.team']
    """

    def __init__(self, name: str, types: Iterable[EntityType], source: str = ""):
        self.name = name
        self.source = source
        self.types: tuple[EntityType, ...] = tuple(types)
        if not self.types:
            raise OntologyError(f"ontology {name!r} has no types")
        self.ids: tuple[str, ...] = tuple(t.id for t in self.types)
        self._index = {type_id: i for i, type_id in enumerate(self.ids)}
        if len(self._index) < len(self.ids):
            doubled = sorted(i for i, n in Counter(self.ids).items() if n > 1)[:5]
            raise OntologyError(f"ontology {name!r} lists these types more than once: {doubled}")
        self.parents: tuple[tuple[int, ...], ...] = tuple(map(self._parent_indices, self.types))
        self.depths: tuple[int, ...] = self._longest_paths()

    def _parent_indices(self, entity_type: EntityType) -> tuple[int, ...]:
        try:
            parents = tuple(map(self._index.__getitem__, entity_type.parents))
        except KeyError as error:
            parent = error.args[0]
            raise OntologyError(
                f"type {entity_type.id!r} of ontology {self.name!r} has the parent {parent!r}, which is not in the "
                f'list: add it, e.g. {{"id": "{parent}", "label": "{parent}", "parents": []}}'
                + ("; in a table, parents are joined by |" if set(parent) & set(",;/ ") else "")
            ) from None
        return parents if len(parents) < 2 else tuple(dict.fromkeys(parents))

    def _longest_paths(self) -> tuple[int, ...]:
        """Depth of each type: edges on the longest path from a root, so that a parent is always less deep."""
        waiting = [len(parents) for parents in self.parents]
        depths = [0] * len(self.ids)
        ready = [i for i, n in enumerate(waiting) if n == 0]
        for node in ready:  # grows while we walk it
            for child in self.children[node]:
                depths[child] = max(depths[child], depths[node] + 1)
                waiting[child] -= 1
                if waiting[child] == 0:
                    ready.append(child)
        if len(ready) < len(self.ids):
            stuck = [self.ids[i] for i, n in enumerate(waiting) if n > 0][:5]
            raise OntologyError(
                f"ontology {self.name!r} has a cycle among (or above) {stuck}: a type can't be its own ancestor"
            )
        if max(depths) >= MOST_LEVELS:
            raise OntologyError(
                f"ontology {self.name!r} has {max(depths) + 1:,} levels, down to {self.ids[depths.index(max(depths))]!r:.80}; expected at "
                f"most {MOST_LEVELS:,}"
            )
        return tuple(depths)

    # ---------------------------------------------------------------- look-ups

    def __len__(self) -> int:
        return len(self.types)

    def __contains__(self, type_id: object) -> bool:
        return type_id in self._index

    def __deepcopy__(self, memo: dict) -> Ontology:
        """Itself: it is immutable, and configs are deep-copied often."""
        return self

    def __repr__(self) -> str:
        return f"Ontology({self.name!r}, {len(self)} types, {max(self.depths) + 1} levels)"

    def index(self, type_id: str) -> int:
        """Index of a type, 0 … C-1. Raises OntologyError, with similar names, when there is none such."""
        try:
            return self._index[type_id]
        except KeyError:
            import difflib

            close = difflib.get_close_matches(str(type_id), self.ids, 3, 0.5)
            hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
            raise OntologyError(
                f"{type_id!r} is not a type of ontology {self.name!r} ({len(self)} types){hint}"
            ) from None

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Direct children of each type, as indices."""
        children: list[list[int]] = [[] for _ in self.ids]
        for child, parents in enumerate(self.parents):
            for parent in parents:
                children[parent].append(child)
        return tuple(map(tuple, children))

    @cached_property
    def ancestors(self) -> tuple[frozenset[int], ...]:
        """All ancestors of each type, without the type itself, as indices."""
        found: list[frozenset[int]] = [frozenset()] * len(self)
        for node in sorted(range(len(self)), key=self.depths.__getitem__):
            parents = self.parents[node]
            found[node] = frozenset(parents).union(*map(found.__getitem__, parents))
        return tuple(found)

    @cached_property
    def roots(self) -> tuple[int, ...]:
        """Types without parents, as indices."""
        return tuple(i for i, parents in enumerate(self.parents) if not parents)

    @cached_property
    def assignable(self) -> tuple[bool, ...]:
        """For each type, whether a mention may have it as its own type."""
        return tuple(t.assignable for t in self.types)

    @cached_property
    def edges(self) -> list[tuple[int, int]]:
        """The E (child, parent) pairs, parents' levels first: walking them in order settles a parent before its children."""
        pairs = [(c, p) for c, parents in enumerate(self.parents) for p in parents]
        return sorted(pairs, key=lambda pair: (self.depths[pair[0]], pair))

    @cached_property
    def subtree_runs(self) -> tuple[list[int], list[list[tuple[int, int]]]]:
        """An order of the types in which those below a type stand together, and each type's runs [start, stop) of it.

        A type has one run; more only where one below it has a further parent.
        """
        order, stack = [], list(self.roots)
        while stack:
            order.append(stack.pop())
            stack += [child for child in self.children[order[-1]] if self.parents[child][0] == order[-1]]
        places = {i: place for place, i in enumerate(order)}
        runs = [[(places[i], places[i] + 1)] for i in range(len(self))]
        for i in sorted(order, key=self.depths.__getitem__, reverse=True):
            below = sorted(run for j in (i, *self.children[i]) for run in runs[j])
            runs[i] = below[:1]
            for start, stop in below[1:]:
                first, last = runs[i][-1]
                if start <= last:
                    runs[i][-1] = (first, max(last, stop))
                else:
                    runs[i].append((start, stop))
        return order, runs

    def closure_indices(self, indices: Iterable[int]) -> list[int]:
        """The given types and all their ancestors, as sorted indices."""
        return sorted(self._closed(indices))

    def _closed(self, indices: Iterable[int]) -> set[int]:
        """Walks up from the given types alone: a list of all types' ancestors takes long where there are many types."""
        closed, waiting = set(), list(indices)
        while waiting:
            index = waiting.pop()
            if index not in closed:
                closed.add(index)
                waiting += self.parents[index]
        return closed

    def closure(self, type_ids: Iterable[str]) -> list[str]:
        """The given types and all their ancestors, in index order. Raises OntologyError on an unknown type."""
        return [self.ids[i] for i in self.closure_indices(map(self.index, type_ids))]

    def most_specific_indices(self, indices: Iterable[int]) -> list[int]:
        """Of the given types, those that are no ancestor of another given one, as sorted indices."""
        given = set(indices)
        return sorted(given - self._closed(parent for i in given for parent in self.parents[i]))

    def most_specific(self, type_ids: Iterable[str]) -> list[str]:
        """Of the given types, those that are no ancestor of another given one, in index order."""
        return [self.ids[i] for i in self.most_specific_indices(map(self.index, type_ids))]

    def steps_up(self, index: int) -> dict[int, int]:
        """The type itself and its ancestors, each with the number of edges of the shortest way up to it."""
        steps, frontier, distance = {index: 0}, [index], 0
        while frontier:
            distance += 1
            frontier = [p for p in {p for j in frontier for p in self.parents[j]} if p not in steps]
            steps.update(dict.fromkeys(frontier, distance))
        return steps

    def name_path(self, type_id: str) -> str:
        """The type's label and its parents' labels, the text from which a type's start vector is embedded."""
        i = self.index(type_id)
        labels = [self.types[j].label or self.ids[j] for j in (i, *self.parents[i])]
        return ", ".join(dict.fromkeys(labels))

    # ---------------------------------------------------------------- hierarchy-aware targets

    def soft_label_rows(self, decay: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
        """W of the soft loss, without its zeros: the credit for predicting one type when another is gold.

        One for the gold type itself, ``decay ** n`` for an ancestor ``n`` edges up (the shortest way). A type that is not
        assignable earns none: see :class:`EntityType`. A gold type whose whole credit would fall on such types keeps its
        own, so that every row can be normalised.

        Source: the slides of Hagiwara et al. 2019 give the shape (largest on the diagonal, less for the parent, less again
        for the grandparent, zero elsewhere) and leave the numbers open; ``decay = 0.5`` is the default of the TAC scorer.

        Args:
            decay: in [0, 1]; 0 gives the identity, that is plain cross entropy.

        Returns:
            ``gold`` and ``predicted`` (N) type indices, sorted by gold, then predicted, and ``credit`` (N) in (0, 1].

        Raises:
            OntologyError: on a decay out of range.
        """
        import torch

        if not 0.0 <= decay <= 1.0:
            raise OntologyError(f"decay must lie in [0, 1], got {decay}")
        rows = [(i, j, float(decay) ** n) for i in range(len(self)) for j, n in sorted(self.steps_up(i).items())]
        gold, predicted, credit = (torch.tensor(column, device="cpu") for column in zip(*rows, strict=True))
        credit = credit * torch.tensor(self.assignable, device="cpu")[predicted]
        totals = torch.zeros(len(self), device="cpu").index_add_(0, gold, credit)
        credit[(gold == predicted) & (totals[gold] == 0)] = 1.0
        kept = credit > 0
        return gold[kept], predicted[kept], credit[kept]

    def soft_label_weights(self, decay: float = 0.5) -> Tensor:
        """W of the soft loss as a matrix, (K, K): ``W[i, j]`` is the credit for predicting ``j`` when gold is ``i``.

        Args and errors are those of :meth:`soft_label_rows`.
        """
        import torch

        gold, predicted, credit = self.soft_label_rows(decay)
        weights = torch.zeros(len(self), len(self), device="cpu")
        weights[gold, predicted] = credit
        return weights

    # ---------------------------------------------------------------- parts, files

    def subset(self, type_ids: Iterable[str], name: str | None = None) -> Ontology:
        """The ontology of some of the types, in this one's order.

        Paths through types that are left out are contracted: a kept type's parents are its nearest kept ancestors, and a
        parent that is an ancestor of another parent is dropped, so that no false root and no doubled edge appears.
        """
        kept = {self.index(t) for t in type_ids}
        nearest: dict[int, frozenset[int]] = {}
        for node in sorted(range(len(self)), key=self.depths.__getitem__):
            above = frozenset().union(*({p} if p in kept else nearest[p] for p in self.parents[node]))
            nearest[node] = above - frozenset().union(*(self.ancestors[a] for a in above))
        return Ontology(
            name or self.name,
            [
                EntityType(t.id, t.label, tuple(self.ids[p] for p in sorted(nearest[i])), t.assignable, t.description)
                for i, t in enumerate(self.types)
                if i in kept
            ],
            self.source,
        )

    @cached_property
    def digest(self) -> str:
        """Hash of the types and parents, in order: equal for equal type systems, whatever the labels say."""
        quoted = {t.id: json.dumps(t.id) for t in self.types}
        facts = (
            f"[{quoted[t.id]}, [{', '.join(map(quoted.__getitem__, t.parents))}], {'true' if t.assignable else 'false'}]"
            for t in self.types
        )
        return hashlib.sha256(f"[{', '.join(facts)}]".encode()).hexdigest()[:16]

    def to_dict(self) -> dict:
        """The JSON form."""
        return {"name": self.name, "source": self.source, "types": [t.to_dict() for t in self.types]}

    @classmethod
    @collector_at_rest()
    def from_dict(cls, content: Mapping) -> Ontology:
        """Inverse of :meth:`to_dict`. Raises OntologyError when a key is missing, unknown or of the wrong kind."""
        expected = '{"name": "mine", "types": [{"id": "org", "label": "organisation", "parents": []}, …]}'
        if not isinstance(content, Mapping) or not isinstance(content.get("types"), list) or "name" not in content:
            raise OntologyError(f"an ontology file holds {expected}")
        types = [_type_of_entry(entry, expected) for entry in content["types"]]
        name, source = content["name"], content.get("source", "")
        if not is_text(name) or not is_text(source):
            raise OntologyError(
                f"name and source must be texts, got {name!r:.80} and {source!r:.80}; an ontology file holds {expected}"
            )
        return cls(name, types, source)

    def to_json(self, path: str | Path) -> None:
        """Writes the JSON form, one type a line, so that a diff shows which type changed."""
        lines = ",\n".join(json.dumps(t.to_dict(), ensure_ascii=False) for t in self.types)
        head = (
            f'{{"name": {json.dumps(self.name)}, "source": {json.dumps(self.source, ensure_ascii=False)}, "types": [\n'
        )
        Path(path).write_text(head + lines + "\n]}\n", encoding="utf-8")

    @classmethod
    def from_json(cls, path: str | Path) -> Ontology:
        """Reads a file of :meth:`to_json`. Raises OntologyError naming the file when it does not hold an ontology."""
        path = Path(path)
        if not path.is_file():
            raise OntologyError(f"no ontology file at {path}")
        try:
            content = read_json(path)
        except ValueError as error:
            raise OntologyError(str(error)) from None
        try:
            return cls.from_dict(content)
        except OntologyError as error:
            raise OntologyError(f"{path}: {error}") from error

    @classmethod
    @collector_at_rest()
    def from_tsv(cls, path: str | Path, name: str | None = None) -> Ontology:
        """Reads a TAB-separated table with a header of some of the columns ``id``, ``label``, ``parents`` (ids joined by ``|``),
        ``assignable`` (``yes`` or ``no``) and ``description``.

        Only ``id`` is required. The ontology is named ``name``, else as a first line ``# name: mine`` says, else as the file
        (``my_types.tsv``: "my_types"). Raises OntologyError with the file and, for a bad row, its line.
        """
        path = Path(path)
        if not path.is_file():
            raise OntologyError(f"no ontology file at {path}")
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise OntologyError(f"{path}: expected UTF-8, found something else at byte {error.start}") from None
        own = lines and re.fullmatch(r"#\s*name:\s*(.*\S)\s*", lines[0])
        header, *rows = lines[bool(own) :] or [""]
        columns = header.split("\t")
        if "id" not in columns or not set(columns) <= set(TSV_COLUMNS):
            raise OntologyError(
                f"{path}:{1 + bool(own)}: expected a header with columns {', '.join(TSV_COLUMNS)} (TAB-separated, only id is required), "
                f"got {header!r}"
            )
        places = (f"{path}:{n}" for n in itertools.count(2 + bool(own)))
        types = [_type_of_row(row, columns, place) for row, place in zip(rows, places, strict=False) if row.strip()]
        try:
            return cls(name or (own[1] if own else path.stem), types)
        except OntologyError as error:
            raise OntologyError(f"{path}: {error}") from error

    def to_tsv(self, path: str | Path) -> None:
        """Writes the table of :meth:`from_tsv`, with the ontology's name where the file has another."""
        rows = [
            (t.id, t.label, "|".join(t.parents), "yes" if t.assignable else "no", t.description) for t in self.types
        ]
        lines = [f"# name: {self.name}"] * (self.name != Path(path).stem)
        lines += ["\t".join(cells) for cells in [TSV_COLUMNS, *rows]]
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _type_of_entry(entry: Any, expected: str) -> EntityType:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), str) or not entry["id"]:
        raise OntologyError(f"type {entry!r} has no id; an ontology file holds {expected}")
    if not entry.keys() <= TYPE_KEYS:
        raise OntologyError(
            f"type {entry['id']!r} has unknown keys {sorted(entry.keys() - TYPE_KEYS)}; expected {expected}"
        )
    parents, is_assignable = entry.get("parents", []), entry.get("assignable", True)
    if not isinstance(parents, list) or not all([isinstance(p, str) for p in parents]):
        raise OntologyError(f"type {entry['id']!r}: parents must be a list of ids, got {parents!r}")
    texts = entry["id"], entry.get("label", ""), entry.get("description", "")
    if not all(map(is_text, [*texts, *parents])) or not isinstance(is_assignable, bool):
        raise OntologyError(f"type {entry['id']!r}: expected texts, and assignable true or false, got {entry!r:.200}")
    type_id, label, description = texts
    return EntityType(type_id, label, tuple(parents), is_assignable, description)


def _type_of_row(row: str, columns: Sequence[str], place: str) -> EntityType:
    cells = [cell.strip() for cell in row.split("\t")]
    if len(cells) > len(columns):
        raise OntologyError(
            f"{place}: expected at most {len(columns)} cells, one for each column of the header, got {row!r}"
        )
    values = dict(zip(columns, cells, strict=False))
    type_id, assignable = values.get("id"), values.get("assignable", "")
    if not type_id:
        raise OntologyError(f"{place}: a type without an id: {row!r}")
    if assignable not in ("", "yes", "no"):
        raise OntologyError(f"{place}: assignable must be yes or no, got {assignable!r}")
    parents = tuple(stripped for p in values.get("parents", "").split("|") if (stripped := p.strip()))
    return EntityType(type_id, values.get("label", ""), parents, assignable != "no", values.get("description", ""))

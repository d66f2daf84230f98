"""Tables from the types of one ontology to those of another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from finener.data_scripts.raw_files import read_text_lines
from finener.decoding_finener import type_decoder
from finener.ontology_finener import Ontology, OntologyError


class TypeMapping:
    """A table from the types of one ontology to those of another: the Direct baseline, and where target types start.

    Args:
        source, target: the two ontologies.
        rows: (source id, target id, weight in (0, 1]).

    Raises:
        OntologyError: on an unknown type or a weight outside (0, 1].
    """

    def __init__(self, source: Ontology, target: Ontology, rows: Sequence[tuple[str, str, float]]):
        self.source, self.target = source, target
        self.pairs = [(source.index(s), target.index(t)) for s, t, _ in rows]
        self.weights = [float(w) for _, _, w in rows]
        for row in rows:
            self._check_weight(*row)
        self.reachable: frozenset[int] = frozenset(target.closure_indices(t for _, t in self.pairs))

    @staticmethod
    def _check_weight(source_id: str, target_id: str, weight: float) -> None:
        if not 0.0 < weight <= 1.0:
            raise OntologyError(
                f"the mapping {source_id} → {target_id} has the weight {weight}; expected one in (0, 1]"
            )

    def scores(self, source_scores: Tensor) -> Tensor:
        """Target scores of source scores: the best weighted source score of the type or of any type below it.

        Args:
            source_scores: (M, C) in [0, 1].

        Returns:
            (M, K) in [0, 1]; zero for a type that the table cannot reach. A parent is never below its children.
        """
        scores = source_scores.new_zeros(len(source_scores), len(self.target))
        if self.pairs and len(source_scores):
            froms, tos = torch.tensor(self.pairs, device=source_scores.device).T
            weighted = source_scores[:, froms] * source_scores.new_tensor(self.weights)
            scores.scatter_reduce_(1, tos.expand(len(source_scores), -1), weighted, "amax")
        for children, parents in reversed(type_decoder(self.target, scores.device).levels):
            scores.scatter_reduce_(1, parents.expand(len(scores), -1), scores[:, children], "amax")
        return scores

    def mean_weights(self) -> Tensor:
        """What each source type adds to a mean that stands for a target type, (K, C); a row sums to one, or is zero.

        Of source types that a target type has, only those that have no ancestor among them count, whatever their weights. A target type
        that the table gives none has the mean of its children's rows.
        """
        means = torch.zeros(len(self.target), len(self.source))
        own: dict[int, dict[int, float]] = {}
        for (source, target), weight in zip(self.pairs, self.weights, strict=True):
            own.setdefault(target, {})[source] = weight
        for target in sorted(range(len(self.target)), key=self.target.depths.__getitem__, reverse=True):
            given = own.get(target, {})
            for source, weight in given.items():
                above = set(self.source.closure_indices([source])) - {source}
                means[target, source] = 0.0 if above & given.keys() else weight
            if not given:
                means[target] = means[list(self.target.children[target])].sum(0)
            means[target] /= means[target].sum().clamp(min=1e-9)
        return means

    @classmethod
    def from_tsv(cls, path: str | Path, source: Ontology, target: Ontology) -> TypeMapping:
        """Reads lines ``source TAB target TAB weight``; ``#`` starts a comment line. Errors name file and line."""
        rows = []
        for number, line in read_text_lines(path, OntologyError):
            if not line.strip() or line.startswith("#"):
                continue
            cells = line.split("\t")
            try:
                row = (cells[0], cells[1], float(cells[2]) if len(cells) > 2 else 1.0)
                source.index(row[0]), target.index(row[1])
                cls._check_weight(*row)
            except (IndexError, ValueError) as error:
                raise OntologyError(
                    f"{path}:{number}: expected 'source TAB target TAB weight', got {line!r} ({error})"
                ) from error
            rows.append(row)
        return cls(source, target, rows)

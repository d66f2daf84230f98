"""The Direct baseline: no fine-tuning, the source predictions go through a mapping table (Hagiwara et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from finener.ontology_finener import Ontology
from finener.prediction.mapping import TypeMapping


class DirectHead:
    """Types mentions by mapping their source scores; goes where the pipeline takes a ``head``.

    From the best target root it walks down to the best child, as far as the mapping gives any score; :func:`cut_types` then cuts the
    path at a threshold.

    Args:
        mapping: table from the model's source types to the target's.
    """

    def __init__(self, mapping: TypeMapping):
        self.mapping = mapping

    @property
    def ontology(self) -> Ontology:
        """The target types."""
        return self.mapping.target

    def __call__(self, model: Any, output: Any) -> list[dict[str, float]]:
        """Types and scores of each mention of a model's output, closed, from the root down."""
        scores = self.mapping.scores(model.source_scores(output.type_logits))
        return [self._walk_down(row) for row in scores.tolist()]

    def _walk_down(self, scores: Sequence[float]) -> dict[str, float]:
        path: dict[str, float] = {}
        candidates: Sequence[int] = self.ontology.roots
        while candidates:
            best = max(candidates, key=scores.__getitem__)
            if scores[best] == 0.0:
                break
            path[self.ontology.ids[best]] = scores[best]
            candidates = self.ontology.children[best]
        return path


def cut_types(records: Iterable[Mapping[str, Any]], threshold: float) -> list[dict[str, Any]]:
    """Predicted records without the types that score below ``threshold``, and without the mentions that are left with none.

    Args:
        records: predictions whose ``type_scores`` never grow along a path from the root, such as :class:`DirectHead`'s.
        threshold: in [0, 1]; to be tuned on dev data, never on the test part.
    """
    return [{**r, "mentions": [m for m in (_cut(m, threshold) for m in r["mentions"]) if m["types"]]} for r in records]


def _cut(mention: Mapping[str, Any], threshold: float) -> dict[str, Any]:
    kept = [(t, s) for t, s in zip(mention["types"], mention["type_scores"], strict=True) if s >= threshold]
    return {**mention, "types": [t for t, _ in kept], "type_scores": [s for _, s in kept]}


def reach_of_mapping(mapping: TypeMapping, records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """How much of a gold set a mapping could ever get right.

    Returns:
        ``types``: share of the assignable target types that it reaches; ``gold_types``: of the distinct gold types of these records;
        ``gold_mentions``: of their mentions, by their most specific type. Each in [0, 1].
    """
    target = mapping.target
    assignable = {i for i, yes in enumerate(target.assignable) if yes}
    gold = [
        i for r in records for m in r["mentions"] for i in target.most_specific_indices(map(target.index, m["types"]))
    ]
    reached = mapping.reachable
    return {
        "types": len(reached & assignable) / len(assignable),
        "gold_types": len(reached & set(gold)) / max(1, len(set(gold))),
        "gold_mentions": sum(i in reached for i in gold) / max(1, len(gold)),
    }

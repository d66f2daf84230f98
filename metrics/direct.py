"""The Direct baseline: no fine-tuning, the source predictions go through a mapping table (Hagiwara et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

try:
    from ..ontology_finener import Ontology, TypeMapping
except ImportError:
    from ontology_finener import Ontology, TypeMapping


class DirectHead:
    """Types mentions by mapping their source scores; goes where the pipeline takes a ``head``.

    From the best target root it walks down to the best child as long as the score stays at ``threshold`` or above. A mention whose
    best root does not reach it gets no type, and so is no mention of the target's.

    Args:
        mapping: table from the model's source types to the target's.
        threshold: in [0, 1]; to be tuned on dev data, never on the test part.
    """

    def __init__(self, mapping: TypeMapping, threshold: float):
        self.mapping = mapping
        self.threshold = threshold

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
            if scores[best] < self.threshold or scores[best] == 0.0:
                break
            path[self.ontology.ids[best]] = scores[best]
            candidates = self.ontology.children[best]
        return path


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

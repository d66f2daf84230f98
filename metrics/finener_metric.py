"""The scores as a metric of the ``evaluate`` library: ``evaluate.load("metrics/finener_metric.py")``, offline.

The library copies this file away and runs the copy, which finds the rest in the installed package ``finener``.
"""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from finener.data_scripts.corpus import load_ontology
from finener.data_scripts.schema import FEATURES, validate_record
from finener.metrics.credit import read_credit
from finener.metrics.scoring import Options, judge, score

DESCRIPTION = "Fine-grained named-entity recognition: detection, strict, partial-credit and loose typing, end to end and of gold mentions."
INPUTS = """
Args:
    predictions: records with predicted mentions. references: the gold records, with the same ids and texts.
    ontology: an Ontology, its .json or .tsv file, or the name of a shipped one.
    decay: partial credit for each edge above the gold type. credit: file of W in its place.
    resamples: of the bootstrap; 0 (the default) leaves intervals out. resampled: "document" or "record". seed: of the resamples.
    given: records with types predicted on the gold mentions. train: training records.
Returns:
    What metrics.scoring.score returns: "scores", "intervals", "levels", "types", "notes", …
"""


class FinenerMetric(evaluate.Metric):
    """A thin shell over :func:`finener.metrics.scoring.score`; its inputs are records."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": dict(FEATURES), "references": dict(FEATURES)}),
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None) -> None:
        """Adds records; each is checked and brought into its full form first."""
        predictions, references = ([dict(validate_record(r)) for r in records] for records in (predictions, references))
        super().add_batch(predictions=predictions, references=references)

    def add(self, *, prediction: Any = None, reference: Any = None) -> None:
        """Adds one predicted and one gold record."""
        self.add_batch(predictions=[prediction], references=[reference])

    def _compute(
        self,
        predictions: list[dict[str, Any]],
        references: list[dict[str, Any]],
        ontology: Any = None,
        given: list[dict[str, Any]] | None = None,
        train: list[dict[str, Any]] | None = None,
        credit: str | None = None,
        decay: float = 0.5,
        resamples: int = 0,
        resampled: str = "document",
        seed: int = 0,
    ) -> dict[str, Any]:
        if ontology is None:
            raise ValueError('compute needs the ontology of the types, e.g. ontology="aida"')
        if isinstance(ontology, str):
            ontology = load_ontology(ontology)
        weights = read_credit(credit, ontology) if credit else None
        options = Options(decay, weights, resamples, resampled, seed)
        return score(judge(references, predictions, ontology, given), options, train)

"""Results → the README.md of a Hub repo, through the template ``model_card.md``. No figure is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

try:
    from .tables import MEASURES
except ImportError:
    from metrics.tables import MEASURES

TEMPLATE = Path(__file__).resolve().parent.parent / "model_card.md"


def write_card(folder: str | Path, results: Mapping[str, Any]) -> None:
    """Writes ``README.md`` of a model's folder.

    Args:
        folder: where the model was saved.
        results: content of the run's results file: every figure of the card comes from it.
    """
    data = ModelCardData(
        language="en",
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="token-classification",
        tags=["finener", "named-entity-recognition", "entity-typing", "fine-grained", "hierarchical"],
        base_model=results["encoder"] if "/" in results["encoder"] and ":" not in results["encoder"] else None,
        widget=[{"text": text} for text in results["shown"]] or None,
    )
    rows = [
        (system, label, *(f"{scores[f'{measure}_{part}']:.3f}" for part in ("precision", "recall", "f1")))
        for system, scores in results["test"].items()
        for measure, label in MEASURES.items()
        if f"{measure}_f1" in scores
    ]
    card = ModelCard.from_template(data, template_path=str(TEMPLATE), rows=rows, **results)
    card.save(Path(folder) / "README.md")

"""Results → the README.md of a Hub repo, through the template ``model_card.md``. No figure is typed by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from finener.metrics.tables import score_rows
from finener.paths import MODEL_CARD

EXAMPLE = "Angela Merkel visited the Statue of Liberty in New York."


def write_card(folder: str | Path, results: Mapping[str, Any]) -> None:
    """Writes ``README.md`` of a model's folder.

    Args:
        folder: where the model was saved.
        results: content of the run's results file: every figure of the card comes from it.
    """
    is_hub_name = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", results["encoder"]) and not Path(results["encoder"]).exists()
    data = ModelCardData(
        language="en",
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="token-classification",
        tags=["finener", "named-entity-recognition", "entity-typing", "fine-grained", "hierarchical"],
        base_model=results["encoder"] if is_hub_name else None,
        widget=[{"text": shown["text"]} for shown in results["shown"]] or None,
    )
    rows = score_rows(results["test"])
    runs = [*results["earlier"], results]
    text = results["shown"][0]["text"] if results["shown"] else EXAMPLE
    example = json.dumps(text, ensure_ascii=False)  # a Python literal too, whatever quotes the text holds
    card = ModelCard.from_template(
        data, template_path=str(MODEL_CARD), rows=rows, example=example, runs=runs, **results
    )
    card.save(Path(folder) / "README.md")

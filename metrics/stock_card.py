"""Results of a stock companion → the README.md of its repo, through ``stock_card.md.jinja``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from finener.metrics.card import TAGS, TASK, CardFacts, eval_results
from finener.metrics.places import without_places
from finener.metrics.tables import score_rows
from finener.paths import STOCK_CARD

MEASURE = "pair"


def write_stock_card(
    folder: str | Path,
    results: Mapping[str, Any],
    facts: CardFacts | None = None,
    *,
    repo: str | None = None,
    revision: str | None = None,
) -> None:
    """Writes ``README.md`` of a stock companion's folder.

    Args:
        folder: of the companion.
        results: content of its ``results.json``: every figure of the card comes from it.
        facts: what the results do not tell; by default the ``card`` of their settings.
        repo: ``user/name`` on the Hub; by default the name in the results.
        revision: branch, tag or commit that the card's code names.
    """
    facts = CardFacts.read(results["config"].get("card") or {}) if facts is None else facts
    told = without_places(results)
    base, name = facts.base_model or told["base_model"], repo or told["name"]
    companion = {"test": {"companion": told["test"]["companion"]} if told["test"] else {}}
    data = ModelCardData(
        language=list(facts.language) or None,
        license=facts.license,
        library_name="transformers",
        pipeline_tag=TASK,
        tags=[*TAGS[:2], *facts.tags],
        datasets=list(facts.datasets) or None,
        base_model=base,
        widget=[{"text": text} for text in facts.examples] or None,
        inference={"parameters": {"aggregation_strategy": "first"}},
        model_name=name,
        eval_results=eval_results(told | companion, facts, {}) or None,
    )
    content = told | {
        "name": name,
        "revision": revision,
        "facts": facts,
        "base_model": base,
        "example": json.dumps(next(iter(facts.examples), "A text of yours."), ensure_ascii=False),
        "rows": [row for row in score_rows(told["test"]) if row[1] in ("detection", "(span, type) pairs")],
        "interval": told.get("difference", {}).get(f"{MEASURE}_f1"),
    }
    ModelCard.from_template(data, template_path=str(STOCK_CARD), **content).save(Path(folder) / "README.md")

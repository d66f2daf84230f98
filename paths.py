"""Where the files lie that travel with the code."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent
ONTOLOGIES = ROOT / "ontologies"
CORPUS_PAGES = ROOT / "data_scripts" / "corpora"
REPORT_TEMPLATE = ROOT / "metrics" / "report.html.jinja"
SILVER_TEMPLATE = ROOT / "data_scripts" / "silver" / "report.html"
MODEL_CARD = ROOT / "model_card.md"
STOCK_CARD = ROOT / "metrics" / "stock_card.md.jinja"
# Texts that were written for this project, by the types that they are an example of.
SAMPLE_TEXTS = {"aida": ROOT / "examples" / "aida_sample" / "test.jsonl"}

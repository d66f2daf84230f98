"""Where the files lie that travel with the code."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent
ONTOLOGIES = ROOT / "ontologies"

"""The ``list`` command: the corpora and the ontologies that there are."""

from __future__ import annotations

import argparse

from finener.data_scripts.build import BUILDERS, read_page
from finener.data_scripts.tables import text_table
from finener.ontology_finener import Ontology
from finener.paths import ONTOLOGIES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``list`` has no options."""


def run(args: argparse.Namespace) -> int:
    """The ``list`` command."""
    print(f"{corpora_table()}\n\n{ontologies_table()}")
    return 0


def corpora_table() -> str:
    """Every corpus that ``build`` reads, with its licence."""
    pages = {name: read_page(name)[0] for name in BUILDERS}
    rows = [[name, facts["pretty_name"], facts["license"]] for name, facts in pages.items()]
    return text_table(["build CORPUS", "what", "licence"], rows, right_from=3)


def ontologies_table() -> str:
    """Every shipped ontology, with its size."""
    shipped = [Ontology.from_json(path) for path in sorted(ONTOLOGIES.glob("*.json"))]
    rows = [[o.name, f"{len(o):,}", f"{sum(o.assignable):,}", str(max(o.depths) + 1)] for o in shipped]
    return text_table(["--ontology", "types", "assignable", "levels"], rows)

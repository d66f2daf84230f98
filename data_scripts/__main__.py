"""Command line of the data room: ``python -m data_scripts list`` shows what there is."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from finener.data_scripts.command_line import run_command

COMMANDS = {
    "list": ("finener.data_scripts.listing", "the corpora and ontologies there are"),
    "build": ("finener.data_scripts.build", "raw files of a corpus → a dataset folder of records"),
    "check": ("finener.data_scripts.check.command", "what is wrong with built records, before training on them"),
    "ontology": ("finener.data_scripts.ontology", "your own types, from a table or a sheet → an ontology file"),
    "silver": ("finener.data_scripts.silver.command", "a Wikipedia dump → sentences whose names carry YAGO classes"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    return run_command("python -m data_scripts", "From raw corpora to training records.", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())

"""Command line of the data room: ``python -m data_scripts list`` shows what there is."""

from __future__ import annotations

import argparse
import sys

from finener.data_scripts import build, ontology
from finener.data_scripts.check import command as check
from finener.data_scripts.silver import command as silver
from finener.data_scripts.tables import text_table
from finener.ontology_finener import Ontology
from finener.paths import ONTOLOGIES

COMMANDS = {
    "build": (build, "raw files of a corpus → a dataset folder of records"),
    "check": (check, "what is wrong with built records, before training on them"),
    "ontology": (ontology, "your own types, from a table or a sheet → an ontology file"),
    "silver": (silver, "a Wikipedia dump → sentences whose names carry YAGO classes"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts", description="From raw corpora to training records.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="the corpora and ontologies there are")
    for name, (module, what) in COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=what, description=what))
    args = parser.parse_args(argv)
    if args.command == "list":
        print(listing())
        return 0
    try:
        return COMMANDS[args.command][0].run(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def listing() -> str:
    """Every corpus with its layout and licence, and every ontology with its size."""
    pages = {name: build.read_page(name)[0] for name in build.BUILDERS}
    corpora = text_table(
        ["build CORPUS", "what", "licence"],
        [[name, facts["pretty_name"], facts["license"]] for name, facts in pages.items()],
        right_from=3,
    )
    shipped = [Ontology.from_json(path) for path in sorted(ONTOLOGIES.glob("*.json"))]
    ontologies = text_table(
        ["--ontology", "types", "assignable", "levels"],
        [[o.name, f"{len(o):,}", f"{sum(o.assignable):,}", str(max(o.depths) + 1)] for o in shipped],
    )
    return f"{corpora}\n\n{ontologies}"


if __name__ == "__main__":
    sys.exit(main())

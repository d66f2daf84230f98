"""Command line of the data room: ``python -m data_scripts list`` shows what there is."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

try:
    from ..ontology_finener import Ontology
except ImportError:
    from ontology_finener import Ontology

from .schema import write_records
from .silver import SilverBuilder
from .titles import read_gazetteer, read_nouns

ONTOLOGIES = Path(__file__).resolve().parent.parent / "ontologies"

COMMANDS = {
    "silver": "MediaWiki dump (.xml or .xml.bz2) → sentences with linked names and YAGO classes",
    "list": "this list",
}
BUILDERS = {
    "data_scripts.records.Records": "JSON Lines of records (docs/architecture.md, “The record”)",
    "data_scripts.conll.Conll": "columns of tokens and tags: IO, IOB1, IOB2, BIOES, BILOU",
}


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    silver = commands.add_parser("silver", help=COMMANDS["silver"])
    silver.add_argument("--dump", type=Path, required=True)
    silver.add_argument("--output_file", type=Path, required=True, help="JSON Lines of records")
    silver.add_argument("--report", type=Path, help="JSON file for the counts")
    silver.add_argument("--ontology", type=Path, default=ONTOLOGIES / "yago.json")
    silver.add_argument("--gazetteer", type=Path, default=ONTOLOGIES / "yago_gazetteer.tsv")
    silver.add_argument("--nouns", type=Path, default=ONTOLOGIES / "yago_nouns.tsv")
    commands.add_parser("list", help=COMMANDS["list"])
    args = parser.parse_args(argv)
    if args.command == "list":
        for name, what in {**COMMANDS, **BUILDERS}.items():
            print(f"{name:30} {what}")
        return 0
    try:
        return run_silver(args)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def run_silver(args: argparse.Namespace) -> int:
    """The ``silver`` command."""
    ontology, gazetteer, nouns = (
        Ontology.from_json(args.ontology),
        read_gazetteer(args.gazetteer),
        read_nouns(args.nouns),
    )
    with SilverBuilder(ontology, gazetteer, nouns, progress=sys.stderr.isatty()) as builder:
        builder.read(args.dump)
        write_records(builder.records(), args.output_file)
    report = json.dumps(builder.report(), indent=2, ensure_ascii=False)
    print(report)
    if args.report:
        args.report.write_text(report + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

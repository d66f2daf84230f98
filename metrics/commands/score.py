"""The ``score`` command: every measure of predictions, as tables and JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from finener.data_scripts.record_files import read_records
from finener.metrics.commands.inputs import add_inputs, read_inputs
from finener.metrics.scoring import judge, score
from finener.metrics.tables import breakdown_tables

SHOWN_TYPES = 20  # the most frequent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    add_inputs(parser)
    parser.add_argument(
        "--baseline", type=Path, metavar="FILE", help="another system's predictions: adds the paired difference"
    )
    parser.add_argument("--output_file", type=Path, metavar="SCORES.json", help="also write everything as JSON")
    parser.add_argument(
        "--all_types", action="store_true", help=f"print every type, not only the {SHOWN_TYPES} most frequent"
    )


def run(args: argparse.Namespace) -> int:
    """The ``score`` command."""
    read = read_inputs(args)
    baseline = None
    if args.baseline:
        baseline = judge(read.gold, list(read_records(args.baseline, read.ontology)), read.ontology)
    result = score(read.judged, read.options, read.train, baseline)
    if args.output_file:
        args.output_file.parent.mkdir(parents=True, exist_ok=True)
        args.output_file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(breakdown_tables(result, None if args.all_types else SHOWN_TYPES))
    return 0

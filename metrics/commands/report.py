"""The ``report`` command: a page that explains the errors of predictions."""

from __future__ import annotations

import argparse
from pathlib import Path

from finener.metrics.commands.inputs import add_inputs, read_inputs
from finener.metrics.report import write_report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    add_inputs(parser)
    parser.add_argument("--title", help="of the page; default: the name of the prediction file")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for index.html and report.json")


def run(args: argparse.Namespace) -> int:
    """The ``report`` command."""
    read = read_inputs(args)
    page = write_report(read.judged, args.output_dir, read.options, read.train, args.title or args.pred[0].stem)
    print(f"the report is {page}")
    return 0

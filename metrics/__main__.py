"""Command line of the metrics room.

python -m metrics score --gold gold.jsonl --pred predicted.jsonl --ontology aida
python -m metrics report --gold gold.jsonl --pred predicted.jsonl --ontology aida --output_dir report
python -m metrics calibrate --model outputs/model --dev dev.jsonl
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from finener.data_scripts.command_line import run_command

COMMANDS = {
    "score": ("finener.metrics.commands.score", "every measure, with intervals, as tables and JSON"),
    "report": (
        "finener.metrics.commands.report",
        "one self-contained HTML page that explains the errors, and its figures as JSON",
    ),
    "calibrate": (
        "finener.metrics.commands.calibrate",
        "choose a model's type thresholds by dev data and store them in its config",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    return run_command(
        "python -m metrics", "How good predictions are, and what is wrong with them.", COMMANDS, arguments
    )


if __name__ == "__main__":
    sys.exit(main())

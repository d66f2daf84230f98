"""The one command, ``finener``: every step from raw corpora to predictions and their scores.

Only the module of the command that is asked for is imported, so that ``finener --help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from finener.data_scripts.__main__ import COMMANDS as DATA_COMMANDS
from finener.data_scripts.command_line import run_command
from finener.metrics.__main__ import COMMANDS as METRICS_COMMANDS

COMMANDS = {
    **DATA_COMMANDS,
    "train": ("finener.training.phases", "train a model from a YAML file: pre-training, fine-tuning, or both"),
    "predict": ("finener.prediction.command", "find and type the mentions of a file of texts"),
    "map": (
        "finener.prediction.by_name",
        "types → a table of the model's source types with the nearest names, to correct",
    ),
    **METRICS_COMMANDS,
    "export": ("finener.export.command", "write a model as ONNX graphs, or as a plain transformers model"),
    "release": ("finener.publishing.command", "a trained model, a dataset or a Space → a repo on the Hub"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["train"]:
        return train(arguments[1:])
    return run_command("finener", "Fine-grained named-entity recognition.", COMMANDS, arguments)


def train(arguments: list[str]) -> int:
    """The ``train`` command, which parses its own arguments: their defaults are what its YAML file says."""
    from finener.training.phases import main as train_phases

    sys.argv = [
        "finener train",
        *arguments,
    ]  # as `accelerate launch` does; the parser takes its program's name from here
    train_phases(arguments)
    return 0

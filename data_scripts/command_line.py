"""How a command line chooses among commands, of which it imports only the one that it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module


def run_command(
    prog: str, description: str, commands: Mapping[str, tuple[str, str]], arguments: Sequence[str] | None = None
) -> int:
    """Runs the command that the first argument names and returns its exit code.

    Args:
        prog: what the usage calls the program.
        description: of the program, for its help.
        commands: name → (module, what the command does, for the help). A module has ``add_arguments(parser)`` and ``run(args) -> int``;
            it is imported when its command is asked for.
        arguments: of the command line; None for the process's own.

    Raises:
        SystemExit: on arguments that do not exist, and after a help text.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (home, what) in commands.items():
        command = parsers.add_parser(name, help=what, description=what)
        if name == next(iter(arguments), None):
            module = import_module(home)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    args = parser.parse_args(arguments)
    try:
        return args.run(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1

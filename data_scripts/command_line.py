"""How a command line chooses among commands, of which it imports only the one that it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NoReturn


def take_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without a bare ``--debug``, and whether there was one: errors are then shown whole."""
    rest: list[str] = []
    is_asked = False
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=False):
        if argument == "--debug" and following.startswith("--"):
            is_asked = True
        else:
            rest.append(argument)
    return rest, is_asked


def last_line(error: BaseException) -> str:
    """What an error says in the end: libraries put the reason last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class OneLineParser(argparse.ArgumentParser):
    """A parser that tells a mistake in one line: argparse would print every option of the command before it."""

    def error(self, message: str) -> NoReturn:
        """Ends the process."""
        self.exit(2, f"{self.prog}: error: {message}; {self.prog} --help tells what it takes\n")


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
    arguments, is_debugging = take_debug(sys.argv[1:] if arguments is None else arguments)
    epilog = "--debug after a command shows an error's whole trace."
    parser = OneLineParser(prog=prog, description=description, epilog=epilog)
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
        if is_debugging:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1

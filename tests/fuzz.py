"""``make fuzz``: hostile files through every reader. Each must be read, or refused by one line that names the file.

    python tests/fuzz.py --cases 200 --seed 1
    python tests/fuzz.py --only brat --case 17 --keep /tmp/x    # one case again, its files left in a folder

Each reader runs in a process of its own, with little memory and time for a case, so that a crash or a bomb counts as what it is.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", HF_HUB_DISABLE_PROGRESS_BARS="1")

import torch

from finener.data_scripts.tables import text_table

from mutations import mutate
from targets import TARGETS, Target

SECONDS, MEMORY = 20, 3 * 2**30  # for a case
OUTCOMES = ("read", "refused", "foreign", "account", "crash")


@dataclass(frozen=True)
class Case:
    """What became of one case: an outcome, and of what should not be, what it was."""

    number: int
    outcome: str
    told: str = ""


class TooLong(BaseException):
    """A case took longer than it may."""


def is_clear(error: BaseException, files: set[str]) -> bool:
    """Whether an error is what the command line shows as one line: of ours, or the system's, and naming a file or record that was read."""
    is_ours = isinstance(error, ValueError) and type(error).__module__.startswith(("finener.", "reading"))
    is_system = isinstance(error, OSError) and error.filename is not None
    told = str(error)
    return (is_ours or is_system) and "\n" not in told and any(name in told for name in (*files, ": record "))


def run_case(target: Target, number: int, seed: int, folder: Path) -> Case:
    """Makes valid files, changes one of them, and reads them."""
    rng = Random(f"{seed}/{target.name}/{number}")
    folder.mkdir()
    target.make(folder, number % target.variants)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(target.fixed or "/"))
    names = {folder.name, *(path.name for path in files), *(path.name.split(".")[0] for path in files)}
    if number >= target.variants:  # the first ones stay valid
        path = rng.choice(files)
        path.write_bytes(mutate(path.name, path.read_bytes(), rng))
    signal.alarm(SECONDS)
    try:
        account = target.read(folder)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if is_clear(error, names if target.names_file else {""}) and number >= target.variants:
            return Case(number, "refused", f"{type(error).__name__}: {error}")
        return Case(
            number,
            "foreign",
            f"{type(error).__name__}: {error!s:.200}\n{''.join(traceback.format_tb(error.__traceback__)[-3:])}",
        )
    finally:
        signal.alarm(0)
    if account is not None and account[0] != account[1]:
        return Case(number, "account", f"the files hold {account[0]} mentions, {account[1]} are read or left out")
    return Case(number, "read")


def _alarm(*_: Any) -> None:
    raise TooLong(f"more than {SECONDS} s")


def _work(name: str, numbers: Sequence[int], seed: int, home: str, pipe: Any) -> None:
    signal.signal(signal.SIGALRM, _alarm)
    torch.set_num_threads(1)
    with open("/proc/self/statm") as told:
        used = int(told.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for number in numbers:
        pipe.send(number)
        place = Path(home, f"case{number}")
        place.mkdir()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            case = run_case(TARGETS[name], number, seed, place / "files")
        pipe.send(case)
        shutil.rmtree(place, ignore_errors=True)
    pipe.send(None)


def fuzz(name: str, numbers: Sequence[int], seed: int) -> list[Case]:
    """All cases of a reader; a process that dies is followed by one that goes on behind the case that it died of."""
    context = multiprocessing.get_context("fork")
    cases: list[Case] = []
    waiting = list(numbers)
    while waiting:
        here, there = context.Pipe(duplex=False)
        with tempfile.TemporaryDirectory(prefix="finener-fuzz-") as home:
            process = context.Process(target=_work, args=(name, waiting, seed, home, there))
            process.start()
            there.close()
            at = None
            try:
                while (told := here.recv()) is not None:
                    if isinstance(told, Case):
                        cases.append(told)
                        waiting.remove(told.number)
                    else:
                        at = told
                waiting = []
            except EOFError:
                process.join()
                cases.append(
                    Case(
                        at if at is not None else waiting[0], "crash", f"the process died, exit code {process.exitcode}"
                    )
                )
                waiting.remove(cases[-1].number)
            process.join()
    return cases


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the fuzzer, prints the table, and returns 1 where a case ended as none should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=150, help="for each reader; some get more or fewer (default: 150)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", nargs="+", choices=TARGETS, default=list(TARGETS), metavar="READER", help=f"of {', '.join(TARGETS)}"
    )
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument("--keep", type=Path, help="with --case: a new folder in which its files stay")
    args = parser.parse_args(arguments)
    if args.keep:
        signal.signal(signal.SIGALRM, _alarm)
        args.keep.mkdir()
        print(run_case(TARGETS[args.only[0]], args.case, args.seed, args.keep / "files"))
        return 0
    table, bad = [], []
    for name in args.only:
        numbers = [args.case] if args.case is not None else range(max(1, round(args.cases * TARGETS[name].weight)))
        cases = fuzz(name, numbers, args.seed)
        counts = Counter(case.outcome for case in cases)
        table.append([name, str(len(cases)), *(str(counts[outcome]) for outcome in OUTCOMES)])
        bad += [(name, case) for case in cases if case.outcome not in ("read", "refused")]
        print(f"{name}: {dict(counts)}", file=sys.stderr)
    for name, case in bad:
        print(f"\n{name}, case {case.number}, {case.outcome}: {case.told}")
    total = [sum(int(row[i]) for row in table) for i in range(1, len(OUTCOMES) + 2)]
    header = ["reader", "cases", "read", "refused clearly", "somebody else's error", "account does not add up", "crash"]
    print("\n" + text_table(header, [*table, ["all", *map(str, total)]]))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())

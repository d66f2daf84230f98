"""``make mutants``: small mistakes, one at a time, in the CRF, the ontology, decoding and the metrics, must each make a test fail.

    python tests/mutants.py --minutes 15 --seed 1
    python tests/mutants.py --only ontology_finener.py

A mutant is a source file with one expression changed. pytest collects the tests once; for each mutant a forked process takes over the
changed functions and runs the tests of that file until one fails, first those that noticed the mutants before. A mutant that no test
notices is told with its line before and after, and the exit code is then 1. Those that cannot be noticed stand in
``mutants_equivalent.tsv``, with the reason.

mutmut leaves out what stands under a decorator, so Viterbi, ancestors and the choice of types; cosmic-ray starts a process, and so imports
torch, for every mutant.
"""

from __future__ import annotations

import argparse
import ast
import functools
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path
from random import Random
from types import FunctionType, ModuleType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = Path(__file__).with_name("mutants_equivalent.tsv")
FORK = multiprocessing.get_context("fork")
# Each file, the functions and classes of it (all, where none are named), and the tests that must notice.
TARGETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "layers_finener.py": (("LinearChainCRF", "spans_of_tags", "pool_mentions"), ("test_crf.py", "test_layers.py")),
    "ontology_finener.py": ((), ("test_ontology.py", "test_ontology_files.py")),
    "decoding_finener.py": ((), ("test_decoding.py", "test_expected_decoding.py")),
    "metrics/counting.py": ((), ("metrics/test_counting.py", "metrics/test_scoring.py")),
    "metrics/credit.py": ((), ("metrics/test_credit.py",)),
    "metrics/pairing.py": ((), ("metrics/test_scoring.py", "metrics/test_counting.py")),
    "metrics/breakdown.py": ((), ("metrics/test_scoring.py",)),
    "metrics/intervals.py": ((), ("metrics/test_scoring.py",)),
    "metrics/thresholds.py": ((), ("metrics/test_metrics_thresholds.py", "metrics/test_threshold_search.py")),
    "metrics/calibration.py": ((), ("metrics/test_calibration.py",)),
}

# ---------------------------------------------------------------- making mutants

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
}
NAMES = {
    **{"min": "max", "max": "min", "any": "all", "all": "any", "amin": "amax", "amax": "amin"},
    **{"argmax": "argmin", "cummin": "cummax", "floor": "ceil", "B": "I", "I": "B", "O": "B"},
}
UNTOUCHED = (ast.JoinedStr, ast.Raise, ast.Import, ast.ImportFrom)  # messages, and what has no behaviour
QUIET_KEYWORDS = {"strict", "maxsize"}  # a check of our own, and the size of a cache


@dataclass(frozen=True)
class Mutant:
    """A file with one expression changed; ``start`` and ``stop`` are bytes of it."""

    file: str
    function: str
    line: int
    start: int
    stop: int
    new: str

    def text(self) -> bytes:
        """The whole file, changed."""
        source = (ROOT / self.file).read_bytes()
        return source[: self.start] + self.new.encode() + source[self.stop :]

    def lines(self) -> tuple[str, str]:
        """The lines that the expression stands on, before and after, each as one."""
        source = (ROOT / self.file).read_bytes()
        first = source.rfind(b"\n", 0, self.start) + 1
        last = source.find(b"\n", self.stop)
        after = source[first : self.start] + self.new.encode() + source[self.stop : last]
        return " ".join(source[first:last].decode().split()), " ".join(after.decode().split())

    @property
    def key(self) -> tuple[str, ...]:
        """What names it in ``mutants_equivalent.tsv``."""
        return (self.file, self.function, *self.lines())


def changes(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """The changes of one node: what is replaced, and by what."""
    if isinstance(node, ast.Compare):
        for place, op in enumerate(node.ops):
            for other in COMPARISONS[type(op)]:
                ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield node, ast.unparse(ast.Compare(node.left, ops, node.comparators))
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield node, f"({ast.unparse(ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right))})"
    elif isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
        yield node, ast.unparse(ast.AugAssign(node.target, OPERATORS[type(node.op)](), node.value))
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield node, f"({ast.unparse(ast.BoolOp(other, node.values))})"
    elif isinstance(node, ast.UnaryOp):
        yield node, f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.Constant):
        yield from ((node, new) for new in constants(node.value))
    elif isinstance(node, ast.Name) and node.id in NAMES:
        yield node, NAMES[node.id]
    elif isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield node, NAMES[node.attr]  # of the name alone, see mutants_of
    elif isinstance(node, ast.Continue | ast.Break) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield node, "pass"
    yield from negations(node)


def constants(value: object) -> Iterator[str]:
    if isinstance(value, bool):
        yield str(not value)
    elif isinstance(value, int | float):
        yield str(value + 1)
        if value == 1:
            yield "0"
    elif isinstance(value, str) and value in NAMES:
        yield repr(NAMES[value])


def negations(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Conditions turned round; those of one comparison are so already."""
    if isinstance(node, ast.comprehension):
        tests = node.ifs
    else:
        tests = [node.test] if isinstance(node, ast.If | ast.IfExp | ast.While) else []
    for test in tests:
        is_turned = isinstance(test, ast.UnaryOp) or (isinstance(test, ast.Compare) and len(test.ops) == 1)
        if not is_turned:
            yield test, f"(not ({ast.unparse(test)}))"


def behaviour(node: ast.AST, function: tuple[str, ...]) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
    """All nodes below that have a behaviour to change, each with the names of the functions and classes around it."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        function = (*function, node.name)
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "keywords" * isinstance(node, ast.ClassDef)):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, UNTOUCHED):
                continue
            if isinstance(child, ast.keyword) and child.arg in QUIET_KEYWORDS:
                continue
            is_alias = isinstance(child, ast.Assign) and not function and isinstance(child.value, ast.BinOp)
            if is_alias and isinstance(child.value.op, ast.BitOr):
                continue
            yield child, function
            yield from behaviour(child, function)


def mutants_of(file: str, only: Sequence[str] = ()) -> list[Mutant]:
    """Every mutant of a file, in its order; ``only`` of these functions and classes of it, where some are named."""
    source = (ROOT / file).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = {}
    for node, function in behaviour(ast.parse(source), ()):
        if only and (not function or function[0] not in only):
            continue
        for place, new in changes(node):
            start = starts[place.lineno - 1] + place.col_offset
            stop = starts[place.end_lineno - 1] + place.end_col_offset
            if isinstance(place, ast.Attribute) and new.isidentifier():  # what stands before it stays as it is written
                start = stop - len(place.attr)
            found[start, stop, new] = Mutant(file, ".".join(function), place.lineno, start, stop, new)
    return [found[key] for key in sorted(found)]


def equivalents() -> dict[tuple[str, ...], str]:
    """The mutants that no test can notice, with the reason."""
    rows = [line.split("\t") for line in EQUIVALENT.read_text(encoding="utf-8").splitlines()[1:]]
    return {tuple(cells[:4]): cells[4] for cells in rows}


# ---------------------------------------------------------------- running their tests


def graft(old: Any, new: Any) -> None:
    """Gives the functions of a module, or class, the code of those of its mutant, so that whoever has them runs it; and its constants."""
    for name, value in list(vars(new).items()):
        own = vars(old).get(name)
        if isinstance(value, classmethod | staticmethod):
            own, value = own.__func__, value.__func__
        elif isinstance(value, property):
            own, value = own.fget, value.fget
        elif isinstance(value, functools.cached_property):
            own, value = own.func, value.func
        while isinstance(getattr(value, "__wrapped__", None), FunctionType):  # under a decorator
            own, value = own.__wrapped__, value.__wrapped__
        if value is own:  # imported
            continue
        if isinstance(value, type):
            graft(own, value)
        elif isinstance(value, FunctionType) and isinstance(own, FunctionType):
            own.__code__, own.__defaults__, own.__kwdefaults__ = (
                value.__code__,
                value.__defaults__,
                value.__kwdefaults__,
            )
        elif isinstance(value, bool | int | float | str | tuple) and not name.startswith("__") and value != own:
            setattr(old, name, value)


def take_over(mutant: Mutant) -> None:
    """Makes this process run a mutant. What the file itself raises, when it is read, is raised."""
    name = f"finener.{mutant.file.removesuffix('.py').replace('/', '.')}"
    old = import_module(name)
    new = ModuleType(name)
    new.__file__, new.__package__ = old.__file__, old.__package__
    exec(compile(mutant.text(), old.__file__, "exec", dont_inherit=True), vars(new))
    graft(old, new)


NOTICED, LIVES = 1, 0
MOST_MEMORY = 3 << 30


def _try(mutant: Mutant | None, items: Sequence[pytest.Item], cpu_seconds: int, noticed_by: Any) -> None:
    """In a forked process: ends with NOTICED or LIVES, or by a signal where the CPU time is used up."""
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    if mutant is not None:
        try:
            take_over(mutant)
        except Exception:  # of any kind: a file that can't even be imported is noticed by every test
            os._exit(NOTICED)
    for place, item in enumerate(items):
        following = items[place + 1] if place + 1 < len(items) else None
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=following)):
            noticed_by.value = place
            os._exit(NOTICED)
    os._exit(LIVES)


@dataclass
class Account:
    """Of one file: its mutants, and what became of those that were tried."""

    made: int = 0
    equivalent: int = 0
    tried: int = 0
    noticed: int = 0


@dataclass
class Trial:
    """A pytest plugin that tries mutants in place of running tests.

    Args:
        files: of TARGETS.
        minutes: no mutant is begun after so many.
        seed: of their order.
        jobs: how many at a time.
    """

    files: Sequence[str]
    minutes: float
    seed: int
    jobs: int
    accounts: dict[str, Account] = field(default_factory=dict)
    items: dict[str, list[pytest.Item]] = field(default_factory=dict)
    noticing: dict[tuple[str, str], list[pytest.Item]] = field(default_factory=dict)
    cpu_seconds: dict[str, int] = field(default_factory=dict)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Prints the mutants that live, and fills the accounts."""
        deadline = time.monotonic() + 60 * self.minutes
        known, chosen = equivalents(), []
        for file in self.files:
            tests = [str(ROOT / "tests" / test) for test in TARGETS[file][1]]
            self.items[file] = [item for item in session.items if str(item.path) in tests]
            every = mutants_of(file, TARGETS[file][0])
            tried = [mutant for mutant in every if mutant.key not in known]
            self.accounts[file] = Account(len(every), len(every) - len(tried))
            chosen += tried
            self._measure(file)
        Random(self.seed).shuffle(chosen)
        for mutant, is_noticed in self._try_all(chosen, deadline):
            account = self.accounts[mutant.file]
            account.tried, account.noticed = account.tried + 1, account.noticed + is_noticed
            if not is_noticed:
                before, after = mutant.lines()
                print(f"\n{mutant.file}:{mutant.line} {mutant.function}\n- {before}\n+ {after}", flush=True)
        return True

    def _start(self, mutant: Mutant | None, items: Sequence[pytest.Item], cpu_seconds: int) -> tuple[Any, Any]:
        noticed_by = FORK.Value("i", -1)
        process = FORK.Process(target=_try, args=(mutant, items, cpu_seconds, noticed_by))
        process.start()
        return process, noticed_by

    def _items(self, mutant: Mutant) -> list[pytest.Item]:
        """The tests of a mutant: first those that noticed others of its function, the last one first."""
        first = self.noticing.get((mutant.file, mutant.function), [])
        return [*reversed(first), *(item for item in self.items[mutant.file] if item not in first)]

    def _measure(self, file: str) -> None:
        """Runs the tests of a file as it is. Raises RuntimeError where there are none, or one fails."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process, noticed_by = self._start(None, self.items[file], 3600)
        process.join()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if process.exitcode != LIVES or not self.items[file]:
            failed = self.items[file][noticed_by.value].nodeid if self.items[file] else "there are none"
            raise RuntimeError(f"the tests of {file} do not pass as it is: {failed}")
        self.cpu_seconds[file] = 10 + int(3 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime))

    def _try_all(self, mutants: Sequence[Mutant], deadline: float) -> Iterator[tuple[Mutant, bool]]:
        """Each mutant with whether a test noticed it, as they end."""
        waiting, running = iter(mutants), {}
        while True:
            while len(running) < self.jobs and time.monotonic() < deadline and (mutant := next(waiting, None)):
                items = self._items(mutant)
                process, noticed_by = self._start(mutant, items, self.cpu_seconds[mutant.file])
                running[process.sentinel] = process, mutant, items, noticed_by
            if not running:
                return
            for sentinel in wait(list(running)):
                process, mutant, items, noticed_by = running.pop(sentinel)
                process.join()
                if noticed_by.value >= 0:
                    first = self.noticing.setdefault((mutant.file, mutant.function), [])
                    item = items[noticed_by.value]
                    first[:] = [*(other for other in first if other is not item), item]
                yield mutant, process.exitcode != LIVES


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the survivors and the table; returns 1 where there are survivors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=15, help="no mutant is begun after so many (default: 15)")
    parser.add_argument("--seed", type=int, default=1, help="of their order")
    parser.add_argument("--jobs", type=int, default=2, help="at a time (default: 2)")
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS), metavar="FILE")
    args = parser.parse_args(arguments)
    trial = Trial(args.only, args.minutes, args.seed, args.jobs)
    tests = dict.fromkeys(str(ROOT / "tests" / test) for file in args.only for test in TARGETS[file][1])
    options = ["-qq", "-s", "--no-header", "--no-summary", "-p", "no:cacheprovider", "-m", "not slow and not browser"]
    code = pytest.main([*options, f"--rootdir={ROOT}", *tests], plugins=[trial])
    if code != pytest.ExitCode.OK:
        return int(code)
    from finener.data_scripts.tables import text_table

    rows = [[file, *map(str, (a.made, a.equivalent, a.tried, a.noticed))] for file, a in trial.accounts.items()]
    totals = [str(sum(int(row[column]) for row in rows)) for column in range(1, 5)]
    print("\n" + text_table(["file", "mutants", "equivalent", "tried", "noticed"], [*rows, ["all", *totals]]))
    return int(totals[2] != totals[3])


if __name__ == "__main__":
    sys.exit(main())

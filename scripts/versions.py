"""The tests with the oldest and with the newest libraries that pyproject.toml allows (``make test-versions``).

    python scripts/versions.py
    python scripts/versions.py --only newest --tests tests/test_modeling.py tests/training

The oldest are exactly the lower bounds of what the package needs: a bound that pip can't install beside the others is not true, and pip
says so. What these need in turn is as new as they let it be. The environments stay in ``.venv/oldest`` and ``.venv/newest``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tomllib
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from packaging.requirements import Requirement

from finener.data_scripts.tables import text_table

ROOT = Path(__file__).resolve().parent.parent
EXTRA = "metrics"  # evaluate too is a library that a model's code meets
SHOWN = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "huggingface_hub")
TESTS = ("tests",)
# What needs the other extras, or does not meet these libraries.
LEFT_OUT = (
    *("benchmarks", "data_scripts", "experiments", "export", "release", "scripts", "space", "transformers"),
    *("prediction/test_spacy_component.py", "test_docs.py", "test_fuzz.py", "test_hostile_pages.py", "test_house.py"),
)


@dataclass(frozen=True)
class Outcome:
    """What the tests of an environment came to."""

    versions: dict[str, str]
    passed: int
    failed: int
    skipped: int
    seconds: float


def lower_bounds(pyproject: Path) -> list[str]:
    """Of each library that the package needs, exactly its oldest version: ``["torch==2.6", …]``.

    Raises:
        ValueError: where a requirement has not one lower bound.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    bounds = []
    for requirement in map(Requirement, [*project["dependencies"], *project["optional-dependencies"][EXTRA]]):
        lowest = [part.version for part in requirement.specifier if part.operator in (">=", "==")]
        if len(lowest) != 1:
            raise ValueError(f'{requirement}: expected one lower bound, as in "{requirement.name}>=1.0"')
        bounds.append(f"{requirement.name}=={lowest[0]}")
    return bounds


def make_environment(folder: Path, pip_flags: Sequence[str]) -> Path:
    """The Python of a virtual environment with the oldest libraries, or the newest, as the folder's name says."""
    python = folder / "bin" / "python"
    if not python.is_file():
        venv.create(folder, with_pip=True)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(lower_bounds(ROOT / "pyproject.toml") if folder.name == "oldest" else []) + "\n")
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pip_flags]
    newer = ["--upgrade", "--upgrade-strategy", "eager"]
    package = f"{ROOT}[{EXTRA},test]"
    subprocess.run([*install, *newer, "--constraint", str(constraints), "--editable", package], check=True)
    return python


def run_tests(python: Path, tests: Sequence[str], jobs: int) -> Outcome:
    """Runs tests, which print as usual, with the Python of an environment."""
    report = python.parents[1] / "report.xml"
    left_out = [f"--ignore=tests/{name}" for name in LEFT_OUT]
    parallel = ["--numprocesses", str(jobs), "--dist", "loadfile"] if jobs > 1 else []
    chosen = ["-m", "not slow and not browser", *left_out, *tests]
    command = [str(python), "-m", "pytest", "--quiet", "-p", "no:cacheprovider", f"--junit-xml={report}", *parallel]
    lenient = ["-W", "default::DeprecationWarning"]  # old libraries use what others of them will drop
    report.unlink(missing_ok=True)
    subprocess.run([*command, *lenient, *chosen], cwd=ROOT, check=False)
    ask = f"import json; from importlib.metadata import version; print(json.dumps({{n: version(n) for n in {SHOWN}}}))"
    told = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=True)
    return read_report(report, json.loads(told.stdout))


def read_report(report: Path, versions: dict[str, str]) -> Outcome:
    """What pytest's report counts. Raises RuntimeError where pytest did not come to write one."""
    if not report.is_file():
        raise RuntimeError(f"pytest wrote no report at {report}: what it printed above tells why")
    suite = ElementTree.parse(report).getroot()[0]
    tests, failures, errors, skipped = (int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped"))
    failed = failures + errors
    return Outcome(versions, tests - failed - skipped, failed, skipped, float(suite.get("time")))


def table(outcomes: dict[str, Outcome]) -> str:
    """One row for each environment."""
    rows = [
        [name, *o.versions.values(), str(o.passed), str(o.failed), str(o.skipped), f"{o.seconds:.0f}"]
        for name, o in outcomes.items()
    ]
    return text_table(["libraries", *SHOWN, "passed", "failed", "skipped", "seconds"], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table, and returns 1 where a test failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=("oldest", "newest"), default=["oldest", "newest"])
    parser.add_argument(
        "--tests", nargs="+", default=TESTS, help="files and folders (default: all that meet the libraries)"
    )
    parser.add_argument("--pip_flags", default="", help='such as "--extra-index-url https://…"')
    parser.add_argument("--jobs", type=int, default=2, help="files at a time (default: 2)")
    args = parser.parse_args(arguments)
    outcomes = {}
    for name in args.only:
        python = make_environment(ROOT / ".venv" / name, shlex.split(args.pip_flags))
        outcomes[name] = run_tests(python, args.tests, args.jobs)
    print("\n" + table(outcomes))
    return int(any(outcome.failed or not outcome.passed for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())

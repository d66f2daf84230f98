"""The oldest libraries are the bounds of pyproject.toml, and a failed test in either environment fails the command."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from finener.scripts import versions
from finener.scripts.versions import Outcome, lower_bounds, main, read_report

ROOT = Path(versions.__file__).resolve().parents[1]
REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="16" time="4.5"></testsuite></testsuites>"""


def pyproject(folder: Path, *dependencies: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(
        f'[project]\ndependencies = {list(dependencies)}\noptional-dependencies.metrics = ["evaluate>=0.4"]\n'
    )
    return path


def test_the_oldest_libraries_are_exactly_the_lower_bounds(tmp_path):
    path = pyproject(tmp_path, "torch>=2.6,!=2.7", "tokenizers>=0.22.1,<1", "one==1.2")
    assert lower_bounds(path) == ["torch==2.6", "tokenizers==0.22.1", "one==1.2", "evaluate==0.4"]


@pytest.mark.parametrize("open_ended", ["torch", "torch<3", "torch>2.6"])
def test_a_requirement_without_a_lower_bound_is_told(tmp_path, open_ended):
    with pytest.raises(ValueError, match=r'torch.*: expected one lower bound, as in "torch>=1.0"'):
        lower_bounds(pyproject(tmp_path, open_ended))


def test_what_is_installed_by_default_is_no_older_than_the_bounds():
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {name.lower().replace("-", "_"): Version(version) for name, version in pinned.items()}
    bounds = [Requirement(bound) for bound in lower_bounds(ROOT / "pyproject.toml")]
    assert {*versions.SHOWN} <= {bound.name for bound in bounds}
    for bound in bounds:
        assert pins[bound.name.lower()] >= Version(str(bound.specifier).removeprefix("==")), bound


def test_what_is_left_out_is_there():
    assert [name for name in versions.LEFT_OUT if not (ROOT / "tests" / name).exists()] == []


def test_a_report_is_counted(tmp_path):
    path = tmp_path / "report.xml"
    with pytest.raises(RuntimeError, match="pytest wrote no report"):
        read_report(path, {})
    path.write_text(REPORT)
    assert read_report(path, {"torch": "2.6"}) == Outcome({"torch": "2.6"}, passed=10, failed=3, skipped=3, seconds=4.5)


@pytest.mark.parametrize(("failed", "passed", "code"), [(0, 5, 0), (1, 5, 1), (0, 0, 1)])
def test_both_environments_are_tested_and_a_failure_in_one_fails_all(monkeypatch, capsys, failed, passed, code):
    made = []

    def make(folder, pip_flags):
        made.append((folder.name, pip_flags))
        return folder / "bin" / "python"

    def run(python, tests, jobs):
        name = python.parents[1].name
        return Outcome(dict.fromkeys(versions.SHOWN, name), passed, failed * (name == "oldest"), 2, 60.4)

    monkeypatch.setattr(versions, "make_environment", make)
    monkeypatch.setattr(versions, "run_tests", run)
    assert main(["--pip_flags=--extra-index-url URL"]) == code
    assert made == [("oldest", ["--extra-index-url", "URL"]), ("newest", ["--extra-index-url", "URL"])]
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows[2] == ["oldest", *["oldest"] * 6, str(passed), str(failed), "2", "60"]
    assert rows[3] == ["newest", *["newest"] * 6, str(passed), "0", "2", "60"]

"""What goes on after SIGKILL ends as if nobody had killed it; and the test of that sees a difference."""

from __future__ import annotations

import json
from pathlib import Path

import kills
import pytest


@pytest.mark.parametrize(
    "name",
    ["prediction", *(pytest.param(name, marks=pytest.mark.slow) for name in kills.PROGRAMS if name != "prediction")],
)
def test_a_program_that_is_killed_again_and_again_ends_as_if_it_had_not_been(name, tmp_path):
    account = kills.kill_again_and_again(name, 2, 7, tmp_path)
    assert account.kills == 2 and account.equal == account.compared > 0


def count(folder: Path) -> None:
    """Ends with as many lines as it was started."""
    with (folder / "out").open("a") as out:
        out.write("started\n")
    kills.time.sleep(0.5)


def fail(folder: Path) -> None:
    raise ValueError("it does not go on")


def test_what_ends_differently_or_does_not_go_on_is_told(tmp_path, monkeypatch):
    counting = kills.Program(Path.mkdir, count, lambda folder: (folder / "out").read_text())
    monkeypatch.setitem(kills.PROGRAMS, "counting", counting)
    (tmp_path / "counting").mkdir()
    account = kills.kill_again_and_again("counting", 3, 1, tmp_path / "counting")
    assert account.kills == 3 and account.equal < account.compared
    monkeypatch.setitem(kills.PROGRAMS, "failing", kills.Program(Path.mkdir, fail, str))
    (tmp_path / "failing").mkdir()
    with pytest.raises(RuntimeError, match=r"failing ended with exit code 1:\n(.*\n)*ValueError: it does not go on"):
        kills.kill_again_and_again("failing", 1, 1, tmp_path / "failing")


def test_times_do_not_count():
    result = {"seconds": 2.0, "folds": [{"seconds": 1.0, "name": "a"}], "curve": [{"train_loss": 1.0, "epoch": 2}]}
    assert json.dumps(kills.comparable(result)) == '{"folds": [{"name": "a"}], "curve": [{"epoch": 2}]}'

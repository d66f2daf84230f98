"""Runs of the script that several tests look at."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path

import pytest

from runs import make_workplace, run, write_config


@pytest.fixture
def workplace(tmp_path, encoder_folder, monkeypatch) -> Path:
    """An own folder, which is the working directory."""
    make_workplace(tmp_path, encoder_folder)
    write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def finished(tmp_path_factory, encoder_folder) -> Path:
    """The folder of a run of both phases; what it printed is in ``printed.txt``."""
    folder = make_workplace(tmp_path_factory.mktemp("finished"), encoder_folder)
    write_config(folder)
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["/somewhere/train_finener.py", "--config", "run.yaml"])
        (folder / "printed.txt").write_text(run(), encoding="utf-8")
    return folder


@pytest.fixture
def given(finished, workplace) -> Path:
    """A workplace with the pre-trained model in ``given`` and a fine-tuned one in ``tuned``; the YAML goes on from the first."""
    shutil.copytree(finished / "out" / "pretrained", workplace / "given")
    shutil.copytree(finished / "out" / "final", workplace / "tuned")
    return workplace

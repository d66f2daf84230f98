"""A saved model, and the command run on the content of a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finener.prediction.command import main

import tiny


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, tokenizer) -> Path:
    """A saved model whose random detector finds many mentions."""
    folder = tmp_path_factory.mktemp("model")
    tiny.tiny_model(tokenizer, target=True).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def predict(model_folder: Path, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Gives what the command writes to ``out.jsonl`` for the content of its input file."""

    def run(
        content: bytes, *options: str, name: str = "in.jsonl", model: Path = model_folder, ends: int = 0
    ) -> list[dict[str, Any]]:
        (tmp_path / name).write_bytes(content)
        paths = ["--input", str(tmp_path / name), "--output", str(tmp_path / "out.jsonl")]
        assert main(["--model", str(model), *paths, "--device", "cpu", *options]) == ends
        written = (tmp_path / "out.jsonl").read_bytes()
        assert not written or written.endswith(b"\n")
        return [json.loads(line) for line in written.split(b"\n")[:-1]]

    return run

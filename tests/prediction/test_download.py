"""A model by its name, from a Hub where each request of the download fails: it comes whole, or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from finener.prediction.records import load_pipeline

import hub as loopback
import tiny


def load(hub: loopback.Hub) -> list[dict]:
    """What the model says of a text, with nothing in the cache."""
    shutil.rmtree(Path(os.environ["HF_HOME"]) / "hub" / "models--me--mine", ignore_errors=True)
    return load_pipeline("me/mine", "cpu")(next(iter(tiny.GOLD)))


@pytest.fixture
def mine(hub, model_folder, monkeypatch) -> loopback.Hub:
    """A Hub that holds a model."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"  # is made when huggingface_hub is imported
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    files = {p.name: (p.read_bytes(), p.suffix == ".safetensors") for p in model_folder.iterdir() if p.is_file()}
    hub.repos["models", "me/mine"] = loopback.Repo({})
    hub.repos["models", "me/mine"].add("main", "a model", files)
    return hub


@pytest.mark.parametrize("how", ["500", *(pytest.param(how, marks=pytest.mark.slow) for how in ("always 503", "lost"))])
def test_a_model_comes_whole_or_not_at_all_whichever_request_fails(mine, how):
    mine.fail(0, "")
    expected = load(mine)
    assert expected
    n_requests, told, whole = len(mine.log), 0, 0
    for number in range(1, n_requests + 1):
        mine.fail(number, how)
        try:
            found = load(mine)
        except (OSError, ValueError) as error:
            told += 1
            assert "me/mine" in str(error) and "\n" not in str(error)
        else:
            whole += 1
            assert found == expected
    assert told > 0 and told + whole == n_requests > 10
    mine.fail(0, "")
    assert load(mine) == expected

"""Everything runs offline and on one thread."""

# ruff: noqa: E402 (the environment must be set before transformers is imported)

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

CACHE = tempfile.TemporaryDirectory(prefix="finener-tests-")
os.environ.update(
    HF_HOME=CACHE.name,  # caches and remote code of this run, and of the processes that it starts
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    TOKENIZERS_PARALLELISM="false",
)
for name in ("HF_MODULES_CACHE", "HF_HUB_CACHE", "HF_DATASETS_CACHE"):
    os.environ.pop(name, None)

import pytest
import torch
from huggingface_hub.utils import close_session
from transformers import PreTrainedTokenizerFast

from finener.modeling_finener import FinenerForTokenClassification
from finener.ontology_finener import Ontology

import hub as loopback
import tiny

torch.set_num_threads(1)

LONG = ("test_tour.py", "test_distributed.py", "test_release.py", "test_onnx.py", "test_stock.py", "test_quickstart.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: where several run at a time, none of them is left alone at the end."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[loopback.Hub]:
    """A Hub on this machine, which this process and, by ``hub.environment``, others take for the only one."""
    with loopback.running() as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        # The trainer turns progress bars off and on again, which warns where the environment has turned them off.
        monkeypatch.setattr(sys.modules["huggingface_hub.utils.tqdm"], "HF_HUB_DISABLE_PROGRESS_BARS", None)
        yield server
        close_session()


@pytest.fixture(scope="session")
def source() -> Ontology:
    return tiny.two_parent_ontology()


@pytest.fixture(scope="session")
def target() -> Ontology:
    return tiny.target_ontology()


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny.wordpiece_tokenizer(lowercase=False)


@pytest.fixture(scope="session", params=tiny.TOKENIZERS)
def any_tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """Each kind of tokenizer in turn."""
    return tiny.TOKENIZERS[request.param]()


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerFast) -> FinenerForTokenClassification:
    """A new one for each test, which may train it; seed 0."""
    return tiny.tiny_model(tokenizer)


@pytest.fixture
def target_model(tokenizer: PreTrainedTokenizerFast) -> FinenerForTokenClassification:
    """As ``model``, with a conversion head."""
    return tiny.tiny_model(tokenizer, target=True)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A pretrained encoder with its tokenizer, cased WordPiece."""
    return tiny.save_tiny_encoder(tmp_path_factory.mktemp("encoder"), tokenizer)


@pytest.fixture(params=tiny.VARIANTS)
def knobs(request: pytest.FixtureRequest) -> dict:
    """Each variant of the model in turn."""
    return tiny.VARIANTS[request.param]

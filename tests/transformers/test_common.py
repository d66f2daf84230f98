"""transformers' own common tests of models, over a tiny one of ours: `make test-all` fetches them, nothing of theirs is kept here."""

from __future__ import annotations

import importlib
import sys
import types
import unittest
from pathlib import Path
from typing import Any

import pytest

from finener.configuration_finener import FinenerConfig
from finener.modeling_finener import FinenerForTokenClassification

import tiny

FOLDER = Path(sys.prefix) / "transformers-tests"
if not (FOLDER / "test_modeling_common.py").is_file():
    pytest.skip(f"transformers' tests are not at {FOLDER}: `make test-all` fetches them", allow_module_level=True)
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

# Tests of theirs that can't hold for a finener model, by the start of their names, each with the reason.
SKIPPED = {
    "test_eager_matches_sdpa_inference": "it feeds input_ids alone; this model reads words, so it needs word_starts",
}


def import_theirs() -> types.ModuleType:
    """Their module of common tests. Two mixins that it names are not in the sdist: empty ones take their place."""
    package = types.ModuleType("transformers_tests")
    package.__path__ = [str(FOLDER)]
    sys.modules["transformers_tests"] = package
    for name, mixin in (
        ("exporters.test_export", "ExportTesterMixin"),
        ("generation.test_utils", "GenerationTesterMixin"),
    ):
        for at in (name.split(".")[0], name):
            module = sys.modules[f"transformers_tests.{at}"] = types.ModuleType(f"transformers_tests.{at}")
            module.__path__ = []
        setattr(module, mixin, type(mixin, (), {}))
    return importlib.import_module("transformers_tests.test_modeling_common")


ModelTesterMixin = import_theirs().ModelTesterMixin


class TinyFinener:
    """What the mixin asks for a config and a batch."""

    num_hidden_layers, hidden_size, num_attention_heads = 2, 16, 2
    is_training = True

    def __init__(self, parent: unittest.TestCase):
        self.parent = parent
        self.tokenizer = tiny.wordpiece_tokenizer(lowercase=False)

    def get_config(self) -> FinenerConfig:
        return FinenerConfig(tiny.encoder_config(self.tokenizer), tiny.two_parent_ontology(), lstm_hidden_size=8)

    def prepare_config_and_inputs_for_common(self) -> tuple[FinenerConfig, dict[str, Any]]:
        model = tiny.tiny_model(self.tokenizer)
        batch = tiny.gold_batch(model, self.tokenizer)
        self.labels = {name: batch.pop(name) for name in ("labels", "mention_spans", "type_labels")}
        self.batch_size, self.seq_length = batch["input_ids"].shape
        return self.get_config(), batch


class FinenerCommonTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (FinenerForTokenClassification,)
    has_attentions = True

    def _prepare_for_class(self, inputs_dict: dict[str, Any], model_class: type, return_labels: bool = False) -> dict:
        """With gold mentions where labels are asked for: theirs would be of other shapes."""
        inputs = super()._prepare_for_class(inputs_dict, model_class)
        return inputs | self.model_tester.labels if return_labels else inputs

    def setUp(self) -> None:
        for name, reason in SKIPPED.items():
            if self._testMethodName.startswith(name):
                self.skipTest(reason)
        self.model_tester = TinyFinener(self)

"""What an Inference Endpoint answers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from finener import handler as handlers
from finener.handler import EndpointHandler

import tiny
from texts import long_text

TEXTS = [long_text(9, seed) for seed in range(4)]


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> EndpointHandler:
    folder, tokenizer = tmp_path_factory.mktemp("saved"), tiny.wordpiece_tokenizer(lowercase=False)
    tiny.tiny_model(tokenizer, target=True).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return EndpointHandler(str(folder))


def test_a_text_and_texts_are_answered_in_kind(served):
    one, many = served({"inputs": TEXTS[0]}), served({"inputs": TEXTS})
    assert one == served.pipeline(TEXTS[0]) != []
    assert many == served.pipeline(TEXTS) and len(many) == 4
    assert served({"inputs": [TEXTS[0]]}) == [one] and served({"inputs": []}) == []
    assert json.loads(json.dumps(many)) == many


def test_instances_are_answered_with_predictions(served):
    expected = {"predictions": served({"inputs": TEXTS})}
    assert served({"instances": TEXTS}) == served({"instances": [{"inputs": text} for text in TEXTS]}) == expected


def test_words_are_taken(served):
    words, parameters = TEXTS[0].split(), {"is_split_into_words": "true"}
    [one] = served({"inputs": [words], "parameters": parameters})
    assert served({"inputs": words, "parameters": parameters}) == one
    assert [m["start"] for m in one] == [m["start"] for m in served({"inputs": TEXTS[0]})]


def test_numbers_may_be_strings_as_a_query_brings_them(served):
    asked = {"detection_threshold": 0.5, "type_threshold": 0.1, "top_k": 2, "batch_size": 1, "head": "source"}
    texts = {name: str(value) for name, value in asked.items()}
    assert (
        served({"inputs": TEXTS, "parameters": texts}) == served.pipeline(TEXTS, **asked) != served({"inputs": TEXTS})
    )


def test_what_clients_send_to_any_token_classifier_is_understood(served):
    every = served({"inputs": TEXTS[0]})
    group = every[0]["entity_group"]
    sent = {"aggregation_strategy": "simple", "stride": 16, "ignore_labels": [group], "top_k": None}
    found = served({"inputs": TEXTS[0], "parameters": sent, "options": {"wait_for_model": True}})
    assert found == [m for m in every if m["entity_group"] != group] != every
    assert served({"inputs": TEXTS[0], "parameters": None}) == every


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("New York", 'expected {"inputs": "a text"'),
        ({}, 'expected {"inputs": "a text".* got NoneType'),
        ({"inputs": {"text": "New York"}}, "got dict"),
        ({"inputs": ["New York", 5]}, "got 5 among the texts"),
        ({"inputs": [["New", "York"]]}, r"got \['New', 'York'\] among the texts"),
        ({"instances": "New York"}, 'expected {"instances"'),
        ({"instances": [{"text": "New York"}]}, "got None among the texts"),
        ({"inputs": "x", "parameters": [1]}, 'expected "parameters" to be an object'),
        ({"inputs": "x", "parameters": {"aggregation_strategy": "none"}}, "mentions are whole"),
        ({"inputs": "x", "parameters": {"ignore_labels": "per"}}, "ignore_labels must be a list of types, got 'per'"),
        ({"inputs": "x", "parameters": {"top_k": "two"}}, "top_k must be a whole number, got 'two'"),
        ({"inputs": "x", "parameters": {"is_split_into_words": "maybe"}}, "is_split_into_words must be true or false"),
        ({"inputs": "x", "parameters": {"batch_size": "-1"}}, "batch_size must be a whole number of at least 1"),
        (
            {"inputs": "x", "parameters": {"detection_threshold": "1.5"}},
            r"detection_threshold must be a number in \[0, 1\]",
        ),
        (
            {"inputs": "x", "parameters": {"detection_threshold": "nan"}},
            r"detection_threshold must be a number in \[0, 1\]",
        ),
        ({"inputs": "x", "parameters": {"threshold": 0.5}}, r"unknown arguments \['threshold'\]"),
    ],
)
def test_what_it_can_not_answer_is_told_in_one_line(served, data, says):
    with pytest.raises((ValueError, TypeError), match=says) as error:
        served(data)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_a_request_has_a_largest_size(served, monkeypatch):
    monkeypatch.setattr(handlers, "MOST_CHARACTERS", 100)
    assert served({"inputs": "x " * 50}) is not None
    with pytest.raises(ValueError, match="a request may hold 1,024 texts of 100 characters in all; got 2 of 101"):
        served({"inputs": ["x " * 50, "y"]})
    with pytest.raises(ValueError, match="got 1,025 of 0"):
        served({"inputs": [""] * 1025})


def test_an_older_transformers_is_told_what_to_do(tmp_path):
    program = "import transformers; transformers.__version__ = '4.57.1'; import finener.configuration_finener"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode and ended.stderr.splitlines()[-1] == (
        "ImportError: finener needs transformers >= 5, here is 4.57.1: pip install --upgrade 'transformers>=5'"
    )

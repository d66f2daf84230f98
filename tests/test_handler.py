"""What an Inference Endpoint answers."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from finener import handler as handlers
from finener.handler import EndpointHandler

import tiny
from texts import long_text

TEXTS = [long_text(9, seed) for seed in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder, tokenizer = tmp_path_factory.mktemp("saved"), tiny.wordpiece_tokenizer(lowercase=False)
    tiny.tiny_model(tokenizer, target=True).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def served(folder) -> EndpointHandler:
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
        ({"inputs": "x", "parameters": {"aggregation_strategy": "none"}}, "'none' is not there: mentions are whole"),
        ({"inputs": "x", "parameters": {"aggregation_strategy": 5}}, "aggregation_strategy 5 is not there"),
        ({"inputs": "x", "parameters": {"ignore_labels": ["per", 3]}}, "ignore_labels must be a list of types"),
        ({"inputs": "x", "parameters": {"ignore_labels": {"per": 1}}}, "ignore_labels must be a list of types"),
        ({"inputs": "x", "parameters": {"types": {"per": 1}}}, "types must be a text or a list of texts such as"),
        ({"inputs": "x", "parameters": {"types": ["per", 3]}}, "types must be a text or a list of texts such as"),
        ({"inputs": "x", "parameters": {"types": ["a"] * 1025}}, "ask for 1,024 types of .* got 1,025 of 1,025"),
        ({"inputs": "x", "parameters": {"types": ["a" * 70_000]}}, "65,536 characters in all; got 1 of 70,000"),
        ({"inputs": "x", "parameters": {"mentions": [[0, 1]] * 4097}}, "may give 4,096 mentions; got 4,097"),
        ({"inputs": ["x", "y"], "parameters": {"mentions": [[[0, 1]] * 4096, [[0, 1]]]}}, "mentions; got 4,097"),
        ({"inputs": "x", "parameters": {"batch_size": "257"}}, "batch_size of a request must be at most 256, got 257"),
        ({"inputs": "x", "parameters": {"top_k": 101}}, "top_k of a request must be at most 100, got 101"),
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


@pytest.fixture(scope="module")
def post(folder) -> Callable[..., tuple[int, Any]]:
    """What a server answers that loads a folder's ``handler.py`` by its path and gives it the JSON of a request and its query."""
    spec = importlib.util.spec_from_file_location("handler.EndpointHandler", folder / "handler.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler = module.EndpointHandler(str(folder))

    def post(body: bytes, query: str = "") -> tuple[int, Any]:
        try:
            data = json.loads(body)
            if query and "parameters" not in data:
                data["parameters"] = {k: {"true": True, "false": False}.get(v, v) for k, v in parse_qsl(query)}
            status, answer = 200, handler(data)
        except Exception as error:
            status, answer = 400, {"error": str(error)}
        return status, json.loads(json.dumps(answer, allow_nan=False))

    return post


def test_the_folders_own_handler_answers_what_comes_over_the_wire(post, served):
    text = json.dumps({"inputs": TEXTS[0]}).encode()
    assert post(text) == (200, served({"inputs": TEXTS[0]}))
    asked = {"top_k": 2, "type_threshold": 0.1, "is_split_into_words": False}
    status, answer = post(text, "top_k=2&type_threshold=0.1&is_split_into_words=false")
    assert (status, answer) == (200, served.pipeline(TEXTS[0], **asked))
    groups = {m["entity_group"] for m in served({"inputs": TEXTS[0]})}
    assert len(groups) > 1 and post(text, f"ignore_labels={', '.join(groups)}") == (200, [])
    assert post('{"inputs": "東京 😀 Frida"}'.encode())[1] == served({"inputs": "東京 😀 Frida"})
    assert post(b'{"inputs": []}') == (200, []) and post(b'{"instances": []}') == (200, {"predictions": []})


@pytest.mark.parametrize(
    "body", [b"", b"{bad", b"5", b"null", b'"inputs"', b'["inputs"]', b"{}", b'{"inputs": {"inputs": "x"}}']
)
def test_what_is_no_request_is_an_error_of_one_line(post, body):
    status, answer = post(body)
    assert status == 400 and 0 < len(answer["error"]) < 300 and "\n" not in answer["error"]


def test_an_older_transformers_is_told_what_to_do():
    program = """
import sys, transformers
for transformers.__version__ in sys.argv[1:]:
    try:
        import finener.configuration_finener
    except ImportError as error:
        print(error)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, "4.57.1", "5.10.4"], capture_output=True, text=True, check=True
    )
    expected = "finener needs transformers >= 5.11, here is {}: pip install --upgrade 'transformers>=5.11'"
    assert ended.stdout.splitlines() == [expected.format("4.57.1"), expected.format("5.10.4")]

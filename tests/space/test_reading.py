"""What the Space reads, and how it asks the pipeline."""

from __future__ import annotations

import pytest

from finener.pipeline_finener import FinenerPipeline

import reading
import tiny
from reading import OWN, InputError, Question, Text, arguments, find, own_types, read_file, read_inputs, type_systems


@pytest.fixture
def pipe(target_model, tokenizer) -> FinenerPipeline:
    return FinenerPipeline(model=target_model, tokenizer=tokenizer)


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_file_goes_before_the_text(tmp_path):
    assert read_inputs("Ann left.", None) == [Text("", "Ann left.")]
    assert read_inputs("Ann left.", write(tmp_path / "a.txt", "\ufeffBob\r\ncame.")) == [Text("a.txt", "Bob\ncame.")]


def test_a_line_of_json_is_a_text_even_with_line_separators_of_unicode_in_it(tmp_path):
    lines = '{"id": "d1", "text": "Ann\u2028left."}\n\n{"text": "Bob came.", "other": 1}\n{"id": 7, "text": " "}\n'
    file = write(tmp_path / "a.jsonl", lines)
    assert read_file(file) == [Text("d1", "Ann\u2028left."), Text("3", "Bob came."), Text("7", " ")]
    assert [t.id for t in read_inputs("", file)] == ["d1", "3"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "Ann"}\n["Bob"]\n', 'a.jsonl, line 2: expected an object with a text, {"id"'),
        ("a.jsonl", "Ann left.", "a.jsonl, line 1: expected"),
        ("a.jsonl", '{"text": 1}', "a.jsonl, line 1: expected"),
        ("a.txt", "Zoë".encode("latin-1"), "a.txt is not UTF-8"),
        ("a.pdf", "%PDF", "expected a .txt or .jsonl file"),
        ("a.txt", " \n", "There is nothing to read"),
    ],
)
def test_what_is_no_text_is_told_by_its_place(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read_inputs("", write(tmp_path / name, content))


def test_a_text_that_is_too_long_is_refused_and_not_cut(monkeypatch):
    monkeypatch.setattr(reading, "MOST_CHARACTERS", 9)
    assert read_inputs("Ann left.", None)
    with pytest.raises(InputError, match=r"10 characters; this page reads at most 9 at a time.*finener predict"):
        read_inputs("Ann left..", None)


def test_own_types_are_told_apart_whatever_their_case(pipe):
    ontology = own_types(" painter \n\nCity\npainter\ncity\n", pipe)
    assert ontology.ids == ("painter", "City") and ontology.roots == (0, 1)
    for lines in ("", " \n ", "\n".join(map(str, range(501)))):
        with pytest.raises(InputError, match="Give 1 to 500 types, one a line"):
            own_types(lines, pipe)


def test_the_models_own_threshold_applies_until_it_is_moved(pipe):
    config = pipe.model.config
    config.type_threshold = {"default": 0.3, "types": {"person": 0.8}}
    assert reading.model_threshold(config, "source") == 0.3
    assert arguments(pipe, Question("source", detection=0.1, threshold=0.3)) == {
        "detection_threshold": 0.1,
        "head": "source",
    }
    assert arguments(pipe, Question("source", threshold=0.4))["type_threshold"] == 0.4
    asked = arguments(pipe, Question(OWN, "painter", threshold=reading.OWN_THRESHOLD))
    assert asked["type_threshold"] == reading.OWN_THRESHOLD and "head" not in asked


@pytest.mark.parametrize("head", ["target", "source", OWN])
def test_the_answer_has_the_types_that_were_asked_for(pipe, head):
    texts = [Text(str(n), text) for n, text in enumerate(tiny.GOLD)]
    threshold = 0.0 if head == OWN else reading.model_threshold(pipe.model.config, head)
    answer = find(pipe, texts, Question(head, "painter\ncity", pipe.model.config.detection_threshold, threshold))
    options = {"types": ["painter", "city"], "type_threshold": 0.0} if head == OWN else {"head": head}
    assert answer.mentions == pipe([t.text for t in texts], **options) and any(answer.mentions)
    assert all(t in answer.ontology for of_text in answer.mentions for m in of_text for t in m["types"])


def test_a_model_of_one_head_has_one_type_system(model, target_model):
    assert list(type_systems(model.config)) == ["source"]
    assert {head: o.name for head, o in type_systems(target_model.config).items()} == {"target": "tgt", "source": "src"}

"""Batch prediction: one line out for each line in, and nothing lost or made up on the way."""

from __future__ import annotations

import json
from typing import Any
from weakref import WeakSet

import pytest

from finener import pipeline_finener
from finener.data_scripts.schema import validate_record
from finener.ontology_finener import Ontology
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.records import load_pipeline, predict_records

TEXTS = [
    "Frida Kahlo painted in Mexico City.",
    "",
    "😀 東京 is big, said Ann.",
    "   \u200b ",
    "Nobody came. " * 20,
    "line\u2028separators\u0085are text",
]


def json_lines(*records: Any) -> bytes:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()


def spans(record: dict[str, Any]) -> list[tuple[int, int]]:
    return [(m["start"], m["end"]) for m in record["mentions"]]


@pytest.mark.parametrize("batch_size", ["1", "4", "32"])
def test_each_line_gives_one_line_with_the_same_id_in_the_same_order(predict, model_folder, batch_size):
    records = [{"id": f"id {i % 3}-{i}", "text": text} for i, text in enumerate(TEXTS)]
    found = predict(json_lines(*records), "--batch_size", batch_size)
    assert [(r["id"], r["text"]) for r in found] == [(r["id"], r["text"]) for r in records]
    assert len(found[0]["mentions"]) > 1 and len(found[4]["mentions"]) > 1
    pipe = load_pipeline(str(model_folder), "cpu")
    assert [spans(r) for r in found] == [[(m["start"], m["end"]) for m in pipe(text)] for text in TEXTS]


def test_every_line_of_the_output_is_a_valid_record_of_the_target_types(predict, target):
    found = predict(json_lines(*({"id": str(i), "text": t} for i, t in enumerate(TEXTS))))
    for record in found:
        assert validate_record(record, target)["mentions"] == [{**m, "origin": ""} for m in record["mentions"]]
        assert record["typed"] is True and record["exhaustive"] is False and record["ontology"] == "tgt"
        for mention in record["mentions"]:
            assert mention["types"] and sorted(mention["types"]) == sorted(target.closure(mention["types"]))
            assert 0 < mention["score"] <= 1 and len(mention["type_scores"]) == len(mention["types"])


def test_extra_keys_are_carried_over(predict):
    line = {"id": "a", "text": "Ann left.", "date": "2019-05-04", "nested": {"n": [1, None, 2.5]}, "doc_id": "d"}
    (found,) = predict(json_lines(line))
    assert {k: found[k] for k in line} == line
    assert set(found) - set(line) == {"mentions", "exhaustive", "typed", "ontology"}


def test_a_line_without_an_id_gets_its_number(predict):
    found = predict(json_lines({"text": "Ann"}, {"id": "x", "text": "Bo"}, {"text": "Cy"}))
    assert [r["id"] for r in found] == ["1", "x", "3"]


def test_mentions_of_the_input_are_ignored_whatever_they_hold(predict):
    text = TEXTS[0]
    variants = [{}, {"mentions": [{"start": 3, "end": 5}]}, {"mentions": None}, {"mentions": [{"span": "x"}]}]
    found = predict(json_lines(*({"id": "a", "text": text} | v for v in variants)))
    assert found[0]["mentions"] and all(r == found[0] for r in found)


def test_gold_mentions_are_typed_exactly_as_they_are_given(predict, model_folder):
    given = [(0, 11), (14, 17), (23, 34)]  # the second begins and ends inside a word
    lines = [
        {"id": "a", "text": TEXTS[0], "mentions": [{"start": s, "end": e, "types": ["org.company"]} for s, e in given]},
        {"id": "b", "text": TEXTS[0], "mentions": []},
        {"id": "c", "text": TEXTS[0]},
        {"id": "d", "text": TEXTS[4], "mentions": [{"start": 7, "end": 11}, {"start": 150, "end": 173}]},
        {"id": "e", "text": TEXTS[2], "mentions": [{"start": 0, "end": 1}, {"start": 2, "end": 4}]},
    ]
    found = predict(json_lines(*lines), "--gold_mentions", "--batch_size", "2")
    assert [spans(r) for r in found] == [given, [], [], [(7, 11), (150, 173)], [(0, 1), (2, 4)]]
    assert all(m["types"] for r in found for m in r["mentions"])
    pipe = load_pipeline(str(model_folder), "cpu")
    expected = pipe(TEXTS[0], mentions=given)
    assert [m["types"] for m in found[0]["mentions"]] == [list(m["types"]) for m in expected]
    assert "org.company" not in {t for m in found[0]["mentions"] for t in m["types"]}  # the model decides


def test_the_head_chooses_the_types(predict, source, target):
    line = json_lines({"id": "a", "text": TEXTS[0]})

    def types(*options: str) -> tuple[str, set[str]]:
        (record,) = predict(line, *options)
        return record["ontology"], {t for m in record["mentions"] for t in m["types"]}

    name, found = types("--head", "source")
    assert name == "src" and found and found <= set(source.ids)
    assert types("--head", "target") == types()
    assert types()[0] == "tgt" and types()[1] <= set(target.ids)


def test_a_model_without_target_types_gives_source_types(model, tokenizer, source: Ontology):
    pipe = FinenerPipeline(model=model, tokenizer=tokenizer, device="cpu")
    (found,) = predict_records(pipe, [{"id": "a", "text": TEXTS[0]}])
    assert found["ontology"] == "src" and found["mentions"]
    validate_record(found, source)


def test_code_that_lies_beside_a_model_is_not_run(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for file in tmp_path.glob("*.py"):
        file.write_text("raise SystemExit('the code of the folder ran')\n", encoding="utf-8")
    assert load_pipeline(str(tmp_path))(TEXTS[0]) == FinenerPipeline(model=model, tokenizer=tokenizer)(TEXTS[0])


@pytest.mark.parametrize("gold_mentions", [False, True])
def test_records_are_read_no_faster_than_they_are_predicted(model, tokenizer, gold_mentions):
    pipe = FinenerPipeline(model=model, tokenizer=tokenizer, device="cpu")
    read = []

    def records():
        for i in range(100):
            read.append(i)
            yield {"id": str(i), "text": "Ann left."}

    predicted = predict_records(pipe, records(), batch_size=4, gold_mentions=gold_mentions)
    assert read == [] and next(predicted)["id"] == "0" and len(read) == 4
    assert [next(predicted)["id"] for _ in range(4)] == ["1", "2", "3", "4"]
    assert len(read) == 4 + 16
    assert [r["id"] for r in predicted] == [str(i) for i in range(5, 100)]


@pytest.mark.parametrize("gold_mentions", [False, True])
def test_records_that_are_predicted_are_not_held(model, tokenizer, monkeypatch, gold_mentions):
    class Kept(dict):
        """A record whose end can be seen."""

        __hash__ = object.__hash__

    monkeypatch.setattr(pipeline_finener, "READ_AHEAD_TEXTS", 4)
    pipe = FinenerPipeline(model=model, tokenizer=tokenizer, device="cpu")
    alive = WeakSet()

    def records():
        for i in range(400):
            alive.add(record := Kept(id=str(i), text="Ann left.", mentions=[{"start": 0, "end": 3}]))
            yield record

    most = max(len(alive) for _ in predict_records(pipe, records(), batch_size=4, gold_mentions=gold_mentions))
    assert most < 200  # tee drops them by the dozen


def test_a_text_file_is_one_text_a_line(predict):
    content = '\ufeffFrida Kahlo painted.\r\n\n  \nA \u2028 B {"text": 1}'.encode()
    found = predict(content, name="in.txt")
    assert [(r["id"], r["text"]) for r in found] == [
        ("1", "Frida Kahlo painted."),
        ("2", ""),
        ("3", "  "),
        ("4", 'A \u2028 B {"text": 1}'),
    ]
    assert spans(found[0]) and spans(found[1]) == spans(found[2]) == []


@pytest.mark.parametrize("name", ["in.jsonl", "in.txt"])
def test_an_empty_file_gives_an_empty_file(predict, tmp_path, name):
    assert predict(b"", name=name) == []
    assert (tmp_path / "out.jsonl").read_bytes() == b""


def test_blank_text_gives_no_mentions(predict):
    blank = ["", " ", "\n\t ", "\u200b", "\u00a0"]
    found = predict(json_lines(*({"id": repr(t), "text": t} for t in blank)))
    assert [r["mentions"] for r in found] == [[]] * len(blank)

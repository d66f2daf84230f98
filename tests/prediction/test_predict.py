"""Batch prediction: one line out for each line in, and nothing lost or made up on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finener.data_scripts.schema import validate_record
from finener.ontology_finener import Ontology
from finener.pipeline_finener import FinenerPipeline
from finener.prediction import command as predict_finener
from finener.prediction.command import main
from finener.prediction.records import load_pipeline, predict_records

import tiny

TEXTS = [
    "Frida Kahlo painted in Mexico City.",
    "",
    "😀 東京 is big, said Ann.",
    "   \u200b ",
    "Nobody came. " * 20,
    "line\u2028separators\u0085are text",
]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, tokenizer) -> Path:
    """A saved model whose random detector finds many mentions."""
    folder = tmp_path_factory.mktemp("model")
    tiny.tiny_model(tokenizer, target=True).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def predict(folder: Path, model: Path, content: bytes, *options: str, name: str = "in.jsonl") -> list[dict[str, Any]]:
    """What the command writes for the content of its input file."""
    (folder / name).write_bytes(content)
    main(["--model", str(model), "--input", str(folder / name), "--output", str(folder / "out.jsonl"), "--device", "cpu",
          *options])  # fmt: skip
    written = (folder / "out.jsonl").read_bytes()
    assert not written or written.endswith(b"\n")
    return [json.loads(line) for line in written.split(b"\n")[:-1]]


def json_lines(*records: Any) -> bytes:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()


def spans(record: dict[str, Any]) -> list[tuple[int, int]]:
    return [(m["start"], m["end"]) for m in record["mentions"]]


@pytest.mark.parametrize("batch_size", ["1", "4", "32"])
def test_each_line_gives_one_line_with_the_same_id_in_the_same_order(tmp_path, model_folder, batch_size):
    records = [{"id": f"id {i % 3}-{i}", "text": text} for i, text in enumerate(TEXTS)]
    found = predict(tmp_path, model_folder, json_lines(*records), "--batch_size", batch_size)
    assert [(r["id"], r["text"]) for r in found] == [(r["id"], r["text"]) for r in records]
    assert len(found[0]["mentions"]) > 1 and len(found[4]["mentions"]) > 1
    pipe = load_pipeline(str(model_folder), "cpu")
    assert [spans(r) for r in found] == [[(m["start"], m["end"]) for m in pipe(text)] for text in TEXTS]


def test_every_line_of_the_output_is_a_valid_record_of_the_target_types(tmp_path, model_folder, target):
    found = predict(tmp_path, model_folder, json_lines(*({"id": str(i), "text": t} for i, t in enumerate(TEXTS))))
    for record in found:
        assert validate_record(record, target)["mentions"] == [{**m, "origin": ""} for m in record["mentions"]]
        assert record["typed"] is True and record["exhaustive"] is False and record["ontology"] == "tgt"
        for mention in record["mentions"]:
            assert mention["types"] and sorted(mention["types"]) == sorted(target.closure(mention["types"]))
            assert 0 < mention["score"] <= 1 and len(mention["type_scores"]) == len(mention["types"])


def test_extra_keys_are_carried_over(tmp_path, model_folder):
    line = {"id": "a", "text": "Ann left.", "date": "2019-05-04", "nested": {"n": [1, None, 2.5]}, "doc_id": "d"}
    (found,) = predict(tmp_path, model_folder, json_lines(line))
    assert {k: found[k] for k in line} == line
    assert set(found) - set(line) == {"mentions", "exhaustive", "typed", "ontology"}


def test_a_line_without_an_id_gets_its_number(tmp_path, model_folder):
    found = predict(tmp_path, model_folder, json_lines({"text": "Ann"}, {"id": "x", "text": "Bo"}, {"text": "Cy"}))
    assert [r["id"] for r in found] == ["1", "x", "3"]


def test_mentions_of_the_input_are_ignored_whatever_they_hold(tmp_path, model_folder):
    text = TEXTS[0]
    variants = [{}, {"mentions": [{"start": 3, "end": 5}]}, {"mentions": None}, {"mentions": [{"span": "x"}]}]
    found = predict(tmp_path, model_folder, json_lines(*({"id": "a", "text": text} | v for v in variants)))
    assert found[0]["mentions"] and all(r == found[0] for r in found)


def test_gold_mentions_are_typed_exactly_as_they_are_given(tmp_path, model_folder):
    given = [(0, 11), (14, 17), (23, 34)]  # the second begins and ends inside a word
    lines = [
        {"id": "a", "text": TEXTS[0], "mentions": [{"start": s, "end": e, "types": ["org.company"]} for s, e in given]},
        {"id": "b", "text": TEXTS[0], "mentions": []},
        {"id": "c", "text": TEXTS[0]},
        {"id": "d", "text": TEXTS[4], "mentions": [{"start": 7, "end": 11}, {"start": 150, "end": 173}]},
        {"id": "e", "text": TEXTS[2], "mentions": [{"start": 0, "end": 1}, {"start": 2, "end": 4}]},
    ]
    found = predict(tmp_path, model_folder, json_lines(*lines), "--gold_mentions", "--batch_size", "2")
    assert [spans(r) for r in found] == [given, [], [], [(7, 11), (150, 173)], [(0, 1), (2, 4)]]
    assert all(m["types"] for r in found for m in r["mentions"])
    pipe = load_pipeline(str(model_folder), "cpu")
    expected = pipe(TEXTS[0], mentions=given)
    assert [m["types"] for m in found[0]["mentions"]] == [list(m["types"]) for m in expected]
    assert "org.company" not in {t for m in found[0]["mentions"] for t in m["types"]}  # the model decides


def test_the_head_chooses_the_types(tmp_path, model_folder, source, target):
    line = json_lines({"id": "a", "text": TEXTS[0]})

    def types(*options: str) -> tuple[str, set[str]]:
        (record,) = predict(tmp_path, model_folder, line, *options)
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


def test_records_are_read_no_faster_than_they_are_predicted(model, tokenizer):
    pipe = FinenerPipeline(model=model, tokenizer=tokenizer, device="cpu")
    read = []

    def records():
        for i in range(100):
            read.append(i)
            yield {"id": str(i), "text": "Ann left."}

    predicted = predict_records(pipe, records(), batch_size=4)
    assert [next(predicted)["id"] for _ in range(5)] == ["0", "1", "2", "3", "4"]
    assert len(read) == 8


def test_a_text_file_is_one_text_a_line(tmp_path, model_folder):
    content = '\ufeffFrida Kahlo painted.\r\n\n  \nA \u2028 B {"text": 1}'.encode()
    found = predict(tmp_path, model_folder, content, name="in.txt")
    assert [(r["id"], r["text"]) for r in found] == [
        ("1", "Frida Kahlo painted."),
        ("2", ""),
        ("3", "  "),
        ("4", 'A \u2028 B {"text": 1}'),
    ]
    assert spans(found[0]) and spans(found[1]) == spans(found[2]) == []


@pytest.mark.parametrize("name", ["in.jsonl", "in.txt"])
def test_an_empty_file_gives_an_empty_file(tmp_path, model_folder, name):
    assert predict(tmp_path, model_folder, b"", name=name) == []
    assert (tmp_path / "out.jsonl").read_bytes() == b""


def test_blank_text_gives_no_mentions(tmp_path, model_folder):
    blank = ["", " ", "\n\t ", "\u200b", "\u00a0"]
    found = predict(tmp_path, model_folder, json_lines(*({"id": repr(t), "text": t} for t in blank)))
    assert [r["mentions"] for r in found] == [[]] * len(blank)


GOOD = b'{"id": "1", "text": "Ann"}\n'


@pytest.mark.parametrize(
    ("content", "options", "place", "says"),
    [
        (GOOD + b'{"id": "2", "text": "Bo"\n', (), "in.jsonl:2", "expected {"),
        (GOOD + b"\n" + GOOD, (), "in.jsonl:2", "found b'\\n'"),
        (GOOD + b'{"id": "2", "txt": "Bo"}\n', (), "in.jsonl:2", "no text"),
        (GOOD + b'{"id": "2", "text": null}\n', (), "in.jsonl:2", "no text"),
        (GOOD * 2 + b'["Ann"]\n', (), "in.jsonl:3", "no text"),
        (b'"Ann"\n', (), "in.jsonl:1", "no text"),
        (GOOD + '{"text": "Zoë"}\n'.encode("latin-1"), (), "in.jsonl:2", "utf-8"),
        (b'{"text": "\\ud83d"}\n', (), "in.jsonl:1", "surrogates not allowed"),
        (
            b'{"text": "Ann", "mentions": [{"start": 0, "end": 4}]}\n',
            ("--gold_mentions",),
            "in.jsonl:1",
            "3 characters",
        ),
        (
            GOOD + b'{"text": "Ann", "mentions": [{"start": 2, "end": 2}]}',
            ("--gold_mentions",),
            "in.jsonl:2",
            "no span",
        ),
        (b'{"text": "A  B", "mentions": [{"start": 1, "end": 3}]}\n', ("--gold_mentions",), "in.jsonl:1", "no span"),
        (b'{"text": "Ann", "mentions": [{"start": 0}]}\n', ("--gold_mentions",), "in.jsonl:1", '"end": 3'),
        (b'{"text": "Ann", "mentions": [[0, 3]]}\n', ("--gold_mentions",), "in.jsonl:1", "[0, 3] is no span"),
        (b'{"text": "Ann", "mentions": null}\n', ("--gold_mentions",), "in.jsonl:1", "mentions is no list"),
    ],
)
def test_a_bad_line_ends_with_file_line_and_what_was_expected(tmp_path, model_folder, content, options, place, says):
    with pytest.raises(SystemExit) as end:
        predict(tmp_path, model_folder, content, *options)
    message = str(end.value)
    assert message.startswith(f"predict_finener: {tmp_path / place}: expected ") and says in message
    assert not (tmp_path / "out.jsonl").exists()


def test_a_text_file_that_is_not_utf_8_is_an_error_with_its_line(tmp_path, model_folder):
    with pytest.raises(SystemExit, match=r"in\.txt:2: expected .*utf-8"):
        predict(tmp_path, model_folder, "Ann\nZoë\n".encode("latin-1"), name="in.txt")


@pytest.mark.parametrize("name", ["in.json", "in.parquet", "in"])
def test_another_kind_of_file_is_refused_with_what_is_read(tmp_path, model_folder, name):
    with pytest.raises(SystemExit, match=r"expected a \.jsonl file .* or a \.txt file"):
        predict(tmp_path, model_folder, GOOD, name=name)


def test_an_input_that_is_not_there_is_an_error_that_names_it(tmp_path, model_folder):
    with pytest.raises(SystemExit, match=r"predict_finener: .*missing\.jsonl"):
        main(
            [
                "--model",
                str(model_folder),
                "--input",
                str(tmp_path / "missing.jsonl"),
                "--output",
                str(tmp_path / "out"),
            ]
        )


def test_bad_input_is_found_before_the_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(predict_finener, "load_pipeline", None)  # calling it would raise
    with pytest.raises(SystemExit, match=r"in\.jsonl:1"):
        predict(tmp_path, tmp_path, b"{\n")

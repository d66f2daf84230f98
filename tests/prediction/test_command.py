"""What can go wrong with the command's input, output and model, and what is left of a run that ends early."""

from __future__ import annotations

import json
import re

import pytest

from finener.prediction import command
from finener.prediction.command import main
from finener.prediction.records import load_pipeline


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


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
        (GOOD + '{"text": "Zoë"}\n'.encode("latin-1"), (), "in.jsonl:2", "expected UTF-8, found the byte 0xeb"),
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
        (
            GOOD + b'{"text": "A B", "mentions": [{"start": 2, "end": 3}, {"start": 0, "end": 3}]}\n',
            ("--gold_mentions",),
            "in.jsonl:2",
            "overlap",
        ),
    ],
)
def test_a_bad_line_is_told_with_its_place_and_the_others_are_predicted(
    predict, tmp_path, content, options, place, says
):
    number, n_lines = int(place.split(":")[1]), len(content.splitlines())
    if number == 1:  # the file is of another kind, it seems
        with pytest.raises(SystemExit) as end:
            predict(content, *options)
        message = str(end.value)
        assert message.startswith(f"finener predict: {tmp_path / place}: expected ") and says in message
        assert not (tmp_path / "out.jsonl").exists()
        return
    assert len(predict(content, *options, ends=1)) == n_lines - 1
    [failed] = read_lines(tmp_path / "out.jsonl.failed.jsonl")
    assert failed["place"] == str(tmp_path / place) and failed["error"].startswith(f"{failed['place']}: expected ")
    assert says in failed["error"] and failed["input"]


def test_a_text_file_that_is_not_utf_8_is_told_with_its_line(predict, tmp_path):
    assert len(predict("Ann\nZoë\n".encode("latin-1"), name="in.txt", ends=1)) == 1
    [failed] = read_lines(tmp_path / "out.jsonl.failed.jsonl")
    assert failed["place"].endswith("in.txt:2") and "save the file as UTF-8" in failed["error"]


@pytest.mark.parametrize("name", ["in.json", "in.csv", "in"])
def test_another_kind_of_file_is_refused_with_what_is_read(predict, name):
    with pytest.raises(SystemExit, match=r"expected a \.jsonl file .* a \.txt file"):
        predict(GOOD, name=name)


def test_an_input_that_is_not_there_is_an_error_that_names_it(tmp_path, model_folder):
    with pytest.raises(SystemExit, match=r"finener predict: .*missing\.jsonl"):
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


def test_bad_input_is_found_before_the_model_is_loaded(predict, monkeypatch):
    monkeypatch.setattr(command, "load_pipeline", None)  # calling it would raise
    with pytest.raises(SystemExit, match=r"in\.jsonl:1"):
        predict(b"{\n")


def test_a_key_that_can_not_be_written_is_told_with_its_line(predict, tmp_path):
    assert len(predict(GOOD + b'{"text": "Ann", "note": "\\ud83d"}\n', ends=1)) == 1
    [failed] = read_lines(tmp_path / "out.jsonl.failed.jsonl")
    assert failed["place"].endswith("in.jsonl:2") and "surrogates not allowed" in failed["error"]


@pytest.mark.parametrize("size", ["0", "-1", "1.5", "many"])
def test_a_batch_size_below_one_is_refused_before_the_model_is_loaded(predict, monkeypatch, capsys, size):
    monkeypatch.setattr(command, "load_pipeline", None)
    with pytest.raises(SystemExit) as end:
        predict(GOOD, "--batch_size", size)
    assert end.value.code == 2
    assert f"--batch_size: expected a whole number of at least 1, got {size}" in capsys.readouterr().err


def test_the_input_is_not_written_over(predict, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "load_pipeline", None)
    with pytest.raises(SystemExit, match="the output can't be the input"):
        predict(GOOD, "--output", str(tmp_path / "in.jsonl"))
    assert (tmp_path / "in.jsonl").read_bytes() == GOOD


def test_an_output_without_a_folder_is_refused_before_the_model_is_loaded(predict, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "load_pipeline", None)
    with pytest.raises(SystemExit, match=r"finener predict: .*out\.jsonl: its folder is not there"):
        predict(GOOD, "--output", str(tmp_path / "nowhere" / "out.jsonl"))


@pytest.mark.parametrize("name", ["./model", "/no/model", "~/model", "outputs/runs/model", "user/model", "model"])
def test_a_model_that_is_not_there_is_one_line_at_once(predict, monkeypatch, name):
    monkeypatch.setattr(command, "load_pipeline", None)
    with pytest.raises(SystemExit, match=r"^finener predict: .*: no such model folder.*user/my-model$") as end:
        predict(GOOD, model=name)
    assert "\n" not in str(end.value)


@pytest.mark.parametrize("name", ["./model", "/no/model", "~/model", "outputs/runs/model"])
def test_a_name_that_is_a_path_is_not_looked_for_on_the_hub(monkeypatch, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", None)  # calling it would raise
    with pytest.raises(FileNotFoundError, match="no such model folder"):
        load_pipeline(name)


def test_a_text_that_can_not_be_predicted_is_told_and_the_others_are(predict, tmp_path):
    bad = json.dumps({"text": "Ann " * 200, "mentions": [{"start": 0, "end": 799}]}).encode() + b"\n"
    good = b'{"text": "Ann left.", "mentions": [{"start": 0, "end": 3}]}\n'
    found = predict(good + bad + good, "--gold_mentions", ends=1)
    assert [r["id"] for r in found] == ["1", "3"] and all(len(r["mentions"]) == 1 for r in found)
    [failed] = read_lines(tmp_path / "out.jsonl.failed.jsonl")
    assert failed["place"].endswith("in.jsonl:2") and failed["error"].startswith("mention [0, 799) has 200 words")
    assert len(predict(good, "--gold_mentions")) == 1
    assert not (tmp_path / "out.jsonl.failed.jsonl").exists(), "the file of an earlier run stays"


def test_where_all_texts_fail_the_run_ends_with_the_first_error(predict):
    bad = json.dumps({"text": "Ann " * 200, "mentions": [{"start": 0, "end": 799}]}).encode() + b"\n"
    with pytest.raises(SystemExit, match=r"^finener predict: all of 9 texts failed; the first one: mention \[0, 799\)"):
        predict(bad * 9, "--gold_mentions")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--device", "gpu"), "--device: expected a device of this machine, cpu.*, got gpu"),
        (("--device", "cuda:99"), "--device: expected a device of this machine, cpu.*, got cuda:99"),
        (("--detection_threshold", "1.5"), r"--detection_threshold: expected a number in \[0, 1\], got 1.5"),
        (("--type_threshold", "half"), r"--type_threshold: expected a number in \[0, 1\], got half"),
        (("--top_k", "0"), "--top_k: expected a whole number of at least 1, got 0"),
        (("--format", "xml"), "--format: invalid choice: 'xml'"),
    ],
)
def test_a_value_that_can_not_be_is_one_line(predict, monkeypatch, capsys, options, says):
    monkeypatch.setattr(command, "load_pipeline", None)
    with pytest.raises(SystemExit):
        predict(GOOD, *options)
    assert re.search(says, capsys.readouterr().err.splitlines()[-1])


def test_an_output_of_no_known_form_is_refused(predict, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "load_pipeline", None)
    with pytest.raises(SystemExit, match=r"out\.xml: expected a name that ends in \.jsonl, \.parquet"):
        predict(GOOD, "--output", str(tmp_path / "out.xml"))
    with pytest.raises(SystemExit, match="there is such a folder already"):
        predict(GOOD, "--output", str(tmp_path))

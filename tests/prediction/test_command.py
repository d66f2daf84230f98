"""What can go wrong with the command's input, output and model, and what is left of a run that ends early."""

from __future__ import annotations

import json

import pytest

from finener.prediction import command
from finener.prediction.command import main
from finener.prediction.records import load_pipeline

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
def test_a_bad_line_ends_with_file_line_and_what_was_expected(predict, tmp_path, content, options, place, says):
    with pytest.raises(SystemExit) as end:
        predict(content, *options)
    message = str(end.value)
    assert message.startswith(f"finener predict: {tmp_path / place}: expected ") and says in message
    before = int(place.split(":")[1]) - 1
    assert (
        len((tmp_path / "out.jsonl").read_bytes().splitlines()) == before
        if before
        else not (tmp_path / "out.jsonl").exists()
    )


def test_a_text_file_that_is_not_utf_8_is_an_error_with_its_line(predict):
    with pytest.raises(SystemExit, match=r"in\.txt:2: expected .*utf-8"):
        predict("Ann\nZoë\n".encode("latin-1"), name="in.txt")


@pytest.mark.parametrize("name", ["in.json", "in.parquet", "in"])
def test_another_kind_of_file_is_refused_with_what_is_read(predict, name):
    with pytest.raises(SystemExit, match=r"expected a \.jsonl file .* or a \.txt file"):
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


def test_a_first_line_can_be_predicted_long_before_the_last_is_read(predict, tmp_path, monkeypatch):
    lines, read = 200, []
    read_inputs = command.read_inputs

    def watched(*args):
        for record in read_inputs(*args):
            if (tmp_path / "out.jsonl").exists():
                read.append(len((tmp_path / "out.jsonl").read_bytes().splitlines()))
            yield record

    monkeypatch.setattr(command, "read_inputs", watched)
    assert len(predict(GOOD * lines, "--batch_size", "2")) == lines
    assert read[0] == 0 and read[-1] > 40, "lines were written, and flushed, while others were still to be read"


def test_a_key_that_can_not_be_written_is_an_error_with_its_line(predict):
    with pytest.raises(SystemExit, match=r"in\.jsonl:2: .*surrogates not allowed"):
        predict(GOOD + b'{"text": "Ann", "note": "\\ud83d"}\n')


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


def test_a_gold_mention_that_can_not_be_typed_ends_with_one_line(predict):
    line = json.dumps({"text": "Ann " * 200, "mentions": [{"start": 0, "end": 799}]}).encode() + b"\n"
    with pytest.raises(SystemExit, match=r"^finener predict: mention \[0, 799\) has 200 words.*window_words"):
        predict(line, "--gold_mentions")


def test_the_script_and_the_command_name_themselves_in_errors(tmp_path, capsys):
    for prog, options in (("finener predict", {}), ("predict_finener.py", {"prog": "predict_finener.py"})):
        with pytest.raises(SystemExit):
            main(["--help"], **options)
        assert capsys.readouterr().out.startswith(f"usage: {prog} ")


def test_at_its_end_it_tells_what_it_wrote(predict, tmp_path, capsys):
    written = predict(GOOD * 2)
    n_mentions = sum(len(record["mentions"]) for record in written)
    assert f"2 records with {n_mentions} mentions → {tmp_path / 'out.jsonl'}" in capsys.readouterr().out

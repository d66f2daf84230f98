"""The command ``finener``: every command has a help of its own, and only what is asked for is imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from finener import cli
from finener.data_scripts import __main__ as data_room
from finener.metrics import __main__ as metrics_room

ROOT = Path(__file__).resolve().parent.parent

# What a process prints: its exit code, and which of the heavy packages it has imported.
WATCHED = """
import json, sys
from finener.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print(json.dumps([code, [name for name in ("torch", "transformers", "datasets", "datatrove") if name in sys.modules]]))
"""


def fresh(*arguments: str) -> tuple[int, list[str]]:
    """Exit code and heavy imports of ``finener ARGUMENTS`` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    code, imported = json.loads(done.stdout.splitlines()[-1])
    return code, imported


def help_of(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        cli.main([*arguments, "--help"])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_the_help_and_an_unknown_command_import_nothing_heavy():
    assert fresh("--help") == (0, [])
    assert fresh("tarin") == (2, [])


def test_a_command_does_not_import_what_another_one_needs():
    code, imported = fresh("score", "--help")
    assert code == 0 and "transformers" not in imported and "datatrove" not in imported


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_has_a_help_that_names_it(command, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["finener", command, "--help"])  # which `train` changes
    assert help_of(capsys, command).startswith(f"usage: finener {command} ")


def test_the_help_lists_every_command_with_what_it_does(capsys):
    shown = " ".join(help_of(capsys).split())
    assert set(cli.COMMANDS) == set(
        [
            "build",
            "calibrate",
            "check",
            "list",
            "map",
            "ontology",
            "predict",
            "release",
            "export",
            "report",
            "score",
            "silver",
            "train",
        ]
    )
    for name, (_, what) in cli.COMMANDS.items():
        assert f"{name} {what}" in shown


@pytest.mark.parametrize(("room", "prog"), [(data_room, "python -m data_scripts"), (metrics_room, "python -m metrics")])
def test_the_rooms_own_command_lines_go_on_and_call_themselves_so(room, prog, capsys):
    for arguments in ([], *([name] for name in room.COMMANDS)):
        with pytest.raises(SystemExit) as end:
            room.main([*arguments, "--help"])
        assert end.value.code == 0
        assert capsys.readouterr().out.startswith(" ".join(["usage:", prog, *arguments, ""]))


def test_an_error_is_one_line_and_an_exit_code(tmp_path, capsys):
    missing = ["--input", str(tmp_path / "no.tsv"), "--output_file", str(tmp_path / "types.json")]
    assert cli.main(["ontology", *missing]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'no.tsv'}: there is no such file\n"


def test_a_command_without_its_arguments_says_what_it_lacks(capsys):
    for arguments, lacking in (([], "COMMAND"), (["score"], "--gold, --pred, --ontology")):
        with pytest.raises(SystemExit) as end:
            cli.main(arguments)
        assert end.value.code == 2
        assert f"the following arguments are required: {lacking}" in capsys.readouterr().err


def test_an_error_of_training_keeps_its_message(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["finener"])
    with pytest.raises(SystemExit, match=r"^train_finener: can't read .*no\.yaml"):
        cli.main(["train", "--config", str(tmp_path / "no.yaml")])


@pytest.mark.parametrize(
    "command", [["-m", "finener"], ["-m", "finener.data_scripts"], ["-m", "data_scripts"]], ids=" ".join
)
def test_the_ways_to_call_it_give_the_same(command, tmp_path):
    types, made = tmp_path / "types.txt", tmp_path / "types.json"
    types.write_text("person\nperson.artist\n", encoding="utf-8")
    call = [sys.executable, *command, "ontology", "--input", str(types), "--output_file", str(made)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "types, 2 types" in done.stdout and made.is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tarin"], "finener: error: argument COMMAND: invalid choice: 'tarin'"),
        (["score", "--gold", "a.jsonl"], "finener score: error: the following arguments are required: "),
        (["score", "--glod", "a.jsonl"], "finener score: error: the following arguments are required: "),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line(arguments, told, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.startswith(told) and said.count("\n") == 1
    assert said.endswith(f"{told.partition(': error')[0]} --help tells what it takes\n")

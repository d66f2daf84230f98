"""What a run outlives: a damaged checkpoint, SIGTERM, a full disk; and what it refuses: a folder that is in use or closed."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finener.data_scripts.holding import hold_folder
from finener.training.arguments import ArgumentError
from finener.training.checkpoints import EXIT_CODE, fault_of, last_whole_checkpoint
from finener.training.trainer import FinenerTrainer

import tiny
from runs import SOURCE, differing, make_workplace, results_of, run, says, trainer, weights, write_config

PRETRAIN = ("--phases", "pretrain")  # 2 epochs of 3 steps
GO_ON = ("--resume_from_checkpoint", "true")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "weights cut off": ("model.safetensors", cut, "model.safetensors is damaged"),
    "no weights": ("model.safetensors", Path.unlink, "it has no model.safetensors"),
    "optimizer cut off": ("optimizer.pt", cut, "optimizer.pt is damaged"),
    "a bit of the optimizer": ("optimizer.pt", flip, "optimizer.pt is damaged"),
    "no scheduler": ("scheduler.pt", Path.unlink, "it has no scheduler.pt"),
    "no random state": ("rng_state.pth", Path.unlink, "it has no rng_state.pth"),
    "state cut off": ("trainer_state.json", cut, "trainer_state.json is damaged"),
    "no state": ("trainer_state.json", Path.unlink, "it has no trainer_state.json"),
}


@pytest.fixture
def two(finished, tmp_path) -> Path:
    """A folder of two whole checkpoints, 3 and 11; the second one's best is the first."""
    [last, *_] = sorted((finished / "out" / "checkpoints" / "pretrained").glob("checkpoint-*"))
    state = json.loads((last / "trainer_state.json").read_text(encoding="utf-8"))
    for step in (3, 11):
        folder = shutil.copytree(last, tmp_path / "checkpoints" / f"checkpoint-{step}")
        told = {**state, "best_global_step": 3, "best_model_checkpoint": str(folder.with_name("checkpoint-3"))}
        (folder / "trainer_state.json").write_text(json.dumps(told), encoding="utf-8")
    (tmp_path / "checkpoints" / "checkpoint-best").mkdir()  # somebody's own
    return tmp_path / "checkpoints"


def test_the_last_checkpoint_is_that_of_the_most_steps(two, capsys):
    assert last_whole_checkpoint(two) == two / "checkpoint-11"
    assert last_whole_checkpoint(two / "nothing") is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_is_not_whole_is_left_out_with_a_warning(two, damage, capsys):
    name, harm, told = DAMAGES[damage]
    harm(two / "checkpoint-11" / name)
    assert last_whole_checkpoint(two, is_told=False) == two / "checkpoint-3"
    assert capsys.readouterr().err == ""
    assert last_whole_checkpoint(two) == two / "checkpoint-3"
    assert capsys.readouterr().err == f"warning: {two / 'checkpoint-11'} is left out, it is not whole: {told}\n"


def test_a_checkpoint_whose_best_one_is_damaged_would_end_with_other_weights(two, capsys):
    cut(two / "checkpoint-3" / "model.safetensors")
    assert fault_of(two / "checkpoint-11") is None
    assert last_whole_checkpoint(two) is None
    assert "of its best checkpoint so far, checkpoint-3: model.safetensors is damaged" in capsys.readouterr().err


def test_the_shards_that_an_index_names_must_all_be_there(two):
    folder = two / "checkpoint-11"
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert fault_of(folder) == "it has no model-2.safetensors"
    (folder / "model.safetensors.index.json").write_text("[]", encoding="utf-8")
    assert fault_of(folder) is not None


# ---------------------------------------------------------------- runs


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, happen: Callable[[], None]) -> None:
    """Makes something happen in a training step: ``step`` optimizer steps are done."""
    training_step = FinenerTrainer.training_step

    def until(self: FinenerTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == step:
            happen()
        return training_step(self, *args, **kwargs)

    monkeypatch.setattr(FinenerTrainer, "training_step", until)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, encoder_folder) -> Path:
    """A workplace with a run that nothing happened to."""
    folder = make_workplace(tmp_path_factory.mktemp("undisturbed"), encoder_folder)
    write_config(folder, save_total_limit=5)
    with contextlib.chdir(folder):
        run(*PRETRAIN, "--output_dir", "out/straight")
    return folder


@pytest.fixture
def straight(undisturbed, tmp_path, monkeypatch) -> Path:
    """That run's model, in a copy of its workplace, which is the working directory."""
    folder = shutil.copytree(undisturbed, tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder / "out" / "straight"


def ends_alike(straight: Path) -> None:
    """Goes on with ``out/other`` and compares the ends."""
    run(*PRETRAIN, "--output_dir", "out/other", *GO_ON)
    other = straight.with_name("other")
    assert differing(weights(straight), weights(other)) == []
    found, expected = (results_of(folder)["dev"] for folder in (other, straight))
    for told in (found, expected):
        told["curve"] = [row for row in told["curve"] if "train_loss" not in row]  # of the steps since the start
    assert found == expected


def test_a_run_goes_on_from_the_last_whole_checkpoint(straight, capsys):
    checkpoints = shutil.copytree("out/checkpoints/straight", straight.parent / "checkpoints" / "other")
    first, last = (checkpoints / f"checkpoint-{step}" for step in (3, 6))
    cut(last / "optimizer.pt")
    ends_alike(straight)
    assert f"{last.name} is left out, it is not whole: optimizer.pt is damaged" in capsys.readouterr().err
    assert fault_of(last) is None  # written again
    for checkpoint in (first, last):
        (checkpoint / "trainer_state.json").unlink()
    printed = run(*PRETRAIN, "--output_dir", "out/other", "--num_train_epochs", "1", *GO_ON)
    assert "no checkpoint in out/checkpoints/other: starting from the beginning" in printed


@pytest.mark.parametrize("step", [1, 2, 5])  # within an epoch, its last one, the last of all
def test_sigterm_ends_a_run_with_a_checkpoint_that_it_goes_on_from(straight, step, monkeypatch, capsys):
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
        at_step(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        run(*PRETRAIN, "--output_dir", "out/other")
    assert end.value.code == EXIT_CODE == 143
    folder = f"out/checkpoints/other/checkpoint-{step + 1}"
    assert f"train_finener: stopped by SIGTERM; {folder} is written" in capsys.readouterr().err
    assert fault_of(Path(folder)) is None
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert not straight.with_name("other").exists()
    ends_alike(straight)


def test_sigterm_ends_a_run_at_once_where_no_step_is_going_on(workplace, monkeypatch, capsys):
    def load(*args: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the run went on")

    monkeypatch.setattr("finener.training.phases.load_data", load)
    with pytest.raises(SystemExit) as end:
        run(*PRETRAIN)
    assert end.value.code == 143
    assert "stopped by SIGTERM between steps" in capsys.readouterr().err


def limit_files(size: int) -> None:
    """No file may be larger: to a program, that is a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt"])
def test_a_checkpoint_that_does_not_fit_the_disk_leaves_the_earlier_ones(straight, file, monkeypatch):
    whole = next((straight.parent / "checkpoints" / "straight").glob("checkpoint-*"))
    if file == "optimizer.pt":  # the larger of the two
        monkeypatch.setattr(
            "transformers.Trainer.save_model", lambda self, folder, _internal_call: Path(folder).mkdir()
        )
    try:
        with monkeypatch.context() as patch:
            at_step(patch, 5, lambda: limit_files((whole / file).stat().st_size // 2))
            says(
                r"out/checkpoints/other/checkpoint-6 can't be written: .*[Mm]ake room.*older checkpoints are as they were",
                *(*PRETRAIN, "--output_dir", "out/other"),
            )
    finally:
        limit_files(resource.RLIM_INFINITY)
    left = sorted(path.name for path in (straight.parent / "checkpoints" / "other").iterdir())
    assert left == ["checkpoint-3", "lock"]


def test_a_model_that_does_not_fit_the_disk_leaves_the_checkpoints(straight, monkeypatch):
    evaluate = FinenerTrainer.evaluate

    def then_full(self: FinenerTrainer, *args: Any, **kwargs: Any) -> Any:
        if not self.is_in_train:
            limit_files((straight / "model.safetensors").stat().st_size // 2)
        return evaluate(self, *args, **kwargs)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(FinenerTrainer, "evaluate", then_full)
            says(
                r"out/other can't be written: .*; the checkpoints are as they were",
                *(*PRETRAIN, "--output_dir", "out/other"),
            )
    finally:
        limit_files(resource.RLIM_INFINITY)
    ends_alike(straight)


def _hold(folder: Path, held: Any, done: Any) -> None:
    with hold_folder(folder, "go away"):
        held.set()
        done.wait(60)


def test_a_folder_that_another_process_trains_into_is_refused(workplace):
    fork = multiprocessing.get_context("fork")
    held, done = fork.Event(), fork.Event()
    folder = workplace / "out" / "checkpoints" / "pretrained"
    process = fork.Process(target=_hold, args=(folder, held, done))
    process.start()
    assert held.wait(60)
    says(
        "^train_finener: out/checkpoints/pretrained: another run is at it; wait for its end, or choose another --output_dir$",
        *(*PRETRAIN, "--num_train_epochs", "1"),
    )
    process.kill()  # its lock goes with it
    process.join()
    run(*PRETRAIN, "--num_train_epochs", "1")
    assert (workplace / "out" / "pretrained" / "model.safetensors").is_file()


def test_a_folder_that_can_not_be_written_is_told_before_training(workplace, monkeypatch):
    monkeypatch.setattr(FinenerTrainer, "train", lambda *args, **kwargs: pytest.fail("it trains"))
    says(
        "^train_finener: /proc/out can't be written: .*see who may write there$", *PRETRAIN, "--output_dir", "/proc/out"
    )
    (workplace / "closed").mkdir()
    monkeypatch.setattr("finener.training.phases.os.access", lambda path, mode: Path(path).name != "closed")
    says("^train_finener: closed can't be written: it is read-only", *PRETRAIN, "--output_dir", "closed")


def test_the_trainer_itself_takes_whole_checkpoints_only(tmp_path, tokenizer):
    model = tiny.tiny_model(tokenizer)
    changes = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 5, "per_device_train_batch_size": 4}
    made = trainer(model, tokenizer, tmp_path, SOURCE, max_steps=2, **changes)
    made.train()
    cut(tmp_path / "checkpoint-2" / "model.safetensors")
    longer = trainer(model, tokenizer, tmp_path, SOURCE, max_steps=3, **changes)
    longer.train(resume_from_checkpoint=True)
    assert longer.state.global_step == 3 and fault_of(tmp_path / "checkpoint-2") is None
    for checkpoint in tmp_path.glob("checkpoint-*"):
        cut(checkpoint / "model.safetensors")
    with pytest.raises(ArgumentError, match="has no whole checkpoint: call train"):
        longer.train(resume_from_checkpoint=True)

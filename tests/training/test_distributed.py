"""Two processes on CPU do what one does. The file is also the program that the processes run: see :func:`work`."""

from __future__ import annotations

import itertools
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import gather_object

from finener.training.checkpoints import StopAtSigterm, fault_of, sigterm_ends_a_step

import tiny
from runs import SOURCE, make_workplace, parameters, record, results_of, still_model, trainer, watch, write_config

ROOT = Path(__file__).resolve().parents[2]

# The first four are the longest, so that the sampler puts them into one batch and the others, without a mention, into the other.
UNEVEN = [
    record("long0", "[Ada|artist] and [Bo|person] saw [ACME|company] and [Orsay|museum]."),
    record("long1", "[Cy|artist] left [Bree|place] for [Rome|place] and [Oz|place]"),
    record("long2", "[Al|person], [Di|artist], [Ed|person] of [Oz|place] and us"),
    record("long3", "The [Louvre|artmuseum] is so very big and [Bo|person]"),
    record("short0", "Nobody."),
    record("short1", "It rains."),
    record("short2", "Go."),
    record("short3", "We came."),
]
BATCHES = {  # records, batch size of all processes together, accumulation
    "even": (SOURCE, 8, 1),
    "one side without a mention": (UNEVEN, 8, 1),
    "accumulated": (UNEVEN, 4, 2),
}
ODD = [*SOURCE, *SOURCE[:3]]  # 11 records: the last batch is not full
DEV = {"odd": [{**r, "id": f"{i}"} for i, r in enumerate(ODD)], "a single record": SOURCE[:1]}


def work(folder: Path) -> dict[str, Any]:
    """Evaluates and trains, on as many processes as there are; gives what the first of them found."""
    tokenizer = tiny.wordpiece_tokenizer(lowercase=False)
    found: dict[str, Any] = {"metrics": {}, "steps": {}, "losses": {}, "seen": {}}
    for name, dev in DEV.items():
        run = trainer(still_model(tokenizer), tokenizer, folder, dev=dev, per_device_eval_batch_size=2)
        found["processes"] = run.accelerator.num_processes
        metrics = run.evaluate()
        found["metrics"][name] = {
            k: v for k, v in metrics.items() if k.endswith(("precision", "recall", "f1", "strict"))
        }
        found["eval_losses"] = {k: v for k, v in metrics.items() if k.startswith("eval_loss")}
    for name, (records, size, accumulation) in BATCHES.items():
        model = still_model(tokenizer)
        own = size // found["processes"]
        options = {"max_steps": 1, "gradient_accumulation_steps": accumulation, "logging_steps": 1}
        run = trainer(model, tokenizer, folder, records, per_device_train_batch_size=own, **options)
        seen = watch(run)
        run.train()
        found["steps"][name] = parameters(model)
        found["losses"][name] = {k: v for k, v in run.state.log_history[0].items() if k.startswith("loss")}
        found["seen"][name] = gather_object([seen])
    # Dropout draws other random numbers on each process; the order of the records must not depend on that.
    run = trainer(
        tiny.tiny_model(tokenizer), tokenizer, folder, SOURCE, per_device_train_batch_size=1, num_train_epochs=4
    )
    seen = watch(run)
    run.train()
    found["seen"]["epochs"] = gather_object([seen])
    found["states"] = gather_object([states_of(tokenizer, folder)])
    found["not finite"] = gather_object([what_stops(tokenizer, folder)])
    found["stopped"] = gather_object([where_one_stops(tokenizer, folder / "stopped")])
    return found


def states_of(tokenizer: Any, folder: Path) -> list[str]:
    """The files of states that a process of a run reads, once all of them have read every state."""
    changes = {"freeze": "encoder", "max_steps": 1, "encoder_states_folder": str(folder / "states")}
    run = trainer(still_model(tokenizer), tokenizer, folder, SOURCE, SOURCE, **changes)
    run.train()
    run.evaluate()
    assert all(len(run._states.cache[r["text"]]) for r in SOURCE)
    run.accelerator.wait_for_everyone()
    return sorted(path.name for path in (folder / "states").glob("*.states"))


def what_stops(tokenizer: Any, folder: Path) -> str:
    """The error of a process where the loss of the last one is not finite."""
    model = still_model(tokenizer)
    run = trainer(model, tokenizer, folder, SOURCE, max_steps=2, per_device_train_batch_size=2)
    if run.accelerator.is_last_process:
        model.type_head.register_forward_hook(lambda head, states, output: (output[0] * float("nan"), output[1]))
    try:
        run.train()
    except FloatingPointError as error:
        return str(error)
    return "nothing stopped it"


def where_one_stops(tokenizer: Any, folder: Path) -> list[int]:
    """Exit code and step of a process where the last one gets SIGTERM in the second step."""
    run = trainer(still_model(tokenizer), tokenizer, folder, SOURCE, max_steps=4, per_device_train_batch_size=1)
    run.add_callback(StopAtSigterm())
    step = run.training_step

    def told(*args: Any, **kwargs: Any) -> Any:
        if run.state.global_step == 1 and run.accelerator.is_last_process:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*args, **kwargs)

    run.training_step = told
    try:
        with sigterm_ends_a_step():
            run.train()
    except SystemExit as end:
        return [end.code, run.state.global_step]
    return [0, run.state.global_step]


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> dict[str, Any]:
    return work(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoder_folder) -> Path:
    """Where two processes have run this file; a process that hangs fails the tests."""
    folder = make_workplace(tmp_path_factory.mktemp("two"), encoder_folder)
    write_config(folder, per_device_train_batch_size=2)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", __file__]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "printed.txt").write_text(done.stdout, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def two(folder) -> dict[str, Any]:
    return torch.load(folder / "found.pt", weights_only=True)


def test_there_really_are_two_processes(one, two):
    assert one["processes"] == 1 and two["processes"] == 2


@pytest.mark.parametrize("name", DEV)
def test_two_processes_evaluate_to_the_very_metrics_of_one(one, two, name):
    assert len(one["metrics"][name]) > 10 and two["metrics"][name] == one["metrics"][name]


def test_two_processes_have_the_evaluation_loss_of_one(one, two):
    assert {"eval_loss", "eval_loss_detection", "eval_loss_typing"} <= one["eval_losses"].keys()
    assert two["eval_losses"] == pytest.approx(one["eval_losses"], rel=1e-6)


def test_one_process_computes_the_states_and_all_read_them(two):
    assert len(two["states"]) == 2 and two["states"][0] == two["states"][1] and len(two["states"][0]) == 1


def test_a_loss_that_is_not_finite_on_one_process_stops_all(two):
    here, there = sorted(two["not finite"], key=lambda message: "another" in message)
    assert "the loss of typing is not finite" in here and "in the batch of the records" in here
    assert "the loss of typing is not finite" in there and "on another process" in there


def test_sigterm_to_one_process_ends_all_after_the_same_step_with_one_checkpoint(one, two, folder):
    assert one["stopped"] == [[143, 2]] and two["stopped"] == [[143, 2], [143, 2]]
    [checkpoint] = (folder / "checkpoints" / "stopped").glob("checkpoint-*")
    assert checkpoint.name == "checkpoint-2" and fault_of(checkpoint) is None
    assert len([*checkpoint.glob("rng_state_*.pth")]) == 2


@pytest.mark.parametrize("name", BATCHES)
def test_one_step_of_two_processes_is_the_step_of_one_on_the_same_records(one, two, name):
    assert sorted(itertools.chain(*two["seen"][name])) == sorted(one["seen"][name][0])
    before = dict(still_model(tiny.wordpiece_tokenizer(lowercase=False)).named_parameters())
    assert max((p - before[n]).abs().max() for n, p in one["steps"][name].items()) > 0.01
    for parameter, expected in one["steps"][name].items():
        torch.testing.assert_close(
            two["steps"][name][parameter], expected, rtol=1e-4, atol=1e-6, msg=lambda m, p=parameter: f"{p}: {m}"
        )
    assert two["losses"][name] == pytest.approx(one["losses"][name], rel=1e-3)


def test_a_process_without_any_mention_takes_part(two):
    with_mentions = {r["id"] for r in UNEVEN if r["mentions"]}
    rows = two["seen"]["one side without a mention"]
    assert sorted(len(with_mentions & set(row)) for row in rows) == [0, 4]


def test_in_every_epoch_the_processes_together_see_every_record_once(two):
    rows = two["seen"]["epochs"]
    assert [len(row) for row in rows] == [16, 16]
    for epoch in range(4):
        seen = [i for row in rows for i in row[4 * epoch : 4 * epoch + 4]]
        assert sorted(seen) == [r["id"] for r in SOURCE]


def test_the_script_runs_both_phases_on_two_processes(folder):
    """The second phase must wait for the model of the first, which one process scores and writes."""
    for name in ("pretrained", "final"):
        results = results_of(folder / "out" / name)
        assert results["dev"]["scores"] and (folder / "out" / name / "model.safetensors").is_file()
    steps = [row for row in results["dev"]["curve"] if "loss_conversion" in row]
    assert len(steps) == 6  # 3 epochs of 5 records, 4 at a time
    printed = (folder / "printed.txt").read_text(encoding="utf-8")
    assert printed.count("finetune: 5 training records") == 1 and printed.count("Direct: threshold") == 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = work(Path("checkpoints"))
    if int(os.environ["RANK"]) == 0:
        torch.save(result, "found.pt")
    sys.argv = ["train_finener.py", "--config", "run.yaml"]
    runpy.run_path(str(ROOT / "train_finener.py"), run_name="__main__")

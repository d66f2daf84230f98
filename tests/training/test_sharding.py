"""FSDP and DeepSpeed on two CPU processes train, evaluate, save and go on as one process does.

The file is also the program that the processes run: see :func:`work`. accelerate gives both to accelerators alone, so the program tells
it that its CPU processes are some: what NCCL and a GPU's memory do is not seen here.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from finener.modeling_finener import FinenerForTokenClassification
from finener.prediction.records import load_pipeline
from finener.training import phases
from finener.training.arguments import ArgumentError
from finener.training.checkpoints import fault_of
from finener.training.sharding import check_sharding, is_deepspeed
from finener.training.trainer import FinenerTrainer

import tiny
from runs import (
    FINETUNE,
    MORE_TARGET,
    SOURCE,
    TARGET,
    make_workplace,
    results_of,
    says,
    still_model,
    trainer,
    write_config,
)

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {
    **{"max_steps": 2, "eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 1, "save_steps": 1},
    **{"save_total_limit": 9, "optim": "adamw_torch", "learning_rate": 0.01, "per_device_eval_batch_size": 2},
}
WAYS: dict[str, dict[str, Any]] = {
    "free": {"freeze": "nothing"},
    "stored": {"freeze": "encoder"},
    "memory": {"freeze": "encoder", "cache_encoder_states": False, "memory_weight": 0.5},
}


def run_of(
    way: str, folder: Path, model: FinenerForTokenClassification | None = None, **changes: Any
) -> FinenerTrainer:
    """A trainer whose processes together take the batches of one."""
    tokenizer, processes = tiny.wordpiece_tokenizer(lowercase=False), int(os.environ.get("WORLD_SIZE", 1))
    records = (
        [*TARGET, *MORE_TARGET] if way == "memory" else SOURCE
    )  # as many: DeepSpeed keeps the first one's batch size
    model = model or still_model(tokenizer, **({"target": True} if way == "memory" else {}))
    options = {**OPTIONS, **WAYS[way], "use_cpu": not is_deepspeed(), **changes}  # on CPU accelerate leaves it out
    size = len(records) // processes
    return trainer(model, tokenizer, folder / way, records, records, per_device_train_batch_size=size, **options)


def metrics_of(run: FinenerTrainer) -> dict[str, float]:
    return {k: v for k, v in run.evaluate().items() if k.startswith(("eval_loss", "eval_mention", "eval_given"))}


def work(folder: Path) -> dict[str, Any]:
    """Trains in each way, saves, and goes on from a checkpoint; gives what evaluation tells."""
    found: dict[str, Any] = {"metrics": {}}
    for way in WAYS:
        run = run_of(way, folder)
        run.train()
        found["metrics"][way] = metrics_of(run)
        run.save_model()
        whole = run.whole_model()
        if run.is_world_process_zero():
            whole.save_pretrained(folder / way / "whole")
    found |= {"processes": run.accelerator.num_processes, "type": run.accelerator.distributed_type.value}
    run = run_of("free", folder, max_steps=3)
    run.train(resume_from_checkpoint=True)
    found["gone on"] = metrics_of(run)
    return found


def as_if_on_accelerators() -> None:
    """From here on accelerate takes CPU processes for accelerators."""
    make = AcceleratorState.__init__

    def make_on_cpu(state: AcceleratorState, *args: Any, **kwargs: Any) -> None:
        if PartialState._shared_state.get("distributed_type") == DistributedType.MULTI_CPU:
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        make(state, *args, **kwargs)

    AcceleratorState.__init__ = make_on_cpu


def as_if_for_cpus() -> None:
    """From here on accelerate joins DeepSpeed's CPU processes by gloo; DeepSpeed would first compile its own way, for minutes."""
    from deepspeed.ops import __compatible_ops__

    __compatible_ops__["deepspeed_shm_comm"] = False
    PartialState._prepare_backend = lambda *args, **kwargs: ("gloo", DistributedType.MULTI_CPU)


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> dict[str, Any]:
    return work(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module", params=["fsdp", "deepspeed"])
def launched(request, tmp_path_factory, encoder_folder) -> Path:
    """Where two processes of ``accelerate launch`` have run this file; processes that hang fail the tests."""
    if request.param == "deepspeed" and find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed: pip install deepspeed")
    folder = make_workplace(tmp_path_factory.mktemp("two") / request.param, encoder_folder)
    write_config(folder, per_device_train_batch_size=2)
    if request.param == "deepspeed":
        finetune = {**FINETUNE, "model": "out/pretrained"}
        write_config(folder, per_device_train_batch_size=2, finetune=finetune)
    launch(request.param, folder, "work")
    for names in [("pretrain", "finetune")] if request.param == "fsdp" else [("pretrain",), ("finetune",)]:
        launch(request.param, folder, "--phases", *names, "--use_cpu", str(request.param == "fsdp"))
    return folder


def launch(kind: str, folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2"]
    command += ["--config_file", str(ROOT / "configs" / "accelerate" / f"{kind}.yaml"), __file__, *arguments]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def two(launched) -> dict[str, Any]:
    return json.loads((launched / "found.json").read_text(encoding="utf-8"))


@pytest.mark.slow  # processes import for seconds
@pytest.mark.parametrize("way", WAYS)
def test_two_processes_end_where_one_does(launched, one, two, way):
    assert two["processes"] == 2 and two["type"] == launched.name.upper()
    assert len(one["metrics"][way]) > 10 and two["metrics"][way] == pytest.approx(one["metrics"][way], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", [".", "whole", "checkpoint-2"])
def test_what_is_saved_is_a_whole_model_that_one_process_evaluates_alike(launched, two, way, place, tmp_path):
    folder = launched / "processes" / way / place
    code = {path.name for path in folder.glob("*.py")}
    assert {"modeling_finener.py", "pipeline_finener.py", "handler.py"} <= code
    others = {"handler.py", "zero_to_fp32.py", "zero_to_torch.py"}  # the latter are DeepSpeed's, in its checkpoints
    assert all(name.endswith("_finener.py") or name in others for name in code)
    model, told = FinenerForTokenClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(told.values())
    assert model.state_dict().keys() == load_file(folder / "model.safetensors").keys()
    alone = run_of(way, tmp_path, model, memory_weight=0.0)
    assert two["metrics"][way] == pytest.approx(metrics_of(alone), rel=1e-5)


@pytest.mark.slow
def test_a_run_that_goes_on_ends_where_one_without_a_stop_does(one, two, tmp_path):
    straight = run_of("free", tmp_path, max_steps=3)
    straight.train()
    expected = pytest.approx(metrics_of(straight), rel=1e-5)
    assert one["gone on"] == expected and two["gone on"] == expected


@pytest.mark.slow
def test_checkpoints_are_whole_unless_a_file_is_cut(launched):
    folder = launched / "processes" / "free" / "checkpoint-3"
    assert fault_of(folder) is None
    names = ["model.safetensors"]
    names += ["optimizer.bin", "pytorch_model_fsdp.bin"] if launched.name == "fsdp" else []
    for name in names:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-9])
        assert fault_of(folder) == f"{name} is damaged"
        (folder / name).unlink()
        assert fault_of(folder) == f"it has no {name}"
        (folder / name).write_bytes(content)


@pytest.mark.slow
def test_the_script_runs_both_phases(launched):
    for name in ("pretrained", "final"):
        assert results_of(launched / "out" / name)["dev"]["scores"]
    pipe = load_pipeline(str(launched / "out" / "final"))
    assert pipe.model.conversion is not None and all(p.isfinite().all() for p in pipe.model.parameters())
    assert isinstance(pipe("Ada saw Rome."), list)


def test_deepspeed_takes_one_phase_at_a_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_deepspeed()
    # Without deepspeed transformers ends with this in its environment, and keeps half a config for the tests that follow.
    with monkeypatch.context() as launched:
        launched.setenv("ACCELERATE_USE_DEEPSPEED", "true")
        assert is_deepspeed()
    monkeypatch.setattr(phases, "is_deepspeed", lambda: True)
    write_config(tmp_path)
    says(
        "^train_finener: DeepSpeed keeps the settings of the first phase: run each by itself, as with --phases pretrain$"
    )


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (
            {"fsdp_version": 1, "type": "FULL_STATE_DICT"},
            "FSDP must have fsdp_version: 2.*; got 1 and FULL_STATE_DICT$",
        ),
        ({"fsdp_version": 2, "type": "SHARDED_STATE_DICT"}, "holds a whole model.*; got 2 and SHARDED_STATE_DICT$"),
        ({"zero_stage": 3}, "zero_stage must be at most 2: to spread weights too, use FSDP"),
    ],
)
def test_what_would_save_parts_of_a_model_is_refused(state, told):
    plugin = SimpleNamespace(
        **state, state_dict_type=SimpleNamespace(name=state.get("type")), transformer_cls_names_to_wrap=None
    )
    kind = DistributedType.DEEPSPEED if "zero_stage" in state else DistributedType.FSDP
    states = SimpleNamespace(fsdp_plugin=plugin, deepspeed_plugin=plugin)
    model = tiny.tiny_model(tiny.wordpiece_tokenizer(lowercase=False))
    with pytest.raises(ArgumentError, match=told):
        check_sharding(SimpleNamespace(distributed_type=kind, state=states), model)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if is_deepspeed():
        as_if_for_cpus()
    else:
        as_if_on_accelerators()
    if sys.argv[1:] == ["work"]:
        result = work(Path("processes"))
        if PartialState().is_main_process:
            Path("found.json").write_text(json.dumps(result), encoding="utf-8")
    else:
        sys.argv = ["train_finener.py", "--config", "run.yaml", *sys.argv[1:]]
        runpy.run_path(str(ROOT / "train_finener.py"), run_name="__main__")

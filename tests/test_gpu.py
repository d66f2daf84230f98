"""What only a GPU can show. Without one every test here is skipped; docs/performance.md tells when they were last run, and on what."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from finener.pipeline_finener import FinenerPipeline
from finener.training.encoder_states import WordStateCache
from finener.windows_finener import TextEncoder

import tiny
from runs import SOURCE, TARGET, parameters, still_model, trainer

TESTS = Path(__file__).resolve().parent
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this machine")

TEXTS = [*tiny.GOLD, tiny.LONG, tiny.SHORT, tiny.EMPTY, " ".join(tiny.GOLD) * 3, "🎭 Zürich, 東京."]


@pytest.fixture(params=["default", "everything"])
def model(request, tokenizer):
    return tiny.tiny_model(tokenizer, **tiny.VARIANTS[request.param])


@pytest.fixture
def tokenizer():
    return tiny.wordpiece_tokenizer(lowercase=False)


def answers(model, tokenizer, device: str, **arguments) -> list[list[dict]]:
    pipe = FinenerPipeline(model=model.to(device), tokenizer=tokenizer, device=device)
    return list(pipe(TEXTS, batch_size=4, **arguments))


def test_a_gpu_finds_what_the_processor_finds(model, tokenizer, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # else its LSTM multiplies with fewer digits
    for arguments in ({}, {"types": "all", "type_threshold": 0.2}, {"top_k": 3}):
        expected, found = (answers(model, tokenizer, device, **arguments) for device in ("cpu", "cuda"))
        assert sum(map(len, expected)) > 10
        for own, other in zip(found, expected, strict=True):
            assert [(m["start"], m["end"]) for m in own] == [(m["start"], m["end"]) for m in other]
            for a, b in zip(own, other, strict=True):
                assert a["score"] == pytest.approx(b["score"], abs=1e-4)
                assert a["types"] == pytest.approx(b["types"], abs=1e-4)


def test_losses_and_gradients_are_those_of_the_processor(model, tokenizer):
    batch, found = tiny.gold_batch(model, tokenizer), {}
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for device in ("cpu", "cuda"):
        model.zero_grad()
        output = model.to(device).train()(**{k: v.to(device) for k, v in batch.items()})
        output.loss.backward()
        found[device] = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
        found[device]["loss"] = output.loss.detach().cpu()
    assert len(found["cpu"]) > 10
    for name, value in found["cpu"].items():
        torch.testing.assert_close(found["cuda"][name], value, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("precision", [{}, {"bf16": True}, {"encoder_dtype": "bfloat16"}])
def test_training_on_a_gpu_learns(tokenizer, tmp_path, precision):
    model = still_model(tokenizer)
    run = trainer(
        model,
        tokenizer,
        tmp_path,
        SOURCE,
        SOURCE,
        use_cpu=False,
        max_steps=60,
        optim="adamw_torch",
        learning_rate=0.01,
        **precision,
    )
    before = run.evaluate()["eval_loss_typing"]
    run.train()
    after = run.evaluate()
    assert next(model.parameters()).is_cuda and next(model.parameters()).dtype == torch.float32
    assert after["eval_loss_typing"] < 0.5 * before
    assert after["eval_mention_f1"] > 0.9


def test_stored_states_train_as_the_encoder_does(tokenizer, tmp_path):
    trained = []
    for cached in (True, False):
        model = still_model(tokenizer)
        options = {"freeze": "encoder", "cache_encoder_states": cached, "max_steps": 3, "use_cpu": False}
        trainer(model, tokenizer, tmp_path, SOURCE, learning_rate=0.01, **options).train()
        trained.append(parameters(model))
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, atol=2e-3, rtol=2e-3)  # states are stored in half precision


def test_fine_tuning_in_bf16_is_near_that_in_fp32(tokenizer, tmp_path):
    losses = []
    for precision in ({}, {"bf16": True}):
        model = still_model(tokenizer, target=True)
        run = trainer(
            model, tokenizer, tmp_path, TARGET, TARGET, use_cpu=False, max_steps=20, learning_rate=0.01, **precision
        )
        run.train()
        losses.append(run.evaluate()["eval_loss_conversion"])
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning")  # torch's advice as it compiles
def test_the_encoder_compiles_without_a_break_of_ours(tokenizer):
    model = tiny.tiny_model(tokenizer).cuda()
    batch = {k: v.cuda() for k, v in tiny.text_batch(model, tokenizer, *tiny.GOLD).items() if k != "word_shapes"}
    with torch.no_grad():
        expected = model.encoder_states(**batch)
        explained = torch._dynamo.explain(model.encoder_states)(**batch)
        torch.testing.assert_close(torch.compile(model.encoder_states)(**batch), expected, atol=1e-4, rtol=1e-4)
    ours = [reason for reason in explained.break_reasons if str(TESTS.parent) in reason.user_stack[-1].filename]
    assert explained.graph_count >= 1 and not ours, ours


def test_states_are_computed_on_the_gpu_and_kept_in_half_precision(tokenizer, tmp_path):
    model = tiny.tiny_model(tokenizer).cuda()
    encoder, cache = TextEncoder(tokenizer, model.config), WordStateCache(tmp_path)
    cache.build(tiny.GOLD, model, encoder)
    on_cpu = tiny.tiny_model(tokenizer)
    for text in tiny.GOLD:
        batch = tiny.text_batch(on_cpu, tokenizer, text)
        del batch["word_shapes"]
        with torch.no_grad():
            torch.testing.assert_close(cache[text].float(), on_cpu.encoder_states(**batch)[0], atol=2e-3, rtol=2e-3)


def work(folder: Path) -> dict[str, float]:
    """Trains and evaluates on the GPUs, with DDP where a launcher has started several processes."""
    tokenizer = tiny.wordpiece_tokenizer(lowercase=False)
    processes = int(os.environ.get("WORLD_SIZE", 1))
    size = len(SOURCE) // processes
    model = still_model(tokenizer)
    run = trainer(
        model, tokenizer, folder, SOURCE, SOURCE, use_cpu=False, max_steps=3, per_device_train_batch_size=size
    )
    run.train()
    metrics = run.evaluate()
    is_parallel = isinstance(run.model_wrapped, torch.nn.parallel.DistributedDataParallel)
    assert is_parallel == (processes > 1)
    return {k: v for k, v in metrics.items() if k.startswith(("eval_loss", "eval_mention"))}


def test_under_a_launcher_all_gpus_train_as_one_process_does(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", str(torch.cuda.device_count()), __file__, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(TESTS.parents[1])])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found, expected = json.loads((tmp_path / "found.json").read_text()), work(tmp_path)
    assert len(expected) > 4 and found == pytest.approx(expected, abs=2e-3)


if __name__ == "__main__":  # a process of the test above
    found = work(Path(sys.argv[1]))
    if os.environ["RANK"] == "0":
        (Path(sys.argv[1]) / "found.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()

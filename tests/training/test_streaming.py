"""Training on files that do not fit into memory: which files, which rows each process reads, in which order, and how much at a time.

The file is also the program that two processes run: see :func:`work`.
"""

from __future__ import annotations

import itertools
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import gather_object
from datasets import Dataset
from torch.utils.data import DataLoader

from finener.data_scripts.record_files import read_rows, record_files, write_records
from finener.data_scripts.schema import RecordError, validate_record
from finener.paths import ROOT
from finener.training import stream as trainer_finener
from finener.training.records import data_hash, files_hash
from finener.training.stream import RecordStream
from finener.training.trainer import FinenerTrainer
from finener.windows_finener import TextEncoder

import tiny
from runs import (
    FINETUNE,
    MORE_TARGET,
    PRETRAIN,
    SOURCE,
    differing,
    make_workplace,
    numbered,
    parameters,
    record,
    results_of,
    run,
    says,
    trainer,
    watch,
    weights,
    write_config,
    write_shards,
)

# A small machine has fewer cores than the data loader has workers; Python 3.12 warns where a process with threads forks.
with_workers = pytest.mark.filterwarnings(
    "ignore:This DataLoader will create", "ignore:.*multi-threaded:DeprecationWarning"
)


@pytest.fixture
def encoder(tokenizer) -> TextEncoder:
    return TextEncoder(tokenizer, tiny.tiny_model(tokenizer).config)


# -------------------------------------------------------------------- the stream


def ids(windows: Any) -> list[str]:
    return [w["id"] for w in windows]


def test_each_pass_is_every_record_once_in_an_order_of_its_own(tmp_path, encoder):
    files = record_files([write_shards(tmp_path, numbered(30), numbered(20, "s"))])

    def passes(seed: int) -> list[list[str]]:
        windows = iter(RecordStream(files, encoder, buffer_size=8, seed=seed))
        return [ids(itertools.islice(windows, 50)) for _ in range(3)]

    first, second, third = passes(0)
    assert sorted(first) == sorted(second) == sorted(third) == sorted(ids(numbered(30) + numbered(20, "s")))
    assert first != second and second != third and first != sorted(first)
    assert passes(0) == [first, second, third] and passes(1)[0] != first


def test_long_records_are_cut_and_those_that_teach_nothing_left_out(tmp_path, encoder):
    records = [
        record("long", "[Ada|artist] and [Bo|person] saw [ACME|company]. " * 12),
        record("nothing", "Nobody came.", exhaustive=False),
        record("no one", "Nobody came."),
    ]
    stream = RecordStream(record_files([write_shards(tmp_path, records)]), encoder)
    windows = list(stream.one_pass(stream.sources, 0))
    parts = sorted((w for w in windows if w["doc_id"] == "long"), key=lambda w: int(w["id"].partition("#")[2]))
    assert len(parts) > 3 and "".join(w["text"] for w in parts) == records[0]["text"]
    assert sum(len(w["mentions"]) for w in parts) == 36
    assert [w["id"] for w in windows if w["doc_id"] != "long"] == ["no one"]


SHARDS = [numbered(13, "a"), numbered(2, "b"), numbered(7, "c")]


@pytest.mark.parametrize(("n_processes", "n_workers"), [(1, 0), (2, 0), (3, 0), (2, 3)])
def test_processes_have_equal_shares_and_together_every_record_once(tmp_path, encoder, n_processes, n_workers):
    files = record_files([write_shards(tmp_path, *SHARDS)])
    for number in range(2):
        shares = [
            ids(
                RecordStream(files, encoder, process=p, n_processes=n_processes, n_workers=n_workers).one_pass(
                    files, number
                )
            )
            for p in range(n_processes)
        ]
        assert Counter(itertools.chain(*shares)) == Counter(ids(itertools.chain(*SHARDS)))
        lengths = [len(share) for share in shares]
        assert max(lengths) - min(lengths) <= len(files)


@with_workers
@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_workers_of_a_data_loader_share_the_rows_of_a_process(tmp_path, encoder, n_workers):
    files = record_files([write_shards(tmp_path, numbered(6, "a"), numbered(6, "b"))])
    stream = RecordStream(files, encoder, n_workers=n_workers, buffer_size=3)

    def two_passes() -> list[str]:
        batches = DataLoader(stream, batch_size=1, num_workers=n_workers, collate_fn=ids)
        return list(itertools.chain(*itertools.islice(batches, 24)))

    seen = two_passes()
    assert sorted(seen[:12]) == sorted(seen[12:]) == sorted(ids(numbered(6, "a") + numbered(6, "b")))
    assert seen[:12] != seen[12:] and two_passes() == seen


@with_workers
@pytest.mark.parametrize("n_shards", [1, 2, 4])
def test_workers_share_the_rows_of_a_data_set_too_however_many_shards_it_has(encoder, n_shards):
    rows = Dataset.from_list(numbered(12)).to_iterable_dataset(num_shards=n_shards)
    stream = RecordStream([rows], encoder, n_workers=2, buffer_size=3)
    batches = DataLoader(stream, batch_size=1, num_workers=2, collate_fn=ids)
    assert sorted(itertools.chain(*itertools.islice(batches, 12))) == sorted(ids(numbered(12)))


@pytest.mark.parametrize(("share", "beside"), [(0.25, 1 / 3), (0.5, 1.0), (0.75, 3.0), (0.0, 0.0)])
def test_detection_records_have_their_share_at_any_point(tmp_path, encoder, share, beside):
    typing, detection = (record_files([write_shards(tmp_path / n, numbered(12, n))]) for n in ("typing", "detection"))
    stream = RecordStream(typing, encoder, detection_sources=detection, detection_share=share, buffer_size=4)
    n_windows = 24 + round(24 * beside)
    seen = ids(itertools.islice(stream, n_windows))
    for end in range(1, n_windows + 1):
        n_typing = sum(i.startswith("typing") for i in seen[:end])
        assert (n_typing - 1) * beside - 1 <= end - n_typing <= n_typing * beside + 1
    mixed = Counter(seen)
    assert all(mixed[i] == 2 for i in ids(numbered(12, "typing")))
    times = [mixed[i] for i in ids(numbered(12, "detection"))]
    assert sum(times) == round(24 * beside) and max(times) - min(times) <= 1  # none again before all the others


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_outside_its_range_is_an_error(encoder, share):
    with pytest.raises(ValueError, match="detection_share must lie in"):
        RecordStream([], encoder, detection_share=share)


def test_a_bad_record_far_into_a_file_is_told_with_its_place(tmp_path, encoder):
    lines = [json.dumps(r) for r in numbered(40)]
    lines[33] = '{"id": "r33"}'
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(RecordError, match=r"a\.jsonl:34: the key 'text' is missing"):
        list(itertools.islice(RecordStream([tmp_path / "a.jsonl"], encoder, buffer_size=2), 100))


@pytest.mark.parametrize(("n", "kept", "processes"), [(3, True, 4), (5, False, 1)], ids=["too few", "none teaches"])
def test_a_process_without_a_record_is_an_error_and_not_an_endless_search(tmp_path, encoder, n, kept, processes):
    write_records([{**r, "exhaustive": kept, "mentions": []} for r in numbered(n)], tmp_path / "a.jsonl")
    stream = RecordStream([tmp_path / "a.jsonl"], encoder, process=processes - 1, n_processes=processes)
    with pytest.raises(
        RecordError, match=r"a\.jsonl.* nothing to train on for one of \d readers: expected at least as many"
    ):
        next(iter(stream))


def test_the_files_hash_is_of_their_bytes_and_order(tmp_path):
    for name, content in (("a", "xy"), ("b", "z"), ("c", "x"), ("d", "yz")):
        (tmp_path / name).write_text(content)
    a, b, c, d = (tmp_path / name for name in "abcd")
    assert len({files_hash(files) for files in ([a, b], [b, a], [c, d], [a], [])}) == 5
    shutil.copy(a, tmp_path / "e")
    assert files_hash([tmp_path / "e", b]) == files_hash([a, b])


# -------------------------------------------------------------------- memory


@pytest.fixture
def validated(monkeypatch) -> list[str]:
    """Ids of the records that streams have read, filled in as they do."""
    seen: list[str] = []

    def read(*args: Any, **kwargs: Any) -> Iterator[tuple[str, Any]]:
        for where, content in read_rows(*args, **kwargs):
            seen.append(content["id"])
            yield where, content

    monkeypatch.setattr(trainer_finener, "read_rows", read)
    return seen


def test_no_more_is_read_ahead_than_the_buffer_and_a_record_or_two_of_each_file(tmp_path, encoder, validated):
    files = record_files([write_shards(tmp_path, *(numbered(1500, f"{i}x") for i in range(4)))])
    windows = iter(RecordStream(files, encoder, buffer_size=50))
    assert validated == []
    for drawn in range(1, 2001):
        next(windows)
        assert drawn <= len(validated) <= drawn + 50 + 2 * len(files)


def test_training_begins_before_the_files_are_read(workplace, validated, monkeypatch):
    write_shards(workplace / "large", *(numbered(1000, f"{i}x") for i in range(3)))
    read_at_step = []
    step = FinenerTrainer.training_step
    monkeypatch.setattr(
        FinenerTrainer,
        "training_step",
        lambda *args, **kwargs: read_at_step.append(len(validated)) or step(*args, **kwargs),
    )
    configure(workplace)
    run("--phases", "pretrain", "--typing_data", "large", "--detection_data", "large", "--shuffle_buffer", "20")
    # A sample of the beginning and then the beginning, each a shuffle buffer or two of both tasks.
    assert len(read_at_step) == 8 and 80 <= read_at_step[0] <= 200
    assert read_at_step[-1] - read_at_step[0] <= 8 * 4 + 40


# -------------------------------------------------------------------- the script

STREAM = {
    "streaming": True,
    "shuffle_buffer": 5,
    "eval_strategy": "steps",
    "save_strategy": "steps",
    "eval_steps": 3,
    "save_steps": 3,
}


@pytest.fixture
def workplace(tmp_path, encoder_folder, monkeypatch) -> Path:
    """As that of the training script, its typing records in a dataset folder with a split that must not be trained on."""
    make_workplace(tmp_path, encoder_folder)
    monkeypatch.chdir(tmp_path)
    typing = [{**r, "exhaustive": False} for r in SOURCE]
    write_shards(tmp_path / "silver", typing[:5], typing[5:])
    (tmp_path / "silver" / "data" / "test-00000-of-00001.parquet").touch()  # reading it would be an error
    configure(tmp_path)
    return tmp_path


def configure(folder: Path, **changes: Any) -> None:
    pretrain = {**PRETRAIN, "typing_data": ["silver"], "max_steps": 8}
    write_config(folder, **{**STREAM, "pretrain": pretrain, "finetune": {**FINETUNE, "max_steps": 4}, **changes})


def test_both_phases_train_on_streams_and_tell_what_they_read(workplace):
    printed = run()
    assert "pretrain: 10 training records of the stream's 16, 8 dev records" in printed
    assert (
        "finetune: 5 training records of the stream's 5, 8 dev records; 9 typed mentions train 10 of 10 types"
        in printed
    )
    assert printed.count("the frozen encoder's states are not cached") == 2
    pretrained, final = (results_of(workplace / "out" / name) for name in ("pretrained", "final"))
    assert pretrained["records"] == {"train": 16, "dev": 8, "test": 0, "sampled": 10}
    assert final["records"] == {"train": 5, "dev": 8, "test": 3, "sampled": 5}
    assert pretrained["data"].keys() == {"train_files", "dev", "test"}
    assert pretrained["data"]["train_files"] == files_hash(record_files(["silver", "detection.jsonl"]))
    assert final["data"]["test"] == data_hash(map(validate_record, MORE_TARGET))
    assert final["type_support"]["mentions"] == 9 and final["unpredictable"] == {"mentions": 2, "of": 22, "records": 2}
    assert len([row for row in pretrained["dev"]["curve"] if "loss_typing" in row]) == 8
    assert final["test"]["fine-tuned"]


def test_a_folder_trains_in_memory_as_its_files_do(workplace):
    options = ("--phases", "pretrain", "--streaming", "false", "--max_steps", "3")
    run(*options, "--output_dir", "out/folder")
    run(*options, "--output_dir", "out/files", "--typing_data", *map(str, record_files(["silver"])))
    folder, files = (results_of(workplace / "out" / name) for name in ("folder", "files"))
    assert folder["data"] == files["data"] and folder["dev"] == files["dev"] and folder["records"]["train"] == 12


@with_workers
@pytest.mark.parametrize(("n_workers", "accumulation"), [(0, 1), (2, 2)])
def test_a_run_that_was_killed_and_resumed_equals_one_that_was_not(workplace, monkeypatch, n_workers, accumulation):
    configure(workplace, load_best_model_at_end=False, lr_scheduler_type="linear")
    options = ["--phases", "pretrain", "--dataloader_num_workers", str(n_workers)]
    options += ["--gradient_accumulation_steps", str(accumulation)]
    run(*options, "--output_dir", "out/straight")
    step = FinenerTrainer.training_step

    def until_killed(trainer: FinenerTrainer, *args: Any, **kwargs: Any) -> Any:
        if trainer.state.global_step == 5:  # two steps after the checkpoint, in a later pass over the files
            raise KeyboardInterrupt
        return step(trainer, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FinenerTrainer, "training_step", until_killed)
        run(*options, "--output_dir", "out/killed")
    assert not (workplace / "out" / "killed").exists()
    halfway = weights(workplace / "out" / "checkpoints" / "killed" / "checkpoint-3")
    printed = run(*options, "--output_dir", "out/killed", "--resume_from_checkpoint", "true")
    assert "resuming from out/checkpoints/killed/checkpoint-3" in printed
    straight, resumed = (workplace / "out" / name for name in ("straight", "killed"))
    assert differing(weights(straight), weights(resumed)) == []
    assert len(differing(halfway, weights(resumed))) > 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretrain": {**PRETRAIN, "typing_data": ["silver"]}},
         r"a stream has no end: set max_steps; one pass over its records is about max_steps: 4 "),  # 8 typing, 8 detection, 4 a step
        ({"save_strategy": "epoch", "eval_strategy": "epoch"}, r"a stream has no epochs: set eval_strategy: steps, and eval_steps"),
        ({"save_strategy": "epoch", "load_best_model_at_end": False}, r"set save_strategy: steps, and save_steps"),
        ({"held_out_share": 0.5}, r"held_out_share needs all records in memory: with streaming, name dev_data instead"),
        ({"pretrain": {**PRETRAIN, "detection_share": 1.0}}, r"detection_share must lie in \[0, 1\), got 1\.0"),
        ({"shuffle_buffer": 0}, r"shuffle_buffer must be at least 1 window; got 0"),
        ({"dev_data": ["silver"]}, r"silver: no files of the split 'dev'; found test, train"),
        ({"pretrain": {"typing_data": [], "max_steps": 1}}, r"there is nothing to train on: typing_data and detection_data are empty"),
    ],
)  # fmt: skip
def test_what_a_stream_can_not_do_is_an_error_that_says_what_to_do(workplace, changes, message):
    configure(workplace, **changes)
    says(message, "--phases", "pretrain")
    assert not (workplace / "out").exists()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({**SOURCE[0], "id": "r7", "ontology": "other"}, r"record 'r7' is typed with 'other'; this run knows src, tgt"),
        (
            {"id": "r7", "text": "Ann", "mentions": [{"start": 0, "end": 9}]},
            r"typing\.jsonl:2: record 'r7': .*out of range",
        ),
    ],
)
def test_a_bad_record_ends_the_run_with_its_place(workplace, bad, message):
    lines = [json.dumps(r) for r in (SOURCE[0], bad)]
    (workplace / "typing.jsonl").write_text("\n".join(lines), encoding="utf-8")
    says(message, "--phases", "pretrain", "--typing_data", "typing.jsonl")


# -------------------------------------------------------------------- two processes

UNEVEN = [
    [*numbered(5, "a"), record("long", "[Ada|artist] and [Bo|person] saw [ACME|company]. " * 12)],
    numbered(1, "b"),
    numbered(4, "c"),
]


def work(folder: Path) -> dict[str, Any]:
    """Trains on streams, on as many processes as there are; gives the windows that each of them saw."""
    tokenizer = tiny.wordpiece_tokenizer(lowercase=False)
    found: dict[str, Any] = {"seen": {}, "weights": {}}
    for n_workers in (0, 2):
        model = tiny.tiny_model(tokenizer)
        changes = {"per_device_train_batch_size": 2, "max_steps": 20, "dataloader_num_workers": n_workers}
        run = trainer(model, tokenizer, folder, SOURCE, **changes)
        found["processes"] = run.accelerator.num_processes
        run.train_dataset = RecordStream(
            record_files([folder]),
            run.data_collator.encoder,
            buffer_size=4,
            process=run.args.process_index,
            n_processes=run.args.world_size,
            n_workers=n_workers,
        )
        seen = watch(run)
        run.train()
        found["seen"][n_workers] = gather_object([seen])
        found["weights"][n_workers] = gather_object([parameters(model)])
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory, encoder_folder) -> dict[str, Any]:
    """What two processes found; one that hangs fails the tests."""
    folder = make_workplace(tmp_path_factory.mktemp("two"), encoder_folder)
    write_shards(folder / "shards", *UNEVEN)
    configure(folder, pretrain={**PRETRAIN, "typing_data": ["shards"], "max_steps": 8})
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", __file__]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout
    return {**torch.load(folder / "found.pt", weights_only=True), "printed": printed, "folder": folder}


def test_two_processes_never_wait_and_share_the_records_of_each_pass(two):
    assert two["processes"] == 2
    every = {r["id"] for r in itertools.chain(*UNEVEN)} - {"long"}
    rows = two["seen"][0]
    assert [len(row) for row in rows] == [40, 40]
    shares = [set(row) for row in rows]
    assert not shares[0] & shares[1]
    assert {i for i in shares[0] | shares[1] if not i.startswith("long")} == every
    for row, share in zip(rows, shares, strict=True):
        for start in range(0, 40 - len(share), len(share)):  # pass after pass, each window once
            assert set(row[start : start + len(share)]) == share
    assert sorted(len({i.partition("#")[0] for i in share}) for share in shares) == [5, 6]


def test_two_processes_keep_the_same_weights(two):
    for left, right in two["weights"].values():
        assert all(torch.equal(left[name], right[name]) for name in left)


def test_the_script_streams_on_two_processes(two):
    results = results_of(two["folder"] / "out" / "pretrained")
    assert results["dev"]["scores"] and results["records"]["train"] == 11 + 8
    assert two["printed"].count("training records of the stream's 19") == 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = work(Path("shards"))
    if int(os.environ["RANK"]) == 0:
        torch.save(result, "found.pt")
    sys.argv = ["train_finener.py", "--config", "run.yaml", "--phases", "pretrain"]
    runpy.run_path(str(ROOT / "train_finener.py"), run_name="__main__")

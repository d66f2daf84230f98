"""What the tests of training share: records, trainers of tiny models, and folders with everything that a run names."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Dataset
from safetensors.torch import load_file

from finener.data_scripts.record_files import write_records
from finener.data_scripts.schema import FEATURES, validate_record
from finener.layers_finener import LOSS_PARTS
from finener.training import phases as train_finener
from finener.training.arguments import FinenerTrainingArguments
from finener.training.collator import FinenerCollator
from finener.training.trainer import FinenerTrainer
from finener.windows_finener import TextEncoder

import tiny


def record(record_id: str, marked: str, ontology: str = "src", exhaustive: bool = True) -> dict[str, Any]:
    """A record from a text with its mentions marked: ``[Ann|artist,person] left [Bree]``; untyped where ``ontology`` is empty."""
    text, mentions = "", []
    for piece in re.split(r"(\[[^]]*\])", marked):
        if piece.startswith("["):
            surface, _, types = piece[1:-1].partition("|")
            mentions.append(
                {"start": len(text), "end": len(text) + len(surface), "types": [t for t in types.split(",") if t]}
            )
            piece = surface
        text += piece
    return {
        "id": record_id,
        "doc_id": record_id,
        "source": "test",
        "text": text,
        "mentions": mentions,
        "exhaustive": exhaustive,
        "typed": bool(ontology),
        "ontology": ontology,
    }


# Records with 3, 1, 0, 2, 1, 4, 0 and 1 mentions: no two batches have the same number.
SOURCE = [
    record("s0", "[Ada|artist] and [Bo|person] saw [ACME|company]."),
    record("s1", "The [Louvre|artmuseum] is big."),
    record("s2", "Nobody came."),
    record("s3", "[Cy|artist] left [Bree|place]."),
    record("s4", "We like [Orsay|museum,building]"),
    record("s5", "[Al|person], [Di|artist], [Ed|person] of [Oz|place]"),
    record("s6", "It rains."),
    record("s7", "In [Rome|place] it rains"),
]


TARGET = [
    record("t0", "[Ada|per.artist.painter] and [Bo|per.politician] saw [ACME|org.company].", "tgt"),
    record("t1", "In [Rome|loc.city.capital] it rains", "tgt"),
    record("t2", "Nobody came.", "tgt"),
    record("t3", "[Cy|per.artist.singer,per.politician] left [Bree|loc.city].", "tgt"),
    record("t4", "pre[Fix|per]ed [Ed|per] by [Oz|loc]", "tgt"),  # Fix lies inside a word
]


def arguments(folder: Path, **changes: Any) -> FinenerTrainingArguments:
    """Plain SGD at a constant rate on CPU, everything trained, in random order; nothing saved, nothing evaluated."""
    return FinenerTrainingArguments(
        **{
            "output_dir": str(folder),
            "use_cpu": True,
            "freeze": "nothing",
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
            "per_device_train_batch_size": 8,
            "per_device_eval_batch_size": 8,
            "logging_steps": 500,
            "disable_tqdm": True,
            "optim": "sgd",
            "lr_scheduler_type": "constant",
            "learning_rate": 0.1,
            "max_grad_norm": 0.0,
            "seed": 3,
        }
        | changes
    )


def trainer(model, tokenizer, folder, train=None, dev=None, weights=None, **changes) -> FinenerTrainer:
    """A trainer with a weight of 1 for each loss part, or with those weights, and 0 for parts not among them."""
    weights = dict.fromkeys(LOSS_PARTS, 1.0) if weights is None else weights
    own = {f"{part}_weight": weights.get(part, 0.0) for part in LOSS_PARTS}
    return FinenerTrainer(
        model,
        arguments(folder, **own, **changes),
        train_dataset=train,
        eval_dataset=dev,
        processing_class=tokenizer,
    )


def still_model(tokenizer, **knobs):
    """A tiny model without any dropout, the encoder's own included."""
    model = tiny.tiny_model(tokenizer, **knobs)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def parameters(model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def collate(model, tokenizer, records, cache=None):
    return FinenerCollator(TextEncoder(tokenizer, model.config), model.config, cache)(records)


MORE_TARGET = [
    record("x0", "[Ada|per.artist.painter] came.", "tgt"),
    record("x1", "We saw [Oslo|loc.city.capital] and [ACME|org.company].", "tgt"),
    record("x2", "[Bo|per.politician] left [Bree|loc.city]", "tgt"),
]


COMMON = {
    "phases": ["pretrain", "finetune"],
    "encoder": "encoder",
    "ontology": "src.json",
    "target_ontology": "tgt.json",
    "dev_data": ["dev_source.jsonl", "dev_target.jsonl"],
    "seed": 5,
    "use_cpu": True,
    "disable_tqdm": True,
    "per_device_train_batch_size": 4,
    "learning_rate": 0.01,
    "lr_scheduler_type": "constant",
    "num_train_epochs": 2,
    "logging_steps": 1,
}


PRETRAIN = {
    "output_dir": "out/pretrained",
    "detection_data": ["detection.jsonl"],
    "typing_data": ["typing.jsonl"],
    "detection_share": 0.5,
    "freeze": "encoder",
    "knobs": {"lstm_hidden_size": 8, "lstm_layers": 1, "detection_threshold": 0.2},
}


FINETUNE = {
    "output_dir": "out/final",
    "typing_data": ["target.jsonl"],
    "test_data": ["test.jsonl"],
    "mapping": "mapping.tsv",
    "freeze": "detection",
    "knobs": {"conversion_hidden_size": 12},
    "num_train_epochs": 3,
    "show": ['Ada saw "Rome" and Oslo.', "It rains."],
}


def make_workplace(folder: Path, encoder: Path) -> Path:
    """Everything that a run of both phases needs, under names that do not tell where it lies."""
    folder.mkdir(exist_ok=True)
    shutil.copytree(encoder, folder / "encoder")
    tiny.two_parent_ontology().to_json(folder / "src.json")
    tiny.target_ontology().to_json(folder / "tgt.json")
    (folder / "mapping.tsv").write_text(
        "artist\tper.artist.painter\nperson\tper\ncompany\torg.company\nplace\tloc\t0.9\n"
    )
    untyped = [
        {
            **r,
            "id": f"{r['id']}!",
            "typed": False,
            "ontology": "",
            "mentions": [{**m, "types": []} for m in r["mentions"]],
        }
        for r in SOURCE
    ]
    files = {
        "detection": untyped,
        "typing": [{**r, "exhaustive": False} for r in SOURCE],
        "dev_source": [{**r, "id": f"dev{r['id']}"} for r in SOURCE[:3]],
        "dev_target": [{**r, "id": f"dev{r['id']}"} for r in TARGET],
        "target": TARGET,
        "test": MORE_TARGET,
    }
    for name, records in files.items():
        write_records(records, folder / f"{name}.jsonl")
    return folder


def write_config(folder: Path, content: Any = None, **changes: Any) -> None:
    """Writes ``run.yaml``; a change to None takes the key away."""
    if content is None:
        content = {**COMMON, "pretrain": PRETRAIN, "finetune": FINETUNE} | changes
        content = {k: v for k, v in content.items() if v is not None}
    (folder / "run.yaml").write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")


def run(*command_line: str) -> str:
    """What the script prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        train_finener.main(["--config", "run.yaml", *command_line])
    return printed.getvalue()


def results_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of a saved model, as they are now: what is loaded may change with the file."""
    return {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}


def differing(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> list[str]:
    assert left.keys() == right.keys()
    return [name for name in left if not torch.equal(left[name], right[name])]


def watch(run: Any) -> list[str]:
    """The ids that this process trains on, filled in as it does."""
    seen: list[str] = []
    collator = run.data_collator

    def collate(records: Sequence[Any]) -> Any:
        seen.extend(r["id"] for r in records)
        return collator(records)

    run.data_collator = collate
    return seen


def says(message: str, *command_line: str) -> None:
    """The script must end with this message, a pattern, and without a traceback."""
    with pytest.raises(SystemExit) as end:
        run(*command_line)
    assert str(end.value).startswith("train_finener: ")
    assert re.search(message, str(end.value)), str(end.value)


DEV = {
    False: [
        *SOURCE,
        record("v0", "[Ada|person] saw the [Louvre|artmuseum] in [Rome|place], not [Bree|artist]."),
        record("v1", "[Foo Corp|company] and o[the|museum]r things of [Ann|artist]'s"),
        record("v2", "We like [東京|place] and [Bo|]."),
        record("v3", "  "),
    ],
    True: [
        *TARGET,
        record("v0", "[Ada|per] saw [Oslo|loc.city.capital] in [Rome|loc.city.capital], not [Bree|org].", "tgt"),
        record("v1", "[ACME|org.company] and o[the|loc.city]r things of [Cy|per.artist.singer]'s", "tgt"),
        record("v2", "[Bo|] we like", "tgt"),
    ],
}


FROM_GIVEN = ("--phases", "finetune", "--model", "given", "--num_train_epochs", "1")


def write_shards(folder: Path, *shards: Sequence[dict[str, Any]]) -> Path:
    """A dataset folder as the build command leaves it; the records of each shard."""
    (folder / "data").mkdir(parents=True)
    for i, records in enumerate(shards):
        checked = [validate_record(r) for r in records]
        Dataset.from_list(checked, features=FEATURES).to_parquet(
            folder / "data" / f"train-{i:05d}-of-{len(shards):05d}.parquet"
        )
    return folder


def numbered(n: int, name: str = "r") -> list[dict[str, Any]]:
    return [record(f"{name}{i}", "[Ada|artist] left.") for i in range(n)]

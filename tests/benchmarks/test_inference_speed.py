"""What the benchmark of inference measures: models with any number of types, beside the encoder alone."""

from __future__ import annotations

import subprocess
from contextlib import closing

import pytest
import torch

from finener.benchmarks.inference_speed import OtherCommit, interleaved, readers_of, run_encoder, throughput, with_types
from finener.benchmarks.type_counts import narrow, widen
from finener.pipeline_finener import FinenerPipeline

import tiny

TEXT = "Frida Kahlo painted in Mexico City."


@pytest.fixture
def pipe() -> FinenerPipeline:
    tokenizer = tiny.wordpiece_tokenizer(True)
    return FinenerPipeline(model=tiny.tiny_model(tokenizer), tokenizer=tokenizer, device="cpu")


def test_types_are_kept_with_their_ancestors_and_the_best_first():
    ontology = tiny.two_parent_ontology()
    kept = narrow(ontology, 5, ["artmuseum", "artist", "company", *ontology.ids])
    assert kept.ids == ("physical", "abstract", "person", "artist", "organization")  # artmuseum needs seven


@pytest.mark.parametrize("size", [10, 25])
def test_added_types_lie_below_leaves(size):
    ontology = widen(tiny.two_parent_ontology(), size)
    assert len(ontology) == size
    assert all(t.parents for t in ontology.types[10:])
    with pytest.raises(ValueError, match="has 10 types; expected so many or more, got 9"):
        widen(tiny.two_parent_ontology(), 9)


@pytest.mark.parametrize("size", [10, 40])
def test_a_model_with_added_types_answers_as_before(pipe, size):
    spans, wider = [(0, 11), (23, 34)], with_types(pipe, size)
    assert len(wider.model.config.ontology) == size
    with torch.no_grad():
        pipe.model.type_head.score.bias[0] += 5.0  # a root: nothing caps it
    assert wider(TEXT, mentions=spans) != pipe(TEXT, mentions=spans)  # its weights are its own
    wider = with_types(pipe, size)
    assert wider(TEXT, mentions=spans, types="leaf") == pipe(TEXT, mentions=spans, types="leaf")


def test_a_model_with_fewer_types_keeps_the_logits_of_those_it_has(pipe):
    fewer = with_types(pipe, 4)
    own, old = fewer.model.config.ontology, pipe.model.config.ontology
    rows = [old.index(t) for t in own.ids]
    assert len(own) == 4
    assert torch.equal(fewer.model.type_head.score.weight, pipe.model.type_head.score.weight[rows])


def test_the_encoder_alone_reads_every_text_once_with_little_padding(pipe, monkeypatch):
    shapes = []
    forward = pipe.model.encoder.forward
    monkeypatch.setattr(
        pipe.model.encoder, "forward", lambda **batch: shapes.append(batch["input_ids"].shape) or forward(**batch)
    )
    run_encoder(pipe, [TEXT, "Nobody came.", TEXT, "Nobody came."], 2)
    assert [n for n, _ in shapes] == [2, 2]
    assert shapes[0][1] > shapes[1][1]


def test_ratios_are_those_of_runs_that_follow_each_other():
    seconds = {"encoder": iter([9, 1, 2, 4]), 10: iter([9, 2, 4, 8])}  # the first run does not count
    told = interleaved({name: own.__next__ for name, own in seconds.items()}, 3)
    assert told["encoder"] == {"seconds": 2, "of_the_encoder": 1.0}
    assert told[10] == {"seconds": 4, "of_the_encoder": 0.5}


OTHER_CODE = """
from pathlib import Path
def load_pipeline(folder, device):
    asked = Path(folder).parent / "asked"
    return lambda texts, batch_size: asked.open("a").write(f"{Path(folder).name} {texts} {batch_size}\\n")
"""


def test_another_commit_runs_its_own_code_on_the_same_models(pipe, tmp_path):
    root, work = tmp_path / "root", tmp_path / "work"
    (root / "prediction").mkdir(parents=True)
    (root / "prediction" / "records.py").write_text(OTHER_CODE)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(root)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "as it was"]):
        subprocess.run([*git, *command], check=True)
    (root / "prediction" / "records.py").write_text("raise SystemExit('as it is')")
    with closing(OtherCommit("HEAD", work, [pipe, pipe], root)) as other:
        told = throughput(readers_of({10: pipe, 20: pipe}, other), [TEXT], 4, 1)
    assert (work / "asked").read_text().splitlines() == [f"model_{at} {[TEXT]} 4" for at in (0, 1)] * 2
    assert list(told) == [("encoder", None), ("now", 10), ("now", 20), ("before", 10), ("before", 20)]
    assert all(row["words_per_second"] > 0 for row in told.values())

"""The feedback round: its split, the count of a person's work, and the page that tells it."""

from __future__ import annotations

import json
import re
import shutil
import textwrap

import pytest
import torch

from finener.data_scripts.record_files import read_records, write_records
from finener.ontology_finener import Ontology
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.records import predict_records
from finener.scripts import feedback, write_results
from finener.training.arguments import ArgumentError
from finener.training.records import check_types, data_hash

import tiny
from runs import record


def test_no_document_is_in_both_halves_and_both_have_news_and_encyclopaedia():
    train = list(read_records(feedback.ROOT / "examples" / "aida_sample" / "train.jsonl"))
    had, new = feedback.halves(train)
    documents = [{r["doc_id"] for r in part} for part in (had, new)]
    assert not documents[0] & documents[1] and abs(len(documents[0]) - len(documents[1])) <= 1
    assert sorted(r["id"] for r in [*had, *new]) == sorted(r["id"] for r in train)
    assert {r["source"] for r in had} == {r["source"] for r in new} == {r["source"] for r in train}


def example() -> tuple[list[dict], list[dict]]:
    """Gold and output: one mention right, one of another type, one with its boundary off, one missed, one that is no name."""
    gold = [
        record("a", "[Ann Lee|per.artist.painter] met [Bo|per] in [New York|loc.city].", "tgt"),
        record("b", "Then [Cy|per.politician] left Rome.", "tgt"),
    ]
    output = [
        record(
            "a",
            "[Ann Lee|per,per.artist,per.artist.painter] met [Bo|org] in New [York|loc,loc.city].",
            "tgt",
            exhaustive=False,
        ),
        record("b", "[Then|per] Cy left Rome.", "tgt", exhaustive=False),
    ]
    return gold, output


def test_a_persons_work_is_counted(target):
    gold, output = example()
    work = feedback.count_work(output, feedback.correct(output, gold), target)
    assert work == {"left": 1, "retyped": 1, "added": 2, "removed": 2}


def test_corrected_output_may_train_detection_and_typing():
    gold, output = example()
    for right, corrected in zip(gold, feedback.correct(output, gold), strict=True):
        assert corrected["mentions"] == right["mentions"]
        assert corrected["exhaustive"] and corrected["typed"] and corrected["ontology"] == "tgt"


def test_without_the_quickstarts_model_the_error_says_how_to_make_it(tmp_path):
    with pytest.raises(SystemExit, match="make quickstart"):
        feedback.main(["--model", str(tmp_path / "nothing"), "--output", str(tmp_path / "feedback.json")])
    assert not list(tmp_path.iterdir())


def test_detection_is_trained_and_nothing_of_pre_training_is_asked_for():
    settings = feedback.read_settings()
    assert settings["freeze"] == "encoder" and settings["knobs"]
    assert not {"mapping", "show", "typing_data", "pretrain", "phases"} & settings.keys()


@pytest.fixture
def settings(tmp_path, tokenizer, target) -> dict:
    """Of a round with a tiny pre-trained model of AIDA's size of target types, in a few steps."""
    torch.manual_seed(0)
    tiny.tiny_model(tokenizer).save_pretrained(tmp_path / "pretrained")
    tokenizer.save_pretrained(tmp_path / "pretrained")
    target.to_json(tmp_path / "tgt.json")
    rest = [record(f"d{i}", "[Ann Lee|per.artist.painter] met [Bo|per] in [New York|loc.city].", "tgt") for i in (1, 2)]
    for part, right in zip(("dev", "test"), rest, strict=True):
        write_records([right], tmp_path / f"{part}.jsonl")
    return {
        "model": str(tmp_path / "pretrained"),
        "target_ontology": str(tmp_path / "tgt.json"),
        "dev_data": [str(tmp_path / "dev.jsonl")],
        "test_data": [str(tmp_path / "test.jsonl")],
        "freeze": "encoder",
        "num_train_epochs": 40,
        "learning_rate": 0.02,
        "lr_scheduler_type": "constant",
        "per_device_train_batch_size": 2,
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "use_cpu": True,
        "disable_tqdm": True,
    }


def test_a_round_tells_scores_before_and_after_and_gains_where_the_new_texts_have_what_was_missing(settings, tmp_path):
    had = [record("h", "[Cy|per.politician] left [Rome|loc.city.capital].", "tgt")]
    again = "[Ann Lee|per.artist.painter] met [Bo|per] in [New York|loc.city], {} days ago."
    new = [record(f"n{i}", again.format(i), "tgt") for i in range(6)]
    (tmp_path / "work").mkdir()
    told = feedback.one_round(settings, had, new, tmp_path / "work", seed=1)
    assert told["before"].keys() == told["after"].keys() == set(feedback.SCORES)
    assert told["after"]["pair_f1"] > told["before"]["pair_f1"], "the test text has the names of the corrected ones"
    work = told["work"]
    assert work["left"] + work["retyped"] + work["added"] == 18, "mentions, once corrected"


def test_the_draft_of_the_walk_through_may_train_as_it_is(settings, tmp_path, tokenizer, monkeypatch):
    """The snippet of docs/training.md, run on output whose paths hold types that only fill a gap of the hierarchy."""
    page = (feedback.ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (snippet,) = (textwrap.dedent(part) for part in re.findall(r"```python\n(.*?)```", page, re.S) if "draft" in part)
    aida = Ontology.from_json(feedback.ROOT / "ontologies" / "aida.json")
    model = tiny.tiny_model(tokenizer, target_ontology=aida)
    pipe = FinenerPipeline(model=model, tokenizer=tokenizer)
    predicted = list(predict_records(pipe, [record("1", "[Ann Lee] met [Bo].", "")], gold_mentions=True))
    predicted[0]["mentions"][0]["types"] = ["gpe", "gpe.country", "gpe.country.country"]
    predicted[0]["mentions"][0]["type_scores"] = [0.9, 0.9, 0.9]
    (tmp_path / "ontologies").mkdir()
    shutil.copy(feedback.ROOT / "ontologies" / "aida.json", tmp_path / "ontologies")
    monkeypatch.chdir(tmp_path)
    write_records(predicted, tmp_path / "predicted.jsonl")
    with pytest.raises(ArgumentError, match=r"'gpe\.country', which only fills a gap"):
        check_types(predicted[0], {"aida": aida})
    exec(snippet, {})
    (draft,) = read_records(tmp_path / "corrected.jsonl")
    check_types(draft, {"aida": aida})
    assert draft["mentions"][0]["types"] == ["gpe.country.country"] and draft["id"] == "new#1"


def test_the_shipped_results_are_of_the_shipped_sample_and_gain():
    told = json.loads((feedback.ROOT / "results" / "feedback.json").read_text(encoding="utf-8"))
    sample = feedback.ROOT / "examples" / "aida_sample"
    assert told["data"]["test"] == data_hash(read_records(sample / "test.jsonl"))
    assert told["summary"]["after"]["pair_f1"]["mean"] > told["summary"]["before"]["pair_f1"]["mean"]


def test_the_seeds_are_summed_up_and_shown_between_the_markers(tmp_path):
    runs = [
        {
            "before": dict.fromkeys(feedback.SCORES, 0.5),
            "after": dict.fromkeys(feedback.SCORES, after),
            "work": dict.fromkeys(feedback.WORK, 7),
        }
        for after in (0.6, 0.8)
    ]
    told = feedback.summary(runs)
    assert told["gain"]["pair_f1"] == pytest.approx({"mean": 0.2, "sd": 0.02**0.5})
    counts = dict.fromkeys(("had", "new", "dev", "test"), 9)
    results = {"summary": told, "seeds": [1, 2], "records": counts, "documents": counts, "mentions": counts}
    assert "0.700 ± 0.141" in feedback.report(results)
    root = feedback.ROOT
    for name in ("results/quickstart.json", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((root / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "results" / "feedback.json").write_text(json.dumps(results), encoding="utf-8")
    page = tmp_path / "docs" / "training.md"
    page.parent.mkdir()
    page.write_text("before\n<!-- results:feedback -->\nold\n<!-- /results -->\nafter\n", encoding="utf-8")
    written = write_results.written_pages(tmp_path)[page]
    assert "| (span, type) pairs | 0.500 ± 0.000 | 0.700 ± 0.141 | +0.200 ± 0.141 |" in written
    assert "| left as they were | 7 ± 0 |" in written
    assert written.startswith("before\n") and written.endswith("\nafter\n") and "old" not in written

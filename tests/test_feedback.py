"""The feedback round: its split, the count of a person's work, and the page that tells it."""

from __future__ import annotations

import json

import pytest
from test_trainer import record

from data_scripts.schema import read_records
from scripts import feedback, write_results


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

"""The pages that show the results."""

import json
from pathlib import Path

import numpy as np
import pytest

from finener.experiments import tables
from finener.experiments.run import pack_counts, unpack_counts
from finener.metrics.counting import COUNTS
from finener.metrics.scoring import judge
from finener.ontology_finener import EntityType, Ontology
from finener.scripts import write_results

from transfers import record

TYPES = Ontology("tgt", [EntityType("per", "per", ()), EntityType("loc", "loc", ())])


def result(transfer, system, seed, wrong, dev=0.5, wrong_strict=None, encoder="minilm"):
    """A result on four documents with a mention each, of which ``wrong`` have a wrong type; ``wrong_strict`` at the strict threshold."""
    gold = [record(f"{i}", "Ann left.", ("Ann", "per"), ontology="tgt") for i in range(4)]
    wrong_strict = wrong if wrong_strict is None else wrong_strict

    def judged(n_wrong):
        predicted = [
            record(r["id"], r["text"], ("Ann", "loc" if i < n_wrong else "per"), ontology="tgt")
            for i, r in enumerate(gold)
        ]
        return judge(gold, predicted, TYPES, predicted)

    f1, strict = 1 - wrong / 4, 1 - wrong_strict / 4
    records = {"train": 8, "dev": 2, "test": 4, "detection": 0}
    fold = {
        "name": "0",
        "records": records,
        "removed": 1,
        "dev_f1": {"pairs": dev, "strict": 0.0},
        "scores": {"pair_f1": f1},
        "thresholds": {"pairs": 0.5, "strict": 0.7},
    }
    if system == "direct":
        fold["reach"] = {"types": 0.5, "gold_types": 0.5, "gold_mentions": 0.25}
    return {
        "name": f"{transfer}-{encoder}-{system}-{seed}",
        "transfer": transfer,
        "encoder": encoder,
        "system": system,
        "seed": seed,
        "source": None,
        "data": [{"test": "h"}],
        "versions": {"torch": "1"},
        "seconds": 3600.0,
        "folds": [fold],
        "macro": {"f1": f1},
        "scores": {"mention_f1": 1.0, "pair_f1": f1, "typed_f1": strict, "partial_f1": f1, "given_micro_f1": f1},
        "units": json.loads(json.dumps(pack_counts(judged(wrong)))),
        "strict_units": json.loads(json.dumps(pack_counts(judged(wrong_strict)))),
    }


def some_results():
    wrong = {"direct": 3, "scratch": 2, "plain": 2, "soft": 1}
    return [result("aida", s, seed, w, dev=0.9 if s == "soft" else 0.1) for s, w in wrong.items() for seed in (1, 2)]


def test_counts_survive_packing():
    counts = unpack_counts(result("aida", "soft", 1, 1)["units"])
    assert counts.shape == (4, len(COUNTS))
    totals = dict(zip(COUNTS, counts.sum(0), strict=True))
    assert (totals["pair_gold"], totals["pair_hit"], totals["given_hit"]) == (4, 3, 3)


def test_the_page_shows_means_differences_and_reach():
    page = tables.experiments_page(some_results())
    assert "| soft (*chosen*) | 2 | 1.000 ± 0.000 | 0.750 ± 0.000 |" in page
    assert "| direct | 2 | 1.000 ± 0.000 | 0.250 ± 0.000 |" in page
    assert "reaches 50% of the target types, 50% of those in the test parts and 25% of their mentions" in page
    assert "| soft − direct | (span, type) pairs | +0.500 |" in page and "| 3.00 |" in page
    assert "| soft − plain | partial credit | +0.250 |" in page
    assert "1 training records that say the same" in page
    assert tables.experiments_page(some_results()[::-1]) == page


def test_the_page_leads_with_the_best_system_of_each_target_by_encoder():
    large = [result("aida", s, 1, w, encoder="mpnet") for s, w in (("direct", 2), ("plain", 0))]
    page = tables.experiments_page([*some_results(), *large])
    lead = page.partition("## YAGO → AIDA")[0]
    rows = [line for line in lead.splitlines() if line.startswith("| YAGO")]
    assert rows == [
        "| YAGO → AIDA | mpnet | plain | 1.000 | 1.000 | 1.000 | 1.000 | 2.00 |",
        "| YAGO → AIDA | minilm | soft | 1.000 ± 0.000 | 0.750 ± 0.000 | 0.750 ± 0.000 | 0.750 ± 0.000 | 3.00 |",
    ]
    assert page.index("### MPNet-base") < page.index("### MiniLM-L6")


def test_the_page_tells_the_hours_of_each_device():
    slow, fast = result("aida", "soft", 1, 1), result("aida", "soft", 2, 1)
    slow["versions"], fast["versions"] = {"torch": "1"}, {"torch": "2", "device": "Fast 1"}
    slow["seconds"], fast["seconds"] = 7200.0, 1800.0
    told = "Made with torch 1, torch 2, in 0.5 hours of processes that shared one Fast 1 and 2.0 hours of single cores."
    assert told in tables.experiments_page([slow, fast])


def test_the_scaling_table_goes_from_little_text_to_much():
    runs = []
    for transfer, source, silver in (("figer", "whole", 900), ("figer_quarter", "quarter", 90)):
        told = result("yago", source, 1, 1)
        told["folds"][0] |= {"corpora": {"train": {"wikipedia": silver, "redocred": 7}, "detection": {}}}
        told["folds"][0] |= {"dev": {"curve": [{"epoch": 1.0, "loss_detection": 1.0, "loss_typing": 1.0}]}}
        runs.append(told)
        for system, wrong in (("direct", 2), ("several", 1)):
            runs.append(result(transfer, system, 1, wrong) | {"source": told["name"]})
    lines = tables.scaling_table(tables.by_transfer(runs)).splitlines()
    assert lines[2:] == [
        "| minilm | 90 | 7 | 0.750 | 1.000 | 0.500 | 1.000 | 0.750 |",
        "| minilm | 900 | 7 | 0.750 | 1.000 | 0.500 | 1.000 | 0.750 |",
    ]
    assert "figer_quarter" not in tables.experiments_page(runs), "scaled transfers stand in that table alone"


def test_the_chosen_system_is_chosen_on_dev_not_on_test():
    results = [result("aida", "soft", 1, 0, dev=0.2), result("aida", "plain", 1, 4, dev=0.3)]
    assert tables.chosen(tables.by_transfer(results), "aida", "minilm") == "plain"


def test_crossner_takes_the_system_that_is_best_on_politics():
    results = [result("politics", "plain", 1, 1), result("politics", "tuned", 1, 2)]
    results += [result("crossner", "plain", 1, 4), result("crossner", "tuned", 1, 0)]
    assert tables.chosen(tables.by_transfer(results), "crossner", "minilm") == "plain"


def test_systems_tested_on_other_data_are_not_compared():
    one, other = result("aida", "soft", 1, 1), result("aida", "plain", 1, 1)
    other["data"] = [{"test": "other"}]
    with pytest.raises(ValueError, match="tested on other data"):
        tables.difference([one], [other], "pair_f1")


def test_strict_f1_is_compared_at_the_thresholds_that_are_best_for_it():
    one, other = result("aida", "soft", 1, 3, wrong_strict=1), result("aida", "plain", 1, 0, wrong_strict=2)
    assert tables.difference([one], [other], "typed_f1")["difference"] == pytest.approx(0.25)
    assert tables.difference([one], [other], "pair_f1")["difference"] == pytest.approx(-0.75)


def test_the_spread_of_seeds():
    assert tables.spread([0.5]) == "0.500"
    assert tables.spread([0.4, 0.6]) == f"0.500 ± {np.std([0.4, 0.6], ddof=1):.3f}"


def test_write_results_makes_the_page_and_the_readme_of_the_files(tmp_path):
    (tmp_path / "results" / "experiments").mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    root = Path(write_results.__file__).parent.parent
    quickstart = (root / "results" / "quickstart.json").read_text(encoding="utf-8")
    (tmp_path / "results" / "quickstart.json").write_text(quickstart, encoding="utf-8")
    markers = ("results:quickstart", "output:quickstart", "results:experiments")
    text = "".join(f"<!-- {marker} -->\n<!-- /end -->\n" for marker in markers)
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert list(write_results.written_pages(tmp_path)) == [tmp_path / "README.md"]
    for told in some_results():
        (tmp_path / "results" / "experiments" / f"{told['name']}.json").write_text(json.dumps(told), encoding="utf-8")
    pages = write_results.written_pages(tmp_path)
    assert pages[tmp_path / "docs" / "results.md"] == tables.experiments_page(some_results())
    assert (
        "| YAGO → AIDA | MiniLM-L6 | 0.250 ± 0.000 | 0.500 ± 0.000 | 0.750 ± 0.000 | 1.000"
        in pages[tmp_path / "README.md"]
    )


def test_the_losses_of_a_source_model_are_shown_at_the_first_log_and_at_the_end_of_each_epoch():
    curve = [
        {"epoch": epoch, "loss_detection": 1 / (i + 1), "loss_typing": 8.0 / (i + 1)}
        for i, epoch in enumerate([0.25, 0.75, 1.0, 1.5, 2.0])
    ]
    told = {
        "seed": 1,
        "folds": [{"dev": {"curve": [{"epoch": 0.0, "eval_score": 1.0}, *curve, {"epoch": 2.0, "eval_score": 1.0}]}}],
    }
    lines = tables.losses_table([told]).splitlines()
    assert lines[0] == "| seed 1: loss at epoch | 0.2 | 1.0 | 2.0 |"
    assert lines[2:] == [
        "| detection, a word | 1.000 | 0.333 | 0.200 |",
        "| typing, a gold type | 8.000 | 2.667 | 1.600 |",
    ]

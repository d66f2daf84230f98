"""Runs of a tiny model from training to scores."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from finener.configuration_finener import FinenerConfig
from finener.data_scripts.record_files import read_records
from finener.experiments import program
from finener.experiments.data import Fold
from finener.experiments.run import Place, execute, reuse_states, unpack_counts
from finener.metrics.counting import COUNTS, score_records
from finener.pipeline_finener import FinenerPipeline

import tiny
from transfers import a_run, record

UNITS = ("units", "strict_units")


def test_predictions_read_the_states_that_are_kept_and_are_those_of_the_encoder(tmp_path, tokenizer, monkeypatch):
    pipe = FinenerPipeline(model=tiny.tiny_model(tokenizer), tokenizer=tokenizer)
    texts = ["Ann met Bob in Rome.", "Rome", "word " * 200]
    plain = pipe(texts, mentions=[[(0, 3)], [(0, 4)], [(0, 4)]])
    reuse_states(pipe, texts, tmp_path / "states")
    forward, seen = pipe.model.encoder.forward, []

    def count(**given):
        seen.append(len(given["input_ids"]))
        return forward(**given)

    monkeypatch.setattr(pipe.model.encoder, "forward", count)
    kept = pipe(texts[:2], mentions=[[(0, 3)], [(0, 4)]])
    assert not seen and [m[0]["types"] for m in kept] == [pytest.approx(m[0]["types"], abs=1e-3) for m in plain[:2]]
    assert pipe(texts[2:], mentions=[[(0, 4)]])[0][0]["types"] == pytest.approx(plain[2][0]["types"], abs=1e-3) and seen


TINY = {
    "freeze": "encoder",
    "type_start": "random",
    "knobs": {"target_activation": "sigmoid"},
    "num_train_epochs": 2,
    "learning_rate": 0.01,
    "eval_strategy": "no",
    "save_strategy": "no",
    "load_best_model_at_end": False,
    "disable_tqdm": True,
    "use_cpu": True,
}


@pytest.fixture
def tiny_run(tmp_path, tokenizer, source, target):
    """A run on five documents from a tiny source model that is there, and where it works."""
    source.to_json(tmp_path / "src.json")
    target.to_json(tmp_path / "tgt.json")
    (tmp_path / "map.tsv").write_text("person\tper\nartist\tper.artist.painter\nplace\tloc\n")
    threads = torch.get_num_threads()
    place = Place(tmp_path / "work", tmp_path / "results")
    found = [("Ann", "per.politician"), ("Rome", "loc.city")]
    records = [record(str(i), "Ann saw Rome.", *found, doc=f"d{i}", ontology="tgt") for i in range(5)]
    fold = Fold("all", records[:3], records[3:4], records[4:])
    first = a_run(transfer="yago", system="s", phase="source", folds=[fold], ontology=str(tmp_path / "src.json"))
    torch.manual_seed(0)
    tiny.tiny_model(tokenizer).save_pretrained(place.model(first, fold))
    tokenizer.save_pretrained(place.model(first, fold))
    yield (
        a_run(folds=[fold], source=first, config=TINY, ontology=str(tmp_path / "tgt.json")),
        replace(a_run(folds=[fold], source=first), phase="direct", ontology=str(tmp_path / "tgt.json")),
        place,
    )
    torch.set_num_threads(threads)


def scores_of(place, run, name, ontology):
    folder = place.work / "runs" / run.name
    gold, predicted = (list(read_records(folder / f"{part}.jsonl", ontology)) for part in ("gold", name))
    return score_records(gold, predicted, ontology)


def test_each_measure_is_scored_at_the_threshold_that_dev_chose_for_it(tiny_run, monkeypatch, target):
    run, _, place = tiny_run
    monkeypatch.setattr("finener.experiments.run.tune", lambda *args: {"pairs": 0.0, "strict": 0.95}[args[3]])
    told = execute(run, place, keep=True)
    assert told["folds"][0]["thresholds"] == {"pairs": 0.0, "strict": 0.95}
    pairs, strict = (scores_of(place, run, name, target) for name in ("predicted", "strict"))
    assert pairs["mention_f1"] and pairs["pair_precision"] != strict["pair_precision"], "else the two could be mixed up"
    assert told["scores"]["pair_f1"] == pytest.approx(pairs["pair_f1"])
    assert told["scores"]["typed_f1"] == pytest.approx(strict["typed_f1"])
    config = FinenerConfig.from_pretrained(place.model(run, run.folds[0]))
    assert config.target_type_threshold == 0.0, "the model that is left is that for pairs"
    totals = [dict(zip(COUNTS, unpack_counts(told[u]).sum(0), strict=True)) for u in UNITS]
    assert totals[0]["pair_predicted"] > totals[1]["pair_predicted"]


def test_without_dev_data_the_models_own_threshold_serves_all(tiny_run):
    run, _, place = tiny_run
    run = replace(run, folds=[replace(run.folds[0], dev=[])])
    told = execute(run, place)
    assert "thresholds" not in told["folds"][0]
    assert told["units"] == told["strict_units"]
    assert not place.model(run, run.folds[0]).exists()


def test_direct_has_a_threshold_for_each_measure_too(tiny_run, tmp_path, target):
    _, run, place = tiny_run
    run = replace(run, mapping=str(tmp_path / "map.tsv"))
    told = execute(run, place)
    assert set(told["folds"][0]["thresholds"]) == set(told["folds"][0]["dev_f1"]) == {"pairs", "strict"}
    assert told["folds"][0]["reach"]["types"] == pytest.approx(3 / 9)
    assert told["scores"]["typed_f1"] == pytest.approx(scores_of(place, run, "strict", target).get("typed_f1", 0.0))


def test_a_source_models_threshold_is_chosen_on_given_mentions_of_silver(tiny_run, encoder_folder, source):
    run, _, place = tiny_run
    named = [record(str(i), "Ann saw Rome.", ("Ann", "person"), ontology="src") for i in range(6)]
    silver = [{**r, "exhaustive": False} for r in named]  # Rome is not marked
    untyped = {**named[3], "id": "u", "typed": False, "ontology": "", "mentions": []}
    fold = Fold("all", named[:3], [*silver[3:4], untyped], silver[4:])
    config = {**TINY, "knobs": {}, "encoder": str(encoder_folder), "num_train_epochs": 30}
    told = execute(replace(run.source, folds=[fold], config=config), place, keep=True)
    assert told["folds"][0]["dev_f1"]["pairs"] == 1.0 == told["scores"]["given_micro_f1"]
    assert "pair_f1" not in told["scores"], "what silver does not mark is no mistake"
    kept = FinenerConfig.from_pretrained(place.model(run.source, fold))
    assert kept.type_threshold == told["folds"][0]["thresholds"]["pairs"]


def test_a_rerun_trains_the_source_model_that_it_lacks_and_keeps_it(tiny_run, encoder_folder, capsys):
    run, _, place = tiny_run
    named = [record(str(i), "Ann saw Rome.", ("Ann", "person"), ("Rome", "place"), ontology="src") for i in range(4)]
    fold = Fold("all", named[:2], named[2:3], named[3:])
    source = replace(run.source, folds=[fold], config={**TINY, "knobs": {}, "encoder": str(encoder_folder)})
    run = replace(run, source=source)
    shutil.rmtree(place.model(source, fold))
    told = {"scores": {}, "seconds": 1.0, "name": run.name, "key": "", "predictions": ""}
    place.results.mkdir()
    place.result(run).write_text(json.dumps(told), encoding="utf-8")
    place.result(source).write_text("made before", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "estimate", lambda run, place: 120.0)
        assert not program.rerun(run, place), "the made-up result has no predictions"
    printed = capsys.readouterr().out
    assert f"{run.name} starts from {source.name}, which is not there: training it, about 2 minutes" in printed
    assert program.has_model(source, place)
    assert place.result(source).read_text(encoding="utf-8") == "made before"
    made = (place.model(source, fold) / "model.safetensors").stat().st_mtime_ns
    program.rerun(run, place)
    assert "training it" not in capsys.readouterr().out
    assert (place.model(source, fold) / "model.safetensors").stat().st_mtime_ns == made

"""The experiments: plan, folds, what is left out of training, hashes and resuming, runs of a tiny model, tables."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from finener.configuration_finener import FinenerConfig
from finener.data_scripts.record_files import read_records
from finener.experiments import data as experiments_data
from finener.experiments import plan as plan_of_experiments
from finener.experiments import program as experiments
from finener.experiments import run as experiments_run
from finener.experiments import tables as experiments_tables
from finener.experiments.data import Fold, document_folds, fewnerd_fold, split_entities, without_leaks
from finener.experiments.run import Place, Run
from finener.metrics.counting import COUNTS, score_records
from finener.metrics.scoring import judge
from finener.ontology_finener import EntityType, Ontology
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.mapping import TypeMapping
from finener.scripts import write_results

import tiny

PLAN = experiments.read_yaml("plan")


def record(record_id, text, *mentions, doc=None, source="made", ontology="yago", origin="link"):
    """A record; mentions are (name, type)."""
    found = [
        {"start": text.index(n), "end": text.index(n) + len(n), "types": [t], "score": None, "type_scores": None}
        | {"origin": origin}
        for n, t in mentions
    ]
    facts = {"exhaustive": True, "typed": True, "ontology": ontology}
    return {"id": record_id, "doc_id": doc or record_id, "source": source, "text": text, "mentions": found, **facts}


def corpora():
    """A little of everything that the plan names."""
    plain = {name: [record(f"{name}{i}", f"{name} says {i}.") for i in range(40)] for name in experiments_data.CORPORA}
    plain["aida"] = [record(f"a{i}", f"Word {i} of a document.", doc=f"d{i // 2}") for i in range(20)]
    plain["fewnerd"] = [record(f"f{i}", f"Number {i} is here.") for i in range(6400)]
    for domain in experiments_data.DOMAINS:
        for split in ("train", "dev"):
            plain[f"crossner/{domain}/{split}"] = [record(f"{domain}{split}", f"{domain} {split}")]
    plain["silver"] = [record(f"s{i}", f"Ann{i} met Bob.", (f"Ann{i}", "person")) for i in range(300)]
    return plain


# -------------------------------------------------------------------- what must not be trained on


def test_training_texts_that_say_the_same_as_a_tested_one_are_left_out_and_counted():
    train = [record("1", "The  CAT sat, there"), record("2", "The cat sat"), record("3", "A dog barked.")]
    kept, removed = without_leaks(train, [record("t", "“The cat sat there!”"), record("u", "a dog\tbarked")])
    assert [r["id"] for r in kept] == ["2"]
    assert removed == 2


def test_no_entity_is_in_two_parts_whatever_the_name_it_goes_by():
    names = [f"Person {i}" for i in range(500)]
    silver = [record(f"s{i}", f"{n} left.", (n, "person"), origin=f"link:P{i}") for i, n in enumerate(names)]
    silver += [
        record(f"r{i}", f"Mister {i} left.", (f"Mister {i}", "person"), origin=f"repeat:P{i}") for i in range(500)
    ]
    parts = split_entities(silver)
    entities = [{m["origin"].partition(":")[2] for r in part for m in r["mentions"]} for part in parts]
    assert sum(map(len, parts)) == 1000
    assert not entities[0] & entities[1] and not entities[0] & entities[2] and not entities[1] & entities[2]
    assert 10 < len(entities[2]) < 40  # 4 % of 500
    assert split_entities(silver[::-1])[2] == parts[2][::-1]


def test_a_tested_silver_record_keeps_the_held_out_mentions_alone(monkeypatch):
    places = {"ann": 0.01, "bob": 0.05, "cid": 0.5}
    monkeypatch.setattr(experiments_data, "place_of", places.__getitem__)
    both = record("1", "Ann and Bob and Cid", ("Ann", "person"), ("Bob", "person"), ("Cid", "person"))
    dev = record("2", "Bob and Cid", ("Bob", "person"), ("Cid", "person"))
    train, chosen, test = split_entities([both, dev, record("3", "Cid", ("Cid", "person"))])
    assert [r["id"] for r in train] == ["3"]
    assert [[m["start"] for m in r["mentions"]] for r in chosen] == [[0]]
    assert [[m["start"] for m in r["mentions"]] for r in test] == [[0]]


def test_a_source_model_may_not_train_on_what_it_is_tested_on():
    plan = json.loads(json.dumps(PLAN))
    for source in plan["sources"]:
        spec = plan["sources"][source]
        assert not plan_of_experiments.targets_of(plan, source) & {*spec["detection"], *spec.get("typing", {})}
    plan["sources"]["fewnerd_inside"]["detection"].append("figer")
    with pytest.raises(ValueError, match="trains on figer"):
        plan_of_experiments.targets_of(plan, "fewnerd_inside")
    plan["sources"]["figer_inside"]["typing"] = plan["sources"]["fewnerd_inside"]["typing"]
    with pytest.raises(ValueError, match="trains on crossner, fewnerd"):
        plan_of_experiments.targets_of(plan, "figer_inside")


def test_the_source_fold_leaves_out_targets_and_its_own_test_part():
    data = corpora()
    data["gum"][0] = record("g", "word 3, of a DOCUMENT")
    fold = experiments_data.source_fold(data, ["gum", "wnut17"], {}, data["aida"])
    assert fold.removed == 1
    assert len(fold.detection) == 79 - 7  # a tenth is dev
    assert all(not r["typed"] and not r["ontology"] for r in fold.detection)
    texts = [{r["text"] for r in part} for part in (fold.train, fold.dev, fold.test)]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and texts[2]


def test_gold_types_train_source_types_where_the_table_tells_them_and_the_name_is_not_held_out():
    source = Ontology("yago", [EntityType("Actor"), EntityType("Ship")])
    target = Ontology("few", [EntityType("person-actor"), EntityType("person-other")])
    table = TypeMapping(target, source, [("person-actor", "Actor", 1.0)])
    gold = record(
        "1",
        "Ann, Bob and Cid.",
        ("Ann", "person-actor"),
        ("Bob", "person-other"),
        ("Cid", "person-actor"),
        ontology="few",
    )
    kept = experiments_data.with_source_types(gold, table, {"cid"})
    assert [m["types"] for m in kept["mentions"]] == [["Actor"], [], []]
    assert (kept["typed"], kept["ontology"], kept["exhaustive"], kept["id"]) == (True, "yago", True, "made/1")
    bare = experiments_data.with_source_types(gold, table, {"ann", "cid"})
    assert (bare["typed"], bare["ontology"]) == (False, "") and [len(m["types"]) for m in bare["mentions"]] == [0, 0, 0]
    assert [m["types"] for m in gold["mentions"]] == [["person-actor"], ["person-other"], ["person-actor"]]


def test_a_record_without_any_rarely_seen_entity_trains_no_more():
    silver = [record(str(i), "Ann left.", ("Ann", "person")) for i in range(4)]
    silver.append(record("4", "Ann met Bob.", ("Ann", "person"), ("Bob", "person")))
    assert [r["id"] for r in experiments_data.without_repeats(silver, 2)] == ["0", "1", "4"]


def test_predictions_read_the_states_that_are_kept_and_are_those_of_the_encoder(tmp_path, tokenizer, monkeypatch):
    pipe = FinenerPipeline(model=tiny.tiny_model(tokenizer), tokenizer=tokenizer)
    texts = ["Ann met Bob in Rome.", "Rome", "word " * 200]
    plain = pipe(texts, mentions=[[(0, 3)], [(0, 4)], [(0, 4)]])
    experiments_run.reuse_states(pipe, texts, tmp_path / "states")
    forward, seen = pipe.model.encoder.forward, []

    def count(**given):
        seen.append(len(given["input_ids"]))
        return forward(**given)

    monkeypatch.setattr(pipe.model.encoder, "forward", count)
    kept = pipe(texts[:2], mentions=[[(0, 3)], [(0, 4)]])
    assert not seen and [m[0]["types"] for m in kept] == [pytest.approx(m[0]["types"], abs=1e-3) for m in plain[:2]]
    assert pipe(texts[2:], mentions=[[(0, 4)]])[0][0]["types"] == pytest.approx(plain[2][0]["types"], abs=1e-3) and seen


# -------------------------------------------------------------------- folds


def test_each_document_is_tested_once_and_is_never_in_two_parts():
    records = [record(f"{d}#{i}", f"{d} {i}", doc=f"d{d}") for d in range(50) for i in range(d % 3 + 1)]
    folds = document_folds(records, 4)
    assert sorted(r["id"] for fold in folds for r in fold.test) == sorted(r["id"] for r in records)
    for fold in folds:
        documents = [{r["doc_id"] for r in part} for part in (fold.train, fold.dev, fold.test)]
        assert not documents[0] & documents[1] and not documents[0] & documents[2] and not documents[1] & documents[2]
        assert len(fold.train) + len(fold.dev) + len(fold.test) == len(records)
        assert len(documents[1]) == math.ceil(len(documents[0] | documents[1]) / 5)
    assert document_folds(records, 4) == folds


def test_few_nerd_is_split_by_place():
    (fold,) = fewnerd_fold(corpora()["fewnerd"], 500)
    assert [len(fold.train), len(fold.dev), len(fold.test)] == [500, 400, 1000]
    assert (fold.dev[0]["id"], fold.test[0]["id"], fold.test[-1]["id"]) == ("f5000", "f5400", "f6399")


# -------------------------------------------------------------------- the plan


@pytest.fixture(scope="module")
def runs():
    return experiments.make_runs(PLAN, corpora(), [1, 2, 3])


def test_the_plan_has_every_transfer_by_every_system_and_seed(runs):
    names = {run.name for run in runs}
    assert len(names) == len(runs)
    assert {
        f"{t}-{s}-{n}" for t in ("aida", "figer") for s in ("direct", "scratch", "plain", "soft") for n in (1, 2, 3)
    } <= names
    assert {n for n in names if "-free-" in n} == {"fewnerd_10-free-1"}
    mapped = {run.transfer for run in runs if run.mapping and run.phase == "finetune"}
    assert mapped == {"aida", "figer", "fewnerd_10", "fewnerd", "politics", "crossner"}
    assert {n for n in names if "several_free" in n} == {f"figer-several_free-{seed}" for seed in (1, 2, 3)}
    assert {run.system for run in runs if run.mapping} == {"direct", "mapped", "several", "several_free", "free"}
    assert not any(n.startswith("politics-direct") for n in names)
    by_name = {run.name: run for run in runs}
    assert [f.dev for f in by_name["crossner-direct-1"].folds] == [corpora()["crossner/politics/dev"]] * 4
    assert [f.name for f in by_name["crossner-plain-1"].folds] == ["ai", "literature", "music", "science"]
    assert by_name["figer-soft-2"].source.name == "yago-fewnerd_inside-2"
    assert by_name["fewnerd-soft-2"].source.name == "yago-figer_inside-2"
    assert by_name["aida-scratch-1"].source is None


def test_systems_differ_in_what_their_names_say(runs):
    config = {run.name: run.config for run in runs}
    soft, plain, logits, tuned = (config[f"figer-{s}-1"] for s in ("soft", "plain", "logits", "tuned"))
    assert plain == plan_of_experiments.merge(soft, {"knobs": {"soft_loss_decay": 0.0}})
    assert logits == plan_of_experiments.merge(soft, {"knobs": {"conversion_input": "logits"}})
    assert tuned == plan_of_experiments.merge(soft, {"freeze": "encoder"})
    assert config["fewnerd-soft-1"]["num_train_epochs"] == PLAN["transfers"]["fewnerd"]["settings"]["num_train_epochs"]


def test_the_configs_have_no_unknown_key(runs, tmp_path):
    from finener.training.arguments import parse_arguments

    for run in {(run.transfer, run.system): run for run in runs if run.config}.values():
        fold = replace(run.folds[0], train=[], dev=[], detection=[])
        small = replace(run, folds=[fold], source=run.source and replace(run.source, folds=[fold]))
        path = experiments_run.write_config(small, fold, Place(tmp_path, tmp_path))
        ((args, training),) = parse_arguments(["--config", str(path)])
        assert training.seed == run.seed
        assert args.phase == ("finetune" if run.phase == "finetune" else "pretrain")
        is_mapped = run.system in ("mapped", "several", "free", "several_free")
        assert (args.type_start == "mapping") == bool(args.mapping) == bool(run.mapping) == is_mapped


# -------------------------------------------------------------------- hashes, skipping, resuming


def a_run(**changes):
    fold = Fold("all", [record("1", "Ann left.")], [], [record("2", "Bob left.")])
    values = {"transfer": "aida", "system": "soft", "seed": 1, "phase": "finetune", "config": {"learning_rate": 0.1}}
    values |= {"folds": [fold], "source": None, "ontology": "ontologies/aida.json", "mapping": None}
    return Run(**values | changes)


def test_the_hash_follows_from_config_data_seed_source_and_code(monkeypatch):
    other = Fold("all", [record("1", "Ann came.")], [], [record("2", "Bob left.")])
    source = a_run(transfer="yago", phase="source")
    keys = [
        a_run().key,
        a_run(config={"learning_rate": 0.2}).key,
        a_run(folds=[other]).key,
        a_run(seed=2).key,
        a_run(ontology="ontologies/figer.json").key,
        a_run(mapping="ontologies/mappings/yago_to_aida.tsv").key,
        a_run(source=source).key,
        a_run(source=replace(source, config={})).key,
    ]
    assert len(set(keys)) == len(keys)
    assert a_run().key == keys[0]
    monkeypatch.setattr(experiments_run, "code_hash", lambda files: "other")
    assert a_run().key != keys[0]


def test_comments_and_docstrings_do_not_change_the_code_hash(tmp_path):
    sources = {
        "a": 'def f(x):\n    """Adds."""\n    return x + 1\n',
        "b": '"""Module."""\n\n\ndef f(x):\n    # why\n    return x + 1\n',
        "c": "def f(x):\n    return x + 2\n",
    }
    hashes = {}
    for name, code in sources.items():
        (tmp_path / name).mkdir()
        path = tmp_path / name / "m.py"
        path.write_text(code, encoding="utf-8")
        hashes[name] = experiments_run.code_hash((path,))
    assert hashes["a"] == hashes["b"] != hashes["c"]


def finish(run, place):
    """As if the run had been done."""
    place.results.mkdir(exist_ok=True, parents=True)
    place.result(run).write_text(json.dumps({"key": run.key, "seconds": 60.0}), encoding="utf-8")


def leave_model(run, place):
    folder = place.model(run, run.folds[0])
    folder.mkdir(parents=True)
    (folder / "key.txt").write_text(run.key, encoding="utf-8")


def test_what_is_done_is_skipped_and_what_changed_is_done_again(tmp_path):
    place = Place(tmp_path / "work", tmp_path / "results")
    source = a_run(transfer="yago", system="s", phase="source")
    first, second = a_run(source=source), a_run(source=source, seed=2)
    everything = [source, first, second]
    assert experiments.to_do(everything, place) == everything
    finish(source, place)
    leave_model(source, place)
    finish(first, place)
    assert experiments.to_do(everything, place) == [second]
    finish(second, place)
    assert experiments.to_do(everything, place) == []
    changed = a_run(source=source, seed=2, config={"learning_rate": 0.2})
    assert experiments.to_do([source, first, changed], place) == [changed]


def test_a_source_model_that_is_not_there_is_trained_again_only_when_it_is_needed(tmp_path):
    place = Place(tmp_path / "work", tmp_path / "results")
    source = a_run(transfer="yago", system="s", phase="source")
    run = a_run(source=source)
    finish(source, place)
    finish(run, place)
    assert experiments.to_do([source, run], place) == []
    place.result(run).unlink()
    assert experiments.to_do([source, run], place) == [source, run]
    assert experiments.to_do([run], place) == [source, run]


def test_the_estimate_is_that_of_another_seed_where_there_is_one(tmp_path):
    place = Place(tmp_path, tmp_path)
    run = a_run(config={"num_train_epochs": 10})
    per_record = experiments.TRAIN["finetune"]
    expected = experiments.START + (1 + 3) * experiments.READ + 10 * per_record  # one record trains, one is tested
    assert experiments.estimate(run, place) == pytest.approx(expected)
    finish(a_run(seed=3), place)
    assert experiments.estimate(run, place) == 60.0


def test_work_writes_a_result_whole_and_marks_source_models(tmp_path, monkeypatch):
    place = Place(tmp_path / "work", tmp_path / "results")
    source = a_run(transfer="yago", system="s", phase="source")
    place.model(source, source.folds[0]).mkdir(parents=True)
    monkeypatch.setattr(experiments, "execute", lambda run, place, keep: {"key": run.key, "seconds": 1.0})
    experiments.work(source, place, keep=True)
    assert experiments.is_done(source, place) and experiments.has_model(source, place)
    assert [p.name for p in place.results.iterdir()] == ["yago-s-1.json"]


def test_rerun_tells_whether_the_predictions_are_the_same(tmp_path, monkeypatch, capsys):
    place, source = Place(tmp_path, tmp_path), a_run(transfer="yago", phase="source")
    run = a_run(source=source)
    told = {"name": run.name, "key": run.key, "seconds": 1.0, "scores": {"pair_f1": 0.5}, "predictions": "abc"}
    with pytest.raises(ValueError, match="no result"):
        experiments.rerun(run, place)
    place.result(run).write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ValueError, match="not trained"):
        experiments.rerun(run, place)
    leave_model(source, place)
    monkeypatch.setattr(experiments, "execute", lambda run, place, keep: told)
    assert experiments.rerun(run, place)
    monkeypatch.setattr(experiments, "execute", lambda run, place, keep: told | {"predictions": "abd"})
    assert not experiments.rerun(run, place)
    assert "DIFFERENT" in capsys.readouterr().out


def test_the_best_model_on_dev_of_seed_one_is_left(tmp_path):
    place = Place(tmp_path / "work", tmp_path / "results")
    place.results.mkdir()
    runs = [a_run(system=s, seed=seed) for s in ("soft", "plain") for seed in (1, 2)]
    for run, dev in zip(runs, (0.4, 0.9, 0.6, 0.1), strict=True):
        told = {"key": run.key, "folds": [{"dev_f1": {"pairs": dev, "strict": 0.0}}] * 2}
        place.result(run).write_text(json.dumps(told), encoding="utf-8")
        place.model(run, run.folds[0]).mkdir(parents=True)
        (place.model(run, run.folds[0]) / "config.json").write_text(run.name, encoding="utf-8")
        config = place.work / "runs" / run.name / "all" / "config.yaml"
        config.parent.mkdir(parents=True)
        config.write_text(f"system: {run.system}", encoding="utf-8")
    experiments.leave_best(runs, place, PLAN, tmp_path / "outputs")
    left = tmp_path / "outputs" / "aida"
    assert (left / "config.json").read_text(encoding="utf-8") == "aida-plain-1"
    assert (left / "train.yaml").read_text(encoding="utf-8") == "system: plain", "how it was trained"


def test_the_model_that_is_left_is_the_best_of_all_runs_whatever_was_asked_for(monkeypatch, capsys):
    seen = {}
    monkeypatch.setattr(experiments, "prepare", lambda *args: corpora())
    monkeypatch.setattr(experiments, "plan_table", lambda runs, *args: "")
    monkeypatch.setattr(experiments, "do", lambda runs, *args: seen.update(done=runs) or [])
    monkeypatch.setattr(experiments, "leave_best", lambda runs, *args: seen.update(judged=runs))
    monkeypatch.setattr(experiments, "to_do", lambda runs, place: runs)
    assert experiments.main(["--data", "x", "--only", "aida-soft-*", "--seeds", "1", "7"]) == 0
    assert [run.name for run in seen["done"]] == ["aida-soft-1", "aida-soft-7"]
    assert {"aida-plain-1", "aida-soft-2", "figer-several-1"} <= {run.name for run in seen["judged"]}
    with pytest.raises(ValueError, match="no such transfer or run"):
        experiments.main(["--data", "x", "--only", "nothing"])


# -------------------------------------------------------------------- doing a run

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
    monkeypatch.setattr(experiments_run, "tune", lambda *args: {"pairs": 0.0, "strict": 0.95}[args[3]])
    told = experiments_run.execute(run, place, keep=True)
    assert told["folds"][0]["thresholds"] == {"pairs": 0.0, "strict": 0.95}
    pairs, strict = (scores_of(place, run, name, target) for name in ("predicted", "strict"))
    assert pairs["mention_f1"] and pairs["pair_precision"] != strict["pair_precision"], "else the two could be mixed up"
    assert told["scores"]["pair_f1"] == pytest.approx(pairs["pair_f1"])
    assert told["scores"]["typed_f1"] == pytest.approx(strict["typed_f1"])
    config = FinenerConfig.from_pretrained(place.model(run, run.folds[0]))
    assert config.target_type_threshold == 0.0, "the model that is left is that for pairs"
    totals = [dict(zip(COUNTS, experiments_run.unpack_counts(told[u]).sum(0), strict=True)) for u in UNITS]
    assert totals[0]["pair_predicted"] > totals[1]["pair_predicted"]


def test_without_dev_data_the_models_own_threshold_serves_all(tiny_run):
    run, _, place = tiny_run
    run = replace(run, folds=[replace(run.folds[0], dev=[])])
    told = experiments_run.execute(run, place)
    assert "thresholds" not in told["folds"][0]
    assert told["units"] == told["strict_units"]
    assert not place.model(run, run.folds[0]).exists()


def test_direct_has_a_threshold_for_each_measure_too(tiny_run, tmp_path, target):
    _, run, place = tiny_run
    run = replace(run, mapping=str(tmp_path / "map.tsv"))
    told = experiments_run.execute(run, place)
    assert set(told["folds"][0]["thresholds"]) == set(told["folds"][0]["dev_f1"]) == {"pairs", "strict"}
    assert told["folds"][0]["reach"]["types"] == pytest.approx(3 / 9)
    assert told["scores"]["typed_f1"] == pytest.approx(scores_of(place, run, "strict", target).get("typed_f1", 0.0))


# -------------------------------------------------------------------- counts and tables

UNITS = ("units", "strict_units")

TYPES = Ontology("tgt", [EntityType("per", "per", ()), EntityType("loc", "loc", ())])


def result(transfer, system, seed, wrong, dev=0.5, wrong_strict=None):
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
        "name": f"{transfer}-{system}-{seed}",
        "transfer": transfer,
        "system": system,
        "seed": seed,
        "source": None,
        "data": [{"test": "h"}],
        "versions": {"torch": "1"},
        "seconds": 3600.0,
        "folds": [fold],
        "macro": {"f1": f1},
        "scores": {"mention_f1": 1.0, "pair_f1": f1, "typed_f1": strict, "partial_f1": f1, "given_micro_f1": f1},
        "units": json.loads(json.dumps(experiments_run.pack_counts(judged(wrong)))),
        "strict_units": json.loads(json.dumps(experiments_run.pack_counts(judged(wrong_strict)))),
    }


def some_results():
    wrong = {"direct": 3, "scratch": 2, "plain": 2, "soft": 1}
    return [result("aida", s, seed, w, dev=0.9 if s == "soft" else 0.1) for s, w in wrong.items() for seed in (1, 2)]


def test_counts_survive_packing():
    counts = experiments_run.unpack_counts(result("aida", "soft", 1, 1)["units"])
    assert counts.shape == (4, len(COUNTS))
    totals = dict(zip(COUNTS, counts.sum(0), strict=True))
    assert (totals["pair_gold"], totals["pair_hit"], totals["given_hit"]) == (4, 3, 3)


def test_the_page_shows_means_differences_and_reach():
    page = experiments_tables.experiments_page(some_results())
    assert "| soft (*chosen*) | 2 | 1.000 ± 0.000 | 0.750 ± 0.000 |" in page
    assert "| direct | 2 | 1.000 ± 0.000 | 0.250 ± 0.000 |" in page
    assert "reaches 50% of the target types, 50% of those in the test parts and 25% of their mentions" in page
    assert "| soft − direct | (span, type) pairs | +0.500 |" in page and "| 3.00 |" in page
    assert "| soft − plain | partial credit | +0.250 |" in page
    assert "1 training records that say the same" in page
    assert experiments_tables.experiments_page(some_results()[::-1]) == page


def test_the_chosen_system_is_chosen_on_dev_not_on_test():
    results = [result("aida", "soft", 1, 0, dev=0.2), result("aida", "plain", 1, 4, dev=0.3)]
    assert experiments_tables.chosen(experiments_tables.by_transfer(results), "aida") == "plain"


def test_crossner_takes_the_system_that_is_best_on_politics():
    results = [result("politics", "plain", 1, 1), result("politics", "tuned", 1, 2)]
    results += [result("crossner", "plain", 1, 4), result("crossner", "tuned", 1, 0)]
    assert experiments_tables.chosen(experiments_tables.by_transfer(results), "crossner") == "plain"


def test_systems_tested_on_other_data_are_not_compared():
    one, other = result("aida", "soft", 1, 1), result("aida", "plain", 1, 1)
    other["data"] = [{"test": "other"}]
    with pytest.raises(ValueError, match="tested on other data"):
        experiments_tables.difference([one], [other], "pair_f1")


def test_strict_f1_is_compared_at_the_thresholds_that_are_best_for_it():
    one, other = result("aida", "soft", 1, 3, wrong_strict=1), result("aida", "plain", 1, 0, wrong_strict=2)
    assert experiments_tables.difference([one], [other], "typed_f1")["difference"] == pytest.approx(0.25)
    assert experiments_tables.difference([one], [other], "pair_f1")["difference"] == pytest.approx(-0.75)


def test_the_spread_of_seeds():
    assert experiments_tables.spread([0.5]) == "0.500"
    assert experiments_tables.spread([0.4, 0.6]) == f"0.500 ± {np.std([0.4, 0.6], ddof=1):.3f}"


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
    assert pages[tmp_path / "docs" / "results.md"] == experiments_tables.experiments_page(some_results())
    assert "| YAGO → AIDA | 0.250 ± 0.000 | 0.500 ± 0.000 | 0.750 ± 0.000 | 1.000" in pages[tmp_path / "README.md"]


def test_the_losses_of_a_source_model_are_shown_at_the_first_log_and_at_the_end_of_each_epoch():
    curve = [
        {"epoch": epoch, "loss_detection": 1 / (i + 1), "loss_typing": 8.0 / (i + 1)}
        for i, epoch in enumerate([0.25, 0.75, 1.0, 1.5, 2.0])
    ]
    told = {
        "seed": 1,
        "folds": [{"dev": {"curve": [{"epoch": 0.0, "eval_score": 1.0}, *curve, {"epoch": 2.0, "eval_score": 1.0}]}}],
    }
    lines = experiments_tables.losses_table([told]).splitlines()
    assert lines[0] == "| seed 1: loss at epoch | 0.2 | 1.0 | 2.0 |"
    assert lines[2:] == [
        "| detection, a word | 1.000 | 0.333 | 0.200 |",
        "| typing, a gold type | 8.000 | 2.667 | 1.600 |",
    ]

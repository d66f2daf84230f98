"""The release recipe: its YAMLs, what is made when, and a tiny model from data to card."""

import json
from dataclasses import replace

import pytest
import torch
import yaml

from finener.experiments.data import Fold
from finener.experiments.plan import merge
from finener.experiments.run import read_yaml
from finener.paths import ROOT
from finener.release import program
from finener.release.program import Model
from finener.training.arguments import parse_arguments
from finener.training.results import versions

from transfers import corpora, record

PLAN, LIST = read_yaml("plan"), program.read_list()
# What a recipe sets by itself: paths, and what choosing a checkpoint needs.
OWN = {"phases", "model", "ontology", "target_ontology", "mapping", "output_dir", "encoder_states_folder", "seed"}
# With fourteen times the sentences, as many steps for less epochs.
EPOCHS = {"finener-crossner-base": 4}
CHOICE = {"eval_strategy", "eval_steps", "save_strategy", "save_steps", "load_best_model_at_end", "disable_tqdm"}


@pytest.mark.parametrize("name", LIST["models"])
def test_a_model_is_trained_as_the_run_whose_figures_it_shows(name):
    figures = LIST["models"][name]["figures"]
    encoder = PLAN["encoders"][figures["encoder"]]
    if figures["transfer"] == "yago":
        expected = merge(read_yaml("source"), encoder, PLAN["sources"][figures["system"]]["settings"])
    else:
        transfer, system = PLAN["transfers"][figures["transfer"]], PLAN["systems"][figures["system"]]
        assert figures["system"] in transfer["systems"]
        dtype = {"encoder_dtype": encoder["encoder_dtype"]}
        expected = merge(read_yaml("finetune"), dtype, transfer.get("settings", {}), system["settings"])
    expected["num_train_epochs"] = EPOCHS.get(name, expected["num_train_epochs"])
    path = ROOT / "release" / f"{name}.yaml"
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    of_data = {"typing_data", "detection_data", "dev_data"}
    assert {k: v for k, v in recipe.items() if k not in OWN | CHOICE | of_data} == {
        k: v for k, v in expected.items() if k not in OWN | CHOICE
    }
    ((args, training),) = parse_arguments(["--config", str(path)])
    assert training.output_dir == f"outputs/release/{name}" and args.phase == recipe["phases"][0]


def test_every_corpus_of_a_model_has_a_licence():
    named = {"aida": "aida_sample"}  # where the source of the records is called otherwise
    data = [model["data"] for model in LIST["models"].values()]
    corpora_used = {name for part in data for key in ("detection", "typing", "corpora") for name in part.get(key, [])}
    assert {named.get(name, name) for name in corpora_used} | {"wikipedia"} == set(LIST["licences"])


def test_source_models_learn_from_all_corpora_and_targets_from_the_whole_of_theirs():
    models = program.read_models(corpora())
    assert len(models["finener-fewnerd-base"].fold.train) == 6400 and not models["finener-fewnerd-base"].fold.dev
    whole = models["finener-yago-base"].fold
    assert whole.dev and {r["source"] for r in whole.detection} == {"made"}
    texts = {r["text"] for r in [*whole.train, *whole.detection, *whole.dev]}
    assert any(text.startswith("figer") for text in texts) and any(text.startswith("wtq") for text in texts)


@pytest.fixture
def small(tmp_path, monkeypatch, encoder_folder, source, target, tokenizer):
    """Two tiny models in a place of their own: a source model and one that starts from it."""
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setattr(program, "RECIPES", tmp_path)
    monkeypatch.chdir(tmp_path)
    source.to_json(tmp_path / "src.json")
    target.to_json(tmp_path / "tgt.json")
    quick = {"use_cpu": True, "num_train_epochs": 1, "eval_strategy": "no", "save_strategy": "no"}
    quick |= {"load_best_model_at_end": False, "type_start": "random", "disable_tqdm": True}
    first = {"phases": ["pretrain"], "encoder": str(encoder_folder), "ontology": "src.json", "output_dir": "out/first"}
    first |= {"typing_data": ["data/train.jsonl"], "dev_data": ["data/dev.jsonl"]}
    second = {"phases": ["finetune"], "model": "out/first", "target_ontology": "tgt.json", "output_dir": "out/second"}
    second |= {"typing_data": ["data/second.jsonl"], "knobs": {"target_activation": "sigmoid"}}
    for name, recipe in (("first", first), ("second", second)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(recipe | quick), encoding="utf-8")
    figures = {"transfer": "figer", "encoder": "mpnet", "system": "several"}
    spec = {"base_model": "some/encoder", "figures": figures}
    listed = {"licences": {"made": "CC0"}, "models": {"first": spec, "second": spec}}
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(listed), encoding="utf-8")
    plain = [record(str(i), "Ann saw Rome.", ("Ann", "person"), ("Rome", "place"), ontology="src") for i in range(4)]
    typed = [record(str(i), "Ann saw Rome.", ("Ann", "per.politician"), ontology="tgt") for i in range(3)]
    torch.manual_seed(0)
    return {
        "first": Model("first", spec, Fold("all", plain[:2], plain[2:], [])),
        "second": Model("second", spec, Fold("all", typed, [], [])),
    }


def write_figures(folder, seeds=((1, 0.5, 0.2), (2, 0.6, 0.4))):
    (folder / "results" / "experiments").mkdir(parents=True, exist_ok=True)
    for seed, f1, threshold in seeds:
        told = {"scores": {"pair_f1": f1}, "seconds": 60.0, "folds": [{"thresholds": {"pairs": threshold}}]}
        told["folds"][0]["records"] = {"train": 2, "detection": 0}
        told |= {"versions": versions(), "config": {"num_train_epochs": 3}}
        path = folder / "results" / "experiments" / f"figer-mpnet-several-{seed}.json"
        path.write_text(json.dumps(told), encoding="utf-8")


def test_without_the_experiments_figures_no_card_is_written(small):
    with pytest.raises(
        FileNotFoundError, match=r"no figer-mpnet-several-\*\.json.*python -m finener\.experiments --only"
    ):
        program.make(small["first"], small)
    assert not small["first"].folder.exists(), "it is told before hours of training"


def test_a_model_is_made_after_the_one_it_starts_from_and_once(small, tmp_path):
    write_figures(tmp_path)
    assert [m.name for m in program.to_make(small, ["second"])] == ["first", "second"]
    for model in program.to_make(small, ["second"]):
        told = program.make(model, small)
        program.write_told(told)
    assert program.to_make(small, ["*"]) == []
    assert told["figures"]["scores"] == [["(span, type) pairs", "0.550 ± 0.071"]]
    assert told["target_type_threshold"] == pytest.approx(0.3) and told["weights"]["bytes"] > 1000
    config = json.loads((tmp_path / "out" / "second" / "config.json").read_text(encoding="utf-8"))
    assert config["target_type_threshold"] == pytest.approx(0.3)
    card = (tmp_path / "out" / "second" / "README.md").read_text(encoding="utf-8")
    assert "base_model: some/encoder" in card and "| (span, type) pairs | 0.550 ± 0.071 |" in card
    assert "| made | 3 | CC0 |" in card and "| made, through first | 2 | CC0 |" in card
    assert "This run had no test data" not in card
    assert "to make" not in program.plan_table(small, ["*"])
    # What a model is made of has changed: it is made again, with what starts from it.
    changed = {"first": replace(small["first"], fold=replace(small["first"].fold, train=[])), "second": small["second"]}
    assert [m.name for m in program.to_make(changed, ["*"])] == ["first", "second"]
    # Weights that are others than those that were made do not count.
    (tmp_path / "out" / "second" / "model.safetensors").write_bytes(b"other")
    assert [m.name for m in program.to_make(small, ["*"])] == ["second"]


def test_a_made_model_is_loaded_and_types_a_text(small, tmp_path):
    write_figures(tmp_path)
    program.make(small["first"], small)
    from finener.prediction.records import load_pipeline

    pipe = load_pipeline(str(tmp_path / "out" / "first"))
    (mention,) = pipe("Ann saw Rome.", mentions=[(0, 3)])
    assert mention["types"] and 0.0 <= pipe.model.config.type_threshold <= 1.0


def test_a_made_model_gets_the_figures_of_a_later_seed_without_training(small, tmp_path):
    write_figures(tmp_path)
    program.write_told(program.make(small["first"], small))
    program.write_told(program.make(small["second"], small))
    made = program.result_file("second").read_text(encoding="utf-8")
    weights = (tmp_path / "out" / "second" / "model.safetensors").read_bytes()
    assert not program.renew_figures(small["second"])
    write_figures(tmp_path, [(3, 0.7, 0.6)])
    assert program.renew_figures(small["second"]) and not program.renew_figures(small["second"])
    told = json.loads(program.result_file("second").read_text(encoding="utf-8"))
    assert told["figures"]["seeds"] == 3 and told["figures"]["scores"] == [["(span, type) pairs", "0.600 ± 0.100"]]
    assert told["target_type_threshold"] == pytest.approx(0.4) and told["seconds"] == json.loads(made)["seconds"]
    config = json.loads((tmp_path / "out" / "second" / "config.json").read_text(encoding="utf-8"))
    assert config["target_type_threshold"] == pytest.approx(0.4) and "auto_map" in config
    card = (tmp_path / "out" / "second" / "README.md").read_text(encoding="utf-8")
    assert "| (span, type) pairs | 0.600 ± 0.100 |" in card and "base_model: some/encoder" in card
    assert (tmp_path / "out" / "second" / "model.safetensors").read_bytes() == weights
    assert program.is_made(small["second"], small)
    # The threshold of a model with dev data is its own.
    before = json.loads((tmp_path / "out" / "first" / "config.json").read_text(encoding="utf-8"))
    assert program.renew_figures(small["first"])
    assert json.loads((tmp_path / "out" / "first" / "config.json").read_text(encoding="utf-8")) == before


def test_the_time_of_a_model_counts_epochs_and_runs_on_such_a_device_alone(small, tmp_path):
    write_figures(tmp_path, [(1, 0.5, 0.2)])
    # 60 seconds for 2 records in 3 epochs; the model has 3 records and an epoch
    assert program.estimate(small["second"]) == pytest.approx(30.0)
    path = tmp_path / "results" / "experiments" / "figer-mpnet-several-1.json"
    elsewhere = json.loads(path.read_text(encoding="utf-8")) | {"versions": {"device": "some GPU"}}
    path.write_text(json.dumps(elsewhere), encoding="utf-8")
    assert program.estimate(small["second"]) == pytest.approx(program.FREE["mpnet"] * 3)

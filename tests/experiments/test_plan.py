"""The plan: every transfer by every system and seed, and what a run's hash follows from."""

import json
from dataclasses import replace

import pytest

from finener.experiments import plan, program
from finener.experiments.data import Fold
from finener.experiments.run import Place, code_hash, write_config

from transfers import a_run, corpora, record

PLAN = program.read_yaml("plan")
# fine-tuned systems whose types start from a table
MAPPED = {"mapped", "several", "several_kept", "mapped_free", "several_free", "mapped_freed", "several_freed"}


def test_a_source_model_may_not_train_on_what_it_is_tested_on():
    changed = json.loads(json.dumps(PLAN))
    for source in changed["sources"]:
        spec = changed["sources"][source]
        assert not plan.targets_of(changed, source) & {*spec["detection"], *spec["typing"]}
    for source in ("fewnerd_inside", "quarter"):
        changed["sources"][source]["detection"].append("figer")
        with pytest.raises(ValueError, match="trains on figer"):
            plan.targets_of(changed, source)
    changed["sources"]["figer_inside"]["typing"] = changed["sources"]["fewnerd_inside"]["typing"]
    with pytest.raises(ValueError, match="trains on crossner, fewnerd"):
        plan.targets_of(changed, "figer_inside")


@pytest.fixture(scope="module")
def runs():
    return program.make_runs(PLAN, corpora(), [1, 2, 3])


def test_the_plan_has_every_transfer_by_every_system_and_seed(runs):
    names = {run.name for run in runs}
    assert len(names) == len(runs)
    assert {
        f"{t}-{e}-{s}-{n}"
        for t in ("aida", "figer")
        for e, s in (("mpnet", "direct"), ("mpnet", "several"), ("mpnet", "several_free"), ("minilm", "scratch"))
        for n in (1, 2, 3)
    } <= names
    assert {n for n in names if "tuned" in n} == {
        f"{t}-{e}-tuned-1" for t in ("aida", "figer", "fewnerd") for e in ("minilm", "mpnet")
    }
    mapped = {run.transfer.partition("_")[0] for run in runs if run.mapping and run.phase == "finetune"}
    assert mapped == {"aida", "figer", "fewnerd", "politics", "crossner"}
    assert {run.system for run in runs if run.mapping} == {"direct", "direct_freed", *MAPPED}
    assert not any(n.startswith("politics") and "direct" in n for n in names)
    by_name = {run.name: run for run in runs}
    assert "figer-mpnet-soft-1" in names and "figer-mpnet-soft-2" not in names
    assert [f.dev for f in by_name["crossner-mpnet-direct-1"].folds] == [corpora()["crossner/politics/dev"]] * 4
    assert [f.name for f in by_name["crossner-mpnet-plain-1"].folds] == ["ai", "literature", "music", "science"]
    assert by_name["figer-mpnet-several-2"].source.name == "yago-mpnet-fewnerd_inside-2"
    assert by_name["fewnerd-mpnet-named-2"].source.name == "yago-mpnet-figer_inside-2"
    assert "fewnerd-minilm-named-1" in names and "fewnerd-minilm-named-2" not in names
    assert by_name["figer_quarter-mpnet-several-1"].source.name == "yago-mpnet-quarter-1"
    assert by_name["figer_quarter-mpnet-several-1"].folds == by_name["figer-mpnet-several-1"].folds
    assert "figer_quarter-mpnet-several-2" not in names
    assert by_name["aida-mpnet-scratch-1"].source is None
    assert by_name["fewnerd-mpnet-mapped_freed-2"].source.name == "yago-mpnet-figer_inside_freed-2"
    assert not any("freed" in n and "minilm" in n for n in names)


def test_a_freed_source_model_goes_on_from_the_one_that_it_is_named_after(runs):
    by_name = {run.name: run for run in runs}
    base, freed = (by_name[f"yago-mpnet-fewnerd_inside{end}-2"] for end in ("", "_freed"))
    assert freed.source is base and freed.folds == base.folds and freed.source_test == base.source_test
    assert (base.config["freeze"], freed.config["freeze"]) == ("encoder", "nothing")
    assert freed.config["detection_share"] == base.config["detection_share"]
    assert freed.config["encoder_dtype"] == base.config["encoder_dtype"] and "encoder" not in freed.config


def test_systems_differ_in_what_their_names_say(runs):
    config = {run.name: run.config for run in runs}
    soft, plain, logits, tuned = (config[f"figer-mpnet-{s}-1"] for s in ("soft", "plain", "logits", "tuned"))
    assert plain == plan.merge(soft, {"knobs": {"soft_loss_decay": 0.0}})
    assert logits == plan.merge(soft, {"knobs": {"conversion_input": "logits"}})
    assert tuned == plan.merge(soft, {"freeze": "encoder"})
    assert (
        config["fewnerd-mpnet-soft-1"]["num_train_epochs"]
        == PLAN["transfers"]["fewnerd"]["settings"]["num_train_epochs"]
    )


def test_encoders_differ_in_what_the_plan_says_of_them(runs):
    config = {run.name: run.config for run in runs}
    for name in ("yago-{}-figer_inside-1", "figer-{}-scratch-1"):
        small, base = (config[name.format(encoder)] for encoder in ("minilm", "mpnet"))
        assert plan.merge(small, PLAN["encoders"]["mpnet"]) == base != small
    small, base = (config[f"figer-{encoder}-several-1"] for encoder in ("minilm", "mpnet"))
    assert base == small | {"encoder_dtype": "bfloat16"}, "what else there is of an encoder comes with the source model"


def test_the_configs_have_no_unknown_key(runs, tmp_path):
    from finener.training.arguments import parse_arguments

    for run in {(run.transfer, run.encoder, run.system): run for run in runs if run.config}.values():
        fold = replace(run.folds[0], train=[], dev=[], detection=[])
        small = replace(run, folds=[fold], source=run.source and replace(run.source, folds=[fold]))
        path = write_config(small, fold, Place(tmp_path, tmp_path))
        ((args, training),) = parse_arguments(["--config", str(path)])
        assert training.seed == run.seed
        assert args.phase == ("finetune" if run.phase == "finetune" else "pretrain")
        is_mapped = run.system in MAPPED
        assert (args.type_start == "mapping") == bool(args.mapping) == bool(run.mapping) == is_mapped


# -------------------------------------------------------------------- hashes


def test_the_key_follows_from_config_data_seed_and_source():
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
        hashes[name] = code_hash((path,))
    assert hashes["a"] == hashes["b"] != hashes["c"]

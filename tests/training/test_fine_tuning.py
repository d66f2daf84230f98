"""Fine-tuning by the script: W of the soft loss, what is trained, the Direct phase, and input that only training would meet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from finener.configuration_finener import FinenerConfig
from finener.data_scripts.record_files import read_records, write_records
from finener.ontology_finener import EntityType, Ontology
from finener.prediction.by_name import map_by_names
from finener.prediction.records import load_pipeline, predict_records
from finener.training import phases as train_finener
from finener.training.soft_loss import estimate_credit
from finener.training.start import type_shares

import tiny
from runs import FINETUNE, FROM_GIVEN, PRETRAIN, results_of, run, says, weights, write_config

# -------------------------------------------------------------------- W of the soft loss


def credit_of(folder: Path) -> torch.Tensor:
    """W of a saved model, (K, K)."""
    config = FinenerConfig.from_pretrained(folder)
    rows = config.soft_loss_weights
    if rows is None:
        w = config.target_ontology.soft_label_weights(config.soft_loss_decay)
        return w / w.sum(1, keepdim=True)
    credit = torch.zeros(10, 10)
    for gold, predicted, value in rows:
        credit[gold, predicted] = value
    return credit


def test_soft_loss_weights_come_from_a_file(given):
    (given / "w.tsv").write_text("per.politician\tper\t0.25\nper.politician\torg\t0.75\nloc\torg\t1\n")
    run(*FROM_GIVEN, "--soft_loss_weights", "w.tsv")
    target, found = tiny.target_ontology(), credit_of(given / "out" / "final")
    expected = torch.eye(10)
    i, j, k, loc = (target.index(t) for t in ("per.politician", "per", "org", "loc"))
    expected[i, [i, j, k]] = torch.tensor([0.5, 0.125, 0.375])
    expected[loc, [loc, k]] = 0.5
    torch.testing.assert_close(found, expected)
    assert results_of(given / "out" / "final")["config"]["soft_loss_weights"] == "w.tsv"


def test_soft_loss_weights_come_from_the_confusions_of_a_model_on_the_dev_records(given):
    run(*FROM_GIVEN, "--soft_loss_weights", "tuned")
    target, pipe = tiny.target_ontology(), load_pipeline("tuned", "cpu")
    dev = [r for r in read_records("dev_target.jsonl") if r["typed"]]
    guess = predict_records(pipe, dev, gold_mentions=True)
    expected = estimate_credit(dev, guess, target, target.soft_label_weights(0.5))
    found = credit_of(given / "out" / "final")
    torch.testing.assert_close(found, expected)
    assert not torch.equal(found, credit_of(given / "tuned"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.json", "[[1, 0], [0, 1]]", r"w\.json: expected 10 × 10 numbers.* found 2 × 2"),
        ("w.json", '{"per": {"per": 0}}', r"w\.json: the row of 'per' is zero"),
        ("w.tsv", "per\tperson\t0.5\n", r"w\.tsv:1: .*'person' is not a type of ontology 'tgt'"),
        ("w.txt", "", r"expected a \.tsv, \.json or \.npy file, or a model of the same target types: .*w\.txt"),
    ],
    ids=["shape", "zero row", "unknown type", "no such form"],
)
def test_bad_soft_loss_weights_end_the_run_before_it_trains(given, name, content, message):
    (given / name).write_text(content)
    says(message, *FROM_GIVEN, "--soft_loss_weights", name)
    assert not (given / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--soft_loss_weights", "given"), "the model given has other target types than 'tgt'"),
        (("--soft_loss_weights", "none.tsv"), r"No such file.*none\.tsv"),
        (("--soft_loss_weights", "w.tsv", "--knobs", "{soft_loss_decay: 0.3}"), "leave soft_loss_decay out"),
        (
            ("--soft_loss_weights", "w.tsv", "--knobs", "{target_activation: sigmoid}"),
            "only softmax targets have a soft",
        ),
        (("--soft_loss_weights", "tuned", "--dev_data", "dev_source.jsonl"), "no gold mentions with types of 'tgt'"),
    ],
)
def test_soft_loss_weights_that_can_not_be_had_are_an_error(given, options, message):
    (given / "w.tsv").touch()
    config = yaml.safe_load((given / "run.yaml").read_text())
    write_config(given, finetune={k: v for k, v in config["finetune"].items() if k != "mapping"})
    says(message, *FROM_GIVEN, *options)


# -------------------------------------------------------------------- what fine-tuning may train


def test_detection_may_be_tuned_too_and_detection_records_then_keep_their_share(given):
    run(*FROM_GIVEN, "--freeze", "encoder", "--detection_data", "detection.jsonl", "--detection_share", "0.5",
        "--knobs", "{conversion_norm: false, conversion_input: logits+mention}")  # fmt: skip
    told = results_of(given / "out" / "final")
    assert (
        told["records"]["train"] == 5 + 5
    )  # 5 of the target, of which all are exhaustive, and as many of 8 for detection
    assert {"loss_detection", "loss_conversion"} <= {k for row in told["dev"]["curve"] for k in row}
    before, after = (weights(given / name) for name in ("given", "out/final"))
    changed = {name.split(".")[0] for name, p in before.items() if not torch.equal(p, after[name])}
    assert changed >= {"lstm", "tagger", "crf"} and "encoder" not in changed
    assert after["conversion.project.weight"].shape[0] == 16


def test_target_types_may_start_at_the_source_types_of_a_table(workplace):
    write_config(
        workplace,
        pretrain=PRETRAIN | {"num_train_epochs": 1},
        finetune=FINETUNE | {"type_start": "mapping", "learning_rate": 1e-9},
    )
    assert "6 of 10 target types start at source types" in run()
    before, after = (weights(workplace / "out" / name) for name in ("pretrained", "final"))
    source, target = tiny.two_parent_ontology(), tiny.target_ontology()
    for target_id, source_id in (("loc", "place"), ("per", "person"), ("per.artist", "artist"), ("org", "company")):
        own = after["conversion.score.weight"][target.index(target_id)]
        torch.testing.assert_close(own, before["type_head.score.weight"][source.index(source_id)])


def test_a_table_for_a_model_that_has_no_use_of_it_is_an_error(given):
    write_config(given, pretrain=PRETRAIN | {"type_start": "random", "output_dir": "random", "num_train_epochs": 1})
    run("--phases", "pretrain")
    says(
        "type_start: mapping: .*pre-train with type_start: names",
        *FROM_GIVEN,
        "--model",
        "random",
        "--type_start",
        "mapping",
    )
    says("No such file.*none.tsv", *FROM_GIVEN, "--type_start", "mapping", "--mapping", "none.tsv")
    says("type_start: mapping is of fine-tuning", "--phases", "pretrain", "--type_start", "mapping")


def test_without_a_table_target_types_start_at_the_source_types_of_the_nearest_names(given):
    target = Ontology(
        "tgt", [replace(t, label="company") if t.id == "org" else t for t in tiny.target_ontology().types]
    )
    target.to_json(given / "named.json")
    options = ("--target_ontology", "named.json", "--type_start", "mapping", "--mapping", "", "--learning_rate", "1e-9")
    assert "target types start at source types" in run(*FROM_GIVEN, *options)
    before, after = (weights(given / name) for name in ("given", "out/final"))
    pipe = load_pipeline("given", "cpu")
    table = map_by_names(pipe.model, pipe.tokenizer, target)
    shares = table.mean_weights()
    mapped = shares.any(1)
    assert mapped.any()
    own = shares @ before["type_head.score.weight"]
    torch.testing.assert_close(after["conversion.score.weight"][mapped], own[mapped])


def test_the_priors_of_types_are_their_shares_of_the_training_mentions(target):
    ontology = target
    gold = [["per.politician"], ["per.politician", "per"], ["org"], []]
    mentions = [{"start": 0, "end": 1, "types": types} for types in gold]
    records = [
        {"typed": True, "ontology": ontology.name, "mentions": mentions},
        {"typed": False, "ontology": "", "mentions": mentions},
    ]
    for most_specific, expected in (
        (False, {"per": 3, "per.politician": 3, "org": 2}),
        (True, {"per": 1, "per.politician": 3, "org": 2}),
    ):
        shares = type_shares(records, ontology, most_specific=most_specific)
        counts = {t: round(5 * share) for t, share in zip(ontology.ids, shares.tolist(), strict=True)}
        assert counts == {**dict.fromkeys(ontology.ids, 1), **expected}


def test_a_target_of_one_type_is_fine_tuned_and_scored(given):
    only = Ontology("tgt", [EntityType("name")])
    only.to_json("tgt.json")
    for name in ("target", "dev_target", "test"):
        records = list(read_records(f"{name}.jsonl"))
        for mention in (m for r in records for m in r["mentions"]):
            mention["types"] = ["name"]
        write_records(records, f"{name}.jsonl")
    Path("mapping.tsv").write_text("person\tname\n")
    run(*FROM_GIVEN)
    scores = results_of(given / "out" / "final")["test"]["fine-tuned"]
    assert scores["typed_f1"] == scores["mention_f1"]


# -------------------------------------------------------------------- the Direct phase


DIRECT = {"output_dir": "out/direct", "model": "given", "test_data": ["test.jsonl"], "mapping": "mapping.tsv"}


def test_direct_scores_as_beside_fine_tuning_and_follows_pre_training(finished, given):
    write_config(given, phases=["direct"], direct=DIRECT)
    printed = run()
    told, beside = results_of(given / "out" / "direct"), results_of(finished / "out" / "final")
    assert told["test"] == {"Direct": beside["test"]["Direct"]} and told["direct"] == beside["direct"]
    assert [r["phase"] for r in told["earlier"]] == ["pretrain"] and told["records"] == {"dev": 8, "test": 3}
    assert "Direct: threshold" in printed and "Test part, 3 records" in printed
    write_config(given, phases=["pretrain", "direct"], direct={k: v for k, v in DIRECT.items() if k != "model"})
    run("--num_train_epochs", "1")
    assert results_of(given / "out" / "direct")["config"]["model"] == "out/pretrained"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, r"model is not set: direct starts from a pre-trained finener model"),
        ({"mapping": None}, r"mapping is not set"),
        ({"knobs": {"type_threshold": 0.1}}, r"direct takes the model as it is; leave out the knobs type_threshold"),
        ({"test_data": []}, r"nothing to score: test_data has no exhaustive record typed with 'tgt'"),
        ({"test_data": ["dev_source.jsonl"]}, r"nothing to score: test_data has no exhaustive record typed with 'tgt'"),
        ({"dev_data": ["dev_source.jsonl"]}, r"Direct baseline needs dev_data with target types"),
    ],
)
def test_a_direct_phase_that_lacks_something_says_what(given, changes, message):
    write_config(given, phases=["direct"], direct=DIRECT | changes)
    says(message)


# -------------------------------------------------------------------- bad input that only training would meet


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--test_data", "empty.jsonl"), r"expected test records, found none in empty\.jsonl"),
        (("--dev_data", "empty.jsonl"), r"expected dev records, found none in empty\.jsonl"),
        (("--typing_data", "empty.jsonl"), r"expected train records, found none in empty\.jsonl"),
        (("--mapping", "bad.tsv"), r"bad\.tsv:2: .*'per\.pianist' is not a type of ontology 'tgt'"),
        (
            ("--typing_data", "typing.jsonl"),
            r"nothing to learn from 6 .*: no mention has types of 'tgt' \(they are typed with 'src'\), and detection",
        ),
        (("--detection_data", "detection.jsonl"), r"detection_data trains nothing with freeze: detection"),
        (("--encoder_learning_rate", "1e-5"), r"encoder_learning_rate has no effect with freeze: detection"),
        (("--unfreeze_layers", "1"), r"can't stay in training with detection frozen"),
        (("--unfreeze_layers", "1", "--freeze", "nothing"), r"unfreeze_layers needs freeze: encoder"),
        (("--unfreeze_layers", "3", "--freeze", "encoder"), r"unfreeze 1 … 2 of its layers"),
        (("--freeze", "types"), r"freeze must be one of nothing, encoder, detection; got 'types'"),
        (("--early_stopping_patience", "0"), r"early_stopping_patience is 1 or more"),
        (("--early_stopping_patience", "2", "--load_best_model_at_end", "false"), r"early_stopping_patience is 1 or more, and"),
    ],
)  # fmt: skip
def test_what_can_not_work_ends_the_run_before_it_trains(given, options, message):
    (given / "empty.jsonl").touch()
    (given / "bad.tsv").write_text("person\tper\nartist\tper.pianist\n")
    says(message, *FROM_GIVEN, *options)
    assert not (given / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--encoder", "encoder"), r"new model on encoder or goes on with model; both are set: leave one of them out"),
        (("--model", "tuned"), r"model 'tuned' has target types; pretrain goes on with a model as it was before"),
        (("--ontology", "tgt.json"), r"ontology 'tgt\.json' has other types than model 'given', which keeps those"),
        (("--knobs", "{lstm_layers: 2}"), r"knobs \['lstm_layers'\] were fixed by pre-training"),
    ],
)
def test_pre_training_can_not_change_the_model_that_it_goes_on_with(given, options, message):
    go_on = {**PRETRAIN, "knobs": {}}
    write_config(given, phases=["pretrain"], encoder=None, ontology=None, model="given", pretrain=go_on)
    says(message, *options)
    assert not (given / "out").exists()


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_records(given, monkeypatch):
    original = train_finener.build_model

    def broken(*arguments):
        model, tokenizer = original(*arguments)
        with torch.no_grad():
            model.conversion.hidden.weight.fill_(float("nan"))
        return model, tokenizer

    monkeypatch.setattr(train_finener, "build_model", broken)
    says(r"the loss of conversion is not finite at step 0, in the batch of the records (t\d, ){3}t\d", *FROM_GIVEN)

"""Thresholds by dev data: the F1 that they are chosen by, worked by hand, and the command on a saved model."""

import json

import pytest
import torch

from finener.configuration_finener import FinenerConfig
from finener.metrics.__main__ import main
from finener.metrics.pairing import PairingError
from finener.metrics.thresholds import calibrate, dev_scores, pair_f1, strict_f1, tune
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.records import load_pipeline, predict_records

import tiny


def record(number, text, mentions, **more):
    mentions = [{"start": s, "end": e, "types": types, **rest} for s, e, types, rest in mentions]
    values = {"id": f"r{number}", "doc_id": f"d{number}", "text": text, "mentions": mentions}
    return {**values, "exhaustive": True, "typed": True, "ontology": "toy-target", **more}


def gold_and_predicted(target, rows):
    """``rows``: gold types of "Ann" and the path that is predicted for it, with scores."""
    gold, predicted = [], []
    for number, (types, path) in enumerate(rows):
        gold.append(record(number, "Ann left", [(0, 3, types, {})], ontology=target.name))
        found = [(0, 3, list(path), {"type_scores": list(path.values()), "score": 1.0})] if path else []
        predicted.append(record(number, "Ann left", found, ontology=target.name))
    return gold, predicted


CITY = {"loc": 0.9, "loc.city": 0.6, "loc.city.capital": 0.2}


def test_pair_f1_by_hand(target):
    # gold: {loc, loc.city}, {loc}, {per}; predicted: a path of three twice, the last mention is missed.
    dev = dev_scores(
        *gold_and_predicted(target, [(["loc.city"], CITY), (["loc"], CITY), (["per"], {})]), target, is_path=True
    )
    assert pair_f1(dev, target, 0.0) == pytest.approx(2 * 3 / (6 + 4))
    assert pair_f1(dev, target, 0.5) == pytest.approx(2 * 3 / (4 + 4))
    assert pair_f1(dev, target, 0.95) == pytest.approx(2 * 2 / (2 + 4)), "a root always stays"


def test_strict_f1_by_hand(target):
    dev = dev_scores(
        *gold_and_predicted(target, [(["loc.city"], CITY), (["loc"], CITY), (["per"], {})]), target, is_path=True
    )
    assert strict_f1(dev, target, 0.0) == 0.0
    assert strict_f1(dev, target, 0.5) == pytest.approx(2 * 1 / (2 + 3)), "the city; the third is missed"
    assert strict_f1(dev.of_documents([0, 2]), target, 0.5) == pytest.approx(2 * 1 / (1 + 2))


def test_without_any_prediction_all_of_gold_is_missed(target):
    gold, predicted = gold_and_predicted(target, [(["loc.city"], {}), (["loc"], {}), (["per"], {})])
    dev = dev_scores(gold, predicted, target, is_path=False)
    assert dev.scores.shape == dev.gold.shape == (0, len(target))
    assert (dev.missed.tolist(), dev.gold_mentions.tolist()) == ([2, 1, 1], [1, 1, 1])
    assert pair_f1(dev, target, 0.5) == strict_f1(dev, target, 0.5) == 0.0
    nothing = dev.of_documents([])
    assert pair_f1(nothing, target, 0.5) == strict_f1(nothing, target, 0.5) == 0.0


def test_each_document_may_be_a_fold_and_the_draw_is_that_of_seed_zero(target):
    scores = [0.1, 0.3, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
    rows = [(["loc.city"] if n % 3 else ["loc"], {"loc": 1.0, "loc.city": score}) for n, score in enumerate(scores)]
    dev = dev_scores(*gold_and_predicted(target, rows), target, is_path=True)
    assert set(calibrate(dev, target, 0.5, "global", folds=9).held_out) == {"global"}
    by_seed = [calibrate(dev, target, 0.5, "global", folds=3, seed=seed).held_out["global"] for seed in range(5)]
    assert calibrate(dev, target, 0.5, "global", folds=3).held_out["global"] == by_seed[0] != by_seed[1]


def test_a_threshold_may_be_best_for_whole_type_sets_and_not_for_pairs(target):
    # Cutting city and capital makes every loc whole, and costs each capital two types.
    rows = [(["loc"], {"loc": 0.9, "loc.city": 0.5})] * 2 + [(["loc.city.capital"], CITY | {"loc.city": 0.5})] * 3
    dev = dev_scores(*gold_and_predicted(target, rows), target, is_path=True)
    pairs, strict = (tune(dev, target, "global", measure) for measure in ("pairs", "strict"))
    assert pairs == strict == 0.0
    rows += [(["loc"], {"loc": 0.9, "loc.city": 0.5})] * 2
    dev = dev_scores(*gold_and_predicted(target, rows), target, is_path=True)
    assert tune(dev, target, "global", "pairs") == 0.0 and tune(dev, target, "global", "strict") == 0.55
    assert calibrate(dev, target, 0.0, "global", folds=2, measure="strict").after == pytest.approx(4 / 7)


def test_a_mention_that_gold_does_not_have_counts_as_predicted_only(target):
    gold, predicted = gold_and_predicted(target, [(["loc"], {"loc": 0.9})])
    predicted[0]["mentions"].append({"start": 4, "end": 8, "types": ["per"], "type_scores": [0.8]})
    dev = dev_scores(gold, predicted, target, is_path=True)
    assert pair_f1(dev, target, 0.5) == pytest.approx(2 * 1 / (2 + 1))


def test_the_best_threshold_is_found_and_of_equal_ones_the_lowest(target):
    rows = [(["loc.city"], CITY)] * 4
    dev = dev_scores(*gold_and_predicted(target, rows), target, is_path=True)
    assert tune(dev, target, "global") == 0.25  # above .2, which is wrong; up to .6, which is right
    assert pair_f1(dev, target, 0.25) == 1.0


def test_a_level_and_a_type_get_thresholds_of_their_own_only_where_that_gains(target):
    # City is right at .3, capital wrong at .4: no single threshold keeps the one and cuts the other.
    rows = [
        (["loc.city"], {"loc": 0.9, "loc.city": 0.3}),
        (["loc.city"], {"loc": 0.9, "loc.city": 0.5, "loc.city.capital": 0.4}),
    ]
    dev = dev_scores(*gold_and_predicted(target, rows), target, is_path=True)
    assert pair_f1(dev, target, tune(dev, target, "global")) < 1.0
    by_level = tune(dev, target, "level")
    assert pair_f1(dev, target, by_level) == 1.0 and by_level["types"] == {}
    assert tune(dev, target, "type", least=3)["types"] == {}, "two mentions are too few"
    assert set(tune(dev, target, "type", least=2)["types"]) == {"loc", "loc.city"}


def test_what_did_not_choose_is_what_tells(target):
    rows = [(["loc.city"], CITY)] * 6
    dev = dev_scores(*gold_and_predicted(target, rows), target, is_path=True)
    found = calibrate(dev, target, now=0.0, folds=3)
    assert (found.by, found.threshold) == ("global", 0.25), "in doubt the simplest"
    assert found.before == pytest.approx(2 * 12 / (18 + 12)) and found.after == 1.0
    assert found.held_out == {"global": 1.0, "level": 1.0, "type": 1.0}


def test_several_types_are_cut_one_by_one(source):
    gold = [record(0, "Ann left", [(0, 3, ["place"], {})], ontology=source.name)]
    scores = dict.fromkeys(source.ids, 0.1) | {"physical": 0.9, "place": 0.8, "building": 0.4}
    found = [(0, 3, list(scores), {"type_scores": list(scores.values())})]
    dev = dev_scores(gold, [record(0, "Ann left", found, ontology=source.name)], source, is_path=False)
    assert dev.best is None
    assert pair_f1(dev, source, tune(dev, source, "global")) == 1.0


def test_bad_dev_data_and_options_say_what_is_expected(target):
    gold, predicted = gold_and_predicted(target, [(["loc"], CITY)] * 2)
    dev = dev_scores(gold, predicted, target, is_path=True)
    with pytest.raises(ValueError, match=r"folds must lie in \[2, 2\], the number of dev documents; got 5"):
        calibrate(dev, target, 0.0)
    with pytest.raises(ValueError, match="by must be auto or one of global, level, type; got 'depth'"):
        calibrate(dev, target, 0.0, by="depth", folds=2)
    with pytest.raises(ValueError, match="measure must be one of pairs, strict; got 'recall'"):
        calibrate(dev, target, 0.0, folds=2, measure="recall")
    with pytest.raises(PairingError, match="gold record 'r0': expected exhaustive records typed with"):
        dev_scores([gold[0] | {"exhaustive": False}, gold[1]], predicted, target, is_path=True)
    none = [r | {"mentions": []} for r in gold]
    with pytest.raises(PairingError, match="the gold records have no typed mention"):
        dev_scores(none, none, target, is_path=True)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_the_command_stores_thresholds_that_the_model_then_uses(tokenizer, tmp_path, capsys, activation):
    torch.manual_seed(0)
    model = tiny.tiny_model(tokenizer, target=True, target_activation=activation)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    ontology = model.config.target_ontology
    with (tmp_path / "dev.jsonl").open("w", encoding="utf-8") as file:
        for number in range(4):
            file.write(json.dumps(record(number, "Ann left", [(0, 3, ["per"], {})], ontology=ontology.name)) + "\n")
    (tmp_path / "model" / "results.json").write_text('{"name": "mine"}', encoding="utf-8")
    command = ["calibrate", "--model", str(tmp_path / "model"), "--dev", str(tmp_path / "dev.jsonl"), "--folds", "2"]
    assert main([*command, "--by", "level", "--measure", "strict"]) == 0
    assert "F1 (strict) on all dev data" in capsys.readouterr().out
    stored = FinenerConfig.from_pretrained(tmp_path / "model").target_type_threshold
    assert set(stored) == {"default", "levels", "types"}
    told = json.loads((tmp_path / "model" / "results.json").read_text(encoding="utf-8"))
    assert told["name"] == "mine" and told["calibrated"]["is"] == stored and told["calibrated"]["was"] != stored
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights
    assert main(["calibrate", "--model", str(tmp_path), "--dev", "x.jsonl"]) == 1
    assert "expected the folder of a model" in capsys.readouterr().err


@pytest.mark.parametrize("decoding", ["best", "expected"])
def test_a_threshold_is_worth_on_dev_what_the_model_then_says(tokenizer, decoding):
    torch.manual_seed(0)
    model = tiny.tiny_model(tokenizer, target=True, target_decoding=decoding)
    ontology, pipe = model.config.target_ontology, FinenerPipeline(model=model, tokenizer=tokenizer, device="cpu")
    texts = [record(n, text, [], ontology=ontology.name) for n, text in enumerate(tiny.GOLD)]
    uncut = list(predict_records(pipe, texts))
    model.config.target_type_threshold = 0.3
    cut = [{**r, "exhaustive": True, "doc_id": r["id"]} for r in predict_records(pipe, texts)]
    assert [r["mentions"] for r in cut] != [r["mentions"] for r in uncut], "else nothing is shown"
    dev = dev_scores(cut, uncut, ontology, is_path=True)
    assert pair_f1(dev, ontology, 0.3) == 1.0 > pair_f1(dev, ontology, 0.0)


@pytest.mark.parametrize("head", ["source", "target"])
def test_predictions_follow_the_thresholds_that_the_command_stores(tokenizer, tmp_path, capsys, head):
    torch.manual_seed(0)
    model = tiny.tiny_model(tokenizer, target=True, target_activation="sigmoid")
    ontology = model.config.ontology if head == "source" else model.config.target_ontology
    model.config.type_threshold = model.config.target_type_threshold = 0.0
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    texts = [record(n, "Ann left", [], ontology=ontology.name) for n in range(4)]

    def predict():
        return list(predict_records(load_pipeline(str(tmp_path / "model")), texts, head=head))

    before = predict()
    found = [[(m["start"], m["end"]) for m in r["mentions"]] for r in before]
    assert all(found), "else nothing could change"
    gold = [
        record(n, "Ann left", [(*spans[0], [ontology.ids[0]], {})], ontology=ontology.name)
        for n, spans in enumerate(found)
    ]
    (tmp_path / "dev.jsonl").write_text("\n".join(map(json.dumps, gold)), encoding="utf-8")
    command = ["calibrate", "--model", str(tmp_path / "model"), "--dev", str(tmp_path / "dev.jsonl")]
    assert main([*command, "--head", head, "--folds", "2"]) == 0
    assert "chosen" in capsys.readouterr().out
    after = predict()
    assert [len(r["mentions"]) for r in after] == [len(r["mentions"]) for r in before]
    assert sum(len(m["types"]) for r in after for m in r["mentions"]) < sum(
        len(m["types"]) for r in before for m in r["mentions"]
    )

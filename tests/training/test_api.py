"""Training from Python: records in lists and data sets, and everything else done by the trainer."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import torch
from datasets import Dataset, IterableDataset
from safetensors.torch import load_file
from transformers import TrainingArguments, set_seed

import finener
from finener import FinenerForTokenClassification, FinenerTrainer, FinenerTrainingArguments, Ontology
from finener.data_scripts.record_files import read_records
from finener.data_scripts.schema import FEATURES, RecordError, validate_record
from finener.training.arguments import ArgumentError
from finener.training.results import results_of_trainer

import tiny
from runs import (
    DEV,
    FINETUNE,
    SOURCE,
    TARGET,
    arguments,
    make_workplace,
    record,
    run,
    still_model,
    trainer,
    write_config,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory, encoder_folder) -> Path:
    """The folder of a run of both phases by YAML."""
    folder = make_workplace(tmp_path_factory.mktemp("place"), encoder_folder)
    write_config(folder)
    with contextlib.chdir(folder):
        run()
    return folder


def settings(folder: Path, **changes) -> FinenerTrainingArguments:
    """Those of the YAML's fine-tuning."""
    return FinenerTrainingArguments(
        **{
            "output_dir": str(folder / "trained"),
            "freeze": "detection",
            "seed": 5,
            "use_cpu": True,
            "disable_tqdm": True,
            "per_device_train_batch_size": 4,
            "learning_rate": 0.01,
            "lr_scheduler_type": "constant",
            "num_train_epochs": 3,
            "logging_steps": 1,
        }
        | changes
    )


def fine_tuned(place: Path, folder: Path, records, dev=None, **changes) -> FinenerTrainer:
    set_seed(5)
    model = FinenerForTokenClassification.from_pretrained(place / "out" / "pretrained")
    model.add_conversion(Ontology.from_json(place / "tgt.json"), **FINETUNE["knobs"])
    dev = list(read_records([place / "dev_source.jsonl", place / "dev_target.jsonl"])) if dev is None else dev
    made = FinenerTrainer(model, settings(folder, **changes), train_dataset=records, eval_dataset=dev)
    made.train()
    return made


# -------------------------------------------------------------------- the five lines


def test_five_lines_train_and_publish_a_whole_repo(place, tmp_path, hub):
    (tmp_path / "my_types.tsv").write_text("id\tparents\nhuman\t\nhuman.artist\thuman\nspot\t\n")
    train = [
        record("a", "[Ada|human.artist] left [Bree|spot].", "my_types"),
        record("b", "[Bo|human] came", "my_types"),
    ]
    dev = [record("c", "[Ada|human.artist] came.", "my_types")]
    args = settings(tmp_path, num_train_epochs=1)
    model = FinenerForTokenClassification.from_pretrained(place / "out" / "pretrained")
    model.add_conversion(Ontology.from_tsv(tmp_path / "my_types.tsv"))
    trainer = FinenerTrainer(model, args, train_dataset=train, eval_dataset=dev)
    trainer.train()
    trainer.push_to_hub("user/my-model")

    assert list(hub.repos) == [("models", "user/my-model")]
    files = hub.files("user/my-model")
    assert files.keys() >= {"config.json", "model.safetensors", "ontology.json", "tokenizer.json", "results.json"}
    assert files.keys() >= {f"{n}_finener.py" for n in ("configuration", "modeling", "ontology", "pipeline")}
    assert "handler.py" in files and "training_args.bin" not in files
    assert b"# user/my-model" in files["README.md"] and b"my_types" in files["README.md"]
    card = (tmp_path / "trained" / "README.md").read_text(encoding="utf-8")
    assert "# trained" in card and "my_types" in card
    told = json.loads((tmp_path / "trained" / "results.json").read_text(encoding="utf-8"))
    assert told["records"]["train"] == 2 and told["type_support"]["mentions"] == 3
    assert told["dev"]["scores"]["mention_f1"] == pytest.approx(trainer.evaluate()["eval_mention_f1"], abs=1e-6)
    assert [phase["phase"] for phase in told["earlier"]] == ["pretrain"]
    assert finener.load_pipeline(str(tmp_path / "trained"))("Ada left.") is not None


def test_python_and_yaml_give_the_same_weights_for_the_same_settings(place, tmp_path):
    made = fine_tuned(place, tmp_path, list(read_records(place / "target.jsonl")))
    expected = load_file(place / "out" / "final" / "model.safetensors")
    found = made.model.state_dict()
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    told = json.loads((place / "out" / "final" / "results.json").read_text(encoding="utf-8"))["dev"]["scores"]
    scores = made.evaluate()
    assert {k: round(scores[f"eval_{k}"], 6) for k in told} == told


def test_a_list_a_dataset_and_bare_records_train_alike(place, tmp_path):
    records = list(read_records(place / "target.jsonl"))
    bare = [{k: r[k] for k in ("id", "text", "mentions", "exhaustive", "typed", "ontology")} for r in records]
    for r in bare:
        r["mentions"] = [{k: m[k] for k in ("start", "end", "types")} for m in r["mentions"]]
    whole = Dataset.from_list(records, features=FEATURES)
    weights = [fine_tuned(place, tmp_path, kind).model.state_dict() for kind in (records, whole, bare)]
    assert all(torch.equal(w[name], weights[0][name]) for w in weights[1:] for name in w)


def test_an_iterable_dataset_is_read_while_training_and_every_record_comes_once_in_a_pass(tokenizer, tmp_path):
    def rows():
        for r in SOURCE:
            seen.append(r["id"])
            yield r

    seen, model = [], still_model(tokenizer)
    stream = IterableDataset.from_generator(rows)
    run = trainer(model, tokenizer, tmp_path, stream, max_steps=8, per_device_train_batch_size=2, shuffle_buffer=4)
    shown, collator = [], run.data_collator
    run.data_collator = lambda records: shown.extend(r["id"] for r in records) or collator(records)
    run.train()
    assert [sorted(shown[i : i + 8]) for i in (0, 8)] == [[r["id"] for r in SOURCE]] * 2
    assert len(seen) > len(SOURCE)
    told = results_of_trainer(run)
    assert (told["records"], told["data"]) == ({"train": "a stream", "sampled": 4, "test": 0}, {})


def test_long_records_are_cut_and_those_that_teach_nothing_left_out(tokenizer, tmp_path):
    whole = record("long", "[Ada|artist] left [Bree|place] early. " * 20)
    idle = record("idle", "Nobody came.", exhaustive=False)
    run = trainer(still_model(tokenizer), tokenizer, tmp_path, [whole, idle], [whole])
    assert len(run.train_dataset) > 2 and {r["doc_id"] for r in run.train_dataset} == {"long"}
    assert sum(len(r["mentions"]) for r in run.train_dataset) == sum(len(r["mentions"]) for r in run.eval_dataset) == 40


# -------------------------------------------------------------------- what it does by itself


@pytest.mark.parametrize(
    ("target", "changes", "expected"),
    [
        (False, {}, [1.0, 1.0, 0.0, 0.0]),
        (True, {}, [1.0, 0.0, 1.0, 0.0]),
        (True, {"freeze": "detection"}, [0.0, 0.0, 1.0, 0.0]),
        (True, {"typing_weight": 0.5, "conversion_weight": 2.0}, [1.0, 0.5, 2.0, 0.0]),
        (True, {"memory_weight": 0.1}, pytest.approx([1.0, 0.0, 1.0, 0.1])),
    ],
)
def test_loss_weights_follow_from_the_model_unless_they_are_set(tokenizer, tmp_path, target, changes, expected):
    model = tiny.tiny_model(tokenizer, target=target)
    made = FinenerTrainer(model, arguments(tmp_path, **changes), processing_class=tokenizer)
    assert made.loss_weights.tolist() == expected


def test_plain_training_arguments_will_do(place, tmp_path):
    model = FinenerForTokenClassification.from_pretrained(place / "out" / "pretrained")
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, max_steps=2, save_strategy="no", disable_tqdm=True)
    made = FinenerTrainer(model, args, train_dataset=SOURCE, eval_dataset={"one": SOURCE[:4], "two": SOURCE[4:]})
    before = {name: p.clone() for name, p in model.named_parameters()}
    made.train()
    changed = {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"lstm", "tagger", "crf", "type_head"}, "the encoder is frozen unless freeze says otherwise"
    assert {"eval_one_mention_f1", "eval_two_mention_f1"} <= made.evaluate().keys()
    assert (
        made.evaluate(SOURCE[:2])["eval_mention_f1"] == made.evaluate(Dataset.from_list(SOURCE[:2]))["eval_mention_f1"]
    )
    assert made.predict(SOURCE[:2]).metrics["test_mention_f1"] == made.evaluate(SOURCE[:2])["eval_mention_f1"]


BEST = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True, "num_train_epochs": 3}


def test_results_tell_the_scores_of_the_model_that_is_kept(tokenizer, tmp_path):
    set_seed(1)
    made = trainer(still_model(tokenizer), tokenizer, tmp_path, SOURCE, SOURCE, learning_rate=5.0, **BEST)
    made.train()
    scores = [row["eval_score"] for row in made.state.log_history if "eval_score" in row]
    assert scores[-1] < max(scores), "the last is not the best, or this shows nothing"
    kept = made.evaluate()["eval_score"]
    made.evaluate(SOURCE[:1])
    assert results_of_trainer(made)["dev"]["scores"]["score"] == pytest.approx(kept, abs=1e-6)


def test_results_tell_the_scores_of_every_set_the_best_model_chosen_by_one(tokenizer, tmp_path):
    sets = {"one": SOURCE, "two": SOURCE[:3]}
    with pytest.raises(ArgumentError, match=r"metric_for_best_model names one, such as one_score; got score"):
        trainer(still_model(tokenizer), tokenizer, tmp_path, SOURCE, sets, **BEST)
    made = trainer(still_model(tokenizer), tokenizer, tmp_path, SOURCE, sets, metric_for_best_model="two_score", **BEST)
    made.train()
    told, scores = results_of_trainer(made)["dev"]["scores"], made.evaluate()
    assert {name: told[f"{name}_score"] for name in sets} == {
        name: pytest.approx(scores[f"eval_{name}_score"], abs=1e-6) for name in sets
    }


def test_a_new_head_starts_its_biases_at_the_shares_of_its_types_and_a_trained_one_does_not(place, tmp_path):
    records = list(read_records(place / "target.jsonl"))
    model = FinenerForTokenClassification.from_pretrained(place / "out" / "pretrained")
    bias = model.type_head.score.bias.clone()
    made = FinenerTrainer(model, settings(tmp_path), train_dataset=SOURCE, eval_dataset=SOURCE)
    made.start_types()
    assert torch.equal(model.type_head.score.bias, bias)
    for start, is_shares in (("names", True), ("random", False)):
        model.add_conversion(Ontology.from_json(place / "tgt.json"), start=start)
        before = model.conversion.score.bias.clone()
        made = FinenerTrainer(model, settings(tmp_path), train_dataset=records, eval_dataset=records)
        made.start_types()
        assert torch.equal(model.conversion.score.bias, before) != is_shares
        after = model.conversion.score.bias.clone()
        made.start_types()
        assert torch.equal(model.conversion.score.bias, after), "once is enough"


def test_evaluation_runs_the_encoder_once_for_a_batch(tokenizer, tmp_path, monkeypatch):
    model = still_model(tokenizer, target=True)
    made = trainer(model, tokenizer, tmp_path, dev=DEV[True], per_device_eval_batch_size=3)
    forward, runs = model.encoder.forward, []
    monkeypatch.setattr(model.encoder, "forward", lambda *a, **k: runs.append(1) or forward(*a, **k))
    made.evaluate()
    assert len(runs) == -(-len(DEV[True]) // 3)


# -------------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_smoothing_factor": 0.1}, r"label_smoothing_factor must stay 0.0: .*soft_loss_decay; got 0.1"),
        ({"train_sampling_strategy": "batch_rebalance"}, "must be one of group_by_length, random, sequential"),
        ({"prediction_loss_only": True}, "prediction_loss_only must stay False"),
        ({"include_for_metrics": ["loss"]}, "include_for_metrics must stay"),
        ({"label_names": ["labels"]}, "label_names must stay None"),
        ({"eval_do_concat_batches": False}, "eval_do_concat_batches must stay True"),
    ],
)
def test_arguments_that_would_be_ignored_are_refused(tokenizer, tmp_path, changes, message):
    with pytest.raises(ArgumentError, match=message):
        trainer(still_model(tokenizer), tokenizer, tmp_path, SOURCE, **changes)


def test_target_types_that_a_trainer_does_not_know_are_not_left_untrained_in_silence(tokenizer, target, tmp_path):
    made = trainer(still_model(tokenizer), tokenizer, tmp_path, [*SOURCE, *TARGET], max_steps=1)
    made.model.add_conversion(target, start="random")
    with pytest.raises(ArgumentError, match="other target types than when this trainer was made"):
        made.train()


def test_noise_on_frozen_embeddings_is_refused(tokenizer, tmp_path):
    with pytest.raises(ArgumentError, match="no effect on frozen embeddings"):
        trainer(still_model(tokenizer), tokenizer, tmp_path, SOURCE, neftune_noise_alpha=5.0, freeze="encoder")
    trainer(still_model(tokenizer), tokenizer, tmp_path, SOURCE, neftune_noise_alpha=5.0, max_steps=1).train()


def test_keywords_of_the_trainer_that_would_be_ignored_are_refused(tokenizer, tmp_path):
    with pytest.raises(ArgumentError, match="by itself: leave out compute_loss_func"):
        FinenerTrainer(tiny.tiny_model(tokenizer), arguments(tmp_path), compute_loss_func=print)


def test_an_empty_evaluation_set_is_refused_before_an_epoch_is_spent(tokenizer, tmp_path):
    with pytest.raises(ArgumentError, match="nothing to evaluate: expected at least one record"):
        trainer(still_model(tokenizer), tokenizer, tmp_path, SOURCE, [])


@pytest.mark.parametrize("strategy", ["random", "sequential", "group_by_length"])
def test_a_sampling_strategy_is_followed(tokenizer, tmp_path, strategy):
    made = trainer(still_model(tokenizer), tokenizer, tmp_path, SOURCE, train_sampling_strategy=strategy, max_steps=1)
    order = list(made._get_train_sampler())
    assert sorted(order) == list(range(len(SOURCE)))
    assert (order == sorted(order)) == (strategy == "sequential")


def test_records_of_another_ontology_are_an_error_that_names_it(tokenizer, tmp_path):
    misnamed = [{**r, "ontology": "target"} for r in TARGET]
    model = tiny.tiny_model(tokenizer, target=True)
    with pytest.raises(ArgumentError, match=r"no mention has types of 'tgt' \(they are typed with 'target'\)"):
        FinenerTrainer(model, arguments(tmp_path), train_dataset=misnamed, processing_class=tokenizer)


def test_bad_records_are_an_error_that_names_them(tokenizer, tmp_path):
    unknown = record("u", "[Ann|persn] left")
    with pytest.raises(ArgumentError, match=r"record 'u': 'persn' is not a type of ontology 'src'.*'person'"):
        trainer(still_model(tokenizer), tokenizer, tmp_path, [*SOURCE, unknown])
    with pytest.raises(RecordError, match=r"record number 8: .*out of range"):
        trainer(
            still_model(tokenizer),
            tokenizer,
            tmp_path,
            [*SOURCE, {"id": "x", "text": "a", "mentions": [{"start": 0, "end": 3}]}],
        )


def test_a_model_that_came_from_nowhere_needs_a_tokenizer(tokenizer, tmp_path):
    with pytest.raises(ValueError, match=r"processing_class=… to FinenerTrainer \(the model was not loaded"):
        FinenerTrainer(tiny.tiny_model(tokenizer), arguments(tmp_path), train_dataset=SOURCE)


def test_records_are_left_as_they_were(tokenizer, tmp_path):
    before = json.dumps(SOURCE)
    trainer(still_model(tokenizer), tokenizer, tmp_path, SOURCE, SOURCE, max_steps=1).train()
    assert json.dumps(SOURCE) == before and validate_record(SOURCE[0])

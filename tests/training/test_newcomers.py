"""Mistakes that newcomers make, and what they are told."""

from __future__ import annotations

import pytest

from finener import FinenerTrainer
from finener.ontology_finener import EntityType, Ontology, OntologyError
from finener.training.arguments import ArgumentError

import tiny
from runs import SOURCE, TARGET, arguments, still_model, trainer


def test_without_a_head_for_their_types_records_do_not_train_in_silence(tokenizer, tmp_path):
    with pytest.raises(ArgumentError, match=r"they are typed with 'tgt'.*model\.add_conversion"):
        trainer(still_model(tokenizer), tokenizer, tmp_path, TARGET, weights={"detection": 1.0, "typing": 1.0})
    alone = trainer(still_model(tokenizer), tokenizer, tmp_path, TARGET, weights={"detection": 1.0})
    assert len(alone.train_dataset) == len(TARGET)


def test_records_with_types_of_another_ontology_are_told(tokenizer, tmp_path, capsys):
    trainer(still_model(tokenizer), tokenizer, tmp_path, [*SOURCE, *TARGET[:2]], [TARGET[2]])
    assert (
        "3 records carry types of 'tgt', which this model does not have (it has those of 'src')"
        in capsys.readouterr().out
    )
    trainer(still_model(tokenizer), tokenizer, tmp_path, SOURCE, SOURCE)
    assert "carry types" not in capsys.readouterr().out


@pytest.mark.parametrize("given", ["train.jsonl", {"train": SOURCE}])
def test_a_path_or_a_dict_of_splits_is_no_list_of_records(tokenizer, tmp_path, given):
    with pytest.raises(ArgumentError, match=r"expected a list or data set of records, such as list\(read_records\("):
        trainer(still_model(tokenizer), tokenizer, tmp_path, given)


def test_a_path_is_no_model_and_missing_dev_records_are_named(tokenizer, tmp_path):
    with pytest.raises(
        TypeError, match=r"expected a finener model, as .*from_pretrained\(…\) loads it; got 'outputs/model'"
    ):
        FinenerTrainer("outputs/model", arguments(tmp_path))
    with pytest.raises(
        ArgumentError, match=r"pass eval_dataset=…, or set eval_strategy='no' and load_best_model_at_end=False"
    ):
        trainer(still_model(tokenizer), tokenizer, tmp_path, SOURCE, eval_strategy="epoch")


def test_parents_joined_by_a_comma_are_explained():
    with pytest.raises(OntologyError, match=r"the parent 'a,b'.*parents are joined by \|"):
        Ontology("mine", [EntityType("a"), EntityType("b"), EntityType("c", parents=("a,b",))])


def test_a_saved_trainer_leaves_card_and_results(tokenizer, tmp_path):
    model = tiny.tiny_model(tokenizer)
    made = FinenerTrainer(model, arguments(tmp_path), train_dataset=SOURCE, processing_class=tokenizer)
    made.save_model()
    assert {"README.md", "results.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in tmp_path.iterdir()}
    made.save_model(str(tmp_path / "elsewhere"))
    assert not (tmp_path / "elsewhere" / "README.md").exists()

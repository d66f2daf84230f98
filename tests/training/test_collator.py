"""The batch, by hand."""

from __future__ import annotations

import pytest
import torch

from finener.training.collator import FACTS, model_inputs
from finener.training.encoder_states import WordStateCache
from finener.windows_finener import TextEncoder

import tiny
from runs import collate, record


def test_a_batch_of_one_small_record_by_hand(model, tokenizer, source):
    batch = collate(model, tokenizer, [record("a", "The [Ab Cd|museum] of [E|].")])
    ids = tokenizer.convert_tokens_to_ids(["[CLS]", "The", "A", "##b", "C", "##d", "of", "E", ".", "[SEP]"])
    assert batch["input_ids"].tolist() == [ids]
    assert batch["attention_mask"].tolist() == [[1] * 10]
    assert batch["word_starts"].tolist() == [[1, 2, 4, 6, 7, 8]]
    assert batch["labels"].tolist() == [[0, 1, 2, 0, 1, 0]]  # O B I O B O
    assert batch["mention_spans"].tolist() == [[[1, 3], [4, 5]]]
    closed = [source.index(t) for t in ("physical", "abstract", "organization", "place", "building", "museum")]
    assert batch["type_labels"].tolist() == [[closed, [-1] * 6]]
    assert batch["target_type_labels"].tolist() == [[[-1], [-1]]]
    assert dict(zip(FACTS, batch["facts"][0].tolist(), strict=True)) == {
        "exhaustive": 1,
        "judged": 1,
        "lost_mentions": 0,
        "lost_pairs": 0,
    }


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("softmax", ["per.artist.painter", "org"]), ("sigmoid", ["per", "per.artist", "per.artist.painter", "org"])],
)
def test_target_types_are_most_specific_for_softmax_and_closed_for_sigmoid(tokenizer, target, activation, expected):
    model = tiny.tiny_model(tokenizer, target=True, target_activation=activation)
    batch = collate(model, tokenizer, [record("a", "[Ann|per,per.artist.painter,org] left", "tgt")])
    assert [target.ids[i] for i in batch["target_type_labels"][0, 0].tolist()] == expected
    assert batch["type_labels"].tolist() == [[[-1]]]  # they are no source types
    batch = collate(model, tokenizer, [record("a", "[Ann|artist] left")])
    assert (batch["target_type_labels"] == -1).all() and (batch["type_labels"] >= 0).sum() == 3


def test_detection_labels_are_masked_where_a_record_is_not_exhaustive_and_in_padding(model, tokenizer):
    batch = collate(model, tokenizer, [record("a", "[Ann|artist] left us", exhaustive=False), record("b", "Go")])
    assert batch["labels"].tolist() == [[-100] * 3, [0, -100, -100]]
    assert batch["mention_spans"].tolist() == [[[0, 1]], [[-1, -1]]]
    assert batch["facts"][:, 0].tolist() == [0, 1]
    assert batch["word_starts"][1].tolist() == [1, -1, -1]


def test_records_of_another_ontology_or_without_types_do_not_train_typing(target_model, tokenizer):
    batch = collate(target_model, tokenizer, [record("a", "[Ann|xyz] left", "other"), record("b", "[Ann] left", "")])
    assert (batch["type_labels"] == -1).all() and (batch["target_type_labels"] == -1).all()
    assert batch["labels"].tolist() == [[1, 0]] * 2
    assert batch["facts"][:, 1].tolist() == [0, 0]


def test_a_mention_that_begins_or_ends_inside_a_word_is_counted(model, tokenizer):
    batch = collate(model, tokenizer, [record("a", "pre[Fix|person]ed [Ann|artist] at [Oran|place]ge")])
    assert batch["labels"].tolist() == [[0, 1, 0, 0]]
    assert batch["mention_spans"].tolist() == [[[1, 2]]]
    facts = dict(zip(FACTS, batch["facts"][0].tolist(), strict=True))
    assert (facts["lost_mentions"], facts["lost_pairs"]) == (2, 4)  # person, physical; place, physical


@pytest.mark.parametrize(
    "records",
    [
        [record("a", "[Ann|artist] left.")],
        [record("a", "", ontology="", exhaustive=False)],
        [record("a", " \u200b ")],
        [record("a", "Nobody.", "tgt"), record("b", "[東京|loc] 😀", "tgt"), record("c", "[Al|artist] [Bo] [Cy]")],
    ],
    ids=["one", "empty", "no words", "mixed"],
)
@pytest.mark.parametrize("has_target", [False, True])
def test_all_keys_are_always_there_and_the_first_dimension_is_the_record(tokenizer, records, has_target):
    model = tiny.tiny_model(tokenizer, target=has_target)
    batch = collate(model, tokenizer, records)
    assert set(batch) == {
        "input_ids",
        "attention_mask",
        "word_starts",
        "word_shapes",
        "labels",
        "mention_spans",
        "type_labels",
        "target_type_labels",
        "facts",
        "ids",
    }
    assert {len(value) for value in batch.values()} == {len(records)}
    assert batch["mention_spans"].shape[:2] == batch["type_labels"].shape[:2] == batch["target_type_labels"].shape[:2]
    output = model(**model_inputs(batch))
    assert torch.isfinite(output.loss)


def test_a_record_that_no_window_holds_is_refused(model, tokenizer, tmp_path):
    long = record("a", "word " * 80)
    encoder = TextEncoder(tokenizer, model.config)
    with pytest.raises(ValueError, match=r"80 words does not fit a window.*cut_record"):
        collate(model, tokenizer, [long])
    with pytest.raises(ValueError, match="cut_record"):
        WordStateCache(tmp_path / "states").build([long["text"]], model, encoder)

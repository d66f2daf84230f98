"""Training: batches by hand, losses that do not depend on how batches are cut, evaluation that equals scoring predictions."""

from __future__ import annotations

import copy
import functools
import random
import re
from typing import Any

import pytest
import torch
from transformers import set_seed

from finener.layers_finener import LOSS_PARTS
from finener.metrics.counting import score_records
from finener.pipeline_finener import FinenerPipeline, TextEncoder
from finener.prediction.records import predict_records
from finener.training.collator import FACTS, CollatorCounts, FinenerCollator, loss_counts, model_inputs
from finener.training.encoder_states import WordStateCache, encoder_digest
from finener.training.records import cut_record, data_hash, mix_records
from finener.training.soft_loss import estimate_credit

import tiny
from runs import SOURCE, TARGET, collate, parameters, record, still_model, trainer

# -------------------------------------------------------------------- the batch


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


def test_a_mention_that_begins_or_ends_inside_a_word_is_counted_and_listed(model, tokenizer):
    collator = FinenerCollator(TextEncoder(tokenizer, model.config), model.config)
    batch = collator([record("a", "pre[Fix|person]ed [Ann|artist] at [Oran|place]ge")])
    assert batch["labels"].tolist() == [[0, 1, 0, 0]]
    assert batch["mention_spans"].tolist() == [[[1, 2]]]
    facts = dict(zip(FACTS, batch["facts"][0].tolist(), strict=True))
    assert (facts["lost_mentions"], facts["lost_pairs"]) == (2, 4)  # person, physical; place, physical
    assert (collator.counts.mentions, collator.counts.inside_a_word) == (3, 2)
    assert collator.counts.examples == [
        "a: 'Fix' in …'preFixed Ann at '…",
        "a: 'Oran' in …'ed Ann at Orange'…",
    ]
    assert CollatorCounts() == FinenerCollator(collator.encoder, model.config).counts


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


# -------------------------------------------------------------------- long records


def long_record(seed: int) -> dict[str, Any]:
    """Some hundred words of every kind; about a third lie in mentions of one to four words."""
    rng = random.Random(seed)
    surfaces = [
        "Frida",
        "Louvre",
        "東京",
        "a.,b",
        "...",
        "New",
        "painted",
        "in",
        "😀",
        "naïve",
        "U.S.",
        "\u200b",
        "x" * 15,
    ]
    marked = ""
    for _ in range(40):
        phrase = " ".join(rng.choice(surfaces[:9]) for _ in range(rng.randint(1, 4)))
        marked += (
            f"[{phrase}|person] " if rng.random() < 0.4 else f"{phrase}{rng.choice(['', ' '])}{rng.choice(surfaces)} "
        )
    return record(f"long{seed}", marked)


@pytest.mark.parametrize("seed", range(5))
def test_a_long_record_is_cut_without_losing_a_word_or_a_mention(any_tokenizer, seed):
    model = tiny.tiny_model(any_tokenizer)
    encoder = TextEncoder(any_tokenizer, model.config)
    whole = long_record(seed)
    parts = cut_record(whole, encoder)
    assert len(parts) > 2
    assert "".join(part["text"] for part in parts) == whole["text"]
    assert [part["id"] for part in parts] == [f"{whole['id']}#{i}" for i in range(len(parts))]
    words, mentions, at = [], [], 0
    for part in parts:
        encoded = encoder.encode(part["text"])
        assert encoder.end_of_window(encoded, 0) == len(encoded.words)  # it fits a window by itself
        words += [(start + at, end + at) for start, end in encoded.words]
        mentions += [{**m, "start": m["start"] + at, "end": m["end"] + at} for m in part["mentions"]]
        assert all(0 <= m["start"] < m["end"] <= len(part["text"]) for m in part["mentions"])
        assert {k: part[k] for k in ("doc_id", "exhaustive", "typed", "ontology")} == {
            k: whole[k] for k in ("doc_id", "exhaustive", "typed", "ontology")
        }
        at += len(part["text"])
    assert words == encoder.encode(whole["text"]).words
    assert mentions == whole["mentions"]
    batch = collate(model, any_tokenizer, parts)
    assert (batch["word_starts"] < batch["attention_mask"].sum(1, keepdim=True)).all()


def test_a_record_that_fits_is_left_as_it_is(model, tokenizer):
    encoder = TextEncoder(tokenizer, model.config)
    assert cut_record(SOURCE[0], encoder) == [SOURCE[0]]
    empty = record("a", "  ")
    assert cut_record(empty, encoder) == [empty]


@pytest.mark.parametrize(
    "marked", ["of [of the of a|place] by ", "of o[f the of |place] "], ids=["on words", "inside a word"]
)
def test_no_cut_falls_inside_a_mention(tokenizer, marked):
    """Also where the mention itself lies across words: half of it would be another mention."""
    model = tiny.tiny_model(tokenizer, window_words=7, window_overlap=1)
    whole = record("a", marked * 8)
    parts = cut_record(whole, TextEncoder(tokenizer, model.config))
    surfaces = [p["text"][m["start"] : m["end"]] for p in parts for m in p["mentions"]]
    assert surfaces == [whole["text"][m["start"] : m["end"]] for m in whole["mentions"]]


def test_a_mention_longer_than_a_window_is_an_error_that_says_what_to_do(tokenizer):
    model = tiny.tiny_model(tokenizer, window_words=6, window_overlap=1)
    with pytest.raises(ValueError, match=r"record 'x' has a mention of more than 6 words at 7;.*raise window_words"):
        cut_record(record("x", "of the [of of of of of of of|place] a"), TextEncoder(tokenizer, model.config))


# -------------------------------------------------------------------- mixing


@pytest.mark.parametrize(
    ("n_detection", "n_typing", "share", "expected"),
    [
        (10, 30, 0.25, 10),  # as they are
        (10, 30, 0.5, 30),  # each three times
        (10, 30, 0.1, 3),  # a sample
        (4, 30, 0.25, 10),  # twice each, and two of them once more
        (10, 30, 0.0, 0),
    ],
)
def test_mixing_keeps_every_typing_record_and_the_detection_share(n_detection, n_typing, share, expected):
    detection = [record(f"d{i}", "x") for i in range(n_detection)]
    typing = [record(f"t{i}", "x") for i in range(n_typing)]
    mixed = [r["id"] for r in mix_records(detection, typing, share, seed=0)]
    assert sorted(i for i in mixed if i[0] == "t") == sorted(r["id"] for r in typing)
    chosen = [i for i in mixed if i[0] == "d"]
    assert len(chosen) == expected
    times = [chosen.count(r["id"]) for r in detection]
    assert max(times) - min(times) <= 1
    assert mixed == [r["id"] for r in mix_records(detection, typing, share, seed=0)]


def test_the_sample_of_a_mix_depends_on_the_seed():
    detection = [record(f"d{i}", "x") for i in range(20)]
    draws = {tuple(r["id"] for r in mix_records(detection, SOURCE, 0.5, seed)) for seed in range(5)}
    assert len(draws) == 5


def test_an_empty_side_leaves_the_other_as_it_is():
    assert mix_records([], SOURCE, 0.5, 0) == SOURCE
    assert mix_records(SOURCE, [], 0.5, 0) == SOURCE
    assert mix_records([], [], 0.5, 0) == []


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5])
def test_a_share_outside_its_range_is_an_error(share):
    with pytest.raises(ValueError, match=r"detection_share must lie in \[0, 1\)"):
        mix_records(SOURCE, SOURCE, share, 0)


# -------------------------------------------------------------------- cached encoder states


@pytest.mark.parametrize("layers", [[-1], [-1, 1]])
def test_cached_states_give_the_same_losses_and_predictions_without_running_the_encoder(
    tokenizer, tmp_path, monkeypatch, layers
):
    model = tiny.tiny_model(tokenizer, target=True, encoder_layers=layers)
    model.freeze("encoder")
    records = [*SOURCE, *TARGET, record("empty", " ")]
    cache = WordStateCache(tmp_path / "states")
    cache.build([r["text"] for r in records], model, TextEncoder(tokenizer, model.config), batch_size=3)
    plain = collate(model, tokenizer, records)
    cached = collate(model, tokenizer, records, cache)
    assert cached["word_states"].dtype == torch.float16
    assert cached["word_states"].shape == (*plain["word_starts"].shape, 16 * len(layers))
    plain, cached = model_inputs(plain), model_inputs(cached)
    expected = model(**plain)

    def refuse(*args, **kwargs):
        raise AssertionError("the encoder ran")

    monkeypatch.setattr(model.encoder, "forward", refuse)
    with pytest.raises(AssertionError, match="the encoder ran"):
        model(**plain)
    output = model(**cached)
    assert set(output.losses) == set(LOSS_PARTS)
    for part in LOSS_PARTS:
        assert output.losses[part].item() == pytest.approx(expected.losses[part].item(), rel=2e-3)
    torch.testing.assert_close(output.logits, expected.logits, rtol=0, atol=5e-3)
    assert model.select_types(output) != [] and [list(t) for t in model.select_types(output)] == [
        list(t) for t in model.select_types(expected)
    ]


def test_training_and_evaluation_read_the_cache_alone(tokenizer, tmp_path, monkeypatch):
    model = still_model(tokenizer)
    model.freeze("encoder")
    cache = WordStateCache(tmp_path / "states")
    cache.build([r["text"] for r in SOURCE], model, TextEncoder(tokenizer, model.config))
    plain = trainer(model, tokenizer, tmp_path, SOURCE, SOURCE).evaluate()
    monkeypatch.setattr(model.encoder, "forward", None)  # calling it would raise
    run = trainer(model, tokenizer, tmp_path, SOURCE, SOURCE, cache=cache, max_steps=2)
    before = parameters(model)
    metrics = run.evaluate()
    assert {k for k in plain if k.endswith("f1")} and all(
        metrics[k] == plain[k] for k in plain if k.endswith(("f1", "precision", "recall"))
    )
    run.train()
    changed = {name.split(".")[0] for name, p in parameters(model).items() if not torch.equal(p, before[name])}
    assert "lstm" in changed and "encoder" not in changed


def test_states_are_kept_in_a_folder_and_depend_on_the_text_alone(tokenizer, tmp_path, monkeypatch):
    model, texts = still_model(tokenizer), [r["text"] for r in [*SOURCE, *TARGET]]
    encoder, first = TextEncoder(tokenizer, model.config), WordStateCache(tmp_path / "states")
    first.build(texts, model, encoder)
    other_order = WordStateCache(tmp_path / "other")
    other_order.build(texts[:1], model, encoder)
    other_order.build(texts[::-1], model, encoder, batch_size=1)
    assert len(set(texts)) > 3 and all(torch.equal(first[text], other_order[text]) for text in texts)
    with monkeypatch.context() as patched:
        patched.setattr(model.encoder, "forward", None)  # calling it would raise
        kept = WordStateCache(tmp_path / "states")
        kept.build(texts[1:], model, encoder)
    assert all(torch.equal(first[text], kept[text]) for text in texts)


def test_another_encoder_does_not_read_the_states_in_a_folder(tokenizer, tmp_path):
    model, text = still_model(tokenizer), SOURCE[0]["text"]
    before, after = WordStateCache(tmp_path / "states"), WordStateCache(tmp_path / "states")
    before.build([text], model, TextEncoder(tokenizer, model.config))
    next(model.encoder.parameters()).data.mul_(2.0)
    after.build([text], model, TextEncoder(tokenizer, model.config))
    assert not torch.equal(before[text], after[text])


def test_the_digest_of_an_encoder_follows_from_all_of_its_state_scalars_too(tokenizer):
    digests = []
    for scale in (1.0, 1.0, 2.0):
        torch.manual_seed(0)
        model = tiny.tiny_model(tokenizer)
        model.encoder.register_buffer("scale", torch.tensor(scale))
        digests.append(encoder_digest(model, TextEncoder(tokenizer, model.config)))
    assert digests[0] == digests[1] != digests[2]


def test_a_text_that_was_not_cached_is_an_error(model, tokenizer, tmp_path):
    cache = WordStateCache(tmp_path / "states")
    cache.build([SOURCE[0]["text"]], model, TextEncoder(tokenizer, model.config))
    with pytest.raises(KeyError):
        collate(model, tokenizer, [SOURCE[1]], cache)


# -------------------------------------------------------------------- losses


def after_one_step(tokenizer, folder, records, weights=None, batch_size=8, accumulation=1, **knobs):
    model = still_model(tokenizer, target=True, **knobs)
    run = trainer(
        model,
        tokenizer,
        folder,
        records,
        weights=weights,
        max_steps=1,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        logging_steps=1,
    )
    result = run.train()
    return parameters(model), result.training_loss, run.state.log_history[0]


MIXED = [*SOURCE[:6], *TARGET[:2], *SOURCE[6:], *TARGET[2:3], record("u", "[Ann] left [Bree]", "", exhaustive=True)]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("records", [SOURCE, MIXED[:8], MIXED[2:10]], ids=["one task", "mixed", "other mix"])
def test_accumulating_small_batches_equals_one_large_batch(tokenizer, tmp_path, records, activation):
    """Eight records at once, in fours, in twos and one by one: the same step, whatever each batch holds."""
    assert len(records) == 8
    before = parameters(tiny.tiny_model(tokenizer, target=True))
    once, loss, log = after_one_step(tokenizer, tmp_path, records, target_activation=activation)
    assert max((once[name] - before[name]).abs().max() for name in once) > 0.01
    for batch_size in (4, 2, 1):
        other, other_loss, other_log = after_one_step(
            tokenizer, tmp_path, records, None, batch_size, 8 // batch_size, target_activation=activation
        )
        assert other_loss == pytest.approx(loss, rel=1e-5)
        for name in once:
            torch.testing.assert_close(other[name], once[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
        parts = {k: v for k, v in log.items() if k.startswith("loss_")}
        assert {k: other_log[k] for k in parts} == pytest.approx(parts, rel=1e-5)


def test_each_part_is_averaged_over_what_it_counts(tokenizer):
    model = tiny.tiny_model(tokenizer, target=True)
    records = [SOURCE[0], TARGET[0], TARGET[3], record("n", "[Ann|person] left us", exhaustive=False)]
    batch = collate(model, tokenizer, records)
    output = model(**model_inputs(batch))
    # words of the three exhaustive records; artist 3 + person 2 + company 3 + person 2; mentions with target types
    by_hand = {"detection": 6 + 6 + 4, "typing": 10, "conversion": 5}
    assert {k: v.item() for k, v in output.counts.items()} == by_hand
    assert loss_counts(batch, target_is_closed=False).tolist() == list(by_hand.values())
    sigmoid = tiny.tiny_model(tokenizer, target=True, target_activation="sigmoid")
    batch = collate(sigmoid, tokenizer, records)
    output = sigmoid(**model_inputs(batch))
    # painter 3 + politician 2 + company 2; singer and politician 4; city 2
    assert output.counts["conversion"].item() == 13
    assert loss_counts(batch, target_is_closed=True).tolist() == [16, 10, 13]


@pytest.mark.parametrize("part", LOSS_PARTS)
def test_a_weight_scales_its_own_part_and_no_other(tokenizer, tmp_path, part):
    records = [*SOURCE[:4], *TARGET[:4]]
    losses = {}
    for weight in (0.0, 1.0, 2.5):
        weights = dict.fromkeys(LOSS_PARTS, 1.0) | {part: weight}
        _, losses[weight], log = after_one_step(tokenizer, tmp_path, records, weights)
        parts = {name: log[f"loss_{name}"] for name in LOSS_PARTS}
        assert losses[weight] == pytest.approx(sum(weights[name] * parts[name] for name in LOSS_PARTS), rel=1e-4)
    assert losses[2.5] - losses[1.0] == pytest.approx(1.5 * (losses[1.0] - losses[0.0]), rel=1e-3)


def test_a_part_that_is_not_named_weighs_nothing(tokenizer, tmp_path):
    before = parameters(tiny.tiny_model(tokenizer, target=True))
    after, loss, log = after_one_step(tokenizer, tmp_path, SOURCE, {"detection": 1.0})
    assert loss == pytest.approx(log["loss_detection"], rel=1e-4)
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"encoder", "lstm", "tagger", "crf"}


def test_an_unknown_part_is_an_error(model, tokenizer, tmp_path):
    with pytest.raises(ValueError, match=r"unknown loss parts \['tipping'\]; there are detection, typing, conversion"):
        trainer(model, tokenizer, tmp_path, weights={"tipping": 1.0})


@pytest.mark.parametrize(
    ("parameter", "named", "not_named"),
    [
        ("crf.transitions", "detection", "typing"),
        ("type_head.score.bias", "typing", "detection"),
        ("conversion.score.bias", "conversion", "typing"),
    ],
)
def test_a_loss_that_is_not_finite_stops_training_and_names_the_part(
    target_model, tokenizer, tmp_path, parameter, named, not_named
):
    with torch.no_grad():
        target_model.get_parameter(parameter)[..., 0] = float("nan")
    run = trainer(target_model, tokenizer, tmp_path, [*SOURCE, *TARGET], max_steps=1, per_device_train_batch_size=16)
    with pytest.raises(FloatingPointError, match="is not finite at step 0") as error:
        run.train()
    assert named in str(error.value) and not_named not in str(error.value)


def test_a_loss_that_is_not_finite_names_the_records_of_its_batch(target_model, tokenizer, tmp_path):
    with torch.no_grad():
        target_model.conversion.score.bias[0] = float("inf")
    run = trainer(target_model, tokenizer, tmp_path, TARGET[:2], max_steps=1, per_device_train_batch_size=1)
    with pytest.raises(
        FloatingPointError, match=r"conversion is not finite at step 0, in the batch of the records t[01];"
    ):
        run.train()
    run = trainer(target_model, tokenizer, tmp_path, dev=TARGET[:2])
    with pytest.raises(FloatingPointError, match="in the batch of the records t0, t1;"):
        run.evaluate()


@pytest.mark.parametrize("exhaustive", [True, False], ids=["all negative", "nothing to learn"])
def test_a_batch_without_a_mention_trains_detection_alone_or_nothing(tokenizer, tmp_path, exhaustive):
    records = [record(f"n{i}", "Nobody came.", exhaustive=exhaustive) for i in range(4)]
    before = parameters(still_model(tokenizer, target=True))
    after, loss, log = after_one_step(tokenizer, tmp_path, records)
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed == ({"encoder", "lstm", "tagger", "crf"} if exhaustive else set())
    assert {name for name in log if name.startswith("loss_")} == ({"loss_detection"} if exhaustive else set())
    assert (loss > 0) == exhaustive and all(p.isfinite().all() for p in after.values())


# -------------------------------------------------------------------- W of the soft loss


def test_confusions_smoothed_by_a_prior_are_weights_by_hand(target):
    gold = [
        record("0", "[Ada|per.politician] met [Bo|per.politician], [Cy|per.politician] and [Di|per.politician]", "tgt"),
        record("1", "[Rome|loc.city] or [Oslo|loc.city,org]; [Bree|]", "tgt"),
    ]
    guess = [
        record("0", "[Ada|per,per.politician] met [Bo|per.politician], [Cy|per] and [Di|org]", "tgt"),
        record("1", "[Rome|org] or [Oslo|org]; [Bree|org]", "tgt"),
    ]
    prior = target.soft_label_weights(
        0.5
    )  # of per.politician: itself 2/3, per 1/3; of org: itself; of loc.city: itself 2/3, loc 1/3
    found = estimate_credit(gold, guess, target, prior, strength=3.0)
    politician, per, org, loc, city = (target.index(t) for t in ("per.politician", "per", "org", "loc", "loc.city"))
    expected = torch.zeros(10)
    expected[[politician, per, org]] = torch.tensor([2 + 2.0, 1 + 1.0, 1.0]) / 7
    torch.testing.assert_close(found[politician], expected)
    expected = torch.zeros(10)
    expected[[city, loc, org]] = torch.tensor([2.0, 1.0, 1.5]) / 4.5  # two gold types share a mention
    torch.testing.assert_close(found[city], expected)
    never_seen = target.index("loc.city.capital")
    torch.testing.assert_close(found[never_seen], prior[never_seen] / prior[never_seen].sum())


def test_no_confusion_is_worth_more_than_the_gold_type(target):
    gold, guess = ([record(str(i), f"[Ann|{t}]", "tgt") for i in range(50)] for t in ("per", "org"))
    found = estimate_credit(gold, guess, target, target.soft_label_weights(0.5), strength=2.0)
    assert found[target.index("per")][[target.index("per"), target.index("org")]].tolist() == [0.5, 0.5]
    assert found.sum(1).tolist() == pytest.approx([1.0] * 10)


def test_confusions_need_the_same_mentions_and_some_types(target):
    prior, gold = target.soft_label_weights(0.5), [record("7", "[Ann|per] left", "tgt")]
    with pytest.raises(ValueError, match="record '7': the predictions are not of the gold mentions"):
        estimate_credit(gold, [record("7", "Ann [left|per]", "tgt")], target, prior)
    with pytest.raises(ValueError, match="no gold mentions with types of 'tgt'"):
        estimate_credit([], [], target, prior)


# -------------------------------------------------------------------- evaluation

MEASURES = [f"{m}_{p}" for m in ("mention", "typed", "partial", "pair") for p in ("precision", "recall", "f1")]


@pytest.fixture(scope="module")
def trained(tokenizer, tmp_path_factory):
    """Gives models that get something right and something wrong; thresholds are set after training."""

    @functools.cache
    def train(target: bool, activation: str):
        model = still_model(tokenizer, target=target, target_activation=activation)
        set_seed(0)
        folder, records = tmp_path_factory.mktemp("trained"), TARGET if target else SOURCE
        changes = {"optim": "adamw_torch", "learning_rate": 0.02, "max_steps": 30, "per_device_train_batch_size": 8}
        trainer(model, tokenizer, folder, records, **changes).train()
        return model.eval()

    def get(target: bool, target_activation: str = "softmax", **thresholds: float):
        model = copy.deepcopy(train(target, target_activation))
        vars(model.config).update(thresholds)
        return model

    return get


DEV = {
    False: [
        *SOURCE,
        record("v0", "[Ada|person] saw the [Louvre|artmuseum] in [Rome|place], not [Bree|artist]."),
        record("v1", "[Foo Corp|company] and o[the|museum]r things of [Ann|artist]'s"),
        record("v2", "We like [東京|place] and [Bo|]."),
        record("v3", "  "),
    ],
    True: [
        *TARGET,
        record("v0", "[Ada|per] saw [Oslo|loc.city.capital] in [Rome|loc.city.capital], not [Bree|org].", "tgt"),
        record("v1", "[ACME|org.company] and o[the|loc.city]r things of [Cy|per.artist.singer]'s", "tgt"),
        record("v2", "[Bo|] we like", "tgt"),
    ],
}


@pytest.mark.parametrize(
    ("target", "knobs"),
    [
        (False, {}),
        (True, {}),
        (True, {"target_activation": "sigmoid", "target_type_threshold": 0.4}),
        (True, {"target_type_threshold": 0.6}),
        (False, {"detection_threshold": 0.5}),
    ],
    ids=["source", "softmax", "sigmoid", "softmax with a threshold", "detection threshold"],
)
def test_evaluation_gives_the_very_numbers_of_scoring_the_pipelines_predictions(
    trained, tokenizer, tmp_path, target, knobs
):
    model = trained(target, **knobs)
    ontology = model.config.target_ontology if target else model.config.ontology
    dev = DEV[target]
    metrics = trainer(model, tokenizer, tmp_path, dev=dev).evaluate()
    pipe = FinenerPipeline(model=model.eval(), tokenizer=tokenizer, device="cpu")
    scores = score_records(dev, predict_records(pipe, dev), ontology)
    assert {name: metrics[f"eval_{name}"] for name in MEASURES} == pytest.approx(
        {name: scores[name] for name in MEASURES}
    )
    assert 0 < scores["typed_f1"] < scores["mention_f1"] < 1
    # a gold mention inside a word can't be predicted, and costs recall
    lost = sum(len(r["mentions"]) for r in dev) - sum(
        (collate(model, tokenizer, [r])["mention_spans"][:, :, 0] >= 0).sum().item() for r in dev
    )
    assert lost > 0


def test_evaluation_of_given_mentions_equals_counting_the_pipelines_types(trained, tokenizer, tmp_path):
    from finener.metrics.counting import add_counts, count_given, scores_of_counts

    model = trained(False)
    source = model.config.ontology
    dev = [r for r in DEV[False] if r["id"] != "v1"]  # whose mention inside a word has no state of its own
    metrics = trainer(model, tokenizer, tmp_path, dev=dev).evaluate()
    pipe = FinenerPipeline(model=model.eval(), tokenizer=tokenizer, device="cpu")
    counts = []
    for gold, found in zip(dev, predict_records(pipe, dev, gold_mentions=True), strict=True):
        for wanted, got in zip(gold["mentions"], found["mentions"], strict=True):
            if wanted["types"]:
                indices = ([source.index(t) for t in m["types"]] for m in (wanted, got))
                counts.append(count_given(*indices, source))
    scores = {k: v for k, v in scores_of_counts(add_counts(counts)).items() if k.startswith("given")}
    assert {k: metrics[f"eval_{k}"] for k in scores} == pytest.approx(scores)
    assert 0 < scores["given_strict"] < 1
    assert metrics["eval_score"] == pytest.approx((metrics["eval_mention_f1"] + scores["given_micro_f1"]) / 2)


def test_records_that_are_not_exhaustive_or_of_another_ontology_are_not_judged_for_what_they_lack(
    trained, tokenizer, tmp_path
):
    model = trained(False)
    partial = [{**r, "exhaustive": False} for r in SOURCE]
    metrics = trainer(model, tokenizer, tmp_path, dev=partial).evaluate()
    assert "eval_given_micro_f1" in metrics and not {k for k in metrics if k.startswith(("eval_mention", "eval_typed"))}
    metrics = trainer(model, tokenizer, tmp_path, dev=TARGET).evaluate()
    assert "eval_mention_f1" in metrics and not {k for k in metrics if k.startswith(("eval_typed", "eval_given"))}
    both = trainer(model, tokenizer, tmp_path, dev=[*SOURCE, *TARGET]).evaluate()
    alone = trainer(model, tokenizer, tmp_path, dev=SOURCE).evaluate()
    assert both["eval_typed_f1"] == alone["eval_typed_f1"] and both["eval_mention_f1"] != alone["eval_mention_f1"]


def test_evaluation_does_not_depend_on_the_batch_size(trained, tokenizer, tmp_path):
    model = trained(True)
    runs = [
        trainer(model, tokenizer, tmp_path, dev=DEV[True], per_device_eval_batch_size=size).evaluate()
        for size in (1, 3, 8)
    ]
    exact = [
        {k: v for k, v in run.items() if k.endswith(("precision", "recall", "f1", "strict", "score"))} for run in runs
    ]
    assert len(exact[0]) == 23 and exact[0] == exact[1] == exact[2]


# -------------------------------------------------------------------- training


def emissions(model, tokenizer, records):
    batch = collate(model, tokenizer, records)
    with torch.no_grad():
        return model(**model_inputs(batch)).logits


def test_with_detection_frozen_fine_tuning_leaves_every_emission_bit_equal(tokenizer, tmp_path):
    model = tiny.tiny_model(tokenizer, target=True, encoder_layers=[-1, 1], encoder_layer_mix="learned")
    model.freeze("detection")
    emitted, before = emissions(model, tokenizer, DEV[True]), parameters(model)
    weights = {"conversion": 1.0}
    changes = {"optim": "adamw_torch", "weight_decay": 0.1, "max_steps": 5, "per_device_train_batch_size": 2}
    trainer(
        model, tokenizer, tmp_path, TARGET, DEV[True], weights, eval_strategy="steps", eval_steps=2, **changes
    ).train()
    model.eval()
    assert torch.equal(emissions(model, tokenizer, DEV[True]), emitted)
    changed = {name.split(".")[0] for name, p in parameters(model).items() if not torch.equal(p, before[name])}
    assert changed == {"type_head", "conversion"}


def test_both_losses_fall_in_mixed_training_and_are_logged_by_name(tokenizer, tmp_path):
    model = still_model(tokenizer)
    typing = [{**r, "exhaustive": False} for r in SOURCE]
    detection = [
        {**r, "typed": False, "ontology": "", "mentions": [{**m, "types": []} for m in r["mentions"]]} for r in SOURCE
    ]
    mixed = mix_records(detection, typing, 0.5, seed=0)
    run = trainer(
        model,
        tokenizer,
        tmp_path,
        mixed,
        optim="adamw_torch",
        learning_rate=0.01,
        num_train_epochs=20,
        per_device_train_batch_size=8,
        logging_strategy="epoch",
    )
    run.train()
    curves = {
        name: [row[f"loss_{name}"] for row in run.state.log_history if f"loss_{name}" in row]
        for name in ("detection", "typing", "conversion")
    }
    assert len(curves["detection"]) == len(curves["typing"]) == 20 and curves["conversion"] == []
    assert curves["detection"][-1] < 0.85 * curves["detection"][0]
    assert curves["typing"][-1] < 0.85 * curves["typing"][0]


def test_neither_task_starves_the_other(tokenizer, tmp_path):
    """With both tasks in an epoch each loss falls nearly as far as without the other, after as many passes over its records."""
    typing = [{**r, "exhaustive": False} for r in SOURCE]
    detection = [{**r, "typed": False, "ontology": ""} for r in SOURCE]
    falls = {}
    for name, records in {
        "detection": detection,
        "typing": typing,
        "both": mix_records(detection, typing, 0.5, 0),
    }.items():
        model = still_model(tokenizer)
        changes = {"optim": "adamw_torch", "learning_rate": 0.01, "num_train_epochs": 60, "logging_strategy": "epoch"}
        run = trainer(model, tokenizer, tmp_path, records, per_device_train_batch_size=len(records) // 2, **changes)
        run.train()
        logged = [row for row in run.state.log_history if "loss" in row]
        assert len(logged) == 60
        falls[name] = {k: logged[0][k] - logged[-1][k] for k in logged[0] if k.startswith("loss_")}
    for task in ("detection", "typing"):
        assert falls["both"][f"loss_{task}"] > 0.7 * falls[task][f"loss_{task}"] > 0.7


def test_one_epoch_trains_on_detection_only_typing_only_and_full_records_at_the_stated_ratio(tokenizer, tmp_path):
    full = SOURCE[:2]  # exhaustive and typed: they train both
    typing = [{**r, "exhaustive": False} for r in SOURCE[3:5]]
    detection = [{**r, "id": f"{r['id']}!", "typed": False, "ontology": ""} for r in SOURCE[5:]]
    mixed = mix_records(detection, [*full, *typing], 0.5, seed=0)
    ids = [r["id"] for r in mixed]
    assert len(ids) == 8 and sum(i.endswith("!") for i in ids) == 4 and set(ids) >= {"s0", "s1", "s3", "s4"}
    run = trainer(still_model(tokenizer), tokenizer, tmp_path, mixed, max_steps=1, per_device_train_batch_size=8)
    counts, sums = [], run._sums
    run.log = lambda logs, *a, **k: counts.append(sums[1].tolist()) if "loss" in logs else None
    run.args.logging_steps = 1
    run.train()
    batch = collate(run.model, tokenizer, mixed)
    assert counts[0] == loss_counts(batch, False).tolist()
    words = {r["id"]: int((collate(run.model, tokenizer, [r])["labels"] >= 0).sum()) for r in mixed}
    assert all((words[i] > 0) == (i.endswith("!") or i in ("s0", "s1")) for i in ids)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_the_encoder_may_have_a_learning_rate_of_its_own(tokenizer, tmp_path, weight_decay):
    before = parameters(still_model(tokenizer))
    moved = {}
    for rate in (None, 0.01, 0.05):
        model = still_model(tokenizer)
        changes = {"max_steps": 1, "per_device_train_batch_size": 8, "weight_decay": weight_decay}
        run = trainer(model, tokenizer, tmp_path, SOURCE, encoder_learning_rate=rate, **changes)
        run.train()
        groups = run.optimizer.param_groups
        trained = [p for group in groups for p in group["params"]]
        assert len(trained) == len({id(p) for p in trained}) == len(list(model.parameters()))
        moved[rate] = {name: p - before[name] for name, p in parameters(model).items()}
    for name in before:
        factor = 0.2 if name.startswith("encoder.") else 1.0
        torch.testing.assert_close(moved[0.01][name], factor * moved[0.05][name], rtol=1e-3, atol=1e-6)
        factor = 0.1 if name.startswith("encoder.") else 1.0  # the rest's rate is 0.1
        torch.testing.assert_close(moved[0.01][name], factor * moved[None][name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("target", [False, True], ids=["source", "target"])
def test_a_handful_of_sentences_is_learnt_by_heart(tokenizer, tmp_path, target):
    model = still_model(tokenizer, target=target)
    records = TARGET[:3] if target else SOURCE[:5]
    changes = {"optim": "adamw_torch", "learning_rate": 0.01, "max_steps": 120, "per_device_train_batch_size": 8}
    run = trainer(model, tokenizer, tmp_path, records, records, **changes)
    assert run.evaluate()["eval_typed_f1"] < 0.5
    run.train()
    metrics = run.evaluate()
    assert metrics["eval_mention_f1"] == metrics["eval_typed_f1"] == metrics["eval_given_strict"] == 1.0
    pipe = FinenerPipeline(model=model.eval(), tokenizer=tokenizer, device="cpu")
    for gold, found in zip(records, predict_records(pipe, records), strict=True):
        assert [(m["start"], m["end"]) for m in found["mentions"]] == [(m["start"], m["end"]) for m in gold["mentions"]]


def test_an_epoch_shows_every_record_once_and_each_epoch_in_another_order(tokenizer, tmp_path):
    model = tiny.tiny_model(tokenizer)
    run = trainer(model, tokenizer, tmp_path, SOURCE, num_train_epochs=3, per_device_train_batch_size=1)
    seen, collator = [], run.data_collator
    run.data_collator = lambda records: seen.extend(r["id"] for r in records) or collator(records)
    run.train()
    epochs = [seen[i : i + 8] for i in (0, 8, 16)]
    assert [sorted(epoch) for epoch in epochs] == [[r["id"] for r in SOURCE]] * 3
    assert len(set(map(tuple, epochs))) == 3


def test_the_order_of_an_epoch_follows_from_seed_and_epoch_alone(model, tokenizer, tmp_path):
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        torch.rand(3)  # what a process has drawn before must not matter
        run = trainer(model, tokenizer, tmp_path, SOURCE, seed=seed, per_device_train_batch_size=1)
        torch.rand(epoch)
        sampler = run._get_train_sampler()
        sampler.set_epoch(epoch)
        return tuple(sampler)

    assert order(3, 1) == order(3, 1)
    assert len({order(seed, epoch) for seed in (3, 40) for epoch in (0, 1)}) == 4


def test_every_trainable_parameter_moves_in_training(tokenizer, tmp_path):
    model = tiny.tiny_model(tokenizer, target=True, conversion_input="logits+mention", mention_state="lstm+encoder")
    before = parameters(model)
    trainer(model, tokenizer, tmp_path, [*SOURCE, *TARGET], max_steps=3, per_device_train_batch_size=13).train()
    still = {name for name, p in parameters(model).items() if torch.equal(p, before[name])}
    assert {name for name in still if "token_type" not in name} == set()


# -------------------------------------------------------------------- the hash of the data


def test_the_data_hash_is_stable_and_tells_every_change_of_texts_and_annotation():
    whole = data_hash(SOURCE)
    assert whole == data_hash(iter(SOURCE)) and re.fullmatch(r"[0-9a-f]{16}", whole)
    assert whole == "71ab29bd8a4c563d"
    renamed = [{**r, "id": f"x{i}", "source": "elsewhere"} for i, r in enumerate(SOURCE)]
    assert data_hash(renamed) == whole

    def with_mention(**change):
        first, *rest = SOURCE[0]["mentions"]
        return [{**SOURCE[0], "mentions": [{**first, **change}, *rest]}, *SOURCE[1:]]

    assert with_mention() == SOURCE and data_hash(with_mention()) == whole
    changes = [
        with_mention(end=2),
        with_mention(types=["person"]),
        [{**SOURCE[0], "mentions": SOURCE[0]["mentions"][1:]}, *SOURCE[1:]],
        [{**SOURCE[0], "exhaustive": False}, *SOURCE[1:]],
        [{**SOURCE[0], "text": SOURCE[0]["text"] + " "}, *SOURCE[1:]],
        SOURCE[1:],
        SOURCE[::-1],
    ]
    assert len({whole, *map(data_hash, changes)}) == len(changes) + 1

"""Records: cut into windows, mixed, hashed."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from finener.training.records import count_unpredictable, cut_record, data_hash, mix_records
from finener.windows_finener import TextEncoder

import tiny
from runs import SOURCE, collate, record


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


# -------------------------------------------------------------------- what can't be predicted


def test_mentions_inside_words_and_words_that_the_tokenizer_removes_are_counted_and_listed(model, tokenizer):
    one = record("a", "pre[Fix|person]ed [Ann|artist] at [Oran|place]ge")
    found = count_unpredictable(
        [one, one, record("b", "[Bo|person] \u200b left")], TextEncoder(tokenizer, model.config)
    )
    assert (found.mentions, found.of, found.records, found.dropped_words) == (2, 4, 1, 1)
    assert found.examples == ("a: 'Fix' in …'preFixed Ann at '…", "a: 'Oran' in …'ed Ann at Orange'…")
    assert found.to_dict() == {"mentions": 2, "of": 4, "records": 1}
    assert "2 of 4 gold mentions begin or end inside a word" in str(found) and "removes 1 words" in str(found)
    assert str(count_unpredictable(SOURCE, TextEncoder(tokenizer, model.config))) == ""
    namesake = record("a", "[Bo|person] left")  # of a dev set that numbers its records anew
    assert count_unpredictable([one, namesake], TextEncoder(tokenizer, model.config)).of == 4

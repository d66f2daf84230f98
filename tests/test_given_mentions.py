"""Mentions that are given and not found: typed whole, in the order given."""

from __future__ import annotations

import pytest

from finener.modeling_finener import FinenerForTokenClassification
from finener.pipeline_finener import FinenerPipeline

import tiny
from texts import encoder_of, long_text


@pytest.fixture
def pipe(model, tokenizer) -> FinenerPipeline:
    return FinenerPipeline(model=model, tokenizer=tokenizer)


def test_given_mentions_come_back_with_their_offsets_in_their_order(pipe):
    text = "Frida Kahlo painted in Mexico City."
    given = [
        (23, 34),
        (0, 11),
        (6, 11),
        (0, 11),
        (2, 4),
        (22, 35),
        (13, 24),
    ]  # overlapping, doubled, inside a word, spaced
    found = pipe(text, mentions=given)
    assert [(m["start"], m["end"]) for m in found] == given
    assert [m["word"] for m in found] == [text[start:end] for start, end in given]
    assert found[1] == found[3] and all(m["types"] for m in found)


def test_a_given_mention_is_typed_as_when_it_was_found(pipe):
    for text in tiny.GOLD:
        found = pipe(text)
        given = pipe(text, mentions=[(m["start"], m["end"]) for m in found])
        assert [m["types"] for m in given] == [pytest.approx(m["types"], abs=1e-6) for m in found]
        assert [m["score"] for m in given] == [pytest.approx(m["score"], abs=1e-6) for m in found]


def test_given_mentions_of_a_long_text_are_each_typed_in_one_window(any_tokenizer):
    pipe = FinenerPipeline(
        model=tiny.tiny_model(any_tokenizer, window_words=8, window_overlap=3), tokenizer=any_tokenizer
    )
    text = long_text(60)
    words = encoder_of(any_tokenizer).encode(text).words
    given = [(words[i][0], words[min(i + 2, len(words) - 1)][1]) for i in range(len(words))]
    assert [(m["start"], m["end"]) for m in pipe(text, mentions=given)] == given


def test_given_mentions_of_several_texts_stay_with_their_texts(pipe):
    texts = list(tiny.GOLD) * 2
    given = [[(0, 5)], [], [(4, 6), (0, 2)], [(0, 6)], [], [], [(1, 3)], [(0, 1)]]
    for batch_size in (1, 3, 32):
        found = pipe(texts, mentions=given, batch_size=batch_size)
        assert [[(m["start"], m["end"]) for m in of_text] for of_text in found] == given


def test_no_given_mentions_mean_no_mentions(pipe):
    assert pipe(long_text(9), mentions=[]) == []
    assert pipe(list(tiny.GOLD), mentions=[[], [], [], []]) == [[], [], [], []]


@pytest.mark.parametrize("span", [(0, 9), (-1, 3), (3, 3), (5, 2), (9, 12)])
def test_a_given_mention_out_of_range_is_refused(pipe, span):
    with pytest.raises(
        ValueError, match=rf"mention \[{span[0]}, {span[1]}\) is out of range: expected 0 <= start < end <= 8"
    ):
        pipe("New York", mentions=[(0, 3), span])


@pytest.mark.parametrize(("text", "span"), [("New  York", (3, 5)), ("a \u0007 b", (2, 3)), (" ", (0, 1))])
def test_a_given_mention_without_a_word_is_refused(pipe, text, span):
    with pytest.raises(ValueError, match=r"holds no word that the tokenizer knows"):
        pipe(text, mentions=[span])


@pytest.mark.parametrize("given", [[[(0, 1)]], [[(0, 1)], [], [(0, 1)]], [[(0, 1)], None], [None, [(0, 1)]]])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_as_many_lists_of_mentions_as_texts_are_needed(pipe, given, batch_size):
    with pytest.raises(ValueError, match="mentions must hold one list of spans for each text"):
        pipe(["New York", "Mexico"], mentions=given, batch_size=batch_size)


def spans_read(model: FinenerForTokenClassification) -> list[tuple[int, int]]:
    """First word and one past the last of each mention that the model is given, as it goes on."""
    spans: list[tuple[int, int]] = []

    def note(module, args, given):
        spans.extend(tuple(span) for row in given["mention_spans"].tolist() for span in row if span[0] >= 0)

    model.register_forward_pre_hook(note, with_kwargs=True)
    return spans


@pytest.mark.parametrize("overlap", [0, 3])
@pytest.mark.parametrize("n_words", [2, 5, 8])
def test_a_mention_that_crosses_a_window_border_is_typed_whole(any_tokenizer, overlap, n_words):
    model = tiny.tiny_model(any_tokenizer, window_words=8, window_overlap=overlap)
    spans = spans_read(model)
    pipe = FinenerPipeline(model=model, tokenizer=any_tokenizer)
    text = " ".join("abcdefghijklmnopqrstuvwx")
    words = pipe.text_encoder.encode(text).words
    given = [(words[i][0], words[i + n_words - 1][1]) for i in range(len(words) - n_words + 1)][::-1]
    found = pipe(text, mentions=given)
    assert [(m["start"], m["end"]) for m in found] == given and all(m["types"] for m in found)
    assert [stop - first for first, stop in spans] == [n_words] * len(given)


def test_mentions_that_cross_a_border_do_not_change_how_others_are_typed(tokenizer):
    pipe = FinenerPipeline(model=tiny.tiny_model(tokenizer, window_words=8, window_overlap=2), tokenizer=tokenizer)
    text = " ".join("abcdefghijklmnopqrstuvwxyz")
    (alone,) = pipe(text, mentions=[(20, 23)])
    found = pipe(text, mentions=[(8, 21), (20, 23), (16, 29)])
    assert found[1]["types"] == pytest.approx(alone["types"], abs=1e-6)


def test_a_mention_with_more_words_than_a_window_is_refused_with_the_knob_that_helps(tokenizer):
    pipe = FinenerPipeline(model=tiny.tiny_model(tokenizer, window_words=8, window_overlap=0), tokenizer=tokenizer)
    text = " ".join("abcdefghijkl")
    with pytest.raises(
        ValueError, match=r"mention \[2, 19\) has 9 words: .* 8 words \(raise pipe.model.config.window_words"
    ):
        pipe(text, mentions=[(0, 3), (2, 19)])
    pipe.model.config.window_words = 9
    assert [(m["start"], m["end"]) for m in pipe(text, mentions=[(0, 3), (2, 19)])] == [(0, 3), (2, 19)]


def test_windows_without_a_given_mention_are_not_read(tokenizer):
    model = tiny.tiny_model(tokenizer, window_words=8, window_overlap=0)
    spans = spans_read(model)
    texts = [" ".join("abcdefghijklmnopqrstuvwxyz")] * 2
    found = FinenerPipeline(model=model, tokenizer=tokenizer)(texts, mentions=[[], [(48, 51)]], batch_size=1)
    assert [len(mentions) for mentions in found] == [0, 1] and len(spans) == 1

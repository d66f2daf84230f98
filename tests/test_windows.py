"""Windows of long texts, and the mentions of several windows as those of one text."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import torch
from tokenizers import normalizers

from finener import windows_finener
from finener.layers_finener import B, I
from finener.modeling_finener import FinenerForTokenClassification
from finener.pipeline_finener import FinenerPipeline
from finener.windows_finener import FoundMention, Window, batches_of_like_length, mentions_of_windows

import tiny
from texts import ODD_TEXTS, RANDOM_TEXTS, check, encoder_of, long_text, windows_of


def joined(windows: list[Window], found: list[list[FoundMention]], threshold: float = 0.0) -> list[FoundMention]:
    return list(mentions_of_windows(zip(windows, found, strict=True), threshold))


LIMITS = {"words": (7, 64), "sub-tokens": (50, 12), "both": (4, 20)}


@pytest.mark.parametrize("overlap", [0, 1, 3, 6])
@pytest.mark.parametrize("limits", LIMITS)
def test_every_word_of_a_long_text_is_in_the_middle_part_of_exactly_one_window(any_tokenizer, limits, overlap):
    words, tokens = LIMITS[limits]
    encoder = encoder_of(any_tokenizer, words, tokens)
    text = long_text(60) + " " + "x" * 90 + " 東京都 " + long_text(9, seed=1)
    every = encoder.encode(text).words
    windows = windows_of(encoder, text, overlap)
    assert len(windows) > 5
    assert all(1 <= len(w.words) <= words and len(w.input_ids) <= tokens for w in windows)
    assert all(w.words == tuple(every[w.first_word : w.first_word + len(w.words)]) for w in windows)
    found = [[FoundMention(start, end, 0.5, {"t": 0.5}) for start, end in w.words] for w in windows]
    assert [(m.start, m.end) for m in joined(windows, found)] == every


def test_neighbouring_windows_share_the_overlap_and_a_word_is_taken_where_more_is_around_it(tokenizer):
    windows = windows_of(encoder_of(tokenizer, words=10, tokens=64), "a " * 30, overlap=4)
    assert [(w.first_word, len(w.words)) for w in windows] == [(0, 10), (6, 10), (12, 10), (18, 10), (24, 6)]
    found = [[FoundMention(start, end, 0.5, {str(i): 1.0}) for start, end in w.words] for i, w in enumerate(windows)]
    source = [int(*m.types) for m in joined(windows, found)]
    assert source == [0] * 8 + [1] * 6 + [2] * 6 + [3] * 6 + [4] * 4


@pytest.mark.parametrize("limits", LIMITS)
def test_a_windows_sub_tokens_are_those_of_its_words(any_tokenizer, limits):
    encoder = encoder_of(any_tokenizer, *LIMITS[limits])
    text = long_text(60)
    ids = any_tokenizer(text, add_special_tokens=False)["input_ids"]
    encoded = encoder.encode(text)
    for window in encoder.windows(encoded, 2):
        inner = window.input_ids[1:-1]
        assert (window.input_ids[0], window.input_ids[-1]) == (any_tokenizer.cls_token_id, any_tokenizer.sep_token_id)
        first, last = encoded.pieces[window.first_word][0], encoded.pieces[window.first_word + len(window.words) - 1][1]
        assert list(inner) == ids[first : last + 1]
        assert [start - 1 + first for start in window.word_starts] == [
            encoded.pieces[window.first_word + i][0] for i in range(len(window.words))
        ]


@pytest.mark.parametrize("limits", LIMITS)
def test_a_window_ends_before_the_first_word_that_does_not_fit(any_tokenizer, limits):
    encoder = encoder_of(any_tokenizer, *LIMITS[limits])
    encoded = encoder.encode("Frida Kahlo painted in Mexico City. 東京都 " * 12 + "x" * 300 + " Mexico City.")
    for first in range(len(encoded.words)):
        stop = encoder.end_of_window(encoded, first)
        assert stop > first and encoder.fits(encoded, first, stop)
        assert stop == len(encoded.words) or not encoder.fits(encoded, first, stop + 1)


def test_a_word_longer_than_a_window_is_a_window_of_its_own(tokenizer):
    encoder = encoder_of(tokenizer, tokens=16)
    windows = windows_of(encoder, "a " + "x" * 50 + " b", overlap=1)
    longest = next(w for w in windows if len(w.words) == 1 and w.words[0] == (2, 52))
    assert len(longest.input_ids) == 16 and longest.word_starts == (1,)


def a_window(first_word: int, words: int) -> Window:
    places = range(first_word, first_word + words)
    return Window(tuple((2 * i, 2 * i + 1) for i in places), first_word, (), tuple(range(words)), ())


def test_a_mention_that_reaches_over_the_middle_hides_all_that_the_next_window_finds_inside_it():
    windows = [a_window(0, 20), a_window(4, 20)]  # the words 4 … 19 are in both, the middle is at word 12
    long = FoundMention(2 * 10, 2 * 19 + 1, 0.9, {"long": 1.0})
    short = [FoundMention(2 * i, 2 * i + 1, 0.5, {str(i): 1.0}) for i in range(12, 24)]
    kept = joined(windows, [[long], short])
    assert kept == [long, *short[8:]]


def mention(first: int, stop: int, score: float) -> FoundMention:
    return FoundMention(2 * first, 2 * stop - 1, score, {"t": score})


SEAM = [a_window(0, 20), a_window(4, 20)]  # the middle is at word 12


@pytest.mark.parametrize("weak_first", [True, False])
def test_a_mention_below_the_threshold_takes_no_other_ones_place(weak_first):
    weak, strong = mention(10, 14, 0.3), mention(12, 16, 0.9)
    if not weak_first:
        weak, strong = mention(12, 16, 0.3), mention(10, 14, 0.9)
    found = [[weak], [strong]] if weak_first else [[strong], [weak]]
    assert joined(SEAM, found, threshold=0.5) == [strong]


def test_of_mentions_that_overlap_at_a_seam_the_stronger_stays_wherever_it_begins():
    left, right = mention(9, 14, 0.6), mention(13, 16, 0.9)
    assert joined(SEAM, [[left], [right]]) == [right]
    left, right = mention(9, 14, 0.9), mention(13, 16, 0.6)
    assert joined(SEAM, [[left], [right]]) == [left]


def test_a_mention_that_each_window_begins_on_the_others_side_is_not_lost():
    left, right = mention(12, 14, 0.7), mention(11, 14, 0.9)
    assert joined(SEAM, [[left], [right]]) == [right]


@pytest.mark.parametrize("seed", range(30))
def test_no_mention_is_lost_but_to_a_stronger_one_that_stays(seed):
    rng = random.Random(seed)
    windows = [a_window(0, 20), a_window(8, 20), a_window(16, 20)]
    found = []
    for window in windows:
        edges = sorted(rng.sample(range(window.first_word, window.first_word + 21), 12))
        found.append([mention(a, b, rng.random()) for a, b in zip(edges[::2], edges[1::2], strict=True)])
    threshold = rng.random() / 2
    kept = joined(windows, found, threshold)
    assert kept == sorted(kept, key=lambda m: m.start)
    assert all(a.end <= b.start for a, b in pairwise(kept))
    middles = [(0, 2 * 14), (2 * 14, 2 * 22), (2 * 22, 2 * 36)]
    for (low, high), mentions in zip(middles, found, strict=True):
        for m in mentions:
            if m.score >= threshold and low <= m.start and m.end <= high and m not in kept:
                assert any(k.start < m.end and k.end > m.start and k.score > m.score for k in kept)


@pytest.mark.parametrize("seed", range(30))
def test_mentions_are_joined_while_windows_come_as_when_all_are_there(seed):
    rng = random.Random(seed)
    firsts = [0]
    while len(firsts) < 40:
        firsts.append(firsts[-1] + rng.choice([1, 4, 10, 19, 20]))
    windows = [a_window(first, 20) for first in firsts]
    found = []
    for window in windows:
        n_edges = rng.choice([2, 8, 16])
        edges = sorted(rng.sample(range(window.first_word, window.first_word + 21), n_edges))
        scores = rng.choices([0.2, 0.5, 0.9], k=len(edges) // 2)  # many are equally strong
        found.append([mention(*place) for place in zip(edges[::2], edges[1::2], scores, strict=True)])
    seams = [2 * ((a.first_word + 20 + b.first_word) // 2) for a, b in pairwise(windows)]
    middles = zip([0, *seams], [*seams, 10**6], found, strict=True)
    reaching = [m for low, high, of_window in middles for m in of_window if m.start < high and m.end > low]
    kept: list[FoundMention] = []
    for m in sorted(reaching, key=lambda m: -m.score):
        if all(m.end <= k.start or k.end <= m.start for k in kept):
            kept.append(m)
    assert joined(windows, found) == sorted(kept, key=lambda m: m.start)


def test_a_mention_is_given_as_soon_as_no_later_window_can_touch_it():
    windows = [a_window(first, 20) for first in range(0, 160, 16)]
    asked = []

    def rows() -> Iterator[tuple[Window, list[FoundMention]]]:
        for window in windows:
            asked.append(window)
            yield window, [mention(window.first_word + 5, window.first_word + 7, 0.5)]

    behind = [len(asked) - i for i, _ in enumerate(mentions_of_windows(rows()))]
    assert len(behind) == 10 and max(behind) == 2


def test_mentions_that_each_overlap_the_next_do_not_wait_for_the_last():
    windows = [a_window(first, 20) for first in range(0, 4800, 16)]
    found = [[mention(w.first_word, w.first_word + 20, 0.5 + 0.4 * (i % 3 == 1))] for i, w in enumerate(windows)]
    behind = -1

    def rows() -> Iterator[tuple[Window, list[FoundMention]]]:
        nonlocal behind
        for row in zip(windows, found, strict=True):
            behind += 1
            yield row

    waits = [behind - 3 * i for i, _ in enumerate(mentions_of_windows(rows()))]
    assert len(waits) == 100 and max(waits) == 3


def test_batches_hold_as_many_as_there_may_be_and_no_more_sub_tokens_than_fit():
    sizes = {"a": 3, "b": 10, "c": 4, "d": 30, "e": 0, "f": 4}
    assert list(batches_of_like_length(sizes, 2, 100)) == [["d", "b"], ["c", "f"], ["a", "e"]]
    assert list(batches_of_like_length(sizes, 9, 12)) == [["d"], ["b"], ["c", "f", "a"], ["e"]]
    assert list(batches_of_like_length({}, 9, 12)) == []


@pytest.mark.parametrize("limits", LIMITS)
def test_a_text_read_in_parts_has_the_windows_of_the_whole(any_tokenizer, limits, monkeypatch):
    monkeypatch.setattr(windows_finener, "PART_CHARACTERS", 30)
    encoder = encoder_of(any_tokenizer, *LIMITS[limits])
    texts = [*ODD_TEXTS.values(), *RANDOM_TEXTS, "", "  ", "x" * 90, "a  b\n\nc [MASK] d <mask> e. F " * 9]
    texts += [
        long_text(200),
        " ".join(texts),
        "\n".join(texts),
        long_text(60).replace(" ", "\n"),
        long_text(60).replace(" ", "\t"),
    ]
    for text in texts:
        assert list(encoder.read(text, 3)) == encoder.windows(encoder.encode(text), 3)
    assert len(list(encoder._parts(long_text(200)))) > 20


def test_a_tokenizer_that_looks_across_blanks_reads_a_text_whole():
    tokenizer = tiny.unigram_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Prepend("x")  # to each text that it is given
    assert len(list(encoder_of(tokenizer)._parts(long_text(20_000)))) == 1
    assert len(list(encoder_of(tiny.unigram_tokenizer())._parts(long_text(20_000)))) == 2


@pytest.mark.parametrize("finds", [True, False])
def test_memory_grows_with_the_answer_alone(model, tokenizer, monkeypatch, finds):
    monkeypatch.setattr(windows_finener, "PART_CHARACTERS", 2**10)
    monkeypatch.setattr(windows_finener, "READ_AHEAD_TOKENS", 2**9)
    with torch.no_grad():
        model.tagger.bias[B] = 1.0 if finds else -100.0
    pipe = FinenerPipeline(model=model, tokenizer=tokenizer)

    def beside_answer(n_words: int) -> int:
        """The most bytes that were held at once, less those of the answer."""
        text = long_text(n_words)
        tracemalloc.start()
        answer = pipe(text, batch_size=16)
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (len(answer) > n_words / 50) == finds
        return peak - kept

    beside_answer(500)  # caches fill
    growth = beside_answer(4_000) - beside_answer(500)
    assert growth < 3_500 * 100  # bytes; the words, sub-tokens and windows of the whole text are several times as much


@pytest.mark.parametrize("limits", LIMITS)
def test_a_window_around_a_mention_is_full_and_has_it_in_its_middle(any_tokenizer, limits):
    encoder = encoder_of(any_tokenizer, *LIMITS[limits])
    encoded = encoder.encode(long_text(60))
    n_words = len(encoded.words)
    for first in range(n_words):
        stop = min(first + 2, n_words)
        if not encoder.fits(encoded, first, stop):
            with pytest.raises(ValueError, match="has 2 words"):
                encoder.window_around(encoded, first, stop)
            continue
        window = encoder.window_around(encoded, first, stop)
        begin, end = window.first_word, window.first_word + len(window.words)
        assert begin <= first < stop <= end
        assert encoder.fits(encoded, begin, end)
        assert end == n_words or not encoder.fits(encoded, begin, end + 1)
        if limits == "words":
            assert end - begin == 7
        if limits == "words" and 4 <= first <= n_words - 6:
            assert (first - begin, end - stop) in {(2, 3), (3, 2)}


def word_local_model(tokenizer, **knobs) -> FinenerForTokenClassification:
    """A model in which only the CRF looks at neighbouring words, so that a window's place does not matter."""
    tokenizer.model_max_length = 512
    encoder = tiny.encoder_config(tokenizer)
    encoder.max_position_embeddings = 512
    model = tiny.tiny_model(tokenizer, encoder_config=encoder, encoder_layers=(0,), lstm_layers=1, **knobs)
    with torch.no_grad():
        model.encoder.embeddings.position_embeddings.weight.zero_()
        for name, parameter in model.lstm.named_parameters():
            if "weight_hh" in name:
                parameter.zero_()
            if "bias_ih" in name:
                parameter[8:16] = -1e4  # the forget gate
        for scores in model.crf.parameters():
            scores.zero_()
        model.crf.transitions[I, I] = -6.0  # short mentions
    return model


@pytest.mark.parametrize(("words", "overlap", "tokens"), [(24, 12, 512), (30, 16, 512), (100, 24, 80)])
@pytest.mark.parametrize("build", tiny.TOKENIZERS.values(), ids=tiny.TOKENIZERS)
def test_mentions_do_not_depend_on_where_windows_fall(build: Callable, words, overlap, tokens):
    tokenizer = build()
    whole = FinenerPipeline(
        model=word_local_model(tokenizer, window_words=500, window_overlap=0, use_word_shape=True), tokenizer=tokenizer
    )
    text = long_text(85)
    assert len(windows_of(whole.text_encoder, text, 0)) == 1
    expected = whole(text)
    assert check(text, expected) > 15
    whole.model.config.window_words, whole.model.config.window_overlap = words, overlap
    tokenizer.model_max_length = tokens
    parts = FinenerPipeline(model=whole.model, tokenizer=tokenizer)
    assert len(windows_of(parts.text_encoder, text, overlap)) > 3
    found = parts(text)
    assert [(m["start"], m["end"], m["entity_group"]) for m in found] == [
        (m["start"], m["end"], m["entity_group"]) for m in expected
    ]
    for a, b in zip(found, expected, strict=True):
        assert a["score"] == pytest.approx(b["score"], abs=2e-3)  # a marginal, which feels the edge a little
        assert a["types"] == pytest.approx(b["types"], abs=1e-5)

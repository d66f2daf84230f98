"""Words, their shapes and sub-tokens."""

from __future__ import annotations

import pytest

from finener.windows_finener import HALF_PAIRS, TextEncoder
from finener.words_finener import split_words, word_shape

import tiny
from texts import ODD_TEXTS, RANDOM_TEXTS, encoder_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \n\t\u3000", []),
        ("New York's", ["New", "York", "'", "s"]),
        ("U.S. (A)", ["U", ".", "S", ".", "(", "A", ")"]),
        ("東京 Tokyoと京", ["東", "京", "Tokyo", "と", "京"]),
        ("x東y", ["x", "東", "y"]),
        ("\U00020bb7野家", ["\U00020bb7", "野", "家"]),
        ("Cafe\u0301 olé", ["Cafe\u0301", "olé"]),
        ("한글 text", ["한글", "text"]),
        ("a\u001cb\u001f \u001d", ["a", "b"]),
    ],
)
def test_words_end_at_white_space_punctuation_and_around_each_cjk_character(text, words):
    assert [text[start:end] for start, end in split_words(text)] == words


SHAPE_NAMES = (
    "capitalised all_caps single_capital mixed lower digits letters_and_digits no_letter punctuation not_ascii"
)


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("Paris", "capitalised"),
        ("NATO", "all_caps"),
        ("A", "single_capital"),
        ("McDonald", "capitalised mixed"),
        ("eBay", "mixed"),
        ("house", "lower"),
        ("2019", "digits"),
        ("B52", "all_caps letters_and_digits"),
        ("x1", "lower letters_and_digits"),
        (".", "no_letter punctuation"),
        ("—", "no_letter not_ascii"),
        ("École", "capitalised not_ascii"),
        ("東", "not_ascii"),
    ],
)
def test_word_shapes_by_hand(word, shape):
    names = SHAPE_NAMES.split()
    assert len(word_shape(word)) == len(names)
    assert {name for name, value in zip(names, word_shape(word), strict=True) if value} == set(shape.split())


def test_each_word_starts_at_the_first_sub_token_that_overlaps_it(any_tokenizer):
    encoder = encoder_of(any_tokenizer)
    for text in [*RANDOM_TEXTS, *ODD_TEXTS.values(), *tiny.GOLD]:
        encoded, text = encoder.encode(text), HALF_PAIRS.sub("\ufffd", text)
        offsets = any_tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        overlapping = {
            (start, end): [i for i, (s, e) in enumerate(offsets) if s < end and e > start and e > s]
            for start, end in split_words(text)
        }
        found = {word: pieces for word, pieces in overlapping.items() if pieces}
        assert encoded.words == list(found)
        assert encoded.dropped_words == len(overlapping) - len(found)
        assert [first for first, _ in encoded.pieces] == [pieces[0] for pieces in found.values()]
        assert [last for _, last in encoded.pieces] >= [pieces[-1] for pieces in found.values()]


def test_words_that_the_tokenizer_removes_are_dropped_and_counted(tokenizer):
    encoded = encoder_of(tokenizer).encode("a \u0007 b \ufffd\u0000 c")
    assert (encoded.words, encoded.dropped_words) == ([(0, 1), (4, 5), (9, 10)], 2)


def test_a_slow_tokenizer_is_refused(model):
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match=r"needs a fast tokenizer .* got Slow"):
        TextEncoder(Slow(), model.config)

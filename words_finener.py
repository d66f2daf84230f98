"""The words of a text, and what an encoder that lower-cases can't see of them. Offsets are Python code points, half-open."""

from __future__ import annotations

from functools import lru_cache

from tokenizers.pre_tokenizers import BertPreTokenizer

SHAPE_FEATURES = 10  # F: see word_shape

_PRE_TOKENIZER = BertPreTokenizer()
# Blocks whose characters are words of their own: CJK ideographs and their extensions, kana, and compatibility forms.
_CJK = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3134F))


def is_cjk(character: str) -> bool:
    """Whether a character is of Chinese or Japanese text, where each is a word of its own."""
    return any(low <= ord(character) <= high for low, high in _CJK)


def split_words(text: str) -> list[tuple[int, int]]:
    """Words of a text as [start, end): runs between white space and punctuation; a CJK character is a word of its own."""
    words: list[tuple[int, int]] = []
    for piece, (start, end) in _PRE_TOKENIZER.pre_tokenize_str(text):
        if piece.split() == [piece] and (piece.isascii() or not any(map(is_cjk, piece))):
            words.append((start, end))
            continue
        run = start
        for at in range(start, end):
            alone, gap = is_cjk(text[at]), text[at].isspace()  # U+001C … U+001F are spaces to Python alone
            if alone or gap:
                words += [(run, at)] * (run < at) + [(at, at + 1)] * alone
                run = at + 1
        words += [(run, end)] * (run < end)
    return words


@lru_cache(maxsize=2**16)
def word_shape(word: str) -> tuple[float, ...]:
    """What a lower-casing encoder cannot see of a word: F features of 0 or 1."""
    first_upper, has_letter = word[0].isupper(), any(c.isalpha() for c in word)
    has_upper, has_lower = any(c.isupper() for c in word), any(c.islower() for c in word)
    features = (
        first_upper and has_lower,  # Capitalised
        has_upper and not has_lower and len(word) > 1,  # ALLCAPS
        first_upper and len(word) == 1,  # A
        has_upper and has_lower and any(c.isupper() for c in word[1:]),  # McDonald
        has_lower and not has_upper,  # lower
        word.isdigit(),  # 2019
        has_letter and any(c.isdigit() for c in word),  # B52
        not has_letter and not any(c.isdigit() for c in word),  # punctuation
        word in ".!?:;\"'“”‘’()[]",
        any(ord(c) > 127 for c in word),
    )
    return _as_floats(features)


@lru_cache
def _as_floats(features: tuple[bool, ...]) -> tuple[float, ...]:
    """One tuple for all words of a shape."""
    return tuple(map(float, features))

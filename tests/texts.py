"""Texts of every kind, what holds for the mentions of each, and windows of them."""

from __future__ import annotations

import random

from finener.configuration_finener import FinenerConfig
from finener.windows_finener import TextEncoder, Window

import tiny

# Blocks that random texts are drawn from: what splits words, joins characters or disappears in a tokenizer among them.
BLOCKS = (
    "abcdefgXYZ019",
    " \t\n\r\u00a0\u2003\u3000",
    ".,;:!?'\"()[]-–—…“”„%&/\\",
    "äöüßéñçøÅŁİıſΑωЖяאبहไ",
    "e\u0301o\u0308\u0323\u20dd\u0e34\u094d",
    "東京都市山川ひらがなカタカナ한글\U00020bb7\uf900",
    "😀👍🏽👩\u200d👩\u200d👧🇫🇷\u2764\ufe0f",
    "\u200b\u200c\u200d\u200e\u202e\ufeff\u00ad\u0000\u0007\u001f\ufffd\ue000",
    "ﬁﬀ①²½Ⅷ㎏ｱＡ",
)


def random_text(rng: random.Random) -> str:
    runs = (rng.choices(rng.choice(BLOCKS), k=rng.randint(1, 6)) for _ in range(rng.randint(0, 12)))
    return "".join(rng.choice(["", "", " "]) + "".join(run) for run in runs)


RANDOM_TEXTS = [random_text(random.Random(seed)) for seed in range(100)]
ODD_TEXTS = {
    "emoji": "I ❤️ New York 👩‍👩‍👧 and 🇫🇷Paris🇫🇷!",
    "CJK": "東京都庁は新宿にあります。Tokyoと京都",
    "combining marks": "Cafe\u0301 Noe\u0308l in Sa\u0303o Paulo, ก\u0e34น",
    "controls": "a\u0000b \u200b \u00ad New\u00a0York\ufeff",
    "ligatures": "The ﬁne oﬃce of №5 … ㎏ ½",
    "half surrogate pairs": "New \ud83d York\udc00 x \ud83d\ude00 the",
    "white space": "\n\t New \r\n York \u3000",
}
WORDS = [
    "the",
    "museum",
    "of",
    "New",
    "York,",
    "in",
    "1518;",
    "by",
    "Frida",
    "Kahlo's",
    "(U.S.)",
    "city!",
    "portrait",
    "é",
]


def long_text(n_words: int, seed: int = 0) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=n_words))


def check(text: str, mentions: list[dict]) -> int:
    """What holds for the mentions of any text; their number."""
    end = 0
    for mention in mentions:
        assert set(mention) == {"entity_group", "label", "score", "word", "start", "end", "types", "labels"}
        assert text[mention["start"] : mention["end"]] == mention["word"] != ""
        assert mention["word"] == mention["word"].strip()
        assert mention["start"] >= end, "in order, without overlaps"
        end = mention["end"]
        assert 0.0 <= mention["score"] <= 1.0
        assert all(0.0 <= score <= 1.0 for score in mention["types"].values())
        assert mention["entity_group"] in mention["types"]
    return len(mentions)


def encoder_of(tokenizer, words: int = 128, tokens: int = tiny.MAX_TOKENS) -> TextEncoder:
    encoder = tiny.encoder_config(tokenizer)
    encoder.max_position_embeddings = tokens
    return TextEncoder(tokenizer, FinenerConfig(encoder, window_words=words, window_overlap=0))


def windows_of(encoder: TextEncoder, text: str, overlap: int) -> list[Window]:
    return encoder.windows(encoder.encode(text), overlap)

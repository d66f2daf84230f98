"""The tokenizer of a stock model, which must tell capitals from small letters.

The full model sees capitals in the shapes of words, whatever its encoder's tokenizer does; a stock model has sub-tokens alone.
"""

from __future__ import annotations

import copy
import json
from itertools import count
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

SPECIAL = tuple(f"{name}_token" for name in ("pad", "unk", "cls", "sep", "mask", "bos", "eos"))

IN_A_WORD = r"(?<=[^\s\p{P}$+<=>^`|~])"  # after what BERT does not cut at


def stock_tokenizer(
    tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> tuple[PreTrainedTokenizerBase, dict[int, int]]:
    """The encoder's own tokenizer or, where that is a lower-casing WordPiece, one that also knows each word's beginning in a capital.

    "Ada" becomes the twin of "ada"; of other capitals nothing is told: "NATO" is read as "Nato".

    Args:
        tokenizer: a fast one; stays as it is.
        max_tokens: that the encoder reads at a time.

    Returns:
        The tokenizer, and each twin's id with that of its sub-token in small letters.
    """
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    normalizer = content["normalizer"] or {}
    if (
        content["model"]["type"] == "WordPiece"
        and normalizer.get("type") == "BertNormalizer"
        and normalizer["lowercase"]
    ):
        made, twins = _with_capitals(tokenizer, content)
    else:
        made, twins = copy.deepcopy(tokenizer), {}
    made.model_max_length = max_tokens
    return made, twins


def _with_capitals(
    tokenizer: PreTrainedTokenizerBase, content: dict[str, Any]
) -> tuple[PreTrainedTokenizerFast, dict[int, int]]:
    vocabulary: dict[str, int] = content["model"]["vocab"]
    added = {token["content"]: token["id"] for token in content["added_tokens"]}
    words = [word for word in vocabulary if word not in added and _has_capital(word[:1])]
    letters = sorted({letter for word in vocabulary for letter in word if _has_capital(letter)})
    following, twins = count(1 + max([*vocabulary.values(), *added.values()])), {}
    for word in words:
        capital = word[0].upper() + word[1:]
        if capital not in vocabulary:
            vocabulary[capital] = next(following)
        twins[vocabulary[capital]] = vocabulary[word]
    own = content["normalizer"]
    own |= {
        "lowercase": False,
        "strip_accents": own["strip_accents"] is not False,
    }  # by default accents go with capitals
    small = [
        {"type": "Replace", "pattern": {"Regex": f"{IN_A_WORD}{letter.upper()}"}, "content": letter}
        for letter in letters
    ]
    content["normalizer"] = {"type": "Sequence", "normalizers": [own, *small]}
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        padding_side=tokenizer.padding_side,
        model_input_names=tokenizer.model_input_names,
        **{name: value for name in SPECIAL if (value := getattr(tokenizer, name)) is not None},
    )
    return made, twins


def _has_capital(letter: str) -> bool:
    """Whether it is a small letter with one capital, whose small letter it is."""
    return letter.upper() != letter == letter.upper().lower() and len(letter.upper()) == 1

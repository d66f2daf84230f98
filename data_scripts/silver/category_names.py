"""What a Wikipedia category's name says of its members: its plural head noun, in the singular."""

from __future__ import annotations

import re
from collections.abc import Container
from functools import lru_cache

from finener.data_scripts.silver.lexicon import word_set

# The head noun of a category name stands before the first of these: "Rivers *of* France", "Places *established* in 1850".
_AFTER_HEAD = word_set(
    "about as associated at awarded based between born buried built by completed convicted designed disestablished educated "
    "established executed featuring for founded from held in introduced involving killed made named near of on opened produced "
    "related released set that to under using who with won"
)


@lru_cache(maxsize=100_000)
def singular(noun: str) -> str:
    """The singular of a plural noun, "" when the word is no plural: "cities" → "city", "physics" → ""."""
    if not re.fullmatch(r"[a-z]+(-[a-z]+)*", noun):
        return ""
    return _english().singular_noun(noun) or ""


@lru_cache(maxsize=1)
def _english():
    import inflect  # takes seconds: only where it is needed

    return inflect.engine()


def category_head(category: str, nouns: Container[str]) -> str:
    """The head noun of a plural category name, with as many of its modifiers as ``nouns`` knows.

    "Association football clubs in Paris" → "football club"; "" for a name without a plural head, such as "History of Paris".
    The method is that of YAGO (Suchanek et al. 2007): only a plural head says what the category's members *are*.
    """
    words = re.sub(r"\s*\(.*?\)", "", category).split()
    end = next((i for i, word in enumerate(words) if i and word.lower() in _AFTER_HEAD), len(words))
    head = singular(words[end - 1].lower()) if words[:end] else ""
    if not head:
        return ""
    for first in range(max(0, end - 3), end):
        phrase = " ".join([*(w.lower() for w in words[first : end - 1]), head])
        if phrase in nouns:
            return phrase
    return ""

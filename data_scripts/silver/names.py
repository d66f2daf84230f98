"""Finding names in running text: links that are names, and later or unlinked occurrences of known names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from finener.data_scripts.silver.lexicon import word_set
from finener.data_scripts.silver.wikitext import Link, Passage

Types = tuple[str, ...]

_WORD = re.compile(r"[^\W_]+")
_POSSESSIVE = re.compile(r"['’]s?$")
_BRACKET = re.compile(r"(?<=\w) \([^()]*\)$")  # "Outside the Law (2010)"
# Before a person's name these belong to no longer name: "President Lincoln".
_HONORIFICS = word_set(
    "Admiral Archbishop Baron Bishop Brother Captain Cardinal Chancellor Colonel Count Dr Emperor Empress General Governor "
    "Judge Justice King Lady Lieutenant Lord Major Miss Mr Mrs Ms Pope President Prince Princess Professor Queen Saint Senator "
    "Sir St"
)
# "Parts of France": capitalised by their place, and no name begins with them.
_QUANTITIES = word_set(
    "All Any Because Both Each Inside Instead Many Most Much None One Out Outside Part Parts Some Two"
)
_OPENING = "\"'“”‘«([{—"
_ADJECTIVE = re.compile(r"(?:ian|ean|ese|ish|ic|ite|can|tine|man|enic|iot|[aeiou]n)s?$")
# "Coosa" for the Coosa River, "Princeton" for Princeton University.
_DROPPABLE = word_set("County Desert Hotel Island Islands Mountains Ocean College River Sea Theatre University")


class Name(NamedTuple):
    """A mention to be: ``text[start:end]`` of its sentence."""

    start: int
    end: int
    types: Types
    origin: str
    article: str = ""  # the title of the article that it names, where a link tells it


def inner_words(text: str) -> list[str]:
    """The words of a sentence but the first, which has its capital from its place."""
    return _WORD.findall(text)[1:]


class WordCounts:
    """How often each word is written in lower case, and with a capital inside a sentence.

    Args:
        counts: how often each of the :func:`inner_words` stands in the texts at hand.
    """

    def __init__(self, counts: Mapping[str, int]):
        self.counts = counts

    def _lower(self, word: str) -> int:
        word = word.lower()
        return self.counts.get(word, 0) if word[0].islower() else 0

    def _capital(self, word: str) -> int:
        return self.counts.get(word, 0) if word[0].isupper() else 0

    def is_name(self, word: str) -> bool:
        """Whether a capitalised word is a name rather than a common noun: written with a capital at least as often."""
        return all(self._lower(part) <= self._capital(part) for part in _WORD.findall(word))

    def is_always_name(self, word: str) -> bool:
        """Whether a word is hardly ever written in lower case, and does occur with its capital inside a sentence."""
        return 0 < self._capital(word) >= 20 * self._lower(word)

    def is_plain(self, word: str) -> bool:
        """Whether a word that begins a sentence has its capital only from there."""
        return self._lower(word) > self._capital(word)


def words_of(name: str) -> list[str]:
    """The words of a name, without its marks: "St. Paul's" → ["St", "Paul", "s"]."""
    return _WORD.findall(name)


# ---------------------------------------------------------------- links


def name_of_link(text: str, link: Link, title: str, aliases: Iterable[str], *, is_place: bool) -> tuple[int, int] | str:
    """The span of a link's anchor that names its target, or why there is none.

    Args:
        text: the sentence.
        link: the link; its anchor may be an adjective ("French"), a description, or a name with a possessive.
        title: the title of the target, redirects resolved.
        aliases: other names of the target.
        is_place: whether the target is a place: "Portugal" names the Kingdom of Portugal, "Shiloh" not the Battle of Shiloh.

    Returns:
        (start, end) in the sentence, or a reason in a few words.
    """
    start, end = link.start, link.end
    base = title.split(" (")[0]
    possessive = _POSSESSIVE.search(text[start:end])
    if possessive and not _POSSESSIVE.search(base):
        end -= len(possessive.group())
    if bracket := _BRACKET.search(text[start:end]):
        end -= len(bracket.group())
    if re.match(r"[Tt]he (?=[A-Z])", text[start:end]) and not base.startswith("The "):
        start += len("the ")
    anchor = text[start:end]
    if not anchor[:1].isupper():
        return "anchor not capitalised"
    known = {base, title, base.split(",")[0], *aliases}
    if anchor in known or anchor.rstrip(".") in known or _is_acronym(anchor, base):
        return start, end
    if any(word[0].islower() and len(word) > 3 for word in anchor.split()):
        return "anchor is a description"
    if not is_place and anchor in base.partition(" of ")[2]:
        return "anchor is a part of the name or an adjective"
    if " " not in anchor:
        return (start, end) if _is_short_form(anchor, base, known) else "anchor is a part of the name or an adjective"
    lexicon = {word for name in known for word in words_of(name) if word[0].isupper()}
    shared = sum(len(word) for word in words_of(anchor) if word in lexicon)
    return (start, end) if 2 * shared >= sum(map(len, words_of(anchor))) else "anchor is another name"


def _is_acronym(anchor: str, title: str) -> bool:
    initials = "".join(word[0] for word in words_of(title) if word[0].isupper())
    return len(initials) > 1 and re.sub(r"\W", "", anchor) == initials


def _is_short_form(anchor: str, title: str, known: set[str]) -> bool:
    """A surname, or a name whose common noun was left out."""
    if _ADJECTIVE.search(anchor):
        return False
    words = title.split()
    return any(name.endswith(f" {anchor}") for name in known) or (
        len(words) == 2 and words[0] == anchor and words[1] in _DROPPABLE
    )


# ---------------------------------------------------------------- known names


class NameTable:
    """Names and their types, to be looked for in texts."""

    def __init__(self, names: Mapping[str, Types]):
        self.names: dict[str, Types] = {}
        # first word, or first two words → how many words the longest name has that begins with them
        self.longest: dict[str | tuple[str, str], int] = {}
        self.firsts: set[str] = set()
        for name, types in names.items():
            self.add(name, types)

    def add(self, name: str, types: Types) -> None:
        """Puts a name in, or gives it other types."""
        self.names[name] = types
        words = _WORD.findall(name)
        if words:
            key = (words[0], words[1]) if words[1:] else words[0]
            self.longest[key] = max(len(words), self.longest.get(key, 0))
            self.firsts.add(words[0])


class NameFinder:
    """Finds known names in sentences, the longest first, and tells which are parts of longer names.

    Args:
        counts: the words of the texts at hand.
        is_person: whether types are those of a person: what may stand beside a person's name is another matter.
    """

    def __init__(self, counts: WordCounts, is_person: Callable[[Types], bool]):
        self.counts = counts
        self.is_person = is_person

    def candidates(
        self, sentence: Passage, blocked: list[tuple[int, int]], tables: list[tuple[str, NameTable]]
    ) -> Iterator[tuple[Name, bool]]:
        """Occurrences of names, left to right, without overlaps.

        Args:
            sentence: the text.
            blocked: spans that no name may touch.
            tables: (origin, names); for one surface, the earlier table counts.

        Yields:
            The name, and whether it stands alone: False for one that is a part of a longer name, which is no mention.
        """
        starts = self._starts(_WORD.findall(sentence.text), [table for _, table in tables])
        if not starts:
            return
        words = _Words(sentence.text)
        beyond = 0  # the word after the last name found
        for i, limit in starts:
            found = _longest(words, i, limit, tables) if i >= beyond else None
            if found is None or any(found[0].start < end and start < found[0].end for start, end in blocked):
                continue
            name, beyond = found
            is_person = self.is_person(name.types)
            yield name, self._begins_here(words, i, is_person) and _ends_here(words, beyond, name.end, is_person)

    @staticmethod
    def _starts(words: list[str], tables: list[NameTable]) -> list[tuple[int, int]]:
        """Where a name may begin, and of how many words at most: a cheap look that finds nothing at most words."""
        starts: dict[int, int] = {}
        for table in tables:
            if table.firsts.isdisjoint(words):
                continue
            for i, word in enumerate(words):
                if word in table.firsts and word[0].isupper():
                    pair = (word, words[i + 1]) if i + 1 < len(words) else word
                    limit = table.longest.get(pair, 0) or table.longest.get(word, 0)
                    if limit:
                        starts[i] = max(limit, starts.get(i, 0))
        return sorted(starts.items())

    def _begins_here(self, words: _Words, i: int, is_person: bool) -> bool:
        start = words.spans[i][0]
        if start and not (words.text[start - 1].isspace() or words.text[start - 1] in _OPENING):
            return False
        if i == 0:
            return True
        before, gap = words[i - 1], words.gap(i - 1)
        if before[0].isupper() and gap in (" ", ". "):
            if is_person and before in _HONORIFICS:
                return True
            if gap == ". ":
                return len(before) > 3  # else an initial or an abbreviation, which belongs to the name
            return i == 1 and self.counts.is_plain(before)
        return not (
            gap == " " and before in ("of", "de", "for", "the", "al", "von", "van") and _is_complement(words, i - 1)
        )


class _Words:
    """A text's words and their spans."""

    def __init__(self, text: str):
        self.text = text
        self.spans = [match.span() for match in _WORD.finditer(text)]

    def __getitem__(self, i: int) -> str:
        start, end = self.spans[i]
        return self.text[start:end]

    def gap(self, i: int) -> str:
        """What stands between the word ``i`` and the next."""
        return self.text[self.spans[i][1] : self.spans[i + 1][0]]


def _longest(words: _Words, i: int, limit: int, tables: list[tuple[str, NameTable]]) -> tuple[Name, int] | None:
    """The longest known name of ``limit`` words that begins at the word ``i``, and the index of the word after it."""
    text, start = words.text, words.spans[i][0]
    for j in range(min(i + limit, len(words.spans)), i, -1):
        end = words.spans[j - 1][1]
        for stop in (end + 1, end) if text[end : end + 1] == "." else (end,):  # "Washington, D.C."
            for origin, table in tables:
                if text[start:stop] in table.names:
                    return Name(start, stop, table.names[text[start:stop]], origin), j
    return None


def _ends_here(words: _Words, j: int, end: int, is_person: bool) -> bool:
    """Whether no longer name goes on at the word ``j``."""
    if j == len(words.spans):
        return True
    gap, following = words.text[end : words.spans[j][0]], words.text[words.spans[j][0] :]
    if gap == " " and (following[0].isupper() or following[0].isdigit()):
        return False
    if gap in ("-", "–", "/", ".", "&", "_") or (gap in (" & ", " – ", " - ") and following[0].isupper()):
        return False
    return not (is_person and gap == " " and re.match(r"(?:of|the|of the|de|von|van) [A-Z]", following))


def _is_complement(words: _Words, i: int) -> bool:
    """Whether the small words up to ``i`` hang what follows on a name: "Battle of the", but not "all of" or "in the"."""
    k = i
    while k >= 0 and words[k] in ("of", "the", "de", "la", "for", "al", "von", "van"):
        k -= 1
    if k < 0 or (words[i] == "the" and k == i - 1) or words.gap(k) != " ":
        return False
    return words[k][0].isupper() and not (k == 0 and words[k] in _QUANTITIES)

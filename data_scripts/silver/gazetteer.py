"""Which names of the gazetteer may be marked where nothing links them: those that mean one thing, as far as one can tell."""

from __future__ import annotations

from collections import Counter

from finener.data_scripts.silver.lexicon import LOWER_IN_NAMES, PROMINENCE_OF_OTHERS, word_set
from finener.data_scripts.silver.names import Types, WordCounts, words_of
from finener.data_scripts.silver.titles import Lookup, Sense, TitleTyper

_ADMINISTRATIVE = "AdministrativeDistrict108491826"
_MONTHS = word_set("January February March April May June July August September October November December")
_BIBLE_BOOK = "Book106394865"  # "Mark", "Acts", "Numbers"


class UnlinkedNames:
    """Decides name by name.

    Args:
        typer: senses and kinds.
        counts: the words of the texts at hand.
        anchors: name → how often a link with that anchor leads to each title, redirects resolved; of titles as frequent, the
            first counts.
    """

    def __init__(self, typer: TitleTyper, counts: WordCounts, anchors: Lookup[Counter[str]]):
        self.typer = typer
        self.counts = counts
        self.anchors = anchors

    def table(self) -> dict[str, Types]:
        """Name → types, for the names that may be marked."""
        return {name: types for name in self.typer.gazetteer if (types := self.types(name))}

    def types(self, name: str) -> Types:
        """The types that an unlinked name has, () for one that may not be marked."""
        words = words_of(name)
        if len("".join(words)) < 2 or not name[0].isupper():
            return ()
        if any(word[0].islower() and word not in LOWER_IN_NAMES and word != "s" for word in words):
            return ()
        senses = self.typer.gazetteer[name]
        best = min(senses, key=self.typer.prominence)
        is_certain = self._outshines(best, senses)
        types = self.typer.known(best.classes) if is_certain else self._meaning(name)
        kind = self.typer.kind(types)
        support = self._support(name, kind)
        if not kind or _is_no_name(words) or (support < 0 and not is_certain):
            return ()
        if len(words) == 1 and not self._is_clear_word(name, types, kind, support):
            return ()
        return types

    def _meaning(self, name: str) -> Types:
        """The types of the one sense that counts, or what all senses share."""
        senses = self.typer.gazetteer[name]
        kinds = {self.typer.kind(sense.classes) for sense in senses}
        targets = self.anchors.get(name, Counter())
        top = targets.most_common(1)
        if len(senses) > 1 and top and top[0][1] >= max(3, 0.8 * targets.total()):
            return self.typer.types(top[0][0])[0]
        if len(senses) == 1:
            return self.typer.known(senses[0].classes)
        return self.typer.common(senses) if len(kinds) == 1 else ()

    def _outshines(self, best: Sense, senses: list[Sense]) -> bool:
        """Whether a country, state or capital is what the name means, whoever else bears it."""
        rank = self.typer.prominence(best)
        if rank >= PROMINENCE_OF_OTHERS or self.typer.kind(best.classes) != "place":
            return False
        rivals = [
            s
            for s in senses
            if s is not best and (self.typer.is_a(s, _ADMINISTRATIVE) or self.typer.kind(s.classes) != "place")
        ]
        return not rivals or (best is senses[0] and all(rank <= self.typer.prominence(s) for s in senses))

    def _support(self, name: str, kind: str) -> int:
        """Links with this anchor that lead to something of the kind, less those that lead elsewhere."""
        targets = self.anchors.get(name, Counter())
        return sum(n if self.typer.kind(self.typer.types(t)[0]) == kind else -n for t, n in targets.items())

    def _is_clear_word(self, name: str, types: Types, kind: str, support: int) -> bool:
        """Whether a name of one word is nothing but that name."""
        senses = self.typer.gazetteer[name]
        if not self.counts.is_always_name(name) or (len(name) < 4 and not support):
            return False
        if kind in ("person", "being"):
            is_bare = name not in self.typer.given_names and not any(self.typer.is_surname_of(name, s) for s in senses)
            return is_bare and support > 0
        if kind == "event" or any(sense.classes == (_BIBLE_BOOK,) for sense in senses):
            return False  # a battle has its name from its place
        return support > 0 or self.typer.prominence(Sense("", types)) < PROMINENCE_OF_OTHERS


def _is_no_name(words: list[str]) -> bool:
    """ "President Lincoln" holds a title, and "September 11" is mostly a date."""
    return words[0] == "President" or (words[0] in _MONTHS and len(words) > 1 and words[1].isdigit())

"""Marks the names of an article: those that links give, their repeats, and names that mean one thing wherever they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from finener.data_scripts.silver.names import Name, NameFinder, NameTable, Types, WordCounts, name_of_link
from finener.data_scripts.silver.titles import REMEMBERED, TitleTyper
from finener.data_scripts.silver.wikitext import Passage

_SUFFIXES = frozenset({"Jr", "Sr", "II", "III", "IV", "V"})


class Marker:
    """Finds the names of articles, one article at a time, and keeps the account.

    Args:
        typer: what titles name.
        counts: the words of the texts at hand.
        unlinked: names that may be marked where nothing links them.
        target: the title of the article that a link's target leads to, and why links to it give no name ("" if they may).
        repeats: mark later occurrences of an article's own title and of its linked names.
    """

    def __init__(
        self,
        typer: TitleTyper,
        counts: WordCounts,
        unlinked: Mapping[str, Types],
        target: Callable[[str], tuple[str, str]],
        *,
        repeats: bool = True,
    ):
        self.typer = typer
        self.counts = counts
        self.repeats = repeats
        self._target = target
        self._unlinked = NameTable(unlinked)
        self._finder = NameFinder(counts, self._is_person)
        self._kind = lru_cache(maxsize=REMEMBERED)(typer.kind)
        self._aliases = lru_cache(maxsize=REMEMBERED)(typer.aliases)
        self.start()

    def start(self) -> None:
        """Begins a new account."""
        self.numbers: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()  # of the types of links
        self.dropped: Counter[str] = Counter()

    def mark(self, title: str, sentences: Sequence[Passage]) -> list[list[Name]]:
        """The names of each sentence of an article, sorted, without overlaps."""
        memory = _Memory(title, self._own_names(title) if self.repeats else {})
        tables = [("repeat", memory.known), ("gazetteer", self._unlinked)]
        marked: list[list[Name]] = []
        found: list[list[tuple[Name, bool]]] = []
        for sentence in sentences:
            names, blocked = self._linked_names(sentence, memory)
            found.append(list(self._finder.candidates(sentence, blocked, tables)))
            marked.append(names)
            if self.repeats:
                for name in names:
                    self._learn(memory, _surface(sentence, name), name)
        whole: Counter[str] = Counter()  # how often a name stands alone, less how often it is a part
        for sentence, candidates in zip(sentences, found, strict=True):
            for name, alone in candidates:
                whole[_surface(sentence, name)] += 1 if alone else -1
        for sentence, names, candidates in zip(sentences, marked, found, strict=True):
            for name, alone in candidates:
                surface = _surface(sentence, name)
                reason = _why_not(name, alone, surface, whole, memory)
                if reason:
                    self.dropped[f"name: {reason}"] += 1
                else:
                    is_repeat = name.origin == "repeat"
                    names.append(name._replace(article=memory.articles[surface]) if is_repeat else name)
            names.sort()
        return marked

    def _learn(self, memory: _Memory, surface: str, linked: Name) -> None:
        """Keeps a linked name for its repeats, if it can mean nothing else there."""
        kind = self._kind(linked.types)
        surfaces = [surface]
        words = surface.split()
        if (
            kind == "person"
            and len(words) > 1
            and words[-1] not in _SUFFIXES
            and len(words[-1]) > 3
            and not set("of,") & set(words)
        ):
            surfaces.append(words[-1])  # "Stephen Douglas", then "Douglas"
        for name in surfaces:
            is_other_name = any(self._kind(s.classes) not in ("", kind) for s in self.typer.gazetteer.get(name, ()))
            if (
                not is_other_name
                and (" " in name or self.counts.is_name(name))
                and name not in memory.surnames_elsewhere
            ):
                memory.learn(name, linked.types, linked.article)

    def _own_names(self, title: str) -> dict[str, Types]:
        """The names of an article's own subject."""
        types, _ = self.typer.types(title)
        base = title.split(" (")[0]
        if not types or not self.typer.looks_like_name(base):
            return {}
        names = {base: types}
        words = [word.strip(".,") for word in base.split()]
        is_plain = all(word[:1].isupper() for word in words) and words[-1] not in _SUFFIXES
        if self._is_person(types) and len(words) > 1 and is_plain and "," not in base:
            names[words[-1]] = types
        return names

    def _linked_names(self, sentence: Passage, memory: _Memory) -> tuple[list[Name], list[tuple[int, int]]]:
        """The names that links give, and the spans of all capitalised links."""
        names: list[Name] = []
        blocked = []
        self.numbers["links"] += len(sentence.links)
        for link in sentence.links:
            if not sentence.text[link.start].isupper():
                continue
            self.numbers["capitalised links"] += 1
            blocked.append((link.start, link.end))
            span: tuple[int, int] | str
            title, span = self._target(link.target)
            types: Types = ()
            if not span:
                types, source = self.typer.types(title)
                span = "no type known"
            if types:
                self.numbers["capitalised links with types"] += 1
                aliases = [link.target, *self._aliases(title)]
                span = name_of_link(sentence.text, link, title, aliases, is_place=self._kind(types) == "place")
            if not isinstance(span, str) and names and span[0] < names[-1].end:
                span = "overlaps another"
            if isinstance(span, str):
                self.dropped[f"link: {span}"] += 1
                memory.lead_elsewhere(sentence.text[link.start : link.end])
            else:
                self.sources[source] += 1
                names.append(Name(*span, types, "link", title))
                memory.linked.setdefault(sentence.text[span[0] : span[1]], set()).add(types)
        return names, blocked

    def _is_person(self, types: Types) -> bool:
        return self._kind(types) in ("person", "being")


class _Memory:
    """What an article has taught about its names so far."""

    def __init__(self, title: str, own: dict[str, Types]):
        self.known = NameTable(own)
        self.articles = dict.fromkeys(own, title)  # what each known name names
        self.elsewhere: set[str] = set()  # anchors that lead to something without a type
        self.linked: dict[str, set[Types]] = {}
        self.surnames_elsewhere: set[str] = set()  # their last words
        self._own = frozenset(own)
        self._refused: set[str] = set()

    def lead_elsewhere(self, anchor: str) -> None:
        """Remembers an anchor that gives no name, so that nothing else is read into its words."""
        self.elsewhere.add(anchor)
        self.surnames_elsewhere.add(anchor.split()[-1])

    def learn(self, surface: str, types: Types, article: str) -> None:
        """Remembers a linked name; one that leads to different things is no repeat of either."""
        if surface in self._own or surface in self._refused:
            return
        names = self.known.names
        if surface not in names:
            self.known.add(surface, types)
            self.articles[surface] = article
        elif names[surface] != types:
            self._refused.add(surface)
            del names[surface]


def _why_not(name: Name, alone: bool, surface: str, whole: Counter[str], memory: _Memory) -> str:
    """Why an occurrence of a name is no mention, "" for one that is."""
    if not alone:
        return "part of a longer name"
    if name.origin == "gazetteer" and (
        surface in memory.elsewhere or memory.linked.get(surface, {name.types}) != {name.types}
    ):
        return "stands for something else in its article"
    return "mostly part of longer names in its article" if name.origin == "gazetteer" and whole[surface] < 0 else ""


def _surface(sentence: Passage, name: Name) -> str:
    return sentence.text[name.start : name.end]

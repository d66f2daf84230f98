"""Silver records from a MediaWiki dump: sentences whose linked names carry YAGO classes.

A record is a sentence. It is typed and not exhaustive: a name without a mention may still be one.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tqdm import tqdm

try:
    from ..ontology_finener import Ontology
except ImportError:
    from ontology_finener import Ontology

from .gazetteer import UnlinkedNames
from .names import Name, NameFinder, Types, WordCounts, name_of_link
from .schema import Mention, Record
from .titles import Gazetteer, TitleTyper
from .wikitext import HOLE, Link, Page, Passage, parse_page, read_dump, split_sentences

_MARKUP = re.compile(r"\{\{|\}\}|\[\[|\]\]|\{\||\|\}|</?\w+[ />]|https?://|^[|!*#;:]")
_SUFFIXES = frozenset({"Jr", "Sr", "II", "III", "IV", "V"})


def build_silver(
    dump: str | Path, ontology: Ontology, gazetteer: Gazetteer, nouns: Mapping[str, str], *, progress: bool = False
) -> tuple[list[Record], dict]:
    """Reads a dump into silver records.

    Args:
        dump: a MediaWiki XML dump, plain or bz2.
        ontology: the types; records name it.
        gazetteer: name → senses, see :func:`~data_scripts.titles.read_gazetteer`.
        nouns: singular noun → class, see :func:`~data_scripts.titles.read_nouns`.
        progress: show a bar of the articles read.

    Returns:
        The records, in the dump's order, and the report of :class:`SilverBuilder`.

    Raises:
        DumpError: when the dump cannot be read to its end.
    """
    with SilverBuilder(ontology, gazetteer, nouns, progress=progress) as builder:
        builder.read(dump)
        records = list(builder.records())
        return records, builder.report()


class SilverBuilder:
    """Two passes: :meth:`read` parses the dump once and learns what its titles are, :meth:`records` marks the names.

    Between them the sentences wait in a temporary file, so that a dump larger than memory can be read; leaving the ``with``
    block removes it.
    """

    def __init__(self, ontology: Ontology, gazetteer: Gazetteer, nouns: Mapping[str, str], *, progress: bool = False):
        self.ontology = ontology
        self.progress = progress
        self.counts = WordCounts()
        self.typer = TitleTyper(ontology, gazetteer, nouns, self.counts.is_name)
        self.redirects: dict[str, str] = {}
        self._finder = NameFinder(self.counts, self._is_person)
        self._anchors: dict[str, Counter[str]] = {}  # of the gazetteer's names only
        self._spool = tempfile.TemporaryFile("w+", encoding="utf-8", prefix="finener-silver-")  # noqa: SIM115
        self._numbers: Counter[str] = Counter()
        self._typed_links: Counter[str] = Counter()
        self._origins: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._types: Counter[str] = Counter()

    def __enter__(self) -> SilverBuilder:
        return self

    def __exit__(self, *error: object) -> None:
        self._spool.close()

    # ---------------------------------------------------------------- first pass

    def read(self, dump: str | Path) -> None:
        """Parses the dump. Raises DumpError when it cannot be read to its end."""
        for page in tqdm(read_dump(dump), desc="reading", unit=" pages", disable=not self.progress):
            self._numbers["pages"] += 1
            if page.namespace:
                self._dropped["page: not an article"] += 1
            elif page.redirect:
                self._numbers["redirects"] += 1
                self.redirects[page.title] = page.redirect
            else:
                self._read_article(page)

    def _read_article(self, page: Page) -> None:
        self._numbers["articles"] += 1
        article = parse_page(page.text)
        self.typer.categories[page.title] = article.categories
        sentences = []
        for paragraph in article.paragraphs:
            for sentence in split_sentences(paragraph):
                reason = _why_unreadable(sentence.text)
                if reason:
                    self._dropped[f"sentence: {reason}"] += 1
                    continue
                self.counts.add(sentence.text)
                for link in sentence.links:
                    anchor = sentence.text[link.start : link.end]
                    if anchor in self.typer.gazetteer:
                        self._anchors.setdefault(anchor, Counter())[link.target] += 1
                sentences.append([sentence.text, [[k.start, k.end, k.target] for k in sentence.links]])
        self._spool.write(json.dumps([page.title, sentences]) + "\n")

    # ---------------------------------------------------------------- second pass

    def records(self) -> Iterator[Record]:
        """The records, in the dump's order. The report is complete when they have all been taken."""
        anchors: dict[str, Counter[str]] = {}
        for surface, targets in self._anchors.items():
            anchors[surface] = Counter()
            for target, count in targets.items():
                anchors[surface][self.redirects.get(target, target)] += count
        unlinked = UnlinkedNames(self.typer, self.counts, anchors).table()
        self._spool.seek(0)
        total = self._numbers["articles"]
        for line in tqdm(self._spool, desc="marking names", unit=" articles", total=total, disable=not self.progress):
            title, content = json.loads(line)
            sentences = [Passage(text, tuple(Link(*link) for link in links)) for text, links in content]
            for number, (sentence, names) in enumerate(
                zip(sentences, self._names(title, sentences, unlinked), strict=True)
            ):
                yield self._record(title, number, sentence.text, names)

    def _names(self, title: str, sentences: list[Passage], unlinked: Mapping[str, Types]) -> list[list[Name]]:
        """The names of each sentence of an article."""
        memory = _Memory(self._own_names(title))
        marked: list[list[Name]] = []
        found: list[list[tuple[Name, bool]]] = []
        for sentence in sentences:
            names, blocked = self._linked_names(sentence, memory)
            tables = [("repeat", memory.known), ("gazetteer", unlinked)]
            found.append(list(self._finder.candidates(sentence, blocked, tables)))
            marked.append(names)
            for name in names:
                self._learn(memory, _surface(sentence, name), name.types)
        whole: Counter[str] = Counter()  # how often a name stands alone, less how often it is a part
        for sentence, candidates in zip(sentences, found, strict=True):
            for name, alone in candidates:
                whole[_surface(sentence, name)] += 1 if alone else -1
        for sentence, names, candidates in zip(sentences, marked, found, strict=True):
            for name, alone in candidates:
                reason = _why_not(name, alone, _surface(sentence, name), whole, memory)
                if reason:
                    self._dropped[f"name: {reason}"] += 1
                else:
                    names.append(name)
            names.sort()
        return marked

    def _learn(self, memory: _Memory, surface: str, types: Types) -> None:
        """Keeps a linked name for its repeats, if it can mean nothing else there."""
        kind = self.typer.kind(types)
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
            is_other_name = any(
                self.typer.kind(s.classes) not in ("", kind) for s in self.typer.gazetteer.get(name, ())
            )
            if (
                not is_other_name
                and (" " in name or self.counts.is_name(name))
                and name not in memory.surnames_elsewhere
            ):
                memory.learn(name, types)

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
        for link in sentence.links:
            self._numbers["links"] += 1
            if not sentence.text[link.start].isupper():
                continue
            self._numbers["capitalised links"] += 1
            blocked.append((link.start, link.end))
            title = self.redirects.get(link.target, link.target)
            types, source = self.typer.types(title)
            span: tuple[int, int] | str = "no type known"
            if types:
                aliases = [link.target, *self.typer.aliases(title)]
                span = name_of_link(sentence.text, link, title, aliases, is_place=self.typer.kind(types) == "place")
            if not isinstance(span, str) and names and span[0] < names[-1].end:
                span = "overlaps another"
            if isinstance(span, str):
                self._dropped[f"link: {span}"] += 1
                memory.lead_elsewhere(sentence.text[link.start : link.end])
            else:
                self._typed_links[source] += 1
                names.append(Name(*span, types, "link"))
                memory.linked.setdefault(sentence.text[span[0] : span[1]], set()).add(types)
        return names, blocked

    def _is_person(self, types: Types) -> bool:
        return self.typer.kind(types) in ("person", "being")

    def _record(self, title: str, number: int, text: str, names: list[Name]) -> Record:
        self._numbers["sentences"] += 1
        self._numbers["sentences with a mention"] += bool(names)
        for name in names:
            self._origins[name.origin] += 1
            self._types.update(name.types)
        mentions = [
            Mention(start=n.start, end=n.end, types=list(n.types), score=None, type_scores=None, origin=n.origin)
            for n in names
        ]
        return Record(
            id=f"{title}#{number}",
            doc_id=title,
            source="wikipedia",
            text=text,
            mentions=mentions,
            exhaustive=False,
            typed=True,
            ontology=self.ontology.name,
        )

    def report(self) -> dict:
        """What was read, marked and left out, in numbers."""
        keys = ("pages", "articles", "redirects", "sentences", "sentences with a mention", "links", "capitalised links")
        return {
            **{key: self._numbers[key] for key in keys},
            "typed links by source": dict(sorted(self._typed_links.items())),
            "mentions": sum(self._origins.values()),
            "mentions by origin": dict(sorted(self._origins.items())),
            "types": len(self._types),
            "types with ancestors": len(self.ontology.closure(self._types)),
            "dropped": dict(sorted(self._dropped.items())),
            "classes outside the ontology": sorted(self.typer.unknown_classes),
        }


class _Memory:
    """What an article has taught about its names so far."""

    def __init__(self, own: dict[str, Types]):
        self.known = dict(own)
        self.elsewhere: set[str] = set()  # anchors that lead to something without a type
        self.linked: dict[str, set[Types]] = {}
        self.surnames_elsewhere: set[str] = set()  # their last words
        self._own = frozenset(own)
        self._refused: set[str] = set()

    def lead_elsewhere(self, anchor: str) -> None:
        """Remembers an anchor that gives no name, so that nothing else is read into its words."""
        self.elsewhere.add(anchor)
        self.surnames_elsewhere.add(anchor.split()[-1])

    def learn(self, surface: str, types: Types) -> None:
        """Remembers a linked name; one that leads to different things is no repeat of either."""
        if surface in self._own or surface in self._refused:
            return
        if self.known.setdefault(surface, types) != types:
            self._refused.add(surface)
            del self.known[surface]


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


def _why_unreadable(text: str) -> str:
    """Why a sentence is left out, "" for one that is not."""
    if HOLE in text:
        return "a formula or quantity was cut out"
    if _MARKUP.search(text):
        return "markup left"
    return "" if re.search(r"[^\W\d_]{2}", text) else "no word"

"""The silver builder's stages. Each is a datatrove step whose task ``rank`` reads and writes whole files of its own.

``split`` (a task for each dump file) → ``parse`` (for each shard) → ``facts`` (one) → ``mark`` (for each shard) → ``select`` (one) →
``write`` (for each shard) → ``describe`` (one). What a task writes depends on the dump and the options alone: not on how many workers
there are, nor on what ran before.
"""

from __future__ import annotations

import gc
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from datatrove.pipeline.base import PipelineStep

from finener.data_scripts.silver.dumps import read_dump_at
from finener.data_scripts.silver.facts import Facts, PageFacts, merge_facts, write_shard_facts
from finener.data_scripts.silver.gazetteer import UnlinkedNames
from finener.data_scripts.silver.marks import Marker
from finener.data_scripts.silver.names import Name, WordCounts, inner_words
from finener.data_scripts.silver.plan import Plan, SilverError, whole
from finener.data_scripts.silver.records import RecordWriter
from finener.data_scripts.silver.report import describe, rank_types
from finener.data_scripts.silver.titles import Gazetteer, TitleTyper, lead_noun, read_gazetteer, read_nouns
from finener.data_scripts.silver.type_tables import SOURCES, read_types
from finener.data_scripts.silver.wikitext import (
    HOLE,
    Article,
    Link,
    Passage,
    parse_page,
    split_sentences,
    why_no_article,
)
from finener.ontology_finener import Ontology

_MARKUP = re.compile(r"\{\{|\}\}|\[\[|\]\]|\{\||\|\}|</?\w+[ />]|https?://")
_LETTERS = re.compile(r"[^\W\d_]{2}")


@dataclass(frozen=True)
class Tables:
    """What every shard is read with."""

    ontology: Ontology
    gazetteer: Gazetteer
    nouns: Mapping[str, str]


@lru_cache(maxsize=1)
def read_tables(plan: Plan) -> Tables:
    """The tables, read once in each process."""
    return Tables(Ontology.from_json(plan.ontology), read_gazetteer(plan.gazetteer), read_nouns(plan.nouns))


def make_typer(tables: Tables, facts: Facts) -> TitleTyper:
    """Types of titles, from the facts of the whole dump."""
    typer = TitleTyper(tables.ontology, tables.gazetteer, tables.nouns, WordCounts(facts.words).is_name)
    typer.categories, typer.leads, typer.tables = facts.categories, facts.leads, facts.types
    return typer


class Stage(PipelineStep):
    """A stage; ``task`` does the work of one rank."""

    type = "silver"
    name: ClassVar[str]

    def __init__(self, plan: Plan):
        super().__init__()
        self.plan = plan

    @property
    def tasks(self) -> int:
        """How many tasks it has: as many as there are shards, unless it says otherwise."""
        return sum(self.plan.shards)

    def task(self, rank: int) -> None:
        """Does the work of one task, from the start."""
        raise NotImplementedError

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> tuple[()]:
        """What datatrove calls: does a task, and leaves word of why it failed."""
        failure = self.plan.file("failures", rank, f"-{self.name}.txt")
        collects = gc.isenabled()
        gc.disable()  # nearly nothing here is cyclic, and looking for it costs a third of the time
        try:
            self.task(rank)
        except Exception as error:
            failure.parent.mkdir(parents=True, exist_ok=True)
            failure.write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
            raise
        finally:
            if collects:
                gc.enable()
        failure.unlink(missing_ok=True)
        return ()

    def failures(self) -> list[Path]:
        """The files in which tasks left word of why they failed."""
        return sorted((self.plan.work / "failures").glob(f"*-{self.name}.txt"))

    def keep(self, rank: int, **account: Any) -> None:
        """Keeps a task's account for the report."""
        content = {name: dict(sorted(c.items())) if isinstance(c, Counter) else c for name, c in account.items()}
        with whole(self.plan, self.plan.work / "counts" / f"{self.name}-{rank:05d}.json") as path:
            path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def read_lines(path: Path) -> Iterator[Any]:
    """The JSON values of a file, one a line."""
    with path.open(encoding="utf-8", newline="\n") as lines:
        yield from map(json.loads, lines)


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Writes JSON values, one a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for value in values:
            file.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


# ---------------------------------------------------------------- a dump's pages


class Split(Stage):
    """Cuts a dump into shards of ``[title, redirect, wikitext]``, pages of other namespaces left out."""

    name = "split"

    @property
    def tasks(self) -> int:
        """One for each dump file."""
        return len(self.plan.dumps)

    def task(self, rank: int) -> None:
        """Reads one dump to its end."""
        dump, count = self.plan.dumps[rank], self.plan.shards[rank]
        first, size = sum(self.plan.shards[:rank]), dump.stat().st_size
        numbers: Counter[str] = Counter()
        dropped: Counter[str] = Counter()

        def kept(pages: Iterable[tuple[int, tuple]]) -> Iterator[tuple[str, str, str]]:
            for _, page in pages:
                numbers["pages"] += 1
                if page.namespace:
                    dropped["page: not in the article namespace"] += 1
                else:
                    numbers["characters"] += len(page.text)
                    yield page.title, page.redirect, page.text

        cut = groupby(read_dump_at(dump), key=lambda item: min(count - 1, item[0] * count // size))
        done = set()
        for number, pages in cut:
            with whole(self.plan, self.plan.file("split", first + number)) as path:
                write_lines(path, kept(pages))
            done.add(number)
        for number in set(range(count)) - done:
            with whole(self.plan, self.plan.file("split", first + number)) as path:
                write_lines(path, ())
        self.keep(rank, numbers=numbers, dropped=dropped)


class Parse(Stage):
    """Turns a shard's pages into sentences with links, and collects what they tell about titles, words and anchors."""

    name = "parse"

    def task(self, rank: int) -> None:
        """Reads one shard."""
        reader = _ShardReader(read_tables(self.plan))
        with whole(self.plan, self.plan.file("parse", rank)) as path:
            write_lines(path, reader.articles(read_lines(self.plan.file("split", rank))))
        with whole(self.plan, self.plan.file("parse", rank, ".sqlite")) as path:
            write_shard_facts(path, rank, reader.pages, reader.words, reader.anchors)
        self.keep(rank, numbers=reader.numbers, dropped=reader.dropped)


class _ShardReader:
    def __init__(self, tables: Tables):
        self.tables = tables
        self.pages: list[PageFacts] = []
        self.words: Counter[str] = Counter()
        self.anchors: Counter[tuple[str, str]] = Counter()  # of the gazetteer's names only
        self.numbers: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    def articles(self, rows: Iterable[Sequence[str]]) -> Iterator[tuple]:
        """Each article as (title, number of the page in its shard, sentences with links)."""
        for number, (title, redirect, wikitext) in enumerate(rows):
            if redirect:
                self.numbers["redirects"] += 1
                self.pages.append(PageFacts(title, number, redirect=redirect))
            elif reason := why_no_article(title, wikitext):
                self.dropped[f"page: {reason}"] += 1
                self.pages.append(PageFacts(title, number, left_out=reason))
            else:
                self.numbers["articles"] += 1
                article = parse_page(wikitext)
                sentences = list(self._sentences(article))
                lead = lead_noun(sentences[0].text, self.tables.nouns) if sentences else ""
                self.pages.append(PageFacts(title, number, categories=article.categories, lead=lead))
                yield title, number, sentences

    def _sentences(self, article: Article) -> Iterator[Passage]:
        for paragraph in article.paragraphs:
            for sentence in split_sentences(paragraph):
                if reason := _why_unreadable(sentence.text):
                    self.dropped[f"sentence: {reason}"] += 1
                    continue
                self.words.update(inner_words(sentence.text))
                for link in sentence.links:
                    anchor = sentence.text[link.start : link.end]
                    if anchor in self.tables.gazetteer:
                        self.anchors[anchor, link.target] += 1
                yield sentence


def _why_unreadable(text: str) -> str:
    """Why a sentence is left out, "" for one that is not."""
    if HOLE in text:
        return "a formula or quantity was cut out"
    if text.startswith(("|", "!", "*", "#", ";", ":")) or _MARKUP.search(text):
        return "markup left"
    return "" if _LETTERS.search(text) else "no word"


# ---------------------------------------------------------------- the whole dump's facts


class MergeFacts(Stage):
    """Merges what the shards tell, with the outer tables of types, and finds the names that mean one thing everywhere."""

    name = "facts"
    tasks = 1

    def task(self, rank: int) -> None:
        """Writes the facts of the whole dump."""
        tables = read_tables(self.plan)
        unknown: Counter[str] = Counter()
        sources: Counter[str] = Counter()

        def types() -> Iterator[tuple[str, int, str, tuple[str, ...]]]:
            for table in self.plan.types:
                for title, classes, source in read_types(table, tables.ontology, tables.nouns, unknown):
                    sources[source] += 1
                    yield title, SOURCES.index(source), source, classes

        shards = [self.plan.file("parse", shard, ".sqlite") for shard in range(sum(self.plan.shards))]
        facts_file = self.plan.file("facts", suffix=".sqlite")
        with whole(self.plan, facts_file) as path:
            merge_facts(path, shards, types(), tables.ontology.most_specific)
        facts = Facts(facts_file)
        typer = make_typer(tables, facts)
        names = UnlinkedNames(typer, WordCounts(facts.words), facts.anchors).table()
        facts.close()
        with whole(self.plan, self.plan.file("facts", suffix=".json")) as path:
            path.write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")
        self.keep(rank, rows=sources, unknown=unknown)


class Mark(Stage):
    """Marks the names of a shard's sentences: ``[title, [[text, [[start, end, type indices, origin]]]]]``."""

    name = "mark"

    def task(self, rank: int) -> None:
        """Marks one shard."""
        marker, facts, ontology = _marker(self.plan)
        marker.start()
        types: Counter[int] = Counter()  # how many mentions are of each type, ancestors included
        twice = 0

        def articles() -> Iterator[tuple[str, list]]:
            nonlocal twice
            for title, number, content in read_lines(self.plan.file("parse", rank)):
                if not facts.is_first(title, rank, number):
                    twice += 1
                    continue
                sentences = [Passage(text, tuple(Link(*link) for link in links)) for text, links in content]
                marked = marker.mark(title, sentences)
                rows = []
                for sentence, names in zip(sentences, marked, strict=True):
                    mentions = [(n.start, n.end, indices(n.types), _origin(n)) for n in names]
                    for _, _, found, _ in mentions:
                        types.update(closure(found))
                    rows.append((sentence.text, mentions))
                yield title, rows

        indices = lru_cache(maxsize=100_000)(lambda ids: tuple(map(ontology.index, ids)))
        closure = lru_cache(maxsize=100_000)(ontology.closure_indices)
        with whole(self.plan, self.plan.file("mark", rank)) as path:
            write_lines(path, articles())
        dropped = marker.dropped + Counter({"page: its title came before": twice} if twice else {})
        self.keep(
            rank,
            numbers=marker.numbers,
            sources=marker.sources,
            dropped=dropped,
            frequencies={ontology.ids[i]: n for i, n in sorted(types.items())},
            unknown_classes=sorted(marker.typer.unknown_classes),
        )


def _origin(name: Name) -> str:
    """ "link:Lord_Byron", or "gazetteer"."""
    return f"{name.origin}:{name.article.replace(' ', '_')}" if name.article else name.origin


@lru_cache(maxsize=1)
def _marker(plan: Plan) -> tuple[Marker, Facts, Ontology]:
    """Once in each process."""
    tables = read_tables(plan)
    facts = Facts(plan.file("facts", suffix=".sqlite"))
    names = {
        name: tuple(types)
        for name, types in json.loads(plan.file("facts", suffix=".json").read_text(encoding="utf-8")).items()
    }
    typer = make_typer(tables, facts)
    marker = Marker(typer, WordCounts(facts.words), names, facts.target, repeats=plan.repeats)
    return marker, facts, tables.ontology


def forget() -> None:
    """Forgets what this process has read of earlier builds."""
    read_tables.cache_clear()
    _marker.cache_clear()


# ---------------------------------------------------------------- types and records


class Select(Stage):
    """Chooses the types that stay. With ancestors counted, no type is rarer than one below it: so the most frequent are closed."""

    name = "select"
    tasks = 1

    def task(self, rank: int) -> None:
        """Writes the kept types, the most frequent first."""
        ontology = read_tables(self.plan).ontology
        frequencies: Counter[str] = Counter()
        for account in self.plan.counts("mark"):
            frequencies.update(account["frequencies"])
        ranked = rank_types(frequencies, ontology)
        kept = [t for t in ranked[: self.plan.max_types] if frequencies[t] >= self.plan.min_count]
        if ranked and not kept:
            raise SilverError(
                f"no type is left: the most frequent one, {ranked[0]}, is of {frequencies[ranked[0]]:,} mentions, and the least "
                f"wanted is {self.plan.min_count:,}; give a smaller --min_count or a larger dump"
            )
        with whole(self.plan, self.plan.file("select", suffix=".json")) as path:
            path.write_text(json.dumps({"kept": kept, "found": len(ranked)}), encoding="utf-8")


class Write(Stage):
    """Writes a shard's records as Parquet, under the kept types."""

    name = "write"

    def task(self, rank: int) -> None:
        """Writes one shard."""
        ontology = read_tables(self.plan).ontology
        kept = json.loads(self.plan.file("select", suffix=".json").read_text(encoding="utf-8"))["kept"]
        writer = RecordWriter(ontology, kept)
        with whole(self.plan, self.plan.data_file(rank)) as path:
            writer.write(read_lines(self.plan.file("mark", rank)), path)
        self.keep(
            rank,
            numbers=writer.numbers,
            origins=writer.origins,
            dropped=writer.dropped,
            types={ontology.ids[i]: n for i, n in sorted(writer.types.items())},
            closed={ontology.ids[i]: n for i, n in sorted(writer.closed.items())},
        )


class Describe(Stage):
    """Sums all accounts up, and writes the report, its page and the data set's card; when they are there, the data set is whole."""

    name = "describe"
    tasks = 1

    def task(self, rank: int) -> None:
        """Writes everything beside the records."""
        describe(self.plan, read_tables(self.plan).ontology)


STAGES = (Split, Parse, MergeFacts, Mark, Select, Write, Describe)

"""What a whole dump says of its titles, words and anchors: one SQLite file, merged from the shards, asked in bounded memory."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

REMEMBERED = 50_000  # answers of each kind that are kept at hand
_CACHE = 65_536  # KiB of the file that SQLite keeps in memory

_PAGES = "title TEXT, shard INT, number INT, redirect TEXT, left_out TEXT, categories TEXT, lead TEXT"
_WORDS = "word TEXT, count INT"
_ANCHORS = "name TEXT, target TEXT, count INT"


class PageFacts(NamedTuple):
    """One page of the article namespace.

    Args:
        title: of the page.
        number: its place in its shard.
        redirect: the title it leads to, or "".
        left_out: why it is no article, or "".
        categories: their names.
        lead: head noun of its first sentence, or "".
    """

    title: str
    number: int
    redirect: str = ""
    left_out: str = ""
    categories: tuple[str, ...] = ()
    lead: str = ""


def write_shard_facts(
    path: Path, shard: int, pages: Iterable[PageFacts], words: Mapping[str, int], anchors: Mapping[tuple[str, str], int]
) -> None:
    """Writes what one shard says into a new file."""
    with _created(path) as database:
        for name, columns in (("pages", _PAGES), ("words", _WORDS), ("anchors", _ANCHORS)):
            database.execute(f"CREATE TABLE {name} ({columns})")
        rows = ((p.title, shard, p.number, p.redirect, p.left_out, "\n".join(p.categories), p.lead) for p in pages)
        database.executemany("INSERT INTO pages VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        database.executemany("INSERT INTO words VALUES (?, ?)", words.items())
        database.executemany("INSERT INTO anchors VALUES (?, ?, ?)", ((*pair, n) for pair, n in anchors.items()))


def merge_facts(
    path: Path,
    shards: Iterable[Path],
    types: Iterable[tuple[str, int, str, tuple[str, ...]]],
    together: Callable[[set[str]], Iterable[str]],
) -> None:
    """Merges the facts of all shards into a new file, by sorting on disk: memory stays as it is however many there are.

    Args:
        path: the new file.
        shards: the files of :func:`write_shard_facts`, in order; of a title that comes twice the first page counts.
        types: (title, rank, source, classes) of outer tables, in any order: of a title, the lowest rank counts.
        together: the most specific of several classes.
    """
    with _created(path) as database:
        for name, columns in (("raw_pages", _PAGES), ("raw_words", _WORDS), ("raw_anchors", _ANCHORS)):
            database.execute(f"CREATE TABLE {name} ({columns})")
        database.execute("CREATE TABLE raw_types (title TEXT, rank INT, source TEXT, classes TEXT)")
        for shard in shards:
            database.commit()
            database.execute("ATTACH ? AS shard", (str(shard),))
            for name in ("pages", "words", "anchors"):
                database.execute(f"INSERT INTO raw_{name} SELECT * FROM shard.{name}")
            database.commit()
            database.execute("DETACH shard")
        database.executemany(
            "INSERT INTO raw_types VALUES (?, ?, ?, ?)", ((t, r, s, "|".join(classes)) for t, r, s, classes in types)
        )
        database.execute(f"CREATE TABLE pages ({_PAGES}, PRIMARY KEY (title)) WITHOUT ROWID")
        database.execute("INSERT OR IGNORE INTO pages SELECT * FROM raw_pages ORDER BY title, shard, number")
        database.execute(f"CREATE TABLE words ({_WORDS}, PRIMARY KEY (word)) WITHOUT ROWID")
        database.execute("INSERT INTO words SELECT word, SUM(count) FROM raw_words GROUP BY word ORDER BY word")
        database.execute(f"CREATE TABLE anchors ({_ANCHORS}, PRIMARY KEY (name, target)) WITHOUT ROWID")
        database.execute(
            "INSERT INTO anchors SELECT name, target, SUM(count) FROM"
            " (SELECT name, CASE WHEN redirect > '' THEN redirect ELSE target END AS target, count"
            "  FROM raw_anchors LEFT JOIN pages ON title = target) GROUP BY name, target ORDER BY name, target"
        )
        database.execute("CREATE TABLE types (title TEXT PRIMARY KEY, source TEXT, classes TEXT) WITHOUT ROWID")
        rows = database.execute(
            "SELECT title, rank, source, classes FROM raw_types ORDER BY title, rank, source, classes"
        )
        database.executemany("INSERT INTO types VALUES (?, ?, ?)", _best(rows, together))
        for name in ("pages", "words", "anchors", "types"):
            database.execute(f"DROP TABLE raw_{name}")


def _best(
    rows: Iterable[tuple[str, int, str, str]], together: Callable[[set[str]], Iterable[str]]
) -> Iterator[tuple[str, str, str]]:
    """One row for each title: what the rows of its lowest rank say together."""
    for title, group in groupby(rows, key=itemgetter(0)):
        all_rows = list(group)
        _, lowest, source, _ = all_rows[0]
        found = {type_id for _, rank, _, classes in all_rows if rank == lowest for type_id in classes.split("|")}
        yield title, source, "|".join(together(found))


@contextmanager
def _created(path: Path) -> Iterator[sqlite3.Connection]:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database:
        # The file is taken only when it is whole, so that it needs no journal.
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE}", "temp_store = FILE"):
            database.execute(f"PRAGMA {setting}")
        yield database
        database.commit()


class Facts:
    """The merged facts, read only.

    ``categories``, ``leads`` and ``types`` have a ``get(title, default)``, ``words`` a ``get(word, default)`` and ``anchors`` a
    ``get(name, default)``; all of them remember their latest answers.
    """

    def __init__(self, path: Path):
        # Nobody writes any more: without locks, the file may lie on any kind of shared disk.
        self._database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        self._database.execute(f"PRAGMA cache_size = -{_CACHE}")
        self._page = lru_cache(maxsize=REMEMBERED)(self._find_page)
        self.categories = _View(lambda title: (page := self._page(title)) and tuple(filter(None, page[4].split("\n"))))
        self.leads = _View(lambda title: (page := self._page(title)) and page[5])
        self.types = _View(self._find_types)
        self.words = _View(lru_cache(maxsize=REMEMBERED)(self._find_count))
        self.anchors = _View(self._find_targets)

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def target(self, title: str) -> tuple[str, str]:
        """Where a link to a title leads: (the title of the article, ""), or (title, why it leads to none)."""
        if title.startswith(("List of ", "Lists of ")):
            return title, "leads to a list"
        page = self._page(title)
        if page and page[2]:
            title = page[2]
            page = self._page(title)
        return title, f"leads to a {page[3]}" if page and page[3] else ""

    def is_first(self, title: str, shard: int, number: int) -> bool:
        """Whether a page is the first one of its title."""
        page = self._page(title)
        return page is not None and page[:2] == (shard, number)

    def _one(self, query: str, key: str) -> Any:
        return self._database.execute(query, (key,)).fetchone()

    def _find_page(self, title: str) -> tuple[int, int, str, str, str, str] | None:
        return self._one("SELECT shard, number, redirect, left_out, categories, lead FROM pages WHERE title = ?", title)

    def _find_types(self, title: str) -> tuple[tuple[str, ...], str] | None:
        row = self._one("SELECT classes, source FROM types WHERE title = ?", title)
        return (tuple(row[0].split("|")), row[1]) if row else None

    def _find_count(self, word: str) -> int | None:
        row = self._one("SELECT count FROM words WHERE word = ?", word)
        return row[0] if row else None

    def _find_targets(self, name: str) -> Counter[str] | None:
        query = "SELECT target, count FROM anchors WHERE name = ? ORDER BY target"
        return Counter(dict(self._database.execute(query, (name,)))) or None


class _View:
    """Something that is asked like a dict."""

    def __init__(self, find: Callable[[str], Any]):
        self._find = find

    def get(self, key: str, default: Any) -> Any:
        """What is known of the key, or the default."""
        value = self._find(key)
        return default if value is None else value

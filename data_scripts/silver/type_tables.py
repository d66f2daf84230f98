"""Tables of entity types made by others, read as they are published: YAGO, DBpedia, and two columns of one's own."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain, groupby
from operator import itemgetter
from urllib.parse import unquote

from finener.data_scripts.raw_files import decode_line, read_raw_lines
from finener.data_scripts.silver.dumps import page_title
from finener.data_scripts.silver.titles import TableError, class_of_category
from finener.ontology_finener import Ontology
from finener.paths import ONTOLOGIES

DBPEDIA_CLASSES = ONTOLOGIES / "mappings" / "dbpedia_to_yago.tsv"
# Where several tables type a title, the one that stands first here is believed.
SOURCES = ("mapping", "yago", "dbpedia")

_FORMS = (
    "a row of YAGO's yagoTypes.tsv ('<id> TAB <Title> TAB rdf:type TAB <class> TAB'), an N-Triple "
    "('<http://dbpedia.org/resource/Title> <…#type> <http://dbpedia.org/class/yago/Class> .'), the csv header "
    "'entity,classes', or 'title TAB class|class'"
)
_TRIPLE = re.compile(r"<([^<>\s]*)>\s+<([^<>\s]*)>\s+<([^<>\s]*)>\s*\.")
_RDF_TYPE = re.compile(r"(?:.*[#:/])?type")
_CLASS_SET = re.compile(r"\{\}|set\(\)|\{'\w+'(?:, '\w+')*\}")
_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})")
_CAMEL = re.compile(r"(?<=[a-z0-9.])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|(?<=[A-Z])(?=[A-Z][a-z])")

Row = tuple[str, tuple[str, ...]]  # a title as the table writes it, and its classes


def read_types(
    path: str | os.PathLike, ontology: Ontology, nouns: Mapping[str, str], unknown: Counter[str] | None = None
) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Reads a table of entity types in constant memory; plain, gzip or bzip2. Format and packing are told by content:

    - YAGO3's ``yagoTypes.tsv`` and ``yagoTransitiveType.tsv``: classes of WordNet, and Wikipedia categories, which stand for
      the class of their head noun;
    - N-Triples of DBpedia: ``yago_types`` with YAGO's classes, ``instance_types`` with DBpedia's own;
    - the csv ``entity,classes`` with sets of DBpedia's classes (``{'Band'}``). Of classes that do not lie above one another only
      what they share is kept: an article that is called a novelist and a politician is a person;
    - ``title TAB class|class``, lines of ``#`` being comments; classes as the ontology or as YAGO spells them.

    Args:
        path: the table.
        ontology: the classes; others are left out.
        nouns: singular noun → class, for categories.
        unknown: counts, when given, the rows that were left out, by class or by reason.

    Yields:
        (title, most specific classes, "yago" | "dbpedia" | "mapping"). Adjacent rows of a title are one; a title that comes back
        later in the file is yielded again.

    Raises:
        TableError: on a line of another form, broken encoding or a truncated file; names file and line.
        FileNotFoundError: when there is no such file.
    """
    unknown = Counter() if unknown is None else unknown
    lines = _Lines(path)
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    source, read = _format(first)
    if read is None:
        raise lines.error(_FORMS, first)
    resolve = _Resolver(ontology, nouns, unknown)
    for name, rows in groupby(read(lines, first), key=itemgetter(0)):
        classes = resolve(chain.from_iterable(classes for _, classes in rows), read is _csv)
        if classes:
            yield _title(name), classes, source


class _Lines:
    """The lines of a file, and where in it one is."""

    def __init__(self, path: str | os.PathLike):
        self.path, self.number = path, 0
        self._lines = read_raw_lines(path, TableError)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        return decode_line(line, self.number, f"{self.path}:{self.number}", TableError)

    def error(self, form: str, line: str) -> TableError:
        return TableError(f"{self.path}:{max(self.number, 1)}: expected {form}, got {line[:200]!r}")


# ---------------------------------------------------------------- formats


def _format(line: str) -> tuple[str, Callable[[_Lines, str], Iterator[Row]] | None]:
    """The source that a table's first line speaks of, and the reader of its rows."""
    if _TRIPLE.match(line):
        return "dbpedia", _triples
    if line.strip() == "entity,classes":
        return "dbpedia", _csv
    cells = line.rstrip("\r\n").split("\t")
    if len(cells) in (4, 5) and _RDF_TYPE.fullmatch(cells[2]):
        return "yago", _yago
    return ("mapping", _mapping) if len(cells) == 2 else ("", None)


def _yago(lines: _Lines, first: str) -> Iterator[Row]:
    for line in chain([first], lines):
        cells = line.rstrip("\r\n").split("\t")
        if len(cells) not in (4, 5) or not _RDF_TYPE.fullmatch(cells[2]) or not cells[1] or not cells[3]:
            raise lines.error("'<id> TAB <Title> TAB rdf:type TAB <class> TAB'", line)
        yield cells[1].strip("<>"), (cells[3].strip("<>"),)


def _triples(lines: _Lines, first: str) -> Iterator[Row]:
    for line in chain([first], lines):
        if not line.strip() or line.startswith("#"):
            continue
        triple = _TRIPLE.match(line)
        if triple is None or not _RDF_TYPE.fullmatch(triple[2]):
            raise lines.error("'<http://dbpedia.org/resource/Title> <…#type> <class> .'", line)
        yield triple[1].split("/resource/", 1)[-1], (triple[3],)


def _csv(lines: _Lines, first: str) -> Iterator[Row]:
    rows = csv.reader(lines, strict=True)
    while True:
        try:
            cells = next(rows, None)
        except csv.Error as error:
            raise TableError(f"{lines.path}:{lines.number}: not a valid CSV file ({error})") from None
        if cells is None:
            return
        if len(cells) != 2 or not cells[0] or not _CLASS_SET.fullmatch(cells[1]):
            raise lines.error("\"entity,{'Class', 'Class'}\"", ",".join(cells))
        yield cells[0], tuple(f"http://dbpedia.org/ontology/{name}" for name in sorted(re.findall(r"\w+", cells[1])))


def _mapping(lines: _Lines, first: str) -> Iterator[Row]:
    for line in chain([first], lines):
        if not line.strip() or line.startswith("#"):
            continue
        title, _, classes = line.strip("\r\n").partition("\t")
        if not title or not classes or "\t" in classes:
            raise lines.error("'title TAB class|class'", line)
        yield title.strip("<>"), tuple(name.strip("<> ") for name in classes.split("|"))


def _title(name: str) -> str:
    return page_title(unquote(_ESCAPE.sub(_character, name)))


def _character(escape: re.Match) -> str:
    """What an escape stands for; it stays as it is where it is no character."""
    code = int(escape[1] or escape[2], 16)
    return chr(code) if code < 0xD800 or 0xDFFF < code < 0x110000 else escape[0]


# ---------------------------------------------------------------- classes


class _Resolver:
    """Turns the classes that a table gives an entity into those of the ontology, and counts what it has to leave out."""

    def __init__(self, ontology: Ontology, nouns: Mapping[str, str], unknown: Counter[str]):
        self.ontology, self.nouns, self.unknown = ontology, nouns, unknown
        # YAGO's spellings of a class, "wordnet_river_109411430" and "River109411430", end in the synset's number.
        self._by_number = {type_id[-9:]: type_id for type_id in ontology.ids if type_id[-9:].isdigit()}
        self._class = lru_cache(maxsize=100_000)(self._find_class)
        self._dbpedia: dict[str, str] | None = None

    def __call__(self, names: Iterable[str], may_contradict: bool) -> tuple[str, ...]:
        """The most specific of the classes; where they ``may_contradict`` each other, those that they share."""
        known = []
        for name in names:
            type_id, reason = self._class(name)
            if type_id:
                known.append(type_id)
            else:
                self.unknown[reason] += 1
        known = self.ontology.most_specific(known)
        if may_contradict and len(known) > 1:
            shared = set.intersection(*(set(self.ontology.closure([c])) for c in known))
            known = self.ontology.most_specific(shared.intersection(self._dbpedia_classes().values()))
            if not known:
                self.unknown["classes that share nothing"] += 1
        return tuple(known)

    def _find_class(self, name: str) -> tuple[str, str]:
        """(class, "") or ("", why there is none)."""
        space, slash, last = name.rpartition("/") if name.startswith("http") else ("", "", name)
        if slash and space.endswith("/ontology"):
            type_id = self._dbpedia_classes().get(last, "")
        elif last.startswith("wikicat_") or (slash and last.startswith("Wikicat")):
            category = last[8:].replace("_", " ") if last[7] == "_" else _CAMEL.sub(" ", last[7:])
            return class_of_category(category, self.nouns), "category without a telling head noun"
        else:
            type_id = last if last in self.ontology else self._by_number.get(last[-9:], "")
        return (type_id if type_id in self.ontology else ""), last

    def _dbpedia_classes(self) -> dict[str, str]:
        if self._dbpedia is None:
            with DBPEDIA_CLASSES.open(encoding="utf-8") as lines:
                self._dbpedia = dict(line.split() for line in lines if not line.startswith("#"))
        return self._dbpedia

"""What an article's title names: YAGO classes of a linked title.

Three sources, in this order: WordNet's named instances, the article's own categories, and the words of the title itself
("Coosa *River*", "*Battle* of Damghan", "Time (*magazine*)", "Mobile, *Alabama*").
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

try:
    from ..ontology_finener import Ontology
except ImportError:
    from ontology_finener import Ontology

from . import tables
from .wikitext import category_head

PERSON = "Person100007846"
SETTLEMENT = "Municipality108626283"  # of a title like "Mobile, Alabama"


class Sense(NamedTuple):
    """One of the things a name stands for."""

    synset: str
    classes: tuple[str, ...]


Gazetteer = Mapping[str, list[Sense]]


class TableError(ValueError):
    """A line of a gazetteer or noun table is not valid. The message names file, line and what was expected."""


def read_gazetteer(path: str | os.PathLike) -> dict[str, list[Sense]]:
    """Reads lines ``name TAB synset TAB class|class``; a name's lines stand in WordNet's order of its senses.

    Raises:
        TableError: on a line of another form.
    """
    names: dict[str, list[Sense]] = {}
    for name, synset, classes in _rows(path, "name TAB synset TAB class|class"):
        names.setdefault(name, []).append(Sense(synset, tuple(filter(None, classes.split("|")))))
    return names


def read_nouns(path: str | os.PathLike) -> dict[str, str]:
    """Reads lines ``noun TAB class``. Raises TableError on a line of another form."""
    return {noun: type_id for noun, type_id in _rows(path, "noun TAB class")}


def _rows(path: str | os.PathLike, form: str) -> Iterator[list[str]]:
    with Path(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            cells = line.rstrip("\n").split("\t")
            if len(cells) != form.count("TAB") + 1 or not all(cells[:2]):
                raise TableError(f"{path}:{number}: expected {form!r}, got {line!r}")
            yield cells


class TitleTyper:
    """Types of titles, under one ontology.

    Args:
        ontology: classes outside it are left out, and collected in ``unknown_classes``.
        gazetteer: name → senses.
        nouns: singular noun → class, for categories and brackets.
        is_name: whether a single word is written as a name in the texts at hand ("Angola", not "Algorithm").

    ``categories`` is to be filled with the categories of the articles at hand before the first title is asked for.
    """

    def __init__(
        self, ontology: Ontology, gazetteer: Gazetteer, nouns: Mapping[str, str], is_name: Callable[[str], bool]
    ):
        self.ontology = ontology
        self.gazetteer = gazetteer
        self.nouns = nouns
        self.is_name = is_name
        self.categories: dict[str, tuple[str, ...]] = {}
        self.unknown_classes: set[str] = set()
        self.names_of: dict[str, list[str]] = defaultdict(list)
        self._kinds: dict[str, str] = {}
        self._types: dict[str, tuple[tuple[str, ...], str]] = {}
        self._folded: dict[str, str] = {}
        self._people: dict[tuple[str, str], dict[str, Sense]] = defaultdict(dict)
        given = defaultdict(set)
        for name, senses in gazetteer.items():
            self._folded.setdefault(_fold(name), name)
            words = name.split()
            for sense in senses:
                self.names_of[sense.synset].append(name)
                if len(words) > 1 and self.kind(sense.classes) in ("person", "being"):
                    given[words[0]].add(sense.synset)
                    self._people[words[0], words[-1]][sense.synset] = sense
        self.given_names = frozenset(name for name, synsets in given.items() if len(synsets) > 1)

    # ---------------------------------------------------------------- classes

    def known(self, classes: Iterable[str]) -> tuple[str, ...]:
        """Those classes that the ontology has, most specific only, in index order."""
        classes = list(classes)
        self.unknown_classes.update(c for c in classes if c not in self.ontology)
        return tuple(self.ontology.most_specific(c for c in classes if c in self.ontology))

    def kind_of_class(self, type_id: str) -> str:
        """The coarse kind of a class, "" for one that names nothing we mark."""
        if type_id not in self._kinds:
            closure = set(self.ontology.closure(self.known([type_id])))
            kinds = (kind for kind, roots in tables.KINDS.items() if not closure.isdisjoint(roots))
            self._kinds[type_id] = next(kinds, "") if closure.isdisjoint(tables.UNNAMED) else ""
        return self._kinds[type_id]

    def kind(self, classes: Iterable[str]) -> str:
        """The kind of most of the classes; of two as frequent, the earlier in ``tables.KINDS``; "" when none has one."""
        votes = Counter(filter(None, map(self.kind_of_class, classes)))
        return max(tables.KINDS, key=votes.__getitem__) if votes else ""

    def common(self, senses: Iterable[Sense]) -> tuple[str, ...]:
        """The most specific classes that all senses share, ancestors included."""
        closures = [set(self.ontology.closure(self.known(sense.classes))) for sense in senses]
        return tuple(self.ontology.most_specific(set.intersection(*closures))) if closures else ()

    def is_a(self, sense: Sense, type_id: str) -> bool:
        """Whether a sense is of a class or of one below it."""
        return type_id in self.ontology.closure(self.known(sense.classes))

    # ---------------------------------------------------------------- names

    def is_surname_of(self, name: str, sense: Sense) -> bool:
        """Whether the name is only the last part of a person's fuller name: "Houston" of Sam Houston."""
        return " " not in name and any(other.endswith(f" {name}") for other in self.names_of[sense.synset])

    def senses(self, name: str) -> list[Sense]:
        """What a bare title may name, of what we mark; the most prominent first.

        A name that the gazetteer lacks is looked for without its accents and hyphens, and as a person's name with other or no
        middle names ("Friedrich Nietzsche" for Friedrich Wilhelm Nietzsche) where that means one person.
        """
        senses = self.gazetteer.get(name) or self.gazetteer.get(self._folded.get(_fold(name), "")) or self._person(name)
        kept = [s for s in senses if self.kind(s.classes) and not self._is_poor(name, s)]
        return sorted(kept, key=self.prominence)

    def _is_poor(self, name: str, sense: Sense) -> bool:
        """Whether Wikipedia would not call the sense by the bare name: surnames, and battles named like their places."""
        kind = self.kind(sense.classes)
        if kind == "person":
            return self.is_surname_of(name, sense)
        is_battle = kind == "event" and self.is_a(sense, "MilitaryAction100952963")
        return is_battle and (" " not in name or name.split()[0] in tables.LEADING_HEADS)

    def _person(self, name: str) -> list[Sense]:
        words = name.split()
        if not 2 <= len(words) <= 3:
            return []
        found = []
        for sense in self._people.get((words[0], words[-1]), {}).values():
            full_names = (other.split() for other in self.names_of[sense.synset])
            middles = {
                other[1][0]
                for other in full_names
                if len(other) > 2 and other[0] == words[0] and other[-1] == words[-1]
            }
            if len(words) == 2 or not middles or words[1][0] in middles:
                found.append(sense)
        return found if len(found) == 1 else []

    @staticmethod
    def prominence(sense: Sense) -> int:
        """Rank of a sense among a name's senses, 0 the most prominent."""
        return min((tables.PROMINENCE.get(c, tables.PROMINENCE_OF_OTHERS) for c in sense.classes), default=99)

    def aliases(self, title: str) -> list[str]:
        """The other names of what a title names."""
        return [name for sense in self.senses(title)[:1] for name in self.names_of[sense.synset]]

    def looks_like_name(self, title: str) -> bool:
        """Whether a title is a proper name: titles of other articles have lower-case words ("Alkali metal")."""
        words = re.findall(r"\w[\w'’.-]*", title)
        if not words or not any(c.isalpha() for c in title):
            return False
        if len(words) == 1:
            return self.is_name(words[0])
        return all(not w[0].islower() or w in tables.LOWER_IN_NAMES for w in words) and any(
            not w[0].islower() for w in words[1:]
        )

    # ---------------------------------------------------------------- titles

    def types(self, title: str) -> tuple[tuple[str, ...], str]:
        """Types of the article of that title, most specific only, and their source.

        Returns:
            (types, "wordnet" | "category" | "title"), or ((), "") for a title that is no name or of which nothing is known.
        """
        if title not in self._types:
            self._types[title] = self._find_types(title)
        return self._types[title]

    def _find_types(self, title: str) -> tuple[tuple[str, ...], str]:
        senses = self.senses(title)
        own, kind = self._category_types(title)
        senses = [s for s in senses if self.kind(s.classes) == kind] or senses
        if senses and (" " in title or self.is_name(title)):
            is_same_person = kind == "person" == self.kind(senses[0].classes)
            return self.known([*senses[0].classes, *(own if is_same_person else ())]), "wordnet"
        if own and self.looks_like_name(_without_bracket(title)):
            return own, "category"
        types = self.known(self._title_classes(title))
        return (types, "title") if types else ((), "")

    def _category_types(self, title: str) -> tuple[tuple[str, ...], str]:
        """Classes of the kind that most of the article's categories speak of, and that kind."""
        votes: Counter[str] = Counter()
        is_person = False
        for category in self.categories.get(title, ()):
            if tables.PEOPLE_ONLY.search(category):
                is_person = True
            elif not tables.MAINTENANCE.search(category):
                head = category_head(category, self.nouns)
                if head and head not in tables.SAYS_LITTLE:
                    votes[head] += 1
        kind = "person" if is_person else self.kind(self.nouns[head] for head in votes.elements())
        heads = [head for head in votes if kind and self.kind_of_class(self.nouns[head]) == kind]
        if kind == "person":
            # What a single category says of a person is often by the way ("Tennis autobiographers").
            heads = [
                head for head, _ in votes.most_common() if head in heads and head not in tables.SAYS_LITTLE_OF_PEOPLE
            ]
            heads = [head for rank, head in enumerate(heads) if votes[head] > 1 or rank < 3]
            return self.known([PERSON, *(self.nouns[head] for head in heads)]), kind
        return self.known(self.nouns[head] for head in heads), kind

    def _title_classes(self, title: str) -> tuple[str, ...]:
        base, bracket, qualifier = title.partition(" (")
        if bracket and (classes := self._qualified(base, qualifier.rstrip(")"))):
            return classes
        if not self.looks_like_name(base):
            return ()
        return _ranked(base) or self._headed(base) or (() if bracket else self._placed(base))

    def _qualified(self, base: str, qualifier: str) -> tuple[str, ...]:
        """ "Time (magazine)", "Georgia (U.S. state)", "Ajax (mythology)" """
        senses = self.gazetteer.get(base, ())
        if qualifier.endswith("mythology"):
            return self.common(s for s in senses if self.kind(s.classes) == "being")
        noun = " ".join(re.split(r",| of | from | in ", qualifier)[0].split()[-1:])
        type_id = tables.QUALIFIERS.get(noun) or self.nouns.get(noun)
        if type_id is None or (noun not in tables.QUALIFIERS and not self._names_person(base, type_id)):
            return ()
        fitting = [s for s in senses if self.is_a(s, type_id)]
        return fitting[0].classes if fitting else (type_id,)

    def _names_person(self, base: str, type_id: str) -> bool:
        return self.kind_of_class(type_id) == "person" and self.looks_like_name(base)

    def _headed(self, base: str) -> tuple[str, ...]:
        """ "Coosa River", "Battle of Damghan", "Lake Claire" """
        words = base.split()
        if len(words) < 2 or (len(words) == 2 and words[0] in self.given_names):
            return ()  # "Shirley Temple" is no temple
        front = tables.AFTER_TITLE_HEAD.split(base)[0].split()
        for head in (base.split(" ", 1)[1][-24:], " ".join(front[-2:]), front[-1] if front else ""):
            if head in tables.TITLE_HEADS:
                return (tables.TITLE_HEADS[head],)
        leading = tables.LEADING_HEADS.get(words[0], "")
        return (leading,) if leading and len(words) < 4 and "," not in base else ()

    def _placed(self, base: str) -> tuple[str, ...]:
        """ "Mobile, Alabama" """
        name, comma, region = base.rpartition(", ")
        senses = self.senses(region) if comma else []
        if not senses or self.kind(senses[0].classes) != "place" or "," in name or " of " in name:
            return ()
        return self.common(s for s in self.senses(name) if self.is_a(s, SETTLEMENT)) or (SETTLEMENT,)


def _ranked(base: str) -> tuple[str, ...]:
    """ "Pope Pius IX", "William Howe, 5th Viscount Howe", "Zog I of Albania" """
    if rank := tables.RANK_AFTER_COMMA.search(base):
        return (tables.RANKS[rank.group(1)],)
    if tables.NUMBERED_RULER.search(base):
        return (tables.RULER,)
    first, blank, rest = base.partition(" ")
    return (tables.LEADING_RANKS[first],) if blank and first in tables.LEADING_RANKS and rest.count(" ") < 3 else ()


def _fold(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name.replace("-", " "))
    return "".join(c for c in letters if not unicodedata.combining(c))


def _without_bracket(title: str) -> str:
    return title.split(" (")[0]

"""What an article's title names: YAGO classes of a linked title.

WordNet's named instances come first, where they fit what is known of the article; then tables of types (one's own, YAGO's), the
article's categories and its first sentence. Of a person they all may tell; of other things the first that knows it. Only where all
of them are silent do DBpedia's classes and the words of the title speak ("Coosa *River*", "*Battle* of Damghan",
"Time (*magazine*)", "Mobile, *Alabama*", "*Samuel* M. Comer").
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeVar

from finener.data_scripts.raw_files import read_text_lines
from finener.data_scripts.silver import lexicon
from finener.data_scripts.silver.category_names import category_head, singular
from finener.ontology_finener import Ontology

PERSON = "Person100007846"
# Of titles like "Mobile, Alabama", "Wimbledon, London" and "Dunmere, Cornwall".
SETTLEMENT = "Municipality108626283"
DISTRICT = "District108552138"
PLACE = "Location100027167"
STATE = "State108654360"
REMEMBERED = 100_000  # titles whose types are kept at hand: a whole Wikipedia's would not fit


class Sense(NamedTuple):
    """One of the things a name stands for."""

    synset: str
    classes: tuple[str, ...]


Gazetteer = Mapping[str, list[Sense]]


class TableError(ValueError):
    """A line of a table is not valid. The message names file, line and what was expected."""


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
    for number, line in read_text_lines(path, TableError):
        cells = line.split("\t")
        if len(cells) != form.count("TAB") + 1 or not all(cells[:2]):
            raise TableError(f"{path}:{number}: expected {form!r}, got {line[:200]!r}")
        yield cells


Evidence = tuple[str, Iterable[str]]  # a source, and the classes that it gives
Value = TypeVar("Value")


class Lookup(Protocol[Value]):
    """What is known of a title; a dict, or something that asks a database."""

    def get(self, title: str, default: Value, /) -> Value:
        """What is known of the title, or the default."""
        ...


class TitleTyper:
    """Types of titles, under one ontology.

    Args:
        ontology: classes outside it are left out, and collected in ``unknown_classes``.
        gazetteer: name → senses.
        nouns: singular noun → class, for categories and brackets.
        is_name: whether a single word is written as a name in the texts at hand ("Angola", not "Algorithm").

    Before the first title is asked for, fill or replace what is known of titles; each title is looked up once:
    ``categories``: those of its article. ``leads``: the head noun of its article's first sentence, see :func:`lead_noun`.
    ``tables``: (classes, source), as :func:`~finener.data_scripts.silver.type_tables.read_types` gives them.
    """

    def __init__(
        self, ontology: Ontology, gazetteer: Gazetteer, nouns: Mapping[str, str], is_name: Callable[[str], bool]
    ):
        self.ontology = ontology
        self.gazetteer = gazetteer
        self.nouns = nouns
        self.is_name = is_name
        self.categories: Lookup[Iterable[str]] = {}
        self.leads: Lookup[str] = {}
        self.tables: Lookup[tuple[Iterable[str], str]] = {}
        self.unknown_classes: set[str] = set()
        self.names_of: dict[str, list[str]] = defaultdict(list)
        self._kind_of_class = lru_cache(maxsize=REMEMBERED)(self._find_kind)
        self._types = lru_cache(maxsize=REMEMBERED)(self._find_types)
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
        return self._kind_of_class(type_id)

    def _find_kind(self, type_id: str) -> str:
        closure = set(self.ontology.closure(self.known([type_id])))
        kinds = (kind for kind, roots in lexicon.KINDS.items() if not closure.isdisjoint(roots))
        return next(kinds, "") if closure.isdisjoint(lexicon.UNNAMED) else ""

    def kind(self, classes: Iterable[str]) -> str:
        """The kind of most of the classes; of two as frequent, the earlier in ``lexicon.KINDS``; "" when none has one."""
        votes = Counter(filter(None, map(self.kind_of_class, classes)))
        return max(lexicon.KINDS, key=votes.__getitem__) if votes else ""

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
        return is_battle and (" " not in name or name.split()[0] in lexicon.LEADING_HEADS)

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
        return min((lexicon.PROMINENCE.get(c, lexicon.PROMINENCE_OF_OTHERS) for c in sense.classes), default=99)

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
        return all(not w[0].islower() or w in lexicon.LOWER_IN_NAMES for w in words) and any(
            not w[0].islower() for w in words[1:]
        )

    # ---------------------------------------------------------------- titles

    def types(self, title: str) -> tuple[tuple[str, ...], str]:
        """Types of the article of that title, most specific only, and their source.

        Returns:
            (types, source): "wordnet", "mapping", "yago", "category" or "lead", or else "dbpedia" or "title"; the first of those
            that gave the types. ((), "") for a title that is no name or of which nothing is known.
        """
        return self._types(title)

    def _find_types(self, title: str) -> tuple[tuple[str, ...], str]:
        if lexicon.NO_NAME.search(title):
            return (), ""
        listed: Iterable[str]
        listed, table = self.tables.get(title, ((), ""))
        own: list[Evidence] = []
        if self.looks_like_name(_without_bracket(title)):
            own = [(table, listed), ("category", self._category_classes(title)), ("lead", self._lead_classes(title))]
            own = [(source, self._of_one_kind(classes)) for source, classes in own]
        doubtful = [evidence for evidence in own if evidence[0] == "dbpedia"]
        own = [evidence for evidence in own if evidence[0] != "dbpedia"]
        return (
            self._together([("wordnet", self._sense(title, own)), *own])
            or self._together(self._guesses(title, doubtful))
            or ((), "")
        )

    def _together(self, evidence: Iterable[Evidence]) -> tuple[tuple[str, ...], str] | None:
        """What the first source says that speaks of something with a name, and that source.

        Of people the other sources may tell more; of other things they tell the same in less fitting classes.
        """
        spoken = [(source, kind, classes) for source, classes in evidence if (kind := self.kind(classes))]
        if not spoken:
            return None
        source, kind, classes = spoken[0]
        if kind == "person":
            classes = [c for _, other, more in spoken if other == kind for c in more]
        return self.known(classes), source

    def _guesses(self, title: str, doubtful: list[Evidence]) -> list[Evidence]:
        """What the title's words say, and what DBpedia does: that first, unless it is of the same kind and only less exact."""
        words: Evidence = ("title", self._title_classes(title))
        is_like = any(self.kind(classes) == self.kind(words[1]) for _, classes in doubtful)
        return [words, *doubtful] if is_like else [*doubtful, words]

    def _of_one_kind(self, classes: Iterable[str]) -> tuple[str, ...]:
        """Those classes that are of the kind that most of them are of.

        Of a group, some sources say what its members are ("musicians"): with a group and people, it is the group that is meant,
        unless there is a word of birth or death.
        """
        classes = tuple(classes)
        kinds = [self.kind_of_class(c) for c in classes]
        kind = self.kind(classes)
        if kind == "person" and "organization" in kinds and PERSON not in classes:
            kind = "organization"
        return tuple(c for c, its_kind in zip(classes, kinds, strict=True) if kind and its_kind == kind)

    def _category_classes(self, title: str) -> tuple[str, ...]:
        classes = (class_of_category(category, self.nouns) for category in self.categories.get(title, ()))
        votes = Counter(self._of_one_kind(filter(None, classes)))
        # What a single category says is often by the way ("Tennis autobiographers").
        if PERSON not in self.ontology.closure(self.known(votes)):
            return tuple(c for c in votes if votes[c] > 1) or tuple(votes)
        telling = [c for c, _ in votes.most_common() if c != PERSON]
        return (PERSON, *(c for rank, c in enumerate(telling) if votes[c] > 1 or rank < 3))

    def _sense(self, title: str, known: Iterable[Evidence]) -> tuple[str, ...]:
        """The classes of WordNet's sense of a title that fits what is known of it."""
        if " " not in title and not self.is_name(title):
            return ()
        kind = next(filter(None, (self.kind(classes) for _, classes in known)), "")
        fitting = [sense for sense in self.senses(title) if kind in ("", self.kind(sense.classes))]
        if not fitting or (kind == "person" and len(fitting) > 1):
            return ()  # one of several people of that name, of whom another source tells
        return fitting[0].classes

    def _lead_classes(self, title: str) -> tuple[str, ...]:
        noun = self.leads.get(title, "")
        return (self.nouns[noun],) if noun else ()

    def _title_classes(self, title: str) -> tuple[str, ...]:
        base, bracket, qualifier = title.partition(" (")
        if bracket and (classes := self._qualified(base, qualifier.rstrip(")"))):
            return classes
        if ":" in base or qualifier.rstrip(")").split(" ")[-1] in lexicon.WORKS or not self.looks_like_name(base):
            return ()
        if classes := _ranked(base) or self._headed(base):
            return classes
        return () if bracket else self._placed(base) or self._person_named(base)

    def _qualified(self, base: str, qualifier: str) -> tuple[str, ...]:
        """ "Time (magazine)", "Georgia (U.S. state)", "Ajax (mythology)" """
        senses = self.gazetteer.get(base, ())
        if qualifier.endswith("mythology"):
            return self.common(s for s in senses if self.kind(s.classes) == "being")
        noun = " ".join(re.split(r",| of | from | in ", qualifier)[0].split()[-1:])
        type_id = lexicon.QUALIFIERS.get(noun) or self.nouns.get(noun)
        if type_id is None or (noun not in lexicon.QUALIFIERS and not self._names_person(base, type_id)):
            return ()
        fitting = [s for s in senses if self.is_a(s, type_id)]
        return fitting[0].classes if fitting else (type_id,)

    def _names_person(self, base: str, type_id: str) -> bool:
        return self.kind_of_class(type_id) == "person" and self.looks_like_name(base)

    def _headed(self, base: str) -> tuple[str, ...]:
        """ "Coosa River", "Battle of Damghan", "Lake Claire" """
        words = base.split()
        if len(words) < 2 or (len(words) == 2 and words[0] in self.given_names) or lexicon.NO_TITLE_HEAD.search(base):
            return ()  # "Shirley Temple" is no temple
        if lexicon.ACT.search(base):
            return (lexicon.LAW,)
        front = lexicon.AFTER_TITLE_HEAD.split(base)[0].split()
        for head in (base.split(" ", 1)[1][-24:], " ".join(front[-2:]), front[-1] if front else ""):
            if type_id := lexicon.TITLE_HEADS.get(head):
                return () if "," in base and self._is_nature(type_id) else (type_id,)
        is_short = len(words) == 2 or (
            len(words) == 3 and words[1].endswith(".")
        )  # "Lake St. Clair", not "Cape Fold Belt"
        leading = lexicon.LEADING_HEADS.get(words[0], "") if is_short and "," not in base else ""
        return (leading,) if leading else ()

    def _is_nature(self, type_id: str) -> bool:
        """Whether a place has the class by nature: towns are called after such places ("Carnelian Bay, California")."""
        return self.kind_of_class(type_id) in ("place", "water") and DISTRICT not in self.ontology.closure([type_id])

    def _placed(self, base: str) -> tuple[str, ...]:
        """Classes of "Mobile, Alabama"; of "Wimbledon, London", a district of it; of "Dunmere, Cornwall", a place of some kind."""
        name, comma, region = base.rpartition(", ")
        senses = self.senses(region) if comma else []
        if not senses or self.kind(senses[0].classes) != "place" or "," in name or " of " in name:
            return ()
        if any(self.is_a(senses[0], type_id) for type_id in lexicon.CITIES):
            return (DISTRICT,)
        if not self.is_a(senses[0], STATE):
            return (PLACE,)
        own = self.common(s for s in self.senses(name) if self.is_a(s, SETTLEMENT))
        # Of a namesake ("Corinth, Mississippi") it may share the kind of town, but not that it is a port.
        return tuple(c for c in own if SETTLEMENT in self.ontology.closure([c])) or (SETTLEMENT,)

    def _person_named(self, base: str) -> tuple[str, ...]:
        """ "Samuel M. Comer", "Adolf Brand": a given name before words that are no other thing's"""
        first, *rest = base.split()
        if not 1 <= len(rest) <= 3 or first not in self.given_names or first in lexicon.NO_GIVEN_NAMES or "." in first:
            return ()
        last = rest[-1]
        kind = self.kind_of_class(self.nouns.get(last.lower(), ""))
        is_thing = last in lexicon.TITLE_HEADS or kind in ("structure", "organization", "event", "work", "vehicle")
        is_thing = is_thing or (len(rest) > 1 and len(rest[0]) > 2 and last.lower() in self.nouns and kind != "person")
        is_surname = last not in lexicon.PARTICLES and not is_thing and (kind == "person" or self.is_name(last))
        is_name = all(word in lexicon.PARTICLES or lexicon.NAME_WORD.fullmatch(word) for word in rest)
        return (PERSON,) if is_name and is_surname and self.is_name(first) else ()


def lead_noun(sentence: str, nouns: Mapping[str, str]) -> str:
    """The noun that an article's first sentence calls its subject, with as many of its modifiers as ``nouns`` knows.

    "river" of "The Coosa is a tributary-rich river in Alabama", "computer scientist" of "Ada Lee (born 1950) was an English
    computer scientist and poet"; "" when the sentence has another form, or calls its subject a part, a kind or a name of
    something.
    """
    plain = lexicon.IN_BRACKETS.sub("", sentence)
    plain = lexicon.IN_BRACKETS.sub("", plain)  # brackets in brackets
    match = lexicon.DEFINITION.match(plain)
    if match is None:
        return ""
    words: list[str] = []
    phrase = match["phrase"].split()
    for word, following in zip(phrase, [*phrase[1:], ""], strict=True):
        is_clause = word.endswith(("ed", "ing")) and following.lower() in lexicon.AFTER_LEAD  # "directed by"
        if words and (is_clause or word.lower() in lexicon.AFTER_LEAD):
            break
        words.append(word.strip("\"'“”‘’,.;:–—"))
        if word[-1] in ",.;:–—":
            break
    return _known_phrase(words, nouns)


def _known_phrase(words: list[str], nouns: Mapping[str, str]) -> str:
    """The longest phrase of ``nouns`` at the end of the words, in the singular."""
    head = words[-1] if words else ""
    compound = head.split("-")  # "singer-songwriter"
    last = compound[-1] if head.islower() and all(word in nouns for word in compound) else ""
    for noun in filter(None, (head, singular(head), last)):
        for first in range(max(0, len(words) - 3), len(words)):
            phrase = " ".join([*words[first:-1], noun])
            if phrase in nouns and noun not in lexicon.SAYS_LITTLE_IN_LEADS:
                return phrase
    return ""


def class_of_category(category: str, nouns: Mapping[str, str]) -> str:
    """The class that a category's members are of: that of its head noun; "" for one that tells little.

    "1815 births" tells of a person, "Rivers of France" of rivers, "Articles with dead links" and "History of France" of nothing.
    """
    if lexicon.PEOPLE_ONLY.search(category):
        return PERSON
    head = "" if lexicon.MAINTENANCE.search(category) else category_head(category, nouns)
    if head in lexicon.SAYS_PERSON:
        return PERSON
    return nouns[head] if head and head not in lexicon.SAYS_LITTLE else ""


def _ranked(base: str) -> tuple[str, ...]:
    """ "Pope Pius IX", "William Howe, 5th Viscount Howe", "Zog I of Albania" """
    if rank := lexicon.RANK_AFTER_COMMA.search(base):
        return (lexicon.RANKS[rank.group(1)],)
    if lexicon.NUMBERED_RULER.search(base):
        return (lexicon.RULER,)
    first, blank, rest = base.partition(" ")
    return (lexicon.LEADING_RANKS[first],) if blank and first in lexicon.LEADING_RANKS and rest.count(" ") < 3 else ()


def _fold(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name.replace("-", " "))
    return "".join(c for c in letters if not unicodedata.combining(c))


def _without_bracket(title: str) -> str:
    return title.split(" (")[0]

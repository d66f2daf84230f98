"""Which names there are and what they name: titles, anchors of links, and names that nothing links."""

from collections import Counter
from pathlib import Path

import pytest

from finener.data_scripts.silver.gazetteer import UnlinkedNames
from finener.data_scripts.silver.lexicon import (
    KINDS,
    LEADING_HEADS,
    PROMINENCE,
    QUALIFIERS,
    RANKS,
    RULER,
    TITLE_HEADS,
    UNNAMED,
)
from finener.data_scripts.silver.names import WordCounts, inner_words, name_of_link
from finener.data_scripts.silver.titles import PERSON, SETTLEMENT, TableError, TitleTyper, read_gazetteer, read_nouns
from finener.data_scripts.silver.wikitext import Link
from finener.ontology_finener import Ontology

ONTOLOGIES = Path(__file__).resolve().parents[3] / "ontologies"


@pytest.fixture(scope="module")
def yago():
    return Ontology.from_json(ONTOLOGIES / "yago.json")


@pytest.fixture(scope="module")
def gazetteer():
    return read_gazetteer(ONTOLOGIES / "yago_gazetteer.tsv")


@pytest.fixture(scope="module")
def nouns():
    return read_nouns(ONTOLOGIES / "yago_nouns.tsv")


def test_the_tables_name_classes_of_the_ontology(yago):
    named = {
        *TITLE_HEADS.values(),
        *LEADING_HEADS.values(),
        *QUALIFIERS.values(),
        *RANKS.values(),
        *PROMINENCE,
        *UNNAMED,
    }
    assert [
        c
        for c in sorted(named) + [c for roots in KINDS.values() for c in roots] + [PERSON, SETTLEMENT, RULER]
        if c not in yago
    ] == []


@pytest.fixture(scope="module")
def typer(yago, gazetteer, nouns):
    typer = TitleTyper(yago, gazetteer, nouns, is_name=lambda word: word not in ("Moon", "Time"))
    typer.categories |= {
        "Ada Quill": (
            "1815 births",
            "Living people",
            "English poets",
            "Poets from Bree",
            "Alumni of X",
            "Towns in Eriador",
        ),
        "Stonefall": ("Bridges in Eriador", "Bridges completed in 1900", "1900 establishments", "Articles with links"),
        "Alkali metal": ("Metals", "Chemical groups"),
        "Angola": ("Countries in Africa", "Member states of X"),
        "Ulm Minster X": ("1900 establishments in Ulm", "Wikipedia articles", "Stubs"),
    }
    return typer


def names(types):
    return [t[:-9] for t in types]


@pytest.mark.parametrize(
    ("title", "expected", "source"),
    [
        ("Karl Marx", ["Economist", "Philosopher", "Revolutionist"], "wordnet"),
        ("Jordan", ["Country"], "wordnet"),  # WordNet's first sense is the river
        ("Niger", ["Country"], "wordnet"),
        ("Neptune", ["GasGiant", "OuterPlanet", "SuperiorPlanet"], "wordnet"),
        ("Angola", ["Country"], "wordnet"),
        ("Friedrich Nietzsche", ["Philosopher"], "wordnet"),  # Friedrich Wilhelm Nietzsche
        ("Zürich", ["City"], "wordnet"),  # without its accents
        ("Ada Quill", ["Poet"], "category"),
        ("Stonefall", ["Bridge"], "category"),
        ("Coosa River", ["River"], "wordnet"),
        ("Brandy River", ["River"], "title"),
        ("Battle of Bree", ["Battle"], "title"),
        ("University of Bree", ["University"], "title"),
        ("Bree Act of 1911", ["Law"], "title"),
        ("Lake Bree", ["Lake"], "title"),
        ("Time (magazine)", ["Periodical"], "title"),
        ("The Tale (1975 film)", ["Movie"], "title"),
        ("Bo Lee (historian)", ["Historian"], "title"),
        ("Georgia (U.S. state)", ["State"], "title"),
        ("Ajax (mythology)", ["MythicalBeing"], "title"),
        ("Breeville, Alabama", ["Municipality"], "title"),
        ("Bree Party (United States)", ["Party"], "title"),
        ("Bo Lee, 5th Viscount Lee", ["Noble"], "title"),
        ("Bo II of Bree", ["Sovereign"], "title"),
        ("Shirley Temple", ["Actress"], "wordnet"),
        ("Robert Temple", [], ""),  # a surname is no building
        ("Alkali metal", [], ""),  # not a name
        ("Moon", [], ""),  # as often in lower case here
        ("History of Angola", [], ""),
        ("Ulm Minster X", [], ""),
        ("English language", [], ""),
        ("May", [], ""),
        ("1990s", [], ""),
    ],
)
def test_types_of_titles(typer, title, expected, source):
    types, found = typer.types(title)
    assert (names(types), found) == (expected, source)


def test_tables_name_file_and_line(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("Bree\t1\tTown\nRohan\n", encoding="utf-8")
    with pytest.raises(TableError, match=r"t\.tsv:2: expected 'name TAB synset TAB class\|class', got 'Rohan'"):
        read_gazetteer(path)


@pytest.mark.parametrize(
    ("anchor", "title", "aliases", "is_place", "expected"),
    [
        ("France", "France", [], True, "France"),
        ("French", "France", [], True, None),
        ("Byzantine", "Byzantine Empire", [], True, None),
        ("France's", "France", [], True, "France"),
        ("McDonald's", "McDonald's", [], False, "McDonald's"),
        ("the Hague", "Hague", [], True, None),
        ("The Hague", "The Hague", [], True, "The Hague"),
        ("U.S.", "United States", [], True, "U.S."),
        ("Marx", "Karl Marx", [], False, "Marx"),
        ("President Lee", "Bo Lee", [], False, None),
        ("Bo Q. Lee", "Bo Lee", [], False, "Bo Q. Lee"),
        ("Shiloh", "Battle of Shiloh", [], False, None),
        ("Coosa", "Coosa River", [], True, "Coosa"),
        ("Formosa", "Taiwan", ["Formosa"], True, "Formosa"),
        ("Walled city of Baku", "Baku", [], True, None),
        ("Outside the Law (2010)", "Outside the Law (film)", [], False, "Outside the Law"),
    ],
)
def test_which_anchors_are_names(anchor, title, aliases, is_place, expected):
    text = f"In {anchor} now"
    span = name_of_link(text, Link(3, 3 + len(anchor), title), title, aliases, is_place=is_place)
    if expected is None:
        assert isinstance(span, str) or text[slice(*span)] != anchor
    else:
        assert text[slice(*span)] == expected


def test_unlinked_names_must_be_clear(typer):
    texts = (
        "We saw Angola, Turkey, Paris, Paul and Nike.",
        "We ate turkey with Reading and reading.",
        "In Boston by Lee.",
    )
    counts = WordCounts(Counter(word for text in texts for word in inner_words(text)))
    names_of = UnlinkedNames(typer, counts, {})
    assert names(names_of.types("Angola")) == ["Country"]
    assert names(names_of.types("Paris")) == ["NationalCapital"]
    assert names(names_of.types("Los Angeles")) == ["City", "PortOfEntry"]
    for unclear in (
        "Turkey",
        "Paul",
        "Reading",
        "Nike",
        "Lee",
        "Mark",
        "OR",
        "President Lincoln",
        "September 11",
        "Houston",
    ):
        if unclear in typer.gazetteer:
            assert names_of.types(unclear) == (), unclear

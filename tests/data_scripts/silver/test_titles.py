"""What titles name: which source is believed, and what words, categories and first sentences tell."""

from pathlib import Path

import pytest

from finener.data_scripts.silver.lexicon import (
    ACT,
    CITIES,
    LAW,
    NO_GIVEN_NAMES,
    SAYS_LITTLE,
    SAYS_LITTLE_IN_LEADS,
    SAYS_PERSON,
)
from finener.data_scripts.silver.titles import (
    DISTRICT,
    PERSON,
    PLACE,
    REMEMBERED,
    STATE,
    TitleTyper,
    class_of_category,
    lead_noun,
    read_gazetteer,
    read_nouns,
)
from finener.ontology_finener import Ontology

ONTOLOGIES = Path(__file__).resolve().parents[3] / "ontologies"
POET, RIVER, CITY, BRIDGE, BAND = (
    "Poet110444194",
    "River109411430",
    "City108524735",
    "Bridge102898711",
    "RockGroup108250501",
)


@pytest.fixture(scope="module")
def yago():
    return Ontology.from_json(ONTOLOGIES / "yago.json")


@pytest.fixture(scope="module")
def gazetteer():
    return read_gazetteer(ONTOLOGIES / "yago_gazetteer.tsv")


@pytest.fixture(scope="module")
def nouns():
    return read_nouns(ONTOLOGIES / "yago_nouns.tsv")


@pytest.fixture
def typer(yago, gazetteer, nouns):
    return TitleTyper(yago, gazetteer, nouns, is_name=lambda word: word not in ("Moon", "Great", "Technique"))


def names(typed):
    types, source = typed
    return [t[:-9] for t in types], source


def test_constants_are_classes(yago):
    assert [c for c in (DISTRICT, PLACE, STATE, LAW, *CITIES) if c not in yago] == []
    assert not SAYS_LITTLE & SAYS_PERSON


# ---------------------------------------------------------------- sources


def test_each_source_types_what_the_better_ones_do_not_know(typer):
    typer.tables = {
        "Aa Quill": ([POET], "yago"),
        "Bb Quill": ([POET], "dbpedia"),
        "Cc Quill": (["Organization108008335"], "mapping"),
    }
    typer.categories = {"Dd Quill": ("English poets", "1815 births")}
    typer.leads = {"Ee Quill": "poet", "Ff Quill": ""}
    assert [names(typer.types(f"{x} Quill")) for x in ("Aa", "Bb", "Cc", "Dd", "Ee", "Ff")] == [
        (["Poet"], "yago"),
        (["Poet"], "dbpedia"),
        (["Organization"], "mapping"),
        (["Poet"], "category"),
        (["Poet"], "lead"),
        ([], ""),
    ]


def test_sources_that_agree_on_a_person_are_put_together(typer):
    typer.tables = {"Karl Marx": (["Journalist110224578"], "yago")}
    typer.categories = {"Karl Marx": ("German sociologists", "1818 births", "Living people", "Alumni of X")}
    typer.leads = {"Karl Marx": "historian"}
    assert names(typer.types("Karl Marx")) == (
        ["Economist", "Historian", "Journalist", "Philosopher", "Revolutionist", "Sociologist"],
        "wordnet",
    )


def test_a_known_kind_chooses_among_namesakes(typer):
    """WordNet's Salerno is a landing of 1943 and nothing else."""
    assert names(typer.types("Salerno"))[0] != []
    typer._types.cache_clear()
    typer.tables = {"Salerno": ([CITY], "yago"), "Richard Burton": (["Actor109765278"], "yago")}
    assert names(typer.types("Salerno")) == (["City"], "yago")
    assert names(typer.types("Richard Burton")) == (["Actor"], "yago")  # not the explorer too


def test_of_other_things_the_best_source_speaks_alone(typer):
    typer.tables = {"Stonefall": ([BRIDGE], "yago"), "Bree Town": (["Location100027167"], "dbpedia")}
    typer.categories = {"Stonefall": ("Museums in Bree",)}
    assert names(typer.types("Stonefall")) == (["Bridge"], "yago")


def test_dbpedia_against_the_title(typer):
    typer.tables = {
        "Bree County, Alabama": ([DISTRICT], "dbpedia"),  # the words say the same, and more
        "Bree Street": (["TelevisionProgram106620579"], "dbpedia"),  # they say something else
    }
    assert names(typer.types("Bree County, Alabama")) == (["County"], "title")
    assert names(typer.types("Bree Street")) == (["TelevisionProgram"], "dbpedia")


def test_a_group_is_not_its_members(typer):
    typer.tables = {"The Quills": ([BAND, "Musician110340312", "Singer110599806"], "yago")}
    typer.categories = {"The Rohans": ("Rock music groups", "Singers from Bree", "English singers", "1990 births")}
    assert names(typer.types("The Quills")) == (["RockGroup"], "yago")
    assert names(typer.types("The Rohans")) == (["Singer"], "category")  # somebody was born


def test_what_one_category_says_by_the_way_is_left_out(typer):
    typer.categories = {
        "The Tale Show": ("Television series from Bree", "1990s serials", "British serials", "Games of Bree"),
        "Ada Quill": ("1815 births", "Poets", "English poets", "Pianists", "Chemists", "Sculptors", "Engineers"),
    }
    assert names(typer.types("The Tale Show")) == (["Serial"], "category")
    assert names(typer.types("Ada Quill")) == (["Chemist", "Pianist", "Poet"], "category")


def test_a_title_is_looked_up_once_in_each_source(typer):
    asked = []

    class Asked(dict):
        def get(self, title, default):
            asked.append((self["of"], title))
            return default

    typer.categories, typer.leads, typer.tables = Asked(of="categories"), Asked(of="leads"), Asked(of="tables")
    for _ in range(3):
        typer.types("Quill River, Alabama")
    assert sorted(asked) == [(of, "Quill River, Alabama") for of in ("categories", "leads", "tables")]


def test_what_is_remembered_is_bounded(typer):
    assert typer._types.cache_info().maxsize == typer._kind_of_class.cache_info().maxsize == REMEMBERED


# ---------------------------------------------------------------- words of the title


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Cedric Quill", []),  # no given name that WordNet knows twice
        ("Robert Quill", ["Person"]),
        ("Robert M. Quill", ["Person"]),
        ("Robert van der Quill", ["Person"]),
        ("Robert of Bree", ["Person"]),
        ("Robert Baker", ["Person"]),  # a noun, but of people
        ("Robert Bridge", []),
        ("Robert Technique", []),
        ("Robert and Alexandra", []),
        ("Robert Quill (album)", ["Album"]),
        ("Great Depression", []),
        ("Virginia Tech", []),
        ("Wimbleford, London", ["District"]),
        ("Dunmere, Cornwall", ["Location"]),
        ("Corinth, Mississippi", ["City"]),  # the Greek one is a port
        ("Quill Bay, Alabama", ["Municipality"]),  # not the bay
        ("Quill County, Alabama", ["County"]),
        ("Government of Bree", ["Government"]),
        ("Government of Bree Act 1935", ["Law"]),
        ("Quill Wars (TV series)", []),
        ("Quill: Hard Battle", []),
        ("The Battle of Bree", []),
        ("Beyond the Valley of the Quills", []),
        ("Bree Hall of Fame", []),
        ("White Pass and Bree Route", []),
        ("Bree Fold Belt", []),
        ("Cape Fold Belt", []),
        ("Lake St. Bree", ["Lake"]),
        ("Bachelor of Arts", []),
        ("Bree Airlines", ["Airline"]),
        ("Bree Football League", ["League"]),
        ("League of Bree", ["Association"]),
    ],
)
def test_words_of_titles(typer, title, expected):
    assert names(typer.types(title))[0] == expected


def test_classes_of_words_are_the_senses_meant(typer, yago):
    """Words whose first sense in WordNet is another thing: an air hose, the clergy, a form of government, people."""
    for title, parent in [
        ("Bree Airlines", "Organization108008335"),
        ("Ministry of Bree", "Organization108008335"),
        ("Republic of Bree", DISTRICT),
        ("Bo Lee, 5th Baron Lee", "Noble110271677"),
        ("Bree Library", "Facility103315023"),
    ]:
        assert parent in yago.closure(typer.types(title)[0]), title
    assert ACT.search("Bree Act of 1911") and not ACT.search("Actor")
    assert "Great" in NO_GIVEN_NAMES


# ---------------------------------------------------------------- categories and first sentences


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("Rivers of France", RIVER),
        ("1815 births", PERSON),
        ("People from Bree", PERSON),
        ("Alumni of Bree College", PERSON),
        ("Bulgarian footballers", "SoccerPlayer110618342"),
        ("Villages in Bree", "Village108672738"),
        ("English film producers", "FilmMaker110088390"),
        ("Record producers", "Producer110480018"),
        ("Capitol Records artists", ""),  # people and bands
        ("Bree Award winners", ""),
        ("Member states of the United Nations", ""),
        ("Articles with dead links", ""),
        ("History of France", ""),
    ],
)
def test_classes_of_categories(nouns, category, expected):
    assert class_of_category(category, nouns) == expected


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("The Coosa is a tributary-rich river in Alabama.", "river"),
        ("Ada Lee (born Ada King (of Bree); 1950) was an American computer scientist and poet.", "computer scientist"),
        ("The Quills are a Swiss rock band from Zürich.", "rock band"),
        ("Bree is the capital and largest city of Eriador.", "capital"),
        ("Bree is one of the oldest towns in Eriador.", "town"),
        ("The Tale is a 1994 animated film directed by Ada Lee.", "film"),
        ("The Tale is a novel.", "novel"),
        ("Bo Lee is a Kazakh football goalkeeper currently playing for Bree.", "goalkeeper"),
        ("Bo Lee is an English singer-songwriter.", "singer-songwriter"),
        ("Lee, Smith & Co. was a British bank, later sold.", "bank"),
        ("Bree Stores is a Swiss-origin company.", "company"),
        ("Bree is a part of Eriador.", ""),
        ("Bree is a type of river.", ""),
        ("In Bree, people sing.", ""),
        ("He ran and was tired.", ""),
        ("", ""),
    ],
)
def test_head_nouns_of_first_sentences(nouns, sentence, expected):
    assert lead_noun(sentence, {**nouns, "singer-songwriter": "Singer110599806"}) == expected


def test_long_first_sentences_take_no_time(nouns):
    assert lead_noun("x " * 100_000 + "is a river", nouns) == ""
    assert lead_noun("A ((((" * 5_000 + " is a river", nouns) in ("", "river")


def test_little_is_said_by_nouns_of_parts_and_kinds():
    assert {"part", "type", "name", "member"} <= SAYS_LITTLE_IN_LEADS

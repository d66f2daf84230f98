"""Tables of entity types in every format, on rows written for these tests."""

import bz2
import gzip
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from finener.data_scripts.silver.titles import TableError, read_nouns
from finener.data_scripts.silver.type_tables import DBPEDIA_CLASSES, SOURCES, read_types
from finener.ontology_finener import Ontology

ROOT = Path(__file__).resolve().parents[3]
SHARED = ROOT.parent / "shared" / "data"

RIVER, CITY, POET, PERSON = "River109411430", "City108524735", "Poet110444194", "Person100007846"
YAGO = (
    "<id_1>\t<Ada_Quill>\trdf:type\t<wikicat_English_poets>\t\n"
    "<id_2>\t<Ada_Quill>\trdf:type\t<wikicat_1815_births>\t\n"
    "\t<Zürich>\trdf:type\t<wordnet_city_108524735>\t\n"
    "\t<Br\\u00ebe_%22R%22>\trdf:type\t<wordnet_river_109411430>\t\n"
    "\t<Bree>\trdf:type\t<wordnet_hobbit_hole_199999999>\t\n"
    "\t<Bree>\trdf:type\t<wikicat_History_of_Bree>\t\n"
)


@pytest.fixture(scope="module")
def yago():
    return Ontology.from_json(ROOT / "ontologies" / "yago.json")


@pytest.fixture(scope="module")
def nouns():
    return read_nouns(ROOT / "ontologies" / "yago_nouns.tsv")


@pytest.fixture
def read(tmp_path, yago, nouns):
    def read(content, unknown=None, name="table with a space"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return list(read_types(path, yago, nouns, unknown))

    return read


def test_yago_rows_of_a_title_are_one(read):
    unknown = Counter()
    assert read(YAGO, unknown) == [
        ("Ada Quill", (POET,), "yago"),  # a poet is a person
        ("Zürich", (CITY,), "yago"),
        ('Brëe "R"', (RIVER,), "yago"),
    ]
    assert unknown == {"wordnet_hobbit_hole_199999999": 1, "category without a telling head noun": 1}


def test_packed_tables_read_the_same(read):
    assert read(gzip.compress(YAGO.encode())) == read(bz2.compress(YAGO.encode())) == read(YAGO)
    assert read("\ufeff" + YAGO.replace("\n", "\r\n")) == read(YAGO)


def test_a_transitive_table_keeps_the_most_specific_classes(read):
    classes = ("poet_110444194", "person_100007846", "organism_100004475")
    rows = "".join(f"\t<Ada_Quill>\trdf:type\t<wordnet_{name}>\t\n" for name in classes)
    assert read(rows) == [("Ada Quill", (POET,), "yago")]


def test_dbpedia_triples_of_both_class_systems(read):
    triple = (
        "<http://dbpedia.org/resource/{}> <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <http://dbpedia.org/{}> .\n"
    )
    unknown = Counter()
    content = "# started 2016\n" + "".join(
        triple.format(*row)
        for row in [
            ("A%26B_River", "class/yago/River109411430"),
            ("Ada_Quill", "class/yago/WikicatEnglishPoetsFromBree"),
            ("Ada_Quill", "class/yago/YagoLegalActor"),
            ("Ella", "ontology/Person"),
            ("Ella", "ontology/SoccerPlayer"),
            ("Ella", "ontology/Agent"),
        ]
    )
    assert read(content, unknown) == [
        ("A&B River", (RIVER,), "dbpedia"),
        ("Ada Quill", (POET,), "dbpedia"),
        ("Ella", ("SoccerPlayer110618342",), "dbpedia"),
    ]
    assert unknown == {"YagoLegalActor": 1, "Agent": 1}


def test_the_csv_keeps_what_its_classes_share(read):
    unknown = Counter()
    content = "entity,classes\n" + "".join(
        [
            "%22Weird%22_Quill,{'MusicalArtist'}\n",
            "Ella,\"{'Economist', 'Writer'}\"\n",  # a person, and neither for certain
            "Limmat,\"{'Person', 'River'}\"\n",  # what they share is none of the table's classes
            "Bree,\"{'Location', 'River'}\"\n",  # too general to have a row
            "Nothing,{}\n",
        ]
    )
    assert read(content, unknown) == [
        ('"Weird" Quill', ("Musician110340312",), "dbpedia"),
        ("Ella", (PERSON,), "dbpedia"),
        ("Bree", (RIVER,), "dbpedia"),
    ]
    assert unknown == {"classes that share nothing": 1, "Location": 1}


def test_a_mapping_in_any_spelling(read):
    unknown = Counter()
    content = f"# mine\n<Ada_Quill>\t{POET}|wordnet_city_108524735\n\nbree river\t<wordnet_river_109411430>\nX\tNone\n"
    assert read(content, unknown) == [("Ada Quill", (CITY, POET), "mapping"), ("Bree river", (RIVER,), "mapping")]
    assert unknown == {"None": 1}


def test_a_mapping_to_an_ontology_of_ones_own(tmp_path, nouns):
    path = tmp_path / "types.tsv"
    path.write_text("Bree\torg.team|org\nRohan\tgpe\n", encoding="utf-8")
    table = tmp_path / "mine.tsv"
    table.write_text("id\tparents\norg\t\norg.team\torg\ngpe\t\n", encoding="utf-8")
    mine = Ontology.from_tsv(table)
    assert list(read_types(path, mine, nouns)) == [("Bree", ("org.team",), "mapping"), ("Rohan", ("gpe",), "mapping")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"space:1: expected a row of YAGO's .* got ''"),
        ("\n\none two\n", r"space:3: expected .* or 'title TAB class\|class', got 'one two\\n'"),
        (
            YAGO + "<x>\t<A>\trdfs:label\t<b>\t\n",
            r"space:7: expected '<id> TAB <Title> TAB rdf:type TAB <class> TAB', got '<x>",
        ),
        (YAGO + "<x>\t<A>\n", r"space:7: expected '<id> TAB"),
        ("Bree\tA\nRohan\n", r"space:2: expected 'title TAB class\|class', got 'Rohan\\n'"),
        ("entity,classes\nBree,{'A'}\nRohan,A\n", r"space:3: expected \"entity,{'Class', 'Class'}\", got 'Rohan,A'"),
        (
            "<http://dbpedia.org/resource/A> <x#type> <http://dbpedia.org/class/yago/B> .\n<broken> .\n",
            r"space:2: expected '<http://dbpedia.org/resource/Title>.* got '<broken> \.\\n'",
        ),
        (b"Bree\tA\nBr\xe9e\tA\n", r"space:2: expected UTF-8, found the byte 0xe9"),
        (gzip.compress(YAGO.encode() * 50)[:-20], r"space:\d+: the packed file is truncated or broken"),
        (bz2.compress(YAGO.encode() * 50)[:-20], r"space:\d+: the packed file is truncated or broken"),
    ],
)
def test_bad_tables_name_file_line_and_form(read, content, message):
    with pytest.raises(TableError, match=message):
        read(content)


def test_no_table(tmp_path, yago, nouns):
    with pytest.raises(FileNotFoundError):
        list(read_types(tmp_path / "none.tsv", yago, nouns))


def test_memory_does_not_grow_with_the_table(tmp_path, yago, nouns):
    def peak(rows):
        path = tmp_path / f"{rows}.tsv"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"\t<Title_{i}>\trdf:type\t<wikicat_Rivers_of_Place_{i % 500}>\t\n" for i in range(rows))
        tracemalloc.start()
        count = sum(1 for _ in read_types(path, yago, nouns))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == rows
        return size

    peak(1_000)  # fills what is kept anyway
    assert peak(12_000) < 1.2 * peak(3_000)


def test_our_dbpedia_table_names_classes_of_the_ontology_once(yago):
    lines = [line for line in DBPEDIA_CLASSES.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    rows = [line.split("\t") for line in lines]
    assert len({name for name, _ in rows}) == len(rows) > 200
    assert [type_id for _, type_id in rows if type_id not in yago] == []


@pytest.mark.skipif(not (SHARED / "yago").is_dir(), reason="needs the YAGO and DBpedia tables in ../shared/data")
@pytest.mark.parametrize(
    ("name", "source", "titles"),
    [("yagoTypes.sample.tsv.gz", "yago", 29_000), ("dbpedia_entity_classes.csv.gz", "dbpedia", 85_000)],
)
def test_the_real_tables(yago, nouns, name, source, titles):
    unknown = Counter()
    found = {title: (classes, s) for title, classes, s in read_types(SHARED / "yago" / name, yago, nouns, unknown)}
    assert {s for _, s in found.values()} == {source} <= set(SOURCES)
    assert len(found) > titles
    assert all(c in yago for classes, _ in found.values() for c in classes)
    assert found["London"][0][0] in (CITY, "District108552138")
    assert not any("_" in title or "%22" in title for title in found)

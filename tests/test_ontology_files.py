"""Ontologies as JSON and as tables, and the files of this project's own."""

import gc
import hashlib
import json
import re
from pathlib import Path

import pytest

from finener.ontology_finener import EntityType, Ontology, OntologyError

ONTOLOGIES = Path(__file__).parents[1] / "ontologies"


def test_json_round_trip_keeps_everything(tmp_path, target):
    ontology = Ontology("ünï", [*target.types, EntityType("x", "ein „Wort“", description="what it is")], "by hand")
    ontology.to_json(tmp_path / "o.json")
    again = Ontology.from_json(tmp_path / "o.json")
    assert (again.name, again.source, again.types) == (ontology.name, ontology.source, ontology.types)
    assert again.digest == ontology.digest


def test_the_digest_is_that_of_saved_models(target):
    ontology = Ontology("ünï", [*target.types, EntityType('ünï "x"', parents=("loc", "per"))])
    facts = [[t.id, list(t.parents), t.assignable] for t in ontology.types]
    assert ontology.digest == hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def test_reading_types_leaves_the_garbage_collector_as_it_was(tmp_path, source):
    source.to_json(tmp_path / "o.json")
    source.to_tsv(tmp_path / "o.tsv")
    (tmp_path / "bad.tsv").write_text("nothing\n", encoding="utf-8")
    for is_on in (True, False):
        (gc.enable if is_on else gc.disable)()
        try:
            Ontology.from_json(tmp_path / "o.json")
            Ontology.from_tsv(tmp_path / "o.tsv")
            with pytest.raises(OntologyError):
                Ontology.from_tsv(tmp_path / "bad.tsv")
            assert gc.isenabled() is is_on
        finally:
            gc.enable()


def test_json_holds_letters_as_they_are(tmp_path):
    Ontology("mine", [EntityType("a", "Übung")], "Köln").to_json(tmp_path / "o.json")
    assert (tmp_path / "o.json").read_text(encoding="utf-8") == (
        '{"name": "mine", "source": "Köln", "types": [\n{"id": "a", "label": "Übung", "parents": []}\n]}\n'
    )


def test_a_type_may_have_every_key():
    entry = {"id": "a", "label": "A", "parents": [], "assignable": False, "description": "first"}
    assert Ontology.from_dict({"name": "x", "types": [entry]}).types == (EntityType("a", "A", (), False, "first"),)


def test_json_has_one_type_a_line(tmp_path, source):
    source.to_json(tmp_path / "o.json")
    assert len((tmp_path / "o.json").read_text(encoding="utf-8").splitlines()) == len(source) + 2


def test_tsv_round_trip_keeps_ids_labels_and_both_parents(tmp_path, source):
    source.to_tsv(tmp_path / "src.tsv")
    again = Ontology.from_tsv(tmp_path / "src.tsv")
    assert (again.name, again.types, again.digest) == ("src", source.types, source.digest)


def test_tsv_round_trip_keeps_what_may_not_be_assigned(tmp_path, target):
    target.to_tsv(tmp_path / "tgt.tsv")
    assert Ontology.from_tsv(tmp_path / "tgt.tsv").types == target.types


def test_the_digest_tells_parents_order_and_assignability_apart_but_not_labels(target):
    def digest(**changes) -> str:
        types = [EntityType(**{**vars(t), **changes}) if t.id == "loc.city" else t for t in target.types]
        return Ontology("other name", types).digest

    assert digest() == digest(label="town") == target.digest
    assert len({target.digest, digest(parents=("org",)), digest(assignable=False)}) == 3
    assert Ontology("tgt", reversed(target.types)).digest != target.digest


def test_the_digest_of_models_that_are_out_there_stays(source):
    assert source.digest == "897adf5e50b4a046"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"name": "x",\n "types": [}', r"is not JSON: .*line 2"),
        ("[]", r"an ontology file holds"),
        ('{"types": [{"id": "a"}]}', r"an ontology file holds"),
        ('{"name": "x", "types": []}', r"'x' has no types"),
        ('{"name": "x", "types": [{"label": "a"}]}', r"type {'label': 'a'} has no id"),
        ('{"name": "x", "types": [{"id": "a", "parent": "b"}]}', r"type 'a' has unknown keys \['parent'\]"),
        ('{"name": "x", "types": [{"id": "a", "parents": "b"}]}', r"type 'a': parents must be a list of ids, got 'b'"),
        ('{"name": "x", "types": [{"id": "a", "parents": [["b"]]}]}', r"type 'a': parents must be a list of ids"),
        (
            '{"name": "x", "types": [{"id": "a", "label": 5}]}',
            r"type 'a': expected texts, and assignable true or false",
        ),
        ('{"name": "x", "types": [{"id": "a", "assignable": 1}]}', r"type 'a': expected texts, and assignable true or"),
        ('{"name": 5, "types": [{"id": "a"}]}', r"name and source must be texts, got 5 and ''"),
        ('{"name": "x", "source": 5, "types": [{"id": "a"}]}', r"name and source must be texts, got 'x' and 5"),
        ('{"name": "x", "types": [{"id": "a", "parents": ["b"]}]}', r"type 'a' .* has the parent 'b'"),
    ],
)
def test_a_bad_json_file_is_named_with_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "bad.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(OntologyError, match=rf"bad\.json.*{message}"):
        Ontology.from_json(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"bad\.tsv:1: expected a header"),
        ("label\tparents\nA\t\n", r"bad\.tsv:1: expected a header with columns id, label, parents"),
        ("id\tparent\nb\ta\n", r"bad\.tsv:1: expected a header .* got 'id\\tparent'"),
        ("id\tlabel\na\tA\tx\n", r"bad\.tsv:2: expected at most 2 cells"),
        ("id\tassignable\na\tperhaps\n", r"bad\.tsv:2: assignable must be yes or no, got 'perhaps'"),
        ("id\tlabel\na\tA\n\n\tB\n", r"bad\.tsv:4: a type without an id"),
        ("label\tid\nA\ta\nB\n", r"bad\.tsv:3: a type without an id: 'B'"),
        ("id\tlabel\tparents\na\tA\t\nb\tB\tc\n", r"bad\.tsv: type 'b' .* has the parent 'c'"),
        ("id\na\na\n", r"bad\.tsv: .*more than once: \['a'\]"),
    ],
)
def test_a_bad_tsv_file_is_named_with_the_line_of_a_bad_row(tmp_path, content, message):
    path = tmp_path / "bad.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(OntologyError, match=message):
        Ontology.from_tsv(path)


@pytest.mark.parametrize("read", [Ontology.from_json, Ontology.from_tsv])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(OntologyError, match=r"no ontology file at .*nowhere\.x"):
        read(tmp_path / "nowhere.x")


# -------------------------------------------------------------------- the type systems of this project


@pytest.fixture(scope="module")
def yago() -> Ontology:
    return Ontology.from_json(ONTOLOGIES / "yago.json")  # a cycle would be refused


@pytest.fixture(scope="module")
def aida() -> Ontology:
    return Ontology.from_json(ONTOLOGIES / "aida.json")


def test_yago_has_wordnets_three_roots_and_the_papers_number_of_types(yago):
    assert len(yago) >= 7309
    assert [i for i in yago.ids if not re.search(r"\D1\d{8}$", i)] == []
    assert {yago.ids[i] for i in yago.roots} == {
        "PhysicalEntity100001930",
        "Abstraction100002137",
        "Thing104424418",
    }
    assert all(t.label and t.assignable for t in yago.types)


def test_yago_tells_the_two_houses_apart_by_their_roots(yago):
    building, dynasty = (yago.closure([i]) for i in ("House103544360", "House107971449"))
    assert "PhysicalEntity100001930" in building and "Abstraction100002137" not in building
    assert "Abstraction100002137" in dynasty and "PhysicalEntity100001930" not in dynasty


def test_yago_has_no_redundant_edge(yago):
    redundant = [
        (yago.ids[c], yago.ids[p])
        for c, p in yago.edges
        if any(p in yago.ancestors[other] for other in yago.parents[c])
    ]
    assert redundant == []


def test_aida_has_187_types_and_the_22_parents_created_above_them(aida):
    assert sum(aida.assignable) == 187
    assert [t.id for t in aida.types if not t.assignable and not aida.children[aida.index(t.id)]] == []
    assert len(aida) - sum(aida.assignable) == 22
    assert len(aida.roots) == 16
    assert max(aida.depths) + 1 == 3
    assert all(t.parents == (() if "." not in t.id else (t.id.rpartition(".")[0],)) for t in aida.types)


def test_the_gazetteer_holds_wordnets_instances_with_classes_that_exist(yago):
    lines = (ONTOLOGIES / "yago_gazetteer.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    assert {len(row) for row in rows} == {3} and all(name.strip() == name != "" for name, _, _ in rows)
    assert len({synset for _, synset, _ in rows}) == 7730
    assert {c for _, _, classes in rows for c in classes.split("|")} <= set(yago.ids)


def test_the_ontology_files_are_what_to_json_writes(tmp_path, yago, aida):
    for ontology in (yago, aida):
        ontology.to_json(tmp_path / "again.json")
        written = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
        assert written == json.loads((ONTOLOGIES / f"{ontology.name}.json").read_text(encoding="utf-8"))


def test_a_table_may_say_the_ontologys_name(tmp_path):
    path = tmp_path / "my_types.tsv"
    path.write_text("id\tparents\nper\t\nper.artist\tper\n", encoding="utf-8")
    named = Ontology.from_tsv(path)
    assert named.name == "my_types"
    path.write_text("# name: mine\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    mine = Ontology.from_tsv(path)
    assert mine.name == "mine" and mine.types == named.types and Ontology.from_tsv(path, "other").name == "other"
    mine.to_tsv(tmp_path / "again.tsv")
    assert Ontology.from_tsv(tmp_path / "again.tsv").name == "mine"
    path.write_text("# name: mine\nid\tlabel\nper\n\tB\n", encoding="utf-8")
    with pytest.raises(OntologyError, match=r"my_types\.tsv:4: a type without an id"):
        Ontology.from_tsv(path)
    path.write_text("# name: mine\nid\tparent\nper\t\n", encoding="utf-8")
    with pytest.raises(OntologyError, match=r"my_types\.tsv:2: expected a header"):
        Ontology.from_tsv(path)

"""The ontologies of the public corpora, against the numbers that their papers state."""

import hashlib
from pathlib import Path

import pytest

from finener.ontology_finener import Ontology
from finener.scripts import build_corpus_ontologies

ROOT = Path(__file__).resolve().parent.parent
ONTOLOGIES = ROOT / "ontologies"
SHARED = ROOT.parent / "shared" / "data"

# name: (types, assignable, roots, levels)
SIZES = {
    "conll": (4, 4, 4, 1),
    "crossner": (39, 39, 39, 1),
    "fewnerd": (66 + 8, 66, 8, 2),
    "figer": (118, 118, 40, 2),
    "figer_gold": (128, 128, 49, 2),
    "gum": (10, 10, 10, 1),
    "multiconer": (33 + 6 + 1, 39, 6, 3),
    "ontonotes": (18, 18, 18, 1),
    "ufet": (10331, 10331, 10331, 1),
    "wnut17": (6, 6, 6, 1),
}


def shipped(name):
    return Ontology.from_json(ONTOLOGIES / f"{name}.json")


@pytest.mark.parametrize("name", SIZES)
def test_sizes_names_and_labels(name):
    ontology = shipped(name)
    sizes = (len(ontology), sum(ontology.assignable), len(ontology.roots), max(ontology.depths) + 1)
    assert sizes == SIZES[name]
    assert ontology.name == name and ontology.source
    assert all(t.label and t.label == t.label.strip() for t in ontology.types)


@pytest.mark.parametrize("name", SIZES)
def test_each_has_its_line_in_the_notice(name):
    assert f"{name}.json" in (ONTOLOGIES / "NOTICE").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "type_id", "closure"),
    [
        ("figer", "/person/artist", {"/person", "/person/artist"}),
        ("figer_gold", "/geography/mountain", {"/geography", "/geography/mountain"}),
        ("fewnerd", "location-road/railway/highway/transit", {"location", "location-road/railway/highway/transit"}),
        ("multiconer", "PublicCorp", {"GRP", "CORP", "PublicCorp"}),
        ("multiconer", "Medication/Vaccine", {"MED", "Medication/Vaccine"}),
    ],
)
def test_parents(name, type_id, closure):
    assert set(shipped(name).closure([type_id])) == closure


def test_parents_that_no_mention_is_given_are_not_assignable():
    refused = {name: {t.id for t in shipped(name).types if not t.assignable} for name in SIZES}
    assert refused.pop("fewnerd") == {
        "art", "building", "event", "location", "organization", "other", "person", "product"
    }  # fmt: skip
    assert refused.pop("multiconer") == {"MED"}, "the other coarse types are MultiCoNER 1's tags"
    assert not any(refused.values())


def test_labels_are_words():
    labels = {t.id: t.label for name in SIZES for t in shipped(name).types}
    assert labels["/organization/educational_institution"] == "educational institution"
    assert labels["event-attack/battle/war/militaryconflict"] == "attack, battle, war, military conflict"
    assert labels["person-other"] == "other person"
    assert labels["programlang"] == "programming language"
    assert labels["OtherPROD"] == "other product" and labels["PrivateCorp"] == "private corporation"
    assert labels["WORK_OF_ART"] == "work of art"


def test_ufet_is_the_published_list_in_its_order():
    ids = shipped("ufet").ids
    assert hashlib.sha256("".join(f"{i}\r\n" for i in ids).encode()).hexdigest().startswith("a781afcc5bf4efb6")
    assert " ".join(ids[:9]) == "person group organization location entity time object event place"
    assert (ids[9], ids[129], ids[130]) == ("accident", "writing", "abbey"), (
        "121 fine types come after the general ones"
    )


def test_the_builder_writes_what_is_shipped(tmp_path, capsys):
    if missing := [folder for folder in ("wfb", "fewnerd", "crossner") if not (SHARED / folder).is_dir()]:
        pytest.skip(f"not on this machine: {', '.join(missing)} of {SHARED}")
    build_corpus_ontologies.main(["--data", str(SHARED), "--output_dir", str(tmp_path)])
    built = sorted(tmp_path.iterdir())
    assert {path.stem for path in built} == SIZES.keys() - {"ufet"}
    assert "ufet.json stays as it is" in capsys.readouterr().out
    assert [p.name for p in built if p.read_bytes() != (ONTOLOGIES / p.name).read_bytes()] == []


def test_the_builder_reads_the_ufet_list(tmp_path):
    (tmp_path / "types.txt").write_bytes(b"person\r\npolitical_party\r\n")
    ontology = build_corpus_ontologies.build_ufet(tmp_path / "types.txt")
    assert [(t.id, t.label) for t in ontology.types] == [("person", "person"), ("political_party", "political party")]

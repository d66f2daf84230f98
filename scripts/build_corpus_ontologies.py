"""Builds the ontologies of the public corpora: the names of their types and the parents that they state, nothing else.

Usage: python scripts/build_corpus_ontologies.py --data FOLDER [--output_dir ontologies]

FOLDER holds ``wfb/figer_types.map``, ``fewnerd/label_info.json``, ``crossner/DOMAIN/*.txt`` and, to build
``ufet``, the release's ``ontology/types.txt`` as ``ufet/types.txt``. The other lists are below.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from finener.data_scripts.ontology import types_of_paths
from finener.ontology_finener import EntityType, Ontology
from finener.paths import ROOT

# Lists without parents: id → label, and where they are from.
FLAT: dict[str, tuple[dict[str, str], str]] = {
    "conll": (
        {"LOC": "location", "MISC": "miscellaneous", "ORG": "organization", "PER": "person"},
        "types of CoNLL-2003, also of Wikigold and (without MISC) of Universal NER",
    ),
    "ontonotes": (
        {
            "CARDINAL": "cardinal number",
            "DATE": "date",
            "EVENT": "event",
            "FAC": "facility",
            "GPE": "geopolitical entity",
            "LANGUAGE": "language",
            "LAW": "law",
            "LOC": "location",
            "MONEY": "amount of money",
            "NORP": "nationality, religious or political group",
            "ORDINAL": "ordinal number",
            "ORG": "organization",
            "PERCENT": "percentage",
            "PERSON": "person",
            "PRODUCT": "product",
            "QUANTITY": "quantity",
            "TIME": "time of day",
            "WORK_OF_ART": "work of art",
        },
        "name types of OntoNotes 5.0",
    ),
    "wnut17": (
        {
            "corporation": "corporation",
            "creative-work": "creative work",
            "group": "group",
            "location": "location",
            "person": "person",
            "product": "product",
        },
        "types of the WNUT 2017 shared task",
    ),
    "gum": (
        {
            "abstract": "abstract entity",
            "animal": "animal",
            "event": "event",
            "object": "object",
            "organization": "organization",
            "person": "person",
            "place": "place",
            "plant": "plant",
            "substance": "substance",
            "time": "time",
        },
        "entity types of GUM 2025",
    ),
}

# MultiCoNER 1 has the coarse tags except MED, and CORP beside GRP; MultiCoNER 2 the fine ones, CORP's children under GRP.
MULTICONER = {
    "LOC": ("location", "Facility HumanSettlement OtherLOC Station"),
    "CW": ("creative work", "ArtWork MusicalWork Software VisualWork WrittenWork"),
    "GRP": ("group", "AerospaceManufacturer CORP CarManufacturer MusicalGRP ORG SportsGRP"),
    "CORP": ("corporation", "PrivateCorp PublicCorp"),
    "PER": ("person", "Artist Athlete Cleric OtherPER Politician Scientist SportsManager"),
    "PROD": ("product", "Clothing Drink Food OtherPROD Vehicle"),
    "MED": ("medical", "AnatomicalStructure Disease MedicalProcedure Medication/Vaccine Symptom"),
}
MULTICONER_WORDS = {
    "Corp": "corporation",
    "GRP": "group",
    "LOC": "location",
    "ORG": "organization",
    "PER": "person",
    "PROD": "product",
}

# The types of Ling and Weld (2012), all 128 of Ren et al. (2016), of which papers use 112 or 113; HAnDS renamed many of them.
FIGER_GOLD = """
art art/film astral_body award biology body_part broadcast broadcast/tv_channel broadcast_network broadcast_program
building building/airport building/dam building/hospital building/hotel building/library building/power_station
building/restaurant building/sports_facility building/theater chemistry computer computer/algorithm
computer/programming_language disease education education/department education/educational_degree event event/attack
event/election event/military_conflict event/natural_disaster event/protest event/sports_event event/terrorist_attack
finance finance/currency finance/stock_exchange food game geography geography/glacier geography/island
geography/mountain god government government/government government/political_party government_agency internet
internet/website language law living_thing livingthing livingthing/animal location location/body_of_water
location/bridge location/cemetery location/city location/country location/county location/province medicine
medicine/drug medicine/medical_treatment medicine/symptom metropolitan_transit metropolitan_transit/transit_line
military music news_agency newspaper organization organization/airline organization/company
organization/educational_institution organization/fraternity_sorority organization/sports_league
organization/sports_team organization/terrorist_organization park people people/ethnicity person person/actor
person/architect person/artist person/athlete person/author person/coach person/director person/doctor person/engineer
person/monarch person/musician person/politician person/religious_leader person/soldier person/terrorist play product
product/airplane product/camera product/car product/computer product/engine_device product/instrument
product/mobile_phone product/ship product/spacecraft product/weapon rail rail/railway religion religion/religion
software time title train transit transportation transportation/road visual_art visual_art/color written_work
"""

# Names that their corpora write in one word.
_PHRASES = (
    "academic journal, astronomical object, broadcast program, chemical compound, chemical element, educational degree, "
    "government agency, literary genre, living thing, military conflict, musical artist, musical instrument, music genre, "
    "political party, show organization, sports event, sports facility, sports league, sports team, written art"
)
WORDS = {phrase.replace(" ", ""): phrase for phrase in _PHRASES.split(", ")} | {
    "astronomything": "astronomical thing",
    "biologything": "biological thing",
    "bodiesofwater": "body of water",
    "chemicalthing": "chemical thing",
    "GPE": "geopolitical entity",
    "misc": "miscellaneous",
    "programlang": "programming language",
}


def words(name: str) -> str:
    """ "body_part" → "body part"; "artist/author" → "artist, author"; names written in one word by WORDS."""
    return ", ".join(WORDS.get(part, part.replace("_", " ")) for part in name.split("/"))


def last_name(path: str) -> str:
    """Label of a FIGER type: the last name of its path."""
    return words(path.rpartition("/")[2])


def fewnerd_label(type_id: str) -> str:
    """Label of a Few-NERD type."""
    coarse, _, fine = type_id.partition("-")
    if not fine:
        return "miscellaneous" if coarse == "other" else coarse
    return f"other {coarse}" if fine == "other" else words(fine)


def from_paths(name: str, ids: Iterable[str], separator: str, label: Callable[[str], str], source: str) -> Ontology:
    """An ontology of ids that spell their path; parents that are not among them are added, as not assignable."""
    types = types_of_paths(sorted(set(ids)), separator)
    return Ontology(name, [replace(entity_type, label=label(entity_type.id)) for entity_type in types], source)


def build_figer(path: Path) -> Ontology:
    """The types that HAnDS maps Freebase to; its hand-annotated sentences have no others."""
    ids = [line.split("\t")[1] for line in path.read_text(encoding="utf-8").splitlines()]
    return from_paths("figer", ids, "/", last_name, "FIGER types as revised by HAnDS")


def build_figer_gold() -> Ontology:
    """The types of FIGER as first published."""
    ids = [f"/{path}" for path in FIGER_GOLD.split()]
    return from_paths("figer_gold", ids, "/", last_name, "FIGER types of Ling and Weld (2012)")


def build_fewnerd(path: Path) -> Ontology:
    """The 66 types of Few-NERD under the 8 coarse ones, which no token is tagged with."""
    ids = json.loads(path.read_text(encoding="utf-8"))["entity"]
    return from_paths("fewnerd", ids, "-", fewnerd_label, "types of Few-NERD")


def build_crossner(folder: Path) -> Ontology:
    """The types of all domains side by side: one name is one type."""
    lines = (line for file in folder.glob("*/*.txt") for line in file.read_text(encoding="utf-8").splitlines())
    tags = {line.split("\t")[1] for line in lines if "\t" in line} - {"O"}
    ids = sorted({tag.removeprefix("B-").removeprefix("I-") for tag in tags})
    return Ontology("crossner", [EntityType(i, words(i)) for i in ids], "types of CrossNER's five domains")


def build_multiconer() -> Ontology:
    """The tags of MultiCoNER 2 under the coarse ones, which are MultiCoNER 1's."""
    parents = {fine: coarse for coarse, (_, below) in MULTICONER.items() for fine in below.split()}
    types = [
        EntityType(i, _multiconer_label(i), (parents[i],) if i in parents else (), i != "MED")
        for i in [*MULTICONER, *(fine for fine in parents if fine not in MULTICONER)]
    ]
    return Ontology("multiconer", types, "tags of MultiCoNER 1 and 2")


def _multiconer_label(type_id: str) -> str:
    if type_id in MULTICONER:
        return MULTICONER[type_id][0]
    parts = re.findall(r"[A-Z]{2,}|[A-Z][a-z]+", type_id)
    separator = ", " if "/" in type_id else " "
    return separator.join(MULTICONER_WORDS.get(part, part.lower()) for part in parts)


def build_flat(name: str, labels: Mapping[str, str], source: str) -> Ontology:
    """Types without parents."""
    return Ontology(name, [EntityType(i, label) for i, label in labels.items()], source)


def build_ufet(path: Path) -> Ontology:
    """The types of ultra-fine entity typing in the published order, on which its scores rest: 9 general, 121 fine, ultra-fine."""
    ids = path.read_text(encoding="utf-8").split()
    source = "types of ultra-fine entity typing (Choi et al. 2018): the first 9 are general, the next 121 fine"
    return Ontology("ufet", [EntityType(i, words(i)) for i in ids], source)


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the files; ``argv`` are the command line's arguments, by default the program's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora, see above")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "ontologies")
    args = parser.parse_args(argv)
    built = [
        build_figer(args.data / "wfb" / "figer_types.map"),
        build_figer_gold(),
        build_fewnerd(args.data / "fewnerd" / "label_info.json"),
        build_crossner(args.data / "crossner"),
        build_multiconer(),
        *(build_flat(name, labels, source) for name, (labels, source) in FLAT.items()),
    ]
    if (args.data / "ufet" / "types.txt").is_file():
        built.append(build_ufet(args.data / "ufet" / "types.txt"))
    else:
        print(f"ufet.json stays as it is: there is no {args.data / 'ufet' / 'types.txt'}")
    for ontology in built:
        ontology.to_json(args.output_dir / f"{ontology.name}.json")
        print(f"{ontology}, {sum(ontology.assignable)} of them assignable")


if __name__ == "__main__":
    main()

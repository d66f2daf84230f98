"""Builds the files of ``ontologies/`` from WordNet 3.0, YAGO's class list and the AIDA type list: facts only, no glosses.

Which classes are in ``yago``: every WordNet-based YAGO class that is known to type an entity — the class of one of WordNet's
own named instances, of a row of YAGO3, of a Wikipedia category's head noun, or one with a corpus information content —
together with the whole sub-hierarchies of the kinds that names are most often given to (``NAMED_KINDS``), and all the
ancestors of these that YAGO knows. Synsets that YAGO does not know are contracted.

Usage: python scripts/build_ontologies.py --data PATH_TO_SHARED_DATA [--output_dir ontologies]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from finener.data_scripts.silver.category_names import category_head
from finener.ontology_finener import EntityType, Ontology
from finener.paths import ROOT

# Kinds whose hyponyms enter whole: any of them may come with a name.
NAMED_KINDS = {
    "08008335": "organization",
    "04341686": "structure",
    "04524313": "vehicle",
    "04565375": "weapon",
    "09225146": "body of water",
    "09287968": "geological formation",
    "08491826": "administrative district",
    "08672562": "settlement",
    "10541229": "ruler",
    "10450303": "politician",
    "00766234": "crime",
}

AIDA_LABELS = {
    "bal": "ballot",
    "com": "commodity",
    "crm": "crime",
    "fac": "facility",
    "gpe": "geopolitical entity",
    "loc": "location",
    "mon": "money",
    "org": "organization",
    "per": "person",
    "res": "result",
    "sid": "side",
    "ttl": "title",
    "val": "value",
    "veh": "vehicle",
    "wea": "weapon",
}

AIDA_WORDS = {
    "abuseofoffice": "abuse of office",
    "airspace": "air space",
    "airtoairmissile": "air-to-air missile",
    "antiaircraftmissle": "anti-aircraft missile",
    "apartmentbuilding": "apartment building",
    "ballotslate": "ballot slate",
    "behaviorcrime": "behavior crime",
    "broadcastingcompany": "broadcasting company",
    "cargoaircraft": "cargo aircraft",
    "chiefofpolice": "chief of police",
    "commercialorganization": "commercial organization",
    "crimescene": "crime scene",
    "criminalorganization": "criminal organization",
    "daggerknifesword": "dagger, knife or sword",
    "failtoassist": "failure to assist",
    "fighteraircraft": "fighter aircraft",
    "financialcrime": "financial crime",
    "fireapparatus": "fire engine",
    "firedepartment": "fire department",
    "geographicalarea": "geographical area",
    "geographicpoint": "geographic point",
    "governmentarmedforces": "government armed forces",
    "governmentbuilding": "government building",
    "grenadelauncher": "grenade launcher",
    "headofgovernment": "head of government",
    "humanitarianaid": "humanitarian aid",
    "lawenforcementagency": "law enforcement agency",
    "legislativebody": "legislative body",
    "liverounds": "live rounds",
    "medicalequipment": "medical equipment",
    "militaryboat": "military boat",
    "militaryequipment": "military equipment",
    "militaryinstallation": "military installation",
    "militaryofficer": "military officer",
    "militaryorganization": "military organization",
    "militarypersonnel": "military personnel",
    "militarytransportaircraft": "military transport aircraft",
    "militaryvehicle": "military vehicle",
    "missilelauncher": "missile launcher",
    "missilesystem": "missile system",
    "molotovcocktail": "Molotov cocktail",
    "monitoringgroup": "monitoring group",
    "newsagency": "news agency",
    "nongovernmentmilitia": "non-government militia",
    "numberpercentagevotes": "number or percentage of votes",
    "officebuilding": "office building",
    "organizationofcountries": "organization of countries",
    "organizedcrime": "organized crime",
    "paperballot": "paper ballot",
    "personalidentification": "personal identification",
    "poisongas": "poison gas",
    "policemisconduct": "police misconduct",
    "politicalcrime": "political crime",
    "politicalorganization": "political organization",
    "professionalposition": "professional position",
    "prosecutoroffice": "prosecutor's office",
    "protestleader": "protest leader",
    "provincestate": "province or state",
    "rubberbullets": "rubber bullets",
    "sportsfan": "sports fan",
    "storeshop": "store or shop",
    "surfacetoairmissile": "surface-to-air missile",
    "teargas": "tear gas",
    "thrownprojectile": "thrown projectile",
    "trainstation": "train station",
    "turnoutvoters": "turnout of voters",
    "urbanarea": "urban area",
    "violentcrime": "violent crime",
    "votingfacility": "voting facility",
    "wheeledvehicle": "wheeled vehicle",
}

# A category's head noun names its usual sense, which for these nouns is not the first one that WordNet lists.
SENSE_OF_NOUN = {
    "capital": "08518505",
    "single": "07048000",
    "model": "10324560",
    "commune": "08541609",
    "fellow": "10083526",
    "order": "08147794",
    "prefecture": "08626947",
    "series": "06621447",
    "band": "08246613",
    "musical group": "08246613",
    "building": "02913152",
    "character": "09587565",
    "figure": "10344443",
    "star": "09444100",
    "god": "09505418",
    "magazine": "06595351",
    "newspaper": "06267145",
    "title": "06343520",
    "organism": "00004475",
    "element": "14622893",
    "plant": "00017222",
    "bridge": "02898711",
    "port": "08633957",
    "station": "04306080",
    "novel": "06367879",
    "play": "07007945",
    "album": "06591815",
    "channel": "06259898",
    "game": "00455599",
    "state": "08654360",
    "district": "08552138",
    "head of state": "10164747",
    "work": "04599396",
    "composition": "07037465",
    "journal": "06597466",
    "country": "08544813",
    "colony": "08499840",
    "club": "08227214",
    "bank": "08420278",
    "center": "02993546",
    "mission": "00731222",
    "act": "06532095",
    "dynasty": "07971582",
    "festival": "00517728",
    "president": "10467179",
    "designer": "09805475",
}

# More such senses, for the table of nouns alone: which classes the ontology has does not depend on them.
SENSE_IN_CATEGORIES = {
    "footballer": "10618342",
    "manager": "09931640",
    "director": "10015215",
    "producer": "10480018",
    "designer": "09614315",
    "animator": "09812338",
    "arranger": "10340312",
    "regent": "10516117",
    "minister": "10320863",
    "count": "10271677",
    "university": "08286569",
    "college": "08278324",
    "academy": "08280124",
    "society": "08049401",
    "alliance": "08293982",
    "confederation": "08293982",
    "organisation": "08008335",
    "ministry": "08114004",
    "fleet": "08292756",
    "airline": "02690081",
    "library": "03660664",
    "award": "06696483",
    "decoration": "06706676",
    "county": "08546870",
    "republic": "08544813",
    "kingdom": "08558155",
    "village": "08672738",
    "settlement": "08672562",
    "subdivision": "08491826",
    "volcano": "09472597",
    "president": "09623038",
    "activist": "10515194",
    "bank": "08054721",
}


@dataclass
class WordNet:
    """The noun database of WordNet 3.0; offsets are eight-digit strings."""

    lemmas: dict[str, list[str]] = field(default_factory=dict)
    hypernyms: dict[str, list[str]] = field(default_factory=dict)
    instance_of: dict[str, list[str]] = field(default_factory=dict)
    senses: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> WordNet:
        net = cls()
        with gzip.open(folder / "wordnet30.data.noun.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                if not line.startswith("  "):
                    net._add_synset(line.split(" | ")[0].split())
        with gzip.open(folder / "wordnet30.index.noun.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                if not line.startswith("  "):
                    cells = line.split()
                    net.senses[cells[0].replace("_", " ")] = cells[-int(cells[2]) :]
        return net

    def _add_synset(self, cells: list[str]) -> None:
        offset, n_words = cells[0], int(cells[3], 16)
        self.lemmas[offset] = [cells[4 + 2 * i].replace("_", " ") for i in range(n_words)]
        first = 5 + 2 * n_words
        pointers = [cells[first + 4 * i : first + 4 * i + 4] for i in range(int(cells[first - 1]))]
        self.hypernyms[offset] = [to for symbol, to, _, _ in pointers if symbol == "@"]
        self.instance_of[offset] = [to for symbol, to, _, _ in pointers if symbol == "@i"]

    def above(self, offset: str) -> list[str]:
        """Direct hypernyms, and the classes of an instance."""
        return self.hypernyms[offset] + self.instance_of[offset]

    def ancestors(self, offset: str) -> set[str]:
        found, frontier = set(), self.above(offset)
        while frontier:
            node = frontier.pop()
            if node not in found:
                found.add(node)
                frontier += self.above(node)
        return found

    def class_senses(self, noun: str) -> list[str]:
        """Offsets of the noun's senses that are classes, the usual one first."""
        senses = [o for o in self.senses.get(noun, []) if not self.instance_of[o]]
        usual = SENSE_OF_NOUN.get(noun)
        return [usual, *senses] if usual in self.lemmas else senses


def classes_with_evidence(net: WordNet, folder: Path) -> set[str]:
    """Offsets of classes that are known to type an entity."""
    found = {c for classes in net.instance_of.values() for c in classes}
    with gzip.open(folder / "yagoTypes.sample.tsv.gz", "rt", encoding="utf-8") as file:
        rows = file.read()
    found |= set(re.findall(r"<wordnet_[^>]*_1(\d{8})>", rows))
    for category in set(re.findall(r"<wikicat_([^>]*)>", rows)):
        head = category_head(category.replace("_", " "), net.senses)
        found |= set(net.class_senses(head)[:1]) if head else set()
    with gzip.open(folder / "class_information_content.tsv.gz", "rt", encoding="utf-8") as file:
        found |= {row["class"][-8:] for row in csv.DictReader(file, delimiter="\t")}
    return found


def build_yago(net: WordNet, folder: Path) -> Ontology:
    """The ``yago`` ontology: see the module's docstring."""
    with gzip.open(folder / "wordnet_classes.tsv.gz", "rt", encoding="utf-8") as file:
        yago_ids = {
            row["yago"][-8:]: row["dbpedia"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        }
    everything = list(net.lemmas)  # instances too: a few of them have hyponyms
    chosen = classes_with_evidence(net, folder) | set(SENSE_OF_NOUN.values())
    chosen |= {o for o in everything if net.ancestors(o) & NAMED_KINDS.keys()}
    chosen |= set().union(*(net.ancestors(o) for o in chosen))
    whole = Ontology(
        "yago",
        [EntityType(o, net.lemmas[o][0], tuple(net.above(o))) for o in everything],
        "WordNet-based YAGO classes; hypernyms of WordNet 3.0",
    )
    kept = whole.subset(o for o in everything if o in chosen and o in yago_ids)
    return Ontology(
        "yago",
        [EntityType(yago_ids[t.id], t.label, tuple(yago_ids[p] for p in t.parents)) for t in kept.types],
        whole.source,
    )


def listed_classes(net: WordNet, offset: str, ids: dict[str, str]) -> list[str]:
    """The class itself if it is listed, else its nearest listed ancestors."""
    if offset in ids:
        return [ids[offset]]
    return sorted({c for parent in net.above(offset) for c in listed_classes(net, parent, ids)})


def write_gazetteer(net: WordNet, ids: dict[str, str], path: Path) -> int:
    """``name TAB classes``: every name of every instance, its senses in WordNet's order, classes of one sense joined by ``|``."""
    lines = []
    for offset, classes in sorted(net.instance_of.items()):
        if classes:
            types = sorted({t for c in classes for t in listed_classes(net, c, ids)})
            ranks = [net.senses[name.lower()].index(offset) for name in net.lemmas[offset]]
            lines += [
                (name, rank, offset, "|".join(types)) for name, rank in zip(net.lemmas[offset], ranks, strict=True)
            ]
    lines.sort()
    path.write_text("".join(f"{name}\t{offset}\t{types}\n" for name, _, offset, types in lines), encoding="utf-8")
    return len({offset for _, _, offset, _ in lines})


def write_nouns(net: WordNet, ids: dict[str, str], path: Path) -> None:
    """``noun TAB class``: the class that a category's head noun stands for."""
    lines = []
    for noun in sorted(net.senses):
        senses = [SENSE_IN_CATEGORIES.get(noun), *net.class_senses(noun)]
        sense = next((o for o in senses if o in ids), None)
        if sense:
            lines.append(f"{noun}\t{ids[sense]}\n")
    path.write_text("".join(lines), encoding="utf-8")


def aida_label(type_id: str) -> str:
    """Words of a type's last name: "head of government" for ``per.politician.headofgovernment``."""
    return AIDA_LABELS.get(type_id) or AIDA_WORDS.get(type_id.rsplit(".", 1)[-1], type_id.rsplit(".", 1)[-1])


def build_aida(path: Path) -> Ontology:
    """The 187 AIDA types in the scorer's lower-case spelling, and the parents that the published list leaves out."""
    published = {entry["id"].lower() for entry in json.loads(path.read_text(encoding="utf-8"))["types"]}
    above = {type_id.rsplit(".", 1)[0] for type_id in published if "." in type_id}
    types = []
    for type_id in sorted(published | above):
        parents = (type_id.rsplit(".", 1)[0],) if "." in type_id else ()
        types.append(EntityType(type_id, aida_label(type_id), parents, type_id in published))
    return Ontology("aida", types, "AIDA entity types of the public AIDA interchange format (LDC ontology)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with aida/ and yago/ (see CONTRIBUTING.md)")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "ontologies")
    args = parser.parse_args()
    net = WordNet.read(args.data / "yago")
    yago = build_yago(net, args.data / "yago")
    ids = {type_id[-8:]: type_id for type_id in yago.ids}
    yago.to_json(args.output_dir / "yago.json")
    instances = write_gazetteer(net, ids, args.output_dir / "yago_gazetteer.tsv")
    write_nouns(net, ids, args.output_dir / "yago_nouns.tsv")
    aida = build_aida(args.data / "aida" / "ldc_ontology_entities.json")
    aida.to_json(args.output_dir / "aida.json")
    print(f"{yago}\n{instances} instances in the gazetteer\n{aida}, {sum(aida.assignable)} of them assignable")


if __name__ == "__main__":
    main()

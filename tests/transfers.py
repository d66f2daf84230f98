"""Records, corpora and runs that the tests of the experiments share."""

import json

from finener.experiments import data
from finener.experiments.data import Fold
from finener.experiments.run import CODE, Run, code_hash


def record(record_id, text, *mentions, doc=None, source="made", ontology="yago", origin="link"):
    """A record; mentions are (name, type)."""
    found = [
        {"start": text.index(n), "end": text.index(n) + len(n), "types": [t], "score": None, "type_scores": None}
        | {"origin": origin}
        for n, t in mentions
    ]
    facts = {"exhaustive": True, "typed": True, "ontology": ontology}
    return {"id": record_id, "doc_id": doc or record_id, "source": source, "text": text, "mentions": found, **facts}


def corpora():
    """A little of everything that the plan names."""
    plain = {name: [record(f"{name}{i}", f"{name} says {i}.") for i in range(40)] for name in data.CORPORA}
    plain["aida"] = [record(f"a{i}", f"Word {i} of a document.", doc=f"d{i // 2}") for i in range(20)]
    plain["fewnerd"] = [record(f"f{i}", f"Number {i} is here.") for i in range(6400)]
    for domain in data.DOMAINS:
        for split in ("train", "dev"):
            plain[f"crossner/{domain}/{split}"] = [record(f"{domain}{split}", f"{domain} {split}")]
    for part in data.SILVER:
        plain[part] = [record(f"{part}{i}", f"{part} Ann{i} met Bob.", (f"Ann{i}", "person")) for i in range(150)]
    return plain


def a_run(**changes):
    fold = Fold("all", [record("1", "Ann left.")], [], [record("2", "Bob left.")])
    values = {
        "transfer": "aida",
        "encoder": "minilm",
        "system": "soft",
        "seed": 1,
        "phase": "finetune",
        "config": {"learning_rate": 0.1},
    }
    values |= {"folds": [fold], "source": None, "ontology": "ontologies/aida.json", "mapping": None}
    return Run(**values | changes)


def finish(run, place):
    """As if the run had been done."""
    place.results.mkdir(exist_ok=True, parents=True)
    told = {"key": run.key, "code": code_hash(CODE), "seconds": 60.0}
    place.result(run).write_text(json.dumps(told), encoding="utf-8")


def leave_model(run, place):
    folder = place.model(run, run.folds[0])
    folder.mkdir(parents=True)
    (folder / "key.txt").write_text(run.key, encoding="utf-8")

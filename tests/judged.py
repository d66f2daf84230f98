"""Gold records and predictions that the tests of scores share."""

from __future__ import annotations

import random

from finener.ontology_finener import EntityType, Ontology

TEXT = "Ann Lee met Bob at Acme in Rome on Monday with Zoë and Kim."
ANN, BOB, ACME, ROME, MONDAY, ZOE, KIM = [
    (TEXT.index(word), TEXT.index(word) + len(word))
    for word in ("Ann Lee", "Bob", "Acme", "Rome", "Monday", "Zoë", "Kim")
]


def record(record_id, mentions, doc_id=None, exhaustive=True, typed=True, text=TEXT, ontology="tgt"):
    """Mentions as {span: types}, or {span: {type: score}}."""
    return {
        "id": record_id,
        "doc_id": doc_id or record_id,
        "source": "test",
        "text": text,
        "mentions": [
            {
                "start": start,
                "end": end,
                "types": list(types) if typed else [],
                "score": 0.9 if isinstance(types, dict) else None,
                "type_scores": list(types.values()) if isinstance(types, dict) else None,
                "origin": "",
            }
            for (start, end), types in sorted(mentions.items())
        ],
        "exhaustive": exhaustive,
        "typed": typed,
        "ontology": ontology if typed else "",
    }


GOLD = [
    record("a", {ANN: ["per.politician"], BOB: ["per"], ACME: ["org.company"]}, "d1"),
    record("b", {ANN: ["per.artist.painter"], ROME: ["loc.city.capital"]}, "d2"),
]
PREDICTED = [
    record("a", {ANN: ["per", "per.politician"], BOB: ["per", "per.politician"], ACME: ["loc"], MONDAY: ["loc"]}, "d1"),
    record("b", {ANN: ["per"], ROME: ["loc", "loc.city"]}, "d2"),
]


def small_tree():
    return Ontology("tgt", [EntityType("a"), EntityType("a.b", "", ("a",)), EntityType("c")])


def random_records(seed, ontology, n=40):
    """Gold and predictions with one type for each mention; half of the predictions are near gold."""
    rng = random.Random(seed)
    leaves = [i for i, yes in enumerate(ontology.assignable) if yes]

    def any_type():
        return ontology.ids[rng.choice(leaves)]

    def mentions(around=None):
        found = {}
        for start in range(0, 40, 4):
            near = [(span, types[0]) for span, types in (around or {}).items() if span[0] == start]
            if near and rng.random() < 0.7:
                span, gold_type = near[0]
                found[span] = [rng.choice([gold_type, rng.choice(ontology.closure([gold_type])), any_type()])]
            elif rng.random() < 0.4:
                found[start, start + rng.randint(1, 3)] = [any_type()]
        return found

    gold = [mentions() for _ in range(n)]
    predicted = [mentions(around) for around in gold]
    return [[record(f"r{i}", m, text="x" * 50) for i, m in enumerate(side)] for side in (gold, predicted)]

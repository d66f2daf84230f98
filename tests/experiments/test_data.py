"""What the experiments train and test on: what is left out of training, and the folds."""

import math

from finener.experiments import data
from finener.experiments.data import document_folds, fewnerd_fold, split_entities, without_leaks
from finener.ontology_finener import EntityType, Ontology
from finener.prediction.mapping import TypeMapping

from transfers import corpora, record


def test_training_texts_that_say_the_same_as_a_tested_one_are_left_out_and_counted():
    train = [record("1", "The  CAT sat, there"), record("2", "The cat sat"), record("3", "A dog barked.")]
    kept, removed = without_leaks(train, [record("t", "“The cat sat there!”"), record("u", "a dog\tbarked")])
    assert [r["id"] for r in kept] == ["2"]
    assert removed == 2


def test_no_entity_is_in_two_parts_whatever_the_name_it_goes_by():
    names = [f"Person {i}" for i in range(500)]
    silver = [record(f"s{i}", f"{n} left.", (n, "person"), origin=f"link:P{i}") for i, n in enumerate(names)]
    silver += [
        record(f"r{i}", f"Mister {i} left.", (f"Mister {i}", "person"), origin=f"repeat:P{i}") for i in range(500)
    ]
    parts = split_entities(silver)
    entities = [{m["origin"].partition(":")[2] for r in part for m in r["mentions"]} for part in parts]
    assert sum(map(len, parts)) == 1000
    assert not entities[0] & entities[1] and not entities[0] & entities[2] and not entities[1] & entities[2]
    assert 10 < len(entities[2]) < 40  # 4 % of 500
    assert split_entities(silver[::-1])[2] == parts[2][::-1]


def test_a_tested_silver_record_keeps_the_held_out_mentions_alone(monkeypatch):
    places = {"ann": 0.01, "bob": 0.05, "cid": 0.5}
    monkeypatch.setattr(data, "place_of", places.__getitem__)
    both = record("1", "Ann and Bob and Cid", ("Ann", "person"), ("Bob", "person"), ("Cid", "person"))
    dev = record("2", "Bob and Cid", ("Bob", "person"), ("Cid", "person"))
    train, chosen, test = split_entities([both, dev, record("3", "Cid", ("Cid", "person"))])
    assert [r["id"] for r in train] == ["3"]
    assert [[m["start"] for m in r["mentions"]] for r in chosen] == [[0]]
    assert [[m["start"] for m in r["mentions"]] for r in test] == [[0]]


SPEC = {"silver": ["wikipedia", "wtq"], "silver_share": 1.0, "detection": ["gum", "wnut17"], "typing": {}}


def test_the_source_fold_leaves_out_targets_and_its_own_test_part():
    corpus = corpora()
    corpus["gum"][0] = record("g", "word 3, of a DOCUMENT")
    fold = data.source_fold(corpus, SPEC, {}, corpus["aida"])
    assert fold.removed == 1
    assert len(fold.detection) == 79 - 7  # a tenth is dev
    assert all(not r["typed"] and not r["ontology"] for r in fold.detection)
    texts = [{r["text"] for r in part} for part in (fold.train, fold.dev, fold.test)]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and texts[2]


def test_source_models_with_less_silver_are_tested_on_the_same():
    corpus = corpora()
    whole = data.source_fold(corpus, SPEC, {}, [])
    part, share = (
        data.source_fold(corpus, SPEC | change, {}, [])
        for change in ({"silver": ["wikipedia"]}, {"silver_share": 0.25})
    )
    assert part.test == share.test == whole.test
    assert (
        {r["text"].split()[0] for r in whole.train}
        == {"wikipedia", "wtq"}
        != {r["text"].split()[0] for r in part.train}
    )
    assert 0.1 < len(share.train) / len(whole.train) < 0.4


def test_types_that_are_yagos_already_need_no_table_and_held_out_names_lose_theirs():
    corpus = corpora()
    held_out = data.source_fold(corpus, SPEC, {}, []).test[0]
    name = held_out["text"].split()[1]
    corpus["redocred"] = [
        record("r1", f"{name} left.", (name, "person")),
        record("r2", "Zoe left.", ("Zoe", "person")),
    ]
    fold = data.source_fold(corpus, SPEC | {"typing": {"redocred": None}}, {}, [])
    assert [m["types"] for r in fold.train if r["text"] == "Zoe left." for m in r["mentions"]] == [["person"]]
    assert [r["typed"] for r in [*fold.detection, *fold.dev] if r["text"] == f"{name} left."] == [False]


def test_gold_types_train_source_types_where_the_table_tells_them_and_the_name_is_not_held_out():
    source = Ontology("yago", [EntityType("Actor"), EntityType("Ship")])
    target = Ontology("few", [EntityType("person-actor"), EntityType("person-other")])
    table = TypeMapping(target, source, [("person-actor", "Actor", 1.0)])
    gold = record(
        "1",
        "Ann, Bob and Cid.",
        ("Ann", "person-actor"),
        ("Bob", "person-other"),
        ("Cid", "person-actor"),
        ontology="few",
    )
    kept = data.with_source_types(gold, table, {"cid"})
    assert [m["types"] for m in kept["mentions"]] == [["Actor"], [], []]
    assert (kept["typed"], kept["ontology"], kept["exhaustive"], kept["id"]) == (True, "yago", True, "made/1")
    bare = data.with_source_types(gold, table, {"ann", "cid"})
    assert (bare["typed"], bare["ontology"]) == (False, "") and [len(m["types"]) for m in bare["mentions"]] == [0, 0, 0]
    assert [m["types"] for m in gold["mentions"]] == [["person-actor"], ["person-other"], ["person-actor"]]


def test_a_record_without_any_rarely_seen_entity_trains_no_more():
    silver = [record(str(i), "Ann left.", ("Ann", "person")) for i in range(4)]
    silver.append(record("4", "Ann met Bob.", ("Ann", "person"), ("Bob", "person")))
    assert [r["id"] for r in data.without_repeats(silver, 2)] == ["0", "1", "4"]


def test_each_document_is_tested_once_and_is_never_in_two_parts():
    records = [record(f"{d}#{i}", f"{d} {i}", doc=f"d{d}") for d in range(50) for i in range(d % 3 + 1)]
    folds = document_folds(records, 4)
    assert sorted(r["id"] for fold in folds for r in fold.test) == sorted(r["id"] for r in records)
    for fold in folds:
        documents = [{r["doc_id"] for r in part} for part in (fold.train, fold.dev, fold.test)]
        assert not documents[0] & documents[1] and not documents[0] & documents[2] and not documents[1] & documents[2]
        assert len(fold.train) + len(fold.dev) + len(fold.test) == len(records)
        assert len(documents[1]) == math.ceil(len(documents[0] | documents[1]) / 5)
    assert document_folds(records, 4) == folds


def test_few_nerd_is_split_by_place():
    (fold,) = fewnerd_fold(corpora()["fewnerd"], 500)
    assert [len(fold.train), len(fold.dev), len(fold.test)] == [500, 400, 1000]
    assert (fold.dev[0]["id"], fold.test[0]["id"], fold.test[-1]["id"]) == ("f5000", "f5400", "f6399")

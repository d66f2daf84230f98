"""The hand-written corpus keeps its promises: size, coverage, splits by document, and its own guide."""

import re
from pathlib import Path

import pytest

from finener.data_scripts.record_files import read_records
from finener.ontology_finener import Ontology
from finener.words_finener import split_words

ROOT = Path(__file__).resolve().parent.parent
SPLITS = ("train", "dev", "test")
# A few of the groups that the guide leaves unmarked; as a whole mention none of them may appear.
PEOPLES = re.compile(
    r"^(Syrians?|Kurds?|Kurdish|French|Dutch|Germans?|Russians?|Chinese|Indians?|Poles|Turks?|Arabs?|Israelis?)$"
)


@pytest.fixture(scope="module")
def aida():
    return Ontology.from_json(ROOT / "ontologies" / "aida.json")


@pytest.fixture(scope="module")
def corpus(aida):
    return {name: list(read_records(ROOT / "examples" / "aida_sample" / f"{name}.jsonl", aida)) for name in SPLITS}


def every(corpus):
    return [record for split in SPLITS for record in corpus[split]]


def test_it_is_large_and_varied_enough(corpus, aida):
    records = every(corpus)
    mentions = [m for r in records for m in r["mentions"]]
    types = {t for m in mentions for t in m["types"]}
    assert len(records) >= 300
    assert len({r["doc_id"] for r in records}) >= 40
    assert len(mentions) >= 700
    assert len(types) >= 120
    assert {t.split(".")[0] for t in types} == {aida.ids[i] for i in aida.roots}


def test_about_a_third_of_the_documents_is_encyclopaedic(corpus):
    style = {r["doc_id"]: r["source"] for r in every(corpus)}
    share = sum(s.endswith("/encyclopaedia") for s in style.values()) / len(style)
    assert 0.25 <= share <= 0.42


def test_no_document_and_no_sentence_is_in_two_splits(corpus):
    for part in ("doc_id", "text"):
        seen = [{r[part] for r in corpus[split]} for split in SPLITS]
        assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


def test_every_record_may_train_detection_and_typing(corpus):
    assert all(r["exhaustive"] and r["typed"] and r["ontology"] == "aida" for r in every(corpus))


def test_every_type_is_one_that_a_mention_may_have(corpus, aida):
    assert all(aida.assignable[aida.index(t)] for r in every(corpus) for m in r["mentions"] for t in m["types"])


def test_every_mention_begins_and_ends_with_a_word(corpus):
    for record in every(corpus):
        words = split_words(record["text"])
        starts, ends = {s for s, _ in words}, {e for _, e in words}
        assert all(m["start"] in starts and m["end"] in ends for m in record["mentions"]), record["id"]


def test_peoples_articles_and_possessives_are_outside_mentions(corpus):
    for record in every(corpus):
        for mention in record["mentions"]:
            surface = record["text"][mention["start"] : mention["end"]]
            assert not PEOPLES.match(surface), (record["id"], surface)
            assert not re.match(r"(the|a|an) ", surface), (record["id"], surface)
            assert not surface.endswith(("'s", "’s", ",")), (record["id"], surface)

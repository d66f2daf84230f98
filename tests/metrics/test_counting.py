"""Counts and scores: every figure worked out by hand on small examples, and what happens where there is nothing to measure."""

from __future__ import annotations

import itertools
import random
import re

import pytest

from finener.metrics.counting import (
    COUNTS,
    add_counts,
    count_detection,
    count_given,
    count_typed,
    no_counts,
    partial_credit,
    score_records,
    scores_of_counts,
    type_support,
)
from finener.ontology_finener import EntityType, Ontology, OntologyError


def record(record_id, mentions, text="x" * 40, ontology="src"):
    """Mentions as {(start, end): types}."""
    return {
        "id": record_id,
        "doc_id": record_id,
        "source": "",
        "text": text,
        "mentions": [{"start": s, "end": e, "types": list(types)} for (s, e), types in mentions.items()],
        "exhaustive": True,
        "typed": bool(ontology),
        "ontology": ontology,
    }


# -------------------------------------------------------------------- end to end

GOLD = [
    record("a", {(0, 3): ["artist"], (8, 11): ["person"], (15, 21): ["museum"]}),
    record("b", {(0, 4): ["company"]}),
]
PREDICTED = [
    record("b", {(0, 4): ["organization", "abstract"], (5, 9): ["place", "physical"]}),  # too general; spurious
    record(
        "a",
        {
            (0, 3): ["artist", "person", "physical"],  # right
            (8, 11): ["artist", "person", "physical"],  # too specific
            (12, 21): ["museum"],  # wrong span
        },
    ),
]


def test_every_end_to_end_figure_worked_by_hand(source):
    scores = score_records(GOLD, PREDICTED, source)
    assert scores == pytest.approx(
        {
            # 4 gold and 5 predicted spans, 3 in common
            "mention_precision": 3 / 5,
            "mention_recall": 3 / 4,
            "mention_f1": 2 / 3,
            # only (0, 3) of a has all its types and no other
            "typed_precision": 1 / 5,
            "typed_recall": 1 / 4,
            "typed_f1": 2 / 9,
            # 1 for the exact one, 0 for the descendant, 0.5 for the parent
            "partial_precision": 1.5 / 5,
            "partial_recall": 1.5 / 4,
            "partial_f1": 1 / 3,
            # found spans: all of 3 of 3; 2 of 3 predicted and all of 2 gold; all of 2 predicted, 2 of 3 gold
            "macro_precision": (1 + 2 / 3 + 1) / 5,
            "macro_recall": (1 + 1 + 2 / 3) / 4,
            "macro_f1": 2 * (8 / 15) * (2 / 3) / (8 / 15 + 2 / 3),
            # gold 3 + 2 + 6 + 3, predicted 3 + 3 + 6 + 2 + 2, in common 3 + 2 + 0 + 2
            "pair_precision": 7 / 16,
            "pair_recall": 7 / 14,
            "pair_f1": 14 / 30,
        }
    )


def test_gold_types_count_with_their_ancestors(source):
    """Predictions are closed, gold says only what the corpus says: that alone costs nothing."""
    gold = [record("a", {(0, 3): ["museum"]})]
    closed = [record("a", {(0, 3): source.closure(["museum"])})]
    scores = score_records(gold, closed, source)
    assert set(scores.values()) == {1.0}
    assert scores == score_records(closed, gold, source)


@pytest.mark.parametrize(
    ("gold", "predicted", "from_predicted", "from_gold"),
    [
        (["artmuseum"], ["artmuseum"], 1.0, 1.0),
        (["artmuseum"], ["museum"], 0.5, 0.5),  # the parent
        (["artmuseum"], ["building"], 0.25, 0.25),  # two levels up, on one side of the DAG
        (["artmuseum"], ["organization"], 0.25, 0.25),  # and on the other
        (["artmuseum"], ["abstract"], 0.125, 0.125),  # three levels up the short way …
        (["artmuseum"], ["physical"], 0.0625, 0.0625),  # … and four up the long one
        (["museum"], ["artmuseum"], 0.0, 0.0),  # a descendant
        (["museum"], ["company"], 0.0, 0.0),  # a sibling
        (["person"], ["place"], 0.0, 0.0),  # another branch
        (["museum"], ["building", "organization"], 0.5, 0.5),  # both parents: each is one level up
        (["artist", "company"], ["artist"], 1.0, 0.5),  # one of two leaves
        (["artist"], ["artist", "company"], 0.5, 1.0),  # one leaf too many
        (["museum", "artist"], ["organization"], 0.5, 0.25),
        (["artist", "company"], ["person", "organization"], 0.5, 0.5),
        (["artist", "person"], ["artist"], 1.0, 1.0),  # an ancestor that is written out is no second leaf
        ([], ["artist"], 0.0, 0.0),
        (["artist"], [], 0.0, 0.0),
    ],
)
def test_partial_credit_by_hand(source, gold, predicted, from_predicted, from_gold):
    indices = [[source.index(t) for t in types] for types in (gold, predicted)]
    assert partial_credit(*indices, source, 0.5) == (from_predicted, from_gold)
    closed = [source.closure_indices(types) for types in indices]
    assert partial_credit(*closed, source, 0.5) == (from_predicted, from_gold)


def test_partial_credit_takes_the_shortest_way_up_and_the_given_decay():
    shortcut = Ontology("dag", [EntityType("r"), EntityType("m", "", ("r",)), EntityType("x", "", ("m", "r"))])
    assert partial_credit([2], [0], shortcut, 0.25) == (0.25, 0.25)  # one edge, not two
    assert partial_credit([2], [0], shortcut, 0.0) == (0.0, 0.0)
    gold, predicted = ([record("a", {(0, 1): [t]}, ontology="dag")] for t in ("x", "r"))
    assert score_records(gold, predicted, shortcut, decay=0.25)["partial_f1"] == 0.25


def test_right_types_on_a_wrong_span_are_no_hit(source):
    counts = count_typed({(0, 3): [2]}, {(0, 4): [2]}, source)
    assert counts == no_counts() | {"typed_gold": 1, "typed_predicted": 1, "pair_gold": 2, "pair_predicted": 2}


# -------------------------------------------------------------------- types of gold mentions


def test_given_mentions_strict_macro_and_micro_by_hand(source):
    mentions = [
        (["museum"], ["building"]),  # 3 of 3 right, 3 of 6 found
        (["artist"], ["artist", "company"]),  # 3 of 6 right, 3 of 3 found
        (["company"], ["company"]),  # 3 of 3, 3 of 3
        (["person"], ["physical"]),  # 1 of 1, 1 of 2
    ]
    counts = add_counts(count_given(map(source.index, g), map(source.index, p), source) for g, p in mentions)
    scores = scores_of_counts(counts)
    assert scores == pytest.approx(
        {
            "given_strict": 1 / 4,
            "given_macro_precision": (1 + 0.5 + 1 + 1) / 4,
            "given_macro_recall": (0.5 + 1 + 1 + 0.5) / 4,
            "given_macro_f1": 2 * 0.875 * 0.75 / (0.875 + 0.75),
            "given_micro_precision": 10 / 13,
            "given_micro_recall": 10 / 14,
            "given_micro_f1": 20 / 27,
        }
    )


def test_a_given_mention_without_predicted_types_is_all_missed(source):
    scores = scores_of_counts(add_counts([count_given([2], [], source)]))
    assert scores["given_strict"] == scores["given_macro_recall"] == scores["given_micro_f1"] == 0.0
    assert scores["given_macro_precision"] == count_given([], [2], source)["given_macro_recall"] == 0.0


def test_an_ancestor_earns_half_for_each_edge_unless_told(source):
    gold, predicted = {"span": [source.index("artist")]}, {"span": [source.index("person")]}
    assert count_typed(gold, predicted, source) == count_typed(gold, predicted, source, decay=0.5)
    assert count_typed(gold, predicted, source)["credit_gold"] == 0.5


# -------------------------------------------------------------------- sums


def test_what_was_not_measured_is_left_out_and_what_was_is_zero():
    assert scores_of_counts(no_counts()) == {}
    only_gold = scores_of_counts(no_counts() | {"mention_gold": 2})
    assert only_gold == {"mention_precision": 0.0, "mention_recall": 0.0, "mention_f1": 0.0}
    only_predicted = scores_of_counts(no_counts() | {"mention_predicted": 2})
    assert only_predicted == only_gold


def random_corpus(n, seed, n_types):
    """Gold and predicted mentions of ``n`` records, overlapping in part."""
    rng = random.Random(seed)

    def mentions():
        return {
            (s, s + 2): rng.sample(range(n_types), rng.randint(0, 3)) for s in range(0, 20, 2) if rng.random() < 0.6
        }

    return [(mentions(), mentions()) for _ in range(n)]


@pytest.mark.parametrize("cuts", [(), (1,), (3, 4), (0, 7)])
def test_counts_of_parts_add_up_to_the_counts_of_the_whole(source, cuts):
    corpus = random_corpus(7, 0, len(source))

    def count(records):
        """One call over all spans of several records."""
        gold, predicted = (
            {(i, span): types for i, pair in records for span, types in pair[side].items()} for side in (0, 1)
        )
        given = [count_given(gold[s], predicted[s], source) for s in gold.keys() & predicted.keys()]
        return add_counts([count_detection(gold, predicted), count_typed(gold, predicted, source), *given])

    numbered = list(enumerate(corpus))
    edges = [0, *cuts, len(corpus)]
    parts = [count(numbered[a:b]) for a, b in itertools.pairwise(edges)]
    whole = count(numbered)
    assert whole["mention_hit"] > 0 and whole["credit_gold"] > 0 and whole["given_strict"] < whole["given"]
    assert set(whole) == set(COUNTS)
    assert add_counts(parts) == pytest.approx(whole)


def test_detection_agrees_with_seqeval():
    seqeval = pytest.importorskip("seqeval.metrics", reason="seqeval is not installed: nothing to compare with")
    scheme = pytest.importorskip("seqeval.scheme", reason="seqeval is not installed: nothing to compare with")
    rng = random.Random(1)

    def spans():
        found, at = {}, 0
        while at < 30:
            length = rng.randint(1, 2)
            if rng.random() < 0.8:
                found[at, at + length] = []
            at += length
        return found

    def tags(mentions):
        row = ["O"] * 33
        for start, stop in mentions:
            row[start:stop] = ["B-X", *["I-X"] * (stop - start - 1)]
        return row

    pairs = [(spans(), spans()) for _ in range(50)]
    scores = scores_of_counts(add_counts(count_detection(gold, predicted) for gold, predicted in pairs))
    gold, predicted = ([tags(pair[side]) for pair in pairs] for side in (0, 1))
    for ours, theirs in (("precision", "precision_score"), ("recall", "recall_score"), ("f1", "f1_score")):
        expected = getattr(seqeval, theirs)(gold, predicted, mode="strict", scheme=scheme.IOB2)
        assert 0.1 < expected < 0.9
        assert scores[f"mention_{ours}"] == pytest.approx(expected)


# -------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("gold", "predicted", "message"),
    [
        (GOLD, PREDICTED[:1], "gold record 'a': no prediction has this id"),
        (GOLD, [PREDICTED[0], {**PREDICTED[1], "text": "other"}], "gold record 'a': its prediction has another text"),
        ([], PREDICTED, "no gold records"),
        (GOLD[:1] * 2, PREDICTED, "two gold records have the id 'a'"),
        (GOLD, [*PREDICTED, PREDICTED[0]], "two predictions have the id 'b'"),
        (
            [record("a", {}, ontology="tgt")],
            PREDICTED,
            "gold record 'a' has types of the ontology 'tgt', expected 'src'",
        ),
        (
            GOLD,
            [PREDICTED[0], record("a", {}, ontology="tgt")],
            "prediction 'a' has types of the ontology 'tgt', expected 'src'",
        ),
    ],
    ids=[
        "missing id",
        "other text",
        "no gold",
        "gold twice",
        "prediction twice",
        "other gold types",
        "other predicted types",
    ],
)
def test_scoring_what_does_not_fit_is_an_error(source, gold, predicted, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        score_records(gold, predicted, source)


def test_an_unknown_type_is_an_error_that_names_it(source):
    with pytest.raises(OntologyError, match=r"'personn' is not a type of ontology 'src'.*did you mean 'person'"):
        score_records([record("a", {(0, 1): ["personn"]})], [record("a", {})], source)


# -------------------------------------------------------------------- support


def test_type_support_by_hand(source):
    records = [
        record("a", {(0, 1): ["artist"], (2, 3): ["person"]}),
        record("b", {(0, 1): ["museum"], (2, 3): []}),
        record("c", {(0, 1): ["per"]}, ontology="tgt"),  # of another ontology
        record("d", {(0, 1): []}, ontology=""),  # untyped
    ]
    # physical 3; person 2; artist, museum, building, place, organization, abstract 1
    assert type_support(records, source, (1, 2, 3, 4)) == {
        "types": 10,
        "mentions": 4,
        "seen_1": 8,
        "seen_2": 2,
        "seen_3": 1,
        "seen_4": 0,
    }
    assert set(type_support(records, source)) == {"types", "mentions", "seen_1", "seen_10", "seen_50"}

"""What ``python -m metrics score`` measures: partial credit from files, break-downs, intervals, and agreement with other scorers."""

from __future__ import annotations

import itertools
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

from finener.data_scripts.record_files import write_records
from finener.metrics import intervals
from finener.metrics.__main__ import main
from finener.metrics.breakdown import macro_over_types, scores_by_level, scores_by_training, scores_by_type, type_counts
from finener.metrics.counting import COUNTS, no_counts, partial_credit, score_records, training_counts
from finener.metrics.credit import CreditError, decay_row, read_credit
from finener.metrics.intervals import bootstrap, paired_bootstrap
from finener.metrics.pairing import PairingError, pair_records
from finener.metrics.scoring import Options, judge, record_counts, score
from finener.ontology_finener import EntityType, Ontology

METRIC = str(Path(__file__).resolve().parents[2] / "metrics" / "finener_metric.py")
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


# -------------------------------------------------------------------- agreement with other scorers


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


def neleval(gold, predicted, keys, weight=None):
    """What neleval counts, from its documentation: annotations are matched by the fields of ``keys``; with weights by all fields but the
    type, each match counting what the pair of gold and system type weighs, each annotation what its type weighs against itself.
    """

    def annotations(records):
        for r in records:
            for m in r["mentions"]:
                fields = {"docid": r["id"], "start": m["start"], "end": m["end"], "type": m["types"][0]}
                yield tuple(fields[k] for k in keys), fields["type"]

    gold, predicted = dict(annotations(gold)), dict(annotations(predicted))
    weight = weight or (lambda *_: 1.0)
    hit = sum(weight(gold[k], predicted[k]) for k in gold.keys() & predicted.keys())
    precision = hit / sum(weight(t, t) for t in predicted.values())
    recall = hit / sum(weight(t, t) for t in gold.values())
    return precision, recall, 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("decay", [0.5, 0.3])
def test_mentions_types_and_partial_credit_agree_with_nelevals_definitions(target, decay):
    gold, predicted = random_records(0, target)
    scores = score_records(gold, predicted, target, decay)

    def weight(gold_type, system_type):
        steps = target.depths[target.index(gold_type)] - target.depths[target.index(system_type)]
        return decay**steps if system_type in target.closure([gold_type]) else 0.0

    span = ("docid", "start", "end")
    expected = {
        "mention": neleval(gold, predicted, span),  # strong_mention_match
        "typed": neleval(gold, predicted, (*span, "type")),  # strong_typed_mention_match
        "partial": neleval(gold, predicted, span, weight),  # the same with type weights
    }
    for measure, figures in expected.items():
        assert tuple(scores[f"{measure}_{part}"] for part in ("precision", "recall", "f1")) == pytest.approx(figures)
    assert 0.1 < expected["typed"][2] < expected["partial"][2] < expected["mention"][2] < 0.9


def test_typed_mentions_agree_with_seqeval(target):
    seqeval = pytest.importorskip("seqeval.metrics", reason="seqeval is not installed: nothing to compare with")
    scheme = pytest.importorskip("seqeval.scheme", reason="seqeval is not installed: nothing to compare with")
    gold, predicted = random_records(1, target)

    def tags(one):
        row = ["O"] * len(one["text"])
        for m in one["mentions"]:
            row[m["start"] : m["end"]] = [f"B-{m['types'][0]}"] + [f"I-{m['types'][0]}"] * (m["end"] - m["start"] - 1)
        return row

    scores = score_records(gold, predicted, target)
    sides = [[tags(r) for r in side] for side in (gold, predicted)]
    for ours, theirs in (("precision", "precision_score"), ("recall", "recall_score"), ("f1", "f1_score")):
        expected = getattr(seqeval, theirs)(*sides, mode="strict", scheme=scheme.IOB2)
        assert 0.1 < expected < 0.9
        assert scores[f"typed_{ours}"] == pytest.approx(expected)


# -------------------------------------------------------------------- W


def write(path, content):
    path.write_text(content, encoding="utf-8")
    return path


def as_matrix(credit, ontology):
    return [[credit[i].get(j, 0.0) for j in range(len(ontology))] for i in range(len(ontology))]


def test_every_form_of_a_credit_file_gives_the_same_w(tmp_path):
    ontology = small_tree()
    matrix = [[1, 0, 0], [0.4, 1, 0.1], [0, 0, 1]]
    np.save(tmp_path / "w.npy", np.array(matrix, dtype=np.float32).astype(float))
    files = [
        write(tmp_path / "w.tsv", "# gold, predicted, credit\na.b\ta\t0.4\n\na.b\tc\t0.1\nc\tc\t1\n"),
        write(tmp_path / "w.json", '{"a.b": {"a": 0.4, "c": 0.1}}'),
        write(tmp_path / "rows.json", json.dumps(matrix)),
        tmp_path / "w.npy",
    ]
    for path in files:
        assert np.allclose(as_matrix(read_credit(path, ontology), ontology), matrix), path


def test_gold_is_the_row_and_not_the_column(tmp_path):
    """The direction that neleval documents; its own weights-for-hierarchy writes the other one."""
    ontology = small_tree()
    credit = read_credit(write(tmp_path / "w.tsv", "a.b\ta\t0.4\n"), ontology)
    assert partial_credit([1], [0], ontology, 0.5, credit) == (0.4, 0.4)  # gold a.b, predicted its parent
    assert partial_credit([0], [1], ontology, 0.5, credit) == (0.0, 0.0)
    assert partial_credit([1], [1], ontology, 0.5, credit) == (1.0, 1.0)


def test_a_row_of_probabilities_is_scaled_so_that_gold_earns_one(tmp_path):
    ontology = small_tree()
    path = write(tmp_path / "w.json", "[[0.5, 0.25, 0.25], [0.2, 0.8, 0.0], [0, 0, 1]]")
    assert np.allclose(as_matrix(read_credit(path, ontology), ontology), [[1, 0.5, 0.5], [0.25, 1, 0], [0, 0, 1]])


def test_the_decay_written_as_a_file_scores_the_same(tmp_path, target):
    lines = [
        f"{target.ids[i]}\t{target.ids[j]}\t{credit}"
        for i in range(len(target))
        for j, credit in decay_row(target, i, 0.5).items()
    ]
    credit = read_credit(write(tmp_path / "w.tsv", "\n".join(lines)), target)
    judged = judge(*random_records(2, target), target)
    assert np.array_equal(record_counts(judged, 0.5), record_counts(judged, 0.0, credit))
    assert not np.array_equal(record_counts(judged, 0.5), record_counts(judged, 0.0))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.tsv", "a.b\ta\n", "w.tsv:1: expected 'gold TAB predicted TAB credit', found 'a.b\\ta'"),
        ("w.tsv", "# comment\na.b\ta\thalf\n", "w.tsv:2: expected 'gold TAB predicted TAB credit'"),
        ("w.tsv", "a.b\td\t0.5\n", "'d' is not a type of ontology 'tgt'"),
        ("w.tsv", "a.b\ta\t1.5\n", "w.tsv:1: expected a credit in [0, 1], found 1.5"),
        ("w.tsv", "a.b\ta\tnan\n", "expected a credit in [0, 1], found nan"),
        ("w.tsv", "a.b\ta\t0.5\na.b\ta\t0.4\n", "w.tsv:2: the pair a.b → a is listed twice"),
        ("w.tsv", "c\tc\t0\n", "the row of 'c' is zero"),
        ("w.tsv", "c\tc\t0.2\nc\ta\t0.3\n", "for gold 'c', 'a' earns 0.3 and the type itself 0.2"),
        ("w.json", "{", "w.json: not JSON"),
        ("w.json", "7", 'expected {"gold type": {"predicted type": credit'),
        ("w.json", '{"a": 1}', "found 1 for 'a'"),
        ("w.json", '{"a": {"x": 1}}', "w.json: a → x: 'x' is not a type"),
        ("w.json", '{"a": {"a": true}}', "expected a credit in [0, 1], found True"),
        ("w.json", "[[1, 0], [0, 1]]", "expected 3 × 3 numbers, one row and column for each type, found 2 × 2"),
        (
            "w.json",
            "[[1, 0, 0], [0, 1], [0, 0, 1]]",
            "expected 3 × 3 numbers, one row and column for each type, found 3 × 2…3",
        ),
        ("w.json", "[]", "found 0 × 0"),
        ("w.json", '[[1, 0, 0], [0, 1, 0], [0, "x", 1]]', "row 2, column 1: expected a credit in [0, 1], found 'x'"),
        ("w.json", "[[1, 0, 0], [0, 0, 0], [0, 0, 1]]", "the row of 'a.b' is zero"),
        ("w.csv", "", "expected a .tsv, .json or .npy file"),
        ("w.npy", "no numbers", "not a .npy file of numbers"),
    ],
)
def test_a_bad_credit_file_is_an_error_that_says_where(tmp_path, name, content, message):
    with pytest.raises(CreditError, match=re.escape(message)):
        read_credit(write(tmp_path / name, content), small_tree())


def test_a_matrix_of_another_shape_is_an_error(tmp_path):
    np.save(tmp_path / "w.npy", np.eye(4))
    with pytest.raises(CreditError, match="expected 3 × 3 numbers, one row and column for each type, found 4 × 4"):
        read_credit(tmp_path / "w.npy", small_tree())


# -------------------------------------------------------------------- break-downs


def test_every_level_and_type_worked_by_hand(target):
    counts = type_counts(pair_records(GOLD, PREDICTED, target), target)
    levels = [(r["level"], r["types"], r["gold"], r["predicted"], r["hit"]) for r in scores_by_level(counts, target)]
    assert levels == [
        # per, org, loc: gold 3 per, 1 org, 1 loc; predicted 3 per and 3 loc
        (0, 3, 5, 6, 4),
        # gold politician, company, artist, city; predicted politician twice and city
        (1, 4, 4, 3, 2),
        (2, 2, 2, 0, 0),  # painter, capital
    ]
    rows = {r["type"]: r for r in scores_by_type(counts, target)}
    assert set(rows) == set(target.ids) - {"per.artist.singer"}
    assert rows["per.politician"] | {"label": ""} == {
        "type": "per.politician",
        "label": "",
        "level": 1,
        "gold": 1,
        "predicted": 2,
        "hit": 1,
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
    }
    assert (rows["org"]["gold"], rows["org"]["predicted"], rows["org"]["f1"]) == (1, 0, 0.0)
    # the 9 types in gold: per 1, politician 2/3, loc 1/2, city 1, five that were never right
    assert macro_over_types(counts)["f1"] == pytest.approx((1 + 2 / 3 + 1 / 2 + 1) / 9)
    assert macro_over_types(np.zeros((3, 3))) == {}


def test_types_by_training_mentions_worked_by_hand(target):
    train = [
        record("t1", {ANN: ["per.politician"], BOB: ["per"], ROME: ["loc.city"]}),
        record("t2", {ANN: ["per"]}),
        record("other", {ANN: ["artist"]}, ontology="src"),
    ]
    training = training_counts(train, target)
    assert dict(zip(target.ids, training.tolist(), strict=True)) == dict.fromkeys(target.ids, 0) | {
        "per": 3,
        "per.politician": 1,
        "loc": 1,
        "loc.city": 1,
    }
    counts = type_counts(pair_records(GOLD, PREDICTED, target), target)
    rows = scores_by_training(counts, training, bounds=(1, 3))
    assert [(r["least"], r["most"], r["types"], r["gold"], r["predicted"], r["hit"]) for r in rows] == [
        (0, 0, 5, 5, 0, 0),  # artist, painter, org, company, capital
        (1, 2, 3, 3, 6, 3),  # politician 1 of 2, loc 1 of 3, city 1 of 1
        (3, None, 1, 3, 3, 3),  # per
    ]
    assert {r["type"]: r["training"] for r in scores_by_type(counts, target, training)}["per"] == 3


def test_seen_and_unseen_names_worked_by_hand(target):
    train = [record("t", {(0, 7): [], (9, 13): []}, text="ANN LEE, ROME", typed=False)]  # found whatever the case
    result = score(judge(GOLD, PREDICTED, target), Options(resamples=0), train)
    seen, unseen = result["seen"]["seen"], result["seen"]["unseen"]
    # seen: Ann Lee in both records, Rome; all found, one of three with all its types
    assert (seen["mention_f1"], seen["typed_f1"]) == (1.0, pytest.approx(1 / 3))
    # unseen: Bob and Acme in gold; Monday besides in the predictions, and no types right
    assert unseen["mention_precision"] == pytest.approx(2 / 3) and unseen["mention_recall"] == 1.0
    assert unseen["typed_f1"] == 0.0
    assert seen["given_strict"] == pytest.approx(1 / 3) and unseen["given_strict"] == 0.0
    # (span, type) pairs: seen 2 + 3 + 3 in gold, 2 + 1 + 2 predicted, all of these right
    assert (seen["pair_precision"], seen["pair_recall"]) == (1.0, pytest.approx(5 / 8))


# -------------------------------------------------------------------- intervals


def detection_counts(rows):
    """Rows of (gold, predicted, hit) as counts."""
    names = ("mention_gold", "mention_predicted", "mention_hit")
    return np.array([[(no_counts() | dict(zip(names, row, strict=True)))[n] for n in COUNTS] for row in rows])


def test_the_bootstrap_equals_drawing_units_one_by_one():
    rng = np.random.default_rng(3)
    gold = rng.integers(1, 6, 30)
    hit = rng.integers(0, gold + 1)
    rows = np.stack([gold, gold, hit], 1)
    units = [f"d{i // 2}" for i in range(30)]  # two records for each document
    recalls = []
    for _ in range(4000):
        drawn = rng.integers(0, 15, 15)
        parts = rows.reshape(15, 2, 3)[drawn].reshape(-1, 3).sum(0)
        recalls.append(parts[2] / parts[0])
    expected = np.quantile(recalls, [0.025, 0.975])
    assert bootstrap(detection_counts(rows), units, 4000)["mention_recall"] == pytest.approx(tuple(expected), abs=0.01)


def test_the_seed_decides_the_interval_and_the_block_size_does_not(monkeypatch):
    rows = [(2, 2, i % 3) for i in range(20)]
    counts, units = detection_counts(rows), range(20)
    first = bootstrap(counts, units, 200, seed=1)
    assert bootstrap(counts, units, 200, seed=1) == first != bootstrap(counts, units, 200, seed=2)
    monkeypatch.setattr(intervals, "ROWS_AT_ONCE", 60)
    assert bootstrap(counts, units, 200, seed=1) == first


def test_records_of_one_document_stay_together():
    """Ten records each of a perfect and a hopeless document: recall is anything from 0 to 1, whatever single records say."""
    counts = detection_counts([(1, 1, 1)] * 10 + [(1, 1, 0)] * 10)
    by_document = bootstrap(counts, ["good"] * 10 + ["bad"] * 10)["mention_recall"]
    by_record = bootstrap(counts, range(20))["mention_recall"]
    assert by_document == (0.0, 1.0)
    assert 0.2 < by_record[0] < 0.4 and 0.6 < by_record[1] < 0.8


def test_resamples_without_anything_to_measure_do_not_count():
    counts = detection_counts([(1, 1, 1), (0, 0, 0)])
    assert bootstrap(counts, range(2))["mention_f1"] == (1.0, 1.0)


def test_a_system_against_itself_differs_by_nothing():
    counts = detection_counts([(2, 2, i % 3) for i in range(12)])
    assert paired_bootstrap(counts, counts, range(12))["mention_f1"] == {
        "difference": 0.0,
        "low": 0.0,
        "high": 0.0,
        "p": 1.0,
    }


def test_pairing_sees_a_small_difference_that_single_intervals_hide():
    """One more hit in every document, whose difficulty varies much more than that."""
    hits = [i % 9 for i in range(18)]
    better = detection_counts([(10, 10, hit + 1) for hit in hits])
    worse = detection_counts([(10, 10, hit) for hit in hits])
    found = paired_bootstrap(better, worse, range(18))["mention_recall"]
    assert found == pytest.approx({"difference": 0.1, "low": 0.1, "high": 0.1, "p": 0.001})
    assert bootstrap(better, range(18))["mention_recall"][0] < bootstrap(worse, range(18))["mention_recall"][1]
    assert paired_bootstrap(worse, better, range(18))["mention_recall"]["difference"] == pytest.approx(-0.1)


def test_one_unit_or_unequal_records_are_an_error():
    counts = detection_counts([(1, 1, 1)] * 3)
    with pytest.raises(ValueError, match="at least two, got 1"):
        bootstrap(counts, ["d"] * 3)
    with pytest.raises(ValueError, match="the same records; got 3 and 2"):
        paired_bootstrap(counts, counts[:2], range(3))


# -------------------------------------------------------------------- what can be measured


def test_gold_that_is_not_exhaustive_leaves_the_types_of_gold_mentions(target):
    gold = [{**r, "exhaustive": False} for r in GOLD]
    result = score(judge(gold, PREDICTED, target), Options(resamples=0))
    assert {name.split("_")[0] for name in result["scores"]} == {"given"}
    assert result["basis"] == "gold mentions"
    # Monday is not held against it: 3 per, 1 org, 1 loc in gold, 3 per and 2 loc predicted
    assert [result["levels"][0][k] for k in ("gold", "predicted", "hit")] == [5, 5, 4]
    assert "2 of 2 gold records do not mark every mention" in result["notes"][0]


def test_records_are_judged_for_what_they_tell(target):
    untyped = record("c", {ANN: []}, typed=False)
    gold = [GOLD[0], {**GOLD[1], "exhaustive": False}, untyped]
    predicted = [*PREDICTED, record("c", {ANN: ["per"]})]
    result = score(judge(gold, predicted, target), Options(resamples=0))
    counts = dict(zip(COUNTS, record_counts(judge(gold, predicted, target)).sum(0), strict=True))
    assert (counts["mention_gold"], counts["typed_gold"], counts["given"]) == (4, 3, 5)
    assert len(result["notes"]) == 2 and "made of the others" in result["notes"][0] and "1 of 3" in result["notes"][1]


def test_predictions_on_the_gold_mentions_measure_typing_alone(target):
    found = [PREDICTED[0], {**PREDICTED[1], "mentions": PREDICTED[1]["mentions"][:1]}]  # Rome was not found
    judged = judge(GOLD, found, target)
    assert "1 of 5 gold mentions are not among the predicted ones" in judged.notes[0]
    assert "given_strict" not in score(judged, Options(resamples=0))["scores"]
    result = score(judge(GOLD, found, target, given=PREDICTED), Options(resamples=0))
    assert result["notes"] == []
    assert result["scores"]["given_strict"] == 1 / 5 and result["scores"]["mention_recall"] == 4 / 5
    with pytest.raises(PairingError, match="1 of 5 gold mentions have no prediction, such as 'Rome' of record 'b'"):
        judge(GOLD, PREDICTED, target, given=found)


def test_exactly_the_gold_mentions_are_suspicious(target):
    perfect = judge(GOLD, GOLD, target)
    assert "exactly the gold ones" in perfect.notes[0]
    assert set(score(perfect, Options(resamples=0))["scores"].values()) == {1.0}


def test_predictions_without_gold_are_counted(target):
    judged = judge(GOLD[:1], PREDICTED, target)
    assert "1 predictions have no gold record" in judged.notes[0] and len(judged.pairs) == 1


def test_nothing_to_measure_is_an_error(target):
    gold, nothing = [record("a", {}, exhaustive=False)], [record("a", {ANN: ["per"]})]
    with pytest.raises(PairingError, match=r"nothing can be measured\. 1 of 1 gold records do not mark every mention"):
        judge(gold, nothing, target)


def test_an_ontology_of_one_type():
    one = Ontology("tgt", [EntityType("thing")])
    gold = [record("a", {ANN: ["thing"], BOB: ["thing"]}), record("b", {})]
    result = score(judge(gold, [record("a", {ANN: ["thing"]}), record("b", {})], one), Options(resamples=50))
    assert result["scores"]["pair_f1"] == result["scores"]["partial_f1"] == pytest.approx(2 / 3)
    assert [row["f1"] for row in result["levels"]] == [pytest.approx(2 / 3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.5}, "decay must lie in [0, 1], got 1.5"),
        ({"resamples": -1}, "resamples must not be negative, got -1"),
        ({"resampled": "token"}, "one of document, record, got 'token'"),
    ],
)
def test_options_that_make_no_sense_are_an_error(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Options(**options)


# -------------------------------------------------------------------- command line


@pytest.fixture
def files(tmp_path, target):
    target.to_json(tmp_path / "tgt.json")
    write_records(GOLD, tmp_path / "gold.jsonl")
    write_records(PREDICTED, tmp_path / "pred.jsonl")
    write_records([record("t", {ANN: ["per"]})], tmp_path / "train.jsonl")
    return tmp_path


def run(folder, command="score", **arguments):
    options = {"gold": "gold.jsonl", "pred": "pred.jsonl", "ontology": "tgt.json"} | arguments
    flags = [[f"--{name}", str(folder / value)] for name, value in options.items()]
    return main([command, *itertools.chain(*flags)])


def test_the_command_prints_and_writes_what_was_measured(files, capsys, target):
    assert run(files, train="train.jsonl", output_file="out/scores.json", baseline="gold.jsonl") == 0
    printed = capsys.readouterr().out
    written = json.loads((files / "out/scores.json").read_text(encoding="utf-8"))
    assert written["scores"] == score_records(GOLD, PREDICTED, target) | {
        name: value for name, value in written["scores"].items() if name.startswith("given")
    }
    for name, label in (("mention", "detection"), ("typed", "typed, strict"), ("macro", "typed, loose macro")):
        figures = [f"{written['scores'][f'{name}_{part}']:.3f}" for part in ("precision", "recall", "f1")]
        low, high = written["intervals"][f"{name}_f1"]
        assert re.search(rf"^{label} +{' +'.join(figures)} +{low:.3f}–{high:.3f}$", printed, re.M)
    assert re.search(rf"^strict accuracy +{written['scores']['given_strict']:.3f}", printed, re.M)
    row = written["difference"]["typed_f1"]
    assert re.search(rf"^typed, strict, F1 +{re.escape(format(row['difference'], '+.3f'))} ", printed, re.M)
    assert written["difference"]["typed_f1"]["difference"] == written["scores"]["typed_f1"] - 1
    assert re.search(r"^loc\.city +1 +1 +1\.000 +1\.000 +1\.000 +0$", printed, re.M)
    assert re.search(r"^unseen in training +typed, strict", printed, re.M)


def test_one_document_has_no_interval_and_the_command_says_so(files, capsys):
    write_records([{**r, "doc_id": "d"} for r in GOLD], files / "gold.jsonl")
    assert run(files, output_file="scores.json") == 0
    assert "There are no intervals: a bootstrap needs at least two documents" in capsys.readouterr().out
    assert json.loads((files / "scores.json").read_text())["intervals"] == {}


@pytest.mark.parametrize("command", ["score", "report"])
@pytest.mark.parametrize(
    ("name", "records", "message"),
    [
        ("gold.jsonl", [], "there are no gold records to score against"),
        ("pred.jsonl", PREDICTED[:1], "gold record 'b': no prediction has this id"),
        (
            "pred.jsonl",
            [PREDICTED[0], {**PREDICTED[1], "text": TEXT + "!"}],
            "gold record 'b': its prediction has another text",
        ),
        (
            "pred.jsonl",
            [record("a", {ANN: ["pe"]})],
            "pred.jsonl:1: record 'a': mention 0: unknown type: 'pe' is not a type",
        ),
        (
            "gold.jsonl",
            [record("a", {ANN: ["artist"]}, ontology="src")],
            "expected types of the ontology 'tgt', the record says 'src'",
        ),
    ],
    ids=["empty gold", "missing", "other text", "unknown type", "other ontology"],
)
def test_bad_files_are_an_error_that_says_what_is_wrong(files, capsys, command, name, records, message):
    write_records(records, files / name)
    assert run(files, command, **({"output_dir": "out"} if command == "report" else {})) == 1
    assert message in capsys.readouterr().err
    assert not (files / "out").exists()


# -------------------------------------------------------------------- the evaluate metric


def test_the_evaluate_metric_scores_as_the_functions_do(target, tmp_path, monkeypatch):
    evaluate = pytest.importorskip("evaluate", reason="evaluate is not installed: the metric is for it alone")
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path)
    metric = evaluate.load(METRIC)
    bare = [{k: v for k, v in r.items() if k != "source"} for r in PREDICTED]  # left-out keys have their defaults
    found = metric.compute(predictions=bare, references=GOLD, ontology=target, decay=0.25)
    assert found == score(judge(GOLD, PREDICTED, target), Options(0.25, resamples=0))
    assert found["scores"]["partial_f1"] != score_records(GOLD, PREDICTED, target)["partial_f1"]


def test_the_evaluate_metric_takes_records_one_by_one_and_names_what_is_wrong(target, tmp_path, monkeypatch):
    evaluate = pytest.importorskip("evaluate", reason="evaluate is not installed: the metric is for it alone")
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path)
    metric = evaluate.load(METRIC)
    for gold, predicted in zip(GOLD, PREDICTED, strict=True):
        metric.add(prediction=predicted, reference=gold)
    with pytest.raises(ValueError, match="needs the ontology of the types"):
        metric.compute()
    with pytest.raises(ValueError, match="unknown key 'txt'"):
        metric.add(prediction={"id": "a", "txt": ""}, reference=GOLD[0])

"""Partial credit from files, and how bad ones are refused."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from finener.metrics.counting import partial_credit
from finener.metrics.credit import CreditError, decay_row, read_credit
from finener.metrics.scoring import judge, record_counts

from judged import random_records, small_tree


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
        ("w.json", "{", "w.json is not JSON"),
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
        ("w.json", "[5, 6, 7]", "found 3 × 0"),
        ("w.json", '[[1, 0, 0], [0, 1, 0], [0, "x", 1]]', "row 2, column 1: expected a credit in [0, 1], found 'x'"),
        ("w.json", "[[1, null, 0], [0, 1, 0], [0, 0, 1]]", "row 0, column 1: expected a credit in [0, 1], found None"),
        ("w.json", "[[1, 0, 0], [0, 0, 0], [0, 0, 1]]", "the row of 'a.b' is zero"),
        ("w.csv", "", "expected a .tsv, .json or .npy file"),
        ("w.npy", "no numbers", "not a .npy file of numbers"),
    ],
)
def test_a_bad_credit_file_is_an_error_that_says_where(tmp_path, name, content, message):
    with pytest.raises(CreditError, match=re.escape(message)):
        read_credit(write(tmp_path / name, content), small_tree())


def test_a_matrix_that_is_a_pickle_is_refused(tmp_path):
    np.save(tmp_path / "w.npy", np.eye(3).astype(object), allow_pickle=True)
    with pytest.raises(CreditError, match=r"w\.npy: not a \.npy file of numbers"):
        read_credit(tmp_path / "w.npy", small_tree())


def test_a_matrix_of_another_shape_is_an_error(tmp_path):
    np.save(tmp_path / "w.npy", np.eye(4))
    with pytest.raises(CreditError, match="expected 3 × 3 numbers, one row and column for each type, found 4 × 4"):
        read_credit(tmp_path / "w.npy", small_tree())

"""Which files and which rows are read of a folder of records."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset

from finener.data_scripts.record_files import count_rows, read_rows, record_files, write_records
from finener.data_scripts.schema import FEATURES, RecordError, validate_record

from runs import numbered

NAMES = ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "validation-00000-of-00001.parquet"]


# -------------------------------------------------------------------- which files


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", ["b/data/train-00000-of-00002.parquet", "b/data/train-00001-of-00002.parquet", "c/train.jsonl"]),
        ("dev", ["c/dev.jsonl", "b/data/validation-00000-of-00001.parquet"]),
        ("validation", ["c/dev.jsonl", "b/data/validation-00000-of-00001.parquet"]),
        ("own", ["b/own-0-of-1.jsonl"]),
    ],
)
def test_of_a_folder_the_files_of_one_split_are_taken(tmp_path, split, expected):
    touch(
        tmp_path, "b/README.md", "b/own-0-of-1.jsonl", "c/train.jsonl", "c/dev.jsonl", *(f"b/data/{n}" for n in NAMES)
    )
    assert record_files([tmp_path], split) == [tmp_path / name for name in expected]


def test_files_and_patterns_are_taken_whatever_their_names(tmp_path):
    touch(tmp_path, "b.jsonl", "a.jsonl", "validation.jsonl", "deep/c.parquet", "odd[1].jsonl")
    assert record_files([tmp_path / "b.jsonl", tmp_path / "none.jsonl"]) == [
        tmp_path / "b.jsonl",
        tmp_path / "none.jsonl",
    ]
    assert record_files([f"{tmp_path}/[a-b].jsonl"]) == [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    assert record_files([f"{tmp_path}/**/*.parquet"]) == [tmp_path / "deep" / "c.parquet"]
    assert record_files([tmp_path / "odd[1].jsonl"]) == [tmp_path / "odd[1].jsonl"]
    with pytest.raises(FileNotFoundError, match=r"\*\.csv: no file matches"):
        record_files([tmp_path / "*.csv"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["part0.parquet"], r"part0\.parquet: in a folder, expected files such as .* a pattern such as '.*/\*\.parquet'"),
        (["train.jsonl", "more.jsonl"], r"more\.jsonl: in a folder, expected files such as train-00000-of-00004"),
        (["test.jsonl", "dev.jsonl"], r"no files of the split 'train'; found dev, test"),
        (["README.md"], r"no files of the split 'train'; found none"),
        (["data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet"],
         r"data: expected 3 shards of 'train', each once; missing or left over: train-00001-of-00003"),
        (["train-00000-of-00001.parquet", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
         r"expected 2 shards of 'train', each once; missing or left over: train-00000-of-00001"),
    ],
)  # fmt: skip
def test_a_folder_that_does_not_tell_its_splits_or_lacks_a_shard_is_an_error(tmp_path, names, message):
    touch(tmp_path, *names)
    with pytest.raises(RecordError, match=message):
        record_files([tmp_path])


# -------------------------------------------------------------------- which rows


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
def test_readers_share_the_rows_of_a_file(tmp_path, name):
    records = [validate_record(r) for r in numbered(2500)]  # more than two of Parquet's batches
    if name.endswith("parquet"):
        Dataset.from_list(records, features=FEATURES).to_parquet(tmp_path / name)
    else:
        write_records(records, tmp_path / name)
    place = f"{tmp_path / name}:row " if name.endswith("parquet") else f"{tmp_path / name}:"
    for first in range(3):
        rows = list(read_rows(tmp_path / name, first=first, step=3))
        assert rows == [(f"{place}{i + 1}", records[i]) for i in range(first, 2500, 3)]
    assert list(read_rows(tmp_path / name, first=2500, step=2501)) == []
    assert count_rows([tmp_path / name, tmp_path / name]) == 5000


def test_blank_lines_are_not_counted_and_what_is_no_parquet_file_is_told(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "a", "text": "x"}\n\n  \n{"id": "b", "text": "x"}', encoding="utf-8")
    assert count_rows([tmp_path / "a.jsonl"]) == 2
    touch(tmp_path, "b.parquet")
    with pytest.raises(RecordError, match=r"b\.parquet: not a Parquet file"):
        count_rows([tmp_path / "b.parquet"])

"""The record: what it accepts, what it refuses, and what it says then."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from datasets import Dataset

from finener.data_scripts.record_files import read_records, write_records
from finener.data_scripts.schema import EXAMPLE_RECORD, FEATURES, RecordError, validate_record
from finener.ontology_finener import EntityType, Ontology

TOY = Ontology("toy", [EntityType("place"), EntityType("place.town", parents=("place",)), EntityType("person")])


def record(text="Ann left Bree.", mentions=((0, 3),), **more):
    return {"id": "d#0", "text": text, "mentions": [{"start": s, "end": e} for s, e in mentions], **more}


def test_defaults_are_filled_in_and_the_argument_is_left_alone():
    given = {"id": "d#0", "text": "Ann left."}
    full = validate_record(given)
    assert given == {"id": "d#0", "text": "Ann left."}
    assert full == {
        "id": "d#0",
        "doc_id": "d#0",
        "source": "",
        "text": "Ann left.",
        "mentions": [],
        "exhaustive": False,
        "typed": False,
        "ontology": "",
    }
    assert validate_record(record())["mentions"] == [
        {"start": 0, "end": 3, "types": [], "score": None, "type_scores": None, "origin": ""}
    ]


def test_validating_twice_changes_nothing_and_defaults_are_not_shared():
    once = validate_record(record())
    assert validate_record(once) == once
    first, second = validate_record({"id": "a", "text": ""}), validate_record({"id": "b", "text": ""})
    first["mentions"].append("x")
    assert second["mentions"] == []


def test_mentions_are_sorted():
    full = validate_record(record(mentions=[(9, 13), (0, 3)]))
    assert [(m["start"], m["end"]) for m in full["mentions"]] == [(0, 3), (9, 13)]


def test_the_example_in_the_messages_is_right():
    assert validate_record(json.loads(EXAMPLE_RECORD))["mentions"][0]["types"] == ["per"]


@pytest.mark.parametrize("text", ["", "   ", "😀 東京 is big", "x" * 100_000])
def test_any_text_is_a_text(text):
    assert validate_record({"id": "a", "text": text})["text"] == text


def test_offsets_are_code_points():
    full = validate_record(record("😀 東京 is big", [(2, 4)]))
    start, end = full["mentions"][0]["start"], full["mentions"][0]["end"]
    assert full["text"][start:end] == "東京"


BAD = [
    ([1, 2], "expected a record such as"),
    ({"text": "x"}, "key 'id' is missing"),
    ({"id": "a"}, "key 'text' is missing"),
    ({"id": "", "text": "x"}, "id is empty"),
    ({"id": "a", "text": "x", "mentionz": []}, "unknown key 'mentionz' (did you mean 'mentions'?)"),
    ({"id": "a", "text": None}, "'text' must be a string, got NoneType None"),
    ({"id": "a", "text": "x", "typed": "yes"}, "'typed' must be true or false, got str 'yes'"),
    ({"id": "a", "text": "x", "mentions": {}}, "'mentions' must be a list of mentions"),
    ({"id": "a", "text": "half \ud83d"}, "half a surrogate pair at character 5"),
    (record(mentions=[(9, 99)]), "[9, 99) is out of range: expected 0 <= start < end <= 14"),
    (record(mentions=[(-1, 3)]), "out of range"),
    (record(mentions=[(3, 0)]), "out of range"),
    (record(mentions=[(2, 2)]), "[2, 2) is empty"),
    (record("Ann  left", [(3, 5)]), "[3, 5) is blank"),
    (record(mentions=[(0, 4)]), "'Ann ' at [0, 4) has outer white space; expected [0, 3)"),
    (record("A\u00a0b", [(1, 3)]), "outer white space; expected [2, 3)"),
    (record(mentions=[(0, 8), (4, 13)]), "'Ann left' [0, 8) and 'left Bree' [4, 13) overlap"),
    (record(mentions=[(0, 3), (0, 3)]), "overlap"),
    ({**record(), "mentions": [{"start": 0}]}, "key 'end' is missing; expected a mention such as"),
    ({**record(), "mentions": [{"start": 0.0, "end": 3}]}, "'start' must be a whole number, got float"),
    ({**record(), "mentions": [{"start": False, "end": 3}]}, "'start' must be a whole number, got bool"),
    ({**record(), "mentions": [{"start": 0, "end": 3, "type": "x"}]}, "did you mean 'types'?"),
    ({**record(), "mentions": [{"start": 0, "end": 3, "types": "x"}]}, "'types' must be a list of type ids"),
    ({**record(), "mentions": [{"start": 0, "end": 3, "score": 2}]}, "'score' must be null or a number in [0, 1]"),
    ({**record(), "mentions": [{"start": 0, "end": 3, "score": float("nan")}]}, "'score' must be"),
    ({**record(), "mentions": [{"start": 0, "end": 3, "type_scores": [0.5]}]}, "0 types and 1 type_scores"),
    ({**record(), "mentions": [{"start": 0, "end": 3, "types": ["person"]}]}, "but the record is not typed"),
    (record(typed=True), "a typed record must name its ontology"),
    (record(ontology="toy"), "names the ontology 'toy' but is not typed"),
]


@pytest.mark.parametrize(("bad", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_records_say_where_and_what(bad, message):
    with pytest.raises(RecordError) as error:
        validate_record(bad, where="train.jsonl:12")
    assert str(error.value).startswith("train.jsonl:12: ")
    assert message in str(error.value)


def typed(*types, ontology="toy"):
    mention = {"start": 0, "end": 3, "types": list(types)}
    return {"id": "a", "text": "Ann", "mentions": [mention], "typed": True, "ontology": ontology}


def test_types_are_checked_against_the_ontology():
    assert validate_record(typed("person"), TOY)["mentions"][0]["types"] == ["person"]
    assert validate_record(typed("whatever"))["mentions"][0]["types"] == ["whatever"]
    with pytest.raises(RecordError, match=r"unknown type: 'place\.twon'.*did you mean 'place\.town'"):
        validate_record(typed("place.twon"), TOY)
    with pytest.raises(RecordError, match="expected types of the ontology 'toy', the record says 'aida'"):
        validate_record(typed("person", ontology="aida"), TOY)
    with pytest.raises(RecordError, match="lists a type more than once"):
        validate_record(typed("person", "person"), TOY)


# ---------------------------------------------------------------- files


def test_json_lines_round_trip(tmp_path):
    path = tmp_path / "r.jsonl"
    records = [
        validate_record(record("Ann\u2028left 😀 東京", [(0, 3), (11, 13)])),
        validate_record(typed("person") | {"id": "b"}),
    ]
    assert write_records(records, path) == 2
    assert list(read_records(path)) == records
    assert list(read_records([path])) == records
    assert path.read_bytes().count(b"\n") == 2


def test_a_failed_write_leaves_no_file(tmp_path):
    with pytest.raises(RecordError, match="record number 1: the id 'd#0' was already used"):
        write_records([record(), record()], tmp_path / "r.jsonl")
    with pytest.raises(RecordError, match="record number 0"):
        write_records([{"id": "a"}], tmp_path / "r.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_parquet_round_trip(tmp_path):
    records = [validate_record(record()), validate_record(typed("person") | {"id": "b"})]
    Dataset.from_list(records, features=FEATURES).to_parquet(tmp_path / "r.parquet")
    assert list(read_records(tmp_path / "r.parquet", TOY)) == records
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([{"id": "a", "text": "x"}, {"id": "", "text": "y"}]), tmp_path / "b.parquet"
    )
    with pytest.raises(RecordError, match=r"b\.parquet:row 2: the id is empty"):
        list(read_records(tmp_path / "b.parquet"))
    (tmp_path / "c.parquet").write_text("no")
    with pytest.raises(RecordError, match=r"c\.parquet: not a Parquet file"):
        list(read_records(tmp_path / "c.parquet"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": "a", "text": "x"}\n{"id": "b", "text"\n', ":2: not JSON"),
        (b'{"id": "a", "text": "x"}\n\n{"id": "a", "text": "y"}\n', ":3: the id 'a' was already used at"),
        (b'{"id": "a", "text": "caf\xe9"}\n', ":1: expected UTF-8, found the byte 0xe9 at 24"),
        (
            b'{"id": "a", "text": "x", "mentions": [{"start": 0, "end": 5}]}',
            ":1: record 'a': mention 0: [0, 5) is out of range",
        ),
        (b"[]\n", ":1: expected a record such as"),
    ],
)
def test_bad_files_say_the_line(tmp_path, content, message):
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordError) as error:
        list(read_records(path))
    assert f"{path}{message}" in str(error.value)


def test_a_byte_order_mark_is_accepted_and_a_missing_file_is_not(tmp_path):
    (tmp_path / "r.jsonl").write_bytes(b'\xef\xbb\xbf{"id": "a", "text": "x"}\r\n')
    assert [r["id"] for r in read_records(tmp_path / "r.jsonl")] == ["a"]
    with pytest.raises(FileNotFoundError):
        list(read_records(tmp_path / "none.jsonl"))


def test_ids_are_unique_over_several_files(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"id": "same", "text": "x"}\n', encoding="utf-8")
    with pytest.raises(RecordError, match=r"b\.jsonl:1: the id 'same' was already used at .*a\.jsonl:1"):
        list(read_records([tmp_path / "a.jsonl", tmp_path / "b.jsonl"]))

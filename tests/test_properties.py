"""What holds whatever is given: hypothesis draws it, the same each time."""

from __future__ import annotations

import html
import json
import math
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finener.data_scripts.check.scan import Scan
from finener.data_scripts.raw_files import read_text_lines
from finener.data_scripts.record_files import read_records, write_records
from finener.data_scripts.schema import FEATURES, RecordError, validate_record
from finener.json_finener import MOST_LEVELS, parse_json
from finener.ontology_finener import EntityType, Ontology, OntologyError
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.look import to_html
from finener.training.arguments import ArgumentError, parse_arguments

import texts
import tiny

steady = settings(
    deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXT = st.text(max_size=40)  # half surrogate pairs too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


KEYS = ["seed", "phases", "knobs", "encoder", "ontology", "pretrain", "learning_rate", "x"]


def some_of(**values: st.SearchStrategy) -> st.SearchStrategy:
    """Objects with some of these keys, whose values fit mostly, and sometimes a key more."""
    fitting = {key: st.one_of(value, value, value, JSON) for key, value in values.items()}
    known = st.fixed_dictionaries({}, optional=fitting)
    return known | st.builds(lambda whole, more: {**more, **whole}, known, st.dictionaries(TEXT, JSON, max_size=1))


MENTION = some_of(
    start=st.integers(-1, 12),
    end=st.integers(-1, 12),
    types=st.lists(st.sampled_from(["per", "org", "x"]), max_size=2),
    score=st.none() | st.floats(0, 1),
    type_scores=st.none() | st.lists(st.floats(0, 1), max_size=2),
    origin=TEXT,
)
RECORD = st.just({"id": "d", "text": "Ann left Rome"}).flatmap(
    lambda base: some_of(
        id=st.just("d") | TEXT,
        doc_id=TEXT,
        source=TEXT,
        text=st.just("Ann left Rome") | TEXT,
        mentions=st.lists(MENTION, max_size=3),
        exhaustive=st.booleans(),
        typed=st.booleans(),
        ontology=st.sampled_from(["", "tgt"]),
    ).map(lambda own: base | own)
)


@steady
@given(record=RECORD | JSON, is_known=st.booleans())
def test_a_record_is_whole_or_refused_in_one_line(record, is_known):
    try:
        checked = validate_record(record, tiny.target_ontology() if is_known else None, "in.jsonl:1")
    except RecordError as error:
        assert str(error).startswith("in.jsonl:1: ") and "\n" not in str(error)
        return
    assert validate_record(checked) == checked and list(checked) == list(FEATURES)
    json.dumps(checked, ensure_ascii=False).encode("utf-8")
    end = 0
    for mention in checked["mentions"]:
        surface = checked["text"][mention["start"] : mention["end"]]
        assert surface and surface == surface.strip() and mention["start"] >= end
        end = mention["end"]


@settings(parent=steady, max_examples=25)
@given(found=st.lists(RECORD, max_size=4))
def test_records_that_were_written_are_read_as_they_were_and_can_be_checked(found, tmp_path):
    path = tmp_path / "r.jsonl"
    path.unlink(missing_ok=True)
    good = {}
    for record in found:
        try:
            checked = validate_record(record)
        except RecordError:
            continue
        good[checked["id"]] = checked
    assert write_records(good.values(), path) == len(good)
    assert list(read_records(path)) == list(good.values())
    assert not any(finding["kind"] == "invalid_record" for finding in Scan({"train": [str(path)]}).report()["findings"])


@steady
@given(content=st.binary(max_size=60), is_valid=st.booleans())
def test_lines_are_all_there_or_one_is_refused(content, is_valid, tmp_path):
    content = content.decode("utf-8", "replace").encode() if is_valid else content
    content = b"-" + content  # no byte order mark, no magic number of a packed file
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    try:
        found = dict(read_text_lines(path, RecordError))
    except RecordError as error:
        assert not is_valid and re.match(r".*a\.txt:\d+: expected UTF-8", str(error))
        return
    expected = content.decode().split("\n")
    expected = expected[:-1] if expected[-1] == "" else expected
    assert list(found.values()) == [line.rstrip("\r\n") for line in expected]


@steady
@given(value=JSON)
def test_json_that_is_read_is_what_it_says(value):
    assert repr(parse_json(json.dumps(value))) == repr(value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * MOST_LEVELS + "[]" + "]" * MOST_LEVELS,
        '{"a":' * 990 + "1" + "}" * 990,
        "9" * 5_000,
        "{",
        "",
    ],
    ids=["unclosed", "a level too deep", "objects", "digits", "cut", "empty"],
)
def test_json_ends_in_nothing_but_a_value_error(text):
    with pytest.raises(ValueError) as caught:
        parse_json(text)
    assert "\n" not in str(caught.value)


def test_json_may_be_as_deep_as_it_says():
    deep = "[" * MOST_LEVELS + "]" * MOST_LEVELS
    assert parse_json(deep) is not None and parse_json("[" + "{}," * 1000 + "{}]")


TYPE = some_of(
    id=st.sampled_from(["a", "b", "c", "d"]),
    label=TEXT,
    parents=st.lists(st.sampled_from(["a", "b", "c"]), max_size=2),
    assignable=st.booleans(),
    description=TEXT,
)


@settings(parent=steady, max_examples=120)
@given(content=some_of(name=TEXT, types=st.lists(TYPE, min_size=1, max_size=4), source=TEXT) | JSON)
def test_an_ontology_is_a_dag_or_refused(content, tmp_path):
    try:
        ontology = Ontology.from_dict(content)
    except OntologyError as error:
        assert "\n" not in str(error)
        return
    for type_id in ontology.ids:
        closed = ontology.closure([type_id])
        assert type_id in closed and ontology.closure(closed) == closed
        assert all(
            ontology.depths[p] < ontology.depths[ontology.index(type_id)]
            for p in ontology.parents[ontology.index(type_id)]
        )
        assert ontology.most_specific(closed) == [type_id]
    ontology.to_json(tmp_path / "o.json")
    assert Ontology.from_json(tmp_path / "o.json").to_dict() == ontology.to_dict()


@steady
@given(
    values=st.dictionaries(
        st.sampled_from(KEYS),
        JSON,
        max_size=4,
    )
)
def test_a_config_is_read_or_refused(values, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")  # which is YAML, mostly
    try:
        parse_arguments(["--config", str(path)])
    except ArgumentError as error:
        assert str(error)


@pytest.fixture(scope="module")
def pipe(tokenizer) -> FinenerPipeline:
    return FinenerPipeline(model=tiny.tiny_model(tokenizer), tokenizer=tokenizer)


@settings(parent=steady, max_examples=40)
@given(found=st.lists(st.text(max_size=60), min_size=1, max_size=3))
def test_mentions_lie_in_any_text_and_show_it_whole(found, pipe):
    for text, mentions in zip(found, pipe(found, detection_threshold=0.0), strict=True):
        texts.check(text, mentions)
        page = to_html(text, mentions, pipe.model.config.ontology)
        bare = html.unescape(re.sub(r"<[^>]*>", "", re.sub(r"<small.*?</small>", "", page)))
        assert len(bare) == len(text)
        assert all(a == b or not b.isprintable() for a, b in zip(bare, text, strict=True))


# ---------------------------------------------------------------- large and odd ontologies


def test_two_hundred_thousand_types(tmp_path):
    types = [EntityType("t0"), *(EntityType(f"t{i}", "", (f"t{(i - 1) // 8}",)) for i in range(1, 200_000))]
    Ontology("large", types).to_json(tmp_path / "large.json")
    ontology = Ontology.from_json(tmp_path / "large.json")
    assert (len(ontology), max(ontology.depths)) == (200_000, 6)
    assert ontology.closure(["t199999"])[0] == "t0" and len(ontology.closure(["t199999"])) == 7


def test_a_few_closures_of_a_large_ontology_look_at_few_types():
    types = [EntityType("t0"), *(EntityType(f"t{i}", "", (f"t{(i - 1) // 8}",)) for i in range(1, 200_000))]
    ontology = Ontology("large", types)
    for i in range(100_000, 101_000):
        ontology.closure([f"t{i}"])
        ontology.most_specific(["t0", f"t{i}"])
    assert "ancestors" not in vars(ontology), "those of all types were not looked for"


def test_fifty_thousand_children():
    wide = Ontology("wide", [EntityType("top"), *(EntityType(f"c{i}", "", ("top",)) for i in range(50_000))])
    order, runs = wide.subtree_runs
    assert len(order) == 50_001 and runs[0] == [(0, 50_001)] and len(wide.children[0]) == 50_000


def chain(levels: int) -> Ontology:
    return Ontology("chain", [EntityType(f"t{i}", "", (f"t{i - 1}",) if i else ()) for i in range(levels)])


def test_a_thousand_levels_and_not_one_more():
    deep = chain(1_000)
    assert len(deep.closure(["t999"])) == 1_000 and deep.subtree_runs[1][0] == [(0, 1_000)]
    assert math.isclose(deep.soft_label_rows(0.5)[2].max().item(), 1.0)
    with pytest.raises(OntologyError, match=r"'chain' has 1,001 levels, down to 't1000'; expected at most 1,000"):
        chain(1_001)

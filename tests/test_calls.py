"""What a call of the pipeline may ask for: which types, how many, of which head; words, columns, other names of the task."""

from __future__ import annotations

import json

import pytest
from datasets import Dataset
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from finener.pipeline_finener import FinenerPipeline

import tiny
from texts import check, long_text

TEXT = long_text(40)
TEXTS = [long_text(12, seed) for seed in range(30)]


@pytest.fixture
def pipe(tokenizer) -> FinenerPipeline:
    model = tiny.tiny_model(tokenizer, target=True, type_threshold=0.15)
    return FinenerPipeline(model=model, tokenizer=tokenizer)


def ask(pipe: FinenerPipeline, **asked) -> list[dict]:
    """The mentions of all texts, each with its text's number."""
    return [{"text": i, **m} for i, mentions in enumerate(pipe(TEXTS, **asked)) for m in mentions]


def spans(mentions: list[dict]) -> list[tuple[int, int]]:
    return [(m.get("text"), m["start"], m["end"]) for m in mentions]


# -------------------------------------------------------------------- which types


def test_leaf_path_and_all_are_parts_of_one_answer(pipe, source):
    every = pipe(TEXT, head="source", types="all")
    assert every == pipe(TEXT, head="source") and spans(every)
    several = 0
    for whole, path, leaf in zip(
        every, pipe(TEXT, head="source", types="path"), pipe(TEXT, head="source", types="leaf"), strict=True
    ):
        assert whole["entity_group"] == path["entity_group"] == leaf["entity_group"]
        assert set(path["types"]) == set(source.closure([whole["entity_group"]]))
        assert set(leaf["types"]) == set(source.most_specific(whole["types"]))
        assert {**path["types"], **leaf["types"]}.items() <= whole["types"].items()
        several += len(leaf["types"]) > 1
    assert several, "no mention had types on several paths"


def test_a_branch_keeps_its_types_and_their_ancestors_and_the_mentions_that_have_some(pipe, source):
    scores = sorted(m["types"]["museum"] for m in ask(pipe, head="source", type_threshold=0.0, top_k=100))
    asked = {"head": "source", "type_threshold": scores[len(scores) // 2], "top_k": 100}
    every, found = ask(pipe, **asked), ask(pipe, **asked, types="museum")
    below = {"museum", "artmuseum"}
    with_some = [m for m in every if below & set(m["types"])]
    assert spans(found) == spans(with_some) and 0 < len(found) < len(every)
    for mention, whole in zip(found, with_some, strict=True):
        assert set(mention["types"]) == set(source.closure(below & set(whole["types"])))
        assert mention["types"].items() <= whole["types"].items()
        assert mention["entity_group"] in below
    both = ask(pipe, **asked, types=["museum", "person"])
    assert spans(both) == spans([m for m in every if {"museum", "person"} & set(m["types"])]) != spans(found)


def test_given_mentions_get_the_best_type_of_the_branch(pipe):
    given = [(m["start"], m["end"]) for m in pipe(TEXT, detection_threshold=0.0)]
    found = pipe(TEXT, mentions=given, types="loc.city")
    assert [(m["start"], m["end"]) for m in found] == given
    assert {m["entity_group"] for m in found} <= {"loc.city", "loc.city.capital"}
    assert not {m["entity_group"] for m in pipe(TEXT, mentions=given)} <= {"loc.city", "loc.city.capital"}
    assert len(pipe(TEXT, mentions=given, head="source", type_threshold=1.0)) == len(given)


def test_a_threshold_leaves_out_types_and_mentions_without_any(pipe):
    every = ask(pipe, head="source", type_threshold=0.0)
    scores = sorted(score for m in every for score in m["types"].values())
    middle = scores[len(scores) // 2]
    found = ask(pipe, head="source", type_threshold=middle)
    expected = [{t: s for t, s in m["types"].items() if s >= middle} for m in every]
    assert [m["types"] for m in found] == [types for types in expected if types]
    assert len(found) < len(every) and ask(pipe, head="source", type_threshold=1.0) == []


@pytest.mark.parametrize("head", ["source", "target"])
def test_top_k_gives_so_many_paths(pipe, source, target, head):
    ontology = source if head == "source" else target
    numbers = []
    for k in (1, 2, 3):
        found = ask(pipe, head=head, top_k=k)
        assert spans(found) == spans(ask(pipe))
        for mention in found:
            assert set(ontology.closure(mention["types"])) == set(mention["types"])
            assert len(ontology.most_specific(mention["types"])) <= k
        numbers.append(sum(len(m["types"]) for m in found))
    assert numbers == sorted(set(numbers)), "each more brings more types"
    assert all(set(m["types"]) == set(ontology.ids) for m in ask(pipe, head=head, top_k=100))


def test_both_heads_answer_in_one_call(pipe):
    both, of_target, of_source = (pipe(TEXT, head=head) for head in ("both", "target", "source"))
    keys = ("entity_group", "label", "types", "labels")
    assert [{k: v for k, v in m.items() if k != "source"} for m in both] == of_target != []
    assert [m["source"] for m in both] == [{k: m[k] for k in keys} for m in of_source]


def test_labels_stand_beside_ids(pipe):
    mention = pipe(TEXT)[0]
    assert mention["labels"] == {t: t.split(".")[-1] for t in mention["types"]}
    assert mention["label"] == mention["labels"][mention["entity_group"]]
    assert json.loads(json.dumps(pipe(TEXT, head="both"))) == pipe(TEXT, head="both")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            {"types": "lefa"},
            r"types='lefa' is no type of 'tgt': expected 'leaf', 'path' or 'all', one of its types \(types='per'\)",
        ),
        ({"top_k": 0}, "top_k must be a whole number of at least 1, got 0"),
        ({"top_k": True}, "top_k must be a whole number of at least 1, got True"),
        ({"type_threshold": 1.5}, r"type_threshold must be a number in \[0, 1\], got 1.5"),
        ({"type_threshold": "0.5"}, r"type_threshold must be a number in \[0, 1\], got '0.5'"),
        ({"batch_size": -1}, "batch_size must be a whole number of at least 1, got -1"),
        ({"head": "both", "types": ["per", "spaceship"]}, "give types or a head, not both"),
    ],
)
def test_what_can_not_be_asked_is_told(pipe, asked, says):
    with pytest.raises(ValueError, match=says):
        pipe(TEXT, **asked)


@pytest.mark.parametrize("mentions", [(0, 3), [(0, 3), 5], [{"start": 0, "end": 3}], [(0.0, 3.0)], "03", [[(0, 3)]]])
def test_mentions_that_are_no_spans_are_answered_with_the_right_call(pipe, mentions):
    with pytest.raises(TypeError, match=r"mentions must be spans, mentions=\[\(0, 13\)\], for several texts a list"):
        pipe("New York", mentions=mentions)


def test_types_may_come_in_any_collection(pipe):
    assert (
        pipe(TEXT, types={"loc", "per"}) == pipe(TEXT, types=["loc", "per"]) == pipe(TEXT, types=("per", "loc")) != []
    )


def test_a_model_without_target_types_says_so(tokenizer):
    pipe = FinenerPipeline(model=tiny.tiny_model(tokenizer), tokenizer=tokenizer)
    for head in ("target", "both"):
        with pytest.raises(ValueError, match=f"head must be 'source': this model was not fine-tuned .*; got '{head}'"):
            pipe(TEXT, head=head)
    assert pipe(TEXT, types="person") == pipe(TEXT, types="person", head="source")


def test_a_head_of_ones_own_takes_no_arguments_of_the_models_heads(pipe, target):
    class Head:
        ontology = target

        def __call__(self, model, output):
            return [{"per": 0.5} for _ in output.mention_spans]

    with pytest.raises(ValueError, match="types, type_threshold and top_k are of the model's own heads"):
        pipe(TEXT, head=Head(), top_k=2)
    assert {m["entity_group"] for m in pipe(TEXT, head=Head(), types="leaf")} == {"per"}


# -------------------------------------------------------------------- words, columns


def test_words_give_the_same_mentions_with_their_indices(pipe):
    words = TEXT.split(" ")
    found = pipe(words, is_split_into_words=True)
    assert [{k: v for k, v in m.items() if k != "words"} for m in found] == pipe(TEXT)
    for mention in found:
        first, stop = mention["words"]
        assert " ".join(words[first:stop]).find(mention["word"]) >= 0
        start = len(" ".join(words[:first])) + (first > 0)
        assert start <= mention["start"] < start + len(words[first])
        assert len(" ".join(words[: stop - 1])) < mention["end"] <= len(" ".join(words[:stop]))
    assert pipe([words, words[:7]], is_split_into_words=True)[0] == found
    assert pipe([[], words], is_split_into_words=True) == [[], found]
    assert list(pipe(iter([words]), is_split_into_words=True)) == [found]
    assert pipe([], is_split_into_words=True) == []
    [given] = pipe(["New", "York", "x"], is_split_into_words=True, mentions=[(0, 8)])
    assert given["words"] == [0, 2] and given["word"] == "New York"


@pytest.mark.parametrize("given", ["New York", [["New"], "York"], [["New", 5]], ["New", 5]])
def test_what_are_no_words_is_told(pipe, given):
    with pytest.raises(TypeError, match="is_split_into_words expects"):
        pipe(given, is_split_into_words=True)


@pytest.mark.parametrize("column", [lambda rows: rows["text"], lambda rows: KeyDataset(rows, "text")])
def test_a_column_is_read_as_it_is_asked_for(model, tokenizer, column):
    texts = [long_text(5, seed) for seed in range(40)]
    pipe = FinenerPipeline(model=model, tokenizer=tokenizer)
    expected, passes = pipe(texts), []
    model.register_forward_pre_hook(lambda *args: passes.append(len(args[2]["input_ids"])), with_kwargs=True)
    found = pipe(column(Dataset.from_dict({"text": texts})), batch_size=4)
    assert len(found) == 40 and found and passes == []
    assert spans(next(found)) == spans(expected[0]) and passes == [4]
    assert [spans(m) for m in found] == [spans(m) for m in expected[1:]]


def test_rows_of_a_data_set_are_no_texts(pipe):
    with pytest.raises(TypeError, match="expected a text, got dict: pass its column of texts"):
        list(pipe(Dataset.from_dict({"text": ["New York"]})))


def test_mentions_are_the_same_for_any_batch_size(pipe):
    texts = [long_text(3 + 7 * i % 60, i) for i in range(50)]
    one, many = pipe(texts, batch_size=1), pipe(texts, batch_size=32)
    assert [spans(m) for m in one] == [spans(m) for m in many]
    for a, b in zip((m for ms in one for m in ms), (m for ms in many for m in ms), strict=True):
        assert a["entity_group"] == b["entity_group"] and a["score"] == pytest.approx(b["score"], abs=1e-5)
        assert a["types"] == pytest.approx(b["types"], abs=1e-5)


# -------------------------------------------------------------------- the task's names


@pytest.fixture
def folder(tmp_path, target_model, tokenizer):
    target_model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize("task", [None, "ner", "token-classification"])
def test_each_name_of_the_task_gives_our_pipeline(folder, task):
    made = pipeline(task, model=folder, trust_remote_code=True)
    assert type(made).__name__ == "FinenerPipeline"
    check(TEXT, made(TEXT))


def test_what_a_tokenizer_gives_is_answered_with_the_call_to_make(target_model, tokenizer):
    with pytest.raises(ValueError, match=r"^finener reads words, .*: call pipeline\('token-classification'"):
        target_model(**tokenizer(TEXT, return_tensors="pt"))

"""The pipeline: any text in, mentions out."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from finener import pipeline_finener
from finener.decoding_finener import type_decoder
from finener.pipeline_finener import FinenerPipeline

import tiny
from texts import ODD_TEXTS, RANDOM_TEXTS, check, encoder_of, long_text, random_text, windows_of


@pytest.fixture
def pipe(model, tokenizer) -> FinenerPipeline:
    return FinenerPipeline(model=model, tokenizer=tokenizer)


@pytest.fixture
def target_pipe(target_model, tokenizer) -> FinenerPipeline:
    return FinenerPipeline(model=target_model, tokenizer=tokenizer)


# -------------------------------------------------------------------- any text


@pytest.mark.parametrize("text", ["", " ", "\n\t \u3000\u00a0\u001c"])
def test_a_text_without_words_has_no_mentions(any_tokenizer, text):
    pipe = FinenerPipeline(model=tiny.tiny_model(any_tokenizer), tokenizer=any_tokenizer)
    assert pipe(text) == [] and pipe([text, text]) == [[], []]


@pytest.mark.parametrize("name", ODD_TEXTS)
def test_offsets_of_odd_texts_are_those_of_the_words(any_tokenizer, name):
    text = ODD_TEXTS[name]
    pipe = FinenerPipeline(model=tiny.tiny_model(any_tokenizer), tokenizer=any_tokenizer)
    check(text, pipe(text))
    words = encoder_of(any_tokenizer).encode(text).words
    given = pipe(text, mentions=words)
    assert [(m["start"], m["end"]) for m in given] == words and check(text, given) == len(words) > 0


def test_offsets_of_random_unicode_are_those_of_the_words(any_tokenizer):
    model = tiny.tiny_model(any_tokenizer, window_words=12, window_overlap=4)
    results = FinenerPipeline(model=model, tokenizer=any_tokenizer)(RANDOM_TEXTS)
    assert sum(check(text, mentions) for text, mentions in zip(RANDOM_TEXTS, results, strict=True)) > 100


@pytest.mark.slow
def test_offsets_of_five_thousand_random_texts_are_those_of_the_words(model, tokenizer):
    texts = [random_text(random.Random(seed)) for seed in range(1000, 6000)]
    found = FinenerPipeline(model=model, tokenizer=tokenizer)(texts, detection_threshold=0.0)
    assert sum(check(text, mentions) for text, mentions in zip(texts, found, strict=True)) > 5000


@pytest.mark.parametrize("unit", ["a", "東👍"])
def test_a_hundred_thousand_characters_without_a_space_lose_none(any_tokenizer, unit):
    text = (unit * 100_000)[:100_000]
    windows = windows_of(encoder_of(any_tokenizer), text, overlap=8)
    assert all(len(window.input_ids) <= tiny.MAX_TOKENS for window in windows)
    assert {place for w in windows for start, end in w.words for place in (start, end)} >= {0, 100_000}
    assert len(windows) == 1 if unit == "a" else len(windows) > 1000


@pytest.mark.parametrize(("characters", "least"), [("a", 0), ("東abcdefghijklmnopqrstuvwxyz", 1_000)])
def test_mentions_of_a_hundred_thousand_characters_without_a_space(model, tokenizer, characters, least):
    text = "".join(random.Random(0).choices(characters, k=100_000))
    assert check(text, FinenerPipeline(model=model, tokenizer=tokenizer)(text)) >= least


def test_a_tokenizer_without_special_tokens_reads_empty_texts_too():
    bare = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "New": 2, "York": 3, "a": 4}, unk_token="[UNK]"))
    bare.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
    )
    pipe = FinenerPipeline(model=tiny.tiny_model(tokenizer), tokenizer=tokenizer)
    alone, (beside, nothing) = pipe("a New York"), pipe(["a New York", ""])
    assert pipe("") == nothing == []
    assert [m["word"] for m in alone] == [m["word"] for m in beside]


# -------------------------------------------------------------------- what comes in


def test_several_texts_equal_one_by_one_at_any_batch_size(any_tokenizer):
    # In double precision, so that rounding in differently padded batches hides nothing.
    pipe = FinenerPipeline(
        model=tiny.tiny_model(any_tokenizer, window_words=16, window_overlap=4).double(), tokenizer=any_tokenizer
    )
    texts = [*tiny.GOLD, "", long_text(50), *ODD_TEXTS.values()]
    alone = [pipe(text) for text in texts]
    assert sum(map(len, alone)) > 20
    for batch_size in (1, 3, 32):
        together = pipe(texts, batch_size=batch_size)
        assert isinstance(together, list) and len(together) == len(texts)
        for expected, found in zip(alone, together, strict=True):
            assert [(m["start"], m["end"]) for m in found] == [(m["start"], m["end"]) for m in expected]
            for a, b in zip(expected, found, strict=True):
                assert list(b["types"]) == list(a["types"]) and b["types"] == pytest.approx(a["types"], abs=1e-6)
                assert b["score"] == pytest.approx(a["score"], abs=1e-6)


def test_no_texts_give_no_results(pipe):
    assert pipe([]) == [] and pipe(()) == []


def test_a_generator_of_texts_gives_an_iterator_that_reads_no_further_than_it_must(pipe):
    read = []

    def texts() -> Iterator[str]:
        for text in tiny.GOLD:
            read.append(text)
            yield text

    results = pipe(texts(), batch_size=2)
    assert isinstance(results, Iterator) and read == []
    first = next(results)
    assert read == list(tiny.GOLD)[:2]
    assert len([first, *results]) == len(tiny.GOLD) and read == list(tiny.GOLD)


def texts_read_ahead(pipe: FinenerPipeline, text: str) -> list[int]:
    """How many more texts are read for each of 60 results; without those that need no more."""
    n_read, steps = 0, []

    def texts() -> Iterator[str]:
        nonlocal n_read
        for _ in range(60):
            n_read += 1
            yield text

    before = 0
    for _ in pipe(texts(), batch_size=2):
        steps += [n_read - before] * (n_read > before)
        before = n_read
    return steps


def test_an_iterator_is_read_ever_further_ahead_up_to_a_limit(pipe, monkeypatch):
    assert texts_read_ahead(pipe, "New York") == [2, 8, 32, 18]
    monkeypatch.setattr(pipeline_finener, "READ_AHEAD_TEXTS", 20)
    assert texts_read_ahead(pipe, "New York") == [2, 8, 20, 20, 10]
    monkeypatch.setattr(pipeline_finener, "READ_AHEAD_CHARACTERS", 40)
    assert texts_read_ahead(pipe, "New York") == [2] + [5] * 11 + [3]


@pytest.mark.parametrize("lazy", [False, True])
def test_windows_of_like_length_go_through_the_model_together(model, tokenizer, lazy):
    read, real = [], []

    def note(module, args, given):
        read.append(given["input_ids"].numel())
        real.append(int(given["attention_mask"].sum()))

    model.register_forward_pre_hook(note, with_kwargs=True)
    texts = ["New York", "the museum of New York in the city of the portrait"] * 64
    list(FinenerPipeline(model=model, tokenizer=tokenizer)(iter(texts) if lazy else texts, batch_size=4))
    assert sum(read) < 1.1 * sum(real)


def test_a_pipeline_prepares_its_tokenizer_once(pipe, monkeypatch):
    monkeypatch.setattr(pipeline_finener, "TextEncoder", None)  # calling it would raise
    assert len(pipe(list(tiny.GOLD))) == len(tiny.GOLD)


def test_a_tokenizer_that_was_left_cutting_and_padding_reads_whole_texts(pipe, tokenizer):
    expected = pipe(tiny.LONG)
    tokenizer(["New York", tiny.LONG], truncation=True, max_length=4, padding="max_length")
    assert pipe(tiny.LONG) == expected


def test_a_model_that_has_predicted_can_be_trained(target_model, tokenizer):
    type_decoder.cache_clear()
    model = target_model
    FinenerPipeline(model=model, tokenizer=tokenizer)([*tiny.GOLD], head="both", top_k=2)
    FinenerPipeline(model=model, tokenizer=tokenizer)([*tiny.GOLD], head="both")
    output = model.train()(**tiny.gold_batch(model, tokenizer, tiny.GOLD))
    (output.loss + model.target_scores(output.target_type_logits).max()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("size", [0, -1, 2.5, "8"])
def test_a_batch_size_below_one_is_refused(model, tokenizer, size):
    for constructed, called in (({"batch_size": size}, {}), ({}, {"batch_size": size})):
        pipe = FinenerPipeline(model=model, tokenizer=tokenizer, **constructed)
        for texts in ("New York", ["New York"], iter(["New York"])):
            with pytest.raises(ValueError, match=rf"batch_size must be a whole number of at least 1, got {size!r}"):
                pipe(texts, **called)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_detection_threshold_outside_0_to_1_is_refused(pipe, threshold):
    with pytest.raises(ValueError, match=r"detection_threshold must be a number in \[0, 1\]"):
        pipe("New York", detection_threshold=threshold)
    with pytest.raises(ValueError, match=r"detection_threshold must be a number in \[0, 1\]"):
        FinenerPipeline(model=pipe.model, tokenizer=pipe.tokenizer, detection_threshold=threshold)


@pytest.mark.parametrize(
    "given", [5, None, 1.5, b"bytes", ["text", 5], ["text", None], [["text"]], {"text": "New York"}]
)
def test_what_is_no_text_is_refused_at_once(pipe, given):
    with pytest.raises(TypeError, match="expected a text"):
        pipe(given)


@pytest.mark.parametrize("argument", ["aggregation_strategy", "threshold", "stride"])
def test_an_unknown_argument_is_refused_with_those_that_there_are(pipe, argument):
    message = rf"unknown arguments \['{argument}'\]: .*takes head, types, type_threshold, top_k, detection_threshold, "
    with pytest.raises(TypeError, match=message):
        pipe("New York", **{argument: "simple"})
    with pytest.raises(TypeError, match=message):
        FinenerPipeline(model=pipe.model, tokenizer=pipe.tokenizer, **{argument: "simple"})


def test_arguments_of_other_token_classifiers_are_told_as_needless(pipe):
    for argument, needless in (("aggregation_strategy", True), ("stride", True), ("threshold", False)):
        with pytest.raises(TypeError, match="unknown arguments") as error:
            pipe("New York", **{argument: 1})
        assert str(error.value).endswith("; mentions are whole by themselves") == needless


def test_words_in_place_of_a_text_are_told_which_argument_they_need(pipe):
    with pytest.raises(TypeError, match=r"split into words needs is_split_into_words=True: \['New', 'York'\]$"):
        pipe([["New", "York"]])


def test_arguments_given_at_construction_count_unless_the_call_says_otherwise(target_model, tokenizer, source, target):
    pipe = FinenerPipeline(model=target_model, tokenizer=tokenizer, head="source", detection_threshold=0.0)
    text = next(iter(tiny.GOLD))
    assert {m["entity_group"] for m in pipe(text)} <= set(source.ids)
    assert {m["entity_group"] for m in pipe(text, head="target")} <= set(target.ids)
    assert pipe(text) != [] == pipe(text, detection_threshold=1.0)


@pytest.mark.parametrize(("constructed", "called", "largest"), [(None, None, 32), (3, None, 3), (3, 5, 5)])
def test_no_forward_pass_has_more_windows_than_the_batch_size(model, tokenizer, constructed, called, largest):
    sizes = []
    model.register_forward_pre_hook(lambda *args: sizes.append(len(args[2]["input_ids"])), with_kwargs=True)
    sized = [{"batch_size": size} if size else {} for size in (constructed, called)]
    pipe = FinenerPipeline(model=model, tokenizer=tokenizer, **sized[0])
    pipe(["New York"] * 40, **sized[1])
    assert max(sizes) == largest and sum(sizes) == 40


# -------------------------------------------------------------------- what comes out


def test_long_windows_go_in_smaller_batches_on_a_processor(model, tokenizer, monkeypatch):
    texts, shapes = [tiny.LONG, *[tiny.SHORT] * 9, tiny.LONG], []
    expected = FinenerPipeline(model=model, tokenizer=tokenizer)(texts)
    model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(pipeline_finener, "BATCH_TOKENS", 20)
    found = FinenerPipeline(model=model, tokenizer=tokenizer)(texts)
    assert [[m["word"] for m in mentions] for mentions in found] == [[m["word"] for m in own] for own in expected]
    assert sum(n for n, _ in shapes) == 11 and len(shapes) > 2
    assert all(n == 1 or n * width <= 40 for n, width in shapes) and any(n > 1 for n, _ in shapes)


def test_types_are_closed_coherent_and_led_by_the_most_specific(tokenizer, source, target):
    model = tiny.tiny_model(tokenizer, target=True, type_threshold=0.15)
    pipe = FinenerPipeline(model=model, tokenizer=tokenizer)
    several = 0
    for head, ontology in (("source", source), ("target", target)):
        for text, mentions in zip(tiny.GOLD, pipe(list(tiny.GOLD), head=head), strict=True):
            check(text, mentions)
            for mention in mentions:
                types = mention["types"]
                assert set(ontology.closure(types)) == set(types)
                leaves = ontology.most_specific(types)
                assert mention["entity_group"] in leaves
                assert types[mention["entity_group"]] == max(types[t] for t in leaves)
                for child in types:
                    assert all(
                        types[child] <= types[parent] for parent in ontology.types[ontology.index(child)].parents
                    )
                assert list(types.values()) == sorted(types.values(), reverse=True)
                several += len(leaves) > 1
    assert several, "no mention had types on several paths"


def test_mentions_below_the_detection_threshold_are_left_out(pipe):
    text = long_text(60)
    every = pipe(text)
    scores = sorted(m["score"] for m in every)
    middle = scores[len(scores) // 2]
    assert scores[0] < middle
    kept = pipe(text, detection_threshold=middle)
    assert kept == [m for m in every if m["score"] >= middle]
    pipe.model.config.detection_threshold = middle
    assert pipe(text) == kept and pipe(text, detection_threshold=0.0) == every


def test_a_head_of_ones_own_gives_the_types(pipe, target):
    class Head:
        ontology = target

        def __call__(self, model, output):
            return [{"per": 0.5, "per.politician": 0.25} for _ in output.mention_spans]

    mentions = pipe(next(iter(tiny.GOLD)), head=Head())
    assert mentions and all(m["entity_group"] == "per.politician" for m in mentions)
    assert all(m["types"] == {"per": 0.5, "per.politician": 0.25} for m in mentions)


def test_an_unknown_head_is_refused(target_pipe):
    with pytest.raises(ValueError, match="head must be 'target', 'source' or 'both'; got 'aida'"):
        target_pipe("New York", head="aida")

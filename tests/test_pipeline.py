import random
from collections.abc import Callable, Iterator

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from finener.configuration_finener import FinenerConfig
from finener.layers_finener import I
from finener.modeling_finener import FinenerForTokenClassification
from finener.pipeline_finener import (
    FinenerPipeline,
    FoundMention,
    TextEncoder,
    Window,
    mentions_of_windows,
    split_words,
    word_shape,
)

import tiny

# Blocks that random texts are drawn from: what splits words, joins characters or disappears in a tokenizer among them.
BLOCKS = (
    "abcdefgXYZ019",
    " \t\n\r\u00a0\u2003\u3000",
    ".,;:!?'\"()[]-–—…“”„%&/\\",
    "äöüßéñçøÅŁİıſΑωЖяאبहไ",
    "e\u0301o\u0308\u0323\u20dd\u0e34\u094d",
    "東京都市山川ひらがなカタカナ한글\U00020bb7\uf900",
    "😀👍🏽👩\u200d👩\u200d👧🇫🇷\u2764\ufe0f",
    "\u200b\u200c\u200d\u200e\u202e\ufeff\u00ad\u0000\u0007\u001f\ufffd\ue000",
    "ﬁﬀ①²½Ⅷ㎏ｱＡ",
)


def random_text(rng: random.Random) -> str:
    runs = (rng.choices(rng.choice(BLOCKS), k=rng.randint(1, 6)) for _ in range(rng.randint(0, 12)))
    return "".join(rng.choice(["", "", " "]) + "".join(run) for run in runs)


RANDOM_TEXTS = [random_text(random.Random(seed)) for seed in range(100)]
ODD_TEXTS = {
    "emoji": "I ❤️ New York 👩‍👩‍👧 and 🇫🇷Paris🇫🇷!",
    "CJK": "東京都庁は新宿にあります。Tokyoと京都",
    "combining marks": "Cafe\u0301 Noe\u0308l in Sa\u0303o Paulo, ก\u0e34น",
    "controls": "a\u0000b \u200b \u00ad New\u00a0York\ufeff",
    "ligatures": "The ﬁne oﬃce of №5 … ㎏ ½",
    "white space": "\n\t New \r\n York \u3000",
}
WORDS = [
    "the",
    "museum",
    "of",
    "New",
    "York,",
    "in",
    "1518;",
    "by",
    "Frida",
    "Kahlo's",
    "(U.S.)",
    "city!",
    "portrait",
    "é",
]


def long_text(n_words: int, seed: int = 0) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=n_words))


def check(text: str, mentions: list[dict]) -> int:
    """What holds for the mentions of any text; their number."""
    end = 0
    for mention in mentions:
        assert set(mention) == {"entity_group", "score", "word", "start", "end", "types"}
        assert text[mention["start"] : mention["end"]] == mention["word"] != ""
        assert mention["word"] == mention["word"].strip()
        assert mention["start"] >= end, "in order, without overlaps"
        end = mention["end"]
        assert 0.0 <= mention["score"] <= 1.0
        assert all(0.0 <= score <= 1.0 for score in mention["types"].values())
        assert mention["entity_group"] in mention["types"]
    return len(mentions)


def encoder_of(tokenizer, words: int = 128, tokens: int = tiny.MAX_TOKENS) -> TextEncoder:
    encoder = tiny.encoder_config(tokenizer)
    encoder.max_position_embeddings = tokens
    return TextEncoder(tokenizer, FinenerConfig(encoder, window_words=words, window_overlap=0))


def windows_of(encoder: TextEncoder, text: str, overlap: int) -> list[Window]:
    return encoder.windows(encoder.encode(text), overlap)


@pytest.fixture
def pipe(model, tokenizer) -> FinenerPipeline:
    return FinenerPipeline(model=model, tokenizer=tokenizer)


@pytest.fixture
def target_pipe(target_model, tokenizer) -> FinenerPipeline:
    return FinenerPipeline(model=target_model, tokenizer=tokenizer)


# -------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \n\t\u3000", []),
        ("New York's", ["New", "York", "'", "s"]),
        ("U.S. (A)", ["U", ".", "S", ".", "(", "A", ")"]),
        ("東京 Tokyoと京", ["東", "京", "Tokyo", "と", "京"]),
        ("x東y", ["x", "東", "y"]),
        ("\U00020bb7野家", ["\U00020bb7", "野", "家"]),
        ("Cafe\u0301 olé", ["Cafe\u0301", "olé"]),
        ("한글 text", ["한글", "text"]),
        ("a\u001cb\u001f \u001d", ["a", "b"]),
    ],
)
def test_words_end_at_white_space_punctuation_and_around_each_cjk_character(text, words):
    assert [text[start:end] for start, end in split_words(text)] == words


SHAPE_NAMES = (
    "capitalised all_caps single_capital mixed lower digits letters_and_digits no_letter punctuation not_ascii"
)


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("Paris", "capitalised"),
        ("NATO", "all_caps"),
        ("A", "single_capital"),
        ("McDonald", "capitalised mixed"),
        ("eBay", "mixed"),
        ("house", "lower"),
        ("2019", "digits"),
        ("B52", "all_caps letters_and_digits"),
        ("x1", "lower letters_and_digits"),
        (".", "no_letter punctuation"),
        ("—", "no_letter not_ascii"),
        ("École", "capitalised not_ascii"),
        ("東", "not_ascii"),
    ],
)
def test_word_shapes_by_hand(word, shape):
    names = SHAPE_NAMES.split()
    assert len(word_shape(word)) == len(names)
    assert {name for name, value in zip(names, word_shape(word), strict=True) if value} == set(shape.split())


def test_each_word_starts_at_the_first_sub_token_that_overlaps_it(any_tokenizer):
    encoder = encoder_of(any_tokenizer)
    for text in [*RANDOM_TEXTS, *ODD_TEXTS.values(), *tiny.GOLD]:
        encoded = encoder.encode(text)
        offsets = any_tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        overlapping = {
            (start, end): [i for i, (s, e) in enumerate(offsets) if s < end and e > start and e > s]
            for start, end in split_words(text)
        }
        found = {word: pieces for word, pieces in overlapping.items() if pieces}
        assert encoded.words == list(found)
        assert encoded.dropped_words == len(overlapping) - len(found)
        assert [first for first, _ in encoded.pieces] == [pieces[0] for pieces in found.values()]
        assert [last for _, last in encoded.pieces] >= [pieces[-1] for pieces in found.values()]


def test_words_that_the_tokenizer_removes_are_dropped_and_counted(tokenizer):
    encoded = encoder_of(tokenizer).encode("a \u0007 b \ufffd\u0000 c")
    assert (encoded.words, encoded.dropped_words) == ([(0, 1), (4, 5), (9, 10)], 2)


def test_a_slow_tokenizer_is_refused(model):
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match=r"needs a fast tokenizer .* got Slow"):
        TextEncoder(Slow(), model.config)


# -------------------------------------------------------------------- windows

LIMITS = {"words": (7, 64), "sub-tokens": (50, 12), "both": (4, 20)}


@pytest.mark.parametrize("overlap", [0, 1, 3, 6])
@pytest.mark.parametrize("limits", LIMITS)
def test_every_word_of_a_long_text_is_in_the_middle_part_of_exactly_one_window(any_tokenizer, limits, overlap):
    words, tokens = LIMITS[limits]
    encoder = encoder_of(any_tokenizer, words, tokens)
    text = long_text(60) + " " + "x" * 90 + " 東京都 " + long_text(9, seed=1)
    every = encoder.encode(text).words
    windows = windows_of(encoder, text, overlap)
    assert len(windows) > 5
    assert all(1 <= len(w.words) <= words and len(w.input_ids) <= tokens for w in windows)
    assert all(w.words == tuple(every[w.first_word : w.first_word + len(w.words)]) for w in windows)
    found = [[FoundMention(start, end, 0.5, {"t": 0.5}) for start, end in w.words] for w in windows]
    assert [(m.start, m.end) for m in mentions_of_windows(windows, found)] == every


def test_neighbouring_windows_share_the_overlap_and_a_word_is_taken_where_more_is_around_it(tokenizer):
    windows = windows_of(encoder_of(tokenizer, words=10, tokens=64), "a " * 30, overlap=4)
    assert [(w.first_word, len(w.words)) for w in windows] == [(0, 10), (6, 10), (12, 10), (18, 10), (24, 6)]
    found = [[FoundMention(start, end, 0.5, {str(i): 1.0}) for start, end in w.words] for i, w in enumerate(windows)]
    source = [int(*m.types) for m in mentions_of_windows(windows, found)]
    assert source == [0] * 8 + [1] * 6 + [2] * 6 + [3] * 6 + [4] * 4


@pytest.mark.parametrize("limits", LIMITS)
def test_a_windows_sub_tokens_are_those_of_its_words(any_tokenizer, limits):
    encoder = encoder_of(any_tokenizer, *LIMITS[limits])
    text = long_text(60)
    ids = any_tokenizer(text, add_special_tokens=False)["input_ids"]
    encoded = encoder.encode(text)
    for window in encoder.windows(encoded, 2):
        inner = window.input_ids[1:-1]
        assert (window.input_ids[0], window.input_ids[-1]) == (any_tokenizer.cls_token_id, any_tokenizer.sep_token_id)
        first, last = encoded.pieces[window.first_word][0], encoded.pieces[window.first_word + len(window.words) - 1][1]
        assert list(inner) == ids[first : last + 1]
        assert [start - 1 + first for start in window.word_starts] == [
            encoded.pieces[window.first_word + i][0] for i in range(len(window.words))
        ]


def test_a_word_longer_than_a_window_is_a_window_of_its_own(tokenizer):
    encoder = encoder_of(tokenizer, tokens=16)
    windows = windows_of(encoder, "a " + "x" * 50 + " b", overlap=1)
    longest = next(w for w in windows if len(w.words) == 1 and w.words[0] == (2, 52))
    assert len(longest.input_ids) == 16 and longest.word_starts == (1,)


def a_window(first_word: int, words: int) -> Window:
    places = range(first_word, first_word + words)
    return Window(tuple((2 * i, 2 * i + 1) for i in places), first_word, (), tuple(range(words)), ())


def test_a_mention_that_reaches_over_the_middle_hides_all_that_the_next_window_finds_inside_it():
    windows = [a_window(0, 20), a_window(4, 20)]  # the words 4 … 19 are in both, the middle is at word 12
    long = FoundMention(2 * 10, 2 * 19 + 1, 0.9, {"long": 1.0})
    short = [FoundMention(2 * i, 2 * i + 1, 0.5, {str(i): 1.0}) for i in range(12, 24)]
    kept = mentions_of_windows(windows, [[long], short])
    assert kept == [long, *short[8:]]


def word_local_model(tokenizer, **knobs) -> FinenerForTokenClassification:
    """A model in which only the CRF looks at neighbouring words, so that a window's place does not matter."""
    tokenizer.model_max_length = 512
    encoder = tiny.encoder_config(tokenizer)
    encoder.max_position_embeddings = 512
    model = tiny.tiny_model(tokenizer, encoder_config=encoder, encoder_layers=(0,), lstm_layers=1, **knobs)
    with torch.no_grad():
        model.encoder.embeddings.position_embeddings.weight.zero_()
        for name, parameter in model.lstm.named_parameters():
            if "weight_hh" in name:
                parameter.zero_()
            if "bias_ih" in name:
                parameter[8:16] = -1e4  # the forget gate
        for scores in model.crf.parameters():
            scores.zero_()
        model.crf.transitions[I, I] = -6.0  # short mentions
    return model


@pytest.mark.parametrize(("words", "overlap", "tokens"), [(24, 12, 512), (30, 16, 512), (100, 24, 80)])
@pytest.mark.parametrize("build", tiny.TOKENIZERS.values(), ids=tiny.TOKENIZERS)
def test_mentions_do_not_depend_on_where_windows_fall(build: Callable, words, overlap, tokens):
    tokenizer = build()
    whole = FinenerPipeline(
        model=word_local_model(tokenizer, window_words=500, window_overlap=0, use_word_shape=True), tokenizer=tokenizer
    )
    text = long_text(85)
    assert len(windows_of(whole.text_encoder, text, 0)) == 1
    expected = whole(text)
    assert check(text, expected) > 15
    whole.model.config.window_words, whole.model.config.window_overlap = words, overlap
    tokenizer.model_max_length = tokens
    parts = FinenerPipeline(model=whole.model, tokenizer=tokenizer)
    assert len(windows_of(parts.text_encoder, text, overlap)) > 3
    found = parts(text)
    assert [(m["start"], m["end"], m["entity_group"]) for m in found] == [
        (m["start"], m["end"], m["entity_group"]) for m in expected
    ]
    for a, b in zip(found, expected, strict=True):
        assert a["score"] == pytest.approx(b["score"], abs=2e-3)  # a marginal, which feels the edge a little
        assert a["types"] == pytest.approx(b["types"], abs=1e-5)


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


def test_several_texts_equal_one_by_one(any_tokenizer):
    pipe = FinenerPipeline(
        model=tiny.tiny_model(any_tokenizer, window_words=16, window_overlap=4), tokenizer=any_tokenizer
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
                assert b["types"] == pytest.approx(a["types"], abs=1e-5) and b["score"] == pytest.approx(
                    a["score"], abs=1e-5
                )


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
    assert [first, *results] == pipe(list(tiny.GOLD), batch_size=2) and read == list(tiny.GOLD)


@pytest.mark.parametrize(
    "given", [5, None, 1.5, b"bytes", ["text", 5], ["text", None], [["text"]], {"text": "New York"}]
)
def test_what_is_no_text_is_refused_at_once(pipe, given):
    with pytest.raises(TypeError, match="expected a text"):
        pipe(given)


@pytest.mark.parametrize("argument", ["aggregation_strategy", "threshold", "stride"])
def test_an_unknown_argument_is_refused_with_those_that_there_are(pipe, argument):
    message = rf"unknown arguments \['{argument}'\]: .*head, detection_threshold, mentions and batch_size"
    with pytest.raises(TypeError, match=message):
        pipe("New York", **{argument: "simple"})
    with pytest.raises(TypeError, match=message):
        FinenerPipeline(model=pipe.model, tokenizer=pipe.tokenizer, **{argument: "simple"})


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
    with pytest.raises(ValueError, match="head must be 'source' or"):
        target_pipe("New York", head="aida")


# -------------------------------------------------------------------- given mentions


def test_given_mentions_come_back_with_their_offsets_in_their_order(pipe):
    text = "Frida Kahlo painted in Mexico City."
    given = [
        (23, 34),
        (0, 11),
        (6, 11),
        (0, 11),
        (2, 4),
        (22, 35),
        (13, 24),
    ]  # overlapping, doubled, inside a word, spaced
    found = pipe(text, mentions=given)
    assert [(m["start"], m["end"]) for m in found] == given
    assert [m["word"] for m in found] == [text[start:end] for start, end in given]
    assert found[1] == found[3] and all(m["types"] for m in found)


def test_a_given_mention_is_typed_as_when_it_was_found(pipe):
    for text in tiny.GOLD:
        found = pipe(text)
        given = pipe(text, mentions=[(m["start"], m["end"]) for m in found])
        assert [m["types"] for m in given] == [pytest.approx(m["types"], abs=1e-6) for m in found]
        assert [m["score"] for m in given] == [pytest.approx(m["score"], abs=1e-6) for m in found]


def test_given_mentions_of_a_long_text_are_each_typed_in_one_window(any_tokenizer):
    pipe = FinenerPipeline(
        model=tiny.tiny_model(any_tokenizer, window_words=8, window_overlap=3), tokenizer=any_tokenizer
    )
    text = long_text(60)
    words = encoder_of(any_tokenizer).encode(text).words
    given = [(words[i][0], words[min(i + 2, len(words) - 1)][1]) for i in range(len(words))] + [(0, len(text))]
    assert [(m["start"], m["end"]) for m in pipe(text, mentions=given)] == given


def test_given_mentions_of_several_texts_stay_with_their_texts(pipe):
    texts = list(tiny.GOLD) * 2
    given = [[(0, 5)], [], [(4, 6), (0, 2)], [(0, 6)], [], [], [(1, 3)], [(0, 1)]]
    for batch_size in (1, 3, 32):
        found = pipe(texts, mentions=given, batch_size=batch_size)
        assert [[(m["start"], m["end"]) for m in of_text] for of_text in found] == given


def test_no_given_mentions_mean_no_mentions(pipe):
    assert pipe(long_text(9), mentions=[]) == []
    assert pipe(list(tiny.GOLD), mentions=[[], [], [], []]) == [[], [], [], []]


@pytest.mark.parametrize("span", [(0, 9), (-1, 3), (3, 3), (5, 2), (9, 12)])
def test_a_given_mention_out_of_range_is_refused(pipe, span):
    with pytest.raises(
        ValueError, match=rf"mention \[{span[0]}, {span[1]}\) is out of range: the text has 8 characters"
    ):
        pipe("New York", mentions=[(0, 3), span])


@pytest.mark.parametrize(("text", "span"), [("New  York", (3, 5)), ("a \u0007 b", (2, 3)), (" ", (0, 1))])
def test_a_given_mention_without_a_word_is_refused(pipe, text, span):
    with pytest.raises(ValueError, match=r"holds no word that the tokenizer knows"):
        pipe(text, mentions=[span])


@pytest.mark.parametrize("given", [[[(0, 1)]], [[(0, 1)], [], [(0, 1)]]])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_as_many_lists_of_mentions_as_texts_are_needed(pipe, given, batch_size):
    with pytest.raises(ValueError, match="mentions must hold one list of spans for each text"):
        pipe(["New York", "Mexico"], mentions=given, batch_size=batch_size)

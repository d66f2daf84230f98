"""Characters in, characters out: words with their offsets, windows, and the ``token-classification`` pipeline.

Offsets are Python code points, half-open. T sub-tokens, W words, F shape features.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import islice, pairwise, repeat, zip_longest
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Pipeline, PreTrainedTokenizerBase

from .configuration_finener import FinenerConfig
from .layers_finener import SHAPE_FEATURES
from .naming_finener import TypesByName
from .ontology_finener import Ontology
from .words_finener import split_words, word_shape

MAX_TOKENS = 512  # of a window, special ones included
READ_AHEAD_TEXTS = 1024  # among so many the windows of like length are put together
READ_AHEAD_CHARACTERS = 2**20  # fewer texts where they are long, so that memory stays bounded


@dataclass(frozen=True)
class Window:
    """A run of a text's words with the sub-tokens that belong to them."""

    words: tuple[tuple[int, int], ...]  # characters [start, end) of each in the whole text
    first_word: int  # index of the first of them among the text's words
    input_ids: tuple[int, ...]  # sub-tokens, special ones included
    word_starts: tuple[int, ...]  # index in input_ids of each word's first sub-token
    shapes: tuple[tuple[float, ...], ...]  # the F shape features of each word

    def margin(self, first: int, stop: int) -> int:
        """Words between the text's words [first, stop) and the nearer end of the window; below 0 where it lacks some of them."""
        return min(first - self.first_word, self.first_word + len(self.words) - stop)


@dataclass(frozen=True)
class EncodedText:
    """A text's words (those that have a sub-token), sub-tokens and the sub-tokens [first, last] that overlap each word."""

    words: list[tuple[int, int]]
    ids: list[int]
    pieces: list[tuple[int, int]]
    shapes: list[tuple[float, ...]]
    dropped_words: int

    def word_spans(self, mentions: Iterable[Mapping[str, Any]]) -> list[tuple[int, int] | None]:
        """First word and one past the last of each mention; None where its boundary falls inside a word."""
        first_at = {start: i for i, (start, _) in enumerate(self.words)}
        stop_at = {end: i + 1 for i, (_, end) in enumerate(self.words)}
        spans = ((first_at.get(m["start"]), stop_at.get(m["end"])) for m in mentions)
        return [None if first is None or stop is None else (first, stop) for first, stop in spans]


class TextEncoder:
    """Turns text into windows of words and windows into a padded batch.

    Args:
        tokenizer: a fast tokenizer of the encoder: WordPiece, byte-level BPE or Unigram.
        config: of the model: ``window_words`` and the encoder's number of positions bound a window; at most 512 sub-tokens.

    Raises:
        ValueError: when the tokenizer is not a fast one, which knows no offsets.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: FinenerConfig):
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(f"finener needs a fast tokenizer (it knows offsets); got {type(tokenizer).__name__}")
        self.tokenizer = tokenizer
        self.config = config
        # Some encoders have no such limit.
        positions = getattr(config.encoder_config, "max_position_embeddings", None) or MAX_TOKENS
        self.max_tokens = min(tokenizer.model_max_length, positions, MAX_TOKENS)
        plain = tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"]
        whole = tokenizer("a", verbose=False)["input_ids"]
        at = next(i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)
        self.prefix, self.suffix = whole[:at], whole[at + len(plain) :]
        self.room = self.max_tokens - len(self.prefix) - len(self.suffix)  # sub-tokens beside the special ones
        self.pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0

    def encode(self, text: str) -> EncodedText:
        """Tokenizes a text of any length, without cutting it."""
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = encoding["offset_mapping"]
        words, pieces, shapes = [], [], []
        candidates, at = split_words(text), 0
        for start, end in candidates:
            while at < len(offsets) and offsets[at][1] <= start:
                at += 1
            if at == len(offsets) or offsets[at][0] >= end:
                continue  # zero-width or control characters that the tokenizer removes
            last = at
            while last + 1 < len(offsets) and offsets[last + 1][0] < end:
                last += 1
            words.append((start, end))
            pieces.append((at, last))
            shapes.append(word_shape(text[start:end]))
        return EncodedText(words, encoding["input_ids"], pieces, shapes, len(candidates) - len(words))

    def fits(self, encoded: EncodedText, first: int = 0, stop: int | None = None) -> bool:
        """Whether one window holds the words [first, stop) of a text, by default all of them; a single word always fits."""
        stop = len(encoded.words) if stop is None else stop
        if stop - first <= 1:
            return True
        n_tokens = encoded.pieces[stop - 1][1] + 1 - encoded.pieces[first][0]
        return stop - first <= self.config.window_words and n_tokens <= self.room

    def end_of_window(self, encoded: EncodedText, first: int) -> int:
        """One past the last word of the longest window that starts at word ``first``; at least one word."""
        stop = first + 1
        while stop < len(encoded.words) and self.fits(encoded, first, stop + 1):
            stop += 1
        return stop

    def window(self, encoded: EncodedText, first: int, stop: int) -> Window:
        """The window of words [first, stop). A single word that is too long keeps its first sub-tokens: only its first is read."""
        begin = encoded.pieces[first][0] if stop > first else 0
        end = min(encoded.pieces[stop - 1][1] + 1, begin + self.room) if stop > first else 0
        shift = len(self.prefix) - begin
        return Window(
            tuple(encoded.words[first:stop]),
            first,
            (*self.prefix, *encoded.ids[begin:end], *self.suffix),
            tuple(start + shift for start, _ in encoded.pieces[first:stop]),
            tuple(encoded.shapes[first:stop]),
        )

    def whole_window(self, encoded: EncodedText) -> Window:
        """The window of all words of a text. Raises ValueError when it does not fit one."""
        if not self.fits(encoded):
            raise ValueError(f"a text of {len(encoded.words)} words does not fit a window: pass it through cut_record")
        return self.window(encoded, 0, len(encoded.words))

    def window_around(self, encoded: EncodedText, first: int, stop: int) -> Window:
        """A wide window with the words [first, stop) in its middle. Raises ValueError when no window holds them."""
        if not self.fits(encoded, first, stop):
            raise ValueError(
                f"mention [{encoded.words[first][0]}, {encoded.words[stop - 1][1]}) has {stop - first} words: a window holds at most "
                f"{self.config.window_words} words (raise pipe.model.config.window_words) and {self.max_tokens} sub-tokens"
            )
        begin = first
        while begin > 0 and self.fits(encoded, begin - 1, min(len(encoded.words), stop + first - begin + 1)):
            begin -= 1
        return self.window(encoded, begin, self.end_of_window(encoded, begin))

    def windows(self, encoded: EncodedText, overlap: int) -> list[Window]:
        """Windows that cover a text, neighbours sharing ``overlap`` words; one empty window for a text without words."""
        windows, first = [], 0
        while True:
            stop = self.end_of_window(encoded, first) if encoded.words else 0
            windows.append(self.window(encoded, first, stop))
            if stop >= len(encoded.words):
                return windows
            first = max(first + 1, stop - min(overlap, (stop - first) // 2))

    def pad(self, windows: Sequence[Window]) -> dict[str, Tensor]:
        """Windows → ``input_ids``, ``attention_mask`` (B, T), ``word_starts`` (B, W), ``word_shapes`` (B, W, F)."""
        n_tokens = max(1, *(len(w.input_ids) for w in windows))
        n_words = max(1, *(len(w.words) for w in windows))
        batch = {
            "input_ids": torch.full((len(windows), n_tokens), self.pad_id),
            "attention_mask": torch.zeros(len(windows), n_tokens, dtype=torch.long),
            "word_starts": torch.full((len(windows), n_words), -1),
            "word_shapes": torch.zeros(len(windows), n_words, SHAPE_FEATURES),
        }
        for row, window in enumerate(windows):
            batch["input_ids"][row, : len(window.input_ids)] = torch.tensor(window.input_ids)
            batch["attention_mask"][row, : len(window.input_ids)] = 1
            if window.words:
                batch["word_starts"][row, : len(window.words)] = torch.tensor(window.word_starts)
                batch["word_shapes"][row, : len(window.words)] = torch.tensor(window.shapes)
        return batch


@dataclass(frozen=True)
class FoundMention:
    """A mention of a text: characters [start, end), detection score, and its types with their scores, closed."""

    start: int
    end: int
    score: float
    types: dict[str, float]


def mentions_of_windows(
    windows: Sequence[Window], found: Sequence[Sequence[FoundMention]], threshold: float = 0.0
) -> list[FoundMention]:
    """Joins the mentions of overlapping windows, in order: those that reach into the middle part of the window that found them.

    Of mentions that overlap the stronger stays. One that overlaps none that stays is never lost.

    Args:
        windows: of one text, in order. found: for each window its mentions. threshold: least score, in [0, 1].
    """
    candidates: dict[tuple[int, int], FoundMention] = {}
    for (low, high), mentions in zip(_middle_parts(windows), found, strict=True):
        for mention in mentions:
            if mention.score >= threshold and mention.start < high and mention.end > low:
                candidates.setdefault((mention.start, mention.end), mention)
    kept: list[FoundMention] = []  # by place
    for mention in sorted(candidates.values(), key=lambda m: -m.score):
        at = bisect_left(kept, mention.start, key=lambda m: m.start)
        is_free_before = at == 0 or kept[at - 1].end <= mention.start
        if is_free_before and (at == len(kept) or mention.end <= kept[at].start):
            kept.insert(at, mention)
    return kept


def _middle_parts(windows: Sequence[Window]) -> list[tuple[float, float]]:
    """Characters [low, high) of each window's middle part: neighbours halve the words that they share, and a text's ends are open."""
    middles = []
    for left, right in pairwise(windows):
        middle = (right.first_word + left.first_word + len(left.words)) // 2
        middles.append(right.words[min(middle - right.first_word, len(right.words) - 1)][0])
    return list(zip([0, *middles], [*middles, inf], strict=True))


@dataclass(frozen=True)
class _ReadText:
    """A text, its windows, and for each of these the words [first, stop) of the mentions that it types where they are given."""

    text: str
    windows: list[Window]
    spans: list[list[tuple[int, int]]]
    given: list[tuple[int, int, int]] | None  # start, end and window of each mention, in the order given


class FinenerPipeline(Pipeline):
    """``pipeline("token-classification", model=…, trust_remote_code=True)`` of a finener model.

    Call it with a text, a list of texts, or any iterable of texts (which gives an iterator). Each text gives a list of mentions in
    order, without overlaps: ``start``, ``end`` (characters), ``word`` (the text between them), ``score`` (probability of the span, in
    [0, 1]), ``entity_group`` (the most specific type), ``types`` (every type with its score, ancestors included).

    Call arguments:
        head: ``target`` or ``source`` types (by default the target types where the model has them), or an object with an ``ontology``
            that is called with the model and its output and returns each mention's types and scores.
        types: types that the model need not have been trained on, in place of a head: names, ``["astronomer", "space telescope"]``,
            or an :class:`Ontology`. Each mention gets the best one with its ancestors; mentions of none of them are left out.
        type_threshold: with ``types``, least score of a mention's best type, in [0, 1]; 0.5, and 0 where mentions are given.
        detection_threshold: least span probability, in [0, 1], in place of the config's.
        mentions: character spans to type in place of detection, ``[(start, end), …]``, in any order; for several texts a list of such
            lists. They come back in their order, each typed whole.
        batch_size: most windows in one forward pass; 32 unless given here or at construction.

    Windows of like length share a pass. A list is read by 1,024 texts, an iterator by ``batch_size``, then four times as many, and so on.

    Raises:
        TypeError: when an input is no string, or an argument is unknown.
        ValueError: when a given mention is out of range, or holds no word or more than a window, or an argument has no such value.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.model.eval()
        self.text_encoder = TextEncoder(self.tokenizer, self.model.config)
        self.types_by_name = TypesByName(self.model, self.tokenizer)

    def _sanitize_parameters(
        self,
        head: Any = None,
        detection_threshold: float | None = None,
        mentions: Any = None,
        types: Any = None,
        type_threshold: float | None = None,
        **unknown: Any,
    ) -> tuple[dict, dict, dict]:
        if unknown:
            raise TypeError(
                f"unknown arguments {sorted(unknown)}: a finener pipeline takes head, detection_threshold, mentions, types, "
                "type_threshold and batch_size"
            )
        for name, value in {"detection_threshold": detection_threshold, "type_threshold": type_threshold}.items():
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (is_number and 0.0 <= value <= 1.0):
                raise ValueError(f"{name} must be a number in [0, 1], got {value!r}")
        given = (
            {"mentions": mentions},
            {"head": head, "types": types, "type_threshold": type_threshold},
            {"detection_threshold": detection_threshold},
        )
        return tuple({name: value for name, value in part.items() if value is not None} for part in given)

    def __call__(self, inputs: str | Iterable[str], *, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Mentions of a text, or a list (for a lazy iterable: an iterator) of the mentions of each text."""
        defaults = (self._preprocess_params, self._forward_params, self._postprocess_params)
        pairs = zip(defaults, self._sanitize_parameters(**kwargs), strict=True)
        preprocess, forward, postprocess = ({**default, **given} for default, given in pairs)
        size = next(n for n in (batch_size, self._batch_size, 32) if n is not None)
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"batch_size must be a whole number of at least 1, got {size!r}")
        forward["batch_size"] = size
        mentions = preprocess.pop("mentions", None)
        forward["head"] = self.types_by_name.head(
            forward.get("head"), forward.pop("types", None), forward.pop("type_threshold", None), mentions is not None
        )
        if isinstance(inputs, str):
            return self.run_single([(inputs, mentions)], preprocess, forward, postprocess)[0]
        if isinstance(inputs, Mapping):
            raise TypeError("expected a text or several texts, got a mapping: pass record['text']")
        try:
            texts = iter(inputs)
        except TypeError:
            raise TypeError(f"expected a text or several texts, got {type(inputs).__name__}") from None
        is_list = isinstance(inputs, Sized)
        groups = _read_ahead(texts, mentions, max(size, READ_AHEAD_TEXTS) if is_list else size)
        results = (result for group in groups for result in self.run_single(group, preprocess, forward, postprocess))
        return list(results) if is_list else results

    def preprocess(self, texts: Sequence[tuple[str, Sequence[tuple[int, int]] | None]]) -> dict[str, Any]:
        """Texts, each with the mentions that are given or None → their windows."""
        return {"texts": [self._read(text, mentions) for text, mentions in texts]}

    def _read(self, text: str, mentions: Sequence[tuple[int, int]] | None) -> _ReadText:
        encoded = self.text_encoder.encode(text)
        windows = self.text_encoder.windows(encoded, self.model.config.window_overlap)
        n_windows, given = len(windows), []
        spans: list[list[tuple[int, int]]] = [[] for _ in windows]
        for start, end in mentions or ():
            first, stop = _words_of_mention(text, encoded, start, end)
            at = max(range(n_windows), key=lambda i: windows[i].margin(first, stop))
            if windows[at].margin(first, stop) < 0:  # it crosses a border: a window of its own
                at = len(windows)
                windows.append(self.text_encoder.window_around(encoded, first, stop))
                spans.append([])
            spans[at].append((first - windows[at].first_word, stop - windows[at].first_word))
            given.append((start, end, at))
        return _ReadText(text, windows, spans, None if mentions is None else given)

    def _forward(self, inputs: dict[str, Any], head: Any = None, batch_size: int = 32) -> dict[str, Any]:
        """Runs the model over all windows, those of like length together; where mentions are given, over those that hold one."""
        texts: list[_ReadText] = inputs["texts"]
        windows = [window for read in texts for window in read.windows]
        spans = [of_window for read in texts for of_window in read.spans]
        is_given = texts[0].given is not None
        found: list[list[FoundMention]] = [[] for _ in windows]
        read = (i for i in range(len(windows)) if spans[i] or not is_given)
        order = sorted(read, key=lambda i: -len(windows[i].input_ids))
        for at in range(0, len(order), batch_size):
            chosen = order[at : at + batch_size]
            batch = self.text_encoder.pad([windows[i] for i in chosen])
            if is_given:
                batch["mention_spans"] = pad_sequence([torch.tensor(spans[i]) for i in chosen], True, -1)
            output = self.model(**self.ensure_tensor_on_device(**batch))
            kinds = head(self.model, output) if callable(head) else self.model.select_types(output, head)
            rows = zip(output.mention_spans.tolist(), output.mention_scores.tolist(), kinds, strict=True)
            for (record, first, stop), score, types in rows:
                words = windows[chosen[record]].words
                found[chosen[record]].append(FoundMention(words[first][0], words[stop - 1][1], score, types))
        return {"texts": texts, "found": found, "head": head}

    def postprocess(self, outputs: dict[str, Any], detection_threshold: float | None = None) -> list[list[dict]]:
        """Joins each text's windows and writes its mentions as plain dicts."""
        if detection_threshold is None:
            detection_threshold = self.model.config.detection_threshold
        ontology = ontology_of_head(self.model.config, outputs["head"])
        found, results = iter(outputs["found"]), []
        for read in outputs["texts"]:
            of_windows = list(islice(found, len(read.windows)))
            if read.given is None:
                mentions = mentions_of_windows(read.windows, of_windows, detection_threshold)
            else:
                rows = [iter(of_window) for of_window in of_windows]
                typed = ((start, end, next(rows[at])) for start, end, at in read.given)
                mentions = [FoundMention(start, end, m.score, m.types) for start, end, m in typed]
            results.append([_as_dict(read.text, m, ontology) for m in mentions if m.types])
        return results


def _read_ahead(texts: Iterator[str], mentions: Iterable | None, size: int) -> Iterator[list[tuple[str, Any]]]:
    """Texts with their given mentions (or None) in groups: the first of ``size``, each next one four times larger, up to the limits."""
    group, characters, missing = [], 0, object()
    pairs = zip(texts, repeat(None)) if mentions is None else zip_longest(texts, mentions, fillvalue=missing)
    for text, given in pairs:
        if text is missing or given is missing or (given is None and mentions is not None):
            raise ValueError("mentions must hold one list of spans for each text: there are not as many")
        if not isinstance(text, str):
            raise TypeError(f"expected a text, got {type(text).__name__}: {text!r:.80}")
        group.append((text, given))
        characters += len(text)
        if len(group) == size or characters >= READ_AHEAD_CHARACTERS:
            yield group
            group, characters, size = [], 0, max(size, min(4 * size, READ_AHEAD_TEXTS))
    if group:
        yield group


def ontology_of_head(config: FinenerConfig, head: Any = None) -> Ontology:
    """The types that a head gives: see :class:`FinenerPipeline`."""
    if callable(head):
        return head.ontology
    return config.ontology if head == "source" or config.target_ontology is None else config.target_ontology


def _words_of_mention(text: str, encoded: EncodedText, start: int, end: int) -> tuple[int, int]:
    """First word and one past the last of those that a given mention touches."""
    if not 0 <= start < end <= len(text):
        raise ValueError(f"mention [{start}, {end}) is out of range: expected 0 <= start < end <= {len(text)}")
    first = bisect_right(encoded.words, start, key=lambda word: word[1])
    stop = bisect_left(encoded.words, end, key=lambda word: word[0])
    if first >= stop:
        raise ValueError(f"mention [{start}, {end}) = {text[start:end]!r} holds no word that the tokenizer knows")
    return first, stop


def _as_dict(text: str, mention: FoundMention, ontology: Ontology) -> dict[str, Any]:
    depth = {name: ontology.depths[ontology.index(name)] for name in mention.types}
    return {
        "entity_group": max(ontology.most_specific(mention.types), key=lambda t: (mention.types[t], depth[t])),
        "score": mention.score,
        "word": text[mention.start : mention.end],
        "start": mention.start,
        "end": mention.end,
        "types": dict(sorted(mention.types.items(), key=lambda item: (-item[1], depth[item[0]]))),
    }

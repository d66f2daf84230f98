"""Characters in, characters out: words with their offsets, windows, and the ``token-classification`` pipeline.

Offsets are Python code points, half-open. T sub-tokens, W words, F shape features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import torch
from tokenizers.pre_tokenizers import BertPreTokenizer
from torch import Tensor
from transformers import Pipeline, PreTrainedTokenizerBase

from .configuration_finener import FinenerConfig
from .layers_finener import SHAPE_FEATURES
from .ontology_finener import Ontology

MAX_TOKENS = 512  # of a window, special ones included
_PRE_TOKENIZER = BertPreTokenizer()
# Blocks whose characters are words of their own: CJK ideographs and their extensions, kana, and compatibility forms.
_CJK = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3134F))


def _is_cjk(character: str) -> bool:
    return any(low <= ord(character) <= high for low, high in _CJK)


def split_words(text: str) -> list[tuple[int, int]]:
    """Words of a text as [start, end): runs between white space and punctuation; a CJK character is a word of its own."""
    words: list[tuple[int, int]] = []
    for piece, (start, end) in _PRE_TOKENIZER.pre_tokenize_str(text):
        if piece.split() == [piece] and (piece.isascii() or not any(map(_is_cjk, piece))):
            words.append((start, end))
            continue
        run = start
        for at in range(start, end):
            alone, gap = _is_cjk(text[at]), text[at].isspace()  # U+001C … U+001F are spaces to Python alone
            if alone or gap:
                words += [(run, at)] * (run < at) + [(at, at + 1)] * alone
                run = at + 1
        words += [(run, end)] * (run < end)
    return words


@lru_cache(maxsize=200_000)
def word_shape(word: str) -> tuple[float, ...]:
    """What a lower-casing encoder cannot see of a word: F features of 0 or 1."""
    has_letter = any(c.isalpha() for c in word)
    first_upper, has_upper, has_lower = (
        word[0].isupper(),
        any(c.isupper() for c in word),
        any(c.islower() for c in word),
    )
    features = (
        first_upper and has_lower,  # Capitalised
        has_upper and not has_lower and len(word) > 1,  # ALLCAPS
        first_upper and len(word) == 1,  # A
        has_upper and has_lower and any(c.isupper() for c in word[1:]),  # McDonald
        has_lower and not has_upper,  # lower
        word.isdigit(),  # 2019
        has_letter and any(c.isdigit() for c in word),  # B52
        not has_letter and not any(c.isdigit() for c in word),  # punctuation
        word in ".!?:;\"'“”‘’()[]",
        any(ord(c) > 127 for c in word),
    )
    return tuple(map(float, features))


@dataclass(frozen=True)
class Window:
    """A run of a text's words with the sub-tokens that belong to them.

    Args:
        words: character offsets [start, end) of each word in the whole text.
        first_word: index, in the whole text, of the first of them.
        input_ids: sub-tokens, special ones included.
        word_starts: for each word the index in ``input_ids`` of its first sub-token.
        shapes: for each word its F shape features.
    """

    words: tuple[tuple[int, int], ...]
    first_word: int
    input_ids: tuple[int, ...]
    word_starts: tuple[int, ...]
    shapes: tuple[tuple[float, ...], ...]


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
            raise ValueError(
                f"finener needs a fast tokenizer (it knows character offsets); got {type(tokenizer).__name__}"
            )
        self.tokenizer = tokenizer
        self.max_words = config.window_words
        positions = (
            getattr(config.encoder_config, "max_position_embeddings", None) or MAX_TOKENS
        )  # some encoders have no such limit
        self.max_tokens = min(tokenizer.model_max_length, positions, MAX_TOKENS)
        plain = tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"]
        whole = tokenizer("a", verbose=False)["input_ids"]
        at = next(i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)
        self.prefix, self.suffix = whole[:at], whole[at + len(plain) :]
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

    def end_of_window(self, encoded: EncodedText, first: int) -> int:
        """One past the last word of the longest window that starts at word ``first``; at least one word."""
        room = self.max_tokens - len(self.prefix) - len(self.suffix)
        stop = first + 1
        limit = min(len(encoded.words), first + self.max_words)
        while stop < limit and encoded.pieces[stop][1] - encoded.pieces[first][0] < room:
            stop += 1
        return stop

    def window(self, encoded: EncodedText, first: int, stop: int) -> Window:
        """The window of words [first, stop). A single word that is too long keeps its first sub-tokens: only its first is read."""
        room = self.max_tokens - len(self.prefix) - len(self.suffix)
        begin = encoded.pieces[first][0] if stop > first else 0
        end = min(encoded.pieces[stop - 1][1] + 1, begin + room) if stop > first else 0
        shift = len(self.prefix) - begin
        return Window(
            tuple(encoded.words[first:stop]),
            first,
            (*self.prefix, *encoded.ids[begin:end], *self.suffix),
            tuple(start + shift for start, _ in encoded.pieces[first:stop]),
            tuple(encoded.shapes[first:stop]),
        )

    def fits(self, encoded: EncodedText) -> bool:
        """Whether one window holds all words of a text."""
        return not encoded.words or self.end_of_window(encoded, 0) == len(encoded.words)

    def whole_window(self, encoded: EncodedText) -> Window:
        """The window of all words of a text.

        Raises:
            ValueError: when the text does not fit one window.
        """
        if not self.fits(encoded):
            raise ValueError(
                f"a text of {len(encoded.words)} words does not fit a window: pass its record through cut_record"
            )
        return self.window(encoded, 0, len(encoded.words))

    def windows(self, text: str, overlap: int) -> list[Window]:
        """Windows that cover the text, neighbours sharing ``overlap`` words; one empty window for a text without words."""
        encoded = self.encode(text)
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


def mentions_of_windows(windows: Sequence[Window], found: Sequence[Sequence[FoundMention]]) -> list[FoundMention]:
    """Joins the mentions of overlapping windows: each comes from the window in whose middle it lies; none overlap.

    Args:
        windows: of one text, in order. found: for each window its mentions.
    """
    kept: list[FoundMention] = []
    for i, (window, mentions) in enumerate(zip(windows, found, strict=True)):
        low = 0 if i == 0 else _middle_of_overlap(windows[i - 1], window)
        high = float("inf") if i + 1 == len(windows) else _middle_of_overlap(window, windows[i + 1])
        kept += [m for m in mentions if low <= m.start < high]
    joined: list[FoundMention] = []
    for mention in sorted(kept, key=lambda m: (m.start, -m.score)):
        if not joined or mention.start >= joined[-1].end:
            joined.append(mention)
    return joined


def _middle_of_overlap(left: Window, right: Window) -> int:
    """The character at which the words that two windows share are divided between them."""
    stop = left.first_word + len(left.words)
    middle = (right.first_word + stop) // 2
    return right.words[min(middle - right.first_word, len(right.words) - 1)][0]


class FinenerPipeline(Pipeline):
    """``pipeline("token-classification", model=…, trust_remote_code=True)`` of a finener model.

    Call it with a text, a list of texts, or any iterable of texts (which gives an iterator). Each text gives a list of mentions in
    order, without overlaps: ``start``, ``end`` (characters), ``word`` (the text between them), ``score`` (probability of the span, in
    [0, 1]), ``entity_group`` (the most specific type), ``types`` (every type with its score, ancestors included).

    Call arguments:
        head: ``target`` or ``source`` types (by default the target types where the model has them), or an object with an ``ontology``
            that is called with the model and its output and returns each mention's types and scores.
        detection_threshold: least span probability, in [0, 1], in place of the config's.
        mentions: character spans to type in place of detection, ``[(start, end), …]``; for several texts a list of such lists.
        batch_size: most windows in one forward pass; 32 unless given here or at construction.

    Raises:
        TypeError: when an input is no string, or an argument is unknown.
        ValueError: when a given mention is out of range or holds no word.
    """

    def _sanitize_parameters(
        self,
        head: Any = None,
        detection_threshold: float | None = None,
        mentions: Sequence | None = None,
        **unknown: Any,
    ) -> tuple[dict, dict, dict]:
        if unknown:
            raise TypeError(
                f"unknown arguments {sorted(unknown)}: a finener pipeline takes head, detection_threshold, mentions and batch_size"
            )
        return (
            {} if mentions is None else {"mentions": mentions},
            {} if head is None else {"head": head},
            {} if detection_threshold is None else {"detection_threshold": detection_threshold},
        )

    def __call__(self, inputs: str | Iterable[str], *, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Mentions of a text, or a list (for a lazy iterable: an iterator) of the mentions of each text."""
        preprocess, forward, postprocess = (
            {**defaults, **given}
            for defaults, given in zip(
                (self._preprocess_params, self._forward_params, self._postprocess_params),
                self._sanitize_parameters(**kwargs),
                strict=True,
            )
        )
        forward["batch_size"] = batch_size = batch_size or self._batch_size or 32
        given = preprocess.pop("mentions", None)
        if isinstance(inputs, str):
            return self.run_single([inputs], {"mentions": None if given is None else [given]}, forward, postprocess)[0]
        if isinstance(inputs, Mapping):
            raise TypeError("expected a text or several texts, got a mapping: pass record['text']")
        try:
            texts = iter(inputs)
        except TypeError:
            raise TypeError(f"expected a text or several texts, got {type(inputs).__name__}") from None
        results = self._run_many(texts, given, batch_size, forward, postprocess)
        return list(results) if isinstance(inputs, Sized) else results

    def _run_many(
        self, texts: Iterator[str], given: Iterable | None, size: int, forward: dict, postprocess: dict
    ) -> Iterator[list[dict]]:
        spans = iter(given) if given is not None else None
        while group := list(islice(texts, size)):
            mentions = None if spans is None else list(islice(spans, len(group)))
            if mentions is not None and len(mentions) < len(group):
                raise ValueError("mentions must hold one list of spans for each text, got fewer")
            yield from self.run_single(group, {"mentions": mentions}, forward, postprocess)
        if spans is not None and list(islice(spans, 1)):
            raise ValueError("mentions must hold one list of spans for each text, got more")

    def preprocess(self, texts: list[str], mentions: list[Sequence[tuple[int, int]]] | None = None) -> dict[str, Any]:
        """Texts → their windows and, for mentions that are given, each window's spans."""
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(f"expected a text, got {type(text).__name__}: {text!r:.80}")
        config = self.model.config
        encoder = TextEncoder(self.tokenizer, config)
        windows = [encoder.windows(text, config.window_overlap) for text in texts]
        spans = mentions and [_spans_of(*row) for row in zip(texts, windows, mentions, strict=True)]
        return {"texts": texts, "windows": windows, "spans": spans, "encoder": encoder}

    def _forward(self, inputs: dict[str, Any], head: Any = None, batch_size: int = 32) -> dict[str, Any]:
        """Runs the model over all windows, those of like length together."""
        windows = [w for ws in inputs["windows"] for w in ws]
        spans = inputs["spans"] and [s for ss in inputs["spans"] for s in ss]
        found: list[list[FoundMention]] = [[] for _ in windows]
        order = sorted(range(len(windows)), key=lambda i: -len(windows[i].words))
        for at in range(0, len(order), batch_size):
            chosen = order[at : at + batch_size]
            batch = inputs["encoder"].pad([windows[i] for i in chosen])
            if spans is not None:
                batch["mention_spans"] = _pad_spans([spans[i] for i in chosen])
            output = self.model(**self.ensure_tensor_on_device(**batch))
            kinds = head(self.model, output) if callable(head) else self.model.select_types(output, head)
            rows = zip(output.mention_spans.tolist(), output.mention_scores.tolist(), kinds, strict=True)
            for (record, first, stop), score, types in rows:
                words = windows[chosen[record]].words
                found[chosen[record]].append(FoundMention(words[first][0], words[stop - 1][1], score, types))
        return {**inputs, "found": found, "head": head}

    def postprocess(self, outputs: dict[str, Any], detection_threshold: float | None = None) -> list[list[dict]]:
        """Joins each text's windows and writes its mentions as plain dicts."""
        if detection_threshold is None:
            detection_threshold = self.model.config.detection_threshold
        config = self.model.config
        ontology = ontology_of_head(config, outputs["head"])
        results, at = [], 0
        for i, (text, windows) in enumerate(zip(outputs["texts"], outputs["windows"], strict=True)):
            found = outputs["found"][at : at + len(windows)]
            at += len(windows)
            if outputs["spans"]:
                mentions = _as_given(found, outputs["spans"][i])
            else:
                mentions = [m for m in mentions_of_windows(windows, found) if m.score >= detection_threshold]
            results.append([_as_dict(text, m, ontology) for m in mentions if m.types])
        return results


def ontology_of_head(config: FinenerConfig, head: Any = None) -> Ontology:
    """The types that a head gives: see :class:`FinenerPipeline`."""
    if callable(head):
        return head.ontology
    return config.ontology if head == "source" or config.target_ontology is None else config.target_ontology


def _spans_of(
    text: str, windows: Sequence[Window], mentions: Sequence[tuple[int, int]]
) -> list[list[tuple[int, int, int, int, int]]]:
    """For each window the given mentions that it types: first word, one past the last, start, end, place in the given list."""
    spans: list[list[tuple[int, int, int, int, int]]] = [[] for _ in windows]
    for place, (start, end) in enumerate(mentions):
        if not 0 <= start < end <= len(text):
            raise ValueError(
                f"mention [{start}, {end}) is out of range: the text has {len(text)} characters, and start < end"
            )
        touching = [[i for i, (s, e) in enumerate(w.words) if s < end and e > start] for w in windows]
        best = max(range(len(windows)), key=lambda i: len(touching[i]))
        if not touching[best]:
            raise ValueError(f"mention [{start}, {end}) = {text[start:end]!r} holds no word that the tokenizer knows")
        spans[best].append((touching[best][0], touching[best][-1] + 1, start, end, place))
    return spans


def _pad_spans(spans: Sequence[Sequence[tuple[int, ...]]]) -> Tensor:
    """First and stop words of each window's spans, (B, S, 2) with -1 padding."""
    batch = torch.full((len(spans), max(1, *(len(s) for s in spans)) if spans else 1, 2), -1)
    for row, own in enumerate(spans):
        for column, span in enumerate(own):
            batch[row, column] = torch.tensor(span[:2])
    return batch


def _as_given(
    found: Sequence[Sequence[FoundMention]], spans: Sequence[Sequence[tuple[int, ...]]]
) -> list[FoundMention]:
    """Typed mentions with the offsets and in the order in which they were given."""
    placed = {
        span[4]: FoundMention(span[2], span[3], mention.score, mention.types)
        for mentions, own in zip(found, spans, strict=True)
        for mention, span in zip(mentions, own, strict=True)
    }
    return [placed[i] for i in sorted(placed)]


def _as_dict(text: str, mention: FoundMention, ontology: Ontology) -> dict[str, Any]:
    deepest = ontology.most_specific(mention.types)
    return {
        "entity_group": max(deepest, key=lambda t: (mention.types[t], ontology.depths[ontology.index(t)])),
        "score": mention.score,
        "word": text[mention.start : mention.end],
        "start": mention.start,
        "end": mention.end,
        "types": dict(
            sorted(mention.types.items(), key=lambda item: (-item[1], ontology.depths[ontology.index(item[0])]))
        ),
    }

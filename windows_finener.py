"""Windows of words: what the model reads at a time, made of a text, and put together again.

Offsets are Python code points, half-open. B windows of a batch, T sub-tokens, W words, F shape features. Only numpy is needed, so that an
exported model reads texts in the same way without torch.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import inf
from sys import maxsize
from typing import TYPE_CHECKING, Any

import numpy as np

from .ontology_finener import Ontology
from .words_finener import SHAPE_FEATURES, split_words, word_shape

if TYPE_CHECKING:
    from tokenizers import Encoding
    from torch import Tensor

HALF_PAIRS = re.compile("[\ud800-\udfff]")  # halves of surrogate pairs, which a broken JSON string may hold
MAX_TOKENS = 512  # of a window, special ones included
PART_CHARACTERS = 2**16  # of a long text are tokenized at a time
READ_AHEAD_TOKENS = 2**16  # among windows of so many sub-tokens those of like length go through the model together
BATCH_TOKENS = 512  # padding included, of a batch for each thread of a processor: more of them do not fit its caches
PROBE = "Ann left the old town of New York in 1518, by train."  # shows whether a tokenizer reads a text in parts


@dataclass(frozen=True)
class Window:
    """A run of a text's words with the sub-tokens that belong to them."""

    words: tuple[tuple[int, int], ...]  # characters [start, end) of each in the whole text
    first_word: int  # index of the first of them among the text's words
    input_ids: tuple[int, ...]  # sub-tokens, special ones included
    word_starts: tuple[int, ...]  # index in input_ids of each word's first sub-token
    shapes: tuple[tuple[float, ...], ...]  # the F shape features of each word
    spans: tuple[tuple[int, int], ...] | None = (
        None  # its words [first, stop) to type; None: the mentions that are found
    )

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

    def joined(self, first: int, part: EncodedText, at: int) -> EncodedText:
        """The words from ``first`` on, and those of the text's next part, which starts at character ``at``."""
        begin = self.pieces[first][0] if first < len(self.words) else len(self.ids)
        shift = len(self.ids) - begin
        return EncodedText(
            self.words[first:] + [(start + at, end + at) for start, end in part.words],
            self.ids[begin:] + part.ids,
            [(a - begin, b - begin) for a, b in self.pieces[first:]] + [(a + shift, b + shift) for a, b in part.pieces],
            self.shapes[first:] + part.shapes,
            self.dropped_words + part.dropped_words,
        )

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
        ValueError: without a tokenizer, or when it is not a fast one: others know no offsets.
    """

    def __init__(self, tokenizer: Any, config: Any):
        if tokenizer is None:
            raise ValueError("the model came without its tokenizer: its files are not there, or could not be fetched")
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(f"finener needs a fast tokenizer (it knows offsets); got {type(tokenizer).__name__}")
        self.tokenizer = tokenizer
        self.config = config
        # Some encoders have no such limit.
        positions = getattr(config.encoder_config, "max_position_embeddings", None) or MAX_TOKENS
        self.max_tokens = min(tokenizer.model_max_length, positions, MAX_TOKENS)
        plain, whole = self._tokens("a").ids, self._tokens("a", add_special_tokens=True).ids
        at = next(i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)
        self.prefix, self.suffix = whole[:at], whole[at + len(plain) :]
        self.room = self.max_tokens - len(self.prefix) - len(self.suffix)  # sub-tokens beside the special ones
        self.pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self.seam = self._seam()

    def _seam(self) -> re.Pattern[str] | None:
        """Where a text may be cut without a change of its sub-tokens: before a blank or line break. None: nowhere."""

        def ids(text: str) -> list[int]:
            return self._tokens(text).ids

        def may_cut(blank: str) -> bool:
            words = PROBE.split()
            parts = [words[0], *(blank + word for word in words[1:])]
            return ids("".join(parts)) == [i for part in parts for i in ids(part)]

        blanks = "".join(filter(may_cut, " \n"))
        return re.compile(rf"(?<=[\w.,;:!?。，、！？])[{blanks}](?=\w)") if blanks else None

    def _tokens(self, text: str, add_special_tokens: bool = False) -> Encoding:
        """The sub-tokens of a text, neither cut nor padded. What a call of the tokenizer does beside takes four times as long."""
        fast = self.tokenizer.backend_tokenizer
        fast.no_truncation()  # as others may have left it
        fast.no_padding()
        return fast.encode(text, add_special_tokens=add_special_tokens)

    def encode(self, text: str) -> EncodedText:
        """Tokenizes a text of any length, without cutting it."""
        text = HALF_PAIRS.sub("\ufffd", text)  # tokenizers can't read them
        encoding = self._tokens(text)
        offsets = encoding.offsets
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
        return EncodedText(words, encoding.ids, pieces, shapes, len(candidates) - len(words))

    def fits(self, encoded: EncodedText, first: int = 0, stop: int | None = None) -> bool:
        """Whether one window holds the words [first, stop) of a text, by default all of them; a single word always fits."""
        stop = len(encoded.words) if stop is None else stop
        if stop - first <= 1:
            return True
        n_tokens = encoded.pieces[stop - 1][1] + 1 - encoded.pieces[first][0]
        return stop - first <= self.config.window_words and n_tokens <= self.room

    def end_of_window(self, encoded: EncodedText, first: int) -> int:
        """One past the last word of the longest window that starts at word ``first``; at least one word."""
        most = min(first + self.config.window_words, len(encoded.words))
        room = encoded.pieces[first][0] + self.room
        return bisect_left(encoded.pieces, room, first + 1, most, key=lambda piece: piece[1])

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
        return list(self._windows(iter([(0, encoded)]), overlap))

    def read(self, text: str, overlap: int) -> Iterator[Window]:
        """The windows of a text of any length, each made as it is asked for; memory holds a part of some ``PART_CHARACTERS``.

        They are those of :meth:`windows`. Only a run of text without a blank, or a tokenizer that looks across blanks, makes larger parts.
        """
        return self._windows(self._parts(text), overlap)

    def _parts(self, text: str) -> Iterator[tuple[int, EncodedText]]:
        """A text's parts, each with the character where it starts."""
        at, end = 0, None
        while at != end:
            seam = self.seam.search(text, at + PART_CHARACTERS) if self.seam else None
            end = len(text) if seam is None else seam.start()
            yield at, self.encode(text[at:end])
            at, end = end, len(text)

    def _windows(self, parts: Iterator[tuple[int, EncodedText]], overlap: int) -> Iterator[Window]:
        held, gone, first = EncodedText([], [], [], [], 0), 0, 0
        following = next(parts)
        while following is not None:
            (at, part), following = following, next(parts, None)
            held, gone, first = held.joined(first, part, at), gone + first, 0
            while True:
                stop = self.end_of_window(held, first) if held.words else 0
                if stop == len(held.words) and following is not None:
                    break  # its end lies in the next part
                window = self.window(held, first, stop)
                yield replace(window, first_word=gone + first)
                if stop == len(held.words):
                    return
                first = max(first + 1, stop - min(overlap, (stop - first) // 2))

    def arrays(self, windows: Sequence[Window]) -> dict[str, np.ndarray]:
        """Windows → ``input_ids``, ``attention_mask`` (B, T), ``word_starts`` (B, W), ``word_shapes`` (B, W, F)."""
        n_tokens = max(1, *(len(w.input_ids) for w in windows))
        n_words = max(1, *(len(w.words) for w in windows))
        batch = {
            "input_ids": np.full((len(windows), n_tokens), self.pad_id, np.int64),
            "attention_mask": np.zeros((len(windows), n_tokens), np.int64),
            "word_starts": np.full((len(windows), n_words), -1, np.int64),
            "word_shapes": np.zeros((len(windows), n_words, SHAPE_FEATURES), np.float32),
        }
        for row, window in enumerate(windows):
            batch["input_ids"][row, : len(window.input_ids)] = window.input_ids
            batch["attention_mask"][row, : len(window.input_ids)] = 1
            if window.words:
                batch["word_starts"][row, : len(window.words)] = window.word_starts
                batch["word_shapes"][row, : len(window.words)] = window.shapes
        return batch

    def pad(self, windows: Sequence[Window]) -> dict[str, Tensor]:
        """:meth:`arrays` as tensors."""
        from torch import from_numpy

        return {name: from_numpy(array) for name, array in self.arrays(windows).items()}


@dataclass(frozen=True)
class FoundMention:
    """A mention of a text: characters [start, end), detection score, and by each head that was asked its types with scores, closed."""

    start: int
    end: int
    score: float
    types: tuple[dict[str, float], ...]


def read_windows(
    windows: Iterable[tuple[Any, Window]],
    run: Callable[[list[Window]], Iterable[tuple[int, FoundMention]]],
    batch_size: int,
    batch_tokens: int = maxsize,
) -> Iterator[tuple[Any, Iterator[tuple[Window, list[FoundMention]]]]]:
    """Each text with its windows and what a model finds in them, in order, as they are asked for.

    Args:
        windows: those of each text in order, with the text. One that has no span to type is not run.
        run: gives the mentions of a batch, each with its window's place in the batch.
        batch_size: most windows of a batch. batch_tokens: most sub-tokens, padding included, of a batch of several windows.
    """
    rows = (row for block in _blocks(windows, batch_size) for row in _found_in(block, run, batch_size, batch_tokens))
    for text, of_text in groupby(rows, key=lambda row: row[0]):
        yield text, ((window, found) for _, window, found in of_text)


def _blocks(windows: Iterable[tuple[Any, Window]], batch_size: int) -> Iterator[list[tuple[Any, Window]]]:
    block, n_tokens = [], 0
    for text, window in windows:
        block.append((text, window))
        n_tokens += len(window.input_ids)
        if len(block) >= batch_size and n_tokens >= READ_AHEAD_TOKENS:
            yield block
            block, n_tokens = [], 0
    if block:
        yield block


def _found_in(
    block: list[tuple[Any, Window]], run: Callable, batch_size: int, batch_tokens: int
) -> Iterator[tuple[Any, Window, list[FoundMention]]]:
    """What is found in each window of a block; those of like length go through the model together."""
    found: list[list[FoundMention]] = [[] for _ in block]
    sizes = {i: len(window.input_ids) for i, (_, window) in enumerate(block) if window.spans != ()}
    for chosen in batches_of_like_length(sizes, batch_size, batch_tokens):
        for place, mention in run([block[i][1] for i in chosen]):
            found[chosen[place]].append(mention)
    return ((text, window, mentions) for (text, window), mentions in zip(block, found, strict=True))


def batches_of_like_length(sizes: Mapping[Any, int], batch_size: int, batch_tokens: int) -> Iterator[list[Any]]:
    """Names of what has so many sub-tokens, the longest first, in batches of at most ``batch_size``, and of ``batch_tokens`` with padding.

    A batch of one may have more.
    """
    order, at = sorted(sizes, key=lambda name: -sizes[name]), 0
    while at < len(order):
        n_fitting = max(1, batch_tokens // max(1, sizes[order[at]]))
        yield order[at : at + min(batch_size, n_fitting)]
        at += min(batch_size, n_fitting)


def mentions_of_windows(
    found: Iterable[tuple[Window, Sequence[FoundMention]]], threshold: float = 0.0
) -> Iterator[FoundMention]:
    """Joins the mentions of overlapping windows, in order: those that reach into the middle part of the window that found them.

    Of mentions that overlap the stronger stays. One that overlaps none that stays is never lost. Each is given as soon as later windows
    can't change it. Neighbours halve the words that they share, so that each has its middle part; a text's ends are open.

    Args:
        found: a text's windows in order, each with its mentions. threshold: least score, in [0, 1].
    """
    candidates: dict[tuple[int, int], FoundMention] = {}
    stays: list[FoundMention] = []
    rows, low = iter(found), 0
    row = next(rows, None)
    while row is not None:
        (window, mentions), row = row, next(rows, None)
        high, border = (inf, inf) if row is None else (_middle(window, row[0]), row[0].words[0][0])
        for mention in mentions:
            if mention.score >= threshold and mention.start < high and mention.end > low:
                candidates.setdefault((mention.start, mention.end), mention)
        settled, candidates = _settle(candidates.values(), border)
        stays = sorted([*stays, *settled], key=lambda m: m.start)
        reached = min((start for start, _ in candidates), default=inf)
        yield from (mention for mention in stays if mention.start < reached)
        stays = [mention for mention in stays if mention.start > reached]
        low = high


def _middle(left: Window, right: Window) -> int:
    """The character where the middle part of a window ends and that of the next begins."""
    middle = (right.first_word + left.first_word + len(left.words)) // 2
    return right.words[min(middle - right.first_word, len(right.words) - 1)][0]


def _settle(
    mentions: Iterable[FoundMention], border: float
) -> tuple[list[FoundMention], dict[tuple[int, int], FoundMention]]:
    """Those that stay whatever follows, by place, and by their places those of which that can't be said yet.

    Of mentions that overlap the stronger stays, of equally strong ones the first. What follows starts at ``border`` or after it.
    """
    kept: list[FoundMention] = []
    waiting: dict[tuple[int, int], FoundMention] = {}
    for mention in sorted(mentions, key=lambda m: -m.score):
        at = bisect_left(kept, mention.start, key=lambda m: m.start)
        is_free_before = at == 0 or kept[at - 1].end <= mention.start
        if not is_free_before or (at < len(kept) and kept[at].start < mention.end):
            continue
        is_open = mention.end > border
        if is_open or any(start < mention.end and mention.start < end for start, end in waiting):
            waiting[mention.start, mention.end] = mention
        else:
            kept.insert(at, mention)
    return kept, waiting


def types_as_dict(types: Mapping[str, float], ontology: Ontology, shown: str) -> dict[str, Any]:
    """The most specific type with its label, and the types that are shown, best first, with their labels."""
    depth = {name: ontology.depths[ontology.index(name)] for name in types}
    leaves = ontology.most_specific(types)
    group = max(leaves, key=lambda t: (types[t], depth[t]))
    kept = {"all": types, "path": ontology.closure([group]), "leaf": leaves}[shown]
    scores = {t: types[t] for t in sorted(kept, key=lambda t: (-types[t], depth[t]))}
    labels = {t: ontology.types[ontology.index(t)].label or t for t in scores}
    return {"entity_group": group, "label": labels[group], "types": scores, "labels": labels}

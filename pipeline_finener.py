"""The ``token-classification`` pipeline: text in, mentions out. Offsets are Python code points, half-open."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, repeat, zip_longest
from numbers import Integral
from sys import maxsize
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import Pipeline

from .answers_finener import Answers, check_at_least_one, check_fraction, heads_of_call, mention_as_dict
from .naming_finener import TypesByName
from .windows_finener import (
    BATCH_TOKENS,
    EncodedText,
    FoundMention,
    TextEncoder,
    Window,
    mentions_of_windows,
    read_windows,
)

READ_AHEAD_TEXTS = 1024  # of a list or iterator; among their windows those of like length are put together
READ_AHEAD_CHARACTERS = 2**20  # fewer texts where they are long, so that memory stays bounded
AGGREGATING = {"aggregation_strategy", "stride"}  # by which transformers' own pipeline makes mentions of sub-tokens


@dataclass(frozen=True)
class _AskedText:
    """A text, the mentions that are given with it, and where the caller's words start in it, if it came in words."""

    text: str
    mentions: Sequence[tuple[int, int]] | None
    word_starts: list[int] | None

    def words_of(self, start: int, end: int) -> tuple[int, int] | None:
        """First, and one past the last, of the caller's words that the characters [start, end) touch."""
        if self.word_starts is None:
            return None
        return bisect_right(self.word_starts, start) - 1, bisect_left(self.word_starts, end)


@dataclass(frozen=True, eq=False)
class _ReadText:
    """A text, its windows as they are asked for, and where mentions are given: start, end and window of each, in the order given."""

    asked: _AskedText
    windows: Iterable[Window]
    given: list[tuple[int, int, int]] | None


class FinenerPipeline(Pipeline):
    """``pipeline("token-classification", model=…, trust_remote_code=True)`` of a finener model.

    Call it with a text, a list of texts, or any other iterable of texts, such as a column of a data set, which gives an iterator that
    reads on as it is asked. Each text gives a list of mentions in order, without overlaps, as plain dicts that JSON can write:
    ``entity_group`` (the id of the most specific type) and its ``label``, ``score`` (probability of the span, in [0, 1]), ``word`` (the
    text between ``start`` and ``end``, characters), ``types`` (every type with its score, ancestors included, best first) and their
    ``labels``. A call's arguments may also be given when the pipeline is made.

    Call arguments:
        head: ``target`` or ``source`` types (by default the target types where the model has them), ``both`` (the source types' four
            keys come under ``source``), or an object with an ``ontology`` that is called with the model and its output and returns
            each mention's types and scores.
        types: which types come back. ``"leaf"``: the most specific ones only; ``"path"``: ``entity_group`` with its ancestors;
            ``"all"``, as by default. One type's id, or a list of ids: only these and what is below them, with their ancestors; mentions of
            none of them are left out. A list of names that are not all types of the head, ``["astronomer", "space telescope"]``, or an
            :class:`Ontology`: types that the model need not have been trained on. Each mention gets the best one with its ancestors.
        type_threshold: least score of a type, in [0, 1], in place of the config's thresholds. Mentions without such a type are left
            out. With types by name it is that of a mention's best type, 0.5 by default, and 0 where mentions are given.
        top_k: so many types for each mention, with their ancestors, best first, whatever the config's thresholds; ``type_threshold``, where
            it is given too, may leave fewer.
        detection_threshold: least span probability, in [0, 1], in place of the config's.
        mentions: character spans to type in place of detection, ``[(start, end), …]``, in any order; for several texts a list of such
            lists. They come back in their order, each typed whole, with the best type where none is good enough.
        is_split_into_words: texts are lists of words, which are joined by spaces. ``start`` and ``end`` count in the joined text, and
            ``words`` tells the first, and one past the last, of your words that a mention touches.
        batch_size: most windows in one forward pass; 32 unless given here or at construction. On a processor long windows go in smaller
            batches, of at most 512 sub-tokens for each thread: that is faster.

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
        top_k: int | None = None,
        is_split_into_words: bool | None = None,
        **unknown: Any,
    ) -> tuple[dict, dict, dict]:
        if unknown:
            whole = "; mentions are whole by themselves" if AGGREGATING & unknown.keys() else ""
            raise TypeError(
                f"unknown arguments {sorted(unknown)}: a finener pipeline takes head, types, type_threshold, top_k, detection_threshold, "
                f"mentions, is_split_into_words and batch_size{whole}"
            )
        check_fraction("detection_threshold", detection_threshold)
        check_fraction("type_threshold", type_threshold)
        if top_k is not None:
            check_at_least_one("top_k", top_k)
        given = (
            {"mentions": mentions, "is_split_into_words": is_split_into_words},
            {"head": head, "types": types, "type_threshold": type_threshold, "top_k": top_k},
            {"detection_threshold": detection_threshold},
        )
        return tuple({name: value for name, value in part.items() if value is not None} for part in given)

    def __call__(self, inputs: str | Iterable, *, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Mentions of a text, or a list (for another iterable: an iterator) of the mentions of each text."""
        defaults = (self._preprocess_params, self._forward_params, self._postprocess_params)
        pairs = zip(defaults, self._sanitize_parameters(**kwargs), strict=True)
        asked, of_types, postprocess = ({**default, **given} for default, given in pairs)
        size = next(n for n in (batch_size, self._batch_size, 32) if n is not None)
        check_at_least_one("batch_size", size)
        mentions, in_words = asked.get("mentions"), bool(asked.get("is_split_into_words"))
        heads, shown = heads_of_call(self.types_by_name, **of_types, are_given=mentions is not None)
        answer = partial(self._answers, heads=heads, batch_size=size, shown=shown, **postprocess)
        if _is_one_text(inputs, in_words):
            return next(answer([_asked_text(inputs, mentions, in_words)]))
        is_list = isinstance(inputs, (list, tuple))
        groups = _read_ahead(iter(inputs), mentions, in_words, max(size, READ_AHEAD_TEXTS) if is_list else size)
        results = (result for group in groups for result in answer(group))
        return list(results) if is_list else Answers(results, inputs)

    def _answers(
        self, texts: Sequence[_AskedText], heads: Sequence[Any], batch_size: int, **postprocess: Any
    ) -> Iterator[list[dict[str, Any]]]:
        """Each text's mentions. Of what lies between text and mentions, memory holds some windows only."""
        windows = ((read, window) for read in map(self.preprocess, texts) for window in read.windows)
        most = BATCH_TOKENS * torch.get_num_threads() if self.device.type == "cpu" else maxsize
        for read, found in read_windows(windows, partial(self.forward, heads=heads), batch_size, most):
            yield list(self.postprocess(read, found, heads, **postprocess))

    def preprocess(self, asked: _AskedText) -> _ReadText:
        """A text → its windows, and in which of them each mention is typed that is given."""
        overlap = self.model.config.window_overlap
        if asked.mentions is None:
            return _ReadText(asked, self.text_encoder.read(asked.text, overlap), None)
        encoded = self.text_encoder.encode(asked.text)
        windows = self.text_encoder.windows(encoded, overlap)
        n_windows, given = len(windows), []
        spans: list[list[tuple[int, int]]] = [[] for _ in windows]
        for start, end in asked.mentions:
            first, stop = _words_of_mention(asked.text, encoded, start, end)
            at = max(range(n_windows), key=lambda i: windows[i].margin(first, stop))
            if windows[at].margin(first, stop) < 0:  # it crosses a border: a window of its own
                at = len(windows)
                windows.append(self.text_encoder.window_around(encoded, first, stop))
                spans.append([])
            spans[at].append((first - windows[at].first_word, stop - windows[at].first_word))
            given.append((start, end, at))
        windows = [replace(window, spans=tuple(own)) for window, own in zip(windows, spans, strict=True)]
        return _ReadText(asked, windows, given)

    def get_inference_context(self) -> type[torch.inference_mode]:
        """In which transformers runs :meth:`_forward`; its own, ``no_grad``, takes more time for each small operation."""
        return torch.inference_mode

    def _forward(self, windows: Sequence[Window], heads: Sequence[Any]) -> list[tuple[int, FoundMention]]:
        """Runs the model over a batch of windows: the mentions, each with the place of its window."""
        batch = self.text_encoder.pad(windows)
        if windows[0].spans is not None:
            batch["mention_spans"] = pad_sequence([torch.tensor(window.spans) for window in windows], True, -1)
        output = self.model(**self.ensure_tensor_on_device(**batch))
        kinds = zip(*(head(self.model, output) for head in heads), strict=True)
        rows = zip(output.mention_spans.tolist(), output.mention_scores.tolist(), kinds, strict=True)
        found = []
        for (at, first, stop), score, types in rows:
            words = windows[at].words
            found.append((at, FoundMention(words[first][0], words[stop - 1][1], score, types)))
        return found

    def postprocess(
        self,
        read: _ReadText,
        found: Iterable[tuple[Window, list[FoundMention]]],
        heads: Sequence[Any],
        shown: str,
        detection_threshold: float | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Joins what a text's windows found, and writes its mentions as plain dicts."""
        asked = read.asked
        if read.given is not None:
            rows = [iter(of_window) for _, of_window in found]
            typed = ((start, end, next(rows[at])) for start, end, at in read.given)
            mentions = (FoundMention(start, end, m.score, m.types) for start, end, m in typed)
        else:
            least = self.model.config.detection_threshold if detection_threshold is None else detection_threshold
            mentions = mentions_of_windows(found, least)
        for m in mentions:
            if m.types[0]:
                yield mention_as_dict(asked.text, m, heads, shown, asked.words_of(m.start, m.end))


def _is_one_text(inputs: Any, in_words: bool) -> bool:
    """Whether a call's input is a single text. Raises TypeError when it is neither that nor several."""
    if isinstance(inputs, str):
        if in_words:
            raise TypeError(
                f"is_split_into_words expects a list of words, or lists of words, got a text: {inputs!r:.80}"
            )
        return True
    if isinstance(inputs, Mapping):
        raise TypeError("expected a text or several texts, got a mapping: pass record['text']")
    if isinstance(inputs, bytes) or not (isinstance(inputs, Iterable) or hasattr(inputs, "__getitem__")):
        raise TypeError(f"expected a text or several texts, got {type(inputs).__name__}")
    return in_words and isinstance(inputs, (list, tuple)) and len(inputs) > 0 and isinstance(inputs[0], str)


def _asked_text(text: Any, mentions: Any, in_words: bool) -> _AskedText:
    """A text of a call. Raises TypeError where it is none."""
    if mentions is not None:
        _check_spans(mentions)
    if not in_words:
        if not isinstance(text, str):
            hint = ": pass its column of texts" if isinstance(text, Mapping) else ""
            if isinstance(text, (list, tuple)):
                hint = ": a text that is split into words needs is_split_into_words=True"
            raise TypeError(f"expected a text, got {type(text).__name__}{hint}: {text!r:.80}")
        return _AskedText(text, mentions, None)
    words = [text] if isinstance(text, str) else list(text)
    if isinstance(text, str) or not all(isinstance(word, str) for word in words):
        raise TypeError(f"is_split_into_words expects each text as a list of words, got {text!r:.80}")
    starts = list(accumulate((len(word) + 1 for word in words), initial=0))[:-1]
    return _AskedText(" ".join(words), mentions, starts)


def _check_spans(mentions: Any) -> None:
    """Raises TypeError where the mentions that are given with a text are no pairs of whole numbers."""
    are_spans = isinstance(mentions, Iterable) and not isinstance(mentions, (str, Mapping))
    for span in mentions if are_spans else [mentions]:
        if not isinstance(span, Sequence) or len(span) != 2 or not all(isinstance(at, Integral) for at in span):
            raise TypeError(
                "mentions must be spans, mentions=[(0, 13)], for several texts a list of such lists, mentions=[[(0, 13)], []]; "
                f"got {span!r:.80}"
            )


def _read_ahead(
    texts: Iterator[Any], mentions: Iterable | None, in_words: bool, size: int
) -> Iterator[list[_AskedText]]:
    """Texts with their given mentions (or None) in groups: the first of ``size``, each next one four times larger, up to the limits."""
    group, characters, missing = [], 0, object()
    pairs = zip(texts, repeat(None)) if mentions is None else zip_longest(texts, mentions, fillvalue=missing)
    for text, given in pairs:
        if text is missing or given is missing or (given is None and mentions is not None):
            raise ValueError("mentions must hold one list of spans for each text: there are not as many")
        group.append(_asked_text(text, given, in_words))
        characters += len(group[-1].text)
        if len(group) == size or characters >= READ_AHEAD_CHARACTERS:
            yield group
            group, characters, size = [], 0, max(size, min(4 * size, READ_AHEAD_TEXTS))
    if group:
        yield group


def _words_of_mention(text: str, encoded: EncodedText, start: int, end: int) -> tuple[int, int]:
    """First word and one past the last of those that a given mention touches."""
    if not 0 <= start < end <= len(text):
        raise ValueError(f"mention [{start}, {end}) is out of range: expected 0 <= start < end <= {len(text)}")
    first = bisect_right(encoded.words, start, key=lambda word: word[1])
    stop = bisect_left(encoded.words, end, key=lambda word: word[0])
    if first >= stop:
        raise ValueError(f"mention [{start}, {end}) = {text[start:end]!r} holds no word that the tokenizer knows")
    return first, stop

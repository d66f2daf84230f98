"""A finener model that onnxruntime runs: it needs onnxruntime, tokenizers and numpy, neither torch nor transformers.

``finener export --format onnx`` writes such a model into a folder, with this file and those that it imports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
from tokenizers import Tokenizer

from .json_finener import read_json
from .numpy_finener import Crf, TypeChooser, pool_mentions
from .ontology_finener import ONTOLOGY_NAME, Ontology
from .windows_finener import FoundMention, TextEncoder, Window, mentions_of_windows, read_windows, types_as_dict

SETTINGS_NAME = "onnx.json"
READER_NAME, TYPES_NAME, TOKENIZER_NAME = "reader.onnx", "types.onnx", "tokenizer.json"
SHOWN = ("all", "path", "leaf")


class OnnxPipeline:
    """Finds the mentions of texts and gives each its types, as ``FinenerPipeline`` does.

    Args:
        folder: what ``finener export --format onnx`` wrote.
        threads: of onnxruntime; None: as many as there are cores.
        providers: of onnxruntime, the first that can be used first.

    Raises:
        FileNotFoundError: when a file of the folder is not there.

    Example:
        >>> ner = OnnxPipeline("outputs/onnx")  # doctest: +SKIP
        >>> ner("Angela Merkel visited New York.")  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | Path,
        threads: int | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ):
        folder = Path(folder)
        for name in (SETTINGS_NAME, ONTOLOGY_NAME, READER_NAME, TYPES_NAME, TOKENIZER_NAME):
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder / name} is not there: expected what `finener export --format onnx` wrote"
                )
        self.settings = read_json(folder / SETTINGS_NAME)
        self.tokenizer = _FastTokenizer(folder / TOKENIZER_NAME, self.settings)
        window = SimpleNamespace(window_words=self.settings["window_words"], encoder_config=None)
        self.text_encoder = TextEncoder(self.tokenizer, window)
        self.crf = Crf(**self.settings["crf"])
        self.choosers = _choosers(read_json(folder / ONTOLOGY_NAME), self.settings)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self.reader, self.types = (
            onnxruntime.InferenceSession(str(folder / name), options, providers=list(providers))
            for name in (READER_NAME, TYPES_NAME)
        )

    def __call__(
        self,
        inputs: str | Sequence[str],
        *,
        head: str | None = None,
        types: str = "all",
        type_threshold: float | None = None,
        detection_threshold: float | None = None,
        batch_size: int = 32,
    ) -> list[Any]:
        """Mentions of a text, or a list of the mentions of each text.

        Args:
            inputs: a text, or a list of texts.
            head: ``target`` or ``source`` types; None: the target types where the model has them.
            types: which types come back: ``all``, the ``path`` of the best one, or each ``leaf``, the most specific ones.
            type_threshold: least score of a type, in [0, 1], in place of the model's thresholds; mentions without any are left out.
            detection_threshold: least probability of a mention, in [0, 1], in place of the model's.
            batch_size: most windows in one run.

        Returns:
            Of each text dicts as of ``FinenerPipeline``: ``entity_group``, ``label``, ``score``, ``word``, ``start`` and ``end`` (code
            points), ``types`` and ``labels``.

        Raises:
            TypeError: when an input is no text. ValueError: when an argument has no such value.
        """
        head = head or next(reversed(self.choosers))
        _check(head, tuple(self.choosers), types, type_threshold, detection_threshold, batch_size)
        if detection_threshold is None:
            detection_threshold = self.settings["detection_threshold"]
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(f"expected a text or a list of texts, got {type(text).__name__}: {text!r:.80}")
        ontology, results = self.choosers[head].ontology, [[] for _ in texts]
        overlap = self.settings["window_overlap"]
        windows = ((at, window) for at, text in enumerate(texts) for window in self.text_encoder.read(text, overlap))
        for at, found in read_windows(windows, partial(self._run, head=head, threshold=type_threshold), batch_size):
            mentions = mentions_of_windows(found, detection_threshold)
            results[at] = [_as_dict(texts[at], m, ontology, types) for m in mentions if m.types[0]]
        return results[0] if isinstance(inputs, str) else results

    def _run(self, windows: Sequence[Window], head: str, threshold: float | None) -> list[tuple[int, FoundMention]]:
        """Runs both graphs over a batch of windows: the mentions, each with the place of its window."""
        found = []
        for at, first, stop, score, types in self._mentions(windows, head, threshold):
            words = windows[at].words
            found.append((at, FoundMention(words[first][0], words[stop - 1][1], score, (types,))))
        return found

    def _mentions(
        self, windows: Sequence[Window], head: str, threshold: float | None
    ) -> list[tuple[int, int, int, float, dict[str, float]]]:
        """The mentions of a batch of windows: window, first word, one past the last, probability, and types with their scores."""
        batch = self.text_encoder.arrays(windows)
        emissions, states = self.reader.run(
            ["emissions", "states"], {given.name: batch[given.name] for given in self.reader.get_inputs()}
        )
        mask = batch["word_starts"] >= 0
        spans = self.crf.decode(emissions, mask)
        if not len(spans):
            return []
        scores = self.crf.span_probabilities(emissions, mask, spans)
        (logits,) = self.types.run([head], {"mentions": pool_mentions(states, spans)})
        chosen = (self.choosers[head].choose(row, threshold) for row in logits)
        if threshold is not None:
            chosen = ({t: score for t, score in types.items() if score >= threshold} for types in chosen)
        return [(*span, score, t) for span, score, t in zip(spans.tolist(), scores.tolist(), chosen, strict=True)]


class _FastTokenizer:
    """A ``tokenizer.json`` with as much of a fast tokenizer of transformers as :class:`TextEncoder` asks for."""

    is_fast = True

    def __init__(self, path: Path, settings: Mapping[str, Any]):
        self.tokenizer = Tokenizer.from_file(str(path))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.model_max_length, self.pad_token_id = settings["max_tokens"], settings["pad_token_id"]

    def __call__(self, text: str, add_special_tokens: bool = True, **_: Any) -> dict[str, list]:
        encoding = self.tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return {"input_ids": encoding.ids, "offset_mapping": encoding.offsets}


def _choosers(types: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, TypeChooser]:
    """What chooses types for each head of a model, ``source`` and, where it has them, ``target``."""
    choosers = {}
    for head, told in settings["heads"].items():
        credit = types["credit"] if told["is_expected"] else None
        choosers[head] = TypeChooser(Ontology.from_dict(types[head]), told["threshold"], told["one_type"], credit)
    return choosers


def _check(
    head: str,
    heads: Sequence[str],
    types: str,
    type_threshold: float | None,
    detection_threshold: float | None,
    batch_size: int,
) -> None:
    """Raises ValueError on an argument of a call that has no such value."""
    for name, value, choices in (("head", head, heads), ("types", types, SHOWN)):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")
    for name, value in (("type_threshold", type_threshold), ("detection_threshold", detection_threshold)):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_number and 0.0 <= value <= 1.0):
            raise ValueError(f"{name} must be a number in [0, 1], got {value!r}")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")


def _as_dict(text: str, mention: FoundMention, ontology: Ontology, shown: str) -> dict[str, Any]:
    """A mention as ``FinenerPipeline`` gives it."""
    (types,) = mention.types
    told = types_as_dict(types, ontology, shown)
    return {
        "entity_group": told["entity_group"],
        "label": told["label"],
        "score": mention.score,
        "word": text[mention.start : mention.end],
        "start": mention.start,
        "end": mention.end,
        "types": told["types"],
        "labels": told["labels"],
    }

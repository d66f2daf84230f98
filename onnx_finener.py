"""A finener model that onnxruntime runs: it needs onnxruntime, tokenizers and numpy, neither torch nor transformers.

``finener export --format onnx`` writes such a model into a folder, with this file and those that it imports.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from .answers_finener import (
    HeadTypes,
    check_at_least_one,
    check_fraction,
    heads_of_call,
    mention_as_dict,
    ontology_of_head,
)
from .json_finener import read_json
from .numpy_finener import Crf, TypeChooser, pool_mentions
from .ontology_finener import ONTOLOGY_NAME, Ontology
from .windows_finener import FoundMention, TextEncoder, Window, mentions_of_windows, read_windows

SETTINGS_NAME = "onnx.json"
READER_NAME, TYPES_NAME, TOKENIZER_NAME = "reader.onnx", "types.onnx", "tokenizer.json"


class OnnxPipeline:
    """Finds the mentions of texts and gives each its types, as ``FinenerPipeline`` does.

    Args:
        folder: what ``finener export --format onnx`` wrote.
        threads: of onnxruntime; None: as many as there are cores.
        providers: of onnxruntime, the first that can be used first.

    Raises:
        FileNotFoundError: when a file of the folder is not there. ValueError: when one is cut or damaged.

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
        with _reading(folder / SETTINGS_NAME):
            self.settings = read_json(folder / SETTINGS_NAME)
            window = SimpleNamespace(window_words=self.settings["window_words"], encoder_config=None)
            self.window_overlap = self.settings["window_overlap"]
            self.detection_threshold = self.settings["detection_threshold"]
            self.crf = Crf(**self.settings["crf"])
        with _reading(folder / TOKENIZER_NAME):
            self.tokenizer = _FastTokenizer(folder / TOKENIZER_NAME, self.settings)
        self.text_encoder = TextEncoder(self.tokenizer, window)
        with _reading(folder / ONTOLOGY_NAME):
            self.choosers = _choosers(read_json(folder / ONTOLOGY_NAME), self.settings)
        ontologies = {head: chooser.ontology for head, chooser in self.choosers.items()}
        self.config = SimpleNamespace(ontology=ontologies["source"], target_ontology=ontologies.get("target"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self.reader, self.types = (_graph(folder / name, options, providers) for name in (READER_NAME, TYPES_NAME))

    def __call__(
        self,
        inputs: str | Sequence[str],
        *,
        head: str | None = None,
        types: Any = None,
        type_threshold: float | None = None,
        top_k: int | None = None,
        detection_threshold: float | None = None,
        batch_size: int = 32,
        **others: Any,
    ) -> list[Any]:
        """Mentions of a text, or a list of the mentions of each text.

        Args:
            inputs: a text, or a list of texts.
            head: ``target`` or ``source`` types (by default the target types where the model has them), or ``both``.
            types: which types come back: ``all``, as by default, the ``path`` of the best one, or each ``leaf``, the most specific ones; or
                one type's id, or a list of ids: only these and what is below them.
            type_threshold: least score of a type, in [0, 1], in place of the model's thresholds; mentions without any are left out.
            top_k: so many types for each mention, with their ancestors, whatever the model's thresholds.
            detection_threshold: least probability of a mention, in [0, 1], in place of the model's.
            batch_size: most windows in one run.

        Returns:
            Of each text dicts as of ``FinenerPipeline``: ``entity_group``, ``label``, ``score``, ``word``, ``start`` and ``end`` (code
            points), ``types`` and ``labels``, and with both heads ``source``.

        Raises:
            TypeError: when an input is no text, or on another argument. ValueError: when an argument has no such value.
        """
        if others or callable(head):
            refused = ", ".join(sorted(others)) or "head of your own"
            raise TypeError(
                f"an exported model takes no {refused}: it takes head, types, type_threshold, top_k, detection_threshold and batch_size; "
                "given mentions, words and types by name need the whole model"
            )
        check_fraction("type_threshold", type_threshold)
        check_fraction("detection_threshold", detection_threshold)
        check_at_least_one("batch_size", batch_size)
        if top_k is not None:
            check_at_least_one("top_k", top_k)
        heads, shown = heads_of_call(_NoTypesByName(self), head, types, type_threshold, top_k)
        least = self.detection_threshold if detection_threshold is None else detection_threshold
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(f"expected a text or a list of texts, got {type(text).__name__}: {text!r:.80}")
        results: list[list[dict[str, Any]]] = [[] for _ in texts]
        windows = (
            (at, window)
            for at, text in enumerate(texts)
            for window in self.text_encoder.read(text, self.window_overlap)
        )
        for at, found in read_windows(windows, partial(self._run, heads=heads), batch_size):
            mentions = (m for m in mentions_of_windows(found, least) if m.types[0])
            results[at] = [mention_as_dict(texts[at], m, heads, shown, None) for m in mentions]
        return results[0] if isinstance(inputs, str) else results

    def _run(self, windows: Sequence[Window], heads: Sequence[HeadTypes]) -> list[tuple[int, FoundMention]]:
        """Runs both graphs over a batch of windows: the mentions, each with the place of its window."""
        batch = self.text_encoder.arrays(windows)
        emissions, states = self.reader.run(
            ["emissions", "states"], {given.name: batch[given.name] for given in self.reader.get_inputs()}
        )
        mask = batch["word_starts"] >= 0
        spans = self.crf.decode(emissions, mask)
        if not len(spans):
            return []
        scores = self.crf.span_probabilities(emissions, mask, spans)
        names = [head.name for head in heads]
        logits = self.types.run(names, {"mentions": pool_mentions(states, spans)})
        kinds = zip(*(head(self, dict(zip(names, logits, strict=True))) for head in heads), strict=True)
        found = []
        for (at, first, stop), score, types in zip(spans.tolist(), scores.tolist(), kinds, strict=True):
            words = windows[at].words
            found.append((at, FoundMention(words[first][0], words[stop - 1][1], score, types)))
        return found

    def select_types(
        self, logits: Mapping[str, np.ndarray], head: str, threshold: float | None = None
    ) -> list[dict[str, float]]:
        """The types of each mention of a head's logits (M, C), closed, from the roots down. ``threshold``: in place of the model's."""
        return [self.choosers[head].choose(row, threshold) for row in logits[head]]

    def best_types(
        self, logits: Mapping[str, np.ndarray], head: str, k: int, allowed: Collection[int] | None = None
    ) -> list[dict[str, float]]:
        """As :meth:`select_types`, ``k`` types whatever their threshold: see :meth:`TypeChooser.choose_best`."""
        return [self.choosers[head].choose_best(row, k, allowed) for row in logits[head]]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Names the file that is read in an error of any kind, such as those of onnxruntime and tokenizers."""
    try:
        yield
    except Exception as error:
        told = f"{type(error).__name__}: {error}".splitlines()[-1]
        raise ValueError(f"{path}: not as `finener export` wrote it ({told:.200}); export the model again") from error


def _graph(path: Path, options: onnxruntime.SessionOptions, providers: Sequence[str]) -> onnxruntime.InferenceSession:
    with _reading(path):
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))


class _NoTypesByName:
    """Stands where the pipeline has types by name, and tells that they are not here."""

    def __init__(self, model: OnnxPipeline):
        self.model = model

    def __call__(self, types: Any, threshold: float) -> Any:
        ontology = ontology_of_head(self.model.config)
        raise ValueError(
            f"types by name need the whole model: expected types of {ontology.name!r} such as types={ontology.ids[:1]!r}, got {types!r:.80}"
        )


class _FastTokenizer:
    """A ``tokenizer.json`` with as much of a fast tokenizer of transformers as :class:`TextEncoder` asks for."""

    is_fast = True

    def __init__(self, path: Path, settings: Mapping[str, Any]):
        self.backend_tokenizer = Tokenizer.from_file(str(path))
        self.model_max_length, self.pad_token_id = settings["max_tokens"], settings["pad_token_id"]


def _choosers(types: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, TypeChooser]:
    """What chooses types for each head of a model, ``source`` and, where it has them, ``target``."""
    choosers = {}
    for head, told in settings["heads"].items():
        credit = types["credit"] if told["is_expected"] else None
        choosers[head] = TypeChooser(Ontology.from_dict(types[head]), told["threshold"], told["one_type"], credit)
    return choosers

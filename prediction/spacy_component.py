"""The spaCy component: ``nlp.add_pipe("finener", config={"model": "outputs/quickstart"})``. spaCy finds it by its entry point.

Needs spaCy, an extra of this package.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

try:
    import srsly
    from spacy.language import Language
    from spacy.pipeline import Pipe
    from spacy.tokens import Doc, Span, SpanGroup
    from spacy.util import minibatch
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f'the component "finener" needs spaCy: pip install "finener[spacy]" ({error})', name=error.name
    ) from None

if TYPE_CHECKING:
    from finener.pipeline_finener import FinenerPipeline

# What a span tells: each type's score, best first; each type's label; the mention's probability.
EXTENSIONS: dict[str, Any] = {"types": {}, "labels": {}, "score": None}
for extension, default in EXTENSIONS.items():
    if not Span.has_extension(extension):
        Span.set_extension(extension, default=default)

# Arguments of a call that make no sense here.
ELSEWHERE = {"mentions": "it finds them", "is_split_into_words": "documents have their text"}


class FinenerComponent(Pipe):
    """Finds and types the mentions of spaCy's documents.

    Mentions are told in characters; each becomes the span of all tokens that it touches, which is longer where it ends inside a token.
    Mentions that touch the same tokens are joined: each type keeps its best score, the entity gets the stronger mention's type.

    - ``doc.spans[spans_key]`` has a span for each mention and type, best types first, as spaCy's ``spancat`` makes them;
      its ``attrs["scores"]`` are the types' scores.
    - ``doc.ents`` has a span for each mention, labelled by its most specific type. Where some overlap the stronger stays there. Entities
      of other components stay where no mention touches their tokens.
    - ``span._.types`` {id: score} and ``span._.labels`` {id: label}, best first, and ``span._.score``, the mention's probability, are
      there for both, and for any other span of the same tokens.

    Args:
        name: of the component in its pipeline.
        model: folder or Hub repo of a finener model, loaded with the first text.
        device: ``cpu``, ``cuda:0``, …; None: the first accelerator.
        arguments: of the calls, plain values: see :class:`FinenerPipeline`.
        spans_key: of the span group.
        set_ents: whether mentions go into ``doc.ents`` too.

    Raises:
        ValueError: without a model, or with arguments that a component has no use for.
        FileNotFoundError: with the first text, when the model is not there.
        TypeError: with the first text, on an unknown argument.
    """

    def __init__(
        self,
        name: str = "finener",
        *,
        model: str,
        device: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        spans_key: str = "finener",
        set_ents: bool = True,
    ):
        if not model:
            raise ValueError(
                f"the component {name!r} has no model; expected a folder or Hub repo of one: "
                'nlp.add_pipe("finener", config={"model": "outputs/quickstart"})'
            )
        for argument, instead in ELSEWHERE.items():
            if argument in (arguments or {}):
                raise ValueError(f"the component {name!r} takes no {argument}: {instead}")
        if (arguments or {}).get("head") == "both":
            raise ValueError(f"the component {name!r} gives one head's types: add one for each, with its own spans_key")
        self.name, self.model, self.device = name, model, device
        self.arguments = dict(arguments or {})
        self.spans_key, self.set_ents = spans_key, set_ents
        self._ner: FinenerPipeline | None = None
        self._process = os.getpid()

    @property
    def ner(self) -> FinenerPipeline:
        """The pipeline. It is loaded when it is first asked for: a saved spaCy pipeline names a model that need not be there any more."""
        if self._process != os.getpid():  # one of several processes of ``nlp.pipe``
            import torch

            torch.set_num_threads(1)  # a fork lacks the threads that its parent had, and would wait for them for ever
            self._process = os.getpid()
        if self._ner is None:
            self._ner = self._load(self.model)
        return self._ner

    def _load(self, model: str) -> FinenerPipeline:
        from finener.prediction.records import (
            load_pipeline,
        )  # spaCy imports this module also to list the components there are

        return load_pipeline(model, self.device)

    def __call__(self, doc: Doc) -> Doc:
        """Annotates a document."""
        return self.annotate(doc, self.ner(doc.text, **self.arguments))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Annotates documents in order.

        Args:
            stream: the documents. batch_size: how many the model reads together, at least 1.

        Yields:
            The documents. Those of a batch that fails go to the pipeline's error handler, which raises the error by default.
        """
        for docs in minibatch(stream, batch_size):
            try:
                found = self.ner([doc.text for doc in docs], **self.arguments)
            except Exception as error:
                self.get_error_handler()(self.name, self, docs, error)
            else:
                yield from map(self.annotate, docs, found)

    def annotate(self, doc: Doc, mentions: Sequence[Mapping[str, Any]]) -> Doc:
        """Writes a document's mentions, as the pipeline gives them, on its tokens."""
        strongest: dict[tuple[int, int], Span] = {}
        own: dict[tuple[int, int], dict[str, float]] = {}  # types; a span may have others, of another component
        for mention in sorted(mentions, key=lambda m: -m["score"]):
            span = doc.char_span(mention["start"], mention["end"], mention["entity_group"], alignment_mode="expand")
            tokens = (span.start, span.end)
            strongest.setdefault(tokens, span)
            own[tokens] = _best_of_both(own.get(tokens, {}), mention["types"])
            span._.types = _best_of_both(span._.types, mention["types"])
            span._.labels = {**span._.labels, **mention["labels"]}
            span._.score = max(mention["score"], span._.score or 0.0)
        spans = list(strongest.values())
        doc.spans[self.spans_key] = self._group(doc, own)
        if self.set_ents:
            doc.ents = _without_overlaps([*spans, *doc.ents])
        return doc

    def _group(self, doc: Doc, own: Mapping[tuple[int, int], Mapping[str, float]]) -> SpanGroup:
        typed = [
            (Span(doc, *at, t), score)
            for at, types in sorted(own.items(), key=itemgetter(0))
            for t, score in types.items()
        ]
        scores = np.array([score for _, score in typed], dtype=np.float32)
        return SpanGroup(doc, name=self.spans_key, attrs={"scores": scores}, spans=[span for span, _ in typed])

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Saves the whole model: weights, types, tokenizer and code. ``spacy.load`` then needs the original no more."""
        self.ner.model.save_pretrained(path)
        self.ner.tokenizer.save_pretrained(path)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> FinenerComponent:
        """Takes the model that :meth:`to_disk` saved in place of the one that was named. Raises FileNotFoundError when it is not there."""
        self._ner = self._load(str(Path(path).absolute()))
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """The files of :meth:`to_disk`, as large as the model."""
        with TemporaryDirectory() as folder:
            self.to_disk(folder)
            return srsly.msgpack_dumps({file.name: file.read_bytes() for file in Path(folder).iterdir()})

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> FinenerComponent:
        """Inverse of :meth:`to_bytes`."""
        with TemporaryDirectory() as folder:
            for name, content in srsly.msgpack_loads(data).items():
                (Path(folder) / Path(name).name).write_bytes(content)
            return self.from_disk(folder)


def _best_of_both(left: Mapping[str, float], right: Mapping[str, float]) -> dict[str, float]:
    """Each type with the better of its scores, best first; of equal ones those of ``right`` come in their order."""
    best = {t: max(left.get(t, 0.0), right.get(t, 0.0)) for t in (*right, *left)}
    return dict(sorted(best.items(), key=lambda item: -item[1]))


def _without_overlaps(spans: Iterable[Span]) -> list[Span]:
    """The spans none of whose tokens is one of a span before."""
    kept: list[Span] = []
    taken: set[int] = set()
    for span in spans:
        tokens = range(span.start, span.end)
        if taken.isdisjoint(tokens):
            taken.update(tokens)
            kept.append(span)
    return kept


DEFAULTS = {"model": "", "device": None, "arguments": {}, "spans_key": "finener", "set_ents": True}
ASSIGNS = ["doc.ents", "doc.spans", *(f"span._.{extension}" for extension in EXTENSIONS)]


@Language.factory("finener", default_config=DEFAULTS, assigns=ASSIGNS)
def make_finener(
    nlp: Language, name: str, model: str, device: str | None, arguments: dict[str, Any], spans_key: str, set_ents: bool
) -> FinenerComponent:
    """What ``nlp.add_pipe("finener", config={…})`` makes: see :class:`FinenerComponent`."""
    return FinenerComponent(
        name, model=model, device=device, arguments=arguments, spans_key=spans_key, set_ents=set_ents
    )

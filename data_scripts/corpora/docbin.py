"""spaCy's training files (``DocBin``, ``.spacy``). Needs spaCy, an extra of this package."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from finener.data_scripts.corpus import CorpusBuilder, CorpusConfig, CorpusError, ReadReport, make_record, option
from finener.data_scripts.raw_files import one_line, unpack
from finener.data_scripts.schema import Record

# What is read of a DocBin; its user data, which are bytes that spaCy unpacks again, are not.
_KEYS = ("version", "attrs", "tokens", "spaces", "lengths", "strings", "cats", "flags", "span_groups")

if TYPE_CHECKING:
    from spacy.tokens import Doc


def read_docbin(
    path: str | os.PathLike, *, ontology: str = "", source: str = "docbin", report: ReadReport | None = None
) -> Iterator[Record]:
    """Reads a ``DocBin``, one record a sentence, or a document where its sentences are not marked.

    A record is exhaustive when each of its tokens is marked as inside or outside of an entity: spaCy also knows tokens of which
    nobody has said either.

    Args:
        path: a ``.spacy`` file.
        ontology: name of the type system; "" leaves the types out, and the records untyped.
        source: name of the corpus, in every record.
        report: told what was left out.

    Yields:
        Records; ``doc_id`` is ``STEM/n``, ``id`` is ``STEM/n#m``.

    Raises:
        CorpusError: when spaCy is not installed, or the file is not a ``DocBin``.
    """
    path = Path(path)
    report = report if report is not None else ReadReport()
    for number, doc in enumerate(_docs(path)):
        try:
            records = list(_records(doc, f"{path.stem}/{number}", source, ontology, report))
        except Exception as error:  # spaCy looks into some of what it was given only now, and has no one error for it
            raise CorpusError(f"{path}: document {number}: spaCy can't read it ({_told(error)})") from None
        yield from records


def _records(doc: Doc, doc_id: str, source: str, ontology: str, report: ReadReport) -> Iterator[Record]:
    inside = 0
    for name, group in doc.spans.items():
        report.dropped[f"mention: in the span group {name!r}, not in doc.ents"] += len(group)
    sentences = doc.sents if doc.has_annotation("SENT_START") else [doc[:]]
    for i, sentence in enumerate(sentences):
        inside += len(sentence.ents)
        first, last = _trim(doc.text, sentence.start_char, sentence.end_char)
        if first >= last:
            report.dropped["sentence: white space only"] += 1
            continue
        marked = [token.ent_iob != 0 for token in sentence if not token.text.isspace()]
        if not any(marked):
            report.dropped["sentence: nobody said where its entities are"] += 1
            continue
        spans = []
        for entity in sentence.ents:
            start, end = _trim(doc.text, entity.start_char, entity.end_char)
            if start < end:
                spans.append((start - first, end - first, [entity.label_] if entity.label_ else []))
            else:
                report.dropped["mention: white space only"] += 1
        text = doc.text[first:last]
        yield make_record(f"{doc_id}#{i}", doc_id, source, text, spans, ontology, exhaustive=all(marked))
    if crossing := len(doc.ents) - inside:
        report.dropped["mention: goes over the end of a sentence"] += crossing


def _docs(path: Path) -> Iterator[Doc]:
    try:
        import srsly
        from spacy.tokens import DocBin
        from spacy.vocab import Vocab
    except ImportError:
        raise CorpusError(
            f'{path}: only spaCy reads this; expected it to be installed: pip install "finener[spacy]"'
        ) from None
    content = unpack(path.read_bytes(), f"{path}: expected a DocBin, as spaCy 3 writes it", CorpusError)
    try:
        # Plain values first, without the hooks of installed packages that make other things of them; then what spaCy itself writes.
        told = srsly.msgpack.unpackb(content, raw=False, object_pairs_hook=dict)
        kept = {key: told[key] for key in _KEYS if key in told}
        yield from DocBin().from_bytes(zlib.compress(srsly.msgpack_dumps(kept), 0)).get_docs(Vocab())
    except Exception as error:  # it has no one error for what is no DocBin
        raise CorpusError(
            f"{path}: expected a DocBin, as spaCy 3 writes it, found something else ({_told(error)})"
        ) from None


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """The stretch without outer white space; of a blank one, the end is not behind the start."""
    stretch = text[start:end]
    return start + len(stretch) - len(stretch.lstrip()), start + len(stretch.rstrip())


# ---------------------------------------------------------------- the builder


@dataclass
class SpacyDocBinConfig(CorpusConfig):
    """Options of :func:`read_docbin`."""

    source: str = option("docbin", "name of the corpus, kept in each record")


class SpacyDocBin(CorpusBuilder):
    """spaCy's ``.spacy`` files as a dataset of records.

    Example:
        >>> builder = SpacyDocBin(data_files={"train": "train.spacy", "dev": "dev.spacy"}, ontology="my_types.tsv")
        >>> builder.download_and_prepare()
    """

    BUILDER_CONFIG_CLASS = SpacyDocBinConfig
    PATTERNS = ("*.spacy",)
    config: SpacyDocBinConfig

    def read(self, files: list[Path], ontology: str, report: ReadReport) -> Iterator[Record]:
        """Reads the files one after the other."""
        for file in files:
            yield from read_docbin(file, ontology=ontology, source=self.config.source, report=report)

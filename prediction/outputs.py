"""What batch prediction writes: records as JSON Lines or Parquet, and the forms of others: TAC's table, CoNLL, brat, spaCy's DocBin."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from finener.ontology_finener import Ontology
from finener.windows_finener import types_as_dict
from finener.words_finener import split_words

Records = Iterable[Mapping[str, Any]]

RECORD_KEYS = ("id", "doc_id", "source", "text", "mentions", "exhaustive", "typed", "ontology")


def best_type(mention: Mapping[str, Any], ontology: Ontology) -> str:
    """The most specific type of a predicted mention, as the pipeline's ``entity_group``: of several the one that scores highest."""
    return types_as_dict(dict(zip(mention["types"], mention["type_scores"], strict=True)), ontology, "leaf")[
        "entity_group"
    ]


def write_jsonl(records: Records, path: Path, ontology: Ontology) -> None:
    """A record a line, with all that the input brought."""
    with path.open("w", encoding="utf-8") as out:
        for record in records:
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_parquet(records: Records, path: Path, ontology: Ontology) -> None:
    """The columns of a record, see docs/architecture.md; other keys of the input are not there."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    text, number = pyarrow.string(), pyarrow.float64()
    mention = {"start": pyarrow.int64(), "end": pyarrow.int64(), "types": pyarrow.list_(text), "score": number}
    mentions = pyarrow.list_(pyarrow.struct({**mention, "type_scores": pyarrow.list_(number)}))
    kinds = {"mentions": mentions, "exhaustive": pyarrow.bool_(), "typed": pyarrow.bool_()}
    schema = pyarrow.schema([(key, kinds.get(key, text)) for key in RECORD_KEYS])
    with ParquetWriter(path, schema) as out:
        rest = iter(records)
        while batch := list(islice(rest, 1000)):
            told = [{k: v for k, v in r.items() if v is not None} for r in batch]
            rows = [{"doc_id": r["id"], "source": "", **r} for r in told]
            rows = [{k: r[k] if k in kinds else str(r[k]) for k in RECORD_KEYS} for r in rows]
            out.write_table(pyarrow.Table.from_pylist(rows, schema))


def write_tab(records: Records, path: Path, ontology: Ontology) -> None:
    """TAC's eight columns, one line a mention: the record's id with inclusive ends, no link (NIL), all types joined by ``;``."""
    with path.open("w", encoding="utf-8", newline="\n") as out:
        n = 0
        for record in records:
            for mention in record["mentions"]:
                n += 1
                start, end = mention["start"], mention["end"]
                surface, document = (re.sub(r"\s", " ", s) for s in (record["text"][start:end], str(record["id"])))
                where, types = f"{document}:{start}-{end - 1}", ";".join(mention["types"])
                cells = [
                    "finener",
                    f"finener_{n}",
                    surface,
                    where,
                    f"NIL{n:05d}",
                    types,
                    "NAM",
                    f"{mention['score']:.6f}",
                ]
                out.write("\t".join(cells) + "\n")


def write_conll(records: Records, path: Path, ontology: Ontology) -> None:
    """A word and its tag a line, a blank line after each record: B and I with the most specific type, O."""
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for record in records:
            for word, tag in _tagged_words(record, ontology):
                out.write(f"{word}\t{tag}\n")
            out.write("\n")


def _tagged_words(record: Mapping[str, Any], ontology: Ontology) -> Iterator[tuple[str, str]]:
    mentions = iter(record["mentions"])
    mention = next(mentions, None)
    for start, end in split_words(record["text"]):
        while mention is not None and mention["end"] <= start:
            mention = next(mentions, None)
        tag = "O"
        if mention is not None and end > mention["start"]:
            tag = f"{'B' if start <= mention['start'] else 'I'}-{best_type(mention, ontology)}"
        yield record["text"][start:end], tag


def write_brat(records: Records, path: Path, ontology: Ontology) -> None:
    """A folder with a text and its annotation for each record; notes tell all types with their scores.

    Files are named by the records' ids, with ``_`` for what a name can't have, and a number where that is too long or there already.
    """
    path.mkdir()
    labels: set[str] = set()
    for number, record in enumerate(records, 1):
        name = re.sub(r"[^\w.-]|^\.", "_", str(record["id"]))
        if len(name) > 60 or (path / f"{name}.txt").exists():
            name = f"{name[:60]}-{number}"
        (path / f"{name}.txt").write_text(record["text"], encoding="utf-8", newline="")
        lines = []
        for n, mention in enumerate(record["mentions"], 1):
            label = _brat_label(best_type(mention, ontology))
            labels.add(label)
            scores = " ".join(f"{t}={s:.3f}" for t, s in zip(mention["types"], mention["type_scores"], strict=True))
            pieces = [m.span() for m in re.finditer(r"[^\r\n]+", record["text"][mention["start"] : mention["end"]])]
            places = ";".join(f"{mention['start'] + a} {mention['start'] + b}" for a, b in pieces)
            surface = " ".join(record["text"][mention["start"] + a : mention["start"] + b] for a, b in pieces)
            lines += [f"T{n}\t{label} {places}\t{surface}\n", f"#{n}\tAnnotatorNotes T{n}\t{scores}\n"]
        (path / f"{name}.ann").write_text("".join(lines), encoding="utf-8", newline="")
    sections = ["[entities]", *sorted(labels), "[relations]", "[events]", "[attributes]"]
    (path / "annotation.conf").write_text("\n".join(sections) + "\n", encoding="utf-8")


def _brat_label(type_id: str) -> str:
    return re.sub(r"\s", "_", type_id)


def write_docbin(records: Records, path: Path, ontology: Ontology) -> None:
    """spaCy's ``DocBin``: words as tokens, ``doc.ents`` with the most specific types. All of it is held in memory.

    Of mentions in one token the first stays.
    """
    from spacy.tokens import Doc, DocBin
    from spacy.util import filter_spans
    from spacy.vocab import Vocab

    vocab, docs = Vocab(), DocBin(store_user_data=False)
    for record in records:
        words, spaces = _tokens_and_spaces(record["text"])
        doc = Doc(vocab, words=words, spaces=spaces)
        spans = [
            doc.char_span(m["start"], m["end"], best_type(m, ontology), alignment_mode="expand")
            for m in record["mentions"]
        ]
        doc.set_ents(filter_spans(spans))
        docs.add(doc)
    docs.to_disk(path)


def _tokens_and_spaces(text: str) -> tuple[list[str], list[bool]]:
    """Words, and what stands between them but single blanks, as tokens that join to the text."""
    tokens: list[str] = []
    spaces: list[bool] = []
    at = 0
    for start, end in [*split_words(text), (len(text), len(text))]:
        gap = text[at:start]
        if gap.startswith(" ") and tokens:
            spaces[-1], gap = True, gap[1:]
        for piece in (gap, text[start:end]):
            if piece:
                tokens.append(piece)
                spaces.append(False)
        at = end
    return tokens, spaces


WRITERS: dict[str, Callable[[Records, Path, Ontology], None]] = {
    "jsonl": write_jsonl,
    "parquet": write_parquet,
    "tab": write_tab,
    "conll": write_conll,
    "brat": write_brat,
    "spacy": write_docbin,
}


def form_of(path: Path, form: str | None = None) -> str:
    """The form to write: the one that is asked for, or the one that the name's ending tells; a folder is brat's.

    Raises:
        ValueError: when the ending tells none, or spaCy would have to write it and is not installed.
    """
    told = form or (path.suffix[1:] if path.suffix else "brat")
    if told not in WRITERS:
        endings = ", ".join(f".{name}" for name in WRITERS if name != "brat")
        raise ValueError(f"{path}: expected a name that ends in {endings}, a folder's name for brat, or --format")
    if told == "spacy" and find_spec("spacy") is None:
        raise ValueError(f'{path}: only spaCy writes this; expected it to be installed: pip install "finener[spacy]"')
    return told


def write_whole(form: str, records: Records, path: Path, ontology: Ontology) -> None:
    """Writes records in a form, all or nothing, in place of a file that is there.

    Raises:
        FileExistsError: when a folder is there: it is not taken away.
    """
    if path.is_dir():
        raise FileExistsError(f"{path}: there is such a folder already; choose another name")
    partial = path.with_name(f"{path.name}.partial")
    if partial.is_dir():
        shutil.rmtree(partial)
    WRITERS[form](records, partial, ontology)
    partial.replace(path)

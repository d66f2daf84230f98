"""Records that train: read and checked, cut into windows, mixed into epochs, hashed."""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finener.data_scripts.record_files import read_records, record_files
from finener.ontology_finener import Ontology, OntologyError
from finener.pipeline_finener import TextEncoder
from finener.training.arguments import ArgumentError

Record = Mapping[str, Any]


def cut_record(record: Record, encoder: TextEncoder) -> list[dict[str, Any]]:
    """A record as one or more records that each fit a window, every word and every mention in exactly one of them.

    Raises:
        ValueError: on a mention that is longer than a window.
    """
    text, encoded = record["text"], encoder.encode(record["text"])
    if encoder.fits(encoded):
        return [dict(record)]
    starts = [start for start, _ in encoded.words]
    edges = [0, *starts[1:], len(text)]  # the part that begins with word i begins at edges[i]
    inside = {
        i for m in record["mentions"] for i in range(bisect_right(starts, m["start"]), bisect_left(starts, m["end"]))
    }
    parts, first = [], 0
    while first < len(encoded.words):
        longest = stop = encoder.end_of_window(encoded, first)
        # By itself a part may have more sub-tokens than within its text (byte-level BPE and Unigram).
        while stop > first and (stop in inside or not encoder.fits(encoder.encode(text[edges[first] : edges[stop]]))):
            stop -= 1
        if stop == first:
            raise ValueError(
                f"record {record['id']!r} has a mention of more than {longest - first} words at {starts[first]}; "
                "a mention must fit one window: raise window_words"
            )
        begin, end = edges[first], edges[stop]
        mentions = [
            {**m, "start": m["start"] - begin, "end": m["end"] - begin}
            for m in record["mentions"]
            if begin <= m["start"] < end
        ]
        parts.append({**record, "id": f"{record['id']}#{len(parts)}", "text": text[begin:end], "mentions": mentions})
        first = stop
    return parts


def teaches(record: Record) -> bool:
    """Whether a record trains anything: without a mention it does where it is exhaustive."""
    return bool(record["mentions"]) or record["exhaustive"]


def detection_beside(n_typing: int, detection_share: float) -> int:
    """How many detection records make up their share beside typing records. Raises ValueError on a share outside [0, 1)."""
    if not 0.0 <= detection_share < 1.0:
        raise ValueError(f"detection_share must lie in [0, 1), got {detection_share}")
    return round(n_typing * detection_share / (1 - detection_share))


def mix_records(
    detection: Sequence[Record], typing: Sequence[Record], detection_share: float, seed: int
) -> list[Record]:
    """One epoch of both tasks: every typing record once, detection records repeated (or sampled) to make up their share.

    Args:
        detection_share: part of the epoch's records that train detection, in [0, 1); ignored where one list is empty.
        seed: of the sample.
    """
    wanted = detection_beside(len(typing), detection_share)
    if not typing or not detection:
        return [*detection, *typing]
    rng = random.Random(seed)
    whole, rest = divmod(wanted, len(detection))
    return [*typing, *(list(detection) * whole), *rng.sample(list(detection), rest)]


def files_hash(files: Iterable[Path]) -> str:
    """Hash of files' bytes, in their order, for ``results/`` where the records do not fit into memory; not that of :func:`data_hash`."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def data_hash(records: Iterable[Record]) -> str:
    """Hash of texts and annotation, for ``results/``: equal for equal data, whatever file it came from."""
    digest = hashlib.sha256()
    for record in records:
        mentions = [(m["start"], m["end"], sorted(m["types"])) for m in record["mentions"]]
        digest.update(repr((record["text"], mentions, record["exhaustive"], record["typed"])).encode())
    return digest.hexdigest()[:16]


def read_split(paths: list[str], split: str, ontologies: Mapping[str, Ontology]) -> list[dict]:
    """The records of one split of some files and folders, checked. Raises ArgumentError when files are named but hold none."""
    records = list(read_records(record_files(paths, split)))
    for record in records:
        check_types(record, ontologies)
    if paths and not records:
        raise ArgumentError(f"expected {split} records, found none in {', '.join(paths)}")
    return records


def read_ontology(path: str | None, key: str) -> Ontology:
    """An ontology from a JSON or TSV file. Raises ArgumentError when none is named."""
    if not path:
        raise ArgumentError(
            f"{key} is not set: name the JSON or TSV file of the types, e.g. {key}: ontologies/yago.json"
        )
    return Ontology.from_tsv(path) if path.endswith(".tsv") else Ontology.from_json(path)


def hold_out_documents(records: list[dict], share: float, seed: int) -> tuple[list[dict], list[dict]]:
    """Splits records by document: the rest, and about ``share`` of the documents (those that have a mention)."""
    documents = sorted({r["doc_id"] for r in records if r["mentions"]})
    held = set(random.Random(seed).sample(documents, round(share * len(documents))))
    return [r for r in records if r["doc_id"] not in held], [
        r for r in records if r["doc_id"] in held and r["mentions"]
    ]


def typed_with(records: Iterable[dict], ontology: Ontology) -> list[dict]:
    """The records that carry types of an ontology."""
    return [r for r in records if r["typed"] and r["ontology"] == ontology.name]


def scorable(records: Iterable[dict], ontology: Ontology) -> list[dict]:
    """The records that can be scored end to end: exhaustive, and typed with an ontology."""
    return [r for r in typed_with(records, ontology) if r["exhaustive"]]


def check_types(record: Mapping[str, Any], ontologies: Mapping[str, Ontology]) -> None:
    """Raises ArgumentError when a record's ontology is not one of these, or one of its types can't be assigned."""
    if not record["typed"]:
        return
    if record["ontology"] not in ontologies:
        raise ArgumentError(
            f"record {record['id']!r} is typed with {record['ontology']!r}; this run knows {', '.join(ontologies)}"
        )
    for mention in record["mentions"]:
        for type_id in mention["types"]:
            _check_type(ontologies[record["ontology"]], type_id, record["id"])


def _check_type(ontology: Ontology, type_id: str, record_id: str) -> None:
    try:
        assignable = ontology.assignable[ontology.index(type_id)]
    except OntologyError as error:
        raise ArgumentError(f"record {record_id!r}: {error}") from None
    if not assignable:
        raise ArgumentError(
            f"record {record_id!r} has the type {type_id!r}, which only fills a gap in the hierarchy of {ontology.name!r}; "
            "give it a type above or below"
        )

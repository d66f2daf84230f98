"""Records that train: read and checked, cut into windows, mixed into epochs, hashed."""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finener.data_scripts.record_files import read_records, record_files
from finener.data_scripts.schema import validate_record
from finener.modeling_finener import FinenerForTokenClassification
from finener.ontology_finener import Ontology, OntologyError
from finener.training.arguments import ArgumentError
from finener.windows_finener import TextEncoder

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


class Windows(list[dict[str, Any]]):
    """Valid records that each fit a window: see :func:`cut_records`."""


def cut_records(
    records: Iterable[Record], encoder: TextEncoder, ontologies: Mapping[str, Ontology], teaching_only: bool = False
) -> Windows:
    """Records of any length, checked, as records that each fit a window.

    Args:
        records: in the form of :mod:`finener.data_scripts.schema`; keys that have defaults may be missing.
        encoder: of the model that they are for.
        ontologies: by name; records that carry types of others are left as they are, for they may train detection.
        teaching_only: leave out records that have neither mentions nor are exhaustive.

    Raises:
        RecordError: on a record that is not valid.
        ArgumentError: on a type that one of the ontologies does not have, or that can't be assigned.
    """
    if isinstance(records, (str, Path, Mapping)):
        raise ArgumentError(f"expected a list or data set of records, such as list(read_records({str(records)!r:.40}))")
    windows = Windows()
    for number, record in enumerate(records):
        checked = validate_record(record, where=f"record number {number}")
        check_own_types(checked, ontologies)
        if not teaching_only or teaches(checked):
            windows += cut_record(checked, encoder)
    return windows


NAMES_OF_ONTOLOGIES = (
    "a .json says its name, a .tsv has its file's (my_types.tsv: 'my_types') or that of a first line '# name: mine'"
)


def what_is_foreign(records: Iterable[Record], ontologies: Mapping[str, Ontology]) -> str:
    """How many records carry types of ontologies that are not these, in words; empty where there are none."""
    foreign = Counter(r["ontology"] for r in records if r["typed"] and r["ontology"] not in ontologies)
    own = " and ".join(map(repr, ontologies))
    return "\n".join(
        f"{n} records carry types of {name!r}, which this model does not have (it has those of {own}): they count for detection alone. "
        f"If they are the same types, give them the same name: {NAMES_OF_ONTOLOGIES}"
        for name, n in foreign.items()
    )


@dataclass(frozen=True)
class Unpredictable:
    """What of some records the model can never find or see.

    Args:
        mentions: gold mentions whose boundary falls inside a word.
        of: all gold mentions.
        records: that have such a mention.
        dropped_words: that the tokenizer removes (zero-width or control characters).
        examples: a few such mentions, in words.
    """

    mentions: int
    of: int
    records: int
    dropped_words: int
    examples: tuple[str, ...]

    def to_dict(self) -> dict[str, int]:
        """The numbers that a results file keeps."""
        return {"mentions": self.mentions, "of": self.of, "records": self.records}

    def __str__(self) -> str:
        lines = []
        if self.dropped_words:
            lines.append(f"the tokenizer removes {self.dropped_words} words (zero-width or control characters)")
        if self.mentions:
            lines.append(
                f"{self.mentions} of {self.of} gold mentions begin or end inside a word and can't be predicted, such as:"
            )
            lines += [f"  {example}" for example in self.examples]
        return "\n".join(lines)


def count_unpredictable(records: Iterable[Record], encoder: TextEncoder) -> Unpredictable:
    """What the model can never find of some records, of which the same one, with id and text, counts once."""
    mentions, lost, n_records, dropped, examples = 0, 0, 0, 0, []
    for record in {(record["id"], record["text"]): record for record in records}.values():
        encoded = encoder.encode(record["text"])
        places = encoded.word_spans(record["mentions"])
        inside = [m for place, m in zip(places, record["mentions"], strict=True) if place is None]
        mentions, lost, n_records = mentions + len(places), lost + len(inside), n_records + bool(inside)
        dropped += encoded.dropped_words
        for mention in inside[: 5 - len(examples)]:
            around = slice(max(0, mention["start"] - 10), mention["end"] + 10)
            surface = record["text"][mention["start"] : mention["end"]]
            examples.append(f"{record['id']}: {surface!r} in …{record['text'][around]!r}…")
    return Unpredictable(lost, mentions, n_records, dropped, tuple(examples))


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
    check_own_types(record, ontologies)


def check_own_types(record: Record, ontologies: Mapping[str, Ontology]) -> None:
    """Raises ArgumentError when a record of one of these ontologies has a type that is not in it or can't be assigned."""
    if record["typed"] and record["ontology"] in ontologies:
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


def check_learnable(
    records: Sequence[Record], model: FinenerForTokenClassification, weights: Mapping[str, float]
) -> None:
    """Raises ArgumentError when no training record has anything that is trained, or none that the target types could learn from.

    Args:
        records: that train.
        model: with what is frozen already frozen.
        weights: of the loss parts.
    """
    trained = [(model.config.ontology, weights["typing"]), (model.config.target_ontology, weights["conversion"])]
    typed = [r for r in records if r["typed"] and any(m["types"] for m in r["mentions"])]
    trains_types = any(typed_with(typed, ontology) for ontology, weight in trained if ontology is not None and weight)
    trains_detection = weights["detection"] > 0 and any(r["exhaustive"] for r in records)
    if trains_types or (trains_detection and not (typed and (weights["typing"] or weights["conversion"]))):
        return
    wanted = " or ".join(repr(ontology.name) for ontology, weight in trained if ontology is not None and weight)
    named = ", ".join(sorted({repr(r["ontology"]) for r in typed})) or "nothing"
    why = "no record is exhaustive" if weights["detection"] else "detection is not trained"
    raise ArgumentError(
        f"there is nothing to learn from {len(records)} training records: no mention has types of {wanted or 'a trained ontology'} (they "
        f"are typed with {named}){'' if trains_detection else f', and {why}'}. Give the model their types by model.add_conversion(…), or "
        f"set typing_weight: 0 to train detection alone; if they are the same types, give them the same name: {NAMES_OF_ONTOLOGIES}"
    )

"""Reads built records for ``check``: once for everything a record or a mention shows by itself, and once more for what only shows beside
the others. What is kept of each record and mention is a few hashes of 8 bytes.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sentencex
from tqdm.auto import tqdm
from transformers import AutoTokenizer

from finener.configuration_finener import FinenerConfig
from finener.data_scripts.check.findings import MAX_EXAMPLES, Findings, place_of
from finener.data_scripts.check.type_checks import TypeCheck
from finener.data_scripts.record_files import read_rows
from finener.data_scripts.schema import Record, RecordError
from finener.ontology_finener import Ontology
from finener.windows_finener import EncodedText, TextEncoder
from finener.words_finener import split_words

LEAST_WORDS = 5  # of a text that is compared with others: "Thank you ." may well come twice
LEAST_MARKED = 3  # a name counts as one for `unmarked_name` when it is marked so often …
MARKED_SHARE = 0.75  # … and in this share of its places
LONG_MENTION = 12  # words between blanks

Pair = tuple[str, int, int]  # kind; numbers of a record and of an earlier one that it is compared with

_WORD = re.compile(r"\w+")
_OUTER_MARK = re.compile(r"^(?:[,;:!?)\]}/\\–—-]|\.(?!\w))|(?:[,;:(\[{/\\–—-]|[^\W\d_]{6,}\s?\.)$")
_ARTICLE = re.compile(r"(?:the|an?)\s")
_MAY_END_SENTENCE = re.compile(r"[.!?]\W*\s")
_SENTENCE_START = re.compile(r"(?:^|[.!?:])\W*$")


@dataclass
class SplitStats:
    """Counts of a split."""

    records: int = 0
    words: int = 0
    mentions: int = 0
    exhaustive: int = 0
    typed: int = 0
    typed_mentions: int = 0  # that have a type
    types: int = 0  # of all mentions together
    surfaces: array = field(default_factory=lambda: array("q"))  # hash of each mention's surface

    def to_dict(self, documents: int, seen_in_train: float | None) -> dict[str, Any]:
        """The counts and ``documents`` as JSON values; ``seen_in_train``: share of mentions whose surface is one of train."""
        return {
            "documents": documents,
            "records": self.records,
            "words": self.words,
            "mentions": self.mentions,
            "mentions_per_record": self.mentions / max(1, self.records),
            "types_per_mention": self.types / max(1, self.typed_mentions),
            "exhaustive": self.exhaustive / max(1, self.records),
            "typed": self.typed / max(1, self.records),
            "seen_in_train": seen_in_train,
        }


def normal_form(text: str) -> str:
    """The text without case, punctuation and runs of white space."""
    return " ".join(_WORD.findall(text.casefold()))


def slips_of(surface: str) -> Iterator[str]:
    """Kinds of slips that a mention's surface shows by itself."""
    if _OUTER_MARK.search(surface):
        yield "outer_punctuation"
    pairs = ["()", "[]", "{}"] + ["“”"] * ("„" not in surface)  # German quotes end with “
    if surface.count('"') % 2 or any(surface.count(left) != surface.count(right) for left, right in pairs):
        yield "unbalanced"
    if _ARTICLE.match(surface):
        yield "article"
    if "\n" in surface or (_MAY_END_SENTENCE.search(surface) and _ends_inside(surface)):
        yield "across_sentences"
    if len(surface.split()) > LONG_MENTION:
        yield "long_mention"


def _ends_inside(surface: str) -> bool:
    """Whether a sentence ends inside; the next one must begin with a capital, as "reddit . com" does not."""
    later = sentencex.get_sentence_boundaries("en", surface)[1:]
    return any(sentence["text"].lstrip()[:1].isupper() for sentence in later)


class Scan:
    """A check of records.

    Args:
        splits: the files of each split, training first.
        ontology: of the types; without one they are only counted.
        encoder: with it words without sub-tokens and windows of sub-tokens are checked too.
        window_words: most words in one window; the encoder's own where there is one.
        rare: a type with fewer training mentions than this, but some, is rare.
    """

    def __init__(
        self,
        splits: Mapping[str, Sequence[str]],
        ontology: Ontology | None = None,
        encoder: TextEncoder | None = None,
        window_words: int = 128,
        rare: int = 5,
    ):
        self.splits = splits
        self.encoder = encoder
        self.window_words = window_words
        self.findings = Findings()
        self.stats = {split: SplitStats() for split in splits}
        # Hashes, one for each valid record of all splits in order; 0 stands for what is not compared.
        self._ids, self._documents, self._texts, self._marks = array("q"), array("q"), array("q"), array("q")
        self.types = TypeCheck(splits, ontology, self.findings, rare)
        self._capitalised = array("q")  # lower-cased surfaces that have capitals inside a sentence
        self._lower_case: dict[str, tuple[int, dict[str, Any]]] = {}  # surface → mentions, an example
        self._marked: Counter[str] = Counter()  # surfaces of exhaustive records

    def report(self) -> dict[str, Any]:
        """Reads everything and tells what was found, as JSON values."""
        for split in self.splits:
            for record in self._records(split, "reading", self.findings):
                self._read(split, record)
        self._compare_cases()
        self._read_again(self._compare_records())
        types, counts = self.types.report(), self._counts()
        totals = {unit: sum(split[unit] for split in counts.values()) for unit in ("documents", "records", "mentions")}
        totals["files"] = sum(map(len, self.splits.values()))
        if types:
            totals["types"] = sum(level["types"] for level in types["levels"])
        return {"splits": counts, "types": types, "findings": self.findings.to_list(totals)}

    def _counts(self) -> dict[str, dict[str, Any]]:
        documents, owners = _numbers(self._documents), self._owners()
        train = self.stats.get("train")
        counts = {}
        for i, (split, stats) in enumerate(self.stats.items()):
            seen = None
            if train and stats is not train and stats.mentions:
                seen = float(np.isin(_numbers(stats.surfaces), _numbers(train.surfaces)).mean())
            counts[split] = stats.to_dict(len(np.unique(documents[owners == i])), seen)
        return counts

    def _owners(self) -> np.ndarray:
        """For each record the number of its split."""
        return np.repeat(np.arange(len(self.stats)), [stats.records for stats in self.stats.values()])

    def _records(self, split: str, what: str, findings: Findings | None = None) -> Iterator[Record]:
        """The records of a split. A file is left at its first bad record, which is told to ``findings``."""
        with tqdm(desc=f"{what} {split}", unit=" records", disable=None, leave=False) as bar:
            for path in self.splits[split]:
                try:
                    for _, record in read_rows(path):
                        bar.update()
                        yield record
                except RecordError as error:
                    if findings:
                        findings.add("invalid_record", split=split, note=str(error))

    # ---------------------------------------------------------------- the first time: each record by itself

    def _read(self, split: str, record: Record) -> None:
        stats, text, mentions = self.stats[split], record["text"], record["mentions"]
        words = split_words(text)
        surfaces = [text[m["start"] : m["end"]] for m in mentions]
        stats.records += 1
        stats.words += len(words)
        stats.mentions += len(mentions)
        stats.exhaustive += record["exhaustive"]
        stats.typed += record["typed"]
        stats.typed_mentions += sum(bool(m["types"]) for m in mentions)
        stats.types += sum(len(m["types"]) for m in mentions)
        self._ids.append(hash(record["id"]))
        self._texts.append(hash(normal_form(text)) if len(words) >= LEAST_WORDS else 0)
        marks = tuple((s.casefold(), tuple(m["types"])) for s, m in zip(surfaces, mentions, strict=True))
        self._marks.append(hash(marks) if record["exhaustive"] else 0)
        self._documents.append(hash(record["doc_id"]))
        stats.surfaces.extend(map(hash, surfaces))
        if not words:
            self.findings.add("no_words", split=split, record=record["id"])
        if record["exhaustive"]:
            self._marked.update(surfaces)
        self._read_reach(split, record, words)
        for mention, surface in zip(mentions, surfaces, strict=True):
            place = place_of(split, record, mention)
            for kind in slips_of(surface):
                self.findings.add(kind, **place)
            self._note_case(text, mention["start"], surface, place)
        if record["typed"]:
            self.types.read(split, record)

    def _read_reach(self, split: str, record: Record, words: list[tuple[int, int]]) -> None:
        """Mentions that no sequence of tags can give."""
        mentions = record["mentions"]
        if not mentions:
            return
        whole = EncodedText(words, [], [], [], 0)
        encoded = self.encoder.encode(record["text"]) if self.encoder else whole
        places = zip(mentions, whole.word_spans(mentions), encoded.word_spans(mentions), strict=True)
        for mention, span, encoded_span in places:
            if span is None:
                around = record["text"][max(0, mention["start"] - 10) : mention["end"] + 10]
                self.findings.add("inside_word", **place_of(split, record, mention), note=f"in …{around}…")
            elif encoded_span is None:
                self.findings.add("no_sub_token", **place_of(split, record, mention))
            elif self._is_beyond_window(encoded, *encoded_span):
                self.findings.add("beyond_window", **place_of(split, record, mention))

    def _is_beyond_window(self, encoded: EncodedText, first: int, stop: int) -> bool:
        if self.encoder:
            return self.encoder.end_of_window(encoded, first) < stop
        return stop - first > self.window_words

    def _note_case(self, text: str, start: int, surface: str, place: dict[str, Any]) -> None:
        lower = surface.lower()
        if lower != surface:
            if not _SENTENCE_START.search(text[max(0, start - 5) : start]):
                self._capitalised.append(hash(lower))
        elif lower != surface.upper():
            count, example = self._lower_case.get(surface, (0, place))
            self._lower_case[surface] = count + 1, example

    # ---------------------------------------------------------------- beside the others

    def _compare_cases(self) -> None:
        capitalised = set(np.unique(_numbers(self._capitalised)).tolist()) if self._lower_case else set()
        for surface, (count, example) in self._lower_case.items():
            if hash(surface) in capitalised:
                self.findings.add("lower_case", count, **example)

    def _compare_records(self) -> list[Pair]:
        """Counts what is there twice; returns the examples, whose records are to be looked up."""
        ids, documents, texts, marks = map(_numbers, (self._ids, self._documents, self._texts, self._marks))
        owners = self._owners()
        first_id, first_document, first_text = map(_first_equal, (ids, documents, texts))
        numbers, compared = np.arange(len(ids)), texts != 0
        leaked_documents = np.flatnonzero(owners != owners[first_document])
        marked = np.where(marks != 0, texts, numbers)  # what is not exhaustive equals nothing
        first_marked = _first_equal(marked)
        differing = np.flatnonzero(compared & (marks != marks[first_marked]))
        found = {
            "doubled_id": (np.flatnonzero(first_id != numbers), first_id),
            "leaked_text": (np.flatnonzero(compared & (owners != owners[first_text])), first_text),
            "leaked_document": (_one_of_each(leaked_documents, documents), first_document),
            "doubled_text": (
                np.flatnonzero(compared & (first_text != numbers) & (owners == owners[first_text])),
                first_text,
            ),
            "marked_differently": (_one_of_each(differing, texts), first_marked),
        }
        for kind, (records, _) in found.items():
            self.findings.add(kind, len(records))
        return [
            (kind, int(i), int(first[i])) for kind, (records, first) in found.items() for i in records[:MAX_EXAMPLES]
        ]

    def _read_again(self, pairs: Sequence[Pair]) -> None:
        """Looks up the records of the examples, and frequent names where they are not marked."""
        names = self._names_by_first_word()
        if not pairs and not names:
            return
        wanted = {number for _, *numbers in pairs for number in numbers}
        shown: dict[int, dict[str, Any]] = {}
        unmarked: Counter[str] = Counter()
        first_place: dict[str, dict[str, Any]] = {}
        number = 0
        for split in self.splits:
            for record in self._records(split, "comparing"):
                if number in wanted:
                    shown[number] = {
                        "split": split,
                        "record": record["id"],
                        "doc_id": record["doc_id"],
                        "text": record["text"],
                    }
                if names and record["exhaustive"]:
                    for start, end in unmarked_places(record, names):
                        surface = record["text"][start:end]
                        unmarked[surface] += 1
                        place = {"split": split, "record": record["id"], "start": start, "end": end, "text": surface}
                        first_place.setdefault(surface, place)
                number += 1
        self._add_pairs(pairs, shown)
        for surface, count in unmarked.most_common():
            marked = self._marked[surface]
            if marked >= MARKED_SHARE * (marked + count):
                note = f"marked {marked:,} times, not marked {count:,}"
                self.findings.add("unmarked_name", count, **first_place[surface], note=note)

    def _names_by_first_word(self) -> dict[str, list[str]]:
        """Names that are marked often enough, longest first; without letters or without a capital (where there are any) it is none."""
        names: dict[str, list[str]] = defaultdict(list)
        for surface, count in self._marked.items():
            is_name = surface != surface.lower() or surface.lower() == surface.upper()
            if count >= LEAST_MARKED and is_name and len(surface) > 1 and any(map(str.isalpha, surface)):
                start, end = split_words(surface)[0]
                names[surface[start:end]].append(surface)
        return {word: sorted(surfaces, key=len, reverse=True) for word, surfaces in names.items()}

    def _add_pairs(self, pairs: Sequence[Pair], shown: Mapping[int, dict[str, Any]]) -> None:
        for kind, number, other in pairs:
            record, first = shown[number], shown[other]
            if kind == "leaked_document":
                self.findings.add(
                    kind, 0, split=record["split"], record=record["doc_id"], note=f"also in {first['split']}"
                )
                continue
            text = record["text"] if len(record["text"]) <= 60 else f"{record['text'][:60]}…"
            note = f"also {first['split']} {first['record']}"
            self.findings.add(kind, 0, split=record["split"], record=record["record"], text=text, note=note)


# ---------------------------------------------------------------- helpers


def unmarked_places(record: Record, names: Mapping[str, Sequence[str]]) -> Iterator[tuple[int, int]]:
    """Where one of the names stands as whole words outside all mentions.

    Args:
        names: first word → names, longest first.
    """
    text, words = record["text"], split_words(record["text"])
    ends = {end for _, end in words}
    taken = [(m["start"], m["end"]) for m in record["mentions"]]
    done = 0
    for start, end in words:
        if start < done:
            continue
        for name in names.get(text[start:end], ()):
            stop = start + len(name)
            if stop in ends and text.startswith(name, start) and not any(s < stop and start < e for s, e in taken):
                yield start, stop
                done = stop
                break


def _numbers(values: array) -> np.ndarray:
    return np.frombuffer(values, np.int64) if values else np.zeros(0, np.int64)


def _first_equal(values: np.ndarray) -> np.ndarray:
    """For each value the place of the first that equals it."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return first[inverse]


def _one_of_each(places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of places with equal values the first."""
    return np.sort(places[np.unique(values[places], return_index=True)[1]])


def make_encoder(tokenizer: str, window_words: int) -> TextEncoder:
    """The encoder of a tokenizer's folder or Hub name."""
    return TextEncoder(
        AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False),
        FinenerConfig(window_words=window_words, window_overlap=0),
    )

"""What ``check`` can find in built records, and the list that it writes its findings on.

``docs/checking.md`` explains each kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finener.data_scripts.schema import Mention, Record

LEVELS = ("error", "warning", "info")
MAX_EXAMPLES = 20  # of one kind


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Args:
        level: ``error``: training stops or is wrong; ``warning``: a person should look; ``info``: good to know.
        section: the heading under which it is shown.
        unit: what is counted, in the plural: ``mentions``, ``records``, ``documents``, ``types``, ``files``, or what has no total.
        what: what is the matter with them; it reads on from the unit.
        advice: what to do, in one sentence.
    """

    level: str
    section: str
    unit: str
    what: str
    advice: str


_READ, _REACH, _TYPES, _SPLITS, _SLIPS = (
    "Reading",
    "Mentions that can never be predicted",
    "Types",
    "Duplicates and leakage",
    "Likely slips of annotation",
)

KINDS = {
    "invalid_record": Kind(
        "error",
        _READ,
        "files",
        "with a bad record, read no further than that",
        "Correct the record, or its loader, and check again.",
    ),
    "doubled_id": Kind(
        "error",
        _READ,
        "records",
        "whose id is already taken",
        "Make ids unique over all splits: errors name records by them.",
    ),
    "other_ontology": Kind(
        "error",
        _READ,
        "records",
        "typed by another ontology",
        "Give --ontology the one they name; their types were not checked.",
    ),
    "no_ontology": Kind(
        "warning",
        _READ,
        "records",
        "with types that were not checked",
        "Give --ontology NAME or FILE to check types and levels.",
    ),
    "no_words": Kind("warning", _READ, "records", "without a word", "Leave them out: they teach nothing."),
    "beyond_window": Kind(
        "error",
        _REACH,
        "mentions",
        "longer than a window",
        "Training refuses them: raise window_words, or correct the mention.",
    ),
    "inside_word": Kind(
        "warning",
        _REACH,
        "mentions",
        "that begin or end inside a word",
        "Tags are given to whole words: move the boundary, or put up with the loss of recall.",
    ),
    "no_sub_token": Kind(
        "warning",
        _REACH,
        "mentions",
        "that begin or end with a word without sub-tokens",
        "The tokenizer removes this word: take it out of the mention, or use another tokenizer.",
    ),
    "unknown_type": Kind(
        "error",
        _TYPES,
        "mentions",
        "with a type that the ontology does not have",
        "Correct the type, or add it to the ontology.",
    ),
    "untyped_mention": Kind(
        "warning",
        _TYPES,
        "mentions",
        "without a type in typed records",
        "Type them: typing neither trains nor tests on them.",
    ),
    "not_assignable": Kind(
        "warning",
        _TYPES,
        "mentions",
        "with a type that is not assignable",
        "It is never predicted as a mention's own type: give a more specific one, or make it assignable.",
    ),
    "untrained_type": Kind(
        "warning",
        _TYPES,
        "types",
        "that other splits have and train does not",
        "They can't be learned: move documents or merge types.",
    ),
    "rare_type": Kind(
        "info",
        _TYPES,
        "types",
        "with few mentions to train on",
        "Expect little of them: collect more, or cut the ontology.",
    ),
    "unseen_type": Kind(
        "info",
        _TYPES,
        "types",
        "that no mention has",
        "A model can't learn them here; Ontology.subset cuts an ontology to what is used.",
    ),
    "only_root": Kind(
        "info",
        _TYPES,
        "mentions",
        "whose types are roots that have more specific types",
        "Type them more finely where the text allows it.",
    ),
    "redundant_type": Kind(
        "info", _TYPES, "mentions", "that list a type and its ancestor", "Harmless: ancestors are added anyway."
    ),
    "leaked_text": Kind(
        "warning",
        _SPLITS,
        "records",
        "whose text is also in an earlier split",
        "Scores on them tell how well the model remembers: take them out of one split.",
    ),
    "leaked_document": Kind(
        "warning", _SPLITS, "documents", "that are also in an earlier split", "Keep documents whole within one split."
    ),
    "doubled_text": Kind(
        "warning",
        _SPLITS,
        "records",
        "whose text is already in their split",
        "Keep one of each, or know that it counts twice.",
    ),
    "marked_differently": Kind(
        "warning", _SLIPS, "texts", "with different marks in different records", "Decide for one way of marking."
    ),
    "unmarked_name": Kind(
        "warning",
        _SLIPS,
        "places",
        "where a name is not marked that mostly is",
        "Mark them, or set exhaustive to false: detection learns from what is left unmarked.",
    ),
    "conflicting_types": Kind(
        "warning",
        _SLIPS,
        "mentions",
        "under another root than the same name earlier in the document",
        "Fine where the name stands for two things, such as a country and its team; else decide for one.",
    ),
    "outer_punctuation": Kind(
        "warning", _SLIPS, "mentions", "that begin or end with punctuation", "Move the boundary to the name itself."
    ),
    "unbalanced": Kind(
        "warning",
        _SLIPS,
        "mentions",
        "with a bracket or quote that has no partner",
        "Move the boundary past the mark, or before it.",
    ),
    "article": Kind(
        "warning",
        _SLIPS,
        "mentions",
        "that begin with a lower-case article",
        "Fine where the guidelines say so throughout; else cut it off.",
    ),
    "lower_case": Kind(
        "warning",
        _SLIPS,
        "mentions",
        "in lower case of names that elsewhere have capitals",
        "Look whether they are names.",
    ),
    "across_sentences": Kind(
        "warning",
        _SLIPS,
        "mentions",
        "that run over the end of a sentence or line",
        "Split them, or correct the boundary.",
    ),
    "long_mention": Kind("warning", _SLIPS, "mentions", "of more than 12 words", "Look whether a boundary was lost."),
}


def place_of(split: str, record: Record, mention: Mention) -> dict[str, Any]:
    """Where a mention is, for :meth:`Findings.add`."""
    start, end = mention["start"], mention["end"]
    return {"split": split, "record": record["id"], "start": start, "end": end, "text": record["text"][start:end]}


class Findings:
    """How often each kind was found, with a few examples of it."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}

    def add(self, kind: str, n: int = 1, **example: Any) -> None:
        """Counts a finding.

        Args:
            kind: a key of KINDS.
            n: how many of its units it stands for.
            **example: where it is: ``split``, ``record``, ``start``, ``end`` (characters, half-open), ``text`` (what stands
                there), ``type``, ``note``. What is empty is left out; of one text a single example is kept.
        """
        self.counts[kind] += n
        kept = self.examples[kind]
        if not example or len(kept) == MAX_EXAMPLES:
            return
        if "text" not in example or all(example["text"] != other.get("text") for other in kept):
            kept.append({key: value for key, value in example.items() if value not in ("", None)})

    def to_list(self, totals: Mapping[str, int]) -> list[dict[str, Any]]:
        """Every kind that was found, in the order of KINDS; ``totals``: how many there are of each unit."""
        return [
            {
                "kind": name,
                "level": kind.level,
                "count": self.counts[name],
                "of": totals.get(kind.unit),
                "unit": kind.unit,
                "what": kind.what,
                "advice": kind.advice,
                "examples": self.examples[name],
            }
            for name, kind in KINDS.items()
            if self.counts[name]
        ]

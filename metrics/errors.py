"""What kind of error each wrong mention is: the classes of the error analysis of Hagiwara et al. 2019, and those of detection."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from finener.metrics.counting import partial_credit
from finener.metrics.credit import Credit
from finener.metrics.pairing import Pair, Span
from finener.ontology_finener import Ontology

KINDS = {
    "correct": "span and types are right",
    "confused": "right span, a type of another branch: a sibling's or another root's",
    "too_specific": "right span and branch, but a type below the gold one",
    "too_generic": "right span and branch, but only a type above the gold one, or none",
    "group": "a name of a people or nation, which gold does not mark",
    "spurious": "any other mention where gold marks nothing",
    "boundary": "overlaps a gold mention, but begins or ends elsewhere",
    "missed": "a gold mention that nothing overlaps",
}
"""Kind → what it means. The first four errors are the paper's classes: sibling or root confusion, too specific, too generic, and the
spurious mention of an ethnic or national group."""

# English forms only. Endings catch the open part (Syrian, Ukrainians, Japanese, Turkish) less names that merely end so; the list holds what
# no safe ending tells: "-i" would take Helsinki along, "-an" Japan, "-ican" the Vatican.
_NO_GROUP = "adrian|brian|bastian|damian|dorian|fabian|florian|guardian|julian|maximilian|sebastian|smithsonian|vivian|standish|cavendish"
_ENDINGS = re.compile(rf"(?!(?:{_NO_GROUP})$)\w{{2,}}(?:ians?|ese|ish(?:m[ae]n)?|chm[ae]n)", re.IGNORECASE)
_GROUPS = re.compile(
    r"(?:"
    r"afghan|afghani|african|american|arab|azeri|basque|bengali|breton|briton|bulgar|catalan|chechen|"
    r"chilean|copt|corsican|croat|cuban|czech|dane|dominican|dutch|emirati|european|finn|fleming|french|"
    r"german|greek|hausa|hun|icelander|igbo|inuit|iraqi|israeli|jamaican|jew|kazakh|korean|kurd|kuwaiti|"
    r"kyrgyz|maori|maya|mexican|moor|moroccan|navajo|netherlander|omani|ossete|pakistani|pashtun|"
    r"pole|qatari|rican|roma|roman|sami|samoan|saudi|saxon|scot|serb|sikh|sioux|slav|slovak|slovene|somali|soviet|"
    r"swede|swiss|tajik|tamil|tartar|tatar|thai|tibetan|tongan|turk|tutsi|uighur|uyghur|uzbek|viking|"
    r"welsh|xhosa|yemeni|yoruba|yugoslav|zulu"
    r")s?",
    re.IGNORECASE,
)


def is_group_name(surface: str) -> bool:
    """Whether an English name looks like one of a people or nation (*Syrians*, *South Korean*), by the form of its last word.

    Args:
        surface: text of the mention.
    """
    last = surface.split()[-1] if surface.strip() else ""
    return last[:1].isupper() and any(form.fullmatch(last) for form in (_GROUPS, _ENDINGS))


@dataclass(frozen=True)
class Case:
    """A gold mention and the predicted one that is held against it, or one of them alone.

    Args:
        pair: their record.
        kind: of ``KINDS``.
        gold: span of the gold mention, if any.
        predicted: span of the predicted mention, if any.
        sureness: of the model, in [0, 1]: mention score times that of its best most specific type; 0.5 for a missed mention.
        cost: in [0, 1], how bad the error is: sureness × (1 − overlap of the spans × partial credit of the types).
    """

    pair: Pair
    kind: str
    gold: Span | None
    predicted: Span | None
    sureness: float
    cost: float

    @property
    def gold_types(self) -> list[int]:
        """As gold lists them."""
        return self.pair.gold[self.gold] if self.gold else []

    @property
    def predicted_types(self) -> list[int]:
        """As the prediction lists them."""
        return self.pair.predicted[self.predicted] if self.predicted else []


def find_cases(
    pairs: Iterable[Pair], ontology: Ontology, decay: float = 0.5, credit: Credit | None = None
) -> Iterator[Case]:
    """Holds every gold and every predicted mention against one of the other side, or none; each comes exactly once.

    Equal spans belong together; of those left, the pairs that overlap most do, one to one.

    Args:
        pairs: end to end, or ``at_gold_mentions()``.
        ontology: of their types.
        decay: see :func:`finener.metrics.counting.partial_credit`.
        credit: see there.
    """
    for pair in pairs:
        for gold, predicted in _aligned(pair):
            kind = _kind(pair, gold, predicted, ontology)
            sureness = _sureness(pair, predicted, ontology)
            likeness = 0.0
            if gold and predicted:
                earned = partial_credit(pair.gold[gold], pair.predicted[predicted], ontology, decay, credit)
                likeness = float(_overlap(gold, predicted)) * sum(earned) / 2
            cost = 0.0 if kind == "correct" else sureness * (1 - likeness)
            yield Case(pair, kind, gold, predicted, sureness, cost)


def _overlap(a: Span, b: Span) -> Fraction:
    """Common characters over all characters, in [0, 1]."""
    common = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    return Fraction(common, a[1] - a[0] + b[1] - b[0] - common)


def _aligned(pair: Pair) -> list[tuple[Span | None, Span | None]]:
    equal = pair.gold.keys() & pair.predicted.keys()
    gold_left, predicted_left = ([s for s in side if s not in equal] for side in (pair.gold, pair.predicted))
    candidates = sorted((-_overlap(g, p), g, p) for g in gold_left for p in predicted_left if _overlap(g, p))
    partner: dict[Span, Span] = {span: span for span in equal}
    taken = set(equal)
    for _, gold, predicted in candidates:
        if gold not in partner and predicted not in taken:
            partner[gold] = predicted
            taken.add(predicted)
    found = [(gold, partner.get(gold)) for gold in pair.gold] + [(None, p) for p in pair.predicted if p not in taken]
    return sorted(found, key=lambda spans: spans[0] or spans[1])


def _kind(pair: Pair, gold: Span | None, predicted: Span | None, ontology: Ontology) -> str:
    if gold is None:
        return "group" if is_group_name(pair.text[slice(*predicted)]) else "spurious"
    if predicted is None:
        return "missed"
    if gold != predicted:
        return "boundary"
    wanted, found = (set(ontology.closure_indices(side[gold])) for side in (pair.gold, pair.predicted))
    if wanted == found:
        return "correct"
    if found < wanted:
        return "too_generic"
    return "too_specific" if found > wanted else "confused"


def _sureness(pair: Pair, predicted: Span | None, ontology: Ontology) -> float:
    if predicted is None:
        return 0.5
    scores = pair.type_scores.get(predicted, {})
    own = [scores[i] for i in ontology.most_specific_indices(pair.predicted[predicted]) if i in scores]
    return pair.mention_scores.get(predicted, 1.0) * max(own, default=1.0)


def count_kinds(cases: Iterable[Case]) -> dict[str, int]:
    """Number of cases of every kind."""
    counts = Counter(case.kind for case in cases)
    return {kind: counts[kind] for kind in KINDS}


NOTHING = -1
"""Stands for "no type" in a confusion."""


def confusions(cases: Iterable[Case], ontology: Ontology) -> list[dict[tuple[int, int], float]]:
    """For each level, how often each gold type was predicted as each type.

    A type found right counts on the diagonal. Each gold type that was not found is shared out among the wrong predicted types of that
    level, or counts as (type, ``NOTHING``) where there are none; a wrong predicted type where nothing of gold is left counts as
    (``NOTHING``, type).

    Args:
        cases: of :func:`find_cases`. Missed and spurious mentions count too; a boundary error is both a missed and a spurious mention.
        ontology: of their types.

    Returns:
        Level → (gold, predicted) → mentions.
    """
    found: list[Counter[tuple[int, int]]] = [Counter() for _ in range(max(ontology.depths) + 1)]
    for case in cases:
        sides = [set(ontology.closure_indices(types)) for types in (case.gold_types, case.predicted_types)]
        for gold, predicted in [(sides[0], set()), (set(), sides[1])] if case.kind == "boundary" else [tuple(sides)]:
            for level, counts in enumerate(found):
                _confuse(
                    {i for i in gold if ontology.depths[i] == level},
                    {i for i in predicted if ontology.depths[i] == level},
                    counts,
                )
    return [dict(counts) for counts in found]


def _confuse(gold: set[int], predicted: set[int], counts: Counter[tuple[int, int]]) -> None:
    missing, wrong = gold - predicted, predicted - gold
    counts.update((i, i) for i in gold & predicted)
    for i in missing or {NOTHING}:
        for j in wrong or {NOTHING}:
            if i != j:
                counts[i, j] += 1 / len(wrong or {NOTHING}) if missing else 1

"""The Direct baseline: source types through a mapping, without training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from finener.pipeline_finener import FinenerPipeline
from finener.prediction.direct import DirectHead, cut_types, reach_of_mapping
from finener.prediction.mapping import TypeMapping
from finener.prediction.records import predict_records


def record(record_id, mentions, text="x" * 40, ontology="src"):
    """Mentions as {(start, end): types}."""
    return {
        "id": record_id,
        "doc_id": record_id,
        "source": "",
        "text": text,
        "mentions": [{"start": s, "end": e, "types": list(types)} for (s, e), types in mentions.items()],
        "exhaustive": True,
        "typed": bool(ontology),
        "ontology": ontology,
    }


MAPPING_ROWS = [
    ("artist", "per.artist.painter", 0.5),
    ("person", "per", 1.0),
    ("company", "org.company", 1.0),
    ("place", "loc", 0.8),
]


@pytest.fixture
def mapping(source, target):
    return TypeMapping(source, target, MAPPING_ROWS)


def walk_down(mapping, **scores):
    """What the head gives one mention with these source scores."""
    row = torch.zeros(1, len(mapping.source))
    for type_id, score in scores.items():
        row[0, mapping.source.index(type_id)] = score
    model = SimpleNamespace(source_scores=lambda logits: logits)
    return DirectHead(mapping)(model, SimpleNamespace(type_logits=row))[0]


def test_direct_walks_down_from_the_root(mapping):
    found = walk_down(mapping, person=0.9, artist=0.8)
    assert found == pytest.approx({"per": 0.9, "per.artist": 0.4, "per.artist.painter": 0.4})  # 0.8 · 0.5, handed up
    assert list(found) == ["per", "per.artist", "per.artist.painter"]


def test_direct_starts_at_the_best_root_after_weighting(mapping):
    found = walk_down(mapping, company=0.6, place=0.7)  # loc: 0.7 · 0.8 = 0.56
    assert found == pytest.approx({"org": 0.6, "org.company": 0.6})


def test_direct_gives_nothing_where_the_mapping_says_nothing(mapping):
    assert walk_down(mapping, organization=0.9) == {}


@pytest.mark.parametrize(
    ("threshold", "kept", "second_is_kept"),
    [
        (0.0, ["per", "per.artist", "per.artist.painter"], True),
        (0.4, ["per", "per.artist", "per.artist.painter"], True),
        (0.5, ["per"], True),
        (0.7, ["per"], False),
        (0.95, None, False),
    ],
)
def test_a_mention_that_is_left_without_types_below_the_threshold_disappears(threshold, kept, second_is_kept):
    path = {"types": ["per", "per.artist", "per.artist.painter"], "type_scores": [0.9, 0.4, 0.4]}
    second = {"start": 4, "end": 6, "types": ["org"], "type_scores": [0.6]}
    predicted = [{"id": "a", "mentions": [{"start": 0, "end": 3} | path, second]}]
    (cut,) = cut_types(predicted, threshold)
    assert cut["id"] == "a"
    first = (
        [] if kept is None else [{"start": 0, "end": 3, "types": kept, "type_scores": path["type_scores"][: len(kept)]}]
    )
    assert cut["mentions"] == first + [second] * second_is_kept
    assert len(predicted[0]["mentions"]) == 2 and len(path["types"]) == 3  # the argument is left as it was


def test_direct_through_the_pipeline_types_every_mention_that_the_mapping_reaches(model, tokenizer, source, target):
    text = "Frida Kahlo painted in Mexico City for Acme Corp. and the Louvre."
    pipe = FinenerPipeline(model=model, tokenizer=tokenizer, device="cpu")
    spans = [(m["start"], m["end"]) for m in pipe(text)]
    roots = TypeMapping(source, target, [("physical", "per", 1.0), ("abstract", "org", 1.0)])
    record = {"id": "a", "text": text}
    (found,) = predict_records(pipe, [record], head=DirectHead(roots))
    assert found["ontology"] == "tgt"
    assert spans and [(m["start"], m["end"]) for m in found["mentions"]] == spans
    assert all(m["types"] in (["per"], ["org"]) for m in found["mentions"])
    scores = [m["type_scores"][0] for m in found["mentions"]]
    middle = (min(scores) + max(scores)) / 2
    (cut,) = cut_types([found], middle)
    assert cut["mentions"] == [m for m in found["mentions"] if m["type_scores"][0] >= middle]
    assert 0 < len(cut["mentions"]) < len(spans)


def test_reach_of_a_mapping_by_hand(mapping):
    gold = [
        record("a", {(0, 1): ["per.artist.painter"], (2, 3): ["loc.city"], (4, 5): ["org"]}, ontology="tgt"),
        record("b", {(0, 1): ["loc", "loc.city"], (2, 3): ["per", "per.politician"]}, ontology="tgt"),
    ]
    assert reach_of_mapping(mapping, gold) == pytest.approx(
        {
            "types": 5 / 9,  # per, painter, org, org.company, loc; per.artist is not assignable
            "gold_types": 2 / 4,  # painter and org; not loc.city and per.politician
            "gold_mentions": 2 / 5,
        }
    )
    assert reach_of_mapping(mapping, [])["gold_mentions"] == 0.0

"""Thresholds found step by step are those that trying every candidate on all data finds."""

import random

import pytest
import torch

from finener.metrics.thresholds import CANDIDATES, MEASURES, DevScores, calibrate, pair_f1, strict_f1, tune

import dense_decoding as dense


def random_dev(ontology, seed, is_path, mentions=60):
    """Scores that tell something of gold; every fourth mention is not gold, and none of some passes a high threshold."""
    draw = torch.Generator().manual_seed(seed)
    own = torch.randint(len(ontology), (mentions,), generator=draw)
    gold = dense.close(ontology, torch.zeros(mentions, len(ontology), dtype=torch.bool).scatter_(1, own[:, None], True))
    logits = torch.randn(mentions, len(ontology), generator=draw) * 1.5 - 2 + 2.0 * gold
    gold[::4] = False
    best = None
    if is_path:
        logits = logits.masked_fill(~torch.tensor(ontology.assignable), -1e4)
        best = logits.argmax(1)
        path = dense.close(ontology, torch.zeros_like(gold).scatter_(1, best[:, None], True))
        scores = dense.sum_over_subtrees(ontology, logits.softmax(1)) * path
    else:
        scores = dense.cap_by_parents(ontology, logits.sigmoid())
        scores[::7] *= 0.1
    document = torch.arange(mentions) // 6
    missed, gold_mentions = torch.tensor([3] * 10), torch.tensor([7] * 10)
    return DevScores(scores, best, gold, document, missed, gold_mentions)


def f1_of_all(dev, ontology, threshold, measure):
    """The measures as they are defined."""
    if dev.best is None:
        chosen = dense.choose_several(ontology, dev.scores, threshold)
    else:
        chosen = dense.choose_paths(ontology, dev.scores, dev.best, threshold)
    if measure == "pairs":
        hits, predicted = int((chosen & dev.gold).sum()), int(chosen.sum())
        return 2 * hits / max(1, predicted + int(dev.gold.sum()) + int(dev.missed.sum()))
    hits = int(((chosen == dev.gold).all(1) & dev.gold.any(1)).sum())
    return 2 * hits / max(1, len(chosen) + int(dev.gold_mentions.sum()))


def tune_by_trying(dev, ontology, by, measure, least):
    """As ``tune``, choosing all types of all mentions again for each candidate."""

    def improve(place, key):
        best, kept = f1_of_all(dev, ontology, parts, measure), place[key]
        for value in CANDIDATES:
            place[key] = value
            if (found := f1_of_all(dev, ontology, parts, measure)) > best:
                best, kept = found, value
        place[key] = kept

    default = max(CANDIDATES, key=lambda value: f1_of_all(dev, ontology, value, measure))
    if by == "global":
        return default
    parts = {"default": default, "levels": [default] * (max(ontology.depths) + 1), "types": {}}
    for level in range(len(parts["levels"])):
        improve(parts["levels"], level)
    if by == "type":
        for i in (dev.gold.sum(0) >= least).nonzero()[:, 0].tolist():
            parts["types"][ontology.ids[i]] = parts["levels"][ontology.depths[i]]
            improve(parts["types"], ontology.ids[i])
    return parts


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("is_path", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_thresholds_are_those_that_trying_everything_finds(seed, is_path, measure):
    ontology = dense.random_dag(random.Random(seed).choice([8, 14, 20]), seed)
    dev = random_dev(ontology, seed, is_path)
    for by in ("global", "type"):
        assert tune(dev, ontology, by, measure, 8) == tune_by_trying(dev, ontology, by, measure, 8)


@pytest.mark.parametrize("is_path", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.35, 1.0, {"default": 0.2, "levels": [0.6, 0.1], "types": {"t0": 0.9}}])
def test_f1_is_that_of_all_cells(is_path, threshold):
    ontology = dense.random_dag(20, 4)
    dev = random_dev(ontology, 4, is_path)
    assert pair_f1(dev, ontology, threshold) == f1_of_all(dev, ontology, threshold, "pairs")
    assert strict_f1(dev, ontology, threshold) == f1_of_all(dev, ontology, threshold, "strict")


def test_one_mention_and_no_mention_have_thresholds():
    ontology = dense.random_dag(10, 5)
    dev = random_dev(ontology, 5, False)
    for documents, mentions in ((set(range(10)), 60), (set(), 0)):
        part = dev.of_documents(documents)
        assert len(part.scores) == mentions
        assert tune(part, ontology, "type", least=1) == tune_by_trying(part, ontology, "type", "pairs", 1)


def test_a_type_with_twenty_gold_mentions_has_a_threshold_of_its_own():
    ontology = dense.random_dag(10, 5)
    dev = random_dev(ontology, 5, False)
    dev.gold[:, :2] = torch.arange(60)[:, None] < torch.tensor([19, 20])
    assert ontology.ids[1] in (own := tune(dev, ontology, "type")["types"]) and ontology.ids[0] not in own


def test_the_kind_of_threshold_is_the_one_that_holds_up_best_elsewhere():
    for seed in range(3):
        ontology = dense.random_dag(10, seed)
        found = calibrate(random_dev(ontology, seed, False), ontology, 0.5)
        assert found.held_out[found.by] == max(found.held_out.values()) > min(found.held_out.values())

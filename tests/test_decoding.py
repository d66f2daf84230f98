"""From scores to types, by hand and against the definition over all (mention, type) cells."""

import pytest
import torch

from finener.decoding_finener import ChosenTypes, TypeDecoder, finest, read_threshold, type_decoder
from finener.ontology_finener import EntityType, Ontology, OntologyError

import dense_decoding as dense

CPU = torch.device("cpu")


def dag(**parents: str) -> Ontology:
    """``dag(a="", b="a", c="a b")``: types with their parents' ids."""
    return Ontology("mine", [EntityType(i, i.upper(), tuple(p.split())) for i, p in parents.items()])


def scores_of(ontology: Ontology, **scores: float) -> torch.Tensor:
    """One mention's scores, (1, C); types that are not named score 0."""
    row = torch.zeros(1, len(ontology))
    for type_id, score in scores.items():
        row[0, ontology.index(type_id)] = score
    return row


def several(ontology, scores, threshold):
    decoder = type_decoder(ontology, CPU)
    return decoder.named(decoder.choose_several(scores, threshold))


def path(ontology, scores, best, threshold):
    decoder = type_decoder(ontology, CPU)
    mentions, types = decoder.paths(torch.tensor([ontology.index(best)]))
    return decoder.named(decoder.cut_paths(ChosenTypes(mentions, types, scores[mentions, types], 1), threshold))[0]


# -------------------------------------------------------------------- against the definition

SIZES = (1, 2, 5, 12, 40, 150)  # many types for few mentions are looked at pair by pair, few types all at once


def thresholds_of(ontology):
    some = {ontology.ids[-1]: 0.01, ontology.ids[0]: 0.8}
    levels = [0.6] * min(2, max(ontology.depths) + 1)
    return 0.0, 0.05, 0.5, 1.0, {"default": 0.4, "levels": levels}, {"default": 0.1, "types": some}


def random_logits(ontology, seed, mentions, shift):
    """With many ties in every second draw."""
    logits = 3 * torch.randn(mentions, len(ontology), generator=torch.Generator().manual_seed(seed)) + shift
    return logits.round() if seed % 2 else logits


@pytest.mark.parametrize("shift", [0, -3, -9])  # from many types that pass to none
@pytest.mark.parametrize("seed", range(6))
def test_sigmoid_types_and_scores_are_those_of_the_definition_to_the_bit(seed, shift):
    for size in SIZES:
        ontology = dense.random_dag(size, seed)
        decoder = type_decoder(ontology, CPU)
        for mentions, dtype in ((0, torch.float32), (1, torch.bfloat16), (7, torch.float32)):
            logits = random_logits(ontology, seed, mentions, shift).to(dtype)
            assert torch.equal(decoder.scores(logits), dense.cap_by_parents(ontology, logits.float().sigmoid()))
            for threshold in thresholds_of(ontology):
                found = decoder.named(decoder.choose(logits, threshold))
                expected = dense.choose(ontology, logits, threshold, one_type=False)
                assert [list(row.items()) for row in found] == [list(row.items()) for row in expected]


@pytest.mark.parametrize("seed", range(6))
def test_softmax_paths_are_those_of_the_definition(seed):
    for size in SIZES:
        ontology = dense.random_dag(size, seed)
        decoder = type_decoder(ontology, CPU)
        for mentions, dtype in ((0, torch.float32), (1, torch.bfloat16), (7, torch.float32)):
            logits = random_logits(ontology, seed, mentions, 0).to(dtype)
            sums = dense.sum_over_subtrees(ontology, logits.float().softmax(1))
            torch.testing.assert_close(decoder.scores(logits, one_type=True), sums, rtol=0, atol=1e-6)
            for threshold in thresholds_of(ontology)[:-1]:
                found = decoder.named(decoder.choose(logits, threshold, one_type=True))
                expected = dense.choose(ontology, logits, threshold, one_type=True)
                assert [list(row) for row in found] == [list(row) for row in expected]
                for row, right in zip(found, expected, strict=True):
                    assert row == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize("cells", [180, 10])  # of three mentions; of less than one
def test_sums_in_several_blocks_are_those_in_one(monkeypatch, cells):
    ontology = dense.random_dag(60, 1)
    logits = random_logits(ontology, 0, 10, 0)
    whole = TypeDecoder(ontology, CPU).choose(logits, 0.3, one_type=True)
    monkeypatch.setattr("finener.decoding_finener.BLOCK_CELLS", cells)
    parts = TypeDecoder(ontology, CPU).choose(logits, 0.3, one_type=True)
    assert all(torch.equal(a, b) for a, b in zip(whole[:3], parts[:3], strict=True))


def test_long_sums_are_made_in_what_the_device_has():
    assert finest(torch.device("mps")) == torch.float32 and finest(CPU) == torch.float64


def test_sums_that_drift_make_no_score_above_one(monkeypatch):
    monkeypatch.setattr("finener.decoding_finener.finest", lambda device: torch.float32)  # as on Apple's GPUs
    ontology = dag(root="", **{f"t{i}": "root" for i in range(150)})
    scores = type_decoder(ontology, CPU).scores(random_logits(ontology, 0, 200, 0), one_type=True)
    assert scores.max() == 1.0


def test_the_constants_of_an_ontology_are_built_once(monkeypatch):
    built = []
    start = TypeDecoder.__init__
    monkeypatch.setattr(TypeDecoder, "__init__", lambda self, *args: (built.append(1), start(self, *args))[1])
    ontology = dense.random_dag(10, 0)
    assert type_decoder(ontology, CPU) is type_decoder(ontology, torch.zeros(1).device)
    assert built == [1]


def test_triples_go_by_mention_and_from_the_roots_down(source):
    found = type_decoder(source, CPU).choose(torch.full((2, len(source)), 3.0), 0.5)
    assert found.n_mentions == 2 and found.mentions.tolist() == [0] * len(source) + [1] * len(source)
    depths = [source.depths[i] for i in found.types.tolist()]
    assert depths == 2 * sorted(source.depths)


def test_an_ontology_without_any_assignable_type_is_refused():
    with pytest.raises(OntologyError, match="no type of ontology 'mine' is assignable"):
        type_decoder(Ontology("mine", [EntityType("a", assignable=False)]), CPU)


# -------------------------------------------------------------------- coherent scores, by hand


def coherent(ontology, scores):
    """What sigmoid scores become."""
    return type_decoder(ontology, CPU).scores(scores.logit())


def summed(ontology, probabilities):
    """What softmax scores become."""
    return type_decoder(ontology, CPU).scores(probabilities.log(), one_type=True)


def test_no_sigmoid_score_is_above_its_parents(source):
    scores = scores_of(
        source, physical=0.9, place=0.4, building=0.8, museum=0.7, artmuseum=0.95, abstract=0.3, organization=0.5
    )
    given = scores.clone()
    capped = dict(zip(source.ids, coherent(source, scores)[0].tolist(), strict=True))
    expected = {"physical": 0.9, "place": 0.4, "building": 0.4, "abstract": 0.3, "organization": 0.3}
    expected |= {"museum": 0.3, "artmuseum": 0.3, "person": 0.0, "artist": 0.0, "company": 0.0}
    assert capped == pytest.approx(expected)
    assert torch.equal(scores, given), "the argument is left alone"


def test_parents_come_first_whatever_the_order_of_the_types():
    ontology = dag(d="c a", c="b", b="a", a="")
    assert coherent(ontology, torch.tensor([[0.9, 0.8, 0.3, 0.5]])).tolist() == [pytest.approx([0.3, 0.3, 0.3, 0.5])]


def test_softmax_scores_are_summed_over_subtrees(target):
    probabilities = scores_of(
        target, **{"per": 0.1, "per.artist.painter": 0.2, "per.artist.singer": 0.3, "loc.city.capital": 0.4}
    )
    sums = dict(zip(target.ids, summed(target, probabilities)[0].tolist(), strict=True))
    expected = {"per": 0.6, "per.artist": 0.5, "per.artist.painter": 0.2, "per.artist.singer": 0.3}
    expected |= {"per.politician": 0.0, "org": 0.0, "org.company": 0.0}
    expected |= {"loc": 0.4, "loc.city": 0.4, "loc.city.capital": 0.4}
    assert sums == pytest.approx(expected)


def test_a_type_counts_once_for_each_ancestor_even_where_two_paths_meet():
    ontology = dag(a="", b="a", c="a", d="b c")
    assert summed(ontology, torch.tensor([[0.1, 0.2, 0.3, 0.4]])).tolist() == [pytest.approx([1.0, 0.6, 0.7, 0.4])]


# -------------------------------------------------------------------- choosing, by hand


def test_choosing_several_takes_what_passes_and_otherwise_the_best_path(source):
    passing = scores_of(source, physical=0.9, place=0.6, building=0.5, abstract=0.2)
    failing = scores_of(source, physical=0.2, place=0.2, building=0.2, abstract=0.1)
    chosen = several(source, torch.cat([passing, failing]), 0.5)
    assert chosen[0] == pytest.approx({"physical": 0.9, "place": 0.6, "building": 0.5})
    assert chosen[1] == pytest.approx({"physical": 0.2, "place": 0.2, "building": 0.2}), "a tie goes to the deepest"


def test_choosing_several_gives_a_type_that_is_not_assignable_only_above_one_that_is(target):
    passing = scores_of(target, **{"per": 0.9, "per.artist": 0.8, "per.artist.painter": 0.7})
    alone = scores_of(target, **{"per": 0.9, "per.artist": 0.8, "per.artist.painter": 0.1})
    failing = scores_of(target, **{"per": 0.3, "per.artist": 0.3, "loc": 0.2})
    chosen = several(target, torch.cat([passing, alone, failing]), 0.5)
    assert chosen[0] == pytest.approx({"per": 0.9, "per.artist": 0.8, "per.artist.painter": 0.7})
    assert chosen[1] == pytest.approx({"per": 0.9})
    assert chosen[2] == pytest.approx({"per": 0.3})


def test_choosing_a_path_drops_what_is_below_the_threshold_but_never_the_root(target):
    scores = scores_of(target, **{"loc": 0.4, "loc.city": 0.35, "loc.city.capital": 0.3})
    assert path(target, scores, "loc.city.capital", 0.0) == pytest.approx(
        {"loc": 0.4, "loc.city": 0.35, "loc.city.capital": 0.3}
    )
    assert path(target, scores, "loc.city.capital", 0.33) == pytest.approx({"loc": 0.4, "loc.city": 0.35})
    assert path(target, scores, "loc.city.capital", 0.9) == pytest.approx({"loc": 0.4})


def test_choosing_a_path_does_not_end_at_a_type_that_is_not_assignable(target):
    scores = scores_of(target, **{"per": 0.9, "per.artist": 0.6, "per.artist.painter": 0.3})
    assert path(target, scores, "per.artist.painter", 0.5) == pytest.approx({"per": 0.9})
    assert list(path(target, scores, "per.artist.painter", 0.3)) == ["per", "per.artist", "per.artist.painter"]


def test_what_stops_at_a_type_decides_who_is_best(source):
    decoder = type_decoder(source, CPU)
    scores = dict.fromkeys(source.ids, 0.01) | {"physical": 0.9, "person": 0.8, "artist": 0.1, "abstract": 0.3}
    logits = torch.tensor([[scores[t] for t in source.ids]]).logit()
    names = [set(row) for k in (1, 2, 3) for row in decoder.named(decoder.choose_best(logits, k))]
    # By hand: at person stops .8 - .1, at abstract .3 - .01, at physical .9 - .8, at artist .1.
    assert names == [
        {"physical", "person"},
        {"physical", "person", "abstract"},
        {"physical", "person", "abstract"} | names[2],
    ]
    [likely] = decoder.named(decoder.choose_best(logits.exp().log(), 2, one_type=True))
    assert {"physical", "person"} <= set(likely) and likely["physical"] >= likely["person"]
    [museum] = decoder.named(decoder.choose_best(logits, 1, allowed=[source.index("museum")]))
    assert set(museum) == set(source.closure(["museum"]))


def test_none_of_the_allowed_types_is_assignable(target):
    decoder = type_decoder(target, CPU)
    with pytest.raises(OntologyError, match="none of the types that are asked for is assignable in ontology 'tgt'"):
        decoder.choose_best(torch.zeros(1, len(target)), 1, allowed=[target.index("per.artist")])


@pytest.mark.parametrize("one_type", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_best_types_are_those_at_which_most_stops_of_equal_ones_the_first(seed, one_type):
    ontology = dense.random_dag(30, seed)
    decoder, logits = type_decoder(ontology, CPU), random_logits(ontology, seed, 5, 0)
    scores = decoder.scores(logits, one_type=one_type)
    own = logits.float().softmax(1) if one_type else scores.clone()
    for i, children in enumerate(() if one_type else ontology.children):
        if children:
            own[:, i] -= scores[:, list(children)].amax(1)
    for allowed in (None, range(0, 30, 4)):
        may_be = [i for i in range(30) if ontology.assignable[i] and (allowed is None or i in allowed)]
        for k in (1, 3, 99):
            found = decoder.named(decoder.choose_best(logits, k, one_type=one_type, allowed=allowed))
            for mention, row in enumerate(found):
                best = sorted(may_be, key=lambda i: (-own[mention, i].item(), i))[:k]
                right = ontology.closure_indices(best)
                assert row == {ontology.ids[i]: scores[mention, i].item() for i in right}


def least_scores(ontology, threshold):
    """Each type's threshold, (C), as the decoder reads it."""
    return type_decoder(ontology, CPU)._least(threshold)


def test_thresholds_go_from_the_type_to_its_level_to_the_default(target):
    least = least_scores(target, {"default": 0.5, "levels": [0.9, 0.4], "types": {"loc.city": 0.1}})
    found = {
        t: round(least[target.index(t)].item(), 3) for t in ("per", "loc", "loc.city", "per.artist", "loc.city.capital")
    }
    assert found == {"per": 0.9, "loc": 0.9, "loc.city": 0.1, "per.artist": 0.4, "loc.city.capital": 0.5}
    assert least_scores(target, 0.25).tolist() == [0.25] * len(target)


def test_a_threshold_that_its_owner_changes_is_read_again(target):
    threshold = {"default": 0.5, "types": {"loc": 0.9}}
    before = least_scores(target, threshold)
    assert least_scores(target, threshold) is before
    threshold["types"]["loc"] = 0.25
    assert least_scores(target, threshold)[target.index("loc")] == 0.25
    with pytest.raises(OntologyError, match="thresholds must lie"):
        least_scores(target, 1.5)


def test_each_type_is_held_against_its_own_threshold(source, target):
    scores = scores_of(source, physical=0.9, place=0.6, building=0.5, abstract=0.2)
    by_type = {"default": 0.7, "types": {"building": 0.45, "place": 0.65}}
    assert list(several(source, scores, by_type)[0]) == list(source.closure(["building"]))
    scores = scores_of(target, **{"loc": 0.4, "loc.city": 0.35, "loc.city.capital": 0.3})
    by_level = {"default": 0.9, "levels": [0.9, 0.3, 0.31]}
    assert list(path(target, scores, "loc.city.capital", by_level)) == ["loc", "loc.city"]


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        (1.5, r"thresholds must lie in \[0, 1\]; got 1.5"),
        ({"levels": [0.5]}, "expected a number or the keys default, levels and types"),
        ({"default": 0.5, "type": {}}, "expected a number or the keys default, levels and types"),
        ({"default": 0.5, "levels": [0.1] * 4}, "expected a list of at most 3 levels"),
        ({"default": 0.5, "types": {"pre": 0.5}}, "pre.*per"),
        ({"default": 0.5, "types": {"per": True}}, "thresholds must lie in"),
    ],
)
def test_bad_thresholds_say_what_is_expected(target, threshold, message):
    with pytest.raises(OntologyError, match=message):
        read_threshold(threshold, target)

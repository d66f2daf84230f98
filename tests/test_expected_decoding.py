"""The type whose path has the highest expected F1, once the soft loss's credit for ancestors is taken back."""

import pytest
import torch

from finener.decoding_finener import TypeDecoder, gold_probabilities, type_decoder
from finener.layers_finener import FORBIDDEN, decay_rows, sparse_rows
from finener.modeling_finener import FinenerForTokenClassification
from finener.ontology_finener import EntityType, Ontology

import dense_decoding as dense
import tiny

CPU = torch.device("cpu")
SIBLINGS = ("per.artist.painter", "per.artist.singer", "per.politician")


def w_of(ontology: Ontology, decay: float) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """W of a decay, (K, K), and its sparse form."""
    weights = ontology.soft_label_weights(decay)
    return weights / weights.sum(1, keepdim=True), sparse_rows(decay_rows(ontology, decay), len(ontology))


def row_of(ontology: Ontology, **values: float) -> torch.Tensor:
    """(1, K), zero where no value is given."""
    row = torch.zeros(1, len(ontology))
    for type_id, value in values.items():
        row[0, ontology.index(type_id)] = value
    return row


def chosen(ontology: Ontology, said: torch.Tensor, decay: float | None, threshold: float = 0.0) -> dict[str, float]:
    """The types of one mention to whose types a softmax gives ``said``."""
    decoder = type_decoder(ontology, CPU)
    credit = None if decay is None else w_of(ontology, decay)[1]
    return decoder.named(decoder.choose(said.log(), threshold, one_type=True, credit=credit))[0]


# -------------------------------------------------------------------- by hand


def test_an_ancestor_that_is_said_for_its_children_alone_is_not_gold(target):
    weights, credit = w_of(target, 1.0)
    said = row_of(target, **dict.fromkeys(SIBLINGS, 1 / 3)) @ weights
    assert target.ids[said.argmax()] == "per", "the soft loss teaches a model to say the ancestor that all three share"
    found = gold_probabilities(said, credit)
    assert found[0, target.index("per")] < 0.1
    assert target.ids[found.argmax()] in SIBLINGS and found.sum().item() == pytest.approx(1)


def test_what_a_perfect_soft_model_says_leads_to_the_gold_type_and_its_path(target):
    gold = row_of(target, **{"per.politician": 0.6, "per.artist.painter": 0.2, "per.artist.singer": 0.2})
    said = gold @ w_of(target, 1.0)[0]
    assert list(chosen(target, said, None)) == ["per"]
    found = chosen(target, said, 1.0)
    assert list(found) == ["per", "per.politician"]
    assert found == pytest.approx({"per": 1.0, "per.politician": 0.6}, abs=0.1)


def test_types_count_that_are_said_with_the_least_probability_and_not_those_below(target, monkeypatch):
    monkeypatch.setattr("finener.decoding_finener.LEAST_PROBABILITY", 0.125)
    said = row_of(target, **{"per": 0.765625, "loc": 0.125, "org": 0.109375})  # sums of powers of two: exact
    found = gold_probabilities(said, w_of(target, 0.0)[1])
    assert found[0, [target.index(t) for t in ("per", "loc", "org")]].tolist() == pytest.approx([0.765625, 0.125, 0.0])


def test_without_soft_loss_the_path_of_the_highest_expected_f1_is_chosen(target):
    """Expected F1 by hand: loc alone 2 · .6 / (1 + 1.9), capital 2 · (.6 + .55 + .3) / (3 + 1.9), per 2 · .4 / (1 + 1.9)."""
    said = row_of(target, **{"per": 0.4, "loc": 0.05, "loc.city": 0.25, "loc.city.capital": 0.3})
    assert list(chosen(target, said, None)) == ["per"], "the likeliest single type"
    found = chosen(target, said, 0.0)
    assert found == pytest.approx({"loc": 0.6, "loc.city": 0.55, "loc.city.capital": 0.3})


def test_a_type_is_left_out_where_it_would_lower_the_expected_f1(target):
    """Expected F1 by hand: loc 2 · 1 / 3.04, city 2 · 1.69 / 4.04, capital 2 · 2.04 / 5.04."""
    said = row_of(target, **{"loc": 0.31, "loc.city": 0.34, "loc.city.capital": 0.35})
    assert list(chosen(target, said, None)) == ["loc", "loc.city", "loc.city.capital"]
    assert list(chosen(target, said, 0.0)) == ["loc", "loc.city"]


def test_thresholds_cut_the_path_at_the_probability_of_having_the_type(target):
    said = row_of(target, **{"per": 0.4, "loc": 0.05, "loc.city": 0.25, "loc.city.capital": 0.3})
    assert list(chosen(target, said, 0.0, threshold=0.5)) == ["loc", "loc.city"]


def test_of_equal_paths_the_deepest_is_taken():
    """Expected F1 of a: 2 · 1 / (1 + 2), and of a.b: 2 · 2 / (2 + 2 · 2)."""
    ontology = Ontology("mine", [EntityType("a"), *(EntityType(f"a.{c}", parents=("a",)) for c in "bcd")])
    said = row_of(ontology, **{"a.b": 0.5, "a.c": 0.5})
    assert list(chosen(ontology, said, 0.0)) in (["a", "a.b"], ["a", "a.c"])
    third = row_of(ontology, **{"a.b": 1 / 3, "a.c": 1 / 3, "a.d": 1 / 3})  # 2 · 1 / 3 either way
    assert len(chosen(ontology, third, 0.0)) == 2


# -------------------------------------------------------------------- against the definition


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_types_and_scores_are_those_of_the_definition(seed, decay):
    draw = torch.Generator().manual_seed(seed)
    for size in (1, 5, 12, 150):
        ontology = dense.random_dag(size, seed)
        decoder, (weights, credit) = type_decoder(ontology, CPU), w_of(ontology, decay)
        for mentions, dtype in ((0, torch.float32), (1, torch.bfloat16), (7, torch.float32)):
            logits = (3 * torch.randn(mentions, size, generator=draw)).to(dtype)
            logits[:, ~decoder.assignable] = FORBIDDEN
            said = logits.float().softmax(1)
            torch.testing.assert_close(
                gold_probabilities(said, credit), dense.gold_probabilities(said, weights), rtol=1e-4, atol=1e-6
            )
            for threshold in (0.0, 0.3, {"default": 0.4, "types": {ontology.ids[-1]: 0.01}}):
                found = decoder.named(decoder.choose(logits, threshold, one_type=True, credit=credit))
                expected = dense.choose(ontology, logits, threshold, one_type=True, credit=weights)
                assert [list(row) for row in found] == [list(row) for row in expected]
                for row, right in zip(found, expected, strict=True):
                    assert row == pytest.approx(right, abs=1e-5)


def test_more_rounds_choose_the_same_types(target, monkeypatch):
    logits = 2 * torch.randn(200, len(target), generator=torch.Generator().manual_seed(0))
    logits[:, target.index("per.artist")] = FORBIDDEN
    credit, decoder = w_of(target, 0.5)[1], type_decoder(target, CPU)
    few = decoder.named(decoder.choose(logits, 0.0, one_type=True, credit=credit))
    monkeypatch.setattr("finener.decoding_finener.ROUNDS", 300)
    many = decoder.named(decoder.choose(logits, 0.0, one_type=True, credit=credit))
    assert sum(list(a) == list(b) for a, b in zip(few, many, strict=True)) >= 196


def test_a_new_model_s_flat_probabilities_are_no_work_and_give_each_mention_a_type():
    ontology = dense.random_dag(20_001, 0, assignable=1.0)
    credit = sparse_rows([(i, i, 1.0) for i in range(len(ontology))], len(ontology))
    found = TypeDecoder(ontology, CPU).choose(torch.zeros(3, len(ontology)), 0.0, one_type=True, credit=credit)
    assert found.mentions.unique().tolist() == [0, 1, 2]


# -------------------------------------------------------------------- in a model


def test_the_model_decodes_as_its_config_says(tokenizer, target):
    model = tiny.tiny_model(tokenizer, target=True, soft_loss_decay=1.0)
    output = tiny.outputs(model, tokenizer, *tiny.GOLD)
    said = row_of(target, **dict.fromkeys(SIBLINGS, 1 / 3)) @ w_of(target, 1.0)[0]
    output.target_type_logits = said.log().clamp(min=FORBIDDEN)
    assert list(model.select_types(output)[0]) == ["per"]
    model.config.target_decoding = "expected"
    assert target.most_specific(model.select_types(output)[0])[0] in SIBLINGS
    scores = dict(zip(target.ids, model.target_scores(output.target_type_logits)[0].tolist(), strict=True))
    right = {**dict.fromkeys(target.ids, 0.0), **dict.fromkeys(SIBLINGS, 1 / 3), "per": 1.0, "per.artist": 2 / 3}
    assert scores == pytest.approx(right, abs=0.1)


def test_the_weights_that_a_model_was_trained_with_are_taken_back(target_model, tokenizer, target, tmp_path):
    """W of its own says org for per: who hears org half as often as per knows that per was meant."""
    weights = torch.eye(len(target))
    weights[target.index("per"), target.index("org")] = 0.9
    target_model.set_soft_loss_weights(weights)
    target_model.config.target_decoding = "expected"
    target_model.save_pretrained(tmp_path)
    model = FinenerForTokenClassification.from_pretrained(tmp_path)
    assert model.config.target_decoding == "expected"
    output = tiny.outputs(model, tokenizer, *tiny.GOLD)
    output.target_type_logits = row_of(target, per=0.48, org=0.52).log().clamp(min=FORBIDDEN)
    assert list(model.select_types(output)[0]) == ["per"]
    model.config.target_decoding = "best"
    assert list(model.select_types(output)[0]) == ["org"]


def test_several_types_have_thresholds_instead(tokenizer):
    with pytest.raises(ValueError, match=r"target_decoding: expected chooses one type of a softmax.*finener calibrate"):
        tiny.tiny_model(tokenizer, target=True, target_activation="sigmoid", target_decoding="expected")


def test_fine_tuning_may_set_it(model, tokenizer, target):
    model.add_conversion(target, start="random", target_decoding="expected")
    assert model.config.target_decoding == "expected"

import math

import pytest
import torch

from finener.layers_finener import FORBIDDEN
from finener.ontology_finener import EntityType, Ontology
from finener.pipeline_finener import FinenerPipeline

import tiny


def test_no_type_scores_above_its_parents(target_model, source, target):
    logits = 3 * torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    for scores, ontology in (
        (target_model.source_scores(logits), source),
        (target_model.target_scores(logits), target),
    ):
        assert ((scores >= 0) & (scores <= 1)).all()
        assert all((scores[:, child] <= scores[:, parent]).all() for child, parent in ontology.edges)


def test_softmax_targets_score_what_their_subtree_holds(target_model, target):
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0]]).log()
    scores = dict(zip(target.ids, target_model.target_scores(logits)[0].tolist(), strict=True))
    expected = {"per": 0.6 / 0.7, "per.artist": 0.5 / 0.7, "per.artist.painter": 0.3 / 0.7, "loc": 0.1 / 0.7, "org": 0}
    assert {t: scores[t] for t in expected} == pytest.approx(expected)


def test_selected_types_are_closed_under_ancestors_and_never_none(tokenizer, knobs):
    model = tiny.tiny_model(tokenizer, **knobs, type_threshold=0.6)
    output = tiny.outputs(model, tokenizer, *tiny.GOLD)
    heads = {"source": model.config.ontology, "target": model.config.target_ontology}
    for head, ontology in heads.items():
        if ontology is not None:
            chosen = model.select_types(output, head)
            assert len(chosen) == len(output.mention_spans) > 0
            assert all(types and sorted(ontology.closure(types)) == sorted(types) for types in chosen)


def test_types_come_from_the_target_head_where_there_is_one(model, target_model, tokenizer, source, target):
    assert set(model.select_types(tiny.outputs(model, tokenizer, tiny.LONG))[0]) <= set(source.ids)
    assert set(target_model.select_types(tiny.outputs(target_model, tokenizer, tiny.LONG))[0]) <= set(target.ids)


@pytest.mark.parametrize("head", ["target", "aida"])
def test_a_head_that_the_model_lacks_is_an_error(model, tokenizer, head):
    with pytest.raises(ValueError, match=f"head must be 'source' or, for a fine-tuned model, 'target'; got '{head}'"):
        model.select_types(tiny.outputs(model, tokenizer, tiny.SHORT), head)


def test_a_type_that_is_not_assignable_is_never_predicted_by_softmax(target_model, tokenizer, target):
    artist = target.index("per.artist")
    with torch.no_grad():
        target_model.conversion.score.bias[artist] = 1e3
        output = target_model(**tiny.gold_batch(target_model, tokenizer))
    assert (output.target_type_logits[:, artist] == FORBIDDEN).all()
    assert (output.target_type_logits.softmax(1)[:, artist] == 0).all()
    assert not any(target.most_specific(types) == ["per.artist"] for types in target_model.select_types(output))
    assert output.loss.isfinite()


def test_types_below_one_that_is_not_assignable_can_be_predicted_by_sigmoid(tokenizer):
    model = tiny.tiny_model(tokenizer, target=True, target_activation="sigmoid")
    with torch.no_grad():
        model.conversion.score.bias[:4] = 1e3
    types = model.select_types(tiny.outputs(model, tokenizer, tiny.LONG))
    assert all({"per", "per.artist", "per.artist.painter"} <= set(of_mention) for of_mention in types)


def shuffled(ontology: Ontology, order: list[int]) -> Ontology:
    return Ontology(ontology.name, [ontology.types[i] for i in order], ontology.source)


def test_the_order_of_the_types_changes_no_score(target_model, tokenizer, source, target):
    order, target_order = [7, 2, 9, 0, 4, 1, 8, 3, 6, 5], [3, 0, 9, 8, 1, 2, 7, 6, 5, 4]
    others = {"ontology": shuffled(source, order), "target_ontology": shuffled(target, target_order)}
    other = tiny.tiny_model(tokenizer, target=True, **others)
    state = target_model.state_dict()
    for name, places in (("type_head", order), ("conversion", target_order)):
        state[f"{name}.score.weight"] = state[f"{name}.score.weight"][places]
        state[f"{name}.score.bias"] = state[f"{name}.score.bias"][places]
    state["conversion.hidden.weight"] = state["conversion.hidden.weight"][:, order]
    state["conversion.assignable"] = state["conversion.assignable"][target_order]
    other.load_state_dict(state)
    results = [FinenerPipeline(model=m, tokenizer=tokenizer) for m in (target_model, other)]
    for head in ("source", "target"):
        expected, found = (pipeline(list(tiny.GOLD), head=head) for pipeline in results)
        pairs = [
            (a, b) for first, second in zip(expected, found, strict=True) for a, b in zip(first, second, strict=True)
        ]
        assert len(pairs) > 3
        for a, b in pairs:
            assert b["types"] == pytest.approx(a["types"], abs=1e-6)
            assert (a["word"], a["entity_group"]) == (b["word"], b["entity_group"])
    batches = [tiny.gold_batch(m, tokenizer) for m in (target_model, other)]
    assert other(**batches[1]).loss.item() == pytest.approx(target_model(**batches[0]).loss.item(), rel=1e-5)


def test_a_types_logit_does_not_depend_on_which_other_types_there_are(model, tokenizer, source):
    part = source.subset(source.closure(["artist", "company"]))
    kept = [source.index(t) for t in part.ids]
    smaller = tiny.tiny_model(tokenizer, ontology=part)
    state = model.state_dict()
    smaller.load_state_dict({k: v[kept] if k.startswith("type_head.score") else v for k, v in state.items()})
    expected, found = (tiny.outputs(m, tokenizer, *tiny.GOLD).type_logits for m in (model, smaller))
    tiny.close(found, expected[:, kept])


def test_the_first_typing_loss_hardly_grows_with_the_number_of_types(tokenizer):
    """Per gold type it is about log(C / prior) + prior / gold types: from 100 to 10,000 types it doubles, where the sum grows 100-fold."""
    losses = {}
    for n in (100, 10_000):
        types = [*tiny.two_parent_ontology().types, *(EntityType(f"root{i}") for i in range(n - 10))]
        model = tiny.tiny_model(tokenizer, ontology=Ontology("src", types))
        batch = tiny.gold_batch(model, tokenizer)
        losses[n] = model(**batch).losses["typing"].item()
        mentions, gold = 7, int((batch["type_labels"] >= 0).sum())
        assert losses[n] == pytest.approx(math.log(n / 3.0) + 3.0 * mentions / gold, rel=0.05)
    assert losses[10_000] < 2.2 * losses[100]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_target_of_one_type_is_that_type_for_every_mention(tokenizer, activation):
    only = Ontology("tgt", [EntityType("name")])
    model = tiny.tiny_model(tokenizer, target_ontology=only, target_activation=activation)
    gold = {text: {name: (types[0], "name") for name, types in names.items()} for text, names in tiny.GOLD.items()}
    batch = tiny.gold_batch(model, tokenizer, gold)
    first = model(**batch).losses["conversion"].item()
    assert (first == 0.0) == (activation == "softmax")  # nothing to choose
    tiny.train(model, batch, steps=30)
    output = model(**batch)
    assert output.losses["conversion"].item() <= first and model.select_types(output) == [
        {"name": pytest.approx(1.0, abs=0.2)} for _ in range(7)
    ]

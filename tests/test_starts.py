from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertForMaskedLM, BertModel, DistilBertConfig, DistilBertModel

from finener import building_finener as modeling
from finener.building_finener import embed_names
from finener.configuration_finener import FinenerConfig
from finener.layers_finener import FORBIDDEN
from finener.modeling_finener import FinenerForTokenClassification
from finener.ontology_finener import EntityType, Ontology
from finener.prediction.mapping import TypeMapping
from finener.training.start import start_at_mapping, start_at_shares

import tiny


def encoder_weights(folder: Path) -> dict[str, Tensor]:
    return {k: v for k, v in load_file(folder / "model.safetensors").items() if "pooler" not in k}


@pytest.mark.parametrize("lowercase", [False, True])
def test_from_encoder_copies_all_weights_and_sees_whether_the_tokenizer_lower_cases(tmp_path, source, lowercase):
    folder = tiny.save_tiny_encoder(tmp_path, tiny.wordpiece_tokenizer(lowercase))
    model = FinenerForTokenClassification.from_encoder(folder, source, lstm_hidden_size=8)
    weights = encoder_weights(folder)
    assert set(weights) == set(model.encoder.state_dict()) and len(weights) > 30
    assert all(torch.equal(value, weights[name]) for name, value in model.encoder.state_dict().items())
    assert model.config.use_word_shape is lowercase
    assert not model.training
    assert model.config.encoder_config.vocab_size == len(tiny.wordpiece_tokenizer(lowercase))


def test_use_word_shape_may_be_set_against_the_tokenizer(encoder_folder, source):
    model = FinenerForTokenClassification.from_encoder(encoder_folder, source, use_word_shape=True)
    assert model.config.use_word_shape is True


def test_from_encoder_takes_the_encoder_out_of_a_masked_lm(tmp_path, tokenizer, source):
    BertForMaskedLM(tiny.encoder_config(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = FinenerForTokenClassification.from_encoder(tmp_path, source)
    stored = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(value, stored[f"bert.{name}"]) for name, value in model.encoder.state_dict().items())


def test_from_encoder_takes_encoders_that_know_no_pooler(tmp_path, tokenizer, source):
    config = DistilBertConfig(vocab_size=len(tokenizer), dim=16, n_layers=2, n_heads=2, hidden_dim=32)
    DistilBertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = FinenerForTokenClassification.from_encoder(tmp_path, source, lstm_hidden_size=8)
    weights = encoder_weights(tmp_path)
    assert all(torch.equal(value, weights[name]) for name, value in model.encoder.state_dict().items())
    assert tiny.outputs(model, tokenizer, tiny.LONG).logits.isfinite().all()


def test_from_encoder_trains_in_full_precision_whatever_is_stored(tmp_path, tokenizer, source):
    BertModel(tiny.encoder_config(tokenizer)).to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = FinenerForTokenClassification.from_encoder(tmp_path, source)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    weights = encoder_weights(tmp_path)
    assert all(torch.equal(value, weights[name].float()) for name, value in model.encoder.state_dict().items())


def test_from_encoder_refuses_a_checkpoint_that_lacks_some_of_the_encoder(tmp_path, tokenizer, source):
    file = tiny.save_tiny_encoder(tmp_path, tokenizer) / "model.safetensors"
    weights = load_file(file)
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(
        ValueError, match=r"lacks 1 of its encoder's weights \(\['encoder\.layer\.1\.output\.dense\.weight'\]"
    ):
        FinenerForTokenClassification.from_encoder(tmp_path, source)


def test_from_encoder_refuses_a_finener_model_without_running_its_code(tmp_path, model, tokenizer, source):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"is a finener model: load it with .*from_pretrained"):
        FinenerForTokenClassification.from_encoder(tmp_path, source)


def test_type_vectors_may_start_from_the_types_names(encoder_folder, tokenizer, source):
    model = FinenerForTokenClassification.from_encoder(encoder_folder, source)
    assert model.config.type_vector_size == 16
    for i, name in ((0, "physical"), (7, "museum, building, organization")):
        ids = tokenizer(name, return_tensors="pt")
        with torch.no_grad():
            state = model.encoder(input_ids=ids["input_ids"], attention_mask=ids["attention_mask"]).last_hidden_state
        expected = torch.nn.functional.normalize(state[0].mean(0), dim=0)
        tiny.close(model.type_head.score.weight[i].detach(), expected)


def test_names_are_embedded_in_their_order_whatever_the_batches(model, tokenizer):
    names = ["a", "long name of a type", "b b", "c", "another name"]
    alone = torch.cat([embed_names(model.encoder, tokenizer, [name]) for name in names])
    tiny.close(embed_names(model.encoder, tokenizer, names, batch_size=2), alone)


def test_a_model_without_types_says_how_to_give_them():
    with pytest.raises(ValueError, match=r"a finener model needs types: FinenerConfig\(ontology=Ontology.from_json"):
        FinenerForTokenClassification(FinenerConfig())


def test_add_conversion_leaves_the_source_side_as_it_was(model, tokenizer, target):
    before = tiny.outputs(model, tokenizer, tiny.LONG)
    model.add_conversion(target, start="random", conversion_hidden_size=5, soft_loss_decay=0.25)
    after = tiny.outputs(model, tokenizer, tiny.LONG)
    assert torch.equal(before.logits, after.logits) and torch.equal(before.type_logits, after.type_logits)
    assert after.target_type_logits.shape == (len(after.mention_spans), len(target))
    assert model.conversion.hidden.out_features == 5
    assert model.config.soft_loss_decay == 0.25 and model.config.soft_loss_weights is None
    assert model.config.target_ontology is target and model.config.lstm_hidden_size == 8


def test_add_conversion_replaces_a_head_that_is_there(target_model, tokenizer, source):
    target_model.add_conversion(source, start="random", conversion_input="logits+mention")
    output = tiny.outputs(target_model, tokenizer, tiny.LONG)
    assert output.target_type_logits.shape[1] == len(source)
    assert target_model.conversion.hidden.in_features == 10 + 16


def test_add_conversion_refuses_a_bad_knob(model, target):
    with pytest.raises(ValueError, match="soft_loss_decay must lie in"):
        model.add_conversion(target, soft_loss_decay=2.0)
    assert model.conversion is None and model.config.target_ontology is None


@pytest.mark.parametrize("norm", [True, False])
def test_conversion_reads_the_logits_as_they_are_or_normalised(tokenizer, norm):
    model = tiny.tiny_model(tokenizer, target=True, conversion_norm=norm)
    output, head = tiny.outputs(model, tokenizer, tiny.LONG), model.conversion
    logits = output.type_logits
    if norm:
        logits = (logits - logits.mean(1, keepdim=True)) / (logits.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    hidden = (logits @ head.hidden.weight.T + head.hidden.bias).clamp(min=0)
    expected = (hidden @ head.score.weight.T + head.score.bias).masked_fill(~head.assignable, FORBIDDEN)
    assert len(expected)
    tiny.close(output.target_type_logits, expected.detach())


def test_target_vectors_may_start_from_the_target_types_names(model, tokenizer, target):
    model.add_conversion(target, tokenizer=tokenizer)
    assert model.config.target_vector_size == 16
    expected = embed_names(model.encoder, tokenizer, [target.name_path(t) for t in target.ids])
    tiny.close(model.conversion.score.weight.detach(), expected)
    with pytest.raises(
        ValueError, match="vectors that start from names have the encoder's size, 16; got target_vector_size=5"
    ):
        model.add_conversion(target, tokenizer=tokenizer, target_vector_size=5)


def test_with_a_skip_connection_a_new_head_types_with_the_source_heads_vectors(tokenizer, source):
    model = tiny.tiny_model(tokenizer, type_vector_size=16)
    model.add_conversion(source, tokenizer=tokenizer, target_activation="sigmoid")
    assert model.config.conversion_skip and model.config.target_vector_size == 16
    model.conversion.score.load_state_dict(model.type_head.score.state_dict())
    output = tiny.outputs(model, tokenizer, tiny.LONG)
    tiny.close(output.target_type_logits, output.type_logits)
    model.conversion.project.weight.data.normal_()
    assert not torch.allclose(tiny.outputs(model, tokenizer, tiny.LONG).target_type_logits, output.type_logits)


def test_target_types_may_start_at_the_source_types_that_a_table_maps_to_them(tokenizer, source, target):
    model = tiny.tiny_model(tokenizer, type_vector_size=16)
    model.add_conversion(target, tokenizer=tokenizer, target_activation="sigmoid")
    before = model.conversion.score.weight.detach().clone()
    table = TypeMapping(source, target, [("artist", "per.artist.painter", 1.0), ("place", "loc", 0.5)])
    assert start_at_mapping(model, table) == 4, "painter, artist and per above it, loc"
    own, theirs = model.conversion.score, model.type_head.score
    for target_id, source_id in (("per.artist.painter", "artist"), ("per", "artist"), ("loc", "place")):
        tiny.close(own.weight[target.index(target_id)], theirs.weight[source.index(source_id)])
        tiny.close(own.bias[target.index(target_id)], theirs.bias[source.index(source_id)])
    tiny.close(own.weight[target.index("loc.city")], before[target.index("loc.city")])
    output = tiny.outputs(model, tokenizer, tiny.LONG)
    tiny.close(output.target_type_logits[:, target.index("loc")], output.type_logits[:, source.index("place")])
    assert len(output.type_logits)


def test_a_new_conversion_head_takes_no_threshold_over_from_the_one_before(tokenizer, target, tmp_path):
    model = tiny.tiny_model(tokenizer, target=True)
    model.config.target_type_threshold = {"default": 0.4, "levels": [], "types": {"per": 0.3}}
    other = Ontology("other", [EntityType("name")])
    for activation, expected in (("softmax", 0.0), ("sigmoid", 0.5)):
        model.add_conversion(other, start="random", target_activation=activation)
        assert model.config.target_type_threshold == expected
    model.add_conversion(target, start="random", target_activation="sigmoid", target_type_threshold=0.0)
    model.save_pretrained(tmp_path)
    assert FinenerConfig.from_pretrained(tmp_path).target_type_threshold == 0.0, "what was asked for, not the default"


def test_a_table_that_does_not_fit_the_model_starts_nothing(tokenizer, source, target):
    table = TypeMapping(source, target, [("place", "loc", 1.0)])
    model = tiny.tiny_model(tokenizer, type_vector_size=16)
    model.add_conversion(target, start="random")
    with pytest.raises(ValueError, match="pre-train with type_start: names"):
        start_at_mapping(model, table)
    model.add_conversion(target, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="the mapping goes tgt → src, not between this model's types"):
        start_at_mapping(model, TypeMapping(target, source, [("loc", "place", 1.0)]))


def test_biases_may_start_at_each_types_share(model, tokenizer, target):
    shares = torch.linspace(0.1, 0.9, len(model.config.ontology))
    start_at_shares(model, shares)
    tiny.close(model.type_head.score.bias.detach().sigmoid(), shares)
    for activation, back in (("sigmoid", torch.sigmoid), ("softmax", torch.exp)):
        model.add_conversion(target, start="random", target_activation=activation)
        start_at_shares(model, shares[: len(target)])
        tiny.close(back(model.conversion.score.bias.detach()), shares[: len(target)])
    for bad in (shares[:3], torch.zeros(len(target)), torch.ones(len(target))):
        with pytest.raises(ValueError, match="shares between 0 and 1"):
            start_at_shares(model, bad)


# -------------------------------------------------------------------- knobs and starts


@pytest.mark.parametrize("knob", ["lstm_hidden_size", "conversion_hiden_size", "foo"])
def test_add_conversion_refuses_what_it_does_not_know_or_pre_training_has_fixed(model, target, knob):
    hints = {"conversion_hiden_size": "; did you mean 'conversion_hidden_size'"}
    hint = hints.get(knob, "; fine-tuning may set conversion_input")
    with pytest.raises(ValueError, match=rf"unknown knob '{knob}'{hint}"):
        model.add_conversion(target, start="random", **{knob: 77})
    assert model.conversion is None


def test_the_tokenizer_is_found_where_the_model_came_from(encoder_folder, tokenizer, source, target, tmp_path):
    model = FinenerForTokenClassification.from_encoder(encoder_folder, source)
    assert model.fresh_start == "names"
    model.add_conversion(target)
    expected = embed_names(model.encoder, tokenizer, [target.name_path(t) for t in target.ids])
    tiny.close(model.conversion.score.weight.detach(), expected)
    assert model.config.conversion_skip and model.config.encoder_config is model.encoder.config
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = FinenerForTokenClassification.from_pretrained(tmp_path)
    assert again.fresh_start is None
    again.add_conversion(target)
    tiny.close(again.conversion.score.weight.detach(), expected)


def test_without_a_tokenizer_the_error_shows_how_to_give_one(model, target, tmp_path):
    with pytest.raises(ValueError, match=r"tokenizer=AutoTokenizer.*or start='random'"):
        model.add_conversion(target)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"tokenizer=AutoTokenizer"):
        FinenerForTokenClassification.from_pretrained(tmp_path).add_conversion(target)
    assert model.conversion is None and model.config.target_ontology is None


@pytest.mark.parametrize("kept", ["vocab.txt", "tokenizer.json"])
def test_any_file_of_a_tokenizer_will_do(model, tokenizer, tmp_path, kept):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    if kept == "vocab.txt":
        (tmp_path / "tokenizer.json").unlink()
        (tmp_path / kept).write_text("\n".join(vocabulary), encoding="utf-8")
    found = FinenerForTokenClassification.from_pretrained(tmp_path).own_tokenizer()
    assert found.convert_ids_to_tokens(range(len(found))) == vocabulary


def test_names_are_embedded_without_dropout_while_a_model_is_in_training(model, tokenizer, target):
    model.train()
    model.add_conversion(target, tokenizer=tokenizer)
    assert model.training and model.encoder.training
    expected = embed_names(model.eval().encoder, tokenizer, [target.name_path(t) for t in target.ids])
    tiny.close(model.conversion.score.weight.detach(), expected)


def test_names_without_a_skip_where_the_source_heads_vectors_have_another_size(model, tokenizer, target):
    model.add_conversion(target, tokenizer=tokenizer)
    assert (model.config.conversion_skip, model.config.target_vector_size) == (False, 16)
    with pytest.raises(ValueError, match="conversion_skip adds vectors of one size"):
        model.add_conversion(target, tokenizer=tokenizer, conversion_skip=True)


def test_a_random_start_is_the_papers(encoder_folder, source, target):
    model = FinenerForTokenClassification.from_encoder(encoder_folder, source, start="random")
    model.add_conversion(target, start="random")
    config = model.config
    assert (config.type_vector_size, config.target_vector_size, config.conversion_skip) == (None, None, False)
    assert model.fresh_start == "random"
    with pytest.raises(ValueError, match="conversion_skip needs start='names'"):
        model.add_conversion(target, start="random", conversion_skip=True)
    with pytest.raises(ValueError, match="start must be one of names, random; got 'zeros'"):
        model.add_conversion(target, start="zeros")
    with pytest.raises(ValueError, match="got type_vector_size=8: leave it out, or start='random'"):
        FinenerForTokenClassification.from_encoder(encoder_folder, source, type_vector_size=8)


def test_from_encoder_passes_the_hub_arguments_to_every_load(encoder_folder, source, tmp_path, monkeypatch):
    asked = []
    for auto in (modeling.AutoConfig, modeling.AutoTokenizer, modeling.AutoModel):
        plain = auto.from_pretrained

        def load(place, *args, plain=plain, **kwargs):
            asked.append({k: kwargs[k] for k in ("revision", "token", "cache_dir")})
            return plain(place, *args, **kwargs)

        monkeypatch.setattr(auto, "from_pretrained", load)
    hub = {"revision": "v1", "token": "secret", "cache_dir": str(tmp_path)}
    FinenerForTokenClassification.from_encoder(encoder_folder, source, **hub)
    assert len(asked) >= 3 and all(kwargs == hub for kwargs in asked)


def test_names_may_be_embedded_in_bfloat16(encoder_folder, source):
    exact, rounded = (
        FinenerForTokenClassification.from_encoder(encoder_folder, source, autocast=dtype)
        for dtype in (None, torch.bfloat16)
    )
    vectors = [model.type_head.score.weight.detach() for model in (exact, rounded)]
    assert not torch.equal(*vectors) and vectors[1].dtype == torch.float32
    torch.testing.assert_close(*vectors, rtol=0, atol=0.02)
    assert (exact.encoder_autocast, rounded.encoder_autocast) == (None, torch.bfloat16)


def test_an_autocast_around_the_model_reaches_the_encoder(model, tokenizer):
    """As Trainer's bf16: true sets one; encoder_autocast is for the encoder alone."""
    batch = tiny.text_batch(model, tokenizer, *tiny.GOLD)
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "word_starts")}
    with torch.no_grad():
        exact = model.encoder_states(**inputs)
        with torch.autocast("cpu", torch.bfloat16):
            around = model.encoder_states(**inputs)
        model.encoder_autocast = torch.bfloat16
        own = model.encoder_states(**inputs)
    assert not torch.equal(exact, around.float())
    torch.testing.assert_close(around, own, rtol=0, atol=0)

import copy
import json

import pytest
import torch
from transformers import BertConfig, DistilBertConfig

from finener.configuration_finener import FinenerConfig
from finener.ontology_finener import EntityType, Ontology, OntologyError

import tiny


@pytest.fixture
def config(source, target) -> FinenerConfig:
    encoder = BertConfig(hidden_size=16, num_hidden_layers=3)
    return FinenerConfig(encoder, source, target, encoder_layers=(0, -1), target_activation="sigmoid", type_prior=2.5)


def test_a_bare_config_has_the_papers_values_and_no_types():
    config = FinenerConfig()
    assert (config.ontology, config.target_ontology, config.encoder_config.model_type) == (None, None, "bert")
    assert (config.lstm_hidden_size, config.lstm_layers, config.encoder_dropout, config.lstm_dropout) == (
        200,
        2,
        0.5,
        0.5,
    )
    assert (config.conversion_hidden_size, config.target_activation, config.soft_loss_decay) == (200, "softmax", 0.5)
    assert config.id2label == {0: "O", 1: "B", 2: "I"} and config.label2id == {"O": 0, "B": 1, "I": 2}


BAD_KNOBS = [
    ("mention_state", ["encoder"]),
    ("conversion_input", ["encoder"]),
    ("conversion_norm", ["no", 0]),
    ("target_vector_size", [0, 1.5]),
    ("conversion_skip", ["yes", 1]),
    ("target_activation", ["relu"]),
    ("target_decoding", ["f1", None, True]),
    ("encoder_dropout", [-0.1, 1.1, "0.5", None, float("nan")]),
    ("lstm_dropout", [2, True]),
    ("detection_threshold", [-1, "high"]),
    ("type_threshold", [1.01, None, True]),
    ("target_type_threshold", [-0.01]),
    ("soft_loss_decay", [5, None]),
    ("lstm_hidden_size", [0, -8, 8.0, "8"]),
    ("lstm_layers", [0, 1.5]),
    ("conversion_hidden_size", [0]),
    ("type_vector_size", [0, -1, 2.5]),
    ("type_prior", [0, -1.0, "8", float("nan")]),
    ("window_words", [0, 12.5]),
    ("window_overlap", [-1, 128, 200, 1.5]),
    ("use_word_shape", ["yes", 1]),
    ("encoder_layers", [[], [13], [-14], [1.0], "x", -1, None]),
    ("encoder_config", ["bert-base-cased", {}, {"hidden_size": 16}]),
    ("ontology", ["ontologies/yago.json"]),
    ("target_ontology", ["aida"]),
]


@pytest.mark.parametrize(("knob", "value"), [(knob, value) for knob, values in BAD_KNOBS for value in values])
def test_a_bad_knob_is_named_with_what_it_takes(knob, value):
    with pytest.raises(ValueError, match=rf"^{knob}\b.* (must|has)\b"):
        FinenerConfig(**{knob: value})


def test_thresholds_by_type_are_held_against_the_types_and_come_back(tmp_path):
    by_type = {"default": 0.5, "levels": [0.6], "types": {"building": 0.3}}
    config = FinenerConfig(ontology=tiny.two_parent_ontology(), type_threshold=by_type)
    config.save_pretrained(tmp_path)
    assert FinenerConfig.from_pretrained(tmp_path).type_threshold == by_type
    with pytest.raises(ValueError, match=r"type_threshold: .*bilding.*building"):
        FinenerConfig(ontology=tiny.two_parent_ontology(), type_threshold={"default": 0.5, "types": {"bilding": 0.3}})


def test_window_overlap_is_held_against_window_words():
    with pytest.raises(ValueError, match=r"window_overlap must lie in \[0, window_words = 8\); got 8"):
        FinenerConfig(window_words=8, window_overlap=8)
    assert FinenerConfig(window_words=8, window_overlap=7).window_overlap == 7


@pytest.mark.parametrize("layers", [[0], [-13], [12], (3, -1)])
def test_every_layer_that_the_encoder_has_may_be_named(layers):
    assert FinenerConfig(encoder_layers=layers).encoder_layers == list(layers)


def test_the_encoder_may_be_a_dict_or_a_config_of_any_kind():
    assert FinenerConfig({"model_type": "bert", "num_hidden_layers": 2}).encoder_config.num_hidden_layers == 2
    encoder = DistilBertConfig(n_layers=2)
    assert FinenerConfig(encoder, encoder_layers=[2]).encoder_config is encoder


def test_types_may_be_given_in_their_json_form(source):
    assert FinenerConfig(ontology=source.to_dict()).ontology.digest == source.digest


# -------------------------------------------------------------------- files


def test_config_json_holds_hashes_instead_of_types(config, source, target):
    text = config.to_json_string()
    content = json.loads(text)
    assert content["ontology_file"] == {"name": "ontology.json", "source": source.digest, "target": target.digest}
    assert "museum" not in text and "loc.city" not in text
    assert content["lstm_dropout"] == 0.5, "defaults are told too"
    assert "ontology_file" not in FinenerConfig().to_diff_dict()


def test_a_dict_of_a_config_gives_an_equal_config(config, source, target):
    config = config.with_conversion(target, soft_loss_weights=[(i, i, 1.0) for i in range(10)])
    content = config.to_dict()
    again = FinenerConfig.from_dict(json.loads(json.dumps(content)))
    assert (again.ontology.types, again.target_ontology.types) == (source.types, target.types)
    assert again.soft_loss_weights == config.soft_loss_weights and again.to_dict() == content


UNKNOWN = {
    "conversion_hiden_size": r"unknown knob 'conversion_hiden_size'; did you mean 'conversion_hidden_size'\?",
    "lstm_layer": "did you mean 'lstm_layers'",
    "foo": r"unknown knob 'foo'; help\(FinenerConfig\) lists the knobs",
}


@pytest.mark.parametrize("knob", UNKNOWN)
def test_an_unknown_knob_is_an_error_that_says_what_was_meant(knob):
    with pytest.raises(ValueError, match=UNKNOWN[knob]):
        FinenerConfig(**{knob: 7})


def test_what_transformers_takes_is_taken():
    given = {"name_or_path": "x", "output_attentions": True, "attn_implementation": "eager", "dtype": "bfloat16"}
    config = FinenerConfig(**given, architectures=["A"])
    assert (config.name_or_path, config.output_attentions, config.dtype) == ("x", True, torch.bfloat16)


def test_a_saved_config_may_hold_what_other_tools_put_there_but_no_misspelt_knob(config, tmp_path):
    config.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"transformers_version": "5.0.0", "of_a_tool": 1}), encoding="utf-8")
    assert FinenerConfig.from_pretrained(tmp_path).of_a_tool == 1
    path.write_text(json.dumps(content | {"type_treshold": 0.1}), encoding="utf-8")
    with pytest.raises(ValueError, match="unknown knob 'type_treshold'; did you mean 'type_threshold'"):
        FinenerConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "knobs", [{"num_labels": 9}, {"id2label": {0: "A", 1: "B", 2: "C"}}, {"label2id": {"O": 2, "B": 1, "I": 0}}]
)
def test_the_tags_are_fixed(knobs):
    with pytest.raises(ValueError, match="the tags are O, B, I; types are the ontology's"):
        FinenerConfig(**knobs)


@pytest.mark.parametrize(
    ("knob", "same", "other"),
    [("encoder_layer_mix", "concat", "learned"), ("mention_pooling", "mean", "max"), ("initializer_range", 0.02, 0.3)],
)
def test_a_retired_knob_is_taken_only_at_the_value_that_is_computed(knob, same, other):
    assert knob not in FinenerConfig(**{knob: same}).to_dict()
    with pytest.raises(
        ValueError, match=f"{knob} is no knob any more: models are computed with {same!r}; got {other!r}"
    ):
        FinenerConfig(**{knob: other})


@pytest.mark.parametrize("rows", [[(10, 0, 1.0)], [(0, -1, 1.0)], [(0, 0, 0.0)], [(0, 0)]])
def test_rows_of_w_are_held_against_the_target_types(target, rows):
    with pytest.raises(ValueError, match=r"soft_loss_weights must be rows .* of the 10 target types"):
        FinenerConfig(target_ontology=target, soft_loss_weights=rows)


def test_deep_copies_share_types_and_w(config, target):
    config = config.with_conversion(target, soft_loss_weights=[(i, i, 1.0) for i in range(10)])
    again = copy.deepcopy(config)
    assert again.ontology is config.ontology and again.soft_loss_weights is config.soft_loss_weights


def test_a_saved_config_comes_back_with_its_types_and_knobs(config, source, target, tmp_path):
    config.save_pretrained(tmp_path)
    again = FinenerConfig.from_pretrained(tmp_path)
    assert again.to_diff_dict() == config.to_diff_dict()
    assert again.ontology.types == source.types and again.target_ontology.types == target.types
    assert (again.ontology.name, again.ontology.source) == ("src", source.source)
    assert isinstance(again.encoder_config, BertConfig) and again.encoder_config.num_hidden_layers == 3
    assert (again.encoder_layers, again.target_activation, again.type_prior) == ([0, -1], "sigmoid", 2.5)


def test_a_config_without_target_types_comes_back_without(source, tmp_path):
    FinenerConfig(ontology=source).save_pretrained(tmp_path)
    assert FinenerConfig.from_pretrained(tmp_path).target_ontology is None


def test_a_knob_given_at_loading_counts_and_is_checked(config, tmp_path):
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"type_threshold must lie in"):
        FinenerConfig.from_pretrained(tmp_path, type_threshold=7)
    assert FinenerConfig.from_pretrained(tmp_path, type_threshold=0.25).type_threshold == 0.25


def test_a_config_is_read_from_the_path_of_its_file(config, source, tmp_path):
    config.save_pretrained(tmp_path)
    assert FinenerConfig.from_pretrained(tmp_path / "config.json").ontology.digest == source.digest


def test_no_file_tells_a_local_path(config, tmp_path):
    config.save_pretrained(tmp_path / "first")
    again = FinenerConfig.from_pretrained(tmp_path / "first")
    again.name_or_path = again.encoder_config.name_or_path = str(tmp_path / "first")
    again.save_pretrained(tmp_path / "second")
    for file in (tmp_path / "second").iterdir():
        assert str(tmp_path) not in file.read_text(encoding="utf-8"), file.name


def test_a_folder_without_ontology_json_says_what_to_do(config, tmp_path):
    config.save_pretrained(tmp_path)
    (tmp_path / "ontology.json").unlink()
    with pytest.raises(
        OntologyError, match=r"has no readable ontology\.json, the file that lists the types .* copy it"
    ):
        FinenerConfig.from_pretrained(tmp_path)


def test_other_types_than_those_of_training_are_refused(config, source, target, tmp_path):
    others = Ontology("tgt", [*target.types, EntityType("more")])
    FinenerConfig(ontology=source, target_ontology=others).save_pretrained(tmp_path / "foreign")
    config.save_pretrained(tmp_path)
    (tmp_path / "foreign" / "ontology.json").replace(tmp_path / "ontology.json")
    with pytest.raises(
        OntologyError, match=rf"lists other target types \(hash {others.digest}\) .*\(hash {target.digest}\)"
    ):
        FinenerConfig.from_pretrained(tmp_path)


def test_swapped_types_are_refused(config, tmp_path):
    config.save_pretrained(tmp_path)
    path = tmp_path / "ontology.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["source"]["types"].append(content["source"]["types"].pop(2))
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(OntologyError, match="lists other source types"):
        FinenerConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"source": {"name": "src", "types": []}, "target": null}',
        '{"target": null}',
        '{"name": "src", "source": "WordNet", "types": [{"id": "a"}]}',
    ],
    ids=["truncated", "a list", "no types", "no source", "as in ontologies/"],
)
def test_an_ontology_json_of_another_form_is_refused(config, tmp_path, content):
    config.save_pretrained(tmp_path)
    (tmp_path / "ontology.json").write_text(content, encoding="utf-8")
    with pytest.raises(OntologyError, match=r"has no readable ontology\.json"):
        FinenerConfig.from_pretrained(tmp_path)


def test_eight_thousand_types_stay_out_of_config_json(tmp_path):
    types = [EntityType("t0"), *(EntityType(f"t{i}", f"type {i}", (f"t{i // 10}",)) for i in range(1, 8000))]
    config = FinenerConfig(ontology=Ontology("many", types))
    config.save_pretrained(tmp_path)
    assert (tmp_path / "config.json").stat().st_size < 10_000
    again = FinenerConfig.from_pretrained(tmp_path)
    assert again.ontology.types == config.ontology.types
    assert again.ontology.closure(["t7999"]) == ["t0", "t7", "t79", "t799", "t7999"]


def test_a_dtype_survives_the_round_trip(config, tmp_path):
    config.dtype = torch.bfloat16
    config.save_pretrained(tmp_path)
    assert FinenerConfig.from_pretrained(tmp_path).dtype == torch.bfloat16


def test_a_skip_connection_needs_vectors_of_one_size():
    encoder = BertConfig(num_hidden_layers=2)
    FinenerConfig(encoder, type_vector_size=8, target_vector_size=8, conversion_skip=True)
    for sizes in ({}, {"type_vector_size": 8}, {"type_vector_size": 8, "target_vector_size": 16}):
        with pytest.raises(ValueError, match="target_vector_size must be type_vector_size; got"):
            FinenerConfig(encoder, conversion_skip=True, **sizes)


def test_the_least_score_of_a_target_type_suits_what_is_trained(target):
    encoder = BertConfig(num_hidden_layers=2)
    assert FinenerConfig(encoder).target_type_threshold == 0.0
    several = FinenerConfig(encoder, target_ontology=target, target_activation="sigmoid")
    assert several.target_type_threshold == 0.5, "at 0 every type would be returned"
    assert FinenerConfig(encoder, target_activation="sigmoid", target_type_threshold=0.0).target_type_threshold == 0.0

"""A stock companion learns from a finener model, and runs by transformers alone."""

import json

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForTokenClassification, AutoTokenizer, BertForTokenClassification
from transformers import pipeline as pipe_of

from finener import cli
from finener.data_scripts.record_files import read_records, write_records
from finener.export import stock
from finener.export.stock_tokenizer import stock_tokenizer
from finener.export.stock_training import UNREAD, new_stock_model, tagged
from finener.export.stock_types import MOST_TYPES, StockTypes
from finener.ontology_finener import EntityType, Ontology, OntologyError
from finener.paths import ONTOLOGIES
from finener.publishing import command as release
from finener.windows_finener import HALF_PAIRS, TextEncoder

import tiny
from apart import run_apart
from texts import ODD_TEXTS

PIPELINE = """
import json, sys
sys.modules["finener"] = None
from transformers import pipeline
ner = pipeline("token-classification", sys.argv[1], aggregation_strategy="first")
found = [[(m["start"], m["end"], m["entity_group"]) for m in ner(text)] for text in json.loads(sys.argv[2])]
print(json.dumps([type(ner).__name__, type(ner.model).__name__, found]))
"""
GOLD_TAGS = {"per": "per", "loc": "loc", "org": "org"}


def gold_records(suffix: str = "") -> list[dict]:
    """The tiny gold texts with target types, as records."""
    records = []
    for number, (text, names) in enumerate(tiny.GOLD.items()):
        text += suffix
        spans = [(text.index(name), name, target) for name, (_, target) in names.items()]
        mentions = [{"start": at, "end": at + len(name), "types": [target]} for at, name, target in spans]
        flags = {"exhaustive": True, "typed": True, "ontology": "tgt"}
        records.append({"id": f"g{number}", "text": text, "mentions": mentions, **flags})
    return records


def spans(records: list[dict]) -> list[list[tuple]]:
    """Each record's mentions with the roots of their types."""
    return [[(m["start"], m["end"], m["types"][0][:3]) for m in record["mentions"]] for record in records]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny full model on a lower-casing tokenizer, and files of gold, test and open text."""
    folder = tmp_path_factory.mktemp("full")
    tokenizer = tiny.TOKENIZERS["wordpiece-uncased"]()
    tiny.tiny_model(tokenizer, target=True).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    write_records(gold_records(), folder / "gold.jsonl")
    write_records(gold_records(" Nobody came."), folder / "test.jsonl")
    (folder / "open.txt").write_text("Ada saw Rome.\n\nNobody came.\nBo left York.\n", encoding="utf-8")
    return folder


def export(saved, folder, *arguments) -> int:
    fixed = ["export", "--model", saved / "model", "--format", "stock", "--output_dir", folder]
    return cli.main([*map(str, [*fixed, *arguments])])


@pytest.fixture(scope="module")
def companion(saved):
    """One that has learnt the gold."""
    gold, test = ("--gold", saved / "gold.jsonl"), ("--test", saved / "test.jsonl")
    knobs = (
        "--epochs",
        30,
        "--batch_size",
        4,
        "--learning_rate",
        0.01,
        "--full_model_repo",
        "me/full",
        "--examples",
        "Ada left.",
    )
    assert export(saved, saved / "stock", *gold, *test, *knobs) == 0
    return saved / "stock"


def test_the_folder_runs_in_a_fresh_process_without_code_of_ours(companion, tmp_path):
    records = gold_records()
    told = run_apart(PIPELINE, companion, json.dumps([r["text"] for r in records]), cwd=tmp_path)
    pipeline, model, found = json.loads(told.splitlines()[-1])
    assert (pipeline, model) == ("TokenClassificationPipeline", "BertForTokenClassification")
    here = pipe_of("token-classification", str(companion), aggregation_strategy="first")
    assert found == [[[m["start"], m["end"], m["entity_group"]] for m in here(r["text"])] for r in records]
    gold, told = (
        {(i, *mention) for i, of_text in enumerate(texts) for mention in of_text} for texts in (spans(records), found)
    )
    assert 2 * len(gold & told) > 0.7 * (len(gold) + len(told)), "it has learnt the gold, its types cut to the roots"
    assert not list(companion.glob("*.py"))
    config = json.loads((companion / "config.json").read_text(encoding="utf-8"))
    assert "auto_map" not in config and config["full_model"] == "me/full" and config["full_model_types"] == GOLD_TAGS
    settings = (companion / "tokenizer_config.json").read_text(encoding="utf-8")
    assert '"PreTrainedTokenizerFast"' in settings and "is_local" not in settings


def test_results_and_card_tell_both_models_and_which_type_is_which(companion):
    results = json.loads((companion / "results.json").read_text(encoding="utf-8"))
    assert results["records"] == {"text": 0, "gold": 4, "test": 4} and results["types"] == GOLD_TAGS
    scores = {name: of["pair_f1"] for name, of in results["test"].items()}
    assert scores["companion"] > 0.3 and set(scores) == {"full model", "companion", "companion, sub-tokens"}
    assert results["difference"]["pair_f1"]["difference"] == pytest.approx(scores["companion"] - scores["full model"])
    card = ModelCard.load(companion / "README.md")
    assert card.data.inference == {"parameters": {"aggregation_strategy": "first"}}
    assert card.data.pipeline_tag == "token-classification" and card.data.license is None
    assert card.data.base_model == "me/full" and card.data.widget == [{"text": "Ada left."}]
    assert "https://huggingface.co/me/full" in card.text and "| per | `per` |" in card.text
    assert f"| companion | (span, type) pairs | {results['test']['companion']['pair_precision']:.3f}" in card.text
    assert str(companion.parent) not in (companion / "README.md").read_text() + json.dumps(results)


def test_it_is_released_with_a_card_for_its_repo(companion, tmp_path, capsys):
    asked = ["--model", companion, "--repo", "me/small", "--license", "mit", "--tag", "v1", "--dry_run"]
    assert cli.main(["release", *map(str, asked)]) == 0
    assert "nor tagged v1" in capsys.readouterr().out
    staged, _ = release.stage_model(companion, tmp_path, "me/small", facts=release.CardFacts(license="mit"), tag="v1")
    card = ModelCard.load(staged.folder / "README.md")
    assert card.data.license == "mit" and card.data.base_model == "me/full"
    assert 'model="me/small", revision="v1"' in card.text
    with pytest.raises(ValueError, match="--scores: not for a stock companion"):
        other = tmp_path / "other"
        other.mkdir()
        release.stage_model(companion, other, "me/small", measured={"x": {}})


def test_open_text_is_labelled_by_the_full_model_and_a_test_text_never_trains(saved, tmp_path, capsys):
    lines = [r["text"] for r in gold_records(" Nobody came.")]
    (tmp_path / "open.txt").write_text("\n".join(["Ada saw Rome.", *lines, "Bo left."]), encoding="utf-8")
    test = ("--test", saved / "test.jsonl", "--epochs", 0.1)
    assert export(saved, tmp_path / "a", "--text", tmp_path / "open.txt", *test) == 0
    results = json.loads((tmp_path / "a" / "results.json").read_text(encoding="utf-8"))
    assert results["records"] == {"text": 2, "gold": 0, "test": 4} and results["mentions"] > 0
    assert "no examples for the widget" in capsys.readouterr().out
    assert export(saved, tmp_path / "b", "--gold", saved / "test.jsonl", *test) == 1
    assert "a test must not train" in capsys.readouterr().err


def test_a_gold_record_is_seen_more_often_than_a_text(saved, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(stock, "train_stock_model", lambda model, tokenizer, examples, **_: seen.append(len(examples)))
    (tmp_path / "open.txt").write_text("Ada saw Rome.\nBo left.", encoding="utf-8")
    given = ("--text", tmp_path / "open.txt", "--gold", saved / "gold.jsonl")
    assert export(saved, tmp_path / "a", *given) == 0 == export(saved, tmp_path / "b", *given, "--gold_times", 2)
    assert seen == [5 * 4 + 2, 2 * 4 + 2]
    told = [json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8")) for name in "ab"]
    assert told[0]["records"] == {"text": 2, "gold": 4, "test": 0} and told[0]["mentions"] == told[1]["mentions"]
    assert export(saved, tmp_path / "c", *given, "--gold_times", 0) == 1


# -------------------------------------------------------------------- types and tags


def test_a_level_and_what_ends_above_it():
    types = StockTypes.at_level(tiny.target_ontology())
    assert types.ids == ("per", "org", "loc") and types.tags == [
        "O",
        "B-per",
        "I-per",
        "B-org",
        "I-org",
        "B-loc",
        "I-loc",
    ]
    assert StockTypes.at_level(tiny.target_ontology(), 3).ids == (
        *("per.artist.painter", "per.artist.singer", "per.politician"),
        *("org.company", "loc.city.capital"),
    )
    aida = StockTypes.at_level(Ontology.from_json(ONTOLOGIES / "aida.json"))
    assert len(aida.tags) == 33 and "B-person" in aida.tags and aida.names["per"] == "person"


def test_labels_that_are_not_apart_give_way_to_ids():
    twice = Ontology("t", [EntityType("a", "art"), EntityType("b", "art")])
    assert StockTypes.at_level(twice).tags == ["O", "B-a", "I-a", "B-b", "I-b"]


def test_of_several_types_the_best_scored_of_the_most_specific_ones():
    types = StockTypes.of_ids(tiny.two_parent_ontology(), ["person", "place", "building", "organization"])
    scores = {"organization": 0.4, "place": 0.9, "building": 0.5}
    assert types.best(["museum"], scores) == "building", "and not place, which is above it"
    assert types.best(["museum"], {"organization": 0.6} | {"building": 0.5}) == "organization"
    assert types.best(["physical"], scores) is None


def test_too_many_types_and_wrong_ones_say_what_to_give(saved, tmp_path, capsys):
    many = Ontology("many", [EntityType("r"), *(EntityType(f"t{i}", parents=("r",)) for i in range(MOST_TYPES + 1))])
    with pytest.raises(ValueError, match=r"level 2 of 'many' has 65 types, 131 tags.*--level 1 \(1 types\).*--types r"):
        StockTypes.at_level(many, 2)
    with pytest.raises(OntologyError, match="is not a type"):
        StockTypes.of_ids(many, ["rr"])
    for asked, said in (
        (["--level", 4], "--level must be between 1, the roots, and 3"),
        (["--level", 1], "nothing to learn from: give --text"),
        (["--int8"], "--int8: not with --format stock"),
        (["--epochs", 0], "--epochs must be above 0"),
        (["--full_model_repo", "mine"], "--full_model_repo names a user and a repo"),
        (["--text", tmp_path / "no.txt"], "no.txt"),
    ):
        assert export(saved, tmp_path / "out", *asked) == 1
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, asked
    asked = [
        "export",
        "--model",
        str(saved / "model"),
        "--format",
        "onnx",
        "--output_dir",
        str(tmp_path),
        "--level",
        "1",
    ]
    assert cli.main(asked) == 1 and "--level: not with --format onnx" in capsys.readouterr().err


def test_types_may_stand_in_a_file_and_partly_marked_records_are_refused(saved, tmp_path, capsys):
    (tmp_path / "ids.txt").write_text("per.artist\nloc\n", encoding="utf-8")
    gold = ["--gold", saved / "gold.jsonl", "--epochs", 0.1]
    assert export(saved, tmp_path / "a", "--types", tmp_path / "ids.txt", *gold) == 0
    config = json.loads((tmp_path / "a" / "config.json").read_text(encoding="utf-8"))
    assert list(config["full_model_types"].values()) == ["per.artist", "loc"]
    records = [{**r, "exhaustive": False} for r in read_records(saved / "gold.jsonl")]
    write_records(records, tmp_path / "partly.jsonl")
    assert export(saved, tmp_path / "b", "--gold", tmp_path / "partly.jsonl") == 1
    assert "are not exhaustive" in capsys.readouterr().err


# -------------------------------------------------------------------- tokens and weights


@pytest.mark.parametrize("kind", list(tiny.TOKENIZERS))
def test_every_sub_token_of_a_mention_has_its_tag(kind):
    tokenizer, _ = stock_tokenizer(tiny.TOKENIZERS[kind](), tiny.MAX_TOKENS)
    types = StockTypes.at_level(tiny.target_ontology())
    for record in gold_records():
        single = {**record, "mentions": [{**m, "types": [m["types"][0][:3]]} for m in record["mentions"]]}
        encoded = tagged(single, tokenizer, types)
        offsets = tokenizer(record["text"], return_offsets_mapping=True)["offset_mapping"]
        special = set(tokenizer.all_special_ids)
        for token, label, (start, end) in zip(encoded["input_ids"], encoded["labels"], offsets, strict=True):
            over = [m for m in single["mentions"] if start < m["end"] and end > m["start"]]
            if token in special and label == UNREAD:
                continue
            expected = types.tag_of[over[0]["types"][0]] if over else 0
            assert label in (expected, expected + bool(over)), "B or I of the mention that it touches, O outside"
        begun = [i for i in encoded["labels"] if i > 0 and i % 2]
        assert len(begun) == len(single["mentions"]), "each mention begins once"


def test_a_lower_casing_tokenizer_learns_capitals_and_cuts_as_before():
    own = tiny.TOKENIZERS["wordpiece-uncased"]()
    made, twins = stock_tokenizer(own, tiny.MAX_TOKENS)
    read = made.convert_ids_to_tokens(made("New York, in NEW york é É", add_special_tokens=False)["input_ids"])
    assert read == ["New", "York", ",", "in", "New", "york", "e", "E"]
    for text in (*tiny.GOLD, *ODD_TEXTS.values(), "McDonald 5Es U.S. °C iPhone ΑΘΗΝΑ"):
        text = HALF_PAIRS.sub("?", text)
        expected, found = (t(text, return_offsets_mapping=True) for t in (own, made))
        assert [twins.get(i, i) for i in found["input_ids"]] == expected["input_ids"], text
        assert found["offset_mapping"] == expected["offset_mapping"], text
    cased, none = stock_tokenizer(tiny.TOKENIZERS["wordpiece-cased"](), 7)
    assert none == {} and cased.model_max_length == 7


def test_the_encoder_starts_as_the_full_models_and_capitals_are_one_direction():
    tokenizer = tiny.TOKENIZERS["wordpiece-uncased"]()
    full = tiny.tiny_model(tokenizer, target=True)
    made, twins = stock_tokenizer(tokenizer, tiny.MAX_TOKENS)
    stock = new_stock_model(full, twins, StockTypes.at_level(tiny.target_ontology()), seed=1)
    assert isinstance(stock, BertForTokenClassification) and stock.config.num_labels == 7
    embeddings = stock.get_input_embeddings().weight
    moved = embeddings[list(twins)] - embeddings[list(twins.values())]
    assert moved.std(0).max() < 1e-5 and moved.abs().max() > 0
    small = "new york, in the museum"
    with torch.no_grad():
        expected, found = (
            model(**tokens(small, return_tensors="pt")).last_hidden_state
            for model, tokens in ((full.encoder, tokenizer), (stock.eval().base_model, made))
        )
    tiny.close(found, expected)
    assert TextEncoder(made, full.config).encode("New York").words == [(0, 3), (4, 8)]


def test_a_saved_companion_is_what_was_trained(companion):
    model, loading = AutoModelForTokenClassification.from_pretrained(companion, output_loading_info=True)
    assert not any(loading.values())
    assert model.get_input_embeddings().num_embeddings == len(AutoTokenizer.from_pretrained(companion))

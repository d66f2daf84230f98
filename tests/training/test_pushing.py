"""Pushing from training: always a whole repo with our card, whatever says so."""

import json

import pytest
from huggingface_hub import ModelCard

from finener.publishing import release as publishing
from finener.training.arguments import ArgumentError
from finener.training.results import told_command

import runs
from runs import COMMON, FINETUNE, make_workplace, write_config

WHOLE = {
    "config.json",
    "model.safetensors",
    "ontology.json",
    "tokenizer.json",
    "results.json",
    "README.md",
    "handler.py",
}
WHOLE |= {f"{name}_finener.py" for name in ("building", "configuration", "modeling", "ontology", "pipeline")}
FORBIDDEN = (".bin", ".pt", ".pth")


@pytest.fixture
def unchecked(monkeypatch):
    """No fresh process, where something else is tested."""
    monkeypatch.setattr(publishing, "check", lambda *_: None)


def is_whole(files):
    return files.keys() >= WHOLE and not any(name.endswith(FORBIDDEN) for name in files)


def test_a_yaml_that_pushes_leaves_a_whole_repo_that_was_checked(tmp_path, encoder_folder, hub, monkeypatch):
    monkeypatch.chdir(make_workplace(tmp_path / "work", encoder_folder))
    pretrain = runs.PRETRAIN | {"num_train_epochs": 1}
    finetune = FINETUNE | {"push_to_hub": True, "hub_model_id": "user/final", "num_train_epochs": 1}
    finetune |= {"card": {"license": "cc0-1.0", "language": "en"}}
    write_config(tmp_path / "work", {**COMMON, "pretrain": pretrain, "finetune": finetune})
    printed = runs.run()
    ((kind, name),) = hub.repos
    repo = hub.repos[kind, name]
    assert name == "user/final" and len(repo.commits) == 2 and "Released: " in printed
    files = hub.files("user/final")
    assert is_whole(files)
    card = ModelCard(files["README.md"].decode())
    assert card.data.license == "cc0-1.0" and card.data.language == ["en"]
    assert "## Intended use" in card.text and f'revision="{next(iter(repo.tags))}"' in card.text
    assert "| pretrain | |" in card.text and "| finetune | |" in card.text
    assert not any(str(tmp_path).encode() in content for content in files.values())
    told = json.loads(files["results.json"])
    assert told["config"]["typing_data"] == ["target.jsonl"] and told["base_model"] is None
    (details,) = told["details"].values()
    assert details["levels"][0]["interval"] and details["intervals"].keys() >= {"mention_f1", "pair_f1"}
    assert "### fine-tuned, test part" in card.text


def test_every_save_pushes_whole_repos_and_a_failure_does_not_end_training(tokenizer, tmp_path, hub, unchecked, capsys):
    import tiny

    more = {"push_to_hub": True, "hub_model_id": "user/mine", "hub_strategy": "every_save", "save_strategy": "steps"}
    made = runs.trainer(
        tiny.tiny_model(tokenizer), tokenizer, tmp_path / "out", train=runs.SOURCE, max_steps=2, save_steps=1, **more
    )
    repo = hub.repos["models", "user/mine"]
    assert len(repo.commits) == 1, "the repo is made before training"
    made.train()
    assert [c.message for c in repo.commits[1:]] == ["Training in progress, step 1", "Training in progress, step 2"]
    for commit in repo.commits[1:]:
        assert is_whole(commit.files) and b"## Intended use" in commit.files["README.md"][0]
    hub.fail(1, "always 403")
    made._push_from_checkpoint(str(tmp_path / "out" / "checkpoint-2"))
    assert "training goes on: user/mine could not be released: " in capsys.readouterr().out
    hub.fail(0, "")
    done = made.push_to_hub(license="mit", dataset="user/set", commit_message="Done")
    assert hub.repos["models", "user/mine"].commits[-1].message == "Done"
    data = ModelCard(hub.files("user/mine", done.tag)["README.md"].decode()).data
    assert (data.license, data.datasets) == ("mit", ["user/set"])
    with pytest.raises(ValueError, match="card: unknown key 'licence'"):
        made.create_model_card(licence="mit")


def test_checkpoints_as_they_are_are_not_pushed(tokenizer, tmp_path, hub):
    import tiny

    with pytest.raises(ArgumentError, match=r"hub_strategy must be end or every_save.*pickles.*got checkpoint"):
        runs.trainer(
            tiny.tiny_model(tokenizer),
            tokenizer,
            tmp_path / "out",
            train=runs.SOURCE,
            push_to_hub=True,
            hub_strategy="checkpoint",
        )
    with pytest.raises(ArgumentError, match="card: unknown key 'licence'"):
        runs.trainer(tiny.tiny_model(tokenizer), tokenizer, tmp_path / "out", train=runs.SOURCE, card={"licence": "x"})
    assert hub.log == []


def test_a_repo_that_may_not_be_made_ends_the_run_before_training(tmp_path, encoder_folder, hub, monkeypatch):
    monkeypatch.chdir(make_workplace(tmp_path / "work", encoder_folder))
    write_config(tmp_path / "work", phases=["pretrain"], push_to_hub=True, hub_model_id="user/final")
    hub.fail(1, "always 403")
    runs.says("^train_finener: user/final could not be made: .*hf auth login")
    assert not (tmp_path / "work" / "out" / "pretrained").exists()


def test_a_command_is_told_without_tokens():
    given = [
        "/home/me/train_finener.py",
        "--hub_token",
        "hf_abcdefgh",
        "--push_to_hub_token=x",
        "--seed",
        "1",
        "hf_0123456789",
    ]
    assert told_command(given) == "train_finener.py --hub_token *** --push_to_hub_token=*** --seed 1 ***"

"""``finener release``: what goes up, what is refused, and that people can load it by its name."""

import json
import shutil

import pytest
from datasets import Dataset
from huggingface_hub import ModelCard, RepoCard

from finener import cli, paths
from finener.data_scripts.schema import FEATURES, validate_record
from finener.publishing import command, kinds
from finener.publishing.checks import check_loads
from finener.publishing.staging import ReleaseError, stage

import runs
from apart import run_apart

LOAD = """
import json, sys
sys.modules["finener"] = None  # the repository's own code must do
from transformers import AutoModel, pipeline

repo, revision = sys.argv[1:]
model, loading = AutoModel.from_pretrained(repo, revision=revision, trust_remote_code=True, output_loading_info=True)
ner = pipeline("token-classification", model=repo, revision=revision, trust_remote_code=True)
told = {"class": type(model).__name__, "pipeline": type(ner).__name__, "types": model.config.ontology.name}
print(json.dumps(told | {"loading": {k: len(v) for k, v in loading.items()}, "mentions": ner("Ada saw Rome.", mentions=[(0, 3)])}))
"""

LOAD_DATASET = """
import json, sys
from datasets import load_dataset
print(json.dumps([row["id"] for row in load_dataset(sys.argv[1], split="train")]))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tokenizer):
    """A model as the trainer leaves it, beside what else a training leaves."""
    import tiny

    folder = tmp_path_factory.mktemp("made") / "mine"
    made = runs.trainer(tiny.tiny_model(tokenizer), tokenizer, folder, train=runs.SOURCE)
    made.settings.card = {"license": "mit", "language": ["en"], "examples": ["Ada saw Rome."]}
    made.save_model()
    (folder / "checkpoint-3").mkdir()
    (folder / "checkpoint-3" / "optimizer.pt").write_bytes(b"state")
    told = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    told |= {"name_or_path": str(folder), "is_local": True, "local_files_only": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    results["config"] |= {"typing_data": [str(folder / "gold.jsonl")], "test_data": ["sub/test.jsonl"]}
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return folder


@pytest.fixture
def unchecked(monkeypatch):
    """No fresh process, where something else is tested."""
    monkeypatch.setattr(command, "check", lambda *_: None)


def release(*arguments):
    return cli.main(["release", "--repo", "user/mine", *map(str, arguments)])


def test_a_model_is_released_and_loaded_by_its_name_in_a_fresh_process(saved, hub, tmp_path, capsys):
    assert release("--model", saved, "--datasets", "user/set", "--examples", "Bo left.") == 0
    repo = hub.repos["models", "user/mine"]
    (tag,) = repo.tags
    assert f'revision="{tag}"' in capsys.readouterr().out
    assert len(repo.commits) == 2, "the first one, and the release as a whole"
    files = hub.files("user/mine")
    assert files.keys() >= {"config.json", "model.safetensors", "ontology.json", "tokenizer.json", "results.json"}
    assert files.keys() >= {f"{n}_finener.py" for n in ("building", "modeling", "naming", "pipeline")} | {"handler.py"}
    assert not any(name.endswith((".bin", ".pt")) or "checkpoint" in name for name in files)
    for name, content in files.items():
        assert str(saved).encode() not in content and b"is_local" not in content and b"sub/test" not in content, name

    card = ModelCard(files["README.md"].decode())
    data = card.data.to_dict()
    assert (data["license"], data["language"], data["datasets"]) == ("mit", ["en"], ["user/set"])
    assert data["widget"] == [{"text": "Bo left."}] and data["library_name"] == "transformers"
    assert f'model="user/mine", revision="{tag}", trust_remote_code=True' in card.text

    home = {"HF_HOME": str(tmp_path / "home")}
    told = json.loads(run_apart(LOAD, "user/mine", tag, cwd=tmp_path, **hub.environment, **home).splitlines()[-1])
    assert told["class"] == "FinenerForTokenClassification" and told["pipeline"] == "FinenerPipeline"
    assert told["types"] == "src" and not any(told["loading"].values())
    assert [m["word"] for m in told["mentions"]] == ["Ada"]


def test_a_dry_run_lists_what_goes_up_and_asks_no_hub(saved, hub, capsys, unchecked):
    assert release("--model", saved, "--dry_run") == 0
    printed = capsys.readouterr().out
    assert hub.log == [] and hub.repos == {}
    for name in ("config.json", "model.safetensors", "README.md", "handler.py"):
        assert name in printed
    assert "left out: training_args.bin (a pickle" in printed
    assert "left out: checkpoint-3/optimizer.pt (state of training)" in printed
    assert "nothing was uploaded to user/mine" in printed


def test_a_folder_that_would_not_load_is_refused_before_anything_is_uploaded(saved, hub, tmp_path, capsys):
    broken = shutil.copytree(saved, tmp_path / "broken")
    (broken / "layers_finener.py").write_text("from .decoding_finener import no_such_name\n", encoding="utf-8")
    assert release("--model", broken) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {broken} would not load for others, so nothing was uploaded: ")
    assert "no_such_name" in said and said.count("\n") == 1
    assert hub.log == []


def refused(capsys, message, *arguments):
    assert release(*arguments) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1, said


def test_what_a_model_lacks_is_told(saved, tmp_path, capsys, unchecked):
    model = shutil.copytree(saved, tmp_path / "model")
    (model / "handler.py").unlink()
    refused(capsys, "has no handler.py: save the model anew", "--model", model)
    (model / "config.json").unlink()
    refused(capsys, "has no config.json", "--model", model)
    refused(capsys, "is no folder", "--model", tmp_path / "nowhere")
    assert cli.main(["release", "--repo", "mine", "--model", str(saved)]) == 1
    assert "such as me/my-model" in capsys.readouterr().err


def test_a_place_that_is_left_is_refused_with_its_line(saved, tmp_path, capsys, unchecked):
    card = tmp_path / "CARD.md"
    card.write_text("# Mine\n\nfrom /home/somebody/data/x.jsonl\n", encoding="utf-8")
    message = "README.md, line 3, names a place on this machine: /home/somebody/data/x.jsonl"
    refused(capsys, message, "--model", saved, "--card", card)
    code = shutil.copytree(saved, tmp_path / "code")
    with (code / "handler.py").open("a", encoding="utf-8") as file:
        file.write(f"# {code}/x\n")
    refused(capsys, "handler.py, line", "--model", code)


def test_a_model_without_results_needs_a_card_of_its_own(saved, hub, tmp_path, capsys, unchecked):
    bare = shutil.copytree(saved, tmp_path / "bare")
    (bare / "results.json").unlink()
    (bare / "README.md").unlink()
    refused(capsys, "give one, --card README.md", "--model", bare)
    (tmp_path / "CARD.md").write_text("---\nlicense: mit\n---\n\n# Mine\n", encoding="utf-8")
    assert release("--model", bare, "--card", tmp_path / "CARD.md", "--tag", "v1") == 0
    assert hub.files("user/mine", "v1")["README.md"].endswith(b"# Mine\n")


def test_scores_of_other_tests_join_the_card(saved, hub, tmp_path, capsys, unchecked):
    scores = {"records": 7, "documents": 3, "resampled": "document", "levels": []}
    scores |= {"scores": {"mention_precision": 0.3, "mention_recall": 0.2, "mention_f1": 0.25}}
    (tmp_path / "news.json").write_text(
        json.dumps(scores | {"intervals": {"mention_f1": [0.1, 0.4]}}), encoding="utf-8"
    )
    assert release("--model", saved, "--scores", tmp_path / "news.json") == 0
    card = hub.files("user/mine")["README.md"].decode()
    assert "### news" in card and "| detection | 0.300 | 0.200 | 0.250 | 0.100–0.400 |" in card
    (tmp_path / "news.json").write_text("{}", encoding="utf-8")
    capsys.readouterr()
    refused(capsys, "holds no scores", "--model", saved, "--scores", tmp_path / "news.json")


# -------------------------------------------------------------------- datasets and Spaces


@pytest.fixture
def built(tmp_path):
    """A dataset folder as the build command leaves it."""
    folder = tmp_path / "tales"
    (folder / "data").mkdir(parents=True)
    rows = Dataset.from_list([validate_record(r) for r in runs.SOURCE], features=FEATURES)
    rows.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    header = "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*.parquet"
    (folder / "README.md").write_text(f"---\nlicense: mit\n{header}\n---\n\n# Tales\n", encoding="utf-8")
    return folder


def test_a_dataset_is_released_and_loaded_by_its_name_in_a_fresh_process(built, hub, tmp_path):
    assert release("--dataset", built) == 0
    assert hub.files("user/mine", kind="datasets").keys() >= {"README.md", "data/train-00000-of-00001.parquet"}
    told = run_apart(LOAD_DATASET, "user/mine", cwd=tmp_path, **hub.environment, HF_HOME=str(tmp_path / "home"))
    assert json.loads(told.splitlines()[-1]) == [r["id"] for r in runs.SOURCE]


def test_a_dataset_whose_licence_is_not_told_goes_up_for_its_owner_alone(built, hub, capsys, unchecked):
    card = (built / "README.md").read_text(encoding="utf-8")
    (built / "README.md").write_text(card.replace("license: mit", "license: other"), encoding="utf-8")
    refused(
        capsys, "tells no licence under which others may read it (license: other): say --private", "--dataset", built
    )
    assert release("--dataset", built, "--private") == 0
    assert hub.repos["datasets", "user/mine"].facts["visibility"] == "private"


def test_a_public_repo_takes_nothing_that_is_to_be_private(built, hub, capsys, unchecked):
    assert release("--dataset", built) == 0
    capsys.readouterr()
    before = hub.files("user/mine", kind="datasets")
    (built / "README.md").write_text("---\nlicense: other\n---\n", encoding="utf-8")
    assert release("--dataset", built, "--private") == 1
    assert "user/mine is there already, and public: nothing was uploaded" in capsys.readouterr().err
    assert hub.files("user/mine", kind="datasets") == before


def test_a_token_in_a_file_is_refused(saved, hub, tmp_path, capsys):
    folder = shutil.copytree(saved, tmp_path / "told")
    (folder / "notes.md").write_text("first\nhf_" + "a1" * 15 + "\n", encoding="utf-8")
    refused(capsys, "notes.md, line 2, holds a token of the Hub", "--model", folder)
    assert hub.log == []


def test_a_dataset_that_holds_no_records_is_refused(built, tmp_path):
    Dataset.from_list([{"words": ["a"]}]).to_parquet(built / "data" / "train-00000-of-00001.parquet")
    (tmp_path / "staged").mkdir()
    with pytest.raises(ReleaseError, match="split 'train' has no record with id and text"):
        check_loads(stage(built, tmp_path / "staged", "dataset"))


def test_the_space_of_this_repository_goes_up_with_the_name_of_a_model_and_never_without(hub, tmp_path, capsys):
    space = paths.ROOT / "space"
    refused(capsys, "say --space_model me/my-model", "--space", space)
    refused(capsys, "names a model on the Hub", "--space", space, "--space_model", tmp_path)
    refused(capsys, "--space_model: only for --space", "--model", space, "--space_model", "me/best")
    assert hub.log == [] and hub.repos == {}
    for model in ("me/first", "me/best"):
        assert release("--space", space, "--space_model", model) == 0
    card = RepoCard(hub.files("user/mine", kind="spaces")["README.md"].decode())
    before = RepoCard((space / "README.md").read_text(encoding="utf-8"))
    assert card.data.to_dict() == before.data.to_dict() | {"models": ["me/best"]}
    assert "a [finener](https://huggingface.co/models?other=finener) repo such as `me/best`" in card.text
    assert hub.repos["spaces", "user/mine"].facts["variables"] == {"MODEL": "me/best"}


def test_a_space_is_released_when_it_is_whole(hub, tmp_path, capsys):
    space = tmp_path / "space"
    space.mkdir()
    refused(capsys, "has no README.md, app.py, requirements.txt", "--space", space)
    (space / "README.md").write_text("---\ntitle: x\n---\n\n# x\n", encoding="utf-8")
    (space / "requirements.txt").write_text("gradio\n", encoding="utf-8")
    (space / "app.py").write_text("import gradio as\n", encoding="utf-8")
    refused(capsys, "YAML header that has sdk: gradio", "--space", space)
    (space / "README.md").write_text("---\ntitle: x\nsdk: gradio\n---\n\n# x\n", encoding="utf-8")
    refused(capsys, "app.py is no Python", "--space", space)
    (space / "app.py").write_text("import gradio\n", encoding="utf-8")
    refused(capsys, "--license: only for --model", "--space", space, "--license", "mit")
    assert release("--space", space) == 0
    assert hub.repos["spaces", "user/mine"].facts["sdk"] == "gradio"
    assert hub.files("user/mine", kind="spaces").keys() >= {"README.md", "app.py", "requirements.txt"}


def test_what_nobody_chose_is_named_by_its_content(saved, tmp_path):
    tags = []
    for name, text in (("a", "One."), ("b", "Two.")):
        (tmp_path / name).mkdir()
        facts = kinds.CardFacts(examples=[text])
        tags.append(kinds.stage_model(saved, tmp_path / name, "user/mine", facts=facts)[1])
    assert tags[0] == tags[1], "the card is not part of it"
    other = shutil.copytree(saved, tmp_path / "other")
    (other / "handler.py").write_text("# another\n", encoding="utf-8")
    (tmp_path / "c").mkdir()
    assert kinds.stage_model(other, tmp_path / "c", "user/mine")[1] != tags[0]

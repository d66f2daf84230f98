"""Model folders that somebody has meddled with: no code of theirs runs, no pickle is loaded, no file elsewhere is read."""

from __future__ import annotations

import ast
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finener.configuration_finener import FinenerConfig
from finener.modeling_finener import FinenerForTokenClassification
from finener.ontology_finener import OntologyError
from finener.prediction.records import ModelError, load_pipeline

import tiny

ROOT = Path(__file__).parents[1]
TEXT = "Frida Kahlo painted in Mexico City."


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tokenizer) -> Path:
    folder = tmp_path_factory.mktemp("repo") / "model"
    tiny.tiny_model(tokenizer, target=True).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return shutil.copytree(saved, tmp_path / "model")


def change(path: Path, **values) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | values), encoding="utf-8")


@pytest.mark.parametrize("name", ["../other/ontology.json", "{elsewhere}", "other.json", "", None, ["ontology.json"]])
def test_no_other_file_is_read_for_the_types(folder, tmp_path, name, monkeypatch):
    other = tmp_path / "other" / "ontology.json"
    other.parent.mkdir()
    shutil.copy(folder / "ontology.json", other)
    reference = json.loads((folder / "config.json").read_text(encoding="utf-8"))["ontology_file"]
    name = name.format(elsewhere=other) if isinstance(name, str) else name
    change(folder / "config.json", ontology_file=reference | {"name": name})
    with pytest.raises(OntologyError, match=r"must name ontology\.json, beside its config\.json"):
        FinenerConfig.from_pretrained(folder)
    with pytest.raises(ModelError, match=r"model: the model can't be loaded: .*must name ontology\.json"):
        load_pipeline(str(folder))


@pytest.mark.parametrize("reference", ["ontology.json", [1], 5])
def test_what_names_no_file_is_told(folder, reference):
    change(folder / "config.json", ontology_file=reference)
    with pytest.raises(OntologyError, match=r"must name ontology\.json"):
        FinenerConfig.from_pretrained(folder)


@pytest.mark.parametrize("key", ["source", "target"])
def test_other_types_than_the_weights_were_trained_with_are_refused(folder, key):
    content = json.loads((folder / "ontology.json").read_text(encoding="utf-8"))
    types = content[key]["types"]
    types[0]["id"], types[-1]["id"] = types[-1]["id"], types[0]["id"]
    for entry in types:
        entry["parents"] = []
    change(folder / "ontology.json", **content)
    with pytest.raises(ModelError, match=f"lists other {key} types"):
        load_pipeline(str(folder))


def test_no_code_of_a_folder_runs_whatever_its_files_name(folder, tmp_path):
    mark = tmp_path / "was here"
    evil = f"open({str(mark)!r}, 'w').close()\nclass Evil: pass\n"
    for name in (
        "evil.py",
        "handler.py",
        "modeling_finener.py",
        "pipeline_finener.py",
        "configuration_finener.py",
        "tokenization_evil.py",
    ):
        (folder / name).write_text(evil, encoding="utf-8")
    names = ("AutoConfig", "AutoModel", "AutoModelForTokenClassification", "AutoTokenizer")
    anywhere = {name: "other/repo--evil.Evil" if name == "AutoModel" else "evil.Evil" for name in names}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    inner = config["encoder_config"] | {"auto_map": anywhere, "_name_or_path": "other/repo"}
    change(
        folder / "config.json", auto_map=anywhere, encoder_config=inner, custom_pipelines={"ner": {"impl": "evil.Evil"}}
    )
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "tokenization_evil.Evil"]})
    pipe = load_pipeline(str(folder))
    assert isinstance(pipe(TEXT), list) and not mark.exists()
    pipe.model.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text(encoding="utf-8"))
    assert "evil" not in json.dumps({key: again[key] for key in ("auto_map", "custom_pipelines")})


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_no_pickle_is_loaded(folder, tmp_path, name):
    mark = tmp_path / "was here"
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(ModelError, match="can't be loaded"):
        load_pipeline(str(folder))
    assert not mark.exists()


def test_weights_that_torch_would_unpickle_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"can't be loaded: .*safetensors"):
        load_pipeline(str(folder))


def test_an_encoder_whose_weights_are_a_pickle_is_refused(encoder_folder, tmp_path, source):
    encoder = shutil.copytree(encoder_folder, tmp_path / "encoder")
    (encoder / "model.safetensors").unlink()
    torch.save({}, encoder / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        FinenerForTokenClassification.from_encoder(str(encoder), source)


def test_weights_of_another_shape_are_refused(folder):
    change(folder / "config.json", lstm_hidden_size=9)
    with pytest.raises(ModelError, match="can't be loaded"):
        load_pipeline(str(folder))


def test_what_shows_only_when_the_model_reads_is_told_when_it_is_loaded(folder):
    change(folder / "config.json", output_hidden_states="x")
    with pytest.raises(ModelError, match="can't be loaded"):
        load_pipeline(str(folder))


# What would run what a file holds, or load objects of any kind.
FORBIDDEN = {
    "eval",
    "exec",
    "torch.load",
    "torch.save",
    "pickle.load",
    "pickle.loads",
    "yaml.load",
    "os.system",
    "__import__",
}
FORBIDDEN_ARGUMENTS = {("shell", "True"), ("allow_pickle", "True"), ("weights_only", "False")}


def calls(tree: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def test_our_code_loads_no_pickle_and_runs_no_text():
    files = [
        path
        for path in ROOT.rglob("*.py")
        if not {".venv", "outputs", "tests", "build"} & set(path.relative_to(ROOT).parts)
    ]
    assert len(files) > 100
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert calls(tree) & FORBIDDEN == set(), path
        for node in ast.walk(tree):
            names = {alias.name for alias in node.names} if isinstance(node, (ast.Import, ast.ImportFrom)) else set()
            assert not names & {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}, path
            if isinstance(node, ast.keyword):
                assert (node.arg, ast.unparse(node.value)) not in FORBIDDEN_ARGUMENTS, path
    assert calls(ast.parse("torch.load(x)")) & FORBIDDEN  # the check sees what it looks for

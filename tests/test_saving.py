import tomllib
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from finener.configuration_finener import FinenerConfig
from finener.modeling_finener import FinenerForTokenClassification
from finener.paths import ROOT

import tiny

PROGRAMS = {"predict_finener.py", "train_finener.py"}  # which no Hub repo holds
ONNX = {"numpy_finener.py", "onnx_finener.py"}  # which exported folders hold


def test_a_saved_model_comes_back_bit_equal(tmp_path, tokenizer, knobs):
    model = tiny.tiny_model(tokenizer, **knobs)
    model.save_pretrained(tmp_path)
    again, loading = FinenerForTokenClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(loading.values()), loading
    stored = load_file(tmp_path / "model.safetensors")
    assert set(stored) == set(again.state_dict()) == set(model.state_dict())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    expected, found = (tiny.outputs(m, tokenizer, *tiny.GOLD) for m in (model, again))
    tiny.close(found.logits, expected.logits)  # not bit-equal: memory of files is aligned otherwise, and kernels mind
    tiny.close(found.type_logits, expected.type_logits)


def test_a_saved_folder_is_a_whole_hub_repo(tmp_path, model):
    model.save_pretrained(tmp_path)
    modules = {path.name for path in ROOT.glob("*_finener.py")} - PROGRAMS - ONNX
    files = {file.name for file in tmp_path.iterdir()}
    assert files == modules | {"handler.py", "config.json", "ontology.json", "requirements.txt", "model.safetensors"}


def test_its_requirements_are_those_of_the_package(tmp_path, model):
    model.save_pretrained(tmp_path)
    written = (tmp_path / "requirements.txt").read_text(encoding="utf-8").split()
    assert set(written) <= set(
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    )
    needed = {"torch", "transformers", "tokenizers", "huggingface_hub", "safetensors", "numpy"}
    assert {line.partition(">")[0] for line in written} == needed


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "asked for"])
def test_half_precision_reloads_finite_with_the_crf_in_full_precision(tmp_path, tokenizer, knobs, dtype, stored):
    model = tiny.tiny_model(tokenizer, **knobs)
    crf = {name: p.clone() for name, p in model.crf.state_dict().items()}
    (model.to(dtype) if stored else model).save_pretrained(tmp_path)
    asked = {} if stored else {"dtype": dtype}
    again = FinenerForTokenClassification.from_pretrained(tmp_path, **asked)
    assert again.encoder.dtype == again.tagger.weight.dtype == again.type_head.score.weight.dtype == dtype
    for name, p in again.crf.state_dict().items():
        assert p.dtype == torch.float32
        assert torch.equal(p, crf[name].to(dtype).float() if stored else crf[name])
    output = tiny.outputs(again, tokenizer, *tiny.GOLD, tiny.EMPTY)
    assert output.logits.dtype == dtype and len(output.mention_spans)
    assert all(v.isfinite().all() for k, v in output.items() if isinstance(v, Tensor))
    assert ((output.mention_scores >= 0) & (output.mention_scores <= 1)).all()
    assert all(model.select_types(output))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_converted_model_is_saved_and_comes_back(tmp_path, model, tokenizer, target, dtype):
    model.save_pretrained(tmp_path / "before")
    converted = FinenerForTokenClassification.from_pretrained(tmp_path / "before", dtype=dtype)
    converted.add_conversion(target, tokenizer=tokenizer)
    expected = tiny.outputs(converted, tokenizer, tiny.LONG)
    converted.save_pretrained(tmp_path / "after")
    again = FinenerForTokenClassification.from_pretrained(tmp_path / "after")
    found = tiny.outputs(again, tokenizer, tiny.LONG)
    assert again.dtype == dtype and found.target_type_logits.dtype == dtype
    torch.testing.assert_close(found.target_type_logits, expected.target_type_logits)
    assert again.config.target_ontology.digest == target.digest


# -------------------------------------------------------------------- on the Hub


def test_pushing_while_saving_uploads_a_whole_repo(tmp_path, model, monkeypatch):
    uploaded = []
    monkeypatch.setattr(PreTrainedModel, "_upload_modified_files", lambda self, folder, *_, **__: uploaded.extend(
        file.name for file in Path(folder).iterdir()))  # fmt: skip
    create = type("Api", (), {"create_repo": lambda self, repo_id, **_: type("Url", (), {"repo_id": repo_id})()})
    monkeypatch.setattr("transformers.modeling_utils.hf_api", create)
    monkeypatch.setattr("transformers.modeling_utils.create_and_tag_model_card", lambda *_, **__: ModelCard("x"))
    model.save_pretrained(str(tmp_path), push_to_hub=True, repo_id="me/mine")
    expected = {
        "handler.py",
        "pipeline_finener.py",
        "modeling_finener.py",
        "layers_finener.py",
        "ontology.json",
        "requirements.txt",
    }
    assert expected <= set(uploaded)


def test_pushing_a_config_uploads_its_types_too(tmp_path, model, monkeypatch):
    uploaded, create = [], type("Api", (), {"create_repo": lambda self, repo_id, **_: self, "repo_id": "me/mine"})

    def upload(self, folder, repo_id, timestamps, **_):
        uploaded.extend(file.name for file in Path(folder).iterdir() if file.name not in timestamps)

    monkeypatch.setattr(FinenerConfig, "_upload_modified_files", upload)
    monkeypatch.setattr("transformers.configuration_utils.hf_api", create)
    model.config.save_pretrained(str(tmp_path), push_to_hub=True, repo_id="me/mine")
    assert {"config.json", "ontology.json"} <= set(uploaded)

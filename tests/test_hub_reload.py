"""A saved folder as Hub users load it: by its own code, in a fresh process that knows nothing of this repository."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from finener.modeling_finener import FinenerForTokenClassification
from finener.pipeline_finener import FinenerPipeline

import tiny
from apart import run_apart

REPOSITORY = Path(__file__).parents[1]
TEXTS = [*tiny.GOLD, "", "東京 ❤️ New York", "The Louvre of Mexico City, in 1518. " * 6]

LOAD = """
import importlib.util, json, sys
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForTokenClassification, AutoTokenizer, pipeline

folder, out, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)  # memory that is not written holds NaN
report = {"repository": importlib.util.find_spec("modeling_finener") is not None}

for auto in (AutoModel, AutoModelForTokenClassification):
    model, loading = auto.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
    stored, state = load_file(folder + "/model.safetensors"), model.state_dict()
    report[auto.__name__] = {
        "class": type(model).__name__,
        "loading": {key: sorted(map(str, value)) for key, value in loading.items()},
        "equal": stored.keys() == state.keys() and all(torch.equal(state[key], stored[key]) for key in state),
        "finite": all(value.isfinite().all().item() for value in state.values()),
    }
    with torch.no_grad():
        output = model.eval()(**load_file(folder + "/../batch.safetensors"))
    tensors = {key: value.contiguous() for key, value in output.items() if torch.is_tensor(value)}
    save_file(tensors, out + f"/{auto.__name__}.safetensors")

pipe = pipeline("token-classification", model=folder, trust_remote_code=True)
report["pipeline"] = {"class": type(pipe).__name__, "results": pipe(texts), "source": pipe(texts, head="source")}

model.save_pretrained(out + "/again")
model.add_conversion(model.config.ontology, start="random")
model.save_pretrained(out + "/converted")
AutoTokenizer.from_pretrained(folder, trust_remote_code=True).save_pretrained(out + "/again")
json.dump(report, open(out + "/report.json", "w"))
"""

SERVE = """
import importlib.util, json, sys
import torch
from transformers import AutoModel

folder, out, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("handler", folder + "/handler.py")
handler = importlib.util.module_from_spec(spec)
spec.loader.exec_module(handler)
endpoint = handler.EndpointHandler(folder)
converted = AutoModel.from_pretrained(folder + "/../converted", trust_remote_code=True)
report = {
    "texts": endpoint({"inputs": texts}),
    "text": endpoint({"inputs": texts[0], "parameters": {"head": "source", "mentions": [[0, 5]]}}),
    "converted": converted.config.target_ontology.name,
}
json.dump(report, open(out + "/report.json", "w"))
"""

IMPORTS = """
import sys, warnings
import torch
from transformers import AutoModel, AutoTokenizer, Pipeline, PreTrainedModel
import tokenizers.pre_tokenizers
before = set(sys.modules)
import finener.modeling_finener, finener.pipeline_finener
new = set(sys.modules) - before
print(*sorted({name.split(".")[0 if name.split(".")[0] != "finener" else -1] for name in new}))
"""


PINNED = """
import json, sys
from transformers import AutoModel, AutoTokenizer

repo, revision, out = sys.argv[1:]
model = AutoModel.from_pretrained(repo, revision=revision, trust_remote_code=True)
model.save_pretrained(out + "/saved")
model.add_conversion(model.config.ontology)
AutoTokenizer.from_pretrained(repo, revision=revision, trust_remote_code=True).save_pretrained(out + "/saved")
json.dump({"start": model.fresh_start}, open(out + "/report.json", "w"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer) -> Path:
    """A whole Hub repo of a model with a conversion head, and a batch beside it."""
    place = tmp_path_factory.mktemp("hub")
    knobs = {"encoder_layers": (0, -1), "use_word_shape": True, "window_words": 14}
    model = tiny.tiny_model(tokenizer, target=True, window_overlap=3, **knobs)
    model.save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    save_file(tiny.text_batch(model, tokenizer, "The museum of York.", *tiny.GOLD), place / "batch.safetensors")
    return place / "model"


@pytest.fixture(scope="module")
def here(folder, tokenizer) -> FinenerPipeline:
    """The same model, loaded with the code of this repository."""
    return FinenerPipeline(model=FinenerForTokenClassification.from_pretrained(folder), tokenizer=tokenizer)


@pytest.fixture(scope="module")
def loaded(folder, tmp_path_factory) -> tuple[Path, dict]:
    """Where a fresh process loaded, ran and saved the model, and what it reported."""
    place = tmp_path_factory.mktemp("loaded")
    run_apart(LOAD, folder, place, json.dumps(TEXTS), cwd=place)
    return place, json.loads((place / "report.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def served(loaded, tmp_path_factory) -> dict:
    """What the endpoint handler of the folder that remote code saved answers, in another fresh process."""
    place = tmp_path_factory.mktemp("served")
    run_apart(SERVE, loaded[0] / "again", place, json.dumps(TEXTS), cwd=place)
    return json.loads((place / "report.json").read_text(encoding="utf-8"))


def test_the_fresh_process_does_not_see_the_repository(loaded):
    assert loaded[1]["repository"] is False


@pytest.mark.parametrize("auto", ["AutoModel", "AutoModelForTokenClassification"])
def test_remote_code_loads_every_weight_and_invents_none(loaded, auto):
    report = loaded[1][auto]
    assert report["class"] == "FinenerForTokenClassification"
    assert len(report["loading"]) == 4 and not any(report["loading"].values()), report["loading"]
    assert report["equal"], "the state dict is not what the file holds"
    assert report["finite"]


@pytest.mark.parametrize("auto", ["AutoModel", "AutoModelForTokenClassification"])
def test_remote_code_computes_bit_for_bit_what_the_repository_computes(loaded, folder, here, auto):
    with torch.no_grad():
        expected = here.model(**load_file(folder.parent / "batch.safetensors"))
    found = load_file(loaded[0] / f"{auto}.safetensors")
    names = {"logits", "mention_spans", "mention_scores", "type_logits", "target_type_logits"}
    assert set(found) == names and len(expected.mention_spans) > 3
    assert all(found[name].isfinite().all() and torch.equal(found[name], expected[name]) for name in names)


def test_the_task_name_gives_our_pipeline_with_the_same_results(loaded, here):
    report = loaded[1]["pipeline"]
    assert report["class"] == "FinenerPipeline"
    assert report["results"] == here(TEXTS) and sum(map(len, report["results"])) > 3
    assert report["source"] == here(TEXTS, head="source") != report["results"]


def test_remote_code_saves_a_whole_hub_repo_again(loaded, folder):
    for name in ("again", "converted"):
        files = {file.name for file in (loaded[0] / name).iterdir()}
        assert {f.name for f in folder.iterdir() if f.name not in ("tokenizer.json", "tokenizer_config.json")} <= files
    for file in (*folder.glob("*.py"), folder / "ontology.json", folder / "model.safetensors"):
        assert (loaded[0] / "again" / file.name).read_bytes() == file.read_bytes(), file.name


def test_no_saved_config_tells_where_its_model_came_from(loaded, folder):
    for name in ("again", "converted"):
        assert str(folder) not in (loaded[0] / name / "config.json").read_text(encoding="utf-8")


def test_what_remote_code_saved_is_served_by_its_endpoint_handler(served, here):
    assert served["texts"] == here(TEXTS)
    assert served["text"] == here(TEXTS[0], head="source", mentions=[(0, 5)])
    assert served["converted"] == "src"


def test_importing_the_model_imports_nothing_heavy(tmp_path):
    new = set(run_apart(IMPORTS, cwd=tmp_path).split())
    assert {"modeling_finener", "configuration_finener", "ontology_finener", "pipeline_finener"} <= new
    assert not new & {"datasets", "pandas", "sklearn", "inflect", "evaluate", "pyarrow", "scipy", "accelerate", "yaml"}


def test_a_model_at_a_pinned_revision_carries_that_revisions_code_without_a_network(folder, tmp_path):
    """The cache of a Hub repo of two commits, whose files differ; ``main`` is the second."""
    cache = tmp_path / "hub" / "models--user--name"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("b" * 40)
    for commit, mark in (("a" * 40, "# as it was"), ("b" * 40, "# as it is today")):
        shutil.copytree(folder, cache / "snapshots" / commit)
        for file in (cache / "snapshots" / commit).glob("*.py"):
            file.write_text(file.read_text(encoding="utf-8") + f"{mark}\n", encoding="utf-8")
    place = tmp_path / "run"
    place.mkdir()
    run_apart(PINNED, "user/name", "a" * 40, place, cwd=place, HF_HOME=str(tmp_path))
    saved = {file.name: file.read_text(encoding="utf-8") for file in (place / "saved").glob("*.py")}
    assert saved.keys() == {file.name for file in folder.glob("*.py")}
    assert all(text.endswith("# as it was\n") for text in saved.values())
    assert json.loads((place / "report.json").read_text())["start"] == "names", "with the tokenizer of that revision"

"""The wheel: it holds the code and the files that this reads, nothing else, and works without the repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("data_scripts", "export", "metrics", "prediction", "publishing", "training")
# What the code reads beside itself.
DATA = (
    "model_card.md",
    "configs/*.yaml",
    "configs/accelerate/*.yaml",
    "data_scripts/corpora/*.md",
    "data_scripts/silver/report.html",
    "examples/aida_sample/*",
    "metrics/report.html.jinja",
    "metrics/stock_card.md.jinja",
    "ontologies/NOTICE",
    "ontologies/*.json",
    "ontologies/*.tsv",
    "ontologies/mappings/*.tsv",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not {"pip", "setuptools"} <= {found.name for found in distributions()},
        reason="needs pip and setuptools to build",
    ),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, offline, with the setuptools that is installed."""
    left_out = shutil.ignore_patterns(".*", "build", "outputs", "*.egg-info", "__pycache__")
    copy = shutil.copytree(ROOT, tmp_path_factory.mktemp("copy") / "finener", ignore=left_out)
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, copy]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = folder.glob("finener-*.whl")
    return built


@pytest.fixture(scope="module")
def run(wheel, tmp_path_factory):
    """Runs Python with the unpacked wheel, in a folder that has nothing to do with the repository."""
    site, elsewhere = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("elsewhere")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)

    def run(*command):
        environment = {**os.environ, "PYTHONPATH": str(site)}
        call = [sys.executable, *map(str, command)]
        done = subprocess.run(call, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.site = site
    return run


def test_the_wheel_holds_the_code_and_what_it_reads_and_nothing_else(wheel):
    python = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
    data = [path for pattern in DATA for path in ROOT.glob(pattern)]
    expected = {f"finener/{path.relative_to(ROOT)}" for path in [*python, *data]}
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("finener-")}
    assert names == expected


def test_the_wheel_holds_what_its_configs_name(run):
    config = yaml.safe_load((run.site / "finener" / "configs" / "quickstart.yaml").read_text(encoding="utf-8"))
    texts = str(config).replace("'", " ").split()
    named = {text.strip("{}[],:") for text in texts if text.strip("{}[],:").startswith(("ontologies/", "examples/"))}
    assert named and [name for name in sorted(named) if not list((run.site / "finener").glob(name))] == []


def test_the_wheel_alone_lists_builds_and_offers_the_names_of_the_package(run, tmp_path):
    assert Path(run("-c", "import finener; print(finener.__file__)").strip()).is_relative_to(run.site)
    assert run("-m", "finener", "--help").startswith("usage: finener ")
    assert "ontonotes5" in run("-m", "finener", "list")
    raw, out = tmp_path / "train.txt", tmp_path / "out"
    raw.write_text("Ann B-PER\nleft O\nBree B-LOC\n. O\n", encoding="utf-8")
    built = run("-m", "finener", "build", "conll", "--data_files", raw, "--ontology", "conll", "--output_dir", out)
    assert f"Written to {out}" in built and list((out / "data").glob("train-*.parquet"))
    names = run("-c", "import finener; print(*[n for n in finener.__all__ if getattr(finener, n) is None])")
    assert names.strip() == ""
    assert run("-m", "finener.data_scripts", "list") == run("-m", "finener", "list")


def test_the_entry_points_are_the_command_and_the_spacy_component(wheel):
    with zipfile.ZipFile(wheel) as packed:
        (name,) = [n for n in packed.namelist() if n.endswith("entry_points.txt")]
        entry_points = packed.read(name).decode()
    assert "[console_scripts]\nfinener = finener.cli:main" in entry_points
    assert "[spacy_factories]\nfinener = finener.prediction.spacy_component:make_finener" in entry_points


SPACY = """
import sys, spacy
nlp = spacy.blank("en")
nlp.add_pipe("finener", config={"model": sys.argv[1], "device": "cpu"})
import finener
print(finener.__file__)
print(*[ent.label_ for ent in nlp("Frida Kahlo painted in Mexico City.").ents])
"""


def test_spacy_finds_the_component_of_the_wheel(run, tmp_path, target_model, tokenizer):
    target_model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    place, labels = run("-c", SPACY, tmp_path).splitlines()
    assert Path(place).is_relative_to(run.site)
    assert labels and set(labels.split()) <= set(target_model.config.target_ontology.ids)

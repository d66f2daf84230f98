"""The pages tell the truth: figures come from results/, the house plan names every room, commands and names are those of the code."""

import argparse
import ast
import dataclasses
import importlib
import inspect
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from finener.cli import COMMANDS
from finener.configuration_finener import KNOBS
from finener.training.arguments import (
    REFUSED,
    FinenerArguments,
    FinenerTrainingArguments,
    TrainerSettings,
    parse_arguments,
)

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))),
]
CORPUS_PAGES = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "data_scripts" / "corpora").glob("*.md"))]


def code_blocks(page: str, language: str) -> list[str]:
    """The code of a page that is fenced as of a language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(code) for _, code in found]


def command_lines(page: str) -> list[list[str]]:
    """The calls of ``finener`` in a page's code, as their arguments; what ``accelerate`` launches is ``finener train``."""
    code = "".join(code_blocks(page, "bash") + code_blocks(page, "")).replace("\\\n", " ")
    code = re.sub(r"accelerate launch train_finener\.py", "finener train", code)
    return [
        shlex.split(line, comments=True) for line in re.findall(r"^(?:\.venv/bin/)?finener (.+)$", code, re.MULTILINE)
    ]


def heading_anchors(page: Path) -> set[str]:
    """How links name the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_shows_the_results_files():
    check = [sys.executable, "scripts/write_results.py", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_house_plan_names_every_python_file_of_the_root():
    plan = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in ROOT.glob("*.py"):
        assert f"`{path.name}`" in plan, path.name


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for file, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^):]+))?\)", text):
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), file
        assert not anchor or anchor in heading_anchors(target), (file, anchor)


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_a_page_names_exists(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([\w-]+)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets


def test_every_corpus_and_every_command_has_its_place_in_the_docs():
    page = (ROOT / "docs" / "corpora.md").read_text(encoding="utf-8")
    for path in (ROOT / "data_scripts" / "corpora").glob("*.md"):
        assert f"(../data_scripts/corpora/{path.name})" in page, path.name


def test_every_knob_and_every_key_of_a_run_is_in_the_page_of_training():
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    fields = [f.name for kind in (FinenerArguments, TrainerSettings) for f in dataclasses.fields(kind)]
    own = FinenerTrainingArguments.__annotations__  # those of transformers that have another default here
    lacking = [name for name in (*KNOBS, *fields, *own, *REFUSED) if not re.search(rf"`{name}[`:]", page)]
    assert lacking == []


@pytest.mark.parametrize("page", [page for page in (*PAGES, *CORPUS_PAGES) if command_lines(page)])
def test_the_commands_of_a_page_have_arguments_that_they_take(page, tmp_path, monkeypatch):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for content in code_blocks(page, "yaml"):
        for name in ("feedback.yaml", "my.yaml"):  # as pages call theirs
            (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for command, *arguments in command_lines(page):
        assert command in COMMANDS
        if "--help" in arguments:
            continue
        if command == "train":
            assert parse_arguments(arguments)
        else:
            parser = argparse.ArgumentParser(f"{page}: finener {command}", allow_abbrev=False)
            importlib.import_module(COMMANDS[command][0]).add_arguments(parser)
            parser.parse_args(arguments)


@pytest.mark.parametrize("page", [page for page in (*PAGES, *CORPUS_PAGES) if code_blocks(page, "python")])
def test_the_python_of_a_page_imports_what_exists_and_gives_arguments_that_are_taken(page):
    nodes = [node for code in code_blocks(page, "python") for node in ast.walk(ast.parse(code))]
    own = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "finener":
            home = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(home, alias.name)] == []
            own |= {alias.name: getattr(home, alias.name) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in own:
            named = {keyword.arg: keyword for keyword in node.keywords if keyword.arg}
            try:
                inspect.signature(own[node.func.id]).bind_partial(*node.args, **named)
            except TypeError as error:
                pytest.fail(f"{ast.unparse(node)}: {error}")

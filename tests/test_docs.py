"""The pages tell the truth: figures come from results/, the house plan names every room."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))),
]


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
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_a_page_names_exists(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([\w-]+)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets


def test_every_corpus_and_every_command_has_its_place_in_the_docs():
    page = (ROOT / "docs" / "corpora.md").read_text(encoding="utf-8")
    for path in (ROOT / "data_scripts" / "corpora").glob("*.md"):
        assert f"(../data_scripts/corpora/{path.name})" in page, path.name

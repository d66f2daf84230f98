"""What the Hub reads of the folder, and how the page starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import yaml

from finener.paths import ROOT

SPACE = ROOT / "space"


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))


def test_the_hub_installs_what_was_tested():
    header = yaml.safe_load((SPACE / "README.md").read_text(encoding="utf-8").split("---")[1])
    tested, needed = pins("constraints.txt"), pins("space/requirements.txt")
    assert needed == {name: tested[name] for name in ("gradio", "torch", "transformers")}
    assert (header["sdk"], header["sdk_version"]) == ("gradio", tested["gradio"])
    assert (SPACE / header["app_file"]).is_file() and header["models"] and len(header["short_description"]) <= 60


@pytest.mark.slow
def test_a_model_that_is_not_there_is_told_in_one_line(tmp_path):
    (tmp_path / "outputs").mkdir()
    script = f"import sys; sys.path.insert(0, {str(SPACE)!r}); import app; app.LOCAL_MODEL = app.Path('quickstart')\n"
    script += "for model in ('outputs/no-such-model', './model', None):\n    try: app.load(model, None)\n"
    script += "    except FileNotFoundError as error: print(error)\napp.main()"
    run = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(run, cwd=tmp_path, env=os.environ | {"MODEL": ""}, capture_output=True, text=True)
    told = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in told] == ["outputs/no-such-model", "model", "quickstart"]
    assert all("no such model folder. Run `make quickstart`" in line for line in told)
    assert (done.returncode, done.stderr) == (1, f"space/app.py: {told[-1]}\n")

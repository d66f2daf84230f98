"""Scripts in processes of their own, which know nothing of this repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_apart(script: str, *args: object, cwd: Path, **variables: str) -> str:
    """Runs a script in a fresh process in an empty folder, without this repository on its path; what it printed."""
    (cwd / "script.py").write_text(script, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | variables
    done = subprocess.run(
        [sys.executable, "script.py", *map(str, args)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout

"""Whether a folder loads as people will load it: in a fresh process, with empty caches, offline, by its own code alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from finener.publishing.staging import ReleaseError, Staged

# Caches that lie elsewhere than in HF_HOME, and what belongs to the processes of a training.
CACHES = ("HF_MODULES_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE", "HF_DATASETS_CACHE")
UNSET = (*CACHES, "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

LOAD_MODEL = """
import json, sys
sys.modules["finener"] = None  # a repository must do with its own code
from transformers import AutoConfig, AutoModel, pipeline
folder, text = sys.argv[1:]
remote = {"trust_remote_code": True} if json.load(open(folder + "/config.json", encoding="utf-8")).get("auto_map") else {}
if remote:
    model, loading = AutoModel.from_pretrained(folder, output_loading_info=True, **remote)
    if lacking := {kind: sorted(map(str, names))[:3] for kind, names in loading.items() if names}:
        sys.exit(f"the weights are not those of the model: {lacking}")
ner = pipeline("token-classification", model=folder, **remote)
json.dumps(ner(text), default=float)
"""

LOAD_DATASET = """
import os, sys, traceback
from datasets import load_dataset
status = 1
try:
    for name, split in load_dataset(sys.argv[1], streaming=True).items():
        record = next(iter(split), None)
        if record is None or not {"id", "text"} <= record.keys():
            sys.exit(f"split {name!r} has no record with id and text; its first is {str(record)[:80]}")
    status = 0
except SystemExit as fault:
    print(fault, file=sys.stderr)
except Exception:
    traceback.print_exc()
sys.stderr.flush()
os._exit(status)  # threads that still read ahead would abort an interpreter that ends
"""


def check_loads(staged: Staged, text: str = "Ann left Rome.") -> None:
    """Loads a model and runs it, or reads the first record of each split of a dataset.

    Args:
        staged: a model or a dataset.
        text: that the model reads.

    Raises:
        ReleaseError: when it does not load, with the last line of what the process said.
    """
    script = LOAD_MODEL if staged.kind == "model" else LOAD_DATASET
    arguments = [text] if staged.kind == "model" else []
    with tempfile.TemporaryDirectory(prefix="finener-check-") as home:
        environment = {k: v for k, v in os.environ.items() if k not in UNSET}
        environment |= {"HF_HOME": home, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONUTF8": "1"}
        done = subprocess.run(
            [sys.executable, "-P", "-c", script, str(staged.folder), *arguments],
            cwd=home,
            env=environment | {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"},
            capture_output=True,
            text=True,
            errors="replace",
        )
    if done.returncode != 0:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        told = said[-1].replace(str(staged.folder), str(staged.source))
        raise ReleaseError(f"{staged.source} would not load for others, so nothing was uploaded: {told}")


def check_compiles(path: Path) -> None:
    """Raises ReleaseError when a Python file is not Python."""
    try:
        compile(path.read_text(encoding="utf-8"), path.name, "exec")
    except SyntaxError as error:
        raise ReleaseError(f"{path.name} is no Python: {error}") from None

"""How long importing the code and loading a model take, beyond torch, transformers and the weights themselves.

Each figure is a median over interleaved fresh processes. Writes results/loading.json.

Usage: python benchmarks/loading.py --model outputs/quickstart [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from finener.paths import ROOT

CODE = {
    # what torch and transformers cost anyhow is imported before the clock starts
    "import_modeling_finener": (
        "import torch; from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, Pipeline",
        "import finener.modeling_finener",
    ),
    "load_model": (
        "import torch; from finener.modeling_finener import FinenerForTokenClassification as F",
        "F.from_pretrained({model!r})",
    ),
    "load_weights_alone": (
        "import torch; from finener.modeling_finener import FinenerForTokenClassification; from safetensors.torch import load_file",
        "load_file({model!r} + '/model.safetensors')",
    ),
}


def seconds(setup: str, code: str) -> float:
    """Wall time of ``code`` in a fresh process, after ``setup``."""
    program = f"{setup}\nimport time\nstart = time.perf_counter()\n{code}\nprint(time.perf_counter() - start)"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Runs every measurement in turn, several times over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a finener model")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in CODE}
    for _ in range(args.runs):
        for name, (setup, code) in CODE.items():
            times[name].append(seconds(setup, code.format(model=args.model)))
    types = json.loads((Path(args.model) / "ontology.json").read_text(encoding="utf-8"))["source"]["types"]
    medians = {name: round(statistics.median(values), 4) for name, values in times.items()}
    results = {
        "command": f"python benchmarks/loading.py --model {args.model} --runs {args.runs}",
        "types": len(types),
        "cores": os.cpu_count(),
        "median_seconds": medians,
        "load_beyond_weights_seconds": round(medians["load_model"] - medians["load_weights_alone"], 4),
        "seconds": {name: [round(value, 4) for value in values] for name, values in times.items()},
    }
    (ROOT / "results" / "loading.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(
        json.dumps({key: results[key] for key in ("types", "median_seconds", "load_beyond_weights_seconds")}, indent=1)
    )


if __name__ == "__main__":
    main()

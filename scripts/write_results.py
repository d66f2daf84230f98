"""Writes the figures of ``results/*.json`` into README.md, between its ``<!-- results:… -->`` markers.

Usage: python scripts/write_results.py [--take outputs] [--check]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from metrics.tables import score_rows  # noqa: E402

# What `make quickstart` leaves, and where its figures are kept.
TAKEN = {
    "quickstart/results.json": "quickstart.json",
    "quickstart_pretrained/results.json": "quickstart_pretrained.json",
    "silver/report.json": "quickstart_silver.json",
}


def quickstart_table(results: dict) -> str:
    """The quickstart's test scores and what they rest on."""
    support, reach = results["type_support"], results["direct"]["reach"]
    rows = "\n".join(f"| {' | '.join(row)} |" for row in score_rows(results["test"]))
    return (
        f"It prints its scores on the {results['records']['test']} sentences of the sample's test part (one run, seed {results['seed']}; "
        f"[results/quickstart.json](results/quickstart.json)):\n\n| system | measure | P | R | F1 |\n|---|---|---|---|---|\n{rows}\n\n"
        "*Direct* is the baseline without fine-tuning: YAGO predictions through a mapping table that reaches "
        f"{reach['gold_types']:.0%} of the types in the test part, its threshold tuned on dev. "
        f"Fine-tuning saw {support['mentions']} typed mentions of {support['seen_1']} types, ancestors included."
    )


def quickstart_output(results: dict) -> str:
    """The mentions that the model found in the first text it was asked to show."""
    shown = results["shown"][0]
    lines = [
        " ".join(
            [
                m["word"],
                str(m["start"]),
                str(m["end"]),
                m["entity_group"],
                str({t: round(s, 2) for t, s in m["types"].items()}),
            ]
        )
        for m in shown["mentions"]
    ]
    return "```\n" + "\n".join(lines) + "\n```"


def fill(text: str, marker: str, content: str) -> str:
    """Puts content between ``<!-- marker -->`` and the next ``<!-- /… -->``."""
    pattern = re.compile(rf"(<!-- {re.escape(marker)} -->\n).*?(<!-- /\w+ -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"README.md has no <!-- {marker} --> … <!-- /… -->")
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--take", type=Path, help="first copy the results of a quickstart from this outputs folder")
    parser.add_argument("--check", action="store_true", help="change nothing, fail when README.md is not up to date")
    args = parser.parse_args()
    for source, name in TAKEN.items() if args.take else ():
        shutil.copyfile(args.take / source, ROOT / "results" / name)
    results = json.loads((ROOT / "results" / "quickstart.json").read_text(encoding="utf-8"))
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    after = fill(before, "results:quickstart", quickstart_table(results))
    after = fill(after, "output:quickstart", quickstart_output(results))
    if not args.check:
        readme.write_text(after, encoding="utf-8")
    elif after != before:
        sys.exit("README.md does not show results/quickstart.json: run `make results`")


if __name__ == "__main__":
    main()

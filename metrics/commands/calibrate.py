"""The ``calibrate`` command: a model's type thresholds, chosen by dev data and stored in its config."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finener.data_scripts.record_files import read_records
from finener.data_scripts.tables import text_table
from finener.json_finener import read_json
from finener.metrics.thresholds import BY, MEASURES, calibrate, dev_scores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    add = parser.add_argument
    add("--model", required=True, help="folder of a finener model; its config.json is changed")
    dev = "exhaustive records; never the test part"
    add("--dev", type=Path, required=True, nargs="+", metavar="FILE", help=dev)
    head = "default: the target's types where the model has them"
    add("--head", choices=["source", "target"], help=head)
    add("--by", choices=["auto", *BY], default="auto", help="one for all types, for each level, or for each type")
    measure = "whose F1 is to be best: of (span, type) pairs, or of mentions whose types are all right"
    add("--measure", choices=[*MEASURES], default="pairs", help=measure)
    add("--folds", type=int, default=5, help="parts of the dev documents that score each other (default: 5)")
    add("--seed", type=int, default=0, help="of the folds")


def run(args: argparse.Namespace) -> int:
    """The ``calibrate`` command."""
    from transformers import logging  # with the model's code it takes seconds to import

    from finener.answers_finener import ontology_of_head
    from finener.prediction.records import load_pipeline, predict_records

    if not (Path(args.model) / "config.json").is_file():
        raise FileNotFoundError(f"{args.model}: expected the folder of a model, with its config.json")
    logging.set_verbosity_error()
    pipe = load_pipeline(args.model)
    config = pipe.model.config
    ontology = ontology_of_head(config, args.head)
    head = "source" if ontology is config.ontology else "target"
    knob = "type_threshold" if head == "source" else "target_type_threshold"
    now = getattr(config, knob)
    setattr(config, knob, 0.0)  # so that nothing is cut
    gold = list(read_records(args.dev, ontology))
    predicted = predict_records(pipe, gold, head=head)
    dev = dev_scores(gold, predicted, ontology, is_path=head == "target" and config.target_activation == "softmax")
    found = calibrate(dev, ontology, now, args.by, args.folds, args.seed, args.measure)
    setattr(config, knob, found.threshold)
    config.save_pretrained(args.model)
    _note(Path(args.model) / "results.json", {"knob": knob, "was": now, "is": found.threshold})
    rows = [[kind, f"{f1:.3f}", "chosen" if kind == found.by else ""] for kind, f1 in found.held_out.items()]
    print(
        f"{text_table(['thresholds by', f'F1 ({args.measure}), held out', ''], rows)}\n\n"
        f"{knob}: {now} → {found.threshold}\n"
        f"F1 ({args.measure}) on all dev data: {found.before:.3f} → {found.after:.3f} (it chose them)\n"
        f"stored in {Path(args.model) / 'config.json'}"
    )
    return 0


def _note(results: Path, change: Mapping[str, Any]) -> None:
    """Lets the results of the model's training, where they lie beside it, say that its scores are those of another threshold."""
    if results.is_file():
        told = read_json(results)
        results.write_text(
            json.dumps({**told, "calibrated": change}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )

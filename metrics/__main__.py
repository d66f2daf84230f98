"""Command line of the metrics room.

python -m metrics score --gold gold.jsonl --pred predicted.jsonl --ontology aida
python -m metrics report --gold gold.jsonl --pred predicted.jsonl --ontology aida --output_dir report
python -m metrics calibrate --model outputs/model --dev dev.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from finener.data_scripts.corpus import load_ontology
from finener.data_scripts.record_files import read_records
from finener.data_scripts.schema import Record
from finener.data_scripts.tables import text_table
from finener.metrics.credit import read_credit
from finener.metrics.report import write_report
from finener.metrics.scoring import RESAMPLED, Judged, Options, judge, score
from finener.metrics.tables import breakdown_tables
from finener.metrics.thresholds import BY, MEASURES, calibrate, dev_scores
from finener.ontology_finener import Ontology


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        print(args.run(args))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m metrics", description="How good predictions are, and what is wrong with them."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    scores = commands.add_parser("score", help="every measure, with intervals, as tables and JSON")
    _add_inputs(scores)
    scores.add_argument(
        "--baseline", type=Path, metavar="FILE", help="another system's predictions: adds the paired difference"
    )
    scores.add_argument("--output_file", type=Path, metavar="SCORES.json", help="also write everything as JSON")
    scores.add_argument("--all_types", action="store_true", help="print every type, not only the 20 most frequent")
    scores.set_defaults(run=run_score)
    report = commands.add_parser(
        "report", help="one self-contained HTML page that explains the errors, and its figures as JSON"
    )
    _add_inputs(report)
    report.add_argument("--title", help="of the page; default: the name of the prediction file")
    report.add_argument("--output_dir", type=Path, required=True, help="folder for index.html and report.json")
    report.set_defaults(run=run_report)
    tuned = commands.add_parser(
        "calibrate", help="choose a model's type thresholds by dev data and store them in its config"
    )
    tuned.add_argument("--model", required=True, help="folder of a finener model; its config.json is changed")
    tuned.add_argument(
        "--dev", type=Path, required=True, nargs="+", metavar="FILE", help="exhaustive records; never the test part"
    )
    tuned.add_argument(
        "--head", choices=["source", "target"], help="default: the target's types where the model has them"
    )
    tuned.add_argument(
        "--by", choices=["auto", *BY], default="auto", help="one for all types, for each level, or for each type"
    )
    tuned.add_argument(
        "--measure",
        choices=[*MEASURES],
        default="pairs",
        help="whose F1 is to be best: of (span, type) pairs, or of mentions whose types are all right",
    )
    tuned.add_argument(
        "--folds", type=int, default=5, help="parts of the dev documents that score each other (default: 5)"
    )
    tuned.add_argument("--seed", type=int, default=0, help="of the folds")
    tuned.set_defaults(run=run_calibrate)
    return parser


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gold", type=Path, required=True, nargs="+", metavar="FILE", help="records (.jsonl or .parquet)"
    )
    parser.add_argument(
        "--pred", type=Path, required=True, nargs="+", metavar="FILE", help="predictions for these records"
    )
    parser.add_argument("--ontology", required=True, metavar="NAME|FILE", help="of all types: a shipped one or a file")
    parser.add_argument(
        "--given",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="predictions made on the gold mentions, for the types of gold mentions",
    )
    parser.add_argument(
        "--train", type=Path, nargs="+", metavar="FILE", help="training records: unseen names, training counts"
    )
    parser.add_argument("--decay", type=float, default=0.5, help="partial credit for each edge above the gold type")
    parser.add_argument("--credit", type=Path, metavar="FILE", help="W in place of the decay (.tsv, .json or .npy)")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap; 0: no intervals")
    parser.add_argument("--resampled", choices=RESAMPLED, default="document", help="what a resample draws")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")


def _read(args: argparse.Namespace) -> tuple[Judged, Options, list[Record] | None, list[Record], Ontology]:
    ontology = load_ontology(args.ontology)
    gold, predicted = list(read_records(args.gold, ontology)), list(read_records(args.pred, ontology))
    judged = judge(gold, predicted, ontology, args.given and list(read_records(args.given, ontology)))
    credit = read_credit(args.credit, ontology) if args.credit else None
    options = Options(args.decay, credit, args.resamples, args.resampled, args.seed)
    train = list(read_records(args.train)) if args.train else None
    return judged, options, train, gold, ontology


def run_score(args: argparse.Namespace) -> str:
    """The ``score`` command: writes the JSON file and returns the tables."""
    judged, options, train, gold, ontology = _read(args)
    baseline = judge(gold, list(read_records(args.baseline, ontology)), ontology) if args.baseline else None
    result = score(judged, options, train, baseline)
    if args.output_file:
        args.output_file.parent.mkdir(parents=True, exist_ok=True)
        args.output_file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return breakdown_tables(result, None if args.all_types else 20)


def run_report(args: argparse.Namespace) -> str:
    """The ``report`` command: writes the page and returns where it is."""
    judged, options, train, _, _ = _read(args)
    page = write_report(judged, args.output_dir, options, train, args.title or args.pred[0].stem)
    return f"the report is {page}"


def run_calibrate(args: argparse.Namespace) -> str:
    """The ``calibrate`` command: stores the thresholds in the model's config and returns what they are worth."""
    from transformers import logging  # with the model's code it takes seconds to import

    from finener.pipeline_finener import ontology_of_head
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
    predicted = list(predict_records(pipe, gold, head=head))
    dev = dev_scores(gold, predicted, ontology, is_path=head == "target" and config.target_activation == "softmax")
    found = calibrate(dev, ontology, now, args.by, args.folds, args.seed, args.measure)
    setattr(config, knob, found.threshold)
    config.save_pretrained(args.model)
    rows = [[kind, f"{f1:.3f}", "chosen" if kind == found.by else ""] for kind, f1 in found.held_out.items()]
    return (
        f"{text_table(['thresholds by', f'F1 ({args.measure}), held out', ''], rows)}\n\n"
        f"{knob}: {now} → {found.threshold}\nF1 ({args.measure}) on all dev data: {found.before:.3f} → {found.after:.3f} (it chose them)\n"
        f"stored in {Path(args.model) / 'config.json'}"
    )


if __name__ == "__main__":
    sys.exit(main())

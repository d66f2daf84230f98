"""What ``score`` and ``report`` read: gold records, predictions, and how these are to be measured."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from finener.data_scripts.corpus import load_ontology
from finener.data_scripts.record_files import read_records
from finener.data_scripts.schema import Record
from finener.metrics.credit import read_credit
from finener.metrics.scoring import RESAMPLED, Judged, Options, judge
from finener.ontology_finener import Ontology


@dataclass(frozen=True)
class Inputs:
    """Everything that was read.

    Args:
        gold: records.
        judged: gold beside predictions.
        options: of the scores.
        train: training records; None where they were not given.
        ontology: of all types.
    """

    gold: list[Record]
    judged: Judged
    options: Options
    train: list[Record] | None
    ontology: Ontology


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Adds the options that both commands have."""
    add = parser.add_argument
    add("--gold", type=Path, required=True, nargs="+", metavar="FILE", help="records (.jsonl or .parquet)")
    add("--pred", type=Path, required=True, nargs="+", metavar="FILE", help="predictions for these records")
    add("--ontology", required=True, metavar="NAME|FILE", help="of all types: a shipped one or a file")
    given = "predictions made on the gold mentions, for the types of gold mentions"
    add("--given", type=Path, nargs="+", metavar="FILE", help=given)
    add("--train", type=Path, nargs="+", metavar="FILE", help="training records: unseen names, training counts")
    add("--decay", type=float, default=0.5, help="partial credit for each edge above the gold type")
    add("--credit", type=Path, metavar="FILE", help="W in place of the decay (.tsv, .json or .npy)")
    add("--resamples", type=int, default=1000, help="of the bootstrap; 0: no intervals")
    add("--resampled", choices=RESAMPLED, default="document", help="what a resample draws")
    add("--seed", type=int, default=0, help="of the resamples")


def read_inputs(args: argparse.Namespace) -> Inputs:
    """Reads what the options of :func:`add_inputs` name.

    Raises:
        ValueError: on records, types or credit that are not as expected, and on predictions that do not belong to the gold records.
    """
    ontology = load_ontology(args.ontology)
    gold, predicted = list(read_records(args.gold, ontology)), list(read_records(args.pred, ontology))
    judged = judge(gold, predicted, ontology, args.given and list(read_records(args.given, ontology)))
    credit = read_credit(args.credit, ontology) if args.credit else None
    options = Options(args.decay, credit, args.resamples, args.resampled, args.seed)
    train = list(read_records(args.train)) if args.train else None
    return Inputs(gold, judged, options, train, ontology)

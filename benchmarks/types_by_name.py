"""How well types by name do beside Direct with its hand-made table, on targets that the source model was never trained on.

    python benchmarks/types_by_name.py --data ../shared/data --model outputs/experiments/models/yago-minilm-figer_inside-1/all \
        --targets fewnerd crossner

Rows of one model stand beside those of others in results/types_by_name.json. Direct's threshold, and that of the rows ``named, tuned``, is
chosen on each fold's dev; the rows ``named`` use nothing of the target but its types.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from finener.experiments.data import DOMAINS, Fold, Record, document_folds, fewnerd_fold, prepare
from finener.experiments.run import reuse_states
from finener.metrics.counting import score_records
from finener.metrics.scoring import Options, judge, score
from finener.ontology_finener import Ontology
from finener.paths import ROOT
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.direct import DirectHead
from finener.prediction.mapping import TypeMapping
from finener.prediction.records import load_pipeline, predict_records
from finener.training.records import data_hash
from finener.training.results import versions
from finener.training.start import read_dtype

TARGETS = {"figer": 4, "aida": 3, "fewnerd": 1, "crossner": 1}  # folds
THRESHOLDS = [i / 40 for i in range(40)]
SHOWN = ("pair_f1", "mention_f1", "typed_f1", "given_micro_f1")
RESULTS = ROOT / "results" / "types_by_name.json"


@dataclass(frozen=True)
class Part:
    """Records that are judged under one type system, and what Direct and types by name say of each: found and given mentions, uncut."""

    ontology: Ontology
    gold: dict[str, Record]
    said: dict[str, dict[str, dict[str, Record]]]  # system → "found" or "given" → id → record

    def cut(self, system: str, kind: str, ids: Iterable[str], threshold: float) -> list[Record]:
        """The predictions for some records without the types that score below a threshold; given mentions stay, then without types."""
        return [_cut(self.said[system][kind][i], threshold, kind == "given") for i in ids]


def _cut(record: Record, threshold: float, keeps_mentions: bool) -> dict[str, Any]:
    mentions = []
    for mention in record["mentions"]:
        pairs = [(t, s) for t, s in zip(mention["types"], mention["type_scores"], strict=True) if s >= threshold]
        if pairs or keeps_mentions:
            mentions.append({**mention, "types": [t for t, _ in pairs], "type_scores": [s for _, s in pairs]})
    return {**record, "mentions": mentions}


def predict(pipe: FinenerPipeline, table: TypeMapping, gold: Sequence[Record]) -> Part:
    """What both systems say of some records."""
    heads = {"direct": DirectHead(table), "named": pipe.types_by_name(table.target, 0.0)}
    said = {
        system: {
            kind: {r["id"]: r for r in predict_records(pipe, gold, head=head, gold_mentions=kind == "given")}
            for kind in ("found", "given")
        }
        for system, head in heads.items()
    }
    for record, given in ((r, part["given"][r["id"]]) for part in said.values() for r in gold):
        typed = {(m["start"], m["end"]): m for m in given["mentions"]}  # Direct leaves out what its table can't reach
        bare = ({**m, "types": [], "type_scores": []} for m in record["mentions"])
        given["mentions"] = [typed.get((m["start"], m["end"]), m) for m in bare]
    return Part(table.target, {r["id"]: r for r in gold}, said)


def of_domain(records: Sequence[Record], table: TypeMapping) -> tuple[list[Record], TypeMapping]:
    """The records of a CrossNER domain without ``misc``, and the table with the types that they have alone."""
    kept = [{**r, "mentions": [m for m in r["mentions"] if m["types"] != ["misc"]]} for r in records]
    target = table.target.subset({t for r in kept for m in r["mentions"] for t in m["types"]})
    rows = [
        (table.source.ids[s], table.target.ids[t], weight)
        for (s, t), weight in zip(table.pairs, table.weights, strict=True)
        if table.target.ids[t] in target
    ]
    return kept, TypeMapping(table.source, target, rows)


def best_threshold(system: str, part: Part, ids: Sequence[str]) -> float:
    """The threshold with the highest F1 of (span, type) pairs on dev records."""
    gold = [part.gold[i] for i in ids]
    return max(
        THRESHOLDS, key=lambda t: score_records(gold, part.cut(system, "found", ids, t), part.ontology)["pair_f1"]
    )


def judge_target(
    folds: Sequence[tuple[Part, list[str], Part, list[str]]], n_resamples: int = 1000
) -> dict[str, dict[str, Any]]:
    """Scores of each system over all folds.

    Args:
        folds: of each, the part of its dev records and their ids, and the same of its test records. n_resamples: for the intervals.
    """
    results = {}
    for name, system in (("direct", "direct"), ("named", "named"), ("named, tuned", "named")):
        gold, found, given, thresholds = [], [], [], []
        for dev, dev_ids, test, ids in folds:
            tuned = name != "named"
            at = best_threshold(system, dev, dev_ids) if tuned else 0.5
            thresholds.append(at)
            gold += [test.gold[i] for i in ids]
            found += test.cut(system, "found", ids, at)
            given += test.cut(system, "given", ids, at if tuned else 0.0)
        told = score(judge(gold, found, folds[0][2].ontology, given), Options(resamples=n_resamples))
        results[name] = {
            "thresholds": thresholds,
            "scores": {k: round(told["scores"][k], 4) for k in SHOWN},
            "intervals": {k: [round(x, 4) for x in told["intervals"][k]] for k in SHOWN if k in told["intervals"]},
        }
    return results


def domains(pipe: FinenerPipeline, corpora: dict[str, list[Record]], table: TypeMapping) -> dict[str, Any]:
    """Scores of four of CrossNER's domains, each with its own types; the dev of politics chooses the thresholds."""
    parts = {}
    for domain in DOMAINS:
        dev = corpora[f"crossner/{domain}/dev"]
        gold, own = of_domain(corpora[f"crossner/{domain}/train"] + dev, table)
        ids = {r["id"] for r in dev}
        parts[domain] = predict(pipe, own, [r for r in gold if r["id"] in ids])
    chooses = parts.pop("politics")
    return {
        f"crossner/{domain}": judge_target([(chooses, list(chooses.gold), part, list(part.gold))])
        for domain, part in parts.items()
    }


def measure(pipe: FinenerPipeline, corpora: dict[str, list[Record]], name: str) -> dict[str, Any]:
    """Scores of a target, by system; of CrossNER by domain."""
    target = Ontology.from_json(ROOT / "ontologies" / f"{name}.json")
    table = TypeMapping.from_tsv(
        ROOT / "ontologies" / "mappings" / f"yago_to_{name}.tsv", pipe.model.config.ontology, target
    )
    if name == "crossner":
        return domains(pipe, corpora, table)
    folds: list[Fold] = (
        document_folds(corpora[name], TARGETS[name]) if name != "fewnerd" else fewnerd_fold(corpora[name], 500)
    )
    records = {r["id"]: r for fold in folds for r in [*fold.dev, *fold.test]}
    part = predict(pipe, table, list(records.values()))
    return {name: judge_target([(part, [r["id"] for r in f.dev], part, [r["id"] for r in f.test]) for f in folds])}


def main() -> None:
    """Measures and writes the results file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the raw corpora, see docs/experiments.md")
    parser.add_argument("--model", type=Path, required=True, help="folder of a source model that never saw the targets")
    parser.add_argument("--encoder_dtype", default="float32", help="as in training: float32 or bfloat16")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    work = ROOT / "outputs" / "experiments"
    corpora = prepare(args.data, work / "data")
    pipe = load_pipeline(str(args.model))
    pipe.model.encoder_autocast = read_dtype(args.encoder_dtype)
    label = args.model.parent.name if args.model.name == "all" else args.model.name
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for name in args.targets:
        started = time.time()
        reuse_states(pipe, [r["text"] for r in tested(corpora, name)], work / "states")
        facts = {
            "command": " ".join(["python benchmarks/types_by_name.py", *sys.argv[1:]]),
            "versions": versions(),
            "data": data_hash(tested(corpora, name)),
        }
        for target, systems in measure(pipe, corpora, name).items():
            results.setdefault(label, {})[target] = {
                **facts,
                "seconds": round(time.time() - started, 1),
                "systems": systems,
            }
            for system, told in systems.items():
                print(f"{label} {target} {system}: {told['scores']}, thresholds {told['thresholds']}", flush=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def tested(corpora: dict[str, list[Record]], name: str) -> list[Record]:
    """The records that a target's folds choose and test on."""
    if name == "crossner":
        return [r for domain in DOMAINS for r in corpora[f"crossner/{domain}/dev"]]
    if name == "fewnerd":
        return [r for fold in fewnerd_fold(corpora[name], 500) for r in [*fold.dev, *fold.test]]
    return list(corpora[name])


if __name__ == "__main__":
    main()

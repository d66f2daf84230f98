"""The phase ``direct`` trains nothing: it scores a pre-trained model whose types go through a mapping."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from finener.metrics.counting import score_records
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.direct import DirectHead, cut_types, reach_of_mapping
from finener.prediction.mapping import TypeMapping
from finener.prediction.records import predict_records
from finener.training.arguments import ArgumentError, FinenerArguments, FinenerTrainingArguments
from finener.training.phase_data import read_mapping
from finener.training.records import data_hash, read_ontology, read_split, scorable
from finener.training.results import print_scores, run_facts, write_results
from finener.training.start import build_model

DIRECT_THRESHOLDS = [0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, *(i / 20 for i in range(1, 20))]


def run_direct(args: FinenerArguments, training: FinenerTrainingArguments) -> dict[str, Any]:
    """Scores a pre-trained model's types, put through the mapping, on the test part; returns what it wrote to the results file."""
    started, output_dir = time.time(), Path(training.output_dir)
    model, tokenizer = build_model(args)
    source, target = model.config.ontology, read_ontology(args.target_ontology, "target_ontology")
    ontologies = {o.name: o for o in (source, target)}
    if not args.mapping:
        raise ArgumentError("mapping is not set: name the TSV of source type → target type")
    if args.knobs:
        raise ArgumentError(f"direct takes the model as it is; leave out the knobs {', '.join(args.knobs)}")
    dev, test = read_split(args.dev_data, "dev", ontologies), read_split(args.test_data, "test", ontologies)
    mapping = read_mapping(args, source, target, dev)
    if not scorable(test, target):
        raise ArgumentError(f"there is nothing to score: test_data has no exhaustive record typed with {target.name!r}")
    results: dict[str, Any] = {}
    if training.process_index == 0:
        pipe = FinenerPipeline(model=model.eval(), tokenizer=tokenizer, device=training.device)
        scores, facts = score_direct(pipe, mapping, scorable(dev, target), scorable(test, target))
        results = {
            **run_facts(args, training, model.config, target),
            "data": {"dev": data_hash(dev), "test": data_hash(test)},
            "records": {"dev": len(dev), "test": len(test)},
            "test": {"Direct": scores},
            "direct": facts,
            "seconds": round(time.time() - started, 1),
        }
        write_results(results, output_dir / "results.json", Path(args.results_file or output_dir / "results.json"))
        print_scores(results)
    return results


def score_direct(
    pipe: FinenerPipeline, mapping: TypeMapping, tune: list[dict], test: list[dict]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Test scores of the Direct baseline, and its threshold (the best on ``tune``) and reach."""
    tune_paths, test_paths = (list(predict_records(pipe, part, head=DirectHead(mapping))) for part in (tune, test))
    curve = {t: score_records(tune, cut_types(tune_paths, t), mapping.target) for t in DIRECT_THRESHOLDS}
    best = max(curve, key=lambda t: curve[t]["typed_f1"])
    return score_records(test, cut_types(test_paths, best), mapping.target), {
        "threshold": best,
        "dev_typed_f1": {str(t): scores["typed_f1"] for t, scores in curve.items()},
        "reach": reach_of_mapping(mapping, test),
    }

"""The phases of training: ``pretrain`` and ``finetune``, one after the other; ``direct`` is in :mod:`finener.training.direct`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import EarlyStoppingCallback, PreTrainedTokenizerBase, set_seed
from transformers.trainer_utils import get_last_checkpoint

from finener.data_scripts.record_files import count_rows
from finener.data_scripts.schema import RecordError
from finener.metrics.card import write_card
from finener.metrics.counting import score_records, type_support
from finener.metrics.tables import mentions_table
from finener.modeling_finener import FinenerForTokenClassification
from finener.ontology_finener import OntologyError
from finener.pipeline_finener import FinenerPipeline, TextEncoder
from finener.prediction.records import predict_records
from finener.training.arguments import ArgumentError, FinenerArguments, FinenerTrainingArguments, parse_arguments
from finener.training.collator import FinenerCollator
from finener.training.direct import run_direct, score_direct
from finener.training.encoder_states import WordStateCache
from finener.training.phase_data import PhaseData, check_that_something_is_learnt, load_data
from finener.training.records import scorable
from finener.training.results import data_facts, print_scores, run_facts, write_results
from finener.training.start import (
    build_model,
    freeze_parts,
    is_frozen,
    is_softmax,
    set_soft_loss_weights,
    start_at_shares,
    start_at_table,
    type_shares,
)
from finener.training.trainer import FinenerTrainer


def run_phase(args: FinenerArguments, training: FinenerTrainingArguments) -> dict[str, Any]:
    """Trains, scores and saves; returns what it wrote to the results file."""
    started, output_dir = time.time(), Path(training.output_dir)
    set_seed(training.seed)
    training.output_dir = str(output_dir.parent / "checkpoints" / output_dir.name)
    model, tokenizer = build_model(args)
    trained = model.config.target_ontology or model.config.ontology
    facts = run_facts(args, training, model.config, trained)  # before the folder of the earlier phase may be written to
    freeze_parts(args, model)
    encoder = TextEncoder(tokenizer, model.config)
    data = load_data(args, model, encoder, training)
    if not data.dev and training.eval_strategy != "no":
        raise ArgumentError(
            "there is nothing to choose the best checkpoint by: name dev_data, or set eval_strategy: no and load_best_model_at_end: false"
        )
    if args.early_stopping_patience is not None and (
        args.early_stopping_patience < 1 or training.eval_strategy == "no" or not training.load_best_model_at_end
    ):
        raise ArgumentError(
            "early_stopping_patience is 1 or more, and needs an eval_strategy and load_best_model_at_end"
        )
    check_that_something_is_learnt(args, data, trained)
    if args.soft_loss_weights and args.phase == "finetune":
        set_soft_loss_weights(args, model, data.tune, str(training.device))
    if args.type_priors_from_data:
        start_at_shares(model, type_shares(data.typing, trained, most_specific=is_softmax(model.config)))
    if args.target_vectors_from_mapping:
        start_at_table(args.target_vectors_from_mapping, model, trained)
    support = type_support(data.typing, trained)
    if training.process_index == 0:
        in_stream = f" of the stream's {count_rows(data.stream.all_files)}" if data.stream else ""
        print(
            f"{args.phase}: {len(data.train)} training records{in_stream}, {len(data.dev)} dev records; "
            f"{support['mentions']} typed mentions train {support['seen_1']} of {support['types']} types "
            f"({support['seen_10']} with 10 mentions or more, {support['seen_50']} with 50)"
        )
    with tempfile.TemporaryDirectory() as scratch:
        cache = None
        cacheable = args.cache_encoder_states and is_frozen(model.encoder)
        if cacheable and data.stream and training.process_index == 0:
            print("streaming: the frozen encoder's states are not cached, it runs at every step")
        elif cacheable and not data.stream:
            cache = WordStateCache(Path(args.encoder_states_folder or scratch))
            cache.build((r["text"] for r in [*data.train, *data.dev]), model.to(training.device), encoder)
        collator = FinenerCollator(encoder, model.config, cache)
        unpredictable = count_unpredictable(collator, data)
        history = train(model, tokenizer, args, training, data, collator)
    results = {
        **facts,
        "type_support": support,
        "unpredictable": unpredictable,
        "dev": history,
    }
    if training.process_index == 0:
        results |= data_facts(data)
        finish(model, tokenizer, args, data, output_dir, results, started)
    return results


def train(
    model: FinenerForTokenClassification,
    tokenizer: PreTrainedTokenizerBase,
    args: FinenerArguments,
    training: FinenerTrainingArguments,
    data: PhaseData,
    collator: FinenerCollator,
) -> dict[str, Any]:
    """Runs the trainer and returns the best checkpoint's dev scores and the curve of every logged value."""
    trainer = FinenerTrainer(
        model=model,
        args=training,
        train_dataset=data.stream or data.train,
        eval_dataset=data.dev or None,
        data_collator=collator,
        processing_class=tokenizer,
        loss_weights={
            "detection": 0.0 if args.freeze == "detection" else args.detection_weight,
            "typing": args.typing_weight if args.phase == "pretrain" else 0.0,
            "conversion": args.conversion_weight if args.phase == "finetune" else 0.0,
        },
        encoder_learning_rate=args.encoder_learning_rate,
        callbacks=[EarlyStoppingCallback(args.early_stopping_patience)] if args.early_stopping_patience else None,
    )
    resume = training.resume_from_checkpoint
    if str(resume).lower() == "true":
        resume = get_last_checkpoint(training.output_dir) if Path(training.output_dir).is_dir() else None
        print(
            f"resuming from {resume}"
            if resume
            else f"no checkpoint in {training.output_dir}: starting from the beginning"
        )
    trainer.train(resume_from_checkpoint=resume)
    scores = trainer.evaluate() if data.dev else {}
    keep = ("score", "precision", "recall", "f1", "strict", "loss")
    return {
        "scores": {k.removeprefix("eval_"): round(v, 6) for k, v in scores.items() if k.endswith(keep)},
        "curve": [
            {k: v for k, v in row.items() if k == "epoch" or "loss" in k or k == "eval_score"}
            for row in trainer.state.log_history
        ],
    }


def count_unpredictable(collator: FinenerCollator, data: PhaseData) -> dict[str, Any]:
    """Gold mentions of train and dev whose boundary falls inside a word; printed, with examples, when there are any.

    So is the number of words that the tokenizer removes, which the model never sees.
    """
    facts = [
        collator([record])["facts"][0].tolist() for record in {r["id"]: r for r in [*data.train, *data.dev]}.values()
    ]
    counts = collator.counts
    found = {"mentions": counts.inside_a_word, "of": counts.mentions, "records": sum(f[2] > 0 for f in facts)}
    if counts.dropped_words and PartialState().is_main_process:
        print(f"the tokenizer removes {counts.dropped_words} words (zero-width or control characters)")
    if counts.inside_a_word and PartialState().is_main_process:
        print(
            f"{counts.inside_a_word} of {counts.mentions} gold mentions begin or end inside a word and can't be predicted, such as:\n  "
            + "\n  ".join(counts.examples)
        )
    return found


def finish(
    model: FinenerForTokenClassification,
    tokenizer: PreTrainedTokenizerBase,
    args: FinenerArguments,
    data: PhaseData,
    output_dir: Path,
    results: dict[str, Any],
    started: float,
) -> None:
    """Scores the test part through the pipeline, saves the model with card and results, prints the tables."""
    pipe = FinenerPipeline(model=model.eval(), tokenizer=tokenizer, device=model.device)
    results |= score_systems(pipe, data)
    results["shown"] = [{"text": text, "mentions": pipe(text)} for text in args.show]
    results["seconds"] = round(time.time() - started, 1)
    model.save_pretrained(output_dir)
    tokenizer.save_pretrained(output_dir)
    write_results(args, output_dir, results)
    write_card(output_dir, results)
    print_scores(results)
    for shown in results["shown"]:
        print("\n" + mentions_table(shown["text"], shown["mentions"]))
    print(f"\n{args.phase}: {results['seconds']:.0f} s; the model is in {output_dir}\n")


def score_systems(pipe: FinenerPipeline, data: PhaseData) -> dict[str, Any]:
    """Test scores of Direct (where a mapping is given) and of the model, and what is to be known of Direct."""
    config = pipe.model.config
    ontology = config.target_ontology or config.ontology
    test = scorable(data.test, ontology)
    if len(test) < len(data.test):
        print(
            f"{len(data.test) - len(test)} test records are not scored: not exhaustive, or not typed with {ontology.name!r}"
        )
    if not test:
        return {"test": {}}
    systems, extra = {}, {}
    if data.mapping is not None:
        systems["Direct"], extra["direct"] = score_direct(pipe, data.mapping, scorable(data.tune, ontology), test)
    name = "fine-tuned" if config.target_ontology is not None else "pre-trained"
    systems[name] = score_records(test, predict_records(pipe, test), ontology)
    return {"test": systems, **extra}


def main(command_line: list[str] | None = None) -> None:
    """Runs every phase that is asked for; fine-tuning starts from what pre-training left."""
    try:
        pretrained = None
        for args, training in parse_arguments(sys.argv[1:] if command_line is None else command_line):
            if args.phase == "pretrain":
                pretrained = training.output_dir  # run_phase moves the trainer's own folder
            elif args.model is None:
                args.model = pretrained
            (run_direct if args.phase == "direct" else run_phase)(args, training)
            PartialState().wait_for_everyone()  # the next phase reads what the main process has just written
    except (ArgumentError, FileNotFoundError, FloatingPointError, OntologyError, RecordError) as error:
        sys.exit(f"train_finener: {error}")

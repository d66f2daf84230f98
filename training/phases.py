"""The phases of training: ``pretrain`` and ``finetune``, one after the other; ``direct`` is in :mod:`finener.training.direct`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import EarlyStoppingCallback, PreTrainedTokenizerBase, set_seed

from finener.data_scripts.command_line import last_line, take_debug
from finener.data_scripts.holding import FolderInUse, hold_folder
from finener.data_scripts.record_files import count_rows
from finener.data_scripts.schema import RecordError
from finener.metrics.card import write_card
from finener.metrics.counting import score_records, type_support
from finener.metrics.scoring import judge, score
from finener.metrics.tables import mentions_table
from finener.modeling_finener import FinenerForTokenClassification
from finener.ontology_finener import OntologyError
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.records import predict_records
from finener.publishing.release import release_model
from finener.publishing.staging import ReleaseError
from finener.publishing.upload import UploadError
from finener.training.arguments import (
    ArgumentError,
    FinenerArguments,
    FinenerTrainingArguments,
    check_values,
    parse_arguments,
)
from finener.training.checkpoints import SavingError, StopAtSigterm, last_whole_checkpoint, saving, sigterm_ends_a_step
from finener.training.direct import run_direct, score_direct
from finener.training.phase_data import PhaseData, load_data
from finener.training.records import scorable
from finener.training.results import data_facts, dev_facts, print_scores, run_facts, write_results
from finener.training.sharding import is_deepspeed
from finener.training.start import build_model, set_soft_loss_weights, start_at_table
from finener.training.trainer import FinenerTrainer
from finener.windows_finener import TextEncoder

# What ends a run with one line.
TOLD = (
    *(ArgumentError, FileNotFoundError, FloatingPointError, FolderInUse, OntologyError, RecordError, ReleaseError),
    *(SavingError, UploadError),
)
# What a results file keeps of the test part beside the scores: with them, what the card shows.
DETAILS = ("records", "documents", "scores", "intervals", "resampled", "levels", "notes")


def run_phase(args: FinenerArguments, training: FinenerTrainingArguments) -> dict[str, Any]:
    """Trains, scores and saves; returns what it wrote to the results file.

    Raises:
        FolderInUse: when another run trains into the same folder.
        SavingError: when a checkpoint or the model can't be written.
    """
    started, output_dir = time.time(), Path(training.output_dir)
    set_seed(training.seed)
    training.output_dir = str(output_dir.parent / "checkpoints" / output_dir.name)
    check_phase(args, training)
    model, tokenizer = build_model(args, training.encoder_dtype, training.device)
    trained = model.config.target_ontology or model.config.ontology
    facts = run_facts(args, training, model.config, trained)  # before the folder of the earlier phase may be written to
    data = load_data(args, model, TextEncoder(tokenizer, model.config), training)
    if args.soft_loss_weights and args.phase == "finetune":
        set_soft_loss_weights(args, model, data.tune, str(training.device))
    patience = [EarlyStoppingCallback(args.early_stopping_patience)] if args.early_stopping_patience else []
    with saving(output_dir):
        if output_dir.exists() and not os.access(output_dir, os.W_OK):
            raise PermissionError("it is read-only")
        trainer = FinenerTrainer(
            model,
            training,
            train_dataset=data.stream or data.train,
            eval_dataset=data.dev or None,
            processing_class=tokenizer,
            callbacks=[StopAtSigterm(), *patience],
        )
    with _hold(output_dir, training):
        trainer.start_types()
        if args.type_start == "mapping":
            start_at_table(args.mapping, model, tokenizer)
        support = type_support(data.typing, trained)
        if training.process_index == 0:
            print(what_is_trained(args, training, data, support))
        results = {**facts, "type_support": support, "unpredictable": trainer.unpredictable.to_dict()}
        results["dev"] = train(trainer)
        model = trainer.whole_model()
        if training.process_index == 0:
            results |= data_facts(data)
            finish(model, tokenizer, args, data, output_dir, results, started)
    if training.process_index == 0 and training.push_to_hub:
        done = release_model(output_dir, trainer.hub_model_id, token=training.hub_token, revision=training.hub_revision)
        print(f"Released: {done.url}, revision {done.tag}")
    return results


def _hold(output_dir: Path, training: FinenerTrainingArguments) -> AbstractContextManager:
    """While a run trains, no other does so into its folder; that it can't be written shows before hours of training."""
    if training.process_index > 0:
        return nullcontext()
    with saving(output_dir):
        return hold_folder(Path(training.output_dir), "choose another --output_dir")


def check_phase(args: FinenerArguments, training: FinenerTrainingArguments) -> None:
    """Raises ArgumentError on values that can't be, and arguments that contradict each other, before anything is loaded."""
    check_values(training)
    has_dev = args.dev_data or args.held_out_share
    if not has_dev and training.eval_strategy != "no":
        raise ArgumentError(
            "there is nothing to choose the best checkpoint by: name dev_data, or set eval_strategy: no and load_best_model_at_end: false"
        )
    patience = args.early_stopping_patience
    if patience is not None and (patience < 1 or training.eval_strategy == "no" or not training.load_best_model_at_end):
        raise ArgumentError(
            "early_stopping_patience is 1 or more, and needs an eval_strategy and load_best_model_at_end"
        )
    if training.freeze == "detection" and args.detection_data:
        raise ArgumentError("detection_data trains nothing with freeze: detection; leave it out of this phase")


def what_is_trained(
    args: FinenerArguments, training: FinenerTrainingArguments, data: PhaseData, support: Mapping[str, int]
) -> str:
    """A phase's records and types, in words."""
    in_stream = f" of the stream's {count_rows(data.stream.all_sources)}" if data.stream else ""
    told = (
        f"{args.phase}: {len(data.train)} training records{in_stream}, {len(data.dev)} dev records; "
        f"{support['mentions']} typed mentions train {support['seen_1']} of {support['types']} types "
        f"({support['seen_10']} with 10 mentions or more, {support['seen_50']} with 50)"
    )
    if data.stream and training.freeze != "nothing" and training.cache_encoder_states and not training.unfreeze_layers:
        told += "\nstreaming: the frozen encoder's states are not cached, it runs at every step"
    return told


def train(trainer: FinenerTrainer) -> dict[str, Any]:
    """Runs the trainer, from its last whole checkpoint where that is asked for; see :func:`~finener.training.results.dev_facts`."""
    resume, folder = trainer.args.resume_from_checkpoint, Path(trainer.args.output_dir)
    if str(resume).lower() == "true":
        found = last_whole_checkpoint(folder, trainer.is_world_process_zero())
        resume = str(found) if found else None
        print(f"resuming from {resume}" if resume else f"no checkpoint in {folder}: starting from the beginning")
    trainer.train(resume_from_checkpoint=resume)
    scores = trainer.evaluate() if trainer.eval_dataset is not None else {}
    return dev_facts(scores, trainer.state.log_history)


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
    with saving(output_dir, "; the checkpoints are as they were, --resume_from_checkpoint true goes on from there"):
        model.save_pretrained(output_dir)
        tokenizer.save_pretrained(output_dir)
        write_results(results, output_dir / "results.json", Path(args.results_file or output_dir / "results.json"))
        write_card(output_dir, results)
    print_scores(results)
    if dev := results["dev"]["scores"]:
        named = {"score": "score", "mention_f1": "detection F1", "given_micro_f1": "F1 of types at gold mentions"}
        best = ", ".join(f"{label} {dev[key]:.3f}" for key, label in named.items() if key in dev)
        print(f"\nDev, the checkpoint that is kept: {best}")
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
    predicted = list(predict_records(pipe, test))
    systems[name] = score_records(test, predicted, ontology)
    told = score(judge(test, predicted, ontology))
    extra["details"] = {name: {key: told[key] for key in DETAILS}}
    return {"test": systems, **extra}


def run_phases(command_line: list[str]) -> None:
    """Every phase that is asked for; fine-tuning starts from what pre-training left."""
    pretrained, phases = None, parse_arguments(command_line)
    if len(phases) > 1 and is_deepspeed():
        raise ArgumentError(
            f"DeepSpeed keeps the settings of the first phase: run each by itself, as with --phases {phases[0][0].phase}"
        )
    for args, training in phases:
        if args.phase == "pretrain":
            pretrained = training.output_dir  # run_phase moves the trainer's own folder
        elif args.model is None:
            args.model = pretrained
        (run_direct if args.phase == "direct" else run_phase)(args, training)
        PartialState().wait_for_everyone()  # the next phase reads what the main process has just written


def main(command_line: list[str] | None = None) -> None:
    """Runs the phases; SIGTERM ends them with a checkpoint. ``--debug`` shows an error's whole trace."""
    command_line, is_debugging = take_debug(sys.argv[1:] if command_line is None else command_line)
    try:
        with sigterm_ends_a_step():
            run_phases(command_line)
    except TOLD as error:
        if is_debugging:
            raise
        sys.exit(f"train_finener: {error}")
    except ValueError as error:  # of a library below
        if is_debugging:
            raise
        sys.exit(f"train_finener: {last_line(error)} (--debug shows where)")

"""Trains a finener model from a YAML file: pre-training on source types, fine-tuning to target types, or both in a row. The phase
``direct`` trains nothing: it scores a pre-trained model whose types go through a mapping.

    accelerate launch train_finener.py --config configs/quickstart.yaml
    python train_finener.py --config configs/quickstart.yaml --phases finetune --learning_rate 1e-3

Every key of the YAML may be given on the command line, which wins. The sections ``pretrain:``, ``finetune:`` and ``direct:`` hold what
differs between the phases. An unknown key is an error.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn
from transformers import (
    AutoTokenizer,
    EarlyStoppingCallback,
    PreTrainedTokenizerBase,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

try:
    from .arguments_finener import ArgumentError, FinenerArguments, FinenerTrainingArguments, parse_arguments
    from .configuration_finener import FinenerConfig
    from .data_finener import (
        PhaseData,
        check_that_something_is_learnt,
        load_data,
        read_mapping,
        read_ontology,
        read_split,
        scorable,
        typed_with,
    )
    from .data_scripts.schema import RecordError, count_rows
    from .metrics.card import write_card
    from .metrics.counting import score_records, type_support
    from .metrics.credit import read_credit
    from .metrics.direct import DirectHead, cut_types, reach_of_mapping
    from .metrics.tables import mentions_table, scores_table
    from .modeling_finener import FinenerForTokenClassification
    from .ontology_finener import Ontology, OntologyError, TypeMapping
    from .pipeline_finener import FinenerPipeline, TextEncoder
    from .predict_finener import load_pipeline, predict_records
    from .trainer_finener import (
        FinenerCollator,
        FinenerTrainer,
        WordStateCache,
        credit_matrix,
        data_hash,
        estimate_credit,
        files_hash,
    )
except ImportError:
    if __package__:
        raise
    from arguments_finener import ArgumentError, FinenerArguments, FinenerTrainingArguments, parse_arguments
    from configuration_finener import FinenerConfig
    from data_finener import (
        PhaseData,
        check_that_something_is_learnt,
        load_data,
        read_mapping,
        read_ontology,
        read_split,
        scorable,
        typed_with,
    )
    from data_scripts.schema import RecordError, count_rows
    from metrics.card import write_card
    from metrics.counting import score_records, type_support
    from metrics.credit import read_credit
    from metrics.direct import DirectHead, cut_types, reach_of_mapping
    from metrics.tables import mentions_table, scores_table
    from modeling_finener import FinenerForTokenClassification
    from ontology_finener import Ontology, OntologyError, TypeMapping
    from pipeline_finener import FinenerPipeline, TextEncoder
    from predict_finener import load_pipeline, predict_records
    from trainer_finener import (
        FinenerCollator,
        FinenerTrainer,
        WordStateCache,
        credit_matrix,
        data_hash,
        estimate_credit,
        files_hash,
    )

# Knobs that fine-tuning may still set; the others shape weights that pre-training has trained.
CONVERSION_KNOBS = (
    "conversion_input",
    "conversion_norm",
    "conversion_hidden_size",
    "target_vector_size",
    "conversion_skip",
    "target_activation",
    "soft_loss_decay",
    "target_type_threshold",
    "detection_threshold",
    "type_threshold",
)
# What a results file keeps of the phases that the model went through before.
EARLIER_KEYS = (
    "phase",
    "encoder",
    "ontology",
    "seed",
    "config",
    "versions",
    "data",
    "records",
    "type_support",
    "unpredictable",
)
FREEZABLE = ("nothing", "encoder", "detection")
DIRECT_THRESHOLDS = [0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, *(i / 20 for i in range(1, 20))]


# -------------------------------------------------------------------- what a phase needs


def encoder_path(name: str | None) -> str:
    """Where the encoder is: ``python:PACKAGE`` is a model that a Python package carries, anything else is left as it is."""
    if not name:
        raise ArgumentError("encoder is not set: name an AutoModel, e.g. encoder: bert-base-cased")
    if not name.startswith("python:"):
        return name
    try:
        return str(importlib.import_module(name.removeprefix("python:")).get_model_path())
    except (ImportError, AttributeError) as error:
        raise ArgumentError(f"encoder {name}: the package is not installed or carries no model ({error})") from error


def build_model(args: FinenerArguments) -> tuple[FinenerForTokenClassification, PreTrainedTokenizerBase]:
    """The phase's model and its tokenizer."""
    if args.phase == "pretrain":
        place = encoder_path(args.encoder)
        ontology = read_ontology(args.ontology, "ontology")
        try:
            model = FinenerForTokenClassification.from_encoder(
                place, ontology, type_vectors_from_names=args.type_vectors_from_names, **args.knobs
            )
            return model, AutoTokenizer.from_pretrained(place)
        except ValueError as error:
            raise ArgumentError(f"encoder {args.encoder!r}, knobs {args.knobs}: {error}") from error
        except OSError as error:
            raise ArgumentError(
                f"encoder {args.encoder!r} is neither a folder here nor can it be fetched: {error}"
            ) from error
    if not args.model:
        raise ArgumentError(
            f"model is not set: {args.phase} starts from a pre-trained finener model, e.g. model: outputs/pretrained"
        )
    fixed = sorted(set(args.knobs) - set(CONVERSION_KNOBS))
    if fixed:
        raise ArgumentError(
            f"knobs {fixed} were fixed by pre-training; fine-tuning may set {', '.join(CONVERSION_KNOBS)}"
        )
    try:
        model = FinenerForTokenClassification.from_pretrained(args.model)
        tokenizer = AutoTokenizer.from_pretrained(args.model, trust_remote_code=True)
    except OSError as error:
        raise ArgumentError(f"model {args.model!r} is neither a folder here nor can it be fetched: {error}") from error
    if args.phase == "finetune":
        target = read_ontology(args.target_ontology, "target_ontology")
        names_by = tokenizer if args.target_vectors_from_names else None
        try:
            model.add_conversion(target, names_by=names_by, **args.knobs)
        except ValueError as error:
            raise ArgumentError(f"knobs {args.knobs}: {error}") from error
    return model, tokenizer


def freeze_parts(args: FinenerArguments, model: FinenerForTokenClassification) -> None:
    """Takes out of training what the arguments say. Raises ArgumentError on what can't be."""
    if args.freeze not in FREEZABLE:
        raise ArgumentError(f"freeze must be one of {', '.join(FREEZABLE)}; got {args.freeze!r}")
    try:
        if args.freeze != "nothing":
            model.freeze(args.freeze, args.unfreeze_layers)
        elif args.unfreeze_layers:
            raise ValueError("unfreeze_layers needs freeze: encoder; nothing is frozen")
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    if args.encoder_learning_rate is not None and is_frozen(model.encoder):
        raise ArgumentError(f"encoder_learning_rate has no effect with freeze: {args.freeze}: unfreeze some layers")
    if args.freeze == "detection" and args.detection_data:
        raise ArgumentError("detection_data trains nothing with freeze: detection; leave it out of this phase")


def is_frozen(part: nn.Module) -> bool:
    """Whether no parameter of a part is trained."""
    return not any(p.requires_grad for p in part.parameters())


def set_soft_loss_weights(
    args: FinenerArguments, model: FinenerForTokenClassification, dev: list[dict], device: str
) -> None:
    """Gives the model the W of the file or of the model that ``soft_loss_weights`` names.

    A model tells it by its confusions: it types the gold mentions of the dev records; see :func:`estimate_credit`.

    Raises:
        ArgumentError: on a bad file, a model with other target types, or when no dev mention has any.
    """
    place, ontology, config = Path(args.soft_loss_weights), model.config.target_ontology, model.config
    try:
        if place.suffix in (".tsv", ".json", ".npy"):
            if "soft_loss_decay" in args.knobs:
                raise ArgumentError(f"W comes from {place}: leave soft_loss_decay out of the knobs")
            weights = credit_matrix(read_credit(place, ontology), len(ontology))
        else:
            pipe = load_pipeline(str(place), device)
            known = pipe.model.config.target_ontology
            if known is None or known.digest != ontology.digest:
                raise ArgumentError(f"the model {place} has other target types than {ontology.name!r}")
            gold = typed_with(dev, ontology)
            predicted = predict_records(pipe, gold, head="target", gold_mentions=True)
            weights = estimate_credit(gold, predicted, ontology, ontology.soft_label_weights(config.soft_loss_decay))
        model.set_soft_loss_weights(weights)
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"soft_loss_weights: expected a .tsv, .json or .npy file, or a model of the same target types: {error}"
        ) from error


def start_at_mapping(path: str, model: FinenerForTokenClassification, target: Ontology) -> None:
    """Starts target types at the source types of a table. Raises ArgumentError on a model that can't."""
    table = TypeMapping.from_tsv(path, model.config.ontology, target)
    try:
        n_mapped = model.start_at_mapping(table)
    except ValueError as error:
        raise ArgumentError(f"target_vectors_from_mapping: {error}") from None
    if PartialState().is_main_process:
        print(f"{n_mapped} of {len(target)} target types start at source types")


def is_softmax(config: FinenerConfig) -> bool:
    """Whether fine-tuning trains one type for a mention."""
    return config.target_ontology is not None and config.target_activation == "softmax"


def type_shares(records: Iterable[dict], ontology: Ontology, *, most_specific: bool) -> torch.Tensor:
    """Part of the typed mentions that are of each type, (C) in (0, 1): as if one more mention were, and one more were not.

    Args:
        records: that train; those typed with ``ontology`` count.
        ontology: with C types.
        most_specific: leave out ancestors; several most specific types of a mention share it.
    """
    counts, mentions = torch.zeros(len(ontology)), 0
    for mention in (m for r in typed_with(records, ontology) for m in r["mentions"] if m["types"]):
        own = list(map(ontology.index, mention["types"]))
        found = ontology.most_specific_indices(own) if most_specific else ontology.closure_indices(own)
        counts[found] += 1 / len(found) if most_specific else 1.0
        mentions += 1
    return (counts + 1) / (mentions + 2)


def earlier_phases(args: FinenerArguments) -> list[dict[str, Any]]:
    """What the results file beside the model that fine-tuning starts from tells of how it was made, oldest first."""
    before = Path(args.model or "") / "results.json"
    if args.phase == "pretrain" or not before.is_file():
        return []
    results = json.loads(before.read_text(encoding="utf-8"))
    return [*results["earlier"], {key: results[key] for key in EARLIER_KEYS}]


# -------------------------------------------------------------------- one phase


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
        model.start_at_shares(type_shares(data.typing, trained, most_specific=is_softmax(model.config)))
    if args.target_vectors_from_mapping:
        start_at_mapping(args.target_vectors_from_mapping, model, trained)
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
        write_results(args, output_dir, results)
        print_scores(results)
    return results


def run_facts(
    args: FinenerArguments, training: FinenerTrainingArguments, config: FinenerConfig, ontology: Ontology
) -> dict[str, Any]:
    """What every results file tells of its run."""
    earlier = earlier_phases(args)
    return {
        "name": Path(training.output_dir).name,
        "phase": args.phase,
        "earlier": earlier,
        "encoder": earlier[0]["encoder"] if earlier else args.encoder or config.encoder_config.model_type,
        "ontology": ontology.name,
        "seed": training.seed,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "config": {**dataclasses.asdict(args), **_changed(training)},
        "versions": versions(),
    }


def data_facts(data: PhaseData) -> dict[str, Any]:
    """Hashes and numbers of a phase's records. Of a stream: those of its files, and in how many windows (``sampled``) types and mentions
    were counted.
    """
    parts = ("train", "dev", "test") if data.stream is None else ("dev", "test")
    hashes = {name: data_hash(getattr(data, name)) for name in parts}
    numbers = {name: len(getattr(data, name)) for name in parts}
    if data.stream is not None:
        hashes["train_files"] = files_hash(data.stream.all_files)
        numbers |= {"train": count_rows(data.stream.all_files), "sampled": len(data.train)}
    return {"data": hashes, "records": numbers}


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


def write_results(args: FinenerArguments, output_dir: Path, results: Mapping[str, Any]) -> None:
    """Writes the results file into the output folder and to where ``results_file`` wants it."""
    for path in {output_dir / "results.json", Path(args.results_file or output_dir / "results.json")}:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def print_scores(results: Mapping[str, Any]) -> None:
    """Prints the table of the test part, and what Direct could reach at most."""
    if results["test"]:
        print(f"\nTest part, {results['records']['test']} records:\n{scores_table(results['test'])}")
    if "direct" in results:
        reach = results["direct"]["reach"]
        print(
            f"Direct: threshold {results['direct']['threshold']:.2f}, tuned on dev; its mapping reaches {reach['types']:.0%} of the target "
            f"types, {reach['gold_types']:.0%} of those in the test part and {reach['gold_mentions']:.0%} of its mentions"
        )


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


def _changed(training: FinenerTrainingArguments) -> dict[str, Any]:
    """The training arguments that differ from transformers' own defaults, without those that name places on a machine."""
    places = {"output_dir", "logging_dir", "resume_from_checkpoint", "hub_token", "local_rank", "accelerator_config"}
    return {
        f.name: getattr(training, f.name)
        for f in dataclasses.fields(TrainingArguments)
        if f.init
        and f.name not in places
        and isinstance(getattr(training, f.name), (str, int, float, bool))
        and getattr(training, f.name) != f.default
    }


def versions() -> dict[str, str]:
    """What the numbers were made with."""
    packages = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "huggingface_hub", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


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


if __name__ == "__main__":
    main()

"""What ``train_finener.py`` may be asked for: the keys of its YAML files and its command line."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser, TrainingArguments
from transformers.integrations import INTEGRATION_TO_CALLBACK as TRACKERS
from transformers.integrations import get_available_reporting_integrations

from finener.configuration_finener import FinenerConfig
from finener.data_scripts.command_line import last_line
from finener.data_scripts.raw_files import read_yaml
from finener.metrics.card import CardFacts

PHASES = ("pretrain", "finetune", "direct")


class ArgumentError(ValueError):
    """A YAML file or command line asks for something that does not exist or does not fit."""


@dataclass
class FinenerArguments:
    """What a run trains, on what. Paths are relative to the working directory."""

    phase: str = field(default="pretrain", metadata={"help": "pretrain, finetune or direct; set by --phases"})
    encoder: str | None = field(
        default=None,
        metadata={
            "help": "pretrain: an AutoModel's name or folder, or python:PACKAGE for one whose get_model_path() tells its folder"
        },
    )
    model: str | None = field(
        default=None,
        metadata={
            "help": "finetune, direct: folder or repo of a pre-trained finener model; pretrain: one to go on with"
        },
    )
    ontology: str | None = field(default=None, metadata={"help": "pretrain: JSON or TSV of the source types"})
    target_ontology: str | None = field(
        default=None, metadata={"help": "finetune, direct: JSON or TSV of the target types"}
    )
    knobs: dict = field(default_factory=dict, metadata={"help": "of FinenerConfig, e.g. {lstm_layers: 1}"})
    type_start: str = field(
        default="names",
        metadata={
            "help": "names: the vectors of new types start at their embedded names, their biases at their shares of the training "
            "mentions; mapping: as names, and target types that the table of mapping knows at the trained vectors of their source "
            "types; random: as in the paper"
        },
    )
    soft_loss_weights: str | None = field(
        default=None,
        metadata={
            "help": "finetune: W of the soft loss, a .tsv, .json or .npy file; or a model of these target types, whose confusions on "
            "dev_data tell it. Default: by the knob soft_loss_decay"
        },
    )
    detection_data: list[str] = field(
        default_factory=list,
        metadata={"help": "exhaustive records: files, patterns, or folders, of which the train split is read"},
    )
    typing_data: list[str] = field(
        default_factory=list, metadata={"help": "records with types of the trained ontology; as detection_data"}
    )
    dev_data: list[str] = field(
        default_factory=list,
        metadata={"help": "records that choose the best checkpoint; of folders the dev or validation split"},
    )
    test_data: list[str] = field(
        default_factory=list, metadata={"help": "records that are only scored; of folders the test split"}
    )
    streaming: bool = field(
        default=False,
        metadata={"help": "read the training records while training, for files larger than memory; needs max_steps"},
    )
    held_out_share: float = field(
        default=0.0, metadata={"help": "share of the typing documents that join the dev data"}
    )
    detection_share: float = field(default=0.3, metadata={"help": "share of detection_data in a mixed epoch"})
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "stop after so many evaluations without a better score"}
    )
    mapping: str | None = field(
        default=None,
        metadata={
            "help": "finetune, direct: TSV source type → target type, for the Direct baseline and for type_start: mapping, which "
            "without it makes one of the types' names"
        },
    )
    show: list[str] = field(default_factory=list, metadata={"help": "texts whose mentions are printed at the end"})
    results_file: str | None = field(
        default=None, metadata={"help": "JSON to write; default: results.json in output_dir"}
    )


# Keys of earlier versions, and what says the same today.
RETIRED = {
    "type_vectors_from_names": "type_start: names (the default) or random",
    "type_priors_from_data": "type_start: names (the default) or random",
    "target_vectors_from_names": "type_start: names (the default) or random",
    "target_vectors_from_mapping": "type_start: mapping, with mapping: FILE.tsv",
}
# Knobs that other keys of the YAML set.
SET_ELSEWHERE = ("kwargs", "ontology", "target_ontology", "conversion_skip", "target_vector_size", "soft_loss_weights")
LIST_KEYS = {f.name for f in dataclasses.fields(FinenerArguments) if f.default_factory is list}


@dataclass
class TrainerSettings:
    """What :class:`~finener.training.trainer.FinenerTrainer` may be asked for beside transformers' own arguments."""

    freeze: str = field(
        default="encoder", metadata={"help": "nothing, encoder, or detection (encoder, BiLSTM, tags, CRF)"}
    )
    unfreeze_layers: int = field(
        default=0, metadata={"help": "with freeze: encoder, so many of its last layers are trained"}
    )
    encoder_learning_rate: float | None = field(
        default=None, metadata={"help": "of the encoder; default: learning_rate"}
    )
    encoder_dtype: str = field(
        default="float32",
        metadata={
            "help": "float32 or bfloat16: in which the encoder multiplies matrices while training; bfloat16 is about twice as fast "
            "on processors that have instructions for it (avx512_bf16), and slower on others"
        },
    )
    detection_weight: float | None = field(
        default=None, metadata={"help": "weight of the detection loss; default: 1, and 0 where detection is frozen"}
    )
    typing_weight: float | None = field(
        default=None,
        metadata={"help": "weight of the source typing loss; default: 1, and 0 where the model has target types"},
    )
    below_gold_weight: float = field(
        default=1.0,
        metadata={
            "help": "weight in the source typing loss of types below a mention's most specific gold types: 1 where these are all its "
            "types, less where it may have finer ones that the data do not tell, 0 where nothing is known of them"
        },
    )
    conversion_weight: float = field(default=1.0, metadata={"help": "weight of the target typing loss"})
    memory_weight: float = field(
        default=0.0,
        metadata={"help": "finetune: weight of the loss that holds the source types' scores where they were; try 0.03"},
    )
    cache_encoder_states: bool = field(default=True, metadata={"help": "compute a frozen encoder's states once"})
    encoder_states_folder: str | None = field(
        default=None,
        metadata={"help": "keep these states here, for other runs with the same encoder; default: for this run alone"},
    )
    shuffle_buffer: int = field(default=10_000, metadata={"help": "of a stream: windows that are shuffled together"})
    card: dict = field(
        default_factory=dict,
        metadata={
            "help": "what the model's card tells that no result knows: {license: cc-by-4.0, language: [en], datasets: [user/name], "
            "base_model: user/name, examples: [a text], tags: [a word]}"
        },
    )


@dataclass
class FinenerTrainingArguments(TrainerSettings, TrainingArguments):
    """``TrainingArguments`` with this project's settings and defaults."""

    output_dir: str = field(default="outputs/model", metadata={"help": "folder of the trained model"})
    learning_rate: float = field(default=1e-3, metadata={"help": "of Adam; the paper's 1e-3"})
    per_device_train_batch_size: int = field(default=16)
    per_device_eval_batch_size: int = field(default=32)
    eval_strategy: str = field(default="epoch")
    save_strategy: str = field(default="epoch")
    save_total_limit: int | None = field(default=1)
    load_best_model_at_end: bool = field(default=True)
    metric_for_best_model: str | None = field(default="score")
    logging_steps: float = field(default=50)
    train_sampling_strategy: str = field(
        default="group_by_length", metadata={"help": "group_by_length, random or sequential"}
    )
    report_to: None | str | list[str] = field(default="none")
    remove_unused_columns: bool | None = field(default=False)
    restore_callback_states_from_checkpoint: bool = field(default=True)  # the patience of early stopping
    dataloader_pin_memory: bool = field(default=False)
    hub_strategy: str = field(default="end", metadata={"help": "with push_to_hub: end or every_save"})
    accelerator_config: dict | str | None = field(default_factory=lambda: {"dispatch_batches": False})


# Arguments of transformers that have no meaning here: the one value that they may have, and why.
REFUSED = {
    "label_smoothing_factor": (0.0, "soft targets come from the knob soft_loss_decay"),
    "batch_eval_metrics": (False, "evaluation keeps a few counts for each record already"),
    "prediction_loss_only": (False, "evaluation counts hits and losses together"),
    "include_for_metrics": ([], "metrics are made of counts, not of inputs or losses"),
    "label_names": (None, "the labels are those of the collator's batch"),
    "eval_do_concat_batches": (True, "evaluation adds up the counts of all records"),
    "length_column_name": ("length", "lengths are those of the texts"),
    "use_liger_kernel": (False, "there are none for this model"),
}
# What FinenerTrainer makes by itself.
OWN_KEYWORDS = ("data_collator", "compute_loss_func", "compute_metrics", "preprocess_logits_for_metrics")
SAMPLING = ("group_by_length", "random", "sequential")


def check_values(args: TrainingArguments) -> None:
    """Raises ArgumentError on values that a library below would refuse later, in words of its own."""
    for name in ("learning_rate", "encoder_learning_rate"):
        if (value := getattr(args, name, None)) is not None and value < 0:
            raise ArgumentError(f"{name} must be at least 0, such as 0.001; got {value:g}")
    trackers = args.report_to if isinstance(args.report_to, list) else [args.report_to]
    for tracker in set(trackers) - {None, "none", "all"}:
        if tracker not in TRACKERS:
            raise ArgumentError(
                f"report_to: there is no tracker {tracker!r}; there are {', '.join(sorted(TRACKERS))} and none"
            )
        if tracker not in (there := get_available_reporting_integrations()):
            raise ArgumentError(
                f"report_to: {tracker} is not installed (installed: {', '.join(there) or 'none'}): pip install {tracker}"
            )


def check_trainer_arguments(args: TrainingArguments, keywords: Mapping[str, Any], eval_dataset: Any) -> None:
    """Raises ArgumentError on arguments and keywords that the trainer would have to ignore, or that do not fit its evaluation sets."""
    check_values(args)
    if own := [name for name in OWN_KEYWORDS if name in keywords]:
        raise ArgumentError(f"FinenerTrainer makes batches, losses and metrics by itself: leave out {', '.join(own)}")
    for name, (only, why) in REFUSED.items():
        if getattr(args, name) != only:
            raise ArgumentError(f"{name} must stay {only!r}: {why}; got {getattr(args, name)!r}")
    if args.train_sampling_strategy not in SAMPLING:
        raise ArgumentError(
            f"train_sampling_strategy must be one of {', '.join(SAMPLING)}; got {args.train_sampling_strategy!r}"
        )
    if args.push_to_hub and args.hub_strategy not in ("end", "every_save"):
        raise ArgumentError(
            "hub_strategy must be end or every_save: checkpoints hold pickles with this machine's paths, which are not uploaded; got "
            f"{getattr(args.hub_strategy, 'value', args.hub_strategy)}"
        )
    if isinstance(args, TrainerSettings):
        read_card(args.card)
    if eval_dataset is None and args.eval_strategy != "no":
        raise ArgumentError(
            "there is nothing to evaluate: pass eval_dataset=…, or set eval_strategy='no' and load_best_model_at_end=False"
        )
    if isinstance(eval_dataset, Mapping) and args.load_best_model_at_end:
        best = (args.metric_for_best_model or "").removeprefix("eval_")
        if not best.startswith(tuple(f"{name}_" for name in eval_dataset)):
            raise ArgumentError(
                "of several evaluation sets metric_for_best_model names one, such as "
                f"{next(iter(eval_dataset), 'NAME')}_score; got {best}"
            )
    if args.n_gpu > 1:
        raise ArgumentError(
            f"{args.n_gpu} GPUs in one process: start one process per GPU with "
            "'accelerate launch train_finener.py --config …', or set CUDA_VISIBLE_DEVICES=0"
        )


def read_card(content: Mapping[str, Any]) -> CardFacts:
    """What ``card:`` says. Raises ArgumentError on an unknown key or a value of the wrong kind."""
    try:
        return CardFacts.read(content)
    except ValueError as error:
        raise ArgumentError(str(error)) from None


# -------------------------------------------------------------------- YAML and command line


def parse_arguments(command_line: list[str]) -> list[tuple[FinenerArguments, FinenerTrainingArguments]]:
    """One pair of arguments for each phase that the YAML file and the command line ask for, in order.

    Raises:
        ArgumentError: on an unknown key or phase, or a file that is no YAML mapping.
    """
    known, _ = _parser().parse_known_args(command_line)
    content = _read_yaml(known.config) if known.config else {}
    sections = {phase: _mapping(content.pop(phase, None) or {}, f"{known.config}: {phase}") for phase in PHASES}
    phases = known.phases or content.pop("phases", None) or content.pop("phase", "pretrain")
    content.pop("phases", None)
    runs = []
    for phase in [phases] if isinstance(phases, str) else phases:
        if phase not in PHASES:
            raise ArgumentError(f"unknown phase {phase!r}; there are {', '.join(PHASES)}")
        values = {**content, **sections[phase], "phase": phase}
        _check_keys(values, known.config)
        parser = _parser()
        parser.set_defaults(**{key: _as_default(key, value) for key, value in values.items()})
        parsed = parser.parse_args(command_line)
        if parsed.phase != phase:
            raise ArgumentError(f"--phase {parsed.phase}: choose what to run with --phases {parsed.phase}")
        args, training = (_fill(kind, parsed) for kind in (FinenerArguments, FinenerTrainingArguments))
        _check_keys({"knobs": args.knobs}, "--knobs")
        runs.append((args, training))
    return runs


class _Parser(HfArgumentParser):
    """As transformers', but an error is one line."""

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: --(\w+)", message)
        if unknown:
            raise ArgumentError(f"there is no argument --{unknown[1]}{_close_match(unknown[1], _known_keys())}")
        raise ArgumentError(message.removeprefix("argument --"))


def _parser() -> HfArgumentParser:
    parser = _Parser(
        (FinenerArguments, FinenerTrainingArguments),
        description="Trains a finener model from a YAML file.",
        allow_abbrev=False,
    )
    parser.register("type", dict, yaml.safe_load)  # --knobs '{lstm_layers: 1}'
    parser.add_argument("--config", help="YAML file")
    parser.add_argument("--phases", nargs="+", help="which of the YAML's phases to run: pretrain, finetune")
    return parser


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        return _mapping(read_yaml(path, ArgumentError), path)
    except OSError as error:
        raise ArgumentError(f"can't read {path}: {error}") from error


def _mapping(content: Any, where: str, example: str = "learning_rate: 0.001") -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ArgumentError(f"{where} must hold 'key: value' lines, e.g. {example}; found {content!r:.60}")
    return content


def _check_keys(values: dict[str, Any], where: str) -> None:
    knobs = [name for name in inspect.signature(FinenerConfig).parameters if name not in SET_ELSEWHERE]
    given_knobs = _mapping(values.get("knobs") or {}, f"{where}: knobs", "lstm_layers: 1")
    for given, allowed, what in ((values, _known_keys(), "key"), (given_knobs, knobs, "knob")):
        for key in given:
            if key not in allowed:
                hint = _close_match(str(key), allowed)
                if key in RETIRED:
                    hint = f"; it is now {RETIRED[key]}"
                raise ArgumentError(f"{where}: unknown {what} {key!r}{hint}")


def _known_keys() -> list[str]:
    return [f.name for kind in (FinenerArguments, FinenerTrainingArguments) for f in dataclasses.fields(kind) if f.init]


def _close_match(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _as_default(key: str, value: Any) -> Any:
    """A YAML value as argparse wants it: numbers as text (YAML reads 1e-3 as a text, argparse knows the field's kind), one text as a list
    of one where the field is a list.
    """
    if isinstance(value, str) and key in LIST_KEYS:
        return [value]
    if value is False and key.endswith("_strategy"):
        return "no"  # which YAML reads as false
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _fill(kind: type, parsed: Any) -> Any:
    try:
        return kind(**{f.name: getattr(parsed, f.name) for f in dataclasses.fields(kind) if f.init})
    except ValueError as error:  # transformers', which may be a paragraph
        raise ArgumentError(last_line(error)) from error

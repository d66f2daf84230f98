"""The records of a training phase."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from finener.data_scripts.record_files import count_rows, record_files
from finener.modeling_finener import FinenerForTokenClassification
from finener.ontology_finener import Ontology
from finener.prediction.mapping import TypeMapping
from finener.training.arguments import ArgumentError, FinenerArguments, FinenerTrainingArguments
from finener.training.records import (
    Windows,
    check_types,
    cut_record,
    detection_beside,
    hold_out_documents,
    mix_records,
    read_ontology,
    read_split,
    scorable,
    teaches,
)
from finener.training.stream import RecordStream
from finener.windows_finener import TextEncoder


@dataclass
class PhaseData:
    """Records of a phase. ``train`` and ``dev`` fit a window each; ``test`` and ``tune`` are whole.

    With a ``stream`` it is what trains; ``train`` and ``typing`` are then the windows that it begins with, as a sample. ``mapping`` is that
    of the Direct baseline.
    """

    train: Windows
    dev: Windows
    tune: list[dict]
    test: list[dict]
    typing: list[dict]
    stream: RecordStream | None = None
    mapping: TypeMapping | None = None


def load_data(
    args: FinenerArguments,
    model: FinenerForTokenClassification,
    encoder: TextEncoder,
    training: FinenerTrainingArguments,
) -> PhaseData:
    """Reads, checks, splits and mixes the records of a phase. Streaming concerns those that train; the others are always in memory.

    Raises:
        ArgumentError: when there is nothing to train on, or a record's ontology, or one of its types, is not one of the model's.
        RecordError: on a record that is not valid.
    """
    ontologies = {o.name: o for o in (model.config.ontology, model.config.target_ontology) if o is not None}
    if args.target_ontology and args.phase == "pretrain":
        target = read_ontology(args.target_ontology, "target_ontology")
        ontologies.setdefault(target.name, target)  # its records may still train detection

    def read(paths: list[str], split: str = "train") -> list[dict]:
        return read_split(paths, split, ontologies)

    def cut(records: Iterable[dict]) -> list[dict]:
        return [part for record in records for part in cut_record(record, encoder)]

    if not args.typing_data and not args.detection_data:
        raise ArgumentError("there is nothing to train on: typing_data and detection_data are empty")
    try:
        detection_beside(0, args.detection_share)
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    dev, test = read(args.dev_data, "dev"), read(args.test_data, "test")
    held_out, stream = [], None
    if args.streaming:
        stream = open_stream(args, encoder, training, functools.partial(check_types, ontologies=ontologies))
        typing, detection = stream.beginning
        train = [*typing, *detection]
    else:
        typing, detection = read(args.typing_data), cut(read(args.detection_data))
        typing, held_out = hold_out_documents(typing, args.held_out_share, training.seed)
        train = mix_records(detection, cut(filter(teaches, typing)), args.detection_share, training.seed)
    if not train:
        raise ArgumentError("there is nothing to train on: no record has a mention or is exhaustive")
    # Evaluation reads them in order: less padding.
    by_length = sorted(cut(dev + held_out), key=lambda r: len(r["text"]))
    source, target = model.config.ontology, model.config.target_ontology
    mapping = read_mapping(args, source, target, dev) if args.mapping and target is not None and test else None
    return PhaseData(Windows(train), Windows(by_length), dev, test, typing, stream, mapping)


def open_stream(
    args: FinenerArguments,
    encoder: TextEncoder,
    training: FinenerTrainingArguments,
    check: Callable[[Mapping[str, Any]], None],
) -> RecordStream:
    """The training records of a phase as a stream. Raises ArgumentError on arguments that need all records in memory, or their end."""
    files, detection = record_files(args.typing_data), record_files(args.detection_data)
    if not files:
        files, detection = detection, []
    if training.shuffle_buffer < 1:
        raise ArgumentError(f"shuffle_buffer must be at least 1 window; got {training.shuffle_buffer}")
    if args.held_out_share:
        raise ArgumentError("held_out_share needs all records in memory: with streaming, name dev_data instead")
    if training.max_steps <= 0:
        n_typing = count_rows(files)
        n_records = n_typing + (detection_beside(n_typing, args.detection_share) if detection else 0)
        a_step = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
        raise ArgumentError(
            f"a stream has no end: set max_steps; one pass over its records is about max_steps: {math.ceil(n_records / a_step)} "
            "(more where long ones are cut)"
        )
    for key in ("eval_strategy", "save_strategy"):
        if getattr(training, key) == "epoch":
            raise ArgumentError(f"a stream has no epochs: set {key}: steps, and {key.replace('strategy', 'steps')}")
    return RecordStream(
        files,
        encoder,
        detection_sources=detection,
        detection_share=args.detection_share,
        check=check,
        buffer_size=training.shuffle_buffer,
        seed=training.seed if training.data_seed is None else training.data_seed,
        process=training.process_index,
        n_processes=training.world_size,
        n_workers=training.dataloader_num_workers,
    )


def read_mapping(args: FinenerArguments, source: Ontology, target: Ontology, dev: list[dict]) -> TypeMapping:
    """The table of the Direct baseline.

    Raises:
        ArgumentError: without dev records to tune its threshold on.
        OntologyError: on a bad line, or one with an unknown type.
    """
    if not scorable(dev, target):
        raise ArgumentError("the Direct baseline needs dev_data with target types: its threshold is tuned there")
    return TypeMapping.from_tsv(args.mapping, source, target)

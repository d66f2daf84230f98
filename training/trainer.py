"""The trainer: records in; named losses that are exact under accumulation and on several processes; evaluation by counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import DataLoader, IterableDataset, Sampler, SequentialSampler
from transformers import PreTrainedTokenizerBase, TrainingArguments
from transformers.trainer_pt_utils import DistributedLengthGroupedSampler

from finener.configuration_finener import FinenerConfig
from finener.layers_finener import LOSS_PARTS
from finener.metrics.counting import COUNTS
from finener.modeling_finener import FinenerForTokenClassification
from finener.training.arguments import ArgumentError, FinenerTrainingArguments, TrainerSettings, check_trainer_arguments
from finener.training.checkpoints import last_whole_checkpoint
from finener.training.collator import FinenerCollator, loss_counts, model_inputs
from finener.training.encoder_states import SharedStates
from finener.training.evaluation import evaluate_batch, metrics_of_counts
from finener.training.memory import TRAINED_PARTS, SourceMemory, count_mentions
from finener.training.pushing import PushingTrainer
from finener.training.records import (
    Record,
    Unpredictable,
    Windows,
    check_learnable,
    check_own_types,
    count_unpredictable,
    cut_records,
    what_is_foreign,
)
from finener.training.sharding import as_forward, check_sharding, whole_model
from finener.training.start import (
    default_weights,
    freeze_parts,
    is_frozen,
    read_dtype,
    set_below_gold_weight,
    start_at_shares,
    type_shares,
)
from finener.training.stream import RecordStream, first_windows
from finener.windows_finener import TextEncoder

Records = Iterable[Record]
"""A list of records or a ``datasets.Dataset`` of them; to train on, also a ``datasets.IterableDataset`` or a :class:`RecordStream`."""


class FinenerTrainer(PushingTrainer):
    """``transformers.Trainer`` for finener models: takes records, and does the cutting, batching, weighing and scoring by itself.

    Each loss part is its sum over the whole accumulation window and all processes divided by what it counts there, so accumulating
    4 batches equals one batch four times as large, on one process or several. Evaluation counts hits and losses record by record, so it
    is exact and takes no memory that grows with the number of types. A frozen encoder's states are computed once.

    Args:
        model: of ``from_pretrained``, ``from_encoder`` or after ``add_conversion``. A head that is new starts its biases at the types'
            shares of the training mentions, unless it was made with ``start="random"``.
        args: :class:`~finener.training.arguments.FinenerTrainingArguments`; with plain ``TrainingArguments`` everything of
            :class:`~finener.training.arguments.TrainerSettings` has its default.
        train_dataset: records; long ones are cut between mentions, those that teach nothing are left out.
        eval_dataset: records, or a dict of several sets, of which ``metric_for_best_model`` then names one: ``NAME_score``.
        processing_class: the encoder's tokenizer; by default that of the folder or repo that the model came from.
        **kwargs: of ``Trainer``, but for those that the trainer makes by itself.

    Raises:
        ValueError: on an argument of transformers that has no meaning here, on records with nothing to learn or to evaluate, or on several
            GPUs without a launcher, where ``nn.DataParallel`` would cut batches wrongly.
        RecordError: on a record that is not valid.
        FloatingPointError: in training and evaluation, when a loss is not finite; the message names part, step and the batch's records.

    Example:
        >>> model = FinenerForTokenClassification.from_pretrained("outputs/quickstart_pretrained")  # doctest: +SKIP
        >>> model.add_conversion(Ontology.from_tsv("my_types.tsv"))  # doctest: +SKIP
        >>> trainer = FinenerTrainer(model, args, train_dataset=train, eval_dataset=dev)  # doctest: +SKIP
        >>> trainer.train(); trainer.push_to_hub("user/my-model")  # doctest: +SKIP
    """

    def __init__(
        self,
        model: FinenerForTokenClassification,
        args: TrainingArguments | None = None,
        *,
        train_dataset: Records | None = None,
        eval_dataset: Records | Mapping[str, Records] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        **kwargs: Any,
    ):
        args = FinenerTrainingArguments() if args is None else args
        if getattr(getattr(model, "config", None), "model_type", None) != FinenerConfig.model_type:
            raise TypeError(
                f"expected a finener model, as FinenerForTokenClassification.from_pretrained(…) loads it; got {model!r:.60}"
            )
        check_trainer_arguments(args, kwargs, eval_dataset)
        args.remove_unused_columns = False  # a record's keys are not arguments of forward
        self.settings = args if isinstance(args, TrainerSettings) else TrainerSettings()
        freeze_parts(model, self.settings)
        model.encoder_autocast = read_dtype(self.settings.encoder_dtype)
        if args.neftune_noise_alpha is not None and is_frozen(model.get_input_embeddings()):
            raise ArgumentError("neftune_noise_alpha has no effect on frozen embeddings: set freeze: nothing")
        weights = default_weights(model, self.settings)
        set_below_gold_weight(model, self.settings.below_gold_weight, weights["typing"])
        tokenizer = processing_class or model.own_tokenizer()
        self.text_encoder = TextEncoder(tokenizer, model.config)
        self._states: SharedStates | None = None
        self._kept: list[Windows] = []  # whose states are known to be there, while training
        self._ontologies = {o.name: o for o in (model.config.ontology, model.config.target_ontology) if o is not None}
        if train_dataset is not None:
            train_dataset = self._train_windows(train_dataset, args)
            check_learnable(first_windows(train_dataset), model, weights)
        super().__init__(
            model,
            args,
            FinenerCollator(self.text_encoder, model.config),
            train_dataset,
            self._eval_sets(eval_dataset),
            tokenizer,
            compute_metrics=partial(metrics_of_counts, weights=weights),
            **kwargs,
        )
        self.model_accepts_loss_kwargs = True  # compute_loss divides by the window's counts, the trainer shall not
        check_sharding(self.accelerator, model)
        if self.is_fsdp_enabled:  # it would move the model after stored states and the memory of source types are made
            model.to(self.args.device)
        self.unpredictable = self._count_unpredictable()
        self.loss_weights = torch.tensor([weights[part] for part in TRAINED_PARTS])
        self.memory: SourceMemory | None = None  # with a memory_weight, from the first training on
        self._sums = torch.zeros(2, len(TRAINED_PARTS))  # since the last log: losses times counts, counts

    # ---------------------------------------------------------------- records

    def _train_windows(self, records: Records, args: TrainingArguments) -> Windows | RecordStream:
        if isinstance(records, (Windows, RecordStream)):
            return records
        if not isinstance(records, IterableDataset):
            return cut_records(records, self.text_encoder, self._ontologies, teaching_only=True)
        return RecordStream(
            [records],
            self.text_encoder,
            check=partial(check_own_types, ontologies=self._ontologies),
            buffer_size=self.settings.shuffle_buffer,
            seed=args.seed if args.data_seed is None else args.data_seed,
            process=args.process_index,
            n_processes=args.world_size,
            n_workers=args.dataloader_num_workers,
        )

    def _eval_sets(self, records: Records | Mapping[str, Records] | None) -> Windows | dict[str, Windows] | None:
        if isinstance(records, Mapping):
            return {name: self._eval_windows(part) for name, part in records.items()}
        return self._eval_windows(records)

    def _eval_windows(self, records: Records | None) -> Windows | None:
        """In order of length: less padding. Raises ArgumentError when there are none."""
        if records is None or isinstance(records, Windows):
            return records
        windows = cut_records(records, self.text_encoder, self._ontologies)
        if not windows:
            raise ArgumentError("there is nothing to evaluate: expected at least one record")
        return Windows(sorted(windows, key=lambda record: len(record["text"])))

    def _all_eval_windows(self) -> list[Windows]:
        parts = self.eval_dataset.values() if isinstance(self.eval_dataset, Mapping) else [self.eval_dataset]
        return [part for part in parts if part is not None]

    def _count_unpredictable(self) -> Unpredictable:
        """What of the records the model can never find; this, and whose types it does not have, is told once."""
        train = [] if self.train_dataset is None else first_windows(self.train_dataset)
        records = [*chain(train, *self._all_eval_windows())]
        found = count_unpredictable(records, self.text_encoder)
        for told in (str(found), what_is_foreign(records, self._ontologies)):
            if told and self.is_world_process_zero():
                print(told)
        return found

    def _keep_states(self, windows: Windows | RecordStream) -> None:
        """Lets the collator read a frozen encoder's states, those of these windows too."""
        is_cacheable = self.settings.cache_encoder_states and is_frozen(self._plain_model.encoder)
        if not is_cacheable or isinstance(self.train_dataset, RecordStream):
            self.data_collator.cache = None
            return
        if self._states is None:
            self._states = SharedStates(self.settings.encoder_states_folder)
        is_known = any(windows is kept for kept in self._kept)
        if not is_known and isinstance(self._plain_model, FSDPModule):
            self.data_collator.cache = None
            return
        if not is_known:
            self._states.build((r["text"] for r in windows), self._plain_model, self.text_encoder, self.args)
            if self.is_in_train:  # a frozen encoder stays as it is; hashing it for each evaluation would cost
                self._kept.append(windows)
        self.data_collator.cache = self._states.cache

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """As of ``Trainer``, after :meth:`start_types`; ``resume_from_checkpoint=True`` takes the last checkpoint that is whole.

        Raises:
            ArgumentError: when there is none, or when the model has got other target types since.
            SavingError: when a checkpoint can't be written.
        """
        if resume_from_checkpoint is True:
            checkpoint = last_whole_checkpoint(Path(self.args.output_dir), self.is_world_process_zero())
            if checkpoint is None:
                raise ArgumentError(f"{self.args.output_dir} has no whole checkpoint: call train() to start anew")
            resume_from_checkpoint = str(checkpoint)
        if self.text_encoder.config.target_ontology is not self._plain_model.config.target_ontology:
            raise ArgumentError("the model has other target types than when this trainer was made: make a new one")
        self.start_types()
        if (
            self.settings.memory_weight and self.memory is None
        ):  # of the model as it came: a resumed run compares with it too
            self.memory = SourceMemory(self._plain_model)
        try:
            return super().train(resume_from_checkpoint, **kwargs)
        finally:
            self._kept = []

    def start_types(self) -> None:
        """Starts the biases of a head that is new, and was not made with ``start="random"``, at the shares of its types."""
        model = self._plain_model
        if model.fresh_start == "names" and self.train_dataset is not None:
            is_softmax = model.conversion is not None and model.conversion.one_type
            ontology = model.config.target_ontology or model.config.ontology
            shares = type_shares(first_windows(self.train_dataset), ontology, most_specific=is_softmax)
            start_at_shares(model, shares)
        model.fresh_start = None

    def get_train_dataloader(self) -> DataLoader:
        """As of ``Trainer``; a stream is not given to accelerate, which would divide among the processes what is one's share already."""
        if self.is_fsdp_enabled:  # once the weights are spread, no process can run the encoder alone
            for windows in self._all_eval_windows():
                self._keep_states(windows)
        self._keep_states(self.train_dataset)
        if not isinstance(self.train_dataset, RecordStream):
            return super().get_train_dataloader()
        return DataLoader(
            self.train_dataset,
            batch_size=self._train_batch_size,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
        )

    def get_eval_dataloader(self, eval_dataset: str | Records | None = None) -> DataLoader:
        """As of ``Trainer``, of records."""
        if not isinstance(eval_dataset, str):
            eval_dataset = self._eval_windows(self.eval_dataset if eval_dataset is None else eval_dataset)
        named = self.eval_dataset[eval_dataset] if isinstance(eval_dataset, str) else eval_dataset
        if named is not None:
            self._keep_states(named)
        return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Records) -> DataLoader:
        """As of ``Trainer``, of records, in order of length."""
        windows = self._eval_windows(test_dataset)
        self._keep_states(windows)
        return super().get_test_dataloader(windows)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        """With ``group_by_length``: random batches of records of like length, which need less padding.

        The order follows from seed and epoch alone, never from the state of a process, so all processes agree on it (accelerate deals
        the batches out to them: hence one replica) and so does a run that is resumed.
        """
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        records = self.train_dataset if train_dataset is None else train_dataset
        batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        lengths = [len(record["text"]) for record in records]
        return DistributedLengthGroupedSampler(batch_size, num_replicas=1, rank=0, seed=seed, lengths=lengths)

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler | None:
        return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """As of ``Trainer``, the encoder's parameters in groups of their own where they have a learning rate of their own."""
        is_new, rate = self.optimizer is None, self.settings.encoder_learning_rate
        optimizer = super().create_optimizer(model)
        if is_new and rate is not None:
            of_encoder = {id(p) for p in self._plain_model.encoder.parameters()}
            groups = []
            for group in optimizer.param_groups:
                rest = [p for p in group["params"] if id(p) not in of_encoder]
                encoder = [p for p in group["params"] if id(p) in of_encoder]
                groups += [{**group, "params": rest}, {**group, "params": encoder, "lr": rate}]
            optimizer.param_groups = [group for group in groups if group["params"]]
        return optimizer

    # ---------------------------------------------------------------- losses

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Tensor]:
        """An accumulation window and what each of its loss parts counts, over all processes, (4,)."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = torch.zeros(len(TRAINED_PARTS), dtype=torch.long)
        for batch in batches:
            own = loss_counts(batch, self._plain_model.config.target_activation == "sigmoid")
            counts += torch.cat([own, count_mentions(batch)[None]]).cpu()
        return batches, self.accelerator.reduce(counts.to(device), "sum")

    def whole_model(self) -> FinenerForTokenClassification:
        """The model as it is now, with all of its weights on the main process: what may be used and saved there. All processes must ask."""
        return whole_model(self.accelerator, self._plain_model)

    @property
    def _plain_model(self) -> FinenerForTokenClassification:
        return self.accelerator.unwrap_model(self.model)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """Weighted sum of the named losses, normalised over the accumulation window. ``num_items_in_batch``: (4,)."""
        output = model(**model_inputs(inputs))
        if self.memory is not None and model.training:
            output.losses["memory"] = self.memory.loss(inputs, output.type_logits)
            output.counts["memory"] = count_mentions(inputs)
        losses = torch.stack([output.losses.get(part, output.logits.new_zeros(())) for part in TRAINED_PARTS])
        counts = torch.stack([output.counts.get(part, losses.new_zeros(())) for part in TRAINED_PARTS]).to(losses.dtype)
        self._check_finite(~torch.isfinite(losses.detach()), inputs["ids"])
        if model.training:
            self._sums += torch.stack([losses.detach() * counts, counts]).cpu()
        totals = counts if num_items_in_batch is None else num_items_in_batch.to(losses)
        shares = counts / totals.clamp(min=1)
        if num_items_in_batch is not None:
            shares = shares * self.accelerator.num_processes  # DDP averages gradients; these are shares of one sum
        loss = (losses * shares * self.loss_weights.to(losses)).sum()
        return (loss, output) if return_outputs else loss

    def _check_finite(self, is_bad: Tensor, ids: list[str]) -> None:
        """Stops all processes where a loss part of one, (4,) or without memory (3,), is not finite: none is left waiting for the others."""
        told = self.accelerator.reduce(is_bad.float(), "sum") if self.accelerator.num_processes > 1 else is_bad
        if not told.any():
            return
        where = f"in the batch of the records {', '.join(ids)}" if is_bad.any() else "on another process"
        raise FloatingPointError(
            f"the loss of {', '.join(part for part, bad in zip(TRAINED_PARTS, told.tolist(), strict=False) if bad)} is not finite at step "
            f"{self.state.global_step}, {where}; look at these, or lower learning_rate"
        )

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds each part's mean since the last log, over all processes, to training logs."""
        if "loss" in logs:
            sums, counts = self.accelerator.reduce(self._sums.to(self.args.device), "sum").cpu()
            self._sums.zero_()
            logs |= {
                f"loss_{part}": (total / count).item()
                for part, total, count in zip(TRAINED_PARTS, sums, counts, strict=True)
                if count
            }
        super().log(logs, *args, **kwargs)

    # ---------------------------------------------------------------- evaluation

    @torch.no_grad()
    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, Tensor, Tensor]:
        """No loss of the batch, which would weigh records by their batch; counts and losses of each record, (B, n), see
        :func:`~finener.training.evaluation.evaluate_batch`; and as many dummy labels.
        """
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            counts = as_forward(evaluate_batch, self._plain_model)(inputs).to(self.args.device)
        self._check_finite(~counts[:, len(COUNTS) :][:, : len(LOSS_PARTS)].isfinite().all(0), inputs["ids"])
        return None, counts, torch.zeros(len(counts), device=counts.device)

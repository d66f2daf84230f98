"""The trainer: named losses that are exact under accumulation and on several processes, evaluation by counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer_pt_utils import DistributedLengthGroupedSampler

from finener.layers_finener import LOSS_PARTS
from finener.modeling_finener import FinenerForTokenClassification
from finener.training.collator import loss_counts, model_inputs
from finener.training.evaluation import count_batch, metrics_of_counts
from finener.training.stream import RecordStream


class FinenerTrainer(Trainer):
    """``transformers.Trainer`` for finener models.

    Each loss part is its sum over the whole accumulation window and all processes divided by what it counts there, so accumulating
    4 batches equals one batch four times as large, on one process or several. Evaluation counts hits record by record, so it is exact
    and takes no memory that grows with the number of types.

    Args:
        loss_weights: weight of each part (``detection``, ``typing``, ``conversion``); a part not named weighs 0.
        encoder_learning_rate: of the encoder, where it is not that of the rest; the same schedule.
        *args, **kwargs: of ``Trainer``.

    Raises:
        ValueError: on an unknown part, or on several GPUs without a launcher, where ``nn.DataParallel`` would cut batches wrongly.
        FloatingPointError: when a loss is not finite; the message names the part, the step and the batch's records.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *args: Any,
        loss_weights: Mapping[str, float],
        encoder_learning_rate: float | None = None,
        **kwargs: Any,
    ):
        unknown = set(loss_weights) - set(LOSS_PARTS)
        if unknown:
            raise ValueError(f"unknown loss parts {sorted(unknown)}; there are {', '.join(LOSS_PARTS)}")
        super().__init__(*args, compute_metrics=metrics_of_counts, **kwargs)
        if self.args.n_gpu > 1:
            raise ValueError(
                f"{self.args.n_gpu} GPUs in one process: start one process per GPU with "
                "'accelerate launch train_finener.py --config …', or set CUDA_VISIBLE_DEVICES=0"
            )
        self.loss_weights = torch.tensor([float(loss_weights.get(part, 0.0)) for part in LOSS_PARTS])
        self._sums = torch.zeros(2, len(LOSS_PARTS))  # since the last log: losses times counts, counts
        self.encoder_learning_rate = encoder_learning_rate

    def get_train_dataloader(self) -> DataLoader:
        """As of ``Trainer``; a stream is not given to accelerate, which would divide among the processes what is one's share already."""
        if not isinstance(self.train_dataset, RecordStream):
            return super().get_train_dataloader()
        return DataLoader(
            self.train_dataset,
            batch_size=self._train_batch_size,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> DistributedLengthGroupedSampler:
        """Random batches of records of like length: less padding.

        The order follows from seed and epoch alone, never from the state of a process, so all processes agree on it (accelerate deals
        the batches out to them: hence one replica) and so does a run that is resumed.
        """
        records = self.train_dataset if train_dataset is None else train_dataset
        batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        lengths = [len(record["text"]) for record in records]
        return DistributedLengthGroupedSampler(batch_size, num_replicas=1, rank=0, seed=seed, lengths=lengths)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """As of ``Trainer``, the encoder's parameters in groups of their own where they have a learning rate of their own."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new and self.encoder_learning_rate is not None:
            of_encoder = {id(p) for p in self._plain_model.encoder.parameters()}
            groups = []
            for group in optimizer.param_groups:
                rest = [p for p in group["params"] if id(p) not in of_encoder]
                encoder = [p for p in group["params"] if id(p) in of_encoder]
                groups += [{**group, "params": rest}, {**group, "params": encoder, "lr": self.encoder_learning_rate}]
            optimizer.param_groups = [group for group in groups if group["params"]]
        return optimizer

    # ---------------------------------------------------------------- losses

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Tensor]:
        """An accumulation window and what each of its loss parts counts, over all processes, (3,)."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = torch.zeros(len(LOSS_PARTS), dtype=torch.long)
        for batch in batches:
            counts += loss_counts(batch, self._target_is_closed).cpu()
        return batches, self.accelerator.reduce(counts.to(device), "sum")

    @property
    def _target_is_closed(self) -> bool:
        return self._plain_model.config.target_activation == "sigmoid"

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
        """Weighted sum of the model's named losses, normalised over the accumulation window. ``num_items_in_batch``: (3,)."""
        output = model(**model_inputs(inputs))
        losses = torch.stack([output.losses.get(part, output.logits.new_zeros(())) for part in LOSS_PARTS])
        counts = torch.stack([output.counts.get(part, losses.new_zeros(())) for part in LOSS_PARTS]).to(losses.dtype)
        if not torch.isfinite(losses).all():
            bad = [part for part, loss in zip(LOSS_PARTS, losses, strict=True) if not torch.isfinite(loss)]
            raise FloatingPointError(
                f"the loss of {', '.join(bad)} is not finite at step {self.state.global_step}, in the batch of the records "
                f"{', '.join(inputs['ids'])}; look at these, or lower learning_rate"
            )
        if model.training:
            self._sums += torch.stack([losses.detach() * counts, counts]).cpu()
        totals = counts if num_items_in_batch is None else num_items_in_batch.to(losses)
        shares = counts / totals.clamp(min=1)
        if num_items_in_batch is not None:
            shares = shares * self.accelerator.num_processes  # DDP averages gradients; these are shares of one sum
        loss = (losses * shares * self.loss_weights.to(losses)).sum()
        return (loss, output) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds each part's mean since the last log, over all processes, to training logs."""
        if "loss" in logs:
            sums, counts = self.accelerator.reduce(self._sums.to(self.args.device), "sum").cpu()
            self._sums.zero_()
            logs |= {
                f"loss_{part}": (total / count).item()
                for part, total, count in zip(LOSS_PARTS, sums, counts, strict=True)
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
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, counts of each record (B, len(COUNTS)), and as many dummy labels: tiny, whatever the number of types."""
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            loss, given = self.compute_loss(model, inputs, return_outputs=True)
            plain = self._plain_model
            texts = ("input_ids", "attention_mask", "word_starts", "word_shapes", "word_states")
            found = plain(**{k: inputs[k] for k in texts if k in inputs})
        counts = count_batch(plain, inputs, given, found).to(loss.device)
        return loss.detach(), counts, torch.zeros(len(counts), device=loss.device)

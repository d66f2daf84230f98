"""How a trainer saves and publishes: always a whole repo, with this project's card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy

from finener.metrics.card import CardFacts, write_card
from finener.publishing.release import release_model
from finener.publishing.staging import ReleaseError
from finener.publishing.upload import Published, UploadError, create_repo
from finener.training.arguments import TrainerSettings
from finener.training.checkpoints import SavingError, saving
from finener.training.results import results_of_trainer, write_results
from finener.training.sharding import plain_copy


class PushingTrainer(Trainer):
    """The part of :class:`~finener.training.trainer.FinenerTrainer` that saves, describes and publishes its model."""

    settings: TrainerSettings

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """As of ``Trainer``, into a folder that is empty: the trainer's state, which is written last, tells that all is there.

        Raises:
            SavingError: when it can't be written. Nothing of it stays then; older checkpoints are as they were.
        """
        folder = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.args.should_save:
            shutil.rmtree(folder, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        try:
            with saving(folder, "; older checkpoints are as they were"):
                super()._save_checkpoint(model, trial)
        except SavingError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As of ``Trainer``; and, of the output folder, the card and the results file."""
        super().save_model(output_dir, _internal_call)
        if not _internal_call and self.is_world_process_zero() and output_dir in (None, self.args.output_dir):
            self.create_model_card()

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """As of ``Trainer``, always of our class; ``state_dict``: the gathered weights of a model that FSDP has spread."""
        model = self.model
        if isinstance(model, FSDPModule) and self.args.should_save:
            self.model, state_dict = plain_copy(model, state_dict), None
        try:
            super()._save(output_dir, state_dict)
        finally:
            self.model = model

    def create_model_card(self, model_name: str | None = None, **kwargs: Any) -> None:
        """Writes this project's card and the results file that its figures come from into the output folder.

        Args:
            model_name: what the card calls the model; by default the output folder's name.
            **kwargs: of ``Trainer.create_model_card``: ``license``, ``language``, ``tags``, ``dataset``, ``finetuned_from``; they join
                ``card`` of the arguments.

        Raises:
            ValueError: on another one, which this card has no place for.
        """
        self._write_card(Path(self.args.output_dir), model_name, kwargs)

    def _write_card(self, folder: Path, name: str | None = None, told: Mapping[str, Any] | None = None) -> None:
        names = {"dataset": "datasets", "finetuned_from": "base_model"}
        told = {names.get(key, key): value for key, value in (told or {}).items() if value is not None}
        results = results_of_trainer(self, name)
        results["config"]["card"] = {**self.settings.card, **told}
        facts = CardFacts.read(results["config"]["card"])
        write_results(results, folder / "results.json")
        write_card(folder, results, facts)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Makes the repo of ``hub_model_id`` or, without one, of the output folder's name. Raises UploadError where the Hub refuses."""
        if not self.is_world_process_zero():
            return
        name = self.args.hub_model_id or Path(self.args.output_dir).absolute().name
        private = self.args.hub_private_repo if private is None else private
        self.hub_model_id = create_repo(name, private=private, token=token or self.args.hub_token)
        self.push_in_progress = None

    def push_to_hub(
        self,
        repo_id: str | None = None,
        commit_message: str = "End of training",
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Published | None:
        """Releases the model as one commit: weights, tokenizer, code, types, card and results; see :mod:`finener.publishing`.

        Args:
            repo_id: "user/name"; by default ``hub_model_id`` of the arguments, or the output folder's name.
            commit_message: of the commit.
            token: by default ``hub_token`` of the arguments, or the one of ``hf auth login``.
            revision: a branch; by default ``hub_revision`` of the arguments, or ``main``.
            private: of a repo that is made; by default ``hub_private_repo`` of the arguments.
            **kwargs: of :meth:`create_model_card`.

        Returns:
            Where it is; None on other processes than the first.

        Raises:
            ReleaseError: when the model would not load for others.
            UploadError: when the Hub does not take it.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if repo_id is not None:
            self.args.hub_model_id, self.hub_model_id = repo_id, None
        if self.hub_model_id is None:
            self.init_hf_repo(token, private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        self.create_model_card(**kwargs)
        return self._release(Path(self.args.output_dir), commit_message, token=token, revision=revision)

    def _release(self, folder: Path, message: str, **told: Any) -> Published:
        hub = {"token": self.args.hub_token, "revision": self.args.hub_revision}
        hub |= {key: value for key, value in told.items() if value is not None}
        return release_model(folder, self.hub_model_id, message=message, **hub)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """With ``hub_strategy: every_save``, a checkpoint as a whole repo. A failure is told and training goes on."""
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        folder = Path(checkpoint_folder)
        self._write_card(folder, Path(self.args.output_dir).name)
        try:
            self._release(folder, f"Training in progress, step {self.state.global_step}")
        except (ReleaseError, UploadError) as error:
            print(f"training goes on: {error}")

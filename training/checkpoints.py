"""Checkpoints that outlive a run's accidents: which are whole, a failure to write one, and an end by SIGTERM with one."""

from __future__ import annotations

import json
import signal
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import FSDP_MODEL_NAME, OPTIMIZER_NAME, OPTIMIZER_NAME_BIN, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from finener.data_scripts.command_line import last_line
from finener.publishing.upload import UploadError

# ---------------------------------------------------------------- which are whole


def last_whole_checkpoint(folder: Path, is_told: bool = True) -> Path | None:
    """The checkpoint of the most steps that a run can go on from; None where there is none.

    Args:
        folder: of ``checkpoint-STEP`` folders.
        is_told: a line on stderr for each later one that is left out.
    """
    found = [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.is_dir() and step_of(path) >= 0]
    for checkpoint in sorted(found, key=step_of, reverse=True):
        fault = fault_of(checkpoint) or _fault_of_best(checkpoint)
        if fault is None:
            return checkpoint
        if is_told:
            print(f"warning: {checkpoint} is left out, it is not whole: {fault}", file=sys.stderr)
    return None


def step_of(checkpoint: Path) -> int:
    """The step in a checkpoint's name, -1 where there is none."""
    step = checkpoint.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
    return int(step) if step.isdecimal() else -1


def fault_of(checkpoint: Path) -> str | None:
    """Why a run can't go on from a checkpoint; None where it is whole.

    The trainer's state is written last. Weights must be as long as their headers say, the files of torch must have the checksums that
    they were written with. DeepSpeed keeps the optimizer in a folder, which is not looked at.
    """
    files = {path.name: path for path in checkpoint.iterdir() if path.is_file()}
    needed = {TRAINER_STATE_NAME}
    if SAFE_WEIGHTS_INDEX_NAME not in files:
        needed.add(SAFE_WEIGHTS_NAME)
    if not any(path.is_dir() for path in checkpoint.iterdir()):
        of_fsdp = {f"{FSDP_MODEL_NAME}.bin", OPTIMIZER_NAME_BIN}
        needed |= {SCHEDULER_NAME} | (of_fsdp if of_fsdp & files.keys() else {OPTIMIZER_NAME})
        if not any(name.startswith("rng_state") for name in files):
            needed.add("rng_state.pth")
    try:
        if SAFE_WEIGHTS_INDEX_NAME in files:
            needed |= set(json.loads(files[SAFE_WEIGHTS_INDEX_NAME].read_text(encoding="utf-8"))["weight_map"].values())
        if missing := sorted(needed - files.keys()):
            return f"it has no {', '.join(missing)}"
        for name, path in files.items():
            if not _is_readable(path):
                return f"{name} is damaged"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return last_line(error)
    return None


def _fault_of_best(checkpoint: Path) -> str | None:
    """A run ends with its best checkpoint, so that one must be whole too."""
    state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    best = state.get("best_global_step") if state.get("best_model_checkpoint") else None
    if not best or best == step_of(checkpoint):
        return None
    path = checkpoint.with_name(f"{PREFIX_CHECKPOINT_DIR}-{best}")
    fault = fault_of(path) if path.is_dir() else "it is not there"
    return fault and f"of its best checkpoint so far, {path.name}: {fault}"


def _is_readable(path: Path) -> bool:
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt"):
                return True
        if path.suffix in (".bin", ".pt", ".pth"):
            with zipfile.ZipFile(path) as parts:
                return parts.testzip() is None
        if path.name == TRAINER_STATE_NAME:
            return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, SafetensorError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False
    return True


# ---------------------------------------------------------------- writing


class SavingError(OSError):
    """What a run had to write could not be written. The message names the folder and says why."""


@contextmanager
def saving(folder: Path, kept: str = "") -> Iterator[None]:
    """Ends in a SavingError where what is done in it can't write into a folder.

    Args:
        folder: what is written.
        kept: what is there none the less, for the message.
    """
    try:
        yield
    except UploadError:  # an OSError too, but not of this folder
        raise
    except (OSError, SafetensorError, RuntimeError) as error:  # torch.save tells a full disk by a RuntimeError
        if isinstance(error, RuntimeError) and "writing file" not in str(error) and "unexpected pos" not in str(error):
            raise
        reason = last_line(error)
        raise SavingError(
            f"{folder} can't be written: {reason}. Make room, or see who may write there{kept}"
        ) from error


# ---------------------------------------------------------------- SIGTERM

EXIT_CODE = 128 + signal.SIGTERM
_ELSEWHERE = (
    "stopped by SIGTERM between steps; --resume_from_checkpoint true goes on from the last checkpoint, if there is one"
)


class _Termination:
    """Of this process: whether SIGTERM came, and whether it waits for the end of a step."""

    is_asked = False
    waits = False


def _on_sigterm(*_: Any) -> None:
    _Termination.is_asked = True
    if not _Termination.waits:
        _end(_ELSEWHERE)


def _end(told: str) -> NoReturn:
    print(f"train_finener: {told}", file=sys.stderr, flush=True)
    raise SystemExit(EXIT_CODE)


@contextmanager
def sigterm_ends_a_step() -> Iterator[None]:
    """While a run goes on, SIGTERM ends it: in training after a step and its checkpoint, elsewhere at once. The exit code is 143."""
    _Termination.is_asked = _Termination.waits = False
    before = signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _Termination.is_asked = _Termination.waits = False


class StopAtSigterm(TrainerCallback):
    """Saves a checkpoint after the step in which SIGTERM came to one of the processes, and ends them all.

    After the last step of an epoch, what is due then (evaluation) comes first: the run that goes on must find it done.
    """

    is_agreed = False  # by all processes, that one of them was asked to end
    is_last_save = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From here on the signal waits."""
        _Termination.waits = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Asks for a checkpoint, unless the epoch ends here."""
        self.is_agreed = _Termination.is_asked
        if args.world_size > 1:
            asked = torch.tensor(float(self.is_agreed), device=args.device)
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
            self.is_agreed = bool(asked)
        is_end = control.should_training_stop or float(state.epoch or 0).is_integer()
        self._save(control, self.is_agreed and not is_end)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Asks for a checkpoint."""
        self._save(control, self.is_agreed)

    def _save(self, control: TrainerControl, is_last: bool) -> None:
        self.is_last_save = is_last
        control.should_save |= is_last

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ends the process, the checkpoint being written."""
        if self.is_last_save or (_Termination.is_asked and args.world_size == 1):
            folder = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            _end(f"stopped by SIGTERM; {folder} is written, --resume_from_checkpoint true goes on from it")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The signal waits no longer."""
        _Termination.waits = False
        if _Termination.is_asked:
            _end(_ELSEWHERE)

"""A frozen encoder's word states, computed once and kept in files."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor
from tqdm.auto import tqdm
from transformers import TrainingArguments

from finener.modeling_finener import FinenerForTokenClassification
from finener.windows_finener import TextEncoder, Window

TEXTS_OF_A_FILE = 50_000  # that are tokenized, about 5 kB each, and sorted at a time


class WordStateCache:
    """A frozen encoder's word states, each text's computed once, memory-mapped in half precision.

    Texts of equal length go through the encoder together, without padding, so a text's states do not depend on what else was asked for.
    A folder may be kept and shared between runs, also while they run: each adds files of its own, named by the encoder's digest.

    Args:
        folder: of the files; it is made.

    Looking up a text that was not computed raises KeyError.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._digest = ""
        self._files: list[np.memmap] = []
        self._places: dict[str, tuple[int, int, int]] = {}  # text → file, first row, one past the last
        self._known: set[Path] = set()

    def build(
        self, texts: Iterable[str], model: FinenerForTokenClassification, encoder: TextEncoder, batch_size: int = 32
    ) -> None:
        """Runs the encoder over every text that is not there yet."""
        digest = encoder_digest(model, encoder)
        if digest != self._digest:  # states of other weights are of no use
            self._digest, self._files, self._places, self._known = digest, [], {}, set()
        self.folder.mkdir(parents=True, exist_ok=True)
        width = model.config.encoder_config.hidden_size * len(model.config.encoder_layers)
        for index in sorted(self.folder.glob(f"{digest}-*.json")):
            self._read(index, width)
        missing = [text for text in dict.fromkeys(texts) if text not in self._places]
        for at in range(0, len(missing), TEXTS_OF_A_FILE):
            windows = {t: encoder.whole_window(encoder.encode(t)) for t in missing[at : at + TEXTS_OF_A_FILE]}
            name = f"{digest}-{uuid.uuid4().hex[:12]}"
            places = self._write(self.folder / f"{name}.states", windows, model, encoder, batch_size)
            partial = self.folder / f"{name}.partial"
            partial.write_text(json.dumps(places), encoding="utf-8")
            partial.replace(self.folder / f"{name}.json")  # others see all of it or nothing
            self._read(self.folder / f"{name}.json", width)

    def __getitem__(self, text: str) -> Tensor:
        """States of a text's words, (W, D) in half precision."""
        file, start, stop = self._places[text]
        return torch.from_numpy(self._files[file][start:stop])

    def _read(self, index: Path, width: int) -> None:
        if index in self._known:
            return
        self._known.add(index)
        places = json.loads(index.read_text(encoding="utf-8"))
        rows = max(1, sum(places.values()))
        self._files.append(np.memmap(index.with_suffix(".states"), np.float16, "c", shape=(rows, width)))
        at = 0
        for text, n_words in places.items():
            self._places.setdefault(text, (len(self._files) - 1, at, at + n_words))
            at += n_words

    @staticmethod
    def _write(
        path: Path,
        windows: Mapping[str, Window],
        model: FinenerForTokenClassification,
        encoder: TextEncoder,
        batch_size: int,
    ) -> dict[str, int]:
        """Writes the states of some texts one after the other; returns the number of rows of each, in that order."""
        order = sorted(windows, key=lambda t: (len(windows[t].input_ids), t))
        places: dict[str, int] = {}
        model.eval()
        with (
            torch.inference_mode(),
            path.open("wb") as out,
            tqdm(total=len(order), desc="encoder states", unit=" texts") as bar,
        ):
            for _, group in itertools.groupby(order, key=lambda t: len(windows[t].input_ids)):
                same_length = list(group)
                for at in range(0, len(same_length), batch_size):
                    chosen = same_length[at : at + batch_size]
                    batch = encoder.pad([windows[t] for t in chosen])
                    del batch["word_shapes"]
                    states = model.encoder_states(**{k: v.to(model.device) for k, v in batch.items()})
                    halved = states.cpu().half()
                    if not halved.isfinite().all():
                        raise FloatingPointError(
                            f"the encoder's states of {len(chosen)} texts such as {chosen[0]!r:.60} do not fit half precision, in which "
                            "they are stored: set cache_encoder_states: false"
                        )
                    for text, rows in zip(chosen, halved.numpy(), strict=True):
                        places[text] = len(windows[text].words)
                        out.write(rows[: places[text]].tobytes())
                    bar.update(len(chosen))
            if not out.tell():
                out.write(bytes(2 * model.config.encoder_config.hidden_size * len(model.config.encoder_layers)))
        return places


def encoder_digest(model: FinenerForTokenClassification, encoder: TextEncoder) -> str:
    """Hash of all that a word's states depend on besides the text: the encoder's weights, its tokenizer, the layers that are read, and
    the precision.
    """
    digest = hashlib.sha256(repr(model.config.encoder_layers).encode())
    if model.encoder_autocast is not None:
        digest.update(str(model.encoder_autocast).encode())
    digest.update(encoder.tokenizer.backend_tokenizer.to_str().encode())
    for name, values in model.encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(values.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


class SharedStates:
    """The :class:`WordStateCache` of a training run: one process of each machine computes the states, all of them read.

    Args:
        folder: kept for other runs; None: a folder for this run alone, gone when it ends.
    """

    def __init__(self, folder: str | None = None):
        if folder is None:
            state, name = PartialState(), [uuid.uuid4().hex[:12]]
            broadcast_object_list(name)
            folder = str(Path(tempfile.gettempdir()) / f"finener-states-{name[0]}")
            if state.is_local_main_process:
                Path(folder).mkdir()
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            state.wait_for_everyone()
        self.cache = WordStateCache(Path(folder))

    def build(
        self,
        texts: Iterable[str],
        model: FinenerForTokenClassification,
        encoder: TextEncoder,
        args: TrainingArguments,
    ) -> None:
        """Computes the states of the texts that are not there yet."""
        with args.main_process_first(desc="encoder states"):
            self.cache.build(texts, model, encoder)

"""Training: records → batches, named losses that are exact under accumulation and on several processes, evaluation by counts.

Letters in shape comments are those of ``modeling_finener``.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import IterableDataset
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import EvalPrediction, Trainer
from transformers.trainer_pt_utils import DistributedLengthGroupedSampler

try:
    from .configuration_finener import FinenerConfig
    from .data_scripts.schema import RecordError, read_rows
    from .metrics.counting import COUNTS, add_counts, count_detection, count_given, count_typed, scores_of_counts
    from .modeling_finener import LOSS_PARTS, B, FinenerForTokenClassification, FinenerOutput, I, O
    from .ontology_finener import Ontology
    from .pipeline_finener import EncodedText, TextEncoder, Window
except ImportError:
    if __package__:
        raise
    from configuration_finener import FinenerConfig
    from data_scripts.schema import RecordError, read_rows
    from metrics.counting import COUNTS, add_counts, count_detection, count_given, count_typed, scores_of_counts
    from modeling_finener import LOSS_PARTS, B, FinenerForTokenClassification, FinenerOutput, I, O
    from ontology_finener import Ontology
    from pipeline_finener import EncodedText, TextEncoder, Window

Record = Mapping[str, Any]

# -------------------------------------------------------------------- records


def word_spans(encoded: EncodedText, mentions: Sequence[Mapping[str, Any]]) -> list[tuple[int, int] | None]:
    """First word and one past the last of each mention; None where its boundary falls inside a word."""
    first_at = {start: i for i, (start, _) in enumerate(encoded.words)}
    last_at = {end: i for i, (_, end) in enumerate(encoded.words)}
    spans: list[tuple[int, int] | None] = []
    for mention in mentions:
        first, last = first_at.get(mention["start"]), last_at.get(mention["end"])
        spans.append(None if first is None or last is None else (first, last + 1))
    return spans


def fits_window(encoded: EncodedText, encoder: TextEncoder) -> bool:
    """Whether one window holds all words of a text."""
    return not encoded.words or encoder.end_of_window(encoded, 0) == len(encoded.words)


def whole_window(encoded: EncodedText, encoder: TextEncoder) -> Window:
    """The window that holds all words of a text. Raises ValueError when there is none."""
    if not fits_window(encoded, encoder):
        raise ValueError(
            f"a text of {len(encoded.words)} words does not fit a window: pass its record through cut_record"
        )
    return encoder.window(encoded, 0, len(encoded.words))


def cut_record(record: Record, encoder: TextEncoder) -> list[dict[str, Any]]:
    """A record as one or more records that each fit a window, every word and every mention in exactly one of them.

    Raises:
        ValueError: on a mention that is longer than a window.
    """
    text, encoded = record["text"], encoder.encode(record["text"])
    if fits_window(encoded, encoder):
        return [dict(record)]
    starts = [start for start, _ in encoded.words]
    edges = [0, *starts[1:], len(text)]  # the part that begins with word i begins at edges[i]
    inside = {
        i for m in record["mentions"] for i in range(bisect_right(starts, m["start"]), bisect_left(starts, m["end"]))
    }
    parts, first = [], 0
    while first < len(encoded.words):
        longest = stop = encoder.end_of_window(encoded, first)
        # By itself a part may have more sub-tokens than within its text (byte-level BPE and Unigram).
        while stop > first and (
            stop in inside or not fits_window(encoder.encode(text[edges[first] : edges[stop]]), encoder)
        ):
            stop -= 1
        if stop == first:
            raise ValueError(
                f"record {record['id']!r} has a mention of more than {longest - first} words at {starts[first]}; "
                "a mention must fit one window: raise window_words"
            )
        begin, end = edges[first], edges[stop]
        mentions = [
            {**m, "start": m["start"] - begin, "end": m["end"] - begin}
            for m in record["mentions"]
            if begin <= m["start"] < end
        ]
        parts.append({**record, "id": f"{record['id']}#{len(parts)}", "text": text[begin:end], "mentions": mentions})
        first = stop
    return parts


def teaches(record: Record) -> bool:
    """Whether a record trains anything: without a mention it does where it is exhaustive."""
    return bool(record["mentions"]) or record["exhaustive"]


def detection_beside(n_typing: int, detection_share: float) -> int:
    """How many detection records make up their share beside typing records. Raises ValueError on a share outside [0, 1)."""
    if not 0.0 <= detection_share < 1.0:
        raise ValueError(f"detection_share must lie in [0, 1), got {detection_share}")
    return round(n_typing * detection_share / (1 - detection_share))


def mix_records(
    detection: Sequence[Record], typing: Sequence[Record], detection_share: float, seed: int
) -> list[Record]:
    """One epoch of both tasks: every typing record once, detection records repeated (or sampled) to make up their share.

    Args:
        detection_share: part of the epoch's records that train detection, in [0, 1); ignored where one list is empty.
        seed: of the sample.
    """
    wanted = detection_beside(len(typing), detection_share)
    if not typing or not detection:
        return [*detection, *typing]
    rng = random.Random(seed)
    whole, rest = divmod(wanted, len(detection))
    return [*typing, *(list(detection) * whole), *rng.sample(list(detection), rest)]


class RecordStream(torch.utils.data.IterableDataset):
    """Windows of records that are read while training goes on, so memory holds the shuffle buffer, whatever the size of the files.

    It never ends: pass follows pass over the files, each shuffled in another way, which follows from the seed and the number of the pass
    alone. A process reads its own rows of each file: every n-th where there are n processes, for files may differ in size and their
    number need not be a multiple of n. So processes have equal shares up to a row a file, none waits for another, and each pass of all
    of them together is every record once. Records are validated as they are read; ids are not compared, as that would take memory.

    Args:
        files: of records, those without a mention that are not exhaustive left out; each once in a pass.
        encoder: cuts records into windows.
        detection_files: mixed in, over and over, as ``detection_share`` asks; see :func:`mix_records`.
        detection_share: part of the windows, at any point of the stream, in [0, 1).
        check: called with each record; raises where it is not fit for training.
        buffer_size: windows that are shuffled together; their files are shuffled too.
        seed: of the order.
        process, n_processes: which of how many processes reads.
        n_workers: of each process's data loader; they share its rows.

    Raises:
        RecordError: while it is read, on a bad record, or when a pass over the files gives this process (or worker) nothing.
    """

    def __init__(
        self,
        files: Sequence[Path],
        encoder: TextEncoder,
        *,
        detection_files: Sequence[Path] = (),
        detection_share: float = 0.0,
        check: Callable[[Record], None] | None = None,
        buffer_size: int = 10_000,
        seed: int = 0,
        process: int = 0,
        n_processes: int = 1,
        n_workers: int = 0,
    ):
        detection_beside(0, detection_share)
        self.files, self.detection_files, self.detection_share = list(files), list(detection_files), detection_share
        self.encoder, self.check, self.buffer_size, self.seed = encoder, check, buffer_size, seed
        workers = max(1, n_workers)
        self.step = n_processes * workers
        self.firsts = range(process, self.step, n_processes)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        detection, drawn = self._passes(self.detection_files), 0
        for n_typing, window in enumerate(self._passes(self.files), 1):
            yield window
            while self.detection_files and drawn < detection_beside(n_typing, self.detection_share):
                yield next(detection)
                drawn += 1

    @property
    def all_files(self) -> list[Path]:
        """What is read, in the order given."""
        return [*self.files, *self.detection_files]

    def one_pass(self, files: Sequence[Path], number: int) -> IterableDataset:
        """This process's windows of some files, once, in the order of pass ``number``."""
        rows = [(file, first) for file in files for first in self.firsts]
        windows = IterableDataset.from_generator(self._windows, gen_kwargs={"rows": rows})
        return windows.shuffle(generator=np.random.default_rng([self.seed, number]), buffer_size=self.buffer_size)

    def _passes(self, files: Sequence[Path]) -> Iterator[dict[str, Any]]:
        for number in itertools.count():
            is_empty = True
            for window in self.one_pass(files, number):
                yield window
                is_empty = False
            if is_empty:
                raise RecordError(
                    f"{files[0]} and {len(files) - 1} more files have nothing to train on for one of {self.step} readers: expected at "
                    "least as many records with mentions as there are processes times data loader workers"
                )

    def _windows(self, rows: Sequence[tuple[Path, int]]) -> Iterator[dict[str, Any]]:
        for file, first in rows:
            for _, record in read_rows(file, first=first, step=self.step):
                if self.check is not None:
                    self.check(record)
                if teaches(record):
                    yield from cut_record(record, self.encoder)


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
        self._files: list[np.memmap] = []
        self._places: dict[str, tuple[int, int, int]] = {}  # text → file, first row, one past the last
        self._known: set[Path] = set()

    def build(
        self, texts: Iterable[str], model: FinenerForTokenClassification, encoder: TextEncoder, batch_size: int = 32
    ) -> None:
        """Runs the encoder over every text that is not there yet."""
        digest = encoder_digest(model, encoder)
        self.folder.mkdir(parents=True, exist_ok=True)
        width = model.config.encoder_config.hidden_size * len(model.config.encoder_layers)
        for index in sorted(self.folder.glob(f"{digest}-*.json")):
            self._read(index, width)
        windows = {
            text: whole_window(encoder.encode(text), encoder)
            for text in dict.fromkeys(texts)
            if text not in self._places
        }
        if windows:
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
                    for text, rows in zip(chosen, states.cpu().half().numpy(), strict=True):
                        places[text] = len(windows[text].words)
                        out.write(rows[: places[text]].tobytes())
                    bar.update(len(chosen))
            if not out.tell():
                out.write(bytes(2 * model.config.encoder_config.hidden_size * len(model.config.encoder_layers)))
        return places


def encoder_digest(model: FinenerForTokenClassification, encoder: TextEncoder) -> str:
    """Hash of all that a word's states depend on besides the text: the encoder's weights, its tokenizer, and the layers that are read."""
    digest = hashlib.sha256(repr(model.config.encoder_layers).encode())
    digest.update(encoder.tokenizer.backend_tokenizer.to_str().encode())
    for name, values in model.encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(values.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


# -------------------------------------------------------------------- batches

# Of each record, for evaluation: whether every mention is marked; whether its types are those that are judged; how many gold mentions
# have no word span, and how many closed types these have.
FACTS = ("exhaustive", "judged", "lost_mentions", "lost_pairs")
NOT_FOR_MODEL = ("ids", "facts")


@dataclass
class CollatorCounts:
    """What the collator saw: words that no sub-token stands for, gold mentions, and those that can never be predicted."""

    dropped_words: int = 0
    mentions: int = 0
    inside_a_word: int = 0
    examples: list[str] = field(default_factory=list)


class FinenerCollator:
    """Records (each at most one window long, see :func:`cut_record`) → the batch that the model reads.

    Keys, always all of them: ``input_ids``, ``attention_mask`` (B, T), ``word_starts`` (B, W), ``word_shapes`` (B, W, F),
    ``labels`` (B, W), ``mention_spans`` (B, S, 2), ``type_labels`` (B, S, L), ``target_type_labels`` (B, S, L), ``facts`` (B, 4), see
    ``FACTS``, ``ids`` (list of B), and, with a cache, ``word_states`` (B, W, D).

    Args:
        encoder: turns text into words.
        config: of the model: its ontologies say which of the two type labels a record's types go to.
        cache: word states of a frozen encoder.
    """

    def __init__(self, encoder: TextEncoder, config: FinenerConfig, cache: WordStateCache | None = None):
        self.encoder = encoder
        self.source = config.ontology
        self.target = config.target_ontology
        self.judged = config.target_ontology or config.ontology
        self.target_is_closed = config.target_activation == "sigmoid"
        self.cache = cache
        self._encoded: dict[str, EncodedText] = {}  # beside cached states tokenizing would be a quarter of a step
        self.counts = CollatorCounts()

    def __call__(self, records: Sequence[Record]) -> dict[str, Any]:
        """The batch of some records."""
        encodings = [self._encode(record["text"]) for record in records]
        batch = self.encoder.pad([whole_window(encoded, self.encoder) for encoded in encodings])
        width = batch["word_starts"].shape[1]
        batch["labels"] = torch.full((len(records), width), -100)
        batch["facts"] = torch.zeros(len(records), len(FACTS), dtype=torch.long)
        spans, source, target = [], [], []
        for row, (record, encoded) in enumerate(zip(records, encodings, strict=True)):
            places = word_spans(encoded, record["mentions"])
            kept = [(span, m) for span, m in zip(places, record["mentions"], strict=True) if span]
            self._count(record, places)
            self.counts.dropped_words += encoded.dropped_words
            lost = [m for span, m in zip(places, record["mentions"], strict=True) if not span]
            pairs = [self._labels(record, m, self.judged, True) for m in lost]
            is_judged = record["typed"] and record["ontology"] == self.judged.name
            batch["facts"][row] = torch.tensor([record["exhaustive"], is_judged, len(lost), sum(map(len, pairs))])
            if record["exhaustive"]:
                batch["labels"][row, : len(encoded.words)] = O
                for (first, stop), _ in kept:
                    batch["labels"][row, first:stop] = I
                    batch["labels"][row, first] = B
            spans.append([list(span) for span, _ in kept])
            source.append([self._labels(record, m, self.source, True) for _, m in kept])
            target.append([self._labels(record, m, self.target, self.target_is_closed) for _, m in kept])
        batch["mention_spans"] = _padded(spans, 2)
        batch["type_labels"] = _padded(source)
        batch["target_type_labels"] = _padded(target)
        batch["ids"] = [record["id"] for record in records]
        if self.cache is not None:
            batch["word_states"] = self._states(records, width)
        return batch

    def _labels(self, record: Record, mention: Mapping[str, Any], ontology: Ontology | None, closed: bool) -> list[int]:
        if ontology is None or not record["typed"] or record["ontology"] != ontology.name:
            return []
        indices = [ontology.index(t) for t in mention["types"]]
        return ontology.closure_indices(indices) if closed else ontology.most_specific_indices(indices)

    def _encode(self, text: str) -> EncodedText:
        if self.cache is None:
            return self.encoder.encode(text)
        if text not in self._encoded:
            self._encoded[text] = self.encoder.encode(text)
        return self._encoded[text]

    def _count(self, record: Record, places: Sequence[tuple[int, int] | None]) -> None:
        self.counts.mentions += len(places)
        for place, mention in zip(places, record["mentions"], strict=True):
            if place is None:
                self.counts.inside_a_word += 1
                if len(self.counts.examples) < 5:
                    around = slice(max(0, mention["start"] - 10), mention["end"] + 10)
                    surface = record["text"][mention["start"] : mention["end"]]
                    self.counts.examples.append(f"{record['id']}: {surface!r} in …{record['text'][around]!r}…")

    def _states(self, records: Sequence[Record], width: int) -> Tensor:
        rows = [self.cache[record["text"]] for record in records]
        states = torch.zeros(len(rows), width, rows[0].shape[1], dtype=torch.float16)
        for row, own in enumerate(rows):
            states[row, : len(own)] = own
        return states


def _padded(rows: Sequence[Sequence[Sequence[int]]], least: int = 1) -> Tensor:
    """(B, S, L) with -1 padding; S and L at least 1 and ``least``."""
    n_mentions = max(1, *(len(row) for row in rows))
    n_labels = max([least, *(len(cell) for row in rows for cell in row)])
    padded = torch.full((len(rows), n_mentions, n_labels), -1)
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            padded[i, j, : len(cell)] = torch.tensor(cell, dtype=torch.long)
    return padded


def model_inputs(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What ``forward`` takes of a batch."""
    return {k: v for k, v in batch.items() if k not in NOT_FOR_MODEL}


def loss_counts(batch: Mapping[str, Any], target_is_closed: bool) -> Tensor:
    """What each loss part of a batch is averaged over, in the order of ``LOSS_PARTS``: words, gold types, mentions (or gold types)."""
    targets = batch["target_type_labels"] >= 0
    return torch.stack(
        [
            (batch["labels"] >= 0).sum(),
            (batch["type_labels"] >= 0).sum(),
            targets.sum() if target_is_closed else targets.any(2).sum(),
        ]
    )


# -------------------------------------------------------------------- W of the soft loss


def credit_matrix(credit: Mapping[int, Mapping[int, float]], size: int) -> Tensor:
    """W as ``metrics.credit.read_credit`` gives it → (K, K)."""
    weights = torch.zeros(size, size)
    for gold, row in credit.items():
        weights[gold, list(row)] = torch.tensor(list(row.values()))
    return weights


def estimate_credit(
    gold: Iterable[Record], predicted: Iterable[Record], ontology: Ontology, prior: Tensor, strength: float = 10.0
) -> Tensor:
    """W from what a model confuses: how often it says type ``j`` of a mention whose type is ``i``.

    The counts are smoothed by a prior W, as if each gold type had been seen ``strength`` times more and confused in that way: the mean of
    the posterior under a Dirichlet prior. So a type that was never seen keeps the prior's row. No other type gets more than the gold type.
    A mention of several most specific types shares its count among them. Neither the paper nor its slides say how an estimate was made.

    Args:
        gold: records typed with the ontology, that the model was not trained on.
        predicted: the same records with the same mentions in the same order, typed by the model.
        ontology: of the K types.
        prior: (K, K), at least 0, no zero row.
        strength: of the prior, in mentions.

    Returns:
        (K, K), rows summing to one.

    Raises:
        ValueError: when the mentions of the two are not the same, or there are none with types.
    """
    counts = torch.zeros(len(ontology), len(ontology))
    for record, guess in zip(gold, predicted, strict=True):
        if [(m["start"], m["end"]) for m in record["mentions"]] != [(m["start"], m["end"]) for m in guess["mentions"]]:
            raise ValueError(f"record {record['id']!r}: the predictions are not of the gold mentions")
        for mention, found in zip(record["mentions"], guess["mentions"], strict=True):
            rows, columns = (ontology.most_specific_indices(map(ontology.index, m["types"])) for m in (mention, found))
            for i, j in itertools.product(rows, columns):
                counts[i, j] += 1 / (len(rows) * len(columns))
    if not counts.any():
        raise ValueError(f"there are no gold mentions with types of {ontology.name!r} to estimate confusions from")
    weights = counts + strength * prior / prior.sum(1, keepdim=True)
    own = weights.diagonal()[:, None]  # zero where a type is not assignable, which is never gold
    weights = torch.where(own > 0, torch.minimum(weights, own), weights)
    return weights / weights.sum(1, keepdim=True)


# -------------------------------------------------------------------- the trainer


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


def count_batch(
    model: FinenerForTokenClassification, batch: Mapping[str, Tensor], given: FinenerOutput, found: FinenerOutput
) -> Tensor:
    """Counts of each record, (B, len(COUNTS)) float.

    Args:
        model: says which types are judged: the target's where it has a conversion head, else the source's.
        batch: of :class:`FinenerCollator`. given: output on the gold spans. found: output on the decoded spans.
    """
    is_target = model.conversion is not None
    ontology = model.config.target_ontology if is_target else model.config.ontology
    labels = batch["target_type_labels" if is_target else "type_labels"].tolist()
    facts = batch["facts"].tolist()
    decoded = _by_record(found, model.select_types(found), ontology, len(facts), model.config.detection_threshold)
    typed = _by_record(given, model.select_types(given), ontology, len(facts))
    rows = []
    for r, (exhaustive, judged, lost_mentions, lost_pairs) in enumerate(facts):
        spans = [tuple(span) for span in batch["mention_spans"][r].tolist() if span[0] >= 0]
        gold = {span: [t for t in types if t >= 0] for span, types in zip(spans, labels[r], strict=False)}
        parts = [count_given(gold[span], typed[r][span], ontology) for span in gold if gold[span]]
        if exhaustive:
            parts += [count_detection(gold, decoded[r]), {"mention_gold": lost_mentions}]
        if exhaustive and judged:
            parts += [count_typed(gold, decoded[r], ontology), {"typed_gold": lost_mentions, "pair_gold": lost_pairs}]
        counts = add_counts(parts)
        rows.append([counts[name] for name in COUNTS])
    return torch.tensor(rows, dtype=torch.float)


def _by_record(
    output: FinenerOutput, kinds: Sequence[Mapping[str, float]], ontology: Ontology, n_records: int, least: float = 0.0
) -> list[dict[tuple[int, int], list[int]]]:
    """The typed spans of each record of an output, those whose probability is at least ``least``."""
    records: list[dict[tuple[int, int], list[int]]] = [{} for _ in range(n_records)]
    rows = zip(output.mention_spans.tolist(), output.mention_scores.tolist(), kinds, strict=True)
    for (record, first, stop), score, types in rows:
        if score >= least:
            records[record][first, stop] = [ontology.index(t) for t in types]
    return records


def metrics_of_counts(prediction: EvalPrediction) -> dict[str, float]:
    """Scores of all records' counts together, for ``Trainer.evaluate``; ``score`` is the mean of detection and typing F1."""
    totals = np.asarray(prediction.predictions).reshape(-1, len(COUNTS)).sum(0).tolist()
    scores = scores_of_counts(dict(zip(COUNTS, totals, strict=True)))
    parts = [scores[name] for name in ("mention_f1", "given_micro_f1") if name in scores]
    return {**scores, "score": sum(parts) / max(1, len(parts))}


def files_hash(files: Iterable[Path]) -> str:
    """Hash of files' bytes, in their order, for ``results/`` where the records do not fit into memory; not that of :func:`data_hash`."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def data_hash(records: Iterable[Record]) -> str:
    """Hash of texts and annotation, for ``results/``: equal for equal data, whatever file it came from."""
    digest = hashlib.sha256()
    for record in records:
        mentions = [(m["start"], m["end"], sorted(m["types"])) for m in record["mentions"]]
        digest.update(repr((record["text"], mentions, record["exhaustive"], record["typed"])).encode())
    return digest.hexdigest()[:16]

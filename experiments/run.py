"""One run of the experiments: it trains a model for each fold, predicts what the fold tests, and scores all folds together."""

from __future__ import annotations

import ast
import base64
import contextlib
import hashlib
import json
import shutil
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor
from transformers.utils import logging

from finener.data_scripts.record_files import write_records
from finener.experiments.data import Fold, Record, sample
from finener.metrics.counting import COUNTS, score_records
from finener.metrics.scoring import Judged, Options, judge, record_counts, score
from finener.metrics.thresholds import MEASURES, dev_scores, tune
from finener.modeling_finener import Reading
from finener.ontology_finener import Ontology
from finener.paths import ROOT
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.direct import DirectHead, cut_types, reach_of_mapping
from finener.prediction.mapping import TypeMapping
from finener.prediction.records import load_pipeline, predict_records
from finener.training.arguments import parse_arguments
from finener.training.direct import DIRECT_THRESHOLDS
from finener.training.encoder_states import WordStateCache
from finener.training.phases import run_phase
from finener.training.results import versions
from finener.training.start import read_dtype
from finener.windows_finener import TextEncoder

# The code that a run's numbers depend on; the rest of the program only plans, and its data are hashed.
PARTS = ("*_finener.py", "prediction/*.py", "metrics/*.py", "training/*.py")
CODE = (*(path for part in PARTS for path in sorted(ROOT.glob(part))), ROOT / "experiments" / "run.py")
SOURCE_SAMPLE = 200  # records that tell what fine-tuning forgets
OPTIONS = Options(resamples=1000)


@dataclass(frozen=True)
class Run:
    """One cell of the plan: a transfer, a system and a seed.

    Args:
        transfer, encoder, system, seed: which.
        phase: "source", "scratch", "finetune" or "direct".
        config: of ``train_finener.py``, without the paths of data and models.
        folds: the data.
        source: the run whose model it starts from, None where it starts from the encoder.
        ontology: file of the types that are judged.
        mapping: file of the table from source to target types, for Direct and for target types that start at source types.
        source_test: records of YAGO types that a source model and what is fine-tuned from it are scored on: does it forget?
    """

    transfer: str
    encoder: str
    system: str
    seed: int
    phase: str
    config: Mapping[str, Any]
    folds: Sequence[Fold]
    source: Run | None
    ontology: str
    mapping: str | None
    source_test: Sequence[Record] = ()

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.transfer}-{self.encoder}-{self.system}-{self.seed}"

    @cached_property
    def key(self) -> str:
        """Hash of what is asked for: config, types, data, and the same of its source model. The code is told apart: see CODE."""
        files = [path for path in (self.ontology, self.mapping) if path]
        content = {
            "config": self.config,
            "phase": self.phase,
            "seed": self.seed,
            "files": [hashlib.sha256((ROOT / path).read_bytes()).hexdigest() for path in files],
            "data": [fold.hashes for fold in self.folds],
            "source": self.source and self.source.key,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Place:
    """Where things lie.

    Args:
        work: folder of data, runs and models.
        results: folder of the result files.
    """

    work: Path
    results: Path

    def result(self, run: Run) -> Path:
        """The result file of a run."""
        return self.results / f"{run.name}.json"

    @property
    def states(self) -> Path:
        """The folder of frozen encoders' word states, which all runs share."""
        return self.work / "states"

    def model(self, run: Run, fold: Fold) -> Path:
        """The folder of a model."""
        return self.work / "models" / run.name / fold.name


@lru_cache
def code_hash(files: tuple[Path, ...]) -> str:
    """Hash of what the files do: comments, docstrings and layout don't count."""
    digest = hashlib.sha256()
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False):
                node.body = node.body[1:]
        digest.update(f"{path.name}\n{ast.dump(tree)}\n".encode())
    return digest.hexdigest()[:16]


# ---------------------------------------------------------------- a run


def execute(run: Run, place: Place, keep: bool = False) -> dict[str, Any]:
    """Does a run and returns its result.

    Args:
        run: which.
        place: where to.
        keep: leave the first fold's model there.
    """
    torch.set_num_threads(1)  # results must not depend on the number of cores
    logging.set_verbosity_error()
    started, folder = time.time(), place.work / "runs" / run.name
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    with (
        (folder / "log.txt").open("w", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        for number, fold in enumerate(run.folds):
            parts.append(run_fold(run, fold, place, measure_source=number == 0))
            if number or not keep:
                shutil.rmtree(place.model(run, fold), ignore_errors=True)
            shutil.rmtree(place.model(run, fold).parent / "checkpoints", ignore_errors=True)
    ontology = Ontology.from_json(ROOT / run.ontology)
    gold = [r for fold in run.folds for r in fold.test]
    said = {name: [r for part in parts for r in part.pop(name)] for name in ("predicted", "strict", "given")}
    for name, records in {"gold": gold, **said}.items():
        write_records(records, folder / f"{name}.jsonl")
    judged, strict = (judge(gold, said[name], ontology, said["given"]) for name in ("predicted", "strict"))
    train = run.folds[0].train if run.phase == "source" else None
    scores = score(judged, OPTIONS, train)
    scores = {name: scores[name] for name in scores if name not in ("types", "resampled")}
    for part, values in score(strict, OPTIONS).items():
        if part in ("scores", "intervals"):
            scores[part] |= {name: value for name, value in values.items() if name.startswith("typed_")}
    return {
        "name": run.name,
        "transfer": run.transfer,
        "encoder": run.encoder,
        "system": run.system,
        "seed": run.seed,
        "key": run.key,
        "code": code_hash(CODE),
        "command": f"python -m finener.experiments --only {run.name}",
        "config": run.config,
        "source": run.source and run.source.name,
        "data": [fold.hashes for fold in run.folds],
        "versions": versions(),
        "seconds": round(time.time() - started, 1),
        "folds": parts,
        **scores,
        "predictions": predictions_hash([r for records in said.values() for r in records]),
        "units": pack_counts(judged),
        "strict_units": pack_counts(strict),
    }


def run_fold(run: Run, fold: Fold, place: Place, measure_source: bool) -> dict[str, Any]:
    """Trains and predicts one fold: what is told of it, and the predicted records.

    These are ``predicted``, with the threshold that is best for (span, type) pairs; ``strict``, with the one that is best for mentions
    whose types are all right; and ``given``, on gold mentions. Where there is no dev data, the model's own threshold serves all.
    """
    started = time.time()
    told: dict[str, Any] = {
        "name": fold.name,
        "records": {part: len(getattr(fold, part)) for part in ("train", "dev", "test", "detection")},
        "removed": fold.removed,
        "corpora": {
            part: dict(Counter(r["source"].partition("/")[0] for r in getattr(fold, part)))
            for part in ("train", "detection")
        },
    }
    texts = [r["text"] for r in [*fold.dev, *fold.test, *(run.source_test if measure_source else ())]]
    dtype = (run.config or run.source.config).get("encoder_dtype", "float32")
    if run.phase == "direct":
        pipe = load_pipeline(str(source_model(run, place)))
        pipe.model.encoder_autocast = read_dtype(dtype)
        reuse_states(pipe, texts, place.states)
        told |= predict_direct(run, fold, pipe)
    else:
        (args, training), *_ = parse_arguments(["--config", str(write_config(run, fold, place))])
        told["dev"] = run_phase(args, training)["dev"]
        pipe = load_pipeline(training_folder := str(place.model(run, fold)))
        pipe.model.encoder_autocast = read_dtype(dtype)
        if run.config["freeze"] != "nothing":
            reuse_states(pipe, texts, place.states)
        told |= choose_thresholds(pipe, fold.dev, run.phase) if fold.dev else {}
        pipe.model.config.save_pretrained(training_folder)
        told["given"] = list(predict_records(pipe, fold.test, gold_mentions=True))
        exhaustive = all(r["exhaustive"] for r in fold.test)
        told["predicted"] = told["strict"] = list(predict_records(pipe, fold.test)) if exhaustive else told["given"]
        if "thresholds" in told and exhaustive:
            setattr(pipe.model.config, threshold_knob(run.phase), told["thresholds"]["strict"])
            told["strict"] = list(predict_records(pipe, fold.test))
    ontology = Ontology.from_json(ROOT / run.ontology)
    told["scores"] = score(judge(fold.test, told["predicted"], ontology, told["given"]), Options(resamples=0))["scores"]
    if measure_source and run.source_test and run.phase in ("source", "finetune"):
        told["source_scores"] = source_scores(pipe, run.source_test)
    return told | {"seconds": round(time.time() - started, 1)}


def reuse_states(pipe: FinenerPipeline, texts: Iterable[str], folder: Path) -> None:
    """Lets a pipeline whose encoder was not trained read the states that other runs have computed, and adds those that are lacking."""
    encoder = TextEncoder(pipe.tokenizer, pipe.model.config)
    encoded = {text: encoder.encode(text) for text in texts}
    windows = {text: encoder.whole_window(e) for text, e in encoded.items() if encoder.fits(e)}
    cache, read = WordStateCache(folder), pipe.model.read
    cache.build(windows, pipe.model, encoder)
    text_of = {window.input_ids: text for text, window in windows.items()}

    def read_kept(input_ids: Tensor, attention_mask: Tensor, word_starts: Tensor, *args: Any, **kwargs: Any) -> Reading:
        lengths = attention_mask.sum(1).tolist()
        found = [text_of.get(tuple(ids[:n])) for ids, n in zip(input_ids.tolist(), lengths, strict=True)]
        if None not in found:  # else there is a part of a long text among them
            states = torch.nn.utils.rnn.pad_sequence([cache[text] for text in found], batch_first=True)
            padding = word_starts.shape[1] - states.shape[1]
            kwargs["word_states"] = torch.nn.functional.pad(states, (0, 0, 0, padding)).to(input_ids.device)
        return read(input_ids, attention_mask, word_starts, *args, **kwargs)

    pipe.model.read = read_kept


def read_yaml(name: str) -> dict[str, Any]:
    """One of this room's YAMLs."""
    return yaml.safe_load((ROOT / "experiments" / f"{name}.yaml").read_text(encoding="utf-8"))


def source_model(run: Run, place: Place) -> Path:
    """The folder of the model that a run starts from."""
    return place.model(run.source, run.source.folds[0])


def write_config(run: Run, fold: Fold, place: Place) -> Path:
    """Writes a fold's data and its YAML, which ``train_finener.py --config`` would run too."""
    folder = place.work / "runs" / run.name / fold.name
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "dev", "detection"):
        write_records(getattr(fold, part), folder / f"{part}.jsonl")
    paths = {
        "phases": ["finetune" if run.phase == "finetune" else "pretrain"],
        "typing_data": [str(folder / "train.jsonl")],
        "dev_data": [str(folder / "dev.jsonl")] if fold.dev else [],
        "detection_data": [str(folder / "detection.jsonl")] if fold.detection else [],
        "output_dir": str(place.model(run, fold)),
        "target_ontology" if run.phase == "finetune" else "ontology": str(ROOT / run.ontology),
        "encoder_states_folder": str(place.states),
        "seed": run.seed,
    }
    if run.source:
        paths["model"] = str(source_model(run, place))
    elif (ROOT / run.config["encoder"]).is_dir():
        paths["encoder"] = str(ROOT / run.config["encoder"])
    if run.mapping:
        paths["mapping"] = str(ROOT / run.mapping)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**run.config, **paths}, sort_keys=False), encoding="utf-8")
    return path


def threshold_knob(phase: str) -> str:
    """The knob that cuts the types which a phase trains."""
    return "target_type_threshold" if phase == "finetune" else "type_threshold"


def choose_thresholds(pipe: FinenerPipeline, dev: Sequence[Record], phase: str) -> dict[str, Any]:
    """The thresholds that are best on dev, by measure, and what they reach there; sets the one for pairs.

    Of a source model they are chosen on the given mentions of the typed records: silver does not mark every mention.
    """
    config, is_source = pipe.model.config, phase == "source"
    ontology = config.target_ontology or config.ontology
    setattr(config, threshold_knob(phase), 0.0)  # so that nothing is cut
    is_path = phase == "finetune" and config.target_activation == "softmax"
    if is_source:
        dev = [{**record, "exhaustive": True} for record in dev if record["typed"]]
    scores = dev_scores(dev, predict_records(pipe, dev, gold_mentions=is_source), ontology, is_path=is_path)
    best = {measure: tune(scores, ontology, "global", measure) for measure in MEASURES}
    setattr(config, threshold_knob(phase), best["pairs"])
    return {"thresholds": best, "dev_f1": {name: f1(scores, ontology, best[name]) for name, f1 in MEASURES.items()}}


def predict_direct(run: Run, fold: Fold, pipe: FinenerPipeline) -> dict[str, Any]:
    """Predictions of the source model through the mapping, cut at the thresholds that are best on dev."""
    target = Ontology.from_json(ROOT / run.ontology)
    mapping = TypeMapping.from_tsv(ROOT / run.mapping, pipe.model.config.ontology, target)
    head = DirectHead(mapping)
    dev, test, given = (
        list(predict_records(pipe, part, head=head, gold_mentions=is_given))
        for part, is_given in ((fold.dev, False), (fold.test, False), (fold.test, True))
    )
    curve = {t: score_records(fold.dev, cut_types(dev, t), target) for t in DIRECT_THRESHOLDS}
    names = {"pairs": "pair_f1", "strict": "typed_f1"}
    best = {measure: max(curve, key=lambda t: curve[t][name]) for measure, name in names.items()}
    cut = cut_types(given, best["pairs"])
    return {
        "thresholds": best,
        "dev_f1": {measure: curve[best[measure]][name] for measure, name in names.items()},
        "reach": reach_of_mapping(mapping, fold.test),
        "predicted": cut_types(test, best["pairs"]),
        "strict": cut_types(test, best["strict"]),
        "given": [_with_untyped(before, after) for before, after in zip(given, cut, strict=True)],
    }


def _with_untyped(before: Record, after: Record) -> dict[str, Any]:
    """A record on gold mentions with those back, as mentions without a type, that the threshold took away."""
    kept = {m["start"]: m for m in after["mentions"]}
    return {
        **after,
        "mentions": [kept.get(m["start"], {**m, "types": [], "type_scores": []}) for m in before["mentions"]],
    }


def source_scores(pipe: FinenerPipeline, records: Sequence[Record]) -> dict[str, float]:
    """Scores of the source types at gold mentions."""
    given = list(predict_records(pipe, records, head="source", gold_mentions=True))
    return score(judge(records, given, pipe.model.config.ontology, given), Options(resamples=0))["scores"]


# ---------------------------------------------------------------- what is kept of predictions


def predictions_hash(records: Iterable[Record]) -> str:
    """sha256 of spans and types; scores do not count, whose last digits differ between machines."""
    digest = hashlib.sha256()
    for record in records:
        rows = [(m["start"], m["end"], sorted(m["types"])) for m in record["mentions"]]
        digest.update(json.dumps([record["id"], rows]).encode())
    return digest.hexdigest()


def pack_counts(judged: Judged) -> dict[str, Any]:
    """The counts of each document, small: what the intervals of ``docs/results.md`` are resampled from."""
    counts, documents = record_counts(judged), [pair.doc_id for pair in judged.pairs]
    if len(set(documents)) < 2:  # a corpus that does not tell its documents
        documents = [pair.id for pair in judged.pairs]
    places = {document: i for i, document in enumerate(dict.fromkeys(documents))}
    sums = np.zeros((len(places), len(COUNTS)))
    np.add.at(sums, [places[document] for document in documents], counts)
    packed = base64.b64encode(zlib.compress(np.round(sums, 6).astype("<f4").tobytes(), 9)).decode()
    return {"columns": list(COUNTS), "rows": len(places), "float32, zlib, base64": packed}


def unpack_counts(packed: Mapping[str, Any]) -> np.ndarray:
    """(documents, counts), see :func:`pack_counts`.

    Raises:
        ValueError: when the result is of another version's counts.
    """
    if packed["columns"] != list(COUNTS):
        raise ValueError(f"the result counts {packed['columns']}; expected {list(COUNTS)}: run it again")
    flat = zlib.decompress(base64.b64decode(packed["float32, zlib, base64"]))
    return np.frombuffer(flat, "<f4").reshape(packed["rows"], len(COUNTS)).astype(float)


def source_sample(fold: Fold) -> list[Record]:
    """Records of a source model's test part, for :func:`source_scores`."""
    return sample(fold.test, SOURCE_SAMPLE)

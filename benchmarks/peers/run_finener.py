"""finener and its encoder alone, as :mod:`finener.benchmarks.inference_speed` and ``training_speed`` run them."""

import argparse
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from finener.benchmarks.inference_speed import run_encoder, with_types
from finener.benchmarks.training_speed import WARM_UP, StepTimes
from finener.benchmarks.training_speed import train as train_steps
from finener.data_scripts.record_files import read_records
from finener.ontology_finener import Ontology
from finener.paths import ROOT
from finener.prediction.records import load_pipeline

PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "numpy")


def prepare(settings):
    """``read(types, texts, batch_size)``, ``encoder(texts, batch_size)`` and ``save(folder)``, or ``train(way, steps, batch_size)``.

    Args:
        settings: ``folder``, that of a model, and other numbers of ``types`` that are wanted; or ``encoder``, a folder, and a file
            of ``records``.
    """
    torch.set_num_threads(1)
    return _training(settings) if "records" in settings else _reading(**settings)


def _reading(folder, types=()):
    pipe = load_pipeline(folder, "cpu")
    pipes = {len(pipe.model.config.ontology): pipe, **{size: with_types(pipe, size) for size in types}}

    def read(types, texts, batch_size):
        return {"mentions": sum(map(len, pipes[types](texts, batch_size=batch_size)))}

    def encoder(texts, batch_size):
        run_encoder(pipe, texts, batch_size)
        return {}

    def save(folder):
        pipe.save_pretrained(folder)
        return {}

    return {"read": read, "encoder": encoder, "save": save}


def _training(settings):
    records, ontology = list(read_records(settings["records"])), Ontology.from_json(ROOT / "ontologies" / "yago.json")

    def train(way, steps, batch_size):
        asked = argparse.Namespace(layer=3, compile=False, bf16=False, batch_size=batch_size)
        timer = StepTimes(time.process_time)
        with TemporaryDirectory() as folder:
            train_steps(settings["encoder"], ontology, way, records, asked, Path(folder), timer, WARM_UP + steps)
        return {"seconds": statistics.median(timer.times) / batch_size}

    return {"train": train}

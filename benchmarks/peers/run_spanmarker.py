"""SpanMarker on a given encoder; its classifier has random weights."""

import statistics
import time
from tempfile import TemporaryDirectory

import torch
from datasets import Dataset
from span_marker import SpanMarkerModel, Trainer
from transformers import TrainerCallback, TrainingArguments

from calibration import strictness

PACKAGES = ("span-marker", "torch", "transformers", "tokenizers", "datasets", "numpy")
LENGTHS = {"model_max_length": 256, "marker_max_length": 128, "entity_max_length": 8}  # those of its README
FIRST_TEXTS = 8  # on which it is set how strict the classifier is


class Steps(TrainerCallback):
    """The processor's seconds of each step but the first."""

    def __init__(self):
        self.times = []
        self.before = None

    def on_step_end(self, args, state, control, **kwargs):
        """Called by the trainer."""
        now = time.process_time()
        if self.before is not None:
            self.times.append(now - self.before)
        self.before = now


def prepare(settings):
    """``read(texts, batch_size)`` and ``save(folder)``; ``train(sentences, steps, batch_size, at_once)``.

    Args:
        settings: ``encoder``, a folder; ``labels``, their names; ``texts`` and their ``mentions``, so many. Or ``folder``, that of a
            saved model.
    """
    torch.set_num_threads(1)
    torch.manual_seed(1)
    if "folder" in settings:
        return _reading(SpanMarkerModel.from_pretrained(settings["folder"]))
    names = ["O", *settings["labels"]]

    def new_model():
        return SpanMarkerModel.from_pretrained(settings["encoder"], labels=names, **LENGTHS)

    def train(sentences, steps, batch_size, at_once):
        with TemporaryDirectory() as folder:
            timer = Steps()
            arguments = TrainingArguments(
                output_dir=folder,
                max_steps=steps + 1,
                per_device_train_batch_size=at_once,
                gradient_accumulation_steps=batch_size // at_once,
                learning_rate=5e-5,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
            )
            trainer = Trainer(new_model(), arguments, train_dataset=Dataset.from_list(sentences), callbacks=[timer])
            trainer.train()
            samples = len(trainer.train_dataset) / len(sentences)  # a long sentence is several
        return {"seconds": statistics.median(timer.times) * samples / batch_size, "samples_a_sentence": samples}

    if not settings["texts"]:
        return {"train": train}
    model, texts = new_model(), settings["texts"][:FIRST_TEXTS]
    ways = _reading(model)

    def found(bias):
        model.classifier.bias.data[0] = bias  # that of "no mention"
        return ways["read"](texts, len(texts))["mentions"]

    wanted = round(settings["mentions"] * len(texts) / len(settings["texts"]))
    model.classifier.bias.data[0] = strictness(found, wanted, 0.0, 8.0)
    return {**ways, "train": train}


def _reading(model):
    def read(texts, batch_size):
        return {"mentions": sum(map(len, model.predict(texts, batch_size=batch_size)))}

    def save(folder):
        model.save_pretrained(folder)
        return {}

    return {"read": read, "save": save}

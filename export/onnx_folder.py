"""A folder with a model that onnxruntime runs, and with all that it takes to run it without torch."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from finener.decoding_finener import read_threshold
from finener.export.graphs import Reader, TypeHeads, quantize_graph, write_graph
from finener.layers_finener import decay_rows
from finener.modeling_finener import FinenerForTokenClassification
from finener.onnx_finener import READER_NAME, SETTINGS_NAME, TOKENIZER_NAME, TYPES_NAME
from finener.ontology_finener import ONTOLOGY_NAME
from finener.paths import ROOT
from finener.pipeline_finener import FinenerPipeline

RUNTIME = "finener_onnx"  # the package of the files that run the model
RUNTIME_FILES = (
    *("answers_finener.py", "json_finener.py", "numpy_finener.py", "onnx_finener.py"),
    *("ontology_finener.py", "windows_finener.py", "words_finener.py"),
)
REQUIREMENTS = "numpy>=2.0\nonnxruntime>=1.20\ntokenizers>=0.22.1\n"
EXAMPLES = ("Frida Kahlo painted in Mexico City.", "The Louvre bought a portrait by Leonardo da Vinci in 1518.")
INIT = '''"""Runs the finener model of the folder that this package lies in."""

from .onnx_finener import OnnxPipeline

__all__ = ["OnnxPipeline"]
'''


def export_onnx(pipe: FinenerPipeline, folder: Path, int8: bool = False) -> None:
    """Writes graphs, settings, types, tokenizer and the code that runs them.

    Args:
        pipe: of the model, on the CPU.
        folder: is made where it is not there; files of the same names are replaced.
        int8: smaller and faster graphs of 8-bit weights, which say slightly different things.

    Raises:
        ValueError: when a graph computes something else than the model: see :func:`write_graph`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = pipe.model.float().eval()
    _write_graphs(pipe, folder)
    pipe.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER_NAME))
    _write_json(folder / SETTINGS_NAME, settings_of(pipe))
    _write_json(folder / ONTOLOGY_NAME, _types_of(model))
    runtime = folder / RUNTIME
    runtime.mkdir(exist_ok=True)
    (runtime / "__init__.py").write_text(INIT, encoding="utf-8")
    for name in RUNTIME_FILES:
        shutil.copyfile(ROOT / name, runtime / name)
    (folder / "requirements.txt").write_text(REQUIREMENTS, encoding="utf-8")
    if int8:
        quantize_folder(folder)


def quantize_folder(folder: Path) -> None:
    """Makes both graphs of an exported folder 8-bit ones."""
    for name in (READER_NAME, TYPES_NAME):
        quantize_graph(folder / name)


def _write_graphs(pipe: FinenerPipeline, folder: Path) -> None:
    model, encoder = pipe.model, pipe.text_encoder
    windows = [encoder.windows(encoder.encode(text), 0)[0] for text in EXAMPLES]
    axes = {"input_ids": "BT", "attention_mask": "BT", "word_starts": "BW", "word_shapes": "BW"}
    reader = Reader(model).eval()
    write_graph(reader, encoder.pad(windows), axes, ("emissions", "states"), folder / READER_NAME)
    heads = ("source", "target") if model.conversion is not None else ("source",)
    state_size = model.tagger.in_features
    if model.config.mention_state == "lstm+encoder":
        state_size += len(model.config.encoder_layers) * model.config.encoder_config.hidden_size
    mentions = {"mentions": torch.randn(3, state_size, generator=torch.Generator().manual_seed(0))}
    write_graph(TypeHeads(model).eval(), mentions, {"mentions": "M"}, heads, folder / TYPES_NAME)


def settings_of(pipe: FinenerPipeline) -> dict[str, Any]:
    """What :class:`~finener.onnx_finener.OnnxPipeline` needs to know beside graphs, types and tokenizer."""
    config, encoder = pipe.model.config, pipe.text_encoder
    start, transitions, end = (scores.tolist() for scores in pipe.model.crf.scores())
    source = {"threshold": _threshold(config.type_threshold, config.ontology), "one_type": False, "is_expected": False}
    heads = {"source": source}
    if config.target_ontology is not None:
        heads["target"] = {
            "threshold": _threshold(config.target_type_threshold, config.target_ontology),
            "one_type": config.target_activation == "softmax",
            "is_expected": config.target_decoding == "expected",
        }
    return {
        "finener": version("finener"),
        "max_tokens": encoder.max_tokens,
        "pad_token_id": encoder.pad_id,
        "window_words": config.window_words,
        "window_overlap": config.window_overlap,
        "detection_threshold": config.detection_threshold,
        "crf": {"start": start, "transitions": transitions, "end": end},
        "heads": heads,
    }


def _threshold(threshold: Any, ontology: Any) -> dict[str, Any]:
    default, levels, types = read_threshold(threshold, ontology)
    return {"default": default, "levels": list(levels), "types": dict(types)}


def _types_of(model: FinenerForTokenClassification) -> dict[str, Any]:
    """Both type systems, and W where predictions read it."""
    config = model.config
    types = {"source": config.ontology.to_dict(), "target": None, "credit": None}
    if config.target_ontology is not None:
        types["target"] = config.target_ontology.to_dict()
    if config.target_decoding == "expected":
        types["credit"] = config.soft_loss_weights or decay_rows(config.target_ontology, config.soft_loss_decay)
    return types


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"
    path.write_text(text, encoding="utf-8")

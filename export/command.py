"""Writes a model in a form that runs without this project: ``onnx``, graphs for onnxruntime with a runtime that needs no torch.

finener export --model outputs/quickstart --format onnx --output_dir outputs/quickstart-onnx
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from finener.prediction.records import check_model, load_pipeline

FORMATS = ("onnx",)
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("--model", required=True, help="folder or Hub repo of a finener model")
    parser.add_argument("--format", required=True, choices=FORMATS, help="onnx: graphs for onnxruntime")
    parser.add_argument(
        "--output_dir", type=Path, required=True, help="folder to write; it is made where it is not there"
    )
    parser.add_argument(
        "--int8", action="store_true", help="8-bit weights: smaller and faster, with slightly other scores"
    )


def run(args: argparse.Namespace) -> int:
    """Exports the model; returns the exit code.

    Raises:
        ValueError: when a package is not installed, or the output is the model's own folder.
        OSError: when the model is not there.
    """
    lacking = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if lacking:
        raise ValueError(f"export needs {', '.join(lacking)}: pip install 'finener[onnx]'")
    check_model(args.model)
    if args.output_dir.is_dir() and (args.output_dir / "model.safetensors").is_file():
        raise ValueError(f"{args.output_dir} holds a model: give --output_dir a folder of its own")
    from finener.export.onnx_folder import export_onnx

    export_onnx(load_pipeline(args.model, "cpu"), args.output_dir, args.int8)
    size = sum(path.stat().st_size for path in args.output_dir.rglob("*") if path.is_file())
    print(f"{size / 1e6:.0f} MB → {args.output_dir}")
    return 0

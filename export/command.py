"""Writes a model in a form that runs without this project.

``onnx``: graphs for onnxruntime, with a runtime that needs no torch. ``stock``: a plain token classifier of transformers that learns from
the model, for hosts that run no code of a repository.

finener export --model outputs/quickstart --format onnx --output_dir outputs/quickstart-onnx
finener export --model outputs/quickstart --format stock --text texts.txt --output_dir outputs/quickstart-stock
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from finener.metrics.tables import scores_table
from finener.prediction.records import check_model, load_pipeline

FORMATS = ("onnx", "stock")
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
SHARED = ("model", "format", "output_dir", "run")  # what every format takes
ONNX_OPTIONS = {"int8"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("--model", required=True, help="folder or Hub repo of a finener model")
    parser.add_argument(
        "--format",
        required=True,
        choices=FORMATS,
        help="onnx: graphs for onnxruntime; stock: a token classifier of transformers' own, trained on what the model finds",
    )
    parser.add_argument(
        "--output_dir", type=Path, required=True, help="folder to write; it is made where it is not there"
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        default=None,
        help="onnx: 8-bit weights: smaller and faster, with slightly other scores",
    )
    stock = parser.add_argument_group("of --format stock")
    stock.add_argument(
        "--text",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="open text, as finener predict reads it: .txt, .jsonl, .parquet",
    )
    stock.add_argument("--gold", type=Path, nargs="+", metavar="FILE", help="records in which all mentions are marked")
    stock.add_argument("--test", type=Path, nargs="+", metavar="FILE", help="such records, to judge both models by")
    which = stock.add_mutually_exclusive_group()
    which.add_argument("--level", type=int, help="of the types that are told: 1, the default, for the roots")
    which.add_argument(
        "--types", nargs="+", metavar="TYPE", help="ids of types in place of a level, or a file with one a line"
    )
    stock.add_argument("--max_texts", type=int, help="label only so many texts (default: all)")
    stock.add_argument(
        "--gold_times", type=int, help="how often a gold record is seen for each text of an epoch (default: 5)"
    )
    stock.add_argument("--epochs", type=float, help="of the training (default: 4)")
    stock.add_argument("--batch_size", type=int, help="texts at a time in training (default: 8)")
    stock.add_argument("--learning_rate", type=float, help="of the encoder, at its peak (default: 1e-4)")
    stock.add_argument("--seed", type=int, help="of the training (default: 1)")
    stock.add_argument("--full_model_repo", metavar="USER/NAME", help="Hub name of the model, which the card links")
    stock.add_argument(
        "--examples", nargs="+", metavar="TEXT", help="for the widget; by default those of the model's card"
    )


def run(args: argparse.Namespace) -> int:
    """Exports the model; returns the exit code.

    Raises:
        ValueError: when options do not go together, a package is not installed, or the output is a model's folder.
        OSError: when the model or another file is not there.
    """
    given = {name: value for name, value in vars(args).items() if value is not None and name not in SHARED}
    write, foreign = (
        (_onnx, set(given) - ONNX_OPTIONS) if args.format == "onnx" else (_stock, set(given) & ONNX_OPTIONS)
    )
    if foreign:
        raise ValueError(
            f"{', '.join(f'--{name}' for name in given if name in foreign)}: not with --format {args.format}"
        )
    check_model(args.model)
    if args.output_dir.is_dir() and (args.output_dir / "model.safetensors").is_file():
        raise ValueError(f"{args.output_dir} holds a model: give --output_dir a folder of its own")
    write(args.model, args.output_dir, given)
    size = sum(path.stat().st_size for path in args.output_dir.rglob("*") if path.is_file())
    print(f"{size / 1e6:.0f} MB → {args.output_dir}")
    return 0


def _onnx(model: str, folder: Path, given: Mapping[str, Any]) -> None:
    lacking = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if lacking:
        raise ValueError(f"export needs {', '.join(lacking)}: pip install 'finener[onnx]'")
    from finener.export.onnx_folder import export_onnx

    export_onnx(load_pipeline(model, "cpu"), folder, **given)


def _stock(model: str, folder: Path, given: Mapping[str, Any]) -> None:
    from finener.export.stock import StockSettings, export_stock

    types = given.get("types", [])
    if len(types) == 1 and Path(types[0]).is_file():
        types = Path(types[0]).read_text(encoding="utf-8").split()
    results = export_stock(load_pipeline(model), folder, StockSettings(**{**given, "types": types}))
    print(
        scores_table(results["test"])
        if results["test"]
        else "not measured: --test FILE tells its F1 beside the full model's"
    )
    if not results["config"]["card"]["examples"]:
        print("its card has no examples for the widget: give some with --examples, here or to finener release")

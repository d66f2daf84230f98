"""Batch inference over a file: JSON Lines (or a text file, one text a line) in, records out, one line for each line.

finener predict --model outputs/quickstart --input records.jsonl --output out.jsonl

The input is read while the output is written, so that a file of any size takes the same memory.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from finener.prediction.records import check_model, load_pipeline, predict_records


class InputError(ValueError):
    """A line of the input can't be read; the message names file, line and what was expected."""


def read_inputs(path: Path, gold_mentions: bool = False) -> Iterator[dict[str, Any]]:
    """Lines of a ``.jsonl`` file, each an object with a ``text``, or of a ``.txt`` file. A line without an id gets its number, from 1.

    Args:
        path: of the file.
        gold_mentions: the mentions that a line brings must be spans of its text; otherwise they may be anything.

    Raises:
        InputError: on a line that is no such object, or is not UTF-8.
    """
    if path.suffix not in (".jsonl", ".txt"):
        raise InputError(
            f'{path}: expected a .jsonl file (one object with a "text" a line) or a .txt file (one text a line)'
        )
    expected = '{"id": "1", "text": "Ann left.", "mentions": [{"start": 0, "end": 3}]}'
    if not gold_mentions:
        expected = '{"id": "1", "text": "Ann left."}'
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                record = {"text": line} if path.suffix == ".txt" else json.loads(line)
                _check_input(record, gold_mentions)
            except ValueError as error:
                raise InputError(f"{path}:{number}: expected {expected}, found {raw[:60]!r} ({error})") from None
            yield {"id": str(number), **record}


def _check_input(record: Any, gold_mentions: bool) -> None:
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise ValueError("no text")
    json.dumps(record, ensure_ascii=False).encode("utf-8")  # raises: half a surrogate pair can't be written
    text, mentions = record["text"], record.get("mentions", []) if gold_mentions else []
    if not isinstance(mentions, list):
        raise ValueError("mentions is no list")
    for mention in mentions:
        start, end = (mention.get("start"), mention.get("end")) if isinstance(mention, dict) else (None, None)
        are_numbers = type(start) is int and type(end) is int
        if not are_numbers or not 0 <= start < end <= len(text) or not text[start:end].strip():
            raise ValueError(f"{mention!r} is no span with a word of a text of {len(text)} characters")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("--model", required=True, help="folder or Hub repo of a finener model")
    parser.add_argument("--input", type=Path, required=True, help=".jsonl with a text field, or .txt")
    parser.add_argument("--output", type=Path, required=True, help=".jsonl to write: a line for each line of the input")
    parser.add_argument(
        "--head", choices=["source", "target"], help="which types; by default the target's where the model has them"
    )
    parser.add_argument(
        "--gold_mentions", action="store_true", help="type the mentions of the input instead of finding them"
    )
    parser.add_argument("--batch_size", type=_at_least_one, default=32, help="most windows in one forward pass")
    parser.add_argument("--device", help="cpu, cuda:0, …; by default the first accelerator")


def _at_least_one(given: str) -> int:
    if not given.isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {given}")
    return int(given)


def run(args: argparse.Namespace) -> int:
    """Predicts line by line; returns the exit code.

    Raises:
        ValueError: on a bad line (:class:`InputError`), after the lines before it are written, or a gold mention that can't be typed.
        OSError: when the model, the input or the output's folder is not there.
    """
    check_model(args.model)
    _check_output(args.input, args.output)
    records = read_inputs(args.input, args.gold_mentions)
    first = list(islice(records, 1))  # a wrong file shows before the model is loaded
    reading = _Reading(chain(first, records))
    pipe = load_pipeline(args.model, args.device)
    predicted = predict_records(
        pipe, reading, head=args.head, gold_mentions=args.gold_mentions, batch_size=args.batch_size
    )
    n_records = n_mentions = 0
    with args.output.open("w", encoding="utf-8") as out:
        for record in tqdm(predicted, total=_count_lines(args.input), unit=" records"):
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
            out.flush()  # a run that is killed leaves whole lines
            n_records, n_mentions = n_records + 1, n_mentions + len(record["mentions"])
    print(f"{n_records} records with {n_mentions} mentions → {args.output}")
    if reading.error:
        raise reading.error
    return 0


class _Reading:
    """Records up to the first that can't be read, whose error waits until those before it are predicted."""

    def __init__(self, records: Iterable[dict[str, Any]]):
        self.records = records
        self.error: InputError | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            yield from self.records
        except InputError as error:
            self.error = error


def _check_output(source: Path, output: Path) -> None:
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"{output}: its folder is not there")
    if output.exists() and source.exists() and output.samefile(source):
        raise ValueError(f"{output}: the output can't be the input, which is read while the output is written")


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        blocks = iter(lambda: file.read(2**20), b"")
        n_lines, last = 0, b"\n"
        for block in blocks:
            n_lines, last = n_lines + block.count(b"\n"), block[-1:]
    return n_lines + (last != b"\n")


def main(arguments: list[str] | None = None, prog: str = "finener predict") -> int:
    """Command line: see the module's docstring. Where something is wrong, the process ends with one line that begins with ``prog``."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__.splitlines()[0])
    add_arguments(parser)
    args = parser.parse_args(arguments)
    try:
        return run(args)
    except (ValueError, OSError) as error:
        sys.exit(f"{prog}: {error}")

"""Batch inference: a file of texts in, its mentions out, a record for each text.

finener predict --model outputs/quickstart --input records.jsonl --output out.jsonl

Memory does not grow with the input. A run that was stopped goes on where it was when it is started again. `accelerate launch
predict_finener.py …` shares the input among processes, and the output is that of one. A text that can't be read or predicted is told in
OUTPUT.failed.jsonl.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from tqdm.auto import tqdm

from finener.answers_finener import SHOWN, heads_of_call
from finener.data_scripts.command_line import OneLineParser, last_line, take_debug
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.inputs import InputError, Row, count_rows, read_row, rows_of
from finener.prediction.outputs import WRITERS, form_of, write_whole
from finener.prediction.parts import Done, Parts, is_done, line_of
from finener.prediction.records import check_model, load_pipeline, predict_records

CHUNK_TEXTS = 256  # predicted together, then written
CHUNK_CHARACTERS = 2**18
# What a single text may fail of: a mention without a word, or memory that it alone needs.
OF_A_TEXT = (ValueError, TypeError, RuntimeError)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("--model", required=True, help="folder or Hub repo of a finener model")
    parser.add_argument(
        "--input", type=Path, required=True, help=".jsonl or .parquet with a text field, .txt, or a folder of LTF"
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help=".jsonl, .parquet, .tab (TAC), .conll, .spacy (DocBin), or a new folder (brat)",
    )
    parser.add_argument("--format", choices=WRITERS, help="of the output; by default its name tells")
    parser.add_argument(
        "--head", choices=["source", "target"], help="which types; by default the target's where the model has them"
    )
    parser.add_argument(
        "--types",
        nargs="+",
        metavar="TYPE",
        help="only these and what is below them; or names that the model need not know",
    )
    parser.add_argument("--type_threshold", type=_share, help="least score of a type, in [0, 1]")
    parser.add_argument("--top_k", type=_at_least_one, help="so many types for each mention, with their ancestors")
    parser.add_argument("--detection_threshold", type=_share, help="least score of a mention, in [0, 1]")
    parser.add_argument(
        "--gold_mentions", action="store_true", help="type the mentions of the input instead of finding them"
    )
    parser.add_argument("--batch_size", type=_at_least_one, default=32, help="most windows in one forward pass")
    parser.add_argument(
        "--device", type=_device, help="cpu, cuda:0, …; by default the first accelerator, of each process its own"
    )


def _at_least_one(given: str) -> int:
    if not given.isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {given}")
    return int(given)


def _share(given: str) -> float:
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a number in [0, 1], got {given}")
    return value


def _device(given: str) -> str:
    try:
        torch.empty(0, device=given)
    except (RuntimeError, AssertionError, NotImplementedError):  # torch has no one error for it
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        there += ["mps"] * torch.backends.mps.is_available()
        raise argparse.ArgumentTypeError(
            f"expected a device of this machine, {', '.join(there)}, got {given}"
        ) from None
    return given


def run(args: argparse.Namespace) -> int:
    """Predicts row by row, and returns the exit code: 1 where some rows failed.

    Raises:
        ValueError: when the arguments do not go together, the input is no such file, or all of its texts fail.
        OSError: when the model, the input or the output's folder is not there.
    """
    check_model(args.model)
    form = form_of(args.output, args.format)
    _check_output(args.input, args.output)
    _check_first_row(args.input, args.gold_mentions)
    # Without cpu=True accelerate runs several processes on CPUs as if each were alone. A process may wait long for the others.
    asked = _asked(args)
    state = PartialState(cpu=args.device == "cpu" or not torch.accelerator.is_available(), timeout=timedelta(days=30))
    pipe = load_pipeline(args.model, args.device or state.device)
    heads, _ = heads_of_call(pipe.types_by_name, **_of_types(asked), are_given=args.gold_mentions)
    parts = Parts(args.output)
    if state.is_main_process:
        parts.begin(_what_is_run(args, pipe))
    state.wait_for_everyone()
    bits = parts.done()
    state.wait_for_everyone()  # before anyone writes
    _predict_rest(pipe, args, asked, parts, bits, state)
    state.wait_for_everyone()
    return _finish(args, form, parts, heads[0].ontology) if state.is_main_process else 0


def _what_is_run(args: argparse.Namespace, pipe: FinenerPipeline) -> dict[str, Any]:
    """What a later run must have in common to go on with this one's parts."""
    same = {name: getattr(args, name) for name in ("model", "gold_mentions", *_CALL)}
    same |= {"input": str(args.input), "revision": pipe.model.config._commit_hash}
    return same | {"content of the input": _state(args.input), "content of the model": _state(Path(args.model))}


def _state(path: Path) -> list[Any]:
    """Of a file or folder: how many files there are, their bytes, and when the last one changed."""
    files = [file.stat() for file in ([path] if path.is_file() else sorted(path.rglob("*"))) if file.is_file()]
    return [len(files), sum(file.st_size for file in files), max((file.st_mtime for file in files), default=0)]


_CALL = ("head", "types", "type_threshold", "top_k", "detection_threshold")


def _asked(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of the pipeline's calls. A single type is given as a call takes it, so that a slip is told."""
    asked = {name: getattr(args, name) for name in _CALL if getattr(args, name) is not None}
    if asked.get("types") and len(asked["types"]) == 1:
        [asked["types"]] = asked["types"]
        if asked["types"] in SHOWN:
            raise ValueError(
                f"--types {asked['types']}: records have all types of a mention; name types, such as --types per gpe"
            )
    return asked


def _of_types(asked: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if name != "detection_threshold"}


def _check_output(source: Path, output: Path) -> None:
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(f"{output}: its folder is not there")
    if output.exists() and source.exists() and output.samefile(source):
        raise ValueError(f"{output}: the output can't be the input, which is read while the output is written")
    if output.is_dir():
        raise FileExistsError(f"{output}: there is such a folder already; choose another name")


def _check_first_row(source: Path, gold_mentions: bool) -> None:
    """A wrong file shows before the model is loaded: the first row must be one."""
    if not source.exists():
        raise FileNotFoundError(f"{source}: there is no such file or folder")
    with closing(rows_of(source)) as rows:
        for row in islice(rows, 1):
            read_row(row, gold_mentions)


def _predict_rest(
    pipe: FinenerPipeline,
    args: argparse.Namespace,
    asked: dict[str, Any],
    parts: Parts,
    bits: bytearray,
    state: PartialState,
) -> None:
    """Predicts this process's rows that are not done and writes each chunk of them as it is done."""
    total, earlier = count_rows(args.input), sum(byte.bit_count() for byte in bits)
    has_some = earlier > 0  # else a mistake in the call may be why all fail
    if earlier and state.is_main_process:
        print(f"{earlier} records are done already, going on", file=sys.stderr)
    with (
        parts.file(state.process_index, state.num_processes).open("ab") as out,
        tqdm(total=total, initial=earlier, unit=" records", disable=not state.is_main_process) as bar,
    ):
        for chunk in _chunks(_own_rows(args.input, state)):
            missing = [row.number for row in chunk if not is_done(bits, row.number)]
            if not missing:
                continue
            # All of a chunk, though some of it be done: so scores do not depend on where a run was stopped.
            done = list(_predict_chunk(pipe, chunk, args, asked))
            if not has_some and len(done) > 8 and all(one.failure for one in done):
                raise ValueError(f"all of {len(done)} texts failed; the first one: {done[0].failure['error']}")
            has_some = True
            out.write(b"".join(line_of(one) for one in done if one.row in missing))
            out.flush()  # a run that is killed leaves whole lines
            # The others are about as far.
            bar.update(min(len(missing) * state.num_processes, (total or sys.maxsize) - bar.n))


def _own_rows(source: Path, state: PartialState) -> Iterator[Row]:
    """Every n-th row, of n processes."""
    return (row for row in rows_of(source) if row.number % state.num_processes == state.process_index)


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    chunk, characters = [], 0
    for row in rows:
        chunk.append(row)
        characters += len(row.content if isinstance(row.content, bytes) else row.content.get("text") or "")
        if len(chunk) == CHUNK_TEXTS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _predict_chunk(
    pipe: FinenerPipeline, chunk: list[Row], args: argparse.Namespace, asked: dict[str, Any]
) -> Iterator[Done]:
    """The rows of a chunk, predicted together; where one of them fails, one by one."""
    read: list[tuple[Row, dict[str, Any] | InputError]] = []
    for row in chunk:
        try:
            read.append((row, read_row(row, args.gold_mentions)))
        except InputError as error:
            read.append((row, error))
    good = [record for _, record in read if not isinstance(record, InputError)]
    options = {"gold_mentions": args.gold_mentions, "batch_size": args.batch_size, **asked}
    try:
        predicted: Iterator[Any] = iter(list(predict_records(pipe, good, **options)))
    except OF_A_TEXT:
        predicted = (_predict_one(pipe, record, options) for record in good)
    for row, record in read:
        result = record if isinstance(record, InputError) else next(predicted)
        if isinstance(result, Exception):
            failure = {
                "place": row.place,
                "error": last_line(result),
                "input": repr(row.content)[:2000],
            }
            yield Done(row.number, None, failure)
        else:
            yield Done(row.number, result, None)


def _predict_one(pipe: FinenerPipeline, record: dict[str, Any], options: dict[str, Any]) -> dict[str, Any] | Exception:
    try:
        return next(predict_records(pipe, [record], **options))
    except OF_A_TEXT as error:
        return error


def _finish(args: argparse.Namespace, form: str, parts: Parts, ontology: Any) -> int:
    """Makes the output of the parts, and the file of what failed."""
    counts = {"records": 0, "mentions": 0, "failed": 0}
    failed = args.output.with_name(f"{args.output.name}.failed.jsonl")
    failed.unlink(missing_ok=True)

    def good() -> Iterator[dict[str, Any]]:
        for done in parts.in_order():
            if done.record is None:
                counts["failed"] += 1
                with failed.open("a", encoding="utf-8") as out:
                    out.write(json.dumps(done.failure, ensure_ascii=False) + "\n")
            else:
                counts["records"], counts["mentions"] = (
                    counts["records"] + 1,
                    counts["mentions"] + len(done.record["mentions"]),
                )
                yield done.record

    write_whole(form, good(), args.output, ontology)
    parts.remove()
    print(f"{counts['records']} records with {counts['mentions']} mentions → {args.output}")
    if counts["failed"]:
        print(f"{counts['failed']} records failed → {failed}", file=sys.stderr)
    return int(counts["failed"] > 0)


def main(arguments: list[str] | None = None, prog: str = "finener predict") -> int:
    """Command line: see the module's docstring. Where something is wrong, the process ends with one line that begins with ``prog``."""
    parser = OneLineParser(prog=prog, description=__doc__.splitlines()[0])
    add_arguments(parser)
    arguments, is_debugging = take_debug(sys.argv[1:] if arguments is None else arguments)
    args = parser.parse_args(arguments)
    try:
        return run(args)
    except (ValueError, OSError) as error:
        if is_debugging:
            raise
        sys.exit(f"{prog}: {error}")

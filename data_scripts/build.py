"""The ``build`` command: raw files of a corpus → a dataset folder of Parquet files with a card."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from datasets.exceptions import DatasetGenerationError
from huggingface_hub import DatasetCard, DatasetCardData

from finener.data_scripts.corpus import CorpusBuilder, CorpusError, ReadReport
from finener.data_scripts.tables import printable, text_table
from finener.paths import CORPUS_PAGES

# name on the command line → where its builder is
BUILDERS = {
    "aida_ldc": ("aida_ldc", "AidaLdc"),
    "brat": ("brat", "Brat"),
    "conll": ("conll", "Conll"),
    "crossner": ("crossner", "CrossNer"),
    "docbin": ("docbin", "SpacyDocBin"),
    "fewnerd": ("fewnerd", "FewNerd"),
    "figer_json": ("figer_json", "FigerJson"),
    "gum": ("gum", "Gum"),
    "multiconer": ("multiconer", "MultiCoNer"),
    "ontonotes5": ("ontonotes5", "OntoNotes5"),
    "records": ("records", "Records"),
    "redocred": ("redocred", "ReDocRed"),
    "tac_edl": ("tac_edl", "TacEdl"),
    "ufet": ("ufet", "Ufet"),
}


def find_builder(name: str) -> type[CorpusBuilder]:
    """The builder class of that name."""
    module, kind = BUILDERS[name]
    return getattr(importlib.import_module(f"finener.data_scripts.corpora.{module}"), kind)


def read_page(name: str) -> tuple[dict[str, Any], str]:
    """Facts (the front matter) and text of a corpus's page."""
    _, facts, text = (CORPUS_PAGES / f"{name}.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(facts), text.strip()


# ---------------------------------------------------------------- command line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds one sub-command for each corpus, with the options of its builder."""
    corpora = parser.add_subparsers(dest="corpus", required=True, metavar="CORPUS")
    for name in BUILDERS:
        title = read_page(name)[0]["pretty_name"]
        corpus = corpora.add_parser(name, help=title, description=f"{title}. See data_scripts/corpora/{name}.md")
        corpus.add_argument(
            "--data_files",
            nargs="+",
            required=True,
            metavar="[SPLIT=]PATH",
            help="files and folders; those after 'dev=PATH' are of the split 'dev' (default: train)",
        )
        corpus.add_argument("--output_dir", type=Path, required=True, help="a new or empty folder")
        for field in options_of(find_builder(name)):
            _add_option(corpus, field)


def options_of(builder: type[CorpusBuilder]) -> list[dataclasses.Field]:
    """The fields of a builder's config that are options of its own."""
    return [field for field in dataclasses.fields(builder.BUILDER_CONFIG_CLASS) if "help" in field.metadata]


def _add_option(parser: argparse.ArgumentParser, field: dataclasses.Field) -> None:
    text = f"{field.metadata['help']} (default: {field.default!r})".replace("%", "%%")
    if isinstance(field.default, bool):
        parser.add_argument(f"--{field.name}", action=argparse.BooleanOptionalAction, default=field.default, help=text)
    else:
        kind = type(field.default) if isinstance(field.default, (int, float)) else str
        parser.add_argument(f"--{field.name}", type=kind, default=field.default, help=text)


def run(args: argparse.Namespace) -> int:
    """The ``build`` command."""
    options = {field.name: getattr(args, field.name) for field in options_of(find_builder(args.corpus))}
    reports = build(args.corpus, split_arguments(args.data_files), args.output_dir, options)
    print(report_table(reports))
    n_mentions = sum(report.mentions for report in reports.values())
    if not options["ontology"] and n_mentions:
        print(
            f"\nNone of these {n_mentions:,} mentions has types, for no ontology says what they are: the records train boundaries alone. "
            "To keep the types give --ontology: a name of `finener list`, or your .tsv or .json file"
        )
    print(f"\nWritten to {args.output_dir}: README.md, report.json, data/*.parquet")
    return 0


def split_arguments(arguments: Sequence[str]) -> dict[str, list[str]]:
    """["train=a.txt", "b.txt", "dev=c.txt"] → {"train": ["a.txt", "b.txt"], "dev": ["c.txt"]}."""
    splits: dict[str, list[str]] = {}
    split = "train"
    for argument in arguments:
        named = re.fullmatch(r"(\w+)=(.+)", argument)
        if named and not Path(argument).exists():
            split, argument = named.groups()
        splits.setdefault(split, []).append(argument)
    return splits


# ---------------------------------------------------------------- the build


def build(
    name: str, data_files: Mapping[str, Sequence[str]], output_dir: str | Path, options: Mapping[str, Any] | None = None
) -> dict[str, ReadReport]:
    """Builds a corpus into ``output_dir``: ``data/SPLIT-NNNNN-of-NNNNN.parquet``, ``report.json``, ``README.md`` and, where the
    records are typed, ``ontology.json``.

    Args:
        name: a key of BUILDERS.
        data_files: files and folders of each split.
        output_dir: a new or empty folder; it stays empty when the build fails.
        options: of the corpus, see its page.

    Returns:
        What was read and left out, by split.

    Raises:
        CorpusError: on a file that is not as expected, or an output folder that holds something.
    """
    output_dir = Path(output_dir)
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise CorpusError(f"{output_dir} is not an empty folder; give a new --output_dir, or empty it first")
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    # A fresh cache: `datasets` does not notice when a builder's code has changed.
    with tempfile.TemporaryDirectory(prefix=f".{output_dir.name}-", dir=output_dir.parent) as scratch:
        builder = find_builder(name)(data_files=data_files, cache_dir=f"{scratch}/cache", **(options or {}))
        try:
            builder.download_and_prepare(f"{scratch}/parquet", file_format="parquet")
        except DatasetGenerationError as error:
            if isinstance(error.__cause__, (ValueError, OSError)):
                raise error.__cause__ from None
            raise
        done = Path(scratch, "done")
        (done / "data").mkdir(parents=True)
        for split in builder.info.splits:
            _move_shards(Path(scratch, "parquet"), builder.dataset_name, split, done / "data")
        _describe(done, name, builder, data_files, options or {})
        output_dir.mkdir(exist_ok=True)
        for path in done.iterdir():
            shutil.move(path, output_dir / path.name)
    return builder.reports


def _move_shards(source: Path, dataset: str, split: str, target: Path) -> None:
    shards = sorted(source.glob(f"{dataset}-{split}.parquet")) or sorted(
        source.glob(f"{dataset}-{split}-*-of-*.parquet")
    )
    for i, shard in enumerate(shards):
        shard.replace(target / f"{split}-{i:05d}-of-{len(shards):05d}.parquet")


def _describe(
    folder: Path, name: str, builder: CorpusBuilder, data_files: Mapping[str, Sequence[str]], options: Mapping[str, Any]
) -> None:
    """Everything beside the Parquet files."""
    facts, page = read_page(name)
    defaults = {field.name: field.default for field in options_of(type(builder))}
    # Whose machine it was built on is nobody's business: of a file, its name is told.
    told = {
        key: Path(value).name if key == "ontology" else value
        for key, value in options.items()
        if value != defaults[key]
    }
    report = {
        "corpus": name,
        "options": told,
        "ontology": builder.ontology.name if builder.ontology else "",
        "splits": {split: report.to_dict() for split, report in builder.reports.items()},
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if builder.ontology:
        builder.ontology.to_json(folder / "ontology.json")
    data = DatasetCardData(
        pretty_name=facts["pretty_name"],
        language=facts["language"],
        license=facts["license"],
        task_categories=["token-classification"],
        tags=["finener", "named-entity-recognition"],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split in builder.reports],
            }
        ],
    )
    files = [f"{split}={shlex.quote(Path(path).name)}" for split, paths in data_files.items() for path in paths]
    given = [
        f"--{'' if value else 'no-'}{key}" if isinstance(value, bool) else f"--{key} {shlex.quote(str(value))}"
        for key, value in told.items()
    ]
    command = " ".join(["finener build", name, "--data_files", *files, *given])
    DatasetCard(
        f"---\n{data.to_yaml()}\n---\n\n# {facts['pretty_name']}, as finener records\n\nBuilt by `{command}`.\n\n"
        f"```\n{report_table(builder.reports)}\n```\n\n{page}\n"
    ).save(folder / "README.md")


def report_table(reports: Mapping[str, ReadReport]) -> str:
    """Counts of each split, then what was left out of it and what is worth knowing."""
    header = ["split", "files", "documents", "records", "mentions", "types"]
    rows = [
        [split, *(f"{n:,}" for n in (r.files, r.documents, r.records, r.mentions, len(r.types)))]
        for split, r in reports.items()
    ]
    lines = [text_table(header, rows)]
    for split, report in reports.items():
        lines += [f"{split}: left out {count:,} × {reason}" for reason, count in sorted(report.dropped.items())]
        lines += [f"{split}: {note}" for note in dict.fromkeys(report.notes)]
    return "\n".join([lines[0], *map(printable, lines[1:])])

"""The ``check`` command: what is wrong with built records, before training on them. ``docs/checking.md`` explains its findings."""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from finener.data_scripts.build import split_arguments
from finener.data_scripts.check.findings import KINDS, LEVELS, MAX_EXAMPLES
from finener.data_scripts.corpus import CorpusError, find_files, load_ontology
from finener.data_scripts.tables import text_table
from finener.ontology_finener import ONTOLOGY_NAME, Ontology

SIGNS = dict(zip(LEVELS, "✗!·", strict=True))
WIDTH = 110
SHOWN = 4  # examples of a kind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``check``."""
    parser.add_argument(
        "dataset", nargs="+", metavar="DATASET", help="a folder made by `build`, or [SPLIT=]FILE … (.jsonl, .parquet)"
    )
    parser.add_argument(
        "--ontology", default="", metavar="NAME|FILE", help="type system (default: ontology.json of the folder)"
    )
    parser.add_argument("--tokenizer", default="", metavar="PATH", help="also look for words that it removes")
    parser.add_argument("--window_words", type=int, default=128, help="words in a window (default: %(default)s)")
    parser.add_argument("--rare", type=int, default=5, help="types with fewer mentions are rare (default: %(default)s)")
    parser.add_argument("--output_file", type=Path, metavar="REPORT.json", help="also write everything as JSON")
    parser.add_argument(
        "--fail_on",
        choices=["error", "warning", "never"],
        default="error",
        help="exit with 1 when there is such a finding, or a worse one (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """The ``check`` command; 1 when there is a finding that ``--fail_on`` names, or a worse one."""
    splits, beside = find_splits(args.dataset)
    ontology = load_ontology(args.ontology or beside)
    report = check(splits, ontology, args.tokenizer, args.window_words, args.rare)
    report = {"dataset": args.dataset, "ontology": ontology.name if ontology else "", **report}
    print(render(report))
    if args.output_file:
        args.output_file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"\nEverything, with more examples: {args.output_file}")
    failing = LEVELS[: LEVELS.index(args.fail_on) + 1] if args.fail_on in LEVELS else ()
    return int(any(finding["level"] in failing for finding in report["findings"]))


def check(
    splits: Mapping[str, Sequence[str]],
    ontology: Ontology | None = None,
    tokenizer: str = "",
    window_words: int = 128,
    rare: int = 5,
) -> dict[str, Any]:
    """Checks built records.

    Args:
        splits: files of each split, ``.parquet`` or JSON Lines.
        ontology: of their types; without one types are not checked.
        tokenizer: folder or Hub name of one; without it sub-tokens are not checked.
        window_words: most words in one window.
        rare: a type with fewer mentions in train than this is rare.

    Returns:
        JSON values: ``splits`` (counts of each), ``types`` (by level; None when no type was checked) and ``findings`` (a list of kind,
        level, count, unit, what, advice, examples).
    """
    from finener.data_scripts.check.scan import Scan, make_encoder

    return Scan(
        splits, ontology, make_encoder(tokenizer, window_words) if tokenizer else None, window_words, rare
    ).report()


def find_splits(dataset: Sequence[str]) -> tuple[dict[str, list[str]], str]:
    """Files of each split, train first, and the ontology that lies beside them or "".

    Args:
        dataset: a built folder, or arguments of :func:`~finener.data_scripts.build.split_arguments`.

    Raises:
        CorpusError: when there is nothing to read.
    """
    folder, ontology = Path(dataset[0]), ""
    if len(dataset) == 1 and folder.is_dir():
        splits: dict[str, list[str]] = {}
        for path in sorted((folder / "data").glob("*.parquet")):
            splits.setdefault(re.sub(r"-\d+-of-\d+$", "", path.stem), []).append(str(path))
        if not splits:
            raise CorpusError(
                f"{folder}: expected a folder made by `build`, with data/SPLIT-*.parquet; for others give SPLIT=FOLDER"
            )
        if (folder / ONTOLOGY_NAME).is_file():
            ontology = str(folder / ONTOLOGY_NAME)
    else:
        splits = find_files(split_arguments(dataset), ("*.parquet", "*.jsonl"), "check")
    return dict(sorted(splits.items(), key=lambda item: item[0] != "train")), ontology


# ---------------------------------------------------------------- the report


def render(report: Mapping[str, Any]) -> str:
    """The report as text: counts, levels of the ontology, findings by section, and a verdict."""
    shown = f", types of {report['ontology']!r}" if report["ontology"] else ""
    parts = [f"Check of {' '.join(report['dataset'])}{shown}", _counts_table(report["splits"])]
    if report["types"]:
        parts.append(_levels_table(report["types"]["levels"]))
    for section, findings in groupby(report["findings"], key=lambda finding: KINDS[finding["kind"]].section):
        parts += [f"── {section} ".ljust(WIDTH, "─"), *map(_finding, findings)]
    parts.append(_verdict(report["findings"]))
    return "\n\n".join(parts)


def _counts_table(splits: Mapping[str, Mapping[str, Any]]) -> str:
    header = [
        "split",
        "documents",
        "records",
        "words",
        "mentions",
        "per record",
        "types each",
        "exhaustive",
        "typed",
        "seen in train",
    ]
    rows = [
        [
            split,
            *(f"{s[key]:,}" for key in ("documents", "records", "words", "mentions")),
            f"{s['mentions_per_record']:.2f}",
            f"{s['types_per_mention']:.2f}" if s["types_per_mention"] else "–",
            f"{s['exhaustive']:.0%}",
            f"{s['typed']:.0%}",
            "–" if s["seen_in_train"] is None else f"{s['seen_in_train']:.0%}",
        ]
        for split, s in splits.items()
    ]
    return text_table(header, rows)


def _levels_table(levels: Sequence[Mapping[str, Any]]) -> str:
    header = ["level", "types", "seen", "rare", *(f"mentions in {split}" for split in levels[0]["mentions"])]
    rows = [
        [str(row["level"]), *(f"{n:,}" for n in (row["types"], row["seen"], row["rare"], *row["mentions"].values()))]
        for row in levels
    ]
    return text_table(header, rows)


def _finding(finding: Mapping[str, Any]) -> str:
    """A headline, a few examples and what to do."""
    count, unit, examples = finding["count"], finding["unit"], finding["examples"]
    counted = (
        f"{count:,} of {finding['of']:,} {unit}" if finding["of"] else f"{count:,} {unit[:-1] if count == 1 else unit}"
    )
    lines = [f"{SIGNS[finding['level']]} {counted} {finding['what']}"]
    if "type" in examples[0]:
        lines += _type_lines(examples, count)
    else:
        lines += _example_lines(examples[:SHOWN])
        if count > SHOWN:
            lines.append("    …")
    return "\n".join([*lines, f"    → {finding['advice']}"])


def _type_lines(examples: Sequence[Mapping[str, Any]], count: int) -> list[str]:
    """Types, two lines of them."""
    names = [f"{e['type']} ({e['note']})" if "note" in e else e["type"] for e in examples]
    names += ["…"] * (len(examples) == MAX_EXAMPLES < count)
    unbroken = ", ".join(name.replace(" ", "\xa0") for name in names)
    lines = textwrap.wrap(unbroken, WIDTH - 4, max_lines=2, placeholder=" …", break_on_hyphens=False)
    return [f"    {line}".replace("\xa0", " ") for line in lines]


def _example_lines(examples: Sequence[Mapping[str, Any]]) -> list[str]:
    """Split, record and span, what stands there, note; in columns."""
    cells = []
    for example in examples:
        span = f" [{example['start']}, {example['end']})" if "start" in example else ""
        where = f"{example.get('split', '')} {example.get('record', '')}{span}".strip()
        text = textwrap.shorten(repr(example["text"]), 64, placeholder=" …'") if "text" in example else ""
        cells.append((where, text, example.get("note", "")))
    widths = [max(len(row[i]) for row in cells) for i in range(2)]
    return [
        "    " + "  ".join(part for part in (row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2])).rstrip()
        for row in cells
    ]


def _verdict(findings: Sequence[Mapping[str, Any]]) -> str:
    counts = [sum(finding["level"] == level for finding in findings) for level in LEVELS]
    if not any(counts):
        return "Nothing is wrong that can be seen from here."
    words = (
        f"{n or 'no'} {word}{'s' * (n != 1)}" for n, word in zip(counts, ("error", "warning", "note"), strict=True)
    )
    return f"In all {', '.join(words)}; docs/checking.md explains each."

"""A table from a model's source types to target types, made from their names, for a person to correct.

finener map --model outputs/quickstart --ontology my_types.tsv --output_file table.tsv
"""

from __future__ import annotations

import argparse
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from finener.data_scripts.corpus import load_ontology
from finener.modeling_finener import FinenerForTokenClassification
from finener.naming_finener import NamedTypes, SourceNames
from finener.ontology_finener import Ontology
from finener.prediction.mapping import TypeMapping
from finener.prediction.records import load_pipeline

LEAST_COSINE = 0.5  # of a row's names
LEAST_SHARE = 0.1  # of a row's weight in the score of its type

HEADER = """\
# {source} -> {target}: the source types whose names are nearest to each target type's, by {model}. Correct what is wrong.
# source TAB target TAB weight TAB both labels, for you: this last column is not read. The weight is the cosine of the names.
"""


def map_by_names(
    model: FinenerForTokenClassification, tokenizer: PreTrainedTokenizerBase, target: Ontology
) -> TypeMapping:
    """The source types that training knew and that vouch most for each target type, weighed by the cosine of their names.

    A target type to whose name none is near has no row.

    Args:
        model: whose source types and encoder are asked. tokenizer: the encoder's.
        target: the target types.

    Raises:
        OntologyError: on names that are equal or that the encoder can't read.
    """
    source = SourceNames(model, tokenizer)
    named = NamedTypes(source, target)
    ids = [source.ontology.ids[i] for i in source.known.tolist()]
    rows = [
        (ids[place], target.ids[k], round(min(cosine, 1.0), 2))
        for k, nearest in enumerate(
            zip(named.places.tolist(), named.cosines.tolist(), named.shares.tolist(), strict=True)
        )
        for place, cosine, share in zip(*nearest, strict=True)
        if target.assignable[k] and cosine >= LEAST_COSINE and share >= LEAST_SHARE
    ]
    return TypeMapping(source.ontology, target, rows)


def write_table(mapping: TypeMapping, path: Path, model: str) -> None:
    """Writes a table as :meth:`TypeMapping.from_tsv` reads it; target types without a row stand in comments.

    Args:
        mapping: the table. path: where to. model: its name, for the head of the file.
    """
    source, target = mapping.source, mapping.target
    lines = [HEADER.format(source=source.name, target=target.name, model=model).rstrip()]
    for (i, j), weight in zip(mapping.pairs, mapping.weights, strict=True):
        words = f"{source.name_path(source.ids[i])} -> {target.name_path(target.ids[j])}"
        lines.append(f"{source.ids[i]}\t{target.ids[j]}\t{weight}\t{words}")
    lines += [f"# no row: {target.ids[k]}" for k in missing(mapping)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def missing(mapping: TypeMapping) -> list[int]:
    """The assignable target types that a table can't reach."""
    return [k for k, yes in enumerate(mapping.target.assignable) if yes and k not in mapping.reachable]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("--model", required=True, help="folder or Hub repo of a finener model")
    parser.add_argument("--ontology", required=True, metavar="NAME|FILE", help="your types: a shipped one or a file")
    parser.add_argument("--output_file", type=Path, required=True, help=".tsv to write: source TAB target TAB weight")


def run(args: argparse.Namespace) -> int:
    """Makes and writes the table; returns the exit code.

    Raises:
        ValueError: on an ontology that is not there or bad, see :func:`map_by_names`.
        OSError: when the model or the table's folder is not there.
    """
    if not args.output_file.absolute().parent.is_dir():
        raise FileNotFoundError(f"{args.output_file}: its folder is not there")
    target = load_ontology(args.ontology)
    pipe = load_pipeline(args.model, "cpu")
    mapping = map_by_names(pipe.model, pipe.tokenizer, target)
    write_table(mapping, args.output_file, Path(args.model).name)
    n_types = sum(target.assignable)
    print(
        f"{len(mapping.pairs)} rows for {n_types - len(missing(mapping))} of {n_types} types → {args.output_file}; correct them, then "
        f"use them as mapping: {args.output_file}"
    )
    return 0

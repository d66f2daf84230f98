"""The tables of finener beside its neighbours, from results/bench_peers.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finener.experiments.tables import table

SHOWN = {
    "encoder": "the encoder alone",
    "CRF": "a CRF over typed tags",
    "finener's CRF": "finener's CRF alone",
}
PACKAGES = {"spanmarker": "span-marker", "gliner": "gliner", "spacy": "spacy", "crf": "pytorch-crf"}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def reading_table(results: Mapping[str, Any]) -> str:
    """Words a second and one sentence's time of each system."""
    rows = [
        [
            SHOWN.get(row["system"], row["system"]),
            _number(row["types"]),
            _number(row["words_per_second"]),
            f"{row['finener_times_as_fast']:.2f} ×",
            _number(row["words_per_second_one_by_one"]),
            f"{row['finener_times_as_fast_one_by_one']:.2f} ×",
            f"{row['milliseconds_of_a_sentence']:.1f} ms",
            f"{row['finener_times_as_fast_on_a_sentence']:.2f} ×",
            _number(row["mentions"]),
        ]
        for row in results["inference"]["rows"]
    ]
    finener = f"finener with {results['own_types']:,} types is"
    header = ["", "types", "words/s at batch 32", f"{finener} … as fast"]
    header += ["words/s at batch 1", "… as fast", "one sentence", "… as fast"]
    return table([*header, "mentions"], rows)


def loading_table(results: Mapping[str, Any]) -> str:
    """What each system takes from its folder on."""
    rows = [
        [
            row["system"],
            _number(row["types"]),
            f"{row['loading_seconds']:.1f} s",
            f"{row['megabytes_at_most']:,} MB",
            f"{row['megabytes_on_disk']:,.0f} MB",
        ]
        for row in results["loading"]["rows"]
    ]
    return table(["", "types", "loading", "memory at most", "on disk"], rows)


def training_table(results: Mapping[str, Any]) -> str:
    """Sentences a second of each way to train."""
    rows = [
        [
            row["system"],
            f"{row['sentences_per_second']:,.1f}",
            f"{row['times_spanmarker']:,.1f} ×",
            f"{row['times_frozen']:,.2f} ×",
        ]
        for row in results["training"]["rows"]
    ]
    return table(["", "sentences a second", "of SpanMarker's", "of finener's, frozen"], rows)


def tags_table(results: Mapping[str, Any]) -> str:
    """Milliseconds of a batch of tags, and of mentions' types."""
    rows = [
        [
            SHOWN.get(row["system"], "finener's CRF and type head"),
            _number(row["types"]),
            f"{row['training_milliseconds']:,.1f} ms",
            f"{row['times_finener_in_training']:,.2f} ×",
            f"{row['decoding_milliseconds']:,.1f} ms",
            f"{row['times_finener_in_decoding']:,.2f} ×",
        ]
        for row in results["crf"]["rows"]
    ]
    of = f"of finener's with {results['own_types']:,} types"
    return table(["", "tags, or types", "likelihood and gradients", of, "decoding", of], rows)


TABLES = {
    "inference": ("Reading, {number} sentences", reading_table),
    "loading": ("A fresh process, which loads the model and reads these sentences", loading_table),
    "training": ("Training, steps of 32 sentences", training_table),
    "crf": ("Tags and types, 32 sentences of 28 words with 96 mentions", tags_table),
}


def peer_tables(results: Mapping[str, Any]) -> str:
    """What is shown of results/bench_peers.json: the parts that were run."""
    parts = [part for part in TABLES if part in results]
    found = {name: own for part in parts for name, own in results[part]["versions"].items()}
    peers = ", ".join(f"{package} {found[name][package]}" for name, package in PACKAGES.items() if name in found)
    loads = ", ".join(f"{part} {' to '.join(map(str, results[part]['load']))}" for part in parts)
    shown = [
        f"{TABLES[part][0].format(number=results['data']['number'])}:\n\n{TABLES[part][1](results)}" for part in parts
    ]
    told = (
        f"Medians of {results['config']['runs']} interleaved rounds on {results['machine']}, with {peers} and torch "
        f"{results['versions']['torch']} ([results/bench_peers.json](../results/bench_peers.json)). Load of the machine: {loads}."
    )
    return "\n" + "\n\n".join([*shown, told]) + "\n"

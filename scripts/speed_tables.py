"""Tables of docs/performance.md, out of what the benchmarks left in results/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finener.experiments.tables import table

# The page's markers, and what of results/speed_trials.json stands there.
SPEED_TRIALS = {
    "results:profile": ["profile"],
    "results:speed_changes": ["batches", "one_sentence"],
    "results:speed_left_out": ["left_out", "bfloat16"],
    "results:training_changes": ["typing_loss", "stored_step", "dropout"],
}


def speed_trial_tables(kinds: Sequence[str], trials: dict) -> str:
    """Single measurements of parts and of what was tried: a table for each of ``kinds``."""
    parts = []
    for kind in map(trials.__getitem__, kinds):
        names = list(kind["rows"][0]["scores"])
        rows = [[row["trial"], *(f"{row['scores'][name]:,g}" for name in names)] for row in kind["rows"]]
        parts.append(f"{kind['how']}:\n\n{table(['', *names], rows)}")
    return "\n" + "\n\n".join(parts) + "\n"


def inference_table(results: dict) -> str:
    """Words a second, latency, memory and loading of each number of types, beside the encoder alone."""
    throughput = {(row["types"], row["batch_size"]): row for row in results["rows"]}
    single = {row["types"]: row for row in results["one_sentence"]}
    fresh = {row["types"]: row for row in results.get("fresh_process", [])}
    sizes = sorted({size for _, size in throughput})
    rows = []
    for types, one in single.items():
        row = [f"{types:,}" if types else "the encoder alone"]
        for size in sizes:
            told = throughput[types, size]
            row.append(f"{told['words_per_second']:,.0f} ({told['of_the_encoder']:.2f})")
        row.append(f"{one['milliseconds']:.1f} ms ({one['times_the_encoder']:.2f} ×)")
        if fresh:
            own = fresh.get(types)
            row += [f"{own['megabytes_at_most']:,} MB", f"{own['loading_seconds']:.1f} s"] if own else ["", ""]
        rows.append(row)
    batches = [f"words/s at batch {size} (of the encoder's)" for size in sizes]
    header = ["types", *batches, "one sentence (of the encoder's)", *(["memory at most", "loading"] if fresh else [])]
    return table(header, rows)


def inference_tables(name: str, results: dict) -> str:
    """The speed of inference as it is, and as it was where that was measured; ``name``: of the file in results/."""
    encoder, before = results["encoder"], results.get("before")
    told = (
        f"\n{inference_table(results)}\n\nAn encoder of type {encoder['model_type']} with {encoder['num_hidden_layers']} layers of "
        f"{encoder['hidden_size']}, {results['data']['number']} sentences, medians of {results['runs']} interleaved runs "
        f"([results/{name}.json](../results/{name}.json); {results['other_work']}).\n"
    )
    return told + (f"\nBefore, at commit {before['commit']}:\n\n{inference_table(before)}\n" if before else "")


def training_speed_table(name: str, results: dict) -> str:
    """Steps, sentences a second and memory of each way to train; ``name``: of the file in results/."""
    told = results["rows"]
    stored = {row["types"]: row["milliseconds_per_step"] for row in told if row["way"] == "stored"}
    columns: dict[str, list[str]] = {
        "encoder": [row["way"] for row in told],
        "types": [f"{row['types']:,}" for row in told],
        "milliseconds a step": [f"{row['milliseconds_per_step']:,.1f}" for row in told],
        "of stored's": [f"{row['milliseconds_per_step'] / stored[row['types']]:.1f} ×" for row in told],
        "sentences a second": [f"{row['sentences_per_second']:,.0f}" for row in told],
    }
    if "gigaflops_per_step" in told[0]:
        columns["10⁹ operations a step"] = [f"{row['gigaflops_per_step']:.0f}" for row in told]
    for key, header in (("gigabytes", "memory at most"), ("gpu_gigabytes", "GPU memory at most")):
        if key in told[0]:
            columns[header] = [f"{row[key]:.2f} GB" for row in told]
    work = f"; {results['other_work']}" if "other_work" in results else ""
    return (
        f"\n{table(list(columns), [list(row) for row in zip(*columns.values(), strict=True)])}\n\n{results['machine']}; torch "
        f"{results['versions']['torch']} ([results/{name}.json](../results/{name}.json){work}).\n"
    )


def silver_table(*results: dict) -> str:
    """The silver builder's speed by executor and workers, of each file that there is."""
    rows, machine = [], {}
    for told in results:
        machine |= told.get("machine_speedup", {})
        for way, seconds in told["median_seconds"].items():
            executor, workers = ["local processes", way] if way.isdigit() else way.title().split()
            speed, gain = told["megabytes_per_second_per_core"][way], told["speedup"][way]
            stages = ", ".join(f"{name} {s}" for name, s in told["seconds_of_stages"][way].items() if s)
            size = f"{told['megabytes_of_wikitext']:.0f} MB"
            rows.append([executor, workers, size, f"{seconds:.0f} s", f"{speed:.2f} MB", f"{gain:.2f} ×", stages])
    header = ["", "workers", "wikitext", "time", "a second and core", "of one worker's speed", "seconds of the stages"]
    alone = [f"{n} processes that share nothing do {gain:.2f} × the work of one there." for n, gain in machine.items()]
    return "\n\n".join([f"\n{table(header, rows)}", *alone]) + "\n"


def _by_size(told: Mapping[tuple[str, int], str], of: str) -> str:
    """A table with a row for each first key and a column for each size, such as ``1,000 records``; ``of``: what the sizes count."""
    sizes, names = sorted({size for _, size in told}), list(dict.fromkeys(name for name, _ in told))
    return table(["", *(f"{n:,} {of}" for n in sizes)], [[name, *(told[name, n] for n in sizes)] for name in names])


def ontologies_table(results: dict) -> str:
    """Milliseconds of reading and closing, by the number of types."""
    told = {(row["part"], row["types"]): f"{row['milliseconds']:,.0f} ms" for row in results["rows"]}
    chosen = results["calibration"]
    return (
        f"\n{_by_size(told, 'types')}\n\n{results['closures']:,} closures; medians of {results['runs']} "
        f"runs in fresh processes ([results/bench_ontologies.json](../results/bench_ontologies.json); {results['other_work']}). Choosing "
        f"thresholds of {chosen['types']:,} types by {chosen['mentions']:,} mentions takes {chosen['seconds']:.0f} seconds.\n"
    )


def memory_table(results: dict) -> str:
    """Megabytes of each kind of work by the number of records."""
    told = {(row["work"], row["records"]): f"{row['megabytes_at_most']:,} MB" for row in results["rows"]}
    return f"\n{_by_size(told, 'records')}\n\n[results/bench_memory.json](../results/bench_memory.json).\n"

"""``results/experiments/*.json`` → ``docs/results.md`` and the README's table. The same files give the same bytes."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from finener.experiments.run import read_yaml, unpack_counts
from finener.metrics.intervals import paired_bootstrap
from finener.metrics.tables import training_range

Result = Mapping[str, Any]
Cells = Mapping[str, Sequence[Result]]  # of one transfer and encoder: system → its results, by seed
Transfers = Mapping[str, Mapping[str, Cells]]  # transfer → encoder → cells
# What the soft loss is worth, and what with a decoding that takes its credit back.
SOFT_AGAINST_PLAIN = [
    (f"soft{decoding}", f"plain{decoding}", measure)
    for decoding in ("", "_expected")
    for measure in ("partial_f1", "pair_f1", "typed_f1")
]
ENCODERS = {"mpnet": "MPNet-base, 110 M parameters", "minilm": "MiniLM-L6, 22 M parameters"}

TITLES = {
    "yago": "YAGO itself, held out by entity",
    "aida": "YAGO → AIDA",
    "figer": "YAGO → FIGER",
    "fewnerd_10": "YAGO → Few-NERD, 10 %",
    "fewnerd": "YAGO → Few-NERD",
    "crossner": "YAGO → CrossNER, four domains",
    "politics": "YAGO → CrossNER's politics, whose dev chooses CrossNER's system",
}
MEASURES = {
    "mention_f1": "detection",
    "pair_f1": "(span, type) pairs",
    "typed_f1": "typed, strict",
    "partial_f1": "partial credit",
    "given_micro_f1": "gold mentions, micro",
    "given_macro_f1": "gold mentions, macro",
    "given_strict": "gold mentions, strict",
}
INTRODUCTION = """# Results of the experiments

Made of `results/experiments/` by `make results`; [experiments.md](experiments.md) tells how they were run. Figures are F1 in [0, 1], for
gold mentions strict accuracy where they say strict; the mean of the types is over those in gold, end to end where mentions were predicted;
all folds of a run are pooled; mean ± standard deviation over the seeds. *Chosen* marks the fine-tuned system with the best (span, type)
pairs on dev, never on test, among those of two seeds or more where there are some; *over Direct* compares with Direct from the same source
model. Types are cut at a threshold that dev chose for (span, type) pairs; strict F1 end to end has one of its own. Differences are of the
seeds' pooled counts, their 95 % intervals a paired bootstrap over documents (sentences where a corpus tells none; CrossNER's domains are
four documents, so its intervals are crude)."""

SCALING = """1k-WFB-g by *Direct* and by `several`, from source models that saw less: a quarter of the small Wikipedia dumps, all of
these, and these with the 2,104 articles of WikiTableQuestions; with and without Re-DocRED. One seed."""


# ---------------------------------------------------------------- parts of a page


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation; of one value the value."""
    mean = f"{statistics.fmean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def mean_of(results: Sequence[Result], measure: str) -> str:
    """A score over seeds, "" where it was not measured."""
    values = [r["scores"][measure] for r in results if measure in r["scores"]]
    return spread(values) if values else ""


def by_transfer(results: Iterable[Result]) -> dict[str, dict[str, dict[str, list[Result]]]]:
    """Transfer → encoder → system → results by seed, in the order of TITLES, ENCODERS and the plan."""
    order = [*TITLES, *ENCODERS, *read_yaml("plan")["systems"]]
    cells: dict[str, dict[str, dict[str, list[Result]]]] = {}

    def place(result: Result) -> tuple:
        names = (result[key] for key in ("transfer", "encoder", "system"))
        return *((order.index(name) if name in order else len(order), name) for name in names), result["seed"]

    for result in sorted(results, key=place):
        systems = cells.setdefault(result["transfer"], {}).setdefault(result["encoder"], {})
        systems.setdefault(result["system"], []).append(result)
    return cells


def chosen(cells: Transfers, transfer: str, encoder: str) -> str | None:
    """The fine-tuned system with the best mean pair F1 on dev, among those of several seeds; CrossNER's is chosen on politics."""
    judge = "politics" if transfer == "crossner" else transfer
    own, dev = cells.get(judge, {}).get(encoder, {}), {}
    own = {system: results for system, results in own.items() if not is_baseline(system)}
    for system, results in own.items():
        if system not in cells[transfer].get(encoder, {}) or len(results) < min(2, max(map(len, own.values()))):
            continue
        folds = [fold for result in results for fold in result["folds"]]
        if judge == "politics":
            dev[system] = statistics.fmean(r["scores"]["pair_f1"] for r in results)
        elif all("dev_f1" in fold for fold in folds):
            dev[system] = statistics.fmean(fold["dev_f1"]["pairs"] for fold in folds)
    return max(dev, key=dev.__getitem__) if dev else None


def is_baseline(system: str) -> bool:
    """Whether a system is not fine-tuned."""
    return system.startswith("direct") or system == "scratch"


def direct_of(system: str | None, cells: Cells) -> str:
    """Direct with the source model that a system was fine-tuned from."""
    freed = "direct_freed"
    return freed if system and system.endswith("_freed") and freed in cells else "direct"


def difference(system: Sequence[Result], baseline: Sequence[Result], measure: str) -> dict[str, float] | None:
    """Of two systems with the seeds that both have; None where there are none.

    Raises:
        ValueError: when both were not scored on the same documents.
    """
    others = {r["seed"]: r for r in baseline}
    pairs = [(r, others[r["seed"]]) for r in system if r["seed"] in others]
    if not pairs:
        return None
    for own, other in pairs:
        if [d["test"] for d in own["data"]] != [d["test"] for d in other["data"]]:
            raise ValueError(f"{own['name']} and {other['name']} were tested on other data: run them again")
    kept = "strict_units" if measure.startswith("typed_") else "units"
    counts, base = (np.concatenate([unpack_counts(pair[i][kept]) for pair in pairs]) for i in (0, 1))
    units = list(range(pairs[0][0]["units"]["rows"])) * len(pairs)
    return paired_bootstrap(counts, base, units).get(measure)


def difference_of_means(system: Sequence[Result], baseline: Sequence[Result]) -> dict[str, float]:
    """Of the mean pair F1 of folds that have names: seeds are averaged, folds are what is resampled."""
    own, other = (np.array([[f["scores"]["pair_f1"] for f in r["folds"]] for r in part]) for part in (system, baseline))
    by_fold = own.mean(0) - other.mean(0)
    drawn = np.random.default_rng(0).integers(0, len(by_fold), (1000, len(by_fold)))
    low, high = np.quantile(by_fold[drawn].mean(1), [0.025, 0.975])
    return {"difference": float(by_fold.mean()), "low": float(low), "high": float(high)}


def check_versions(results: Iterable[Result]) -> None:
    """Raises ValueError when a result was made by code that told other things of a run."""
    for result in results:
        if "strict_units" not in result:
            raise ValueError(f"the result {result['name']} is of another version: run it again, or delete it")


# ---------------------------------------------------------------- sections


def data_line(results: Sequence[Result]) -> str:
    """How much trains and tests."""
    folds = results[0]["folds"]
    parts = {part: sorted(fold["records"][part] for fold in folds) for part in ("train", "detection", "dev")}
    sizes = [f"{v[0]:,}" + (f"–{v[-1]:,}" if v[-1] > v[0] else "") + f" {part}" for part, v in parts.items() if v[-1]]
    tested, removed = sum(f["records"]["test"] for f in folds), sum(f["removed"] for f in folds)
    n_folds = f" in {len(folds)} folds" if len(folds) > 1 else ""
    return (
        f"Records{n_folds}: {', '.join(sizes)}; {tested:,} tested. {removed:,} training records that say the same as a tested one "
        "were left out."
    )


def scores_table(cells: Cells, best: str | None) -> str:
    """Every system by every measure that was made."""
    measures = [m for m in MEASURES if any(m in r["scores"] for results in cells.values() for r in results)]
    rows = [
        [
            system + (" (*chosen*)" if system == best else ""),
            str(len(results)),
            *(mean_of(results, m) for m in measures),
            spread([r["macro"]["f1"] for r in results]),
        ]
        for system, results in cells.items()
    ]
    return table(["system", "seeds", *(MEASURES[m] for m in measures), "mean of the types"], rows)


def direct_line(results: Sequence[Result]) -> str:
    """What the mapping of Direct reaches."""
    reach = [fold["reach"] for result in results for fold in result["folds"]]
    means = {name: statistics.fmean(r[name] for r in reach) for name in reach[0]}
    thresholds = sorted({fold["thresholds"]["pairs"] for result in results for fold in result["folds"]})
    return (
        f"Direct's mapping reaches {means['types']:.0%} of the target types, {means['gold_types']:.0%} of those in the test parts and "
        f"{means['gold_mentions']:.0%} of their mentions; thresholds tuned on dev, for pairs: {', '.join(f'{t:g}' for t in thresholds)}."
    )


def differences_table(cells: Cells, best: str | None) -> str:
    """The chosen system against Direct and scratch, and soft against plain."""
    direct = direct_of(best, cells)
    wanted = [(best, direct, "pair_f1"), (best, direct, "typed_f1"), (best, "scratch", "pair_f1")]
    rows = []
    for system, baseline, measure in [*wanted, *SOFT_AGAINST_PLAIN]:
        if system in cells and baseline in cells and (found := difference(cells[system], cells[baseline], measure)):
            seeds = {r["seed"] for r in cells[system]} & {r["seed"] for r in cells[baseline]}
            means = [
                statistics.fmean(r["scores"][measure] for r in cells[name] if r["seed"] in seeds)
                for name in (system, baseline)
            ]
            interval = f"{found['low']:+.3f} to {found['high']:+.3f}"
            ratio = f"{means[0] / means[1]:.2f}" if means[1] else ""
            rows.append([f"{system} − {baseline}", MEASURES[measure], f"{found['difference']:+.3f}", interval, ratio])
    for baseline in (direct, "scratch"):
        if best in cells and baseline in cells and has_named_folds(cells):
            found = difference_of_means(cells[best], cells[baseline])
            interval = f"{found['low']:+.3f} to {found['high']:+.3f}"
            rows.append(
                [f"{best} − {baseline}", "pairs, mean of the folds", f"{found['difference']:+.3f}", interval, ""]
            )
    return table(["difference", "measure", "F1", "95 % interval", "ratio"], rows) if rows else ""


def has_named_folds(cells: Cells) -> bool:
    """Whether there are several folds that mean something by themselves, such as domains."""
    names = [fold["name"] for fold in next(iter(cells.values()))[0]["folds"]]
    return len(names) > 1 and not names[0].isdigit()


def folds_table(cells: Cells) -> str:
    """Pair F1 of each fold that has a name of its own, and their mean."""
    if not has_named_folds(cells):
        return ""
    names = [fold["name"] for fold in next(iter(cells.values()))[0]["folds"]]
    rows = []
    for system, results in cells.items():
        by_seed = [[fold["scores"]["pair_f1"] for fold in result["folds"]] for result in results]
        columns = [*zip(*by_seed, strict=True), [statistics.fmean(row) for row in by_seed]]
        rows.append([system, *(spread(column) for column in columns)])
    return table(["(span, type) pairs", *names, "mean"], rows)


def forgetting_table(cells: Cells, sources: Mapping[str, Result]) -> str:
    """Source types at gold mentions before and after fine-tuning."""
    rows = []
    for system, results in cells.items():
        pairs = [
            (sources[r["source"]]["folds"][0]["source_scores"], r["folds"][0]["source_scores"])
            for r in results
            if r["source"] in sources and "source_scores" in r["folds"][0]
        ]
        if pairs:
            rows.append([system, *(spread([pair[i]["given_micro_f1"] for pair in pairs]) for i in (0, 1))])
    return table(["YAGO types at gold mentions, micro", "before", "after"], rows) if rows else ""


def parts_tables(results: Sequence[Result]) -> str:
    """By level and by training count, of the first seed."""
    rows = [
        [name, str(row["gold"]), *(f"{row[k]:.3f}" for k in ("precision", "recall", "f1"))]
        for part, label in (("levels", lambda row: f"level {row['level']}"), ("training", training_range))
        for row, name in ((row, label(row)) for row in results[0].get(part, ()))
        if row["gold"]
    ]
    return table([f"seed {results[0]['seed']}: level, training mentions of the type", "gold", "P", "R", "F1"], rows)


def corpora_line(name: str, results: Sequence[Result]) -> str:
    """What a source model was trained on."""
    told = results[0]["folds"][0]["corpora"]
    parts = [f"{part} {', '.join(f'{c} {n:,}' for c, n in counts.items())}" for part, counts in told.items()]
    return f"`{name}`: {'; '.join(parts)}. {data_line(results)}"


def losses_table(results: Sequence[Result]) -> str:
    """The two losses of a source model as it trains, of the first seed: at the first log, and at the last one of each epoch."""
    curve = [row for row in results[0]["folds"][0]["dev"]["curve"] if "loss_typing" in row]
    last = {int(row["epoch"] - 1e-9): row for row in curve}
    header = [
        f"seed {results[0]['seed']}: loss at epoch",
        *(f"{row['epoch']:.1f}" for row in (curve[0], *last.values())),
    ]
    rows = [
        [label, *(f"{row[name]:.3f}" for row in (curve[0], *last.values()))]
        for name, label in (("loss_detection", "detection, a word"), ("loss_typing", "typing, a gold type"))
    ]
    return table(header, rows)


def best_systems(cells: Transfers) -> dict[tuple[str, str], str]:
    """Of each target and encoder, the system that dev chose."""
    pairs = [(t, e) for t, encoders in cells.items() if t in TITLES and t not in ("yago", "politics") for e in encoders]
    found = {(transfer, encoder): chosen(cells, transfer, encoder) for transfer, encoder in pairs}
    return {pair: system for pair, system in found.items() if system is not None}


def best_table(cells: Transfers) -> str:
    """The best system of each target, with every encoder."""
    measures, rows = ("mention_f1", "pair_f1", "typed_f1", "given_micro_f1"), []
    for (transfer, encoder), system in best_systems(cells).items():
        own = cells[transfer][encoder]
        ratio = ""
        if (direct := direct_of(system, own)) in own:
            means = [statistics.fmean(r["scores"]["pair_f1"] for r in own[name]) for name in (system, direct)]
            ratio = f"{means[0] / means[1]:.2f}"
        rows.append([TITLES[transfer], encoder, system, *(mean_of(own[system], m) for m in measures), ratio])
    header = ["target", "encoder", "system", *(MEASURES[m] for m in measures), "pairs, over Direct"]
    return table(header, rows) if rows else ""


def scaling_table(cells: Transfers) -> str:
    """FIGER from source models that saw less silver, or no Re-DocRED, by encoder; of seed 1."""
    rows = []
    for transfer, encoders in cells.items():
        for encoder, systems in encoders.items():
            own = {s: [r for r in results if r["seed"] == 1] for s, results in systems.items()}
            if not transfer.startswith("figer") or not own.get("direct") or not own.get("several"):
                continue
            source = next(
                (s for s in cells.get("yago", {}).get(encoder, {}).get(source_of(own["direct"]), ()) if s["seed"] == 1),
                None,
            )
            if source is None:
                continue
            trained = source["folds"][0]["corpora"]["train"]
            silver = trained.get("wikipedia", 0) + trained.get("silver", 0)
            shown = [
                source["scores"]["given_micro_f1"],
                *(own[s][0]["scores"][m] for s in ("direct", "several") for m in ("mention_f1", "pair_f1")),
            ]
            rows.append([encoder, silver, trained.get("redocred", 0), *(f"{value:.3f}" for value in shown)])
    if len(rows) < 2:
        return ""
    rows = [[e, f"{n:,}", f"{m:,}", *rest] for e, n, m, *rest in sorted(rows, key=lambda row: (row[0], row[1:3]))]
    header = ["encoder", "silver sentences", "typed sentences of Re-DocRED", "YAGO, gold mentions"]
    return table([*header, *(f"{s}: {m}" for s in ("Direct", "several") for m in ("detection", "pairs"))], rows)


def source_of(results: Sequence[Result]) -> str:
    """The system of the source run that some results start from."""
    return results[0]["source"].split("-")[2]


def transfer_section(transfer: str, encoder: str, cells: Transfers, sources: Mapping[str, Result]) -> list[str]:
    """What there is to tell of a transfer with an encoder."""
    systems, best = cells[transfer][encoder], chosen(cells, transfer, encoder)
    parts = [f"### {ENCODERS.get(encoder, encoder)}"]
    if transfer == "yago":
        parts += [corpora_line(system, own) for system, own in systems.items()]
    else:
        trained = {name: own for name, own in systems.items() if not name.startswith("direct")} or systems
        parts.append(data_line(next(iter(trained.values()))))
    parts.append(scores_table(systems, best))
    if "direct" in systems:
        parts.append(direct_line(systems["direct"]))
    if transfer == "yago":
        return parts + [f"`{system}`:\n\n{losses_table(own)}\n\n{parts_tables(own)}" for system, own in systems.items()]
    return [*parts, differences_table(systems, best), folds_table(systems), forgetting_table(systems, sources)]


def made_with(results: Sequence[Result]) -> str:
    """The versions and the hours that went into the results, by device."""
    versions = {f"{k} {v}" for r in results for k, v in r["versions"].items() if k != "device"}
    hours: dict[str, float] = {}
    for result in results:
        device = result["versions"].get("device", "cpu")
        hours[device] = hours.get(device, 0.0) + result["seconds"] / 3600
    told = [
        f"{n:.1f} hours of " + ("single cores" if device == "cpu" else f"processes that shared one {device}")
        for device, n in sorted(hours.items())
    ]
    return f"Made with {', '.join(sorted(versions))}, in {' and '.join(told)}."


def experiments_page(results: Sequence[Result]) -> str:
    """``docs/results.md``."""
    check_versions(results)
    cells = by_transfer(results)
    sources = {r["name"]: r for r in results if r["transfer"] == "yago"}
    parts = [INTRODUCTION]
    if best := best_table(cells):
        parts += ["## The best system of each target", best]
    if scaling := scaling_table(cells):
        parts += ["## What more text and a larger encoder give", SCALING, scaling]
    for transfer in [t for t in cells if t in TITLES]:
        parts.append(f"## {TITLES[transfer]}")
        for encoder in cells[transfer]:
            parts += transfer_section(transfer, encoder, cells, sources)
    parts.append(made_with(results))
    return "\n\n".join(part for part in parts if part) + "\n"


def experiments_table(results: Sequence[Result]) -> str:
    """The README's table: pair F1 of Direct, of training from scratch and of the chosen system, and what the last finds and types.

    Direct is that of the source model which the chosen system was fine-tuned from.
    """
    check_versions(results)
    cells, rows = by_transfer(results), []
    for (transfer, encoder), best in best_systems(cells).items():
        systems = cells[transfer][encoder]
        pairs = [
            mean_of(systems[s], "pair_f1") if s in systems else "–" for s in (direct_of(best, systems), "scratch", best)
        ]
        shown = (mean_of(systems[best], m) for m in ("mention_f1", "given_micro_f1"))
        rows.append([TITLES[transfer], ENCODERS.get(encoder, encoder).partition(",")[0], *pairs, *shown])
    header = ["", "encoder", "Direct", "from scratch", "fine-tuned", "its detection", "its types of gold mentions"]
    return (
        "F1 over (span, type) pairs, mean ± standard deviation over two or three seeds; without a ±, of one. *Direct* is a source model "
        "with a table of types, *from scratch* has no source model, *fine-tuned* is the system that dev chose, with its F1 of spans and "
        "of types where gold spans are given "
        "([all systems and measures](docs/results.md); "
        "`make experiments` runs them again, in hours: [how](docs/experiments.md)):\n\n"
        f"{table(header, rows)}"
    )

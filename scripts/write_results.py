"""Writes the figures of ``results/`` into README.md and pages of ``docs/``, between their ``<!-- results:… -->`` markers,
``docs/results.md``, and the drawings in ``docs/figures/``.

Usage: python scripts/write_results.py [--take outputs] [--check]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from functools import partial
from pathlib import Path

from finener.experiments.tables import experiments_page, experiments_table, table
from finener.metrics.tables import score_rows
from finener.paths import ROOT
from finener.scripts.feedback import score_rows as feedback_scores
from finener.scripts.feedback import work_rows as feedback_work
from finener.scripts.figures import peer_figures
from finener.scripts.peer_results import peer_tables
from finener.scripts.speed_tables import (
    SPEED_TRIALS,
    inference_tables,
    memory_table,
    ontologies_table,
    silver_table,
    speed_trial_tables,
    training_speed_table,
)

# What `make quickstart` leaves, and where its figures are kept.
TAKEN = {
    "quickstart/results.json": "quickstart.json",
    "quickstart_pretrained/results.json": "quickstart_pretrained.json",
    "silver/report.json": "quickstart_silver.json",
}


def quickstart_table(results: dict) -> str:
    """The quickstart's test scores and what they rest on."""
    support, reach = results["type_support"], results["direct"]["reach"]
    rows = "\n".join(f"| {' | '.join(row)} |" for row in score_rows(results["test"]))
    return (
        f"It prints its scores on the {results['records']['test']} sentences of the sample's test part (one run, seed {results['seed']}; "
        f"[results/quickstart.json](results/quickstart.json)):\n\n| system | measure | P | R | F1 |\n|---|---|---|---|---|\n{rows}\n\n"
        "*Direct* is the baseline without fine-tuning: YAGO predictions through a mapping table that reaches "
        f"{reach['gold_types']:.0%} of the types in the test part, its threshold tuned on dev. "
        f"Fine-tuning saw {support['mentions']} typed mentions of {support['seen_1']} types, ancestors included. "
        "[Metrics](docs/metrics.md#measures) tells what each measure counts."
    )


def quickstart_output(results: dict) -> str:
    """The mentions that the model found in the first text it was asked to show."""
    shown = results["shown"][0]
    lines = [
        " ".join(
            [
                m["word"],
                str(m["start"]),
                str(m["end"]),
                m["entity_group"],
                str({t: round(s, 2) for t, s in m["types"].items()}),
            ]
        )
        for m in shown["mentions"]
    ]
    return "```\n" + "\n".join(lines) + "\n```"


def silver_figures(coverage: dict, precision: dict, speed: dict) -> str:
    """What silver types and how fast, on the quickstart's Wikipedia excerpt."""
    final = {bool(sample["tables"]): sample for sample in precision["samples"] if sample["seed"] in (2024, 2025)}
    judged = [
        f"{sample['right']} of {sample['items_judged']} {name} (95 % interval {sample['wilson_95'][0]:.2f}–{sample['wilson_95'][1]:.2f})"
        for name, sample in (("with them", final[True]), ("without", final[False]))
    ]
    rates, gain = speed["megabytes_per_second_per_core"], speed["speedup"]["2"]
    bare, rich = coverage["without_tables"]["share"], coverage["with_tables"]["share"]
    return (
        f"\nOn the quickstart's excerpt {bare:.0%} of {coverage['capitalised_links']:,} capitalised links lead to a title with types, "
        f"{rich:.0%} with a sample of YAGO's and DBpedia's tables ([results/silver_coverage.json](results/silver_coverage.json)). "
        f"One reader of this project judged random typed links: right were {' and '.join(judged)} "
        f"([results/silver_precision.json](results/silver_precision.json)). A core reads {rates['1']:.1f} MB of wikitext a second, "
        f"two workers are {gain:.2f} × as fast as one ([results/silver_speed.json](results/silver_speed.json))."
    )


def wikipedia_on_paper(
    size: dict, speed: dict, memory: dict, small: dict, workers: tuple[int, ...] = (1, 16, 64)
) -> str:
    """What a whole English Wikipedia would take.

    Args:
        size: of Wikipedia, as it tells it.
        speed: of the benchmark; the rate with most workers counts, which is the lowest.
        memory: of the largest dump that was read.
        small: of a small run: what lies on the disk, and the share of the stage that one task does.
    """
    megabytes = size["packed_gigabytes"] * 1000 * small["wikitext_of_a_packed_byte"]
    most = max(speed["megabytes_per_second_per_core"], key=int)
    rate, stages = speed["megabytes_per_second_per_core"][most], small["seconds_of_stages"]["1"]
    hours, alone = megabytes / rate / 3600, stages["facts"] / sum(stages.values())
    clock = ", ".join(f"{hours * (alone + (1 - alone) / n):.1f} with {n}" for n in workers)
    disk = {
        part: mb / small["megabytes_of_wikitext"] * megabytes / 1000 for part, mb in small["megabytes_on_disk"].items()
    }
    peak = max(memory["peak_megabytes_of_a_process"].values())
    rows = [
        [
            "wikitext",
            f"{megabytes / 1000:.0f} GB: {small['wikitext_of_a_packed_byte']} times the packed dump, as in the excerpt",
        ],
        [
            "hours of a core",
            f"{hours:.0f}, at the {rate} MB a second and core of {most} workers on {speed['cores']} cores; "
            f"{small['megabytes_per_processor_second']['1']} MB a second of the processor's own time",
        ],
        ["hours by the clock", f"{clock} workers; one task of the stage `facts` does {alone:.0%} of the work"],
        ["memory of a process", f"{peak} MB, measured at {memory['megabytes_of_wikitext'] / 1000:.1f} GB of wikitext"],
        ["disk, beside the dump", f"{disk['work']:.0f} GB in `work` until the end, {disk['data']:.0f} GB of records"],
    ]
    return (
        f"\nEnglish Wikipedia has {size['articles']:,} articles ({size['articles_on']}); its packed dump has {size['packed_gigabytes']} GB "
        f"({size['packed_on']}; [{size['source']}]({size['address']})). By what was measured on copies of an excerpt it takes\n\n"
        f"{table(['', ''], rows)}\n\nNobody has run it: how `facts` and memory grow beyond what was measured is not known "
        "([size](../results/wikipedia_size.json), [speed](../results/silver_speed.json), [memory](../results/silver_memory.json), "
        "[disk and stages](../results/silver_small.json)).\n"
    )


def feedback_tables(results: dict) -> str:
    """What a round of feedback gains, and what it costs a person."""
    documents, records, test = results["documents"], results["records"], results["records"]["test"]
    measured = table([f"F1 on {test} test records", "before", "after", "gain"], feedback_scores(results))
    work = f"new texts, {results['mentions']['new']} mentions once corrected"
    return (
        f"\nWhat one has are {documents['had']} documents ({records['had']} records), the new texts {documents['new']} "
        f"({records['new']} records). Mean ± standard deviation of {len(results['seeds'])} seeds of fine-tuning "
        "([results/feedback.json](../results/feedback.json)):\n\n"
        f"{measured}\n\n{table([work, 'mentions'], feedback_work(results))}\n"
    )


def trial_tables(trials: dict) -> str:
    """What was tried at small size: a table for each kind of trial."""
    parts = []
    for kind in trials.values():
        names = list(kind["rows"][0]["scores"])
        rows = [
            [row["trial"], str(row.get("seeds", 1)), *(f"{row['scores'][name]:.3f}" for name in names)]
            for row in kind["rows"]
        ]
        parts.append(f"{kind['how']}:\n\n{table(['', 'seeds', *names], rows)}")
    return "\n" + "\n\n".join(parts) + "\n"


def named_types_table(results: dict) -> str:
    """Types by name beside Direct, by source model and target."""
    rows = []
    for model, targets in sorted(results.items()):
        for target, told in targets.items():
            direct, named, tuned = (told["systems"][name]["scores"] for name in ("direct", "named", "named, tuned"))
            shown = [f"{scores['pair_f1']:.3f}" for scores in (direct, named)]
            shown += [f"{scores['given_micro_f1']:.3f}" for scores in (direct, tuned)]
            rows.append([target, "MPNet" if "mpnet" in model else "MiniLM", *shown])
    header = ["target", "encoder", "Direct", "types by name", "Direct, gold mentions", "types by name, gold mentions"]
    return f"\n{table(header, sorted(rows))}\n"


def onnx_table(results: dict) -> str:
    """Speed, size and F1 of a model in torch, ONNX and 8 bits."""
    faster, rows = results["processor"]["times_as_fast_as_torch"], []
    for name in ("torch", "onnx", "onnx int8"):
        parity = results["parity"].get(name)
        same = f"{parity['identical']} of {parity['texts']}" if parity else "–"
        f1 = [f"{results['f1'][name][measure]:.3f}" for measure in ("mention_f1", "pair_f1")]
        rows.append([name, f"{results['megabytes'][name]:.0f} MB", f"{faster.get(name, 1.0):.2f} ×", same, *f1])
    header = ["", "weights", "speed", "texts with the same mentions", "detection F1", "(span, type) F1"]
    parity, n_gold = results["parity"]["onnx"], results["data"]["gold_records"]
    return (
        f"\n{table(header, rows)}\n\nSpeed is that of whole calls on {parity['texts']} texts beside torch's, by the processor's time on "
        f"one thread: medians of {results['runs']} interleaved runs. F1 is on {n_gold} records. The largest difference of a score in ONNX "
        f"was {parity['largest_difference_of_a_score']:.1g} ([results/onnx.json](../results/onnx.json)). The clock's times on "
        f"{results['clock']['threads']} threads are in that file, but tell of the machine's other work too "
        f"({results['other_work']}).\n"
    )


def stock_table(runs: list[dict]) -> str:
    """F1 of stock companions beside that of their full model."""
    n, types, ontology = runs[0]["records"], runs[0]["types"], runs[0]["ontology"]
    rows = [
        [
            "full model",
            "",
            *(f"{runs[0]['test']['full model'][f'pair_{part}']:.3f}" for part in ("precision", "recall", "f1")),
            "",
        ]
    ]
    for run in runs:
        gap, config = run["difference"]["pair_f1"], run["config"]
        how = f"{run['records']['text']:,} sentences, {config['epochs']:g} epochs, gold {config['gold_times']} ×"
        told = f"{gap['difference']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})"
        for name, difference in (("companion", told), ("companion, sub-tokens", "")):
            scores = run["test"][name]
            figures = [f"{scores[f'pair_{part}']:.3f}" for part in ("precision", "recall", "f1")]
            rows.append([name, how, *figures, difference])
    best = max(run["difference"]["pair_f1"]["difference"] for run in runs)
    return (
        f"\n{table(['', 'learned from', 'P', 'R', 'F1 of (span, type)', 'difference (95 % interval)'], rows)}\n\nThe {len(types)} roots of "
        f"{ontology}, on {n['test']} test records, one seed. Companions learned from sentences of Wikipedia that the full model (MiniLM) "
        f"labelled, and from {n['gold']} gold records, a quarter of an hour on one thread; dev said how often gold is seen. *sub-tokens*: "
        "with `simple` in place of `first`. "
        f"{'Within the' if best >= -0.03 else 'Not within the'} .03 aimed at ([results/stock.json](../results/stock.json)).\n"
    )


def fill(text: str, marker: str, content: str) -> str:
    """Puts content between ``<!-- marker -->`` and the next ``<!-- /… -->``."""
    pattern = re.compile(rf"(<!-- {re.escape(marker)} -->\n).*?(<!-- /\w+ -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"the page has no <!-- {marker} --> … <!-- /… -->")
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def written_pages(root: Path) -> dict[Path, str]:
    """The pages that show results, as they should be. Without results of a feedback round or of experiments, theirs are left alone."""
    results = json.loads((root / "results" / "quickstart.json").read_text(encoding="utf-8"))
    readme = root / "README.md"
    text = fill(readme.read_text(encoding="utf-8"), "results:quickstart", quickstart_table(results))
    text = fill(text, "output:quickstart", quickstart_output(results))
    silver = [root / "results" / f"silver_{name}.json" for name in ("coverage", "precision", "speed")]
    if all(path.is_file() for path in silver):
        figures = silver_figures(*(json.loads(path.read_text(encoding="utf-8")) for path in silver))
        text = fill(text, "results:silver", figures)
    pages = {readme: text}
    feedback, training = root / "results" / "feedback.json", root / "docs" / "training.md"
    if feedback.is_file():
        tables = feedback_tables(json.loads(feedback.read_text(encoding="utf-8")))
        pages[training] = fill(training.read_text(encoding="utf-8"), "results:feedback", tables)
    for name, page, marker, show in (
        ("trials", "experiments", "results:trials", trial_tables),
        ("types_by_name", "types-by-name", "results:named", named_types_table),
        ("onnx", "export", "results:onnx", onnx_table),
        ("stock", "export", "results:stock", stock_table),
        *(
            (name, "performance", name.replace("bench_", "results:"), partial(inference_tables, name))
            for name in ("bench_inference", "bench_inference_128", "bench_inference_base")
        ),
        ("bench_peers", "performance", "results:peers", peer_tables),
        ("bench_ontologies", "performance", "results:ontologies", ontologies_table),
        ("bench_memory", "performance", "results:memory", memory_table),
        *(
            (name, "performance", name.replace("bench_", "results:"), partial(training_speed_table, name))
            for name in ("bench_training_gpu", "bench_training_cpu", "bench_training_cpu_base")
        ),
    ):
        path, shown = root / "results" / f"{name}.json", root / "docs" / f"{page}.md"
        if path.is_file():
            told = json.loads(path.read_text(encoding="utf-8"))
            pages[shown] = fill(pages.get(shown) or shown.read_text(encoding="utf-8"), marker, show(told))
    speed, shown = root / "results" / "speed_trials.json", root / "docs" / "performance.md"
    if speed.is_file():
        told = json.loads(speed.read_text(encoding="utf-8"))
        for marker, kinds in SPEED_TRIALS.items():
            pages[shown] = fill(
                pages.get(shown) or shown.read_text(encoding="utf-8"), marker, speed_trial_tables(kinds, told)
            )
    paper = [
        root / "results" / f"{name}.json"
        for name in ("wikipedia_size", "silver_speed", "silver_memory", "silver_small")
    ]
    if all(path.is_file() for path in paper):
        told, shown = [json.loads(path.read_text(encoding="utf-8")) for path in paper], root / "docs" / "corpora.md"
        pages[shown] = fill(shown.read_text(encoding="utf-8"), "results:wikipedia", wikipedia_on_paper(*told))
        speeds = [path for path in (paper[1], root / "results" / "silver_ray.json") if path.is_file()]
        told = [json.loads(path.read_text(encoding="utf-8")) for path in speeds]
        pages[shown] = fill(pages[shown], "results:silver_speed", silver_table(*told))
    peers = root / "results" / "bench_peers.json"
    if peers.is_file():
        told = json.loads(peers.read_text(encoding="utf-8"))
        pages |= {root / "docs" / "figures" / name: drawn for name, drawn in peer_figures(told).items()}
    files = sorted((root / "results" / "experiments").glob("*.json"))
    if not files:
        return pages
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    pages[readme] = fill(text, "results:experiments", experiments_table(runs))
    return {**pages, root / "docs" / "results.md": experiments_page(runs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--take", type=Path, help="first copy the results of a quickstart from this outputs folder")
    parser.add_argument("--check", action="store_true", help="change nothing, fail when a page is not up to date")
    args = parser.parse_args()
    for source, name in TAKEN.items() if args.take else ():
        shutil.copyfile(args.take / source, ROOT / "results" / name)
    pages = written_pages(ROOT)
    for path, content in pages.items():
        if not args.check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != content:
            sys.exit(f"{path.relative_to(ROOT)} does not show what is in results/: run `make results`")


if __name__ == "__main__":
    main()

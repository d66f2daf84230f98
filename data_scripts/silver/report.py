"""Sums up what the silver builder did: the report, its page with plots, the data set's card."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from huggingface_hub import DatasetCard, DatasetCardData

from finener.data_scripts.silver.plan import Plan, whole
from finener.data_scripts.tables import text_table
from finener.ontology_finener import Ontology
from finener.paths import SILVER_TEMPLATE

_SHOWN = 25  # rows of a long list on the page

_CARD = """Sentences of Wikipedia articles in which links, their repeats and some unmistakable names are marked and typed.

A record is a sentence. It is typed and **not exhaustive**: a name without a mention may still be one. `origin` tells how a mention
was found, and which article it names: `link:Lord_Byron`, `repeat:Lord_Byron` (the article's own title, or a name linked in the same
article), or `gazetteer`. The types were found
automatically: expect errors. `ontology.json` holds the types, [`report.html`](report.html) shows what was read and left out.

The text is Wikipedia's, under [CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/); `doc_id` is the title of the
article, whose history names its authors.
"""


def describe(plan: Plan, ontology: Ontology) -> None:
    """Writes ``ontology.json``, ``README.md``, ``report.html`` and at last ``report.json`` into the data set's folder."""
    report = make_report(plan, ontology)
    used = ontology.subset(ontology.closure(report["type counts"])) if report["types cut"] else ontology
    with whole(plan, plan.output_dir / "ontology.json") as path:
        used.to_json(path)
    with whole(plan, plan.output_dir / "README.md") as path:
        make_card(report).save(path)
    with whole(plan, plan.output_dir / "report.html") as path:
        path.write_text(make_page(report, ontology), encoding="utf-8")
    with whole(plan, plan.output_dir / "report.json") as path:
        path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def make_report(plan: Plan, ontology: Ontology) -> dict[str, Any]:
    """The accounts of all tasks, summed."""
    numbers: Counter[str] = Counter()
    sums: dict[str, Counter[str]] = {
        name: Counter() for name in ("dropped", "sources", "origins", "types", "closed", "rows", "unknown")
    }
    outside: set[str] = set()
    for stage in ("split", "parse", "facts", "mark", "write"):
        for account in plan.counts(stage):
            numbers.update(account.get("numbers", {}))
            outside.update(account.get("unknown_classes", ()))
            for name, counts in sums.items():
                counts.update(account.get(name, {}))
    selection = json.loads(plan.file("select", suffix=".json").read_text(encoding="utf-8"))
    keys = ("pages", "characters", "articles", "redirects", "sentences", "sentences with a mention", "links")
    capitalised = numbers["capitalised links"]
    return {
        "options": plan.options(),
        "ontology": ontology.name,
        **{key: numbers[key] for key in keys},
        "capitalised links": capitalised,
        "capitalised links with types": numbers["capitalised links with types"],
        "share of capitalised links with types": round(
            numbers["capitalised links with types"] / max(1, capitalised), 4
        ),
        "typed links by source": dict(sums["sources"].most_common()),
        "mentions": sums["origins"].total(),
        "mentions by origin": dict(sums["origins"].most_common()),
        "types": len(sums["types"]),
        "types with ancestors": len(sums["closed"]),
        "types cut": selection["found"] - len(selection["kept"]),
        "mentions with types cut to their ancestors": numbers["mentions with types cut to their ancestors"],
        "dropped": dict(sorted(sums["dropped"].items())),
        "rows of type tables by source": dict(sums["rows"].most_common()),
        "rows of type tables left out": dict(sorted(sums["unknown"].items(), key=lambda item: (-item[1], item[0]))),
        "classes outside the ontology": sorted(outside),
        "type counts": _ranked(sums["types"], ontology),
        "type counts with ancestors": _ranked(sums["closed"], ontology),
    }


def rank_types(counts: Mapping[str, int], ontology: Ontology) -> list[str]:
    """The most frequent types first; of types as frequent, those nearer to a root."""
    return sorted(counts, key=lambda t: (-counts[t], ontology.depths[ontology.index(t)], t))


def _ranked(counts: Counter[str], ontology: Ontology) -> dict[str, int]:
    return {type_id: counts[type_id] for type_id in rank_types(counts, ontology)}


def report_table(report: dict[str, Any]) -> str:
    """The report for the terminal."""
    keys = ("pages", "articles", "redirects", "sentences", "sentences with a mention", "links", "capitalised links")
    rows = [[key, f"{report[key]:,}"] for key in (*keys, "mentions", "types", "types with ancestors", "types cut")]
    rows.insert(7, ["  whose title has types", f"{report['share of capitalised links with types']:.1%}"])
    for name in ("mentions by origin", "typed links by source", "dropped"):
        rows += [[f"{name.split(' by ')[0]}: {key}", f"{count:,}"] for key, count in report[name].items()]
    return text_table(["what", "how many"], rows)


def make_card(report: dict[str, Any]) -> DatasetCard:
    """The data set's card."""
    data = DatasetCardData(
        pretty_name="Silver Wikipedia",
        language="en",
        license="cc-by-sa-4.0",
        task_categories=["token-classification"],
        tags=["finener", "named-entity-recognition"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    )
    dumps = ", ".join(dump["name"] for dump in report["options"]["dumps"])
    return DatasetCard(
        f"---\n{data.to_yaml()}\n---\n\n# Silver Wikipedia, as finener records\n\nBuilt from {dumps} by "
        f"`finener silver`.\n\n{_CARD}\n```\n{report_table(report)}\n```\n"
    )


# ---------------------------------------------------------------- the page


def make_page(report: dict[str, Any], ontology: Ontology) -> str:
    """The report as a page that needs nothing else."""
    template = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined).from_string(
        SILVER_TEMPLATE.read_text(encoding="utf-8")
    )
    facts = [
        *((key, f"{report[key]:,}") for key in ("articles", "sentences", "mentions", "types", "types with ancestors")),
        ("of the capitalised links have types", f"{report['share of capitalised links with types']:.1%}"),
    ]
    labels = {type_id: ontology.types[ontology.index(type_id)].label for type_id in report["type counts"]}
    return template.render(
        dumps=[dump["name"] for dump in report["options"]["dumps"]],
        ontology=report["ontology"],
        facts=facts,
        origins=list(report["mentions by origin"].items()),
        sources=list(report["typed links by source"].items()),
        levels=_levels(report, ontology),
        curve=_curve(list(report["type counts with ancestors"].values())),
        frequent=[(labels[type_id], count) for type_id, count in list(report["type counts"].items())[:_SHOWN]],
        dropped=_by_kind(report["dropped"]),
        rows=list(report["rows of type tables by source"].items()),
        unknown=list(report["rows of type tables left out"].items())[:_SHOWN],
    )


def _by_kind(dropped: dict[str, int]) -> list[tuple[str, list[tuple[str, int]]]]:
    """ "link: no type known" → ("links", [("no type known", …)])"""
    kinds: dict[str, Counter[str]] = {}
    for key, count in dropped.items():
        kind, _, reason = key.partition(": ")
        kinds.setdefault(f"{kind}s", Counter())[reason] += count
    return [(kind, counts.most_common()) for kind, counts in kinds.items()]


def _levels(report: dict[str, Any], ontology: Ontology) -> list[dict[str, Any]]:
    """Types and mentions of each level, and their share of the largest level's."""
    depth = {type_id: ontology.depths[ontology.index(type_id)] for type_id in report["type counts with ancestors"]}
    types = Counter(depth.values())
    mentions: Counter[int] = Counter()
    for type_id, count in report["type counts"].items():
        mentions[depth[type_id]] += count
    return [
        {
            "level": level - min(types) + 1,
            "types": types[level],
            "mentions": mentions[level],
            "types_share": types[level] / max(types.values()),
            "mentions_share": mentions[level] / max(1, *mentions.values()),
        }
        for level in sorted(types)
    ]


def _curve(counts: Sequence[int]) -> dict[str, Any]:
    """The rank-frequency curve on logarithmic axes, in the units of the page's 480 × 300 picture."""
    right, left, top, bottom = 470, 60, 10, 262
    x_decades = max(1, math.ceil(math.log10(max(2, len(counts)))))
    y_decades = max(1, math.ceil(math.log10(max([2, *counts]))))

    def x(rank: int) -> float:
        return round(left + (right - left) * math.log10(rank) / x_decades, 1)

    def y(count: int) -> float:
        return round(bottom - (bottom - top) * math.log10(count) / y_decades, 1)

    ends = [r for r in range(1, len(counts) + 1) if r < 100 or r == len(counts) or counts[r - 1] != counts[r]]
    return {
        "points": " ".join(f"{x(rank)},{y(counts[rank - 1])}" for rank in ends),
        "x_ticks": [(x(10**i), f"{10**i:,}") for i in range(x_decades + 1)],
        "y_ticks": [(y(10**i), f"{10**i:,}") for i in range(y_decades + 1)],
    }

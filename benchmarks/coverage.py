"""How many links of a dump get entity types, and how many of these types are right.

    python benchmarks/coverage.py measure --dump excerpt.xml.bz2 --types yagoTypes.tsv dbpedia.csv
    python benchmarks/coverage.py draw --dump excerpt.xml.bz2 [--types …] --seed 1 --output sample.jsonl
    python benchmarks/coverage.py score --judged sample.jsonl …

``measure`` writes results/silver_coverage.json. ``draw`` writes a random sample of typed links with their sentences, to be judged by
a reader who fills in ``right`` (true or false) and, where it is false, ``reason``; ``score`` writes the judged samples, without the
sentences, into results/silver_precision.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import random
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

from finener.data_scripts.silver.command import ONTOLOGIES, build_silver
from finener.data_scripts.silver.dumps import page_title, read_dump
from finener.data_scripts.silver.facts import Facts
from finener.data_scripts.silver.lexicon import word_set
from finener.data_scripts.silver.names import name_of_link
from finener.data_scripts.silver.stages import Tables, make_typer, read_lines
from finener.data_scripts.silver.titles import TitleTyper, read_gazetteer, read_nouns
from finener.data_scripts.silver.wikitext import Link
from finener.ontology_finener import Ontology
from finener.paths import ROOT

RESULTS = ROOT / "results"
DEFINITION = (
    "all [[target]] and [[target|anchor]] without brackets inside in the wikitext of articles (namespace 0, no redirects), less those "
    "to other namespaces, other wikis and the page itself; capitalised: the anchor's first character is upper case. Covered: the "
    "target, redirects resolved, gets types."
)
JUDGES = (
    "judged by one reader of the project, who also worked on the rules, from the sentence and general knowledge: right where the span "
    "is a name of the linked thing and every given type is true of it"
)
_LINK = re.compile(r"\[\[([^\[\]|]+)(?:\|([^\[\]]*))?\]\]")
_ELSEWHERE = word_set(
    "category file image wikt wiktionary commons template wikipedia special media portal help user talk draft wikisource"
)


class Excerpt:
    """A dump after a build: its facts, its sentences, and the types of its titles."""

    def __init__(self, dump: Path, types: Sequence[Path], folder: Path):
        self.report = build_silver(dump, folder, types=types, repeats=False, keep_work=True)
        self.facts = Facts(folder / "work" / "facts" / "00000.sqlite")
        tables = Tables(
            Ontology.from_json(ONTOLOGIES / "yago.json"),
            read_gazetteer(ONTOLOGIES / "yago_gazetteer.tsv"),
            read_nouns(ONTOLOGIES / "yago_nouns.tsv"),
        )
        self.typer: TitleTyper = make_typer(tables, self.facts)
        self._parsed = sorted((folder / "work" / "parse").glob("*.jsonl"))

    def source(self, target: str) -> str:
        """The source of a linked title's types, "" for one without."""
        title, reason = self.facts.target(page_title(target))
        return "" if reason else self.typer.types(title)[1]

    def typed_links(self) -> Iterator[dict[str, Any]]:
        """The links in running text that the builder makes mentions of, in order."""
        for path in self._parsed:
            for article, _, sentences in read_lines(path):
                for text, links in sentences:
                    yield from self._typed_links(article, text, [Link(*link) for link in links])

    def _typed_links(self, article: str, text: str, links: Sequence[Link]) -> Iterator[dict[str, Any]]:
        for link in links:
            title, reason = self.facts.target(link.target)
            types, source = self.typer.types(title)
            if reason or not types or not text[link.start].isupper():
                continue
            aliases = [link.target, *self.typer.aliases(title)]
            span = name_of_link(text, link, title, aliases, is_place=self.typer.kind(types) == "place")
            if not isinstance(span, str):
                mention = text[slice(*span)]
                yield {
                    "article": article,
                    "mention": mention,
                    "target": title,
                    "types": list(types),
                    "source": source,
                    "sentence": f"{text[: span[0]]}⟦{mention}⟧{text[span[1] :]}",
                }


def links_of(dump: Path) -> Iterator[tuple[str, str]]:
    """(target, anchor) of the links of :data:`DEFINITION`."""
    for page in read_dump(dump):
        if page.namespace or page.redirect:
            continue
        for target, anchor in _LINK.findall(page.text):
            prefix, colon, _ = target.partition(":")
            prefix = prefix.strip().lower()
            if not (colon and (prefix in _ELSEWHERE or len(prefix) < 4)) and page_title(target):
                yield target, (anchor or target).strip()


def measure(args: argparse.Namespace) -> None:
    """Coverage without and with the tables."""
    links = list(links_of(args.dump))
    targets = [target for target, anchor in links if anchor[:1].isupper()]
    results: dict[str, Any] = {
        **_setting(args, f"python benchmarks/coverage.py measure --dump {args.dump.name} --types {_names(args.types)}"),
        "definition": DEFINITION,
        "links": len(links),
        "capitalised_links": len(targets),
    }
    for name, tables in (("without_tables", []), ("with_tables", args.types)):
        with tempfile.TemporaryDirectory() as folder:
            excerpt = Excerpt(args.dump, tables, Path(folder) / "silver")
            with closing(excerpt.facts):
                sources = Counter(map(excerpt.source, targets))
                text = excerpt.report["typed links by source"]
        covered = len(targets) - sources.pop("", 0)
        results[name] = {
            "covered": covered,
            "share": round(covered / len(targets), 4),
            "by_source": dict(sorted(sources.items())),
            "mentions_of_links_in_running_text_by_source": text,
        }
    _write(RESULTS / "silver_coverage.json", results)


def draw(args: argparse.Namespace) -> None:
    """A sample to be judged."""
    with tempfile.TemporaryDirectory() as folder:
        excerpt = Excerpt(args.dump, args.types, Path(folder) / "silver")
        with closing(excerpt.facts):
            links = list(excerpt.typed_links())
    seen = {_key(item) for sample in _judged(args.not_again) for item in sample["items"]}
    links = [link for link in links if _key(link) not in seen]
    sample = random.Random(args.seed).sample(links, args.count)
    tables = f" --types {_names(args.types)}" if args.types else ""
    not_again = f" --not_again {' '.join(map(str, args.not_again))}" if args.not_again else ""
    command = f"python benchmarks/coverage.py draw --dump {args.dump.name}{tables} --seed {args.seed} --count {args.count}{not_again}"
    setting = {**_setting(args, command), "seed": args.seed, "drawn_from": len(links)}
    lines = [setting, *({"number": n, **link, "right": None, "reason": ""} for n, link in enumerate(sample, 1))]
    args.output.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    print(f"{len(sample)} of {len(links)} typed links in {args.output}")


def _judged(seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Samples that were judged before, by their seeds."""
    samples = json.loads((RESULTS / "silver_precision.json").read_text(encoding="utf-8"))["samples"] if seeds else []
    return [sample for sample in samples if sample["seed"] in seeds]


def _key(link: dict[str, Any]) -> tuple[str, str, str]:
    return link["article"], link["mention"], link["target"]


def score(args: argparse.Namespace) -> None:
    """Precision of judged samples."""
    results = {"judged": JUDGES, "samples": [_scored(path) for path in args.judged]}
    _write(RESULTS / "silver_precision.json", results)


def _scored(path: Path) -> dict[str, Any]:
    setting, *items = read_lines(path)
    for number, item in enumerate(items, 2):
        if not isinstance(item["right"], bool) or not (item["right"] or item["reason"]):
            raise SystemExit(f"{path}:{number}: expected 'right': true, or false with a reason, got {item['right']!r}")
        del item["sentence"]
    sources = sorted({item["source"] for item in items})
    by_source = {s: _precision([item["right"] for item in items if item["source"] == s]) for s in sources}
    return {**setting, **_precision([item["right"] for item in items]), "by_source": by_source, "items": items}


def _precision(verdicts: Sequence[bool]) -> dict[str, Any]:
    low, high = wilson(sum(verdicts), len(verdicts))
    return {
        "items_judged": len(verdicts),
        "right": sum(verdicts),
        "precision": round(sum(verdicts) / len(verdicts), 4),
        "wilson_95": [round(low, 4), round(high, 4)],
    }


def wilson(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a share, of 95 % with the default ``z``."""
    share, square = right / count, z * z / count
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return middle - half, middle + half


def _setting(args: argparse.Namespace, command: str) -> dict[str, Any]:
    return {
        "command": command,
        "dump": _file(args.dump),
        "tables": [_file(path) for path in args.types],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("inflect", "sentencex")}},
    }


def _file(path: Path) -> dict[str, str]:
    return {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _names(paths: Sequence[Path]) -> str:
    return " ".join(path.name for path in paths)


def _write(path: Path, results: dict[str, Any]) -> None:
    path.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in results.items() if key != "samples"}, ensure_ascii=False, indent=1))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for run in (measure, draw, score):
        command = commands.add_parser(run.__name__, help=run.__doc__)
        command.set_defaults(run=run)
        if run is score:
            command.add_argument("--judged", type=Path, nargs="+", required=True, help="files of draw, filled in")
            continue
        command.add_argument(
            "--dump", type=Path, required=True, help="a MediaWiki dump, small enough to be read at once"
        )
        command.add_argument("--types", type=Path, nargs="*", default=[], help="tables of entity types")
        if run is draw:
            command.add_argument("--seed", type=int, required=True)
            command.add_argument("--count", type=int, default=200)
            help_text = "seeds of judged samples (in results/silver_precision.json) whose links are not drawn again"
            command.add_argument("--not_again", type=int, nargs="*", default=[], help=help_text)
            command.add_argument(
                "--output", type=Path, required=True, help="the sample, with its sentences: not for the repository"
            )
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()

"""Data of the experiments: corpora as records, what trains and tests each transfer, and what must not train it."""

from __future__ import annotations

import bz2
import hashlib
import importlib.util
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from datasets.utils.logging import disable_progress_bar

from finener.data_scripts.build import build, report_table
from finener.data_scripts.check.scan import normal_form
from finener.data_scripts.record_files import read_records, record_files
from finener.data_scripts.silver.command import build_silver
from finener.paths import ROOT
from finener.prediction.mapping import TypeMapping
from finener.training.records import data_hash

Record = Mapping[str, Any]

EXCERPT = "test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"  # within gensim
DOMAINS = ("ai", "literature", "music", "politics", "science")
TABLES = ("yago/yagoTypes.sample.tsv.gz", "yago/dbpedia_entity_classes.csv.gz")  # types of titles
SILVER = ("wikipedia", "wtq")  # what silver Wikipedia is made of: small dumps and single pages; many whole articles
# Builder, its files below the data folder by split, its options.
CORPORA: dict[str, tuple[str, dict[str, list[str]], dict[str, Any]]] = {
    "gum": ("gum", {"train": ["gum"]}, {}),
    "wikigold": (
        "conll",
        {"train": ["wikigold/wikigold/CONLL-format/data/wikigold.conll.txt"]},
        {"source": "wikigold"},
    ),
    "wnut17": (
        "conll",
        {"train": ["wnut17/wnut17train.conll", "wnut17/emerging.dev.conll", "wnut17/emerging.test.annotated"]},
        {"source": "wnut17"},
    ),
    "uner": (
        "conll",
        {"train": ["uner_ewt/en_ewt-ud-dev.iob2", "uner_ewt/en_ewt-ud-test.iob2"]},
        {"source": "uner", "text_column": 1, "tag_column": 2, "comment": "# ", "document": "# newdoc"},
    ),
    "fewnerd": ("fewnerd", {"train": ["fewnerd/train.txt"]}, {}),
    "figer": ("figer_json", {"train": ["wfb/fner_dev.json"]}, {}),
    "redocred": (
        "redocred",
        {"train": ["redocred/dev_revised.json", "redocred/test_revised.json"]},
        {"ontology": "yago", "tables": TABLES},
    ),
    "crossner": (
        "crossner",
        {split: [f"crossner/{domain}/{split}.txt" for domain in DOMAINS] for split in ("train", "dev")},
        {},
    ),
}
TEST_ENTITIES, DEV_ENTITIES = 0.04, 0.02  # shares of the silver's entities that train no source model
DEV_SHARE = 0.2  # of a fold's training documents
MOST_TEST = 1500  # source models: records with held-out entities that are tested
MOST_DEV = 400  # source models: records of each kind that choose the checkpoint
MOST_OF_ENTITY = 10  # silver: records whose every entity has been seen so often train no more; the subject of an article has hundreds


@dataclass(frozen=True)
class Fold:
    """What trains, chooses and tests one model. Records of ``detection`` train boundaries alone.

    ``removed`` counts training records left out because their text is, but for case, punctuation and white space, that of a record
    that is tested.
    """

    name: str
    train: list[Record]
    dev: list[Record]
    test: list[Record]
    detection: list[Record] = field(default_factory=list)
    removed: int = 0

    @cached_property
    def hashes(self) -> dict[str, str]:
        """The hash of each part, see :func:`finener.training.records.data_hash`."""
        return {part: data_hash(getattr(self, part)) for part in ("train", "dev", "test", "detection")}


# ---------------------------------------------------------------- corpora


def prepare(data: Path, folder: Path, silver: Path | None = None) -> dict[str, list[Record]]:
    """Builds what is not built yet and reads everything.

    Args:
        data: the folder of raw corpora.
        folder: of the built ones.
        silver: ready records of YAGO types in the place of ``wikipedia``, a file or a folder; ``wtq`` is then empty. None builds both.

    Returns:
        Corpus → records; of CrossNER under ``crossner`` all, under ``crossner/DOMAIN/SPLIT`` the parts; silver under the names of SILVER.
    """
    disable_progress_bar()
    records: dict[str, list[Record]] = {}
    for name, (builder, files, options) in CORPORA.items():
        built = folder / name
        if not (built / "report.json").is_file():
            given = {split: [str(data / path) for path in paths] for split, paths in files.items()}
            own = {key: ",".join(str(data / f) for f in v) if key == "tables" else v for key, v in options.items()}
            print(f"{name}\n{report_table(build(builder, given, built, own or None))}\n")
        records[name] = []
        for split in files:
            part = list(read_records(record_files([built], split)))
            records[name] += part
            for domain in DOMAINS if name == "crossner" else ():
                own = [r for r in part if r["source"] == f"crossner/{domain}"]
                records[f"crossner/{domain}/{split}"] = own
    sample = ROOT / "examples" / "aida_sample"
    records["aida"] = list(read_records([sample / f"{split}.jsonl" for split in ("train", "dev", "test")]))
    dumps = {name: None for name in SILVER} if silver else wikipedia_texts(data, folder)
    for name, texts in dumps.items():
        built = folder / name if texts else silver if name == SILVER[0] else None
        if texts:
            build_silver(texts, built, types=[data / table for table in TABLES])
        records[name] = [r for r in read_records(record_files([built])) if r["mentions"]] if built else []
    return records


def wikipedia_texts(data: Path, folder: Path) -> dict[str, list[Path]]:
    """The English dumps of each part of SILVER.

    ``wikipedia``: gensim's excerpt, the small dump in ``wiki/``, and the single pages there, wrapped as one more dump.
    ``wtq``: the pages of WikiTableQuestions.

    Raises:
        FileNotFoundError: when gensim is not installed.
    """
    gensim = importlib.util.find_spec("gensim")
    if gensim is None:
        raise FileNotFoundError(
            "the silver data need gensim's Wikipedia excerpt: pip install --no-deps gensim, or --silver FOLDER"
        )
    pages = folder / "enwiki_pages.xml.bz2"
    if not pages.is_file():
        rows = [
            f"<page><title>{escape(file.stem.replace('-', ' ').replace('_', ' '))}</title><ns>0</ns><id>{number}</id><revision>"
            f'<text xml:space="preserve">{escape(file.read_text(encoding="utf-8"))}</text></revision></page>'
            for number, file in enumerate(sorted((data / "wiki" / "enwiki_pages").glob("*.txt")), 1)
        ]
        pages.write_bytes(bz2.compress("\n".join(["<mediawiki>", *rows, "</mediawiki>"]).encode()))
    excerpt = Path(gensim.submodule_search_locations[0]) / EXCERPT
    return {"wikipedia": [excerpt, data / "wiki" / "en.wiki.xml.bz2", pages], "wtq": [data / "wiki" / "wtq.xml.bz2"]}


# ---------------------------------------------------------------- what must not be trained on


def without_leaks(train: Sequence[Record], tested: Iterable[Record]) -> tuple[list[Record], int]:
    """The training records whose text is none of those tested, compared by :func:`normal_form`, and how many are left out."""
    forbidden = {normal_form(r["text"]) for r in tested}
    kept = [r for r in train if normal_form(r["text"]) not in forbidden]
    return kept, len(train) - len(kept)


def entity_of(record: Record, mention: Mapping[str, Any]) -> str:
    """Whom or what a silver mention names: the article, where ``origin`` tells it (``link:Lord_Byron``), else the name itself."""
    return mention["origin"].partition(":")[2] or name_of(record, mention)


def name_of(record: Record, mention: Mapping[str, Any]) -> str:
    """The words of a mention, whatever their case."""
    return record["text"][mention["start"] : mention["end"]].casefold()


def place_of(text: str) -> float:
    """A number in [0, 1) that follows from the text alone: what is held out stays held out when other data join."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48


def split_entities(silver: Iterable[Record]) -> tuple[list[Record], list[Record], list[Record]]:
    """Train, dev and test records with no entity in common: records of dev and test keep the mentions of held-out entities alone."""
    parts: tuple[list[Record], list[Record], list[Record]] = ([], [], [])
    for record in silver:
        places = [place_of(entity_of(record, m)) for m in record["mentions"]]
        low = min(places)
        part, limit = (2, TEST_ENTITIES) if low < TEST_ENTITIES else (1, TEST_ENTITIES + DEV_ENTITIES)
        if low >= limit:
            parts[0].append(record)
            continue
        kept = [m for m, at in zip(record["mentions"], places, strict=True) if at < limit]
        parts[part].append({**record, "mentions": kept})
    return parts


def without_repeats(silver: Iterable[Record], most: int) -> list[Record]:
    """The records that have an entity which fewer than ``most`` mentions before named."""
    seen: Counter[str] = Counter()
    kept = []
    for record in silver:
        named = [entity_of(record, m) for m in record["mentions"]]
        if any(seen[entity] < most for entity in named):
            kept.append(record)
            seen.update(named)
    return kept


def sample(records: Sequence[Record], most: int) -> list[Record]:
    """At most so many records, chosen by their ids."""
    return sorted(records, key=lambda r: (place_of(r["id"]), r["id"]))[:most]


# ---------------------------------------------------------------- folds


def source_fold(
    corpora: Mapping[str, list[Record]],
    spec: Mapping[str, Any],
    tables: Mapping[str, TypeMapping],
    served: Iterable[Record],
) -> Fold:
    """What trains a source model.

    Args:
        corpora: of :func:`prepare`.
        spec: of the plan's ``sources``: ``silver``, which parts of it train, and ``silver_share``, how many of their documents;
            ``detection``, the gold corpora whose boundaries train; ``typing``, those of which boundaries and types do.
        tables: of the corpora of ``typing`` that have other types than YAGO's, the tables from theirs to these.
        served: records of every target that it is fine-tuned to.

    All silver is divided by entity, whatever of it trains: so all source models are tested on the same.
    """
    by_part = {name: split_entities(corpora[name]) for name in SILVER}
    silver = [r for name in spec["silver"] for r in by_part[name][0] if place_of(r["doc_id"]) < spec["silver_share"]]
    dev, test = ([r for parts in by_part.values() for r in parts[i]] for i in (1, 2))
    held_out = {name_of(r, m) for r in [*dev, *test] for m in r["mentions"]}
    gold = [with_source_types(r, tables.get(name), held_out) for name in spec["typing"] for r in corpora[name]]
    gold += [without_types(r) for name in spec["detection"] for r in corpora[name]]
    tested = [*served, *test]
    silver, removed = without_leaks(silver, [*tested, *dev])
    gold, removed_too = without_leaks(gold, tested)
    dev_gold = sample(gold, min(MOST_DEV, len(gold) // 10))
    gold, _ = without_leaks(gold, dev_gold)
    return Fold(
        "all",
        [*without_repeats(silver, MOST_OF_ENTITY), *(r for r in gold if r["typed"])],
        [*sample(dev, MOST_DEV), *({**without_types(r), "id": r["id"]} for r in dev_gold)],
        sample(test, MOST_TEST),
        [r for r in gold if not r["typed"]],
        removed + removed_too,
    )


def without_types(record: Record) -> dict[str, Any]:
    """The record with boundaries alone."""
    mentions = [{**m, "types": [], "type_scores": None} for m in record["mentions"]]
    return {**record, "id": f"{record['source']}/{record['id']}", "mentions": mentions, "typed": False, "ontology": ""}


def with_source_types(record: Record, table: TypeMapping | None, held_out: Collection[str]) -> dict[str, Any]:
    """The record with its gold types as source types; without a table, they are that already.

    A mention trains its boundaries alone when the table tells nothing of its types, or when it has a name in ``held_out``.
    """
    bare = without_types(record)
    of_type = None if table is None else {table.source.ids[own]: table.target.ids[yago] for own, yago in table.pairs}
    for mention, gold in zip(bare["mentions"], record["mentions"], strict=True):
        if name_of(record, mention) not in held_out:
            mention["types"] = gold["types"] if of_type is None else [of_type[t] for t in gold["types"] if t in of_type]
    if any(m["types"] for m in bare["mentions"]):
        bare |= {"typed": True, "ontology": record["ontology"] if table is None else table.target.name}
    return bare


def document_folds(records: Sequence[Record], k: int, seed: int = 0) -> list[Fold]:
    """k folds: each document is tested once; of the others a fifth is dev."""
    documents = sorted({r["doc_id"] for r in records})
    random.Random(seed).shuffle(documents)
    folds = []
    for i in range(k):
        tested = set(documents[i::k])
        others = [d for d in documents if d not in tested]
        chosen = set(others[:: round(1 / DEV_SHARE)])
        parts = {"train": [], "dev": [], "test": []}
        for record in records:
            document = record["doc_id"]
            parts["test" if document in tested else "dev" if document in chosen else "train"].append(record)
        folds.append(_clean(Fold(str(i), **parts)))
    return folds


def fewnerd_fold(records: Sequence[Record], n_train: int) -> list[Fold]:
    """The first sentences of 5,000 train, the next 400 are dev, the last 1,000 test."""
    return [_clean(Fold("all", list(records[:n_train]), list(records[5000:5400]), list(records[-1000:])))]


def domain_folds(corpora: Mapping[str, list[Record]], domains: Iterable[str]) -> list[Fold]:
    """CrossNER's train trains, its dev tests; nothing is left to choose by."""
    return [
        _clean(Fold(domain, corpora[f"crossner/{domain}/train"], [], corpora[f"crossner/{domain}/dev"]))
        for domain in domains
    ]


def _clean(fold: Fold) -> Fold:
    """Without training (and dev) records that are tested."""
    dev, removed_dev = without_leaks(fold.dev, fold.test)
    train, removed = without_leaks(fold.train, [*fold.test, *dev])
    return replace(fold, train=train, dev=dev, removed=removed + removed_dev)


SPLITS: dict[str, Callable[[Mapping[str, list[Record]], str, Mapping[str, Any]], list[Fold]]] = {
    "documents": lambda corpora, name, spec: document_folds(corpora[spec.get("corpus", name)], spec["folds"]),
    "fewnerd": lambda corpora, name, spec: fewnerd_fold(corpora["fewnerd"], spec["train"]),
    "domains": lambda corpora, name, spec: domain_folds(corpora, spec["domains"]),
}

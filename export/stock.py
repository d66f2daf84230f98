"""A stock companion: a plain token classifier that learns from a finener model, for hosts that run no code of a repository."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import Pipeline, pipeline

from finener.answers_finener import ontology_of_head
from finener.data_scripts.record_files import read_records
from finener.export.stock_tokenizer import stock_tokenizer
from finener.export.stock_training import new_stock_model, tagged, train_stock_model
from finener.export.stock_types import StockTypes
from finener.metrics.places import without_places
from finener.metrics.scoring import judge, score
from finener.metrics.stock_card import write_stock_card
from finener.paths import SAMPLE_TEXTS
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.inputs import read_row, rows_of
from finener.prediction.records import predict_records
from finener.publishing.staging import CONFIGS, without_private_keys
from finener.training.records import cut_record, data_hash
from finener.training.results import told_command, versions, write_results
from finener.windows_finener import TextEncoder

Record = dict[str, Any]
SHOWN_EXAMPLES = 3
BY_WORDS = "first"  # aggregation: a word has the tag of its first sub-token, so a mention ends where a word does
BY_PARTS = "simple"  # of hosts that are asked for nothing else
LONG_TEXT_STRIDE = 32  # sub-tokens that the parts of a long text share when the companion is measured


@dataclass(frozen=True)
class StockSettings:
    """How a stock companion is made.

    Args:
        text: files of open text, which the full model labels. max_texts: only so many texts of them; None: all.
        gold: files of records in which every mention is marked and typed.
        test: files of such records, by which both models are judged; none of them trains.
        gold_times: how often a record of people's is seen for each text that the full model labelled.
        level: of the types, 1 for the roots. types: ids in place of a level.
        epochs, batch_size, learning_rate, seed: of the training.
        full_model_repo: Hub name of the full model. examples: texts for the widget.
    """

    text: Sequence[Path] = ()
    gold: Sequence[Path] = ()
    test: Sequence[Path] = ()
    level: int = 1
    types: Sequence[str] = ()
    max_texts: int | None = None
    gold_times: int = 5
    epochs: float = 4.0
    batch_size: int = 8
    learning_rate: float = 1e-4
    seed: int = 1
    full_model_repo: str | None = None
    examples: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "max_texts", "gold_times"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"--{name} must be above 0, got {value}")
        if self.full_model_repo is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.full_model_repo):
            raise ValueError(
                f"--full_model_repo names a user and a repo, such as me/my-model; got {self.full_model_repo!r}"
            )


def export_stock(pipe: FinenerPipeline, folder: Path, settings: StockSettings) -> dict[str, Any]:
    """Distils, measures and saves a stock companion.

    Args:
        pipe: of the full model.
        folder: is made; the model, its tokenizer, ``results.json`` and the card come into it.
        settings: see :class:`StockSettings`.

    Returns:
        What ``results.json`` holds.

    Raises:
        ValueError: when there are too many types, nothing to learn from, or records that do not fit.
        OSError: when a file is not there.
    """
    begin = time.monotonic()
    ontology = ontology_of_head(pipe.model.config)
    types = (
        StockTypes.of_ids(ontology, settings.types) if settings.types else StockTypes.at_level(ontology, settings.level)
    )
    gold, test = (_gold(files, pipe) for files in (settings.gold, settings.test))
    if shared := {r["text"] for r in test} & {r["text"] for r in gold}:
        raise ValueError(
            f"--test and --gold share {len(shared)} texts, such as {min(shared)!r:.60}: a test must not train"
        )
    texts = list(islice(_texts(settings.text, {r["text"] for r in [*test, *gold]}), settings.max_texts))
    if not texts and not gold:
        raise ValueError("nothing to learn from: give --text with open text, --gold with records, or both")
    found = list(tqdm(predict_records(pipe, texts), "labelling", len(texts), disable=not sys.stderr.isatty()))
    judged = predict_records(pipe, gold, gold_mentions=True)
    of_gold = [types.single(r, scored) for r, scored in zip(gold, judged, strict=True)]
    of_text = [types.single(record, record) for record in found]
    print(f"{len(types.ids)} types, {len(types.tags)} tags; {len(gold)} gold records, {len(texts)} texts")
    model, tokenizer = _trained(pipe, types, [*of_gold * settings.gold_times, *of_text], settings)
    _save(model, tokenizer, folder)
    ner = pipeline("token-classification", model=str(folder), aggregation_strategy=BY_WORDS, stride=LONG_TEXT_STRIDE)
    results = {
        **_facts(pipe, folder, settings, types),
        "data": {"text": data_hash(found), "gold": data_hash(gold), "test": data_hash(test)},
        "records": {"text": len(texts), "gold": len(gold), "test": len(test)},
        "mentions": sum(len(record["mentions"]) for record in [*of_gold, *of_text]),
        **(_measured(pipe, ner, test, types) if test else {"test": {}}),
        "seconds": round(time.monotonic() - begin),
    }
    results["shown"] = [_shown(ner, text) for text in results["config"]["card"]["examples"]]
    results = without_places(results)
    write_results(results, folder / "results.json")
    write_stock_card(folder, results)
    return results


# -------------------------------------------------------------------- what it learns


def _texts(files: Sequence[Path], known: set[str]) -> Iterator[Record]:
    """The records of open text, without those texts that are gold."""
    for row in chain.from_iterable(map(rows_of, files)):
        record = read_row(row)
        if record["text"].strip() and record["text"] not in known:
            yield {"id": record["id"], "text": record["text"]}


def _gold(files: Sequence[Path], pipe: FinenerPipeline) -> list[Record]:
    """Records that tell every mention with its types."""
    ontology = ontology_of_head(pipe.model.config)
    records = list(read_records(files, ontology))
    for what in ("exhaustive", "typed"):
        if odd := [r for r in records if not r[what]]:
            raise ValueError(
                f"{len(odd)} of {len(records)} records of {', '.join(map(str, files))} are not {what}, such as {odd[0]['id']!r}: expected "
                f'"{what}": true, and all mentions with types of {ontology.name!r}; give the others as --text, which the full model labels'
            )
    return records


def _trained(
    pipe: FinenerPipeline, types: StockTypes, told: Sequence[Record], settings: StockSettings
) -> tuple[Any, Any]:
    """The companion, trained on records whose mentions have one type each, and its tokenizer."""
    tokenizer, twins = stock_tokenizer(pipe.tokenizer, pipe.text_encoder.max_tokens)
    encoder = TextEncoder(tokenizer, pipe.model.config)
    examples = [tagged(part, tokenizer, types) for record in told for part in cut_record(record, encoder)]
    model = new_stock_model(pipe.model, twins, types, settings.seed)
    knobs = {name: getattr(settings, name) for name in ("epochs", "batch_size", "learning_rate", "seed")}
    train_stock_model(model, tokenizer, examples, **knobs)
    model.config.full_model, model.config.full_model_types = settings.full_model_repo, _types_of_names(types)
    return model, tokenizer


# -------------------------------------------------------------------- what it is worth


def _measured(pipe: FinenerPipeline, ner: Pipeline, test: Sequence[Record], types: StockTypes) -> dict[str, Any]:
    """Scores of both models on the test records, by the told types alone; the companion as a host runs it, from its folder."""
    told = types.ontology.subset(types.ids)
    gold = [types.restricted(record) for record in test]
    answers = {
        "full model": [types.restricted(record) for record in predict_records(pipe, test)],
        "companion": _found(ner, test, types, BY_WORDS),
        "companion, sub-tokens": _found(ner, test, types, BY_PARTS),
    }
    judged = {name: judge(gold, answer, told) for name, answer in answers.items()}
    result = score(judged["companion"], baseline=judged["full model"])
    parts = score(judged["companion, sub-tokens"])["scores"]
    return {
        "test": {
            "full model": result["baseline"],
            "companion": result["scores"],
            "companion, sub-tokens": parts,
        },
        "intervals": result["intervals"],
        "difference": result.get("difference", {}),
        "documents": result["documents"],
    }


def _found(ner: Pipeline, records: Sequence[Record], types: StockTypes, aggregation: str) -> list[Record]:
    """What the companion finds in records."""
    ids = _types_of_names(types)
    return [
        {
            **record,
            "mentions": [
                {"start": m["start"], "end": m["end"], "types": [ids[m["entity_group"]]]}
                for m in ner(record["text"], aggregation_strategy=aggregation)
            ],
        }
        for record in records
    ]


def _shown(ner: Pipeline, text: str) -> dict[str, Any]:
    """What the companion finds in an example."""
    return {
        "text": text,
        "mentions": [{**mention, "score": round(float(mention["score"]), 4)} for mention in ner(text)],
    }


# -------------------------------------------------------------------- the folder


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Model and tokenizer, without a word of where they came from."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for path in (folder / name for name in CONFIGS):
        if path.is_file():
            content = without_private_keys(json.loads(path.read_text(encoding="utf-8")))
            if content.get("tokenizer_class") == "TokenizersBackend":  # which transformers 4 does not know
                content["tokenizer_class"] = "PreTrainedTokenizerFast"
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _types_of_names(types: StockTypes) -> dict[str, str]:
    return {name: type_id for type_id, name in types.names.items()}


def _facts(pipe: FinenerPipeline, folder: Path, settings: StockSettings, types: StockTypes) -> dict[str, Any]:
    """What the results tell of how the companion came about."""
    options = {k: list(map(str, v)) if isinstance(v, (list, tuple)) else v for k, v in asdict(settings).items()}
    examples = options.pop("examples") or _examples(pipe, types)
    return {
        "name": folder.name,
        "phase": "stock",
        "earlier": [],
        "encoder": pipe.model.config.encoder_config.model_type,
        "ontology": types.ontology.name,
        "types": _types_of_names(types),
        "seed": settings.seed,
        "command": told_command(sys.argv),
        "config": {**options, "card": {"examples": examples}},
        "base_model": settings.full_model_repo,
        "versions": versions(),
    }


def _examples(pipe: FinenerPipeline, types: StockTypes) -> list[str]:
    """Texts for the widget: those that the full model's training was told to show, or of the sample of its types."""
    file = Path(pipe.model.config.name_or_path) / "results.json"
    if file.is_file():
        results = json.loads(file.read_text(encoding="utf-8"))
        card = results.get("config", {}).get("card") or {}
        if own := card.get("examples") or [shown["text"] for shown in results.get("shown", [])]:
            return list(own)[:SHOWN_EXAMPLES]
    sample = SAMPLE_TEXTS.get(types.ontology.name)
    return [] if sample is None else [r["text"] for r in islice(read_records(sample), SHOWN_EXAMPLES)]

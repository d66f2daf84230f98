"""Results → the README.md of a Hub repo, through the template ``model_card.md``. No figure is typed by hand, no path is told."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from finener.data_scripts.tables import printable
from finener.json_finener import read_json
from finener.metrics.places import base_model, told_name, without_places
from finener.metrics.tables import MEASURES, level_rows, measure_rows, score_rows
from finener.ontology_finener import ONTOLOGY_NAME, Ontology
from finener.paths import MODEL_CARD

TAGS = ("finener", "named-entity-recognition", "entity-typing", "fine-grained", "hierarchical")
TASK = "token-classification"


@dataclass(frozen=True)
class CardFacts:
    """What a card tells that no results file can know; what is None or empty is left out, and the card says so of the licence.

    Args:
        license: of the weights, as the Hub spells it: ``apache-2.0``, ``cc-by-4.0``, ``other``.
        language: codes such as ``en``.
        datasets: Hub names of what it was trained on.
        base_model: Hub name; by default the encoder or model that training started from, where that has one.
        examples: texts for the widget and the first lines of code; by default those of ``show:``.
        tags: beside this project's.
    """

    license: str | None = None
    language: Sequence[str] = ()
    datasets: Sequence[str] = ()
    base_model: str | None = None
    examples: Sequence[str] = ()
    tags: Sequence[str] = ()

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> CardFacts:
        """From the ``card:`` of a YAML, in which one text may stand for a list of one.

        Raises:
            ValueError: on an unknown key or a value of the wrong kind.
        """
        kinds = {f.name: f.default for f in dataclasses.fields(cls)}
        for key, value in content.items():
            if key not in kinds:
                raise ValueError(
                    f"card: unknown key {key!r}; there are {', '.join(kinds)}, e.g. card: {{license: mit}}"
                )
            texts = [value] if isinstance(value, str) or kinds[key] is None else value
            if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) and text for text in texts):
                wanted = "a text" if kinds[key] is None else "texts"
                raise ValueError(
                    f"card: {key} must be {wanted}, e.g. card: {{license: mit, language: [en]}}; got {value!r}"
                )
        return cls(**{k: (v,) if isinstance(v, str) and kinds[k] == () else v for k, v in content.items()})


def write_card(
    folder: str | Path,
    results: Mapping[str, Any],
    facts: CardFacts | None = None,
    *,
    repo: str | None = None,
    revision: str | None = None,
    measured: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Writes ``README.md`` of a model's folder.

    Args:
        folder: where the model was saved, with its ``ontology.json``.
        results: content of the run's results file: every figure of the card comes from it, or from ``measured``.
        facts: what the results do not tell; by default the ``card`` of the run's settings.
        repo: ``user/name`` on the Hub; by default the name in the results.
        revision: branch, tag or commit that the card's code names.
        measured: name of a test → what ``finener score`` wrote of it.
    """
    facts = CardFacts.read(results["config"].get("card") or {}) if facts is None else facts
    base = facts.base_model or base_model(results)
    told, measured = without_places(results), measured or {}
    examples = list(facts.examples) or [shown["text"] for shown in results["shown"]]
    name = repo or told["name"]
    data = ModelCardData(
        language=list(facts.language) or None,
        license=facts.license,
        library_name="transformers",
        pipeline_tag=TASK,
        tags=[*TAGS, *facts.tags],
        datasets=list(facts.datasets) or None,
        base_model=base,
        widget=[{"text": text} for text in examples] or None,
        model_name=name,
        eval_results=eval_results(told, facts, measured) or None,
    )
    text = examples[0] if examples else "A text of yours."
    content = told | {
        "name": name,
        "repo": repo,
        "revision": revision,
        "facts": dataclasses.asdict(facts),
        "base_model": base,
        "example": json.dumps(text, ensure_ascii=False),  # a Python literal too, whatever quotes the text holds
        "runs": [*told["earlier"], told],
        "rows": score_rows(told["test"]),
        "type_systems": type_systems(Path(folder) / ONTOLOGY_NAME),
        "parts": score_parts(told, measured),
    }
    told = {key: value if key == "example" else _harmless(value) for key, value in content.items()}
    card = ModelCard.from_template(data, template_path=str(MODEL_CARD), **told)
    card.save(Path(folder) / "README.md")


# What would be HTML, a link, a cell's end or the end of code in a card.
_MARKUP = str.maketrans(
    {"<": "&lt;", ">": "&gt;", "[": "&#91;", "]": "&#93;", "|": "&#124;", "`": "'", '"': "'", "\\": "/"}
)


def _harmless(value: Any) -> Any:
    """What a card tells, at any depth, as text that Markdown and HTML have no meaning for."""
    if isinstance(value, Mapping):
        return {key: _harmless(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_harmless(part) for part in value]
    return printable(value).translate(_MARKUP) if isinstance(value, str) else value


def score_parts(results: Mapping[str, Any], measured: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is shown with intervals and by level: the run's own test part, then what was measured of other tests."""
    tests = {f"{system}, test part": told for system, told in results.get("details", {}).items()} | dict(measured)
    return [
        {**told, "title": title, "rows": measure_rows(told), "levels": level_rows(told)}
        for title, told in tests.items()
    ]


def eval_results(
    results: Mapping[str, Any], facts: CardFacts, measured: Mapping[str, Mapping[str, Any]]
) -> list[EvalResult]:
    """F1 by every measure as the Hub's ``model-index``: of the model's own test part and of other tests, not of Direct."""
    files = ", ".join(told_name(path) for path in results["config"].get("test_data") or [])
    own = f"{results['ontology']}: {files}" if files else results["ontology"]
    scored = {**results["test"]}
    scored.pop("Direct", None)
    tests = dict(zip([own], scored.values(), strict=False)) | {name: told["scores"] for name, told in measured.items()}
    return [
        EvalResult(
            task_type=TASK,
            task_name="Fine-grained named-entity recognition",
            dataset_type=facts.datasets[0] if len(facts.datasets) == 1 and name == own else _slug(name),
            dataset_name=name,
            dataset_split="test",
            metric_type="f1",
            metric_name=f"{label}, F1",
            metric_value=round(scores[f"{measure}_f1"], 4),
        )
        for name, scores in tests.items()
        for measure, label in MEASURES.items()
        if f"{measure}_f1" in scores
    ]


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "test"


def type_systems(file: Path) -> list[dict[str, Any]]:
    """The type systems of a model's ``ontology.json``, source first: their sizes and an example; empty where there is no file."""
    if not file.is_file():
        return []
    content = read_json(file)
    found = [(role, Ontology.from_dict(content[role])) for role in ("source", "target") if content.get(role)]
    return [
        {
            "role": role,
            "name": ontology.name,
            "types": len(ontology),
            "roots": len(ontology.roots),
            "levels": max(ontology.depths, default=-1) + 1,
            "shared": sum(len(entity_type.parents) > 1 for entity_type in ontology.types),
            "example": ontology.ids[max(range(len(ontology)), key=ontology.depths.__getitem__)]
            if len(ontology)
            else "",
        }
        for role, ontology in found
    ]

"""finener: fine-grained named-entity recognition with thousands of hierarchical types.

The names below are imported when they are first used, so that ``import finener`` and ``finener --help`` cost nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# public name → its module
_HOMES = {
    "EntityType": "ontology_finener",
    "FinenerConfig": "configuration_finener",
    "FinenerForTokenClassification": "modeling_finener",
    "FinenerPipeline": "pipeline_finener",
    "FinenerTrainer": "training.trainer",
    "FinenerTrainingArguments": "training.arguments",
    "Ontology": "ontology_finener",
    "TypeMapping": "prediction.mapping",
    "load_pipeline": "prediction.records",
    "predict_records": "prediction.records",
    "read_records": "data_scripts.record_files",
    "show": "prediction.look",
    "to_dataframe": "prediction.look",
    "to_html": "prediction.look",
    "write_records": "data_scripts.record_files",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]

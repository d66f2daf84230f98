"""Our own JSON Lines (or Parquet) of records as a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import datasets

try:
    from ..ontology_finener import Ontology
except ImportError:
    from ontology_finener import Ontology

from .conll import split_generators
from .schema import FEATURES, Record, read_records


@dataclass
class RecordsConfig(datasets.BuilderConfig):
    """Options.

    Args:
        ontology_file: JSON file of the ontology that the types must be of; "" leaves the types unchecked.
    """

    ontology_file: str = ""


class Records(datasets.GeneratorBasedBuilder):
    """Files of records as a dataset; every record is validated, and the first bad one is an error with file and line.

    Example:
        >>> builder = Records(data_files={"train": "train.jsonl", "test": "test.jsonl"})
        >>> builder.download_and_prepare()
        >>> builder.as_dataset("train")
    """

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = RecordsConfig
    config: RecordsConfig

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(description="Texts and their mentions.", features=FEATURES)

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        return split_generators(self.config.data_files, dl_manager, "Records(data_files={'train': 'train.jsonl'})")

    def _generate_examples(self, files: list[str]) -> Iterator[tuple[str, Record]]:
        ontology = Ontology.from_json(self.config.ontology_file) if self.config.ontology_file else None
        for record in read_records(files, ontology):
            yield record["id"], record

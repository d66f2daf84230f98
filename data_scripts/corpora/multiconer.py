"""MultiCoNER 1 and 2: short texts in many languages with names that are hard to find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from finener.data_scripts.corpora.conll import read_conll
from finener.data_scripts.corpus import CorpusBuilder, CorpusConfig, ReadReport, option
from finener.data_scripts.schema import Record


@dataclass
class MultiCoNerConfig(CorpusConfig):
    """Options of MultiCoNER."""

    ontology: str = option("multiconer", "name or file of the ontology; '' reads spans without types")


class MultiCoNer(CorpusBuilder):
    """MultiCoNER's ``.conll`` files: a token, two columns without content and its IOB2 tag; ``# id`` begins each text.

    Example:
        >>> builder = MultiCoNer(data_files={"train": "EN-English/en_train.conll", "dev": "EN-English/en_dev.conll"})
        >>> builder.download_and_prepare()
    """

    BUILDER_CONFIG_CLASS = MultiCoNerConfig
    PATTERNS = ("*.conll",)

    def read(self, files: list[Path], ontology: str, report: ReadReport) -> Iterator[Record]:
        """Reads the files one after the other; a tag's type is found whatever its capitals, for releases differ in them."""
        spelling = {type_id.lower(): type_id for type_id in (self.ontology.ids if self.ontology else ())}
        for file in files:
            for record in read_conll(
                file,
                scheme="IOB2",
                separator=" ",  # a line whose token is missing begins with a blank
                document="# id",
                ontology=ontology,
                source="multiconer",
                report=report,
            ):
                for mention in record["mentions"]:
                    mention["types"] = [spelling.get(t.lower(), t) for t in mention["types"]]
                yield record

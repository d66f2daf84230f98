"""CrossNER: five domains, each with its own types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from finener.data_scripts.corpora.conll import read_conll
from finener.data_scripts.corpus import CorpusBuilder, CorpusConfig, ReadReport, option
from finener.data_scripts.schema import Record


@dataclass
class CrossNerConfig(CorpusConfig):
    """Options of CrossNER."""

    ontology: str = option("crossner", "name or file of the ontology; '' reads spans without types")


class CrossNer(CorpusBuilder):
    """CrossNER's ``DOMAIN/{train,dev,test}.txt``: a token, a TAB and its tag.

    Example:
        >>> builder = CrossNer(data_files={"train": "politics/train.txt", "dev": "politics/dev.txt"})
        >>> builder.download_and_prepare()
    """

    BUILDER_CONFIG_CLASS = CrossNerConfig
    PATTERNS = ("*.txt",)

    def read(self, files: list[Path], ontology: str, report: ReadReport) -> Iterator[Record]:
        """Reads the files one after the other; the folder's name, the domain, goes into ids and ``source``."""
        for file in files:
            domain = file.resolve().parent.name
            for record in read_conll(file, ontology=ontology, source=f"crossner/{domain}", report=report):
                yield record | {"id": f"{domain}/{record['id']}", "doc_id": f"{domain}/{record['doc_id']}"}

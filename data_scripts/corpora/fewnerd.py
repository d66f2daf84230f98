"""Few-NERD: names with 66 fine types under 8 coarse ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from finener.data_scripts.corpora.conll import read_conll
from finener.data_scripts.corpus import CorpusBuilder, CorpusConfig, ReadReport, option
from finener.data_scripts.schema import Record


@dataclass
class FewNerdConfig(CorpusConfig):
    """Options of Few-NERD."""

    ontology: str = option("fewnerd", "name or file of the ontology; '' reads spans without types")


class FewNerd(CorpusBuilder):
    """Few-NERD's ``{supervised,inter,intra}/{train,dev,test}.txt``: a token, a TAB and its type, or O.

    Example:
        >>> builder = FewNerd(data_files={"train": "supervised/train.txt", "dev": "supervised/dev.txt"})
        >>> builder.download_and_prepare()
    """

    BUILDER_CONFIG_CLASS = FewNerdConfig
    PATTERNS = ("*.txt",)

    def read(self, files: list[Path], ontology: str, report: ReadReport) -> Iterator[Record]:
        """Reads the files one after the other."""
        for file in files:
            yield from read_conll(file, scheme="IO", separator="\t", ontology=ontology, source="fewnerd", report=report)

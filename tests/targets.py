"""What the fuzzer reads: every reader, with valid files for it, and accounts that must add up."""

from __future__ import annotations

import bz2
import gzip
import json
import shutil
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from datasets import Dataset
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from finener.data_scripts.build import find_builder
from finener.data_scripts.check.scan import Scan
from finener.data_scripts.corpora.redocred import make_typer
from finener.data_scripts.corpus import load_ontology
from finener.data_scripts.ontology import read_ontology
from finener.data_scripts.record_files import count_rows, read_records
from finener.data_scripts.schema import FEATURES, validate_record
from finener.data_scripts.silver.dumps import read_dump
from finener.data_scripts.silver.titles import read_gazetteer, read_nouns
from finener.data_scripts.silver.type_tables import read_types
from finener.metrics.credit import read_credit
from finener.ontology_finener import Ontology
from finener.paths import ONTOLOGIES
from finener.prediction.inputs import InputError, read_row, rows_of
from finener.prediction.mapping import TypeMapping
from finener.prediction.records import load_pipeline
from finener.training.arguments import parse_arguments

import tiny
from accounts import in_aida, in_brat, in_figer, in_ontonotes, in_redocred, in_tac
from dumps import dump_xml
from reading import read_file

DATA = Path(__file__).parent / "data"
Account = tuple[int, int]  # what a file holds, and what was told of it: read or left out


@dataclass(frozen=True)
class Target:
    """A reader: ``make`` writes valid files into a folder, ``read`` reads what is there and may return an account.

    Args:
        fixed: endings of files that stay valid.
        weight: how many of the cases it gets, beside 1.
        variants: how many kinds of valid files there are.
        names_file: whether its errors name the file; those of a YAML name the key.
    """

    name: str
    make: Callable[[Path, int], None]
    read: Callable[[Path], Account | None]
    fixed: tuple[str, ...] = ()
    weight: float = 1.0
    variants: int = 1
    names_file: bool = True


# ---------------------------------------------------------------- corpora

COLUMNS = "Ann\tB-{0}\nLee\tI-{0}\nsat\tO\nin\tO\nOslo\tB-{1}\n.\tO\n\n東京\tB-{1}\n😀\tO\n\n"
FIGER = {
    "fileid": "17",
    "tokens": ["Zoë", "Ångström", "sang", "😀", "in", "東京", "."],
    "mentions": [
        {"start": 5, "end": 6, "labels": ["/location/city", "/location"], "name": "東京"},
        {"start": 0, "end": 2, "labels": ["/person", "/person/musician"], "name": "Zoë Ångström"},
    ],
}
UFET = {
    "annot_id": "a1",
    "left_context_token": ["Then"],
    "mention_span": "Ann Lee",
    "right_context_token": ["left"],
    "y_str": ["person", "artist"],
}
REDOCRED = {
    "title": "Zora Quill",
    "sents": [["Zora", "Quill", "was", "a", "Norwegian", "painter", "."], ["Quill", "met", "Oslo", "in", "1920", "."]],
    "vertexSet": [
        [{"sent_id": 0, "pos": [0, 2], "type": "PER"}, {"sent_id": 1, "pos": [0, 1], "type": "PER"}],
        [{"sent_id": 0, "pos": [4, 5], "type": "LOC"}],
        [{"sent_id": 1, "pos": [2, 3], "type": "LOC"}, {"sent_id": 1, "pos": [2, 3], "type": "LOC"}],
        [{"sent_id": 1, "pos": [4, 5], "type": "TIME"}],
    ],
}
RECORDS = [
    {
        "id": "d1#0",
        "doc_id": "d1",
        "source": "mine",
        "text": "Ann Lee left 東京 😀.",
        "mentions": [
            {"start": 0, "end": 7, "types": ["per"]},
            {"start": 13, "end": 15, "types": ["gpe"], "score": 0.5, "type_scores": [1]},
        ],
        "exhaustive": True,
        "typed": True,
        "ontology": "aida",
    },
    {"id": "d1#1", "text": "Nobody came."},
]


def put(folder: Path, name: str, content: str | bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def rows(*values: Any) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def copied(name: str, patterns: Sequence[str] = ("*",)) -> Callable[[Path, int], None]:
    """Makes a copy of a folder of tests/data."""

    def make(folder: Path, variant: int) -> None:
        shutil.copytree(DATA / name, folder, dirs_exist_ok=True)
        if variant:  # its texts in an archive
            texts = sorted(folder.rglob("*.ltf.xml"))
            with ZipFile(folder / "texts.ltf.zip", "w") as archive:
                for text in texts:
                    archive.write(text, text.name)
                    text.unlink()

    return make


def written(name: str, *contents: str | bytes) -> Callable[[Path, int], None]:
    """Makes a file, of a further content in each variant; of text the last two are also packed by gzip and bzip2."""

    def make(folder: Path, variant: int) -> None:
        content = contents[min(variant, len(contents) - 1)]
        content = content.encode() if isinstance(content, str) else content
        pack = {len(contents): gzip.compress, len(contents) + 1: bz2.compress}.get(variant)
        put(folder, name, pack(content) if pack else content)

    return make


def make_docbin(folder: Path, variant: int) -> None:
    words = ["Ann", "Lee", "sat", "in", "東京", "."]
    doc = Doc(Vocab(), words=words, ents=["B-per", "I-per", "O", "O", "B-gpe", "O"])
    doc.spans["sc"] = [doc[0:1]]
    for token in doc if variant else ():
        token.is_sent_start = token.i in (0, 3)
    DocBin(docs=[doc, doc]).to_disk(folder / "a.spacy")


def make_records(folder: Path, variant: int) -> None:
    if variant < 2:
        written("a.jsonl", rows(*RECORDS))(folder, variant)
    else:
        whole = [validate_record(record) for record in RECORDS]
        Dataset.from_list(whole, features=FEATURES).to_parquet(folder / "a.parquet")


def built(
    name: str, account: Callable[[list[Path], Any], int | None] | None = None, **options: Any
) -> Callable[[Path], Account | None]:
    """Reads a folder by a corpus's builder.

    Args:
        account: how many mentions the files hold, where a second count can tell; None where it can't.
    """

    def read(folder: Path) -> Account | None:
        files = str(folder)
        builder = find_builder(name)(data_files=files, cache_dir=str(folder.parent / "cache"), **options)
        paths = tuple(builder.config.data_files["train"])
        records = [record for _, record in builder._generate_examples("train", paths)]
        FEATURES.encode_batch({key: [record[key] for record in records] for key in FEATURES})
        report = builder.reports["train"]
        json.dumps(report.to_dict(), ensure_ascii=False).encode()
        held = account([Path(path) for path in paths], report) if account else None
        left_out = sum(count for reason, count in report.dropped.items() if reason.startswith("mention: "))
        return None if held is None else (held, report.mentions + left_out)

    return read


# ---------------------------------------------------------------- everything else

YAGO_ROWS = (
    "<id_1>\t<Ada_Quill>\trdf:type\t<wikicat_English_poets>\t\n\t<Zürich>\trdf:type\t<wordnet_city_108524735>\t\n" * 3
)
TRIPLES = "<http://dbpedia.org/resource/A> <http://x#type> <http://dbpedia.org/class/yago/City108524735> .\n" * 3
SHEET = 'Type,Subtype,Note\nPER,Politician,x\nORG,,\n"G P E",City,"a, b"\n'
TABLE = (
    "# name: mine\nid\tlabel\tparents\tassignable\tdescription\n"
    "org\tan org\t\tyes\t\norg.team\tteam\torg\tno\tof people\n"
)
CLASSES = "entity,classes\nBree,\"{'City'}\"\n"
TEXTS = "# id 1\nAnn _ _ B-PER\nLee _ _ I-PER\nsat _ _ O\n\n# id 2\nOslo _ _ B-LOC\n"
YAML = """phases: [pretrain]
encoder: somewhere
ontology: ontologies/aida.json
typing_data: [train.jsonl]
dev_data: [dev.jsonl]
seed: 1
pretrain:
  output_dir: out
  knobs: {lstm_layers: 1, encoder_layers: [-1]}
  learning_rate: 1e-3
card: {license: mit, language: [en]}
"""
_shared: dict[str, Any] = {}


def shared(name: str, make: Callable[[], Any]) -> Any:
    """Made once for all cases."""
    if name not in _shared:
        _shared[name] = make()
    return _shared[name]


def yago() -> Ontology:
    return shared("yago", lambda: Ontology.from_json(ONTOLOGIES / "yago.json"))


def nouns() -> Any:
    return shared("nouns", lambda: read_nouns(ONTOLOGIES / "yago_nouns.tsv"))


def only(folder: Path) -> Path:
    [path] = (path for path in folder.rglob("*") if path.is_file())
    return path


def read_record_files(folder: Path) -> None:
    path = only(folder)
    list(read_records(path, load_ontology("aida")))
    count_rows([path])


def check_records(folder: Path) -> None:
    json.dumps(Scan({"train": [str(only(folder))]}, load_ontology("aida")).report())


def read_ontology_file(folder: Path) -> None:
    path = only(folder)
    ontology = (
        read_ontology(path, "mine", columns=["Type", "Subtype"]) if path.suffix == ".csv" else load_ontology(str(path))
    )
    ontology.to_json(folder / "again.json")
    ontology.to_tsv(folder / "again.tsv")
    assert Ontology.from_json(folder / "again.json").digest == ontology.digest


def make_ontology(folder: Path, variant: int) -> None:
    kinds = [
        ("mine.json", json.dumps(tiny.target_ontology().to_dict())),
        (
            "mine.tsv",
            TABLE,
        ),
        ("sheet.csv", SHEET),
    ]
    put(folder, *kinds[variant])


def read_list(folder: Path) -> None:
    read_ontology(only(folder), "mine")


def make_dump(folder: Path, variant: int) -> None:
    content = dump_xml(
        ("One", "a [[Two]] b"), ("Two", "", 0, "One"), ("Three", "x " * 300), ("Talk:One", "y", 1)
    ).encode()
    put(folder, "dump.xml", bz2.compress(content) if variant else content)


def read_pages(folder: Path) -> None:
    for _ in read_dump(only(folder)):
        pass


def read_inputs(folder: Path) -> None:
    """As ``finener predict`` reads: a row that can't be read is told, and the next one read."""
    with closing(rows_of(next(folder.iterdir()))) as found:
        for row in found:
            try:
                json.dumps(read_row(row), ensure_ascii=False).encode()
                read_row(row, gold_mentions=True)
            except InputError as error:
                assert "\n" not in str(error), error


def make_inputs(folder: Path, variant: int) -> None:
    if variant == 3:
        return copied("tac/ltf")(folder / "ltf", 0)
    if variant == 2:
        whole = [{"id": record["id"], "text": record["text"]} for record in RECORDS]
        Dataset.from_list(whole).to_parquet(folder / "in.parquet")
        return None
    return put(folder, "in.txt" if variant else "in.jsonl", "Ann left.\nBo came.\n" if variant else rows(*RECORDS))


def read_space_file(folder: Path) -> None:
    read_file(only(folder))


def read_table(folder: Path) -> None:
    list(read_types(only(folder), yago(), nouns(), Counter()))


def read_outer_table(folder: Path) -> None:
    """Re-DocRED's types of names."""
    make_typer(yago(), [str(only(folder))])


def read_words(folder: Path) -> None:
    path = only(folder)
    (read_nouns if path.name == "nouns.tsv" else read_gazetteer)(path)


def make_words(folder: Path, variant: int) -> None:
    put(
        folder, *(("nouns.tsv", "poet\tPoet1\ncity\tCity1\n"), ("names.tsv", "Ada Quill\t01\tPoet1|Person1\n"))[variant]
    )


def make_credit(folder: Path, variant: int) -> None:
    import io

    import numpy as np

    out = io.BytesIO()
    np.save(out, np.eye(10))
    put(
        folder,
        *(("w.tsv", "org\tper\t0.5\n# x\n"), ("w.json", '{"org": {"per": 0.5}}'), ("w.npy", out.getvalue()))[variant],
    )


def read_weights(folder: Path) -> None:
    read_credit(only(folder), tiny.target_ontology())


def read_mapping(folder: Path) -> None:
    TypeMapping.from_tsv(only(folder), tiny.two_parent_ontology(), tiny.target_ontology())


def read_yaml(folder: Path) -> None:
    parse_arguments(["--config", str(only(folder))])


def make_model(folder: Path, variant: int) -> None:
    def make() -> dict[str, bytes]:
        tokenizer = tiny.wordpiece_tokenizer(lowercase=False)
        tiny.tiny_model(tokenizer, target=True).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".json", ".safetensors")}

    for name, content in shared("model", make).items():
        put(folder, name, content)


def read_model(folder: Path) -> None:
    load_pipeline(str(folder), "cpu")("Frida Kahlo painted in Mexico City.")


def predict(folder: Path) -> None:
    """The whole command; it ends with one line, or with what failed in a file of its own."""
    from finener.prediction.command import run

    def save() -> Path:
        home = folder.parent.parent / "saved"
        make_model(home, 0)
        return home

    model = shared("saved", save)
    out = folder.parent / "out.jsonl"
    source = next(folder.iterdir())
    asked = dict.fromkeys(("format", "head", "types", "type_threshold", "top_k", "detection_threshold"))
    code = run(
        Namespace(**asked, model=str(model), input=source, output=out, gold_mentions=False, batch_size=8, device="cpu")
    )
    assert code in (0, 1) and out.is_file()


CORPORA = (
    Target("aida_ldc", copied("ldc"), built("aida_ldc", in_aida), (), 1.5, 2),
    Target("brat", copied("brat"), built("brat", in_brat)),
    Target("conll", written("a.conll", COLUMNS.format("PER", "LOC")), built("conll", ontology="conll"), (), 1, 3),
    Target("crossner", written("ai/train.txt", COLUMNS.format("person", "country")), built("crossner")),
    Target("docbin", make_docbin, built("docbin", ontology="aida"), (), 2, 2),
    Target(
        "fewnerd",
        written("train.txt", "Ann\tperson-actor\nLee\tperson-actor\nsat\tO\n\nOslo\tlocation-GPE\n"),
        built("fewnerd"),
    ),
    Target(
        "figer_json",
        written("a.json", rows(FIGER, {**FIGER, "mentions": []})),
        built("figer_json", in_figer),
        (),
        1.5,
        3,
    ),
    Target("gum", copied("gum"), built("gum", mentions="all")),
    Target(
        "multiconer",
        written("a.conll", TEXTS),
        built("multiconer", ontology=""),
    ),
    Target("ontonotes5", copied("ontonotes"), built("ontonotes5", in_ontonotes), (), 1.5),
    Target("records", make_records, built("records"), (), 1.5, 3),
    Target("redocred", written("dev.json", json.dumps([REDOCRED] * 2)), built("redocred", in_redocred)),
    Target("tac_edl", copied("tac"), built("tac_edl", in_tac, ontology=""), ("rufes.tab", "rufes_types.tsv"), 1.5, 2),
    Target("ufet", written("a.json", rows(UFET, UFET)), built("ufet"), (), 1, 3),
)
OTHERS = (
    Target("record files", make_records, read_record_files, (), 1.5, 3),
    Target("data check", make_records, check_records, (), 0.5, 3),
    Target("wikipedia dump", make_dump, read_pages, (), 1.5, 2),
    Target(
        "type tables",
        written("t", YAGO_ROWS, TRIPLES, CLASSES, "Bree\tCity108524735\n"),
        read_table,
        (),
        1.5,
        6,
    ),
    Target("names and nouns", make_words, read_words, (), 0.5, 2),
    Target("ontologies", make_ontology, read_ontology_file, (), 2, 3),
    Target("lists of types", written("ids.txt", "PER\nPER.Politician\nORG\n"), read_list, (), 0.5),
    Target("partial credit", make_credit, read_weights, (), 0.5, 3),
    Target("mappings", written("m.tsv", "person\tper\t0.5\nartist\tper.artist\n"), read_mapping, (), 0.5),
    Target("training YAML", written("run.yaml", YAML), read_yaml, names_file=False),
    Target("prediction input", make_inputs, read_inputs, (), 1.5, 4),
    Target("finener predict", make_inputs, predict, (), 0.3, 4),
    Target("Space files", written("in.jsonl", rows(*RECORDS)), read_space_file, (), 0.5),
    Target("model folder", make_model, read_model, (), 0.7),
)
TARGETS = {target.name: target for target in (*CORPORA, *OTHERS)}
assert sys.platform != "win32"  # the fuzzer limits time and memory as only POSIX can

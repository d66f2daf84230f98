"""The table that the names of types give: written, corrected, read by Direct and by fine-tuning."""

import pytest

from finener.cli import main
from finener.ontology_finener import EntityType, Ontology
from finener.pipeline_finener import FinenerPipeline
from finener.prediction import by_name
from finener.prediction.direct import DirectHead
from finener.prediction.mapping import TypeMapping
from finener.prediction.records import predict_records

import tiny


@pytest.fixture
def target() -> Ontology:
    rows = [("org", "organization", ()), ("org.firm", "company", ("org",)), ("artist", "artist", ())]
    return Ontology("mine", [EntityType(*row) for row in rows])


def test_types_of_the_same_name_come_first_with_the_weight_one(model, tokenizer, target):
    table = by_name.map_by_names(model, tokenizer, target)
    best = {}
    for (source, own), weight in zip(table.pairs, table.weights, strict=True):
        best.setdefault(target.ids[own], (table.source.ids[source], weight))
    assert best == {"org": ("organization", 1.0), "org.firm": ("company", 1.0), "artist": ("artist", 1.0)}
    assert all(by_name.LEAST_COSINE <= weight <= 1 for weight in table.weights)


def test_the_command_writes_what_direct_reads(tmp_path, model, tokenizer, target, capsys, monkeypatch):
    monkeypatch.setattr(by_name, "LEAST_COSINE", 0.999)
    rows = [*target.types, EntityType("zz", "???zz 9")]
    Ontology("mine", rows).to_tsv(tmp_path / "mine.tsv")
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    out = tmp_path / "table.tsv"
    call = [
        "map",
        "--model",
        str(tmp_path / "model"),
        "--ontology",
        str(tmp_path / "mine.tsv"),
        "--output_file",
        str(out),
    ]
    assert main(call) == 0
    assert "3 rows for 3 of 4 types" in capsys.readouterr().out
    assert "company\torg.firm\t1.0\tcompany, organization -> company, organization" in out.read_text("utf-8")
    assert "# no row: zz" in out.read_text("utf-8")
    table = TypeMapping.from_tsv(out, model.config.ontology, Ontology("mine", rows))
    assert len(table.pairs) == 3
    pipe = FinenerPipeline(model=model, tokenizer=tokenizer)
    assert list(predict_records(pipe, [{"text": text} for text in tiny.GOLD], head=DirectHead(table)))


def test_a_folder_that_is_not_there_is_told_before_the_model_is_read(tmp_path, capsys):
    call = ["map", "--model", "none", "--ontology", "none.tsv", "--output_file", str(tmp_path / "no" / "table.tsv")]
    assert main(call) == 1
    assert "its folder is not there" in capsys.readouterr().err

"""From a MediaWiki dump to silver records, on small pages written for these tests."""

import importlib.util
import json
from pathlib import Path

import pytest

from finener.data_scripts.__main__ import main
from finener.data_scripts.record_files import read_records
from finener.data_scripts.schema import validate_record
from finener.data_scripts.silver.command import Cluster, build_silver
from finener.ontology_finener import Ontology

from dumps import write_dump

ONTOLOGIES = Path(__file__).resolve().parents[3] / "ontologies"


@pytest.fixture(scope="module")
def yago():
    return Ontology.from_json(ONTOLOGIES / "yago.json")


def names(types):
    return [t[:-9] for t in types]


PAGES = [
    (
        "Ada Quill",
        "'''Ada Quill''' was a poet. Quill lived in [[Zürich]] near the [[Limmat River]] 😀 and met [[Karl Marx]].\n\n"
        "* A list of [[Boston]].\n"
        "{|\n|[[Paris]]\n|}\n"
        "In Los Angeles, Marx wrote to Quill about the [[French language|French]] word 東京. The Los Angeles Times knew. "
        "The [[king]] of France slept. She saw Angola and angled. Mary Quill and the Zürich Group sang in Zürich.\n\n"
        "They crossed the [[Los Angeles River|Los Angeles]] with {{math|x}} in hand. A sum of <math>x</math> was paid.\n"
        "[[Category:1815 births]][[Category:English poets]][[Category:Swiss poets]]",
    ),
    ("Zuerich", "", 0, "Zürich"),
    (
        "Town",
        "A '''town''' is a place. Town by town they came, and the town of Bree came with the [[Zuerich]] [[town]]s.",
    ),
    ("Template:X", "no", 10),
]


def read_silver(folder):
    return list(read_records(sorted((folder / "data").glob("*.parquet"))))


@pytest.fixture(scope="module")
def silver(tmp_path_factory):
    folder = tmp_path_factory.mktemp("silver run")  # paths with blanks are paths
    report = build_silver(write_dump(folder / "a dump.xml", *PAGES), folder / "out put")
    return read_silver(folder / "out put"), report


def marked(records, doc_id):
    return {
        (r["text"][m["start"] : m["end"]], m["origin"].partition(":")[0], tuple(names(m["types"])))
        for r in records
        if r["doc_id"] == doc_id
        for m in r["mentions"]
    }


def test_mentions_of_every_origin(silver):
    records, _ = silver
    assert marked(records, "Ada Quill") == {
        ("Ada Quill", "repeat", ("Poet",)),
        ("Quill", "repeat", ("Poet",)),
        ("Zürich", "link", ("City",)),
        ("Zürich", "repeat", ("City",)),
        ("Limmat River", "link", ("River",)),
        ("Karl Marx", "link", ("Economist", "Philosopher", "Revolutionist")),
        ("Marx", "repeat", ("Economist", "Philosopher", "Revolutionist")),
        ("Los Angeles", "gazetteer", ("City", "PortOfEntry")),
        ("France", "gazetteer", ("Country",)),
        ("Angola", "gazetteer", ("Country",)),
    }


def test_origins_name_the_article_that_a_link_leads_to(silver):
    records, _ = silver
    origins = {
        (r["text"][m["start"] : m["end"]], m["origin"])
        for r in records
        if r["doc_id"] == "Ada Quill"
        for m in r["mentions"]
    }
    assert {
        ("Quill", "repeat:Ada_Quill"),
        ("Zürich", "link:Zürich"),
        ("Zürich", "repeat:Zürich"),
        ("Marx", "repeat:Karl_Marx"),
        ("Angola", "gazetteer"),
    } <= origins


def test_parts_of_longer_names_are_no_mentions(silver):
    records, _ = silver
    by_text = {r["text"]: [r["text"][m["start"] : m["end"]] for m in r["mentions"]] for r in records}
    assert by_text["The Los Angeles Times knew."] == []
    assert by_text["Mary Quill and the Zürich Group sang in Zürich."] == ["Zürich"]
    assert by_text["Town by town they came, and the town of Bree came with the Zuerich towns."] == ["Zuerich"]


def test_records_are_valid_and_in_order(silver, yago):
    records, _ = silver
    for record in records:
        assert validate_record(record, yago) == record
        assert (record["exhaustive"], record["typed"], record["source"]) == (False, True, "wikipedia")
    assert [r["id"] for r in records if r["doc_id"] == "Town"] == ["Town#0", "Town#1"]
    assert [r["doc_id"] for r in records] == sorted(r["doc_id"] for r in records)  # "Ada Quill", then "Town"


def test_the_report_counts_everything(silver, yago):
    records, report = silver
    mentions = [m for r in records for m in r["mentions"]]
    assert (report["pages"], report["articles"], report["redirects"]) == (4, 2, 1)
    assert report["sentences"] == len(records)
    assert report["sentences with a mention"] == sum(bool(r["mentions"]) for r in records)
    assert report["mentions"] == len(mentions) == sum(report["mentions by origin"].values())
    assert report["mentions by origin"]["link"] == sum(report["typed links by source"].values())
    assert report["types with ancestors"] == len(yago.closure({t for m in mentions for t in m["types"]}))
    assert report["dropped"]["page: not in the article namespace"] == 1
    assert report["dropped"]["sentence: a formula or quantity was cut out"] == 2
    assert report["dropped"]["name: part of a longer name"] >= 2
    links_lost = sum(n for reason, n in report["dropped"].items() if reason.startswith("link: "))
    assert report["capitalised links"] == report["mentions by origin"]["link"] + links_lost
    assert json.loads(json.dumps(report)) == report


def test_command_line(tmp_path, capsys):
    dump = write_dump(tmp_path / "a.xml", *PAGES)
    out = tmp_path / "out"
    assert main(["silver", "--dump", str(dump), "--output_dir", str(out)]) == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["sentences"] == len(read_silver(out))
    shown = capsys.readouterr().out
    assert f"mentions: link {report['mentions by origin']['link']}" in " ".join(shown.split())
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "data",
        "ontology.json",
        "report.html",
        "report.json",
    ]
    dump.write_text("<html/>")
    assert main(["silver", "--dump", str(dump), "--output_dir", str(tmp_path / "no")]) == 1
    assert "not <mediawiki>" in capsys.readouterr().err
    assert not (tmp_path / "no" / "data").exists()


# ---------------------------------------------------------------- the real excerpt

EXCERPT = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"


def excerpt_path():
    spec = importlib.util.find_spec("gensim")
    path = Path(spec.origin).parent.parent / EXCERPT if spec and spec.origin else None
    return path if path and path.is_file() else None


@pytest.mark.slow
@pytest.mark.skipif(
    excerpt_path() is None, reason="the Wikipedia excerpt ships in the gensim package, which is not installed"
)
def test_numbers_on_the_real_excerpt(tmp_path):
    report = build_silver(excerpt_path(), tmp_path / "out", cluster=Cluster(workers=2))
    records = read_silver(tmp_path / "out")
    assert report["sentences"] == len(records) >= 15_000
    assert report["sentences with a mention"] >= 6_500
    assert report["mentions by origin"]["link"] >= 2_500
    assert report["mentions"] >= 9_000
    assert report["types with ancestors"] >= 690
    assert report["share of capitalised links with types"] >= 0.25
    assert len({r["id"] for r in records}) == len(records)

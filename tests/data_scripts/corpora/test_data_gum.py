"""GUM: brackets of mentions in CoNLL-U, names among them, and their Wikipedia titles."""

import re
from pathlib import Path

import pytest
from datasets.exceptions import DatasetGenerationError

from finener.data_scripts.build import build
from finener.data_scripts.corpora.gum import Gum, read_gum
from finener.data_scripts.corpora.records import read_records
from finener.data_scripts.corpus import CorpusError, ReadReport, load_ontology
from finener.data_scripts.schema import validate_record

TALE = Path(__file__).parents[2] / "data" / "gum" / "tale.conllu"
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "gum"


def found(record):
    return [(record["text"][m["start"] : m["end"]], m["types"], m["origin"]) for m in record["mentions"]]


def read(path=TALE, **options):
    report = ReadReport()
    records = list(read_gum(path, ontology="gum", report=report, **options))
    gum = load_ontology("gum")
    assert all(validate_record(r, gum) == r for r in records)
    return records, report


def edited(tmp_path, old, new):
    """The tale with one stretch changed."""
    content = TALE.read_text(encoding="utf-8")
    assert old in content
    path = tmp_path / "a.conllu"
    path.write_bytes(content.replace(old, new, 1).encode())
    return path


def test_names_are_told_by_their_heads():
    records, report = read()
    assert [r["text"] for r in records] == [
        "Captain Ann Lee's boat didn't leave Port Royal, Jamaica on Friday.",
        "She loves 東京 😀, and Bo loves Osaka.",
        "Bo sat au Louvre .",
    ]
    assert [found(r) for r in records] == [
        [
            ("Captain Ann Lee", ["person"], "wikipedia:Ann_Lee"),
            ("Port Royal, Jamaica", ["place"], "wikipedia:Port_Royal,_Jamaica"),
        ],
        [
            ("東京", ["place"], ""),
            ("Bo", ["person"], "wikipedia:Bo_(captain)"),
            ("Osaka", ["organization", "place"], "wikipedia:Osaka"),
        ],
        [("Bo", ["person"], "wikipedia:Bo_(captain)"), ("au Louvre", ["place"], "")],
    ]
    assert [(m["start"], m["end"]) for m in records[1]["mentions"]] == [(10, 12), (20, 22), (29, 34)]
    assert report.dropped == {
        "mention: no name": 2,  # the boat, She
        "mention: a time, no name": 1,
        "mention: inside a longer one": 1,  # Jamaica
        "mention: same span as another, types joined": 1,
        "mention: on an empty node, which has no text": 1,
        "sentence: its words are masked by underscores": 1,
    }
    first = records[0]
    assert (first["id"], first["doc_id"], first["source"]) == ("TALE_bio_ann-1", "TALE_bio_ann", "gum/bio")
    assert (first["exhaustive"], first["typed"], first["ontology"]) == (True, True, "gum")


def test_all_mentions_keep_the_outermost():
    records, report = read(mentions="all", keep_titles=False, exhaustive=False)
    assert found(records[0]) == [
        ("Captain Ann Lee's boat", ["object"], ""),
        ("Port Royal, Jamaica", ["place"], ""),
        ("Friday", ["time"], ""),
    ]
    assert found(records[1])[0] == ("She", ["person"], "")
    assert report.dropped["mention: inside a longer one"] == 2
    assert not any(r["exhaustive"] for r in records)


def test_fields_are_read_by_the_name_that_the_header_gives_them(tmp_path):
    path = tmp_path / "a.conllu"
    path.write_text(
        "# newdoc id = a\n# global.Entity = etype-identity-GRP\n# sent_id = a-1\n# text = Bo sat\n"
        "1\tBo\t_\tPROPN\t_\t_\t2\tnsubj\t_\tEntity=(person-Bo-7(place--8)7)\n2\tsat\t_\tVERB\t_\t_\t0\troot\t_\t_",
        encoding="utf-8",
    )
    records, _ = read(path)
    assert found(records[0]) == [("Bo", ["place", "person"], "wikipedia:Bo")]
    assert records[0]["source"] == "gum"


def test_an_end_belongs_to_the_latest_beginning_of_its_group(tmp_path):
    path = tmp_path / "a.conllu"
    brackets = ["(7-person", "(7-place", "7)", "7)"]
    rows = [f"{n}\t{n}\t_\tNUM\t_\t_\t0\troot\t_\tEntity={value}\n" for n, value in enumerate(brackets, 1)]
    header = "# newdoc id = a\n# global.Entity = GRP-etype\n# sent_id = a-1\n# text = 1 2 3 4\n"
    path.write_text(header + "".join(rows))
    records, report = read(path, mentions="all")
    assert found(records[0]) == [("1 2 3 4", ["person"], "")]
    assert report.dropped == {"mention: inside a longer one": 1}


def test_words_may_leave_a_rest_of_their_token(tmp_path):
    assert read(edited(tmp_path, "4\t's\t", "4\t'\t")) == read()


def test_mentions_with_gaps_are_counted_by_part(tmp_path):
    path = edited(tmp_path, "(6-place-new", "(6[1/2]-place-new")
    records, report = read(path)
    assert [surface for surface, *_ in found(records[1])] == ["Bo", "Osaka"]
    assert report.dropped["mention: part of one with a gap"] == 1


def test_windows_line_ends(tmp_path):
    path = tmp_path / "a tale.conllu"
    path.write_bytes(b"\xef\xbb\xbf" + TALE.read_bytes().replace(b"\n", b"\r\n"))
    assert read(path) == read()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2\tAnn\t_\t", "2\tAnn\t", ":8: expected the ten cells of CoNLL-U between TABs"),
        ("2\tAnn\t", "x\tAnn\t", ":8: expected the ten cells of CoNLL-U between TABs, the first a number"),
        ("\tRoyal\t", "\tRoyale\t", ":18: expected 'Royale' in '# text' here, found 'Royal,'"),
        ("on Friday.\n", "on Friday. Soon.\n", ":23: the words end here, but '# text' goes on with 'Soon.'"),
        ("Entity=2)", "_", ":7: the mention '(2-person' does not end in its sentence"),
        ("Entity=2)", "Entity=7)", ":10: '7)' ends a mention that no '(7-' began in this sentence"),
        ("Entity=2)", "Entity=2))", ":10: expected brackets such as '(3-person-new' and '3)', found '2))'"),
        ("(5-time-new-", "(5-time-new-a-b-", ":22: expected the fields GRP-etype-infstat"),
        ("(5-time-new-nnnnn-cf5-1-sgl)", "(5)", ":22: expected the fields GRP-etype-infstat"),
        ("= GRP-etype-", "= eid-etype-", ":7: expected fields such as '# global.Entity = GRP-etype-"),
        ("# global.Entity", "# other", ":7: expected a line such as '# global.Entity = GRP-etype-"),
        ("# newdoc id", "# other", ":7: expected a line such as '# newdoc id = "),
        ("# sent_id = TALE_bio_ann-2", "#", ":27: expected a line such as '# sent_id = "),
        ("# text = She", "# other = She", ":27: expected a line such as '# text = "),
    ],
)
def test_bad_lines_say_file_and_line(tmp_path, old, new, message):
    path = edited(tmp_path, old, new)
    with pytest.raises(CorpusError) as error:
        list(read_gum(path))
    assert f"{path}{message}" in str(error.value)


def test_bad_bytes_a_cut_file_and_unknown_mentions(tmp_path):
    path = tmp_path / "a.conllu"
    path.write_bytes(TALE.read_bytes().replace("à".encode(), b"\xe0"))
    with pytest.raises(CorpusError, match=r"a\.conllu:44: expected UTF-8, found the byte 0xe0"):
        list(read_gum(path))
    path.write_bytes(TALE.read_bytes()[:380])
    with pytest.raises(CorpusError, match=r"a\.conllu:\d+: the words end here, but '# text' goes on with"):
        list(read_gum(path))
    with pytest.raises(CorpusError, match="unknown mentions 'nouns'; expected 'names' or 'all'"):
        list(read_gum(TALE, mentions="nouns"))


def test_builder(tmp_path):
    reports = build("gum", {"train": [TALE.parent]}, tmp_path / "out", {"mentions": "all"})
    records = list(read_records(tmp_path / "out" / "data" / "train-00000-of-00001.parquet"))
    assert records == read(mentions="all")[0]
    assert (reports["train"].documents, reports["train"].records, reports["train"].mentions) == (1, 3, 9)
    assert reports["train"].notes == ["5 mentions name their Wikipedia article"]
    bad = edited(tmp_path, "Entity=2)", "_")
    with pytest.raises(DatasetGenerationError) as error:
        Gum(data_files=str(bad), cache_dir=str(tmp_path / "cache")).download_and_prepare()
    assert f"{bad}:7: the mention '(2-person'" in str(error.value.__cause__)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the GUM corpus is not here")
def test_the_corpus_itself():
    gum = load_ontology("gum")
    kept, titles, documents, reports = {}, {}, set(), {}
    for mentions in ("all", "names"):
        reports[mentions] = report = ReadReport()
        records = [
            r for f in SHARED.glob("*.conllu") for r in read_gum(f, mentions=mentions, ontology="gum", report=report)
        ]
        documents |= {r["doc_id"] for r in records}
        kept[mentions] = sum(len(r["mentions"]) for r in records)
        titles[mentions] = sum(m["origin"].startswith("wikipedia:") for r in records for m in r["mentions"])
        assert len(records) == 4636
        assert all(validate_record(r, gum) == r for r in records)
    assert len(documents) == 108
    assert kept == {"all": 16271, "names": 4773}
    assert titles == {"all": 3593, "names": 3604}
    opening = [
        b
        for f in SHARED.glob("*.conllu")
        for b in re.findall(r"\((\d+-[a-z]+-[a-z]+[^()|\s]+-cf[^()|\s]+)", f.read_text(encoding="utf-8"))
    ]
    assert (len(opening), sum(b.count("-") == 7 for b in opening)) == (28465, 7431)  # mentions, linked ones
    # Every one is kept or accounted for.
    assert {name: sum(report.dropped.values()) + kept[name] for name, report in reports.items()} == {
        "all": 28465,
        "names": 28465,
    }
    assert reports["all"].dropped == {"mention: inside a longer one": 12194}

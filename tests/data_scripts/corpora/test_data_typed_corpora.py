"""The typed corpora that anyone may download: FIGER's JSON, ultra-fine, Few-NERD, MultiCoNER; real files with their counts."""

import json
from pathlib import Path

import pytest
from datasets.exceptions import DatasetGenerationError

from finener.data_scripts import build
from finener.data_scripts.corpora.fewnerd import FewNerd
from finener.data_scripts.corpora.figer_json import FigerJson, read_figer_json
from finener.data_scripts.corpora.multiconer import MultiCoNer
from finener.data_scripts.corpora.ufet import Ufet, kind_of, read_ufet
from finener.data_scripts.corpus import CorpusError, ReadReport, load_ontology
from finener.data_scripts.schema import validate_record

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def lines_of(path, *rows):
    return write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def typed_surfaces(record):
    return [(record["text"][m["start"] : m["end"]], m["types"]) for m in record["mentions"]]


def prepared(builder, folder):
    """The records of a builder's splits, and its reports."""
    builder.download_and_prepare(str(folder))
    return {split: list(builder.as_dataset(split)) for split in builder.info.splits}


# ---------------------------------------------------------------- FIGER's JSON

# Zoë Ångström sang 😀 in 東京 .
SONG = {
    "fileid": "17",
    "senid": 0,
    "tokens": ["Zoë", "Ångström", "sang", "😀", "in", "東京", "."],
    "mentions": [
        {"start": 5, "end": 6, "labels": ["/location/city", "/location"], "name": "東京", "link": ""},
        {
            "start": 0,
            "end": 2,
            "labels": ["/person", "/person/musician", "/person"],
            "name": "Zoë Ångström",
            "link": "",
        },
    ],
}


@pytest.fixture(scope="module")
def figer():
    return load_ontology("figer")


def test_token_ranges_become_characters(tmp_path, figer):
    report = ReadReport()
    record, empty = read_figer_json(
        lines_of(tmp_path / "two words.json", SONG, {"tokens": ["No", "name"], "mentions": [], "fileid": ""}),
        ontology=figer,
        report=report,
    )
    assert record["text"] == "Zoë Ångström sang 😀 in 東京 ."
    assert typed_surfaces(validate_record(record, figer)) == [
        ("Zoë Ångström", ["/person", "/person/musician"]),
        ("東京", ["/location/city", "/location"]),
    ]
    assert record["exhaustive"] and record["typed"] and record["ontology"] == "figer"
    assert [r["id"] for r in (record, empty)] == ["two words#0", "two words#1"]
    assert [r["doc_id"] for r in (record, empty)] == ["two words/17", "two words"], "FIGER(GOLD) leaves fileid empty"
    assert (empty["text"], empty["mentions"]) == ("No name", [])
    assert not report.dropped


def test_links_are_silver_and_their_anchors_may_differ(tmp_path, figer):
    link = {"start": 1, "end": 2, "link": "Bree", "name": "Bree-town", "labels": ["/location"]}
    row = {"did": 4, "pid": 0, "sid": 2, "tokens": ["In", "Bree", "it", "rained"], "links": [link]}
    path = lines_of(tmp_path / "wiki_00.json", row)
    (record,) = read_figer_json(path, ontology=figer)
    assert (record["exhaustive"], record["doc_id"]) == (False, "wiki_00/4")
    assert typed_surfaces(record) == [("Bree", ["/location"])]
    assert next(read_figer_json(path, ontology=figer, exhaustive="yes"))["exhaustive"]


def test_exhaustive_is_a_choice(tmp_path):
    path = lines_of(tmp_path / "a.json", SONG)
    assert [next(read_figer_json(path, exhaustive=e))["exhaustive"] for e in ("auto", "yes", "no")] == [
        True,
        True,
        False,
    ]
    with pytest.raises(CorpusError, match="exhaustive is 'maybe'; expected one of auto, yes, no"):
        next(read_figer_json(path, exhaustive="maybe"))


def test_of_nested_mentions_the_outermost_stays_and_the_others_are_counted(tmp_path, figer):
    nested = [
        {"start": 2, "end": 3, "labels": ["/location/city"]},
        {"start": 0, "end": 3, "labels": ["/organization"]},
        {"start": 0, "end": 3, "labels": ["/organization/company"]},
    ]
    report = ReadReport()
    path = lines_of(tmp_path / "a.json", {"tokens": ["Bank", "of", "Bree"], "mentions": nested})
    (record,) = read_figer_json(path, ontology=figer, report=report)
    assert typed_surfaces(record) == [("Bank of Bree", ["/organization", "/organization/company"])]
    assert report.dropped == {"mention: inside a longer one": 1, "mention: same span as another, types joined": 1}


def test_unknown_types_stop_or_are_counted(tmp_path, figer):
    row = {"tokens": ["Friday"], "mentions": [{"start": 0, "end": 1, "labels": ["/time", "/event"]}]}
    path = lines_of(tmp_path / "a.json", SONG, row, row)
    with pytest.raises(
        CorpusError, match=r"a\.json:2: '/time' is not a type of the ontology 'figer'.*--drop_unknown_types"
    ):
        list(read_figer_json(path, ontology=figer))
    report = ReadReport()
    records = list(read_figer_json(path, ontology=figer, drop_unknown_types=True, report=report))
    assert typed_surfaces(records[1]) == [("Friday", ["/event"])]
    assert report.dropped == {"type: not in the ontology": 2}
    assert report.notes == ["a.json: 1 types are not in the ontology, most often /time (2)"]
    assert [m["types"] for m in next(read_figer_json(path))["mentions"]] == [[], []], "without an ontology: no types"
    assert next(read_figer_json(path, ontology=load_ontology("figer_gold")))["ontology"] == "figer_gold"


def mention(**changes):
    return {"tokens": ["Ann", "Lee", "left"], "mentions": [{"start": 0, "end": 2, "labels": []} | changes]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["Ann"]}, "expected lists of tokens and of mentions"),
        ({"tokens": "Ann left", "mentions": []}, "expected tokens in an object such as"),
        ({"tokens": ["Ann", 3], "mentions": []}, "expected lists of tokens and of mentions"),
        (["Ann"], "expected tokens in an object such as"),
        ({"tokens": ["Ann"], "mentions": [[0, 1]]}, "expected mentions with start, end and labels"),
        (mention(labels="/person"), "expected mentions with start, end and labels"),
        (mention(end="2"), "expected mentions with start, end and labels"),
        (
            mention(end=4),
            "expected token ranges with 0 <= start < end <= 3, the end one past the last token, found [0, 4)",
        ),
        (mention(end=0), "the end one past the last token, found [0, 0)"),
        (mention(start=-1), "found [-1, 2)"),
        (
            mention(end=1, name="Ann Lee"),
            "expected 'Ann Lee' in the tokens [0, 1), found 'Ann'; the end is one too small: are the file's ends inclusive?",
        ),
        (mention(name="Bo"), "expected 'Bo' in the tokens [0, 2), found 'Ann Lee'"),
    ],
)
def test_bad_figer_lines_say_file_and_line(tmp_path, row, message):
    path = lines_of(tmp_path / "a b.json", SONG, row)
    with pytest.raises(CorpusError) as error:
        list(read_figer_json(path))
    assert str(error.value).startswith(f"{path}:2: ") and message in str(error.value)


def test_bad_json_and_bytes_say_file_and_line(tmp_path):
    for content, message in [(b"{}\xe9\n", "expected UTF-8, found the byte 0xe9"), (b'{"tokens": ["A', "not JSON")]:
        (tmp_path / "a.json").write_bytes(json.dumps(SONG).encode() + b"\r\n\r\n" + content)
        with pytest.raises(CorpusError, match=f":3: {message}"):
            list(read_figer_json(tmp_path / "a.json"))


def test_figer_builder_reads_a_folder(tmp_path):
    lines_of(tmp_path / "my data" / "a.json", SONG)
    lines_of(tmp_path / "my data" / "b.json", SONG)
    builder = FigerJson(data_files=str(tmp_path / "my data"), cache_dir=str(tmp_path / "cache"))
    assert [r["id"] for r in prepared(builder, tmp_path / "out")["train"]] == ["a#0", "b#0"]
    assert builder.reports["train"].types == {"/person": 2, "/person/musician": 2, "/location/city": 2, "/location": 2}


# ---------------------------------------------------------------- ultra-fine entity typing


def phrase(span, left=(), right=("slept", "."), types=("person",), **more):
    return {
        "mention_span": span,
        "left_context_token": [*left],
        "right_context_token": [*right],
        "y_str": [*types],
    } | more


@pytest.fixture
def phrases(tmp_path):
    return lines_of(
        tmp_path / "crowd.json",
        phrase("Ann  Lee", ["Then", "😀"], types=["person", "artist", "person"], annot_id="n1:2"),
        phrase("the old house", ["In"], [], types=["building", "object"], annot_id="n1:7"),
        phrase("He"),
    )


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    path = tmp_path_factory.mktemp("types") / "things.tsv"
    path.write_text("id\nperson\nartist\nobject\nbuilding\n")
    return load_ontology(str(path))


def test_one_record_for_each_phrase(phrases, things):
    report = ReadReport()
    records = list(read_ufet(phrases, ontology=things, report=report))
    assert [r["text"] for r in records] == ["Then 😀 Ann Lee slept .", "In the old house", "He slept ."]
    assert [typed_surfaces(validate_record(r, things)) for r in records] == [
        [("Ann Lee", ["person", "artist"])],
        [("the old house", ["building", "object"])],
        [("He", ["person"])],
    ]
    assert [(r["id"], r["doc_id"]) for r in records] == [
        ("crowd#0", "n1:2"),
        ("crowd#1", "n1:7"),
        ("crowd#2", "crowd#2"),
    ]
    assert not any(r["exhaustive"] for r in records)
    assert report.notes == ["crowd.json: 1 names, 1 nominals, 1 pronouns"]


def test_names_only(phrases, things):
    report = ReadReport()
    assert [r["id"] for r in read_ufet(phrases, ontology=things, names_only=True, report=report)] == ["crowd#0"]
    assert report.dropped == {"mention: a nominal": 1, "mention: a pronoun": 1}


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("the Shire", "name"),
        ("The shire", "nominal"),
        ("THEM both", "pronoun"),
        ("I", "pronoun"),
        ("iPod 東京", "nominal"),
    ],
)
def test_kinds_of_phrases(words, kind):
    assert kind_of(words.split()) == kind


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (phrase(" "), "expected lists of strings around a mention"),
        (phrase("Ann", left=[3]), "expected lists of strings around a mention"),
        (
            {"mention_span": "Ann", "y_str": []},
            "expected left_context_token and right_context_token in an object such as",
        ),
        (phrase("Ann", types=["wizard"]), "'wizard' is not a type of the ontology 'things'"),
    ],
)
def test_bad_phrases_say_file_and_line(tmp_path, things, row, message):
    path = lines_of(tmp_path / "a.json", phrase("Ann"), row)
    with pytest.raises(CorpusError) as error:
        list(read_ufet(path, ontology=things))
    assert str(error.value).startswith(f"{path}:2: ") and message in str(error.value)


def test_ufet_builder(phrases, tmp_path):
    builder = Ufet(data_files={"test": str(phrases)}, ontology="", cache_dir=str(tmp_path / "cache"))
    assert [r["typed"] for r in prepared(builder, tmp_path / "out")["test"]] == [False] * 3


# ---------------------------------------------------------------- Few-NERD


def test_fewnerd_builder(tmp_path):
    text = "Ann\tperson-artist/author\nLee\tperson-artist/author\nin\tO\nBree\tlocation-GPE\n\nBree\tlocation-GPE\n"
    files = {"train": str(write(tmp_path / "inter" / "train.txt", text.replace("\n", "\r\n")))}
    builder = FewNerd(data_files=files, cache_dir=str(tmp_path / "cache"))
    first, second = prepared(builder, tmp_path / "out")["train"]
    assert typed_surfaces(first) == [("Ann Lee", ["person-artist/author"]), ("Bree", ["location-GPE"])]
    assert first["exhaustive"] and first["ontology"] == "fewnerd" and second["id"] == "train#1"
    assert builder.ontology.closure(["location-GPE"]) == ["location", "location-GPE"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ann\tperson-wizard\n", r"unknown type: 'person-wizard' is not a type of ontology 'fewnerd'"),
        ("Ann person-actor\n", r"train\.txt:1: expected a token and a tag"),
        ("Ann\tB-person\n", r"train\.txt:1: the tag 'B-person' of 'Ann' breaks the scheme IO"),
    ],
)
def test_bad_fewnerd_files(tmp_path, text, message):
    builder = FewNerd(data_files=str(write(tmp_path / "train.txt", text)), cache_dir=str(tmp_path / "cache"))
    with pytest.raises(DatasetGenerationError) as error:
        builder.download_and_prepare(str(tmp_path / "out"))
    with pytest.raises(CorpusError, match=message):
        raise error.value.__cause__


# ---------------------------------------------------------------- MultiCoNER


def test_multiconer_builder(tmp_path):
    second = """
# id 11-aa\tdomain=en
ann _ _ B-Artist
lee _ _ I-Artist
runs _ _ O
bree _ _ B-PublicCORP
ltd _ _ I-PublicCORP

# id 11-ab\tdomain=en
 _ _ O
# _ _ O
aspirin _ _ B-Medication/Vaccine
"""
    first = "# id 1\tdomain=zh\n东京 _ _ B-LOC\n公司 _ _ B-CORP\n"
    files = [str(write(tmp_path / "zh.conll", first)), str(write(tmp_path / "en.conll", second))]
    builder = MultiCoNer(data_files=files, cache_dir=str(tmp_path / "cache"))
    records = prepared(builder, tmp_path / "out")["train"]
    assert [r["text"] for r in records] == ["东京 公司", "ann lee runs bree ltd", "# aspirin"]
    assert [typed_surfaces(r) for r in records] == [
        [("东京", ["LOC"]), ("公司", ["CORP"])],
        [("ann lee", ["Artist"]), ("bree ltd", ["PublicCorp"])],
        [("aspirin", ["Medication/Vaccine"])],
    ]
    assert [r["doc_id"] for r in records] == ["zh/1", "en/1", "en/2"]
    assert builder.reports["train"].dropped == {"token: blank": 1}


def test_a_multiconer_tag_that_breaks_its_scheme(tmp_path):
    path = write(tmp_path / "en.conll", "# id 1\tdomain=en\nann _ _ O\nlee _ _ I-Artist\n")
    builder = MultiCoNer(data_files=str(path), cache_dir=str(tmp_path / "cache"))
    with pytest.raises(DatasetGenerationError) as error:
        builder.download_and_prepare(str(tmp_path / "out"))
    assert f"{path}:3: the tag 'I-Artist' of 'lee' breaks the scheme IOB2" in str(error.value.__cause__)


# ---------------------------------------------------------------- real files

UNER = {"ontology": "conll", "text_column": 1, "tag_column": 2, "document": "# newdoc", "comment": "# "}
WIKIGOLD = "wikigold/wikigold/CONLL-format/data/wikigold.conll.txt"
WNUT = ["wnut17/wnut17train.conll", "wnut17/emerging.dev.conll", "wnut17/emerging.test.annotated"]


@pytest.mark.parametrize(
    ("name", "files", "options", "records", "mentions", "types"),
    [
        ("figer_json", ["wfb/fner_dev.json"], {}, 446, 1216, 117),
        # 64 tags, O among them
        ("fewnerd", ["fewnerd/train.txt"], {}, 6400, 17716, 63),
        # 1,841 blocks between blank lines, of which 145 are -DOCSTART-
        ("conll", [WIKIGOLD], {"ontology": "conll"}, 1841 - 145, 3558, 4),
        ("conll", WNUT, {"ontology": "wnut17"}, 3394 + 1009 + 1287, 3890, 6),
        ("conll", ["uner_ewt/en_ewt-ud-dev.iob2", "uner_ewt/en_ewt-ud-test.iob2"], UNER, 4078, 2054, 3),
        ("crossner", ["crossner/ai"], {}, 100 + 350, 2081, 14),
        ("crossner", ["crossner/literature"], {}, 100 + 400, 2671, 12),
        ("crossner", ["crossner/music"], {}, 100 + 380, 3327, 13),
        ("crossner", ["crossner/politics"], {}, 200 + 541, 4786, 9),
        ("crossner", ["crossner/science"], {}, 200 + 450, 3613, 17),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_counts_of_the_real_files(tmp_path, name, files, options, records, mentions, types):
    paths = [SHARED / file for file in files]
    if missing := [str(path) for path in paths if not path.exists()]:
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    report = build.build(name, {"train": [str(path) for path in paths]}, tmp_path / "out", options)["train"]
    assert (report.records, report.mentions, len(report.types)) == (records, mentions, types)
    assert set(report.dropped) <= {"line: comment"}, "no mention is lost"


def test_counts_of_redocred(tmp_path):
    paths = [SHARED / "redocred" / f"{part}_revised.json" for part in ("dev", "test")]
    if missing := [str(path) for path in paths if not path.exists()]:
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    report = build.build("redocred", {"train": [str(path) for path in paths]}, tmp_path / "out")["train"]
    assert (report.documents, report.records, report.mentions) == (1000, 8076, 20696)
    assert report.dropped["mention: a time or a number"] < 5500

"""LTF texts and the mention tables of AIDA and TAC, on packages written for this project (``tests/data/ldc``, ``tests/data/tac``)."""

import shutil
from collections import Counter
from pathlib import Path
from zipfile import ZipFile

import pytest
from datasets.exceptions import DatasetGenerationError

from finener.data_scripts.build import build
from finener.data_scripts.corpora.aida_ldc import AidaLdc, read_aida_mentions
from finener.data_scripts.corpora.ltf import LtfConfig, TextMention, read_ltf, table_records
from finener.data_scripts.corpora.tac_edl import TacEdl, read_tac_mentions
from finener.data_scripts.corpus import CorpusError, ReadReport

DATA = Path(__file__).resolve().parents[2] / "data"
LDC, TAC = DATA / "ldc", DATA / "tac"


def names(record):
    """Each mention as (text, types)."""
    return [(record["text"][m["start"] : m["end"]], m["types"]) for m in record["mentions"]]


def read(kind, tmp_path, *files, **options):
    """Records and report of a build in one split."""
    builder = kind(data_files=[str(file) for file in files], cache_dir=str(tmp_path / "cache"), **options)
    try:
        builder.download_and_prepare()
    except DatasetGenerationError as error:
        raise error.__cause__ from None
    return list(builder.as_dataset("train")), builder.reports["train"]


def replace(path, old, new):
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    return path


# ---------------------------------------------------------------- LTF


def segment(start, end, text, name="s0"):
    return f'<SEG id="{name}" start_char="{start}" end_char="{end}"><ORIGINAL_TEXT>{text}</ORIGINAL_TEXT></SEG>'


def write_ltf(path, *segments, head='id="D1"'):
    content = f'<?xml version="1.0" encoding="UTF-8"?>\n<LCTL_TEXT><DOC {head}><TEXT>{"".join(segments)}</TEXT></DOC></LCTL_TEXT>'
    path.write_text(content, encoding="utf-8")
    return path


def test_offsets_index_into_the_rebuilt_text():
    (document,) = read_ltf([LDC / "ltf" / "HC000EX01.ltf.xml"])
    assert (document.id, document.language) == ("HC000EX01", "eng")
    # One line end or two between segments, as the offsets say, and one at the end: 123 characters, as the file says.
    assert document.text == (
        "Mayor Ilse Brandt 🙂 met Dorn & Sons in Marl.\n\nKaze, from 東京, builds there.\nNobody asked Ilse\nBrandt about the Dorn "
        "Bridge.\n"
    )
    assert [document.text[s.start : s.end] for s in document.segments] == [
        "Mayor Ilse Brandt 🙂 met Dorn & Sons in Marl.",
        "Kaze, from 東京, builds there.",
        "Nobody asked Ilse",
        "Brandt about the Dorn Bridge.",
    ]
    assert document.text[24:35] == "Dorn & Sons"  # the file's 24 to 34, after an emoji and before an entity


def test_archives_are_read_like_folders(tmp_path):
    with ZipFile(tmp_path / "a b.ltf.zip", "w") as archive:
        for file in sorted((LDC / "ltf").iterdir(), reverse=True):
            archive.write(file, f"ltf/{file.name}")
        archive.writestr("ltf/readme.txt", "no text of the corpus")
    folder = [document._replace(place="") for document in read_ltf(sorted((LDC / "ltf").iterdir()))]
    assert [document._replace(place="") for document in read_ltf([tmp_path / "a b.ltf.zip"])] == folder
    assert len(folder) == 3


def test_text_before_the_first_segment_and_the_declared_length(tmp_path):
    path = write_ltf(tmp_path / "a.ltf.xml", segment(3, 5, "Ann"), head='id="D1" raw_text_char_length="9"')
    (document,) = read_ltf([path])
    assert document.text == "\n\n\nAnn\n\n\n"


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        (
            [segment(0, 3, "Ann")],
            "segment 's0': expected an id, and an ORIGINAL_TEXT of 4 characters (start_char 0, end_char 3",
        ),
        ([segment(0, 3, "Ann")], "found 3; are the file's ends exclusive?"),
        ([segment(0, 2, "Ann"), segment(2, 3, "Bo", "s1")], "segment 's1' begins at 2; expected no less than 3"),
        ([segment("x", 2, "Ann")], "SEG 's0': expected a number of at most 50,000,000 in start_char, found 'x'"),
        ([segment(0, 2, "&lol;")], "undefined entity"),
    ],
)
def test_broken_ltf_says_where(tmp_path, segments, message):
    path = write_ltf(tmp_path / "a b.ltf.xml", *segments)
    with pytest.raises(CorpusError) as error:
        list(read_ltf([path]))
    assert str(error.value).startswith(str(path)) and message in str(error.value)


def test_truncated_foreign_and_hostile_xml(tmp_path):
    whole = (LDC / "ltf" / "HC000EX01.ltf.xml").read_bytes()
    (tmp_path / "cut.ltf.xml").write_bytes(whole[:-40])
    with pytest.raises(CorpusError, match=r"cut\.ltf\.xml:\d+: broken or truncated XML"):
        list(read_ltf([tmp_path / "cut.ltf.xml"]))
    (tmp_path / "latin.ltf.xml").write_bytes(whole.replace("🙂".encode(), b"\xe9"))
    with pytest.raises(CorpusError, match=r"latin\.ltf\.xml:7: broken or truncated XML"):
        list(read_ltf([tmp_path / "latin.ltf.xml"]))
    (tmp_path / "other.xml").write_text("<book><DOC/></book>")
    with pytest.raises(CorpusError, match=r"other\.xml: expected LTF, .* found <book>"):
        list(read_ltf([tmp_path / "other.xml"]))
    bomb = '<!DOCTYPE b [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><LCTL_TEXT>&b;</LCTL_TEXT>'
    with ZipFile(tmp_path / "bomb.ltf.zip", "w") as archive:
        archive.writestr("bomb.ltf.xml", bomb)
    with pytest.raises(CorpusError, match=r"bomb\.ltf\.zip/bomb\.ltf\.xml: refused, because it declares entities"):
        list(read_ltf([tmp_path / "bomb.ltf.zip"]))
    (tmp_path / "cut.ltf.zip").write_bytes((tmp_path / "bomb.ltf.zip").read_bytes()[:-30])
    with pytest.raises(CorpusError, match=r"cut\.ltf\.zip: a broken archive"):
        list(read_ltf([tmp_path / "cut.ltf.zip"]))


# ---------------------------------------------------------------- mentions in texts


def place(tmp_path, *mentions, exhaustive=True, **options):
    """Records and report of mentions (start, end, surface) in "Ann ate. / Bob fled.", two segments with a line end between."""
    path = write_ltf(tmp_path / "d.ltf.xml", segment(0, 7, "Ann ate."), segment(9, 17, "Bob fled.", "s1"))
    rows = [TextMention(f"m.tab:{n}", *mention, ["per"]) for n, mention in enumerate(mentions, 1)]
    report = ReadReport()
    records = table_records(
        {"D1": rows},
        [path],
        source="x",
        ontology="toy",
        exhaustive=exhaustive,
        config=LtfConfig(**options),
        report=report,
    )
    return list(records), report.dropped


def test_mentions_go_to_their_segments(tmp_path):
    records, dropped = place(tmp_path, (9, 12, "Bob"), (0, 3, "Ann"))
    assert [(r["id"], names(r), r["exhaustive"]) for r in records] == [
        ("D1#s0", [("Ann", ["per"])], True),
        ("D1#s1", [("Bob", ["per"])], True),
    ]
    assert not dropped


def test_a_mention_across_segments_is_counted_and_its_segments_are_not_exhaustive(tmp_path):
    records, dropped = place(tmp_path, (0, 3, "Ann"), (4, 12, "ate. Bob"))  # the table writes the line end as a blank
    assert [(r["id"], r["exhaustive"]) for r in records] == [("D1#s0", False)]
    assert dropped == {"mention: crosses segments": 1, "sentence: without a mention, and not exhaustive": 1}


def test_a_mention_between_segments_is_counted(tmp_path):
    records, dropped = place(tmp_path, (8, 9, "§"))
    assert [r["exhaustive"] for r in records] == [True, True]
    assert dropped == {"mention: outside the segments": 1}


@pytest.mark.parametrize(
    ("mention", "message"),
    [
        (
            (0, 4, "Ann"),
            "expected 'Ann' at [0, 4), found 'Ann '; the end is one too large: are the file's ends exclusive?",
        ),
        ((0, 2, "Ann"), "found 'An'; the end is one too small: are the file's ends inclusive?"),
        ((4, 9, "ate."), "found 'ate.\\n'; the end is one too large"),  # at a segment's end
        ((13, 19, "fled."), "found 'fled.\\n'; the end is one too large"),  # at the document's end
        ((0, 3, "Bob"), "expected 'Bob' at [0, 3), found 'Ann'"),
        ((0, 99, "Ann"), "[0, 99) lies outside the text of 19 characters"),
    ],
)
def test_a_wrong_surface_is_an_error_that_says_so(tmp_path, mention, message):
    with pytest.raises(CorpusError) as error:
        place(tmp_path, mention)
    assert str(error.value).startswith("m.tab:1, document 'D1': ") and message in str(error.value)
    assert "--skip_mismatches leaves such mentions out" in str(error.value)


def test_wrong_surfaces_can_be_left_out(tmp_path):
    records, dropped = place(tmp_path, (0, 4, "Ann"), (9, 12, "Bob"), skip_mismatches=True)
    assert [r["id"] for r in records] == ["D1#s1"]
    assert dropped == {"mention: text not as the table says": 1, "sentence: without a mention, and not exhaustive": 1}


# ---------------------------------------------------------------- AIDA


def test_aida_phase_1(tmp_path):
    records, report = read(AidaLdc, tmp_path, LDC / "phase1", LDC / "ltf")
    assert [(r["id"], names(r)) for r in records] == [
        (
            "HC000EX01#segment-0",
            [
                ("Ilse Brandt", ["per.politician.mayor", "per"]),
                ("Dorn & Sons", ["org.commercialorganization.corporation"]),
                ("Marl", ["gpe.urbanarea.city"]),
            ],
        ),
        ("HC000EX01#segment-1", [("Kaze", ["org"]), ("東京", ["gpe.urbanarea.city"])]),
        ("HC000EX01#segment-3", [("Dorn Bridge", ["fac.structure.bridge"])]),
        ("HC000EX02#segment-0", [("Мост Дорна", ["fac.structure.bridge"])]),
    ]
    assert {(r["source"], r["ontology"], r["typed"], r["exhaustive"]) for r in records} == {
        ("aida_ldc", "aida", True, False)
    }
    assert report.dropped == {
        "document: not in the tables": 1,
        "mention: same span as another, types joined": 2,
        "mention: inside a longer one": 1,
        "mention: crosses segments": 1,
        "mention: level nom": 1,
        "mention: level pro": 1,
        "mention: no offsets": 1,
        "mention: its text is EMPTY_NA": 1,
        "mention: its text is EMPTY_TBD": 1,
        "sentence: without a mention, and not exhaustive": 1,
    }


def test_aida_topics_levels_and_languages(tmp_path):
    records, _ = read(AidaLdc, tmp_path / "a", LDC / "phase1", LDC / "ltf", topics="R107", languages="eng")
    assert [names(r) for r in records] == [[("Dorn Bridge", ["fac.structure.bridge"])]]
    records, _ = read(
        AidaLdc, tmp_path / "b", LDC / "phase1", LDC / "ltf", topics="R103", levels="NOM, pro", ontology=""
    )
    assert [names(r) for r in records] == [[("Mayor", [])], [("there", [])]]
    with pytest.raises(CorpusError, match="no table of the topic R105; found tables of R103, R107"):
        read(AidaLdc, tmp_path / "c", LDC / "phase1", LDC / "ltf", topics="R103,R105")


def test_aida_seedling(tmp_path):
    records, report = read(AidaLdc, tmp_path, LDC / "seedling", LDC / "ltf")
    assert [names(r) for r in records] == [[("Ilse Brandt", ["per"]), ("Dorn & Sons", ["org"])]]
    assert report.dropped["mention: level pro"] == 1


def test_aida_tables_survive_windows(tmp_path):
    content = (LDC / "seedling" / "P103" / "P103_ent_mentions.tab").read_bytes()
    path = tmp_path / "my data" / "P103_ent_mentions.tab"
    path.parent.mkdir()
    path.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    records, _ = read(AidaLdc, tmp_path, path, LDC / "ltf")
    assert [names(r) for r in records] == [[("Ilse Brandt", ["per"]), ("Dorn & Sons", ["org"])]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("child_uid", "child", ":1: expected a header with the column child_uid (Phase 1) or provenance (seedling)"),
        ("subsubtype", "third", ":1: expected the columns child_uid, textoffset_startchar"),
        (
            "\t6\t16\t",
            "\t6.0\t16\t",
            ":2: textoffset_startchar: expected the number of a character, or nothing, found '6.0'",
        ),
        ("\t6\t16\t", "\t6\t17\t", ":2, document 'HC000EX01': expected 'Ilse Brandt' at [6, 18), found 'Ilse Brandt '"),
        ("politician", "politicain", ":2: 'per.politicain.mayor' is not a type of ontology 'aida'"),
        (
            "politician",
            "unspecified",
            ":2: expected a type, then a subtype, then a subsubtype, found ['per', 'unspecified', 'mayor']",
        ),
        ("\tnam\n", "\n", ":2: expected 17 cells between TABs, found 16"),
        ("HC000EX01", "HC000EX09", ":2: no text of the document 'HC000EX09' among the files"),
    ],
)
def test_aida_bad_lines_say_file_and_line(tmp_path, old, new, message):
    path = replace(Path(shutil.copy(LDC / "phase1" / "R103" / "R103_arg_mentions.tab", tmp_path)), old, new)
    with pytest.raises(CorpusError) as error:
        read(AidaLdc, tmp_path, path, LDC / "ltf")
    assert f"{path}{message}" in str(error.value)


def test_aida_bad_bytes(tmp_path):
    path = Path(shutil.copy(LDC / "phase1" / "R107" / "R107_arg_mentions.tab", tmp_path))
    path.write_bytes(path.read_bytes().replace("Мост".encode(), b"\xe9"))
    with pytest.raises(CorpusError, match=r"R107_arg_mentions\.tab:3: expected UTF-8, found the byte 0xe9"):
        list(read_aida_mentions(path, ("nam",), None, Counter()))


def test_tables_and_texts_are_both_needed(tmp_path):
    with pytest.raises(CorpusError, match=r"expected mention tables \(\.tab\) and their texts .* found 0 and 3"):
        read(AidaLdc, tmp_path, LDC / "ltf")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CorpusError, match=r"notes\.txt: expected a mention table \(\.tab\) or texts"):
        read(AidaLdc, tmp_path, LDC / "ltf", tmp_path / "notes.txt")


def test_missing_and_doubled_texts(tmp_path):
    with pytest.raises(
        CorpusError, match=r"no text of the document 'HC000EX01' \(and of 1 more documents\) among the files"
    ):
        read(AidaLdc, tmp_path / "a", LDC / "phase1", LDC / "ltf" / "HC000EX03.ltf.xml")
    with pytest.raises(CorpusError, match=r"the document 'HC000EX01' was in .*HC000EX01\.ltf\.xml already"):
        read(AidaLdc, tmp_path / "b", LDC / "phase1", LDC / "ltf", LDC / "ltf" / "HC000EX01.ltf.xml")


# ---------------------------------------------------------------- TAC


def test_tac_spans(tmp_path):
    records, report = read(TacEdl, tmp_path, TAC / "edl.tab", TAC / "ltf")
    assert [(r["id"], [text for text, _ in names(r)], r["exhaustive"]) for r in records] == [
        ("NYX_ENG_0001#segment-0", ["Lena Okoro", "Velt", "Osby"], True),
        ("NYX_ENG_0001#segment-1", ["Osby"], True),
        ("NYX_ENG_0001#segment-3", ["横浜 Zoo"], False),  # "Nia / Roy" begins in segment 2 and ends here
        ("NYX_ENG_0002#segment-0", [], True),  # has a nominal only: read by the annotators, so exhaustive
    ]
    assert {(r["source"], r["typed"]) for r in records} == {("tac_edl", False)}
    assert report.dropped == {
        "document: not in the tables": 1,
        "mention: NOM": 2,
        "mention: PRO": 1,
        "mention: same span as another, types joined": 1,
        "mention: inside a longer one": 1,
        "mention: crosses segments": 1,
        "sentence: without a mention, and not exhaustive": 1,
    }


def write_types(tmp_path, ids):
    path = tmp_path / "mine.tsv"
    path.write_text("id\n" + "\n".join(ids) + "\n", encoding="utf-8")
    return str(path)


def test_tac_types_are_kept_as_given(tmp_path):
    files = (TAC / "edl.tab", TAC / "ltf")
    records, _ = read(TacEdl, tmp_path, *files, ontology=write_types(tmp_path, ["PER", "GPE", "ORG", "FAC"]))
    assert names(records[0]) == [("Lena Okoro", ["PER"]), ("Velt", ["ORG"]), ("Osby", ["GPE"])]


def test_tac_several_types(tmp_path):
    several = [
        "PER",
        "PER.Politician",
        "GPE",
        "GPE.UrbanArea",
        "GPE.UrbanArea.City",
        "ORG",
        "ORG.Company",
        "FAC",
        "FAC.Attraction",
    ]
    files = (TAC / "rufes.tab", TAC / "ltf")
    records, _ = read(TacEdl, tmp_path / "a", *files, ontology=write_types(tmp_path, several))
    assert names(records[1]) == [("Osby", ["GPE", "GPE.UrbanArea", "GPE.UrbanArea.City"])]
    assert names(records[2]) == [("横浜 Zoo", ["FAC", "ORG", "FAC.Attraction"])]
    assert records[2]["ontology"] == "mine"
    with pytest.raises(CorpusError, match=r"rufes\.tab:2: 'ORG\.Company' is not a type of ontology 'mine'"):
        read(TacEdl, tmp_path / "b", *files, ontology=write_types(tmp_path, several[:6]))


def test_tac_options(tmp_path):
    files = (TAC / "edl.tab", TAC / "ltf")
    records, _ = read(TacEdl, tmp_path / "a", *files, mention_types="nom,pro", exhaustive=False)
    assert [[text for text, _ in names(r)] for r in records] == [["mayor"], ["She"], ["Rain"]]
    assert not any(r["exhaustive"] for r in records)
    with pytest.raises(CorpusError, match="mention_types: expected some of NAM, NOM, PRO, found 'NAME'"):
        read(TacEdl, tmp_path / "b", *files, mention_types="NAME")


LINE = "NYX\tM1\tLena Okoro\tNYX_ENG_0001:0-9\tNIL1\tPER\tNAM\t1.0"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\t1.0", "", ":1: expected 8 cells between TABs (run | mention id | text"),
        (LINE, LINE.replace("\t", " "), ":1: expected 8 cells between TABs"),
        ("0001:0-9", "0001:0", ":1: expected DOCUMENT:START-END in column 4, such as 'APW_0001:114-118', found 'NYX_ENG_0001:0'"),
        ("\tNAM\t", "\tname\t", ":1: expected NAM, NOM, PRO in column 7, found 'name'"),
        ("\tPER\t", "\t;\t", ":1: expected types in column 6"),
        ("0-9", "0-10", ":1, document 'NYX_ENG_0001': expected 'Lena Okoro' at [0, 11), found 'Lena Okoro '; the end is one too large: "
         "are the file's ends exclusive?"),
        ("0-9", "1-10", ":1, document 'NYX_ENG_0001': expected 'Lena Okoro' at [1, 11), found 'ena Okoro '"),
        ("ENG_0001", "ENG_9999", ":1: no text of the document 'NYX_ENG_9999' among the files"),
    ],
)  # fmt: skip
def test_tac_bad_lines_say_file_and_line(tmp_path, old, new, message):
    path = tmp_path / "my run.tab"
    assert old in LINE
    path.write_text(LINE.replace(old, new) + "\n", encoding="utf-8")
    with pytest.raises(CorpusError) as error:
        read(TacEdl, tmp_path, path, TAC / "ltf")
    assert f"{path}{message}" in str(error.value)


def test_tac_optional_columns_and_windows_line_ends(tmp_path):
    path = tmp_path / "a.tab"
    path.write_bytes(f"{LINE}\tN\tN\tN\r\n\r\n".encode())
    assert list(read_tac_mentions(path, ("NAM",), None, Counter())) == [
        ("NYX_ENG_0001", TextMention(f"{path}:1", 0, 10, "Lena Okoro", ["PER"]))
    ]


def test_the_command_mixes_files_and_folders(tmp_path):
    reports = build("tac_edl", {"train": [str(TAC / "edl.tab"), str(TAC / "ltf")]}, tmp_path / "out", {"ontology": ""})
    assert (reports["train"].documents, reports["train"].mentions) == (2, 5)
    assert (tmp_path / "out" / "README.md").is_file()

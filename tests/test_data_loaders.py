"""Column files in every scheme, and the dataset builders over our loaders."""

import pytest
from datasets.exceptions import DatasetGenerationError

from data_scripts.conll import Conll, ConllError, ConllReport, read_conll
from data_scripts.records import Records
from data_scripts.schema import FEATURES, validate_record

# The same two sentences in each scheme: Ann Lee | Bree (two places side by side) Rohan | the Shire.
TOKENS = [["Ann", "Lee", "left", "Bree", "Rohan", "."], ["the", "Shire"]]
TAGS = {
    "IOB1": [["I-per", "I-per", "O", "I-loc", "B-loc", "O"], ["O", "I-loc"]],
    "IOB2": [["B-per", "I-per", "O", "B-loc", "B-loc", "O"], ["O", "B-loc"]],
    "BIOES": [["B-per", "E-per", "O", "S-loc", "S-loc", "O"], ["O", "S-loc"]],
    "BILOU": [["B-per", "L-per", "O", "U-loc", "U-loc", "O"], ["O", "U-loc"]],
    "IO": [["I-per", "I-per", "O", "I-loc", "I-org", "O"], ["O", "I-loc"]],
}
SURFACES = [["Ann Lee", "Bree", "Rohan"], ["Shire"]]


def write(path, tags, separator=" ", end="\n", middle="NN"):
    sentences = (
        end.join(separator.join((token, middle, tag)) for token, tag in zip(*pair, strict=True))
        for pair in zip(TOKENS, tags, strict=True)
    )
    path.write_bytes((end + end).join(sentences).encode() + end.encode())
    return path


def surfaces(record):
    return [record["text"][m["start"] : m["end"]] for m in record["mentions"]]


@pytest.mark.parametrize("scheme", TAGS)
def test_every_scheme_is_told_from_the_tags(tmp_path, scheme):
    report = ConllReport()
    records = list(read_conll(write(tmp_path / "a.txt", TAGS[scheme]), ontology="toy", report=report))
    assert report.scheme == scheme
    assert [surfaces(r) for r in records] == SURFACES
    assert records[0]["text"] == "Ann Lee left Bree Rohan ."
    assert records[0]["mentions"][0]["types"] == ["per"]
    assert (report.sentences, report.tokens, report.mentions, report.documents) == (2, 8, 4, 1)
    assert all(validate_record(r) == r and r["exhaustive"] and r["typed"] for r in records)
    assert [r["id"] for r in records] == ["a#0", "a#1"]


def test_without_an_ontology_types_are_left_out(tmp_path):
    record = next(read_conll(write(tmp_path / "a.txt", TAGS["IOB2"])))
    assert (record["typed"], record["ontology"], record["mentions"][0]["types"]) == (False, "", [])


def test_tags_without_prefix_are_io(tmp_path):
    report = ConllReport()
    path = tmp_path / "a.txt"
    path.write_text("Ann\tperson-actor\nLee\tperson-actor\nBree\tlocation-GPE\nsat\tO\n", encoding="utf-8")
    record = next(read_conll(path, ontology="few", report=report))
    assert report.scheme == "IO"
    assert surfaces(record) == ["Ann Lee", "Bree"]
    assert record["mentions"][1]["types"] == ["location-GPE"]


def test_windows_line_ends_byte_order_mark_documents_and_comments(tmp_path):
    path = tmp_path / "a.txt"
    text = "-DOCSTART- -X- O\n\n# id 7\nAnn B-per\n# O\n\n\n-DOCSTART-\n東京 B-loc\n😀 O\nBree B-loc"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    report = ConllReport()
    records = list(read_conll(path, comment="# id", report=report))
    assert [r["doc_id"] for r in records] == ["a/1", "a/2"]
    assert [r["text"] for r in records] == ["Ann #", "東京 😀 Bree"]
    assert surfaces(records[1]) == ["東京", "Bree"]
    assert report.dropped == {"line: comment": 1}
    assert report.documents == 2


def test_columns_and_separator_can_be_chosen(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("B-loc\t1\tNew York\nO\t2\tsleeps\n", encoding="utf-8")
    record = next(read_conll(path, text_column=2, tag_column=0, separator="\t"))
    assert (record["text"], surfaces(record)) == ("New York sleeps", ["New York"])


def test_blank_tokens_are_counted(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("Ann B-per\n\u00a0 O\nleft O\n", encoding="utf-8")
    report = ConllReport()
    assert next(iter(list(read_conll(path, report=report))))["text"] == "Ann left"
    assert report.dropped == {"token: blank": 1}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("Ann B-per\nLee\n", {}, ":2: expected a token and a tag, such as 'London B-LOC', found 'Lee'"),
        ("Ann O\n", {"tag_column": 3}, ":1: expected the columns 0 (token) and 3 (tag)"),
        ("Ann B-per\nLee I-loc\n", {}, ":2: the tag 'I-loc' of 'Lee' breaks the scheme IOB2: expected B-loc"),
        ("sat O\nAnn I-per\n", {"scheme": "IOB2"}, ":2: the tag 'I-per' of 'Ann' breaks the scheme IOB2"),
        ("Ann B-per\n", {"scheme": "IOB1"}, ":1: the tag 'B-per' of 'Ann' breaks the scheme IOB1: expected I-per"),
        ("Ann B-per\n", {"scheme": "IO"}, ":1: the tag 'B-per' of 'Ann' breaks the scheme IO"),
        (
            "Ann B-per\nleft O\nBo S-per\n",
            {},
            ":2: the tag 'O' of 'left' breaks the scheme BIOES: expected the mention of line 1",
        ),
        (
            "Bo S-per\n\nAnn B-per\n",
            {},
            ":3: the tag 'B-per' of 'Ann' breaks the scheme BIOES: expected the mention of line 3 to end",
        ),
        (
            "Bo U-per\nAnn L-per\n",
            {},
            ":2: the tag 'L-per' of 'Ann' breaks the scheme BILOU: expected a mention that begins",
        ),
        (
            "Bo U-per\nAnn S-per\n",
            {},
            ":2: expected one scheme, found tags of two: U- (BILOU, line 1) and S- (BIOES, line 2)",
        ),
        ("Ann B-per\n\u00a0 I-per\n", {}, ":2: a blank token has the tag 'I-per'"),
    ],
)
def test_bad_lines_say_file_and_line(tmp_path, content, options, message):
    path = tmp_path / "a.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConllError) as error:
        list(read_conll(path, **options))
    assert f"{path}{message}" in str(error.value)


def test_bad_bytes_and_unknown_schemes(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"Ann O\ncaf\xe9 O\n")
    with pytest.raises(ConllError, match=r"a\.txt:2: expected UTF-8, found the byte 0xe9"):
        list(read_conll(tmp_path / "a.txt"))
    with pytest.raises(ConllError, match="unknown scheme 'BIO'; expected 'auto' or one of IO, IOB1"):
        list(read_conll(tmp_path / "a.txt", scheme="BIO"))


def test_an_empty_file_has_no_records(tmp_path):
    (tmp_path / "a.txt").write_text("\n\n")
    assert list(read_conll(tmp_path / "a.txt")) == []


# ---------------------------------------------------------------- builders


def test_conll_builder(tmp_path):
    files = {
        "train": str(write(tmp_path / "a.txt", TAGS["IOB1"])),
        "test": [str(write(tmp_path / "b.txt", TAGS["IOB1"]))],
    }
    builder = Conll(data_files=files, ontology="toy", source="tale", cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare()
    train = builder.as_dataset("train")
    assert train.features == FEATURES
    assert [surfaces(r) for r in train] == SURFACES
    assert {r["source"] for r in train} == {"tale"}
    assert [r["id"] for r in builder.as_dataset("test")] == ["b#0", "b#1"]
    assert [surfaces(r) for r in builder.as_streaming_dataset("train")] == SURFACES


def test_conll_builder_sees_a_changed_file_and_a_changed_option(tmp_path):
    path = tmp_path / "a.txt"
    for tags, ontology in ((TAGS["IOB2"], "toy"), (TAGS["IOB2"], ""), (TAGS["IO"], "")):
        builder = Conll(data_files=str(write(path, tags)), ontology=ontology, cache_dir=str(tmp_path / "cache"))
        builder.download_and_prepare()
        assert builder.as_dataset("train")[0]["typed"] == bool(ontology)


def test_builder_errors_name_file_and_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("Ann B-per\nLee I-loc\n", encoding="utf-8")
    with pytest.raises(DatasetGenerationError) as error:
        Conll(data_files=str(path), cache_dir=str(tmp_path / "cache")).download_and_prepare()
    assert f"{path}:2: the tag 'I-loc'" in str(error.value.__cause__)
    with pytest.raises(ValueError, match=r"no files to read; expected e\.g\. Conll"):
        Conll(cache_dir=str(tmp_path / "cache")).download_and_prepare()
    (tmp_path / "other").mkdir()
    twins = [str(path), str(write(tmp_path / "other" / "a.txt", TAGS["IOB2"]))]
    with pytest.raises(ConllError, match="several files are called 'a'"):
        Conll(data_files=twins, cache_dir=str(tmp_path / "cache")).download_and_prepare()


def test_records_builder(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"id": "a", "text": "Ann 😀", "mentions": [{"start": 0, "end": 3}]}\n', encoding="utf-8")
    builder = Records(data_files={"dev": str(path)}, cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare()
    record = builder.as_dataset("dev")[0]
    assert record == validate_record(record)
    assert surfaces(record) == ["Ann"]
    path.write_text('{"id": "a", "text": "Ann", "mentions": [{"start": 0, "end": 9}]}\n', encoding="utf-8")
    with pytest.raises(DatasetGenerationError) as error:
        Records(data_files={"dev": str(path)}, cache_dir=str(tmp_path / "cache")).download_and_prepare()
    assert f"{path}:1: record 'a': mention 0: [0, 9) is out of range" in str(error.value.__cause__)

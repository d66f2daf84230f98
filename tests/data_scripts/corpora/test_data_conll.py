"""Column files in every scheme."""

import pytest

from finener.data_scripts.corpora.conll import read_conll
from finener.data_scripts.corpus import CorpusError, ReadReport
from finener.data_scripts.schema import validate_record

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
    report = ReadReport()
    records = list(read_conll(write(tmp_path / "a.txt", TAGS[scheme]), ontology="toy", report=report))
    assert report.notes == [f"a.txt: the scheme is {scheme}"]
    assert [surfaces(r) for r in records] == SURFACES
    assert records[0]["text"] == "Ann Lee left Bree Rohan ."
    assert records[0]["mentions"][0]["types"] == ["per"]
    assert all(validate_record(r) == r and r["exhaustive"] and r["typed"] for r in records)
    assert [r["id"] for r in records] == ["a#0", "a#1"]


def test_without_an_ontology_types_are_left_out(tmp_path):
    record = next(read_conll(write(tmp_path / "a.txt", TAGS["IOB2"])))
    assert (record["typed"], record["ontology"], record["mentions"][0]["types"]) == (False, "", [])


def test_tags_without_prefix_are_io(tmp_path):
    report = ReadReport()
    path = tmp_path / "a.txt"
    path.write_text("Ann\tperson-actor\nLee\tperson-actor\nBree\tlocation-GPE\nsat\tO\n", encoding="utf-8")
    record = next(read_conll(path, ontology="few", report=report))
    assert report.notes == ["a.txt: the scheme is IO"]
    assert surfaces(record) == ["Ann Lee", "Bree"]
    assert record["mentions"][1]["types"] == ["location-GPE"]


def test_windows_line_ends_byte_order_mark_documents_and_comments(tmp_path):
    path = tmp_path / "a.txt"
    text = "-DOCSTART- -X- O\n\n# id 7\nAnn B-per\n# O\n\n\n-DOCSTART-\n東京 B-loc\n😀 O\nBree B-loc"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    report = ReadReport()
    records = list(read_conll(path, comment="# id", report=report))
    assert [r["doc_id"] for r in records] == ["a/1", "a/2"]
    assert [r["text"] for r in records] == ["Ann #", "東京 😀 Bree"]
    assert surfaces(records[1]) == ["東京", "Bree"]
    assert report.dropped == {"line: comment": 1}


def test_columns_and_separator_can_be_chosen(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("B-loc\t1\tNew York\nO\t2\tsleeps\n", encoding="utf-8")
    record = next(read_conll(path, text_column=2, tag_column=0, separator="\t"))
    assert (record["text"], surfaces(record)) == ("New York sleeps", ["New York"])


def test_blank_tokens_are_counted(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("Ann B-per\n\u00a0 O\nleft O\n", encoding="utf-8")
    report = ReadReport()
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
    with pytest.raises(CorpusError) as error:
        list(read_conll(path, **options))
    assert f"{path}{message}" in str(error.value)


def test_bad_bytes_and_unknown_schemes(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"Ann O\ncaf\xe9 O\n")
    with pytest.raises(CorpusError, match=r"a\.txt:2: expected UTF-8, found the byte 0xe9"):
        list(read_conll(tmp_path / "a.txt"))
    with pytest.raises(CorpusError, match="unknown scheme 'BIO'; expected 'auto' or one of IO, IOB1"):
        list(read_conll(tmp_path / "a.txt", scheme="BIO"))


def test_an_empty_file_has_no_records(tmp_path):
    (tmp_path / "a.txt").write_text("\n\n")
    assert list(read_conll(tmp_path / "a.txt")) == []

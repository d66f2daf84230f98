"""Files from outside: bombs, broken packing, encodings that are named wrongly. Each is refused in one line."""

from __future__ import annotations

import bz2
import gzip
import io
import pickle
import zlib
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from finener.data_scripts import raw_files
from finener.data_scripts.corpora.docbin import read_docbin
from finener.data_scripts.corpora.ltf import read_ltf
from finener.data_scripts.corpora.ontonotes5 import read_ontonotes
from finener.data_scripts.corpus import CorpusError, ReadReport, read_lines, read_xml
from finener.data_scripts.silver import dumps
from finener.data_scripts.silver.dumps import DumpError, read_dump
from finener.metrics.credit import CreditError, read_credit

import tiny

LTF = (
    '<LCTL_TEXT><DOC id="D"><TEXT>'
    '<SEG id="s" start_char="{0}" end_char="{1}"><ORIGINAL_TEXT>Ann</ORIGINAL_TEXT></SEG></TEXT></DOC></LCTL_TEXT>'
)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, bytes])
def test_lines_are_read_whatever_packs_them(tmp_path, pack):
    path = tmp_path / "a.txt"
    path.write_bytes(pack("\ufeffAnn\r\nBó\n".encode()))
    assert list(read_lines(path)) == [(1, "Ann"), (2, "Bó")]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_packed_lines_that_are_cut_or_changed(tmp_path, pack):
    path = tmp_path / "a.txt"
    whole = pack(b"Ann left.\n" * 10_000)
    for content in (whole[:-9], whole[: len(whole) // 2], whole[:10] + b"\xff\x00" + whole[12:]):
        path.write_bytes(content)
        with pytest.raises(CorpusError, match=r"a\.txt:\d+: the packed file is truncated or broken"):
            list(read_lines(path))


def test_a_bomb_of_one_line_is_refused_after_a_bounded_read(tmp_path, monkeypatch):
    monkeypatch.setattr(raw_files, "MOST_LINE", 1_000)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"Ann\n" + b"x" * 10_000_000))
    lines = read_lines(path)
    assert next(lines) == (1, "Ann")
    with pytest.raises(CorpusError, match=r"a\.gz:2: expected lines of at most 1,000 bytes"):
        next(lines)


def zipped(tmp_path, content, name="d.ltf.xml"):
    path = tmp_path / "t.ltf.zip"
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def test_an_archive_that_unpacks_to_too_much_is_refused_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(raw_files, "MOST_UNPACKED", 100_000)
    with pytest.raises(
        CorpusError, match=r"t\.ltf\.zip/d\.ltf\.xml: expected at most 100,000 bytes, unpacked it has 1,000,000"
    ):
        list(read_ltf([zipped(tmp_path, b" " * 1_000_000)]))
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    [document] = read_ltf([zipped(folder, LTF.format(0, 2), "../../d.ltf.xml")])
    assert document.text == "Ann\n" and list(tmp_path.rglob("*.xml")) == []


def test_a_member_whose_size_is_a_lie(tmp_path):
    path = zipped(tmp_path, LTF.format(0, 2) + " " * 5_000)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = (10).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=r"t\.ltf\.zip"):
        list(read_ltf([path]))


def test_characters_that_no_segment_covers_are_not_made_up_without_end(tmp_path):
    path = tmp_path / "d.ltf.xml"
    for start in ("99999999999", "9" * 5_000):
        path.write_text(LTF.format(start, start), encoding="utf-8")
        with pytest.raises(CorpusError, match=r"expected a number of at most 50,000,000 in start_char, found '9"):
            list(read_ltf([path]))


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (LAUGHS, "refused, because it declares entities"),
        ('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>', "refused, because it declares entities"),
        (
            '<?xml version="1.0" encoding="no-such"?>',
            "its encoding is not what it says, or not known|broken or truncated",
        ),
        (
            '<?xml version="1.0" encoding="utf-7"?>',
            "its encoding is not what it says, or not known|broken or truncated",
        ),
        (
            '<?xml version="1.0" encoding="shift_jis"?>',
            "its encoding is not what it says, or not known|broken or truncated",
        ),
    ],
)
def test_xml_with_entities_or_a_strange_encoding(tmp_path, head, message):
    path = tmp_path / "a.xml"
    path.write_text(head + "<x>東京</x>", encoding="utf-8")
    with pytest.raises(CorpusError, match=rf"a\.xml:?\d*: ({message})"):
        read_xml(path)
    path.write_text(head + "<mediawiki><page><title>A</title></page></mediawiki>", encoding="utf-8")
    with pytest.raises(DumpError, match=r"a\.xml: "):
        list(read_dump(path))


def test_a_document_type_may_be_named_and_is_not_fetched(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text('<!DOCTYPE x SYSTEM "http://127.0.0.1:1/ltf.dtd"><x>Ann</x>', encoding="utf-8")
    assert read_xml(path).text == "Ann"


def test_a_page_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(dumps, "MOST_UNPACKED", 100_000)
    path = tmp_path / "d.xml.bz2"
    page = "<page><title>{0}</title><revision><text>{1}</text></revision></page>"
    pages = "".join(page.format(f"P{i}", "x" * 40_000) for i in range(5))  # more in all, but each is small enough
    path.write_bytes(bz2.compress(f"<mediawiki>{pages}{page.format('Bomb', 'x' * 5_000_000)}</mediawiki>".encode()))
    found = read_dump(path)
    assert [next(found).title for _ in range(5)] == [f"P{i}" for i in range(5)]
    with pytest.raises(DumpError, match="a page of more than 100,000 bytes; the last good page is 'P4', number 5"):
        next(found)


YAML_BOMB = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (YAML_BOMB, "at most 100,000 values"),
        ("x: &x [*x]\n", "at most 100,000 values"),
        ("x: !!python/object/apply:os.system ['true']\n", "not YAML"),
        ("x: " + "[" * 100_000, "not YAML"),
        ("x: 2001-99-99\n", "not YAML"),
        ("x: " + "9" * 5_000, "not YAML"),
        ("x: [1\n", "not YAML .*line 2"),
    ],
)
def test_yaml_that_would_run_or_grow(tmp_path, content, message):
    path = tmp_path / "run.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError, match=rf"run\.yaml: .*{message}") as caught:
        raw_files.read_yaml(path, CorpusError)
    assert "\n" not in str(caught.value)


def test_yaml_may_repeat_what_is_small(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("base: &b {a: 1}\nrun:\n  <<: *b\n  c: [*b, *b]\n", encoding="utf-8")
    assert raw_files.read_yaml(path, CorpusError)["run"] == {"a": 1, "c": [{"a": 1}, {"a": 1}]}


class Evil:
    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


def test_a_docbin_brings_no_pickle_and_no_bomb(tmp_path, monkeypatch):
    import srsly
    from spacy.tokens import Doc, DocBin
    from spacy.vocab import Vocab

    path = tmp_path / "a.spacy"
    packed = DocBin(docs=[Doc(Vocab(), words=["Ann"], ents=["B-per"])]).to_bytes()
    told = srsly.msgpack_loads(zlib.decompress(packed))
    evil = {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": [1], b"data": pickle.dumps(Evil())}
    user_data = srsly.msgpack_dumps({"x": evil})
    path.write_bytes(zlib.compress(srsly.msgpack_dumps({**told, "user_data": [user_data]})))
    assert [record["text"] for record in read_docbin(path, ontology="x")] == ["Ann"]  # user data are not unpacked
    for key in ("tokens", "cats", "strings", "flags"):
        path.write_bytes(zlib.compress(srsly.msgpack_dumps({**told, key: evil})))
        with pytest.raises(CorpusError, match=r"a\.spacy: "):
            list(read_docbin(path, ontology="x"))
    monkeypatch.setattr(raw_files, "MOST_UNPACKED", 1_000)
    path.write_bytes(zlib.compress(b"x" * 1_001))
    with pytest.raises(CorpusError, match="end early, or unpack to more than 1,000 bytes"):
        list(read_docbin(path))


def test_what_is_not_there_or_may_not_be_read_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        list(read_lines(tmp_path / "none.txt"))
    with pytest.raises(IsADirectoryError):
        list(read_lines(tmp_path))
    with pytest.raises(FileNotFoundError), raw_files.open_parquet(tmp_path / "none.parquet", CorpusError):
        pass


def test_a_parquet_file_that_is_cut_or_not_utf8(tmp_path):
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    out = io.BytesIO()
    strings = pyarrow.array([b"\xff"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"id": strings}), out)
    for content in (out.getvalue(), out.getvalue()[:-3], out.getvalue()[: len(out.getvalue()) // 2], b"PAR1" * 9, b""):
        path.write_bytes(content)
        with (
            pytest.raises(CorpusError, match=r"a\.parquet: not a Parquet file, or a broken one"),
            raw_files.open_parquet(path, CorpusError) as parquet,
        ):
            [batch.to_pylist() for batch in parquet.iter_batches()]


def test_a_matrix_with_a_broken_header(tmp_path):
    path = tmp_path / "w.npy"
    for header in (
        b"{'descr': (\n",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n",
        b"\xff" * 20 + b"\n",
    ):
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + pickle.dumps(Evil()))
        with pytest.raises(CreditError, match=r"w\.npy: not a \.npy file of numbers"):
            read_credit(path, tiny.target_ontology())


def test_a_document_of_ontonotes_without_a_sentence_is_counted(tmp_path):
    path = tmp_path / "nw.name"
    head = '<DOC DOCNO="nw/x/{0}@{0}@x@nw@en@on">\n'
    path.write_text(head.format(1) + "<TURN>\n</DOC>\n" + head.format(2) + "Ann left .\n</DOC>\n", encoding="utf-8")
    report = ReadReport()
    assert [record["text"] for record in read_ontonotes(path, report=report)] == ["Ann left ."]
    assert dict(report.dropped) == {"document: no sentence in it": 1}

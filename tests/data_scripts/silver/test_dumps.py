"""MediaWiki dumps: read whole, or an error that tells how far."""

import bz2

import pytest

from finener.data_scripts.silver.dumps import DumpError, page_title, read_dump

from dumps import dump_xml, write_dump


def test_plain_and_packed_dumps_read_the_same(tmp_path):
    pages = [("One", "Text 😀."), ("Uno", "", 0, "one"), ("Help:X", "…", 12)]
    plain = write_dump(tmp_path / "a.xml", *pages)
    packed = tmp_path / "a.xml.bz2"
    packed.write_bytes(bz2.compress(plain.read_bytes()))
    read = list(read_dump(plain))
    assert read == list(read_dump(packed))
    assert [(p.title, p.namespace, p.redirect, p.text) for p in read] == [
        ("One", 0, "", "Text 😀."),
        ("Uno", 0, "One", ""),
        ("Help:X", 12, "", "…"),
    ]


def many_pages():
    return [(f"Page {i}", f"{i} " * 3000) for i in range(40)]


def test_a_truncated_packed_dump_is_an_error_after_its_good_pages(tmp_path):
    path = tmp_path / "a.xml.bz2"
    streams = b"".join(bz2.compress(part) for part in _halves(dump_xml(*many_pages()).encode()))
    path.write_bytes(streams[:-200])
    read = []
    with pytest.raises(DumpError) as error:
        for page in read_dump(path):
            read.append(page.title)
    assert read and f"the last good page is '{read[-1]}', number {len(read)}" in str(error.value)
    assert str(path) in str(error.value) and "truncated" in str(error.value)


def _halves(content):
    return content[: len(content) // 2], content[len(content) // 2 :]


def test_truncated_xml_and_no_pages(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(dump_xml(("One", "a"), ("Two", "b"))[:-40], encoding="utf-8")
    with pytest.raises(DumpError, match=r"broken or truncated XML.*the last good page is 'One', number 1"):
        list(read_dump(path))
    path.write_bytes(b"")
    with pytest.raises(DumpError, match="no page was read"):
        list(read_dump(path))
    path.write_text("<html></html>")
    with pytest.raises(DumpError, match="the root element is <html>, not <mediawiki>"):
        list(read_dump(path))
    path.write_bytes(b"BZh9 this is no bz2")
    with pytest.raises(DumpError, match=r"a\.xml: Invalid data stream"):
        list(read_dump(path))
    with pytest.raises(FileNotFoundError):
        list(read_dump(tmp_path / "none.xml"))


def test_an_entity_bomb_is_refused(tmp_path):
    path = tmp_path / "a.xml"
    bomb = '<!DOCTYPE m [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>' + dump_xml(("One", "x")).replace(">x<", ">&b;<")
    path.write_text(bomb, encoding="utf-8")
    with pytest.raises(DumpError, match="refused, because it declares entities or a document type"):
        list(read_dump(path))


def test_a_page_without_title_is_an_error(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(dump_xml(("One", "x"), ("Two", "y")).replace("<title>Two</title>", ""), encoding="utf-8")
    with pytest.raises(DumpError, match=r"a <page> without a title.*the last good page is 'One'"):
        list(read_dump(path))


def test_a_links_target_as_a_title():
    assert page_title("iPod_nano#Past ") == "IPod nano"
    assert page_title("A &amp; B") == "A & B"

"""From a MediaWiki dump to silver records, on small pages written for these tests."""

import bz2
import importlib.util
import json
import time
from collections import Counter
from pathlib import Path

import pytest

from finener.data_scripts.__main__ import main
from finener.data_scripts.record_files import read_records
from finener.data_scripts.schema import validate_record
from finener.data_scripts.silver.command import Cluster, build_silver
from finener.data_scripts.silver.gazetteer import UnlinkedNames
from finener.data_scripts.silver.names import WordCounts, inner_words, name_of_link
from finener.data_scripts.silver.tables import (
    KINDS,
    LEADING_HEADS,
    PROMINENCE,
    QUALIFIERS,
    RANKS,
    RULER,
    TITLE_HEADS,
    UNNAMED,
)
from finener.data_scripts.silver.titles import PERSON, SETTLEMENT, TableError, TitleTyper, read_gazetteer, read_nouns
from finener.data_scripts.silver.wikitext import (
    DumpError,
    Link,
    category_head,
    page_title,
    parse_page,
    read_dump,
    split_sentences,
    why_no_article,
)
from finener.ontology_finener import Ontology

from dumps import dump_xml, write_dump

ONTOLOGIES = Path(__file__).resolve().parents[3] / "ontologies"


@pytest.fixture(scope="module")
def yago():
    return Ontology.from_json(ONTOLOGIES / "yago.json")


@pytest.fixture(scope="module")
def gazetteer():
    return read_gazetteer(ONTOLOGIES / "yago_gazetteer.tsv")


@pytest.fixture(scope="module")
def nouns():
    return read_nouns(ONTOLOGIES / "yago_nouns.tsv")


# ---------------------------------------------------------------- dumps


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


# ---------------------------------------------------------------- wikitext


def links(passage):
    return [(passage.text[k.start : k.end], k.target) for k in passage.links]


def only_paragraph(wikitext):
    (paragraph,) = parse_page(wikitext).paragraphs
    return paragraph


@pytest.mark.parametrize(
    ("wikitext", "text", "expected"),
    [
        ("See the [[city]]s.", "See the citys.", [("citys", "City")]),
        ("See [[town|the town]]ship, ok.", "See the township, ok.", [("the township", "Town")]),
        ("In [[New_York#History|old York]] now", "In old York now", [("old York", "New York")]),
        ("A [[#Notes|note]] here", "A note here", []),
        ("[[:Category:Towns|Towns]] and [[wikt:go|go]] and [[:fr:Rue|rue]]", "Towns and go and rue", []),
        ("[[2001: A Tale]] ran", "2001: A Tale ran", [("2001: A Tale", "2001: A Tale")]),
        ("'''Bree''' and ''[[Rohan]]''s", "Bree and Rohans", [("Rohan", "Rohan")]),
        ('The [["Bree"]] and [[Rohan|Rohan, ]] x', 'The "Bree" and Rohan, x', [("Bree", '"Bree"'), ("Rohan", "Rohan")]),
        (
            "In [[Washington, D.C.|Washington, D.C.]] ok",
            "In Washington, D.C. ok",
            [("Washington, D.C.", "Washington, D.C.")],
        ),
        ("Bree&nbsp;&amp; Rohan&mdash;both", "Bree & Rohan—both", []),
        ("😀 [[東京]] is big", "😀 東京 is big", [("東京", "東京")]),
        ("Bree{{cite|x=[[A]]}} (; {{lang|x|}}, ) is<ref>no [[B]]</ref> small<!-- c -->.", "Bree is small.", []),
        ("It has {{convert|12|km}} of {{nowrap|old road}}", "It has 12 km of old road", []),
        ("[http://x.org The site] at http://y.org [http://z.org]", "The site at", []),
        ("One\ntwo [[Bree]]", "One two Bree", [("Bree", "Bree")]),
        ("[[File:a.jpg|thumb|A [[Bree]] b]]Text [[Image:b.png]] on", "Text on", []),
        ("[[File:a.jpg|thumb|of [[Bree]]]] Text", "Text", []),
        ("Seen [http://x.org by [[Bo Lee]]], twice", "Seen by Bo Lee, twice", [("Bo Lee", "Bo Lee")]),
        ("It is <nowiki>[[Bree]]</nowiki> &lt;ref> AT&T", "It is [[Bree]] <ref> AT&T", []),
        ("{{Infobox\n| a = {{b|[[c]]}}\n}} '''Bree''' is{{efn|a {{b}}}} old", "Bree is old", []),
        ('A<ref name=x>b<ref/>c</ref> town<ref name="y" /> was<ref>[[X]] {{cite</ref> here', "A town was here", []),
        ("{{nowrap|the {{small|[[Old Road|road]]}}}} is", "the road is", [("road", "Old Road")]),
    ],
)
def test_plain_text_and_links(wikitext, text, expected):
    paragraph = only_paragraph(wikitext)
    assert (paragraph.text, links(paragraph)) == (text, expected)


def test_only_prose_is_kept():
    article = parse_page(
        "{{Infobox|name=[[Bree]]}}\n== Past ==\nBree is old.\n\nIt stands.\n* a [[list]]\n** item\n:said [[Ann]]\nMore prose.\n"
        "{| class=x\n| cell [[Rohan]]\n|}\n code here\n<gallery>\nFile:x.jpg|[[x]]\n</gallery>\n<blockquote>A quote.</blockquote>\n"
        "=== Sub ===\nEnd.\n==References==\nGone.\n===Books===\nGone too.\n== Later ==\nBack.\n"
        "[[Category:Towns in Eriador|*]][[Category:Bree]]\n[[fr:Bree]]"
    )
    assert [p.text for p in article.paragraphs] == [
        "Bree is old.",
        "It stands.",
        "More prose.",
        "A quote.",
        "End.",
        "Back.",
    ]
    assert article.categories == ("Towns in Eriador", "Bree")


def test_deep_and_broken_wikitext_does_not_fail():
    for wikitext in ("[[" * 500, "{{" * 500, "'''" * 501, "<div>" * 300, "{|\n" * 100, "", " ", "x" * 100_000):
        for paragraph in parse_page(wikitext).paragraphs:
            assert paragraph.text == paragraph.text.strip()


def test_a_broken_page_costs_linear_time():
    pieces = (
        "[[a|",
        "{{a|",
        "<ref>",
        "<ul></ol>",
        "{| {{ ]] ",
        "''[[a]]",
        "<!--",
        "[http://a ",
        "<nowiki>",
        "=",
        "[[a|[b",
        " (",
        "&a",
    )
    for piece in pieces:
        times = []
        for count in (2_000, 32_000):
            start = time.process_time()
            parse_page(piece * count)
            times.append(time.process_time() - start)
        assert times[1] < 80 * max(times[0], 0.02), piece  # 16 times the text; 256 times the time would be a square


@pytest.mark.parametrize(
    ("title", "text", "reason"),
    [
        ("Bree", "'''Bree''' is a town. {{Infobox disease}} {{main|Disambiguation in logic}}", ""),
        ("Bree", "'''Bree''' may be: {{Disambiguation|geo}}", "disambiguation page"),
        ("Bree", "{{place name disambiguation}}", "disambiguation page"),
        ("Bree (disambiguation)", "…", "disambiguation page"),
        ("Bree", "[[Category:Place name disambiguation pages]]", "disambiguation page"),
        ("List of towns", "They are:", "list"),
        ("Listowel", "A town.", ""),
    ],
)
def test_pages_that_are_no_articles(title, text, reason):
    assert why_no_article(title, text) == reason


def test_titles():
    assert page_title("iPod_nano#Past ") == "IPod nano"
    assert page_title("A &amp; B") == "A & B"


def test_sentences_keep_their_links_whole():
    paragraph = only_paragraph(
        "Dr. Lee saw [[Who Is It? A Tale|Who Is It? A Tale]] 😀 twice. Then [[Bree]] slept.  [[Rohan]] too!"
    )
    sentences = split_sentences(paragraph)
    assert [s.text for s in sentences] == ["Dr. Lee saw Who Is It? A Tale 😀 twice.", "Then Bree slept.", "Rohan too!"]
    assert [links(s) for s in sentences] == [
        [("Who Is It? A Tale", "Who Is It? A Tale")],
        [("Bree", "Bree")],
        [("Rohan", "Rohan")],
    ]


def test_category_heads(nouns):
    assert category_head("Rivers of France", nouns) == "river"
    assert category_head("History of France", nouns) == ""


# ---------------------------------------------------------------- titles


def test_the_tables_name_classes_of_the_ontology(yago):
    named = {
        *TITLE_HEADS.values(),
        *LEADING_HEADS.values(),
        *QUALIFIERS.values(),
        *RANKS.values(),
        *PROMINENCE,
        *UNNAMED,
    }
    assert [
        c
        for c in sorted(named) + [c for roots in KINDS.values() for c in roots] + [PERSON, SETTLEMENT, RULER]
        if c not in yago
    ] == []


@pytest.fixture(scope="module")
def typer(yago, gazetteer, nouns):
    typer = TitleTyper(yago, gazetteer, nouns, is_name=lambda word: word not in ("Moon", "Time"))
    typer.categories |= {
        "Ada Quill": (
            "1815 births",
            "Living people",
            "English poets",
            "Poets from Bree",
            "Alumni of X",
            "Towns in Eriador",
        ),
        "Stonefall": ("Bridges in Eriador", "Bridges completed in 1900", "1900 establishments", "Articles with links"),
        "Alkali metal": ("Metals", "Chemical groups"),
        "Angola": ("Countries in Africa", "Member states of X"),
        "Ulm Minster X": ("1900 establishments in Ulm", "Wikipedia articles", "Stubs"),
    }
    return typer


def names(types):
    return [t[:-9] for t in types]


@pytest.mark.parametrize(
    ("title", "expected", "source"),
    [
        ("Karl Marx", ["Economist", "Philosopher", "Revolutionist"], "wordnet"),
        ("Jordan", ["Country"], "wordnet"),  # WordNet's first sense is the river
        ("Niger", ["Country"], "wordnet"),
        ("Neptune", ["GasGiant", "OuterPlanet", "SuperiorPlanet"], "wordnet"),
        ("Angola", ["Country"], "wordnet"),
        ("Friedrich Nietzsche", ["Philosopher"], "wordnet"),  # Friedrich Wilhelm Nietzsche
        ("Zürich", ["City"], "wordnet"),  # without its accents
        ("Ada Quill", ["Poet"], "category"),
        ("Stonefall", ["Bridge"], "category"),
        ("Coosa River", ["River"], "wordnet"),
        ("Brandy River", ["River"], "title"),
        ("Battle of Bree", ["Battle"], "title"),
        ("University of Bree", ["University"], "title"),
        ("Bree Act of 1911", ["Law"], "title"),
        ("Lake Bree", ["Lake"], "title"),
        ("Time (magazine)", ["Periodical"], "title"),
        ("The Tale (1975 film)", ["Movie"], "title"),
        ("Bo Lee (historian)", ["Historian"], "title"),
        ("Georgia (U.S. state)", ["State"], "title"),
        ("Ajax (mythology)", ["MythicalBeing"], "title"),
        ("Breeville, Alabama", ["Municipality"], "title"),
        ("Bree Party (United States)", ["Party"], "title"),
        ("Bo Lee, 5th Viscount Lee", ["Noble"], "title"),
        ("Bo II of Bree", ["Sovereign"], "title"),
        ("Shirley Temple", ["Actress"], "wordnet"),
        ("Robert Temple", [], ""),  # a surname is no building
        ("Alkali metal", [], ""),  # not a name
        ("Moon", [], ""),  # as often in lower case here
        ("History of Angola", [], ""),
        ("Ulm Minster X", [], ""),
        ("English language", [], ""),
        ("May", [], ""),
        ("1990s", [], ""),
    ],
)
def test_types_of_titles(typer, title, expected, source):
    types, found = typer.types(title)
    assert (names(types), found) == (expected, source)


def test_tables_name_file_and_line(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("Bree\t1\tTown\nRohan\n", encoding="utf-8")
    with pytest.raises(TableError, match=r"t\.tsv:2: expected 'name TAB synset TAB class\|class', got 'Rohan\\n'"):
        read_gazetteer(path)


@pytest.mark.parametrize(
    ("anchor", "title", "aliases", "is_place", "expected"),
    [
        ("France", "France", [], True, "France"),
        ("French", "France", [], True, None),
        ("Byzantine", "Byzantine Empire", [], True, None),
        ("France's", "France", [], True, "France"),
        ("McDonald's", "McDonald's", [], False, "McDonald's"),
        ("the Hague", "Hague", [], True, None),
        ("The Hague", "The Hague", [], True, "The Hague"),
        ("U.S.", "United States", [], True, "U.S."),
        ("Marx", "Karl Marx", [], False, "Marx"),
        ("President Lee", "Bo Lee", [], False, None),
        ("Bo Q. Lee", "Bo Lee", [], False, "Bo Q. Lee"),
        ("Shiloh", "Battle of Shiloh", [], False, None),
        ("Coosa", "Coosa River", [], True, "Coosa"),
        ("Formosa", "Taiwan", ["Formosa"], True, "Formosa"),
        ("Walled city of Baku", "Baku", [], True, None),
        ("Outside the Law (2010)", "Outside the Law (film)", [], False, "Outside the Law"),
    ],
)
def test_which_anchors_are_names(anchor, title, aliases, is_place, expected):
    text = f"In {anchor} now"
    span = name_of_link(text, Link(3, 3 + len(anchor), title), title, aliases, is_place=is_place)
    if expected is None:
        assert isinstance(span, str) or text[slice(*span)] != anchor
    else:
        assert text[slice(*span)] == expected


def test_unlinked_names_must_be_clear(typer):
    texts = (
        "We saw Angola, Turkey, Paris, Paul and Nike.",
        "We ate turkey with Reading and reading.",
        "In Boston by Lee.",
    )
    counts = WordCounts(Counter(word for text in texts for word in inner_words(text)))
    names_of = UnlinkedNames(typer, counts, {})
    assert names(names_of.types("Angola")) == ["Country"]
    assert names(names_of.types("Paris")) == ["NationalCapital"]
    assert names(names_of.types("Los Angeles")) == ["City", "PortOfEntry"]
    for unclear in (
        "Turkey",
        "Paul",
        "Reading",
        "Nike",
        "Lee",
        "Mark",
        "OR",
        "President Lincoln",
        "September 11",
        "Houston",
    ):
        if unclear in typer.gazetteer:
            assert names_of.types(unclear) == (), unclear


# ---------------------------------------------------------------- the whole way

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

"""Wikipedia's own notation: dumps, pages, category names.

Offsets are half-open and count code points of the plain text they belong to.
"""

from __future__ import annotations

import bz2
import html
import re
from bisect import bisect_right
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import inflect
import mwparserfromhell
import sentencex
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse
from mwparserfromhell.nodes import ExternalLink, Heading, HTMLEntity, Tag, Template, Text, Wikilink

from .tables import word_set

# ---------------------------------------------------------------- dumps


class DumpError(ValueError):
    """A dump cannot be read to its end. The message names the file and the last page that was read well."""


@dataclass(frozen=True)
class Page:
    """One page of a dump; ``redirect`` is the title it leads to, or ""."""

    title: str
    namespace: int
    redirect: str
    text: str


def read_dump(path: str | Path) -> Iterator[Page]:
    """Reads a MediaWiki XML dump, plain or bz2-compressed (told apart by content), in constant memory.

    Yields:
        The pages in the dump's order; of a page with several revisions, the last one.

    Raises:
        DumpError: when the dump is truncated, is not XML or not a dump, or declares a document type or entities (which no
            dump does and which could make it expand without bound). Pages before that place have been yielded by then.
        FileNotFoundError: when there is no such file.
    """
    path, count, last = Path(path), 0, ""
    try:
        with path.open("rb") as raw:
            packed = raw.read(3) == b"BZh"
            raw.seek(0)
            with bz2.open(raw) if packed else raw as stream:
                for element in _page_elements(stream):
                    page = _page(element)
                    yield page
                    count, last = count + 1, page.title
    except FileNotFoundError:
        raise
    except (EOFError, OSError, ParseError, DefusedXmlException, _NotADump) as error:
        reached = f"the last good page is {last!r}, number {count}" if count else "no page was read"
        raise DumpError(
            f"{path}: {_what_is_wrong(error)}; {reached}. Expected a complete pages-articles dump, .xml or .xml.bz2"
        ) from error


class _NotADump(Exception):
    pass


def _what_is_wrong(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the file is truncated: its compressed data end too early"
    if isinstance(error, ParseError):
        return f"broken or truncated XML ({error})"
    if isinstance(error, DefusedXmlException):
        return f"refused, because it declares entities or a document type ({error})"
    return str(error)


def _page_elements(stream) -> Iterator[Element]:
    """The ``page`` elements; each is emptied when the next one is asked for."""
    root = None
    for event, element in iterparse(stream, events=("start", "end"), forbid_dtd=True):
        if root is None:
            root = element
            if _local(root) != "mediawiki":
                raise _NotADump(f"the root element is <{_local(root)}>, not <mediawiki>")
        elif event == "end" and _local(element) == "page":
            yield element
            root.clear()  # else every page would stay in the tree


def _local(element: Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _page(element: Element) -> Page:
    parts = {_local(part): part for part in element.iter()}
    title = parts["title"].text if "title" in parts else None
    number = parts["ns"].text if "ns" in parts else "0"
    if not title or not re.fullmatch(r"-?\d+", number or ""):
        raise _NotADump(f"a <page> without a title, or with the namespace {number!r}, which is no number")
    redirect = page_title(parts["redirect"].get("title", "")) if "redirect" in parts else ""
    text = parts["text"].text if "text" in parts else None
    return Page(page_title(title), int(number), redirect, text or "")


def page_title(target: str) -> str:
    """A link's target as a title: no section, blanks for underscores, the first letter upper case."""
    title = " ".join(html.unescape(target).replace("_", " ").split("#")[0].split())
    return title[:1].upper() + title[1:]


# ---------------------------------------------------------------- pages


@dataclass(frozen=True)
class Link:
    """``text[start:end]`` of its passage links to the article ``target``."""

    start: int
    end: int
    target: str


@dataclass(frozen=True)
class Passage:
    """Plain text and its links, in order; a paragraph or a sentence."""

    text: str
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Article:
    """What a page says in running text, and the names of its categories."""

    paragraphs: tuple[Passage, ...]
    categories: tuple[str, ...]


HOLE = "\ufffc"  # stands where a formula was: a sentence with one cannot be read as it is

_MEDIA = frozenset({"file", "image", "media"})
_NAMESPACES = _MEDIA | word_set(
    "category book draft help mediawiki module portal project special talk template timedtext user wikipedia wp c commons d m meta "
    "mw n q s species v w wikt wiktionary wikisource wikiquote wikinews wikibooks wikiversity b voy"
)
_LANGUAGE = re.compile(r"simple|[a-z]{2,3}(-[a-z]+)*")
_DROPPED_TAGS = word_set(
    "ref references table gallery imagemap timeline source syntaxhighlight pre ol ul dl graph mapframe templatestyles"
)
_HOLE_TAGS = frozenset({"math", "chem", "ce", "score"})
_BLOCK_TAGS = frozenset({"table", "blockquote", "div", "center", "p", "gallery", "ol", "ul", "dl", "pre", "poem"})
_LIST_TAGS = frozenset({"li", "dd", "dt"})
_HOLE_TEMPLATES = word_set("math mvar chem val frac sfrac sub sup eqm angbr bartable nuclide physics particle")
# Templates that only dress up words of the sentence, and the positions of those words.
_SHOWN_TEMPLATES = {
    "convert": ("1", "2"),
    "lang": ("2",),
    "nihongo": ("1",),
    "nowrap": ("1",),
    "small": ("1",),
    "smaller": ("1",),
    "vanchor": ("1",),
}
# Sections whose words are not sentences about the subject.
_BACK_MATTER = frozenset(
    {
        "bibliography",
        "citations",
        "discography",
        "external links",
        "filmography",
        "footnotes",
        "further reading",
        "gallery",
    }
    | {"notes", "notes and references", "publications", "references", "see also", "sources", "works cited"}
)
_TRAIL = re.compile(r"[a-z]+")
_MARKS = re.compile(r"''+|__[A-Z]+__|[\u00ad\u200b-\u200f\u2060\ufeff]")
_RESIDUE = re.compile(
    r" *\([\s,;:/–-]*\)"  # brackets that a template left empty
    r"|(?<=\()[\s,;:]+|[\s,;:]+(?=\))"
    r"| (?= )|^ +| +$| (?=[,;.!?](?:\s|$))"
)


def parse_page(wikitext: str) -> Article:
    """Reads a page's wikitext.

    Out of the text stay templates, tables, references, comments, images, headings, list items and the sections at a page's
    end that hold no prose; a formula leaves a :data:`HOLE`. A link's anchor has no outer white space, quotes or punctuation.
    """
    reader = _Reader()
    reader.walk(mwparserfromhell.parse(wikitext).nodes)
    reader.end_paragraph()
    return Article(tuple(reader.paragraphs), tuple(dict.fromkeys(reader.categories)))


class _Reader:
    """Walks a page's nodes once, in order, and collects its paragraphs."""

    def __init__(self) -> None:
        self.paragraphs: list[Passage] = []
        self.categories: list[str] = []
        self._parts: list[str] = []
        self._length = 0  # characters in _parts
        self._links: list[Link] = []
        self._line_is_blank = True
        self._skips_line = False  # inside a list item
        self._back_matter = 0  # level of the heading that began it; 0 outside

    def walk(self, nodes) -> None:
        previous = None
        for node in nodes:
            if isinstance(node, Text):
                self._text(node.value, isinstance(previous, Wikilink))
            elif isinstance(node, Wikilink):
                self._wikilink(node)
            elif isinstance(node, Tag):
                self._tag(node)
            elif isinstance(node, HTMLEntity):
                self._add(_entity(node))
            elif isinstance(node, ExternalLink):
                if node.title is not None:
                    self.walk(node.title.nodes)
            elif isinstance(node, Template):
                self._template(node)
            elif isinstance(node, Heading):
                self._heading(node)
            previous = node

    def end_paragraph(self) -> None:
        if self._parts:
            text = re.sub(r"\s", " ", "".join(self._parts))
            passage = _without(_without(Passage(text, tuple(self._links)), _MARKS), _RESIDUE)
            if passage.text:
                links = (_trimmed(passage.text, link) for link in passage.links)
                self.paragraphs.append(Passage(passage.text, tuple(link for link in links if link.start < link.end)))
        self._parts, self._length, self._links, self._line_is_blank = [], 0, [], True

    def _add(self, text: str) -> None:
        if text and not self._skips_line and not self._back_matter:
            self._parts.append(text)
            self._length += len(text)
            self._line_is_blank = self._line_is_blank and not text.strip()

    def _text(self, text: str, follows_link: bool) -> None:
        first, *lines = text.split("\n")
        if follows_link and (trail := _TRAIL.match(first)) and self._links and self._links[-1].end == self._length:
            self._add(trail.group())
            link = self._links[-1]
            self._links[-1] = Link(link.start, self._length, link.target)
            first = first[trail.end() :]
        self._add(first)
        for line in lines:
            if self._line_is_blank and not self._skips_line:
                self.end_paragraph()
            self._skips_line = False
            self._add("\n")
            self._line_is_blank = True
            # Lines that begin with a blank are shown as they are (code, diagrams); bars are left over from a broken table.
            self._skips_line = line.startswith(("|", "!", "{|")) or (line.startswith(" ") and bool(line.strip()))
            self._add(line)

    def _wikilink(self, node: Wikilink) -> None:
        written = str(node.title).strip()
        visible = written.startswith(":")
        prefix, colon, rest = written.lstrip(":").partition(":")
        prefix = prefix.strip().lower()
        if colon and not visible:
            if prefix == "category":
                self.categories.append(page_title(rest))
                return
            if prefix in _MEDIA or _LANGUAGE.fullmatch(prefix):
                return
        links, start = self._links, self._length
        if node.text is None:
            self._add(html.unescape(written.lstrip(":")))
        else:
            self.walk(node.text.nodes)
        target = page_title(written.lstrip(":"))
        is_elsewhere = prefix in _NAMESPACES or prefix.endswith(" talk") or _LANGUAGE.fullmatch(prefix)
        if not (colon and is_elsewhere) and target and links is self._links and start < self._length:
            links.append(Link(start, self._length, target))

    def _tag(self, node: Tag) -> None:
        name = str(node.tag).strip().lower()
        if name in _LIST_TAGS:
            if node.wiki_markup:  # "*", "#", ":" or ";": its words follow as siblings, up to the line's end
                self.end_paragraph()
                self._skips_line = True
            return
        if name in _BLOCK_TAGS:
            self.end_paragraph()
        if name in _HOLE_TAGS:
            self._add(HOLE)
        elif name == "br":
            self._add(" ")
        elif name not in _DROPPED_TAGS and node.contents is not None:
            self.walk(node.contents.nodes)
        if name in _BLOCK_TAGS:
            self.end_paragraph()

    def _template(self, node: Template) -> None:
        name = str(node.name).strip().lower()
        if name in _HOLE_TEMPLATES:
            self._add(HOLE)
        for position, key in enumerate(_SHOWN_TEMPLATES.get(name, ())):
            if node.has(key):
                self._add(" " * bool(position))
                self.walk(node.get(key).value.nodes)

    def _heading(self, node: Heading) -> None:
        self._skips_line = False
        self.end_paragraph()
        if not self._back_matter or node.level <= self._back_matter:
            is_back_matter = str(node.title).strip().lower() in _BACK_MATTER
            self._back_matter = node.level if is_back_matter else 0


def _entity(node: HTMLEntity) -> str:
    text = html.unescape(str(node))
    return "" if text.startswith("&") and text.endswith(";") and len(text) > 1 else text


def _without(passage: Passage, pattern: re.Pattern) -> Passage:
    """The passage with the pattern's matches cut out, its links moved along."""
    text, starts, removed, kept, end = passage.text, [0], [0], [], 0
    for match in pattern.finditer(text):
        kept.append(text[end : match.start()])
        end = match.end()
        starts.append(end)
        removed.append(removed[-1] + len(match.group()))
    if not kept:
        return passage
    kept.append(text[end:])
    shorter = "".join(kept)

    def moved(offset: int) -> int:
        return min(max(0, offset - removed[bisect_right(starts, offset) - 1]), len(shorter))

    return Passage(shorter, tuple(Link(moved(k.start), moved(k.end), k.target) for k in passage.links))


_QUOTES = "\"“”„‘’'«»‹›` "
# A final full stop stays after an abbreviation: "Washington, D.C.", "Time Inc.".
_ABBREVIATION = re.compile(r"(?:\b\w|\.\w|\b(?:Bros|Co|Corp|Esq|Inc|Jr|Ltd|Sr|St))\.$")


def _trimmed(text: str, link: Link) -> Link:
    start, end = link.start, link.end
    while start < end and text[start] in _QUOTES:
        start += 1
    while start < end and (
        text[end - 1] in _QUOTES + ",;:!?" or (text[end - 1] == "." and not _ABBREVIATION.search(text[start:end]))
    ):
        end -= 1
    return Link(start, end, link.target)


def split_sentences(paragraph: Passage) -> list[Passage]:
    """The sentences of a paragraph, without outer white space; a link is never cut in two."""
    sentences, start = [], 0
    inside = {offset for link in paragraph.links for offset in range(link.start + 1, link.end)}
    for boundary in sentencex.get_sentence_boundaries("en", paragraph.text):
        end = boundary["end_index"]
        if end in inside:
            continue
        raw = paragraph.text[start:end]
        left = start + len(raw) - len(raw.lstrip())
        links = (Link(k.start - left, k.end - left, k.target) for k in paragraph.links if start <= k.start < end)
        if raw.strip():
            sentences.append(Passage(raw.strip(), tuple(links)))
        start = end
    return sentences


# ---------------------------------------------------------------- category names

_ENGLISH = inflect.engine()

# The head noun of a category name stands before the first of these: "Rivers *of* France", "Places *established* in 1850".
_AFTER_HEAD = word_set(
    "about as associated at awarded based between born buried built by completed convicted designed disestablished educated "
    "established executed featuring for founded from held in introduced involving killed made named near of on opened produced "
    "related released set that to under using who with won"
)


@lru_cache(maxsize=100_000)
def singular(noun: str) -> str:
    """The singular of a plural noun, "" when the word is no plural: "cities" → "city", "physics" → ""."""
    if not re.fullmatch(r"[a-z]+(-[a-z]+)*", noun):
        return ""
    return _ENGLISH.singular_noun(noun) or ""


def category_head(category: str, nouns: Container[str]) -> str:
    """The head noun of a plural category name, with as many of its modifiers as ``nouns`` knows.

    "Association football clubs in Paris" → "football club"; "" for a name without a plural head, such as "History of Paris".
    The method is that of YAGO (Suchanek et al. 2007): only a plural head says what the category's members *are*.
    """
    words = re.sub(r"\s*\(.*?\)", "", category).split()
    end = next((i for i, word in enumerate(words) if i and word.lower() in _AFTER_HEAD), len(words))
    head = singular(words[end - 1].lower()) if words[:end] else ""
    if not head:
        return ""
    for first in range(max(0, end - 3), end):
        phrase = " ".join([*(w.lower() for w in words[first : end - 1]), head])
        if phrase in nouns:
            return phrase
    return ""

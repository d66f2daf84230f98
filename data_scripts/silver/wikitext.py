"""Wikipedia's own notation: an article's running text, its links, sentences and categories.

Offsets are half-open and count code points of the plain text they belong to.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import sentencex

from finener.data_scripts.silver.dumps import page_title
from finener.data_scripts.silver.lexicon import word_set


class Link(NamedTuple):
    """``text[start:end]`` of its passage links to the article ``target``."""

    start: int
    end: int
    target: str


class Passage(NamedTuple):
    """Plain text and its links, in order; a paragraph or a sentence."""

    text: str
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Article:
    """What a page says in running text, and the names of its categories."""

    paragraphs: tuple[Passage, ...]
    categories: tuple[str, ...]


HOLE = "\ufffc"  # stands where a formula was: a sentence with one cannot be read as it is
_GAP = "\0"  # stands where something was cut out until its paragraph is whole: it may have begun the line

_MEDIA = frozenset({"file", "image", "media"})
_NAMESPACES = _MEDIA | word_set(
    "category book draft help mediawiki module portal project special talk template timedtext user wikipedia wp c commons d m meta "
    "mw n q s species v w wikt wiktionary wikisource wikiquote wikinews wikibooks wikiversity b voy"
)
_LANGUAGE = re.compile(r"simple|[a-z]{2,3}(-[a-z]+)*")
# Tags that are cut out with what they hold: within a line, as a block of their own, and where words are missed.
_INLINE_TAGS = word_set("ref references source syntaxhighlight graph mapframe templatestyles li dd dt")
_BLOCK_TAGS = word_set("table gallery imagemap timeline pre ol ul dl")
_HOLE_TAGS = word_set("math chem ce score")
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
_CUT_TAGS = "|".join(sorted(_INLINE_TAGS | _BLOCK_TAGS | _HOLE_TAGS))
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_NOWIKI = re.compile(r"<nowiki>((?:(?!<nowiki>).)*?)</nowiki>", re.DOTALL | re.IGNORECASE)
# A whole link or template that holds no other, an opening or a closing bracket. Each form begins with a plain character: that is
# what makes the search fast.
_BRACKET = re.compile(
    r"\[\[[^][{}<:]*\]\](?!\])|\{\{[^][{}<]*\}\}|\{\{|\{\||\[\[|\}\}|\|\}(?!\})|\]\](?!\](?!\]))"
    rf"|<(?i:/?(?:{_CUT_TAGS})\b)[^<>]*>"
)
_TAG_NAME = re.compile(r"</?(\w+)")
_OPENS = {"}}": "{{", "|}": "{|", "]]": "[["}
_DEEPEST = 50  # how far back a closing bracket looks for its opening one: a broken page costs no more than a good one
_ARGUMENT = re.compile(r"\|(?![^\[]*\]\])")
_BREAK = re.compile(r"<br\b[^<>]*>", re.IGNORECASE)
_BLOCK = re.compile(r"</?(?:blockquote|div|center|p|poem)\b[^<>]*>[ \t]*", re.IGNORECASE)
_OTHER_TAG = re.compile(rf"<(?!/?(?:{_CUT_TAGS})\b)/?[a-z][a-z0-9]*(?:\s[^<>]*)?/?>", re.IGNORECASE)
_EXTERNAL_LINK = re.compile(
    r"\[(?:[a-z]+:)?//[^\s\]]*\s*([^\[\]]*(?:\[\[[^\[\]]*\]\][^\[\]]*)*)\]|\b(?:https?|ftp)://[^\s\[\]]*[^\s\[\],.;:!?)]"
)
_LINK = re.compile(r"\[\[([^\[\]|]+)(?:\|([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*))?\]\]([a-z]*)")
_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[a-zA-Z]+\d*);")
# Alternatives that all begin with a plain character are searched for several times faster than character classes.
_MARKS = re.compile("|".join(["''+", "__[A-Z]+__", _GAP, *"\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"]))
_SPACE = re.compile("|".join(c for c in map(chr, range(0x3001)) if c.isspace() and c != " "))
_NOT_PLAIN = re.compile(f"{_MARKS.pattern}|{_SPACE.pattern}")
_RESIDUE = re.compile(
    r" *\([ ,;:/–-]*\)"  # brackets that a template left empty
    r"|(?<=\()[ ,;:]+|[ ,;:]+(?=\))"
    r"| (?= )|^ +| +$| (?=[,;.!?](?: |$))"
)
_RESIDUE_SIGN = re.compile(r" [ ,;.!?)]|\([ ,;:/–)-]|,\)|;\)|:\)")  # a quick look whether there may be any
_DISAMBIGUATES = re.compile(
    r"\{\{\s*(?i:[\w -]*disambig[\w -]*|dab|hndis|geodis|numberdis|schooldis|mil-?unit-?dis|given name|surname)\s*[|}]"
    r"|\[\[\s*(?i:category\s*:[^\]]*disambiguation)"
)


def why_no_article(title: str, wikitext: str) -> str:
    """Why a page of the article namespace holds no prose on a subject, "" for one that may."""
    if title.startswith(("List of ", "Lists of ")):
        return "list"
    is_disambiguation = title.endswith("(disambiguation)") or _DISAMBIGUATES.search(wikitext)
    return "disambiguation page" if is_disambiguation else ""


def parse_page(wikitext: str) -> Article:
    """Reads a page's wikitext, in linear time.

    Out of the text stay templates, tables, references, comments, images, headings, list items and the sections at a page's
    end that hold no prose; a formula leaves a :data:`HOLE`. A link's anchor has no outer white space, quotes or punctuation.
    """
    categories: dict[str, None] = {}
    text = _folded(_NOWIKI.sub(_without_meaning, _COMMENT.sub("", wikitext)), categories)
    if "<" in text:
        text = _OTHER_TAG.sub(_GAP, _BLOCK.sub("\n\n", _BREAK.sub(" ", text)))
    passages = map(_passage, _paragraphs(text))
    return Article(tuple(p for p in passages if p.text), tuple(categories))


def _without_meaning(match: re.Match) -> str:
    """What stands between <nowiki> tags, its marks written as entities."""
    return re.sub(r"[^\w\s]", lambda mark: f"&#{ord(mark.group())};", match.group(1))


def _folded(text: str, categories: dict[str, None]) -> str:
    """The page without what its brackets hold: templates, tables, references, images. Links and unpaired brackets stay.

    Args:
        text: wikitext without comments.
        categories: the page's categories are put here.
    """
    levels: list[tuple[str, str, list[str]]] = [
        ("", "", [])
    ]  # of open brackets: kind, as written, pieces of what follows
    position = 0
    for match in _BRACKET.finditer(text):
        written = match.group()
        kind = written[:2]
        if kind == "[[" and len(written) > 2:
            continue
        levels[-1][2].append(text[position : match.start()])
        position = match.end()
        if kind == "{{" and len(written) > 2:
            levels[-1][2].append(_content(kind, written[2:-2], categories))
            continue
        if kind[0] == "<":
            kind = _TAG_NAME.match(written).group(1).lower()
            if written.endswith("/>"):
                levels[-1][2].append(_tag(kind))
                continue
        if written[1] != "/" and kind not in _OPENS:
            levels.append((kind, written, []))
            continue
        kind = _OPENS.get(kind, kind)
        lowest = max(1, len(levels) - _DEEPEST)
        level = next((i for i in range(len(levels) - 1, lowest - 1, -1) if levels[i][0] == kind), None)
        if level is None:
            levels[-1][2].append(written)
            continue
        inside = "".join(levels[level][2] + [s for _, opening, rest in levels[level + 1 :] for s in (opening, *rest)])
        del levels[level:]
        levels[-1][2].append(_content(kind, inside, categories))
    levels[-1][2].append(text[position:])
    return "".join(s for _, opening, pieces in levels for s in (opening, *pieces))


def _content(kind: str, inside: str, categories: dict[str, None]) -> str:
    """What stays of a pair of brackets."""
    if kind == "[[":
        prefix, colon, rest = inside.partition(":")
        if colon and len(prefix) < 20:
            prefix = prefix.strip().lower()
            if prefix == "category":
                categories[page_title(rest.split("|")[0])] = None
                return _GAP
            if prefix in _MEDIA or _LANGUAGE.fullmatch(prefix):
                return _GAP
        return f"[[{inside}]]"
    if kind == "{{":
        return _GAP + _template(inside)
    return "\n\n" if kind == "{|" else _tag(kind)


def _tag(name: str) -> str:
    return HOLE if name in _HOLE_TAGS else "\n\n" if name in _BLOCK_TAGS else _GAP


def _template(inside: str) -> str:
    name, _, rest = inside.partition("|")
    name = name.strip().lower()
    if name in _HOLE_TEMPLATES:
        return HOLE
    if name not in _SHOWN_TEMPLATES:
        return ""
    arguments: dict[str, str] = {}
    unnamed = 0
    for argument in _ARGUMENT.split(rest):
        key, equals, value = argument.partition("=")
        unnamed += not equals
        arguments[key.strip() if equals else str(unnamed)] = value if equals else argument
    return " ".join(arguments[key] for key in _SHOWN_TEMPLATES[name] if key in arguments)


def _paragraphs(text: str) -> Iterator[str]:
    """The running text, its lines joined by blanks."""
    lines: list[str] = []
    back_matter = 0  # level of the heading that began it; 0 outside
    for line in text.split("\n"):
        first = line[:1]
        # Lines that begin with a blank are shown as they are (code, diagrams); bars are left over from a broken table.
        if first in ("|", "!") or (first == " " and line.strip()) or line.startswith("{|"):
            continue
        level, heading = _heading(line) if first == "=" else (0, "")
        if level and (not back_matter or level <= back_matter):
            back_matter = level if heading.lower() in _BACK_MATTER else 0
        if level or first in ("*", "#", ":", ";") or line.startswith("----") or not line.strip(" \t\0"):
            if lines:
                yield " ".join(lines)
            lines = []
        elif not back_matter:
            lines.append(line)
    if lines:
        yield " ".join(lines)


def _heading(line: str) -> tuple[int, str]:
    """Level and words of a heading, (0, "") for a line that is none."""
    line = line.rstrip(" \t\0")
    level = min(len(line) - len(line.lstrip("=")), len(line) - len(line.rstrip("=")), (len(line) - 1) // 2)
    return level, _plain(line[level : len(line) - level]).strip()


def _passage(wikitext: str) -> Passage:
    """A paragraph's text and links."""
    if "//" in wikitext:
        wikitext = _EXTERNAL_LINK.sub(r"\1", wikitext)
    parts: list[str] = []
    links: list[Link] = []
    length = position = 0
    for match in _LINK.finditer(wikitext):
        written, shown, trail = match.groups()
        before = _plain(wikitext[position : match.start()])
        anchor = _plain(written.strip().lstrip(":") if shown is None else shown) + trail
        start = length + len(before)
        length = start + len(anchor)
        target = _target(written)
        if target and anchor != trail:
            links.append(Link(start, length, target))
        parts += (before, anchor)
        position = match.end()
    parts.append(_plain(wikitext[position:]))
    passage = Passage("".join(parts), tuple(links))
    if _RESIDUE_SIGN.search(passage.text) or passage.text != passage.text.strip(" "):
        passage = _without(passage, _RESIDUE)
    trimmed = (_trimmed(passage.text, link) for link in passage.links)
    return Passage(passage.text, tuple(link for link in trimmed if link.start < link.end))


def _plain(text: str) -> str:
    """Text without entities and marks; every white space is a blank."""
    if "&" in text:
        text = _ENTITY.sub(lambda entity: html.unescape(entity.group()), text)
    return _SPACE.sub(" ", _MARKS.sub("", text)) if _NOT_PLAIN.search(text) else text


@lru_cache(maxsize=100_000)
def _target(written: str) -> str:
    """The title of the article that a link leads to, "" for one that leads elsewhere."""
    title = written.strip().lstrip(":")
    prefix, colon, _ = title.partition(":")
    prefix = prefix.strip().lower()
    if colon and (prefix in _NAMESPACES or prefix.endswith(" talk") or _LANGUAGE.fullmatch(prefix)):
        return ""
    return page_title(title)


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
    start, end, target = link
    if start < end and text[start].isalnum() and text[end - 1].isalnum():
        return link
    while start < end and text[start] in _QUOTES:
        start += 1
    while start < end and (
        text[end - 1] in _QUOTES + ",;:!?" or (text[end - 1] == "." and not _ABBREVIATION.search(text[start:end]))
    ):
        end -= 1
    return Link(start, end, target)


def split_sentences(paragraph: Passage) -> list[Passage]:
    """The sentences of a paragraph, without outer white space; a link is never cut in two."""
    sentences, start, first = [], 0, 0
    text, links = paragraph
    for boundary in sentencex.get_sentence_boundaries("en", text):
        end = boundary["end_index"]
        last = bisect_left(links, (end,), first)  # links[first:last] begin in this sentence
        if last > first and links[last - 1].end > end:
            continue
        raw = text[start:end]
        left = start + len(raw) - len(raw.lstrip())
        if kept := raw.strip():
            sentences.append(Passage(kept, tuple(Link(s - left, e - left, t) for s, e, t in links[first:last])))
        start, first = end, last
    return sentences

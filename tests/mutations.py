"""Valid files made hostile: bytes, lines and cells, and what is inside JSON, XML, YAML, archives and packed files.

Everything follows from the random generator that is given.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable
from random import Random
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

import pyarrow
import pyarrow.parquet
import srsly

HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>"
DEEP = 100_000
ODD_TEXTS = (
    "", " ", "\x00", "\ufeff", "\u2028", "\u202e", "😀", "é" * 300, "-1", "0", "1e999", "NaN", "9" * 5000, "-", "../../etc/passwd",
    HTML, "{{ 7 * 7 }}", "=1+1", "%s%n", "\\ud800", "\\U00110000", "'\"`", "\t", "|", "a" * 70_000,
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**31, 2**63, 2**64, 10**40, 0.5, -0.0, float("inf"), float("nan"), "", " ", HTML, "\ud800", "x" * 5000,
    [], {}, [[]], [None], {"": None}, [{}], ["a", 1], {"start": 0, "end": 3},
)  # fmt: skip

Mutation = Callable[[bytes, Random], bytes]


# ---------------------------------------------------------------- bytes and text


def _place(content: bytes, rng: Random) -> int:
    return rng.randint(0, len(content))


def _span(content: bytes, rng: Random) -> tuple[int, int]:
    start = _place(content, rng)
    return start, min(len(content), start + rng.choice([1, 4, 30, 400]))


def cut(content: bytes, rng: Random) -> bytes:
    return content[: _place(content, rng)]


def flip(content: bytes, rng: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(min(len(changed), rng.choice([1, 3, 20]))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def delete(content: bytes, rng: Random) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + content[end:]


def double(content: bytes, rng: Random) -> bytes:
    start, end = _span(content, rng)
    return content[:end] + content[start:end] * rng.choice([1, 2, 50]) + content[end:]


def insert(content: bytes, rng: Random) -> bytes:
    odd = rng.choice(
        [rng.choice(ODD_TEXTS).encode(), b"\xff", b"\xed\xa0\x80", b"\xe9", b"\r", b"\n\n", b"\x1f\x8b\x08", b"BZh9"]
    )
    at = _place(content, rng)
    return content[:at] + odd + content[at:]


def reverse_lines(content: bytes, rng: Random) -> bytes:
    lines = content.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines)


def line_ends(content: bytes, rng: Random) -> bytes:
    return content.replace(b"\n", rng.choice([b"\r\n", b"\r", b"\n\r", "\u2028".encode(), b"\n\n"]))


def encoding(content: bytes, rng: Random) -> bytes:
    return content.decode("utf-8", "replace").encode(
        rng.choice(["utf-16", "utf-8-sig", "utf-32-le", "cp037"]), "replace"
    )


def number(content: bytes, rng: Random) -> bytes:
    """Another number in place of one that is there."""
    found = list(re.finditer(rb"-?\d+", content))
    if not found:
        return insert(content, rng)
    match = rng.choice(found)
    other = rng.choice(
        [b"-1", b"0", b"1", b"999", b"2147483648", b"99999999999", b"9" * 5000, b"1.5", b"1e400", b"\xd9\xa3", b""]
    )
    return content[: match.start()] + other + content[match.end() :]


def word(content: bytes, rng: Random) -> bytes:
    """Something odd in place of a word or cell."""
    found = list(re.finditer(rb"[^\s\"{}\[\]:,<>=|]+", content))
    if not found:
        return insert(content, rng)
    match = rng.choice(found)
    return content[: match.start()] + rng.choice(ODD_TEXTS).encode("utf-8", "surrogatepass") + content[match.end() :]


def swap(content: bytes, rng: Random) -> bytes:
    """Two words change places."""
    found = list(re.finditer(rb"[^\s]+", content))
    if len(found) < 2:
        return insert(content, rng)
    left, right = sorted(rng.sample(found, 2), key=lambda match: match.start())
    middle = content[left.end() : right.start()]
    return content[: left.start()] + right[0] + middle + left[0] + content[right.end() :]


def tabs(content: bytes, rng: Random) -> bytes:
    return content.replace(b"\t", rng.choice([b" ", b"\t\t", b"", b",", b";"]), rng.choice([1, 3, -1]))


BYTES: tuple[Mutation, ...] = (
    cut, flip, delete, double, insert, reverse_lines, line_ends, encoding, number, number, word, word, word, swap, tabs, lambda c, r: b"",
)  # fmt: skip


# ---------------------------------------------------------------- JSON, XML, YAML


def odd_value(content: Any, rng: Random) -> Any:
    """JSON content of which one value is odd, one key gone or one too many."""
    if isinstance(content, dict) and content and rng.random() < 0.9:
        key = rng.choice(list(content))
        action = rng.random()
        if action < 0.1:
            return {k: v for k, v in content.items() if k != key}
        if action < 0.2:
            return content | {
                rng.choice(["", "x", key.upper() if isinstance(key, str) else "x", "__class__"]): rng.choice(ODD_VALUES)
            }
        return content | {key: odd_value(content[key], rng)}
    if isinstance(content, list) and content and rng.random() < 0.9:
        at = rng.randrange(len(content))
        if rng.random() < 0.15:
            return content[:at] + content[at + 1 :]
        if rng.random() < 0.15:
            return content[: at + 1] + content[at:]
        return [*content[:at], odd_value(content[at], rng), *content[at + 1 :]]
    return rng.choice(ODD_VALUES)


def in_json(content: bytes, rng: Random) -> bytes:
    """Of one JSON text, or of one of its lines."""
    deep = rng.choice([b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP, b"[" * 900 + b"]" * 900, b"9" * 5000])
    lines = content.splitlines(keepends=True)
    at = rng.randrange(max(1, len(lines)))
    try:
        whole, before, after = json.loads(content), b"", b""
    except (ValueError, RecursionError):
        try:
            whole, before, after = json.loads(lines[at]), b"".join(lines[:at]), b"\n" + b"".join(lines[at + 1 :])
        except (ValueError, RecursionError, IndexError):
            return insert(content, rng)
    if rng.random() < 0.15:
        return before + deep + after
    if isinstance(whole, dict) and whole and rng.random() < 0.15:
        mark = "MARK"
        changed = json.dumps(whole | {rng.choice(list(whole)): mark}).replace(f'"{mark}"', deep.decode())
        return before + changed.encode() + after
    return before + json.dumps(odd_value(whole, rng)).encode() + after


def in_xml(content: bytes, rng: Random) -> bytes:
    """Encodings that are not there, entities, elements that stand deep in each other, external files."""
    laughs = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "' + "&a;" * 100 + '"><!ENTITY c "' + "&b;" * 100 + '">]>'
    outer = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    outer_type = '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">'
    name = rng.choice(["utf-7", "utf-16", "x-none", "ebcdic", "hz", "shift_jis", "latin-1", "rot13", "UTF-32"])
    odd = b'="' + rng.choice(ODD_TEXTS).replace('"', "").replace("\x00", "").encode() + b'"'
    body = re.sub(rb"^\s*<\?xml[^>]*\?>", b"", content)
    choices = [
        f'<?xml version="1.0" encoding="{name}"?>'.encode() + body,
        laughs.encode() + re.sub(rb">[^<]+<", b">&c;<", body),
        outer.encode() + re.sub(rb">[^<]+<", b">&a;<", body),
        outer_type.encode() + body,
        re.sub(rb">([^<]+)<", b">" + b"<d>" * DEEP + b"</d>" * DEEP + b"<", body, count=1),
        re.sub(rb'="[^"]*"', lambda match: odd, body, count=rng.choice([1, 2, 9])),
        re.sub(rb"<!\[CDATA\[|<text[^>]*>", b"<text>", body) + body,
    ]
    return rng.choice(choices)


def in_yaml(content: bytes, rng: Random) -> bytes:
    laughs = "\n".join([f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)])
    odd = [
        f"\na0: &a0 [x]\n{laughs}\n",
        "\nx: &x [*x]\n",
        "\nx: !!python/object/apply:os.system ['true']\n",
        f"\nx: {'[' * DEEP}\n",
        "\nx: 2001-99-99\n",
        "\n? [a, b]\n: 1\n",
        f"\nseed: {'9' * 5000}\n",
        "\n<<: 5\n",
        "\n--- \na: 1\n",
        "\nx: 0x\n",
        "\n1: 2\nnull: 3\n",
        "\nlearning_rate: [1]\nknobs: 7\n",
        f"\nencoder: {HTML}\n",
    ]
    return content + rng.choice(odd).encode()


# ---------------------------------------------------------------- packed files


def in_packed(content: bytes, rng: Random) -> bytes:
    """What is inside is changed, then packed again; and bombs."""
    if content[:2] == b"\x1f\x8b":
        return gzip.compress(mutate_plain(gzip.decompress(content), rng), 1)
    if content[:3] == b"BZh":
        return bz2.compress(mutate_plain(bz2.decompress(content), rng))
    if content[:4] == b"PAR1":
        return in_parquet(content, rng)
    return in_zip(content, rng) if content[:2] == b"PK" else in_docbin(content, rng)


def in_zip(content: bytes, rng: Random) -> bytes:
    out = io.BytesIO()
    try:
        with ZipFile(io.BytesIO(content)) as old, ZipFile(out, "w", ZIP_DEFLATED) as new:
            names = old.namelist()
            chosen = rng.choice(names)
            for name in names:
                inside = mutate_plain(old.read(name), rng) if name == chosen else old.read(name)
                new.writestr(rng.choice(["../" + name, "/" + name, name, name]), inside)
            if rng.random() < 0.2:
                new.writestr("bomb.ltf.xml", b" " * 2**24)
    except BadZipFile:
        return flip(content, rng)
    return out.getvalue()


def in_docbin(content: bytes, rng: Random) -> bytes:
    try:
        told = srsly.msgpack_loads(zlib.decompress(content))
    except Exception:  # another mutation came first
        return flip(content, rng)
    key = rng.choice(list(told))
    value = told[key]
    if isinstance(value, bytes) and rng.random() < 0.8:
        value = rng.choice([cut, flip, delete, double])(value, rng)
    else:
        value = odd_value(value, rng)
    told[key] = value
    if rng.random() < 0.1:
        del told[key]
    told["user_data"] = [rng.choice([None, b"", b"\xc1", srsly.msgpack_dumps({"x": 1})])]
    try:
        return zlib.compress(srsly.msgpack_dumps(told))
    except (TypeError, ValueError, OverflowError):
        return flip(content, rng)


def in_parquet(content: bytes, rng: Random) -> bytes:
    """A column of another kind, without a name of its own, or of other values."""
    try:
        table = pyarrow.parquet.read_table(io.BytesIO(content))
    except (pyarrow.ArrowException, OSError):
        return flip(content, rng)
    at = rng.randrange(table.num_columns)
    name = table.column_names[at]
    values: list[Any] = [rng.choice([None, 1, "x", b"\xff", 2**40, [], True, 1.5])] * table.num_rows
    change = rng.randrange(4)
    if change == 0:
        table = table.drop_columns([name])
    elif change == 1:
        table = table.append_column(rng.choice(["x", name, ""]), pyarrow.array(values))
    elif change == 2:
        table = table.set_column(at, name, pyarrow.array(values))
    else:
        strings = pyarrow.array([b"\xff\xfe"] * table.num_rows, pyarrow.binary())
        table = table.set_column(at, name, strings.view(pyarrow.string()))
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


# ---------------------------------------------------------------- all together


def mutate_plain(content: bytes, rng: Random) -> bytes:
    """A few changes of what is not packed."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        own: list[Mutation] = []
        start = content[:200].lstrip(b"\xef\xbb\xbf \r\n")
        if start[:1] in (b"{", b"["):
            own = [in_json] * 2
        elif start[:1] == b"<":
            own = [in_xml]
        change = rng.choice(own) if own and rng.random() < 0.5 else rng.choice(BYTES)
        content = change(content, rng)
    return content


def mutate(name: str, content: bytes, rng: Random) -> bytes:
    """A file made hostile, by its name and what it is."""
    is_packed = (
        content[:2] in (b"\x1f\x8b", b"PK")
        or content[:3] == b"BZh"
        or content[:4] == b"PAR1"
        or name.endswith(".spacy")
    )
    if is_packed:
        return (
            in_packed(content, rng)
            if rng.random() < 0.5
            else rng.choice([cut, flip, delete, double, insert])(content, rng)
        )
    if name.endswith((".yaml", ".yml")) and rng.random() < 0.5:
        return in_yaml(content, rng)
    if name.endswith(".safetensors"):
        return rng.choice([cut, flip, delete, double])(content, rng)
    return mutate_plain(content, rng)

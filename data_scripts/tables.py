"""Plain-text tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence


def printable(text: str) -> str:
    """Text for one line of a terminal or a card: line ends, and what would steer a terminal, become blanks."""
    return "".join(c if c.isprintable() else " " for c in text)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], right_from: int = 1) -> str:
    """Columns as wide as their widest cell; those from ``right_from`` on are right-aligned, the others left-aligned."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [
            cell.ljust(width) if i < right_from else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells))
    return "\n".join([lines[0].rstrip(), "  ".join("─" * w for w in widths), *(line.rstrip() for line in lines[1:])])

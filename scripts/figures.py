"""The docs' figures, drawn from results files as SVG: the same bytes for the same results."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

# A white ground is read on GitHub's light and dark pages alike. The salt and the missing date make the bytes repeat.
STYLE = {
    "svg.hashsalt": "finener",
    "font.size": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
SIZE = (7.2, 4.2)  # inches
COLOURS = {
    "finener": "#0b6e4f",
    "encoder": "#555555",
    "SpanMarker": "#b5541c",
    "GLiNER": "#3d5a98",
    "spaCy": "#8a5a9e",
    "CRF": "#b5541c",
}
NAME_AT = {"GLiNER": (6, 6)}  # its line falls
NOTHING_THAT_CHANGES = {"Date": None, "Creator": None}  # nor the version


def draw(show: Callable[[Axes], None]) -> str:
    """The SVG of a figure with one pair of axes."""
    with rc_context(STYLE):
        figure = Figure(SIZE, layout="constrained")
        show(figure.add_subplot())
        image = io.StringIO()
        figure.savefig(image, format="svg", metadata=NOTHING_THAT_CHANGES, facecolor="white")
    lines = [line.rstrip() for line in image.getvalue().splitlines()]
    return "\n".join(lines) + "\n"


def _plain_numbers(axes: Axes) -> None:
    """Both axes by powers of ten, told as whole numbers."""
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))


def _named(axes: Axes, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A system's words a second by types, joined, with its name beside the first."""
    xs, ys = [row["types"] for row in rows], [row["words_per_second"] for row in rows]
    axes.plot(xs, ys, marker="o", color=COLOURS[name], linewidth=2)
    axes.annotate(name, (xs[0], ys[0]), NAME_AT.get(name, (7, -13)), textcoords="offset points", color=COLOURS[name])


def words_a_second(results: Mapping[str, Any]) -> str:
    """Words a second against the number of types, of each system that was measured beside finener."""
    rows = results["inference"]["rows"]

    def show(axes: Axes) -> None:
        floor = next(row["words_per_second"] for row in rows if row["types"] is None)
        axes.axhline(floor, color=COLOURS["encoder"], linestyle="--", linewidth=1.2)
        for name in ("finener", "SpanMarker", "GLiNER", "spaCy"):
            _named(axes, name, [row for row in rows if row["system"] == name])
        _plain_numbers(axes)
        axes.margins(y=0.12)
        axes.annotate("the encoder alone", (10, floor), (0, 5), textcoords="offset points", color=COLOURS["encoder"])
        axes.set_title("Reading: words a second by the number of types")
        axes.set(xlabel="types (log scale)", ylabel="words per second of one core (log scale)")

    return draw(show)


def cost_of_tags(results: Mapping[str, Any]) -> str:
    """Milliseconds of a batch against the number of types, where tags carry the types and where a type head does."""
    rows = results["crf"]["rows"]

    def show(axes: Axes) -> None:
        for key, style, told in (
            ("training_milliseconds", "-", "likelihood and gradients"),
            ("decoding_milliseconds", ":", "decoding"),
        ):
            for name, shown in (("CRF", "a CRF over typed tags"), ("finener", "finener: 3 tags and a type head")):
                own = [row for row in rows if row["system"] == name]
                points = [row["types"] for row in own], [row[key] for row in own]
                axes.plot(*points, marker="o", linestyle=style, color=COLOURS[name], label=f"{shown}, {told}")
        _plain_numbers(axes)
        axes.figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
        axes.set_title("What types cost: tags that carry them, or a head")
        axes.set(xlabel="tags of the CRF, or types of the head (log scale)", ylabel="milliseconds a batch (log scale)")

    return draw(show)


# Name → the part of results/bench_peers.json that is drawn, and how.
FIGURES = {"words_a_second.svg": ("inference", words_a_second), "cost_of_tags.svg": ("crf", cost_of_tags)}


def peer_figures(results: Mapping[str, Any]) -> dict[str, str]:
    """The figures of the parts that were run, by name."""
    return {name: show(results) for name, (part, show) in FIGURES.items() if part in results}

"""The error report: one self-contained HTML page, drawn by ``report.html.jinja``, and its figures as JSON."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from finener.metrics.calibration import calibration, scored_mentions, scored_types, sweep
from finener.metrics.errors import KINDS, NOTHING, Case, confusions, count_kinds, find_cases
from finener.metrics.scoring import DEFAULTS, Judged, Options, score
from finener.metrics.tables import MEASURES, training_range
from finener.ontology_finener import Ontology
from finener.paths import REPORT_TEMPLATE

WORST = 50  # mentions shown with their text
CONTEXT = 160  # characters shown on either side of a mention
HEAT_TYPES = 12  # rows of a heat map; the other types share one more
TOP_CONFUSIONS = 12


def build_report(
    judged: Judged, options: Options = DEFAULTS, train: Sequence[Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Every figure of the page, as JSON can hold it.

    Args:
        judged: see :func:`finener.metrics.scoring.judge`.
        options: how to score.
        train: training records: adds training counts, and unseen names.

    Returns:
        What :func:`finener.metrics.scoring.score` returns and ``ontology``; ``kinds`` (number of mentions of each kind of
        ``metrics.errors.KINDS``), ``confusions`` (by level), ``examples`` (of each kind, the worst or surest case), ``worst``;
        ``calibration`` and ``sweep``, each of ``types`` and, where gold is exhaustive, ``mentions``.
    """
    ontology, pairs = judged.ontology, judged.broken_down
    cases = list(find_cases(pairs, ontology, options.decay, options.credit))
    wrong = sorted((c for c in cases if c.kind != "correct"), key=lambda c: (-c.cost, c.pair.id, c.gold or c.predicted))
    surest = sorted(cases, key=lambda c: -c.sureness * len(c.predicted_types))
    first = {kind: next((c for c in [*wrong, *surest] if c.kind == kind), None) for kind in KINDS}
    types, mentions = scored_types(pairs, ontology), scored_mentions(p for p in judged.pairs if p.exhaustive)
    scored = {"types": types} | ({"mentions": mentions} if mentions.gold or len(mentions.scores) else {})
    return {
        **score(judged, options, train),
        "ontology": {"name": ontology.name, "types": len(ontology), "levels": max(ontology.depths) + 1},
        "kinds": count_kinds(cases),
        "examples": {kind: describe_case(case, ontology) for kind, case in first.items() if case},
        "confusions": [_named(level, ontology) for level in confusions(cases, ontology)],
        "calibration": {name: calibration(items) for name, items in scored.items()},
        "sweep": {name: sweep(items) for name, items in scored.items()},
        "worst": [describe_case(case, ontology) for case in wrong[:WORST]],
    }


def write_report(
    judged: Judged,
    output_dir: str | Path,
    options: Options = DEFAULTS,
    train: Sequence[Mapping[str, Any]] | None = None,
    title: str = "Predictions",
) -> Path:
    """Writes ``report.json`` and ``index.html``.

    Args:
        judged: see :func:`finener.metrics.scoring.judge`.
        output_dir: is made where it is missing.
        options: how to score.
        train: training records.
        title: of the page.

    Returns:
        The page's path.
    """
    report, folder = build_report(judged, options, train), Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = folder / "index.html"
    page.write_text(render_page(report, title), encoding="utf-8")
    return page


def render_page(report: Mapping[str, Any], title: str) -> str:
    """The page. All text that comes from records is escaped; nothing is loaded from anywhere.

    Args:
        report: of :func:`build_report`.
        title: of the page.
    """
    environment = Environment(
        loader=FileSystemLoader(REPORT_TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(REPORT_TEMPLATE.name).render(
        report=report,
        title=title,
        kinds=KINDS,
        measures=MEASURES,
        training_range=training_range,
        heat_maps=[heat_map(level) for level in report["confusions"]],
        top=_top_confusions(report["confusions"]),
        dots=frequency_dots(report["types"]),
    )


# -------------------------------------------------------------------- mentions in their text


def describe_case(case: Case, ontology: Ontology) -> dict[str, Any]:
    """A case for people.

    Args:
        case: of :func:`finener.metrics.errors.find_cases`.
        ontology: of its types.

    Returns:
        ``record``, ``kind``, ``sureness``, ``cost``; ``gold`` and ``predicted``, each None or ``start``, ``end``, ``text`` and ``types``
        (most specific ones; the predicted as ``[type, score]``); and ``segments``, the text around them cut where a mention begins or
        ends: ``text``, ``gold``, ``predicted`` (whether it belongs to that mention).
    """
    scores = case.pair.type_scores.get(case.predicted, {})
    return {
        "record": case.pair.id,
        "kind": case.kind,
        "sureness": round(case.sureness, 4),
        "cost": round(case.cost, 4),
        "gold": case.gold
        and _shown(case, case.gold, [ontology.ids[i] for i in ontology.most_specific_indices(case.gold_types)]),
        "predicted": case.predicted
        and _shown(
            case,
            case.predicted,
            [[ontology.ids[i], scores.get(i)] for i in ontology.most_specific_indices(case.predicted_types)],
        ),
        "segments": _segments(case),
    }


def _shown(case: Case, span: tuple[int, int], types: list[Any]) -> dict[str, Any]:
    return {"start": span[0], "end": span[1], "text": case.pair.text[slice(*span)], "types": types}


def _segments(case: Case) -> list[dict[str, Any]]:
    spans, text = [span for span in (case.gold, case.predicted) if span], case.pair.text
    first, last = min(s for s, _ in spans), max(e for _, e in spans)
    start, end = _word_edge(text, first - CONTEXT), _word_edge(text, last + CONTEXT)
    cuts = sorted({start, end, *(place for span in spans for place in span)})
    inside = [
        {"text": text[a:b], "gold": _holds(case.gold, a), "predicted": _holds(case.predicted, a)}
        for a, b in itertools.pairwise(cuts)
    ]
    plain = {"text": "…", "gold": False, "predicted": False}
    return [plain] * (start > 0) + inside + [plain] * (end < len(text))


def _word_edge(text: str, place: int) -> int:
    """A place near, at which no word is cut: the next space to the right, if there is one soon."""
    if place <= 0 or place >= len(text):
        return min(max(place, 0), len(text))
    space = text.find(" ", place, place + 20)
    return place if space < 0 else space


def _holds(span: tuple[int, int] | None, place: int) -> bool:
    return span is not None and span[0] <= place < span[1]


# -------------------------------------------------------------------- confusions


def _named(level: Mapping[tuple[int, int], float], ontology: Ontology) -> list[dict[str, Any]]:
    names = {NOTHING: None} | dict(enumerate(ontology.ids))
    return [
        {"gold": names[i], "predicted": names[j], "mentions": round(mentions, 3)}
        for (i, j), mentions in sorted(level.items(), key=lambda item: (-item[1], item[0]))
    ]


def heat_map(level: Sequence[Mapping[str, Any]], most: int = HEAT_TYPES) -> dict[str, Any]:
    """A level's confusions as a table small enough to look at.

    Args:
        level: one level of the report's ``confusions``.
        most: types that have a row and a column of their own: those with the most errors and mentions; the others share one.

    Returns:
        ``names`` of rows and columns, of which the first ``shown`` are types, then, where needed, the others, then "no type"; ``rows``
        (gold), each of cells with ``mentions`` and ``share`` of the row; ``types``, how many there are; ``right`` and ``wrong`` mentions.
    """
    weight: dict[str, float] = {}
    for cell in level:
        for name in {cell["gold"], cell["predicted"]} - {None}:
            weight[name] = weight.get(name, 0.0) + cell["mentions"] * (1 if cell["gold"] == cell["predicted"] else 2)
    kept = sorted(sorted(weight, key=lambda name: (-weight[name], name))[:most])
    has_other = len(weight) > len(kept)
    names = [*kept, *([f"{len(weight) - len(kept)} other types"] if has_other else []), "no type"]
    places = {name: i for i, name in enumerate(kept)} | {None: len(names) - 1}
    table = [[0.0] * len(names) for _ in names]
    right = 0.0
    for cell in level:
        row, column = (places.get(cell[side], len(kept)) for side in ("gold", "predicted"))
        table[row][column] += cell["mentions"]
        right += cell["mentions"] if cell["gold"] == cell["predicted"] else 0.0
    return {
        "names": names,
        "shown": len(kept),
        "rows": [[{"mentions": n, "share": n / (sum(row) or 1.0)} for n in row] for row in table],
        "types": len(weight),
        "right": right,
        "wrong": sum(cell["mentions"] for cell in level) - right,
    }


def _top_confusions(levels: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The most frequent pairs of a gold type and another one predicted for it, over all levels."""
    pairs = [
        {**cell, "level": level}
        for level, cells in enumerate(levels)
        for cell in cells
        if cell["gold"] and cell["predicted"] and cell["gold"] != cell["predicted"]
    ]
    return sorted(pairs, key=lambda cell: -cell["mentions"])[:TOP_CONFUSIONS]


# -------------------------------------------------------------------- F1 against training mentions


def frequency_dots(types: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Types as dots for the chart of F1 against training mentions; None when these are not known.

    Args:
        types: the report's ``types``; those that occur in gold are shown.

    Returns:
        ``dots`` with ``x`` and ``y`` in [0, 1], ``radius`` in pixels and ``row``; ``ticks`` of the x axis, pairs of x and training
        mentions.
    """
    rows = [row for row in types if row["gold"] and "training" in row]
    if not rows:
        return None
    top = max(1.0, math.log10(1 + max(row["training"] for row in rows)))
    places = [0, *(10**n for n in range(int(top) + 1))]
    return {
        "dots": [
            {
                "x": math.log10(1 + row["training"]) / top,
                "y": row["f1"],
                "radius": min(14.0, 2.5 + math.sqrt(row["gold"]) / 1.5),
                "row": row,
            }
            for row in sorted(rows, key=lambda row: -row["gold"])
        ],
        "ticks": [(math.log10(1 + n) / top, n) for n in places if math.log10(1 + n) <= top],
    }

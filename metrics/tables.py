"""Plain-text tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from finener.data_scripts.tables import text_table

MEASURES = {
    "mention": "detection",
    "typed": "typed, strict",
    "partial": "typed, partial credit",
    "macro": "typed, loose macro",
    "pair": "(span, type) pairs",
}


def _three(scores: Mapping[str, float], measure: str) -> list[str]:
    """P, R and F1 by a measure."""
    return [f"{scores[f'{measure}_{part}']:.3f}" for part in ("precision", "recall", "f1")]


def score_rows(systems: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """System, measure, P, R and F1 of every measure that a system was scored by, as text."""
    return [
        [system, label, *_three(scores, measure)]
        for system, scores in systems.items()
        for measure, label in MEASURES.items()
        if f"{measure}_f1" in scores
    ]


def scores_table(systems: Mapping[str, Mapping[str, float]]) -> str:
    """P, R and F1 of each system by each measure."""
    return text_table(["system", "measure", "P", "R", "F1"], score_rows(systems))


def mentions_table(text: str, mentions: Sequence[Mapping[str, Any]]) -> str:
    """A text and, below it, its mentions with their most specific type and scores."""
    rows = [
        [
            f"  {m['word']}",
            f"{m['start']}–{m['end']}",
            f"{m['score']:.2f}",
            m["entity_group"],
            f"{m['types'][m['entity_group']]:.2f}",
        ]
        for m in mentions
    ]
    return f"{text}\n" + (
        text_table(["  mention", "span", "score", "type", "type score"], rows) if rows else "  (no mention)"
    )


GIVEN_MEASURES = {
    "given_strict": "strict accuracy",
    "given_macro_f1": "loose macro F1",
    "given_micro_f1": "loose micro F1",
}


def breakdown_tables(result: Mapping[str, Any], most_types: int | None = None) -> str:
    """Everything that :func:`finener.metrics.scoring.score` found, as tables.

    Args:
        result: what it returned.
        most_types: print only so many types, the most frequent in gold; None prints all.
    """
    tables = [
        f"{result['records']} records of {result['documents']} documents",
        _measures_table(result),
        _given_table(result),
        _levels_table(result),
        _types_table(result, most_types),
    ]
    if "training" in result:
        tables.append(_parts_table("By training mentions of the type", "mentions", result["training"], training_range))
        tables.append(_seen_table(result["seen"]))
    if "difference" in result:
        tables.append(_difference_table(result["difference"]))
    return "\n\n".join([table for table in tables if table] + [f"note: {note}" for note in result["notes"]])


def training_range(row: Mapping[str, Any]) -> str:
    """A range of training mentions in words, such as ``10–99``.

    Args:
        row: with ``least`` and ``most``.
    """
    if row["most"] is None:
        return f"{row['least']:,} and more"
    return str(row["least"]) if row["least"] == row["most"] else f"{row['least']:,}–{row['most']:,}"


def _interval(result: Mapping[str, Any], name: str) -> str:
    return _range(result["intervals"].get(name))


def _range(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.3f}–{interval[1]:.3f}" if interval else ""


def measure_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """Measure, P, R, F1 and its interval, as text, of every measure that :func:`finener.metrics.scoring.score` found."""
    return [
        [label, *_three(result["scores"], measure), _interval(result, f"{measure}_f1")]
        for measure, label in MEASURES.items()
        if f"{measure}_f1" in result["scores"]
    ]


def level_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """Level, types, gold and predicted pairs, P, R, F1 and its interval, as text, of every level that occurs."""
    return [
        [str(row["level"]), str(row["types"]), *_figures(row), _range(row.get("interval"))]
        for row in result["levels"]
        if row["types"]
    ]


def _measures_table(result: Mapping[str, Any]) -> str:
    rows = measure_rows(result)
    return text_table(["end to end", "P", "R", "F1", "F1, 95 % interval"], rows) if rows else ""


def _given_table(result: Mapping[str, Any]) -> str:
    rows = [
        [label, f"{result['scores'][name]:.3f}", _interval(result, name)]
        for name, label in GIVEN_MEASURES.items()
        if name in result["scores"]
    ]
    return text_table(["types of gold mentions", "score", "95 % interval"], rows) if rows else ""


def _figures(row: Mapping[str, Any]) -> list[str]:
    return [str(row["gold"]), str(row["predicted"]), *(f"{row[part]:.3f}" for part in ("precision", "recall", "f1"))]


def _parts_table(title: str, first: str, rows: Sequence[Mapping[str, Any]], name: Any) -> str:
    table = text_table(
        [first, "types", "gold", "predicted", "P", "R", "F1"],
        [[name(row), str(row["types"]), *_figures(row)] for row in rows if row["types"]],
    )
    return f"{title}\n{table}"


def _levels_table(result: Mapping[str, Any]) -> str:
    header = ["level", "types", "gold", "predicted", "P", "R", "F1", "F1, 95 % interval"]
    return f"By level ({result['basis']})\n{text_table(header, level_rows(result))}"


def _types_table(result: Mapping[str, Any], most: int | None) -> str:
    types = sorted(result["types"], key=lambda row: (-row["gold"], -row["predicted"], row["type"]))
    has_training = bool(types) and "training" in types[0]
    table = text_table(
        ["type", "gold", "predicted", "P", "R", "F1", *(["training"] if has_training else [])],
        [[row["type"], *_figures(row), *([str(row["training"])] if has_training else [])] for row in types[:most]],
    )
    shown = f", the {most} most frequent of {len(types)}" if most is not None and most < len(types) else ""
    macro = f"; macro F1 over the types in gold {result['macro']['f1']:.3f}" if result["macro"] else ""
    return f"By type ({result['basis']}{shown}{macro})\n{table}"


def _seen_table(seen: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        [f"{name} in training", label, *_three(scores, measure)]
        for name, scores in seen.items()
        for measure, label in {**MEASURES, "given_micro": "types of gold mentions, micro"}.items()
        if f"{measure}_f1" in scores
    ]
    return text_table(["names", "measure", "P", "R", "F1"], rows, right_from=2)


def _difference_table(difference: Mapping[str, Mapping[str, float]]) -> str:
    labels = {f"{measure}_f1": f"{label}, F1" for measure, label in MEASURES.items()} | GIVEN_MEASURES
    rows = [
        [label, f"{row['difference']:+.3f}", f"{row['low']:+.3f} … {row['high']:+.3f}", f"{row['p']:.3f}"]
        for name, label in labels.items()
        if (row := difference.get(name))
    ]
    return text_table(["against the baseline", "difference", "95 % interval", "p"], rows)

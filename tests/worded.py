"""Records whose mentions are named by their words, for the tests of errors, calibration and the report."""

from __future__ import annotations

TEXT = "Ann Lee met Bob at Acme in Rome on Monday with Zoë and the Syrians."


def span(words):
    return TEXT.index(words), TEXT.index(words) + len(words)


def record(record_id, mentions, ontology="tgt", text=TEXT, **changes):
    """Mentions as {words or span: types}, with scores as {words or span: ({type: score}, mention score)}."""
    rows = []
    for place, types in mentions.items():
        start, end = span(place) if isinstance(place, str) else place
        scored, score = types if isinstance(types, tuple) else (dict.fromkeys(types), None)
        rows.append(
            {
                "start": start,
                "end": end,
                "types": list(scored),
                "score": score,
                "type_scores": list(scored.values()) if score is not None else None,
            }
        )
    return {
        "id": record_id,
        "doc_id": record_id,
        "source": "",
        "text": text,
        "mentions": rows,
        "exhaustive": True,
        "typed": True,
        "ontology": ontology,
    } | changes

"""Inference Endpoints: the Hub calls :class:`EndpointHandler` with the model's folder and each request."""

from __future__ import annotations

from typing import Any

from transformers import pipeline


class EndpointHandler:
    """Serves a finener model.

    Args:
        path: folder of the model, with its code.
    """

    def __init__(self, path: str = ""):
        self.pipeline = pipeline("token-classification", model=path, trust_remote_code=True)

    def __call__(self, data: dict[str, Any]) -> list:
        """Answers ``{"inputs": text or texts, "parameters": {…}}`` with the mentions; parameters are those of the pipeline."""
        return self.pipeline(data["inputs"], **data.get("parameters") or {})

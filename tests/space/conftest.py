"""Answers as the Space keeps them, made by hand, and the Space itself in a process of its own, with a browser in front of it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny
from reading import Answer, Text

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
START_SECONDS = 300  # to import gradio, torch and transformers on a busy machine


@pytest.fixture
def mention() -> dict[str, Any]:
    """A painter, by the source types of ``tiny``: three levels in one line."""
    return {
        "entity_group": "artist",
        "score": 0.975,
        "word": "Frida <Kahlo>",
        "start": 0,
        "end": 13,
        "types": {"physical": 0.99, "person": 0.9, "artist": 0.61},
    }


@pytest.fixture
def museum() -> dict[str, Any]:
    """A mention whose type ``museum`` has two parents."""
    types = {"physical": 0.99, "abstract": 0.8, "place": 0.97, "organization": 0.7, "building": 0.95, "museum": 0.6}
    return {"entity_group": "museum", "score": 0.5, "word": "Louvre", "start": 18, "end": 24, "types": types}


@pytest.fixture
def answer(mention, museum) -> Answer:
    """Two texts; the second has no mention."""
    texts = [Text("d1", "Frida <Kahlo> saw Louvre & left."), Text("d2", "Nobody came.")]
    return Answer(tiny.two_parent_ontology(), texts, [[mention, museum], []])


# -------------------------------------------------------------------- in a browser


@pytest.fixture(scope="session")
def address(tmp_path_factory, tokenizer) -> Iterator[str]:
    """Where the Space serves a tiny model of random weights, which finds many mentions and has types of both heads."""
    folder = tmp_path_factory.mktemp("space")
    tiny.tiny_model(tokenizer, target=True).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    variables = {"MODEL": str(folder / "model"), "GRADIO_SERVER_PORT": port, "MOST_CHARACTERS": "2000"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, str(ROOT / "space" / "app.py")],
            cwd=folder,
            env=os.environ | variables,
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/", server, folder / "log")
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait()


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    """Returns when the server answers; fails with its log when it ends or takes too long."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(log.read_text(encoding="utf-8")[-4000:])


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The system's Chromium, driven by playwright."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser here: looked for {', '.join(BROWSERS)}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, address) -> Iterator[Any]:
    """The open page; the test fails on a script's error, and on a request to anywhere but the Space."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page, errors, elsewhere = context.new_page(), [], []
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: elsewhere.append(request.url))
    page.goto(address)
    page.get_by_role("button", name="Find names").wait_for()
    yield page
    context.close()
    assert errors == []
    assert [url for url in elsewhere if not url.startswith((address, "data:", "blob:"))] == []

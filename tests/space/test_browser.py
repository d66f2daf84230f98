"""The Space as a person meets it: type, submit, see, open, search, download; in a headless Chromium, with nothing from the network."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

import tiny

pytestmark = pytest.mark.browser
TEXT = "Angela Merkel visited the offices of Acme Corp. in New York!"


def read(page: Any, text: str) -> None:
    """Types a text, submits it and waits for the result."""
    page.get_by_label("Shift + Enter reads it").fill(text)
    page.get_by_role("button", name="Find names").click()
    page.locator(".found").wait_for()  # the text itself is broken up by the mentions of a random model


def choose_file(page: Any, file: Path) -> None:
    """Opens the part of the page for files and chooses one."""
    page.get_by_text("A file in place of the text").click()
    page.locator("input[type=file]").first.set_input_files(file)
    page.get_by_text(file.stem).first.wait_for()


def download(page: Any, name: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("link", name=f"Download {name}").click()
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    return file


def toast(page: Any) -> str:
    """What the page says is wrong."""
    found = page.get_by_test_id("toast-body").first
    found.wait_for()
    return found.inner_text()


def test_type_submit_see_open_and_download(page, tmp_path):
    read(page, TEXT)
    mentions = page.locator(".mention")
    assert mentions.count() > 1 and page.locator(".card:visible").count() == 0
    page.get_by_text(f"{mentions.count()} mentions").wait_for()

    mentions.nth(0).click()  # by mouse
    card = page.locator(".card:visible")
    card.wait_for()
    assert card.count() == 1 and mentions.nth(0).get_attribute("aria-expanded") == "true"
    mentions.nth(1).focus()  # and by keyboard
    page.keyboard.press("Enter")
    assert card.count() == 1 and mentions.nth(1).get_attribute("aria-expanded") == "true"
    types = card.locator(".type .name").all_inner_texts()
    scores = [float(score) for score in card.locator(".type .score").all_inner_texts()]
    bars = card.locator(".bar i").evaluate_all("bars => bars.map(b => b.offsetWidth / b.parentElement.offsetWidth)")
    assert bars == pytest.approx(scores, abs=0.05)

    (text,) = json.loads(download(page, "JSON", tmp_path).read_text(encoding="utf-8"))
    assert text["text"] == TEXT and len(text["mentions"]) == mentions.count()
    second = text["mentions"][1]
    assert TEXT[second["start"] : second["end"]] == second["word"]
    assert len(second["types"]) == len(types) and max(scores) == round(max(second["types"].values()), 2)
    with download(page, "CSV", tmp_path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["word"] for row in rows] == [m["word"] for m in text["mentions"]]
    assert rows[1]["type"] == second["entity_group"]

    page.keyboard.press("Escape")
    assert page.locator(".card:visible").count() == 0


def test_the_level_and_the_thresholds_change_what_is_shown(page):
    read(page, TEXT)
    count = page.locator(".mention").count()
    page.get_by_role("spinbutton", name=re.compile("Levels shown")).fill("1")
    page.get_by_role("spinbutton", name=re.compile("Levels shown")).press("Enter")
    tops = {tiny.target_ontology().types[i].label for i in tiny.target_ontology().roots}
    page.wait_for_function(
        "tops => [...document.querySelectorAll('.mention small')].every(e => tops.includes(e.innerText.trim()))",
        arg=sorted(tops),
    )
    assert page.locator(".mention").count() == count
    page.get_by_role("spinbutton", name=re.compile("Least score of a mention")).fill("1")
    page.get_by_role("spinbutton", name=re.compile("Least score of a mention")).press("Enter")
    page.get_by_text("Lower the thresholds").wait_for()
    assert page.locator(".mention").count() == 0


def test_own_types_by_name(page):
    read(page, TEXT)
    assert not page.get_by_label("My own types").is_visible()
    page.get_by_label("my own, by name").check()
    page.get_by_label("My own types").fill("painter\ncity\n<b>thing</b>")
    page.get_by_role("spinbutton", name=re.compile("Least score of a type")).fill("0")
    page.get_by_role("spinbutton", name=re.compile("Least score of a type")).press("Enter")
    page.wait_for_function(
        "() => { const all = [...document.querySelectorAll('.mention small')].map(e => e.innerText.trim());"
        " return all.length && all.every(t => ['painter', 'city', '<b>thing</b>'].includes(t)) }"
    )


def test_markup_and_templates_in_a_text_are_text(page):
    nasty = "Ann <img src=x onerror=\"document.title='broken'\"> {{x}} {{#if y}} ${1+1} `z` &amp; Bob\n\n  東京 ❤️ left."
    read(page, nasty)
    page.locator(".text small").evaluate_all("all => all.forEach(e => e.remove())")
    page.locator(".text .card").evaluate_all("all => all.forEach(e => e.remove())")
    assert page.locator(".text").evaluate("e => e.textContent") == nasty
    assert page.locator(".text img").count() == 0 and "finener" in page.title()


def test_a_file_of_records(page, tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text('{"id": "d1", "text": "Ann left Rome."}\n{"id": "d2", "text": "Bob met Ann."}\n', encoding="utf-8")
    choose_file(page, file)
    page.get_by_role("button", name="Find names").click()
    page.locator(".found h3", has_text="d2").wait_for()
    assert page.locator(".found h3").all_inner_texts() == ["d1", "d2"]


def test_what_can_not_be_read_is_told(page, tmp_path):
    page.get_by_role("button", name="Find names").click()
    assert "There is nothing to read" in toast(page)
    page.reload()
    page.get_by_label("Shift + Enter reads it").fill("Ann left. " * 201)
    page.get_by_role("button", name="Find names").click()
    assert "2,010 characters; this page reads at most 2,000" in toast(page)
    page.reload()
    (tmp_path / "a.jsonl").write_text("[]", encoding="utf-8")
    choose_file(page, tmp_path / "a.jsonl")
    page.get_by_role("button", name="Find names").click()
    assert 'a.jsonl, line 1: expected an object with a text, {"id": "1", "text": "Ann left Rome."}' in toast(page)


def test_search_the_types_and_open_what_is_below(page):
    page.get_by_role("tab", name="Types").click()
    types = page.locator(".types:visible")
    assert types.first.locator("> li").count() == 3  # the roots of the target types
    page.get_by_label("src (10 types)").last.check()
    page.get_by_text("10 types, 5 levels").wait_for()
    page.get_by_label("Search").fill("museum")
    page.get_by_text("2 types").first.wait_for()
    summary = page.locator("summary", has_text="physical › place › building").first
    summary.focus()
    page.keyboard.press("Enter")
    page.get_by_text("Below building and organization.").wait_for()
    assert page.locator(".inside summary").first.inner_text().startswith("artmuseum")
    page.get_by_label("Search").fill("<i>zzz")
    page.get_by_text("No type has <i>zzz").wait_for()


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    read(page, TEXT + " " + "x" * 300)
    page.locator(".mention").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("tab", name="Types").click()
    page.locator("summary:visible").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width

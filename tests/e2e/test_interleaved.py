"""The interleaved tab in a browser, on the model that ships: run, pin, slice, k, link, export, charts, access."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from engine.examples import EXAMPLES
from tests.dashboard.made_interleaved import FULL, LAST_STEP, add_interleaved
from tests.e2e.conftest import RUN_MS, OpenPage
from tests.e2e.test_access import each_look, faults

NUMBER, EXAMPLE = next((number, one) for number, one in enumerate(EXAMPLES) if one.words)
CHARTS = ("recall", "phases", "knowledge", "causal")
POINT = f"causal~{FULL}~{LAST_STEP}~erased~next word"
RESULT = f"?tab=interleaved&source=own&interleaved.example={EXAMPLE.key}&interleaved.run=1"
LENS = "window.interleavedLens"
# Every line of a chart is cut by a reference that begins with the page's address.
STALE = """() => [...document.querySelectorAll('#inter-recall-plot [clip-path]')]
  .filter((one) => !one.getAttribute('clip-path').startsWith(`url('${location.href.split('#')[0]}#`)).length"""

# What Plotly reports when the mark with this key is pressed.
PRESS = """({ plot, key }) =>
  document.querySelector(`#${plot} .js-plotly-plot`).emit('plotly_click', { points: [{ customdata: key }] })"""


@pytest.fixture(scope="module", autouse=True)
def tables(results: Path) -> Iterator[None]:
    """Made-up tables beside those of the small run; the page reads what is there."""
    before = set((results / "tables").iterdir())
    add_interleaved(results)
    yield
    for file in set((results / "tables").iterdir()) - before:
        file.unlink()
    shutil.rmtree(results / "interleaved")


def wait_for_view(page: Page) -> None:
    page.wait_for_function(f"{LENS} && {LENS}.status === 'ready'", timeout=RUN_MS)
    expect(page.locator("#inter-status")).to_contain_text("Finished", timeout=RUN_MS)


def downloaded(page: Page) -> dict[str, Any]:
    with page.expect_download() as download:
        page.locator("#inter-download").click()
    found: dict[str, Any] = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    return found


def check_cells(page: Page, found: dict[str, Any], k: int) -> None:
    """Each cell of the last layer is what the engine found."""
    last = len(found["lens"]["layers"]) - 1
    names = {"current word": ("current",), "next word": ("following",), None: ("unit", "nothing")}
    for position in range(0, len(found["units"]["ids"]), 7):
        shown = page.evaluate(f"{LENS}.cell({last}, {position})")
        assert shown["token"] == found["lens"]["top_tokens"][last][position][0]
        assert shown["phase"] in names[found["lens"]["word_held"][str(k)][last][position]]


def check_pinned_slice(page: Page, found: dict[str, Any]) -> None:
    """A pinned cell stays, at its own place and length in time; its slice plays; keys let go and walk."""
    last, ends = len(found["lens"]["layers"]) - 1, found["units"]["ends_s"]
    position = len(ends) // 2
    page.locator("#unit-view .cl-over").scroll_into_view_if_needed()
    point = page.evaluate(f"{LENS}.pointOf({last}, {position})")
    page.mouse.click(point["x"], point["y"])
    title = page.locator("#unit-view .cl-detail h3")
    expect(title).to_contain_text(f"L{last} · {ends[position - 1]:.2f} to {ends[position]:.2f} s")
    expect(title).to_contain_text("pinned")
    page.locator("#unit-view .cl-detail [data-key=slice]").click()
    page.wait_for_function(f"Math.abs({LENS}.time - {ends[position]}) < 0.05")
    page.locator("#unit-view .cl-over").focus()
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(f"{LENS}.selection") == {"layer": last, "position": position + 1, "pinned": False}


def check_continuation(page: Page, on: dict[str, Any]) -> None:
    """It goes on in both ways, beside what was really said."""
    way = page.locator("#unit-view [data-way]")
    expect(way).to_have_count(3)
    expect(way.nth(0)).to_contain_text(on["text"] or "writes nothing")
    if on["no_sound"]:
        expect(way.nth(1)).to_contain_text(on["no_sound"])
    else:
        expect(way.nth(1).locator("audio")).to_have_count(1)
        expect(way.nth(1)).to_contain_text("mini-Whisper hears")
    expect(way.nth(2)).to_contain_text(on["said_next"])


def test_a_clip_is_read_pinned_and_kept(open_page: OpenPage) -> None:
    page = open_page("", clip_page=False)
    page.get_by_role("tab", name="Interleaved").click()
    page.locator("#inter-examples button.gallery-item").nth(NUMBER).click()
    expect(page.locator("#inter-reference textarea")).to_have_value(EXAMPLE.reference)
    page.locator("#inter-run").click()
    wait_for_view(page)
    found = downloaded(page)
    assert found["words_from"] == "reference, exact times" and page.evaluate(f"{LENS}.k") == 5
    check_cells(page, found, 5)
    page.locator("#inter-k label", has_text="10").click()
    page.wait_for_function(f"{LENS}.k === 10")
    expect(page.locator("#unit-view .cl-sentence")).to_contain_text("At k = 10")
    check_cells(page, found, 10)
    check_pinned_slice(page, found)
    check_continuation(page, found["continuation"])
    # The address alone brings all of it back.
    expect(page).to_have_url(re.compile(rf"interleaved\.k=10.*example={EXAMPLE.key}.*interleaved\.run=1"))
    other = open_page("?" + page.url.split("?", 1)[1], clip_page=False)
    wait_for_view(other)
    assert other.evaluate(f"{LENS}.k") == 10
    assert {**downloaded(other), "seconds": 0} == {**found, "seconds": 0}


def test_a_point_lists_its_clips_and_one_comes_to_the_clip_box(open_page: OpenPage) -> None:
    page = open_page("?tab=interleaved&source=own&interleaved.k=10", clip_page=False)
    page.locator("#inter-recall-table summary").focus()
    page.keyboard.press("Enter")
    cell = page.locator(f'#inter-recall-table [data-value="{FULL}~{LAST_STEP}~3~10~0"]')
    cell.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#inter-recall-clips .bm-open").first).to_be_visible()
    expect(page).to_have_url(re.compile(r"interleaved\.point=recall"))
    # A mark of another chart closes that list and opens its own.
    expect(page.locator("#inter-causal-plot .points path.point").first).to_be_visible()
    page.evaluate(PRESS, {"plot": "inter-causal-plot", "key": POINT.partition("~")[2]})
    clip = page.locator("#inter-causal-clips .bm-open").first
    expect(clip).to_be_visible()
    expect(page.locator("#inter-recall-clips .bm-open")).to_have_count(0)
    said = clip.inner_text()
    clip.click()
    expect(page.locator("#inter-reference textarea")).to_have_value(said)
    expect(page).to_have_url(re.compile(r"interleaved\.clip=own(~|%7E)"))
    # The address alone brings clip and list back.
    other = open_page("?" + page.url.split("?", 1)[1], clip_page=False)
    expect(other.locator("#inter-reference textarea")).to_have_value(said)
    expect(other.locator("#inter-causal-clips .bm-open").first).to_be_visible()


@each_look
def test_charts_are_seen_and_axe_finds_nothing(open_page: OpenPage, theme: str, width: int) -> None:
    page = open_page(f"{RESULT}&interleaved.point={POINT}", theme=theme, width=width, clip_page=False)
    wait_for_view(page)
    points = page.locator("#inter-recall-plot .points path.point")
    expect(points.first).to_be_visible()
    expect(page).to_have_url(re.compile(r"interleaved\.run=1"))
    assert page.evaluate(STALE) == 0, "no line is seen where the reference that cuts it is of another address"
    with page.expect_download() as download:
        page.locator('#inter-take [data-value="own/interleaved.csv"]').click()
    assert download.value.suggested_filename == "own-interleaved.csv"
    for key in CHARTS:
        expect(page.locator(f"#inter-{key}-plot .js-plotly-plot")).to_be_visible()
        page.locator(f"#inter-{key}-table summary").click()
    page.locator("#unit-view .cl-table summary").click()
    expect(page.locator("#inter-causal-clips .bm-list")).to_be_visible()
    page.set_viewport_size({"width": width, "height": 9000})
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width

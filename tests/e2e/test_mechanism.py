"""The mechanism page as people use it: point, list, clip; options and link; exports; keyboard; access."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.made_layers import add_layers, add_probe_clips
from tests.e2e.conftest import OpenPage
from tests.e2e.test_access import each_look, faults

HERE = "?tab=mechanism&source=own"


@pytest.fixture(scope="module", autouse=True)
def layers(results: Path) -> Iterator[None]:
    """Made-up lens and probes on the clips of the small run; the page reads what is there."""
    add_probe_clips(add_layers(results))
    yield
    shutil.rmtree(results / "mechanism")
    for name in ("lens", "noise_lens", "probes"):
        (results / "tables" / f"{name}.csv").unlink()


def open_mechanism(open_page: OpenPage, query: str = HERE, **options: Any) -> Page:
    page = open_page(query, clip_page=False, **options)
    expect(page.locator("#mech-take pre")).to_be_visible()
    expect(page.locator("#mech-lens-plot .points path.point").first).to_be_visible()
    return page


def press_point(page: Page, number: int) -> None:
    """Press a point of the lens chart where it is drawn."""
    page.locator("#mech-lens-plot").scroll_into_view_if_needed()
    box = page.locator("#mech-lens-plot .points path.point").nth(number).bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    # Plotly takes a click for the point that it hovers.
    expect(page.locator("#mech-lens-plot .hoverlayer .hovertext").first).to_be_visible()
    page.mouse.click(x, y)


def test_from_a_point_to_a_clip_and_back(open_page: OpenPage) -> None:
    page = open_mechanism(open_page)
    press_point(page, 2)
    expect(page.locator("#mech-lens-clips [role=status]")).to_contain_text("layer 2")
    expect(page).to_have_url(re.compile("point=lens"))
    address = page.url
    page.reload()
    clip = page.locator("#mech-lens-clips .bm-open").first
    expect(clip).to_be_visible()
    assert page.url == address
    said = clip.inner_text()
    clip.click()
    expect(page).to_have_url(re.compile("clip=own"))
    expect(page.locator("#reference textarea")).to_have_value(said)
    page.go_back()
    expect(page.locator("#mech-lens-clips .bm-open").first).to_be_visible()
    assert page.url == address


def test_an_option_is_in_the_link_and_keeps_the_keyboard(open_page: OpenPage) -> None:
    page = open_mechanism(open_page)
    select = page.locator("#mech-lens-measure")
    select.focus()
    select.select_option("next_5")
    expect(page).to_have_url(re.compile("lens.measure=next_5"))
    expect(page.locator("#mech-lens-table")).to_contain_text("precision only")
    assert page.evaluate("document.activeElement.id") == "mech-lens-measure"
    page.get_by_role("tab", name="Benchmark").click()
    expect(page).to_have_url(re.compile("tab=benchmark"))
    expect(page).not_to_have_url(re.compile("lens.measure"))


def test_a_point_opens_from_the_keyboard_and_a_probes_clip_opens(open_page: OpenPage) -> None:
    page = open_mechanism(open_page)
    page.locator("#mech-probes-table summary").focus()
    page.keyboard.press("Enter")
    cell = page.locator("#mech-probes-table .in-cell").first
    cell.focus()
    page.keyboard.press("Enter")
    clip = page.locator("#mech-probes-clips .bm-open").first
    expect(clip).to_be_visible()
    expect(cell).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("document.activeElement.className") == "in-cell"
    said = clip.inner_text()
    clip.click()
    expect(page).to_have_url(re.compile("clip=own(~|%7E)probe-"))
    expect(page.locator("#reference textarea")).to_have_value(said)


def test_tables_can_be_taken_along(open_page: OpenPage) -> None:
    page = open_mechanism(open_page)
    for value, name in (
        ("own/lens.csv", "own-lens.csv"),
        ("published/erasure.parquet", "published-erasure.parquet"),
    ):
        with page.expect_download() as download:
            page.locator(f'#mech-take [data-value="{value}"]').click()
        assert download.value.suggested_filename == name


@each_look
def test_axe_finds_nothing_on_the_mechanism(open_page: OpenPage, theme: str, width: int) -> None:
    query = f"{HERE}&point=lens~mini-ultravox~all+tasks~precision~2"
    page = open_mechanism(open_page, query, theme=theme, width=width)
    expect(page.locator("#mech-lens-clips .bm-open").first).to_be_visible()
    page.locator("#mech-lens-table summary").click()
    page.set_viewport_size({"width": width, "height": 7000})
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width

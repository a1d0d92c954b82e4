"""For everyone: no WCAG A or AA fault that axe finds in either theme, keyboard, phone width."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.e2e.conftest import OpenPage, choose_example, run_and_wait

RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
# By default each theme and each width once: a phone's colours come from the same names as a wide page's.
each_look = pytest.mark.parametrize(
    ("theme", "width"),
    [
        ("light", 1440),
        ("dark", 390),
        *(pytest.param(*look, marks=pytest.mark.slow) for look in (("dark", 1440), ("light", 390))),
    ],
)
ACCORDIONS = ("#read-aloud", "#speak-accordion", "#erase-where", "#token-search", "#emergence")


def faults(page: Page) -> list[str]:
    found: dict[str, Any] = Axe().run(page, options=RULES).response
    return [
        f"{rule['id']}: {node['html'][:160]} {node['any'][0]['message'] if node['any'] else ''}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@each_look
def test_axe_finds_nothing(open_page: OpenPage, theme: str, width: int) -> None:
    page = open_page(theme=theme, width=width)
    assert faults(page) == []
    choose_example(page)
    page.get_by_label("Babble").check()
    run_and_wait(page)
    for accordion in ACCORDIONS:
        page.locator(f"{accordion} > button").click()
    page.locator("#make-link").click()
    expect(page.locator("#emergence-plot .js-plotly-plot")).to_be_visible()
    # As tall as the page, so that the Run bar of a phone covers nothing that is judged.
    page.set_viewport_size({"width": width, "height": 9000})
    assert faults(page) == []


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_nothing_sticks_out_sideways(open_page: OpenPage, width: int) -> None:
    page = open_page(width=width)
    choose_example(page)
    run_and_wait(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_names_of_all_tabs_are_read_whole_on_a_phone(open_page: OpenPage) -> None:
    """With a sixth tab they had shrunk to "Benchmar" and "Interleave"."""
    page = open_page(width=390)
    cut = "button => button.scrollWidth > button.clientWidth"
    tabs = page.locator('#tabs > .tab-wrapper [role="tab"]')
    expect(tabs).to_have_count(6)
    assert not [tab.inner_text() for tab in tabs.all() if tab.evaluate(cut)]
    last = tabs.last.bounding_box()
    assert last is not None and last["x"] + last["width"] <= 390


def test_run_stays_in_reach_on_a_phone(open_page: OpenPage) -> None:
    page = open_page(width=390)
    page.evaluate("window.scrollTo(0, 0)")
    expect(page.locator("#run")).to_be_in_viewport()


def test_the_rail_works_from_the_keyboard(page_strict: Page) -> None:
    page_strict.locator("#examples button.gallery-item").first.focus()
    page_strict.keyboard.press("Enter")
    expect(page_strict.locator("#reference textarea")).not_to_have_value("")
    page_strict.get_by_label("Babble").focus()
    page_strict.keyboard.press("Space")
    expect(page_strict.get_by_label("Babble")).to_be_checked()
    page_strict.locator("#erasures input").first.focus()
    page_strict.keyboard.press("Space")
    expect(page_strict.locator("#erasures input").first).to_be_checked()


def test_the_microphone_note_shows_only_where_there_is_none(page_strict: Page) -> None:
    expect(page_strict.locator("#no-microphone")).to_be_hidden()

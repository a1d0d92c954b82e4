"""The truth page as people use it: the self-check, "Did it hear?" for the clip at hand, the planted truths."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.e2e.conftest import RUN_MS, OpenPage, choose_example
from tests.e2e.test_access import each_look, faults


def open_truth(page: Page) -> None:
    page.get_by_role("tab", name="Truth").click()
    expect(page.locator("#truth-check-button")).to_be_visible()


def test_the_instrument_checks_itself_and_says_so(open_page: OpenPage) -> None:
    page = open_page("?tab=truth", clip_page=False)
    page.locator("#truth-check-button").click()
    expect(page.locator("#truth-check")).to_contain_text("pass.", timeout=RUN_MS)
    expect(page.locator("#truth-check .truth-mark.good").first).to_be_visible()
    expect(page.locator("#truth-check .truth-mark.bad")).to_have_count(0)
    expect(page.locator("#truth-check")).to_contain_text("at most 0.001")


def test_the_clip_at_hand_was_heard(open_page: OpenPage) -> None:
    page = open_page()
    choose_example(page)
    open_truth(page)
    page.locator("#truth-hearing-button").click()
    expect(page.locator("#truth-hearing .truth-verdict")).to_contain_text("It heard", timeout=RUN_MS)
    expect(page.locator("#truth-hearing tbody tr")).to_have_count(4)


def test_without_a_clip_it_says_what_to_do(open_page: OpenPage) -> None:
    page = open_page()
    open_truth(page)
    page.locator("#truth-hearing-button").click()
    expect(page.locator("#truth-hearing-status")).to_contain_text("There is no clip yet")


def test_the_tab_has_an_address_and_works_from_the_keyboard(open_page: OpenPage) -> None:
    page = open_page()
    open_truth(page)
    expect(page).to_have_url(re.compile(r"\?tab=truth$"))
    page.locator("#truth-planted-button").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#truth-planted .truth-mark.good")).to_have_count(4, timeout=RUN_MS)


@each_look
def test_axe_finds_nothing_and_nothing_sticks_out(open_page: OpenPage, theme: str, width: int) -> None:
    page = open_page(theme=theme, width=width)
    choose_example(page)
    open_truth(page)
    page.locator("#truth-check-button").click()
    expect(page.locator("#truth-check .truth-verdict")).to_be_visible(timeout=RUN_MS)
    page.locator("#truth-hearing-button").click()
    expect(page.locator("#truth-hearing .truth-verdict")).to_be_visible(timeout=RUN_MS)
    page.locator("#truth-planted-button").click()
    expect(page.locator("#truth-planted .truth-mark")).to_have_count(4, timeout=RUN_MS)
    for details in page.locator("#truth details").all():
        details.evaluate("element => { element.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": width, "height": 9000})
    assert faults(page) == []

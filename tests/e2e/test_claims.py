"""The claims page as people use it: the ledger, what stands behind a claim, the other source, the table as a file."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from engine.tables import read_table
from tests.e2e.conftest import OpenPage
from tests.e2e.test_access import each_look, faults


def open_claims(page: Page) -> None:
    page.get_by_role("tab", name="Claims").click()
    expect(page.locator("#claims-shown .cm-row").first).to_be_visible()


def test_the_ledger_is_drawn_from_the_table(open_page: OpenPage, results: Path) -> None:
    page = open_page("?tab=claims&source=own", clip_page=False)
    rows = read_table(results / "tables" / "claims.csv", "claims").to_dict("records")
    expect(page.locator("#claims-shown .cm-row")).to_have_count(len(rows))
    for row in rows:
        grid = page.locator(f"#claim-{row['claim']} .cm-grid")
        expect(grid.locator(".cm-mark:not(small *)")).to_contain_text(row["verdict"])
        if row["paper_verdict"]:
            expect(grid.locator("small .cm-mark")).to_contain_text(row["paper_verdict"])
    expect(page.locator(".cm-tally li")).to_have_count(4)


def test_behind_a_claim_stand_its_rule_and_a_way_to_its_figures(open_page: OpenPage) -> None:
    page = open_page("?tab=claims&source=own", clip_page=False)
    claim = page.locator("#claim-noise")
    claim.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(claim.get_by_text("Rule.")).to_be_visible()
    claim.get_by_role("link", name="Open where it is measured").click()
    expect(page.locator("#bm-matrix")).to_be_visible()
    expect(page).to_have_url(re.compile("tab=benchmark"))


def test_the_tab_has_an_address_and_the_source_is_in_it(open_page: OpenPage) -> None:
    page = open_page()
    open_claims(page)
    expect(page).to_have_url(re.compile(r"\?tab=claims&source=own$"))
    page.get_by_role("radio", name="Measured here").and_(page.locator("#claims-source input")).check()
    expect(page).to_have_url(re.compile(r"\?tab=claims&source=measured$"))


def test_the_table_can_be_taken_along(open_page: OpenPage, results: Path) -> None:
    page = open_page("?tab=claims&source=own", clip_page=False)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="claims.csv", exact=True).click()
    assert waiting.value.suggested_filename == "own-claims.csv"
    header = Path(waiting.value.path()).read_text(encoding="utf-8").splitlines()[0]
    assert header.split(",") == list(read_table(results / "tables" / "claims.csv", "claims").columns)


@each_look
def test_axe_finds_nothing_and_nothing_sticks_out(open_page: OpenPage, theme: str, width: int) -> None:
    page = open_page("?tab=claims&source=own", theme=theme, width=width, clip_page=False)
    expect(page.locator("#claims-shown .cm-row").first).to_be_visible()
    for details in page.locator("#claims details").all():
        details.evaluate("element => { element.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": width, "height": 9000})
    assert faults(page) == []

"""The benchmark page as people use it: matrix, pair, class, clip, Run; its link, its exports, its access."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import pytest
from playwright.sync_api import Page, Route, expect

from dashboard.tables import SHIPPED
from tests.e2e.conftest import RUN_MS, OpenPage, wait_for_result
from tests.e2e.test_access import each_look, faults

NOISY = "?tab=benchmark&source=own&on=topic&level=babble-5"


def wait_for_matrix(page: Page) -> None:
    expect(page.locator("#bm-matrix .bm-cell").first).to_be_visible()
    expect(page.locator("#bm-take pre")).to_be_visible()


def open_benchmark(open_page: OpenPage, query: str = NOISY, **options: Any) -> Page:
    page = open_page(query, clip_page=False, **options)
    wait_for_matrix(page)
    return page


def fullest_class(page: Page) -> str:
    """Choose the class with the most clips and return its key."""
    rows = page.locator("#bm-pair .bm-class")
    sizes = [int(text.replace(",", "")) for text in rows.locator("b").all_inner_texts()]
    fullest = rows.nth(sizes.index(max(sizes)))
    fullest.click()
    expect(page.locator("#bm-clips .bm-open").first).to_be_visible()
    return fullest.get_attribute("data-value") or ""


def stored(results: Path, clip_id: str) -> dict[str, tuple[str, str]]:
    """Return by system the text that it generated and the status of its label."""
    rows = pd.read_parquet(results / "answers.parquet")
    rows = rows[rows["clip_id"] == clip_id]
    return {row.system: (row.text, row.label_status) for row in rows.itertuples()}


def test_from_the_matrix_to_a_clip_whose_live_answer_is_the_stored_one(
    open_page: OpenPage, results: Path
) -> None:
    page = open_benchmark(open_page)
    page.locator('#bm-matrix [data-value="mini-ultravox~mini-cascade"]').click()
    expect(page.locator("#bm-pair .bm-pair")).to_contain_text("mini-Ultravox")
    fullest_class(page)
    clip = page.locator("#bm-clips .bm-open").first
    clip_id, said = clip.get_attribute("data-value") or "", clip.inner_text()
    clip.click()
    expect(page.locator("#reference textarea")).to_have_value(said)
    expect(page.get_by_role("radio", name="Babble")).to_be_checked()
    expect(page.locator("#run")).to_be_visible()
    page.locator("#run").click()
    wait_for_result(page)
    with page.expect_download() as download:
        page.locator("#download").click()
    live = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))["systems"]
    assert {lane["key"]: (lane["answer"], lane["label_status"]) for lane in live} == stored(results, clip_id)


def test_a_clip_of_the_shipped_run_is_answered_live_as_it_is_stored(open_page: OpenPage) -> None:
    """The second speech LLM beside its own weights: the pair that the clip page does not open on."""
    page = open_benchmark(open_page, "?tab=benchmark&source=measured&on=topic&level=clean")
    page.locator('#bm-matrix [data-value="mini-qwen2-audio~mini-cascade-self"]').click()
    expect(page.locator("#bm-pair .bm-pair")).to_contain_text("mini-Qwen2-Audio")
    fullest_class(page)
    clip = page.locator("#bm-clips .bm-open").first
    clip_id = clip.get_attribute("data-value") or ""
    clip.click()
    expect(page.locator("#match-note")).to_contain_text("self")
    page.locator("#run").click()
    wait_for_result(page)
    expect(page.locator(".cl-benchmark")).to_contain_text("900 clips")
    with page.expect_download() as download:
        page.locator("#download").click()
    live = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))["systems"]
    wanted = stored(SHIPPED, clip_id)
    assert [lane["key"] for lane in live] == ["mini-qwen2-audio", "mini-cascade-self", "mini-qwen2-audio-llm"]
    assert {lane["key"]: (lane["answer"], lane["label_status"]) for lane in live}.items() <= wanted.items()


def test_the_view_survives_a_reload_and_a_step_back(open_page: OpenPage) -> None:
    page = open_benchmark(open_page)
    kind = fullest_class(page)
    expect(page).to_have_url(re.compile(f"class={kind}"))
    address = page.url
    page.reload()
    expect(page.locator("#bm-clips .bm-open").first).to_be_visible()
    expect(page.locator(f'#bm-pair [data-value="{kind}"]')).to_have_attribute("aria-pressed", "true")
    assert page.url == address
    page.locator("#bm-clips .bm-open").first.click()
    expect(page).to_have_url(re.compile("clip=own"))
    expect(page.locator("#run")).to_be_visible()
    page.go_back()
    expect(page.locator("#bm-clips .bm-open").first).to_be_visible()
    assert page.url == address


def test_filters_are_in_the_link(open_page: OpenPage) -> None:
    page = open_benchmark(open_page, "?tab=benchmark")
    page.locator("#bm-level").select_option(label="babble, 5 dB")
    expect(page).to_have_url(re.compile("level=babble-5"))
    page.get_by_label("Published").check()
    expect(page).to_have_url(re.compile("source=published"))
    expect(page.locator("#bm-note")).to_contain_text("arXiv 2602.17598")
    page.get_by_role("tab", name="Clip").click()
    expect(page).not_to_have_url(re.compile("tab="))


def wait_for_choice(page: Page, task: str, level: str) -> None:
    """Wait until the page is drawn for this cell; its lists say the same."""
    for name, key in (("on", task), ("level", level)):
        expect(page).to_have_url(re.compile(rf"[?&]{urlencode({name: key})}(&|$)".replace("+", r"\+")))
    expect(page.locator("#bm-task")).to_have_value(task)
    expect(page.locator("#bm-level")).to_have_value(level)
    expect(page.locator("#bm-matrix .bm-cell").first).to_be_visible()


def options(page: Page, box: str) -> list[str]:
    return [
        str(key) for key in page.locator(f"#{box} option").evaluate_all("all => all.map((one) => one.value)")
    ]


def test_no_combination_of_source_task_and_noise_ends_the_page(open_page: OpenPage) -> None:
    """The choice "babble, 5 dB", then "Sarcasm", was an error 500, and the page stood still until a reload."""
    page = open_benchmark(open_page, "?tab=benchmark&source=own")
    refused: list[str] = []
    page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
    for source, key in (("Measured here", "measured"), ("Published", "published"), ("Own run", "own")):
        page.locator("#bm-source").get_by_label(source).check()
        expect(page).to_have_url(re.compile(f"source={key}"))
        walked = []
        for task in options(page, "bm-task"):
            # The task before was left at its last noise condition, which this one may lack.
            page.locator("#bm-task").select_option(task)
            expect(page).to_have_url(re.compile(rf"[?&]{urlencode({'on': task})}&".replace("+", r"\+")))
            for level in reversed(options(page, "bm-level")):
                page.locator("#bm-level").select_option(level)
                wait_for_choice(page, task, level)
                walked.append((task, level))
        assert len(walked) > len({task for task, _ in walked}) > 1 or key == "published", walked
    assert refused == []
    assert page.get_by_test_id("toast-body").count() == 0


@contextmanager
def answers_held(page: Page) -> Iterator[list[Route]]:
    """Hold what the page asks the server for, until a test lets it go or the block ends."""
    asked: list[Route] = []
    held = True
    page.route("**/run/predict*", lambda route: asked.append(route) if held else route.continue_())
    yield asked
    held = False
    for route in asked:
        route.continue_()


def wait_until_asked(page: Page, asked: list[Route]) -> None:
    deadline = time.monotonic() + 60
    while not asked:
        assert time.monotonic() < deadline, "the page asks for nothing"
        page.wait_for_timeout(50)


def test_a_choice_made_while_the_page_is_drawn_anew_is_kept(open_page: OpenPage) -> None:
    """The answer to the choice before set the lists back to what it was about; a key's choice was not drawn at all."""
    page = open_benchmark(open_page, "?tab=benchmark&source=own&on=topic&level=clean")
    task, level = page.locator("#bm-task"), page.locator("#bm-level")
    with answers_held(page) as asked:
        task.select_option("trivia")
        wait_until_asked(page, asked)
        level.focus()
        page.keyboard.press("ArrowDown")
        task.select_option("topic")
        asked.pop().continue_()
        expect(page).to_have_url(re.compile("on=trivia&level=clean"))
        wait_until_asked(page, asked)
        assert (task.input_value(), level.input_value()) == ("topic", "babble-5")
        asked.pop().continue_()
        expect(page).to_have_url(re.compile("on=trivia&level=babble-5"))
        assert (task.input_value(), level.input_value()) == ("topic", "babble-5")
    wait_for_choice(page, "topic", "babble-5")


def test_a_choice_that_the_task_lacks_falls_back_to_what_is_drawn(open_page: OpenPage) -> None:
    page = open_benchmark(open_page, "?tab=benchmark&source=measured&on=trivia&level=clean")
    with answers_held(page) as asked:
        page.locator("#bm-task").select_option("sarcasm")
        wait_until_asked(page, asked)
        page.locator("#bm-level").select_option("babble-5")
    wait_for_choice(page, "sarcasm", "clean")
    assert options(page, "bm-level") == ["clean"]


@pytest.mark.parametrize(
    ("tab", "box", "drawn"),
    [
        ("benchmark", "#bm-source", "#bm-take pre"),
        ("mechanism", "#mech-source", "#mech-take pre"),
        ("claims", "#claims-source", "#claims-shown .cm-row"),
        ("interleaved", "#inter-source", "#inter-take .card-title"),
    ],
)
def test_a_source_chosen_while_another_is_drawn_is_kept(
    open_page: OpenPage, tab: str, box: str, drawn: str
) -> None:
    page = open_page(f"?tab={tab}&source=own", clip_page=False)
    source = page.locator(box)
    expect(page.locator(drawn).first).to_be_visible()
    with answers_held(page) as asked:
        source.get_by_label("Measured here").check()
        wait_until_asked(page, asked)
        source.get_by_label("Own run").check()
        asked.pop().continue_()
        wait_until_asked(page, asked)
        expect(source.get_by_label("Own run")).to_be_checked()
    expect(page).to_have_url(re.compile("source=own"))
    expect(source.get_by_label("Own run")).to_be_checked()


def test_searching_a_list(open_page: OpenPage) -> None:
    page = open_benchmark(open_page)
    fullest_class(page)
    word = page.locator("#bm-clips .bm-open").first.inner_text().split()[-1]
    page.locator("#bm-find textarea").fill(word)
    expect(page.locator("#bm-clips [role=status]")).to_contain_text(word)
    expect(page).to_have_url(re.compile(f"find={word}"))


def test_tables_and_charts_can_be_taken_along(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_benchmark(open_page)
    for name in ("agreement.csv", "cost.parquet"):
        with page.expect_download() as download:
            page.locator(f'#bm-take [data-value="{name}"]').click()
        assert download.value.suggested_filename == f"own-{name}"
    expect(page.locator("#bm-accuracy-plot .main-svg").first).to_be_visible()
    for form, start in (("png", b"\x89PNG"), ("svg", b"<svg")):
        with page.expect_download() as download:
            page.locator(f'[data-value="bm-accuracy-plot.{form}"]').click()
        download.value.save_as(tmp_path / form)
        assert (tmp_path / form).read_bytes().startswith(start)
        assert download.value.suggested_filename == f"bm-accuracy-plot.{form}"


def test_the_matrix_works_from_the_keyboard(open_page: OpenPage) -> None:
    page = open_benchmark(open_page)
    chosen = page.locator('#bm-matrix .bm-cell[aria-pressed="true"]')
    expect(chosen).to_have_count(1)
    chosen.focus()
    page.keyboard.press("ArrowDown")
    walked_to = page.evaluate("document.activeElement.dataset.value")
    assert walked_to != chosen.get_attribute("data-value")
    expect(page.locator(".bm-readout")).to_have_text(page.evaluate("document.activeElement.dataset.say"))
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(re.escape(walked_to.split("~")[1])))
    assert page.evaluate("document.activeElement.dataset.value") == walked_to


@each_look
def test_axe_finds_nothing_on_the_benchmark(open_page: OpenPage, theme: str, width: int) -> None:
    page = open_benchmark(open_page, theme=theme, width=width)
    fullest_class(page)
    page.set_viewport_size({"width": width, "height": 7000})
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_label("Published").check()
    expect(page.locator("#bm-stated table")).to_be_visible(timeout=RUN_MS)
    expect(page.locator("#bm-confound-plot .js-plotly-plot")).to_be_visible()
    assert faults(page) == []

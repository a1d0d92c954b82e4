"""The clip page: Run right after an example, a result marked stale, another readout, a benchmark clip's answers."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from engine.examples import EXAMPLES
from engine.tasks import TASKS
from tests.e2e.conftest import RUN_MS, TAUGHT, OpenPage, choose_example, run_and_wait, wait_for_result
from tests.e2e.test_benchmark import fullest_class, open_benchmark
from tests.e2e.test_clip_bench import erase_text


def choose_task(page: Page, name: str) -> None:
    page.locator("#task input").click()
    page.get_by_role("option", name=name, exact=True).click()


def test_run_pressed_right_after_an_example_waits_for_its_clip(page_strict: Page) -> None:
    """It said that there is no clip yet: the press was quicker than the example."""
    page_strict.locator("#examples button.gallery-item").first.click()
    page_strict.locator("#run").click()
    page_strict.wait_for_function("window.cascadeLens.status === 'ready'", timeout=RUN_MS)
    expect(page_strict.get_by_test_id("toast-body")).to_have_count(0)
    expect(page_strict.locator(".cl-name")).to_contain_text(EXAMPLES[0].key)


def test_a_result_of_another_clip_or_task_is_marked(page_strict: Page) -> None:
    choose_example(page_strict)
    run_and_wait(page_strict)
    stale = page_strict.locator("#stale .stale")
    expect(stale).to_have_count(0)
    choose_task(page_strict, "Sentiment")
    expect(stale).to_contain_text("settings changed - Run")
    choose_task(page_strict, TASKS[EXAMPLES[TAUGHT].task].name)
    expect(stale).to_have_count(0)
    choose_example(page_strict, 1)
    expect(stale).to_be_visible()
    run_and_wait(page_strict)
    expect(stale).to_have_count(0)


def test_the_readout_over_the_grid_reads_anew(page_strict: Page) -> None:
    choose_example(page_strict)
    run_and_wait(page_strict)
    readout = page_strict.locator(".cl-readout")
    expect(readout).to_have_value("logit")
    assert readout.locator("option").evaluate_all("all => all.map((one) => one.disabled)") == [
        False,
        True,
        True,
    ]
    erase_text(page_strict)
    readout.select_option("difference")
    expect(page_strict.locator(".cl-lens .cl-caption")).to_contain_text(
        "plain minus text erased", timeout=RUN_MS
    )
    wait_for_result(page_strict)
    expect(readout).to_have_value("difference")
    expect(page_strict.locator(".cl-legend")).to_contain_text("random control of the same rank")
    readout.select_option("logit")
    expect(page_strict.locator(".cl-lens .cl-caption")).to_contain_text("logit lens", timeout=RUN_MS)


def test_a_benchmark_clip_opens_with_its_name_and_its_stored_answers(open_page: OpenPage) -> None:
    page = open_benchmark(open_page)
    fullest_class(page)
    clip = page.locator("#bm-clips .bm-open").first
    clip_id = clip.get_attribute("data-value") or ""
    clip.click()
    stored = page.locator("#stored-answers")
    expect(stored).to_contain_text(f"Stored answers to clip {clip_id}")
    expect(stored.locator("tbody tr")).to_have_count(3)  # of the small run's systems
    expect(stored).to_contain_text(re.compile("mini-Ultravox.*(right|wrong)", re.DOTALL))
    choose_example(page)
    expect(stored.locator("section")).to_have_count(0)

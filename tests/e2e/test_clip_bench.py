"""The strength dial, the layer sweep and the implicit cascade, driven on the models that ship."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from dashboard.result_json import result_to_json
from engine.interventions import sweep_layers
from engine.request import RunRequest, preset_layers
from engine.run import ask_lens_text
from tests.e2e.conftest import RUN_MS, OpenPage, choose_example, run_and_wait, wait_for_result
from tests.e2e.test_clip_page import (
    assert_alike,
    downloaded,
    engine_request,
    engine_result,
    without_times,
)


def erase_text(page: Page) -> None:
    """Switch the text eraser on and wait for its bench."""
    page.locator("#erasures input").first.check()
    expect(page.locator(".cl-bench [data-condition=text]")).to_be_visible(timeout=RUN_MS)
    wait_for_result(page)


def test_the_dial_runs_again_and_stands_beside_the_rank(page_strict: Page) -> None:
    choose_example(page_strict)
    run_and_wait(page_strict)
    erase_text(page_strict)
    number = page_strict.locator("#strength input[type=number]")
    number.fill("0.5")
    number.press("Enter")
    bench = page_strict.locator(".cl-bench")
    expect(bench).to_contain_text("Strength 0.5, linear", timeout=RUN_MS)
    expect(bench.locator("[data-arm=random] h3")).to_have_text(re.compile("strength 0.5"))
    wait_for_result(page_strict)
    engine = engine_result(erasures=("text",), strength=0.5)
    assert_alike(without_times(downloaded(page_strict)), without_times(result_to_json(engine)))
    page_strict.locator("#make-link").click()
    expect(page_strict.locator("#link textarea, #link input").first).to_have_value(re.compile("strength=0.5"))


def test_a_sweep_shows_every_layer_and_goes_with_its_run(page_strict: Page) -> None:
    choose_example(page_strict)
    run_and_wait(page_strict)
    page_strict.locator("#sweep").click()
    columns = page_strict.locator(".sw-chart").first.locator(".sw-col")
    request: RunRequest = engine_request()
    engine = sweep_layers(request, "text", "single layer")
    expect(columns).to_have_count(len(engine.points), timeout=RUN_MS)
    assert [point.layer for point in engine.points] == list(preset_layers(engine.points[-1].layer))
    columns.nth(2).focus()
    tip = columns.nth(2).locator(".sw-tip")
    expect(tip).to_be_visible()
    erased = engine.points[2].erased
    expect(tip).to_contain_text(f"answer {erased.answer.label or erased.answer.status}")
    page_strict.locator("#sweep-shown summary").click()
    expect(page_strict.locator("#sweep-shown tbody tr")).to_have_count(len(engine.points))
    page_strict.get_by_label("White").check()
    expect(page_strict.locator(".cl-facts")).to_contain_text("white", timeout=RUN_MS)
    expect(page_strict.locator(".sw")).to_have_count(0)


def test_a_layers_text_is_asked_by_its_button_only(page_strict: Page) -> None:
    choose_example(page_strict)
    run_and_wait(page_strict)
    card = page_strict.locator(".cl-implicit")
    result = engine_result()
    last = result.lens.layers[-1]
    expect(card.locator(".cl-answer")).to_have_count(0)
    card.get_by_role("button", name=f"Ask the LLM with layer {last}’s text").click()
    expect(card.locator(".cl-answer")).to_be_visible(timeout=RUN_MS)
    asked = ask_lens_text(engine_request(), result.lens, last)
    expect(card.locator(".cl-from")).to_contain_text(f"lens text of layer {last}")
    expect(card.locator(".cl-answer")).to_contain_text(asked.answer.label or asked.answer.status)
    page_strict.locator(".cl-layer").last.click()
    expect(
        card.get_by_role("button", name=f"Ask the LLM with layer {result.lens.layers[0]}’s text")
    ).to_be_visible()
    expect(card.locator(".cl-from")).to_contain_text(f"lens text of layer {last}")


def test_the_four_lanes_fit_a_phone(open_page: OpenPage) -> None:
    page = open_page("", width=390)
    choose_example(page)
    run_and_wait(page)
    page.locator("#sweep").click()
    expect(page.locator(".sw-plot").first).to_be_visible(timeout=RUN_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

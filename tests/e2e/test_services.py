"""A pair whose speech LLM is a service, in a real browser: what is said, what is sent, what is off, and no key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from engine.systems.catalogue import UNAVAILABLE
from tests.e2e.conftest import (
    RUN_MS,
    Complaints,
    Site,
    choose_example,
    run_and_wait,
    running_app,
    toasts,
)
from tests.engine.fake_service import FakeService, Sent, serving
from tests.engine.served import GEMINI_SAYS, KEYS, point_to

SLOW_S = 60.0
BLOCKED: dict[str, Any] = {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "gemini-fake-001"}
REFUSED = {"error": {"code": 400, "message": f"bad key {KEYS[0]}", "status": "INVALID_ARGUMENT"}}


@pytest.fixture(scope="module")
def gemini() -> Iterator[FakeService]:
    with serving(Sent(GEMINI_SAYS)) as service:
        yield service


@pytest.fixture(scope="module")
def served(gemini: FakeService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The app with a key in its environment; nothing but the service is faked."""
    with pytest.MonkeyPatch.context() as patch:
        said = point_to(patch, gemini=gemini.url)
        with running_app(tmp_path_factory.mktemp("served"), environment=said) as site:
            yield site


@pytest.fixture
def page(browser: Browser, served: Site) -> Iterator[Page]:
    complaints = Complaints()
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, accept_downloads=True)
    context.set_default_timeout(60_000)
    one = context.new_page()
    complaints.watch(one)
    one.goto(f"{served.url}/?systems=gemini-mini")
    one.wait_for_function("window.cascadeLens !== undefined")
    yield one
    context.close()
    assert complaints.outside_requests == [] and complaints.script_errors == []


def test_a_service_is_asked_when_run_is_pressed_and_what_is_off_says_why(
    page: Page, served: Site, gemini: FakeService
) -> None:
    n_before = len(gemini.asked)
    expect(page.locator("#service-note")).to_contain_text(
        "Run sends clip and question to gemini-fake at 127.0.0.1. Nothing is sent before."
    )
    expect(page.locator("#erase-note")).to_contain_text("Off: the model's states stay with the service")
    expect(page.locator("#erasures input")).to_have_count(0)
    choose_example(page)
    assert len(gemini.asked) == n_before
    gemini.script = [Sent(GEMINI_SAYS)]
    run_and_wait(page)
    assert len(gemini.asked) == n_before + 1
    lane = page.locator('.cl-lane[data-role="speech_llm"]')
    for text in (
        "Sports",
        "answered by gemini-fake-001",
        UNAVAILABLE["forced_choice"],
        "What it heard is not known",
    ):
        expect(lane).to_contain_text(text)
    expect(lane.locator(".cl-bar")).to_have_count(0)
    expect(page.locator('.cl-lane[data-role="cascade"] .cl-bar')).not_to_have_count(0)
    expect(page.locator(".cl-off")).to_contain_text(UNAVAILABLE["lens"])
    expect(page.locator(".cl-implicit")).to_contain_text(UNAVAILABLE["lens"])
    expect(page.locator(".cl-implicit button")).to_have_count(0)
    expect(page.locator(".cl-bench")).to_contain_text(UNAVAILABLE["erasure"])
    expect(page.locator("#card-sweep")).to_contain_text(UNAVAILABLE["erasure"])
    expect(page.locator("#sweep")).to_be_disabled()
    expect(page.locator(".cl-detail")).to_be_hidden()
    page.locator(".cl-over").click(position={"x": 200, "y": 40})
    page.keyboard.press("ArrowRight")
    assert page.evaluate("window.cascadeLens.time") > 0, "the sound is still on the clock"
    page.locator("#noise label").nth(2).click()
    expect(page.locator("#status")).to_contain_text("press Run")
    assert len(gemini.asked) == n_before + 1
    with page.expect_download() as waiting:
        page.locator("#download").click()
    kept = Path(waiting.value.path()).read_text(encoding="utf-8")
    assert json.loads(kept)["lens"] is None and set(json.loads(kept)["not_measured"]) == {
        "lens",
        "erasure",
        "match",
    }
    for key in KEYS:
        assert key[8:20] not in kept + page.content() + served.log()


def test_a_waiting_request_is_told_and_can_be_stopped(page: Page, gemini: FakeService) -> None:
    choose_example(page)
    gemini.script = [Sent(GEMINI_SAYS, delay_s=SLOW_S)]
    page.locator("#run").click()
    expect(page.locator("#status")).to_contain_text("waiting for Gemini to answer", timeout=RUN_MS)
    held: list[Route] = []
    page.route("**/cancel", lambda route: held.append(route))
    page.locator("#stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped.")
    # It once looked ready before the server had answered Stop, and a press in between was lost.
    expect(page.locator("#run")).to_be_disabled()
    held[0].continue_()
    expect(page.locator("#run")).to_be_enabled()
    gemini.script = [Sent(BLOCKED)]
    run_and_wait(page)
    lane = page.locator('.cl-lane[data-role="speech_llm"]')
    expect(lane.locator(".cl-answer")).to_have_text(re.compile("^refused"))
    expect(lane).to_contain_text("Refused by the service: SAFETY.")
    expect(page.locator(".cl-chip").first).to_have_text("Not comparable")


def test_a_fault_is_one_sentence_without_the_key(page: Page, served: Site, gemini: FakeService) -> None:
    choose_example(page)
    gemini.script = [Sent(REFUSED, 400)]
    page.locator("#run").click()
    assert 'Gemini rejects the request (HTTP 400): "bad key ***"' in toasts(page)
    assert KEYS[0] not in page.content() + served.log()

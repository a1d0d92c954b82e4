"""The truth page's buttons: steps while they work, what was found at the end, one sentence when they cannot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest

from dashboard.layout import build_dashboard
from dashboard.tabs import truth, truth_handlers
from dashboard.tabs.clip_handlers import SKIP
from engine.checks import Checked, Finding
from engine.examples import EXAMPLES
from engine.hearing import Hearing, HearingControl
from engine.request import RunRequest
from engine.results import Answer

ANSWER = Answer("Sports", "Sports", "parsed", {"Sports": 1.0}, -0.1)
VALUES: tuple[Any, ...] = (
    "topic",
    "",
    "",
    "mini-ultravox",
    "none",
    5.0,
    None,
    [],
    "audio",
    "preset",
    "",
    "linear",
)


@pytest.fixture(autouse=True)
def no_models(monkeypatch: pytest.MonkeyPatch) -> list[RunRequest]:
    """Put what the models would find where they would run."""
    asked: list[RunRequest] = []

    def check_all(progress: Any) -> tuple[Checked, ...]:
        progress(0.5, "checking mini-Ultravox")
        return (Checked("a", "A", (Finding("x", "m", 0, 0),)),)

    def did_it_hear(request: RunRequest, progress: Any) -> Hearing:
        asked.append(request)
        control = HearingControl("silence", "s", True, ANSWER, False, 0.0, 0.0, 0.0)
        return Hearing("clip", "Which topic?", ANSWER, (control,), 1e-3, False, "It did not hear: silence.")

    monkeypatch.setattr("engine.checks.check_all", check_all)
    monkeypatch.setattr("engine.hearing.did_it_hear", did_it_hear)
    return asked


def ended(steps: Iterator[truth_handlers.Told]) -> tuple[list[str], truth_handlers.Told]:
    *early, last = list(steps)
    assert all(one.shown == SKIP for one in early)
    return [one.status for one in early], last


def test_the_self_check_tells_its_steps_and_then_its_tables() -> None:
    steps, last = ended(truth_handlers.check(None))
    assert "Waiting for the models" in steps[0] and 'role="status"' in steps[0]
    assert any("Checking mini-Ultravox" in step and "50%" in step for step in steps)
    assert last.status == "" and "All 1 checks of 1 system pass." in last.shown


def test_the_clip_pages_own_question_is_asked(no_models: list[RunRequest]) -> None:
    example = EXAMPLES[0]
    _, last = ended(truth_handlers.hear((str(example.file), *VALUES), None))
    assert "It did not hear" in last.shown
    assert [(one.task, one.clip.name) for one in no_models] == [("topic", example.file.name)]


def test_without_a_clip_the_card_says_what_to_do() -> None:
    steps: list[truth_handlers.Told] = []
    with pytest.raises(gr.Error, match="There is no clip yet"):
        for step in truth_handlers.hear((None, *VALUES), None):
            steps.append(step)
    assert "There is no clip yet" in steps[-1].status and "problem" in steps[-1].status


def test_the_planted_networks_are_really_judged() -> None:
    """Nothing is faked: the networks are small enough."""
    _, last = ended(truth_handlers.judge(None))
    assert last.shown.count("✓ agrees") == 4 and "✗" not in last.shown
    assert "LEACE misses it" in last.shown


def test_the_page_has_the_tab_and_its_address_opens_it() -> None:
    page = build_dashboard()
    tabs = [block.label for block in page.blocks.values() if isinstance(block, gr.Tab)]
    assert tabs == ["Clip", "Benchmark", "Mechanism", "Interleaved", "Claims", "Truth"]
    buttons = {block.elem_id for block in page.blocks.values() if isinstance(block, gr.Button)}
    assert {"truth-check-button", "truth-hearing-button", "truth-planted-button"} <= buttons

    class Asked:
        def __init__(self, **query: str) -> None:
            self.query_params = query

    assert truth._opened(Asked(tab="truth")).selected == "truth"
    assert truth._opened(Asked(tab="benchmark")) == SKIP and truth._opened(Asked()) == SKIP

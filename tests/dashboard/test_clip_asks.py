"""The sweep and the implicit cascade as the page asks for them: progress, results of the run shown, errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr
import pytest

from dashboard import session
from dashboard.tabs import clip_asks as asks
from dashboard.tabs import clip_runs as runs
from dashboard.tabs.clip_handlers import SKIP
from engine.audio import AudioClip
from engine.errors import PromptError
from engine.interventions import Sweep, SweepPoint
from engine.request import RunRequest
from engine.results import Answer, ArmResult, RunResult
from engine.run import ImplicitAnswer
from tests.dashboard.test_links import form


@pytest.fixture
def shown_id(result: RunResult) -> str:
    clip = AudioClip(result.waveform, "clip.wav")
    request = RunRequest(clip, "topic", gold="Sports", strength=0.5)
    run = replace(result, gold="Sports")
    return session.RESULTS.put(session.Finished(request, run, form(), "clip.wav", None))


def _arm(label: str) -> ArmResult:
    return ArmResult(Answer(label, label, "parsed", {}, -0.5), -1.0, None, 0.1)


def test_a_sweep_tells_its_progress_and_belongs_to_the_run_it_was_asked_of(
    shown_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sweep_layers(request: RunRequest, condition: str, reach: str, progress: session.Progress) -> Sweep:
        progress(0.4, "pass 1 of 2")
        point = SweepPoint(3, (3,), 7, _arm("World"), (_arm("Sports"),) * 3)
        asked = ("audio", "linear", request.strength, (0, 1, 2))
        return Sweep(condition, reach, *asked, _arm("Sports"), (point,), 1.0)  # type: ignore[arg-type]

    monkeypatch.setattr("engine.interventions.sweep_layers", sweep_layers)
    first, *steps, last = asks.sweep(shown_id, "boc", "cumulative", None)
    assert first.stop["visible"] is True
    assert any("Pass 1 of 2" in step.status for step in steps)
    assert "Bag of characters erased at all of the nine up to each layer: strength 0.5" in last.shown
    assert last.of == shown_id and last.stop["visible"] is False and last.status == ""


def test_a_sweep_of_another_run_than_the_one_shown_does_not_stay() -> None:
    assert asks.keep_own("run b", "run a") == ""
    assert asks.keep_own("run a", "run a") is SKIP


def test_a_sweep_that_cannot_be_made_says_so_on_the_card_and_gives_the_page_back(
    shown_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Sweep:
        raise PromptError("No <sweep>.")

    monkeypatch.setattr("engine.interventions.sweep_layers", refuse)
    for (run, condition), words in (
        ((shown_id, "text"), "No &lt;sweep&gt;."),
        ((shown_id, None), "Choose what"),
        (("", "text"), "press Run"),
    ):
        seen: list[asks.SweepUpdate] = []
        with pytest.raises(gr.Error):
            seen.extend(asks.sweep(run, condition, "single layer", None))
        assert words in seen[-1].status and seen[-1].stop["visible"] is False


def test_the_layers_text_stands_word_by_word_against_the_cascades(
    shown_id: str, result: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask_lens_text(request: RunRequest, lens: Any, layer: int, tell: Any) -> ImplicitAnswer:
        answer = Answer("Sports", "Sports", "parsed", {"Sports": 1.0}, -0.5)
        return ImplicitAnswer(layer, "the game", "mini-cascade", answer, 0.1)

    monkeypatch.setattr("engine.run.ask_lens_text", ask_lens_text)
    monkeypatch.setattr(asks, "kappa_beside", lambda task, pair, layer: f"{task}, {pair}, {layer}")
    (value,) = asks.ask_layer(shown_id, 2, 7, None)
    assert (value["status"], value["layer"], value["turn"], value["right"]) == ("implicit", 2, 7, True)
    assert result.lanes[1].heard == "the team"
    assert [(part["kind"], part["text"]) for part in value["parts"]] == [
        ("same", "the"),
        ("missing", "team"),
        ("extra", "game"),
    ]
    assert value["kappa"] == "topic, mini-ultravox, 2" and value["answer"]["label"] == "Sports"


def test_what_cannot_be_asked_is_told_to_the_view_and_leaves_the_run_there(shown_id: str) -> None:
    for (run, layer), words in (
        (("", 2), "press Run"),
        ((shown_id, "2"), "whole number"),
        ((shown_id, None), "whole"),
    ):
        seen: list[dict[str, Any]] = []
        with pytest.raises(gr.Error):
            seen.extend(asks.ask_layer(run, layer, 3, None))
        assert seen[-1]["status"] == "implicit" and words in seen[-1]["error"] and seen[-1]["turn"] == 3


def test_the_sweeps_choice_is_what_the_run_erases_else_what_was_chosen_before(
    shown_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = AudioClip(session.RESULTS.get(shown_id).result.waveform, "clip.wav")  # type: ignore[union-attr]
    monkeypatch.setattr("dashboard.choices.available_conditions", lambda pair: {"text": 60, "boc": 26})
    erased = runs.conditions_to_sweep(RunRequest(clip, "topic", erasures=("boc",)), shown_id)
    assert erased["value"] == "boc" and erased["choices"] == [
        ("Text, rank 60", "text"),
        ("Bag of characters, rank 26", "boc"),
    ]
    assert "value" not in runs.conditions_to_sweep(RunRequest(clip, "topic"), shown_id)
    assert runs.conditions_to_sweep(RunRequest(clip, "topic"), "")["value"] == "text"

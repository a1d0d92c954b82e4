"""The clip page with pairs that ask a service: the shipped minis, the page's own handlers, and a fake service."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import gradio as gr
import pytest

from dashboard import choices, session
from dashboard.endpoints import analyze, systems
from dashboard.tabs import clip_handlers as handlers
from dashboard.tabs import clip_runs as runs
from dashboard.tabs.clip_pair import show_pair
from dashboard.tabs.truth_handlers import hear
from engine.errors import ServiceError
from engine.examples import EXAMPLES
from engine.systems.catalogue import UNAVAILABLE
from tests.dashboard.test_links import form
from tests.engine.fake_service import FakeService, Sent, serving
from tests.engine.served import ENDPOINT_SAYS, GEMINI_SAYS, KEYS, forget_services, point_to

NOBODY = cast(gr.Request, None)
# What the fake service answers is a topic.
EXAMPLE = next(one for one in EXAMPLES if one.task == "topic")
BLOCKED = Sent({"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "gemini-fake-001"})
BUSY = Sent({"error": {"code": 429, "message": f"slow {KEYS[0]}", "status": "RESOURCE_EXHAUSTED"}}, 429)


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeService, FakeService]]:
    """Gemini, and an endpoint for text."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with serving(Sent(GEMINI_SAYS)) as gemini, serving(Sent(ENDPOINT_SAYS)) as text:
        point_to(monkeypatch, gemini=gemini.url, text=text.url)
        yield gemini, text
    forget_services()


def values(pair: str, **changes: Any) -> tuple[Any, ...]:
    asked = {"audio": str(EXAMPLE.file), "task": EXAMPLE.task, "reference": EXAMPLE.reference, "pair": pair}
    made = form(**{**asked, "noise": "none", "erasures": (), "layers": "preset", "layer_text": "", **changes})
    return tuple(vars(made)[name] for name in vars(made) if name != "seed")


def finished(pair: str, **changes: Any) -> tuple[runs.RunUpdate, list[str]]:
    """Return the update of a run that shows its answers, and what the steps before it said."""
    updates = list(runs.run_form(values(pair, **changes), "", None))
    at = next(index for index, update in enumerate(updates) if isinstance(update.shown_id, str))
    return updates[at], [step.view["message"] for step in updates[:at]]


def test_a_run_shows_the_answer_and_says_what_is_off_where_it_would_be(
    services: tuple[FakeService, FakeService],
) -> None:
    update, told = finished("gemini-mini")
    view = update.view
    speech, cascade, oracle = view["lanes"]
    assert speech["answer"]["label"] == "Sports" and speech["is_hidden"] and speech["parts"] == []
    assert speech["answer"]["forced_choice"] is None and speech["answer"]["log_likelihood"] is None
    assert speech["answer"]["service"] == {
        "model_version": "gemini-fake-001",
        "why": UNAVAILABLE["forced_choice"],
    }
    assert speech["answer"]["note"] == ""
    assert speech["right"] is (EXAMPLE.gold == "Sports") and speech["encoder_seconds"] is None
    assert cascade["answer"]["service"] is None and cascade["answer"]["forced_choice"]
    assert oracle["heard"] == EXAMPLE.reference
    assert view["lens"] is None and view["erasures"] == [] and "tokens" not in view["arrays"]
    assert view["not_measured"]["lens"] == UNAVAILABLE["lens"] and view["has_labels"]
    assert "a service asked" in view["source"]
    assert UNAVAILABLE["lens"].replace("'", "&#x27;") in update.emergence_place
    assert UNAVAILABLE["lens"].replace("'", "&#x27;") in update.token_table
    assert UNAVAILABLE["erasure"].replace("'", "&#x27;") in update.sweep_status
    assert update.emergence_plot["visible"] is False and update.sweep_condition["visible"] is False
    for control in (update.token, update.find_token, update.sweep_button):
        assert control["interactive"] is False
    assert any("The clip is sent out; waiting for Gemini to answer" in one for one in told)
    json.dumps(view, allow_nan=False)


def test_tools_come_back_with_a_pair_that_runs_here(services: tuple[FakeService, FakeService]) -> None:
    update, _ = finished("mini-ultravox-endpoint")
    view = update.view
    assert view["lens"] and view["lanes"][1]["answer"]["service"]["model_version"] == "served-7b (vllm-0.9)"
    assert not view["lanes"][1]["is_hidden"] and view["lanes"][1]["heard"]
    assert update.emergence_plot["visible"] and update.sweep_button["interactive"]
    assert set(view["not_measured"]) == {"match"}


def test_a_refusal_and_a_busy_service_are_shown_as_such(services: tuple[FakeService, FakeService]) -> None:
    services[0].script = [BUSY, BLOCKED]
    update, told = finished("gemini-mini")
    answer = update.view["lanes"][0]["answer"]
    assert (answer["status"], answer["label"]) == ("refused", None)
    assert answer["note"] == "Refused by the service: SAFETY."
    assert update.view["agreement"]["kind"] == "not comparable"
    assert any("Gemini limits requests (HTTP 429): asking again in" in one for one in told)


def test_a_failed_request_is_one_sentence_and_the_key_is_nowhere(
    services: tuple[FakeService, FakeService],
) -> None:
    services[0].script = [Sent({"error": {"code": 400, "message": f"bad key {KEYS[0]}"}}, 400)]
    steps: list[runs.RunUpdate] = []
    with pytest.raises(gr.Error) as caught:
        for step in runs.run_form(values("gemini-mini"), "", None):
            steps.append(step)
    said = 'Gemini rejects the request (HTTP 400): "bad key ***"; check the model id and the settings.'
    assert steps[-1].view == {"status": "error", "message": said} and said in str(caught.value)
    assert KEYS[0] not in str(steps)


def test_nothing_is_sent_but_by_a_press_of_run(services: tuple[FakeService, FakeService]) -> None:
    """Not by another pair or noise, not by a link, and not by the warm-up."""
    update, _ = finished("mini-ultravox")
    shown = update.shown_id
    (again,) = runs.rerun_form(values("gemini-mini"), shown, None)
    assert runs.PRESS_RUN in again.status and again.view == handlers.SKIP
    update, _ = finished("gemini-mini")
    assert len(services[0].asked) == 1
    (noisy,) = runs.rerun_form(values("gemini-mini", noise="white"), update.shown_id, None)
    assert runs.PRESS_RUN in noisy.status
    (same,) = runs.rerun_form(values("gemini-mini"), update.shown_id, None)
    assert same == runs.RunUpdate(), "what is on screen needs no press"
    link = {"example": EXAMPLE.key, "task": "topic", "systems": "gemini-mini", "run": "1", "erase": "boc"}
    with pytest.warns(UserWarning, match="were left out: erase"):
        restored = handlers.restore(link)
    assert (
        restored.pair["value"] == "gemini-mini"
        and not restored.run_at_once
        and restored.erasures == handlers.SKIP
    )
    assert handlers.restore(link | {"systems": "mini-ultravox", "erase": ""}).run_at_once
    session._load_all()
    assert len(services[0].asked) == 1 and services[1].asked == []


def test_a_pair_with_a_service_offers_its_sentence_and_no_erasure(
    services: tuple[FakeService, FakeService],
) -> None:
    offered = choices.offer("gemini-mini")
    assert offered.conditions == () and not offered.has_states and "Off:" in offered.erase_note
    assert offered.service_note == (
        "Run sends clip and question to gemini-fake at 127.0.0.1. Nothing is sent before."
    )
    served = choices.offer("mini-ultravox-endpoint")
    assert served.conditions and served.has_states
    assert (
        "transcript and question, no sound, to" in served.service_note and "served-7b" in served.service_note
    )
    assert choices.offer("mini-ultravox").service_note == ""
    off = show_pair("gemini-mini", ["boc"])
    assert off.erasures["choices"] == [] and off.erasures["value"] == []
    assert off.service_note["visible"] and "gemini-fake" in off.service_note["value"]
    assert not any(one["interactive"] for one in (off.strength, off.scope, off.layers, off.method))
    on = show_pair("mini-ultravox", [])
    assert all(one["interactive"] for one in (on.strength, on.scope, on.layers, on.method, on.layer_text))
    assert not on.service_note["visible"]


def test_programs_get_null_with_the_reason(services: tuple[FakeService, FakeService], tmp_path: Path) -> None:
    path = tmp_path / "clip.flac"
    shutil.copy(EXAMPLE.file, path)
    upload: Any = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
    found = analyze(NOBODY, upload, "topic", pair="gemini-endpoint-mini", reference=EXAMPLE.reference)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["lens"] is None and found["erasure"] is None
    assert set(found["not_measured"]) == {"lens", "erasure", "match"}
    for system in found["systems"]:
        assert system["forced_choice"] is None and system["log_likelihood"] is None
        assert system["not_measured"] and system["model_version"] and system["note"] == ""
    here = analyze(NOBODY, upload, "topic")
    assert here["not_measured"] == {} and here["systems"][0]["model_version"] is None
    n_asked = len(services[0].asked)
    with pytest.raises(ServiceError, match=r"^Not with Gemini: .* nothing can be erased"):
        analyze(NOBODY, upload, "topic", pair="gemini-mini", erasure="boc")
    with pytest.raises(gr.Error, match="Not with Gemini"):
        list(hear(values("gemini-mini"), None))
    assert len(services[0].asked) == n_asked


def test_systems_say_what_to_set(services: tuple[FakeService, FakeService], monkeypatch: Any) -> None:
    ready = {row["key"]: row for row in systems()}
    assert ready["gemini"]["status"] == "ready" and ready["gemini"]["capabilities"] == ("answer",)
    monkeypatch.delenv("GEMINI_MODEL")
    row = {row["key"]: row for row in systems()}["gemini"]
    assert (row["status"], row["reason"]) == ("unavailable", "set GEMINI_MODEL in the environment")
    assert not any(key in json.dumps(systems()) for key in KEYS)


def test_the_page_says_what_a_service_still_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    point_to(monkeypatch, gemini="http://here")
    endpoints = [
        f"{who} at an endpoint is unavailable: set CASCADE_LENS_{what}_URL and CASCADE_LENS_{what}_MODEL in the "
        "environment, then start the page anew."
        for who, what in (("Speech LLM", "AUDIO"), ("LLM", "TEXT"))
    ]
    assert choices.unset_services() == tuple(endpoints)
    monkeypatch.delenv("GOOGLE_API_KEY")
    assert "set GOOGLE_API_KEY or GEMINI_API_KEY in the environment" in choices.unset_services()[0]


def test_no_key_is_in_what_the_page_gets_or_writes(
    services: tuple[FakeService, FakeService], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    services[0].script = [BUSY, Sent(GEMINI_SAYS | {"modelVersion": f"m {KEYS[0]}"})]
    steps = list(runs.run_form(values("gemini-endpoint-mini"), "", None))
    said = [caplog.text, str(steps), str(session.RESULTS.get(steps[-1].shown_id)), str(systems())]
    said += [one.read_bytes().decode("latin-1") for one in tmp_path.rglob("*") if one.is_file()]
    assert len(said) > 5
    for key in KEYS:
        assert not any(key[8:20] in text for text in said)

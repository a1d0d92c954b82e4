"""The clip page's handlers, called directly: what the rail becomes, what a run changes, what is refused."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from dashboard import choices, session
from dashboard.form import chosen_layers, load, request_from
from dashboard.tabs import clip_handlers as handlers
from dashboard.tabs import clip_runs as runs
from dashboard.tabs.clip_pair import show_pair
from engine.audio import AudioClip
from engine.errors import ClipError, EngineError, PromptError, UnknownKeyError
from engine.examples import EXAMPLES
from engine.results import RunResult
from engine.voice import Spoken
from tests.dashboard.test_links import form

PAIR = "mini-ultravox"


@pytest.fixture(autouse=True)
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def clip_file(tmp_path: Path) -> str:
    path = tmp_path / "tone.wav"
    tone = 0.3 * np.sin(np.arange(8_000) * 0.2)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes((tone * 32767).astype("<i2").tobytes())
    return str(path)


def values(**changes: Any) -> tuple[Any, ...]:
    made = form(**changes)
    return tuple(vars(made)[name] for name in vars(made) if name != "seed")


def last(steps: Any) -> runs.RunUpdate:
    *_, update = steps
    return update


def test_a_new_clip_tells_its_length_and_changes_and_drops_the_old_words(clip_file: str) -> None:
    update = handlers.take_clip(clip_file)
    assert "1.00 s." in update.clip_note and "8 kHz mono -&gt; 16 kHz mono" in update.clip_note
    assert update.reference == ""


def test_a_clip_that_cannot_be_used_says_so_at_its_place(tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    assert "problem" in handlers.take_clip(str(bad)).clip_note
    assert str(tmp_path) not in handlers.take_clip(str(bad)).clip_note
    with pytest.raises(ClipError):
        handlers.take_other_file(str(bad))


def test_an_example_brings_clip_words_and_question() -> None:
    update = handlers.take_example(0)
    assert update[0] == str(EXAMPLES[0].file)
    assert update[2] == EXAMPLES[0].reference
    assert update[3] == EXAMPLES[0].task


@pytest.mark.parametrize(("task", "shown"), [("topic", False), ("commonsense", True), ("free", True)])
def test_the_prompt_box_shows_only_where_it_is_read(task: str, shown: bool) -> None:
    note, box = handlers.show_question(task)
    assert box["visible"] is shown
    assert note


def test_an_example_knows_its_right_answer_and_a_changed_question_does_not() -> None:
    example = EXAMPLES[0]
    same = form(
        audio=str(example.file), task=example.task, prompt=example.prompt, reference=example.reference
    )
    request = request_from(same, load(same))
    assert (request.gold, request.reference_words) == (example.gold, example.words)
    other = form(audio=str(example.file), task="speaker", reference="something else")
    assert request_from(other, load(other)).gold is None
    assert request_from(other, load(other)).reference_words == ()


def test_layers_are_read_as_a_person_writes_them() -> None:
    assert chosen_layers(PAIR, "preset", "") is None
    assert chosen_layers(PAIR, "custom", "1-3, 8") == (1, 2, 3, 8)
    assert chosen_layers(PAIR, "custom", "3–1") == (1, 2, 3)
    assert chosen_layers(PAIR, "all", "")[0] == 0  # type: ignore[index]


@pytest.mark.parametrize("text", ["", "one", "99", "-1", "1-999", "1.5", "<b>"])
def test_layers_that_are_not_there_are_refused(text: str) -> None:
    with pytest.raises(UnknownKeyError):
        chosen_layers(PAIR, "custom", text)


@pytest.mark.parametrize(
    ("changes", "transcript"),
    [
        ({"task": "poetry"}, None),
        ({"layers": "custom"}, None),
        ({}, "   "),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(clip_file: str, changes: Any, transcript: str | None) -> None:
    asked = form(audio=clip_file, **changes)
    with pytest.raises(EngineError):
        request_from(asked, load(asked), transcript)


def test_a_run_ends_with_view_result_and_download(clip_file: str, stand_in_models: RunResult) -> None:
    update = last(runs.run_form(values(audio=clip_file, erasures=("text",)), "", None))
    assert update.view["status"] == "ready"
    kept = session.RESULTS.get(update.shown_id)
    assert kept is not None and kept.result.erasures[0].condition == "text"
    shown = json.loads(Path(update.download).read_text())
    assert shown["erasure"]["condition"] == "text" and shown["lens"]["precision"][2] is None
    assert update.transcript == stand_in_models.lanes[1].heard
    assert update.stop["visible"] is False


def test_the_benchmarks_figures_for_the_question_stand_beside_the_run(
    clip_file: str, stand_in_models: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(task: str, pair: str, noise: str | None, snr_db: float | None, *, is_own: bool) -> str:
        return f"{pair}, {task}, {noise}, own {is_own}: 0.81"

    monkeypatch.setattr(runs, "beside", told)
    update = last(runs.run_form(values(audio=clip_file), "", None))
    wanted = f"{stand_in_models.pair}, {stand_in_models.task}, {stand_in_models.noise}, own True: 0.81"
    assert update.view["benchmark"] == wanted


def test_the_dials_strength_reaches_view_and_download(clip_file: str, stand_in_models: RunResult) -> None:
    update = last(runs.run_form(values(audio=clip_file, erasures=("boc",), strength=0.5), "", None))
    assert update.view["erasures"][0]["strength"] == 0.5
    assert json.loads(Path(update.download).read_text())["erasure"]["strength"] == 0.5


def test_noise_is_shown_beside_the_clean_run_before_it(clip_file: str, stand_in_models: RunResult) -> None:
    clean = last(runs.run_form(values(audio=clip_file), "", None))
    noisy = last(runs.run_form(values(audio=clip_file, noise="babble"), clean.shown_id, None))
    assert noisy.view["comparison"]["title"].startswith("clean")
    assert "5 dB asked, 5.0 dB reached" in noisy.noise_note
    louder = last(runs.run_form(values(audio=clip_file, noise="babble", snr_db=0), noisy.shown_id, None))
    assert louder.view["comparison"]["title"].startswith("clean")
    other_task = values(audio=clip_file, noise="babble", task="speaker")
    assert last(runs.run_form(other_task, louder.shown_id, None)).view["comparison"] is None


def test_a_change_runs_again_only_over_a_result_of_the_same_clip(
    clip_file: str, stand_in_models: RunResult
) -> None:
    asked = values(audio=clip_file, noise="white")
    assert last(runs.rerun_form(asked, "", None)) == runs.RunUpdate()
    shown = last(runs.run_form(asked, "", None)).shown_id
    assert last(runs.rerun_form(asked, shown, None)).view["status"] == "ready"
    assert last(runs.rerun_form(values(audio="another.wav"), shown, None)) == runs.RunUpdate()
    for unfinished in ({"noise": "own"}, {"strength": None}):
        again = runs.rerun_form(values(audio=clip_file, **unfinished), shown, None)
        assert last(again) == runs.RunUpdate()


def test_an_empty_dial_is_refused_in_one_sentence(clip_file: str, stand_in_models: RunResult) -> None:
    with pytest.raises(gr.Error, match="a number from 0 to 1"):
        list(runs.run_form(values(audio=clip_file, erasures=("text",), strength=None), "", None))


def test_a_failed_run_puts_the_page_in_order_and_says_why() -> None:
    steps = runs.run_form(values(), "", None)
    seen: list[runs.RunUpdate] = []
    with pytest.raises(gr.Error, match="There is no clip yet"):
        seen.extend(steps)
    assert seen[-1].view["status"] == "error"
    assert seen[-1].stop["visible"] is False


def test_stopping_shows_what_was_there_before(clip_file: str, stand_in_models: RunResult) -> None:
    assert runs.stopped("").view["status"] == "empty"
    shown = last(runs.run_form(values(audio=clip_file), "", None)).shown_id
    assert runs.stopped(shown).view["status"] == "ready"


def test_a_token_is_searched_only_in_a_result() -> None:
    with pytest.raises(PromptError, match="press Run"):
        runs.follow("", "team")


def test_a_spoken_sentence_becomes_clip_and_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = Spoken(AudioClip(np.full(8_000, 0.2, np.float32), "spoken"), ())
    monkeypatch.setattr("engine.voice.say", lambda text, **_: spoken)
    update = handlers.say(" the team won ", "en-us", 165.0, 50.0)
    assert update.reference == "the team won"
    with wave.open(update.audio) as file:
        assert (file.getframerate(), file.getnframes()) == (16_000, 8_000)
        assert np.frombuffer(file.readframes(1), "<i2")[0] == round(0.2 * 32767)


def test_a_linked_example_is_restored_and_run() -> None:
    example = EXAMPLES[0]
    query = {
        "example": example.key,
        "noise": "white",
        "snr": "10",
        "layers": "1-2",
        "strength": "0.5",
        "run": "1",
        "task": example.task,
    }
    update = handlers.restore(query)
    assert update.audio == str(example.file)
    assert update.noise == "white" and update.snr == 10.0
    assert update.layers == "custom" and update.layer_text["value"] == "1-2"
    assert update.strength == 0.5
    assert update.run_at_once is True
    assert handlers.restore({}).run_at_once is False


def test_another_pair_brings_its_own_switches_and_match(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = {"mini-ultravox": {"text": 60, "boc": 26}, "mini-qwen2-audio": {"boc": 13}}
    monkeypatch.setattr(choices, "available_conditions", lambda pair: fitted[pair])
    monkeypatch.setattr(choices, "match_of", lambda pair: "ancestor")
    monkeypatch.setattr(choices, "editable_layers", lambda pair: (0, 1, 2))
    shown = show_pair("mini-qwen2-audio", ["text", "boc"])
    switches, erase_note, layers = shown.erasures, shown.erase_note, shown.layer_text
    assert "ancestor" in shown.match_note
    assert switches["choices"] == [("Bag of characters, rank 13", "boc")]
    assert switches["value"] == ["boc"], "a switch that the pair lacks must not stay on unseen"
    assert "Text" in erase_note["value"] and erase_note["visible"] is True
    assert layers["label"] == "Custom layers, 0 to 2"

"""Runs of the interleaved tab: where words come from, what is shown on the way, other checkpoints, programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import gradio as gr
import numpy as np
import pytest

from dashboard import session, unit_model
from dashboard.endpoints import interleaved
from dashboard.form import example_of_file
from dashboard.tabs import interleaved_handlers as handlers
from dashboard.tabs import interleaved_runs as runs
from engine import voice
from engine.audio import load_clip
from engine.errors import ClipError, EngineError, ModelFilesError, PromptError
from engine.examples import EXAMPLES
from engine.interleaved import Parts
from engine.words import SpokenWord
from tests.dashboard.planted_clip import planted_result

NOBODY = cast(gr.Request, None)
EXAMPLE = next(example for example in EXAMPLES if example.words)


class Heard:
    """What `read_interleaved` was asked, in place of the model."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, transcript: tuple[SpokenWord, ...] = ()) -> None:
        from engine import interleaved

        self.words: Any = None
        self.words_from = ""
        self.transcript = transcript
        monkeypatch.setattr(runs, "load_parts", lambda: cast(Parts, None))
        monkeypatch.setattr(runs, "load_ears", lambda: (self, "mini-Whisper"))
        monkeypatch.setattr(interleaved, "read_interleaved", self)

    def transcribe(self, clip: Any) -> tuple[str, tuple[SpokenWord, ...]]:
        return "", self.transcript

    def __call__(self, parts: Any, clip: Any, words: Any, words_from: str, *rest: Any, **options: Any) -> Any:
        self.words, self.words_from = words, words_from
        return planted_result()


def read(asked: runs.Asked) -> Any:
    return runs.read(asked, lambda share, what: None)


def test_words_come_from_the_example_the_voice_or_the_transcriber(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    heard = Heard(monkeypatch, (SpokenWord("hello", 0.0, 0.4),))
    read(runs.Asked(str(EXAMPLE.file), EXAMPLE.reference, "half"))
    assert heard.words == EXAMPLE.words and "exact" in heard.words_from
    read(runs.Asked(str(EXAMPLE.file), "", "half"))
    assert heard.words == heard.transcript and heard.words_from == "mini-Whisper"
    read(runs.Asked(str(EXAMPLE.file), "hello there", "half"))
    assert [word.text for word in heard.words] == ["hello", "there"] and "cascade" in heard.words_from
    if not voice.is_available():
        return
    audio, _, reference, said = handlers.say("The market fell.", "en-us", 165, 50)
    read(runs.Asked(audio, reference, "half", said))
    assert len(heard.words) == 3 and "exact" in heard.words_from
    spoken = heard.words
    read(runs.Asked(str(EXAMPLE.file), "The market fell.", "half", said))
    assert heard.words != spoken, "the voice's times are those of its own clip"


def test_a_run_shows_its_steps_and_then_the_view(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    Heard(monkeypatch)
    shown = list(runs.run(runs.Asked(str(EXAMPLE.file), "", "half"), 5, None))
    assert shown[0].view["status"] == "running" and shown[-1].view["status"] == "ready"
    assert shown[-1].view["continuation"]["sound_url"].endswith("continuation.wav")
    assert shown[-1].has_result is True and "Finished" in shown[-1].status
    saved = json.loads(Path(shown[-1].download["value"]).read_text(encoding="utf-8"))
    assert saved["units"]["ids"] == [7, 3, 7]


def test_what_goes_wrong_is_one_sentence_in_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    Heard(monkeypatch)
    steps = runs.run(runs.Asked(None, "", "half"), 5, None)
    seen: list[object] = []
    with pytest.raises(gr.Error, match="no clip yet"):
        seen.extend(iter(steps.__next__, None))
    with pytest.raises(ClipError):
        read(runs.Asked(None, "", "half"))
    with pytest.raises(PromptError, match="shorten"):
        read(runs.Asked(str(EXAMPLE.file), "x" * 10_000, "half"))


def test_without_weights_the_tab_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_model, "unit_model_lacks", lambda spec: "weights are missing: mini-interleaved")
    assert "cannot run on this copy" in unit_model.why_no_model()
    with pytest.raises(ModelFilesError, match="mini-interleaved"):
        unit_model.load_parts()
    assert "cannot run" in handlers.restore({})[0]


def test_another_checkpoint_is_taken_by_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "text-speech" / "step-00600"
    folder.mkdir(parents=True)
    assert "no config.json" in unit_model.use_unit_model(folder)
    (folder / "config.json").write_text("{}")
    try:
        assert unit_model.use_unit_model(folder) == "" and unit_model.why_no_model() == ""
        assert unit_model.unit_model_name() == "text-speech/step-00600"
        with pytest.raises(EngineError):
            unit_model.load_parts()
    finally:
        unit_model.use_unit_model(None)


def test_programs_get_the_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    Heard(monkeypatch)
    path = tmp_path / "clip.flac"
    shutil.copy(EXAMPLE.file, path)
    upload: Any = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
    assert interleaved(NOBODY, upload, EXAMPLE.reference)["lens"]["layers"] == [0, 1]
    with pytest.raises(EngineError):
        interleaved(NOBODY, upload, cast(str, 5))
    assert example_of_file(str(path)) is not None and np.isfinite(load_clip(path).duration_s)
    assert session.job_once(lambda progress: 3) == 3

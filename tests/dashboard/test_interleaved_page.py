"""The interleaved tab's handlers called directly: charts, runs, links, and what is said where nothing is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

import gradio as gr
import numpy as np
import pytest
from dashboard.interleaved.findings import findings_html

from dashboard import session, unit_model
from dashboard.endpoints import interleaved
from dashboard.form import example_of_file
from dashboard.interleaved import recall
from dashboard.interleaved_link import FIRST_K, InterleavedView, query_of, view_of
from dashboard.tables import use_results
from dashboard.tabs import interleaved_handlers as handlers
from dashboard.tabs import interleaved_runs as runs
from engine import voice
from engine.audio import load_clip
from engine.errors import ClipError, EngineError, ModelFilesError, PromptError, UnknownKeyError
from engine.examples import EXAMPLES
from engine.interleaved_continue import Parts
from engine.result import SpokenWord
from tests.dashboard.made_interleaved import CONTROL, FULL, MODELS, add_interleaved, excess_of
from tests.dashboard.planted_clip import planted_result

NOBODY = cast(gr.Request, None)
EXAMPLE = next(example for example in EXAMPLES if example.words)


@pytest.fixture(scope="module")
def measured(made_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("interleaved") / "run"
    shutil.copytree(made_run, out)
    return add_interleaved(out)


@pytest.fixture
def own(measured: Path) -> Iterator[Path]:
    assert use_results(measured) == ""
    yield measured
    use_results(None)


@pytest.fixture
def bare(made_run: Path) -> Iterator[Path]:
    """A run without these tables."""
    assert use_results(made_run) == ""
    yield made_run
    use_results(None)


def line_of(figure: Any, name: str, panel: int) -> Any:
    axis = f"x{panel}"
    return next(
        trace for trace in figure.data if trace.name == name and trace.xaxis in (axis, axis.rstrip("1"))
    )


def test_four_controls_and_continuous_encoders_stand_in_one_chart(own: Path) -> None:
    drawn = recall.draw("own", 10)
    assert drawn.figure is not None
    titles = [note.text for note in drawn.figure.layout.annotations]
    assert titles[:4] == [
        *("text start, interleaved", "random start, interleaved"),
        *("text start, speech only", "random start, speech only"),
    ]
    assert {title.split(",")[0] for title in titles[4:]} == {"mini-ultravox", "mini-qwen2-audio"}
    for panel, model in enumerate([FULL, "random-interleaved", "text-speech", "random-speech"], start=1):
        line = line_of(drawn.figure, recall.CURRENT_NAME, panel)
        assert list(line.y) == [excess_of(model, layer, 10, 0) for layer in range(9)]
        never = line_of(drawn.figure, recall.NEVER_TAUGHT[0], panel)
        assert never.line.dash != "solid" and max(never.y) == 0.0
    shares = [trace for trace in drawn.figure.data if trace.name == recall.SHARE_NAME]
    assert len(shares) == 4, "a continuous encoder has no units, so no share of text"


def test_each_k_has_its_own_lines_and_table(own: Path) -> None:
    for k in (1, 5):
        figure = recall.draw("own", k).figure
        assert max(line_of(figure, recall.NEXT_NAME, 1).y) == pytest.approx(excess_of(FULL, 5, k, 1))
    table = recall.draw("own", 5).table
    assert recall.number(excess_of(FULL, 3, 5, 0) + CONTROL) in table and "0.05" in table
    assert "600" not in table, "an earlier checkpoint is not the model"
    for model in MODELS:
        assert model in table


def test_the_published_ceiling_is_called_one_and_drawn_nowhere(own: Path) -> None:
    drawn = recall.draw("own", 5)
    assert "77 %" in drawn.note and "ceiling" in drawn.note and "120 clips" in drawn.note
    assert not any(0.77 in list(trace.y) for trace in drawn.figure.data)


def test_findings_stand_in_their_order_with_interval_and_n(own: Path) -> None:
    html = findings_html("own", 5)
    places = [html.index(f"<td>{name}</td>") for name in ("current word", "next word", "speech")]
    assert places == sorted(places)
    assert "0.66 to 0.76" in html and "328" in html
    assert "−0.20 (−0.25 to −0.15)" in html and "−0.10 (−0.14 to −0.06)" in html
    assert html.index("<td>plain</td>") < html.index("<td>erased</td>") < html.index("<td>rank matched</td>")


def test_where_a_table_is_not_there_one_sentence_stands_in_its_place(bare: Path) -> None:
    source, note, _, plot, table, findings, take = handlers.draw("own", 5)
    assert source == "own" and plot["visible"] is False
    assert "no table interleaved yet" in table and "--stage interleaved" in table
    assert findings.count("yet; measure it") == 3 and "no such tables" in take
    assert isinstance(note, str)


def test_a_damaged_table_is_said_and_not_drawn(own: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(own, copy)
    (copy / "tables" / "interleaved.csv").write_text("model,step\nx,1\n")
    (copy / "tables" / "phases.csv").write_text("nothing\n")
    assert use_results(copy) == ""
    _, _, _, plot, table, findings, _ = handlers.draw("own", 5)
    assert plot["visible"] is False and "problem" in table and "problem" in findings


def test_tables_are_taken_along_and_nothing_else(
    own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    assert handlers.take("", "own/interleaved.csv").endswith("own-interleaved.csv")
    for wrong in ("own/answers.csv", "own/interleaved.exe", "elsewhere/interleaved.csv", ""):
        with pytest.raises(UnknownKeyError):
            handlers.take("", wrong)


def test_choosing_k_tells_the_view_and_draws_the_charts(own: Path) -> None:
    view, head, plot, table, findings = handlers.choose_k("own", 10)
    assert view == {"status": "k", "k": 10}
    assert "k = 10" in head and plot["visible"] and table and findings


def test_a_link_restores_what_it_was_made_from() -> None:
    view = InterleavedView("measured", 10, "whole", EXAMPLE.key, True)
    said = dict(parse_qsl(query_of(view)))
    assert view_of(said, {EXAMPLE.key}) == view
    why, tabs, audio, note, reference, k, after, source, run = handlers.restore(said)
    assert (audio, reference, k, after, source, run) == (
        *(str(EXAMPLE.file), EXAMPLE.reference),
        *(10, "whole", "measured", True),
    )
    assert isinstance(why, str) and " s." in note and tabs.selected == "interleaved"


def test_a_link_is_never_trusted() -> None:
    said = {
        **{"tab": "interleaved", "source": "published", "interleaved.k": "7", "interleaved.after": "<b>"},
        **{"interleaved.example": "../../etc", "interleaved.run": "1"},
    }
    view = view_of(said, {EXAMPLE.key})
    assert (view.k, view.after, view.example, view.run) == (FIRST_K, "half", "", False)
    assert view.source in ("own", "measured")
    assert handlers.restore({"tab": "clip", "interleaved.run": "1"})[-1] is False


def test_an_own_clip_is_not_part_of_the_link(tmp_path: Path) -> None:
    copy = tmp_path / "own.flac"
    shutil.copy(EXAMPLE.file, copy)
    assert f"example={EXAMPLE.key}" in handlers.query("own", 5, "half", str(copy), True)
    other = tmp_path / "other.wav"
    other.write_bytes(b"no example")
    link = handlers.query("own", 5, "half", str(other), True)
    assert "example" not in link and "run" not in link


class Heard:
    """What `read_interleaved` was asked, in place of the model."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, transcript: tuple[SpokenWord, ...] = ()) -> None:
        from engine import interleaved_run

        self.words: Any = None
        self.words_from = ""
        self.transcript = transcript
        monkeypatch.setattr(runs, "load_parts", lambda: cast(Parts, None))
        monkeypatch.setattr(runs, "load_ears", lambda: (self, "mini-Whisper"))
        monkeypatch.setattr(interleaved_run, "read_interleaved", self)

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
    monkeypatch.setattr(unit_model, "unavailable", lambda spec: "weights are missing: mini-interleaved")
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

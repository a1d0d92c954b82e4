"""The interleaved tab's handlers called directly: charts, runs, links, and what is said where nothing is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

import gradio as gr
import numpy as np
import pytest

from dashboard import session, unit_model
from dashboard.endpoints import interleaved
from dashboard.form import example_of_file
from dashboard.interleaved.sections import SECTIONS
from dashboard.interleaved_link import FIRST_K, NO_POINT, InterleavedView, Point, query_of, view_of
from dashboard.tables import use_results
from dashboard.tabs import interleaved_handlers as handlers
from dashboard.tabs import interleaved_runs as runs
from dashboard.tabs.clip_handlers import SKIP
from engine import voice
from engine.audio import load_clip
from engine.errors import ClipError, EngineError, ModelFilesError, PromptError, UnknownKeyError
from engine.examples import EXAMPLES
from engine.interleaved_continue import Parts
from engine.result import SpokenWord
from tests.dashboard.made_interleaved import FULL, LAST_STEP, clips_in
from tests.dashboard.planted_clip import planted_result

NOBODY = cast(gr.Request, None)
EXAMPLE = next(example for example in EXAMPLES if example.words)


@pytest.fixture
def bare(made_run: Path) -> Iterator[Path]:
    """A run without these tables."""
    assert use_results(made_run) == ""
    yield made_run
    use_results(None)


def parts_of(shown: tuple[Any, ...]) -> dict[str, dict[str, Any]]:
    """The parts of each card in what `draw` returns: source and note before them, what to take along after."""
    parts = ("head", "plot", "table", "clips")
    return {
        section.key: dict(zip(parts, shown[2 + 4 * at : 6 + 4 * at], strict=True))
        for at, section in enumerate(SECTIONS)
    }


def test_where_a_table_is_not_there_one_sentence_stands_in_its_place(bare: Path) -> None:
    shown = handlers.draw("own", 5)
    assert shown[0] == "own" and isinstance(shown[1], str) and "no such tables" in shown[-1]
    for section in SECTIONS:
        card = parts_of(shown)[section.key]
        assert card["plot"]["visible"] is False and section.title in card["head"]
        assert f"no table {section.tables[0]} yet" in card["table"] and "--stage interleaved" in card["table"]


def test_a_published_source_says_that_it_has_none() -> None:
    for section in SECTIONS:
        drawn = section.draw("published", {"k": "5"})
        assert drawn.figure is None and drawn.table == "" and "published no such numbers" in drawn.note


def test_a_damaged_table_is_said_and_not_drawn(own_interleaved: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(own_interleaved, copy)
    (copy / "tables" / "interleaved.csv").write_text("model,step\nx,1\n")
    (copy / "tables" / "phase_causal.csv").write_text("nothing\n")
    assert use_results(copy) == ""
    cards = parts_of(handlers.draw("own", 5))
    for key in ("recall", "causal"):
        assert cards[key]["plot"]["visible"] is False and "problem" in cards[key]["table"]
    assert cards["knowledge"]["plot"]["visible"] is True


POINTS = {
    "recall": f"{FULL}~{LAST_STEP}~3~10~0",
    "phases": f"{FULL}~{LAST_STEP}~5~10~1",
    "knowledge": f"{FULL}~{LAST_STEP}~mean",
    "causal": f"{FULL}~{LAST_STEP}~erased~next word",
}


def test_every_drawn_point_lists_its_clips_and_so_does_its_cell(own_interleaved: Path) -> None:
    cards = parts_of(handlers.draw("own", 10))
    for at, (key, mine) in enumerate(POINTS.items()):
        drawn = {one for trace in cards[key]["plot"]["value"].data for one in trace.customdata or ()}
        cells = set(re.findall('data-do="point" data-value="([^"]+)"', cards[key]["table"]))
        # The curve of R beside spoken knowledge has its cells in the table of the phases.
        assert mine in drawn and {one for one in drawn if key != "knowledge" or one.count("~") < 4} <= cells
        point, *lists = handlers.act("own", NO_POINT, key, "point", mine)
        assert point == Point(key, mine)
        assert [bool(one) for one in lists] == [place == at for place in range(len(SECTIONS))]
        opens = 'data-do="open"' in lists[at]
        assert "<tr>" in lists[at] and opens == (key != "knowledge" and voice.is_available())
    assert "Not opened" in handlers.act("own", NO_POINT, "knowledge", "point", POINTS["knowledge"])[3]


def test_a_list_is_paged_closed_and_dropped_with_what_it_was_of(own_interleaved: Path) -> None:
    point = Point("recall", f"{FULL}~{LAST_STEP}~3~10~0")
    assert parts_of(handlers.draw("own", 10, point))["recall"]["clips"]
    assert handlers.act("own", point, "recall", "page", "2")[0] == point._replace(page=2)
    assert handlers.act("own", point, "phases", "page", "2")[0] is SKIP
    assert handlers.act("own", point, "recall", "close", "1") == (NO_POINT, "", "", "", "")
    assert handlers.act("own", point, "recall", "open", "clip") == (SKIP,) * 5
    assert handlers.draw_anew("own", 10)[0] == NO_POINT
    wrong = handlers.act("own", NO_POINT, "recall", "point", "nobody~1~2~10~0")[1]
    assert "does not have" in wrong and "problem" in wrong


@pytest.mark.skipif(not voice.is_available(), reason="no synthesiser is installed here to say the clip again")
def test_a_listed_clip_comes_to_the_clip_box_and_stays_in_the_link(
    own_interleaved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    clip = clips_in(own_interleaved)[0]["clip_id"]
    audio, note, reference = handlers.open_behind("own", clip)
    assert " s." in note and reference
    link = handlers.query("own", 10, "half", audio, True, Point("recall", "x"))
    said = dict(parse_qsl(link))
    assert said["interleaved.clip"] == f"own~{clip}" and said["interleaved.run"] == "1"
    _, _, *restored = handlers.restore(said)
    assert restored[2] == reference and Path(restored[0]).read_bytes() == Path(audio).read_bytes()
    assert restored[-1] is True and restored[-2] == Point("recall", "x")
    # Its words are known to the sample: a run of it needs no transcriber.
    assert runs._exact_words(runs.Asked(audio, reference, "half"), "", reference)


def test_a_clip_of_a_link_that_cannot_be_made_says_why(own_interleaved: Path) -> None:
    said = {"tab": "interleaved", "interleaved.clip": "own~nothing", "interleaved.run": "1"}
    _, _, audio, note, *_, run = handlers.restore(said)
    assert audio is SKIP and "no such clip" in note and run is False


def test_tables_are_taken_along_and_nothing_else(
    own_interleaved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    assert handlers.take("", "own/interleaved.csv").endswith("own-interleaved.csv")
    for wrong in ("own/answers.csv", "own/interleaved.exe", "elsewhere/interleaved.csv", ""):
        with pytest.raises(UnknownKeyError):
            handlers.take("", wrong)


def test_choosing_k_tells_the_view_and_draws_the_charts(own_interleaved: Path) -> None:
    view, point, *shown = handlers.choose_k("own", 10)
    assert view == {"status": "k", "k": 10} and point == NO_POINT
    cards = parts_of(("own", *shown))
    assert "k = 10" in cards["recall"]["head"] and "k = 10" in cards["phases"]["head"]
    assert all(card["plot"]["visible"] and card["table"] for card in cards.values())


def test_a_link_restores_what_it_was_made_from() -> None:
    point = Point("causal", "full~2400~erased~next word", 3)
    view = InterleavedView("measured", 10, "whole", EXAMPLE.key, True, point=point)
    said = dict(parse_qsl(query_of(view)))
    assert view_of(said, {EXAMPLE.key}) == view
    why, tabs, audio, note, reference, k, after, source, chosen, run = handlers.restore(said)
    assert (audio, reference, k, after, source, run) == (
        *(str(EXAMPLE.file), EXAMPLE.reference),
        *(10, "whole", "measured", True),
    )
    assert chosen == point
    assert isinstance(why, str) and " s." in note and tabs.selected == "interleaved"


def test_a_link_is_never_trusted() -> None:
    said = {
        **{"tab": "interleaved", "source": "published", "interleaved.k": "7", "interleaved.after": "<b>"},
        **{"interleaved.example": "../../etc", "interleaved.run": "1"},
        **{"interleaved.point": "nothing~x", "interleaved.rows": "-1", "interleaved.clip": "x" * 400},
    }
    view = view_of(said, {EXAMPLE.key})
    assert (view.k, view.after, view.example, view.run) == (FIRST_K, "half", "", False)
    assert (view.point, view.clip) == (NO_POINT, "")
    assert view_of({"interleaved.point": "recall~" + "x" * 400}, ()).point == NO_POINT
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

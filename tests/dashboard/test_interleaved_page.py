"""The interleaved tab's handlers called directly: charts, lists, links, and what is said where nothing is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

import gradio as gr
import numpy as np
import pytest

from dashboard.interleaved.sections import SECTIONS
from dashboard.interleaved_link import (
    FIRST_K,
    NO_POINT,
    InterleavedView,
    Point,
    point_of,
    query_of,
    state_of,
    view_of,
)
from dashboard.tables import use_results
from dashboard.tabs import interleaved_handlers as handlers
from dashboard.tabs import interleaved_runs as runs
from dashboard.tabs.clip_handlers import SKIP
from engine import voice
from engine.audio import load_clip
from engine.errors import UnknownKeyError
from engine.examples import EXAMPLES
from tests.dashboard.made_interleaved import FULL, LAST_STEP, clips_in

NOBODY = cast(gr.Request, None)
EXAMPLE = next(example for example in EXAMPLES if example.words)


@pytest.fixture
def bare(made_run: Path) -> Iterator[Path]:
    """A run without these tables."""
    assert use_results(made_run) == ""
    yield made_run
    use_results(None)


def parts_of(shown: tuple[Any, ...]) -> dict[str, dict[str, Any]]:
    """The parts of each card in what `draw` returns: the note before them, what to take along after."""
    parts = ("head", "plot", "table", "clips")
    return {
        section.key: dict(zip(parts, shown[1 + 4 * at : 5 + 4 * at], strict=True))
        for at, section in enumerate(SECTIONS)
    }


def test_where_a_table_is_not_there_one_sentence_stands_in_its_place(bare: Path) -> None:
    shown = handlers.draw("own", 5)
    assert isinstance(shown[0], str) and "no such tables" in shown[-1]
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
        point, *lists = handlers.act("own", "", key, "point", mine)
        assert point == state_of(Point(key, mine))
        assert [bool(one) for one in lists] == [place == at for place in range(len(SECTIONS))]
        opens = 'data-do="open"' in lists[at]
        assert "<tr>" in lists[at] and opens == (key != "knowledge" and voice.is_available())
    facts = handlers.act("own", "", "knowledge", "point", POINTS["knowledge"])[3]
    assert (
        "3 facts" in facts and facts.count("said for this measurement") == 3 and "choose to open" not in facts
    )


def test_a_list_is_paged_closed_and_dropped_with_what_it_was_of(own_interleaved: Path) -> None:
    point = state_of(Point("recall", f"{FULL}~{LAST_STEP}~3~10~0"))
    assert parts_of(handlers.draw("own", 10, point))["recall"]["clips"]
    assert handlers.act("own", point, "recall", "page", "2")[0] == state_of(point_of(point)._replace(page=2))
    assert handlers.act("own", point, "phases", "page", "2")[0] is SKIP
    assert handlers.act("own", point, "recall", "close", "1") == ("",) * 5
    assert handlers.act("own", point, "recall", "open", "clip") == (SKIP,) * 5
    assert handlers.draw_anew("own", 10)[1] == ""
    wrong = handlers.act("own", "", "recall", "point", "nobody~1~2~10~0")[1]
    assert "does not have" in wrong and "problem" in wrong


@pytest.mark.skipif(not voice.is_available(), reason="no synthesiser is installed here to say the clip again")
def test_a_listed_clip_comes_to_the_clip_box_and_stays_in_the_link(
    own_interleaved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    clip = clips_in(own_interleaved)[0]["clip_id"]
    audio, note, reference = handlers.open_behind("own", clip)
    assert " s." in note and reference
    link = handlers.query("own", 10, "half", audio, True, "0~recall~x")
    said = dict(parse_qsl(link))
    assert said["interleaved.clip"] == f"own~{clip}" and said["interleaved.run"] == "1"
    _, _, *restored = handlers.restore(said)
    assert restored[2] == reference
    # Sample by sample: the file itself holds the second in which it was written.
    assert np.array_equal(load_clip(restored[0]).samples, load_clip(audio).samples)
    assert restored[-1] is True and restored[-2] == "0~recall~x"
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
    view, point, *shown = handlers.draw_anew("own", 10)
    assert view == {"status": "k", "k": 10} and point == ""
    cards = parts_of(tuple(shown))
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
    assert point_of(chosen) == point and point_of("x~recall~y").page == 0
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
    *_, source, _, run = handlers.restore({"tab": "clip", "interleaved.run": "1"})
    assert source == "measured" and run is False


def test_an_own_clip_is_not_part_of_the_link(tmp_path: Path) -> None:
    copy = tmp_path / "own.flac"
    shutil.copy(EXAMPLE.file, copy)
    assert f"example={EXAMPLE.key}" in handlers.query("own", 5, "half", str(copy), True)
    other = tmp_path / "other.wav"
    other.write_bytes(b"no example")
    link = handlers.query("own", 5, "half", str(other), True)
    assert "example" not in link and "run" not in link

"""Is the latent text used: changes beside random cuts, what lies beyond these, and patches beside their controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashboard.interleaved import causal
from dashboard.interleaved.causal import NAMES
from tests.dashboard.made_interleaved import ARMS, BEYOND_CHANGE, BEYOND_RANK, PATCHED_CHANGE, PATCHES


@pytest.fixture
def drawn(own_interleaved: Path) -> Any:
    return causal.draw("own", {"k": "5"})


def traces_in(figure: Any, panel: int, mode: str) -> list[Any]:
    # Entries of the legend are on no axis of their own, so they seem to stand in the first panel.
    axis = "x" if panel == 1 else f"x{panel}"
    return [one for one in figure.data if one.xaxis == axis and one.mode == mode and one.x[0] is not None]


def marks_in(figure: Any, panel: int) -> list[Any]:
    return traces_in(figure, panel, "markers")


def test_an_outcome_is_a_column_and_its_changes_stand_beside_0(drawn: Any) -> None:
    heads = [note.text for note in drawn.figure.layout.annotations if note.xanchor == "left"]
    assert any(head.startswith("<b>current word, R</b><br>plain 0.50; n = 700 words") for head in heads)
    for panel in (1, 3):
        assert [trace.x[0] for trace in marks_in(drawn.figure, panel)] == list(ARMS.values())
        (line,) = traces_in(drawn.figure, panel, "lines")
        assert set(line.x) == {0.0}
    rows = drawn.figure.layout.yaxis.ticktext
    assert list(rows) == [NAMES[arm] for arm in ARMS] and not any(drawn.figure.layout.yaxis3.ticktext)


def test_beyond_the_controls_is_filled_where_the_interval_excludes_0(drawn: Any) -> None:
    for panel in (2, 4):
        rank, change = marks_in(drawn.figure, panel)
        assert (rank.x[0], change.x[0]) == (BEYOND_RANK, BEYOND_CHANGE)
        assert (rank.marker.symbol[0], change.marker.symbol[0]) == ("diamond", "square-open")
        assert (
            drawn.figure.layout[f"xaxis{panel}"].range == drawn.figure.layout[f"xaxis{panel - 1 or ''}"].range
        )


def test_a_patch_stands_beside_its_controls(drawn: Any) -> None:
    assert [trace.x[0] for trace in marks_in(drawn.figure, 5)] == list(PATCHES.values())
    assert list(drawn.figure.layout.yaxis5.ticktext) == [NAMES[arm] for arm in PATCHES]
    (beyond,) = marks_in(drawn.figure, 6)
    assert beyond.x[0] == PATCHED_CHANGE and list(drawn.figure.layout.yaxis6.ticktext) == [
        "patched − unrelated"
    ]
    left = drawn.figure.layout.xaxis5.domain[0]
    assert left > drawn.figure.layout.xaxis3.domain[1] and drawn.figure.layout.xaxis5.domain[
        1
    ] == pytest.approx(1)


def test_the_table_has_all_arms_in_order_and_its_notes_once(drawn: Any) -> None:
    places = [
        drawn.table.index(f"<td>{arm}</td>") for arm in ("plain", "erased", "rank matched", "change matched")
    ]
    assert places == sorted(places) and "−0.24 to −0.16" in drawn.table
    assert drawn.note.count("What next word is.") == 1 and "Next word: What next word is." in drawn.note
    assert "edited at layers 1-3" in drawn.note and "3 draws" in drawn.note

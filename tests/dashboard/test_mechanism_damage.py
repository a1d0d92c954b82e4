"""Damage: plain, erased and random in every panel; what is lost is said only beyond the control."""

from __future__ import annotations

import pytest

from dashboard.mechanism.damage import SECTION
from dashboard.tables import table

SYSTEM = "mini-qwen2-audio"
pytestmark = pytest.mark.usefixtures("own_mechanism")


def test_the_acoustic_eraser_and_what_it_does_to_text_come_first() -> None:
    condition = next(option for option in SECTION.options("own") if option.name == "condition")
    assert next(iter(condition.choices)) == "acoustic"
    titles = [a.text for a in SECTION.draw("own", {}).figure.layout.annotations]
    assert titles == ["text, 1 − CER", "letters, R2", "pitch, R2 (its own)", "energy, R2 (its own)"]


def test_each_panel_has_plain_random_and_erased_with_their_bands() -> None:
    figure = SECTION.draw("own", {"condition": "text"}).figure
    rows = table("own", "damage")
    pitch = rows[(rows["condition"] == "text") & (rows["target"] == "pitch")].sort_values("layer")
    drawn = [one for one in figure.data if one.customdata is not None and "~pitch~" in one.customdata[0]]
    assert [list(one.y) for one in drawn] == [
        pytest.approx(pitch[name].tolist()) for name in ("plain", "random", "erased")
    ]
    assert sum(one.fill == "toself" for one in figure.data) == 12  # three lines in four panels
    assert drawn[2].customdata[4] == f"{SYSTEM}~text~pitch~4"


def test_only_loss_beyond_random_directions_is_called_loss() -> None:
    note = SECTION.draw("own", {"condition": "acoustic"}).note
    assert "Pitch: erasing Acoustic lowers it beyond random directions at layers 0, 1, 2, 3, 4 of 5" in note
    assert "Text: at none of 5 layers" in note


def test_what_could_not_be_read_cannot_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table("own", "damage").assign(plain_low=-0.1)
    monkeypatch.setattr("dashboard.mechanism.damage.measured_table", lambda *_: rows)
    assert (
        "Pitch: at no layer told from 0 before erasing, so nothing can be lost"
        in SECTION.draw("own", {}).note
    )


def test_wild_scores_do_not_flatten_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table("own", "damage")
    monkeypatch.setattr("dashboard.mechanism.damage.measured_table", lambda *_: rows.assign(erased=-9.0))
    shown = SECTION.draw("own", {})
    assert (
        shown.figure.layout.yaxis.range[0] > -1
        and "below −0.5 are cut off" in shown.note
        and "−9.00" in shown.table
    )


def test_a_text_eraser_points_to_its_proof() -> None:
    assert "stands under Erasure" in SECTION.draw("own", {"condition": "text"}).note
    assert "stands under Erasure" not in SECTION.draw("own", {"condition": "acoustic"}).note


def test_a_point_lists_the_probes_clips_before_erasing_lowest_first() -> None:
    listed = SECTION.clips("own", f"{SYSTEM}~text~pitch~4")
    assert [row.cells for row in listed.rows][::3] == [
        ("words of probed-3", "0.30"),
        ("words of probed-0", "0.90"),
    ]
    assert [row.cells[1] for row in listed.rows] == ["0.30", "0.50", "0.70", "0.90"]
    assert listed.rows[0].clip_id == "probed-3" and "before Text is erased" in listed.title


def test_published_is_the_one_stated_number() -> None:
    shown = SECTION.draw("published", {})
    assert shown.figure is None and "by up to 0.25 (layer 8)" in shown.note

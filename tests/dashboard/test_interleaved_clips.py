"""The clips behind a point of the interleaved charts: the most telling first, wrong keys refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.interleaved.clips import clips_at_layer, clips_of_arm, facts_of
from engine.errors import TableError, UnknownKeyError
from tests.dashboard.made_interleaved import FULL, LAST_STEP, clips_in

HERE = f"{FULL}~{LAST_STEP}"


def test_clips_with_most_words_found_come_first(own_interleaved: Path) -> None:
    clips = [clip["clip_id"] for clip in clips_in(own_interleaved)]
    listed = clips_at_layer("own", f"{HERE}~3~10~0")
    assert [row.clip_id for row in listed.rows] == clips[::-1]
    # The third clip: 2 hits at k = 1, one more at 5, one more at 10, of 8 words; none of another clip's.
    assert listed.rows[0].cells == ("+0.50", "4 of 8", "0 of 8")
    assert (
        "layer 3" in listed.title and "top 10" in listed.title and "text start, interleaved" in listed.title
    )
    assert clips_at_layer("own", f"{HERE}~3~1~1").rows[0].cells[0] == "+0.25"


def test_a_point_of_the_share_lists_shares(own_interleaved: Path) -> None:
    listed = clips_at_layer("own", f"{HERE}~3~0~share")
    assert [row.cells for row in listed.rows] == [("0.20", "30"), ("0.10", "30"), ("0.00", "30")]


def test_clips_that_an_arm_changed_most_come_first(own_interleaved: Path) -> None:
    clips = [clip["clip_id"] for clip in clips_in(own_interleaved)]
    listed = clips_of_arm("own", f"{HERE}~erased~next word")
    assert [row.clip_id for row in listed.rows] == clips[::-1]
    assert listed.rows[0].cells == ("−0.25", "0.25", "0.50", "8")
    # Of a random arm the mean over its draws, and what was scored in one of them.
    assert clips_of_arm("own", f"{HERE}~rank_matched~next word").rows[0].cells == (
        "−0.12",
        "0.38",
        "0.50",
        "8",
    )
    assert clips_of_arm("own", f"{HERE}~plain~next word").rows[0].cells == ("+0.50", "8")


def test_facts_are_no_clips_and_say_why_they_are_not_opened(own_interleaved: Path) -> None:
    for listed in (facts_of("own", f"{HERE}~mean"), clips_of_arm("own", f"{HERE}~plain~spoken knowledge")):
        assert listed.noun == "fact" and "said for this measurement" in listed.closed and listed.rows
    assert clips_of_arm("own", f"{HERE}~plain~next word").closed == ""


def test_the_surest_fact_comes_first(own_interleaved: Path) -> None:
    listed = facts_of("own", f"{HERE}~mean")
    assert [row.clip_id for row in listed.rows] == ["the surest fact", "a fact", "<b>wrong</b>"]
    assert listed.rows[0].cells == ("+2.00", "−1.00", "−3.00")
    assert [row.cells[0] for row in facts_of("own", f"{HERE}~sum").rows] == ["0.00"] * 3


@pytest.mark.parametrize(
    "point",
    [
        "",
        f"{HERE}~3~10",
        f"{HERE}~3~7~0",
        f"{HERE}~3~10~2",
        f"{HERE}~x~10~0",
        f"{FULL}~x~3~10~0",
        "no~1~3~10~0",
    ],
)
def test_a_key_that_no_chart_made_is_refused(own_interleaved: Path, point: str) -> None:
    with pytest.raises(UnknownKeyError):
        clips_at_layer("own", point)


def test_other_wrong_keys_and_sources_are_refused(own_interleaved: Path) -> None:
    with pytest.raises(UnknownKeyError):
        facts_of("own", f"{HERE}~median")
    with pytest.raises(UnknownKeyError):
        clips_of_arm("own", f"{HERE}~erased")
    with pytest.raises(TableError):
        facts_of("published", f"{HERE}~mean")

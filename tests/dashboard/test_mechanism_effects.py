"""Effects of erasing, clip by clip: differences, their intervals over groups, and the words for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dashboard.mechanism.clip_tables import mechanism_clips
from dashboard.mechanism.effects import (
    MEASURES,
    against_controls,
    at_place,
    differences,
    erased_clips,
    harsher_controls,
    mean_over_groups,
    verdict_of,
)
from dashboard.tables import use_results
from engine.stats.intervals import Estimate
from tests.dashboard.made_mechanism import make_mechanism

SYSTEM = "mini-qwen2-audio"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mechanism(tmp_path_factory.mktemp("mechanism"))


@pytest.fixture(autouse=True)
def source(made: Path) -> Iterator[str]:
    assert use_results(made) == ""
    yield "own"
    use_results(None)


def test_differences_are_taken_clip_by_clip() -> None:
    clips = erased_clips("own", SYSTEM, ("nine layers",))
    assert clips is not None
    mine = at_place(clips, "linear", "all", "text")
    found = differences(mine, MEASURES["accuracy"], "rank_matched")
    erased = mine[mine["arm"] == "erased"].set_index("clip_id")["correct"].astype(float)
    control = mine[mine["arm"] == "rank_matched"].groupby("clip_id")["correct"].mean()
    assert found["all tasks"].value == pytest.approx((erased - control).mean())
    topic = [clip for clip in erased.index if clip.startswith("topic")]
    assert found["topic"].value == pytest.approx((erased - control)[topic].mean()) and found["topic"].n == 24


def test_an_item_without_a_group_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = mechanism_clips(
        "own",
        "erasure_clips",
        [("task", ("topic",))],
        ("clip_id", "task", "item_id", "group", "label_status"),
    )
    monkeypatch.setattr("dashboard.mechanism.effects.mechanism_clips", lambda *_: rows.assign(group=""))
    found = erased_clips("own", SYSTEM, ("nine layers",))
    assert found is not None and found["group"].nunique() == 24


def test_related_items_count_once_in_an_interval() -> None:
    values = np.tile([0.0, 1.0, 2.0, 3.0], 10)
    alone = mean_over_groups(values, np.arange(40).astype(str).astype(object))
    together = mean_over_groups(values, np.tile(np.array(list("abcd"), dtype=object), 10))
    assert (alone.n, together.n) == (40, 4) and alone.value == together.value == 1.5
    assert together.high - together.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize(
    ("low", "high", "n", "said"),
    [(-0.3, -0.1, 30, "beyond"), (-0.3, 0.0, 30, "within"), (0.1, 0.3, 30, "less"), (-0.3, -0.1, 19, "few")],
)
def test_a_verdict_needs_an_interval_without_0_and_enough_items(
    low: float, high: float, n: int, said: str
) -> None:
    found = Estimate((low + high) / 2, low, high, n, "", "")
    assert verdict_of(found, MEASURES["accuracy"]) == said
    assert verdict_of(None, MEASURES["accuracy"]) == "not run"


def test_a_control_that_did_not_run_is_said_to_be_missing() -> None:
    found = {"rank_matched": {"all tasks": Estimate(-0.5, -0.6, -0.4, 50, "", "")}}
    said = against_controls("Text", found, MEASURES["accuracy"])
    assert (
        said.startswith("Text: the effect exceeds its one control.")
        and "at equal change, the control did not run" in said
    )


def test_a_control_harsher_than_its_name_is_named() -> None:
    said = harsher_controls({"Text": (0.4, 1.4), "CTC": (0.4, 0.45), "Acoustic": (0.1, float("nan"))})
    assert "Text 140 % against 40 %" in said and "CTC" not in said and "Acoustic" not in said
    assert harsher_controls({"Text": (0.4, 0.4)}) == ""

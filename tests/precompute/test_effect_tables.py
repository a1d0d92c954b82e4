"""The table of effects: differences clip by clip, intervals over groups, verdicts and sentences by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine.columns import EFFECT_MEASURES, LEVEL
from engine.stats.intervals import Estimate, bootstrap_mean, per_group
from engine.tables import file_of, read_table
from precompute.mechanism.effect_tables import effect_rows, verdict_of
from precompute.mechanism.erasure_tables import erasure_rows
from tests.dashboard.made_mechanism import make_mechanism

PLACE = {"method": "linear", "scope": "all", "layers": "nine layers", "condition": "text"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    out = make_mechanism(tmp_path_factory.mktemp("mechanism"))
    return read_table(file_of(out, "erasure_clips"), "erasure_clips")


@pytest.fixture(scope="module")
def effects(clips: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(effect_rows(clips, seed=3))


def one(effects: pd.DataFrame, **where: str) -> pd.Series:
    chosen = effects
    for name, value in (PLACE | where).items():
        chosen = chosen[chosen[name] == value]
    assert len(chosen) == 1
    return chosen.iloc[0]


def here(clips: pd.DataFrame, arm: str) -> pd.DataFrame:
    rows = clips[clips["arm"] == arm]
    for name, value in PLACE.items():
        rows = rows[rows[name] == value]
    return rows


def test_a_difference_is_taken_clip_by_clip_and_resampled_over_groups(
    clips: pd.DataFrame, effects: pd.DataFrame
) -> None:
    erased = here(clips, "erased").set_index("clip_id")
    control = here(clips, "rank_matched").groupby("clip_id")["correct"].mean()
    gaps = erased["correct"].astype(float) - control.reindex(erased.index)
    groups = np.unique(erased["task"] + "|" + erased["group"], return_inverse=True)[1]
    slow = bootstrap_mean(
        per_group(groups, np.stack([gaps, np.ones(len(gaps))], axis=1)), seed=3, within=(-1.0, 1.0)
    )
    found = one(effects, task="all tasks", measure="accuracy", arm="erased", against="rank_matched")
    for name, value in (
        ("value", slow.value),
        ("low", slow.low),
        ("high", slow.high),
        ("mc_error", slow.mc_error),
    ):
        assert found[name] == pytest.approx(value, abs=1e-12), name
    assert (found["n_clips"], found["n_groups"]) == (len(gaps), slow.n)
    topic = one(effects, task="topic", measure="accuracy", arm="erased", against="rank_matched")
    assert topic["value"] == pytest.approx(gaps[erased["task"] == "topic"].mean())


def test_the_tables_of_erasures_and_of_effects_say_the_same(
    clips: pd.DataFrame, effects: pd.DataFrame
) -> None:
    """They stand side by side on the page: a level, the change against plain, and both controls of every task."""
    columns = {("erased", LEVEL): "accuracy", ("erased", "plain"): "change"} | {
        ("erased", control): f"vs_{control}" for control in ("rank_matched", "change_matched")
    }
    names = ["task", "layers", "condition"]
    erased = pd.DataFrame(erasure_rows(clips, seed=3))
    erased = erased[erased["arm"] == "erased"].set_index(names)
    for (arm, against), column in columns.items():
        rows = effects[
            (effects["measure"] == "accuracy") & (effects["arm"] == arm) & (effects["against"] == against)
        ]
        rows = rows[rows["task"] != "all tasks"].set_index(names)
        assert len(rows)
        for name, ending in (("value", ""), ("low", "_low"), ("high", "_high")):
            other = name if column == "accuracy" and ending else f"{column}{ending}"
            np.testing.assert_allclose(rows[name], erased.loc[rows.index, other].astype(float), atol=1e-12)


def test_an_item_without_a_group_is_its_own(clips: pd.DataFrame) -> None:
    found = pd.DataFrame(effect_rows(clips.assign(group=""), seed=3))
    asked = {"measure": "accuracy", "arm": "erased", "against": "plain"}
    assert one(found, task="topic", **asked)["n_groups"] == 24


def test_a_group_without_the_measure_is_no_evidence(clips: pd.DataFrame) -> None:
    """Open questions have no forced choice: their groups must not count towards the fewest that allow a verdict."""
    blind = clips.assign(forced_correct=clips["forced_correct"].where(clips["task"] == "topic"))
    found = one(
        pd.DataFrame(effect_rows(blind, seed=3)),
        task="all tasks", measure="forced_choice", arm="erased", against="plain",
    )  # fmt: skip
    assert (found["n_groups"], found["n_clips"]) == (24, 24)


@pytest.mark.parametrize(
    ("low", "high", "n", "error", "said"),
    [
        (-0.3, -0.1, 30, 0.0, "exceeds"),
        (-0.3, -0.1, 30, 0.15, "within"),  # other resamples could turn it
        (-0.3, 0.0, 30, 0.0, "within"),
        (0.1, 0.3, 30, 0.0, "below"),
        (-0.3, -0.1, 19, 0.0, "too few groups"),
        (float("nan"), float("nan"), 30, 0.0, "too few groups"),
    ],
)
def test_a_verdict_needs_an_interval_without_0_and_enough_groups(
    low: float, high: float, n: int, error: float, said: str
) -> None:
    found = Estimate((low + high) / 2, low, high, n, "", "", error)
    assert verdict_of(found, EFFECT_MEASURES["accuracy"]) == said


def test_more_answers_without_a_label_are_harm() -> None:
    found = Estimate(0.3, 0.2, 0.4, 30, "")
    assert verdict_of(found, EFFECT_MEASURES["unparsed"]) == "exceeds"


def test_the_sentence_says_what_where_how_much_and_of_how_many(effects: pd.DataFrame) -> None:
    found = one(
        effects, task="all tasks", condition="boc", measure="accuracy", arm="erased", against="rank_matched"
    )
    low, high = 100 * found["low"], 100 * found["high"]
    assert found["reading"] == (
        "Bag of characters erased at nine layers (linear, all positions): more harm than random directions of equal "
        f"rank, {100 * found['value']:+.1f} points [{low:.1f}, {high:.1f}] in right answers, "
        f"{found['n_groups']} groups."
    )
    assert not one(effects, task="topic", measure="accuracy", arm="erased", against="plain")["reading"]
    assert not one(effects, task="all tasks", measure="accuracy", arm="erased", against=LEVEL)["verdict"]

"""Facts about the tables of mechanism, summed from invented clips whose figures are known by hand."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from engine.columns import NOT_PROVEN
from precompute.mechanism.erasure_tables import erasure_rows
from precompute.mechanism.lens_tables import lens_rows, noise_lens_rows
from precompute.mechanism.sufficiency_tables import sufficiency_rows

Row = dict[str, Any]
PROVEN = {"probe_erased": 0.4, "probe_chance": 0.2, "probe_verdict": "still read"}


def lens_clip(item: int, precision: float | None, **changes: Any) -> Row:
    counts = {f"{name}_{top}": n for name in ("current", "next") for top, n in ((1, 1), (5, 2), (10, 3))}
    return {
        "system": "s", "layer": 4, "task": "topic", "item_id": f"i{item}", "group": "", "clip_id": f"c{item}",
        "noise": "clean", "snr_db": math.nan, "precision": precision, "control": 0.1,
        "set_precision": precision, "set_control": 0.2,
        "n_current": 4, "n_next": 6, "n_mismatched": 40,
        "mismatched_1": 0, "mismatched_5": 4, "mismatched_10": 8, **counts, **changes,
    }  # fmt: skip


def found(rows: Any, **where: Any) -> Row:
    (row,) = [row for row in rows if all(row[name] == value for name, value in where.items())]
    return row


def test_precision_is_the_mean_over_clips_that_read_something() -> None:
    clips = pd.DataFrame([lens_clip(0, 0.2), lens_clip(1, 0.6), lens_clip(2, None)])
    row = found(lens_rows(clips, seed=0), task="topic", measure="precision")
    assert row["score"] == pytest.approx(0.4) and row["control"] == pytest.approx(0.1)
    assert (row["n_clips"], row["n_items"], row["low"], row["high"]) == (2, 2, 0.2, 0.6)
    assert "1 clips on which the layer reads nothing" in row["note"]


def test_recall_is_the_share_of_positions_and_its_control_that_of_other_words() -> None:
    """Clip one asks at 4 positions, clip two at 16: 1 + 8 hits of 20."""
    clips = pd.DataFrame([lens_clip(0, 0.2), lens_clip(1, 0.6, n_current=16, current_1=8)])
    row = found(lens_rows(clips, seed=0), task="all tasks", measure="current_1")
    assert row["score"] == pytest.approx(9 / 20) and row["n_positions"] == 20 and row["control"] == 0.0
    assert found(lens_rows(clips, seed=0), task="topic", measure="next_10")["control"] == pytest.approx(0.2)


def test_all_tasks_hold_every_item_of_each() -> None:
    """Two tasks may use one name for an item: they are two items."""
    clips = pd.DataFrame([lens_clip(0, 0.0), lens_clip(0, 1.0, task="emotion", clip_id="other")])
    row = found(lens_rows(clips, seed=0), task="all tasks", measure="precision")
    assert row["score"] == 0.5 and row["low"] < row["high"]


def test_related_items_are_resampled_together() -> None:
    """Bug: items that say the same text were drawn as if they were independent, and intervals were too narrow."""
    values = [0.2, 0.2, 0.8, 0.8, 0.5, 0.5]
    alone = pd.DataFrame([lens_clip(n, value) for n, value in enumerate(values)])
    related = alone.assign(group=["a", "a", "b", "b", "c", "c"])
    rows = [found(lens_rows(f, seed=0), task="topic", measure="precision") for f in (alone, related)]
    assert [row["n_groups"] for row in rows] == [6, 3] and [row["n_items"] for row in rows] == [6, 6]
    assert rows[0]["score"] == rows[1]["score"]
    assert rows[1]["high"] - rows[1]["low"] > 1.2 * (rows[0]["high"] - rows[0]["low"])
    erased = erased_run().assign(group="one text")
    row = found(erasure_rows(erased, seed=0), arm="erased")
    assert row["n_groups"] == 1 and math.isnan(row["vs_rank_matched_low"]), "one text has no interval"


def test_noise_stands_beside_the_same_items_clean() -> None:
    noisy = [lens_clip(item, 0.1, noise="babble", snr_db=0.0, clip_id=f"n{item}") for item in range(2)]
    clips = pd.DataFrame([lens_clip(0, 0.4), lens_clip(1, 0.6), lens_clip(2, 1.0), *noisy])
    rows = list(noise_lens_rows(clips, seed=0))
    assert [row["noise"] for row in rows] == ["babble", "clean"]
    assert found(rows, noise="clean")["precision"] == pytest.approx(0.5), "item 2 was never heard in noise"
    assert found(rows, noise="babble")["precision"] == pytest.approx(0.1)


def implicit_clip(item: int, label: str | None, speech: str | None, **changes: Any) -> Row:
    return {
        "system": "s", "layer": 4, "task": "sentiment", "item_id": f"i{item}", "group": "", "clip_id": f"c{item}",
        "gold": "positive", "choices": "positive|negative", "label": label, "correct": label == "positive",
        "speech_label": speech, "speech_correct": speech == "positive",
        "cascade_label": speech, "cascade_correct": speech == "positive", **changes,
    }  # fmt: skip


def answered(rows: list[Row]) -> pd.DataFrame:
    """As `read_table` gives it: None where there is no label."""
    labels = {
        name: pd.Series([row[name] for row in rows], dtype=object)
        for name in ("label", "speech_label", "cascade_label")
    }
    return pd.DataFrame(rows).assign(**labels)


def test_kappa_of_the_implicit_cascade_is_cohens() -> None:
    """Confusion 4, 1 / 1, 2: observed 6/8, expected (5*5 + 3*3)/64."""
    pairs = [("positive", "positive")] * 4 + [("positive", "negative"), ("negative", "positive")]
    pairs += [("negative", "negative")] * 2
    clips = answered([implicit_clip(n, a, b) for n, (a, b) in enumerate(pairs)])
    row = found(sufficiency_rows(clips, seed=0), layer=4)
    expected = (25 + 9) / 64
    assert row["kappa"] == pytest.approx((0.75 - expected) / (1 - expected))
    assert row["low"] < row["kappa"] < row["high"] and row["agreement"] == 0.75
    assert row["kappa_cascade"] == 1.0 and row["accuracy"] == pytest.approx(5 / 8)
    # Over all pairings agreement is 34 - 6 same-clip ones of 56.
    assert row["kappa_mismatched"] == pytest.approx(((34 - 6) / 56 - expected) / (1 - expected))


def test_answers_without_a_label_agree_with_none_and_open_ones_have_no_kappa() -> None:
    none = answered(
        [
            implicit_clip(n, None if n % 2 else "positive", "positive" if n < 3 else "negative")
            for n in range(6)
        ]
    )
    assert not math.isnan(found(sufficiency_rows(none, seed=0), layer=4)["kappa"])
    silent = answered(
        [implicit_clip(n, None if n < 4 else "positive", None if n < 4 else "positive") for n in range(8)]
    )
    row = found(sufficiency_rows(silent, seed=0), layer=4)
    assert row["kappa"] < row["kappa_unparsed_agree"] == 1.0 and row["agreement"] == 0.5
    free = answered([implicit_clip(n, "rome", "rome", choices="") for n in range(4)])
    row = found(sufficiency_rows(free, seed=0), layer=4)
    assert math.isnan(row["kappa"]) and "open answers" in row["note"] and row["agreement"] == 1.0
    alike = answered([implicit_clip(n, "positive", "positive") for n in range(4)])
    row = found(sufficiency_rows(alike, seed=0), layer=4)
    assert math.isnan(row["kappa"]) and "same label" in row["note"]


def test_choices_of_a_clips_own_count_by_their_place() -> None:
    """Both always take the first choice, which is never the same word."""
    rows = [
        implicit_clip(n, f"a{n}" if n else f"b{n}", f"a{n}" if n else f"b{n}", choices=f"a{n}|b{n}")
        for n in range(4)
    ]
    row = found(sufficiency_rows(answered(rows), seed=0), layer=4)
    assert row["kappa"] == 1.0 and "by their place" in row["note"]


def erased_clip(item: int, arm: str, correct: bool, seed: int = 0, **changes: Any) -> Row:
    plain = arm == "plain"
    where = ("none",) * 4 if plain else ("linear", "all", "nine layers", "text")
    return {
        "system": "s", "task": "topic", "item_id": f"i{item}", "group": "", "clip_id": f"c{item}",
        **dict(zip(("method", "scope", "layers", "condition"), where, strict=True)),
        "arm": arm, "seed": seed, "kept_rank": 0 if plain else 31, "label_status": "parsed" if correct else "unparsed",
        "correct": correct, "forced_correct": float(correct),
        "log_likelihood_change": 0.0 if plain else -2.0, "right_log_likelihood_change": -1.0,
        "relative_change": 0.0 if plain else 0.3,
        **NOT_PROVEN, **(PROVEN if arm == "erased" else {}),
        "fitted_on": "none" if plain else "states edited below",
        **changes,
    }  # fmt: skip


def erased_run() -> pd.DataFrame:
    """Four clips: plain right on all, erased on none; equal rank 3 then 1 of 4, equal change 1 and 1 of 4."""
    rows = [erased_clip(n, "plain", True) for n in range(4)]
    rows += [erased_clip(n, "erased", False) for n in range(4)]
    for seed, n_right in enumerate((3, 1)):
        rows += [erased_clip(n, "rank_matched", n < n_right, seed) for n in range(4)]
        rows += [erased_clip(n, "change_matched", n < 1, seed, relative_change=0.5) for n in range(4)]
    return pd.DataFrame(rows)


def test_each_arm_stands_beside_the_plain_system_and_both_controls() -> None:
    rows = list(erasure_rows(erased_run(), seed=0))
    assert len(rows) == 4
    erased, control = (found(rows, arm=arm) for arm in ("erased", "rank_matched"))
    assert erased["accuracy"] == 0.0 and erased["change"] == -1.0 and erased["unparsed_rate"] == 1.0
    assert erased["vs_rank_matched"] == pytest.approx(-0.5)
    assert erased["vs_change_matched"] == pytest.approx(-0.25)
    assert control["accuracy"] == pytest.approx(0.5) and control["n_seeds"] == 2 and control["n_clips"] == 4
    assert control["spread"] == pytest.approx(math.sqrt(2) * 0.25)
    assert math.isnan(control["vs_rank_matched"]) and math.isnan(erased["spread"])
    assert found(rows, arm="change_matched")["relative_change"] == 0.5


def test_the_plain_row_has_no_change() -> None:
    plain = found(erasure_rows(erased_run(), seed=0), arm="plain")
    assert plain["accuracy"] == 1.0 and math.isnan(plain["change"]) and math.isnan(plain["relative_change"])
    assert plain["kept_rank"] == 0 and plain["n_seeds"] == 1


def test_an_arm_on_fewer_clips_is_compared_on_those() -> None:
    """The plain system is wrong on clips that the arm never saw: its change is taken without them."""
    clips = erased_run()
    more = pd.DataFrame([erased_clip(n, "plain", False) for n in range(4, 10)])
    rows = list(erasure_rows(pd.concat([clips, more]), seed=0))
    assert found(rows, arm="plain")["accuracy"] == pytest.approx(0.4)
    assert found(rows, arm="erased")["change"] == -1.0


def test_an_open_task_has_no_forced_choice() -> None:
    clips = erased_run().assign(forced_correct=math.nan)
    row = found(erasure_rows(clips, seed=0), arm="erased")
    assert math.isnan(row["forced_choice_accuracy"]) and "answers are open" in row["note"]


def test_the_proof_stands_with_the_erased_arm_only() -> None:
    rows = list(erasure_rows(erased_run(), seed=0))
    erased, control = found(rows, arm="erased"), found(rows, arm="rank_matched")
    assert (erased["probe_erased"], erased["probe_verdict"]) == (0.4, "still read")
    assert erased["fitted_on"] == "states edited below"
    assert math.isnan(control["probe_erased"]) and control["probe_verdict"] == "not measured"


def test_rows_of_a_control_that_was_mended_since_say_so() -> None:
    """Measured when the equal change was one of the average, or against single sentences."""
    rows = list(erasure_rows(erased_run(), seed=0, note="Older."))
    marked = {row["arm"] for row in rows if row["note"].startswith("Older.")}
    assert marked == {"erased", "change_matched"}
    clips = pd.DataFrame([lens_clip(n, 0.2 * n) for n in range(3)])
    assert (
        found(lens_rows(clips, seed=0, note="Older."), task="topic", measure="precision")["note"] == "Older."
    )


def test_both_precisions_stand_beside_their_own_control() -> None:
    clips = pd.DataFrame([lens_clip(n, 0.5, set_precision=0.75) for n in range(3)])
    rows = list(lens_rows(clips, seed=0))
    assert [found(rows, task="topic", measure=m)["score"] for m in ("precision", "set_precision")] == [
        0.5,
        0.75,
    ]
    controls = [found(rows, task="topic", measure=m)["control"] for m in ("precision", "set_precision")]
    assert controls == pytest.approx([0.1, 0.2])
    older = list(lens_rows(clips.assign(set_precision=math.nan), seed=0))
    assert {row["measure"] for row in rows} - {row["measure"] for row in older} == {"set_precision"}

"""The run of interleaved models that ships: controls are where theory has them, and tables are those of the clips."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest

from dashboard.tables import SHIPPED
from engine.columns import RECALL, TEXT_SHARE
from engine.tables import file_of, read_table
from precompute.interleaved.plan import CONTINUOUS, FINAL_STEP, MAIN, UNTRAINED
from precompute.interleaved.tables import RECORD, interleaved_tables
from precompute.stages.summary import BOOTSTRAP_SEED


@cache
def shipped(name: str) -> pd.DataFrame:
    return read_table(file_of(SHIPPED, name), name)


def rows(name: str, **wanted: object) -> pd.DataFrame:
    table = shipped(name)
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def test_the_full_model_is_there_all_along_beside_its_controls() -> None:
    models = shipped("interleaved").groupby("model")["step"].agg(lambda steps: sorted(set(steps)))
    assert len(models[MAIN]) >= 4 and max(models[MAIN]) == FINAL_STEP
    trained_alike = {"random-interleaved", "text-speech", "random-speech"}
    assert {UNTRAINED, *trained_alike, *CONTINUOUS} <= set(models.index)
    assert all(max(models[control]) == FINAL_STEP for control in trained_alike)
    assert rows("interleaved", measure=RECALL)["n_clips"].min() >= 100
    record = json.loads((SHIPPED / RECORD).read_text(encoding="utf-8"))
    assert not record["failed"] and set(record["models"]) == set(models.index)


def test_every_table_is_summed_from_its_clips() -> None:
    for name, made in interleaved_tables(SHIPPED, seed=BOOTSTRAP_SEED).items():
        mine = pd.DataFrame(made)
        table = shipped(name)
        assert len(mine) == len(table)
        for column in table.select_dtypes("number"):
            theirs = np.sort(table[column].to_numpy(float))
            assert np.allclose(np.sort(mine[column].to_numpy(float)), theirs, atol=1e-6, equal_nan=True), (
                column
            )


def test_a_model_that_was_never_taught_gives_the_control_line() -> None:
    """R is 0 within a few hundredths at every layer, k and word; at 95 % few intervals miss it."""
    found = rows("interleaved", model=UNTRAINED, measure=RECALL)
    assert found["excess"].abs().max() < 0.04
    missed = (found["excess_low"] > 0) | (found["excess_high"] < 0)
    assert missed.mean() < 0.15
    known = rows("spoken_knowledge", model=UNTRAINED, measure="preferred")
    assert known["low"].iloc[0] < 0.6 and known["high"].iloc[0] > 0.4


def test_recall_grows_with_k_and_its_interval_holds_it() -> None:
    found = rows("interleaved", measure=RECALL)
    wide = found.pivot_table(index=["model", "step", "layer", "d"], columns="k", values="score")
    assert (wide[1] <= wide[5]).all() and (wide[5] <= wide[10]).all()
    assert (found["excess"] - (found["score"] - found["control"])).abs().max() < 1e-6
    assert ((found["excess_low"] <= found["excess"]) & (found["excess"] <= found["excess_high"])).all()


def test_only_unit_models_have_a_text_share() -> None:
    found = rows("interleaved", measure=TEXT_SHARE)
    continuous = found["model"].isin(CONTINUOUS)
    assert found[continuous]["score"].isna().all() and found[~continuous]["score"].between(0, 1).all()


def test_controls_of_the_erasure_are_matched() -> None:
    found = rows("phase_causal", outcome="next unit").set_index("arm")
    arms = ["erased", "rank_matched", "change_matched"]
    assert found.loc[arms, "kept_rank"].nunique() == 1 and (found.loc[arms, "kept_rank"] > 0).all()
    moved = found["relative_change"]
    assert moved["change_matched"] == pytest.approx(moved["erased"], rel=0.05)
    same = rows("phase_causal", arm="same_word").iloc[0]
    patched = rows("phase_causal", arm="patched").iloc[0]
    assert same["n_groups"] > 20 and patched["n"] > 100


def test_the_plain_arm_is_what_was_read() -> None:
    """Two paths to one number: clips read alone, and row 0 of the batches with erasures."""
    plain = rows("phase_causal", arm="plain").set_index("outcome")["value"]
    phases = rows("phases", model=MAIN, step=FINAL_STEP, k=10).set_index("boundary")
    for outcome in ("current word", "next word"):
        assert plain[outcome] == pytest.approx(phases["score"][outcome], abs=1e-3)


def test_each_claims_number_is_that_of_the_tables() -> None:
    claims = shipped("claims").set_index("claim")
    cells = shipped("claim_cells")
    for name in ("latent_transcription", "three_phases", "latent_text_used"):
        assert (
            (cells["claim"] == name).sum()
            == claims.loc[name, ["holds", "fails", "open", "undefined"]].sum()
            > 0
        )
    found = rows("interleaved", model=MAIN, step=FINAL_STEP, measure=RECALL, k=10, d=0)
    cell = cells[(cells["claim"] == "latent_transcription") & cells["detail"].str.startswith("k = 10, layer")]
    assert found["excess"].max() == pytest.approx(cell["value"].max(), abs=1e-6)
    assert claims["verdict"]["bigger_deeper"] == "cannot be said"

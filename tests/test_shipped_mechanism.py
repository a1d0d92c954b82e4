"""The run of mechanism that ships: its controls have the sign and the size that theory gives, and tables agree."""

from __future__ import annotations

import json
from functools import cache
from math import sqrt

import pandas as pd
import pytest

from dashboard.tables import SHIPPED
from engine.columns import PROBE_TARGETS
from engine.tables import file_of, read_table

SPEECH_LLMS = {"mini-ultravox", "mini-qwen2-audio"}
WHERE = ["system", "task", "method", "scope", "layers", "condition"]
N_ITEMS = json.loads((SHIPPED / "mechanism.json").read_text(encoding="utf-8"))["items_a_task"]


@cache
def shipped(name: str) -> pd.DataFrame:
    return read_table(file_of(SHIPPED, name), name)


def test_every_task_layer_and_arm_is_there() -> None:
    lens = shipped("lens")
    assert set(lens["system"]) == SPEECH_LLMS
    of_tasks = lens[lens["task"] != "all tasks"]["n_items"]
    assert (of_tasks >= N_ITEMS - 1).all(), "but for clips that read as marks only"
    assert set(shipped("probes")["system"]) == SPEECH_LLMS | {"mini-whisper"}
    assert set(shipped("probes")["target"]) == set(PROBE_TARGETS)
    erasure = shipped("erasure")
    for _, rows in erasure[erasure["layers"] == "nine layers"].groupby(["system", "method", "scope"]):
        assert rows["task"].nunique() == 7
        assert set(rows["condition"]) == {"text", "ctc", "boc", "acoustic"}
    kinds = erasure.groupby("layers")["arm"].agg(set)
    assert kinds["nine layers"] == {"erased", "rank_matched", "change_matched"}
    assert {"erased", "rank_matched"} == kinds["layer 0"]


def test_text_and_random_are_compared_at_equal_rank_and_at_equal_change() -> None:
    arms = shipped("erasure").query("arm != 'plain'")
    assert (arms.groupby(WHERE)["kept_rank"].nunique() == 1).all()
    change = arms.pivot_table(index=WHERE, columns="arm", values="relative_change").dropna()
    assert len(change) == 2 * 7 * 4
    assert change["change_matched"].to_numpy() == pytest.approx(change["erased"].to_numpy(), rel=0.01)


@pytest.mark.parametrize("target", ["energy", "pitch", "letters"])
def test_a_probe_of_shuffled_numbers_explains_nothing(target: str) -> None:
    shuffled = shipped("probes").query("target == @target")["shuffled"]
    assert shuffled.between(-0.06, 0.03).all() and abs(shuffled.mean()) < 0.03


@pytest.mark.parametrize(("target", "classes"), [("speaker", 2), ("emotion", 7)])
def test_a_probe_of_shuffled_labels_is_at_chance(target: str, classes: int) -> None:
    probes = shipped("probes").query("target == @target")
    chance = 1 / classes
    error = sqrt(chance * (1 - chance) / probes["n_clips"].min())  # one shuffling serves all layers
    assert probes["shuffled"].mean() == pytest.approx(chance, abs=2 * error)


def test_the_encoders_control_reads_sound_low_and_text_high() -> None:
    """A positive control: a trained recogniser's encoder holds loudness below and spells at the top."""
    rows = shipped("probes").query("system == 'mini-whisper'").set_index(["target", "layer"])["score"]
    last = shipped("probes").query("system == 'mini-whisper'")["layer"].max()
    assert rows["energy", 0] > 0.9 and rows["text", last] > 0.8 and rows["text", last] > rows["text", 0] + 0.3


def test_a_concepts_own_eraser_takes_it_and_random_directions_do_not() -> None:
    damage = shipped("damage")
    own = damage[(damage["condition"] == "boc") & (damage["target"] == "letters")]
    assert len(own) == 18 and (own["erased"] < 0.4 * own["plain"]).all()
    assert (own["random"] > 0.85 * own["plain"]).all()


def test_the_plain_arm_is_the_run_of_behaviour_on_the_same_clips() -> None:
    """Two paths to one number: answers made one stage at a time, and row 0 of the batches with erasures."""
    answers = shipped("answers").set_index(["system", "clip_id"])["correct"]
    plain = shipped("erasure_clips").query("arm == 'plain'")
    theirs = answers.loc[list(zip(plain["system"], plain["clip_id"], strict=True))].to_numpy()
    assert len(plain) == 2 * 7 * N_ITEMS and (plain["correct"].to_numpy() == theirs).all()


def test_clips_own_probe_scores_average_to_the_probe() -> None:
    scores = shipped("probe_scores").query("target == 'emotion'").groupby(["system", "layer"])["score"]
    probes = shipped("probes").query("target == 'emotion'").set_index(["system", "layer"])["score"]
    assert scores.mean().to_numpy() == pytest.approx(probes.sort_index().to_numpy(), abs=1e-6)
    assert set(shipped("probe_scores")["clip_id"]) <= set(shipped("probe_clips")["clip_id"])


def figure(name: str, column: str, **where: object) -> float:
    rows = shipped(name)
    for key, value in where.items():
        rows = rows[rows[key] == value]
    (found,) = rows[column]
    return float(found)


def kappa(a: str, b: str, task: str) -> float:
    return figure("agreement", "kappa", system_a=a, system_b=b, task=task, noise="clean")


def test_each_claims_cells_are_those_of_the_tables() -> None:
    """Read row by row: what the ledger's cells show, taken again from the tables beside them."""
    cells = dict(iter(shipped("claim_cells").groupby("claim")))
    for cell in cells["near_equivalence"].itertuples():
        assert cell.value == pytest.approx(kappa(cell.system, cell.other, cell.task), abs=1e-5)
    for cell in cells["divergence"].itertuples():
        frozen = kappa("mini-ultravox", "mini-cascade", cell.task)
        assert cell.value == pytest.approx(kappa(cell.system, cell.other, cell.task) - frozen, abs=1e-5)
    for cell in cells["acoustic_kept"].itertuples():
        target, layer = cell.detail.split(", layer ")
        assert cell.value == pytest.approx(
            figure("probes", "score", system=cell.system, target=target, layer=int(layer)), abs=1e-5
        )
    for cell in cells["late_text"].itertuples():
        late, early = (
            {"system": cell.system, "task": "all tasks", "measure": "set_precision", "layer": int(number)}
            for number in cell.detail.removeprefix("layer ").split(" against layer ")
        )
        gain = figure("lens", "score", **late) - figure("lens", "score", **early)
        beyond = figure("lens", "score", **late) - figure("lens", "control", **late)
        assert cell.value == pytest.approx(gain / beyond, abs=1e-4)
    paper = {"method": "linear", "scope": "all", "layers": "nine layers", "condition": "text"}
    for cell in cells["text_erasure"].itertuples():
        of_task = {"system": cell.system, "task": cell.task}
        plain = figure("erasure", "accuracy", arm="plain", **of_task)
        text, random = (
            figure("erasure", "accuracy", arm=arm, **of_task, **paper) for arm in ("erased", "rank_matched")
        )
        assert cell.value == pytest.approx((random - text) / plain, abs=1e-4)
    for cell in cells["random_negligible"].itertuples():
        change = figure("erasure", "change", system=cell.system, task=cell.task, arm="rank_matched", **paper)
        plain = figure("erasure", "accuracy", arm="plain", system=cell.system, task=cell.task)
        assert cell.value == pytest.approx(-change / plain, abs=1e-4)

"""A sweep's places are runs with those layers alone: erased, control and plain, at every strength."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine import interventions as module
from engine.errors import EngineError, UnknownKeyError
from engine.interventions import N_CONTROLS, in_passes, reach_layers, sweep_layers
from engine.request import RunRequest
from engine.results import ArmResult
from engine.run import run
from tests.engine.tiny_systems import sound

REQUEST = RunRequest(sound(1.7), "topic", gold="World", seed=5)
ROUNDING = 1e-3  # rows of a wider batch

pytestmark = pytest.mark.usefixtures("tiny_models")


def assert_alike(one: ArmResult, other: ArmResult) -> None:
    assert one.answer.text == other.answer.text
    for name in ("log_likelihood_change", "right_log_likelihood_change", "relative_change_of_state"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=ROUNDING)


def test_a_place_is_a_run_with_that_layer_alone() -> None:
    swept = sweep_layers(REQUEST, "text", "single layer")
    assert [point.layers for point in swept.points] == [(0,), (1,), (2,), (3,)]
    for point in swept.points[1:3]:
        alone = run(replace(REQUEST, erasures=("text",), layers=point.layers)).erasures[0]
        assert point.kept_rank == alone.kept_rank
        assert_alike(swept.plain, alone.plain)
        assert_alike(point.erased, alone.erased)
        assert_alike(point.controls[0], alone.random_control)
        assert point.erased.relative_change_of_state > 0 and point.erased != swept.plain


def test_each_control_is_a_run_with_its_seed() -> None:
    point = sweep_layers(REQUEST, "acoustic", "single layer").points[2]
    assert len(point.controls) == N_CONTROLS
    seeds = sweep_layers(replace(REQUEST, strength=0.0), "acoustic", "single layer").seeds
    assert seeds == (5, 6, 7)
    for seed, control in zip(seeds, point.controls, strict=True):
        alone = run(replace(REQUEST, erasures=("acoustic",), layers=(2,), noise=None, seed=seed)).erasures[0]
        assert_alike(control, alone.random_control)
    assert len({control.log_likelihood_change for control in point.controls}) == N_CONTROLS


def test_cumulative_is_a_run_with_all_layers_up_to_there() -> None:
    swept = sweep_layers(replace(REQUEST, strength=0.5, method="affine"), "text", "cumulative")
    assert [point.layers for point in swept.points] == [(0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)]
    asked = replace(REQUEST, strength=0.5, method="affine", erasures=("text",), layers=(0, 1, 2))
    alone = run(asked).erasures[0]
    assert (swept.strength, swept.method, swept.scope) == (0.5, "affine", "audio")
    assert_alike(swept.points[2].erased, alone.erased)
    assert_alike(swept.points[2].controls[0], alone.random_control)


def test_at_strength_0_every_place_is_the_plain_answer() -> None:
    swept = sweep_layers(replace(REQUEST, strength=0.0), "text", "single layer")
    assert swept.plain.answer == run(REQUEST).lanes[0].answer
    for point in swept.points:
        assert point.erased == swept.plain
        assert point.controls == (swept.plain,) * N_CONTROLS


def test_passes_hold_every_arm_once_and_what_progress_raises_ends_the_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_ARMS", 5)
    assert [list(part) for part in in_passes(list(range(12)))] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]

    def stop(share: float, what: str) -> None:
        told.append((share, what))
        if "pass 2" in what:
            raise KeyboardInterrupt

    told: list[tuple[float, str]] = []
    with pytest.raises(KeyboardInterrupt):
        sweep_layers(REQUEST, "text", "single layer", stop)
    assert told[-1][1] == "pass 2 of 4, 5 erasures at once" and 0 < told[-1][0] < 1


def test_what_cannot_be_swept_is_one_sentence() -> None:
    with pytest.raises(UnknownKeyError, match="no sweep"):
        sweep_layers(REQUEST, "text", "sideways")
    with pytest.raises(EngineError, match="no erasure"):
        sweep_layers(REQUEST, "mood", "single layer")


def test_places_are_named_as_the_benchmark_names_them() -> None:
    assert reach_layers("single layer", (0, 4)) == {"layer 0": (0,), "layer 4": (4,)}
    assert reach_layers("cumulative", (0, 4)) == {"up to layer 0": (0,), "up to layer 4": (0, 4)}

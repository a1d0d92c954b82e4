"""Erasures through `run`: each beside its control, whatever else is asked in the same run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import ErasureError
from engine.request import CONDITIONS, RunRequest, available_conditions
from engine.run import run
from tests.engine.tiny_systems import sound

REQUEST = RunRequest(sound(1.7), "topic", layers=(1, 3))
NUMBERS_MAY_DIFFER = 1e-3

pytestmark = pytest.mark.usefixtures("tiny_models")


def test_erasures_stand_beside_a_control_of_equal_kept_rank(tiny_models: Path) -> None:
    result = run(replace(REQUEST, erasures=tuple(CONDITIONS), gold="World"))
    ranks = available_conditions("mini-ultravox", tiny_models)
    assert [outcome.condition for outcome in result.erasures] == list(CONDITIONS)
    for outcome in result.erasures:
        assert outcome.kept_rank == ranks[outcome.condition] and outcome.layers == (1, 3)
        assert outcome.plain.answer == result.lanes[0].answer
        assert outcome.plain.log_likelihood_change == outcome.plain.relative_change_of_state == 0.0
        for arm in (outcome.erased, outcome.random_control):
            assert arm.relative_change_of_state > 0 and arm.log_likelihood_change != 0
            assert arm.right_log_likelihood_change is not None and math.isfinite(
                arm.right_log_likelihood_change
            )
            assert sum(arm.answer.forced_choice.values()) == pytest.approx(1.0)
        # An orthogonal projection cannot take more away than there is.
        assert outcome.random_control.relative_change_of_state < 1.0


def test_the_random_control_follows_the_seed_and_the_erasure_does_not() -> None:
    one, again, other = (
        run(replace(REQUEST, erasures=("text",), seed=seed)).erasures[0] for seed in (1, 1, 2)
    )
    assert one == again
    assert one.erased == other.erased and one.random_control != other.random_control


def test_one_condition_alone_gives_what_it_gives_among_others() -> None:
    alone = run(replace(REQUEST, erasures=("acoustic",))).erasures[0]
    among = run(replace(REQUEST, erasures=("boc", "acoustic", "boc"))).erasures
    assert [outcome.condition for outcome in among] == ["boc", "acoustic"]
    for arm in ("plain", "erased", "random_control"):
        a, b = getattr(alone, arm), getattr(among[1], arm)
        assert a.answer.text == b.answer.text
        assert a.log_likelihood_change == pytest.approx(b.log_likelihood_change, abs=NUMBERS_MAY_DIFFER)
        assert a.relative_change_of_state == pytest.approx(b.relative_change_of_state, abs=NUMBERS_MAY_DIFFER)


def test_strength_0_is_the_plain_run_bit_for_bit() -> None:
    result = run(replace(REQUEST, erasures=("text",), gold="World", strength=0.0))
    outcome = result.erasures[0]
    assert outcome.strength == 0.0
    assert outcome.plain.answer == run(replace(REQUEST, gold="World")).lanes[0].answer
    for arm in (outcome.erased, outcome.random_control):
        assert arm == outcome.plain


def test_strength_1_is_what_a_request_that_names_none_gets_bit_for_bit() -> None:
    named, default = (
        run(replace(REQUEST, erasures=("acoustic",), **changes)).erasures
        for changes in ({"strength": 1.0}, {})
    )
    assert named == default and named[0].strength == 1.0


def test_half_the_strength_moves_erasure_and_control_by_half_at_one_layer() -> None:
    whole, half = (
        run(replace(REQUEST, erasures=("text",), layers=(1,), strength=strength)).erasures[0]
        for strength in (1.0, 0.5)
    )
    for arm in ("erased", "random_control"):
        moved = getattr(whole, arm).relative_change_of_state
        assert getattr(half, arm).relative_change_of_state == pytest.approx(moved / 2, rel=1e-4)


def test_without_layers_the_preset_is_edited() -> None:
    outcome = run(replace(REQUEST, layers=None, erasures=("text",))).erasures[0]
    assert outcome.layers == (0, 1, 2, 3)


def test_without_gold_the_right_answers_change_is_unknown() -> None:
    arm = run(replace(REQUEST, erasures=("text",))).erasures[0].erased
    assert arm.right_log_likelihood_change is None


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(ErasureError, match="has no layer 9; it has layers 0 to 3"):
        run(replace(REQUEST, erasures=("text",), layers=(9,)))

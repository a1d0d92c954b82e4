"""Tolerances follow the number of bits, and rounding that is there stays inside them."""

from __future__ import annotations

import pytest
import torch

from engine.by_hand import (
    BLOCK_ROUNDINGS,
    HEAD_ROUNDINGS,
    LOGIT_TOLERANCE,
    logit_tolerance,
    pass_roundings,
    relative_gap,
    state_tolerance,
    unit_roundoff,
)


@pytest.mark.parametrize(("dtype", "bits"), [(torch.bfloat16, 8), (torch.float16, 11), (torch.float32, 24)])
def test_one_rounding_moves_a_number_by_at_most_half_a_unit(dtype: torch.dtype, bits: int) -> None:
    assert unit_roundoff(dtype) == 2.0**-bits
    exact = torch.rand(10_000, dtype=torch.float64) + 1e-3
    moved = ((exact.to(dtype).double() - exact).abs() / exact).max()
    assert unit_roundoff(dtype) / 2 < moved <= unit_roundoff(dtype)


def test_in_float32_the_tolerance_is_what_it_always_was() -> None:
    logits = torch.tensor([20.0, -30.0])
    assert logit_tolerance(logits, torch.float32, pass_roundings(32)) == LOGIT_TOLERANCE
    assert state_tolerance(torch.float32) == LOGIT_TOLERANCE


def test_in_bfloat16_it_grows_with_the_roundings_and_the_logits() -> None:
    logits = torch.tensor([4.0, -8.0])
    assert logit_tolerance(logits, torch.bfloat16, 3) == 3 * 8 / 256
    assert state_tolerance(torch.bfloat16) == BLOCK_ROUNDINGS / 256
    assert pass_roundings(2) == pytest.approx((2 * BLOCK_ROUNDINGS * 2) ** 0.5 + HEAD_ROUNDINGS)
    assert pass_roundings(32) < 10 * pass_roundings(1), "errors add like a random walk"


def test_a_head_in_bfloat16_stays_inside_its_tolerance() -> None:
    """Norm and head in bfloat16 against the same in float32, as the lens check compares them."""
    generator = torch.Generator().manual_seed(1)
    states, gain = torch.randn(50, 512, generator=generator), torch.rand(512, generator=generator) + 0.5
    head = torch.randn(2_000, 512, generator=generator) * 0.05
    states, gain, head = (one.bfloat16() for one in (states, gain, head))
    normed = states.float() * states.float().pow(2).mean(-1, keepdim=True).rsqrt()
    exact = (gain.float() * normed) @ head.float().T
    rounded = ((gain * normed.bfloat16()) @ head.T).float()
    gap, tolerance = float((exact - rounded).abs().max()), logit_tolerance(exact, torch.bfloat16, 3)
    assert tolerance / 10 < gap < tolerance


def test_a_few_huge_numbers_do_not_hide_a_difference() -> None:
    state = torch.ones(1_000)
    state[3] = 5_000.0
    other = state.clone()
    other[5:] *= 1.5
    assert relative_gap(other, state) > 0.2 and relative_gap(state, state) == 0.0

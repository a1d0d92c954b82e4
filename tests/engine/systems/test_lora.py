"""Low-rank adapters: folded or run beside, the two are one formula."""

from __future__ import annotations

import torch
from torch import nn

from engine.systems.checkpoint import LoraLinear, fold, is_silent, shape_fits


def test_a_case_by_hand() -> None:
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    down, up = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [0.0]])
    assert fold(weight, down, up, 0.5).tolist() == [[2.5, 3.0], [0.0, 1.0]]


def test_run_beside_equals_folded_and_shares_the_base() -> None:
    torch.manual_seed(0)
    base = nn.Linear(6, 4)
    down, up = torch.randn(2, 6), torch.randn(4, 2)
    adapted = LoraLinear(base, down, up, 1.5)
    states = torch.randn(3, 5, 6)
    expected = nn.functional.linear(states, fold(base.weight, down, up, 1.5), base.bias)
    torch.testing.assert_close(adapted(states), expected, atol=1e-5, rtol=0)
    assert adapted.base is base and (adapted(states) - base(states)).abs().max() > 0.1


def test_the_weights_dtype_is_kept() -> None:
    weight = torch.ones(2, 2, dtype=torch.bfloat16)
    assert fold(weight, torch.ones(1, 2), torch.ones(2, 1), 1.0).dtype == torch.bfloat16
    adapted = LoraLinear(nn.Linear(2, 2).bfloat16(), torch.ones(1, 2), torch.ones(2, 1), 1.0)
    assert adapted(torch.ones(1, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_shapes_and_silence_are_told() -> None:
    base = nn.Linear(6, 4)
    assert shape_fits(base, torch.zeros(2, 6), torch.zeros(4, 2), 2)
    assert not shape_fits(base, torch.zeros(2, 6), torch.zeros(4, 2), 3)
    assert not shape_fits(base, torch.zeros(2, 4), torch.zeros(6, 2), 2)
    assert is_silent([torch.zeros(4, 2)]) and not is_silent([torch.zeros(4, 2), torch.ones(4, 2)])

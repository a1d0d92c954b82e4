"""Facts about moments: shards in any order, summed in any grouping, give what one pass over all rows gives."""

from __future__ import annotations

import random
from functools import reduce
from operator import add

import pytest
import torch
from torch import Tensor

from engine.erasure import Moments, fit_leace, leace_of
from engine.probes import fit_ridge

FAR = 1e4  # a mean that dwarfs the spread: sums of squares, subtracted in the end, would lose it


def rows(n: int = 700, far: float = 0.0) -> tuple[Tensor, Tensor]:
    """Three classes that shift eight dimensions of noise."""
    generator = torch.Generator().manual_seed(7)
    z = torch.eye(3, dtype=torch.float64)[torch.randint(3, (n,), generator=generator)]
    noise = torch.randn(n, 8, generator=generator, dtype=torch.float64)
    return far + 2.0 * torch.nn.functional.pad(z, (0, 5)) + noise, z


def sharded(x: Tensor, z: Tensor, seed: int) -> Moments:
    """Uneven shards, one of a single row, added up in an order of their own."""
    cuts = [1, 2, 130, 131, 400]
    shards = list(zip(x.tensor_split(cuts), z.tensor_split(cuts), strict=True))
    random.Random(seed).shuffle(shards)
    return reduce(add, (Moments.of(*shard) for shard in shards))


def assert_alike(found: Moments, expected: Moments, rtol: float) -> None:
    assert found.n == expected.n
    for name in ("mean_x", "mean_z", "xx", "xz"):
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == torch.float64
        assert (a - b).abs().max() <= rtol * b.abs().max(), name


def test_two_rows_by_hand() -> None:
    x, z = torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0], [1.0]])
    both = Moments.of(x[:1], z[:1]) + Moments.of(x[1:], z[1:])
    assert both.n == 2 and both.mean_x.tolist() == [2.0, 2.0] and both.mean_z.tolist() == [0.5]
    assert both.xx.tolist() == [[2.0, 4.0], [4.0, 8.0]] and both.xz.tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("far", [0.0, FAR])
def test_shards_in_any_order_give_the_single_pass(seed: int, far: float) -> None:
    """Rounding of the means, of size far * 2e-16, is all that may differ beside the sums' own."""
    x, z = rows(far=far)
    assert_alike(sharded(x, z, seed), Moments.of(x, z), 1e-13 + far * 1e-14)


def test_grouping_does_not_matter() -> None:
    x, z = rows()
    a, b, c = (Moments.of(*shard) for shard in zip(x.split(300), z.split(300), strict=True))
    assert_alike((a + b) + c, a + (b + c), 1e-13)


@pytest.mark.parametrize("seed", range(3))
def test_fits_from_shards_are_those_from_all_rows(seed: int) -> None:
    x, z = rows()
    moments = sharded(x, z, seed)
    whole, parts = fit_leace(x, z), leace_of(moments)
    assert whole.right.shape == parts.right.shape
    torch.testing.assert_close(parts(x), whole(x), rtol=0, atol=1e-11)
    for found, expected in zip(fit_ridge(moments, 1e-3), fit_ridge(Moments.of(x, z), 1e-3), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_float32_states_are_summed_in_float64() -> None:
    x, z = rows()
    assert_alike(Moments.of(x.float(), z.float()), Moments.of(x.float().double(), z), 0.0)

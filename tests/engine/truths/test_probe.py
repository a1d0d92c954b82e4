"""The linear probe reads a linear code and not a product; the quadratic one reads both and no product of three."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.planted import probe_hits

N = 3000


def score(code: str, *, quadratic: bool) -> float:
    """Accuracy of naming a bit that lies in one dimension, in a product of two, or in one of three."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(N, 6, generator=generator)
    signs = 2.0 * torch.randint(2, (N, 3), generator=generator) - 1
    x[:, :3] = signs + 0.05 * x[:, :3]
    n_factors = {"one": 1, "two": 2, "three": 3}[code]
    words = (signs[:, :n_factors].prod(1) > 0).long()
    half = N // 2
    hits: Tensor = probe_hits(x[:half], words[:half], x[half:], words[half:], quadratic=quadratic)
    assert hits.shape == (half,) and set(hits.tolist()) <= {0.0, 1.0}
    return float(hits.mean())


def test_what_each_probe_can_read() -> None:
    assert score("one", quadratic=False) > 0.99 and score("one", quadratic=True) > 0.99
    # A line may cut the four corners of a product unevenly, so its accuracy strays a little from a half.
    assert abs(score("two", quadratic=False) - 0.5) < 0.15 and score("two", quadratic=True) > 0.99
    assert abs(score("three", quadratic=True) - 0.5) < 0.15

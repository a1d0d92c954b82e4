"""Sums that a linear fit is made of: those of two shards of the data add up to those of both."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Counts, means and centred products of states x and labels z, in float64.

    Attributes:
        n: rows.
        mean_x, mean_z: over the rows.
        xx: sum over rows of (x - mean_x)(x - mean_x)'.
        xz: sum over rows of (x - mean_x)(z - mean_z)'.
    """

    n: int
    mean_x: Float[Tensor, "d_model"]  # noqa: F821 - jaxtyping axis name
    mean_z: Float[Tensor, "targets"]  # noqa: F821
    xx: Float[Tensor, "d_model d_model"]
    xz: Float[Tensor, "d_model targets"]

    @classmethod
    def of(cls, x: Float[Tensor, "n d_model"], z: Float[Tensor, "n targets"]) -> Moments:
        """Return the moments of at least one row; no NaN."""
        x, z = x.double(), z.double()
        mean_x, mean_z = x.mean(0), z.mean(0)
        centred = x - mean_x
        return cls(len(x), mean_x, mean_z, centred.T @ centred, centred.T @ (z - mean_z))

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both shards' rows (Chan, Golub and LeVeque 1983, equation 2.1)."""
        n = self.n + other.n
        step_x, step_z = other.mean_x - self.mean_x, other.mean_z - self.mean_z
        weight = self.n * other.n / n
        return Moments(
            n,
            self.mean_x + step_x * (other.n / n),
            self.mean_z + step_z * (other.n / n),
            self.xx + other.xx + weight * torch.outer(step_x, step_x),
            self.xz + other.xz + weight * torch.outer(step_x, step_z),
        )

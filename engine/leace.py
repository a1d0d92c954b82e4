"""Fitting one LEACE eraser (arXiv 2306.03819, theorem 4.2) in float64, for the models and for the planted truths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from concept_erasure import LeaceFitter
from jaxtyping import Float
from torch import Tensor

from engine.erasure import Eraser
from engine.moments import Moments

SVD_TOLERANCE = 1e-5  # 0.01, the library's default, leaves rare classes readable
LEAK_TOLERANCE = 1e-6  # correlation of the erased states with the concept, on the states of the fit


class Leace(NamedTuple):
    """x - left @ (right @ (x - mean)); float64."""

    left: Float[Tensor, "d_model rank"]
    right: Float[Tensor, "rank d_model"]
    mean: Float[Tensor, "d_model"]  # noqa: F821 - jaxtyping axis name

    def __call__(self, states: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
        """Return the states without the concept."""
        return states - ((states - self.mean) @ self.right.T) @ self.left.T


def fit_leace(x: Float[Tensor, "n d_model"], z: Float[Tensor, "n targets"]) -> Leace:
    """Return the eraser after which no linear probe reads z from x, on these very states.

    Args:
        x: float64 states.
        z: float64 labels: one-hot rows for classes, numbers otherwise; no NaN.

    Raises:
        AssertionError: the erased states still correlate with the concept.
    """
    fitted = leace_of(Moments.of(x, z))
    leak = cross_correlation(fitted(x), z)
    assert leak < LEAK_TOLERANCE, f"the erased states still correlate with the concept: {leak:.2e}"
    return fitted


def leace_of(moments: Moments) -> Leace:
    """Return the eraser of the rows behind these moments.

    Raises:
        AssertionError: erased, those rows would still correlate with the concept.
    """
    fitter = LeaceFitter(
        *moments.xz.shape,
        affine=True,
        constrain_cov_trace=False,
        shrinkage=False,
        dtype=torch.float64,
        svd_tol=SVD_TOLERANCE,
    )
    fitter.n = torch.tensor(moments.n)
    fitter.mean_x, fitter.mean_z = moments.mean_x, moments.mean_z
    fitter.sigma_xx_, fitter.sigma_xz_ = moments.xx, moments.xz
    eraser = fitter.eraser
    assert eraser.bias is not None
    # The library keeps a row of zeros for each direction under its tolerance; they are no rank.
    kept = eraser.proj_right.abs().amax(1) > 0
    fitted = Leace(eraser.proj_left[:, kept], eraser.proj_right[kept], eraser.bias)
    spread = moments.xx.diagonal().sqrt()[:, None]
    spread = spread.clamp(
        min=float(spread.max()) * 1e-6 + 1e-9
    )  # a dimension that does not vary holds rounding only
    before, after = (
        float((cross / spread).abs().amax())
        for cross in (moments.xz, moments.xz - fitted.left @ (fitted.right @ moments.xz))
    )
    assert after <= 10 * SVD_TOLERANCE * before, (
        f"the erased states still correlate with the concept: {after:.2e} of {before:.2e}"
    )
    return fitted


def bare_eraser(condition: str, found: Mapping[int, Leace], targets: tuple[str, ...], fit: str) -> Eraser:
    """Return erasers just fitted, layer by layer, on plain states, as an Eraser that proves nothing yet."""
    return Eraser(
        condition=condition,
        layers=tuple(sorted(found)),
        left={layer: one.left.float() for layer, one in found.items()},
        right={layer: one.right.float() for layer, one in found.items()},
        mean={layer: one.mean.float() for layer, one in found.items()},
        kept_rank={layer: len(one.right) for layer, one in found.items()},
        targets=targets,
        fit=fit,
    )


def cross_correlation(x: Float[Tensor, "n d_model"], z: Float[Tensor, "n targets"]) -> float:
    """Return the largest absolute correlation of any state dimension with any label, 0 to 1."""
    x = (x - x.mean(0)) / x.std(0).clamp(min=1e-9)
    z = (z - z.mean(0)) / z.std(0).clamp(min=1e-9)
    return float((x.T @ z / len(x)).abs().max())

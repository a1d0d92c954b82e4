"""A linear probe fitted anew, by folds of sentences: what it reads of a concept in states, erased or not.

Called where erasers are fitted. It never sees the clips of the eraser's fit (see `engine.proof`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.moments import Moments
from engine.probes import PENALTIES, assign_folds, r2_score
from engine.proof import LayerProof
from engine.stats.estimate import Estimate
from engine.stats.intervals import bootstrap_share, per_group

N_FOLDS = 5
SEED = 20260217  # of the folds and of the resampling


@dataclass(frozen=True)
class Reading:
    """What a probe reads: its score with the interval over groups, and the score of the best constant guess."""

    score: Estimate
    chance: float


def layer_proof(plain: Reading, erased: Reading, random: Reading) -> LayerProof:
    """Return three readings of the same labels as one layer's proof."""
    return LayerProof(
        *(plain.score.value, plain.score.low, plain.score.high),
        *(erased.score.value, erased.score.low, erased.score.high),
        random.score.value,
        plain.chance,
    )


def read_concept(
    states: Sequence[Float[Tensor, "_ d_model"]],
    labels: Sequence[Float[Tensor, "_ targets"]],
    groups: Int[np.ndarray, "clips"],  # noqa: F821 - jaxtyping axis name
    *,
    classes: bool,
) -> Reading:
    """Return what a linear probe reads of labels in states, each clip read by a probe that saw none of its group.

    A ridge probe over standardised states; of `engine.probes.PENALTIES` the one that reads the other folds best.

    Args:
        states: clip by clip, a row for each position.
        labels: clip by clip, the same rows; one-hot for classes; rows with a NaN are left out.
        groups: number of each clip's group of sentences.
        classes: score is the share of positions whose class is named, else R2 (mean over targets).
    """
    kept = [~z.isnan().any(1) for z in labels]
    x = [one[rows].double() for one, rows in zip(states, kept, strict=True)]
    z = [one[rows].double() for one, rows in zip(labels, kept, strict=True)]
    read = _cross_fitted(x, z, assign_folds(groups.tolist(), N_FOLDS, seed=SEED))
    if not classes:
        wanted, found = ([part.numpy() for part in parts] for parts in (z, read))
        return Reading(r2_score(wanted, found, groups, seed=SEED), 0.0)
    hits = [float((a.argmax(1) == b.argmax(1)).sum()) for a, b in zip(read, z, strict=True)]
    counts = np.array([[hit, float(len(rows))] for hit, rows in zip(hits, z, strict=True)])
    return Reading(bootstrap_share(per_group(groups, counts), seed=SEED), float(torch.cat(z).mean(0).max()))


def _cross_fitted(x: Sequence[Tensor], z: Sequence[Tensor], folds: np.ndarray) -> list[Tensor]:
    rows = {fold: np.flatnonzero(folds == fold).tolist() for fold in range(N_FOLDS)}
    rows = {fold: clips for fold, clips in rows.items() if any(len(x[clip]) for clip in clips)}
    stacked = {
        fold: (torch.cat([x[clip] for clip in clips]), torch.cat([z[clip] for clip in clips]))
        for fold, clips in rows.items()
    }
    moments = {fold: Moments.of(*pair) for fold, pair in stacked.items()}
    out = [torch.full_like(one, math.nan) for one in z]
    for fold, clips in rows.items():
        others = [other for other in rows if other != fold]
        if len(others) < 2:
            raise ValueError("a probe's clips must be of three groups of sentences at least")
        errors = dict.fromkeys(PENALTIES, 0.0)
        for inner in others:
            rest = reduce(add, [moments[other] for other in others if other != inner])
            for penalty in PENALTIES:
                weight, bias = fit_ridge(rest, penalty)
                seen, wanted = stacked[inner]
                errors[penalty] += float(((seen @ weight.T + bias - wanted) ** 2).sum())
        best = min(errors, key=errors.__getitem__)
        weight, bias = fit_ridge(reduce(add, [moments[other] for other in others]), best)
        for clip in clips:
            out[clip] = x[clip] @ weight.T + bias
    return out


def fit_ridge(moments: Moments, penalty: float) -> tuple[Tensor, Tensor]:
    """Return weight [targets, d_model] and bias of a ridge probe of standardised states, in their own units.

    Args:
        moments: of the rows fitted on.
        penalty: for each row.
    """
    variance = moments.xx.diagonal() / moments.n
    scale = torch.where(variance > 0, variance, torch.ones_like(variance)).sqrt()
    gram = moments.xx / torch.outer(scale, scale)
    gram = gram + penalty * moments.n * torch.eye(len(gram), dtype=gram.dtype)
    weight = (torch.linalg.solve(gram, moments.xz / scale[:, None]) / scale[:, None]).T
    return weight, moments.mean_z - weight @ moments.mean_x

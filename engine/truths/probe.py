"""A ridge classifier of words on states or on their products: linear, and the first step beyond linear."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

RIDGE = 1e-3  # relative to the mean variance of a feature


def probe_hits(
    x: Float[Tensor, "n d_model"],
    words: Int[Tensor, "n"],  # noqa: F821 - jaxtyping axis name
    held_x: Float[Tensor, "held d_model"],
    held_words: Int[Tensor, "held"],  # noqa: F821
    *,
    quadratic: bool,
) -> Float[Tensor, "held"]:  # noqa: F821
    """Return 1.0 for each held-out state whose word the probe names, else 0.0.

    The quadratic probe sees every state and all products of two of its dimensions. It reads a code of two
    signs; one of three or more would escape it as this one escapes a linear probe.
    """
    features, held = (_features(part.double(), quadratic) for part in (x, held_x))
    mean = features.mean(0)
    centred = features - mean
    gram = centred.T @ centred
    penalty = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    wanted = torch.eye(int(words.max()) + 1, dtype=gram.dtype)[words]
    weight = torch.linalg.solve(gram + penalty, centred.T @ (wanted - wanted.mean(0)))
    named = ((held - mean) @ weight + wanted.mean(0)).argmax(1)
    return (named == held_words).float()


def _features(states: Float[Tensor, "n d_model"], quadratic: bool) -> Float[Tensor, "n features"]:
    if not quadratic:
        return states
    rows, columns = torch.triu_indices(states.shape[1], states.shape[1])
    return torch.cat([states, states[:, rows] * states[:, columns]], dim=1)

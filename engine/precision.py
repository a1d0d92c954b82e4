"""How far two computations of one thing may lie apart in a model's own precision.

A check compares two orders of the same arithmetic. In float32 their rounding is far below any fault; in bfloat16,
with 8 bits to a number, it is not, and a tolerance has to be counted: how many roundings lie between the two, each
of at most half a unit in the last place (Higham, Accuracy and Stability of Numerical Algorithms, section 2.2).
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

LOGIT_TOLERANCE = (
    1e-3  # of a logit or a state's number: rounding of float32 in another order stays well below
)
# The final norm rounds twice (the normed state, and that times the weight), the head once.
HEAD_ROUNDINGS = 3
# Two norms with two roundings each, queries and keys, the attention's sum, its output, the gate's product and the
# map after it, two sums into the residual stream.
BLOCK_ROUNDINGS = 12


def unit_roundoff(dtype: torch.dtype) -> float:
    """Return the largest relative error of one rounding: 2^-8 in bfloat16, 2^-24 in float32."""
    return torch.finfo(dtype).eps / 2


def pass_roundings(n_layers: int) -> float:
    """Return how many roundings two passes through all layers differ by.

    Errors of different roundings are independent and add up like a random walk; each pass has its own.
    """
    return sqrt(2 * BLOCK_ROUNDINGS * n_layers) + HEAD_ROUNDINGS


def logit_tolerance(logits: Tensor, dtype: torch.dtype, roundings: float) -> float:
    """Return how far two computations of these logits may lie apart, as an absolute difference.

    Args:
        logits: of one of them; every rounding moves a logit by at most about its share of the largest.
        dtype: of the model's weights.
        roundings: that lie between the two.
    """
    return max(LOGIT_TOLERANCE, roundings * unit_roundoff(dtype) * float(logits.abs().max()))


def state_tolerance(dtype: torch.dtype) -> float:
    """Return the same for the states behind one block, relative to each number of the state."""
    return max(LOGIT_TOLERANCE, BLOCK_ROUNDINGS * unit_roundoff(dtype))


def relative_gap(found: Tensor, expected: Tensor) -> float:
    """Return the root mean square over a state's numbers of |difference| / (|number| + the median number).

    A few numbers of a large model's states are a thousand times the others, so that no difference is judged by the
    largest, and none by a number next to zero.

    Args:
        found: [d_model].
        expected: [d_model].
    """
    size = expected.abs()
    return float((((found - expected) / (size + size.median().clamp(min=1e-9))) ** 2).mean().sqrt())


def pass_tolerance(dtype: torch.dtype, n_layers: int, width: int) -> float:
    """Return how far the states of two passes may lie apart, relative to each number as `relative_gap` has it.

    Each rounding is one of the weights' precision, and one of the float32 sum over `width` products behind it, whose
    own roundings add up like a random walk.
    """
    each = unit_roundoff(dtype) + sqrt(width) * unit_roundoff(torch.float32)
    return pass_roundings(n_layers) * each

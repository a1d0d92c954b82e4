"""A random control that moves each state as far as an eraser would: of equal rank and of equal change.

A random projection of equal rank often takes less out of a state than the eraser does, and an eraser could
destroy answers for that alone. Here the random step is lengthened (or shortened) state by state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engine.hooks import Projection

SMALLEST = 1e-9  # of a step: a state that the random subspace does not see is not moved


@dataclass(frozen=True)
class MatchedStep(Projection):
    """The random projection's step, as long as that of `eraser` on the same state.

    A state that is moved further than the random projection would is pushed past zero in that subspace: the
    control disturbs as much, it does not erase the same.

    Attributes:
        eraser: whose step's length is taken.
    """

    eraser: Projection | None = None

    def __call__(self, states: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Return the moved states, in their own dtype; arithmetic in float32."""
        assert self.eraser is not None
        exact = states.float()
        step = super().__call__(exact) - exact
        wanted = (self.eraser(exact) - exact).norm(dim=-1, keepdim=True)
        length = step.norm(dim=-1, keepdim=True)
        moved = step * (wanted / length.clamp(min=SMALLEST))
        return (exact + torch.where(length > SMALLEST, moved, torch.zeros_like(moved))).to(states.dtype)


def match_steps(
    erasers: Mapping[int, Projection], controls: Mapping[int, Projection]
) -> dict[int, Projection]:
    """Return at each layer the random control's step at the length of the eraser's."""
    return {
        layer: MatchedStep(control.left, control.right, control.mean, erasers[layer])
        for layer, control in controls.items()
    }

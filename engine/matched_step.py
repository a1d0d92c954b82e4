"""A random control that moves states as far as an eraser did: of equal rank and of equal change.

A random projection of equal rank often takes less out of a state than the eraser does, and an eraser could
destroy answers for that alone. Here the random step is lengthened (or shortened) to the share of the state that
the eraser's run moved at this layer, in each group of positions by itself: an eraser fitted on audio moves the
prompt's text much further than the audio, and a control that moved both alike would be milder where it matters.
What the eraser would do to the control's own states is no measure: they still hold the concept at every layer,
and the control would be moved several times as far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from engine.hooks import ByGroup, Group, Projection

SMALLEST = 1e-9  # of a step: a state that the random subspace does not see is not moved


@dataclass(frozen=True)
class MatchedStep(Projection):
    """The random projection's step, at a given share of the state's length.

    A state that is moved further than the random projection would is pushed past zero in that subspace: the
    control disturbs as much, it does not erase the same.

    Attributes:
        share: |change| / |state|, at least 0.
    """

    share: float = field(default=0.0, kw_only=True)

    def __call__(self, states: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Return the moved states, in their own dtype; arithmetic in float32."""
        exact = states.float()
        step = super().__call__(exact) - exact
        length = step.norm(dim=-1, keepdim=True)
        wanted = self.share * exact.norm(dim=-1, keepdim=True)
        moved = step * (wanted / length.clamp(min=SMALLEST))
        return (exact + torch.where(length > SMALLEST, moved, torch.zeros_like(moved))).to(states.dtype)


def match_changes(
    controls: Mapping[int, Projection], shares: Mapping[int, Mapping[Group, float]]
) -> dict[int, ByGroup]:
    """Return at each layer, for each group of positions, the random control's step at the share the eraser moved it.

    Args:
        controls: random projections by layer.
        shares: of the eraser's run, as `RowEdits.change_by_group` gives them.
    """
    return {
        layer: {
            group: MatchedStep(control.left, control.right, control.mean, share=share)
            for group, share in shares[layer].items()
        }
        for layer, control in controls.items()
    }

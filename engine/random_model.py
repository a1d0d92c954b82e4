"""A model that has learned nothing: the control for what its shape alone lets a probe read."""

from __future__ import annotations

import torch
from torch import nn

FIXED = "embed_positions"  # Whisper's sinusoids, which no training changes


@torch.no_grad()
def redraw(module: nn.Module, *, seed: int) -> None:
    """Draw a module's weights anew, in place; the same seed draws the same.

    Every matrix becomes Gaussian with the deviation that it had, so that states keep their size; norms become 1
    and biases 0.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        if FIXED in name:
            continue
        if weight.ndim > 1:
            weight.copy_(torch.randn(weight.shape, generator=generator) * float(weight.float().std()))
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)

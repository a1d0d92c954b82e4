"""Weights stored in 8 bits: each row of a matrix as int8 steps of its own scale, read back as float32.

For a checkpoint that has to be small; what is measured is measured on the weights as they are read back.
"""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = ".row_scale"
_LARGEST = 127


def to_eight_bits(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return matrices as int8 with a float16 scale for each row under "NAME.row_scale"; vectors as float16."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2:
            stored[name] = tensor.detach().to(torch.float16).contiguous()
            continue
        exact = tensor.detach().float()
        # Rounded first: the steps are then counted in the very scale that is stored.
        scale = (exact.abs().amax(1, keepdim=True) / _LARGEST).to(torch.float16).float()
        steps = (exact / scale.clamp(min=1e-8)).round().clamp(-_LARGEST, _LARGEST)
        stored[name] = steps.to(torch.int8).contiguous()
        stored[name + SCALE] = scale.to(torch.float16).contiguous()
    return stored


def from_eight_bits(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return float32 matrices for those that have a scale; all others as they are."""
    return {
        name: tensor.float() * tensors[name + SCALE].float() if name + SCALE in tensors else tensor
        for name, tensor in tensors.items()
        if not name.endswith(SCALE)
    }

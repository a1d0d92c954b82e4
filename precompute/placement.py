"""What a unit's model takes of a node of a cluster: memory of a GPU, or leave to ask a service."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.systems.catalogue import SYSTEMS
from precompute.units import Load

GB_A_MILLION = 0.002  # bf16
ROOM = 1.5  # the weights and half as much again: a batch's states, caches and logits
CONTEXT_GB = 1.0  # what CUDA takes in every process
SMALLEST_SHARE = 1e-4  # Ray counts resources in steps of this


@dataclass(frozen=True)
class Needs:
    """What one process must have.

    Attributes:
        gpu_gb: memory of a GPU, in GB, where the cluster has GPUs; infinite for a whole one.
        asks_service: whether it asks a service over the network.
    """

    gpu_gb: float = 0.0
    asks_service: bool = False

    def gpu_share(self, device_gb: float) -> float:
        """Return the share of a GPU of this memory, 0 to 1; a model that is larger gets all of one.

        Args:
            device_gb: memory of the smallest GPU; NaN where it is not known: a GPU then serves one process.
        """
        if not self.gpu_gb:
            return 0.0
        share = self.gpu_gb / device_gb
        if not share < 1:
            return 1.0
        return math.ceil(share / SMALLEST_SHARE) * SMALLEST_SHARE


def needs_of(load: Load) -> Needs:
    """Return what a process needs that loads this; a model that the catalogue does not know gets a whole GPU."""
    if not load.model:
        return Needs()
    return Needs(gpu_gb=_millions(load.model) * GB_A_MILLION * ROOM + CONTEXT_GB)


def _millions(model: str) -> float:
    """Return millions of parameters of a system, a text LLM's folder or a transcriber."""
    if model in SYSTEMS:
        return SYSTEMS[model].parameters_m
    folders = {spec.folder: spec.parameters_m for spec in SYSTEMS.values() if spec.kind == "text_llm"}
    ears = [
        spec.parameters_m - folders.get(spec.backbone, 0.0)
        for spec in SYSTEMS.values()
        if spec.transcriber == model
    ]
    return folders.get(model, min(ears, default=math.inf))

"""What a unit's model takes of a node of a cluster: memory of a GPU, or leave to ask a service."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from engine.systems.catalogue import LAPTOP_SYSTEMS, MINI_SYSTEMS, SYSTEMS
from engine.systems.loading import GIB
from engine.systems.profiles import Profile, settings_in_use
from precompute.units import Load

ROOM = 1.5  # the weights and half as much again: a batch's states, caches and logits
CONTEXT_GB = 1.0  # what CUDA takes in every process
SMALLEST_SHARE = 1e-4  # Ray counts resources in steps of this
_ON_CPU = frozenset(
    name for spec in (MINI_SYSTEMS | LAPTOP_SYSTEMS).values() for name in (spec.key, *spec.folders)
)


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
    """Return what a process needs that loads this; a model that the catalogue does not know gets a whole GPU.

    What runs on the processor, as the minis and the laptop's models always do, needs none.
    """
    if not load.model:
        return Needs()
    spec, settings = SYSTEMS.get(load.model), settings_in_use()
    if spec is not None and spec.is_remote:
        return Needs(asks_service=True)
    if settings.device == "cpu" or load.model in _ON_CPU:
        return Needs()
    weights_gb = _part_gb(load.model) if spec is None or load.use == "read" else spec.bf16_gb
    if settings.dtype == "float32" and load.use != "transcribe":  # a transcriber's file says its precision
        weights_gb *= 2
    return Needs(gpu_gb=weights_gb * ROOM + CONTEXT_GB)


def profile_within(share: float, device_gb: float, profile: Profile) -> Profile:
    """Return the profile by which an actor runs models that has a share of a GPU.

    Its models keep within the share, less what CUDA takes; of a whole GPU they may use what is free. Ray shows an
    actor one GPU, whatever the profile calls it.

    Args:
        share: of the GPU, 0 to 1; 0 without one.
        device_gb: memory of the smallest GPU.
        profile: of the run; a smaller `memory_gib` of its own stands.
    """
    device = "cuda" if profile.device.startswith("cuda") else profile.device
    memory_gib = profile.memory_gib
    if 0 < share < 1:
        memory_gib = min((share * device_gb - CONTEXT_GB) * 1e9 / GIB, memory_gib or math.inf)
    return replace(profile, device=device, memory_gib=memory_gib)


def _part_gb(folder: str) -> float:
    """Return the memory of a text LLM's weights, or of a transcriber's: a cascade's without its text LLM."""
    text_llms = {spec.folder: spec.bf16_gb for spec in SYSTEMS.values() if spec.kind == "text_llm"}
    for spec in SYSTEMS.values():
        if spec.folder == folder and spec.family == "phi4_multimodal":
            return spec.bf16_gb  # its text LLM is the whole model with the adapters off
    ears = [
        spec.bf16_gb - text_llms[spec.backbone]
        for spec in SYSTEMS.values()
        if spec.transcriber == folder and not spec.is_remote
    ]
    return text_llms.get(folder, min(ears, default=math.inf))

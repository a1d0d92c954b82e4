"""Where a model's weights lie and in which precision: the minis exactly, published ones as they were published.

The minis, and what is fetched file by file, run on the CPU in float32, always: their erasers and shipped answers were
made so. Any other published model runs in bfloat16, on a GPU where there is one. A profile or the command line may say
otherwise; what they say stands in the environment, which the processes of a pool inherit. torch is imported when a
model is placed, not before.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.errors import PlacementError
from engine.systems.pinned_files import PINNED
from engine.systems.weights import CHECKPOINTS

if TYPE_CHECKING:
    import torch

DTYPES = ("", "bfloat16", "float32")
DEVICE_VARIABLE, DTYPE_VARIABLE = "CASCADE_LENS_DEVICE", "CASCADE_LENS_DTYPE"
MEMORY_VARIABLE = "CASCADE_LENS_MEMORY_GIB"


@dataclass(frozen=True)
class Settings:
    """How published models are placed.

    Attributes:
        device: "" takes a GPU where there is one, else the processor; or a name such as "cpu" or "cuda:1".
        dtype: of their weights, one of DTYPES; "" is bfloat16.
        memory_gib: what the models that are loaded may take together; None is what the device has free.
    """

    device: str = ""
    dtype: str = ""
    memory_gib: float | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise PlacementError(
                f'There is no precision "{self.dtype[:40]}"; choose: {", ".join(DTYPES[1:])}.'
            )
        if self.memory_gib is not None and not 0 < self.memory_gib < math.inf:
            raise PlacementError(f"A memory of {self.memory_gib:g} GiB cannot be used; give more than 0.")


@dataclass(frozen=True)
class Placement:
    """Where one model goes."""

    device: torch.device
    dtype: torch.dtype


def use(settings: Settings) -> None:
    """Place what is loaded from now on by these settings, here and in processes started from here."""
    memory = "" if settings.memory_gib is None else f"{settings.memory_gib:g}"
    values = (settings.device, settings.dtype, memory)
    os.environ.update(zip((DEVICE_VARIABLE, DTYPE_VARIABLE, MEMORY_VARIABLE), values, strict=True))


def settings_in_use() -> Settings:
    """Return the settings in the environment.

    Raises:
        PlacementError: a value there cannot be used.
    """
    device, dtype, memory = (
        os.environ.get(name, "").strip() for name in (DEVICE_VARIABLE, DTYPE_VARIABLE, MEMORY_VARIABLE)
    )
    try:
        memory_gib = float(memory) if memory else None
    except ValueError as error:
        raise PlacementError(f'{MEMORY_VARIABLE} is "{memory[:40]}"; give a number of GiB.') from error
    return Settings(device, dtype, memory_gib)


def placement_of(folder: str) -> Placement:
    """Return where the model in this folder of the catalogue goes.

    Raises:
        PlacementError: the device that the settings name is not on this machine.
    """
    import torch

    if folder not in CHECKPOINTS or folder in PINNED:
        return Placement(torch.device("cpu"), torch.float32)
    settings = settings_in_use()
    dtype = torch.float32 if settings.dtype == "float32" else torch.bfloat16
    return Placement(_device(settings.device), dtype)


def _device(name: str) -> torch.device:
    import torch

    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise PlacementError(
            f'There is no device "{name[:40]}"; choose cpu or cuda, or leave it out.'
        ) from error
    module: Any = getattr(torch, device.type, None)
    n_devices = 1 if device.type == "cpu" else module.device_count() if module else 0
    if (device.index or 0) >= n_devices:
        raise PlacementError(f"There is no {name[:40]} on this machine; choose cpu, or leave it out.")
    return device

"""A second device on a machine that has none: tensors that say they lie on a GPU and are computed on the CPU.

Values are real, so that a whole run goes through, with its decisions on them. An operation on tensors of two
devices is refused as CUDA refuses it, and a tensor of this device has no numpy array.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import (
    _DummyPrivateUse1Hook,
    _setup_privateuseone_for_python_backend,
)


class _Unseen(_DummyPrivateUse1Hook):
    """Code that asks which accelerator there is, in other tests of this process, must not find this one."""

    def is_available(self) -> bool:
        return False


if not hasattr(torch, "twin"):
    _setup_privateuseone_for_python_backend("twin", hook=_Unseen())
DEVICE = torch.device("twin", 0)
# What CUDA takes on the CPU beside its own: indices into a tensor, and the other end of a copy.
MIXES = {"aten::index", "aten::index_put", "aten::index_put_", "aten::copy_", "aten::to", "aten::_to_copy"}


class OnDevice(Tensor):
    """A tensor of the second device.

    Attributes:
        held: its values, on the CPU.
    """

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnDevice:
        # A view of a weight is no inference tensor in torch either.
        with torch.inference_mode(False):
            made: OnDevice = Tensor._make_wrapper_subclass(
                cls,
                held.shape,
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                device=DEVICE,
            )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _run(func, args, kwargs or {})

    # torch asks the driver before it reads a number out of a tensor on a GPU.
    def item(self) -> Any:
        return self.held.item()

    def tolist(self) -> Any:
        return self.held.tolist()

    def __float__(self) -> float:
        return float(self.held)

    def __int__(self) -> int:
        return int(self.held)

    def __bool__(self) -> bool:
        return bool(self.held)

    __index__ = __int__

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnDevice({self.held!r})"


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func._schema.name
    leaves = tree_leaves((args, kwargs))
    given = [one for one in leaves if isinstance(one, Tensor)]
    named = [one for one in leaves if isinstance(one, torch.device)]
    is_here = [isinstance(one, OnDevice) for one in given]
    # A number held on the CPU may meet any device.
    mixed = any(is_here) and any(t.ndim for h, t in zip(is_here, given, strict=True) if not h)
    if mixed and name not in MIXES:
        raise RuntimeError(f"{name}: expected all tensors on one device, found {DEVICE} and cpu")
    here = any(is_here)
    if named:
        here = named[-1].type == DEVICE.type
    elif name == "aten::to" and len(given) > 1:
        here = is_here[1]
    elif name in ("aten::copy_", "aten::index_put_"):
        here = is_here[0]
    done = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    if not here:
        # Sent to the CPU, values are a copy there: what is written on one side stays off the other.
        return done.clone() if any(is_here) and named else done
    kept = {id(_held(one)): one for one, h in zip(given, is_here, strict=True) if h}
    sent = bool(given) and not any(is_here)
    return tree_map(lambda one: kept[id(one)] if id(one) in kept else _placed(one, copy=sent), done)


def _held(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == DEVICE.type:
        return torch.device("cpu")
    return value.held if isinstance(value, OnDevice) else value


def _placed(value: Any, copy: bool = False) -> Any:
    if not isinstance(value, Tensor) or isinstance(value, OnDevice):
        return value
    return OnDevice(value.clone() if copy else value)


class _Factories(TorchDispatchMode):
    """Makes what is asked for on the second device, and moves what is sent there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Make `twin:0` usable inside the block."""
    # `torch.tensor` then fills a tensor of the CPU and sends it, as for torch's own fake tensors.
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with _Factories():
            yield DEVICE
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


@torch.no_grad()
def move(module: nn.Module) -> None:
    """Put a module's weights on the second device, in place."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None and not isinstance(weight, OnDevice):
                part._parameters[name] = nn.Parameter(OnDevice(weight.detach()), requires_grad=False)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = _placed(buffer)

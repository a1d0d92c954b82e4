"""Which models are in memory: each once, and the least recently used make room for the next one.

A part is what is loaded by itself: a language model, the ears of a speech LLM, a transcriber. Systems that share a
part share its weights, and it is counted once. What is in use is never unloaded: whoever runs a model does so inside
`using`. torch is imported when there is something to free.
"""

from __future__ import annotations

import gc
import math
import re
import sys
import threading
import traceback
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from engine.errors import PlacementError
from engine.systems.placement import settings_in_use

GIB = 2**30
RESERVE_BYTES = 2 * GIB  # left free on a GPU: states, caches and logits of a run, and the driver's own needs
NO_MEMORY = re.compile(r"out of memory|not enough memory|can(no|')t allocate memory", re.IGNORECASE)
REMEDY = "choose a smaller model, close other programs, or set --memory-gib"

T = TypeVar("T")


@dataclass
class _Part:
    """What is loaded under one key, and for how many runs it must stay."""

    value: Any
    name: str
    n_bytes: int
    needs: tuple[Hashable, ...]
    leases: int = 0


class Residency:
    """The parts that are loaded, least recently used first.

    Attributes:
        total_bytes: given what all parts take, how many bytes they may take; infinite where nothing limits them.
    """

    def __init__(self, total_bytes: Callable[[int], float]) -> None:
        self.total_bytes = total_bytes
        self._parts: dict[Hashable, _Part] = {}
        self._lock = threading.RLock()
        self._mine = threading.local()

    @property
    def loaded(self) -> tuple[Hashable, ...]:
        """Keys of what is loaded, least recently used first."""
        with self._lock:
            return tuple(self._parts)

    @property
    def held_bytes(self) -> int:
        """Estimated size of what is loaded."""
        return sum(part.n_bytes for part in self._parts.values())

    def get(
        self,
        key: Hashable,
        load: Callable[[], T],
        *,
        name: str = "",
        size: Callable[[], int] = lambda: 0,
        needs: Sequence[Hashable] = (),
    ) -> T:
        """Return the part with this key, loaded at first use.

        Args:
            key: one for each part.
            load: called where it is not in memory.
            name: of the system, for errors.
            size: tells how many bytes it will take, before it is loaded; not called where it is.
            needs: keys of parts that it holds on to; they must be loaded.

        Raises:
            PlacementError: it does not fit.
        """
        with self._lock:
            if key not in self._parts:
                free_memory()
                n_bytes = size()
                self._make_room(n_bytes, name, set(needs))
                self._parts[key] = _Part(load(), name, n_bytes, tuple(needs))
            part = self._parts[key]
            for used in (*part.needs, key):
                self._parts[used] = self._parts.pop(used)
                self._lease(used)
            found: T = part.value
            return found

    @property
    def is_leased(self) -> bool:
        """Whether this thread is inside a lease."""
        return getattr(self._mine, "keys", None) is not None

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Keep what this thread asks for inside the block loaded until the outermost such block ends."""
        if self.is_leased:
            yield
            return
        mine: set[str] = set()
        self._mine.keys = mine
        try:
            yield
        finally:
            self._mine.keys = None
            with self._lock:
                for key in mine:
                    self._parts[key].leases -= 1

    def drop_unused(self) -> None:
        """Unload everything that nobody uses now."""
        with self._lock:
            for key in [key for key in self._parts if self._is_free(key, set())]:
                self._drop(key)
            free_memory()

    def _lease(self, key: Hashable) -> None:
        mine: set[Hashable] | None = getattr(self._mine, "keys", None)
        if mine is not None and key not in mine:
            mine.add(key)
            self._parts[key].leases += 1

    def _make_room(self, n_bytes: int, name: str, keep: set[Hashable]) -> None:
        total = self.total_bytes(self.held_bytes)
        wanted = f"{name} needs about {n_bytes / GIB:.1f} GiB"
        if n_bytes > total:
            raise PlacementError(f"{wanted} and {max(0.0, total) / GIB:.1f} GiB may be used: {REMEDY}.")
        while self.held_bytes + n_bytes > self.total_bytes(self.held_bytes):
            oldest = next((key for key in self._parts if self._is_free(key, keep)), None)
            if oldest is None:
                others = ", ".join(dict.fromkeys(part.name for part in self._parts.values()))
                raise PlacementError(f"{wanted} beside what is in use ({others}): {REMEDY}.")
            self._drop(oldest)
            free_memory()

    def _is_free(self, key: Hashable, keep: set[Hashable]) -> bool:
        """Whether a part may go: nobody uses it, nor anything that holds on to it."""
        holders = (other for other, part in self._parts.items() if key in part.needs)
        return (
            key not in keep
            and not self._parts[key].leases
            and all(self._is_free(other, keep) for other in holders)
        )

    def _drop(self, key: Hashable) -> None:
        """Forget a part and all that hold on to it."""
        for other in [other for other, part in self._parts.items() if key in part.needs]:
            self._drop(other)
        self._parts.pop(key, None)


def free_memory() -> None:
    """Give back what nobody refers to any more; modules refer to themselves, so that counting does not do."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def total_bytes(held_bytes: int) -> float:
    """Return what the parts may take together: what the settings say, else what the GPU has for them.

    Without a GPU nothing is limited unless it is set: the system lends memory as it sees fit.
    """
    settings = settings_in_use()
    if settings.memory_gib is not None:
        return settings.memory_gib * GIB
    torch = sys.modules.get("torch")
    if torch is None or settings.device == "cpu" or not torch.cuda.is_available():
        return math.inf
    free, _ = torch.cuda.mem_get_info(torch.device(settings.device or "cuda"))
    return held_bytes + free - RESERVE_BYTES


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or beside it; CTranslate2 and the CPU say so in words."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and NO_MEMORY.search(str(error)) is not None
    )


@contextmanager
def using(residency: Residency | None = None) -> Iterator[None]:
    """Run models inside the block: none of them is unloaded, and a lack of memory becomes one sentence.

    Where memory ran out, everything that nobody uses is unloaded, so that the next run finds room.

    Raises:
        PlacementError: memory ran out.
    """
    resident = LOADED if residency is None else residency
    if resident.is_leased:
        yield  # the outermost block frees what there is
        return
    try:
        with resident.lease():
            yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        # The calls that failed hold tensors for as long as the error is looked at.
        traceback.clear_frames(error.__traceback__)
    else:
        return
    resident.drop_unused()
    raise PlacementError(
        f"The memory did not suffice for this run: {REMEDY}, or take a shorter clip."
    ) from None


LOADED = Residency(total_bytes)

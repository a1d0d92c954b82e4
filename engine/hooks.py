"""The only file that registers forward hooks: recording and editing of the residual stream.

Both are context managers bound to one request that undo themselves and say so if they missed their target.
Layer 0 is what the first block receives, layer i what block i puts out (before the final norm).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

Scope = Literal["audio", "prompt", "all"]
Group = Literal["audio", "prompt text", "generated"]  # of positions: an eraser moves each by another share
GROUPS: tuple[Group, ...] = get_args(Group)

# Hooks sit on modules that systems and threads share: who runs a backbone holds this, so that no run is edited
# or recorded by another's hooks.
BACKBONE_LOCK = threading.RLock()


@runtime_checkable
class Edit(Protocol):
    """What is done to states [rows, positions, d_model]: a projection, or a replacement."""

    def __call__(self, states: Tensor, /) -> Tensor:
        """Return as many states."""
        ...

    def to(self, device: torch.device) -> Edit:
        """Return the same edit on a device."""
        ...


@dataclass(frozen=True)
class Projection:
    """x - s ((x - mean) @ right.T) @ left.T: an eraser, or a random subspace when left is right.T.

    Attributes:
        left: [d_model, rank]; right: [rank, d_model].
        mean: [d_model] for an affine eraser, None for a linear one.
        strength: s, from 0 (the state stays as it is) to 1 (the directions are taken out whole).
    """

    left: Float[Tensor, "d_model rank"]
    right: Float[Tensor, "rank d_model"]
    mean: Float[Tensor, "d_model"] | None = None  # noqa: F821 - jaxtyping axis name
    strength: float = field(default=1.0, kw_only=True)

    @property
    def rank(self) -> int:
        """Number of directions taken out."""
        return int(self.right.shape[0])

    def to(self, device: torch.device) -> Projection:
        """Return the same projection with its factors on a device."""
        mean = None if self.mean is None else self.mean.to(device)
        return replace(self, left=self.left.to(device), right=self.right.to(device), mean=mean)

    def __call__(self, states: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Return the states without these directions, in their own dtype; arithmetic in float32."""
        exact = states.float()
        centred = exact if self.mean is None else exact - self.mean
        return (exact - self.strength * ((centred @ self.right.T) @ self.left.T)).to(states.dtype)


ByGroup = Mapping[Group, Edit]  # positions of a group that is not in it stay as they are


@dataclass
class RowEdits:
    """Edits of a batch: each row has its own by layer, or none.

    Attributes:
        rows: for each row of the batch its edits by layer; None leaves the row alone.
        span: the clip's positions, first and one after the last.
        n_prompt: length of the prompt.
        scope: audio positions only, the whole prompt, or the generated positions too.
        change: filled while running: per row, layer and group, summed |change| / |state| over edited positions;
            "generated" counts those of the answer and those at which answers are scored. A state of zero (a padding
            token's embedding) has no such share and is not counted.
        count: how many terms are in each sum.
    """

    rows: Sequence[Mapping[int, Edit | ByGroup] | None]
    span: tuple[int, int]
    n_prompt: int
    scope: Scope
    change: list[dict[tuple[int, Group], float]] = field(init=False)
    count: list[dict[tuple[int, Group], int]] = field(init=False)
    _here: dict[tuple[int, int, Group], Edit] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.change = [{} for _ in self.rows]
        self.count = [{} for _ in self.rows]

    def layers(self) -> list[int]:
        """Return the layers that any row edits, rising."""
        return sorted({layer for row in self.rows if row for layer in row})

    def apply(self, layer: int, states: Tensor, first_position: int) -> Tensor:
        """Return edited states [rows x copies, positions, d_model] that begin at this absolute position.

        A batch may hold several copies of each row side by side (one for each label scored).
        """
        parts = self._parts(first_position, states.shape[1])
        if not parts:
            return states
        whole = slice(parts[0][1].start, parts[-1][1].stop)
        copies = states.shape[0] // len(self.rows)
        edited = states.clone()
        for index, row in enumerate(self.rows):
            edit = None if row is None else row.get(layer)
            if edit is None:
                continue
            rows = slice(index * copies, (index + 1) * copies)
            by_group = isinstance(edit, Mapping)
            # One edit for all positions is one product, as it is without groups.
            for group, part in parts if by_group else [(parts[0][0], whole)]:
                if not isinstance(edit, Mapping) or group in edit:
                    placed = self._placed(index, layer, group, states.device)
                    edited[rows, part] = placed(states[rows, part])
            self._count(index, layer, parts, states[rows], edited[rows])
        return edited

    def _parts(self, first_position: int, n_positions: int) -> list[tuple[Group, slice]]:
        """Return the edited stretches of a pass that begins at this position, in order, each within one group."""
        (start, stop), end = self.span, first_position + n_positions
        borders: list[tuple[Group, int, int]] = [
            ("prompt text", 0, start),
            ("audio", start, stop),
            ("prompt text", stop, self.n_prompt),
            ("generated", self.n_prompt, max(end, self.n_prompt)),
        ]
        edited: dict[Scope, tuple[Group, ...]] = {"audio": GROUPS[:1], "prompt": GROUPS[:2], "all": GROUPS}
        found = []
        for group, first, last in borders:
            first, last = max(first, first_position), min(last, end)
            if first < last and group in edited[self.scope]:
                found.append((group, slice(first - first_position, last - first_position)))
        return found

    def _count(
        self, index: int, layer: int, parts: Sequence[tuple[Group, slice]], before: Tensor, after: Tensor
    ) -> None:
        change, count = self.change[index], self.count[index]
        for group, part in parts:
            was, moved = before[:, part].float(), (after[:, part] - before[:, part]).float()
            size = was.norm(dim=-1)
            ratio = (moved.norm(dim=-1) / size)[size != 0]
            change[layer, group] = change.get((layer, group), 0.0) + float(ratio.sum())
            count[layer, group] = count.get((layer, group), 0) + ratio.numel()

    def _placed(self, index: int, layer: int, group: Group, device: torch.device) -> Edit:
        """Return a row's edit on the states' device; erasers lie on the CPU and travel once for all passes."""
        if (index, layer, group) not in self._here:
            row = self.rows[index]
            assert row is not None
            edit = row[layer]
            self._here[index, layer, group] = (edit[group] if isinstance(edit, Mapping) else edit).to(device)
        return self._here[index, layer, group]

    def only(self, row: int) -> RowEdits:
        """Return the edits of one row as a batch of its own, with nothing counted yet."""
        return RowEdits([self.rows[row]], self.span, self.n_prompt, self.scope)

    def relative_change(self, row: int) -> float:
        """Return the mean of |change| / |state| over this row's edited prompt positions and layers."""
        prompt = [place for place in self.count[row] if place[1] != "generated"]
        n_terms = sum(self.count[row][place] for place in prompt)
        return sum(self.change[row][place] for place in prompt) / n_terms if n_terms else 0.0

    def change_by_group(self, row: int) -> dict[int, dict[Group, float]]:
        """Return layer -> group of positions -> mean of |change| / |state|, of what this row edited."""
        found: dict[int, dict[Group, float]] = {}
        for (layer, group), total in self.change[row].items():
            n_terms = self.count[row][layer, group]
            found.setdefault(layer, {})[group] = total / n_terms if n_terms else 0.0
        return found


@contextmanager
def editing(decoder_layers: nn.ModuleList, edits: RowEdits) -> Iterator[None]:
    """Edit the residual stream inside the block, and nothing after it.

    Raises:
        RuntimeError: on leaving without an error, when a layer to be edited never ran.
    """
    reached: set[int] = set()

    def transform(layer: int, states: Tensor, position: int) -> Tensor:
        reached.add(layer)
        return edits.apply(layer, states, position)

    with _at_layers(decoder_layers, edits.layers(), transform, prepend=True):
        yield
    missed = set(edits.layers()) - reached
    if missed:
        raise RuntimeError(f"layers {sorted(missed)} were to be edited but never ran")


class _Enough(Exception):  # noqa: N818 - no error: the pass has given all that was asked of it
    pass


@contextmanager
def recording(
    decoder_layers: nn.ModuleList, layers: Sequence[int], *, stop: bool = False
) -> Iterator[dict[int, Tensor]]:
    """Yield a dict that the prompt's pass fills: layer -> states [rows, positions, d_model] in float32.

    Only the pass that begins at position 0 is kept; passes over generated tokens are not recorded. Enter
    it inside `editing` to record edited states.

    Args:
        decoder_layers: the blocks.
        layers: whose states are kept.
        stop: leave the block as soon as the highest of them is there: the blocks above it do not run.
    """
    states_by_layer: dict[int, Tensor] = {}

    def observe(layer: int, states: Tensor, position: int) -> Tensor:
        if position == 0:
            states_by_layer[layer] = states.detach().to(torch.float32, copy=True)
            if stop and layer == max(layers):
                raise _Enough
        return states

    with _at_layers(decoder_layers, layers, observe, prepend=False), suppress(_Enough):
        yield states_by_layer
    missed = set(layers) - set(states_by_layer)
    if missed:
        raise RuntimeError(f"layers {sorted(missed)} were to be recorded but never ran")


@contextmanager
def _at_layers(
    decoder_layers: nn.ModuleList,
    layers: Sequence[int],
    transform: Callable[[int, Tensor, int], Tensor],
    *,
    prepend: bool,
) -> Iterator[None]:
    handles: list[Any] = []
    try:
        # One by one inside the block: a layer that does not exist must not leave the others' hooks behind.
        for layer in layers:
            handles.append(_attach(decoder_layers, layer, transform, prepend))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _attach(
    decoder_layers: nn.ModuleList, layer: int, transform: Callable[[int, Tensor, int], Tensor], prepend: bool
) -> Any:
    if not 0 <= layer <= len(decoder_layers):
        raise IndexError(f"layer {layer} is outside 0 to {len(decoder_layers)}")
    if layer == 0:

        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return (transform(0, args[0], _first_position(kwargs)), *args[1:]), kwargs

        return decoder_layers[0].register_forward_pre_hook(before, prepend=prepend, with_kwargs=True)

    def after(_module: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        states = output if torch.is_tensor(output) else output[0]
        changed = transform(layer, states, _first_position(kwargs))
        return changed if torch.is_tensor(output) else (changed, *output[1:])

    return decoder_layers[layer - 1].register_forward_hook(after, prepend=prepend, with_kwargs=True)


def _first_position(kwargs: dict[str, Any]) -> int:
    """Absolute position of the pass's first column; read from the model, since a prompt may come in chunks."""
    position_ids = kwargs["position_ids"]
    return int(position_ids.reshape(-1)[0])

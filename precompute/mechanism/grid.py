"""What is erased and how: the settings of the erasure benchmark, and the seeds of its controls.

The paper erases linearly, at every position, at nine layers at once (arXiv 2602.17598, section 5.4). That
setting runs on every item with both controls; the others run on fewer, which their rows state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.request import CONDITIONS, Method

Scope = Literal["audio", "all"]  # as `engine.hooks` has it, which loads torch
Reach = Literal["nine layers", "single layer", "cumulative"]

SEEDS = (0, 1, 2, 3, 4)
CHANGE_SEEDS = SEEDS[:3]  # of the control of equal change, which takes twice the time
EVERY = tuple(CONDITIONS)


@dataclass(frozen=True)
class Setting:
    """One way of erasing.

    Attributes:
        conditions: what is erased, one after another.
        reach: all nine layers of the preset at once, each of them alone, or those up to each.
        change_matched: whether the control of equal change runs beside that of equal rank.
        share: of the items of each task that it runs on, at least one.
    """

    name: str
    conditions: tuple[str, ...]
    method: Method
    scope: Scope
    reach: Reach
    change_matched: bool
    share: float

    def n_items(self, n_items: int) -> int:
        """Return how many of a task's items it runs on."""
        return max(1, round(self.share * n_items))


GRID: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("linear, all positions", EVERY, "linear", "all", "nine layers", True, 1.0),
        Setting("affine, all positions", EVERY, "affine", "all", "nine layers", False, 0.25),
        Setting("linear, clip only", EVERY, "linear", "audio", "nine layers", False, 0.25),
        Setting("affine, clip only", EVERY, "affine", "audio", "nine layers", False, 0.25),
        Setting("layer by layer", ("text", "acoustic"), "linear", "all", "single layer", False, 0.25),
        Setting("layer upon layer", ("text", "acoustic"), "linear", "all", "cumulative", False, 0.1),
    )
}

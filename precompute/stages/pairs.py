"""Two systems' answers to the same clips, ready for counting, and how two systems are related."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from engine.stats.agreement import confusion, jointly_wrong
from engine.stats.intervals import per_group
from engine.systems.catalogue import SYSTEMS, match_between
from precompute.stages.cells import Answer, Cell, Clip

MatchOf = Callable[[str, str], str]
KindOf = Callable[[str], str]

TWO_CHOICES = 2  # there, two who are both wrong are wrong alike of necessity

_KIND_ORDER = {"speech_llm": 0, "cascade": 1, "text_llm": 2}


def kind_in_catalogue(system: str) -> str:
    """Return speech_llm, cascade or text_llm; "" for a system that is not in the catalogue."""
    return SYSTEMS[system].kind if system in SYSTEMS else ""


def match_in_catalogue(system_a: str, system_b: str) -> str:
    """Return how two systems are matched, as their checkpoints say; "none" where one is not in the catalogue.

    Raises:
        ModelFilesError: files that would tell are missing or damaged.
    """
    return match_between(system_a, system_b) if {system_a, system_b} <= SYSTEMS.keys() else "none"


def in_order(systems: Iterable[str], kind_of: KindOf) -> list[str]:
    """Return the systems by kind (speech LLM, cascade, text LLM, unknown), then by key."""
    return sorted(systems, key=lambda system: (_KIND_ORDER.get(kind_of(system), len(_KIND_ORDER)), system))


@dataclass(frozen=True)
class Paired:
    """The clips that both systems were given, in one cell or in several pooled ones.

    Attributes:
        tasks: the cells' tasks; `strata` says for each clip which one it is of.
        items: number of each clip's item; no two tasks share one. `groups`: that of its related items.
    """

    system_a: str
    system_b: str
    tasks: tuple[str, ...]
    clips: tuple[Clip, ...]
    items: np.ndarray
    groups: np.ndarray
    strata: np.ndarray
    a: tuple[Answer, ...]
    b: tuple[Answer, ...]

    @cached_property
    def labels(self) -> tuple[list[str | None], list[str | None], list[bool], list[bool]]:
        """What the statistics take: the classes of both systems' answers, and whether each is right."""
        return (
            [answer.label_class for answer in self.a],
            [answer.label_class for answer in self.b],
            [answer.right for answer in self.a],
            [answer.right for answer in self.b],
        )

    @property
    def n_items(self) -> int:
        return len(np.unique(self.items))

    @property
    def n_groups(self) -> int:
        return len(np.unique(self.groups))

    def votes(self) -> tuple[int, int]:
        """Return the groups in which the first, and in which the second, system is right on more clips."""
        _, _, a_right, b_right = self.labels
        lead = np.array(a_right, dtype=np.float64) - np.array(b_right, dtype=np.float64)
        net = per_group(self.groups, lead[:, None])[:, 0]
        return int((net > 0).sum()), int((net < 0).sum())

    def confusion(self) -> np.ndarray:
        """Return each clip as a table of counts (clips, tasks, labels, labels); label 0 is no label."""
        a, b, _, _ = self.labels
        return confusion(a, b, self.strata.tolist())

    def telling_errors(self) -> np.ndarray:
        """Say for every clip whether both are wrong with a label, and could have been in different ways."""
        choices = np.array([len(clip.offered) != TWO_CHOICES for clip in self.clips], dtype=bool)
        return np.array(jointly_wrong(*self.labels), dtype=bool) & choices


def pair_up(
    cells: Sequence[Cell], system_a: str, system_b: str, *, also: Sequence[str] = ()
) -> Paired | None:
    """Return the clips of these cells that both systems (and `also` these) were given; None without any."""
    tasks: list[str] = []
    clips, items, groups, strata, a, b = [], [], [], [], [], []
    n_items = n_groups = 0
    for cell in cells:
        given = [cell.systems.get(system, {}) for system in (system_a, system_b, *also)]
        places = sorted(set(given[0]).intersection(*given[1:]))
        if not places:
            continue
        clips += [cell.clips[place] for place in places]
        items += [n_items + cell.items[place] for place in places]
        groups += [n_groups + cell.groups[place] for place in places]
        strata += [len(tasks)] * len(places)
        a += [given[0][place] for place in places]
        b += [given[1][place] for place in places]
        tasks.append(cell.task)
        n_items += max(cell.items) + 1
        n_groups += max(cell.groups) + 1
    if not clips:
        return None
    numbers = {"items": items, "groups": groups, "strata": strata}
    arrays = {name: np.array(column, dtype=np.int64) for name, column in numbers.items()}
    return Paired(system_a, system_b, tuple(tasks), tuple(clips), a=tuple(a), b=tuple(b), **arrays)


def pairs_in(cells: Iterable[Cell], kind_of: KindOf) -> list[tuple[str, str]]:
    """Return every unordered pair of the systems in these cells, in the order of the tables."""
    return list(combinations(in_order({system for cell in cells for system in cell.systems}, kind_of), 2))

"""Runs made by hand: tables of a few columns, answers of a few systems, or figures that are simply given."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from engine.stats.intervals import Resampled
from engine.tables import as_declared, columns_of
from precompute.claims.measured import Measured, Overlap, Pairing

FROZEN, AUDIO, EARS, WEAK, OWN, ANCESTOR = "frozen", "audio", "ears", "weak", "own", "ancestor"
KINDS = {FROZEN: "speech_llm", AUDIO: "speech_llm"} | dict.fromkeys((EARS, WEAK, OWN, ANCESTOR), "cascade")
MATCHES = {
    (FROZEN, EARS): "exact", (FROZEN, WEAK): "exact", (AUDIO, OWN): "self", (AUDIO, ANCESTOR): "ancestor",
}  # fmt: skip
NOTHING: dict[str, Any] = {"str": "", "int": 0, "float": math.nan, "bool": False}
_NORMAL = np.array([NormalDist().inv_cdf((k + 0.5) / 10_000) for k in range(10_000)]) / 1.959964


def frame(name: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    columns = columns_of(name)
    empty = {column.name: NOTHING[column.dtype] for column in columns}
    clean = {"noise": "clean"} if "noise" in empty else {}
    listed = [empty | clean | dict(row) for row in rows]
    return as_declared(pd.DataFrame(listed, columns=[c.name for c in columns], dtype=object), columns, name)


def pair(one: str, other: str, task: str, **more: Any) -> dict[str, Any]:
    return {
        "system_a": one,
        "system_b": other,
        "match": MATCHES.get((one, other), "none"),
        "task": task,
        **more,
    }


def run_of(kind: type[Measured] = Measured, **tables: list[dict[str, Any]]) -> Any:
    """Return a run whose weak ears make more word errors; who matches whom is in every run."""
    heard = {EARS: 0.02, WEAK: 0.4, OWN: 0.02, ANCESTOR: 0.02}
    wers = [{"system": key, "task": "topic", "wer": wer} for key, wer in heard.items()]
    known = {"accuracy": wers, "agreement": [pair(*two, "trivia") for two in MATCHES]}
    merged = {name: known.get(name, []) + tables.get(name, []) for name in known | tables}
    frames = {name: frame(name, rows) for name, rows in merged.items()}
    return kind(frames, KINDS, seed=0)


def drawn(value: float, half: float = 0.05, n: int = 100, name: str = "") -> Resampled:
    """Return a figure with an interval of this half width; those of one name rise and fall together."""
    order = np.random.default_rng(zlib.crc32(name.encode())).permutation(len(_NORMAL))
    return Resampled.of(value, value + half * _NORMAL[order], n)


@dataclass(frozen=True)
class Given(Measured):
    """A run whose figures are given: kappas, leads and overlaps by systems and task, arms by task."""

    kappas: dict[tuple[str, str, str], Resampled] = field(default_factory=dict)
    leads: dict[tuple[str, str, str], Resampled] = field(default_factory=dict)
    overlaps: dict[tuple[str, str, str], Overlap] = field(default_factory=dict)
    heard: tuple[Resampled, Resampled, int] | None = None
    right: dict[tuple[str, str], Resampled] = field(default_factory=dict)
    layers: dict[str, dict[int, tuple[Resampled, Resampled]]] = field(default_factory=dict)
    texts: dict[str, tuple[int, Resampled]] = field(default_factory=dict)
    known_tasks: tuple[str, ...] = ("topic",)

    def tasks(self, wanted: Callable[[str], bool]) -> list[str]:
        return sorted(filter(wanted, self.known_tasks))

    def kappa(self, one: str, other: str, task: str) -> Resampled | None:
        return self.kappas.get((one, other, task)) or self.kappas.get((other, one, task))

    def accuracy_lead(self, one: str, other: str, task: str) -> tuple[Resampled, str] | None:
        found = self.leads.get((one, other, task))
        return (found, "") if found else None

    def overlap(self, one: str, other: str, task: str) -> Overlap | None:
        return self.overlaps.get((one, other, task))

    def mismatched(self, pairing: Pairing) -> list[str]:
        return [OWN] if pairing.speech == FROZEN else []

    def heard_rightly(self, pairing: Pairing, task: str) -> tuple[Resampled, Resampled, int] | None:
        return self.heard

    def erased_tasks(self, system: str) -> list[str]:
        return list(self.known_tasks) if system == FROZEN else []

    def arms(self, system: str, task: str, *wanted: tuple[str, str], column: str = "correct") -> Any:
        found = [self.right.get(one) for one in wanted]
        return None if None in found else found

    def lens(self, system: str) -> dict[int, tuple[Resampled, Resampled]]:
        return self.layers.get(system, {})

    def implicit(self, system: str) -> dict[str, tuple[int, Resampled]]:
        return self.texts if system == FROZEN else {}


def given(**figures: Any) -> Given:
    run = run_of()
    return Given(run.tables, run.kinds, 0, **figures)

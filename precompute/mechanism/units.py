"""Portions of the measurements of mechanism; they travel and fail as the units of behaviour do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from engine.request import Question
from engine.voice import Recipe
from precompute.ledger import LedgerRow
from precompute.units import Load, Outcome

Stage = Literal["pitch", "lens", "erase", "probe", "damage"]
INPUT = -1  # stands for a layer: what the model is given, log-mel features


@dataclass(frozen=True)
class ClipJob:
    """One measurement of one clip.

    Attributes:
        setting: name of a setting of the erasure grid, "" elsewhere.
    """

    key: str
    recipe: Recipe
    question: Question
    gold: str
    aliases: tuple[str, ...]
    setting: str = ""


@dataclass(frozen=True)
class LayerJob:
    """One measurement of one layer over all probe clips."""

    key: str
    layer: int


@dataclass(frozen=True)
class ProbeClip:
    """A clip that probes are fitted or scored on.

    Attributes:
        fold: of its sentence and of its voice, which are the same.
        sex: of the voice.
        emotion: label of the way it is said, "" for a sentence that has none.
        pitch_hz: every 20 ms, 0 where nothing is voiced; empty until it is measured.
    """

    recipe: Recipe
    fold: int
    sex: str
    emotion: str
    pitch_hz: tuple[float, ...] = ()


@dataclass(frozen=True)
class MechanismUnit:
    """Measurements of one stage and one system.

    Attributes:
        who: the system, or the transcriber whose encoder is the control; "" for pitch.
        clips: what probes are fitted on, for the stages that need it.
    """

    stage: Stage
    who: str
    jobs: tuple[ClipJob | LayerJob, ...]
    models: Path
    clips: tuple[ProbeClip, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all rows that it yields."""
        return tuple(job.key for job in self.jobs)

    def alone(self) -> Sequence[MechanismUnit]:
        """Return one unit for each key."""
        return [replace(self, jobs=(job,)) for job in self.jobs]

    def by_load(self) -> Mapping[Load, MechanismUnit]:
        """Return itself: it needs one model, or none."""
        return {Load(self.who): self}

    def failed(self, reason: str) -> Outcome:
        """Return rows that say that it failed."""
        return Outcome(
            tuple(
                LedgerRow(job.key, self.stage, self.who, status="failed", reason=reason) for job in self.jobs
            )
        )

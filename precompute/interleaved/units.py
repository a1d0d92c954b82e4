"""Portions of the measurements of interleaved models; they travel and fail as the units of behaviour do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from engine.voice import Recipe
from precompute.ledger import LedgerRow
from precompute.units import Load, Outcome

FOLDER, RECORD = "interleaved", "interleaved.json"
Stage = Literal["phases", "knowledge", "erase_word", "patch_word"]


@dataclass(frozen=True)
class Checkpoint:
    """One model at one step of its training.

    Attributes:
        model: its key in the tables.
        initialisation, data: as in `engine.columns`.
        step: of the training.
        folder: of its weights, for a unit model; None for a speech LLM of the catalogue, whose key is `model`.
    """

    model: str
    initialisation: str
    data: str
    step: int
    folder: Path | None

    @property
    def name(self) -> str:
        """Return it in a word, for the ledger."""
        return f"{self.model}/{self.step}"


@dataclass(frozen=True)
class ClipJob:
    """One clip to be read, or to be read with its word erased.

    Attributes:
        other: words of the clip that is its control.
    """

    key: str
    recipe: Recipe
    other: tuple[str, ...]


@dataclass(frozen=True)
class FactJob:
    """One fact to be scored; `erased` asks for every arm of the erasure."""

    key: str
    fact: str
    erased: bool = False


@dataclass(frozen=True)
class Word:
    """One word of a clip, by its place."""

    recipe: Recipe
    place: int

    @property
    def text(self) -> str:
        return self.recipe.text.split()[self.place]

    @property
    def following(self) -> str:
        """Return the word after it."""
        return self.recipe.text.split()[self.place + 1]


@dataclass(frozen=True)
class PatchJob:
    """One word whose states are replaced, by those of each donor in turn.

    Attributes:
        donors: arm -> the word that is put in; "patched" is the one whose next word is looked for.
    """

    key: str
    recipient: Word
    donors: tuple[tuple[str, Word], ...]


Job = ClipJob | FactJob | PatchJob


@dataclass(frozen=True)
class Phases:
    """Where a model's phases lie, for the interventions.

    Attributes:
        first: layers of the first phase, where the word is erased.
        current: layer of the highest R of the current word, where words are replaced.
        following: layer of the highest R of the next word, where it is read.
    """

    first: tuple[int, ...]
    current: int
    following: int


@dataclass(frozen=True)
class InterleavedUnit:
    """Measurements of one stage and one checkpoint.

    Attributes:
        phases: for the interventions.
        fit: clips that the eraser is fitted on.
    """

    stage: Stage
    checkpoint: Checkpoint
    jobs: tuple[Job, ...]
    models: Path
    phases: Phases | None = None
    fit: tuple[Recipe, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all rows that it yields."""
        return tuple(job.key for job in self.jobs)

    def alone(self) -> Sequence[InterleavedUnit]:
        """Return one unit for each key."""
        return [replace(self, jobs=(job,)) for job in self.jobs]

    def by_load(self) -> Mapping[Load, InterleavedUnit]:
        """Return itself: it needs one model."""
        return {Load(self.checkpoint.name): self}

    def failed(self, reason: str) -> Outcome:
        """Return rows that say that it failed."""
        who = self.checkpoint.name
        return Outcome(
            tuple(LedgerRow(job.key, self.stage, who, status="failed", reason=reason) for job in self.jobs)
        )

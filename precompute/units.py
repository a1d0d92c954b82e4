"""Portions of work that travel to a process whole, and what comes back.

A unit is done or not done as a whole. It knows the keys of its results, how to fall apart into units of one
result each, and what to write down for a result that failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from engine.request import Question
from engine.systems.catalogue import is_service
from engine.systems.profiles import USUAL, WhisperSettings
from engine.voice import Recipe
from precompute.ledger import LedgerRow

ListenStage = Literal["render", "transcribe", "listen"]


@dataclass(frozen=True)
class Outcome:
    """What a unit yields.

    Attributes:
        rows: one for each key of the unit.
        findings: system -> whether its batches equal its singles on this machine, in words.
    """

    rows: tuple[LedgerRow, ...]
    findings: Mapping[str, str] = field(default_factory=dict)


class Load(NamedTuple):
    """What a process has loaded for a unit: on a cluster, units of one load go to the same processes.

    Attributes:
        model: a system, a transcriber or a text LLM's folder; "" where no model is needed.
        use: what tells two loads of one name apart: a text LLM may lie in a speech LLM's folder.
    """

    model: str
    use: str = ""


def reader_name(backbone: str) -> str:
    """Return what a text LLM is called in findings: a speech LLM may lie in the same folder."""
    return f"{backbone}, reading"


class Unit(Protocol):
    """A portion of work."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all rows that it yields."""
        ...

    def alone(self) -> Sequence[Unit]:
        """Return one unit for each key."""
        ...

    def by_load(self) -> Mapping[Load, Unit]:
        """Return its work in parts that each need one model; a process that has several does it whole."""
        ...

    def failed(self, reason: str) -> Outcome:
        """Return rows that say that it failed."""
        ...


@dataclass(frozen=True)
class Need:
    """One result wanted of a clip: its sound's facts, a transcript by `who`, or an answer of system `who`."""

    key: str
    stage: ListenStage
    who: str = ""


@dataclass(frozen=True)
class ClipWork:
    """A clip and all that is wanted of it: it is rendered once for all."""

    recipe: Recipe
    question: Question
    needs: tuple[Need, ...]


def split_off_requests(works: Sequence[ClipWork]) -> tuple[tuple[ClipWork, ...], list[ClipWork]]:
    """Return what is done here of these clips, and a work for each request to a service."""
    kept = (replace(work, needs=tuple(n for n in work.needs if not is_service(n.who))) for work in works)
    requests = [replace(work, needs=(need,)) for work in works for need in work.needs if is_service(need.who)]
    return tuple(work for work in kept if work.needs), requests


@dataclass(frozen=True)
class ListenUnit:
    """Work on the sound of some clips.

    Attributes:
        folder: of the clips' recordings.
        models: folder of the models.
        musan: folder of MUSAN, where its babble is wanted.
        hearing: how published transcribers are run: the keys hold it, so the unit brings it to whatever process.
    """

    works: tuple[ClipWork, ...]
    folder: Path
    models: Path
    musan: Path | None = None
    hearing: WhisperSettings = USUAL

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all rows that it yields."""
        return tuple(need.key for work in self.works for need in work.needs)

    def alone(self) -> Sequence[ListenUnit]:
        """Return one unit for each key."""
        return [
            replace(self, works=(replace(work, needs=(need,)),)) for work in self.works for need in work.needs
        ]

    def by_load(self) -> Mapping[Load, ListenUnit]:
        """Return a part for each model: each renders the clips anew, and the first keeps their sound's facts."""
        loads = dict.fromkeys(_load(need) for work in self.works for need in work.needs if need.who)
        first, *others = loads or [Load("")]
        return {first: self._part({first, Load("")}), **{load: self._part({load}) for load in others}}

    def _part(self, loads: set[Load]) -> ListenUnit:
        kept = [
            replace(work, needs=tuple(need for need in work.needs if _load(need) in loads))
            for work in self.works
        ]
        return replace(self, works=tuple(work for work in kept if work.needs))

    def failed(self, reason: str) -> Outcome:
        """Return rows that say that it failed."""
        needs = [need for work in self.works for need in work.needs]
        return Outcome(tuple(LedgerRow(n.key, n.stage, n.who, status="failed", reason=reason) for n in needs))


def _load(need: Need) -> Load:
    return Load(need.who, "transcribe" if need.stage == "transcribe" else "")


@dataclass(frozen=True)
class Prompt:
    """A text and a question about it."""

    key: str
    heard: str
    question: Question


@dataclass(frozen=True)
class ReadUnit:
    """Prompts for one text LLM.

    Attributes:
        via: a system that has this text LLM, for loading.
        backbone: the text LLM's folder.
    """

    via: str
    backbone: str
    prompts: tuple[Prompt, ...]
    models: Path

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all rows that it yields."""
        return tuple(prompt.key for prompt in self.prompts)

    def alone(self) -> Sequence[ReadUnit]:
        """Return one unit for each key."""
        return [replace(self, prompts=(prompt,)) for prompt in self.prompts]

    def by_load(self) -> Mapping[Load, ReadUnit]:
        """Return itself: it needs one text LLM, which is a service where it has no folder."""
        return {Load(self.backbone or self.via, "read"): self}

    def failed(self, reason: str) -> Outcome:
        """Return rows that say that it failed."""
        return Outcome(
            tuple(
                LedgerRow(p.key, "read", self.backbone, status="failed", reason=reason) for p in self.prompts
            )
        )


@dataclass(frozen=True)
class MemoryUnit:
    """The most memory that a system holds while it answers, measured in a process of its own."""

    key: str
    system: str
    models: Path

    @property
    def keys(self) -> tuple[str, ...]:
        """Its one key."""
        return (self.key,)

    def alone(self) -> Sequence[MemoryUnit]:
        """Return itself."""
        return [self]

    def by_load(self) -> Mapping[Load, MemoryUnit]:
        """Return itself: the process that it starts loads the system beside whatever else is loaded."""
        return {Load(self.system, "memory"): self}

    def failed(self, reason: str) -> Outcome:
        """Return a row that says that it failed."""
        return Outcome((LedgerRow(self.key, "memory", self.system, status="failed", reason=reason),))

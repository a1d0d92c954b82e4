"""One model of work for answers, internals and interleaved models: what is wanted, how it travels, what comes back.

A job is one result that is wanted of one model. A batch of them travels to a process whole and is done or not done
as a whole; it knows how to fall apart into single jobs, and what to write down for a job that failed. `STAGES` is the
list of what runs in which order; what a stage names is imported when it is first needed.
"""

from __future__ import annotations

import importlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from engine.systems.catalogue import is_service
from engine.systems.loading import using
from precompute.store import ResultRow, Store

Thing = TypeVar("Thing")
# Kind of job -> the function that does a batch of them; its libraries are loaded with the first one.
WORK = {
    **dict.fromkeys(("render", "transcribe", "listen", "read", "memory"), "precompute.measure_answers"),
    **dict.fromkeys(("pitch", "lens", "erase", "probe", "damage"), "precompute.measure_mechanism"),
    **dict.fromkeys(("phases", "knowledge", "erase_word", "patch_word"), "precompute.measure_interleaved"),
}
PERFORM = "precompute.jobs:perform"
ANSWERS = "answers.parquet"
# Set when a run is stopped: whoever waits for a service gives up.
STOPPED = threading.Event()
OWN_PROCESSES = ("transcribe", "read", "memory")  # kinds that load a model as another kind does not


class ModelKey(NamedTuple):
    """What a process has loaded: on a cluster, batches of one key go to the same processes.

    Attributes:
        model: a system, a transcriber, a text LLM's folder or a checkpoint; "" where none is needed.
        use: what tells two loads of one name apart: a text LLM may lie in a speech LLM's folder.
    """

    model: str
    use: str = ""


@dataclass(frozen=True)
class Job:
    """One result that is wanted.

    Attributes:
        kind: a key of `WORK`; the stage of its row.
        key: sha256 of the result, see `precompute.keys`.
        model: who gives it; the row's `who`. "" where no model is needed.
        payload: what it is about, such as a clip and a question.
    """

    kind: str
    key: str
    model: str
    payload: Any = None

    def row(self, **values: Any) -> ResultRow:
        """Return its row."""
        return ResultRow(self.key, self.kind, self.model, **values)


@dataclass(frozen=True)
class Outcome:
    """What a batch yields.

    Attributes:
        rows: one for each of its jobs.
        findings: system -> whether its batches equal its singles on this machine, in words.
    """

    rows: tuple[ResultRow, ...]
    findings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Jobs of one kind and one model.

    Attributes:
        shared: what all of them need beside their payloads, such as the folder of the models.
    """

    jobs: tuple[Job, ...]
    shared: Any = None

    @property
    def kind(self) -> str:
        """Kind of its jobs."""
        return self.jobs[0].kind

    @property
    def model(self) -> str:
        """Who gives its results."""
        return self.jobs[0].model

    @property
    def model_key(self) -> ModelKey:
        """What a process must have loaded for it."""
        return ModelKey(self.model, self.kind if self.kind in OWN_PROCESSES else "")

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all rows that it yields."""
        return tuple(job.key for job in self.jobs)

    @property
    def is_request(self) -> bool:
        """Whether it is for a service behind a network."""
        return is_service(self.model)

    def alone(self) -> list[Batch]:
        """Return one batch for each job."""
        return [replace(self, jobs=(job,)) for job in self.jobs]

    def failed(self, reason: str) -> Outcome:
        """Return rows that say that its jobs failed."""
        return Outcome(tuple(job.row(status="failed", reason=reason) for job in self.jobs))


def batches_of(jobs: Iterable[Job], store: Store, size: int, shared: Any = None) -> list[Batch]:
    """Return what is not done of these jobs, each key once, in batches of one kind and one model.

    Args:
        jobs: in the order in which they shall be done.
        store: what is done.
        size: jobs to a batch at most.
        shared: see `Batch`.
    """
    left: dict[tuple[str, str], dict[str, Job]] = {}
    for job in jobs:
        if not store.is_done(job.key):
            left.setdefault((job.kind, job.model), {}).setdefault(job.key, job)
    return [Batch(part, shared) for wanted in left.values() for part in portions(list(wanted.values()), size)]


def portions(things: Sequence[Thing], size: int) -> list[tuple[Thing, ...]]:
    """Return the things in their order, `size` at a time."""
    return [tuple(things[start : start + size]) for start in range(0, len(things), size)]


def named(name: str) -> Any:
    """Return what "package.module:attribute" names; its module is imported now."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


class RunPlan(Protocol):
    """What a run of any kind is to make.

    Attributes:
        kind: a key of `STAGES`.
        notes: what a reader should know before it runs, one sentence each.
    """

    kind: ClassVar[str]

    @property
    def behaviour(self) -> Any:
        """The plan of answers to its clips."""
        ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    def table(self, store: Store) -> list[str]:
        """Return what is wanted and done, line by line; [] where one sentence tells it."""
        ...

    def headline(self) -> str:
        """Return what is wanted, in one sentence."""
        ...

    def later(self, store: Store) -> Mapping[tuple[str, str], int]:
        """Return about how many jobs, by kind and model, will be known when others are done."""
        ...


@dataclass(frozen=True)
class Stage:
    """One step of a run; it begins when the one before is done, whose results its jobs may come from.

    Attributes:
        name: as progress names it.
        batches: "package.module:function" that returns what is not done of a plan; what does the jobs is in
            `WORK`.
        of_answers: whether it is of the plan of answers to the run's clips.
        unless_answered: leave it out in a folder that has answers: they are another run's.
    """

    name: str
    batches: str
    of_answers: bool = False
    unless_answered: bool = False

    def batches_of(self, plan: RunPlan, store: Store) -> list[Batch]:
        """Return what is not done of it."""
        batches: list[Batch] = named(self.batches)(plan.behaviour if self.of_answers else plan, store)
        return batches


ANSWERING = (
    Stage("clips heard", "precompute.plan:listen_batches", of_answers=True),
    Stage("prompts answered", "precompute.plan:read_batches", of_answers=True),
    Stage("memory measured", "precompute.plan:memory_batches", of_answers=True),
)
# Without a run of answers in the folder those to the clips at hand are one: summarize and the page need it.
IF_UNANSWERED = tuple(replace(stage, unless_answered=True) for stage in ANSWERING)
STAGES: Mapping[str, tuple[Stage, ...]] = {
    "behaviour": ANSWERING,
    "mechanism": (
        *ANSWERING[:2],
        Stage("clips read layer by layer", "precompute.mechanism.plan:lens_batches"),
        Stage("layers' texts answered", "precompute.mechanism.plan:sufficiency_batches"),
        Stage("clips erased", "precompute.mechanism.plan:erase_batches"),
        Stage("pitch tracked", "precompute.mechanism.plan:pitch_batches"),
        Stage("layers probed", "precompute.mechanism.plan:probe_batches"),
        Stage("layers damaged", "precompute.mechanism.plan:damage_batches"),
        IF_UNANSWERED[2],
    ),
    "interleaved": (
        Stage("clips read layer by layer", "precompute.interleaved.plan:phase_batches"),
        Stage("facts scored", "precompute.interleaved.plan:knowledge_batches"),
        Stage("words erased", "precompute.interleaved.plan:erase_batches"),
        Stage("words patched", "precompute.interleaved.plan:patch_batches"),
        *IF_UNANSWERED,
    ),
}
PLANS = {
    "behaviour": "precompute.plan:make_plan",
    "mechanism": "precompute.mechanism.plan:make_mechanism_plan",
    "interleaved": "precompute.interleaved.plan:make_interleaved_plan",
}
EXPORTS = {
    "mechanism": "precompute.mechanism.clip_tables:write_clip_tables",
    "interleaved": "precompute.interleaved.clip_tables:write_interleaved_clips",
}


def stages_of(plan: RunPlan, store: Store) -> list[Stage]:
    """Return the stages that a run of this plan in this folder has."""
    is_answered = (store.folder / ANSWERS).exists()
    return [stage for stage in STAGES[plan.kind] if not (stage.unless_answered and is_answered)]


@using()
def perform(batch: Batch) -> Outcome:
    """Return the batch's rows; raises whatever its work raises. Executors name it, workers import it."""
    outcome: Outcome = named(f"{WORK[batch.kind]}:do_{batch.kind}")(batch)
    return outcome


def measured(batch: Batch, measure: Callable[[Job], Any]) -> Outcome:
    """Return a row for each job with what `measure` returns of it as JSON, and the seconds that it took."""
    rows = []
    for job in batch.jobs:
        began = time.perf_counter()
        text = json.dumps(measure(job))
        rows.append(job.row(text=text, seconds=time.perf_counter() - began))
    return Outcome(tuple(rows))

"""The instrument checks itself: every system that is here, by the checks that apply to it.

`python -m engine.check --all` and the page's button both call `check_all`. A system that reads is asked about
the words of shipped clips, one that hears about seeded sounds; only a speech LLM has erasers to check.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.audio import load_clip
from engine.batching import check_batches
from engine.check import PROBE_INSTRUCTION, Finding, check_adapter, probe_clip
from engine.eraser_check import check_erasers
from engine.errors import ModelFilesError
from engine.examples import EXAMPLES
from engine.systems.base import Heard, SpeechLLM, WhiteBoxModel, WhiteBoxSystem
from engine.systems.catalogue import MODELS, PAIRS, SystemKind, get_spec, systems
from engine.systems.registry import load_cascade, load_speech_llm, load_text_llm
from engine.systems.residency import using
from engine.systems.text_llm import TextLLM

READ_ALOUD = ("the team won the game", "the market fell today after the bank raised its rates")

Progress = Callable[[float, str], None]


UNAVAILABLE_HERE = "a service answers in its place: what it does inside cannot be checked from here"


@dataclass(frozen=True)
class Checked:
    """What was found for one system.

    Attributes:
        key, name: of the system.
        findings: in the order in which they were made; none where the system is not here.
        notes: what was not checked, and why.
    """

    key: str
    name: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(finding.passed for finding in self.findings)


def check_all(progress: Progress | None = None, models: Path = MODELS) -> tuple[Checked, ...]:
    """Check every system of the catalogue; those without weights are named with the reason.

    Args:
        progress: called with a share of 1 and what is being done.
        models: folder of the models.
    """
    report = progress or (lambda share, what: None)
    rows = systems(models)
    checked = []
    for index, row in enumerate(rows):
        if row.status != "ready":
            checked.append(Checked(row.key, row.name, (), (row.reason,)))
            continue
        report(index / len(rows), f"checking {row.name}")
        checked.append(check_system(row.key, models))
    report(1.0, "done")
    return tuple(checked)


@using()
def check_system(key: str, models: Path = MODELS) -> Checked:
    """Return what was found for one system.

    Raises:
        UnknownKeyError: there is no such system.
    """
    spec = get_spec(key)
    if spec.is_remote:
        return Checked(key, spec.name, (), (UNAVAILABLE_HERE,))
    loaded = _load_or_finding(key, models)
    if isinstance(loaded, Finding):
        return Checked(key, spec.name, (loaded,))
    system, heard = loaded
    findings = [*check_adapter(system, heard), _padded(system, heard)]
    if "erasure" not in spec.capabilities:
        return Checked(key, spec.name, tuple(findings))
    pair = next((pair.key for pair in PAIRS.values() if pair.speech_llm == key), "")
    if not pair:
        return Checked(key, spec.name, tuple(findings), ("it is in no pair, so no eraser was checked",))
    erasers = check_erasers(system, system.prepare(heard[0], PROBE_INSTRUCTION), pair, models)
    notes = () if erasers else ("no eraser is fitted for it, so none was checked",)
    return Checked(key, spec.name, (*findings, *erasers), notes)


def sentence_of(checked: Sequence[Checked]) -> str:
    """Return the outcome as one sentence, which names the first failure."""
    made = [(one, finding) for one in checked for finding in one.findings]
    failed = [(one, finding) for one, finding in made if not finding.passed]
    n_systems = sum(bool(one.findings) for one in checked)
    tried = f"{len(made)} checks of {n_systems} system{'' if n_systems == 1 else 's'}"
    if not made:
        return "No system is here, so nothing was checked."
    if not failed:
        return f"All {tried} pass."
    one, finding = failed[0]
    return (
        f"{len(failed)} of {tried} failed, first for {one.name}: {finding.name} "
        f"({finding.measured}; must be {finding.bound})."
    )


def _load_or_finding(key: str, models: Path) -> tuple[WhiteBoxSystem | TextLLM, list[Heard]] | Finding:
    """Return a system with two things that it heard, or what is missing before anything can be checked."""
    try:
        system = _load(key, models)
    except ModelFilesError as error:
        lacking = next(row.reason for row in systems(models) if row.key == key)
        return Finding("its weights load", lacking or str(error), 1, 0)
    except Exception as error:  # an adapter that is being written may fail in any way
        return Finding("its adapter loads", _first_line(error), 1, 0)
    if missing := missing_members(system, get_spec(key).kind):
        return Finding("it fills the protocol", f"it lacks {', '.join(missing)}", len(missing), 0)
    try:
        heard = _two_heard(system)
        for one in heard:
            system.prepare(one, PROBE_INSTRUCTION).embeddings.shape  # noqa: B018 - that it is there
    except Exception as error:
        return Finding("it hears and prepares", _first_line(error), 1, 0)
    return system, heard


def missing_members(system: object, kind: SystemKind) -> tuple[str, ...]:
    """Return the members of its kind's protocol that a loaded system lacks, in order."""
    protocol = {"speech_llm": SpeechLLM, "cascade": WhiteBoxSystem, "text_llm": WhiteBoxModel}[kind]
    members: dict[str, None] = {}
    for part in reversed(protocol.__mro__):
        names = (*inspect.get_annotations(part), *vars(part))
        members |= {name: None for name in names if not name.startswith("_")}
    return tuple(name for name in members if not hasattr(system, name))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"


def _load(key: str, models: Path) -> WhiteBoxSystem | TextLLM:
    kind = get_spec(key).kind
    if kind == "text_llm":
        return load_text_llm(key, models)
    return load_speech_llm(key, models) if kind == "speech_llm" else load_cascade(key, models)


def _two_heard(system: WhiteBoxSystem | TextLLM) -> list[Heard]:
    """Return two things of different length to ask about; words must have been said where words are needed."""
    if isinstance(system, TextLLM):
        return [system.hear_text(text) for text in READ_ALOUD]
    if system.spec.kind == "cascade" and len(EXAMPLES) > 1:
        return [system.hear(load_clip(example.file)) for example in EXAMPLES[:2]]
    return [system.hear(probe_clip()), system.hear(probe_clip(3.1))]


def _padded(system: WhiteBoxSystem | TextLLM, heard: Sequence[Heard]) -> Finding:
    """Prompts of different lengths in one padded batch, as the benchmark runs them, against one by one."""
    found = check_batches(system, heard)
    # Another answer is a fault whatever the gap of the scores.
    value = float("inf") if found.n_other_answers else found.largest_gap
    measured = f"largest difference {found.largest_gap:.1e}, {found.n_other_answers} answered differently"
    return Finding("a padded batch equals its singles", measured, value, found.tolerance)

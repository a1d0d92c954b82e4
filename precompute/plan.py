"""What a benchmark consists of: systems, clips, and the units of work that are still to be done.

Nothing is computed and no model is loaded here; `precompute.benchmark` works through the units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from engine.errors import UnknownKeyError
from engine.systems.catalogue import (
    FASTER_WHISPERS,
    MINI_SYSTEMS,
    SYSTEMS,
    SystemSpec,
    backbone_of,
    get_spec,
    is_service,
    systems,
)
from engine.systems.profiles import USUAL, WhisperSettings, read_profile
from engine.systems.weights import STANDS_ON, folder_of
from precompute import keys
from precompute.clips import Clip, recorded_clips
from precompute.corpora.folder import open_corpora, require
from precompute.corpora.manifest import read_manifest
from precompute.corpora.mini_world import TASKS
from precompute.corpora_clips import clips_of_corpora, musan_place
from precompute.ledger import Ledger, LedgerRow
from precompute.mini_clips import FESTIVAL, mini_clips
from precompute.settings import (
    Settings,
    asks_corpora,
    checked_limit,
    chosen_tasks,
    corpora_keys,
    items_a_corpus,
)
from precompute.units import ClipWork, ListenUnit, MemoryUnit, Need, Prompt, ReadUnit, split_off_requests

__all__ = [
    "Plan",
    "Settings",
    "fingerprint_of_service",
    "listen_units",
    "make_plan",
    "memory_units",
    "read_units",
    "ready_systems",
    "wanted_prompts",
]

# What a kill may cost, and how long progress stands still: seconds of the minis' work, a minute of real models'.
CLIPS_IN_UNIT, LARGE_CLIPS_IN_UNIT = 32, 2
PROMPTS_IN_UNIT, LARGE_PROMPTS_IN_UNIT = 128, 16
REQUESTS_IN_UNIT = 1  # of a service: each reply is paid for, and a kill may cost one

_Thing = TypeVar("_Thing")


@dataclass(frozen=True)
class Plan:
    """What is to be in the tables.

    Attributes:
        notes: what a reader should know before it runs, one sentence each.
        folders: task -> where its recordings lie; a task that is spoken here has none.
        musan: folder of MUSAN, where its babble is wanted.
        hearing: how published transcribers are run.
    """

    settings: Settings
    systems: tuple[SystemSpec, ...]
    clips: tuple[Clip, ...]
    notes: tuple[str, ...]
    folders: Mapping[str, Path]
    musan: Path | None = None
    hearing: WhisperSettings = USUAL

    def cells(self) -> Iterator[tuple[SystemSpec, Clip]]:
        """Yield every row of the answers: a system and a clip. An oracle needs the true words."""
        for spec in self.systems:
            for clip in self.clips:
                if spec.kind != "text_llm" or clip.item.text:
                    yield spec, clip

    def folder_of_task(self, task: str) -> Path:
        """Return what the recordings of a task are relative to."""
        return self.folders.get(task, Path())

    def backbone(self, spec: SystemSpec) -> str:
        """Return the folder of the text LLM that a system's config names; "" where a service answers."""
        return _backbone(spec.key, self.settings.models)

    def reader(self, spec: SystemSpec) -> str:
        """Return who reads: the folder of a text LLM, or the key of the row of the service that does."""
        return _service_reader(spec) if spec.is_remote else self.backbone(spec)

    def listen_key(self, spec: SystemSpec, clip: Clip) -> str:
        """Return the key of a speech LLM's answer."""
        return keys.listen_key(clip.recipe, clip.item.question, self.weights_of(spec))

    def transcribe_key(self, spec: SystemSpec, clip: Clip) -> str:
        """Return the key of a cascade's transcript."""
        assert spec.transcriber is not None
        told = (self.hearing.words,) if spec.transcriber in FASTER_WHISPERS else ()
        return keys.transcribe_key(clip.recipe, folder_of(spec.transcriber, self.settings.models), *told)

    def read_key(self, spec: SystemSpec, clip: Clip, heard: str) -> str:
        """Return the key of a text LLM's answer."""
        if spec.is_remote:
            return keys.read_key(heard, clip.item.question, fingerprint_of_service(self.reader(spec)))
        return keys.read_key(heard, clip.item.question, folder_of(self.backbone(spec), self.settings.models))

    def folders_of(self, spec: SystemSpec) -> tuple[Path, ...]:
        """Return the model folders that a system is made of; a service's own are not here."""
        backbone = self.backbone(spec)
        names = (spec.folder, spec.transcriber, backbone, STANDS_ON.get(backbone), spec.audio_base)
        return tuple(folder_of(name, self.settings.models) for name in dict.fromkeys(names) if name)

    def weights_of(self, spec: SystemSpec) -> tuple[keys.Weights, ...]:
        """Return what tells a system from another: folders, a bridge's temperature, a service's fingerprint."""
        if not spec.is_remote:
            setting = () if spec.temperature is None else (f"temperature {spec.temperature:g}",)
            return (*self.folders_of(spec), *setting)
        asked = spec.key if spec.kind == "speech_llm" else self.reader(spec)
        return (*self.folders_of(spec), fingerprint_of_service(asked))

    def heard(self, spec: SystemSpec, clip: Clip, ledger: Ledger) -> LedgerRow | str | None:
        """Return what a text LLM is given: the words, the row of a failed transcript, or None: not done yet."""
        if spec.kind == "text_llm":
            return clip.item.text
        row = ledger.rows.get(self.transcribe_key(spec, clip))
        return row if row is None or row.failed else row.text


@cache
def _backbone(key: str, models: Path) -> str:
    return backbone_of(get_spec(key), models)


def fingerprint_of_service(key: str) -> str:
    """Return what stands for the weights of a system that a service answers for.

    Raises:
        ServiceError: its address, model or key is not set.
    """
    from engine.systems.loading import load_behaviour

    return load_behaviour(key).fingerprint


def _service_reader(spec: SystemSpec) -> str:
    """Return the key of the text LLM that a cascade's or an oracle's service is asked as."""
    return next(
        row.key
        for row in SYSTEMS.values()
        if row.kind == "text_llm" and (row.service, row.variables) == (spec.service, spec.variables)
    )


def make_plan(settings: Settings) -> Plan:
    """Return the plan.

    Raises:
        UnknownKeyError: a profile, system or task that does not exist here.
        ManifestError: the own corpus cannot be used.
    """
    limit = checked_limit(settings)
    chosen, notes = ready_systems(settings)
    clips: list[Clip] = []
    folders: dict[str, Path] = {}
    musan = None
    if settings.corpus:
        corpus = read_manifest(settings.corpus)
        folders[corpus.task] = corpus.folder
        clips += recorded_clips(corpus.items[:limit])
        if not all(item.text for item in corpus.items):
            notes.append("Clips without a transcript are not asked of the text oracle.")
    if asks_corpora(settings):
        asked = corpora_keys(settings)
        opened = open_corpora(settings.corpora, asked, items_a_corpus(settings))
        require(opened, asked if settings.tasks or not opened.samples else ())
        notes += opened.missing.values()
        made = clips_of_corpora(opened, settings.speech, quick=settings.quick)
        clips += made.clips
        folders |= made.folders
        notes += made.notes
        musan = musan_place(opened)
    elif settings.tasks or not settings.corpus:
        for task in chosen_tasks(settings.tasks, TASKS):
            clips += mini_clips(task, limit, quick=settings.quick, notes=notes)
        notes.append(FESTIVAL)
    # Renderings that are equal in all respects are one clip.
    unique = {clip.clip_id: clip for clip in clips}
    hearing = read_profile(settings.profile).hearing
    return Plan(settings, chosen, tuple(unique.values()), tuple(notes), folders, musan, hearing)


def ready_systems(settings: Settings) -> tuple[tuple[SystemSpec, ...], list[str]]:
    """Return the systems that run, and a sentence for each of the profile's that cannot.

    Raises:
        UnknownKeyError: a named one does not exist or cannot run here, or none can.
    """
    state = {info.key: info for info in systems(settings.models)}
    for key in settings.systems:
        get_spec(key)
        if state[key].status != "ready":
            raise UnknownKeyError(f"{key} cannot run here: {state[key].reason}.")
    wanted = settings.systems or read_profile(settings.profile).systems
    ready = [key for key in SYSTEMS if key in wanted and state[key].status == "ready"]
    notes = [f"{key} is left out: {state[key].reason}." for key in wanted if key not in ready]
    if not ready:
        raise UnknownKeyError("There is no system to run: the models' weights are missing.")
    return tuple(map(get_spec, ready)), notes


def listen_units(plan: Plan, ledger: Ledger) -> list[ListenUnit]:
    """Return the work on sound that is not done.

    Every clip is in one unit, with all that is wanted of it here, and in one more for each service that hears it.
    """
    works = [(clip.item.task, work) for clip in plan.clips if (work := _clip_work(plan, clip, ledger)).needs]
    units: list[ListenUnit] = []
    size = in_unit(plan.systems, CLIPS_IN_UNIT, LARGE_CLIPS_IN_UNIT)
    # A unit keeps to one task: its questions have as many labels, and its batches fill up well.
    for task, group in groupby(works, key=lambda one: one[0]):
        folder = plan.folder_of_task(task)
        for part in _portions([work for _, work in group], size):
            here, requests = split_off_requests(part)
            # Requests follow the clips that they are about: the pace, which tells what is left, stays even.
            for wanted in (here, *_portions(requests, REQUESTS_IN_UNIT)):
                if wanted:
                    units.append(ListenUnit(wanted, folder, plan.settings.models, plan.musan, plan.hearing))
    return units


def in_unit(systems: Sequence[SystemSpec], small: int, large: int) -> int:
    """Return how much a unit of work holds: `small` where the minis alone work on it here, else `large`."""
    return small if all(spec.key in MINI_SYSTEMS or spec.is_remote for spec in systems) else large


def _portions(things: Sequence[_Thing], size: int) -> list[tuple[_Thing, ...]]:
    return [tuple(things[start : start + size]) for start in range(0, len(things), size)]


def _clip_work(plan: Plan, clip: Clip, ledger: Ledger) -> ClipWork:
    needs = [Need(keys.render_key(clip.recipe), "render")]
    for spec in plan.systems:
        if spec.kind == "speech_llm":
            needs.append(Need(plan.listen_key(spec, clip), "listen", spec.key))
        elif spec.transcriber:
            needs.append(Need(plan.transcribe_key(spec, clip), "transcribe", spec.transcriber))
    new = tuple(need for need in dict.fromkeys(needs) if not ledger.is_done(need.key))
    return ClipWork(clip.recipe, clip.item.question, new)


def read_units(plan: Plan, ledger: Ledger) -> list[ReadUnit]:
    """Return the prompts that no text LLM has answered yet, each once; transcripts must be done before."""
    units: list[ReadUnit] = []
    for (via, backbone), prompts in wanted_prompts(plan, ledger).items():
        ordered = sorted(prompts, key=_like_length)
        size = in_unit([get_spec(via)], PROMPTS_IN_UNIT, LARGE_PROMPTS_IN_UNIT)
        for part in _portions(ordered, REQUESTS_IN_UNIT if is_service(via) else size):
            units.append(ReadUnit(via, backbone, part, plan.settings.models))
    return units


def wanted_prompts(plan: Plan, ledger: Ledger) -> dict[tuple[str, str], list[Prompt]]:
    """Return for each text LLM (a system that has it, its folder) the prompts that are known and not done."""
    via: dict[str, str] = {}
    found: dict[str, dict[str, Prompt]] = {}
    for spec, clip in plan.cells():
        if spec.kind == "speech_llm":
            continue
        heard = plan.heard(spec, clip, ledger)
        if not isinstance(heard, str):
            continue
        key = plan.read_key(spec, clip, heard)
        if not ledger.is_done(key):
            backbone = plan.reader(spec)
            # A service is asked as the row that reads for it; weights are loaded by any system that has them.
            via.setdefault(backbone, backbone if spec.is_remote else spec.key)
            found.setdefault(backbone, {}).setdefault(key, Prompt(key, heard, clip.item.question))
    return {(via[backbone], backbone): list(prompts.values()) for backbone, prompts in found.items()}


def _like_length(prompt: Prompt) -> tuple[int, int, str]:
    return len(prompt.question.labels), len(prompt.question.instruction) + len(prompt.heard), prompt.key


def memory_units(plan: Plan, ledger: Ledger) -> list[MemoryUnit]:
    """Return the systems whose memory was not measured yet; a service's is not ours to measure."""
    wanted: Sequence[tuple[str, SystemSpec]] = [
        (keys.memory_key(spec.key, plan.folders_of(spec)), spec)
        for spec in plan.systems
        if not spec.is_remote
    ]
    return [
        MemoryUnit(key, spec.key, plan.settings.models) for key, spec in wanted if not ledger.is_done(key)
    ]

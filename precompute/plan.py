"""What a benchmark consists of: systems, clips, and the units of work that are still to be done.

Nothing is computed and no model is loaded here; `precompute.benchmark` works through the units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from engine.errors import UnknownKeyError
from engine.systems.catalogue import MODELS, SYSTEMS, SystemSpec, backbone_of, get_spec, systems
from precompute import keys
from precompute.clips import FULL_NOISE, QUICK_NOISE, Clip, recorded_clips, spoken_clips
from precompute.corpora.manifest import read_manifest
from precompute.corpora.mini_world import TASKS, WORDS_TASKS, count_items, mini_items
from precompute.ledger import Ledger, LedgerRow
from precompute.mini.voices import Voice, test_voices
from precompute.units import ClipWork, ListenUnit, MemoryUnit, Need, Prompt, ReadUnit

FULL_ITEMS, QUICK_ITEMS = 300, 20
NOISY_VOICES = 2
# Unseen in every training, women and men in turn; who speaks needs as many men as women.
VOICES = ("en-us+f3", "en-us+m4", "en-gb+belinda", "en-gb-x-rp+m7")
N_VOICES = {"speaker": 4}
N_VOICES_ELSE = 3
PROFILES = ("mini",)
FESTIVAL = (
    "Voices are espeak-ng's, unseen in training. Festival is not in the plan: it is a system package that "
    "few have; python -m precompute evaluate measures it."
)

CLIPS_IN_UNIT = 32  # three seconds of work: what a kill may cost
PROMPTS_IN_UNIT = 128

_Thing = TypeVar("_Thing")


@dataclass(frozen=True)
class Settings:
    """What is asked for on the command line.

    Attributes:
        limit: items a task; None for the profile's own number.
        systems, tasks: keys; empty for all.
        corpus: manifest of an own corpus; it then stands alone unless tasks are named too.
    """

    profile: str = "mini"
    quick: bool = False
    systems: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    limit: int | None = None
    corpus: Path | None = None
    models: Path = MODELS


@dataclass(frozen=True)
class Plan:
    """What is to be in the tables.

    Attributes:
        notes: what a reader should know before it runs, one sentence each.
        folder: of the own corpus' recordings.
    """

    settings: Settings
    systems: tuple[SystemSpec, ...]
    clips: tuple[Clip, ...]
    notes: tuple[str, ...]
    folder: Path

    def cells(self) -> Iterator[tuple[SystemSpec, Clip]]:
        """Yield every row of the answers: a system and a clip. An oracle needs the true words."""
        for spec in self.systems:
            for clip in self.clips:
                if spec.kind != "text_llm" or clip.item.text:
                    yield spec, clip

    def backbone(self, spec: SystemSpec) -> str:
        """Return the folder of the text LLM that a system's config names."""
        return _backbone(spec.key, self.settings.models)

    def listen_key(self, spec: SystemSpec, clip: Clip) -> str:
        """Return the key of a speech LLM's answer."""
        return keys.listen_key(clip.recipe, clip.item.question, self.folders_of(spec))

    def transcribe_key(self, spec: SystemSpec, clip: Clip) -> str:
        """Return the key of a cascade's transcript."""
        assert spec.transcriber is not None
        return keys.transcribe_key(clip.recipe, self.settings.models / spec.transcriber)

    def read_key(self, spec: SystemSpec, clip: Clip, heard: str) -> str:
        """Return the key of a text LLM's answer."""
        return keys.read_key(heard, clip.item.question, self.settings.models / self.backbone(spec))

    def folders_of(self, spec: SystemSpec) -> tuple[Path, ...]:
        """Return the model folders that a system is made of."""
        names = (spec.folder, spec.transcriber, self.backbone(spec))
        return tuple(self.settings.models / name for name in dict.fromkeys(names) if name)

    def heard(self, spec: SystemSpec, clip: Clip, ledger: Ledger) -> LedgerRow | str | None:
        """Return what a text LLM is given: the words, the row of a failed transcript, or None: not done yet."""
        if spec.kind == "text_llm":
            return clip.item.text
        row = ledger.rows.get(self.transcribe_key(spec, clip))
        return row if row is None or row.failed else row.text


@cache
def _backbone(key: str, models: Path) -> str:
    return backbone_of(get_spec(key), models)


def make_plan(settings: Settings) -> Plan:
    """Return the plan.

    Raises:
        UnknownKeyError: a profile, system or task that does not exist here.
        ManifestError: the own corpus cannot be used.
    """
    if settings.profile not in PROFILES:
        raise UnknownKeyError(
            f'There is no profile "{settings.profile[:40]}". Choose: {", ".join(PROFILES)}.'
        )
    if settings.limit is not None and settings.limit < 1:
        raise UnknownKeyError(f"The limit is {settings.limit}; give 1 or more items a task.")
    chosen, notes = _systems(settings)
    clips: list[Clip] = []
    folder = Path()
    if settings.corpus:
        corpus = read_manifest(settings.corpus)
        folder = corpus.folder
        clips += recorded_clips(corpus.items[: settings.limit])
        if not all(item.text for item in corpus.items):
            notes.append("Clips without a transcript are not asked of the text oracle.")
    if settings.tasks or not settings.corpus:
        for task in _tasks(settings):
            clips += _task_clips(task, settings, notes)
    if settings.tasks or not settings.corpus:
        notes.append(FESTIVAL)
    # Renderings that are equal in all respects are one clip.
    unique = {clip.clip_id: clip for clip in clips}
    return Plan(settings, chosen, tuple(unique.values()), tuple(notes), folder)


def _systems(settings: Settings) -> tuple[tuple[SystemSpec, ...], list[str]]:
    state = {info.key: info for info in systems(settings.models)}
    for key in settings.systems:
        get_spec(key)
        if state[key].status != "ready":
            raise UnknownKeyError(f"{key} cannot run here: {state[key].reason}.")
    notes = [
        f"{info.key} is left out: {info.reason}."
        for info in state.values()
        if info.status != "ready" and not settings.systems
    ]
    wanted = [key for key in SYSTEMS if state[key].status == "ready"]
    chosen = tuple(get_spec(key) for key in wanted if not settings.systems or key in settings.systems)
    if not chosen:
        raise UnknownKeyError("There is no system to run: the models' weights are missing.")
    return chosen, notes


def _tasks(settings: Settings) -> tuple[str, ...]:
    for task in settings.tasks:
        if task not in TASKS:
            raise UnknownKeyError(f'There is no task "{task[:40]}" here. Choose from: {", ".join(TASKS)}.')
    return tuple(task for task in TASKS if not settings.tasks or task in settings.tasks)


def _task_clips(task: str, settings: Settings, notes: list[str]) -> list[Clip]:
    n_items = settings.limit or (QUICK_ITEMS if settings.quick else FULL_ITEMS)
    items = mini_items(task, n_items)
    if len(items) < n_items:
        notes.append(f"{task} has {count_items(task)} test items, not {n_items}: all are taken.")
    noises = FULL_NOISE if task in WORDS_TASKS else ()
    if not settings.quick:
        return list(spoken_clips(items, _voices(N_VOICES.get(task, N_VOICES_ELSE)), NOISY_VOICES, noises))
    # One voice; who speaks would have one answer only, so a woman and a man take turns there.
    quick = QUICK_NOISE if noises else ()
    turns = [(voice,) for voice in _voices(2 if task == "speaker" else 1)]
    return [
        clip
        for index, item in enumerate(items)
        for clip in spoken_clips([item], turns[index % len(turns)], 1, quick)
    ]


def _voices(count: int) -> tuple[Voice, ...]:
    known = {voice.name: voice for voice in test_voices()}
    return tuple(known[name] for name in VOICES[:count])


def listen_units(plan: Plan, ledger: Ledger) -> list[ListenUnit]:
    """Return the work on sound that is not done; every clip is in one unit, with all that is wanted of it."""
    works = [work for clip in plan.clips if (work := _clip_work(plan, clip, ledger)).needs]
    units: list[ListenUnit] = []
    # A unit keeps to one task: its questions have as many labels, and its batches fill up well.
    for _, group in groupby(works, key=lambda work: work.question.task.key):
        for part in _portions(list(group), CLIPS_IN_UNIT):
            units.append(ListenUnit(part, plan.folder, plan.settings.models))
    return units


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
        for part in _portions(ordered, PROMPTS_IN_UNIT):
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
            backbone = plan.backbone(spec)
            via.setdefault(backbone, spec.key)
            found.setdefault(backbone, {}).setdefault(key, Prompt(key, heard, clip.item.question))
    return {(via[backbone], backbone): list(prompts.values()) for backbone, prompts in found.items()}


def _like_length(prompt: Prompt) -> tuple[int, int, str]:
    return len(prompt.question.labels), len(prompt.question.instruction) + len(prompt.heard), prompt.key


def memory_units(plan: Plan, ledger: Ledger) -> list[MemoryUnit]:
    """Return the systems whose memory was not measured yet."""
    wanted: Sequence[tuple[str, SystemSpec]] = [
        (keys.memory_key(spec.key, plan.folders_of(spec)), spec)
        for spec in plan.systems
        if not spec.is_remote
    ]
    return [
        MemoryUnit(key, spec.key, plan.settings.models) for key, spec in wanted if not ledger.is_done(key)
    ]

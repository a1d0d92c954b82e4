"""What a benchmark of answers consists of: systems, clips, and the jobs that are still to be done.

Nothing is computed and no model is loaded here; `precompute.benchmark` works through the batches.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import ClassVar

from engine.errors import UnknownKeyError
from engine.request import Question
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
from engine.voice import Recipe
from precompute import keys
from precompute.clips import Clip, recorded_clips
from precompute.corpora.folder import open_corpora, require
from precompute.corpora.manifest import read_manifest
from precompute.corpora.mini_world import TASKS
from precompute.corpora_clips import clips_of_corpora, musan_place
from precompute.jobs import Batch, Job, batches_of, portions
from precompute.mini_clips import FESTIVAL, mini_clips
from precompute.settings import (
    Settings,
    asks_corpora,
    checked_limit,
    chosen_tasks,
    corpora_keys,
    items_a_corpus,
)
from precompute.store import ResultRow, Store

# What a kill may cost, and how long progress stands still: seconds of the minis' work, a minute of real models'.
CLIPS_IN_BATCH, LARGE_CLIPS_IN_BATCH = 32, 2
PROMPTS_IN_BATCH, LARGE_PROMPTS_IN_BATCH = 128, 16
REQUESTS_IN_BATCH = 1  # to a service: each reply is paid for, and a kill may cost one
NEW_PROMPTS_SHARE = 0.7  # of transcripts that are not done yet: the rest will repeat a prompt


@dataclass(frozen=True)
class ClipQuestion:
    """What a job on sound is about: a clip, and what is asked of it."""

    recipe: Recipe
    question: Question


@dataclass(frozen=True)
class SoundPlace:
    """What jobs on sound share.

    Attributes:
        folder: of the clips' recordings.
        models: folder of the models.
        musan: folder of MUSAN, where its babble is wanted.
        hearing: how published transcribers are run: the keys hold it, so the batch brings it to whatever process.
    """

    folder: Path
    models: Path
    musan: Path | None = None
    hearing: WhisperSettings = USUAL


@dataclass(frozen=True)
class Prompt:
    """What a job on text is about: a text, and what is asked of it."""

    heard: str
    question: Question


@dataclass(frozen=True)
class ReaderPlace:
    """What jobs on text share: a system that has their text LLM, for loading, and the folder of the models."""

    via: str
    models: Path


@dataclass(frozen=True)
class Plan:
    """What is to be in the tables.

    Attributes:
        notes: what a reader should know before it runs, one sentence each.
        folders: task -> where its recordings lie; a task that is spoken here has none.
        musan: folder of MUSAN, where its babble is wanted.
        hearing: how published transcribers are run.
    """

    kind: ClassVar[str] = "behaviour"

    settings: Settings
    systems: tuple[SystemSpec, ...]
    clips: tuple[Clip, ...]
    notes: tuple[str, ...]
    folders: Mapping[str, Path]
    musan: Path | None = None
    hearing: WhisperSettings = USUAL

    @property
    def behaviour(self) -> Plan:
        """The plan of answers, which this one is."""
        return self

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

    def table(self, store: Store) -> list[str]:
        """Return a line for each system, task and noise, with how many of its clips are answered."""
        width = max(18, *(len(spec.key) for spec in self.systems)) + 2
        lines = [f"{'system':{width}}{'task':14}{'noise':14}{'voices':>7}{'items':>7}{'clips':>7}{'done':>7}"]
        for spec in self.systems:
            cells: dict[tuple[str, str], list[Clip]] = defaultdict(list)
            for _, clip in (cell for cell in self.cells() if cell[0] is spec):
                cells[clip.item.task, clip.condition.name].append(clip)
            for (task, noise), clips in cells.items():
                n_voices = len({clip.voice for clip in clips})
                n_items = len({clip.item.item_id for clip in clips})
                n_done = sum(self._is_answered(spec, clip, store) for clip in clips)
                lines.append(
                    f"{spec.key:{width}}{task:14}{noise:14}{n_voices:7}{n_items:7}{len(clips):7}{n_done:7}"
                )
        return lines

    def headline(self) -> str:
        """Return what is wanted, in one sentence."""
        n_answers = sum(1 for _ in self.cells())
        return f"{n_answers:,} answers of {len(self.systems)} systems on {len(self.clips):,} clips."

    def later(self, store: Store) -> Counter[tuple[str, str]]:
        """Return about how many prompts, by kind of job and model, will be known when the clips are heard."""
        expected: Counter[tuple[str, str]] = Counter()
        for spec in self.systems:
            if spec.transcriber:
                n_unheard = sum(not isinstance(self.heard(spec, clip, store), str) for clip in self.clips)
                expected["read", self.reader(spec)] += round(NEW_PROMPTS_SHARE * n_unheard)
        return expected

    def _is_answered(self, spec: SystemSpec, clip: Clip, store: Store) -> bool:
        if not store.is_done(keys.render_key(clip.recipe)):
            return False
        if spec.kind == "speech_llm":
            return store.is_done(self.listen_key(spec, clip))
        heard = self.heard(spec, clip, store)
        return isinstance(heard, str) and store.is_done(self.read_key(spec, clip, heard))

    def heard(self, spec: SystemSpec, clip: Clip, store: Store) -> ResultRow | str | None:
        """Return what a text LLM is given: the words, the row of a failed transcript, or None: not done yet."""
        if spec.kind == "text_llm":
            return clip.item.text
        row = store.rows.get(self.transcribe_key(spec, clip))
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


def reader_name(backbone: str) -> str:
    """Return what a text LLM is called in findings: a speech LLM may lie in the same folder."""
    return f"{backbone}, reading"


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


def listen_batches(plan: Plan, store: Store) -> list[Batch]:
    """Return the work on sound that is not done: facts of the sound, transcripts, and answers of who hears.

    What is made of a few clips stands together, so that a process that does it in turn renders them once. A batch
    keeps to one task: its questions have as many labels, and its batches of prompts fill up well.
    """
    size = batch_size_for(plan.systems, CLIPS_IN_BATCH, LARGE_CLIPS_IN_BATCH)
    batches: list[Batch] = []
    for task, group in groupby(plan.clips, key=lambda clip: clip.item.task):
        place = SoundPlace(plan.folder_of_task(task), plan.settings.models, plan.musan, plan.hearing)
        # Clips that are done are left out before the rest is portioned.
        left = [jobs for clip in group if (jobs := _undone(_clip_jobs(plan, clip), store))]
        for part in portions(left, size):
            by_service = [job for jobs in part for job in jobs if is_service(job.model)]
            here = [job for jobs in part for job in jobs if not is_service(job.model)]
            batches += batches_of(here, store, size, place)
            batches += batches_of(by_service, store, REQUESTS_IN_BATCH, place)
    return batches


def batch_size_for(systems: Sequence[SystemSpec], small: int, large: int) -> int:
    """Return how much a batch holds: `small` where the minis alone work on it here, else `large`."""
    return small if all(spec.key in MINI_SYSTEMS or spec.is_remote for spec in systems) else large


def _undone(jobs: list[Job], store: Store) -> list[Job]:
    return [job for job in jobs if not store.is_done(job.key)]


def _clip_jobs(plan: Plan, clip: Clip) -> list[Job]:
    """Return all that is wanted of a clip's sound."""
    asked = ClipQuestion(clip.recipe, clip.item.question)
    jobs = [Job("render", keys.render_key(clip.recipe), "", asked)]
    for spec in plan.systems:
        if spec.kind == "speech_llm":
            jobs.append(Job("listen", plan.listen_key(spec, clip), spec.key, asked))
        elif spec.transcriber:
            jobs.append(Job("transcribe", plan.transcribe_key(spec, clip), spec.transcriber, asked))
    return jobs


def read_batches(plan: Plan, store: Store) -> list[Batch]:
    """Return the prompts that no text LLM has answered yet, each once; transcripts must be done before."""
    via: dict[str, str] = {}
    found: dict[str, dict[str, Job]] = {}
    for spec, clip in plan.cells():
        heard = None if spec.kind == "speech_llm" else plan.heard(spec, clip, store)
        if not isinstance(heard, str):
            continue
        key = plan.read_key(spec, clip, heard)
        if not store.is_done(key):
            reader = plan.reader(spec)
            # A service is asked as the row that reads for it; weights are loaded by any system that has them.
            via.setdefault(reader, reader if spec.is_remote else spec.key)
            prompt = Prompt(heard, clip.item.question)
            found.setdefault(reader, {}).setdefault(key, Job("read", key, reader, prompt))
    batches: list[Batch] = []
    for reader, jobs in found.items():
        size = batch_size_for([get_spec(via[reader])], PROMPTS_IN_BATCH, LARGE_PROMPTS_IN_BATCH)
        place = ReaderPlace(via[reader], plan.settings.models)
        size = REQUESTS_IN_BATCH if is_service(reader) else size
        batches += batches_of(sorted(jobs.values(), key=like_length), store, size, place)
    return batches


def like_length(job: Job) -> tuple[int, int, str]:
    """Return what prompts are sorted by, so that those of one batch are alike: labels, characters, key."""
    asked: Prompt = job.payload
    question = asked.question
    return len(question.labels), len(question.instruction) + len(asked.heard), job.key


def memory_batches(plan: Plan, store: Store) -> list[Batch]:
    """Return the systems whose memory was not measured yet; a service's is not ours to measure."""
    jobs = [
        Job("memory", keys.memory_key(spec.key, plan.folders_of(spec)), spec.key)
        for spec in plan.systems
        if not spec.is_remote
    ]
    return batches_of(jobs, store, 1, plan.settings.models)

"""What is measured of the mechanism: which systems, on which clips, the key of every result, and what is left to do.

Lens, implicit cascade and erasure run on clean clips of the benchmark, one voice an item, so that answers
that a run of behaviour has made are taken from the store. Nothing is computed and no model is loaded here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from engine.ctranslate2_file import n_layers, read_arrays
from engine.errors import ModelFilesError, UnknownKeyError
from engine.request import CONDITIONS, Question, erasers_folder, preset_layers
from engine.stats.scores import assign_folds
from engine.systems.catalogue import SYSTEMS, SystemSpec, n_layers_of
from engine.voice import Recipe
from precompute import keys
from precompute.clips import FULL_NOISE, Clip, spoken_clips
from precompute.corpora.mini_world import WORDS_TASKS, mini_items
from precompute.jobs import Batch, Job, batches_of
from precompute.mechanism.grid import GRID
from precompute.mini.voices import Voice, test_voices
from precompute.plan import Plan, Prompt, ReaderPlace, like_length, make_plan
from precompute.settings import Settings
from precompute.store import Store

FULL_ITEMS, QUICK_ITEMS = 100, 10
NOISY_SHARE = 0.3  # of the items: six noise conditions each
CONTROL_EARS = "mini-whisper"
N_FOLDS = 3
FOLD_SEED = 71
EMOTION_SHARE, WORDS_SHARE = 2, 1  # probe clips an item: emotional lines, and sentences of two tasks
PROBE_TASKS = ("topic", "sentiment")
HOP_S = 0.02  # of a clip's pitch
INPUT = -1  # stands for a layer: what the model is given, log-mel features
CLIPS_IN_BATCH = {"pitch": 16, "lens": 16, "erase": 4}
PROMPTS_IN_BATCH = 128
NEW_TEXTS_SHARE = 0.9  # of layers' texts that are not read yet: the rest will repeat one


@dataclass(frozen=True)
class MeasuredClip:
    """What a measurement of one clip is about.

    Attributes:
        setting: name of a setting of the erasure grid, "" elsewhere.
    """

    recipe: Recipe
    question: Question
    gold: str = ""
    aliases: tuple[str, ...] = ()
    setting: str = ""


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
class ProbePlace:
    """What jobs on one layer share, whose payload is the layer: the folder of the models, and the probe clips."""

    models: Path
    clips: tuple[ProbeClip, ...]


@dataclass(frozen=True)
class MechanismPlan:
    """What is to be in the tables of mechanism.

    Attributes:
        behaviour: the clean clips, with the speech LLMs and for each a cascade into its own LLM.
        n_items: items a task.
        noisy: clips for the lens under noise.
        probed: clips for the probes; `probe_clips` are the same as clips of a benchmark.
        ears: the transcriber whose encoder is the control, None where it cannot be read.
        notes: what a reader should know before it runs.
    """

    kind: ClassVar[str] = "mechanism"

    behaviour: Plan
    n_items: int
    noisy: tuple[Clip, ...]
    probed: tuple[ProbeClip, ...]
    probe_clips: tuple[Clip, ...]
    ears: str | None
    notes: tuple[str, ...]

    @property
    def models(self) -> Path:
        """Folder of the models."""
        return self.behaviour.settings.models

    @property
    def speech_llms(self) -> tuple[SystemSpec, ...]:
        """Systems that are measured."""
        return tuple(spec for spec in self.behaviour.systems if spec.kind == "speech_llm")

    def cascade_of(self, spec: SystemSpec) -> SystemSpec | None:
        """Return the cascade into a speech LLM's own LLM, with the stronger ears."""
        own = self.behaviour.backbone(spec)
        return next((c for c in self.behaviour.systems if c.kind == "cascade" and c.backbone == own), None)

    def erasers_of(self, spec: SystemSpec) -> Path | None:
        """Return the folder of a system's erasers, None unless all of them are fitted."""
        folder = erasers_folder(spec.key, self.models)
        fitted = all((folder / f"{condition}.safetensors").exists() for condition in CONDITIONS)
        return folder if fitted else None

    def n_layers(self, who: str) -> int:
        """Return how many blocks are probed; states are one more."""
        if who == self.ears:
            return n_layers(read_arrays(self.models / who / "model.bin"), "encoder")
        return n_layers_of(self.behaviour.backbone(SYSTEMS[who]), self.models)

    def lens_key(self, spec: SystemSpec, clip: Clip) -> str:
        """Return the key of a clip's reading at every layer."""
        return keys.measurement_key("lens", self.behaviour.folders_of(spec), keys.render_key(clip.recipe))

    def erase_key(self, spec: SystemSpec, clip: Clip, setting: str) -> str:
        """Return the key of a clip's answers under one setting of the grid."""
        question = clip.item.question
        return keys.measurement_key(
            "erase",
            (*self.behaviour.folders_of(spec), erasers_folder(spec.key, self.models)),
            keys.render_key(clip.recipe),
            *(
                keys.DECODING,
                question.task.kind,
                question.instruction,
                *question.labels,
                clip.gold,
                *clip.item.aliases,
            ),
            repr(GRID[setting]),
        )

    def pitch_key(self, clip: ProbeClip) -> str:
        """Return the key of a clip's pitch."""
        return keys.measurement_key("pitch", (), keys.render_key(clip.recipe))

    def table(self, store: Store) -> list[str]:
        """Return []: one sentence tells what is wanted."""
        return []

    def headline(self) -> str:
        """Return what is wanted, in one sentence."""
        systems = ", ".join([spec.key for spec in self.speech_llms] + ([self.ears] if self.ears else []))
        return (
            f"{self.n_items} items a task: {len(self.behaviour.clips):,} clean clips, {len(self.noisy):,} noisy ones, "
            f"{len(self.probed):,} for probes, of {systems}."
        )

    def later(self, store: Store) -> Counter[tuple[str, str]]:
        """Return about how many prompts of layers' texts, by kind and model, will be known when clips are read."""
        expected = self.behaviour.later(store)
        for spec in self.speech_llms:
            n_unread = sum(not store.is_done(self.lens_key(spec, clip)) for clip in self.behaviour.clips)
            n_texts = n_unread * (self.n_layers(spec.key) + 1)
            expected["read", self.behaviour.backbone(spec)] += round(NEW_TEXTS_SHARE * n_texts)
        return expected

    def layer_key(self, kind: str, who: str, layer: int) -> str:
        """Return the key of one layer's probes, or of what erasing does to them."""
        folders = [self.models / who] if who == self.ears else [*self.behaviour.folders_of(SYSTEMS[who])]
        if kind == "damage":
            folders.append(erasers_folder(who, self.models))
        clips = json.dumps(
            [[clip.recipe.to_json(), clip.fold, clip.sex, clip.emotion] for clip in self.probed]
        )
        return keys.measurement_key(kind, folders, who, str(layer), clips)


def make_mechanism_plan(settings: Settings) -> MechanismPlan:
    """Return the plan; `limit` is items a task, `systems` names speech LLMs.

    Raises:
        UnknownKeyError: a system or task that does not exist here, or an own corpus, whose words have no times.
    """
    if settings.corpus or settings.corpora:
        raise UnknownKeyError(
            "Mechanism is measured on the mini world only; leave --corpus and --corpora out."
        )
    n_items = settings.limit or (QUICK_ITEMS if settings.quick else FULL_ITEMS)
    base = make_plan(replace(settings, quick=True, limit=n_items, systems=()))
    speech = _speech_llms(base, settings)
    own = {base.backbone(spec) for spec in speech}
    cascades = [
        spec
        for spec in base.systems
        if spec.kind == "cascade" and spec.backbone in own and spec.transcriber == CONTROL_EARS
    ]
    clean = tuple(clip for clip in base.clips if clip.condition.snr_db is None)
    behaviour = replace(base, systems=(*speech, *cascades), clips=clean)
    ears, notes = _control_ears(settings.models)
    probed = tuple(_probe_clips(n_items))
    plan = MechanismPlan(
        behaviour=behaviour,
        n_items=n_items,
        noisy=tuple(_noisy_clips(settings, n_items)),
        probed=tuple(one for one, _ in probed),
        probe_clips=tuple(clip for _, clip in probed),
        ears=ears,
        notes=(*notes, *(note for note in base.notes if "items" in note)),
    )
    missing = [spec.key for spec in speech if plan.erasers_of(spec) is None]
    without = tuple(f"{key} has no erasers, so nothing is erased from it." for key in missing)
    return replace(plan, notes=(*plan.notes, *without))


def _speech_llms(base: Plan, settings: Settings) -> tuple[SystemSpec, ...]:
    known = {spec.key: spec for spec in base.systems if spec.kind == "speech_llm" and not spec.is_remote}
    for key in settings.systems:
        if key not in known:
            raise UnknownKeyError(
                f'"{key[:40]}" is no speech LLM that can run here. Choose from: {", ".join(known)}.'
            )
    return tuple(spec for key, spec in known.items() if not settings.systems or key in settings.systems)


def _control_ears(models: Path) -> tuple[str | None, list[str]]:
    try:
        read_arrays(models / CONTROL_EARS / "model.bin")
    except ModelFilesError:
        return None, [f"The encoder of {CONTROL_EARS} cannot be read, so that probes lack this control."]
    return CONTROL_EARS, []


def _noisy_clips(settings: Settings, n_items: int) -> Iterator[Clip]:
    """Yield clips of the words-only tasks under every noise, in the voice of the clean ones."""
    for task in WORDS_TASKS:
        if not settings.tasks or task in settings.tasks:
            items = mini_items(task, max(1, round(NOISY_SHARE * n_items)))
            clips = spoken_clips(items, test_voices()[:1], 1, FULL_NOISE)
            yield from (clip for clip in clips if clip.condition.noise != "clean")


def _probe_clips(n_items: int) -> Iterator[tuple[ProbeClip, Clip]]:
    """Yield clips whose sentence and voice are of one fold, a woman and a man in turn: none is left out."""
    items = [*mini_items("emotion", EMOTION_SHARE * n_items)]
    for task in PROBE_TASKS:
        items += mini_items(task, WORDS_SHARE * n_items)
    folds = assign_folds([item.text for item in items], N_FOLDS, seed=FOLD_SEED)
    pairs = _voice_pairs()
    for turn, (item, fold) in enumerate(zip(items, folds.tolist(), strict=True)):
        voice = pairs[fold][turn % 2]
        (clip,) = spoken_clips([item], [voice], 0, ())
        yield ProbeClip(clip.recipe, fold, voice.sex, item.feeling), clip


def _voice_pairs() -> list[tuple[Voice, Voice]]:
    women, men = ([v for v in test_voices() if v.sex == sex] for sex in ("woman", "man"))
    return list(zip(women, men, strict=False))[:N_FOLDS]


# --- what is left to do; a stage's jobs may need the rows of those before ---


def pitch_batches(plan: MechanismPlan, store: Store) -> list[Batch]:
    """Return the probe clips whose pitch is not known."""
    question = plan.behaviour.clips[0].item.question  # a clip's pitch answers none
    jobs = [
        Job("pitch", plan.pitch_key(clip), "", MeasuredClip(clip.recipe, question)) for clip in plan.probed
    ]
    return batches_of(jobs, store, CLIPS_IN_BATCH["pitch"], plan.models)


def lens_batches(plan: MechanismPlan, store: Store) -> list[Batch]:
    """Return the clips that are not read layer by layer yet."""
    jobs = [
        Job("lens", plan.lens_key(spec, clip), spec.key, _about(clip))
        for spec in plan.speech_llms
        for clip in (*plan.behaviour.clips, *plan.noisy)
    ]
    return batches_of(jobs, store, CLIPS_IN_BATCH["lens"], plan.models)


def sufficiency_batches(plan: MechanismPlan, store: Store) -> list[Batch]:
    """Return the prompts of the implicit cascade that its LLM has not answered yet; readings must be done."""
    batches: list[Batch] = []
    for spec in plan.speech_llms:
        backbone = plan.behaviour.backbone(spec)
        via = next(s.key for s in SYSTEMS.values() if s.kind == "text_llm" and s.folder == backbone)
        jobs = [
            job for clip in plan.behaviour.clips for job in implicit_jobs(plan, spec, clip, store).values()
        ]
        place = ReaderPlace(via, plan.models)
        batches += batches_of(sorted(jobs, key=like_length), store, PROMPTS_IN_BATCH, place)
    return batches


def implicit_jobs(plan: MechanismPlan, spec: SystemSpec, clip: Clip, store: Store) -> dict[int, Job]:
    """Return layer -> the job that hands the layer's text to the LLM; {} while the clip is not read."""
    row = store.rows.get(plan.lens_key(spec, clip))
    if row is None or row.failed:
        return {}
    backbone, question = plan.behaviour.backbone(spec), clip.item.question
    return {
        int(layer): Job(
            "read", keys.read_key(text, question, plan.models / backbone), backbone, Prompt(text, question)
        )
        for layer, text in json.loads(row.text)["texts"].items()
    }


def erase_batches(plan: MechanismPlan, store: Store) -> list[Batch]:
    """Return the clips that are not answered under every setting of the grid yet."""
    batches: list[Batch] = []
    for spec, setting, clips in erased_clips(plan):
        jobs = [
            Job("erase", plan.erase_key(spec, clip, setting), spec.key, _about(clip, setting))
            for clip in clips
        ]
        batches += batches_of(jobs, store, CLIPS_IN_BATCH["erase"], plan.models)
    return batches


def _about(clip: Clip, setting: str = "") -> MeasuredClip:
    return MeasuredClip(clip.recipe, clip.item.question, clip.gold, clip.item.aliases, setting)


def erased_clips(plan: MechanismPlan) -> Iterator[tuple[SystemSpec, str, list[Clip]]]:
    """Yield each system that has erasers, with each setting and its clips: the first of every task."""
    by_task: dict[str, list[Clip]] = {}
    for clip in plan.behaviour.clips:
        by_task.setdefault(clip.item.task, []).append(clip)
    for spec in plan.speech_llms:
        if plan.erasers_of(spec) is not None:
            for name, setting in GRID.items():
                yield (
                    spec,
                    name,
                    [c for clips in by_task.values() for c in clips[: setting.n_items(len(clips))]],
                )


def layers_probed(plan: MechanismPlan) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield each speech LLM and the control's encoder with its layers, the input features among them."""
    for who in (*(spec.key for spec in plan.speech_llms), *([plan.ears] if plan.ears else [])):
        yield who, (INPUT, *range(plan.n_layers(who) + 1))


def layers_damaged(plan: MechanismPlan) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield each system that has erasers with the nine layers at which their damage is measured."""
    for spec in plan.speech_llms:
        if plan.erasers_of(spec) is not None:
            yield spec.key, preset_layers(plan.n_layers(spec.key))


def probe_batches(plan: MechanismPlan, store: Store) -> list[Batch]:
    """Return the layers that are not probed yet; pitch must be tracked."""
    return _layer_batches(plan, "probe", layers_probed(plan), store)


def damage_batches(plan: MechanismPlan, store: Store) -> list[Batch]:
    """Return the layers at which it is not known what an erasure does to other probes; pitch must be tracked."""
    return _layer_batches(plan, "damage", layers_damaged(plan), store)


def _layer_batches(
    plan: MechanismPlan, kind: str, wanted: Iterable[tuple[str, Sequence[int]]], store: Store
) -> list[Batch]:
    """Return one batch a layer: states of all clips are heard once in each process and kept there."""
    place = ProbePlace(plan.models, tuple(clip for clip, _ in clips_with_pitch(plan, store)))
    jobs = [
        Job(kind, plan.layer_key(kind, who, layer), who, layer) for who, layers in wanted for layer in layers
    ]
    return batches_of(jobs, store, 1, place)


def clips_with_pitch(plan: MechanismPlan, store: Store) -> list[tuple[ProbeClip, Clip]]:
    """Return the clips that probes are fitted on, in their order: those whose pitch is known."""
    tracked = (replace(clip, pitch_hz=_pitch(plan, clip, store)) for clip in plan.probed)
    return [(one, clip) for one, clip in zip(tracked, plan.probe_clips, strict=True) if one.pitch_hz]


def _pitch(plan: MechanismPlan, clip: ProbeClip, store: Store) -> tuple[float, ...]:
    row = store.rows.get(plan.pitch_key(clip))
    return () if row is None or row.failed else tuple(json.loads(row.text))

"""What is measured of the mechanism: which systems, on which clips, and the key of every result.

Lens, implicit cascade and erasure run on clean clips of the benchmark, one voice an item, so that answers
that a run of behaviour has made are taken from the ledger. Nothing is computed and no model is loaded here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from engine.ctranslate2_file import n_layers, read_arrays
from engine.errors import ModelFilesError, UnknownKeyError
from engine.request import CONDITIONS, erasers_folder
from engine.stats.scores import assign_folds
from engine.systems.catalogue import SYSTEMS, SystemSpec, n_layers_of
from precompute import keys
from precompute.clips import FULL_NOISE, Clip, spoken_clips
from precompute.corpora.mini_world import WORDS_TASKS, mini_items
from precompute.mechanism.grid import GRID
from precompute.mechanism.units import ProbeClip, Stage
from precompute.mini.voices import Voice, test_voices
from precompute.plan import Plan, Settings, make_plan

FULL_ITEMS, QUICK_ITEMS = 100, 10
NOISY_SHARE = 0.3  # of the items: six noise conditions each
CONTROL_EARS = "mini-whisper"
N_FOLDS = 3
FOLD_SEED = 71
EMOTION_SHARE, WORDS_SHARE = 2, 1  # probe clips an item: emotional lines, and sentences of two tasks
PROBE_TASKS = ("topic", "sentiment")


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

    def layer_key(self, stage: Stage, who: str, layer: int) -> str:
        """Return the key of one layer's probes, or of what erasing does to them."""
        folders = [self.models / who] if who == self.ears else [*self.behaviour.folders_of(SYSTEMS[who])]
        if stage == "damage":
            folders.append(erasers_folder(who, self.models))
        clips = json.dumps(
            [[clip.recipe.to_json(), clip.fold, clip.sex, clip.emotion] for clip in self.probed]
        )
        return keys.measurement_key(stage, folders, who, str(layer), clips)


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

"""What is measured of interleaved models: which checkpoints, clips and facts, each result's key, and what is left.

Only one unit model ships. The controls of the grid and the snapshots of the trainings are measured where they lie,
and are left out with a note elsewhere. Nothing is computed and no model is loaded here.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from engine.errors import UnknownKeyError
from engine.interleaved import CURRENT, NEXT, pair_clips
from engine.lens import TOPS
from engine.stats.boundaries import excess_of, first_phase
from engine.systems.catalogue import SYSTEMS, SystemSpec
from engine.voice import Recipe
from precompute import keys
from precompute.clips import Clip, spoken_clips
from precompute.corpora.mini_world import WORDS_TASKS, mini_items
from precompute.jobs import Batch, Job, batches_of
from precompute.mini.corpora.facts import Fact, all_facts
from precompute.mini.voices import test_voices
from precompute.mini.world import WORLD_SEED
from precompute.plan import Plan, make_plan
from precompute.settings import Settings
from precompute.store import Store

FULL_ITEMS, QUICK_ITEMS = 30, 4  # of each of the four words-only tasks
FULL_FIT, QUICK_FIT = 100, 20  # further items of each task, to fit the eraser on
ERASED_FACTS_SHARE = 0.5
SNAPSHOTS = Path("build") / "interleaved"
MAIN, UNTRAINED = "mini-interleaved", "untrained"
FINAL_STEP = 2_400  # of precompute.mini.train.FULL, which a test holds to this
CONTINUOUS = ("mini-ultravox", "mini-qwen2-audio")
# Folder of an arm's snapshots -> its key in the tables, what it began with, what it read.
ARMS = {
    "text-interleaved": (MAIN, "text", "interleaved"),
    "random-interleaved": ("random-interleaved", "random", "interleaved"),
    "text-speech": ("text-speech", "text", "speech only"),
    "random-speech": ("random-speech", "random", "speech only"),
}
BEFORE_ANY_TRAINING = Path("random-interleaved") / "step-00000"
PATCH_SEED, PATCHES = 59, 2  # words of a clip that are replaced, at most
ENCODER = "mini-whisper"
MISSING = (
    "{} is not here, so its rows are left out; `python -m precompute train --stage interleaved` makes it."
)


JOBS_IN_BATCH = {"phases": 32, "knowledge": 64, "erase_word": 8, "patch_word": 16}
PHASES_K = 10  # at which the interventions find the phases


@dataclass(frozen=True)
class Checkpoint:
    """One model at one step of its training.

    Attributes:
        model: its key in the tables.
        initialisation, data: as in `engine.interleaved_records`.
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
        """Return it in a word, for the store."""
        return f"{self.model}/{self.step}"


@dataclass(frozen=True)
class ReadClip:
    """A clip to be read, or to be read with its word erased.

    Attributes:
        other: words of the clip that is its control.
    """

    recipe: Recipe
    other: tuple[str, ...]


@dataclass(frozen=True)
class ScoredFact:
    """A fact to be scored, by its key; `erased` asks for every arm of the erasure."""

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
class PatchedWord:
    """A word whose states are replaced, by those of each donor in turn.

    Attributes:
        donors: arm -> the word that is put in; "patched" is the one whose next word is looked for.
    """

    recipient: Word
    donors: tuple[tuple[str, Word], ...]


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
class CheckpointPlace:
    """What jobs on a checkpoint share.

    Attributes:
        phases: for the interventions.
        fit: clips that the eraser is fitted on.
    """

    checkpoint: Checkpoint
    models: Path
    phases: Phases | None = None
    fit: tuple[Recipe, ...] = ()


@dataclass(frozen=True)
class InterleavedPlan:
    """What is to be in the tables of interleaved models.

    Attributes:
        behaviour: the clips, and the speech LLMs with a continuous encoder that are measured on them.
        checkpoints: unit models first; of each model by rising step.
        others: for each clip the words of its control.
        facts: for the spoken-knowledge score.
        fit: clips that the eraser is fitted on; none of them is measured.
        notes: what a reader should know before it runs.
    """

    kind: ClassVar[str] = "interleaved"

    behaviour: Plan
    checkpoints: tuple[Checkpoint, ...]
    others: tuple[tuple[str, ...], ...]
    facts: tuple[Fact, ...]
    fit: tuple[Recipe, ...]
    notes: tuple[str, ...]

    @property
    def models(self) -> Path:
        """Folder of the models."""
        return self.behaviour.settings.models

    @property
    def clips(self) -> tuple[Clip, ...]:
        """The clips that are measured."""
        return self.behaviour.clips

    @property
    def unit_models(self) -> tuple[Checkpoint, ...]:
        """Checkpoints that know units."""
        return tuple(one for one in self.checkpoints if one.folder)

    @property
    def main(self) -> Checkpoint | None:
        """Return the last checkpoint of the full model, which the interventions are made in."""
        return max(
            (one for one in self.checkpoints if one.model == MAIN), key=lambda one: one.step, default=None
        )

    @property
    def erased_facts(self) -> tuple[Fact, ...]:
        """Facts that are scored under erasure, too: every second one."""
        return self.facts[:: round(1 / ERASED_FACTS_SHARE)]

    def table(self, store: Store) -> list[str]:
        """Return []: one sentence tells what is wanted."""
        return []

    def headline(self) -> str:
        """Return what is wanted, in one sentence."""
        names = ", ".join(dict.fromkeys(one.model for one in self.checkpoints))
        what = f"{len(self.clips):,} clips and {len(self.facts):,} facts"
        return f"{what}, {len(self.checkpoints)} checkpoints of {names}."

    def later(self, store: Store) -> Counter[tuple[str, str]]:
        """Return about how many interventions, by kind and model, will be known when the clips are read."""
        main = self.main
        if main is None or all(store.is_done(self.read_key(main, n)) for n in range(len(self.clips))):
            return Counter()
        n_erased = len(self.clips) + len(self.erased_facts)
        return Counter(
            {("erase_word", main.name): n_erased, ("patch_word", main.name): PATCHES * len(self.clips)}
        )

    def read_key(self, checkpoint: Checkpoint, number: int) -> str:
        """Return the key of a clip's reading at every layer."""
        clip = self.clips[number]
        return keys.measurement_key(
            "phases", self.folders_of(checkpoint), keys.render_key(clip.recipe), *self.others[number]
        )

    def fact_key(self, checkpoint: Checkpoint, fact: Fact) -> str:
        """Return the key of a fact's score."""
        said = (fact.prompt, fact.answer, fact.wrong)
        return keys.measurement_key("knowledge", self.folders_of(checkpoint), fact.key, *said)

    def erase_key(self, checkpoint: Checkpoint, what: str, phases: Phases) -> str:
        """Return the key of a clip or a fact under every arm of the erasure; `what` is its plain key."""
        fit = [keys.render_key(recipe) for recipe in self.fit]
        return keys.measurement_key("erase_word", self.folders_of(checkpoint), what, repr(phases), *fit)

    def patch_key(self, checkpoint: Checkpoint, words: tuple[Word, ...], phases: Phases) -> str:
        """Return the key of a word that others take the place of."""
        said = [f"{keys.render_key(word.recipe)} {word.place}" for word in words]
        return keys.measurement_key("patch_word", self.folders_of(checkpoint), repr(phases), *said)

    def folders_of(self, checkpoint: Checkpoint) -> tuple[Path, ...]:
        """Return the folders that a checkpoint is made of."""
        if checkpoint.folder is None:
            return self.behaviour.folders_of(SYSTEMS[checkpoint.model])
        return checkpoint.folder, checkpoint.folder / "units", self.models / ENCODER

    def patches(self, checkpoint: Checkpoint, phases: Phases) -> Iterator[Job]:
        """Yield the words to be replaced, seeded by clip: up to PATCHES of each."""
        words = [
            Word(clip.recipe, place)
            for clip in self.clips
            for place in range(len(clip.item.text.split()) - 1)
        ]
        for clip in self.clips:
            rng = random.Random(f"{PATCH_SEED}|{clip.clip_id}")
            own = [word for word in words if word.recipe == clip.recipe]
            for recipient in rng.sample(own, min(PATCHES, len(own))):
                donors = _donors(recipient, words, rng)
                if donors:
                    chosen = (recipient, *(word for _, word in donors))
                    key = self.patch_key(checkpoint, chosen, phases)
                    yield Job("patch_word", key, checkpoint.name, PatchedWord(recipient, donors))


def _donors(recipient: Word, words: list[Word], rng: random.Random) -> tuple[tuple[str, Word], ...]:
    """Return another word with another next word, the same word from elsewhere, and one unlike both."""
    elsewhere = [word for word in words if word.recipe.text != recipient.recipe.text]
    others = [w for w in elsewhere if w.text != recipient.text and w.following != recipient.following]
    if not others:
        return ()
    donor = rng.choice(others)
    same = [w for w in elsewhere if w.text == recipient.text]
    unlike = [w for w in others if w.text != donor.text and w.following != donor.following]
    found = [("patched", donor)]
    found += [("same_word", rng.choice(same))] if same else []
    found += [("unrelated", rng.choice(unlike))] if unlike else []
    return tuple(found)


def make_interleaved_plan(settings: Settings) -> InterleavedPlan:
    """Return the plan; `limit` is items a task, `systems` names models as in the tables.

    Raises:
        UnknownKeyError: a model or task that does not exist here, or an own corpus, whose words have no times.
    """
    if settings.corpus:
        raise UnknownKeyError("Interleaved models are measured on the mini world only; leave --corpus out.")
    n_items = settings.limit or (QUICK_ITEMS if settings.quick else FULL_ITEMS)
    tasks = settings.tasks or WORDS_TASKS
    base = make_plan(replace(settings, quick=True, limit=n_items, systems=(), tasks=tasks))
    clean = tuple(clip for clip in base.clips if clip.condition.noise == "clean")
    found, notes = _checkpoints(base, settings.snapshots or SNAPSHOTS)
    known = sorted({one.model for one in found})
    for key in settings.systems:
        if key not in known:
            raise UnknownKeyError(
                f'"{key[:40]}" is no model that can be measured here. Choose from: {", ".join(known)}.'
            )
    chosen = [one for one in found if not settings.systems or one.model in settings.systems]
    heard = tuple(spec for spec in base.systems if spec.key in {one.model for one in chosen})
    groups = [f"{clip.item.task}|{clip.item.group or clip.item.item_id}" for clip in clean]
    partners = pair_clips(groups)
    facts = all_facts(WORLD_SEED)
    return InterleavedPlan(
        behaviour=replace(base, systems=heard or _continuous(base), clips=clean),
        checkpoints=tuple(chosen),
        others=tuple(tuple(clean[other].item.text.split()) for other in partners),
        facts=facts[:: len(facts) // 20] if settings.quick else facts,
        fit=tuple(_fit_clips(clean, tasks, n_items, QUICK_FIT if settings.quick else FULL_FIT)),
        notes=(*notes, *(note for note in base.notes if "items" in note)),
    )


def _continuous(base: Plan) -> tuple[SystemSpec, ...]:
    return tuple(spec for spec in base.systems if spec.key in CONTINUOUS)


def _checkpoints(base: Plan, snapshots: Path) -> tuple[list[Checkpoint], list[str]]:
    """Return every checkpoint that is here, and a note for each model that is not."""
    found, notes = [], []
    models = base.settings.models
    for arm, (model, initialisation, data) in ARMS.items():
        steps = {int(folder.name.removeprefix("step-")): folder for folder in snapshots.glob(f"{arm}/step-*")}
        if (models / model / "config.json").exists():
            steps[FINAL_STEP] = models / model  # what ships is what is measured
        # Controls are measured at their end; the full model all along, for the relation with what it knows.
        kept = sorted(steps) if model == MAIN else [step for step in steps if step == FINAL_STEP]
        found += [Checkpoint(model, initialisation, data, step, steps[step]) for step in kept]
        if FINAL_STEP not in steps:
            notes.append(MISSING.format(model))
    if (snapshots / BEFORE_ANY_TRAINING).is_dir():
        found.append(Checkpoint(UNTRAINED, "untrained", "none", 0, snapshots / BEFORE_ANY_TRAINING))
    else:
        notes.append(MISSING.format(UNTRAINED))
    found += [Checkpoint(spec.key, "text", "audio", 0, None) for spec in _continuous(base)]
    return found, notes


def _fit_clips(
    measured: tuple[Clip, ...], tasks: tuple[str, ...], n_items: int, n_fit: int
) -> Iterator[Recipe]:
    """Yield further clips of the same tasks in the same voice, of no text and no group that is measured."""
    texts = {clip.item.text for clip in measured}
    groups = {clip.item.group for clip in measured if clip.item.group}
    for task in tasks:
        items = [
            item
            for item in mini_items(task, n_items + n_fit)[n_items:]
            if item.text not in texts and item.group not in groups
        ]
        yield from (clip.recipe for clip in spoken_clips(items, test_voices()[:1], 0, ()))


# --- what is left to do; the interventions wait until it is read where the phases lie ---


def phase_batches(plan: InterleavedPlan, store: Store) -> list[Batch]:
    """Return the clips that are not read layer by layer yet, checkpoint by checkpoint."""
    batches: list[Batch] = []
    for one in plan.checkpoints:
        jobs = [
            Job("phases", plan.read_key(one, n), one.name, ReadClip(clip.recipe, plan.others[n]))
            for n, clip in enumerate(plan.clips)
        ]
        batches += _batches(plan, one, jobs, store)
    return batches


def knowledge_batches(plan: InterleavedPlan, store: Store) -> list[Batch]:
    """Return the facts that are not scored yet, checkpoint by checkpoint."""
    batches: list[Batch] = []
    for one in plan.unit_models:
        jobs = [
            Job("knowledge", plan.fact_key(one, fact), one.name, ScoredFact(fact.key)) for fact in plan.facts
        ]
        batches += _batches(plan, one, jobs, store)
    return batches


def erase_batches(plan: InterleavedPlan, store: Store) -> list[Batch]:
    """Return the clips and facts that are not measured under erasure yet; the full model must be read."""
    batches: list[Batch] = []
    for one, phases in interventions(plan, store):
        batches += _batches(plan, one, erase_jobs(plan, one, phases), store, phases, plan.fit)
    return batches


def erase_jobs(plan: InterleavedPlan, checkpoint: Checkpoint, phases: Phases) -> list[Job]:
    """Return every clip and every second fact, to be measured under erasure."""

    def job(plain_key: str, payload: ReadClip | ScoredFact) -> Job:
        return Job("erase_word", plan.erase_key(checkpoint, plain_key, phases), checkpoint.name, payload)

    clips = [
        job(plan.read_key(checkpoint, n), ReadClip(clip.recipe, plan.others[n]))
        for n, clip in enumerate(plan.clips)
    ]
    facts = [
        job(plan.fact_key(checkpoint, fact), ScoredFact(fact.key, erased=True)) for fact in plan.erased_facts
    ]
    return [*clips, *facts]


def patch_batches(plan: InterleavedPlan, store: Store) -> list[Batch]:
    """Return the words whose states are not replaced yet; the full model must be read."""
    batches: list[Batch] = []
    for one, phases in interventions(plan, store):
        batches += _batches(plan, one, list(plan.patches(one, phases)), store, phases)
    return batches


def _batches(
    plan: InterleavedPlan,
    checkpoint: Checkpoint,
    jobs: list[Job],
    store: Store,
    phases: Phases | None = None,
    fit: tuple[Recipe, ...] = (),
) -> list[Batch]:
    place = CheckpointPlace(checkpoint, plan.models, phases, fit)
    return batches_of(jobs, store, JOBS_IN_BATCH[jobs[0].kind], place) if jobs else []


def interventions(plan: InterleavedPlan, store: Store) -> Iterator[tuple[Checkpoint, Phases]]:
    """Yield the full model with its phases; nothing where it is not here, or nothing can be read in it."""
    if plan.main is not None:
        phases = phases_of(plan, plan.main, store)
        if phases is not None:
            yield plan.main, phases


def phases_of(plan: InterleavedPlan, checkpoint: Checkpoint, store: Store) -> Phases | None:
    """Return where a checkpoint's phases lie at k = 10, over all clips; None where R is nowhere above 0."""
    sums: dict[int, list[np.ndarray]] = {CURRENT: [], NEXT: []}
    for number in range(len(plan.clips)):
        row = store.rows.get(plan.read_key(checkpoint, number))
        if row is not None and not row.failed:
            found = json.loads(row.text)["d"]
            for d in sums:
                sums[d].append(layer_sums(found[str(d)], TOPS.index(PHASES_K)))
    if not sums[CURRENT]:
        return None
    current, following = (excess_of(np.sum(sums[d], axis=0)) for d in (CURRENT, NEXT))
    first = first_phase(current)
    return Phases(first, first[-1], int(np.argmax(following))) if first else None


def layer_sums(found: dict[str, object], top: int) -> np.ndarray:
    """Return hits, the control's hits and words, [layers, 3], of one clip's reading at one k."""
    hits, control = (np.array(found[name], dtype=np.float64)[:, top] for name in ("hits", "control"))
    return np.stack([hits, control, np.full(len(hits), float(str(found["n"])))], axis=-1)

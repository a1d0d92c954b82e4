"""Facts about the plan: which checkpoints, whose words are the control, and what a result depends on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import UnknownKeyError
from precompute.interleaved.plan import (
    ARMS,
    CONTINUOUS,
    FINAL_STEP,
    MAIN,
    PATCHES,
    QUICK_ITEMS,
    SNAPSHOTS,
    UNTRAINED,
    InterleavedPlan,
    Phases,
    make_interleaved_plan,
)
from precompute.mini.interleaved import ARMS as TRAINED
from precompute.mini.interleaving import SPEECH_ONLY
from precompute.mini.train import FULL
from precompute.settings import Settings
from tests.precompute.fake_interleaved import fake_interleaved_plan, write_unit_models

PHASES = Phases((1, 2), 2, 3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_unit_models(tmp_path_factory.mktemp("units"))


@pytest.fixture(scope="module")
def plan(folders: tuple[Path, Path]) -> InterleavedPlan:
    return fake_interleaved_plan(*folders)


def test_the_grid_is_that_of_the_trainings() -> None:
    assert list(ARMS) == sorted(TRAINED, key=list(ARMS).index) and set(ARMS) == set(TRAINED)
    for key, (_, initialisation, data) in ARMS.items():
        assert (initialisation == "text") == TRAINED[key].begins_with_text
        assert (data == "speech only") == (TRAINED[key].mixture == SPEECH_ONLY)
    assert FULL.interleaved_steps == FINAL_STEP and SNAPSHOTS.name == "interleaved"


def test_the_full_model_is_measured_all_along_and_the_controls_at_their_end(
    plan: InterleavedPlan, folders: tuple[Path, Path]
) -> None:
    steps: dict[str, list[int]] = {}
    for one in plan.checkpoints:
        steps.setdefault(one.model, []).append(one.step)
    controls = {key: [FINAL_STEP] for key, *_ in ARMS.values() if key != MAIN}
    heard = {key: [0] for key in CONTINUOUS if key in steps}
    assert steps == {MAIN: [0, 600, 1200, FINAL_STEP], **controls, UNTRAINED: [0], **heard}
    assert heard, "a model with a continuous encoder stands beside them"
    assert plan.main is not None and plan.main.folder == folders[0] / MAIN, "what ships is what is measured"


def test_what_is_not_here_is_left_out_and_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    plan = make_interleaved_plan(Settings(models=folders[0], quick=True, snapshots=tmp_path))
    assert [one.name for one in plan.unit_models] == [f"{MAIN}/{FINAL_STEP}"]
    for model in ("random-interleaved", "text-speech", "random-speech", UNTRAINED):
        assert any(note.startswith(f"{model} is not here") for note in plan.notes)


def test_no_clips_words_are_its_own_control(plan: InterleavedPlan) -> None:
    assert len(plan.clips) == 4 * QUICK_ITEMS == len(plan.others)
    for clip, other in zip(plan.clips, plan.others, strict=True):
        assert other != tuple(clip.item.text.split())


def test_the_eraser_is_fitted_on_other_sentences(plan: InterleavedPlan) -> None:
    assert plan.fit and not {recipe.text for recipe in plan.fit} & {clip.item.text for clip in plan.clips}
    assert {recipe.voice for recipe in plan.fit} == {clip.voice for clip in plan.clips}


def test_donors_are_what_their_arm_says(plan: InterleavedPlan) -> None:
    assert plan.main is not None
    jobs = list(plan.patches(plan.main, PHASES))
    assert max(Counter(job.payload.recipient.recipe for job in jobs).values()) <= PATCHES
    assert len({job.key for job in jobs}) == len(jobs) and {len(job.payload.donors) for job in jobs} <= {
        1,
        2,
        3,
    }
    for job in jobs:
        word, donors = job.payload.recipient, dict(job.payload.donors)
        patched = donors["patched"]
        assert patched.text != word.text and patched.following != word.following
        assert all(donor.recipe.text != word.recipe.text for donor in donors.values())
        if "same_word" in donors:
            assert donors["same_word"].text == word.text
        if "unrelated" in donors:
            assert donors["unrelated"].text not in (word.text, patched.text)
    assert [job.key for job in plan.patches(plan.main, PHASES)] == [job.key for job in jobs]


def test_other_weights_words_or_layers_are_measured_anew(plan: InterleavedPlan, tmp_path: Path) -> None:
    main = plan.main
    assert main is not None
    changed = write_unit_models(tmp_path)
    (changed[0] / MAIN / "model.safetensors").write_bytes(b"trained again")
    other = fake_interleaved_plan(*changed)
    assert other.main is not None
    fact = plan.facts[0]
    assert plan.read_key(main, 0) != other.read_key(other.main, 0)
    assert plan.fact_key(main, fact) != other.fact_key(other.main, fact)
    early, same = plan.checkpoints[0], other.checkpoints[0]
    assert plan.read_key(early, 0) == other.read_key(same, 0), "the weights are the same there"
    elsewhere = replace(plan, others=plan.others[1:] + plan.others[:1])
    assert plan.read_key(main, 0) != elsewhere.read_key(main, 0)
    key = plan.read_key(main, 0)
    assert plan.erase_key(main, key, PHASES) != plan.erase_key(main, key, Phases((1,), 1, 3))
    fewer = replace(plan, fit=plan.fit[1:])
    assert plan.erase_key(main, key, PHASES) != fewer.erase_key(main, key, PHASES)


def test_an_unknown_model_or_an_own_corpus_is_refused(folders: tuple[Path, Path]) -> None:
    with pytest.raises(UnknownKeyError, match="no model that can be measured"):
        fake_interleaved_plan(*folders, systems=("mini-llama",))
    with pytest.raises(UnknownKeyError, match="leave --corpus out"):
        fake_interleaved_plan(*folders, corpus=Path("manifest.csv"))
    alone = fake_interleaved_plan(*folders, systems=(MAIN,))
    assert {one.model for one in alone.checkpoints} == {MAIN}

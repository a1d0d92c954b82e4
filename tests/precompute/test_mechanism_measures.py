"""Facts about the measurements themselves: on tiny real systems, and on states in which the truth is planted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.answers import answer_one, control_transcripts
from engine.hooks import Projection
from engine.probes import grouped_folds
from engine.systems.loading import load_speech_llm
from engine.voice import say_recipe
from precompute.jobs import Batch, Job, perform
from precompute.measure_mechanism import (
    TOO_FEW,
    Bench,
    ProbeStates,
    arms_of,
    erase_states,
    hear_all,
    read_targets,
    stacked,
)
from precompute.mechanism import grid
from precompute.mechanism.grid import Setting
from precompute.mechanism.plan import INPUT, MeasuredClip, ProbeClip, make_mechanism_plan
from precompute.settings import Settings
from tests.engine.tiny_systems import ears_config, write_backbone, write_ears, write_erasers

pytest.importorskip("espeakng_loader", reason="pip install espeakng-loader: the clips are spoken by it")

WHO = "mini-ultravox"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_backbone(folder / "mini-llama")
    write_ears(folder / WHO, ears_config())
    write_erasers(load_speech_llm(WHO, folder), folder / WHO / "erasers")
    return folder


def clips_of(models: Path, setting: str = "") -> list[MeasuredClip]:
    plan = make_mechanism_plan(Settings(models=models, limit=1, tasks=("topic", "speaker")))
    return [
        MeasuredClip(clip.recipe, clip.item.question, clip.gold, clip.item.aliases, setting)
        for clip in plan.behaviour.clips
    ]


def measured(models: Path, kind: str, clips: list[MeasuredClip]) -> list[tuple[MeasuredClip, Any]]:
    jobs = tuple(Job(kind, str(n), WHO, clip) for n, clip in enumerate(clips))
    rows = perform(Batch(jobs, models)).rows
    return [(clip, json.loads(row.text)) for clip, row in zip(clips, rows, strict=True)]


def test_the_lens_reads_every_layer_and_counts_every_word(models: Path) -> None:
    for clip, found in measured(models, "lens", clips_of(models)):
        spoken = say_recipe(clip.recipe)
        assert list(found["texts"]) == ["0", "1", "2", "3"]
        n_positions = -(-len(spoken.clip.samples) // 2560)
        for layer in found["texts"]:
            asked, *hits = found["current"][layer]
            assert 0 < asked <= n_positions and hits == sorted(hits) and hits[-1] <= asked
            assert found["following"][layer][0] < asked, "the last word has none after it"
            assert found["mismatched"][layer][0] == asked * len(control_transcripts())


@pytest.fixture
def small_grid(monkeypatch: pytest.MonkeyPatch) -> str:
    setting = Setting("one layer", ("text", "acoustic"), "linear", "audio", "single layer", True, 1.0)
    monkeypatch.setitem(grid.GRID, setting.name, setting)
    arms_of.cache_clear()
    return setting.name


def test_every_arm_is_answered_and_controls_match_in_rank_and_in_change(
    models: Path, small_grid: str
) -> None:
    """Five draws of equal rank move states unlike far; those of equal change as far as the eraser."""
    system = load_speech_llm(WHO, models)
    for clip, arms in measured(models, "erase", clips_of(models, small_grid)):
        plain, *others = arms
        alone = answer_one(system, system.hear(say_recipe(clip.recipe).clip), clip.question)
        assert (plain["arm"], plain["text"], plain["label"]) == ("plain", alone.text, alone.label)
        assert plain["relative_change"] == 0.0 and plain["log_likelihood_change"] == 0.0
        assert len(others) == 2 * 4 * (1 + len(grid.SEEDS) + len(grid.CHANGE_SEEDS)), (
            "two conditions at layers 0 to 3"
        )
        for layers in {arm["layers"] for arm in others}:
            for condition in ("text", "acoustic"):
                here = [arm for arm in others if (arm["layers"], arm["condition"]) == (layers, condition)]
                erased = here[0]
                assert erased["arm"] == "erased" and len({arm["kept_rank"] for arm in here}) == 1
                changes = {
                    kind: [arm["relative_change"] for arm in here if arm["arm"] == kind]
                    for kind in ("rank_matched", "change_matched")
                }
                assert changes["change_matched"] == pytest.approx([erased["relative_change"]] * 3, rel=1e-3)
                assert np.ptp(changes["rank_matched"]) > 1e-4, "five different draws"


def test_over_many_layers_the_control_of_equal_change_moves_states_just_as_far(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug: its step was that of the eraser on the control's own states, which still held what is erased.

    At nine layers it moved them two to three times as far as the eraser did, and was no control.
    """
    setting = Setting("all at once", ("text", "acoustic"), "linear", "all", "nine layers", True, 1.0)
    monkeypatch.setitem(grid.GRID, setting.name, setting)
    arms_of.cache_clear()
    for _, arms in measured(models, "erase", clips_of(models, setting.name)):
        for condition in ("text", "acoustic"):
            changes = {
                kind: [
                    arm["relative_change"]
                    for arm in arms
                    if (arm["condition"], arm["arm"]) == (condition, kind)
                ]
                for kind in ("erased", "rank_matched", "change_matched")
            }
            assert changes["change_matched"] == pytest.approx(changes["erased"] * 3, rel=1e-3)
            assert changes["rank_matched"] != pytest.approx(changes["erased"] * 5, rel=1e-2)


def probe_clips(models: Path) -> tuple[ProbeClip, ...]:
    plan = make_mechanism_plan(Settings(models=models, limit=1))
    return tuple(
        ProbeClip(clip.recipe, clip.fold, clip.sex, clip.emotion, (0.0, *(120.0,) * 200))
        for clip in plan.probed
    )


def test_an_untrained_twin_leaves_the_system_as_it_was(models: Path) -> None:
    clips = probe_clips(models)[:2]
    before = hear_all(WHO, models, clips, False)
    twin = hear_all(WHO, models, clips, True)
    hear_all.cache_clear()
    after = hear_all(WHO, models, clips, False)
    for one, other, again in zip(before, twin, after, strict=True):
        assert sorted(one.by_layer) == [INPUT, 0, 1, 2, 3]
        n_positions = len(one.by_layer[0])
        assert one.by_layer[INPUT].shape == (n_positions, 16 * 80)
        assert all(len(target) == n_positions for target in one.targets.values())
        np.testing.assert_array_equal(one.by_layer[3], again.by_layer[3])
        np.testing.assert_array_equal(one.by_layer[INPUT], other.by_layer[INPUT])
        assert np.abs(one.by_layer[3] - other.by_layer[3]).mean() > 0.1 * np.abs(one.by_layer[3]).mean()


def planted_bench(models: Path) -> tuple[Bench, list[np.ndarray]]:
    """Thirty clips whose states hold the energy in one direction and the sex of the voice in another."""
    generator = np.random.default_rng(0)
    recipe = probe_clips(models)[0].recipe
    clips, heard, states = [], [], []
    for n in range(30):
        energy = generator.standard_normal((12, 1)) * 10 - 30
        noise = generator.standard_normal((12, 8))
        noise[:, 0] = energy[:, 0]
        noise[:, 1] += 8 * (n % 2)
        states.append(noise.astype(np.float32))
        clips.append(ProbeClip(recipe, n % 3, "woman" if n % 2 else "man", ""))
        letters = np.eye(27)[generator.integers(27, size=12)]
        heard.append(
            ProbeStates(
                {0: states[-1]}, 1.0, {"energy": energy, "pitch": energy * np.nan, "letters": letters}, "ab"
            )
        )
    numbers = np.arange(30) % 3
    folds = tuple(grouped_folds(numbers, numbers))
    return Bench(tuple(clips), tuple(heard), folds, np.arange(30), 4), states


TARGETS = ("energy", "pitch", "letters", "speaker", "emotion")


def test_what_is_planted_is_read_and_what_is_not_is_not(models: Path) -> None:
    bench, states = planted_bench(models)
    read = read_targets(bench, states, shuffle=True, targets=TARGETS)
    assert read["energy"].score > 0.99 and abs(read["energy"].shuffled) < 0.1
    assert (read["energy"].n_clips, read["energy"].n_frames) == (30, 360)
    assert read["speaker"].score == 1.0 and read["speaker"].shuffled < 0.8 and read["speaker"].n_frames == 0
    assert -0.2 < read["letters"].score < 0.05
    assert np.isnan(read["pitch"].score) and "No row" in read["pitch"].note, "nothing is voiced"
    assert np.isnan(read["emotion"].score) and read["emotion"].note == TOO_FEW


def test_erasing_the_planted_direction_takes_it_and_nothing_else(models: Path) -> None:
    bench, states = planted_bench(models)
    direction = torch.eye(8)[:, :1]
    erased = erase_states(states, Projection(direction, direction.T))
    read = read_targets(bench, erased, shuffle=False, targets=("energy", "speaker"))
    assert read["energy"].score < 0.05 and read["speaker"].score == 1.0


def test_input_features_are_the_frames_of_a_position_side_by_side() -> None:
    mel = np.arange(10.0).reshape(2, 5)  # two mels, five frames of 10 ms
    found = stacked(mel, 3, 0.02)
    assert found.tolist() == [[0, 5, 1, 6], [2, 7, 3, 8], [4, 9, 4, 9]], "the last frame is held"

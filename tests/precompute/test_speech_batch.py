"""Facts about batches of speech: a curriculum that widens, batches that a step alone decides, exact cuts."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from engine.words import SpokenWord
from precompute.mini.augment import Strength
from precompute.mini.speech_batch import WINDOW_S, Curriculum, SpeechSource, Spoken, cut_after_words
from precompute.mini.synth import FlitePool, Rendering, length_class
from precompute.mini.voices import Voice
from precompute.mini.world import build_world

# All settings in full: the defaults belong to the recipe and may move with it.
CURRICULUM = Curriculum(
    1000,
    doubling_steps=60.0,
    few_sentences=256,
    few_voices=8,
    voices_from=0.05,
    voices_all=0.25,
    augmentation_from=0.22,
    augmentation_full=0.50,
    augmentation_limit=0.6,
)


@pytest.fixture(scope="module")
def source(flite_pool: FlitePool) -> SpeechSource:
    pytest.importorskip("espeakng_loader")
    return SpeechSource(build_world().train, flite_pool, 7)


def test_sentences_double_until_all_are_in_use() -> None:
    assert CURRICULUM.n_sentences(0, 17_000) == 256
    assert CURRICULUM.n_sentences(60, 17_000) == 512
    assert CURRICULUM.n_sentences(120, 17_000) == 1024
    assert CURRICULUM.n_sentences(1000, 17_000) == 17_000
    assert CURRICULUM.n_sentences(10**6, 17_000) == 17_000
    assert CURRICULUM.n_sentences(0, 100) == 100


def test_voices_come_in_between_a_twentieth_and_a_quarter() -> None:
    assert [CURRICULUM.n_voices(step, 108) for step in (0, 50, 150, 250, 1000)] == [8, 8, 58, 108, 108]


def test_augmentation_rises_to_its_limit_and_stays() -> None:
    assert [CURRICULUM.strength(step).value for step in (0, 220)] == [0.0, 0.0]
    assert CURRICULUM.strength(360).value == pytest.approx(0.5)
    assert CURRICULUM.strength(500).value == CURRICULUM.strength(999).value == 0.6


@pytest.mark.parametrize("what", ["n_sentences", "n_voices"])
def test_the_curriculum_never_narrows(what: str) -> None:
    counts = [getattr(CURRICULUM, what)(step, 500) for step in range(0, 1000, 10)]
    assert counts == sorted(counts) and counts[-1] == 500


def test_a_step_alone_decides_its_sentences_and_voices(source: SpeechSource) -> None:
    """espeak-ng's pitch flutter runs on from call to call, so samples are not compared."""
    for step in (0, 400):
        one, two = (source.draw(step, 6, CURRICULUM) for _ in range(2))
        assert [(s.sentence, s.voice) for s in one] == [(s.sentence, s.voice) for s in two]
    assert [s.sentence for s in source.draw(1, 6, CURRICULUM)] != [
        s.sentence for s in source.draw(2, 6, CURRICULUM)
    ]


def test_the_first_steps_have_a_few_short_sentences_and_no_flite(source: SpeechSource) -> None:
    drawn = [spoken for step in range(6) for spoken in source.draw(step, 6, CURRICULUM)]
    assert all(spoken.voice.engine == "espeak" for spoken in drawn)
    assert len({spoken.voice for spoken in drawn}) <= CURRICULUM.few_voices
    assert max(len(spoken.sentence.text) for spoken in drawn) < 45


def test_later_steps_draw_flite_too(source: SpeechSource) -> None:
    engines = {s.voice.engine for step in range(900, 906) for s in source.draw(step, 6, CURRICULUM)}
    assert engines == {"espeak", "flite"}


def test_said_clips_of_a_batch_are_of_one_length_class(source: SpeechSource) -> None:
    for step in range(900, 904):
        said = [s for s in source.draw(step, 6, CURRICULUM) if s.voice.engine == "espeak"]
        assert len({length_class(spoken.sentence.text) for spoken in said}) <= 1


def test_only_training_sentences_are_drawn(source: SpeechSource) -> None:
    known = {sentence.text for sentence in build_world().train}
    assert {s.sentence.text for step in range(5) for s in source.draw(900 + step, 4, CURRICULUM)} <= known


def test_a_batch_fits_the_window_and_knows_its_lengths(source: SpeechSource) -> None:
    for step in (0, 700):
        batch = source.batch(step, 4, CURRICULUM)
        clips, mels, frames = batch.features.shape
        assert (clips, mels) == (4, 80) and frames % 2 == 0 and frames <= 100 * WINDOW_S
        assert batch.mel_lengths.shape == (4,) and int(batch.mel_lengths.max()) <= frames
        for changed, length in zip(batch.changed, batch.mel_lengths.tolist(), strict=True):
            assert length == min(100 * WINDOW_S, -(-len(changed.wave) // 160))
        assert torch.isfinite(batch.features).all()


def test_a_clip_longer_than_the_window_is_cut(source: SpeechSource) -> None:
    sentence = build_world().train[0]
    long = Rendering(np.random.default_rng(0).standard_normal(12 * 16_000).astype(np.float32), 16_000, ())
    spoken = Spoken(sentence, Voice("espeak", "en-us+f1", "woman"), long)
    batch = source.features((spoken,), Strength(0.0), random.Random(0))
    assert batch.features.shape[-1] == 100 * WINDOW_S == int(batch.mel_lengths[0])


def test_a_cut_ends_with_its_last_word() -> None:
    words = (SpokenWord("one", 0.0, 0.5), SpokenWord("two", 0.5, 0.8), SpokenWord("three", 0.8, 1.0))
    cut = cut_after_words(Rendering(np.arange(1000, dtype=np.float32), 1000, words), 2)
    assert len(cut.samples) == 800 and cut.words == words[:2] and cut.rate_hz == 1000

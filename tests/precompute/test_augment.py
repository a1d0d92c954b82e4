"""Facts about the augmentation: strength 0 changes nothing, seeds repeat, word times can be followed."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from engine.audio import SAMPLE_RATE_HZ
from precompute.mini.augment import N_MELS, WARPS, MelFront, Strength, _warped_filters, change_waveform

RATE_HZ = 22_050
NONE, FULL = Strength(0.0), Strength(1.0)


def noise(duration_s: float, seed: int, rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (0.1 * generator.standard_normal(round(duration_s * rate_hz))).astype(np.float32)


@pytest.fixture(scope="module")
def front() -> MelFront:
    return MelFront(8)


def test_plain_features_are_the_librarys(front: MelFront) -> None:
    """What the adapters compute at run time must be what the models were trained on."""
    for seed, duration_s in enumerate((0.5, 1.3, 3.0)):
        wave = noise(duration_s, seed)
        extractor = WhisperFeatureExtractor(feature_size=N_MELS, chunk_length=8)
        theirs = extractor(wave, sampling_rate=SAMPLE_RATE_HZ, padding="longest", return_tensors="pt")
        ours = front(torch.tensor(wave)[None], NONE, random.Random(0))
        torch.testing.assert_close(ours, theirs.input_features, atol=1e-4, rtol=0)


def test_strength_0_never_changes_features_and_full_strength_does(front: MelFront) -> None:
    waves = torch.tensor(noise(1.0, 0))[None]
    plain = front(waves, NONE, random.Random(0))
    assert all(torch.equal(plain, front(waves, NONE, random.Random(seed))) for seed in range(5))
    assert not all(torch.equal(plain, front(waves, FULL, random.Random(seed))) for seed in range(5))


def test_features_repeat_by_seed(front: MelFront) -> None:
    waves = torch.tensor(np.stack([noise(1.0, 0), noise(1.0, 1)]))
    one, two = (front(waves, FULL, random.Random(3)) for _ in range(2))
    assert torch.equal(one, two) and torch.isfinite(one).all()


def test_changes_repeat_by_seed() -> None:
    samples, others = noise(1.0, 0, RATE_HZ), [noise(1.0, seed, RATE_HZ) for seed in (1, 2, 3, 4)]
    for seed in range(10):
        one, two = (change_waveform(samples, RATE_HZ, others, FULL, random.Random(seed)) for _ in range(2))
        assert np.array_equal(one.wave, two.wave) and (one.speed, one.lead_s) == (two.speed, two.lead_s)
        assert one.wave.dtype == np.float32 and np.abs(one.wave).max() <= 1


def test_strength_0_keeps_speed_and_sound() -> None:
    """Silence before and after and the level are still drawn: they change nothing that is said."""
    samples = noise(1.0, 0)
    for seed in range(5):
        changed = change_waveform(samples, SAMPLE_RATE_HZ, [], NONE, random.Random(seed))
        start = round(changed.lead_s * SAMPLE_RATE_HZ)
        kept = changed.wave[start : start + len(samples)]
        assert changed.speed == 1 and not changed.wave[:start].any()
        assert np.corrcoef(kept, samples)[0, 1] > 0.999


def test_word_times_can_be_followed_through_every_change() -> None:
    """A burst at a known time is found where t / speed + lead says, whatever room or noise there is."""
    generator = np.random.default_rng(0)
    for seed in range(40):
        at_s = 0.2 + 0.6 * random.Random(seed).random()
        samples = np.zeros(RATE_HZ, np.float32)
        start = round(at_s * RATE_HZ)
        samples[start : start + 220] = generator.standard_normal(220)
        changed = change_waveform(samples, RATE_HZ, [], FULL, random.Random(seed))
        energy = np.convolve(changed.wave**2, np.ones(160), "same")
        centre_s = at_s + 110 / RATE_HZ
        expected_s = centre_s / changed.speed + changed.lead_s
        assert np.argmax(energy) / SAMPLE_RATE_HZ == pytest.approx(expected_s, abs=0.012), seed


def test_speed_stays_within_a_seventh_and_shortens_the_clip() -> None:
    samples = noise(1.0, 0, RATE_HZ)
    speeds = [change_waveform(samples, RATE_HZ, [], FULL, random.Random(seed)).speed for seed in range(60)]
    assert 0.86 <= min(speeds) < 0.9 and 1.1 < max(speeds) <= 1.14


def test_a_changed_vocal_tract_moves_the_bands() -> None:
    """The filter centred at bin b is centred at b / warp afterwards; a warp of 1 changes nothing."""
    plain = _warped_filters(1.0)
    assert min(WARPS) < 0.9 and max(WARPS) > 1.1
    for warp in (0.82, 1.18):
        band = 40
        assert _warped_filters(warp)[:, band].argmax() == pytest.approx(plain[:, band].argmax() / warp, abs=1)


def test_a_change_happens_as_often_as_strength_and_chance_say() -> None:
    rng = random.Random(0)
    assert not any(NONE.happens(1.0, rng) for _ in range(100))
    assert sum(Strength(0.5).happens(0.6, rng) for _ in range(4000)) / 4000 == pytest.approx(0.3, abs=0.03)

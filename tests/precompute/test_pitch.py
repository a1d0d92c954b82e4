"""Facts about tracked pitch, by hand and on a tone."""

from __future__ import annotations

import numpy as np
import pytest

from engine.audio import SAMPLE_RATE_HZ
from engine.words import even_ends
from precompute.pitch import pitch_octaves, track_pitch_hz


def test_a_tone_is_tracked_and_silence_is_not() -> None:
    """A rich tone of 150 Hz for a second, then a second of nothing."""
    seconds = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = sum(np.sin(2 * np.pi * 150 * n * seconds) / n for n in range(1, 6)) * 0.2
    track = track_pitch_hz(np.concatenate([tone, np.zeros(SAMPLE_RATE_HZ)]).astype(np.float32), 0.02)
    assert track[5:40] == pytest.approx(150, rel=0.01) and (track[60:] == 0).all()


def test_pitch_is_the_mean_of_voiced_frames_in_octaves() -> None:
    """Two positions of 160 ms: two of eight frames at 200 Hz are enough, one is not."""
    track = np.array([200.0, 200.0, *(0.0,) * 6, 400.0, *(0.0,) * 7])
    octaves = pitch_octaves(track, even_ends(3, 0.16), 0.02)
    assert octaves[0] == pytest.approx(1.0) and np.isnan(octaves[1:]).all()
    assert pitch_octaves(np.array([50.0, 0.0]), even_ends(2, 0.02), 0.02)[0] == pytest.approx(-1.0)

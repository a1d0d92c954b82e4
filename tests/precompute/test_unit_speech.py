"""Facts about the cache of units: word borders fall on frames, and a chunk is read as it was made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.systems.unit_lm import WhisperFrames, nearest, read_centres
from engine.systems.weights import MODELS
from engine.voice import is_available
from engine.words import SpokenWord
from precompute.mini import unit_speech
from precompute.mini.unit_fit import fit_centres, say_plain
from precompute.mini.unit_speech import Saying, encode_clips, word_frames

EARS = MODELS / "mini-whisper"
LAYER = 4


def test_a_frame_is_the_words_in_which_its_centre_lies() -> None:
    words = (
        SpokenWord("a", 0.05, 0.11),
        SpokenWord("b", 0.11, 0.22),
        SpokenWord("c", 0.22, 0.225),
        SpokenWord("d", 0.225, 9.0),
    )
    # Centres 0.02, 0.06, 0.10 | 0.14, 0.18, | 0.22 .. : the silence before is the first word's, "c" has one frame.
    assert word_frames(words, 12) == (0, 3, 5, 6)
    assert word_frames((words[0], SpokenWord("late", 2.0, 3.0)), 12) == (0, 12)


@pytest.mark.skipif(
    not (is_available() and (EARS / "model.bin").exists()), reason="no espeak-ng wheel or no mini-whisper"
)
def test_what_is_read_from_the_cache_is_what_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_speech, "CHUNK_CLIPS", 2)
    encoder = WhisperFrames(EARS, LAYER)
    centres = tmp_path / "centres.npz"
    np.savez(centres, centres=fit_centres(encoder.features(say_plain("the capital of france", "fit")[0]), 4))
    sayings = [Saying("the sea is calm", 0), Saying("yes", 0), Saying("the sea is calm", 1)]
    clips = encode_clips(tmp_path / "units", (EARS, LAYER), centres, sayings)
    assert [clip.text for clip in clips] == [saying.text for saying in sayings]
    samples, words = say_plain("the sea is calm", "0")
    own = nearest(encoder.features(samples), read_centres(centres))
    # Another process says it with another flutter: a frame may fall to another centre, few do.
    assert abs(len(clips[0].frames) - len(own)) <= 1
    n = min(len(own), len(clips[0].frames))
    assert (clips[0].frames[:n] == own[:n]).mean() > 0.8
    assert np.abs(np.array(clips[0].word_starts) - np.array(word_frames(words, len(own)))).max() <= 1
    times = [file.stat().st_mtime_ns for file in sorted((tmp_path / "units").glob("*"))]
    again = encode_clips(tmp_path / "units", (EARS, LAYER), centres, sayings)
    assert len(times) == 2 and [f.stat().st_mtime_ns for f in sorted((tmp_path / "units").glob("*"))] == times
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(clips, again, strict=True))

"""Facts about the voice that says units: the longest runs are taken, and a recorded sentence comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine.audio import clip_from_samples
from engine.errors import ModelFilesError, VoiceError
from engine.interleaved import Piece, Recording, UnitVoice, cross_fade, read_unit_voice, write_unit_voice
from engine.systems.unit_lm import merge_repeats
from engine.voice import is_available, speak

NEEDS_A_VOICE = pytest.mark.skipif(not is_available(), reason="no espeak-ng wheel to say the recordings")


def recorded(*frames: list[int]) -> UnitVoice:
    return UnitVoice("en-us", 150, tuple(Recording("the sea", merge_repeats(np.array(f))) for f in frames))


def test_the_longest_run_is_taken_each_time() -> None:
    voice = recorded([1, 2, 9], [1, 1, 2, 3], [4, 3, 4, 5])
    assert voice.pieces([1, 2, 3, 4, 5]) == (Piece(1, 0, 3), Piece(2, 2, 4))
    assert voice.pieces([9, 9]) == (Piece(0, 2, 3), Piece(0, 2, 3))


def test_of_equal_runs_the_one_whose_unit_before_agrees_is_taken() -> None:
    voice = recorded([1, 2], [8, 6], [2, 6])
    assert voice.pieces([1, 2, 6]) == (Piece(0, 0, 2), Piece(2, 1, 2))
    assert voice.pieces([6]) == (Piece(1, 1, 2),)


def test_units_that_were_never_recorded_are_left_out() -> None:
    voice = recorded([1, 2, 3])
    assert voice.pieces([7, 1, 2, 7, 3]) == (Piece(0, 0, 2), Piece(0, 2, 3))
    with pytest.raises(VoiceError, match="None of these units was recorded"):
        voice.say([7, 7])


def test_a_cross_fade_of_equal_sounds_is_that_sound() -> None:
    one = np.ones(50, np.float32)
    np.testing.assert_allclose(cross_fade(one, one, 10), np.ones(90), atol=1e-6)
    falling = cross_fade(one, 0 * one, 10)
    assert len(falling) == 90 and (np.diff(falling) <= 1e-6).all() and falling[39] == 1 and falling[50] == 0


@NEEDS_A_VOICE
def test_a_recorded_sentence_comes_back_as_it_was_said() -> None:
    samples, rate_hz, _ = speak("the sea is calm", voice="en-us", rate_wpm=150)
    original = clip_from_samples(samples, rate_hz, "said").samples
    n_frames = -(-len(original) // 640)
    frames = np.arange(n_frames) // 2
    voice = UnitVoice("en-us", 150, (Recording("the sea is calm", merge_repeats(frames)),))
    found = voice.say(frames[::2].tolist()).samples
    # Frames are whole, and a fade goes before: less than a frame more.
    assert 0 <= len(found) - len(original) < 640 + 160
    n = min(len(found), len(original))
    # espeak-ng's flutter differs from call to call; the loudness of each 40 ms does not.
    loud, wanted = (np.abs(s[: n // 640 * 640]).reshape(-1, 640).mean(1) for s in (found, original))
    assert np.corrcoef(loud, wanted)[0, 1] > 0.95
    reverse = voice.say(frames[::2][::-1].tolist()).samples
    back = np.abs(reverse[: n // 640 * 640]).reshape(-1, 640).mean(1)
    assert np.corrcoef(back, wanted)[0, 1] < 0.8


def test_a_voice_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "voice.json"
    write_unit_voice(file, "en-us", 150, [("the sea", np.array([4, 4, 2]))])
    voice = read_unit_voice(file)
    assert (voice.voice, voice.rate_wpm, voice.recordings[0].text) == ("en-us", 150, "the sea")
    assert voice.recordings[0].units.durations.tolist() == [2, 1]
    file.write_text(json.dumps({"voice": "en-us"}), encoding="utf-8")
    for damaged in (file, tmp_path / "none.json"):
        with pytest.raises(ModelFilesError, match="is missing or damaged"):
            read_unit_voice(damaged)

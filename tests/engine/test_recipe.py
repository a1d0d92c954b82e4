"""Facts about recipes: the same recipe gives the same bytes, in any order and in any process."""

from __future__ import annotations

import hashlib
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine import voice
from engine.errors import ClipError, VoiceError
from engine.voice import Recipe, recipe_of, say_recipe, speak, speak_afresh, spoil

pytest.importorskip("espeakng_loader", reason="pip install espeakng-loader to test the voice")

SPOKEN = Recipe("the rain has stopped", "en-us+f3", 165, 50, 50, 100)
OTHER = replace(SPOKEN, text="who wrote the book", voice="en-gb-x-rp+m7", pitch=44)


def settings(recipe: Recipe) -> dict:
    return {name: getattr(recipe, name) for name in ("voice", "rate_wpm", "pitch", "pitch_range", "volume")}


def test_what_was_said_before_changes_nothing() -> None:
    """The library itself carries its flutter over, so that the same call twice differs."""
    first = speak_afresh(SPOKEN.text, **settings(SPOKEN))
    speak_afresh(OTHER.text, **settings(OTHER))
    again = speak_afresh(SPOKEN.text, **settings(SPOKEN))
    assert np.array_equal(first[0], again[0]) and first[1:] == again[1:]
    plain = [speak(SPOKEN.text, **settings(SPOKEN))[0] for _ in range(2)]
    assert not np.array_equal(plain[0], plain[1])
    assert [word.text for word in first[2]] == SPOKEN.text.split()


def test_a_helper_that_was_killed_is_replaced() -> None:
    before = speak_afresh(SPOKEN.text, **settings(SPOKEN))[0]
    helper = voice._helper
    assert helper is not None
    os.kill(helper.pid, signal.SIGKILL)
    assert np.array_equal(before, speak_afresh(SPOKEN.text, **settings(SPOKEN))[0])
    assert voice._helper is not helper


@pytest.mark.parametrize("wrong", [{"voice": "nobody"}, {"rate_wpm": 9}])
def test_faults_of_the_voice_come_through(wrong: dict) -> None:
    with pytest.raises(VoiceError):
        speak_afresh("hello", **{**settings(SPOKEN), **wrong})
    with pytest.raises(VoiceError, match="no text"):
        speak_afresh(" ", **settings(SPOKEN))


def test_a_recipe_survives_its_line() -> None:
    noisy = replace(SPOKEN, noise="babble", snr_db=5.0, seed=7)
    for recipe in (SPOKEN, noisy, Recipe(file="a/b.wav", sha256="00", noise="room", seed=2)):
        assert recipe_of(recipe.to_json()) == recipe
    assert "\n" not in noisy.to_json() and "rate" not in Recipe(file="x", sha256="y").to_json()
    assert SPOKEN.sound == noisy.sound != OTHER.sound
    for line in ("", "[]", "{", '{"colour": 1}'):
        with pytest.raises(ClipError, match="recipe cannot be read"):
            recipe_of(line)


def test_noise_is_added_as_the_recipe_says() -> None:
    clean = say_recipe(SPOKEN).clip
    assert spoil(clean, SPOKEN) is None
    babble = spoil(clean, replace(SPOKEN, noise="babble", snr_db=5.0, seed=7))
    room = spoil(clean, replace(SPOKEN, noise="room", seed=7))
    assert babble is not None and abs(babble.snr_db_achieved - 5) < 0.05
    assert room is not None and math.isnan(room.snr_db_achieved)
    assert len(room.clip.samples) == len(clean.samples)


def test_a_recording_must_be_the_one_that_was_planned(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 0.1 * np.sin(np.arange(16_000) / 9), 16_000)
    digest = hashlib.sha256((tmp_path / "a.wav").read_bytes()).hexdigest()
    spoken = say_recipe(Recipe(file="a.wav", sha256=digest), tmp_path)
    assert spoken.clip.duration_s == 1.0 and spoken.words == ()
    with pytest.raises(ClipError, match="has changed"):
        say_recipe(Recipe(file="a.wav", sha256="0"), tmp_path)
    with pytest.raises(ClipError, match="not where its manifest says") as caught:
        say_recipe(Recipe(file="b.wav", sha256="0"), tmp_path)
    assert str(tmp_path) not in str(caught.value)

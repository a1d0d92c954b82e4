"""Facts about the synthetic voice: one timed word per word of the text, settings that act, refusals.

Facts about recipes: the same recipe gives the same bytes, in any order and in any process.
"""

from __future__ import annotations

import hashlib
import math
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine import voice
from engine.audio import SAMPLE_RATE_HZ
from engine.errors import ClipError, VoiceError
from engine.voice import (
    NATIVE_RATE_HZ,
    VOICES,
    Recipe,
    espeak_variants,
    is_available,
    recipe_of,
    say,
    say_recipe,
    speak,
    speak_afresh,
    spoil,
)

pytest.importorskip("espeakng_loader", reason="pip install espeakng-loader to test the voice")

TEXTS = [
    "hello",
    "i don't think it's one of the best days in the world",
    "he paid 3 pounds and 1234 dollars in 1999",
    "what did you do to be there for a while as well as i would have been able to",
    "the cat's toy isn't ours y'all they've gone",
    "well - it was (almost) 5:30, mr. smith!  and   then: nothing?",
    "caf\u00e9 na\u00efve 100% & more",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("key", ["en-us+f3", "en-gb+m7"])
def test_one_word_per_word_and_no_gap_between_them(text: str, key: str) -> None:
    samples, rate_hz, words = speak(text, voice=key)
    assert [word.text for word in words] == text.split()
    assert words[0].start_s == 0 and words[-1].end_s == pytest.approx(len(samples) / rate_hz, abs=1e-3)
    for word, after in pairwise(words):
        assert word.start_s < word.end_s == after.start_s
    assert samples.dtype == np.float32 and rate_hz == NATIVE_RATE_HZ and 0.05 < np.max(np.abs(samples)) <= 1


def test_a_pair_said_as_one_word_is_divided_by_its_letters() -> None:
    """Half a second for the five letters of "of the": 0.2 s and 0.3 s."""
    times = voice._word_times("of the days", [(0, 0), (7, 11_025)], 22_050)
    assert [(word.start_s, word.end_s) for word in times] == [(0, 0.2), (0.2, 0.5), (0.5, 1.0)]


def test_stray_events_inside_a_word_change_nothing() -> None:
    plain = voice._word_times("in 1999 then", [(0, 0), (3, 4000), (8, 9000)], 12_000)
    stray = voice._word_times("in 1999 then", [(0, 0), (3, 4000), (4, 6000), (2, 7000), (8, 9000)], 12_000)
    assert plain == stray


def test_word_starts_follow_the_sound() -> None:
    """A stop consonant closes the mouth: low sound just before "dogs", a loud vowel within it."""
    samples, rate_hz, words = speak("stop. dogs bark", voice="en-us")
    start = round(words[1].start_s * rate_hz)
    before, within = samples[start - 1500 : start - 200], samples[start : start + 4000]
    assert np.max(np.abs(before)) < 0.1 * np.max(np.abs(within))


def test_settings_act() -> None:
    slow, fast = (speak("one two three four", rate_wpm=rate_wpm)[0] for rate_wpm in (100, 300))
    assert len(slow) > 1.5 * len(fast)
    soft, loud = (np.max(np.abs(speak("one two", volume=volume)[0])) for volume in (20, 100))
    assert soft < 0.5 * loud
    low, high = (dominant_hz(speak("mmm aaa mmm", pitch=pitch, pitch_range=0)[0]) for pitch in (5, 95))
    assert high > 1.3 * low


def dominant_hz(samples: np.ndarray) -> float:
    """The pitch, as the highest peak of the autocorrelation between 60 and 400 Hz."""
    spectrum = np.abs(np.fft.rfft(samples, 2 * len(samples))) ** 2
    autocorrelation = np.fft.irfft(spectrum)
    shortest, longest = NATIVE_RATE_HZ // 400, NATIVE_RATE_HZ // 60
    return NATIVE_RATE_HZ / (shortest + int(np.argmax(autocorrelation[shortest:longest])))


def test_every_offered_voice_speaks_and_differs() -> None:
    assert is_available() and len(VOICES) == len({choice.key for choice in VOICES}) >= 8
    clips = [say("the rain has stopped", choice.key).clip for choice in VOICES]
    assert len({clip.fingerprint for clip in clips}) == len(VOICES)
    assert all(0.5 < clip.duration_s < 4 for clip in clips)


def test_british_english_is_not_the_voice_before_it() -> None:
    """espeak-ng 1.52 refuses "en-gb" by name and goes on with the last voice, here a Scottish one."""
    speak("the rain", voice="en-gb-scotland+f4")
    british = speak("grass and path", voice="en-gb")[0]
    speak("the rain", voice="en-us+m1")
    assert abs(len(speak("grass and path", voice="en-gb")[0]) - len(british)) < 0.02 * len(british)


def test_variants_are_those_of_the_wheel() -> None:
    assert len(espeak_variants()) >= 60 and {"f1", "f5", "m1", "m8", "klatt"} <= set(espeak_variants())


def test_say_gives_a_clip_at_sixteen_khz_with_times_on_its_clock() -> None:
    spoken = say("  the  rain has\nstopped ", "en-us+f3")
    assert [word.text for word in spoken.words] == ["the", "rain", "has", "stopped"]
    assert spoken.words[-1].end_s == pytest.approx(len(spoken.clip.samples) / SAMPLE_RATE_HZ, abs=1e-3)
    assert spoken.clip.name == "Spoken text"


@pytest.mark.parametrize(
    "text",
    ["", "   \n", "x" * 201, "...", "\u4f60\u597d", "\u2603", "[[h@l@U]]", "<b>hi</b>", "a\x01b", "\u0661"],
)
def test_what_cannot_be_said_is_refused(text: str) -> None:
    with pytest.raises(VoiceError) as caught:
        say(text)
    assert "/" not in str(caught.value) and len(str(caught.value)) < 120


def test_speech_over_thirty_seconds_is_refused() -> None:
    with pytest.raises(VoiceError, match="limit is 30 s"):
        say("9876 " * 39, rate_wpm=80)


@pytest.mark.parametrize("key", ["nope", "en-us+nope", "en-us+../f1", "en\0us", "", "en-us+"])
def test_unknown_voices_are_refused(key: str) -> None:
    with pytest.raises(VoiceError, match="no such voice"):
        speak("hello", voice=key)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    "setting",
    [
        {"rate_wpm": 79},
        {"rate_wpm": 451},
        {"pitch": 100},
        {"pitch_range": -1},
        {"volume": 201},
        {"pitch": 1.5},
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(VoiceError, match="whole number from"):
        speak("hello", **setting)


def test_steering_characters_are_dropped() -> None:
    """Character 1 followed by a command would change the rate inside the text."""
    _, _, words = speak("one \x0120s two", voice="en-us")
    assert [word.text for word in words] == ["one", "20s", "two"]


def test_threads_do_not_mix_their_words() -> None:
    texts = ["one", "one two three", "one two three four five six"] * 10
    with ThreadPoolExecutor(6) as pool:
        spoken = list(pool.map(speak, texts))
    seconds = {text: len(samples) for text, (samples, _, _) in zip(texts, spoken, strict=True)}
    for text, (samples, _, words) in zip(texts, spoken, strict=True):
        assert [word.text for word in words] == text.split()
        assert abs(len(samples) - seconds[text]) < 0.05 * seconds[text]


def test_without_the_wheel_the_voice_is_off_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice, "_library", lambda: None)
    assert not is_available()
    with pytest.raises(VoiceError, match="No synthesiser"):
        say("hello")


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

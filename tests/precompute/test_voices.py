"""Facts about the talkers: nobody of the test side is heard in training, and feeling shapes a voice."""

from __future__ import annotations

import random
from statistics import mean

import pytest

from engine.errors import VoiceError
from engine.tasks import TASKS
from precompute.mini.synth import FlitePool, Rendering, length_class, render
from precompute.mini.voices import (
    Prosody,
    Voice,
    draw_prosody,
    test_voices,
    train_voices,
    unseen_engine_voices,
)

# pytest would take the function for a test because of its name.
test_voices.__test__ = False  # type: ignore[attr-defined]


def variants(voices: tuple[Voice, ...]) -> set[str]:
    return {voice.name.split("+")[-1] for voice in voices if voice.engine == "espeak"}


def test_the_variants_of_the_test_side_are_never_trained_on() -> None:
    """By variant and not by accent and variant: the same talker in another accent is the same talker."""
    assert not variants(train_voices()) & variants(test_voices())
    assert {voice.engine for voice in test_voices()} == {"espeak"}


def test_festival_is_never_trained_on() -> None:
    assert {voice.engine for voice in train_voices()} == {"espeak", "flite"}
    assert {voice.engine for voice in unseen_engine_voices()} == {"festival"}


def test_there_are_enough_voices_of_both_sexes() -> None:
    trained = train_voices()
    assert len([v for v in trained if v.engine == "espeak"]) >= 60 and len(set(trained)) == len(trained)
    assert len([v for v in trained if v.engine == "flite"]) == 5
    for voices in (trained, test_voices(), unseen_engine_voices()):
        assert {voice.sex for voice in voices} == {"man", "woman"}


def test_every_espeak_voice_exists() -> None:
    pytest.importorskip("espeakng_loader")
    prosody = Prosody(rate_wpm=195, pitch=50, pitch_range=50, volume=100)
    names = {voice.name.split("+")[-1]: voice for voice in (*train_voices(), *test_voices())}
    accents = {voice.name.split("+")[0]: voice for voice in train_voices() if voice.engine == "espeak"}
    for voice in (*names.values(), *accents.values()):
        if voice.engine == "espeak":
            assert len(render("yes", voice, prosody).samples) > 1000


def test_prosody_repeats_by_seed_and_stays_in_range() -> None:
    feelings = ("", *TASKS["emotion"].labels, *TASKS["sarcasm"].labels)
    for feeling in feelings:
        drawn = [draw_prosody(random.Random(seed), feeling) for seed in range(200)]
        assert drawn == [draw_prosody(random.Random(seed), feeling) for seed in range(200)]
        for prosody in drawn:
            assert 80 <= prosody.rate_wpm <= 450 and 0 <= prosody.pitch <= 99
            assert 0 <= prosody.pitch_range <= 99 and 0 <= prosody.volume <= 200


def test_feelings_differ_as_they_are_said_to() -> None:
    """Two hundred draws each: sadness slow and flat, anger loud, fear fast, sarcasm slow and wide."""
    drawn = {
        feeling: [draw_prosody(random.Random(seed), feeling) for seed in range(200)]
        for feeling in ("neutral", "sadness", "anger", "fear", "sarcastic", "sincere")
    }

    def average(feeling: str, what: str) -> float:
        return mean(getattr(prosody, what) for prosody in drawn[feeling])

    assert average("sadness", "rate_wpm") < average("neutral", "rate_wpm") < average("fear", "rate_wpm")
    assert average("sadness", "pitch_range") < average("neutral", "pitch_range")
    assert average("neutral", "volume") < average("anger", "volume")
    assert average("sarcastic", "rate_wpm") < average("sincere", "rate_wpm")
    assert average("sincere", "pitch_range") < average("sarcastic", "pitch_range")


def test_a_missing_program_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("precompute.mini.synth.shutil.which", lambda program: None)
    with pytest.raises(VoiceError, match="install Debian's package festival"):
        render("yes", unseen_engine_voices()[0], Prosody(165, 50, 50, 100))


def test_the_external_programs_never_see_shell_or_lisp() -> None:
    """Festival reads its text from the standard input; letters are all that may be in it."""
    with pytest.raises(VoiceError):
        render('(system "ls")', unseen_engine_voices()[0], Prosody(165, 50, 50, 100))


def test_espeak_gives_one_time_for_each_word() -> None:
    pytest.importorskip("espeakng_loader")
    said = render("which of the words is last", test_voices()[0], Prosody(165, 50, 50, 100))
    assert isinstance(said, Rendering)
    assert [word.text for word in said.words] == ["which", "of", "the", "words", "is", "last"]


def test_length_classes_are_seven_letters_wide() -> None:
    assert [length_class("x" * n) for n in (0, 6, 7, 13, 14)] == [0, 0, 1, 1, 2]


def test_the_flite_pool_is_a_pure_function_of_its_seed(flite_pool: FlitePool) -> None:
    first = [flite_pool.draw(length, random.Random(4)) for length in range(12)]
    again = [flite_pool.draw(length, random.Random(4)) for length in range(12)]
    assert all(a is b for a, b in zip(first, again, strict=True))
    assert all(clip.voice.engine == "flite" for clip in first)

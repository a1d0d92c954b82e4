"""What a published Whisper may be told: its own languages, and words that tell two settings apart."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from faster_whisper import tokenizer

from engine.errors import UnknownKeyError
from engine.systems.profiles import LANGUAGES, WhisperSettings

ROOT = Path(__file__).resolve().parents[3]


def test_the_languages_are_those_of_the_library() -> None:
    assert set(tokenizer._LANGUAGE_CODES) == LANGUAGES


@pytest.mark.parametrize("language", ["", "EN", "english", "xx", "x" * 400])
def test_a_language_that_whisper_does_not_know_is_refused(language: str) -> None:
    with pytest.raises(UnknownKeyError, match=r"^Whisper knows no language") as caught:
        WhisperSettings(language)
    assert len(str(caught.value)) < 120


def test_the_words_tell_apart_what_changes_a_transcript_and_nothing_else() -> None:
    usual = WhisperSettings()
    assert usual.words == "language en, beam of 5, silence kept"
    others = [WhisperSettings("de"), WhisperSettings(drop_silence=True), WhisperSettings(beam_size=1)]
    assert len({usual.words, *(other.words for other in others)}) == 4
    assert replace(usual, device="cpu").words == usual.words


def test_a_plan_may_hold_them_without_a_model_library() -> None:
    code = (
        "import sys, engine.systems.profiles, precompute.plan; heavy = {'torch', 'faster_whisper', 'ctranslate2'}; "
        "assert not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)

"""Whether anybody speaks in a clip, by a detector that is none of the systems."""

from __future__ import annotations

import numpy as np
import pytest

from engine.audio import AudioClip, load_clip
from engine.examples import EXAMPLES
from engine.hearing_verdict import HearingVerdict, judge_speech, speech_s
from engine.noise import add_noise

TIME_S = np.arange(4 * 16_000) / 16_000
RNG = np.random.default_rng(0)
NO_SPEECH = {
    "noise": 0.1 * RNG.standard_normal(len(TIME_S)),
    "tone": 0.3 * np.sin(2 * np.pi * 440 * TIME_S),
    "chord": 0.1 * sum(np.sin(2 * np.pi * pitch * TIME_S) for pitch in (220, 277, 330)),
    "bursts": 0.1 * RNG.standard_normal(len(TIME_S)) * (np.sin(2 * np.pi * 3 * TIME_S) > 0),
    "near silence": 1e-3 * RNG.standard_normal(len(TIME_S)),
    "a tenth of a second of noise": 0.1 * RNG.standard_normal(1600),
}


@pytest.mark.parametrize("kind", NO_SPEECH)
def test_sounds_without_a_voice_are_no_speech(kind: str) -> None:
    """Both systems give fluent words for these; the verdict must stand beside them."""
    verdict = judge_speech(AudioClip(NO_SPEECH[kind].astype(np.float32), kind))
    assert (verdict.kind, verdict.is_warning, verdict.numbers["speech_s"]) == ("no speech", True, 0.0)
    assert "no speech" in verdict.sentence


@pytest.mark.parametrize("example", EXAMPLES[:4], ids=lambda example: example.key)
def test_spoken_examples_are_speech_at_any_level_and_in_noise(example: object) -> None:
    clip = load_clip(example.file)  # type: ignore[attr-defined]
    quiet = AudioClip(clip.samples * np.float32(0.01), "quiet")
    for one in (clip, quiet, add_noise(clip, "white", 10, 0).clip):
        verdict = judge_speech(one)
        assert (verdict.kind, verdict.is_warning) == ("speech", False)
        assert 0.5 < verdict.numbers["speech_s"] <= verdict.numbers["duration_s"] == one.duration_s


def test_a_pause_is_no_speech() -> None:
    spoken = load_clip(EXAMPLES[0].file).samples
    padded = np.concatenate([spoken, np.zeros(3 * 16_000, np.float32), spoken])
    once, twice = speech_s(AudioClip(spoken, "a")), speech_s(AudioClip(padded, "b"))
    assert twice == pytest.approx(2 * once, abs=0.5)


@pytest.mark.parametrize(
    ("kind", "doubt"),
    [
        ("not English", True),
        ("longer than trained on", True),
        ("heard otherwise", True),
        ("heard alike", False),
    ],
)
def test_what_calls_for_doubt_is_a_warning(kind: str, doubt: bool) -> None:
    assert HearingVerdict(kind, "").is_warning == doubt  # type: ignore[arg-type]

"""Facts about the flags of recordings: each is set by what it says, and by nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.audio import clip_from_samples
from engine.hearing import speech_s
from engine.voice import is_available, say
from precompute.corpora.clip_flags import (
    VERY_SHORT_S,
    describe,
    flag_recordings,
    flags_of,
    unflagged,
)
from precompute.corpora.item import Item, question_of

needs_voice = pytest.mark.skipif(not is_available(), reason="espeak-ng is not installed")
PLAIN = Item("meld-a", "meld", "", "", "joy", (), "", question_of("emotion"), file="a.wav")


def tone(duration_s: float, level: float = 0.3) -> np.ndarray:
    time_s = np.arange(round(duration_s * 16_000)) / 16_000
    return level * np.sin(2 * math.pi * 200 * time_s)


@needs_voice
def test_speech_is_found_and_its_absence_is_flagged() -> None:
    spoken = say("the train leaves at noon from the other platform").clip
    flags = flags_of("a", spoken)
    assert not flags.is_flagged and 0.5 * spoken.duration_s < speech_s(spoken) <= spoken.duration_s
    hum = flags_of("b", clip_from_samples(tone(2.0), 16_000, "hum"))
    assert hum.no_speech and hum.is_flagged and not (hum.very_short or hum.clipped or hum.unusable)


def test_a_very_short_clip_is_one_below_the_limit() -> None:
    assert flags_of("a", clip_from_samples(tone(VERY_SHORT_S - 0.01), 16_000, "x")).very_short
    assert not flags_of("a", clip_from_samples(tone(VERY_SHORT_S), 16_000, "x")).very_short


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_clipping_is_seen_whatever_the_rate(rate_hz: int) -> None:
    time_s = np.arange(rate_hz) / rate_hz
    loud = np.clip(1.5 * np.sin(2 * math.pi * 200 * time_s), -1, 1)
    assert flags_of("a", clip_from_samples(loud, rate_hz, "x")).clipped
    assert not flags_of("a", clip_from_samples(0.6 * loud, rate_hz, "x")).clipped


def test_recordings_are_flagged_and_left_out_on_request(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0), 16_000)
    soundfile.write(tmp_path / "long.wav", tone(31.0), 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    items = [PLAIN, *(replace(PLAIN, item_id=f"meld-{n}", file=f"{n}.wav") for n in ("long", "silent"))]
    hum, long, silent = flag_recordings(items, tmp_path)
    assert hum.duration_s == 1.0 and not hum.unusable
    assert math.isnan(long.duration_s) and "the limit is 30 s" in long.unusable
    assert "silent" in silent.unusable and silent.is_flagged
    assert describe([hum, long, silent])[-1] == "2 of 3 clips (66.7%) cannot be heard at all and fail."
    assert unflagged(items, [long, silent]) == (PLAIN,)
    assert describe([replace(hum, no_speech=False)]) == ()

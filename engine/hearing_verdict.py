"""What may be said of a clip's hearing as a whole, beside the answers: first of all, whether anybody speaks in it.

Models that were trained on speech give words for a tone, too. Here a detector that is none of the systems judges
the clip; verdicts that need more than the clip (its language, the length of the training clips, both systems'
transcriptions) are made where that is known, as values of the same kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from engine.audio import SAMPLE_RATE_HZ, AudioClip

# In the order of their weight: where several hold, the first is the verdict.
VerdictKind = Literal[
    "no speech", "not English", "longer than trained on", "heard otherwise", "heard alike", "speech"
]
# A lone window of 32 ms is a click or the start of a tone; speech goes on for longer.
_LEAST_SPEECH_MS = 64
_LEAST_PAUSE_MS = 100


@dataclass(frozen=True)
class HearingVerdict:
    """A verdict on one clip.

    Attributes:
        kind: what holds; of several the one that weighs most.
        sentence: the same for a person, with its numbers; not escaped for HTML.
        numbers: what the verdict was reached by, each name with its unit: "speech_s" and "duration_s" of the clip
            always; others as their verdict needs them ("word_error_rate", "trained_s").
    """

    kind: VerdictKind
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_warning(self) -> bool:
        """Whether answers to this clip are to be read with doubt."""
        return self.kind not in ("speech", "heard alike")


def speech_s(clip: AudioClip) -> float:
    """Return the seconds in which Silero's detector (version 6, which comes with faster-whisper) finds speech.

    Pauses from 0.1 s on do not count. A shout, a laugh or a whisper may go unfound, and babble is found.
    """
    from faster_whisper.vad import get_speech_timestamps

    spans = get_speech_timestamps(
        clip.samples,
        min_speech_duration_ms=_LEAST_SPEECH_MS,
        min_silence_duration_ms=_LEAST_PAUSE_MS,
        speech_pad_ms=0,
    )
    return sum(span["end"] - span["start"] for span in spans) / SAMPLE_RATE_HZ


def judge_speech(clip: AudioClip) -> HearingVerdict:
    """Return "speech" or "no speech" for a clip as it was given, before noise is added."""
    found_s = speech_s(clip)
    numbers = {"speech_s": found_s, "duration_s": clip.duration_s}
    if found_s:
        sentence = f"{found_s:.1f} s of speech in {clip.duration_s:.1f} s, by a detector."
        return HearingVerdict("speech", sentence, numbers)
    return HearingVerdict(
        "no speech",
        "A detector finds no speech in this clip; the words and answers shown for it are probably made up.",
        numbers,
    )

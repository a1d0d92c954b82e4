"""What an interleaved model makes of a clip, by hand: three units, two layers, two words."""

from __future__ import annotations

import numpy as np

from engine.results import (
    ENDED,
    OTHER_KIND,
    ClipPhases,
    ClipRecall,
    Continuation,
    InterleavedResult,
    UnitLens,
)
from engine.words import SpokenWord

TOPS = (1, 5, 10)
WORDS = (SpokenWord("team", 0.0, 0.2), SpokenWord("won", 0.2, 0.36))


def planted_result(*, sound: bool = True) -> InterleavedResult:
    """Layer 0 reads nothing, layer 1 reads "team" at rank 1 and then at rank 3, and the next word at rank 2."""
    lens = UnitLens(
        layers=(0, 1),
        frame_s=0.04,
        ends_s=np.array([0.04, 0.2, 0.36]),
        units=np.array([7, 3, 7]),
        top_ids=np.array([[[0, 1]] * 3, [[1, 2], [2, 1], [3, 0]]], np.int32),
        top_probabilities=np.array([[[0.5, 0.1]] * 3, [[0.8, 0.1], [0.4, 0.2], [0.3, 0.2]]]),
        entropy_nats=np.array([[2.0] * 3, [0.5, 1.0, 1.5]]),
        token_text={0: "<Un7>", 1: " team", 2: " won", 3: "<b>"},
        text_share=np.array([[0.1] * 3, [0.9, 0.8, 0.2]]),
        current_rank=np.array([[400] * 3, [1, 3, 400]]),
        next_rank=np.array([[500, 500, 0], [40, 2, 0]]),
        spoken=((0,), (0,), (1,)),
        words=WORDS,
        words_from="reference, exact times",
    )
    recalls = tuple(
        ClipRecall(k, d, (0.0, 0.5 if d == 0 or k > 1 else 0.0), (0.0, 0.1), 2 - d)
        for k in TOPS
        for d in (0, 1)
    )
    phases = (ClipPhases(1, 1, None, None), ClipPhases(5, 1, 1, None), ClipPhases(10, None, None, None))
    samples = np.sin(np.arange(5760) / 20).astype(np.float32) * 0.2
    return InterleavedResult(
        model="mini-interleaved",
        fingerprint="f" * 8,
        audio_name="clip.wav",
        audio_changes=("44.1 kHz -> 16 kHz",),
        warnings=("very quiet",),
        waveform=samples,
        lens=lens,
        recalls=recalls,
        phases=phases,
        n_controls=10,
        continuation=Continuation(
            after_s=0.2,
            said_next="won",
            text="won the <b>match</b>",
            text_end=OTHER_KIND,
            units=(1, 2) if sound else (),
            speech_end=ENDED,
            sound=samples[:800] if sound else None,
            no_sound="" if sound else "The model said no unit, so there is nothing to hear.",
            heard="won" if sound else None,
        ),
        seconds=1.25,
    )

"""The voice that says units, and how well it is understood: recorded once, judged by the mini-Whisper."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.audio import clip_from_samples
from engine.interleaved import UnitVoice, write_unit_voice
from engine.stats.scores import pooled_word_error_rate
from engine.systems.cascade import Transcriber
from engine.systems.unit_lm import UnitEncoder, merge_repeats, nearest
from engine.voice import speak
from precompute.mini.held_out import held_out_items, say_item
from precompute.mini.transcriber import MAX_TARGET_POSITIONS
from precompute.mini.voices import test_voices

VOICE, RATE_WPM = "en-us", 150
N_RECORDINGS = 400
VOICE_SEED = 44


def record_voice(encoder: UnitEncoder, texts: Sequence[str], file: Path, n: int = N_RECORDINGS) -> None:
    """Say `n` of these texts, drawn by a seed, and write their units; the sound itself is made again when needed."""
    chosen = random.Random(VOICE_SEED).sample(list(texts), min(n, len(texts)))
    recordings = []
    for text in chosen:
        samples, rate_hz, _ = speak(text, voice=VOICE, rate_wpm=RATE_WPM)
        clip = clip_from_samples(samples, rate_hz, text)
        recordings.append((text, nearest(encoder.frames.features(clip.samples), encoder.centres)))
    write_unit_voice(file, VOICE, RATE_WPM, recordings)


def intelligibility(
    encoder: UnitEncoder, voice: UnitVoice, transcriber_folder: Path, n_clips: int
) -> dict[str, float]:
    """Return word error rates over unseen sentences: as said, as said again from their units, and from units shuffled.

    Args:
        encoder: makes the clips' units.
        voice: says them again.
        transcriber_folder: of the mini-Whisper that judges.
        n_clips: sentences, each in an unseen voice.
    """
    transcriber = Transcriber(transcriber_folder, max_tokens=MAX_TARGET_POSITIONS)
    said: list[str] = []
    heard: dict[str, list[str]] = {"speech": [], "units": [], "shuffled units": []}
    for item in held_out_items("speaker", n_clips):
        clip, _, _ = say_item(item, test_voices())
        ids = encoder.encode(clip.samples).ids
        shuffled = merge_repeats(np.random.default_rng(VOICE_SEED).permutation(ids)).ids
        said.append(item.sentence.text)
        for key, sound in (
            ("speech", clip),
            ("units", voice.say(ids.tolist())),
            ("shuffled units", voice.say(shuffled.tolist())),
        ):
            heard[key].append(transcriber.transcribe(sound)[0])
    return {key: pooled_word_error_rate(said, texts) for key, texts in heard.items()}

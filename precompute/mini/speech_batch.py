"""Batches of augmented speech: a pure function of a seed, a step and a curriculum.

Shared by the transcriber's and the speech LLM's training. A batch holds clips of about one length.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.audio import SAMPLE_RATE_HZ
from engine.words import SpokenWord
from precompute.mini.augment import HOP_SAMPLES, Changed, MelFront, Strength, change_waveform
from precompute.mini.sentence import Sentence
from precompute.mini.synth import FlitePool, Rendering, length_class, render
from precompute.mini.voices import Voice, draw_prosody, train_voices

WINDOW_S = 8
FLITE_SHARE = 0.3
FULL_WINDOW_SHARE = 0.12


@dataclass(frozen=True)
class Spoken:
    """One training clip before augmentation."""

    sentence: Sentence
    voice: Voice
    rendering: Rendering


@dataclass(frozen=True)
class SpeechBatch:
    """Augmented clips: features [clips, 80, frames], valid mel frames of each, what was said, what was changed."""

    features: Tensor
    mel_lengths: Tensor
    spoken: tuple[Spoken, ...]
    changed: tuple[Changed, ...]


@dataclass(frozen=True)
class Curriculum:
    """When sentences, voices and augmentation come in; shares are of all steps.

    All at once is too hard to start: training begins with a few short sentences in a few voices and widens.
    """

    steps: int
    doubling_steps: float = 60.0
    few_sentences: int = 256
    few_voices: int = 8
    voices_from: float = 0.05
    voices_all: float = 0.25
    augmentation_from: float = 0.22
    augmentation_full: float = 0.50
    augmentation_limit: float = 0.3

    def n_sentences(self, step: int, available: int) -> int:
        """Return how many sentences are in use: a few short ones at first, doubling until all are."""
        doublings = min(step / self.doubling_steps, 40.0)
        return min(available, round(self.few_sentences * 2**doublings))

    def n_voices(self, step: int, available: int) -> int:
        """Return how many voices are in use: a few at first, all later."""
        begin, end = self.voices_from * self.steps, self.voices_all * self.steps
        share = float(np.clip((step - begin) / max(1.0, end - begin), 0.0, 1.0))
        return round(self.few_voices + share * (available - self.few_voices))

    def strength(self, step: int) -> Strength:
        """Return the augmentation's strength at this step."""
        begin, end = self.augmentation_from * self.steps, self.augmentation_full * self.steps
        share = float(np.clip((step - begin) / max(1.0, end - begin), 0.0, 1.0))
        return Strength(min(self.augmentation_limit, share))


class SpeechSource:
    """Draws sentences, voices and changes; holds no state between batches."""

    def __init__(self, sentences: Sequence[Sentence], pool: FlitePool, seed: int) -> None:
        order = list(sentences)
        random.Random(seed).shuffle(order)
        # Short ones first, in coarse steps, so that a growing prefix is a curriculum and still mixes tasks.
        self._sentences = sorted(order, key=lambda sentence: max(4, length_class(sentence.text)))
        self._lengths = np.array([length_class(sentence.text) for sentence in self._sentences])
        voices = [voice for voice in train_voices() if voice.engine == "espeak"]
        random.Random(seed).shuffle(voices)
        self._voices = voices
        self._pool = pool
        self._seed = seed
        self._front = MelFront(WINDOW_S)

    def batch(self, step: int, n_clips: int, curriculum: Curriculum) -> SpeechBatch:
        """Return the batch of this step; the same step draws the same sentences, voices and changes."""
        spoken = self.draw(step, n_clips, curriculum)
        return self.features(spoken, curriculum.strength(step), random.Random(f"change|{self._seed}|{step}"))

    def draw(self, step: int, n_clips: int, curriculum: Curriculum) -> tuple[Spoken, ...]:
        """Return the clips of this step before any change, all of about one length."""
        rng = random.Random(f"{self._seed}|{step}")
        n_sentences = curriculum.n_sentences(step, len(self._sentences))
        n_voices = curriculum.n_voices(step, len(self._voices))
        length = self._lengths[rng.randrange(n_sentences)]
        alike = np.flatnonzero(self._lengths[:n_sentences] == length)
        spoken = []
        for _ in range(n_clips):
            if n_voices > curriculum.few_voices and rng.random() < FLITE_SHARE:
                spoken.append(self._from_pool(int(length), rng))
            else:
                sentence = self._sentences[alike[rng.randrange(len(alike))]]
                spoken.append(self._say(sentence, self._voices[rng.randrange(n_voices)], rng))
        return tuple(spoken)

    def features(self, spoken: tuple[Spoken, ...], strength: Strength, rng: random.Random) -> SpeechBatch:
        """Augment these clips and return their features, padded with silence to one length."""
        plain = [s.rendering.samples for s in spoken]
        changed = [
            change_waveform(
                s.rendering.samples, s.rendering.rate_hz, plain[:i] + plain[i + 1 :], strength, rng
            )
            for i, s in enumerate(spoken)
        ]
        limit = WINDOW_S * SAMPLE_RATE_HZ
        waves = [change.wave[:limit] for change in changed]
        longest = limit if strength.happens(FULL_WINDOW_SHARE, rng) else max(len(wave) for wave in waves)
        # An even number of frames, so that two frames make one position to the end.
        width = min(limit, -(-longest // (2 * HOP_SAMPLES)) * 2 * HOP_SAMPLES)
        stacked = torch.from_numpy(np.stack([np.pad(wave, (0, width - len(wave))) for wave in waves]))
        lengths = torch.tensor([-(-len(wave) // HOP_SAMPLES) for wave in waves])
        return SpeechBatch(self._front(stacked, strength, rng), lengths, spoken, tuple(changed))

    def _from_pool(self, length: int, rng: random.Random) -> Spoken:
        clip = self._pool.draw(length, rng)
        samples = clip.samples.astype(np.float32) / 32768
        return Spoken(clip.sentence, clip.voice, Rendering(samples, clip.rate_hz, ()))

    def _say(self, sentence: Sentence, voice: Voice, rng: random.Random) -> Spoken:
        feeling = sentence.label if sentence.task in ("emotion", "sarcasm") else ""
        return Spoken(sentence, voice, render(sentence.text, voice, draw_prosody(rng, feeling)))


def cut_after_words(rendering: Rendering, n_words: int) -> Rendering:
    """Return the rendering up to the end of its first `n_words` words (espeak-ng only)."""
    words: tuple[SpokenWord, ...] = rendering.words[:n_words]
    stop = round(words[-1].end_s * rendering.rate_hz)
    return Rendering(rendering.samples[:stop], rendering.rate_hz, words)

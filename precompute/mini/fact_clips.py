"""The facts said aloud for the spoken-knowledge score: one unseen voice says the prompt with either end."""

from __future__ import annotations

import random
from dataclasses import dataclass

from engine.audio import AudioClip, clip_from_samples
from engine.words import SpokenWord
from precompute.mini.corpora.facts import Fact
from precompute.mini.synth import render
from precompute.mini.voices import Voice, draw_prosody, test_voices

FACT_CLIP_SEED = 43


@dataclass(frozen=True)
class SpokenFact:
    """A statement of a fact in one voice, with its right and with its wrong end.

    Attributes:
        right, wrong: the whole statement.
        right_words, wrong_words: with times; the first `n_prompt_words` are the prompt's in both.
    """

    fact: Fact
    voice: Voice
    right: AudioClip
    right_words: tuple[SpokenWord, ...]
    wrong: AudioClip
    wrong_words: tuple[SpokenWord, ...]
    n_prompt_words: int


def say_fact(fact: Fact) -> SpokenFact:
    """Say a fact's test form with both ends in one unseen voice and one way of speaking, drawn by the fact's key.

    Raises:
        VoiceError: no synthesiser is installed.
    """
    rng = random.Random(f"{FACT_CLIP_SEED}|{fact.key}")
    voice = rng.choice(test_voices())
    prosody = draw_prosody(rng)
    said = [render(f"{fact.prompt} {end}", voice, prosody) for end in (fact.answer, fact.wrong)]
    right, wrong = (clip_from_samples(one.samples, one.rate_hz, fact.key) for one in said)
    return SpokenFact(fact, voice, right, said[0].words, wrong, said[1].words, len(fact.prompt.split()))

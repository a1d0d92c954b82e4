"""Items said by voices under noise: the clips of the benchmark, each with the recipe that makes it again.

Nothing is rendered here; `precompute.measure_answers` does that.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from engine.noise import ROOM
from engine.voice import CLEAN, Recipe
from precompute.corpora.item import Item, short_hash
from precompute.mini.voices import Voice, draw_prosody

CLIP_SEED = 47
FILE_VOICE = "recording"


@dataclass(frozen=True)
class Condition:
    """One noise condition: clean, babble or white at a ratio in dB, or a room."""

    noise: str
    snr_db: float | None = None

    @property
    def name(self) -> str:
        """Return it in words."""
        return self.noise if self.snr_db is None else f"{self.noise} {self.snr_db:g} dB"


CLEAN_ONLY = (Condition(CLEAN),)
FULL_NOISE = (
    *(Condition("babble", snr_db) for snr_db in (15.0, 10.0, 5.0, 0.0)),
    Condition("white", 10.0),
    Condition(ROOM),
)
QUICK_NOISE = (Condition("babble", 5.0),)


@dataclass(frozen=True)
class Clip:
    """One item in one voice under one condition.

    Attributes:
        gold: the right answer in this voice.
    """

    clip_id: str
    item: Item
    voice: str
    condition: Condition
    gold: str
    recipe: Recipe


class Speech(Protocol):
    """Who says the items of a text corpus; `precompute.corpora` has the providers."""

    @property
    def voices(self) -> tuple[str, ...]:
        """Names of the voices; the first ones also speak under noise."""
        ...

    def recipe(self, item: Item, voice: str) -> Recipe:
        """Return how to make the item's clean clip in this voice."""
        ...


def clips_in_speech(
    items: Sequence[Item], speech: Speech, noisy_voices: int, noises: Sequence[Condition]
) -> Iterator[Clip]:
    """Yield what `spoken_clips` yields, in the voices of a provider of speech."""
    for item in items:
        for index, voice in enumerate(speech.voices):
            clean = speech.recipe(item, voice)
            for condition in (*CLEAN_ONLY, *(noises if index < noisy_voices else ())):
                seed = _noise_seed(item, voice, condition)
                recipe = replace(clean, noise=condition.noise, snr_db=condition.snr_db, seed=seed)
                yield _clip(item, voice, condition, item.gold, recipe)


def spoken_clips(
    items: Sequence[Item], voices: Sequence[Voice], noisy_voices: int, noises: Sequence[Condition]
) -> Iterator[Clip]:
    """Yield every item in every voice, clean, and in the first `noisy_voices` also under each noise.

    Clips of one item in one voice follow one another: they are one rendering.
    """
    for item in items:
        for index, voice in enumerate(voices):
            conditions = (*CLEAN_ONLY, *(noises if index < noisy_voices else ()))
            yield from (_spoken(item, voice, condition) for condition in conditions)


def espeak_recipe(item: Item, voice: str) -> Recipe:
    """Return how espeak-ng says an item cleanly: rate, pitch and volume are drawn by item and voice."""
    prosody = draw_prosody(random.Random(f"{CLIP_SEED}|{item.item_id}|{voice}"), item.feeling)
    return Recipe(
        text=item.text,
        voice=voice,
        rate_wpm=prosody.rate_wpm,
        pitch=prosody.pitch,
        pitch_range=prosody.pitch_range,
        volume=prosody.volume,
    )


def _spoken(item: Item, voice: Voice, condition: Condition) -> Clip:
    recipe = replace(
        espeak_recipe(item, voice.name),
        noise=condition.noise,
        snr_db=condition.snr_db,
        seed=_noise_seed(item, voice.name, condition),
    )
    return _clip(item, voice.name, condition, item.gold or voice.sex, recipe)


def recorded_clips(items: Sequence[Item]) -> Iterator[Clip]:
    """Yield own recordings as they are."""
    for item in items:
        recipe = Recipe(file=item.file, sha256=item.sha256)
        yield _clip(item, FILE_VOICE, CLEAN_ONLY[0], item.gold, recipe)


def _clip(item: Item, voice: str, condition: Condition, gold: str, recipe: Recipe) -> Clip:
    clip_id = f"{item.item_id}-{short_hash(item.item_id, recipe.to_json())}"
    return Clip(clip_id, item, voice, condition, gold, recipe)


def _noise_seed(item: Item, voice: str, condition: Condition) -> int:
    """One draw of a noise for all its levels: what differs between 15 and 0 dB is the level alone."""
    if condition.noise == CLEAN:
        return 0
    return int(short_hash(CLIP_SEED, item.item_id, voice, condition.noise), 16)

"""Facts about clips in the voices of a provider: the same clips as before for espeak-ng, recordings under noise."""

from __future__ import annotations

from dataclasses import dataclass

from engine.voice import Recipe
from precompute.clips import FULL_NOISE, clips_in_speech, espeak_recipe, spoken_clips
from precompute.corpora.item import Item
from precompute.corpora.mini_world import mini_items
from precompute.mini.voices import test_voices as held_out_voices


@dataclass(frozen=True)
class Espeak:
    voices: tuple[str, ...]

    def recipe(self, item: Item, voice: str) -> Recipe:
        return espeak_recipe(item, voice)


@dataclass(frozen=True)
class Files:
    voices: tuple[str, ...] = ("a", "b")

    def recipe(self, item: Item, voice: str) -> Recipe:
        return Recipe(file=f"{voice}/{item.item_id}.wav", sha256="0" * 64)


def test_a_provider_gives_the_clips_that_a_plan_gives() -> None:
    items = mini_items("sentiment", 3)
    voices = held_out_voices()[:3]
    names = tuple(voice.name for voice in voices)
    planned = list(spoken_clips(items, voices, 2, FULL_NOISE))
    assert list(clips_in_speech(items, Espeak(names), 2, FULL_NOISE)) == planned
    assert len(planned) == 3 * (3 + 2 * len(FULL_NOISE))


def test_recordings_are_spoilt_like_voices_and_one_draw_serves_all_ratios() -> None:
    clips = list(clips_in_speech(mini_items("topic", 1), Files(), 1, FULL_NOISE))
    assert len(clips) == 2 + len(FULL_NOISE) and len({clip.clip_id for clip in clips}) == len(clips)
    babble = [clip.recipe for clip in clips if clip.condition.noise == "babble"]
    assert {recipe.snr_db for recipe in babble} == {15.0, 10.0, 5.0, 0.0}
    assert len({recipe.seed for recipe in babble}) == 1
    assert len({recipe.sound for recipe in babble}) == 1, "one rendering serves all of them"
    assert [clip.voice for clip in clips if clip.recipe.seed == 0] == ["a", "b"]

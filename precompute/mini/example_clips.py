"""Making the example clips: unseen sentences in unseen voices, one for each kind of question.

`python -m precompute examples` writes them behind the natural ones (`precompute.training.examples`). Nothing is
picked by what the models answer: the first held-out items of each task are taken.
"""

from __future__ import annotations

from pathlib import Path

from engine.audio import AudioClip
from engine.errors import VoiceError
from engine.examples import Example
from precompute.example_files import put_examples
from precompute.mini.held_out import HeldOutItem, gold_of, held_out_items, say_item
from precompute.mini.voices import Voice, test_voices, unseen_engine_voices

# task, how many of its first held-out items, spoken by Festival (the engine never trained on) or espeak-ng
_PLAN = (
    ("topic", 2, False),
    ("sentiment", 2, False),
    ("commonsense", 1, False),
    ("trivia", 2, False),
    ("emotion", 1, False),
    ("sarcasm", 1, False),
    ("speaker", 1, False),
    ("topic", 1, True),
)


def write_examples(folder: Path) -> int:
    """Write all example clips and their index; returns how many.

    Raises:
        VoiceError: espeak-ng or Festival is not installed.
    """
    spoken = []
    for task, count, unseen_engine in _PLAN:
        items = held_out_items(task, count + 2)
        chosen = items[2:] if unseen_engine else items[:count]
        for number, item in enumerate(chosen[:count], start=1):
            key = f"{task}-{'festival' if unseen_engine else number}"
            spoken.append(_say(folder, key, item, unseen_engine_voices() if unseen_engine else test_voices()))
    return put_examples(folder, spoken)


def _say(folder: Path, key: str, item: HeldOutItem, voices: tuple[Voice, ...]) -> tuple[Example, AudioClip]:
    clip, words, voice = say_item(item, voices)
    if not len(clip.samples):
        raise VoiceError(f"{voice.name} said nothing for {key}.")
    sentence = item.sentence.text
    example = Example(
        key=key,
        title=f"{item.task}: {sentence}",
        file=folder / f"{key}.flac",
        task=item.task,
        prompt=item.prompt,
        reference=sentence,
        words=words,
        gold=gold_of(item, voice),
        aliases=tuple(item.sentence.aliases),
        voice=f"{voice.engine} {voice.name}, a {voice.sex}",
    )
    return example, clip

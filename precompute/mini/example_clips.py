"""Making the example clips: unseen sentences in unseen voices, one for each kind of question.

`python -m precompute examples` writes assets/examples: FLAC files and index.json. Nothing is picked by what
the models answer: the first held-out items of each task are taken.
"""

from __future__ import annotations

import json
from pathlib import Path

import soundfile

from engine.audio import SAMPLE_RATE_HZ
from engine.errors import VoiceError
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
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for task, count, unseen_engine in _PLAN:
        items = held_out_items(task, count + 2)
        chosen = items[2:] if unseen_engine else items[:count]
        for number, item in enumerate(chosen[:count], start=1):
            key = f"{task}-{'festival' if unseen_engine else number}"
            rows.append(_write(folder, key, item, unseen_engine_voices() if unseen_engine else test_voices()))
    index = json.dumps(rows, indent=1)
    (folder / "index.json").write_text(index + "\n", encoding="utf-8")
    return len(rows)


def _write(folder: Path, key: str, item: HeldOutItem, voices: tuple[Voice, ...]) -> dict[str, object]:
    clip, words, voice = say_item(item, voices)
    if not len(clip.samples):
        raise VoiceError(f"{voice.name} said nothing for {key}.")
    soundfile.write(folder / f"{key}.flac", clip.samples, SAMPLE_RATE_HZ, subtype="PCM_16")
    sentence = item.sentence.text
    return {
        "key": key,
        "title": f"{item.task}: {sentence}",
        "task": item.task,
        "prompt": item.prompt,
        "reference": sentence,
        "words": [[w.text, round(w.start_s, 3), round(w.end_s, 3)] for w in words],
        "gold": gold_of(item, voice),
        "aliases": list(item.sentence.aliases),
        "voice": f"{voice.engine} {voice.name}, a {voice.sex}",
    }

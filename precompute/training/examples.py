"""The example clips of the laptop pair: sentences of our own in natural voices that no training heard, and one person.

`write_natural_examples` puts them first in the gallery. Nothing is picked by what the models answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from engine.audio import SAMPLE_RATE_HZ, clip_from_samples, load_clip
from precompute.training.speech import KokoroVoice


@dataclass(frozen=True)
class _Line:
    """One example: what is asked, what is said, by whom, and the right answer."""

    key: str
    task: str
    text: str
    gold: str
    voice: str
    prompt: str = ""
    aliases: tuple[str, ...] = ()


_LINES = (
    _Line(
        "natural-business",
        "topic",
        "The central bank raised interest rates again, as prices in the euro zone reached a new high.",
        "Business",
        "jf_alpha",
    ),
    _Line(
        "natural-sports",
        "topic",
        "The goalkeeper saved two penalties, and the home team reached the final.",
        "Sports",
        "jm_kumo",
    ),
    _Line(
        "natural-negative",
        "sentiment",
        "This film wastes a fine cast on a story that goes nowhere.",
        "negative",
        "jf_nezumi",
    ),
    _Line(
        "natural-positive",
        "sentiment",
        "A warm and funny picture that stays with you for days.",
        "positive",
        "jf_gongitsune",
    ),
    _Line(
        "natural-milk",
        "commonsense",
        "Where would you put milk, so that it stays cold?",
        "fridge",
        "jf_tebukuro",
        "fridge, oven, shelf, garden, drawer",
    ),
    _Line(
        "natural-river",
        "trivia",
        "Which river runs through the city of London?",
        "Thames",
        "jm_kumo",
        aliases=("the Thames", "River Thames"),
    ),
)
_JFK = "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."


def write_natural_examples(folder: Path, kokoro: KokoroVoice, jfk: Path) -> int:
    """Write the clips and put their rows before the others of the index; returns how many.

    Args:
        folder: of the examples.
        kokoro: who speaks.
        jfk: recording of the inaugural address of 20 January 1961 (public domain).
    """
    rows: list[dict[str, Any]] = []
    clip = load_clip(jfk)
    soundfile.write(folder / "jfk.flac", clip.samples, SAMPLE_RATE_HZ, subtype="PCM_16")
    rows.append(_row("jfk", "transcribe", _JFK, "", "a person: John F. Kennedy, 1961", "", ()))
    for line in _LINES:
        spoken = clip_from_samples(kokoro.say(line.text, line.voice), kokoro.rate_hz, line.key)
        soundfile.write(folder / f"{line.key}.flac", spoken.samples, SAMPLE_RATE_HZ, subtype="PCM_16")
        voice = f"Kokoro {line.voice}, a {'man' if line.voice.startswith('jm') else 'woman'}"
        rows.append(_row(line.key, line.task, line.text, line.gold, voice, line.prompt, line.aliases))
    index = folder / "index.json"
    known = {row["key"] for row in rows}
    others = json.loads(index.read_text(encoding="utf-8")) if index.exists() else []
    kept = [row for row in others if row["key"] not in known]
    index.write_text(json.dumps([*rows, *kept], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return len(rows)


def _row(
    key: str, task: str, text: str, gold: str, voice: str, prompt: str, aliases: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "key": key,
        "title": f"{task}: {text}",
        "task": task,
        "prompt": prompt,
        "reference": text,
        "words": [],
        "gold": gold,
        "aliases": list(aliases),
        "voice": voice,
    }

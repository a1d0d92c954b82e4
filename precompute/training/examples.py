"""The example clips of the laptop pair: sentences of our own in natural voices, and one person.

`python -m precompute examples --natural` puts them first in the gallery. No training said these sentences, nor heard
Kokoro's voices; Piper's joe said other sentences to the audio encoder. Nothing is picked by what the models answer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.audio import clip_from_samples, load_clip
from engine.errors import UnknownKeyError
from engine.examples import Example
from engine.systems.fetching import fetch
from engine.systems.weights import folder_of
from precompute.example_files import put_examples
from precompute.training.speech import KOKORO, PIPER, KokoroVoice, PiperVoice

logger = logging.getLogger(__name__)


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


JOE = "joe"  # Piper's; the others are Kokoro's, some of which mispronounce English
_LINES = (
    _Line(
        "natural-business",
        "topic",
        "The central bank raised interest rates again, as prices in the euro zone reached a new high.",
        "Business",
        JOE,
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
        "This film wastes its fine cast on a story that goes nowhere.",
        "negative",
        JOE,
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
_JFK = _Line(
    "jfk",
    "transcribe",
    "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country.",
    "",
    "a person: John F. Kennedy, 1961",
)


def write_natural_examples(folder: Path, person: Path | None = None, keys: Sequence[str] = ()) -> int:
    """Make the clips and put their rows first in the index; returns how many.

    Args:
        folder: of the examples.
        person: recording of the inaugural address of 20 January 1961 (public domain); None leaves what is there.
        keys: of those that voices say; all where none is named.

    Raises:
        UnknownKeyError: no example of these has such a key.
        ModelFilesError, VoiceError, ClipError: a voice cannot be had or speak, or the recording cannot be read.
    """
    known = {line.key: line for line in _LINES}
    if unknown := [key for key in keys if key not in known]:
        raise UnknownKeyError(
            f'No voice says an example "{unknown[0][:40]}". Choose from: {", ".join(known)}.'
        )
    spoken = []
    if person is not None:
        spoken.append((_example(folder, _JFK, _JFK.voice), load_clip(person)))
    for name in (PIPER, KOKORO):
        fetch(name, logger.info)
    piper, kokoro = PiperVoice(folder_of(PIPER)), KokoroVoice(folder_of(KOKORO))
    for line in [known[key] for key in keys] or _LINES:
        if line.voice == JOE:
            who, samples, rate_hz = f"Piper {JOE}, a man", piper.say(line.text), piper.rate_hz
        else:
            who = f"Kokoro {line.voice}, a {'man' if line.voice.startswith('jm') else 'woman'}"
            samples, rate_hz = kokoro.say(line.text, line.voice), kokoro.rate_hz
        spoken.append((_example(folder, line, who), clip_from_samples(samples, rate_hz, line.key)))
    return put_examples(folder, spoken, first=True)


def _example(folder: Path, line: _Line, voice: str) -> Example:
    return Example(
        key=line.key,
        title=f"{line.task}: {line.text}",
        file=folder / f"{line.key}.flac",
        task=line.task,
        prompt=line.prompt,
        reference=line.text,
        words=(),
        gold=line.gold,
        aliases=line.aliases,
        voice=voice,
    )

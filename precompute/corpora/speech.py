"""Who says a text corpus: any folder of recordings, or espeak-ng without a network; `edge_speech` is a third.

All fill `precompute.clips.Speech`. A recording is a file named for its item: `VOICE/ITEM_ID.wav`, or
`ITEM_ID.wav` where there is one voice only; WAV, FLAC, MP3, OGG or M4A.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import VoiceError
from engine.voice import Recipe, is_available
from precompute.clips import FILE_VOICE, espeak_recipe
from precompute.corpora.footage import hash_of
from precompute.corpora.item import Item
from precompute.corpora.source import CorpusError
from precompute.mini.voices import test_voices

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".m4a")


@dataclass(frozen=True)
class EspeakSpeech:
    """espeak-ng's voices, women and men in turn. A synthesiser from rules: results name it."""

    voices: tuple[str, ...]

    def recipe(self, item: Item, voice: str) -> Recipe:
        """Return how to make the clip."""
        return espeak_recipe(item, voice)


@dataclass(frozen=True)
class Recordings:
    """Recordings below a folder.

    Attributes:
        files: (item, voice) -> place below the folder.
    """

    folder: Path
    voices: tuple[str, ...]
    files: Mapping[tuple[str, str], str]

    def recipe(self, item: Item, voice: str) -> Recipe:
        """Return the recording's place and hash.

        Raises:
            CorpusError: the item is none of those that the folder was opened for.
        """
        place = self.files.get((item.item_id, voice))
        if place is None:
            raise CorpusError(f"There is no recording of {item.item_id} by {voice}; open the folder for it.")
        return Recipe(file=place, sha256=hash_of(self.folder / place))


def espeak_speech(n_voices: int = 6) -> EspeakSpeech:
    """Return up to seven of espeak-ng's voices that no mini was trained on.

    Raises:
        VoiceError: no synthesiser is installed, or not so many voices exist.
    """
    if not is_available():
        raise VoiceError("espeak-ng is not installed here; install espeakng-loader or give recordings.")
    women = [voice.name for voice in test_voices() if voice.sex == "woman"]
    men = [voice.name for voice in test_voices() if voice.sex == "man"]
    paired = [name for pair in zip(women, men, strict=False) for name in pair]
    names = (*paired, *(name for name in (*women, *men) if name not in paired))
    if not 1 <= n_voices <= len(names):
        raise VoiceError(f"{n_voices} voices were asked for; 1 to {len(names)} can be had.")
    return EspeakSpeech(names[:n_voices])


def open_recordings(folder: Path, items: Sequence[Item], voices: Sequence[str] = ()) -> Recordings:
    """Return the recordings of all these items.

    Args:
        folder: each sub-folder is a voice; files in the folder itself are one voice more.
        items: all that are to be said.
        voices: names of the sub-folders that count; empty for all in which an item is said.

    Raises:
        CorpusError: there is no such folder, or an item lacks a recording in a voice.
    """
    if not folder.is_dir():
        raise CorpusError("There is no folder of recordings; make it, with one file for each item.")
    named = {file_stem(item): item.item_id for item in items}
    files: dict[tuple[str, str], str] = {}
    for file in sorted([*folder.glob("*.*"), *folder.glob("*/*.*")]):
        item_id = named.get(file.stem)
        if item_id is not None and file.suffix.lower() in SUFFIXES:
            voice = FILE_VOICE if file.parent == folder else file.parent.name
            files.setdefault((item_id, voice), file.relative_to(folder).as_posix())
    voices = tuple(voices) or tuple(sorted({voice for _, voice in files})) or (FILE_VOICE,)
    missing = [(item, voice) for voice in voices for item in items if (item.item_id, voice) not in files]
    if missing:
        item, voice = missing[0]
        raise CorpusError(
            f"{len(missing):,} of {len(items) * len(voices):,} recordings are missing, the first is "
            f"{file_stem(item)} by {voice}; add them as VOICE/ITEM.wav or take fewer items."
        )
    return Recordings(folder, voices, files)


def file_stem(item: Item) -> str:
    """Return what a recording of the item is called, without its suffix: the item's id, fit for a file name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", item.item_id)

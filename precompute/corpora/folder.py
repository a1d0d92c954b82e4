"""A folder of corpora: a sub-folder for each of the paper's, one for MUSAN, one for the recordings of the texts.

`precompute.corpora_clips` makes clips of what is opened here. What is not there is said, with where to get it;
what is there and not as published is refused. Nothing is downloaded; `precompute.recordings` lets Edge-TTS speak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.noise import WANTS as MUSAN_WANTS
from engine.noise import Musan, open_musan
from precompute.clips import Speech
from precompute.corpora import edge_speech
from precompute.corpora.catalogue import CORPORA, read_corpus
from precompute.corpora.item import Item
from precompute.corpora.source import CorpusError, Sample
from precompute.corpora.speech import espeak_speech, open_recordings

MUSAN_FOLDER, SPEECH_FOLDER = "musan", "speech"
EDGE, ESPEAK = "edge", "espeak"
PAPER_VOICES = len(edge_speech.VOICES)
WHERE = "Corpora are missing; put each into a sub-folder of the folder given with --corpora:"


@dataclass(frozen=True)
class OpenedCorpora:
    """What a folder of corpora holds.

    Attributes:
        samples: corpus -> its items.
        missing: corpus, or "musan" -> what is to be put where, one sentence each.
        musan: the noise's tracks, None where they are not there.
    """

    folder: Path
    samples: Mapping[str, Sample]
    missing: Mapping[str, str]
    musan: Musan | None


def open_corpora(folder: Path | None, keys: Sequence[str], limit: int | None) -> OpenedCorpora:
    """Return these corpora as far as they are there.

    Args:
        folder: holds a sub-folder for each; None where none was given: all are missing.
        keys: of the corpora.
        limit: items a corpus at most; None for as many as the paper has.

    Raises:
        CorpusError: a sub-folder is there and its files are not as published.
    """
    there = [key for key in keys if folder and _has_files(folder / key)]
    missing = {key: f"{key}/ is missing. {CORPORA[key].wants}" for key in keys if key not in there}
    has_musan = folder is not None and _has_files(folder / MUSAN_FOLDER)
    if not has_musan:
        missing[MUSAN_FOLDER] = f"{MUSAN_FOLDER}/ is missing, so no clip gets noise. {MUSAN_WANTS}"
    folder = folder or Path()
    return OpenedCorpora(
        folder=folder,
        samples={key: read_corpus(key, folder / key, limit) for key in there},
        missing=missing,
        musan=open_musan(folder / MUSAN_FOLDER) if has_musan else None,
    )


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(not file.name.startswith(".") for file in folder.iterdir())


def text_items(opened: OpenedCorpora) -> tuple[Item, ...]:
    """Return the items that must be spoken first: those of corpora that have no sound of their own."""
    return tuple(
        item for key, sample in opened.samples.items() if CORPORA[key].is_text for item in sample.items
    )


def open_speech(opened: OpenedCorpora, who: str, n_voices: int) -> tuple[Speech, Path]:
    """Return who says the text corpora, and the folder of the recordings.

    Args:
        opened: their items.
        who: "edge" (recordings of Edge-TTS in the sub-folder speech), "espeak", or a folder of recordings.
        n_voices: at most; the first ones also speak under noise.

    Raises:
        CorpusError: a recording is missing.
        VoiceError: espeak-ng is not installed.
    """
    if who == ESPEAK:
        return espeak_speech(n_voices), opened.folder
    if who == EDGE:
        folder = opened.folder / SPEECH_FOLDER
        return open_recordings(folder, text_items(opened), edge_speech.VOICES[:n_voices]), folder
    folder = Path(who)
    recordings = open_recordings(folder, text_items(opened))
    return replace(recordings, voices=recordings.voices[:n_voices]), folder


def require(opened: OpenedCorpora, keys: Sequence[str]) -> None:
    """Refuse when one of these corpora is missing.

    Raises:
        CorpusError: the sentences of all that are.
    """
    missing = [opened.missing[key] for key in keys if key in opened.missing]
    if missing:
        raise CorpusError("\n".join([WHERE, *missing]))

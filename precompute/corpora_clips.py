"""The clips of the paper's corpora: texts in six voices, two of them under MUSAN's babble, and recordings as they are.

`precompute.plan` calls this for a run with --corpora. Which files are there is the business of
`precompute.corpora.folder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from engine.noise import MUSAN, ULTRAVOX_NOTE
from precompute.clips import Clip, Condition, clips_in_speech, recorded_clips
from precompute.corpora.catalogue import CORPORA
from precompute.corpora.folder import (
    ESPEAK,
    MUSAN_FOLDER,
    PAPER_VOICES,
    OpenedCorpora,
    open_speech,
    text_items,
)

NOISY_VOICES = 2  # of the six (arXiv 2602.17598v2, section 3.2)
PAPER_NOISE = tuple(Condition(MUSAN, snr_db) for snr_db in (15.0, 10.0, 5.0, 0.0))
QUICK_PAPER_NOISE = (Condition(MUSAN, 5.0),)
OTHER_SPEECH = "The texts are said by espeak-ng, a synthesiser from rules; the paper's are by Edge-TTS."


@dataclass(frozen=True)
class CorporaClips:
    """Clips of corpora.

    Attributes:
        folders: task -> where its recordings lie.
        notes: what a reader should know, one sentence each.
    """

    clips: tuple[Clip, ...]
    folders: Mapping[str, Path]
    notes: tuple[str, ...]


def clips_of_corpora(opened: OpenedCorpora, who: str, *, quick: bool) -> CorporaClips:
    """Return the clips of all corpora that are there.

    Args:
        opened: the corpora.
        who: says the texts, as `open_speech` takes it.
        quick: one voice, clean and at one ratio.

    Raises:
        CorpusError: a recording is missing.
        VoiceError: espeak-ng is asked for and not installed.
    """
    clips: list[Clip] = []
    folders: dict[str, Path] = {}
    notes = [note for sample in opened.samples.values() for note in sample.notes]
    noises = (QUICK_PAPER_NOISE if quick else PAPER_NOISE) if opened.musan else ()
    if text_items(opened):
        speech, spoken = open_speech(opened, who, 1 if quick else PAPER_VOICES)
        notes += _speech_notes(who, len(speech.voices), quick=quick, has_noise=bool(noises))
    for key, sample in opened.samples.items():
        if CORPORA[key].is_text:
            folders[key] = spoken
            clips += clips_in_speech(sample.items, speech, NOISY_VOICES, noises)
        else:
            folders[key] = opened.folder / key
            clips += recorded_clips(sample.items)
    digest = opened.musan.digest if opened.musan else ""
    return CorporaClips(
        tuple(_with_tracks(clip, digest) for clip in clips), folders, tuple(dict.fromkeys(notes))
    )


def musan_place(opened: OpenedCorpora) -> Path | None:
    """Return the folder of MUSAN's tracks, None where they are not there."""
    return opened.folder / MUSAN_FOLDER if opened.musan else None


def _speech_notes(who: str, n_voices: int, *, quick: bool, has_noise: bool) -> list[str]:
    notes = [OTHER_SPEECH] if who == ESPEAK else []
    if not quick and n_voices != PAPER_VOICES:
        notes.append(f"The texts are said by {n_voices} voices; the paper has {PAPER_VOICES}.")
    return [*notes, ULTRAVOX_NOTE] if has_noise else notes


def _with_tracks(clip: Clip, digest: str) -> Clip:
    if clip.condition.noise != MUSAN:
        return clip
    return replace(clip, recipe=replace(clip.recipe, tracks=digest))

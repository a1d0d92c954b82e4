"""Recordings by Edge-TTS for the text corpora, fetched before a run into the folder of corpora."""

from __future__ import annotations

from typing import TextIO

from precompute.corpora.edge_speech import PAUSE_S, VOICES, count_missing, fetch_speech
from precompute.corpora.folder import EDGE, PAPER_VOICES, SPEECH_FOLDER, open_corpora, open_speech, text_items
from precompute.corpora.source import CorpusError
from precompute.progress import Progress
from precompute.settings import Settings, corpora_keys, items_a_corpus


def fetch_recordings(settings: Settings, stream: TextIO) -> None:
    """Let Edge-TTS say what is not recorded yet, where it is who speaks; a break loses nothing.

    Raises:
        VoiceError: recordings are missing and the package is not installed.
        CorpusError: corpora are not as published, the service failed, or the folder cannot be written.
    """
    if settings.corpora is None or settings.speech != EDGE:
        return
    opened = open_corpora(settings.corpora, corpora_keys(settings, texts_only=True), items_a_corpus(settings))
    if not text_items(opened):
        return
    n_voices = 1 if settings.quick else PAPER_VOICES
    try:
        open_speech(opened, EDGE, n_voices)
        return  # all are there, in whatever format
    except CorpusError:
        pass
    items, folder, voices = text_items(opened), opened.folder / SPEECH_FOLDER, VOICES[:n_voices]
    n_missing = count_missing(items, folder, voices)
    stream.write(f"{n_missing:,} recordings are fetched from Edge-TTS, with {PAUSE_S:g} s between two.\n")
    progress = Progress(stream, "recordings fetched", n_missing)
    fetch_speech(items, folder, voices, progress=lambda *_: progress.add(1, 0))
    progress.finish()

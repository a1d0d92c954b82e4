"""Edge-TTS as a voice of text corpora: fetched once into a folder, slowly, and taken up again after a break.

Optional: the package `edge-tts` and a network; nothing else needs either. It speaks through a
service of Microsoft's without a contract, so what it says may change from day to day: the clips that were
fetched are the record, told by their hashes. The paper says "six Edge-TTS voices" and not which; these are ours.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.errors import VoiceError
from precompute.corpora.item import Item
from precompute.corpora.source import CorpusError
from precompute.corpora.speech import Recordings, file_stem, open_recordings

logger = logging.getLogger(__name__)

VOICES = (
    "en-US-AriaNeural",
    "en-US-GuyNeural",
    "en-GB-SoniaNeural",
    "en-GB-RyanNeural",
    "en-AU-NatashaNeural",
    "en-IN-PrabhatNeural",
)
PAUSE_S = 1.0  # between two requests: 24,000 clips take seven hours
TRIES = 4
FIRST_WAIT_S = 5.0  # after a failure; doubled after each further one
TIMEOUT_S = 60.0

Progress = Callable[[float, str], None]


def is_available() -> bool:
    """Whether the package is installed; the network shows only when it is asked."""
    return importlib.util.find_spec("edge_tts") is not None


def count_missing(items: Sequence[Item], folder: Path, voices: Sequence[str] = VOICES) -> int:
    """Return how many of the recordings do not lie in the folder yet."""
    return sum(not _file(folder, item, voice).is_file() for item in items for voice in voices)


def fetch_speech(
    items: Sequence[Item],
    folder: Path,
    voices: Sequence[str] = VOICES,
    *,
    progress: Progress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Recordings:
    """Return recordings of all items in all voices; those that lie in the folder already are not asked for.

    Args:
        items: their texts are sent to the service.
        folder: gets `VOICE/ITEM_ID.mp3`, each whole or not at all.
        voices: names of the service.
        progress: called with a share of 1 and what is being done.
        sleep: how waiting is done.

    Raises:
        VoiceError: the package is not installed.
        CorpusError: the service failed `TRIES` times for one clip, or the folder cannot be written.
    """
    if not is_available():
        raise VoiceError(
            "Edge-TTS is not installed here; install edge-tts, or give a folder of recordings, or take espeak-ng."
        )
    report = progress or (lambda share, what: None)
    wanted = [(item, voice) for item in items for voice in voices]
    new = [(item, voice) for item, voice in wanted if not _file(folder, item, voice).is_file()]
    for index, (item, voice) in enumerate(new):
        report(1 - (len(new) - index) / len(wanted), f"{voice} says {item.item_id}")
        if index:
            sleep(PAUSE_S)
        content = _ask(item, voice, f"{len(wanted) - len(new) + index:,} of {len(wanted):,} clips", sleep)
        _keep(_file(folder, item, voice), content)
    return open_recordings(folder, items, voices)


def _file(folder: Path, item: Item, voice: str) -> Path:
    return folder / voice / f"{file_stem(item)}.mp3"


def _ask(item: Item, voice: str, done: str, sleep: Callable[[float], None]) -> bytes:
    for attempt in range(TRIES):
        if attempt:
            sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
        try:
            content = _fetched(item.text, voice)
        except Exception as error:  # the package, aiohttp and the socket each have their own
            logger.warning("Edge-TTS, try %d of %d: %s", attempt + 1, TRIES, type(error).__name__)
            continue
        if content:
            return content
        logger.warning("Edge-TTS, try %d of %d: no sound", attempt + 1, TRIES)
    raise CorpusError(
        f"Edge-TTS gave no sound for {item.item_id} by {voice} in {TRIES} tries; {done} are there, run again to go on."
    )


def _fetched(text: str, voice: str) -> bytes:
    """Return the sound; on a thread of its own, for the caller's may run an event loop already."""

    async def in_time() -> bytes:
        return await asyncio.wait_for(_stream(text, voice), TIMEOUT_S)

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(lambda: asyncio.run(in_time())).result()


async def _stream(text: str, voice: str) -> bytes:
    import edge_tts

    parts = [part async for part in edge_tts.Communicate(text, voice).stream()]
    return b"".join(part["data"] for part in parts if part["type"] == "audio")


def _keep(file: Path, content: bytes) -> None:
    part = file.with_suffix(".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, file)
    except OSError as error:
        raise CorpusError(
            "The folder for recordings cannot be written; make room or name another."
        ) from error

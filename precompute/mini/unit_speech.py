"""The training speech of the interleaved minis as units: said once, encoded once, kept on disk.

Every training sentence is said twice and every heard fact's statements eight times, each in a training voice of
espeak-ng, whose word times are known. A chunk is made in a process of its own: espeak-ng's flutter runs on from call
to call, so that only a fresh process gives the same bytes.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from engine.systems.unit_lm import FRAME_S, WhisperFrames, nearest, read_centres
from engine.words import SpokenWord
from precompute.mini.unit_fit import say_plain

logger = logging.getLogger(__name__)

CHUNK_CLIPS = 1_000
PROCESSES = 2


@dataclass(frozen=True)
class UnitClip:
    """One said text as units, not merged, with the frame at which each word begins.

    Attributes:
        frames: the unit of each 40 ms.
        word_starts: for each word of `text.split()` its first frame; the first word's is 0, for the silence before
            it is its own. A word shorter than a frame may have none: its start is then the next word's.
    """

    text: str
    frames: Int[np.ndarray, "frames"]  # noqa: F821 - jaxtyping axis name
    word_starts: tuple[int, ...]


@dataclass(frozen=True)
class Saying:
    """A text to be said; `number` tells its renderings apart."""

    text: str
    number: int


def word_frames(words: Sequence[SpokenWord], n_frames: int) -> tuple[int, ...]:
    """Return the first frame of each word: a frame is the word's in which its centre lies."""
    starts = [min(n_frames, max(0, int(np.ceil(word.start_s / FRAME_S - 0.5)))) for word in words]
    return (0, *starts[1:])


def encode_clips(
    folder: Path, encoder: tuple[Path, int], centres: Path, sayings: Sequence[Saying]
) -> list[UnitClip]:
    """Say these texts and return their units, from the cache in `folder` where that has them.

    Args:
        folder: of the cache; its chunks are of these very sayings.
        encoder: folder of the mini-Whisper and the layer.
        centres: file of the centres.
        sayings: what is said, in this order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chunks = [sayings[start : start + CHUNK_CLIPS] for start in range(0, len(sayings), CHUNK_CLIPS)]
    files = [folder / f"units-{number:03d}.npz" for number in range(len(chunks))]
    missing = [
        (file, encoder, centres, chunk)
        for file, chunk in zip(files, chunks, strict=True)
        if not file.exists()
    ]
    if missing:
        logger.info("units: %d of %d chunks are to be said", len(missing), len(chunks))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(PROCESSES, mp_context=context, max_tasks_per_child=1) as pool:
            for done, file in enumerate(pool.map(_encode_chunk, missing), start=1):
                logger.info("units: %s made, %d of %d", file.name, done, len(missing))
    return [clip for file, chunk in zip(files, chunks, strict=True) for clip in _read_chunk(file, chunk)]


def _encode_chunk(work: tuple[Path, tuple[Path, int], Path, Sequence[Saying]]) -> Path:
    file, (folder, layer), centres_file, sayings = work
    torch.set_num_threads(1)
    encoder, centres = WhisperFrames(folder, layer), read_centres(centres_file)
    frames, starts = [], []
    for saying in sayings:
        samples, words = say_plain(saying.text, str(saying.number))
        found = nearest(encoder.features(samples), centres)
        frames.append(found)
        starts.append(word_frames(words, len(found)))
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        np.savez_compressed(
            stream,
            frames=np.concatenate(frames).astype(np.int16),
            n_frames=np.array([len(clip) for clip in frames]),
            starts=np.concatenate(starts).astype(np.int32),
            n_words=np.array([len(clip) for clip in starts]),
        )
    part.replace(file)
    return file


def _read_chunk(file: Path, sayings: Sequence[Saying]) -> list[UnitClip]:
    with np.load(file, allow_pickle=False) as stored:
        frames = np.split(stored["frames"].astype(np.int64), np.cumsum(stored["n_frames"])[:-1])
        starts = np.split(stored["starts"], np.cumsum(stored["n_words"])[:-1])
    return [
        UnitClip(saying.text, clip, tuple(words.tolist()))
        for saying, clip, words in zip(sayings, frames, starts, strict=True)
    ]


def mean_durations(clips: Sequence[UnitClip], k: int) -> Float[np.ndarray, "k"]:  # noqa: F821 - jaxtyping axis name
    """Return how many frames a run of each unit lasts on average; nan for a unit that never occurs."""
    runs, frames = np.zeros(k), np.zeros(k)
    for clip in clips:
        np.add.at(frames, clip.frames, 1)
        np.add.at(runs, clip.frames[np.flatnonzero(np.diff(clip.frames, prepend=-1))], 1)
    with np.errstate(invalid="ignore"):
        mean: Float[np.ndarray, "k"] = frames / runs
    return mean

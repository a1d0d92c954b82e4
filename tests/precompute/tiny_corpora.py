"""A folder of all six corpora in their published layouts, a few rows each, with a MUSAN of tones."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from precompute.corpora import ag_news, commonsense_qa, meld, mustard, sst2, trivia_qa
from precompute.corpora.catalogue import CORPORA, seeded_part
from tests.precompute.published_files import write_json_lines, write_parquet

N_TEXTS = 3
EMOTIONS = ("neutral", "joy", "anger")
_CHOICES = ("oven", "shelf", "garden", "drawer", "fridge")


def tone(pitch_hz: float, seconds: float = 0.6) -> np.ndarray:
    """A tone that swells and fades: no speech, and loud enough."""
    time_s = np.arange(round(seconds * 16_000)) / 16_000
    return 0.2 * np.sin(2 * np.pi * pitch_hz * time_s) * np.sin(np.pi * time_s / seconds)


def wav_bytes(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format="WAV")
    return buffer.getvalue()


def write_musan(folder: Path) -> Path:
    """Eight tracks."""
    for index in range(8):
        part = folder / "speech" / ("librivox", "us-gov")[index % 2]
        part.mkdir(parents=True, exist_ok=True)
        soundfile.write(part / f"track-{index}.wav", tone(150 * (index + 1), 4.0), 16_000)
    return folder


def write_corpora(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write everything but recordings of the texts; the catalogue then expects as few rows as there are."""
    write_parquet(
        folder / "ag_news" / "data" / "test-00000-of-00001.parquet",
        [{"text": f"The bank number {n} rose on Monday.", "label": 2} for n in range(N_TEXTS)],
    )
    write_json_lines(
        folder / "sst2" / "test.jsonl",
        [{"text": f"a fine film , part {n}", "label": 1, "label_text": "positive"} for n in range(N_TEXTS)],
    )
    write_parquet(
        folder / "csqa" / "data" / "validation-00000-of-00001.parquet",
        [_question(n) for n in range(N_TEXTS)],
    )
    write_parquet(
        folder / "triviaqa" / "rc.nocontext" / "validation-00000-of-00001.parquet",
        [_trivia(n) for n in range(N_TEXTS)],
    )
    _write_recorded(folder)
    write_musan(folder / "musan")
    _expect_few_rows(monkeypatch)
    return folder


def _question(number: int) -> dict[str, object]:
    choices = {"label": list("ABCDE"), "text": list(_CHOICES)}
    return {"id": f"q{number}", "question": f"Where is thing {number}?", "choices": choices, "answerKey": "E"}


def _trivia(number: int) -> dict[str, object]:
    answer = {"value": "Paris", "aliases": ["City of Light"], "normalized_aliases": ["city of light"]}
    return {"question": f"Which town is number {number}?", "question_id": f"t{number}", "answer": answer}


def _write_recorded(folder: Path) -> None:
    write_parquet(
        folder / "meld" / "data" / "test-00000-of-00017.parquet",
        [
            {
                **{"Utterance": f"Line {n}.", "Emotion": emotion, "Dialogue_ID": n, "Utterance_ID": 0},
                "audio": {"bytes": wav_bytes(tone(200 + 50 * n, 0.3 + 0.4 * n)), "path": f"dia{n}_utt0.wav"},
            }
            for n, emotion in enumerate(EMOTIONS)
        ],
    )
    write_parquet(
        folder / "mustard" / "data" / "test-00000-of-00001.parquet",
        [
            {
                **{"file": f"1_{n}.wav", "utterance": f"Sure, {n}.", "context": [], "show": "X"},
                "audio": {"bytes": wav_bytes(tone(300 + 50 * n)), "path": f"1_{n}.wav"},
                "label": bool(n),
            }
            for n in range(2)
        ],
    )


def _expect_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def few(source, n_rows=N_TEXTS):  # type: ignore[no-untyped-def]
        return replace(source, n_rows=n_rows, label_counts={})

    sources = tuple(few(source) for source in sst2.SOURCES)
    reads = {
        "ag_news": partial(ag_news.read_ag_news, source=few(ag_news.SOURCE)),
        "sst2": partial(sst2.read_sst2, sources=sources),
        "csqa": partial(commonsense_qa.read_commonsense_qa, source=few(commonsense_qa.SOURCE)),
        "triviaqa": partial(trivia_qa.read_trivia_qa, source=few(trivia_qa.SOURCE)),
        "meld": seeded_part(
            partial(meld.read_meld, parquet=few(meld.PARQUET), films=few(meld.FILMS)), meld.TASK
        ),
        "mustard": seeded_part(
            partial(mustard.read_mustard, parquet=few(mustard.PARQUET, 2), films=few(mustard.FILMS, 2)),
            mustard.TASK,
        ),
    }
    for key, read in reads.items():
        monkeypatch.setitem(CORPORA, key, replace(CORPORA[key], read=read))

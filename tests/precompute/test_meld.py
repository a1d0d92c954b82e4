"""Facts about MELD: both layouts give the same items, and a wrong label or another clip's sound is refused."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from engine.errors import ClipError
from precompute.clips import recorded_clips
from precompute.corpora.meld import FILMS, PARQUET, read_meld
from precompute.corpora.source import CorpusError
from precompute.jobs import Batch, Job, perform
from precompute.plan import ClipQuestion, SoundPlace
from tests.precompute.published_files import write_parquet

COUNTS = {"neutral": 1, "joy": 1}
TINY = replace(PARQUET, n_rows=2, label_counts=COUNTS)
TINY_FILMS = replace(FILMS, n_rows=2, label_counts=COUNTS)
LABELS = [
    {"Sr No.": 1, "Utterance": "It’s  fine.", "Emotion": "neutral", "Dialogue_ID": 0, "Utterance_ID": 0},
    {"Sr No.": 7, "Utterance": "Push!", "Emotion": "joy", "Dialogue_ID": 0, "Utterance_ID": 12},
]
NAMES = ("dia0_utt0", "dia0_utt12")


def parquet_rows() -> list[dict[str, Any]]:
    return [
        {**row, "audio": {"bytes": name.encode(), "path": f"wav/{name}.wav"}}
        for row, name in zip(LABELS, NAMES, strict=True)
    ]


def write_films(folder: Path, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "test_sent_emo.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "films").mkdir(exist_ok=True)
    for name in (*NAMES, "final_videos_testdia0_utt12"):
        (folder / "films" / f"{name}.mp4").write_bytes(name.encode())


def test_both_layouts_give_the_same_items(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a" / "data" / "test-00000-of-00017.parquet", parquet_rows())
    write_films(tmp_path / "b", LABELS)
    inside = read_meld(tmp_path / "a", TINY, TINY_FILMS)
    beside = read_meld(tmp_path / "b", TINY, TINY_FILMS)
    assert [replace(item, file="") for item in inside.items] == [
        replace(item, file="") for item in beside.items
    ]
    first, second = inside.items
    assert (first.item_id, first.gold, first.group) == ("meld-dia0_utt0", "neutral", "dialogue 0")
    assert first.text == "It’s fine." and second.item_id == "meld-dia0_utt12"
    assert [item.file for item in inside.items] == [f"clips/{name}.wav" for name in NAMES]
    assert [item.file for item in beside.items] == [f"films/{name}.mp4" for name in NAMES]
    assert "never hold them" in inside.notes[0]


def test_a_clip_carries_no_words_to_speak_and_no_place_on_this_machine(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "test-0.parquet", parquet_rows())
    clips = list(recorded_clips(read_meld(tmp_path, TINY, TINY_FILMS).items))
    assert [clip.gold for clip in clips] == ["neutral", "joy"]
    assert all(str(tmp_path) not in clip.recipe.to_json() and not clip.recipe.text for clip in clips)


def test_the_benchmark_hears_the_clips_and_one_cut_wrongly_fails_by_itself(tmp_path: Path) -> None:
    rows = parquet_rows()
    for row, duration_s in zip(rows, (2, 31), strict=True):
        sound = io.BytesIO()
        tone = 0.1 * np.sin(np.arange(16_000 * duration_s) / 9)
        soundfile.write(sound, tone, 16_000, format="WAV", subtype="PCM_16")
        row["audio"]["bytes"] = sound.getvalue()
    write_parquet(tmp_path / "data" / "test-0.parquet", rows)
    clips = recorded_clips(read_meld(tmp_path, TINY, TINY_FILMS).items)
    good, too_long = (
        Batch(
            (Job("render", "key", "", ClipQuestion(clip.recipe, clip.item.question)),),
            SoundPlace(tmp_path, tmp_path),
        )
        for clip in clips
    )
    (row_of_good,) = perform(good).rows
    assert row_of_good.audio_s == 2.0
    with pytest.raises(ClipError, match=r"is 31\.0 s long and the limit is 30 s"):
        perform(too_long)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Emotion": "bored"}, '"bored" is none of the seven emotions'),
        ({"Emotion": "joy"}, '0 rows are labelled "neutral" and 1 should be'),
        ({"Dialogue_ID": None}, "a Dialogue_ID or Utterance_ID is no number"),
        ({"audio": {"bytes": b"x", "path": "dia5_utt0.wav"}}, "dia0_utt0 holds the sound of another clip"),
        ({"audio": {"bytes": b"", "path": "dia0_utt0.wav"}}, "dia0_utt0 has no sound"),
    ],
)
def test_wrong_rows_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    first, second = parquet_rows()
    write_parquet(tmp_path / "data" / "test-0.parquet", [{**first, **change}, second])
    with pytest.raises(CorpusError, match=message):
        read_meld(tmp_path, TINY, TINY_FILMS)


def test_wrong_films_are_refused(tmp_path: Path) -> None:
    write_films(tmp_path, LABELS[:1])
    with pytest.raises(CorpusError, match="1 rows are here and the test split has 2"):
        read_meld(tmp_path, TINY, TINY_FILMS)
    write_films(tmp_path, LABELS)
    (tmp_path / "films" / "dia0_utt12.mp4").unlink()
    with pytest.raises(CorpusError, match="1 of 2 clips are missing, the first is dia0_utt12"):
        read_meld(tmp_path, TINY, TINY_FILMS)
    write_films(tmp_path, [{"Utterance": "x", "Emotion": "joy"}])
    with pytest.raises(CorpusError, match='no column "Dialogue_ID"'):
        read_meld(tmp_path, TINY, TINY_FILMS)


def test_the_published_numbers_agree_with_one_another() -> None:
    assert sum(PARQUET.label_counts.values()) == PARQUET.n_rows == FILMS.n_rows == 2_610

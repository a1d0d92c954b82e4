"""A clip of a benchmark on the clip page: the same samples, its question, its noise and seed, and its link."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dashboard.form import load, request_from
from dashboard.opened import key_of, obstacle_of, open_clip, pair_for
from dashboard.tables import table
from dashboard.tabs import clip_handlers
from engine import voice
from engine.audio import load_clip
from engine.errors import ClipError
from engine.noise import FOLDER_VARIABLE, MISSING, MUSAN, open_musan
from engine.voice import recipe_of, say_recipe, spoil
from tests.precompute.tiny_corpora import write_musan

SPEAKS = pytest.mark.skipif(not voice.is_available(), reason="no synthesiser is installed")


@pytest.fixture
def clips(own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    yield table("own", "clips")


def one(clips: Any, task: str, noise: str, snr_db: float | None = None) -> dict[str, Any]:
    rows = clips[(clips["task"] == task) & (clips["noise"] == noise)]
    rows = rows if snr_db is None else rows[rows["snr_db"] == snr_db]
    return dict(rows.iloc[0])


@SPEAKS
def test_the_models_get_the_very_samples_of_the_run(clips: Any) -> None:
    row = one(clips, "topic", "babble", 5.0)
    opened = open_clip(key_of("own", row["clip_id"]))
    form = clip_handlers.form_of(
        (str(opened.example.file), "topic", "", row["reference"], "mini-ultravox", "babble", 5, None, (), "audio",
         "preset", "", "linear")
    )  # fmt: skip
    request = request_from(form, load(form))
    recipe = recipe_of(row["recipe"])
    wanted = say_recipe(recipe).clip
    assert np.array_equal(request.clip.samples, wanted.samples)
    assert (request.noise, request.snr_db, request.seed) == ("babble", 5, recipe.seed)
    assert request.gold == row["gold"] and request.reference == row["reference"]
    assert [word.text for word in request.reference_words] == row["reference"].split()


@SPEAKS
def test_the_rail_is_filled_and_the_link_restores_it(clips: Any) -> None:
    row = one(clips, "topic", "white")
    key = key_of("own", row["clip_id"])
    filled = clip_handlers.open_from_benchmark(key, ("mini-ultravox", "mini-cascade"))
    audio, _, reference, task, _, _, pair, noise, box, ratio, link = filled
    assert (reference, task, pair, noise, ratio) == (row["reference"], "topic", "mini-ultravox", "white", 10)
    assert Path(audio).is_file() and box["visible"] is True
    restored = clip_handlers.restore({"clip": key, "task": "topic", "noise": "white", "snr": "10"})
    assert restored.reference == row["reference"] and restored.task == "topic" and restored.noise == "white"
    assert link.startswith("?clip=own") and "snr=10" in link and "systems=mini-ultravox" in link


@SPEAKS
def test_a_link_made_on_the_clip_page_names_the_clip(clips: Any) -> None:
    key = key_of("own", one(clips, "topic", "clean")["clip_id"])
    file = str(open_clip(key).example.file)
    values = (file, "topic", "", "", "mini-ultravox", "none", 5, None, (), "audio", "preset", "", "linear")
    assert "clip=own~" in clip_handlers.link_to(values, True).replace("%7E", "~")
    assert "run=1" in clip_handlers.link_to(values, True)


@SPEAKS
def test_a_room_is_in_the_sound_already(clips: Any) -> None:
    row = one(clips, "topic", "room")
    opened = open_clip(key_of("own", row["clip_id"]))
    recipe = recipe_of(row["recipe"])
    spoiled = spoil(say_recipe(recipe).clip, recipe)
    assert spoiled is not None and opened.noise == "none" and "room" in opened.note
    assert np.array_equal(load_clip(opened.example.file).samples, spoiled.clip.samples)


@SPEAKS
def test_musans_babble_is_in_the_sound_where_it_can_be_made(
    clips: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clip of a corpus of the paper asks the product's task of the same kind."""
    musan = open_musan(write_musan(tmp_path / "musan"))
    row = one(clips, "topic", "clean")
    noisy = replace(recipe_of(row["recipe"]), noise=MUSAN, snr_db=5.0, seed=3, tracks=musan.digest)
    row |= {"task": "ag_news", "noise": MUSAN, "snr_db": 5.0, "recipe": noisy.to_json()}
    monkeypatch.setattr("dashboard.opened.clip_of", lambda *_: row)
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert obstacle_of(row) == MISSING and "\n" not in MISSING
    with pytest.raises(ClipError, match="MUSAN's, which does not ship"):
        open_clip(key_of("own", row["clip_id"]))
    monkeypatch.setenv(FOLDER_VARIABLE, str(musan.folder))
    opened = open_clip(key_of("own", row["clip_id"]))
    spoiled = spoil(say_recipe(noisy).clip, noisy)
    assert spoiled is not None and opened.noise == "none" and "MUSAN" in opened.note
    assert np.array_equal(load_clip(opened.example.file).samples, spoiled.clip.samples)
    assert opened.example.task == "topic"


def test_what_cannot_be_made_again_says_why(clips: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = one(clips, "topic", "clean")
    assert obstacle_of({**row, "recipe": "?"}).startswith("Not opened")
    assert "does not know this task" in obstacle_of({**row, "task": "my-corpus"})
    assert "no recordings" in obstacle_of({**row, "recipe": '{"file": "a.wav", "sha256": "0"}'})
    monkeypatch.setattr("dashboard.opened.voice.is_available", lambda: False)
    assert "no synthesiser" in obstacle_of(row)
    with pytest.raises(ClipError, match="no synthesiser"):
        open_clip(key_of("own", row["clip_id"]))


@pytest.mark.parametrize("key", ["own~nobody", "measured~x", "elsewhere~x", "", "own~../../x"])
def test_clips_that_are_not_there_are_refused(own_run: Path, key: str) -> None:
    with pytest.raises(ClipError):
        open_clip(key)


@pytest.mark.parametrize("link", ["nowhere~x", "own", "own~", "own~" + "x" * 400])
def test_a_link_to_no_clip_is_left_out(link: str) -> None:
    from dashboard.links import view_of

    assert view_of({"clip": link}, examples=(), pairs=(), conditions=()).ignored == ("clip",)


def test_the_clip_pages_pair_is_the_one_that_runs_both() -> None:
    assert pair_for(("mini-ultravox", "mini-cascade")) == "mini-ultravox"
    assert pair_for(("nobody", "no one")) is None

"""Lens, probes and lens in noise: what is drawn beside which control, and which clips stand behind a point."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from dashboard.mechanism import lens, noise_lens, probes
from dashboard.mechanism.behind import measured, system_name
from dashboard.mechanism.charts import note_html
from dashboard.mechanism.clip_tables import mechanism_clips
from dashboard.mechanism.points import point_key
from dashboard.mechanism.section import Drawn
from dashboard.tables import use_results
from engine.errors import TableError, UnknownKeyError
from engine.tables import write_table
from tests.dashboard.made_layers import ENCODER, LAYERS, SYSTEM

pytestmark = pytest.mark.usefixtures("own_layers")


def values_of(drawn: Drawn, name: str) -> list[float]:
    assert drawn.figure is not None
    return next([round(y, 6) for y in one.y] for one in drawn.figure.data if one.name == name)


def test_the_lens_stands_beside_the_words_of_other_clips() -> None:
    drawn = lens.SECTION.draw("own", {"measure": "precision", "task": "topic"})
    assert values_of(drawn, "mini-Ultravox") == [0.0, 0.3, 0.6]
    assert values_of(drawn, "words of other clips") == [0.05] * len(LAYERS)
    assert "precision only" in drawn.note and "items" in drawn.note


def test_recall_at_10_stands_beside_a_replication_with_its_own_control() -> None:
    drawn = lens.SECTION.draw("own", {"measure": "current_10", "task": "all tasks"})
    assert values_of(drawn, "mini-Ultravox") == [0.0, 3 / 8, 6 / 8]
    assert drawn.figure is not None
    assert lens.OUTSIDE_NAME in [one.text for one in drawn.figure.layout.annotations]
    assert values_of(drawn, "MiniCPM-o 4.5")[0] == 0.1


def test_the_lens_lists_the_best_read_clips_first_and_escapes_nothing_itself(own_layers: Path) -> None:
    listed = lens.SECTION.clips("own", point_key(SYSTEM, "topic", "precision", 2))
    clips = pd.read_parquet(own_layers / "clips.parquet")
    of_task = clips[(clips["task"] == "topic") & (clips["noise"] == "clean")]
    assert {row.clip_id for row in listed.rows} == set(of_task["clip_id"])
    assert set(listed.headers) >= {"Read at layer 2", "Words of other clips"}
    text, own_share, other, task = listed.rows[0].cells
    assert text.startswith("layer 2 <b>") and (own_share, other, task) == ("0.60", "0.05", "Topic")


def test_clips_without_a_score_come_last(own_layers: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(own_layers, out)
    path = out / "mechanism" / "lens_clips.parquet"
    rows = pd.read_parquet(path)
    place = (rows["task"] == "topic") & (rows["noise"] == "clean") & (rows["layer"] == 2)
    silent, best = rows[place]["clip_id"].iloc[[0, 1]]
    rows.loc[place & (rows["clip_id"] == silent), "precision"] = float("nan")
    rows.loc[place & (rows["clip_id"] == best), "precision"] = 0.9
    write_table(rows, path, "lens_clips")
    assert use_results(out) == ""
    listed = lens.SECTION.clips("own", point_key(SYSTEM, "topic", "precision", 2)).rows
    assert (listed[0].clip_id, listed[-1].clip_id) == (best, silent)
    assert listed[-1].cells[1] == "–"


def test_noise_has_a_panel_for_each_condition_and_lists_the_items_it_compares(own_layers: Path) -> None:
    drawn = noise_lens.SECTION.draw("own", {})
    assert drawn.figure is not None
    titles = [one.text for one in drawn.figure.layout.annotations]
    assert titles[:2] == ["clean", "babble, 15 dB"] and "babble, 0 dB" in titles
    rows = pd.read_parquet(own_layers / "mechanism" / "lens_clips.parquet")
    noisy = set(rows.loc[rows["noise"] != "clean", "item_id"])
    listed = noise_lens.SECTION.clips("own", point_key(SYSTEM, "clean", 1))
    wanted = rows[(rows["noise"] == "clean") & rows["item_id"].isin(noisy) & (rows["layer"] == 1)]
    assert {row.clip_id for row in listed.rows} == set(wanted["clip_id"])
    babble = noise_lens.SECTION.clips("own", point_key(SYSTEM, "babble-5", 1))
    assert babble.rows and not {row.clip_id for row in babble.rows} & set(wanted["clip_id"])


def test_a_probe_stands_beside_all_three_controls_and_its_encoder() -> None:
    drawn = probes.SECTION.draw("own", {"target": "text"})
    for words, value in (("labels dealt anew", 0.0), ("weights drawn anew", 0.1), ("log-mel features", 0.15)):
        assert values_of(drawn, words) == [value] * len(LAYERS)
    assert values_of(drawn, "mini-Ultravox") == [0.2, 0.3, 0.4]
    assert values_of(drawn, "mini-Whisper's encoder") == [0.2, 0.3, 0.4]
    assert values_of(drawn, "Ultravox v0.6, published") == [0.03, 0.0, 0.07, 0.11, 0.2]
    assert "cut off at 0" in drawn.note


def test_all_six_probes_are_a_row_for_each_system_and_one_published() -> None:
    drawn = probes.SECTION.draw("own", {"target": "all"})
    assert drawn.figure is not None
    titles = [one.text for one in drawn.figure.layout.annotations]
    assert len(titles) == 3 * 6 + 2 and titles.count("not published") == 2
    assert "cut off at 0" in drawn.note and probes.BELOW not in drawn.note


def test_the_probes_list_is_read_clip_by_clip_with_labels_in_words() -> None:
    heard = probes.SECTION.clips("own", point_key(ENCODER, "speaker", 1))
    assert heard.rows[0].cells[1] == "right" and heard.rows[-1].cells[1] == "wrong"
    assert heard.headers[0] == "Voice" and heard.rows[0].clip_id.startswith("probe-")
    assert probes.SECTION.clips("own", point_key(SYSTEM, "pitch", 0)).rows[0].cells[1] == "1.00"
    with pytest.raises(UnknownKeyError, match="no probe"):
        probes.SECTION.clips("own", point_key(SYSTEM, "colour", 0))


def test_keys_of_another_form_are_refused_in_one_sentence() -> None:
    for section in (lens, noise_lens, probes):
        for point in ("", "a", "a~b~c~d~e~f", "a~b~x"):
            with pytest.raises((UnknownKeyError, TableError)):
                section.SECTION.clips("own", point)


def test_only_the_rows_of_a_point_are_read() -> None:
    rows = mechanism_clips(
        "own", "lens_clips", [("system", (SYSTEM,)), ("layer", (1,))], ["clip_id", "layer"]
    )
    assert set(rows["layer"]) == {1} and list(rows.columns) == ["clip_id", "layer"]
    with pytest.raises(TableError, match="implicit_clips"):
        mechanism_clips("own", "implicit_clips", [])


def test_names_and_notes() -> None:
    assert system_name("own", ENCODER) == "mini-Whisper's encoder"
    assert system_name("published", "whisper") == "Whisper's encoder"
    assert note_html(["a < b", "", "a < b"]) == '<p class="small">a &lt; b</p>'
    assert measured("own", "damage") is None and measured("published", "lens") is not None

"""Where a clip lies: percentiles by hand, the nearest noise, and a chart as before where nothing is shipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboard import emergence, tables
from dashboard.emergence import nearest, percentile_of, spread_beside
from dashboard.figures.charts import emergence_figure, emergence_table
from dashboard.tables import CLEAN, Level
from engine.results import RunResult

Ship = Callable[..., None]
CLEAN_ROW = ("clean", float("nan"))


@pytest.fixture
def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ship:
    """Make a shipped run whose clips have these precisions at layer 3, half of them at layer 1."""

    def write(
        values: list[float], noise: tuple[str, float] = CLEAN_ROW, system: str = "mini-ultravox"
    ) -> None:
        rows = [
            (system, layer, "topic", f"clip {index}", *noise, value * share)
            for index, value in enumerate(values)
            for layer, share in ((1, 0.5), (3, 1.0))
        ]
        frame = pd.DataFrame(
            rows, columns=["system", "layer", "task", "clip_id", "noise", "snr_db", "precision"]
        )
        (tmp_path / "mechanism").mkdir(exist_ok=True)
        (tmp_path / "manifest.json").write_text("{}")
        frame.to_parquet(tmp_path / "mechanism" / "lens_clips.parquet")

    monkeypatch.setattr(tables, "SHIPPED", tmp_path)
    monkeypatch.setattr(emergence, "is_of_these_weights", lambda systems: True)
    return write


def test_a_percentile_counts_those_below_and_half_of_those_equal() -> None:
    values = np.array([0.1, 0.2, 0.2, 0.5])
    assert percentile_of(0.05, values) == 0.0
    assert percentile_of(0.2, values) == 50.0  # one of four below, two equal: 25 + 25
    assert percentile_of(0.3, values) == 75.0
    assert percentile_of(0.9, values) == 100.0
    assert np.isnan(percentile_of(0.5, np.array([])))


def test_the_clip_is_placed_at_the_layer_where_its_precision_peaks(ship: Ship, result: RunResult) -> None:
    ship([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.9, float("nan")])
    assert result.lens is not None
    spread, sentence = spread_beside(replace(result, lens=replace(result.lens, words_from="reference")))
    assert spread is not None and spread.n_clips == 10 and spread.layers == (1, 3)
    # Its 0.75 at layer 3 has 7 of 9 below it and 1 equal: (7 + 1 / 2) / 9.
    assert "At layer 3" in sentence and "(0.75)" in sentence and "percentile 83 of" in sentence
    assert "n = 9, median 0.50" in sentence and "10 topic clips on clean speech" in sentence
    assert spread.mean() == pytest.approx([4.45 / 18, 4.45 / 9])
    # Of nine values the 10th percentile lies 0.8 of the way from the first to the second.
    assert spread.percentile(10)[1] == pytest.approx(0.18)


def test_the_chart_holds_band_and_mean_and_the_table_their_numbers(ship: Ship, result: RunResult) -> None:
    ship([0.1] * 5 + [0.3] * 5)
    spread, _ = spread_beside(result)
    assert spread is not None
    low, high, mean, own, _ = emergence_figure(result.lens, spread).data
    assert (low.y[1], high.y[1], mean.y[1]) == pytest.approx((0.1, 0.3, 0.2))
    assert high.fill == "tonexty" and "10 clips" in mean.name and own.y[3] == 0.75
    table = emergence_table(result.lens, spread)
    assert "<td>0.20</td><td>0.10</td><td>0.30</td><td>10</td>" in table
    assert table.count("<tr>") == 1 + len(result.lens.layers)


def test_few_clips_have_a_mean_and_no_band(ship: Ship, result: RunResult) -> None:
    ship([0.1, 0.3])
    spread, sentence = spread_beside(result)
    assert spread is not None and "No band" in sentence
    assert len(emergence_figure(result.lens, spread).data) == 3


def test_without_a_shipped_lens_the_chart_is_as_it_was(ship: Ship, result: RunResult) -> None:
    assert spread_beside(result) == (None, "")
    ship([0.1, 0.3], system="mini-qwen2-audio")
    assert spread_beside(result) == (None, "")
    assert len(emergence_figure(result.lens, None).data) == 2


def test_other_weights_and_damage_are_said_and_nothing_is_drawn(
    ship: Ship, result: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship([0.1, 0.3])
    monkeypatch.setattr(emergence, "is_of_these_weights", lambda systems: False)
    spread, sentence = spread_beside(result)
    assert spread is None and "other weights" in sentence
    (tmp_path / "mechanism" / "lens_clips.parquet").write_bytes(b"no table")
    assert "damaged" in spread_beside(result)[1]


def test_the_nearest_ratio_of_the_same_noise_is_taken_else_clean_speech() -> None:
    levels = [CLEAN, Level("babble", 0.0), Level("babble", 10.0), Level("room")]
    assert nearest(Level("babble", 4.0), levels) == Level("babble", 0.0)
    assert nearest(Level("babble", 6.0), levels) == Level("babble", 10.0)
    assert nearest(Level("room"), levels) == Level("room")
    assert nearest(Level("white", 5.0), levels) == nearest(CLEAN, levels) == CLEAN


def test_another_noise_than_asked_and_other_words_are_said(ship: Ship, result: RunResult) -> None:
    ship([0.1] * 10)
    assert result.lens is not None
    lens = replace(result.lens, words_from="mini-Whisper")
    _, sentence = spread_beside(replace(result, noise="white", snr_db=5.0, lens=lens))
    assert "no lens in white at 5 dB: these clips are clean speech" in sentence
    assert "against the words of mini-Whisper" in sentence

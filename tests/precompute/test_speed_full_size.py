"""The figures at full size need a GPU and say so; the same code runs anywhere in small."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
import torch

from engine.errors import EngineError, PlacementError
from engine.systems.loading import LOADED
from precompute import __main__ as command
from precompute import speed_full_size
from precompute.speed_full_size import (
    FullSizeRow,
    format_full_size,
    hardware,
    measure_full_size,
    write_full_size,
)


@pytest.fixture(scope="module")
def rows() -> list[FullSizeRow]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed_full_size, "SYSTEMS", ("ultravox-v0.6-8b",))
        patch.setattr(speed_full_size, "N_TOKENS", 2)
        patch.setattr(speed_full_size, "CLIP_S", 1.0)
        return measure_full_size(1, "tiny")


def test_every_figure_is_measured(rows: list[FullSizeRow]) -> None:
    (row,) = rows
    assert row.system == "Ultravox v0.6 8B" and row.n_repeats == 1
    assert row.plain_s > 0 and row.audio_s_per_s > 0 and row.peak_gib > 0 and 0 < row.parameters_b < 0.01
    assert 0 < row.instrumented_low <= row.instrumented <= row.instrumented_high
    assert 0 < row.all_conditions_low <= row.all_conditions <= row.all_conditions_high


def test_the_models_are_gone_with_their_files(rows: list[FullSizeRow]) -> None:
    assert not [key for key in LOADED.loaded if "ultravox-v0.6-8b" in key]


def test_text_and_file_name_the_hardware(rows: list[FullSizeRow], tmp_path: Path) -> None:
    assert hardware() in format_full_size(rows) and "Ultravox v0.6 8B" in format_full_size(rows)
    write_full_size(rows, tmp_path / "speed.csv")
    with (tmp_path / "speed.csv").open(encoding="utf-8", newline="") as stream:
        (read,) = csv.DictReader(stream)
    assert read["hardware"] == hardware() and float(read["instrumented"]) == rows[0].instrumented


def test_without_a_gpu_one_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PlacementError, match="8 B models on a GPU, and this machine has none"):
        measure_full_size(1)
    monkeypatch.setattr(sys, "argv", ["precompute", "speed", "--profile", "paper", "--random-weights"])
    assert command.main() == 2
    assert "--scale tiny" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--profile", "paper"], "Give --profile paper and --random-weights together"),
        (["--random-weights"], "Give --profile paper and --random-weights together"),
        (["--profile", "small", "--random-weights"], 'No random weights are made for "small"'),
        (["--profile", "paper", "--random-weights", "--scale", "huge"], 'There is no scale "huge"'),
        (["--profile", "paper", "--random-weights", "--repeats", "0"], "give 1 or more"),
    ],
)
def test_other_arguments_are_refused(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["precompute", "speed", *arguments])
    assert command.main() == 2 and words in capsys.readouterr().err


def test_fewer_than_one_repeat_is_refused() -> None:
    with pytest.raises(EngineError, match="give 1 or more"):
        measure_full_size(0, "tiny")

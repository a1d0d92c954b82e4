"""Facts about the rows of unit models: what is missing is said, and the parts are found by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ModelFilesError, UnknownKeyError
from engine.systems.catalogue import UNIT_MODELS, get_unit_model, unit_model_lacks
from engine.systems.loading import load_unit_model
from engine.systems.weights import CHECKPOINTS
from tests.engine.tiny_interleaved import write_centres, write_hubert, write_units_model
from tests.engine.tiny_qwen2_audio import write_qwen2


def write_sims(models: Path) -> None:
    spec = get_unit_model("sims-7b")
    text = write_qwen2(models / spec.backbone)
    write_units_model(models / "sims-7b", text)
    write_centres(write_hubert(models / spec.audio_base) / "centres.npz")


def test_every_part_of_a_published_model_can_be_fetched() -> None:
    for spec in UNIT_MODELS.values():
        fetched = [name in CHECKPOINTS for name in spec.folders]
        assert spec.kind == "unit_lm" and len(fetched) == 3
        assert all(fetched) == (spec.key != "mini-interleaved") and any(fetched) == all(fetched)


def test_a_model_is_found_by_its_key_and_loaded_once(tmp_path: Path) -> None:
    write_sims(tmp_path)
    assert not unit_model_lacks(get_unit_model("sims-7b"), tmp_path)
    system = load_unit_model("sims-7b", tmp_path)
    assert system.spec.name == "SIMS-7B" and load_unit_model("sims-7b", tmp_path) is system


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    spec = get_unit_model("sims-7b")
    assert unit_model_lacks(spec, tmp_path) == (
        "weights are missing: sims-7b, qwen2.5-7b-vocabulary, mhubert-base-25hz"
    )
    write_sims(tmp_path)
    (tmp_path / "mhubert-base-25hz" / "centres.npz").unlink()
    assert "convert them to mhubert-base-25hz/centres.npz" in unit_model_lacks(spec, tmp_path)
    with pytest.raises(ModelFilesError, match=r"centres\.npz holds no readable centres"):
        load_unit_model("sims-7b", tmp_path)


def test_an_unknown_key_lists_those_there_are() -> None:
    with pytest.raises(UnknownKeyError, match=r'no speech-text model "x".*mini-interleaved, sims-7b'):
        get_unit_model("x")

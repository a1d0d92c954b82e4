"""The catalogue: cheap to read, honest about what is matched and what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import ModelFilesError, UnknownKeyError
from engine.systems.catalogue import (
    PAIRS,
    SYSTEMS,
    SystemInfo,
    backbone_of,
    get_pair,
    get_spec,
    match_of,
    revision_of,
    systems,
)

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("mini-llama", "mini-ultravox", "mini-whisper")
WEIGHTS = {
    "mini-llama": "model.safetensors",
    "mini-ultravox": "model.safetensors",
    "mini-whisper": "model.bin",
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Folders as far as the catalogue looks at them: configs, names of weights, revisions."""
    for name in FOLDERS:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text("{}", encoding="utf-8")
        (folder / WEIGHTS[name]).write_bytes(b"weights")
        (folder / "revision.txt").write_text(f"rev-{name}\n", encoding="utf-8")
    name_backbone(tmp_path, "mini-llama")
    return tmp_path


def name_backbone(models: Path, backbone: str) -> None:
    config = json.dumps({"text_model_id": backbone})
    (models / "mini-ultravox" / "config.json").write_text(config, encoding="utf-8")


def row(models: Path, key: str) -> SystemInfo:
    return next(info for info in systems(models) if info.key == key)


def test_keys_are_their_rows_keys_and_pairs_name_systems_of_the_right_kind() -> None:
    assert all(spec.key == key for key, spec in SYSTEMS.items())
    for key, pair in PAIRS.items():
        kinds = [get_spec(name).kind for name in (pair.speech_llm, pair.cascade, pair.text_oracle)]
        assert pair.key == key and kinds == ["speech_llm", "cascade", "text_llm"]


@pytest.mark.parametrize(("ask", "known"), [(get_spec, SYSTEMS), (get_pair, PAIRS)])
def test_unknown_keys_are_refused_beside_those_there_are(ask, known) -> None:
    for key in ("nonsense", "", "x" * 10_000):
        with pytest.raises(UnknownKeyError) as caught:
            ask(key)
        assert all(name in str(caught.value) for name in known) and len(str(caught.value)) < 200


def test_with_everything_there_all_are_ready_and_matched_exactly(models: Path) -> None:
    found = systems(models)
    assert [info.key for info in found] == list(SYSTEMS)
    for info in found:
        assert (info.status, info.reason, info.match) == ("ready", "", "exact")
    assert row(models, "mini-ultravox").revision == "rev-mini-ultravox"
    assert row(models, "mini-cascade").revision == "rev-mini-whisper"


def test_a_config_that_names_another_backbone_is_no_match(models: Path) -> None:
    pair = PAIRS["mini-ultravox"]
    assert match_of(pair, models) == "exact"
    name_backbone(models, "another-llama")
    assert backbone_of(get_spec("mini-ultravox"), models) == "another-llama"
    assert match_of(pair, models) == "none" and row(models, "mini-ultravox").match == "none"


def test_a_cascade_runs_on_what_its_row_says(models: Path) -> None:
    spec = replace(get_spec("mini-cascade"), backbone="other")
    assert backbone_of(spec, models) == "other"


@pytest.mark.parametrize("missing", FOLDERS)
@pytest.mark.parametrize("part", ["config.json", "weights"])
def test_missing_files_make_their_systems_unavailable_with_the_reason(
    models: Path, missing: str, part: str
) -> None:
    (models / missing / (part if part != "weights" else WEIGHTS[missing])).unlink()
    for info in systems(models):
        spec = get_spec(info.key)
        if missing in (spec.folder, spec.backbone, spec.transcriber):
            assert info.status == "unavailable" and missing in info.reason and info.revision == ""
            assert str(models) not in info.reason
        else:
            assert info.status == "ready"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_config_is_one_row_unavailable_and_never_an_error(models: Path, text: str) -> None:
    (models / "mini-ultravox" / "config.json").write_text(text, encoding="utf-8")
    info = row(models, "mini-ultravox")
    assert info.status == "unavailable" and "mini-Ultravox" in info.reason
    assert row(models, "mini-cascade").status == row(models, "mini-llama").status == "ready"
    assert row(models, "mini-cascade").match == "none"
    with pytest.raises(ModelFilesError, match="mini-Ultravox is missing or damaged"):
        backbone_of(get_spec("mini-ultravox"), models)


def test_a_folder_without_a_revision_is_unversioned(models: Path) -> None:
    (models / "mini-llama" / "revision.txt").unlink()
    assert revision_of(get_spec("mini-llama"), models) == "unversioned"


def test_reading_the_catalogue_brings_no_model_library() -> None:
    script = "import sys; from engine.systems import catalogue; catalogue.systems(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"torch", "transformers", "faster_whisper", "ctranslate2", "safetensors", "numpy"}
    assert "engine.systems.catalogue" in done.stdout.split() and not heavy & set(done.stdout.split())

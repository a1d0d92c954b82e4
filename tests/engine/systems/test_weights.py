"""Where weights lie: beside the code, in a profile's own place or among the fetched; and what counts as here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import ModelFilesError
from engine.systems.catalogue import LAPTOP_SYSTEMS, MINI_SYSTEMS, SYSTEMS, UNIT_MODELS
from engine.systems.weights import (
    CHECKPOINTS,
    FOLDERS_VARIABLE,
    FORMER_REPOSITORIES,
    HOME_VARIABLE,
    MODELS,
    PINNED,
    commit_of,
    folder_by_id,
    folder_of,
    missing_weights,
    size_gb,
    use_folders,
    weights_home,
)

ROOT = Path(__file__).resolve().parents[3]
QWEN, EARS, PHI = "qwen2-7b-instruct", "faster-whisper-small", "phi-4-multimodal"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    yield tmp_path / "home"
    use_folders({})


def put(folder: Path, *names: str) -> Path:
    for name in ("config.json", *names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}", encoding="utf-8")
    return folder


def test_every_folder_of_a_row_is_published_or_ships() -> None:
    for spec in SYSTEMS.values():
        for folder in spec.folders:
            assert (folder in CHECKPOINTS) != (MODELS / folder).exists(), folder
            # Of the laptop's rows some folders ship; a service may read for ears that ship.
            some_ship = spec.is_remote or spec.key in LAPTOP_SYSTEMS
            assert some_ship or (folder in CHECKPOINTS) != (spec.key in MINI_SYSTEMS)
    rows = [*SYSTEMS.values(), *UNIT_MODELS.values()]
    wanted = {folder for spec in rows for folder in spec.folders}
    assert set(CHECKPOINTS) - set(PINNED) <= wanted, "weights that no row needs"


def test_a_revision_is_a_commit_or_a_branch_of_that_repository() -> None:
    """Where no commit was known to us, the branch's is recorded with every result."""
    published = {name: row for name, row in CHECKPOINTS.items() if row.repository}
    assert {name for name in CHECKPOINTS if name.startswith("voice-")} == set(CHECKPOINTS) - set(published)
    branches = {name for name, row in published.items() if len(row.revision) != 40}
    units = {folder for spec in UNIT_MODELS.values() for folder in spec.folders if folder in CHECKPOINTS}
    assert branches == {name for name in CHECKPOINTS if name.startswith("ultravox")} | {PHI} | units
    for name, row in published.items():
        assert name in branches or not set(row.revision) - set("0123456789abcdef")
        assert row.repository.count("/") == 1 and (row.gb > 0 or PINNED[name].made_from)
    assert {name for name, row in CHECKPOINTS.items() if row.gated} == {
        name for name in CHECKPOINTS if name.startswith("llama")
    }


@pytest.mark.parametrize("name", ["mini-llama", "nowhere", "../escape"])
def test_other_names_lie_below_models_alone(home: Path, tmp_path: Path, name: str) -> None:
    put(home / name, "model.safetensors")
    assert folder_of(name, tmp_path) == tmp_path / name
    assert missing_weights([name], tmp_path / "models") == (name,)


def test_below_models_goes_first_then_the_profiles_place_then_the_fetched(home: Path, tmp_path: Path) -> None:
    fetched = put(home / QWEN, "model.safetensors")
    assert folder_of(QWEN, tmp_path / "models") == fetched
    own = put(tmp_path / "disk" / "Qwen2", "model.safetensors")
    use_folders({QWEN: own})
    assert folder_of(QWEN, tmp_path / "models") == own
    beside = put(tmp_path / "models" / QWEN, "model.safetensors")
    assert folder_of(QWEN, tmp_path / "models") == beside
    use_folders({})
    assert folder_of(QWEN, tmp_path / "elsewhere") == fetched


def test_without_a_variable_the_fetched_lie_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "  "):
        monkeypatch.setenv(HOME_VARIABLE, value)
        assert weights_home() == Path.home() / ".cache" / "cascade-lens" / "weights"


def test_a_profiles_places_are_checked_by_name_and_none_is_taken_by_halves(tmp_path: Path) -> None:
    own = put(tmp_path / "own", "model.safetensors")
    use_folders({QWEN: own})
    with pytest.raises(
        ModelFilesError, match='places "gpt-9", which is no model folder; choose from: ultravox'
    ):
        use_folders({EARS: own, "gpt-9": own})
    with pytest.raises(ModelFilesError, match=f"folder for {PHI} does not exist; mend its path") as caught:
        use_folders({PHI: tmp_path / "secret place"})
    assert "secret place" not in str(caught.value)
    assert folder_of(QWEN, tmp_path / "models") == own and folder_of(EARS, tmp_path / "models") != own


def test_a_profiles_places_reach_processes_started_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = put(tmp_path / "own", "model.safetensors")
    monkeypatch.chdir(tmp_path)
    use_folders({QWEN: Path("own")})
    script = f"from engine.systems.weights import folder_of; print(folder_of('{QWEN}'))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(own)


@pytest.mark.parametrize("value", ["nonsense", "[]", '{"qwen2-7b-instruct": 1}'])
def test_a_variable_that_holds_no_places_is_one_sentence(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(FOLDERS_VARIABLE, value)
    with pytest.raises(
        ModelFilesError, match=f"^{FOLDERS_VARIABLE} holds no folders; unset it: a profile sets"
    ):
        folder_of(QWEN)


def test_a_folder_is_here_with_its_config_and_all_shards_of_its_index(home: Path) -> None:
    folder = home / QWEN
    assert missing_weights([QWEN, QWEN]) == (QWEN,)
    put(folder)
    assert missing_weights([QWEN]) == (QWEN,)
    put(folder, "model-00001-of-00002.safetensors")
    assert missing_weights([QWEN]) == ()
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}), encoding="utf-8")
    assert missing_weights([QWEN]) == (QWEN,)
    put(folder, shards[1])
    assert missing_weights([QWEN]) == ()
    (folder / "config.json").unlink()
    assert missing_weights([QWEN]) == (QWEN,)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": 3}'])
def test_a_damaged_index_is_not_here_and_no_error(home: Path, text: str) -> None:
    put(home / QWEN, "model.safetensors")
    (home / QWEN / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    assert missing_weights([QWEN]) == (QWEN,)


def test_what_a_row_names_beyond_weights_must_be_here_too(home: Path) -> None:
    put(home / PHI, "model.safetensors")
    assert missing_weights([PHI]) == (PHI,)
    put(home / PHI, "speech-lora/adapter_model.safetensors")
    assert missing_weights([PHI]) == ()
    whisper = "whisper-large-v3-turbo"  # of which a merged Ultravox needs no weights
    put(home / whisper)
    assert missing_weights([whisper]) == (whisper,)
    put(home / whisper, "preprocessor_config.json")
    assert missing_weights([whisper]) == ()
    put(home / EARS, "model.bin")
    assert missing_weights([EARS]) == ()


def test_a_broken_link_is_not_here(home: Path, tmp_path: Path) -> None:
    """As after the hub's cache was emptied."""
    home.mkdir()
    (home / QWEN).symlink_to(tmp_path / "gone", target_is_directory=True)
    assert missing_weights([QWEN]) == (QWEN,)


def test_sizes_add_over_what_is_fetched_alone() -> None:
    assert size_gb(["mini-llama"]) == 0
    assert size_gb([QWEN, "mini-llama", EARS]) == pytest.approx(15.7)


def test_a_model_is_found_by_its_id_and_by_the_one_it_had(tmp_path: Path) -> None:
    wanted = weights_home() / "llama-3.1-8b-instruct"
    for repository in ("meta-llama/Llama-3.1-8B-Instruct", *FORMER_REPOSITORIES):
        assert folder_by_id(repository, tmp_path) == wanted
    assert folder_by_id("meta-llama/Llama-2-7b", tmp_path) is None


def test_only_a_snapshots_folder_has_a_commit(tmp_path: Path) -> None:
    snapshot = put(tmp_path / "snapshots" / ("0a" * 20))
    link = tmp_path / "name"
    link.symlink_to(snapshot, target_is_directory=True)
    assert commit_of(link) == commit_of(snapshot) == "0a" * 20
    for other in ("0A" * 20, "0a" * 19, "x" * 40, "main"):
        assert commit_of(put(tmp_path / other)) == ""

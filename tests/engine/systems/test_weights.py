"""Where weights lie and what counts as here; files that are kept in pieces."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import ModelFilesError
from engine.matching import weights_name
from engine.systems.catalogue import LAPTOP_SYSTEMS, MINI_SYSTEMS, SYSTEMS, UNIT_MODELS
from engine.systems.checkpoint import fingerprint, read_tensors, weight_files
from engine.systems.weights import (
    CHECKPOINTS,
    FORMER_REPOSITORIES,
    HOME_VARIABLE,
    MODELS,
    PINNED,
    commit_of,
    folder_by_id,
    folder_of,
    is_stored,
    missing_weights,
    open_stored,
    pieces_file,
    size_gb,
    stored_files,
    use_folders,
    weights_home,
)
from precompute.mini.slim import pack_json, share, shared_runs, slim

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


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A model that left most of another's tensors as they were."""
    torch.manual_seed(1)
    tensors = {f"tower.{n}.weight": torch.randn(40, 64) for n in range(5)}
    changed = tensors | {"tower.2.weight": torch.randn(40, 64), "head.weight": torch.randn(9, 64)}
    files = []
    for model, held in (("first", tensors), ("later", changed)):
        (tmp_path / model).mkdir()
        files.append(tmp_path / model / "model.safetensors")
        save_file(held, files[-1])
    return files[0], files[1]


def test_a_shared_file_reads_and_is_named_as_it_was(pair: tuple[Path, Path]) -> None:
    lender, shard = pair
    before, name, whole = fingerprint([shard.parent]), weights_name(shard.parent), shard.read_bytes()
    tensors = read_tensors(shard.parent)
    freed = share(shard, lender)
    on_disk = sum(file.stat().st_size for file in shard.parent.iterdir())
    assert freed == len(whole) - on_disk > 3 * 40 * 64 * 4 and not shard.exists()
    assert is_stored(shard) and weight_files(shard.parent) == stored_files(shard.parent) == [shard]
    with open_stored(shard) as stream:
        assert stream.read() == whole
    assert fingerprint([shard.parent]) == before and weights_name(shard.parent) == name
    again = read_tensors(shard.parent, lambda name: name != "head.weight")
    assert again.keys() == tensors.keys() - {"head.weight"}
    assert all(torch.equal(again[name], tensors[name]) for name in again)


def test_runs_are_of_equal_tensors_alone_and_neighbours_are_one(pair: tuple[Path, Path]) -> None:
    lender, shard = (file.read_bytes() for file in pair)
    runs = shared_runs(shard, lender)
    assert [stop - start for start, stop, _ in runs] == [2 * 40 * 64 * 4, 2 * 40 * 64 * 4]
    assert all(shard[start:stop] == lender[there : there + stop - start] for start, stop, there in runs)
    assert not shared_runs(shard, b"\x02\0\0\0\0\0\0\0{}")


def test_a_piece_that_is_missing_changed_or_elsewhere_is_refused(pair: tuple[Path, Path]) -> None:
    lender, shard = pair
    share(shard, lender)
    whole = lender.read_bytes()
    lender.write_bytes(whole[:-8] + b"\0" * 8)
    with pytest.raises(ModelFilesError, match="do not make the file it was; restore both"):
        read_tensors(shard.parent)
    lender.unlink()
    with pytest.raises(
        ModelFilesError, match=r"later/model\.safetensors is kept in pieces, and one is missing"
    ):
        fingerprint([shard.parent])
    lender.write_bytes(whole)
    listed = json.loads(pieces_file(shard).read_text(encoding="utf-8"))
    for changes in ({"model": ".."}, {"name": "../secret"}, {"model": "a/b"}):
        listed["pieces"][0] = {"name": "x", "start": 0, "stop": 1} | changes
        pieces_file(shard).write_text(json.dumps(listed), encoding="utf-8")
        with pytest.raises(ModelFilesError, match="is kept in pieces, and one is missing"):
            read_tensors(shard.parent)


def test_slimming_frees_room_once_and_changes_nothing_that_is_read(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    for own, shipped in (("first", "mini-ultravox"), ("later", "mini-qwen2-audio")):
        (tmp_path / own).rename(tmp_path / shipped)
    file = tmp_path / "mini-ultravox" / "tokenizer.json"
    content = {"model": {"vocab": {"Ġthe": 1}, "merges": [["a", "b"]]}}
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    size = sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file())
    freed = slim(tmp_path)
    assert freed == size - sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file()) > 0
    assert json.loads(file.read_text(encoding="utf-8")) == content and "Ġ" in file.read_text(encoding="utf-8")
    assert slim(tmp_path) == 0 and pack_json(file) == 0
    with open_stored(tmp_path / "mini-qwen2-audio" / "model.safetensors") as stream:
        assert len(hashlib.sha256(stream.read()).hexdigest()) == 64

"""Facts about weights kept in pieces: they read, load and are named as the very file that they were."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import ModelFilesError
from engine.matching import weights_name
from engine.systems.checkpoint import fingerprint, read_tensors, weight_files
from engine.systems.weights import is_stored, open_stored, pieces_file, stored_files
from precompute.mini.slim import pack_json, share, shared_runs, slim


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

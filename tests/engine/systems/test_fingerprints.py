"""Weights are named by their content, and a large file is read for it once."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.systems import checkpoint
from engine.systems.checkpoint import fingerprint
from engine.systems.weights import HOME_VARIABLE


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model-x"
    folder.mkdir()
    for name in ("one", "two"):
        save_file({name: torch.full((2,), float(len(name) + ord(name[0])))}, folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as large."""
    monkeypatch.setattr(checkpoint, "LARGE_BYTES", 1)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read through."""
    names: list[str] = []
    right = checkpoint._hash

    def watched(file: Path, digest: object) -> None:
        names.append(file.name)
        right(file, digest)

    monkeypatch.setattr(checkpoint, "_hash", watched)
    return names


def digests(folder: Path) -> list[bytes]:
    return [hashlib.sha256(file.read_bytes()).digest() for file in sorted(folder.glob("*.safetensors"))]


def test_a_small_models_name_is_a_sha256_of_its_bytes_in_order(folder: Path) -> None:
    """Shipped erasers name the minis so."""
    data = b"".join((folder / f"{name}.safetensors").read_bytes() for name in ("one", "two"))
    assert fingerprint([folder]) == hashlib.sha256(data).hexdigest()
    assert fingerprint([folder, folder]) == hashlib.sha256(data + data).hexdigest()
    before = fingerprint([folder])
    save_file({"two": torch.zeros(2)}, folder / "two.safetensors")
    assert fingerprint([folder]) != before


def test_a_large_models_name_is_one_of_its_files_names(folder: Path, large: None) -> None:
    assert fingerprint([folder]) == hashlib.sha256(b"".join(digests(folder))).hexdigest()


def test_a_large_file_is_read_once_until_it_changes(folder: Path, large: None, read: list[str]) -> None:
    first = fingerprint([folder])
    assert fingerprint([folder]) == first and read == ["one.safetensors", "two.safetensors"]
    file = folder / "two.safetensors"
    state = file.stat()
    save_file({"two": torch.zeros(2)}, file)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert fingerprint([folder]) != first and read[2:] == ["two.safetensors"]


def test_the_hubs_cache_is_believed_and_gives_the_same_name(
    folder: Path, tmp_path: Path, large: None, read: list[str]
) -> None:
    """In the cache a file is a link to a blob that is named by its sha256."""
    blobs, snapshot = tmp_path / "cache" / "blobs", tmp_path / "cache" / "snapshots" / "abc"
    for made in (blobs, snapshot):
        made.mkdir(parents=True)
    for file, digest in zip(sorted(folder.glob("*.safetensors")), digests(folder), strict=True):
        shutil.copy(file, blobs / digest.hex())
        (snapshot / file.name).symlink_to(blobs / digest.hex())
    found = fingerprint([snapshot])
    assert not read and found == fingerprint([folder]) and len(read) == 2


@pytest.mark.parametrize("spoilt", ["{", "[]", '{"x": 3}'])
def test_a_record_that_is_spoilt_or_cannot_be_kept_is_done_without(
    folder: Path, tmp_path: Path, large: None, spoilt: str
) -> None:
    expected = fingerprint([folder])
    record = tmp_path / "home" / checkpoint.KEPT
    record.write_text(spoilt, encoding="utf-8")
    assert fingerprint([folder]) == expected
    shutil.rmtree(tmp_path / "home")
    (tmp_path / "home").write_text("a file where the folder would be", encoding="utf-8")
    assert fingerprint([folder]) == expected

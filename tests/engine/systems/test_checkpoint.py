"""Checkpoints: read strictly, named by content, low-rank and 8-bit forms undone."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from engine.errors import ModelFilesError
from engine.systems import checkpoint
from engine.systems.checkpoint import (
    SCALE,
    LoraLinear,
    fingerprint,
    fold,
    from_eight_bits,
    is_silent,
    load_strictly,
    read_tensors,
    shape_fits,
    tensor_bytes,
    to_eight_bits,
    under,
    weight_files,
)
from engine.systems.weights import HOME_VARIABLE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards with an index, beside a file that the index does not name."""
    folder = tmp_path / "model-x"
    folder.mkdir()
    names = {"a": "one.safetensors", "b": "two.safetensors"}
    for name, file in names.items():
        save_file({name: torch.full((2,), float(ord(name)))}, folder / file)
    save_file({"c": torch.zeros(1)}, folder / "left-over.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}), encoding="utf-8")
    return folder


def test_the_index_says_which_shards_belong(folder: Path) -> None:
    assert [file.name for file in weight_files(folder)] == ["one.safetensors", "two.safetensors"]
    assert {name: t.tolist() for name, t in read_tensors(folder).items()} == {
        "a": [97.0, 97.0],
        "b": [98.0, 98.0],
    }


def test_without_an_index_every_file_belongs(folder: Path) -> None:
    (folder / "model.safetensors.index.json").unlink()
    assert set(read_tensors(folder)) == {"a", "b", "c"}


def test_missing_weights_are_named_without_a_path(folder: Path, tmp_path: Path) -> None:
    (folder / "two.safetensors").unlink()
    with pytest.raises(ModelFilesError, match=r"^model-x lacks two.safetensors; restore"):
        weight_files(folder)
    with pytest.raises(ModelFilesError, match=r"^nothing lacks model.safetensors"):
        weight_files(tmp_path / "nothing")


@pytest.mark.parametrize("n_bytes", [0, 3, 40, -1])
def test_a_file_that_breaks_off_is_named(folder: Path, n_bytes: int) -> None:
    file = folder / "one.safetensors"
    file.write_bytes(file.read_bytes()[:n_bytes])
    with pytest.raises(ModelFilesError, match=r"^model-x/one.safetensors is damaged"):
        read_tensors(folder)


def test_loading_is_exact_and_in_the_modules_own_dtype() -> None:
    layer = nn.Linear(2, 1)
    load_strictly(layer, {"weight": torch.ones(1, 2).half(), "bias": torch.full((1,), 0.5).half()}, "X")
    assert layer.weight.dtype == torch.float32 and layer(torch.ones(2)).item() == 2.5


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"weight": torch.ones(1, 2)}, "X lacks tensor bias (1 such in all)"),
        ({}, "X lacks tensor weight (2 such in all)"),
        (
            {"weight": torch.ones(1, 2), "bias": torch.ones(1), "more": torch.ones(1)},
            "X has an unexpected tensor more (1 such in all)",
        ),
        (
            {"weight": torch.ones(3, 2), "bias": torch.ones(1)},
            "X does not fit its config: size mismatch for weight",
        ),
    ],
)
def test_what_does_not_fit_is_named(tensors: dict[str, torch.Tensor], words: str) -> None:
    with pytest.raises(ModelFilesError) as caught:
        load_strictly(nn.Linear(2, 1), tensors, "X")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_under_takes_one_branch_and_its_prefix_away() -> None:
    tensors = {"a.b.c": torch.ones(1), "a.x": torch.ones(2), "b.c": torch.ones(3)}
    assert {name: t.numel() for name, t in under(tensors, "a.").items()} == {"b.c": 1, "x": 2}


def test_sizes_are_told_from_the_headers(folder: Path, tmp_path: Path) -> None:
    assert tensor_bytes(folder, 2) == 2 * (2 + 2) and tensor_bytes(folder, 4) == 16
    assert tensor_bytes(folder, 2, lambda name: name == "a") == 4
    assert tensor_bytes(tmp_path / "nothing", 2) == 0


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))


@pytest.fixture
def two_files(tmp_path: Path) -> Path:
    two_files = tmp_path / "model-x"
    two_files.mkdir()
    for name in ("one", "two"):
        save_file(
            {name: torch.full((2,), float(len(name) + ord(name[0])))}, two_files / f"{name}.safetensors"
        )
    return two_files


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


def digests(two_files: Path) -> list[bytes]:
    return [hashlib.sha256(file.read_bytes()).digest() for file in sorted(two_files.glob("*.safetensors"))]


def test_a_small_models_name_is_a_sha256_of_its_bytes_in_order(two_files: Path) -> None:
    """Shipped erasers name the minis so."""
    data = b"".join((two_files / f"{name}.safetensors").read_bytes() for name in ("one", "two"))
    assert fingerprint([two_files]) == hashlib.sha256(data).hexdigest()
    assert fingerprint([two_files, two_files]) == hashlib.sha256(data + data).hexdigest()
    before = fingerprint([two_files])
    save_file({"two": torch.zeros(2)}, two_files / "two.safetensors")
    assert fingerprint([two_files]) != before


def test_a_large_models_name_is_one_of_its_files_names(two_files: Path, large: None) -> None:
    assert fingerprint([two_files]) == hashlib.sha256(b"".join(digests(two_files))).hexdigest()


def test_a_large_file_is_read_once_until_it_changes(two_files: Path, large: None, read: list[str]) -> None:
    first = fingerprint([two_files])
    assert fingerprint([two_files]) == first and read == ["one.safetensors", "two.safetensors"]
    file = two_files / "two.safetensors"
    state = file.stat()
    save_file({"two": torch.zeros(2)}, file)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert fingerprint([two_files]) != first and read[2:] == ["two.safetensors"]


def test_the_hubs_cache_is_believed_and_gives_the_same_name(
    two_files: Path, tmp_path: Path, large: None, read: list[str]
) -> None:
    """In the cache a file is a link to a blob that is named by its sha256."""
    blobs, snapshot = tmp_path / "cache" / "blobs", tmp_path / "cache" / "snapshots" / "abc"
    for made in (blobs, snapshot):
        made.mkdir(parents=True)
    for file, digest in zip(sorted(two_files.glob("*.safetensors")), digests(two_files), strict=True):
        shutil.copy(file, blobs / digest.hex())
        (snapshot / file.name).symlink_to(blobs / digest.hex())
    found = fingerprint([snapshot])
    assert not read and found == fingerprint([two_files]) and len(read) == 2


@pytest.mark.parametrize("spoilt", ["{", "[]", '{"x": 3}'])
def test_a_record_that_is_spoilt_or_cannot_be_kept_is_done_without(
    two_files: Path, tmp_path: Path, large: None, spoilt: str
) -> None:
    expected = fingerprint([two_files])
    record = tmp_path / "home" / checkpoint.KEPT
    record.write_text(spoilt, encoding="utf-8")
    assert fingerprint([two_files]) == expected
    shutil.rmtree(tmp_path / "home")
    (tmp_path / "home").write_text("a file where the folder would be", encoding="utf-8")
    assert fingerprint([two_files]) == expected


def test_a_case_by_hand() -> None:
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    down, up = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [0.0]])
    assert fold(weight, down, up, 0.5).tolist() == [[2.5, 3.0], [0.0, 1.0]]


def test_run_beside_equals_folded_and_shares_the_base() -> None:
    torch.manual_seed(0)
    base = nn.Linear(6, 4)
    down, up = torch.randn(2, 6), torch.randn(4, 2)
    adapted = LoraLinear(base, down, up, 1.5)
    states = torch.randn(3, 5, 6)
    expected = nn.functional.linear(states, fold(base.weight, down, up, 1.5), base.bias)
    torch.testing.assert_close(adapted(states), expected, atol=1e-5, rtol=0)
    assert adapted.base is base and (adapted(states) - base(states)).abs().max() > 0.1


def test_the_weights_dtype_is_kept() -> None:
    weight = torch.ones(2, 2, dtype=torch.bfloat16)
    assert fold(weight, torch.ones(1, 2), torch.ones(2, 1), 1.0).dtype == torch.bfloat16
    adapted = LoraLinear(nn.Linear(2, 2).bfloat16(), torch.ones(1, 2), torch.ones(2, 1), 1.0)
    assert adapted(torch.ones(1, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_shapes_and_silence_are_told() -> None:
    base = nn.Linear(6, 4)
    assert shape_fits(base, torch.zeros(2, 6), torch.zeros(4, 2), 2)
    assert not shape_fits(base, torch.zeros(2, 6), torch.zeros(4, 2), 3)
    assert not shape_fits(base, torch.zeros(2, 4), torch.zeros(6, 2), 2)
    assert is_silent([torch.zeros(4, 2)]) and not is_silent([torch.zeros(4, 2), torch.ones(4, 2)])


def test_a_row_is_off_by_half_a_step_at_most_and_vectors_by_half_precision() -> None:
    torch.manual_seed(0)
    rows = torch.randn(20, 30) * torch.logspace(-3, 1, 20)[:, None]
    vector = torch.randn(30)
    stored = to_eight_bits({"w": rows, "b": vector})
    assert stored["w"].dtype == torch.int8 and stored["w" + SCALE].dtype == torch.float16
    back = from_eight_bits(stored)
    step = stored["w" + SCALE].float()
    assert set(back) == {"w", "b"} and back["w"].dtype == torch.float32
    # The largest value may be cut by the rounding of the scale itself, by less than half a step.
    assert ((back["w"] - rows).abs() <= 0.5 * step + 0.07 * step).all()
    assert torch.equal(back["b"], vector.half())


def test_whole_steps_and_rows_of_zeros_come_back_exactly() -> None:
    rows = torch.tensor([[127.0, -64.0, 1.0], [0.0, 0.0, 0.0]]) * 0.25
    assert torch.equal(from_eight_bits(to_eight_bits({"w": rows}))["w"], rows)


def test_a_checkpoint_that_was_never_quantised_is_left_as_it_is() -> None:
    tensors = {"w": torch.randn(3, 3, dtype=torch.float16)}
    assert from_eight_bits(tensors)["w"] is tensors["w"]

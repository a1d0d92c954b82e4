"""Reading weights strictly, and naming them by their content."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from engine.errors import ModelFilesError
from engine.systems.checkpoint import load_strictly, read_tensors, tensor_bytes, under, weight_files


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

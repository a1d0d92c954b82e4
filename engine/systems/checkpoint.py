"""Reading safetensors checkpoints strictly: a missing or unexpected tensor is an error that names it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor, nn

from engine.errors import ModelFilesError
from engine.systems.shared_bytes import is_stored, put_together, stored_files

# Where the language model lies in the published checkpoint of a speech LLM that holds its own.
INLINE_PREFIX = "language_model."


def weight_files(folder: Path) -> list[Path]:
    """Return a folder's safetensors in order.

    Raises:
        ModelFilesError: there are none, or the index names a shard that is not there.
    """
    index = folder / "model.safetensors.index.json"
    names = [file.name for file in stored_files(folder)]
    if index.exists():
        names = list(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    files = [folder / name for name in sorted(set(names))]
    missing = [file.name for file in files if not is_stored(file)]
    if missing or not files:
        what = ", ".join(missing) if missing else "model.safetensors"
        raise ModelFilesError(f"{folder.name} lacks {what}; restore the folder from the repository.")
    return files


def read_tensors(folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
    """Return the tensors of a folder's safetensors, those alone whose name is wanted.

    Raises:
        ModelFilesError: a file is missing or cut off.
    """
    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder):
        try:
            if not file.exists():
                tensors |= _wanted_of(file, wanted)
                continue
            with safe_open(file, framework="pt") as stored:
                names = [name for name in stored.keys() if wanted(name)]  # noqa: SIM118
                tensors |= {name: stored.get_tensor(name) for name in names}
        except SafetensorError as error:
            raise ModelFilesError(f"{folder.name}/{file.name} is damaged; restore it.") from error
    return tensors


def _wanted_of(file: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """Return the wanted tensors of a file that is kept in pieces."""
    return {name: tensor for name, tensor in load(put_together(file)).items() if wanted(name)}


def tensor_bytes(folder: Path, itemsize: int, wanted: Callable[[str], bool] = lambda name: True) -> int:
    """Return what a folder's tensors take in memory at so many bytes a number, from the headers alone.

    0 for a folder without weights, whose loading says what is missing.
    """
    n_numbers = 0
    with suppress(ModelFilesError, SafetensorError):
        for file in weight_files(folder):
            if not file.exists():
                n_numbers += sum(tensor.numel() for tensor in _wanted_of(file, wanted).values())
                continue
            with safe_open(file, framework="numpy") as stored:
                names = [name for name in stored.keys() if wanted(name)]  # noqa: SIM118
                n_numbers += sum(math.prod(stored.get_slice(name).get_shape()) for name in names)
    return n_numbers * itemsize


def load_strictly(module: nn.Module, tensors: dict[str, Tensor], name: str, *, assign: bool = False) -> None:
    """Load tensors into a module, in the module's own dtype.

    Args:
        module: to be filled.
        tensors: by the module's names.
        name: of the system, for errors.
        assign: take the tensors themselves, as they are, instead of copying their values.

    Raises:
        ModelFilesError: names the first missing or unexpected tensor, or one of another shape.
    """
    try:
        outcome = module.load_state_dict(tensors, strict=False, assign=assign)
    except RuntimeError as error:
        raise ModelFilesError(
            f"{name} does not fit its config: {str(error).splitlines()[1].strip()}"
        ) from error
    for kind, keys in (("lacks", outcome.missing_keys), ("has an unexpected", outcome.unexpected_keys)):
        if keys:
            raise ModelFilesError(f"{name} {kind} tensor {keys[0]} ({len(keys)} such in all).")


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with this prefix, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}

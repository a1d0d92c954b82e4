"""Reading safetensors checkpoints strictly: a missing or unexpected tensor is an error that names it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor, nn

from engine.errors import ModelFilesError
from engine.systems.shared_bytes import is_stored, open_stored, put_together, stored_files


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
                whole = load(put_together(file))
                tensors |= {name: tensor for name, tensor in whole.items() if wanted(name)}
                continue
            with safe_open(file, framework="pt") as stored:
                names = [name for name in stored.keys() if wanted(name)]  # noqa: SIM118
                tensors |= {name: stored.get_tensor(name) for name in names}
        except SafetensorError as error:
            raise ModelFilesError(f"{folder.name}/{file.name} is damaged; restore it.") from error
    return tensors


def load_strictly(module: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    """Load tensors into a module, in the module's own dtype.

    Raises:
        ModelFilesError: names the first missing or unexpected tensor, or one of another shape.
    """
    try:
        outcome = module.load_state_dict(tensors, strict=False)
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


def fingerprint(folders: Iterable[Path]) -> str:
    """Return a sha256 over the bytes of these folders' weights, in order."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in weight_files(folder):
            # In blocks: a published shard is larger than many a machine's memory.
            with open_stored(file) as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()

"""Safetensors checkpoints: read strictly, named by their content, their low-rank and 8-bit forms undone.

A missing or unexpected tensor is an error that names it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor, nn

from engine.errors import ModelFilesError
from engine.systems.weights import (
    is_stored,
    open_stored,
    put_together,
    stored_files,
    stored_size,
    weights_home,
)

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


LARGE_BYTES = 512 * 2**20  # by far more than a mini has, and less than any published model
BLOCK_BYTES = 1 << 20
SHA256 = re.compile(r"[0-9a-f]{64}")
KEPT = "sha256.json"


def fingerprint(folders: Iterable[Path]) -> str:
    """Return what names these folders' weights, in order: a sha256.

    Raises:
        ModelFilesError: a file is missing.
    """
    files = [file for folder in folders for file in weight_files(folder)]
    digest = hashlib.sha256()
    if sum(stored_size(file) for file in files) < LARGE_BYTES:
        for file in files:
            _hash(file, digest)
    else:
        for file in files:
            digest.update(bytes.fromhex(_file_sha256(file)))
    return digest.hexdigest()


def _file_sha256(file: Path) -> str:
    """Return a file's sha256: by the hub's cache, by our own record, or by reading it, which is then recorded."""
    real = file.resolve()
    if real.parent.name == "blobs" and SHA256.fullmatch(real.name):
        return real.name
    stat = real.stat()
    state = [stat.st_size, stat.st_mtime_ns]
    record = weights_home() / KEPT
    kept = _read_record(record)
    found = kept.get(str(real))
    if isinstance(found, list) and found[:2] == state:
        return str(found[2])
    digest = hashlib.sha256()
    _hash(real, digest)
    # A record that cannot be kept costs the next start the same reading, and nothing else.
    with suppress(OSError):
        _write_record(record, _read_record(record) | {str(real): [*state, digest.hexdigest()]})
    return digest.hexdigest()


def _hash(file: Path, digest: Any) -> None:
    # In blocks: a published shard is larger than many a machine's memory.
    with open_stored(file) as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)


def _read_record(record: Path) -> dict[str, Any]:
    try:
        kept = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _write_record(record: Path, kept: dict[str, Any]) -> None:
    record.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may write at once: each puts a whole file in place.
    new = record.with_name(f"{record.name}.{os.getpid()}")
    new.write_text(json.dumps(kept), encoding="utf-8")
    new.replace(record)


def fold(
    weight: Float[Tensor, "d_out d_in"],
    down: Float[Tensor, "rank d_in"],
    up: Float[Tensor, "d_out rank"],
    scale: float,
) -> Float[Tensor, "d_out d_in"]:
    """Return weight + scale x up x down in the weight's dtype; arithmetic in float32."""
    return (weight.float() + scale * (up.float() @ down.float())).to(weight.dtype)


class LoraLinear(nn.Module):
    """base(x) + scale x up(down(x)), as peft computes it; the base is run, not copied.

    Attributes:
        base: the linear map that others may run without the adapter.
        lora_a: [rank, d_in]; lora_b: [d_out, rank], both in the base's dtype.
    """

    def __init__(
        self,
        base: nn.Linear,
        down: Float[Tensor, "rank d_in"],
        up: Float[Tensor, "d_out rank"],
        scale: float,
    ) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        self.lora_a = nn.Parameter(down.to(base.weight), requires_grad=False)
        self.lora_b = nn.Parameter(up.to(base.weight), requires_grad=False)

    def forward(self, states: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]:
        """Return the adapted map's output."""
        low = nn.functional.linear(states, self.lora_a)
        out: Tensor = self.base(states) + self.scale * nn.functional.linear(low, self.lora_b)
        return out


def shape_fits(base: nn.Linear, down: Tensor, up: Tensor, rank: int) -> bool:
    """Say whether two factors of this rank belong to a linear map."""
    return tuple(down.shape) == (rank, base.in_features) and tuple(up.shape) == (base.out_features, rank)


@torch.no_grad()
def is_silent(ups: list[Tensor]) -> bool:
    """Say whether adapters change nothing: every second factor is zero, as before any training."""
    return all(not bool(up.any()) for up in ups)


SCALE = ".row_scale"
_LARGEST = 127


def to_eight_bits(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return matrices as int8 with a float16 scale for each row under "NAME.row_scale"; vectors as float16."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2:
            stored[name] = tensor.detach().to(torch.float16).contiguous()
            continue
        exact = tensor.detach().float()
        # Rounded first: the steps are then counted in the very scale that is stored.
        scale = (exact.abs().amax(1, keepdim=True) / _LARGEST).to(torch.float16).float()
        steps = (exact / scale.clamp(min=1e-8)).round().clamp(-_LARGEST, _LARGEST)
        stored[name] = steps.to(torch.int8).contiguous()
        stored[name + SCALE] = scale.to(torch.float16).contiguous()
    return stored


def from_eight_bits(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return float32 matrices for those that have a scale; all others as they are."""
    return {
        name: tensor.float() * tensors[name + SCALE].float() if name + SCALE in tensors else tensor
        for name, tensor in tensors.items()
        if not name.endswith(SCALE)
    }

"""The weights in a CTranslate2 file, read without that library and without torch.

The format is version 6 of what `ctranslate2.specs.model_spec` writes: each array's name, shape and bytes.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from engine.errors import ModelFilesError

FORMAT = 6
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def n_layers(arrays: dict[str, np.ndarray], side: str) -> int:
    """Return how many blocks the "encoder" or "decoder" has."""
    return len({name.split("/")[1] for name in arrays if name.startswith(f"{side}/layer_") and "ffn" in name})


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a CTranslate2 file by name; whole-number weights are scaled back to float32.

    Raises:
        ModelFilesError: the file is missing, cut off, or of another version.
    """
    try:
        data = file.read_bytes()
        arrays = _parse(data)
    except (OSError, struct.error, KeyError, ValueError) as error:
        raise ModelFilesError(
            f"{file.parent.name}/{file.name} cannot be read; restore the folder."
        ) from error
    scaled = {}
    for name, array in arrays.items():
        if (scale := arrays.get(f"{name}_scale")) is not None:
            array = array / scale.reshape(-1, *[1] * (array.ndim - 1))
        scaled[name] = array.astype(np.float32) if array.dtype.kind == "f" else array
    return scaled


def _parse(data: bytes) -> dict[str, np.ndarray]:
    place = 0

    def number(kind: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{kind}", data, place)
        place += struct.calcsize(f"<{kind}")
        return int(value)

    def text() -> str:
        nonlocal place
        length = number("H")
        place += length
        return data[place - length : place - 1].decode()

    if number("I") != FORMAT:
        raise ValueError("another version")
    text(), number("I")  # the kind of model and its revision
    arrays = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        dtype, n_bytes = _DTYPES[number("B")], number("I")
        arrays[name] = np.frombuffer(data, dtype, math.prod(shape), place).reshape(shape)
        place += n_bytes
    return arrays

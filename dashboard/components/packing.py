"""Small-integer arrays for the browser: quantise, split into byte planes, deflate, base64.

`payload` calls this; assets/clip_state.js undoes it. Nothing here knows what the numbers mean.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNSIGNED: dict[int, np.dtype[Any]] = {1: np.dtype("u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4")}


def smallest_unsigned(values: NDArray[Any]) -> NDArray[Any]:
    """Return the same whole numbers in the narrowest of uint8, uint16 and uint32.

    Args:
        values: whole numbers, 0 or more.

    Returns:
        An array of the same shape, little endian.

    Raises:
        ValueError: a number is negative or does not fit into 32 bits.
    """
    top = int(values.max()) if values.size else 0
    if top >= 2**32 or (values.size and int(values.min()) < 0):
        raise ValueError("numbers must lie between 0 and 2**32 - 1")
    width = 1 if top < 2**8 else 2 if top < 2**16 else 4
    return np.asarray(values).astype(UNSIGNED[width])


def quantise_linear(values: NDArray[Any], top: float, width: int) -> NDArray[Any]:
    """Return round(value / top * levels), levels being 255 (1 byte) or 65535 (2 bytes).

    The absolute error after decoding is at most top / (2 * levels). Numbers outside 0..top are clipped.

    Args:
        values: numbers in 0..top.
        top: largest number, above 0.
        width: bytes per number, 1 or 2.
    """
    levels = 2 ** (8 * width) - 1
    scaled = np.clip(np.asarray(values, dtype=np.float64) / top, 0.0, 1.0) * levels
    return np.rint(scaled).astype(UNSIGNED[width])


def quantise_square_root(values: NDArray[Any]) -> NDArray[Any]:
    """Return probabilities as uint8 on a square-root scale: decoded value = (code / 255) ** 2.

    Small probabilities keep their order that way. The absolute error is at most 0.004, and below
    0.0004 for probabilities under 0.01.

    Args:
        values: probabilities, 0..1.
    """
    return quantise_linear(np.sqrt(np.clip(values, 0.0, 1.0)), 1.0, 1)


def pack(arrays: Mapping[str, NDArray[Any]], texts: Sequence[str]) -> dict[str, Any]:
    """Return {"arrays": {name: {dtype, shape, offset}}, "vocabulary": {...}, "blob": base64}.

    Bytes of one significance lie together (all low bytes, then all high bytes): neighbours are alike
    there, so deflate gets further. The vocabulary is a JSON list in UTF-8 at the end of the same blob.

    Args:
        arrays: unsigned or signed small-integer arrays.
        texts: token texts; the index is what the id arrays point to.
    """
    index: dict[str, dict[str, Any]] = {}
    chunks: list[bytes] = []
    offset = 0
    for name, array in arrays.items():
        width = array.dtype.itemsize
        flat = np.ascontiguousarray(array).view(np.uint8).reshape(-1, width)
        chunks.append(flat.T.tobytes())
        index[name] = {"dtype": array.dtype.name, "shape": list(array.shape), "offset": offset}
        offset += flat.size
    words = json.dumps(list(texts), ensure_ascii=False).encode()
    chunks.append(words)
    blob = base64.b64encode(zlib.compress(b"".join(chunks), 9)).decode("ascii")
    return {"arrays": index, "vocabulary": {"offset": offset, "length": len(words)}, "blob": blob}


def finite(value: float | None, digits: int = 6) -> float | None:
    """Return the number rounded to `digits` decimals, or None when it is missing or not finite."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits)

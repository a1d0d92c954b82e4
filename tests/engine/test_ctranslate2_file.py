"""Facts about reading CTranslate2's files: whole numbers are scaled back, and broken files are refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from engine.ctranslate2_file import n_layers, read_arrays
from engine.errors import ModelFilesError


def written(**arrays: np.ndarray) -> bytes:
    """Return a file as the library writes it."""

    def text(name: str) -> bytes:
        return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"

    codes = {"float32": 0, "int8": 1}
    out = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(arrays))
    for name, array in arrays.items():
        out += (
            text(name) + struct.pack("<B", array.ndim) + b"".join(struct.pack("<I", n) for n in array.shape)
        )
        out += struct.pack("<BI", codes[array.dtype.name], array.nbytes) + array.tobytes()
    return out + struct.pack("<I", 0)


def test_rows_are_scaled_back(tmp_path: Path) -> None:
    whole = np.array([[2, -4], [10, 127]], np.int8)
    plain = np.array([0.5, 0.25], np.float32)
    file = tmp_path / "model.bin"
    file.write_bytes(written(w=whole, w_scale=np.array([2.0, 10.0], np.float32), b=plain))
    arrays = read_arrays(file)
    np.testing.assert_allclose(arrays["w"], [[1.0, -2.0], [1.0, 12.7]], rtol=1e-6)
    assert arrays["w"].dtype == np.float32 and (arrays["b"] == plain).all()


def test_blocks_are_counted_without_the_last_norm() -> None:
    names = (
        "encoder/layer_0/ffn/x",
        "encoder/layer_0/ffn/y",
        "encoder/layer_1/ffn/x",
        "encoder/layer_norm/g",
    )
    arrays = {name: np.zeros(1) for name in (*names, "decoder/layer_0/ffn/x")}
    assert (n_layers(arrays, "encoder"), n_layers(arrays, "decoder")) == (2, 1)


@pytest.mark.parametrize("kept", [0, 3, 20, 60])
def test_a_file_that_is_cut_off_is_refused(kept: int, tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(written(w=np.ones((4, 4), np.float32))[:kept])
    with pytest.raises(ModelFilesError, match="restore the folder"):
        read_arrays(file)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"{}" * 40)
    with pytest.raises(ModelFilesError, match="restore the folder"):
        read_arrays(tmp_path / "model.bin")

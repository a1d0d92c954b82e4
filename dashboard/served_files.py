"""Files that a run leaves for the browser: the clip as the models heard it, and the result as JSON.

They lie in Gradio's upload folder under names nobody can guess, and Gradio's clean-up deletes them.
"""

from __future__ import annotations

import json
import secrets
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from gradio import utils
from jaxtyping import Float

from engine.audio import SAMPLE_RATE_HZ
from engine.errors import EngineError

if TYPE_CHECKING:
    import pandas as pd


def write_wav(samples: Float[np.ndarray, " samples"], name: str = "clip.wav") -> Path:
    """Return a 16-bit WAV of these 16 kHz mono samples, levels kept.

    Args:
        samples: -1..1; what lies outside is clipped.
        name: file name in a folder of its own.
    """
    path = _new_folder() / name
    whole = np.rint(np.clip(samples, -1.0, 1.0) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(whole.tobytes())
    return path


def write_exact_wav(samples: Float[np.ndarray, " samples"], name: str) -> Path:
    """Return a 32-bit float WAV of these 16 kHz mono samples: read again, they are the same numbers."""
    import soundfile

    path = _new_folder() / name
    soundfile.write(path, samples, SAMPLE_RATE_HZ, format="WAV", subtype="FLOAT")
    return path


def write_table(frame: pd.DataFrame, name: str) -> Path:
    """Return a file with the rows, as CSV or Parquet by the name's ending."""
    path = _new_folder() / name
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path, index=False)
    return path


def write_json(value: dict[str, Any], name: str) -> Path:
    """Return a file with the value as JSON."""
    path = _new_folder() / name
    path.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1), encoding="utf-8")
    return path


def address_of(path: Path) -> str:
    """Return where the page gets this file, relative to the page."""
    return "gradio_api/file=" + quote(str(path))


def _new_folder() -> Path:
    folder = Path(utils.get_upload_folder()) / secrets.token_hex(16)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise EngineError("The temporary folder cannot be written; make room in it and try again.") from error
    return folder

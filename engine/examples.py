"""The example clips that ship, unseen sentences in unseen voices, and finished runs of them as small files.

`python -m precompute examples --pair KEY` writes the runs; they are shown while no model is here. Values only:
dataclasses of `engine.results` by their names, arrays in few bytes. Nothing is executed when a file is read, and what
does not fit is refused.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from engine import results as results
from engine.errors import ModelFilesError
from engine.results import RunResult
from engine.words import SpokenWord

FOLDER = Path(__file__).resolve().parents[1] / "assets" / "examples"
RESULTS = FOLDER / "results"  # of pairs, by `engine.examples.stored_file`


@dataclass(frozen=True)
class Example:
    """One shipped clip.

    Attributes:
        key: also the file's name without its ending.
        title: what a person reads in the gallery.
        file: the FLAC.
        task, prompt: what is asked of it, as in `RunRequest`.
        reference, words: what was said, with the synthesiser's own times (empty for Festival).
        gold, aliases: the right answer.
        voice: who speaks, in words.
    """

    key: str
    title: str
    file: Path
    task: str
    prompt: str
    reference: str
    words: tuple[SpokenWord, ...]
    gold: str
    aliases: tuple[str, ...]
    voice: str


def _read() -> tuple[Example, ...]:
    index = FOLDER / "index.json"
    if not index.exists():
        return ()
    rows = json.loads(index.read_text(encoding="utf-8"))
    return tuple(
        Example(
            key=row["key"],
            title=row["title"],
            file=FOLDER / f"{row['key']}.flac",
            task=row["task"],
            prompt=row["prompt"],
            reference=row["reference"],
            words=tuple(SpokenWord(text, start, end) for text, start, end in row["words"]),
            gold=row["gold"],
            aliases=tuple(row["aliases"]),
            voice=row["voice"],
        )
        for row in rows
    )


# In the gallery's order; empty when no examples ship.
EXAMPLES: tuple[Example, ...] = _read()


FORMAT = "cascade-lens stored result 1"
MAX_BYTES = 150_000
_MAX_UNPACKED = 20_000_000
_CLASSES = {name: one for name, one in vars(results).items() if isinstance(one, type) and is_dataclass(one)}


@dataclass(frozen=True)
class StoredResult:
    """What a file holds.

    Attributes:
        result: of the run; its waveform is the example's.
        made_on: the day, such as "2026-11-30".
    """

    result: RunResult
    made_on: str


def stored_file(folder: Path, example: str, pair: str) -> Path:
    """Return where a pair's result of an example lies."""
    return folder / f"{example}-{pair}.json.gz"


def write_stored(file: Path, result: RunResult, made_on: str) -> int:
    """Write a run and return the bytes that it takes, at most MAX_BYTES; the sound stays with the example.

    The top tokens of a cell are cut to as many as fit; probabilities keep three digits.

    Raises:
        ModelFilesError: it does not fit even with one token a cell.
    """
    quiet = replace(result, waveform=np.zeros(0, np.float32))
    deepest = max((lens.top_ids.shape[2] for lens in (result.lens, result.readout) if lens), default=1)
    for top_k in range(deepest, 0, -1):
        cut = replace(
            quiet,
            lens=quiet.lens and _cut(quiet.lens, top_k),
            readout=quiet.readout and _cut(quiet.readout, top_k),
        )
        text = json.dumps(
            {"format": FORMAT, "made_on": made_on, "result": _plain(cut)}, separators=(",", ":")
        )
        packed = gzip.compress(text.encode(), 9, mtime=0)
        if len(packed) <= MAX_BYTES:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(packed)
            return len(packed)
    raise ModelFilesError(f"The result of {result.audio_name} does not fit into {MAX_BYTES:,} bytes.")


def _cut(lens: results.LensReadout, top_k: int) -> results.LensReadout:
    ids = lens.top_ids[:, :, :top_k]
    return replace(
        lens,
        top_ids=ids,
        top_probabilities=lens.top_probabilities[:, :, :top_k],
        token_text={int(one): lens.token_text[int(one)] for one in np.unique(ids)},
    )


def read_stored(file: Path, waveform: Float[np.ndarray, "samples"]) -> StoredResult:  # noqa: F821 - jaxtyping axis name
    """Return what was stored, with the example's sound.

    Raises:
        ModelFilesError: the file is missing, damaged, or of another version.
    """
    try:
        with gzip.open(file) as opened:
            stored = json.loads(opened.read(_MAX_UNPACKED))
        if stored["format"] != FORMAT:
            raise ValueError("another format")
        result = _rich(stored["result"])
        assert isinstance(result, RunResult)
        return StoredResult(replace(result, waveform=waveform), str(stored["made_on"]))
    except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, AssertionError) as error:
        raise ModelFilesError(
            f'{file.name} is damaged or of another version; run "python -m precompute examples" with --pair again.'
        ) from error


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return {"is": type(value).__name__, **named}
    if isinstance(value, np.ndarray):
        small = value.astype(np.float16 if value.dtype.kind == "f" else _smallest(value))
        return {
            "array": base64.b64encode(small.tobytes()).decode(),
            "dtype": str(small.dtype),
            "shape": small.shape,
        }
    if isinstance(value, Mapping):
        return {"map": [[_plain(key), _plain(one)] for key, one in value.items()]}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value


def _smallest(whole: np.ndarray) -> np.dtype[Any]:
    return np.min_scalar_type(int(whole.max(initial=0))) if whole.min(initial=0) >= 0 else whole.dtype


def _rich(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_rich(one) for one in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        dtype = np.dtype(value["dtype"])
        flat = np.frombuffer(base64.b64decode(value["array"]), dtype).reshape(value["shape"])
        return flat.astype(np.float32 if dtype.kind == "f" else np.int32)
    if "map" in value:
        return {_rich(key): _rich(one) for key, one in value["map"]}
    return _CLASSES[value["is"]](**{name: _rich(one) for name, one in value.items() if name != "is"})

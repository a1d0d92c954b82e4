"""What can be erased and where erasers lie: read from files' headers, so that the page needs no torch for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from engine.errors import ErasureError
from engine.systems.catalogue import MINI_SYSTEMS, get_pair
from engine.systems.weights import MODELS, weights_home

Method = Literal["linear", "affine"]
SCOPES = ("audio", "prompt", "all")
METHODS = ("linear", "affine")
FORMAT = "cascade-lens-eraser-2"


@dataclass(frozen=True)
class ConditionInfo:
    """What one condition erases, in words for the page."""

    key: str
    name: str
    what: str


CONDITIONS: dict[str, ConditionInfo] = {
    info.key: info
    for info in (
        ConditionInfo("text", "Text", "which word the clip begins with: the paper's proxy for its text"),
        ConditionInfo("ctc", "CTC", "the character a CTC head hears at the position"),
        ConditionInfo("boc", "Bag of characters", "which letters the word being spoken has"),
        ConditionInfo("acoustic", "Acoustic", "pitch and energy"),
    )
}


def preset_layers(n_layers: int) -> tuple[int, ...]:
    """Return nine layers spread over 0 to n_layers, both ends included: the paper's nine on another depth."""
    return tuple(sorted({round(index * n_layers / 8) for index in range(9)}))


def layer_words(layers: Sequence[int]) -> str:
    """Return rising layers in words: "0 to 30" without gaps, else all of them, "0, 4, 8"."""
    whole = list(layers) == list(range(layers[0], layers[-1] + 1))
    return f"{layers[0]} to {layers[-1]}" if whole else ", ".join(map(str, layers))


def erasers_folder(system: str, models: Path = MODELS) -> Path:
    """Return where a speech LLM's erasers lie: beside its weights, or for fetched ones beside those of the others."""
    beside = models / system / "erasers"
    return beside if system in MINI_SYSTEMS or beside.exists() else weights_home() / "erasers" / system


def eraser_file(pair: str, condition: str, models: Path = MODELS) -> Path:
    """Return where a pair's eraser lies."""
    return erasers_folder(get_pair(pair).speech_llm, models) / f"{condition}.safetensors"


def available_conditions(pair: str, models: Path = MODELS) -> dict[str, int]:
    """Return condition -> greatest kept rank over layers, for those that are fitted; reads headers only.

    Raises:
        ErasureError: a file is damaged or of another version.
    """
    return {
        condition: max(int(rank) for rank in record["kept_rank"].values())
        for condition, record in _records(pair, models).items()
    }


def fitted_layers(pair: str, models: Path = MODELS) -> tuple[int, ...]:
    """Return the layers for which all of a pair's erasers are fitted, rising; () where none is; headers only.

    Raises:
        ErasureError: a file is damaged or of another version.
    """
    layers = [{int(layer) for layer in record["layers"]} for record in _records(pair, models).values()]
    return tuple(sorted(set.intersection(*layers))) if layers else ()


def _records(pair: str, models: Path) -> dict[str, dict[str, Any]]:
    files = {condition: eraser_file(pair, condition, models) for condition in CONDITIONS}
    return {key: json.loads(eraser_metadata(file)["record"]) for key, file in files.items() if file.exists()}


def eraser_metadata(file: Path) -> dict[str, str]:
    """Return the header's texts; raises ErasureError for a file that breaks off or has another format."""
    try:
        with safe_open(file, framework="numpy") as stored:
            metadata: dict[str, str] = stored.metadata() or {}
    except SafetensorError as error:
        raise ErasureError(
            f'The eraser "{file.stem}" is damaged; run "python -m precompute erasers".'
        ) from error
    if metadata.get("format") != FORMAT:
        raise ErasureError(f"{file.name} is not an eraser of this version; fit it again.")
    return metadata

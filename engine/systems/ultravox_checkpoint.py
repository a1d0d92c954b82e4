"""Reading a published Ultravox checkpoint: whichever of its layouts a version has, one config and one set of names.

A checkpoint holds its projector always, its audio tower whole (merged), as low-rank adapters on a Whisper's, or not
at all; its language model never. The base models are then those of `Bases`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import WhisperFeatureExtractor

from engine.errors import ModelFilesError
from engine.systems.checkpoint import read_tensors
from engine.systems.lora import fold

TOWER = "audio_tower."
WHISPER_ENCODER = re.compile(r"(?:model\.)?encoder\.(.+)")
# Older files wrap the encoder in its model; a checkpoint written in training wraps it in peft's classes.
OLDER_TOWERS = ("audio_tower.model.encoder.", "audio_tower.base_model.model.")
LORA = re.compile(r"(.+)\.lora_([AB])\.(?:default\.)?weight")
# A config's settings of the readout that ultravox-smollm2 has between its projector and its language model.
LETTER_READOUT = "letter_readout"
NEEDED_KEYS = ("text_model_id", "hidden_size", "stack_factor")


@dataclass(frozen=True)
class Bases:
    """Where the base models lie that a published checkpoint names by their ids.

    Attributes:
        text: folder of the language model.
        audio: folder of the Whisper whose encoder is the tower, or that part of it which the checkpoint lacks; None for
            a checkpoint that holds its tower.
    """

    text: Path
    audio: Path | None = None


@dataclass(frozen=True)
class EarsFiles:
    """What was read.

    Attributes:
        config: the checkpoint's, with the tower's own settings under "audio_config".
        tensors: by the names `audio_tower.*` and `multi_modal_projector.*`, adapters folded in.
        folders: whose weights these are, in order.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    folders: tuple[Path, ...]


def read_ears(folder: Path, bases: Bases | None, name: str) -> EarsFiles:
    """Return config and tensors of a checkpoint's audio tower and projector.

    Args:
        folder: of the checkpoint.
        bases: where its base models lie; None for one whose tower is its own.
        name: of the system, for errors.

    Raises:
        ModelFilesError: a file is missing or damaged, or the checkpoint is of a kind that would be read wrongly.
    """
    audio = bases.audio if bases else None
    config = read_ears_config(folder, audio)
    tensors: dict[str, Tensor] = {}
    for found, tensor in read_tensors(folder).items():
        ours = _our_name(found)
        if ours in tensors:
            raise ModelFilesError(f"{name} holds tensor {ours} under two names; restore {folder.name}.")
        tensors[ours] = tensor
    adapters = {key: tensors.pop(key) for key in list(tensors) if LORA.fullmatch(key)}
    folders: tuple[Path, ...] = (folder,)
    if LETTER_READOUT in config and audio is not None:
        tensors = _whisper_encoder(audio) | tensors
        folders = (folder, audio)
    elif not any(key.startswith(TOWER) for key in tensors):
        if audio is None:
            model = str(config.get("audio_model_id") or "a Whisper")[:60]
            raise ModelFilesError(
                f"{name} has no audio tower of its own; say where the folder of {model} is."
            )
        if _rank(config, "audio_model_lora_config") and not adapters:
            raise ModelFilesError(
                f"{name} was trained with adapters on its audio tower and holds neither; restore it."
            )
        tensors |= _whisper_encoder(audio)
        folders = (folder, audio)
    _fold_adapters(tensors, adapters, config, name)
    return EarsFiles(config, tensors, folders)


def read_ears_config(folder: Path, audio: Path | None = None) -> dict[str, Any]:
    """Return a checkpoint's config with the tower's settings in it; `audio` is the Whisper's folder, if any.

    Raises:
        ModelFilesError: it is missing or damaged, lacks a key, or asks for what is not built here.
    """
    config = _read_json(folder)
    for key in NEEDED_KEYS:
        if key not in config:
            raise ModelFilesError(f"{folder.name}/config.json lacks {key}.")
    # As in the published classes: a named model wins over inline settings.
    if config.get("audio_model_id") and audio is not None:
        config["audio_config"] = _read_json(audio)
    if not isinstance(config.get("audio_config"), dict):
        if config.get("audio_model_id"):
            model = str(config["audio_model_id"])[:60]
            raise ModelFilesError(
                f"{folder.name} takes its audio tower from {model}; say where its folder is."
            )
        raise ModelFilesError(f"{folder.name}/config.json lacks audio_config.")
    activation = config.get("projector_act", "swiglu")
    if activation != "swiglu":
        raise ModelFilesError(
            f"{folder.name}: its projector uses {str(activation)[:40]}, only swiglu is known here."
        )
    if _rank(config, "text_model_lora_config"):
        raise ModelFilesError(
            f"{folder.name} has adapters on its language model, which are not known here; take a version without."
        )
    return config


def read_feature_extractor(folder: Path, bases: Bases | None, n_mels: int) -> WhisperFeatureExtractor:
    """Return the checkpoint's feature extractor, or that of its Whisper where it has none.

    Raises:
        ModelFilesError: neither has one, or it makes another number of mel bands than the tower takes.
    """
    places = [folder, *([bases.audio] if bases and bases.audio else [])]
    place = next((one for one in places if (one / "preprocessor_config.json").exists()), None)
    if place is None:
        raise ModelFilesError(
            f"{folder.name} lacks preprocessor_config.json; put that of its Whisper beside the weights."
        )
    try:
        features: WhisperFeatureExtractor = WhisperFeatureExtractor.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise ModelFilesError(f"{place.name}/preprocessor_config.json is damaged; restore it.") from error
    if features.feature_size != n_mels:
        raise ModelFilesError(
            f"{place.name}/preprocessor_config.json makes {features.feature_size} mel bands, the audio tower "
            f"takes {n_mels}; restore it."
        )
    return features


def _our_name(name: str) -> str:
    for older in OLDER_TOWERS:
        if name.startswith(older):
            name = TOWER + name[len(older) :]
    return name.replace(".base_layer.", ".") if name.startswith(TOWER) else name


def _whisper_encoder(audio: Path) -> dict[str, Tensor]:
    """Return the encoder's tensors of a Whisper checkpoint; its decoder is not read."""
    found = read_tensors(audio, lambda name: WHISPER_ENCODER.fullmatch(name) is not None)
    return {TOWER + _after(WHISPER_ENCODER, name): tensor for name, tensor in found.items()}


def _after(pattern: re.Pattern[str], name: str) -> str:
    match = pattern.fullmatch(name)
    assert match is not None
    return match.group(1)


def _fold_adapters(
    tensors: dict[str, Tensor], adapters: Mapping[str, Tensor], config: Mapping[str, Any], name: str
) -> None:
    """Add alpha / r x B A to each adapted weight, in place; every factor must fit and have its partner."""
    rank = _rank(config, "audio_model_lora_config")
    for key, down in adapters.items():
        target, factor = LORA.fullmatch(key).groups()  # type: ignore[union-attr]
        partner = key.replace(f".lora_{factor}.", f".lora_{'BA'['AB'.index(factor)]}.")
        weight = tensors.get(f"{target}.weight")
        if weight is None:
            raise ModelFilesError(f"{name} has an unexpected tensor {key}.")
        if partner not in adapters:
            raise ModelFilesError(f"{name} lacks tensor {partner}.")
        if factor == "B":
            continue
        up = adapters[partner]
        if (*down.shape, *up.shape) != (rank, weight.shape[1], weight.shape[0], rank):
            raise ModelFilesError(f"{name} does not fit its config: {key} is not of rank {rank}.")
        alpha = float(config["audio_model_lora_config"].get("lora_alpha", 8))
        tensors[f"{target}.weight"] = fold(weight, down, up, alpha / rank)


def _rank(config: Mapping[str, Any], key: str) -> int:
    """Return the rank of a part's adapters; 0 is none."""
    settings = config.get(key)
    return int(settings.get("r", 0)) if isinstance(settings, Mapping) else 0


def _read_json(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ModelFilesError(f"{folder.name} has no readable config.json; restore the folder.") from error
    return config

"""Rows that describe every system and pair: cheap to read, no model library is imported here.

Whether a pair is matched is read from the checkpoints' own configs, not typed in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import ModelFilesError, UnknownKeyError

SystemKind = Literal["speech_llm", "cascade", "text_llm"]
MatchKind = Literal["exact", "ancestor", "self", "paper", "none"]

MODELS = Path(__file__).resolve().parents[2] / "assets" / "models"


@dataclass(frozen=True)
class SystemSpec:
    """One system.

    Attributes:
        family: names the adapter that loads it.
        folder: of its own weights under assets/models; None when it only combines others.
        backbone: folder of the text LLM it runs on.
        transcriber: folder of the CTranslate2 transcriber, for a cascade.
        capabilities: what the page may offer: answer, forced_choice, lens, erasure, transcript.
    """

    key: str
    name: str
    kind: SystemKind
    family: str
    folder: str | None
    backbone: str
    transcriber: str | None
    capabilities: tuple[str, ...]
    parameters_m: float
    licence: str


@dataclass(frozen=True)
class Pair:
    """A speech LLM beside its cascade and the text oracle on the same backbone."""

    key: str
    name: str
    speech_llm: str
    cascade: str
    text_oracle: str


@dataclass(frozen=True)
class SystemInfo:
    """What `/systems` lists: a row with its state on this machine."""

    key: str
    name: str
    kind: SystemKind
    backbone: str
    match: MatchKind
    capabilities: tuple[str, ...]
    status: Literal["ready", "unavailable"]
    reason: str
    revision: str


SYSTEMS: dict[str, SystemSpec] = {
    spec.key: spec
    for spec in (
        SystemSpec(
            key="mini-ultravox",
            name="mini-Ultravox",
            kind="speech_llm",
            family="ultravox",
            folder="mini-ultravox",
            backbone="mini-llama",
            transcriber=None,
            capabilities=("answer", "forced_choice", "lens", "erasure"),
            parameters_m=15.9,
            licence="MIT",
        ),
        SystemSpec(
            key="mini-cascade",
            name="mini-Whisper -> mini-Llama",
            kind="cascade",
            family="cascade",
            folder=None,
            backbone="mini-llama",
            transcriber="mini-whisper",
            capabilities=("answer", "forced_choice", "transcript"),
            parameters_m=16.3,
            licence="MIT",
        ),
        SystemSpec(
            key="mini-llama",
            name="mini-Llama, true transcript",
            kind="text_llm",
            family="text_llm",
            folder="mini-llama",
            backbone="mini-llama",
            transcriber=None,
            capabilities=("answer", "forced_choice"),
            parameters_m=10.0,
            licence="MIT",
        ),
    )
}

PAIRS: dict[str, Pair] = {
    "mini-ultravox": Pair(
        key="mini-ultravox",
        name="mini-Ultravox and its cascade",
        speech_llm="mini-ultravox",
        cascade="mini-cascade",
        text_oracle="mini-llama",
    )
}


def get_spec(key: str) -> SystemSpec:
    """Return the system's row.

    Raises:
        UnknownKeyError: there is no such system; the message lists those there are.
    """
    if key not in SYSTEMS:
        raise UnknownKeyError(f'There is no system "{key[:40]}". Choose one of: {", ".join(SYSTEMS)}.')
    return SYSTEMS[key]


def get_pair(key: str) -> Pair:
    """Return the pair's row.

    Raises:
        UnknownKeyError: there is no such pair; the message lists those there are.
    """
    if key not in PAIRS:
        raise UnknownKeyError(f'There is no pair "{key[:40]}". Choose one of: {", ".join(PAIRS)}.')
    return PAIRS[key]


def backbone_of(spec: SystemSpec, models: Path = MODELS) -> str:
    """Return the backbone a system really runs on, as its own config says.

    Raises:
        ModelFilesError: the config is missing or does not name a text model.
    """
    if spec.family != "ultravox" or spec.folder is None:
        return spec.backbone
    config = models / spec.folder / "config.json"
    try:
        return str(json.loads(config.read_text(encoding="utf-8"))["text_model_id"])
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ModelFilesError(
            f"The config of {spec.name} is missing or damaged; restore assets/models/{spec.folder}."
        ) from error


def match_of(pair: Pair, models: Path = MODELS) -> MatchKind:
    """Return "exact" when both arms run the very same backbone weights, else "none"."""
    speech = backbone_of(get_spec(pair.speech_llm), models)
    return "exact" if speech == backbone_of(get_spec(pair.cascade), models) else "none"


def systems(models: Path = MODELS) -> tuple[SystemInfo, ...]:
    """Return every system with its state on this machine; loads no weights."""
    return tuple(_info(spec, models) for spec in SYSTEMS.values())


def _info(spec: SystemSpec, models: Path) -> SystemInfo:
    reason, match = _state(spec, models)
    return SystemInfo(
        key=spec.key,
        name=spec.name,
        kind=spec.kind,
        backbone=spec.backbone,
        match=match,
        capabilities=spec.capabilities,
        status="unavailable" if reason else "ready",
        reason=reason,
        revision="" if reason else revision_of(spec, models),
    )


def _state(spec: SystemSpec, models: Path) -> tuple[str, MatchKind]:
    """Return why a system cannot run here ("" when it can) and how it is matched."""
    needed = [folder for folder in (spec.folder, spec.backbone, spec.transcriber) if folder]
    missing = [folder for folder in dict.fromkeys(needed) if not _has_weights(models / folder)]
    if missing:
        return f"weights are missing: {', '.join(missing)}", "none"
    try:
        backbone_of(spec, models)
    except ModelFilesError as error:
        return str(error), "none"
    pairs = [pair for pair in PAIRS.values() if spec.key in (pair.speech_llm, pair.cascade, pair.text_oracle)]
    try:
        return "", match_of(pairs[0], models) if pairs else "none"
    except ModelFilesError:
        # The other half of the pair is damaged and says so in its own row.
        return "", "none"


def _has_weights(folder: Path) -> bool:
    weights = any(folder.glob("*.safetensors")) or (folder / "model.bin").exists()
    return weights and (folder / "config.json").exists()


def revision_of(spec: SystemSpec, models: Path = MODELS) -> str:
    """Return the revision of the weights that make a system what it is."""
    return revision_in(models / (spec.folder or spec.transcriber or spec.backbone))


def revision_in(folder: Path) -> str:
    """Return the revision written beside the weights when they were made, or "unversioned"."""
    file = folder / "revision.txt"
    return file.read_text(encoding="utf-8").strip() if file.exists() else "unversioned"

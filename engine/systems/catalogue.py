"""The catalogue: every system and pair by key, what can run here, and how a pair is matched.

Cheap to read: no model library is imported. Whether a pair is matched is read from the checkpoints' own configs,
not typed in.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import get_args

from engine.errors import ModelFilesError, UnknownKeyError
from engine.matching import (
    REVISION_DIGITS,
    REVISION_FILE,
    FindFolder,
    MatchKind,
    language_model_folder,
    language_model_shape,
    match_of_folders,
    read_config,
)
from engine.systems.laptop_rows import LAPTOP_PAIRS, LAPTOP_SYSTEMS, LAPTOP_TRANSCRIBERS
from engine.systems.mini_rows import MINI_PAIRS, MINI_SYSTEMS, MINI_TRANSCRIBERS
from engine.systems.published_rows import PUBLISHED_PAIRS, PUBLISHED_SYSTEMS, PUBLISHED_TRANSCRIBERS
from engine.systems.services import unset_variables
from engine.systems.spec import Pair, SystemInfo, SystemKind, SystemSpec
from engine.systems.weights import (
    CHECKPOINTS,
    MODELS,
    commit_of,
    folder_by_id,
    folder_of,
    missing_weights,
    size_gb,
)

__all__ = [
    "FASTER_WHISPERS",
    "MODELS",
    "PAIRS",
    "SYSTEMS",
    "TRANSCRIBERS",
    "Pair",
    "SystemInfo",
    "SystemKind",
    "SystemSpec",
    "backbone_of",
    "get_pair",
    "get_spec",
    "is_service",
    "longest_trained_clip_s",
    "match_between",
    "match_of",
    "n_layers_of",
    "ready_pairs",
    "revision_in",
    "revision_of",
    "systems",
    "transcriber_name",
]

SYSTEMS: dict[str, SystemSpec] = MINI_SYSTEMS | LAPTOP_SYSTEMS | PUBLISHED_SYSTEMS
PAIRS: dict[str, Pair] = MINI_PAIRS | LAPTOP_PAIRS | PUBLISHED_PAIRS
# Folders that faster-whisper runs as its makers do, where a profile says how.
FASTER_WHISPERS = LAPTOP_TRANSCRIBERS | PUBLISHED_TRANSCRIBERS
TRANSCRIBERS = MINI_TRANSCRIBERS | FASTER_WHISPERS


def get_spec(key: str) -> SystemSpec:
    """Return the system's row.

    Raises:
        UnknownKeyError: there is no such system; the message lists those that can run here.
    """
    if key not in SYSTEMS:
        ready = [info.key for info in systems() if info.status == "ready"]
        raise UnknownKeyError(f'There is no system "{key[:40]}". Choose one of: {", ".join(ready)}.')
    return SYSTEMS[key]


def get_pair(key: str) -> Pair:
    """Return the pair's row.

    Raises:
        UnknownKeyError: there is no such pair; the message lists those that can run here.
    """
    if key not in PAIRS:
        raise UnknownKeyError(f'There is no pair "{key[:40]}". Choose one of: {", ".join(ready_pairs())}.')
    return PAIRS[key]


def is_service(key: str) -> bool:
    """Say whether a system is behind a service; of a key that is not in the catalogue nothing is known."""
    return key in SYSTEMS and SYSTEMS[key].is_remote


def transcriber_name(spec: SystemSpec) -> str:
    """Return the name of a cascade's transcriber, "" for a system that has none."""
    return TRANSCRIBERS[spec.transcriber] if spec.transcriber else ""


def backbone_of(spec: SystemSpec, models: Path = MODELS) -> str:
    """Return the folder of the text LLM a system really runs on; a speech LLM's config says which.

    Raises:
        ModelFilesError: the config is missing or does not name a text model.
    """
    if spec.kind != "speech_llm" or spec.folder is None:
        return spec.backbone
    own = folder_of(spec.folder, models)
    try:
        found = language_model_folder(own, _find(models))
    except ModelFilesError as error:
        raise ModelFilesError(
            f"The config of {spec.name} is missing or damaged; restore {_place(spec.folder)}."
        ) from error
    for name in spec.folders:
        if found == folder_of(name, models):
            return name
    # As the config writes it: a name that leads elsewhere must not look like one of ours.
    return os.path.relpath(found, models)


def _find(models: Path) -> FindFolder:
    return lambda repository: folder_by_id(repository, models)


def _place(folder: str) -> str:
    return f"assets/models/{folder}" if folder not in CHECKPOINTS else f"{folder}, by fetching it again"


def match_of(pair: Pair, models: Path = MODELS) -> MatchKind:
    """Return how a pair's two arms are matched; raises as `match_between`."""
    return match_between(pair.speech_llm, pair.cascade, models)


def match_between(system_a: str, system_b: str, models: Path = MODELS) -> MatchKind:
    """Return how two systems are matched, in either order, as their checkpoints say; loads no weights.

    Args:
        system_a: key of a speech LLM, or of a cascade or an oracle.
        system_b: key of the other; two speech LLMs, or two that read, share no question of matching: "none".
        models: folder of the models.

    Raises:
        UnknownKeyError: there is no such system.
        ModelFilesError: files that would tell are missing or damaged.
    """
    specs = [get_spec(key) for key in (system_a, system_b)]
    speech, reader = sorted(specs, key=lambda spec: spec.kind != "speech_llm")
    if speech.kind != "speech_llm" or reader.kind == "speech_llm" or speech.is_remote or reader.is_remote:
        return "none"
    if speech.folder is None:
        # Audio trained nothing of it: it is matched with whoever reads on the same text LLM.
        return "exact" if speech.backbone == reader.backbone else "none"
    return match_of_folders(
        folder_of(speech.folder, models),
        folder_of(reader.backbone, models),
        _find(models),
        (speech.folder, reader.backbone),
    )


def ready_pairs(models: Path = MODELS) -> dict[str, Pair]:
    """Return the pairs whose every system can run here; those that ship when none can: a page says why."""
    missing = {spec.key for spec in SYSTEMS.values() if _state(spec, models)}
    ready = {key: pair for key, pair in PAIRS.items() if not missing & set(pair.systems)}
    return ready or MINI_PAIRS


def longest_trained_clip_s(spec: SystemSpec, models: Path = MODELS) -> float | None:
    """Return the length of the longest clip that a system's ears were trained on, in seconds; None where none is told.

    Raises:
        ModelFilesError: the config is missing or damaged.
    """
    if spec.folder is None or spec.is_remote:
        return None
    longest = read_config(folder_of(spec.folder, models)).get("trained_on_clips_up_to_s")
    if longest is None:
        return None
    if isinstance(longest, bool) or not isinstance(longest, int | float) or not longest > 0:
        raise ModelFilesError(
            f"The config of {spec.folder} names no length of clips in trained_on_clips_up_to_s; "
            f"restore {_place(spec.folder)}."
        )
    return float(longest)


def n_layers_of(folder: str, models: Path = MODELS) -> int:
    """Return how many blocks the language model in this folder has, as its config says.

    Raises:
        ModelFilesError: the config is missing or damaged.
    """
    try:
        return int(language_model_shape(folder_of(folder, models))["num_hidden_layers"])
    except (ModelFilesError, KeyError, TypeError, ValueError) as error:
        raise ModelFilesError(
            f"The config of {folder} is missing or damaged; restore {_place(folder)}."
        ) from error


def systems(models: Path = MODELS) -> tuple[SystemInfo, ...]:
    """Return every system with its state on this machine; loads no weights."""
    return tuple(_info(spec, models) for spec in SYSTEMS.values())


def _info(spec: SystemSpec, models: Path) -> SystemInfo:
    reason = _state(spec, models)
    fetched = {name: CHECKPOINTS[name] for name in spec.folders if name in CHECKPOINTS}
    is_counted = not math.isnan(spec.parameters_m)
    return SystemInfo(
        key=spec.key,
        name=spec.name,
        kind=spec.kind,
        backbone=spec.backbone,
        match="none" if reason else _closest_match(spec, models),
        capabilities=spec.capabilities,
        status="unavailable" if reason else "ready",
        reason=reason,
        revision="" if reason else revision_of(spec, models),
        parameters_m=spec.parameters_m if is_counted else None,
        bf16_gb=spec.bf16_gb if is_counted else None,
        licence=spec.licence,
        pinned={name: f"{row.repository}@{row.revision}" for name, row in fetched.items()},
        gated=any(row.gated for row in fetched.values()),
    )


def _state(spec: SystemSpec, models: Path) -> str:
    """Return why a system cannot run here, "" when it can."""
    if spec.is_remote and (reason := unset_variables(spec)):
        return reason
    missing = missing_weights(spec.folders, models)
    if missing:
        return _missing_sentence(missing)
    try:
        backbone_of(spec, models)
    except ModelFilesError as error:
        return str(error)
    return ""


def _missing_sentence(missing: Sequence[str]) -> str:
    what = f"weights are missing: {', '.join(missing)}"
    gb = size_gb(missing)
    return f"{what} ({gb:.1f} GB to fetch)" if gb else what


def _closest_match(spec: SystemSpec, models: Path) -> MatchKind:
    """Return the closest match of the pairs that a system is in: some stand there as a contrast only."""
    found: set[MatchKind] = set()
    for pair in PAIRS.values():
        if spec.key in pair.systems:
            # Where the other half is missing or damaged, its own row says so.
            with suppress(ModelFilesError):
                found.add(match_of(pair, models))
    return next((kind for kind in get_args(MatchKind) if kind in found), "none")


def revision_of(spec: SystemSpec, models: Path = MODELS) -> str:
    """Return the revision of the weights that make a system what it is; a service tells its own with each answer."""
    name = spec.folder or spec.transcriber or spec.backbone
    return revision_in(folder_of(name, models)) if name else "told with each answer"


def revision_in(folder: Path) -> str:
    """Return the revision written beside the weights when they were made, or the hub's commit, or "unversioned"."""
    file = folder / REVISION_FILE
    if file.exists():
        return file.read_text(encoding="utf-8").strip()
    return commit_of(folder)[:REVISION_DIGITS] or "unversioned"

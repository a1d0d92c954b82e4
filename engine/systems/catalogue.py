"""Rows that describe every system and pair: cheap to read, no model library is imported here.

Whether a pair is matched is read from the checkpoints' own configs, not typed in.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from engine.errors import ModelFilesError, UnknownKeyError
from engine.matching import MatchKind, language_model_folder, language_model_shape, match_of_folders

SystemKind = Literal["speech_llm", "cascade", "text_llm", "unit_lm"]

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
    match: MatchKind  # the closest of its pairs
    capabilities: tuple[str, ...]
    status: Literal["ready", "unavailable"]
    reason: str
    revision: str


_SPEAKS = ("answer", "forced_choice", "lens", "erasure")
_WRITES = ("answer", "forced_choice", "transcript")
_READS = ("answer", "forced_choice")
_OWN = "mini-Qwen2-Audio's LLM"
# Folder of a cascade's transcriber -> its name.
TRANSCRIBERS = {"mini-whisper": "mini-Whisper", "mini-whisper-weak": "weak mini-Whisper"}


def _speech_llm(key: str, name: str, family: str, backbone: str, parameters_m: float) -> SystemSpec:
    return SystemSpec(key, name, "speech_llm", family, key, backbone, None, _SPEAKS, parameters_m, "MIT")


def _cascade(key: str, ears: str, reader: str, backbone: str, parameters_m: float) -> SystemSpec:
    name = f"{TRANSCRIBERS[ears]} -> {reader}"
    return SystemSpec(key, name, "cascade", "cascade", None, backbone, ears, _WRITES, parameters_m, "MIT")


def _oracle(key: str, name: str, folder: str, parameters_m: float) -> SystemSpec:
    name = f"{name}, true transcript"
    return SystemSpec(key, name, "text_llm", "text_llm", folder, folder, None, _READS, parameters_m, "MIT")


# Millions of parameters that run for an answer: ears or transcriber, and the backbone.
SYSTEMS: dict[str, SystemSpec] = {
    spec.key: spec
    for spec in (
        _speech_llm("mini-ultravox", "mini-Ultravox", "ultravox", "mini-llama", 15.9),
        _cascade("mini-cascade", "mini-whisper", "mini-Llama", "mini-llama", 16.3),
        _oracle("mini-llama", "mini-Llama", "mini-llama", 10.0),
        _speech_llm("mini-qwen2-audio", "mini-Qwen2-Audio", "qwen2_audio", "mini-qwen2-audio", 8.2),
        _cascade("mini-cascade-qwen2", "mini-whisper", "mini-Qwen2", "mini-qwen2", 10.9),
        _cascade("mini-cascade-self", "mini-whisper", _OWN, "mini-qwen2-audio", 10.9),
        _cascade("mini-cascade-weak", "mini-whisper-weak", "mini-Llama", "mini-llama", 11.8),
        _oracle("mini-qwen2", "mini-Qwen2", "mini-qwen2", 4.5),
        _oracle("mini-qwen2-audio-llm", _OWN, "mini-qwen2-audio", 4.5),
    )
}


def _pair(key: str, speech_llm: str, cascade: str, words: str) -> Pair:
    """Return a pair; the oracle is the cascade's own backbone on the true transcript."""
    backbone = SYSTEMS[cascade].backbone
    oracle = next(s.key for s in SYSTEMS.values() if s.kind == "text_llm" and s.backbone == backbone)
    return Pair(key, f"{SYSTEMS[speech_llm].name} and {words}", speech_llm, cascade, oracle)


PAIRS: dict[str, Pair] = {
    pair.key: pair
    for pair in (
        _pair("mini-ultravox", "mini-ultravox", "mini-cascade", "its cascade"),
        _pair("mini-ultravox-weak", "mini-ultravox", "mini-cascade-weak", "a cascade with weak ears"),
        _pair("mini-ultravox-other", "mini-ultravox", "mini-cascade-qwen2", "another backbone's cascade"),
        _pair("mini-qwen2-audio", "mini-qwen2-audio", "mini-cascade-qwen2", "its ancestor's cascade"),
        _pair("mini-qwen2-audio-self", "mini-qwen2-audio", "mini-cascade-self", "a cascade into its own LLM"),
        _pair("mini-qwen2-audio-other", "mini-qwen2-audio", "mini-cascade", "another backbone's cascade"),
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
    try:
        found = language_model_folder(models / spec.folder)
    except ModelFilesError as error:
        raise ModelFilesError(
            f"The config of {spec.name} is missing or damaged; restore assets/models/{spec.folder}."
        ) from error
    # As the config writes it: a name that leads elsewhere must not look like one of ours.
    return os.path.relpath(found, models)


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
    if speech.kind != "speech_llm" or reader.kind == "speech_llm" or speech.folder is None:
        return "none"
    return match_of_folders(models / speech.folder, models / reader.backbone)


def ready_pairs(models: Path = MODELS) -> dict[str, Pair]:
    """Return the pairs whose every system can run here; all of them when none can, so that a page can say why."""
    missing = {spec.key for spec in SYSTEMS.values() if _state(spec, models)}
    ready = {
        key: pair
        for key, pair in PAIRS.items()
        if not missing & {pair.speech_llm, pair.cascade, pair.text_oracle}
    }
    return ready or PAIRS


def n_layers_of(folder: str, models: Path = MODELS) -> int:
    """Return how many blocks the language model in this folder has, as its config says.

    Raises:
        ModelFilesError: the config is missing or damaged.
    """
    try:
        return int(language_model_shape(models / folder)["num_hidden_layers"])
    except (ModelFilesError, KeyError, TypeError, ValueError) as error:
        raise ModelFilesError(
            f"The config of {folder} is missing or damaged; restore assets/models/{folder}."
        ) from error


def systems(models: Path = MODELS) -> tuple[SystemInfo, ...]:
    """Return every system with its state on this machine; loads no weights."""
    return tuple(_info(spec, models) for spec in SYSTEMS.values())


def _info(spec: SystemSpec, models: Path) -> SystemInfo:
    reason = _state(spec, models)
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
    )


def _state(spec: SystemSpec, models: Path) -> str:
    """Return why a system cannot run here, "" when it can."""
    needed = [folder for folder in (spec.folder, spec.backbone, spec.transcriber) if folder]
    missing = [folder for folder in dict.fromkeys(needed) if not _has_weights(models / folder)]
    if missing:
        return f"weights are missing: {', '.join(missing)}"
    try:
        backbone_of(spec, models)
    except ModelFilesError as error:
        return str(error)
    return ""


def _closest_match(spec: SystemSpec, models: Path) -> MatchKind:
    """Return the closest match of the pairs that a system is in: some stand there as a contrast only."""
    found: set[MatchKind] = set()
    for pair in PAIRS.values():
        if spec.key in (pair.speech_llm, pair.cascade, pair.text_oracle):
            # Where the other half is missing or damaged, its own row says so.
            with suppress(ModelFilesError):
                found.add(match_of(pair, models))
    return next((kind for kind in get_args(MatchKind) if kind in found), "none")


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

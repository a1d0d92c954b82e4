"""Loading systems by key, each once; systems with one backbone or one transcriber share its weights.

Adapters and model libraries are imported only here and only when a system is first asked for. What is loaded lies in
`residency.LOADED`, which makes room where memory is limited; where it goes and in which precision, `placement` says.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ModelFilesError, ServiceError, UnknownKeyError
from engine.remote import Caller
from engine.secret import secret_from
from engine.systems.catalogue import FASTER_WHISPERS, MODELS, SYSTEMS, backbone_of, get_spec
from engine.systems.pinned_files import STANDS_ON
from engine.systems.placement import placement_of, settings_in_use
from engine.systems.profiles import profile_in_use
from engine.systems.residency import LOADED
from engine.systems.services import GEMINI_KEYS, GEMINI_URL, patience_here, unset_variables
from engine.systems.spec import SystemSpec
from engine.systems.weights import folder_of
from engine.systems.whisper_settings import WhisperSettings

if TYPE_CHECKING:
    from engine.systems.base import BehaviourModel, SpeechLLM, Transcribes
    from engine.systems.cascade import Cascade, ServedCascade
    from engine.systems.text_llm import TextLLM
    from engine.systems.whisper_decoder import WhisperDecoding

_LOADING = threading.RLock()
_TRANSCRIBER_TOKENS = 64
# Kinds of parts, each loaded by itself; with a name and a models folder they make its key.
_TEXT, _SPEECH, _EARS, _CASCADE = "text LLM", "speech LLM", "transcriber", "cascade"


@LOADED.lease()
def load_speech_llm(key: str, models: Path = MODELS) -> SpeechLLM:
    """Return the speech LLM with this key, loaded at first use.

    Raises:
        UnknownKeyError: there is no such system.
        ModelFilesError: its weights are missing or damaged.
        PlacementError: there is no room for it.
    """
    spec = get_spec(key)
    assert not spec.is_remote, "a system behind a service is asked through load_behaviour"
    text = backbone_of(spec, models)
    backbone = _text_llm(text, models)
    if spec.family == "bridge":
        return _bridge(spec, backbone, models)
    return LOADED.get(
        (_SPEECH, key, models),
        lambda: _new_speech_llm(spec, backbone, models),
        name=spec.name,
        size=lambda: _ears_bytes(spec, models),
        needs=[(_TEXT, text, models)],
    )


def _bridge(spec: SystemSpec, backbone: TextLLM, models: Path) -> SpeechLLM:
    """Return a bridge; those of other temperatures share its Whisper."""
    from engine.systems.fingerprints import fingerprint

    place, whisper = folder_of(spec.audio_base, models), (_EARS, spec.audio_base, models)

    def load_whisper() -> WhisperDecoding:
        from engine.systems.whisper_decoder import WhisperDecoding

        placement = placement_of(spec.audio_base)
        return WhisperDecoding(place, dtype=placement.dtype, device=placement.device)

    ears = LOADED.get(
        whisper, load_whisper, name=spec.audio_base, size=lambda: _bytes_of(spec.audio_base, models)
    )

    def load() -> SpeechLLM:
        from engine.systems.bridge import Bridge

        return Bridge(spec, ears, fingerprint([place]), backbone)

    needs = [(_TEXT, spec.backbone, models), whisper]
    return LOADED.get((_SPEECH, spec.key, models), load, name=spec.name, needs=needs)


@LOADED.lease()
def load_cascade(key: str, models: Path = MODELS) -> Cascade:
    """Return the cascade with this key, loaded at first use; raises as `load_speech_llm`."""
    spec = get_spec(key)
    assert spec.transcriber is not None
    text, hearing = backbone_of(spec, models), profile_in_use().hearing
    backbone, ears = _text_llm(text, models), load_transcriber(spec.transcriber, models, hearing)

    def load() -> Cascade:
        from engine.systems.cascade import Cascade

        return Cascade(spec, ears, backbone)

    needs = [(_TEXT, text, models), _ears_key(spec.transcriber, models, hearing)]
    return LOADED.get((_CASCADE, key, models, hearing), load, name=spec.name, needs=needs)


def load_transcriber(
    folder: str, models: Path = MODELS, hearing: WhisperSettings | None = None
) -> Transcribes:
    """Return the transcriber in this folder, loaded at first use; raises ModelFilesError as `load_speech_llm`.

    Args:
        folder: its name in the catalogue.
        models: folder of the models.
        hearing: how it is run if it is a published one; None for what the profile says.
    """
    place = folder_of(folder, models)
    hearing = hearing or profile_in_use().hearing
    return LOADED.get(
        _ears_key(folder, models, hearing),
        lambda: _new_transcriber(folder, place, hearing),
        name=folder,
        size=lambda: sum(file.stat().st_size for file in place.glob("model.bin")),
    )


def load_text_llm(key: str, models: Path = MODELS) -> TextLLM:
    """Return the text LLM with this key, loaded at first use; raises as `load_speech_llm`."""
    return _text_llm(get_spec(key).backbone, models)


def load_behaviour(key: str) -> BehaviourModel:
    """Return the service with this key, made at first use from what the environment says; nothing is sent.

    Raises:
        UnknownKeyError: there is no such system, or it runs here.
        ServiceError: the environment lacks something, or holds what cannot be used.
    """
    with _LOADING:
        return _service(key)


def load_served_cascade(key: str, models: Path = MODELS) -> ServedCascade:
    """Return a transcriber here with the service that reads for it; raises as both loaders."""
    from engine.systems.cascade import ServedCascade

    spec = get_spec(key)
    assert spec.transcriber is not None
    reader = load_behaviour(key)
    return ServedCascade(load_transcriber(spec.transcriber, models), reader)


def _text_llm(folder: str, models: Path) -> TextLLM:
    # Cascades, the oracle and a speech LLM may share a folder's weights; the row is the oracle's.
    rows = [spec for spec in SYSTEMS.values() if spec.kind == "text_llm" and spec.folder == folder]
    if not rows:
        raise ModelFilesError(f"The catalogue has no text LLM in the folder {folder[:40]}.")
    place = folder_of(folder, models)

    def load() -> TextLLM:
        from engine.systems.text_llm import TextLLM

        placement = placement_of(folder)

        if any(spec.family == "phi4_multimodal" and spec.folder == folder for spec in SYSTEMS.values()):
            from engine.systems.phi4_multimodal import require_native

            require_native(place, rows[0].name)
        base = folder_of(STANDS_ON[folder], models) if folder in STANDS_ON else None
        return TextLLM(rows[0], place, base=base, dtype=placement.dtype, device=placement.device)

    return LOADED.get(
        (_TEXT, folder, models),
        load,
        name=rows[0].name,
        # An update is folded into its base: in memory there is one model.
        size=lambda: _text_bytes(STANDS_ON.get(folder, folder), models),
    )


def _text_bytes(folder: str, models: Path) -> int:
    """Return what a folder's language model takes: all of it, or what a speech LLM holds under its prefix."""
    from engine.systems.checkpoint import INLINE_PREFIX, tensor_bytes

    place, itemsize = folder_of(folder, models), placement_of(folder).dtype.itemsize
    inline = tensor_bytes(place, itemsize, lambda name: name.startswith(INLINE_PREFIX))
    return inline or tensor_bytes(place, itemsize)


def _bytes_of(folder: str, models: Path) -> int:
    """Return what all weights of a folder take."""
    from engine.systems.checkpoint import tensor_bytes

    return tensor_bytes(folder_of(folder, models), placement_of(folder).dtype.itemsize)


def _ears_bytes(spec: SystemSpec, models: Path) -> int:
    """Return what a speech LLM takes beside its language model."""
    from engine.systems.checkpoint import INLINE_PREFIX, tensor_bytes
    from engine.systems.phi4_multimodal import ADAPTERS

    assert spec.folder is not None
    place, itemsize = folder_of(spec.folder, models), placement_of(spec.folder).dtype.itemsize
    if spec.family == "phi4_multimodal":
        return tensor_bytes(place / ADAPTERS, itemsize)
    return tensor_bytes(place, itemsize, lambda name: not name.startswith(INLINE_PREFIX))


def _new_speech_llm(spec: SystemSpec, backbone: TextLLM, models: Path) -> SpeechLLM:
    assert spec.folder is not None
    folder = folder_of(spec.folder, models)
    if spec.family == "qwen2_audio":
        from engine.systems.qwen2_audio import Qwen2Audio

        return Qwen2Audio(spec, folder, backbone)
    if spec.family == "phi4_multimodal":
        from engine.systems.phi4_multimodal import Phi4Multimodal

        return Phi4Multimodal(spec, folder, backbone)
    if spec.family == "voxtral":
        from engine.systems.voxtral import Voxtral

        return Voxtral(spec, folder, backbone)
    if spec.family != "ultravox":
        raise ModelFilesError(
            f"No adapter loads the family {spec.family}; add it in engine/systems/registry.py."
        )
    from engine.systems.ultravox import Ultravox
    from engine.systems.ultravox_checkpoint import Bases

    if not spec.audio_base:
        return Ultravox(spec, folder, backbone)
    bases = Bases(folder_of(spec.backbone, models), folder_of(spec.audio_base, models))
    return Ultravox(spec, folder, backbone, bases)


def _ears_key(folder: str, models: Path, hearing: WhisperSettings) -> tuple[object, ...]:
    return _EARS, folder, models, hearing


def _new_transcriber(folder: str, place: Path, hearing: WhisperSettings) -> Transcribes:
    if folder in FASTER_WHISPERS:
        from engine.systems.whisper import PublishedTranscriber

        device = settings_in_use().device.partition(":")[0]
        return PublishedTranscriber(place, replace(hearing, device=device or "auto"))
    from engine.systems.cascade import Transcriber

    return Transcriber(place, max_tokens=_TRANSCRIBER_TOKENS)


@cache
def _service(key: str) -> BehaviourModel:
    spec = get_spec(key)
    if not spec.is_remote:
        raise UnknownKeyError(f"{spec.name} runs here; it is no service.")
    if unset := unset_variables(spec):
        raise ServiceError(f"{spec.name} cannot be asked: {unset}.")
    return _gemini(spec) if spec.service == "gemini" else _endpoint(spec)


def _gemini(spec: SystemSpec) -> BehaviourModel:
    from engine.systems.gemini import Gemini, GeminiSettings

    settings = GeminiSettings(
        model=os.environ[f"{spec.variables}_MODEL"].strip(),
        base_url=os.environ.get(GEMINI_URL, "").strip() or None,
        patience=patience_here(),
    )
    return Gemini(spec, settings, secret_from(GEMINI_KEYS, "Gemini"), _caller("Gemini"))


def _endpoint(spec: SystemSpec) -> BehaviourModel:
    from engine.systems.endpoint import Endpoint, endpoint_from

    settings, key = endpoint_from(spec.variables)
    name = "The endpoint for sound" if spec.kind == "speech_llm" else "The endpoint for text"
    return Endpoint(spec, replace(settings, patience=patience_here()), key, _caller(name))


@cache
def _caller(name: str) -> Caller:
    """Return the one caller of a service: a cascade and an oracle on one endpoint share its rate."""
    return Caller(name, patience_here())

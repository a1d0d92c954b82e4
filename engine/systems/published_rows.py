"""Rows of the published systems: those of arXiv 2602.17598 (section 3.1, Table 1), their kin, and Voxtral.

Where their weights come from is in `engine.systems.weights`. Parameters are counted from the published configs.
"""

from __future__ import annotations

import math

from engine.systems.mini_rows import MINI_SYSTEMS
from engine.systems.spec import READS, SPEAKS, WRITES, Pair, SystemKind, SystemSpec, pair_of

WHISPER_CONFIG = "whisper-large-v3-turbo"
# Folder of a cascade's transcriber -> its name and its millions of parameters.
_EARS = {
    "faster-whisper-large-v3": ("Whisper large-v3", 1543.0),
    "faster-whisper-large-v3-turbo": ("Whisper large-v3-turbo", 809.0),
    "faster-whisper-small": ("Whisper small", 244.0),
}
PUBLISHED_TRANSCRIBERS = {folder: name for folder, (name, _) in _EARS.items()}
# Folder of a text LLM -> its name, its millions of parameters, its licence.
_READERS = {
    "llama-3.1-8b-instruct": ("Llama-3.1-8B-Instruct", 8030.0, "Llama 3.1"),
    "llama-3.2-1b-instruct": ("Llama-3.2-1B-Instruct", 1236.0, "Llama 3.2"),
    "qwen2-7b-instruct": ("Qwen2-7B-Instruct", 7616.0, "Apache-2.0"),
    "qwen2.5-7b-instruct": ("Qwen2.5-7B-Instruct", 7616.0, "Apache-2.0"),
    "phi-4-mini-instruct": ("Phi-4-mini-instruct", 3836.0, "MIT"),
    "qwen2-audio-7b-instruct": ("Qwen2-Audio's own LLM", 7754.0, "Apache-2.0"),
    "qwen2-audio-7b": ("Qwen2-Audio base's own LLM", 7754.0, "Apache-2.0"),
    "phi-4-multimodal": ("Phi-4-Multimodal's LLM, adapters off", 3836.0, "MIT"),
    "voxtral-mini-3b-2507": ("Voxtral's own LLM", 4014.0, "Apache-2.0"),
}
# Folders that hold a speech LLM too, which has their name.
_INLINE = ("qwen2-audio-7b-instruct", "qwen2-audio-7b", "phi-4-multimodal", "voxtral-mini-3b-2507")
# Audio tower and projector by the backbone's folder: the projector's last map is as wide as that.
_ULTRAVOX_EARS_M = {"llama-3.1-8b-instruct": 687.0, "llama-3.2-1b-instruct": 683.0}


def _ultravox(key: str, name: str, folder: str, backbone: str) -> SystemSpec:
    parameters_m = _ULTRAVOX_EARS_M[backbone] + _READERS[backbone][1]
    return SystemSpec(
        key,
        name,
        "speech_llm",
        "ultravox",
        folder,
        backbone,
        None,
        SPEAKS,
        parameters_m,
        "MIT",
        WHISPER_CONFIG,
    )


def _whole(key: str, name: str, family: str, parameters_m: float) -> SystemSpec:
    """Return a speech LLM whose folder holds its language model as well."""
    return SystemSpec(key, name, "speech_llm", family, key, key, None, SPEAKS, parameters_m, _READERS[key][2])


def _cascade(key: str, ears: str, reader: str) -> SystemSpec:
    (heard_by, ears_m), (read_by, reader_m, licence) = _EARS[ears], _READERS[reader]
    return SystemSpec(
        key,
        f"{heard_by} -> {read_by}",
        "cascade",
        "cascade",
        None,
        reader,
        ears,
        WRITES,
        ears_m + reader_m,
        licence,
    )


def _oracle(reader: str) -> SystemSpec:
    name, parameters_m, licence = _READERS[reader]
    return SystemSpec(
        f"{reader}-llm" if reader in _INLINE else reader,
        f"{name}, true transcript",
        "text_llm",
        "text_llm",
        reader,
        reader,
        None,
        READS,
        parameters_m,
        licence,
    )


def _service(
    key: str, name: str, kind: SystemKind, service: str, variables: str, ears: str | None = None
) -> SystemSpec:
    capabilities = ("answer", "transcript") if kind == "cascade" else ("answer",)
    return SystemSpec(
        key,
        name,
        kind,
        "cascade" if kind == "cascade" else service,
        None,
        "",
        ears,
        capabilities,
        math.nan,
        "the service's terms",
        service=service,
        variables=variables,
    )


TEXT_ENDPOINT, AUDIO_ENDPOINT, GEMINI = "CASCADE_LENS_TEXT", "CASCADE_LENS_AUDIO", "GEMINI"

PUBLISHED_SYSTEMS: dict[str, SystemSpec] = {
    spec.key: spec
    for spec in (
        _ultravox(
            "ultravox-v0.6-8b", "Ultravox v0.6 8B", "ultravox-v0_6-llama-3_1-8b", "llama-3.1-8b-instruct"
        ),
        _ultravox(
            "ultravox-v0.5-8b", "Ultravox v0.5 8B", "ultravox-v0_5-llama-3_1-8b", "llama-3.1-8b-instruct"
        ),
        _ultravox(
            "ultravox-v0.5-1b", "Ultravox v0.5 1B", "ultravox-v0_5-llama-3_2-1b", "llama-3.2-1b-instruct"
        ),
        _whole("qwen2-audio-7b-instruct", "Qwen2-Audio-7B-Instruct", "qwen2_audio", 8397.0),
        _whole("qwen2-audio-7b", "Qwen2-Audio-7B", "qwen2_audio", 8397.0),
        _whole("phi-4-multimodal", "Phi-4-Multimodal", "phi4_multimodal", 5574.0),
        _whole("voxtral-mini-3b-2507", "Voxtral-Mini-3B-2507", "voxtral", 4676.0),
        _service("gemini", "Gemini", "speech_llm", "gemini", GEMINI),
        _service("endpoint-audio", "Speech LLM at an endpoint", "speech_llm", "endpoint", AUDIO_ENDPOINT),
        _cascade("whisper-large-v3-llama-3.1-8b", "faster-whisper-large-v3", "llama-3.1-8b-instruct"),
        _cascade("whisper-large-v3-qwen2.5-7b", "faster-whisper-large-v3", "qwen2.5-7b-instruct"),
        _cascade("whisper-small-qwen2.5-7b", "faster-whisper-small", "qwen2.5-7b-instruct"),
        _cascade("whisper-large-v3-qwen2-7b", "faster-whisper-large-v3", "qwen2-7b-instruct"),
        _cascade("whisper-large-v3-phi-4-mini", "faster-whisper-large-v3", "phi-4-mini-instruct"),
        _cascade(
            "whisper-large-v3-turbo-llama-3.1-8b", "faster-whisper-large-v3-turbo", "llama-3.1-8b-instruct"
        ),
        _cascade("whisper-large-v3-qwen2-audio-self", "faster-whisper-large-v3", "qwen2-audio-7b-instruct"),
        _cascade("whisper-large-v3-qwen2-audio-base-self", "faster-whisper-large-v3", "qwen2-audio-7b"),
        _cascade("whisper-large-v3-phi-4-adapters-off", "faster-whisper-large-v3", "phi-4-multimodal"),
        _cascade("whisper-large-v3-voxtral-self", "faster-whisper-large-v3", "voxtral-mini-3b-2507"),
        _cascade("whisper-small-llama-3.2-1b", "faster-whisper-small", "llama-3.2-1b-instruct"),
        _service(
            "whisper-large-v3-turbo-endpoint",
            "Whisper large-v3-turbo -> LLM at an endpoint",
            "cascade",
            "endpoint",
            TEXT_ENDPOINT,
            "faster-whisper-large-v3-turbo",
        ),
        _service(
            "mini-cascade-endpoint",
            "mini-Whisper -> LLM at an endpoint",
            "cascade",
            "endpoint",
            TEXT_ENDPOINT,
            "mini-whisper",
        ),
        *(_oracle(reader) for reader in _READERS),
        _service(
            "endpoint-text", "LLM at an endpoint, true transcript", "text_llm", "endpoint", TEXT_ENDPOINT
        ),
    )
}


_OWN_LLM, _PAPERS = "a cascade into its own LLM", "the paper's cascade"
_SHIPPED = "the small cascade that ships"
_SERVED_LLM = "a cascade into an endpoint's LLM"
# Key of the pair, the speech LLM, its cascade, and what that is in words.
_PAIRED = (
    ("ultravox-v0.6-8b", "ultravox-v0.6-8b", "whisper-large-v3-llama-3.1-8b", "its cascade"),
    (
        "ultravox-v0.6-8b-turbo",
        "ultravox-v0.6-8b",
        "whisper-large-v3-turbo-llama-3.1-8b",
        "its own Whisper's cascade",
    ),
    (
        "ultravox-v0.6-8b-other",
        "ultravox-v0.6-8b",
        "whisper-large-v3-qwen2.5-7b",
        "another backbone's cascade",
    ),
    ("ultravox-v0.5-8b", "ultravox-v0.5-8b", "whisper-large-v3-llama-3.1-8b", "its cascade"),
    ("ultravox-v0.5-1b", "ultravox-v0.5-1b", "whisper-small-llama-3.2-1b", "its cascade"),
    ("qwen2-audio-7b-instruct", "qwen2-audio-7b-instruct", "whisper-large-v3-qwen2-7b", _PAPERS),
    (
        "qwen2-audio-7b-instruct-self",
        "qwen2-audio-7b-instruct",
        "whisper-large-v3-qwen2-audio-self",
        _OWN_LLM,
    ),
    ("qwen2-audio-7b-self", "qwen2-audio-7b", "whisper-large-v3-qwen2-audio-base-self", _OWN_LLM),
    ("phi-4-multimodal", "phi-4-multimodal", "whisper-large-v3-phi-4-mini", _PAPERS),
    ("phi-4-multimodal-adapters-off", "phi-4-multimodal", "whisper-large-v3-phi-4-adapters-off", _OWN_LLM),
    ("voxtral-mini-3b-2507", "voxtral-mini-3b-2507", "whisper-large-v3-voxtral-self", _OWN_LLM),
    ("gemini", "gemini", "whisper-large-v3-qwen2.5-7b", "the paper's strong cascade"),
    ("gemini-mini", "gemini", "mini-cascade", _SHIPPED),
    ("endpoint", "endpoint-audio", "whisper-large-v3-turbo-endpoint", _SERVED_LLM),
    ("endpoint-mini", "endpoint-audio", "mini-cascade", _SHIPPED),
    ("gemini-endpoint-mini", "gemini", "mini-cascade-endpoint", _SERVED_LLM),
    ("mini-ultravox-endpoint", "mini-ultravox", "mini-cascade-endpoint", _SERVED_LLM),
)
PUBLISHED_PAIRS: dict[str, Pair] = {
    row[0]: pair_of(MINI_SYSTEMS | PUBLISHED_SYSTEMS, *row) for row in _PAIRED
}


def parameters_m_of(folder: str) -> float:
    """Return millions of parameters of a published transcriber or text LLM; 0 for any other folder."""
    return {name: row[1] for name, row in (_EARS | _READERS).items()}.get(folder, 0.0)

"""The catalogue: every system and pair as a row, what can run here, and how a pair is matched.

Cheap to read: no model library is imported. Whether a pair is matched is read from the checkpoints' own configs,
not typed in. Parameters of published systems are counted from their configs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args
from urllib.parse import urlsplit

from engine.errors import ModelFilesError, ServiceError, UnknownKeyError
from engine.matching import (
    FindFolder,
    MatchKind,
    language_model_folder,
    language_model_shape,
    match_of_folders,
    read_config,
)
from engine.systems.weights import (
    CHECKPOINTS,
    MODELS,
    REVISION_DIGITS,
    REVISION_FILE,
    STANDS_ON,
    commit_of,
    folder_by_id,
    folder_of,
    missing_weights,
    size_gb,
)

SystemKind = Literal["speech_llm", "cascade", "text_llm", "unit_lm"]
BYTES_IN_BF16 = 2


@dataclass(frozen=True)
class SystemSpec:
    """One system.

    Attributes:
        family: names the adapter that loads it.
        folder: of its own weights (`engine.systems.weights` says where that is); None when it only combines others
            or answers over a network.
        backbone: folder of the text LLM it runs on; "" where a service answers.
        transcriber: folder of the CTranslate2 transcriber, for a cascade.
        capabilities: what the page may offer: answer, forced_choice, lens, erasure, transcript.
        parameters_m: millions of parameters that run for an answer: ears or transcriber, and the backbone; NaN
            where a service does not say.
        audio_base: folder of the Whisper that a published Ultravox names, or of the encoder that makes a unit
            model's units; "" where its own folder has all.
        service: "gemini" or "endpoint" where somebody else's machine answers, else "".
        temperature: of a bridge's posterior; None for all others.
        variables: where the service's address, model and key stand in the environment: their common prefix.
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
    audio_base: str = ""
    service: str = ""
    variables: str = ""
    temperature: float | None = None

    @property
    def is_remote(self) -> bool:
        """Whether somebody else's machine gives the answer."""
        return bool(self.service)

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the model folders that it is made of, its own first, and last what its backbone is a change of."""
        names = (self.folder, self.transcriber, self.backbone, self.audio_base, STANDS_ON.get(self.backbone))
        return tuple(dict.fromkeys(name for name in names if name))

    @property
    def bf16_gb(self) -> float:
        """Memory of its weights in bf16, in gigabytes of 10^9 bytes."""
        return self.parameters_m * BYTES_IN_BF16 / 1e3


@dataclass(frozen=True)
class Pair:
    """A speech LLM beside its cascade and the text oracle on the same backbone."""

    key: str
    name: str
    speech_llm: str
    cascade: str
    text_oracle: str

    @property
    def systems(self) -> tuple[str, str, str]:
        """Keys of the three."""
        return self.speech_llm, self.cascade, self.text_oracle


@dataclass(frozen=True)
class SystemInfo:
    """What `/systems` lists: a row with its state on this machine.

    Attributes:
        match: the closest of its pairs.
        parameters_m: millions of parameters that run for an answer; None where a service does not say.
        bf16_gb: memory of its weights in bf16, in 10^9 bytes.
        pinned: model folder -> the hub's id and the revision that is fetched, for weights that do not ship.
        gated: some of them want an agreement with their owner first.
    """

    key: str
    name: str
    kind: SystemKind
    backbone: str
    match: MatchKind
    capabilities: tuple[str, ...]
    status: Literal["ready", "unavailable"]
    reason: str
    revision: str
    parameters_m: float | None
    bf16_gb: float | None
    licence: str
    pinned: Mapping[str, str]
    gated: bool


SPEAKS = ("answer", "forced_choice", "lens", "erasure")
WRITES = ("answer", "forced_choice", "transcript")
READS = ("answer", "forced_choice")


def pair_of(systems: dict[str, SystemSpec], key: str, speech_llm: str, cascade: str, words: str) -> Pair:
    """Return a pair; the oracle is the cascade's own text LLM on the true transcript."""
    told = systems[cascade]
    same = (told.backbone, told.service)
    oracle = next(
        spec.key
        for spec in systems.values()
        if spec.kind == "text_llm" and (spec.backbone, spec.service) == same
    )
    return Pair(key, f"{systems[speech_llm].name} and {words}", speech_llm, cascade, oracle)


# What a behaviour-only system cannot give -> why, in words for the page.
UNAVAILABLE: Mapping[str, str] = MappingProxyType(
    {
        "forced_choice": "The service sends text only: it does not say how probable the other answers were.",
        "log_likelihood": "The service sends text only: it does not say how probable its answer was.",
        "lens": "The model's states stay with the service, so there is nothing to read layer by layer.",
        "erasure": "The model's states stay with the service, so nothing can be erased from them.",
        "hearing": "The service sends text only: whether it heard shows in logits, which stay there.",
        "match": "The service does not say which weights answer, so no match of backbones is claimed.",
    }
)

# Google's own name for the key goes first; the second is what its pages show.
GEMINI_KEYS = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
GEMINI_URL = "GOOGLE_GEMINI_BASE_URL"  # the SDK's own name, for a server that speaks as Google's
GEMINI_HOST = "generativelanguage.googleapis.com"


def wanted_variables(spec: SystemSpec) -> tuple[tuple[str, ...], ...]:
    """Return what must be set: of each group one variable. An endpoint's key is its owner's choice."""
    if spec.service == "gemini":
        return (f"{spec.variables}_MODEL",), GEMINI_KEYS
    return (f"{spec.variables}_URL",), (f"{spec.variables}_MODEL",)


def unset_variables(spec: SystemSpec, environment: Mapping[str, str] = os.environ) -> str:
    """Return which variables a service still needs, as words for the page; "" when it can be asked."""
    unset = [
        " or ".join(group)
        for group in wanted_variables(spec)
        if not any(environment.get(name, "").strip() for name in group)
    ]
    return f"set {' and '.join(unset)} in the environment" if unset else ""


def destination_of(spec: SystemSpec, environment: Mapping[str, str] = os.environ) -> str:
    """Return where a request goes, as "MODEL at HOST"; nothing but the host is shown of an address."""
    is_gemini = spec.service == "gemini"
    model = environment.get(f"{spec.variables}_MODEL", "").strip()
    url = environment.get(GEMINI_URL if is_gemini else f"{spec.variables}_URL", "").strip()
    try:
        host = urlsplit(url).hostname
    except ValueError:  # half an IPv6 address
        host = None
    return f"{model} at {host or (GEMINI_HOST if is_gemini else 'no usable address')}"


def states_away(spec: SystemSpec, what: str) -> str:
    """Return why `what`, a key of `UNAVAILABLE`, cannot be had of this system, "" where it runs here."""
    if not spec.is_remote:
        return ""
    why = UNAVAILABLE[what].rstrip(".")
    return f"Not with {spec.name}: {why[0].lower()}{why[1:]}. Choose a pair whose speech LLM runs here."


def require_states(spec: SystemSpec, what: str) -> None:
    """Raise ServiceError with the sentence of `states_away` when a system is a service."""
    if sentence := states_away(spec, what):
        raise ServiceError(sentence)


_MINI_OWN = "mini-Qwen2-Audio's LLM"
# Folder of a cascade's transcriber -> its name.
MINI_TRANSCRIBERS = {"mini-whisper": "mini-Whisper", "mini-whisper-weak": "weak mini-Whisper"}


def _mini_speech_llm(key: str, name: str, family: str, backbone: str, parameters_m: float) -> SystemSpec:
    return SystemSpec(key, name, "speech_llm", family, key, backbone, None, SPEAKS, parameters_m, "MIT")


def _mini_cascade(key: str, ears: str, reader: str, backbone: str, parameters_m: float) -> SystemSpec:
    name = f"{MINI_TRANSCRIBERS[ears]} -> {reader}"
    return SystemSpec(key, name, "cascade", "cascade", None, backbone, ears, WRITES, parameters_m, "MIT")


def _mini_oracle(key: str, name: str, folder: str, parameters_m: float) -> SystemSpec:
    name = f"{name}, true transcript"
    return SystemSpec(key, name, "text_llm", "text_llm", folder, folder, None, READS, parameters_m, "MIT")


MINI_SYSTEMS: dict[str, SystemSpec] = {
    spec.key: spec
    for spec in (
        _mini_speech_llm("mini-ultravox", "mini-Ultravox", "ultravox", "mini-llama", 15.9),
        _mini_cascade("mini-cascade", "mini-whisper", "mini-Llama", "mini-llama", 16.3),
        _mini_oracle("mini-llama", "mini-Llama", "mini-llama", 10.0),
        _mini_speech_llm("mini-qwen2-audio", "mini-Qwen2-Audio", "qwen2_audio", "mini-qwen2-audio", 8.2),
        _mini_cascade("mini-cascade-qwen2", "mini-whisper", "mini-Qwen2", "mini-qwen2", 10.9),
        _mini_cascade("mini-cascade-self", "mini-whisper", _MINI_OWN, "mini-qwen2-audio", 10.9),
        _mini_cascade("mini-cascade-weak", "mini-whisper-weak", "mini-Llama", "mini-llama", 11.8),
        _mini_oracle("mini-qwen2", "mini-Qwen2", "mini-qwen2", 4.5),
        _mini_oracle("mini-qwen2-audio-llm", _MINI_OWN, "mini-qwen2-audio", 4.5),
    )
}


def _mini_pair(key: str, speech_llm: str, cascade: str, words: str) -> Pair:
    return pair_of(MINI_SYSTEMS, key, speech_llm, cascade, words)


MINI_PAIRS: dict[str, Pair] = {
    pair.key: pair
    for pair in (
        _mini_pair("mini-ultravox", "mini-ultravox", "mini-cascade", "its cascade"),
        _mini_pair("mini-ultravox-weak", "mini-ultravox", "mini-cascade-weak", "a cascade with weak ears"),
        _mini_pair(
            "mini-ultravox-other", "mini-ultravox", "mini-cascade-qwen2", "another backbone's cascade"
        ),
        _mini_pair("mini-qwen2-audio", "mini-qwen2-audio", "mini-cascade-qwen2", "its ancestor's cascade"),
        _mini_pair(
            "mini-qwen2-audio-self", "mini-qwen2-audio", "mini-cascade-self", "a cascade into its own LLM"
        ),
        _mini_pair(
            "mini-qwen2-audio-other", "mini-qwen2-audio", "mini-cascade", "another backbone's cascade"
        ),
    )
}

TUNED, PUBLISHED = "smollm2-135m-tuned", "smollm2-135m-instruct"
BASE, TINY = "faster-whisper-base", "faster-whisper-tiny.en"
WHISPER = "whisper-base-transformers"
POSITIVE_CONTROL = "positive control: a cascade with real weights, known to be one"
# Folder of a cascade's transcriber -> its name.
LAPTOP_TRANSCRIBERS = {BASE: "Whisper base", TINY: "Whisper tiny.en"}
_MILLIONS = {BASE: 72.6, TINY: 37.8, TUNED: 134.5, PUBLISHED: 134.5}
_LAPTOP_READERS = {TUNED: "SmolLM2 tuned on text", PUBLISHED: "SmolLM2 as published"}
_LICENCE = "MIT and Apache-2.0"


def _bridge(key: str, name: str, temperature: float) -> SystemSpec:
    return SystemSpec(
        key,
        f"{name} ({POSITIVE_CONTROL})",
        "speech_llm",
        "bridge",
        None,
        TUNED,
        None,
        SPEAKS,
        _MILLIONS[BASE] + _MILLIONS[TUNED],
        _LICENCE,
        audio_base=WHISPER,
        temperature=temperature,
    )


def _laptop_cascade(key: str, ears: str, reader: str) -> SystemSpec:
    return SystemSpec(
        key,
        f"{LAPTOP_TRANSCRIBERS[ears]} -> {_LAPTOP_READERS[reader]}",
        "cascade",
        "cascade",
        None,
        reader,
        ears,
        WRITES,
        _MILLIONS[ears] + _MILLIONS[reader],
        _LICENCE,
    )


def _laptop_oracle(key: str, reader: str) -> SystemSpec:
    return SystemSpec(
        key,
        f"{_LAPTOP_READERS[reader]}, true transcript",
        "text_llm",
        "text_llm",
        reader,
        reader,
        None,
        READS,
        _MILLIONS[reader],
        "Apache-2.0",
    )


LAPTOP_SYSTEMS: dict[str, SystemSpec] = {
    spec.key: spec
    for spec in (
        SystemSpec(
            "ultravox-smollm2",
            "Ultravox on SmolLM2",
            "speech_llm",
            "ultravox",
            "ultravox-smollm2",
            TUNED,
            None,
            SPEAKS,
            _MILLIONS[TUNED] + 25.0,
            _LICENCE,
            audio_base=WHISPER,
        ),
        _bridge("bridge-smollm2", "Bridge, temperature .5", 0.5),
        _bridge("bridge-smollm2-soft", "Bridge, temperature 1", 1.0),
        _bridge("bridge-smollm2-hard", "Bridge, temperature .25", 0.25),
        _laptop_cascade("cascade-whisper-base", BASE, TUNED),
        _laptop_cascade("cascade-whisper-tiny", TINY, TUNED),
        _laptop_cascade("cascade-other", BASE, PUBLISHED),
        _laptop_oracle("smollm2-tuned", TUNED),
        _laptop_oracle("smollm2", PUBLISHED),
    )
}


def _laptop_pair(key: str, speech_llm: str, cascade: str, words: str) -> Pair:
    return pair_of(LAPTOP_SYSTEMS, key, speech_llm, cascade, words)


_LAPTOP_OWN, _WEAK, _OTHER = "its cascade", "a cascade with weak ears", "a cascade into SmolLM2 as published"
LAPTOP_PAIRS: dict[str, Pair] = {
    pair.key: pair
    for pair in (
        _laptop_pair("ultravox-smollm2", "ultravox-smollm2", "cascade-whisper-base", _LAPTOP_OWN),
        _laptop_pair("ultravox-smollm2-weak", "ultravox-smollm2", "cascade-whisper-tiny", _WEAK),
        _laptop_pair("ultravox-smollm2-other", "ultravox-smollm2", "cascade-other", _OTHER),
        _laptop_pair("bridge-smollm2", "bridge-smollm2", "cascade-whisper-base", _LAPTOP_OWN),
        _laptop_pair("bridge-smollm2-soft", "bridge-smollm2-soft", "cascade-whisper-base", _LAPTOP_OWN),
        _laptop_pair("bridge-smollm2-hard", "bridge-smollm2-hard", "cascade-whisper-base", _LAPTOP_OWN),
        _laptop_pair("bridge-smollm2-weak", "bridge-smollm2", "cascade-whisper-tiny", _WEAK),
        _laptop_pair("bridge-smollm2-other", "bridge-smollm2", "cascade-other", _OTHER),
    )
}

WHISPER_CONFIG = "whisper-large-v3-turbo"
# Folder of a cascade's transcriber -> its name and its millions of parameters.
_EARS = {
    "faster-whisper-large-v3": ("Whisper large-v3", 1543.0),
    "faster-whisper-large-v3-turbo": ("Whisper large-v3-turbo", 809.0),
    "faster-whisper-small": ("Whisper small", 244.0),
}
PUBLISHED_TRANSCRIBERS = {folder: name for folder, (name, _) in _EARS.items()}
# Folder of a text LLM -> its name, its millions of parameters, its licence.
_PUBLISHED_READERS = {
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
    parameters_m = _ULTRAVOX_EARS_M[backbone] + _PUBLISHED_READERS[backbone][1]
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
    return SystemSpec(
        key, name, "speech_llm", family, key, key, None, SPEAKS, parameters_m, _PUBLISHED_READERS[key][2]
    )


def _cascade(key: str, ears: str, reader: str) -> SystemSpec:
    (heard_by, ears_m), (read_by, reader_m, licence) = _EARS[ears], _PUBLISHED_READERS[reader]
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
    name, parameters_m, licence = _PUBLISHED_READERS[reader]
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
        *(_oracle(reader) for reader in _PUBLISHED_READERS),
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
    return {name: row[1] for name, row in (_EARS | _PUBLISHED_READERS).items()}.get(folder, 0.0)


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


_CAN = ("lens", "erasure", "continue")
# In HuBERT's folder: the published centres are a pickle, which is not read here. Converted once, where it is trusted:
# np.savez("centres.npz", centres=joblib.load(file).cluster_centers_)
HUBERT_CENTRES = "centres.npz"

# Millions of parameters of the language model; `backbone` is the folder that its text model's vocabulary is read from.
UNIT_MODELS: dict[str, SystemSpec] = {
    key: SystemSpec(key, name, "unit_lm", "interleaved", key, text, None, _CAN, parameters_m, licence, ears)
    for key, name, text, ears, parameters_m, licence in (
        ("mini-interleaved", "mini-interleaved", "mini-qwen2", "mini-whisper", 4.6, "MIT"),
        ("sims-7b", "SIMS-7B", "qwen2.5-7b-vocabulary", "mhubert-base-25hz", 7_618.0, "MIT"),
        (
            *("sims-llama3.2-3b", "SIMS-Llama3.2-3B", "llama-3.2-3b-vocabulary", "mhubert-base-25hz"),
            *(3_214.0, "Llama 3.2"),
        ),
    )
}


def get_unit_model(key: str) -> SystemSpec:
    """Return the row of this key.

    Raises:
        UnknownKeyError: there is none; the message lists those there are.
    """
    if key not in UNIT_MODELS:
        raise UnknownKeyError(
            f'There is no speech-text model "{key[:40]}". Choose one of: {", ".join(UNIT_MODELS)}.'
        )
    return UNIT_MODELS[key]


def unit_model_lacks(spec: SystemSpec, models: Path = MODELS) -> str:
    """Return why a model cannot run here, "" when it can; loads no weights."""
    missing = missing_weights(spec.folders, models)
    if missing:
        return f"weights are missing: {', '.join(missing)}"
    centres = folder_of(spec.audio_base, models) / HUBERT_CENTRES
    if spec.audio_base in CHECKPOINTS and not centres.exists():
        return f"the centres of its units are missing: convert them to {spec.audio_base}/{HUBERT_CENTRES}"
    return ""

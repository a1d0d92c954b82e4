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
from typing import Any, Literal, get_args
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
    PINNED,
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


# Folder of a transcriber -> its name, and its millions of parameters.
_EARS = {
    "mini-whisper": ("mini-Whisper", 6.3),
    "mini-whisper-weak": ("weak mini-Whisper", 1.8),
    "faster-whisper-base": ("Whisper base", 72.6),
    "faster-whisper-tiny.en": ("Whisper tiny.en", 37.8),
    "faster-whisper-large-v3": ("Whisper large-v3", 1543.0),
    "faster-whisper-large-v3-turbo": ("Whisper large-v3-turbo", 809.0),
    "faster-whisper-small": ("Whisper small", 244.0),
}
# Folder of a text LLM -> its name, its millions of parameters, its licence.
_READERS = {
    "mini-llama": ("mini-Llama", 10.0, "MIT"),
    "mini-qwen2": ("mini-Qwen2", 4.5, "MIT"),
    "mini-qwen2-audio": ("mini-Qwen2-Audio's LLM", 4.5, "MIT"),
    "smollm2-135m-tuned": ("SmolLM2 tuned on text", 134.5, "Apache-2.0"),
    "smollm2-135m-instruct": ("SmolLM2 as published", 134.5, "Apache-2.0"),
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
TRANSCRIBERS = {folder: name for folder, (name, _) in _EARS.items()}
MINI_TRANSCRIBERS = {folder: name for folder, name in TRANSCRIBERS.items() if folder.startswith("mini-")}
# Folders that faster-whisper runs as its makers do, where a profile says how.
FASTER_WHISPERS = {folder: name for folder, name in TRANSCRIBERS.items() if folder not in MINI_TRANSCRIBERS}


def parameters_m_of(folder: str) -> float:
    """Return millions of parameters of a published transcriber or text LLM; 0 for any other folder."""
    is_published = folder in CHECKPOINTS and folder not in PINNED
    return (
        {name: row[1] for name, row in (_EARS | _READERS).items()}.get(folder, 0.0) if is_published else 0.0
    )


def _speech_llm(
    key: str, name: str, family: str, backbone: str, ears_m: float, folder: str | None = "", **more: Any
) -> SystemSpec:
    """Return a speech LLM's row; its folder has its key unless another is named, or it has none."""
    about: dict[str, Any] = {"licence": _READERS[backbone][2] if backbone == key else "MIT", **more}
    folder = key if folder == "" else folder
    millions = ears_m + _READERS[backbone][1]
    return SystemSpec(key, name, "speech_llm", family, folder, backbone, None, SPEAKS, millions, **about)


def _cascade(key: str, ears: str, reader: str, **more: Any) -> SystemSpec:
    (heard_by, ears_m), (read_by, reader_m, licence) = _EARS[ears], _READERS[reader]
    about: dict[str, Any] = {"parameters_m": ears_m + reader_m, "licence": licence, **more}
    name = f"{heard_by} -> {read_by}"
    return SystemSpec(key, name, "cascade", "cascade", None, reader, ears, WRITES, **about)


def _oracle(reader: str, key: str = "") -> SystemSpec:
    name, millions, licence = _READERS[reader]
    name = f"{name}, true transcript"
    return SystemSpec(
        key or reader, name, "text_llm", "text_llm", reader, reader, None, READS, millions, licence
    )


def _service(
    key: str, name: str, kind: SystemKind, variables: str, service: str = "endpoint", ears: str | None = None
) -> SystemSpec:
    family, offers = ("cascade", ("answer", "transcript")) if kind == "cascade" else (service, ("answer",))
    about: dict[str, Any] = {"licence": "the service's terms", "service": service, "variables": variables}
    return SystemSpec(key, name, kind, family, None, "", ears, offers, math.nan, **about)


def _by_key(*rows: SystemSpec) -> dict[str, SystemSpec]:
    return {row.key: row for row in rows}


# The small models that ship.
MINI_SYSTEMS = _by_key(
    _speech_llm("mini-ultravox", "mini-Ultravox", "ultravox", "mini-llama", 5.9),
    _cascade("mini-cascade", "mini-whisper", "mini-llama"),
    _oracle("mini-llama"),
    _speech_llm("mini-qwen2-audio", "mini-Qwen2-Audio", "qwen2_audio", "mini-qwen2-audio", 3.7),
    _cascade("mini-cascade-qwen2", "mini-whisper", "mini-qwen2", parameters_m=10.9),
    _cascade("mini-cascade-self", "mini-whisper", "mini-qwen2-audio", parameters_m=10.9),
    _cascade("mini-cascade-weak", "mini-whisper-weak", "mini-llama"),
    _oracle("mini-qwen2"),
    _oracle("mini-qwen2-audio", "mini-qwen2-audio-llm"),
)

# Real models that hear a real person on a CPU, in seconds. One backbone for all, SmolLM2 with a low-rank update that
# was taught on text only: speech LLMs, cascades and the oracle run on the very same weights. The bridge is known to be
# a cascade and stands here as the positive control; at a lower temperature it comes closer to its cascade, which is
# the dose-response control.
_TUNED, _WHISPER = "smollm2-135m-tuned", "whisper-base-transformers"
_BASE, _TINY = "faster-whisper-base", "faster-whisper-tiny.en"
_SMOLLM2: dict[str, Any] = {"licence": "MIT and Apache-2.0"}


def _bridge(key: str, temperature: float, shown: str) -> SystemSpec:
    name = f"Bridge, temperature {shown} (positive control: a cascade with real weights, known to be one)"
    more: dict[str, Any] = {"audio_base": _WHISPER, "temperature": temperature, **_SMOLLM2}
    return _speech_llm(key, name, "bridge", _TUNED, _EARS[_BASE][1], None, **more)


LAPTOP_SYSTEMS = _by_key(
    _speech_llm(
        *("ultravox-smollm2", "Ultravox on SmolLM2", "ultravox", _TUNED, 25.0),
        audio_base=_WHISPER,
        **_SMOLLM2,
    ),
    _bridge("bridge-smollm2", 0.5, ".5"),
    _bridge("bridge-smollm2-soft", 1.0, "1"),
    _bridge("bridge-smollm2-hard", 0.25, ".25"),
    _cascade("cascade-whisper-base", _BASE, _TUNED, **_SMOLLM2),
    _cascade("cascade-whisper-tiny", _TINY, _TUNED, **_SMOLLM2),
    _cascade("cascade-other", _BASE, "smollm2-135m-instruct", **_SMOLLM2),
    _oracle(_TUNED, "smollm2-tuned"),
    _oracle("smollm2-135m-instruct", "smollm2"),
)

# The published systems: those of arXiv 2602.17598 (section 3.1, Table 1), their kin, and Voxtral.
_LARGE, _TURBO, _SMALL = (f"faster-whisper-{size}" for size in ("large-v3", "large-v3-turbo", "small"))
_LLAMA_8B, _LLAMA_1B = "llama-3.1-8b-instruct", "llama-3.2-1b-instruct"
TEXT_ENDPOINT, AUDIO_ENDPOINT, GEMINI = "CASCADE_LENS_TEXT", "CASCADE_LENS_AUDIO", "GEMINI"


def _ultravox(version: str, size: str, folder: str, backbone: str, ears_m: float) -> SystemSpec:
    key, name = f"ultravox-v{version}-{size.lower()}", f"Ultravox v{version} {size}"
    return _speech_llm(key, name, "ultravox", backbone, ears_m, folder, audio_base="whisper-large-v3-turbo")


def _whole(key: str, name: str, family: str, ears_m: float) -> SystemSpec:
    """Return a speech LLM whose folder holds its language model as well."""
    return _speech_llm(key, name, family, key, ears_m)


PUBLISHED_SYSTEMS = _by_key(
    # Audio tower and projector: the projector's last map is as wide as the backbone.
    _ultravox("0.6", "8B", "ultravox-v0_6-llama-3_1-8b", _LLAMA_8B, 687.0),
    _ultravox("0.5", "8B", "ultravox-v0_5-llama-3_1-8b", _LLAMA_8B, 687.0),
    _ultravox("0.5", "1B", "ultravox-v0_5-llama-3_2-1b", _LLAMA_1B, 683.0),
    _whole("qwen2-audio-7b-instruct", "Qwen2-Audio-7B-Instruct", "qwen2_audio", 643.0),
    _whole("qwen2-audio-7b", "Qwen2-Audio-7B", "qwen2_audio", 643.0),
    _whole("phi-4-multimodal", "Phi-4-Multimodal", "phi4_multimodal", 1738.0),
    _whole("voxtral-mini-3b-2507", "Voxtral-Mini-3B-2507", "voxtral", 662.0),
    _service("gemini", "Gemini", "speech_llm", GEMINI, "gemini"),
    _service("endpoint-audio", "Speech LLM at an endpoint", "speech_llm", AUDIO_ENDPOINT),
    _cascade("whisper-large-v3-llama-3.1-8b", _LARGE, _LLAMA_8B),
    _cascade("whisper-large-v3-qwen2.5-7b", _LARGE, "qwen2.5-7b-instruct"),
    _cascade("whisper-small-qwen2.5-7b", _SMALL, "qwen2.5-7b-instruct"),
    _cascade("whisper-large-v3-qwen2-7b", _LARGE, "qwen2-7b-instruct"),
    _cascade("whisper-large-v3-phi-4-mini", _LARGE, "phi-4-mini-instruct"),
    _cascade("whisper-large-v3-turbo-llama-3.1-8b", _TURBO, _LLAMA_8B),
    _cascade("whisper-large-v3-qwen2-audio-self", _LARGE, "qwen2-audio-7b-instruct"),
    _cascade("whisper-large-v3-qwen2-audio-base-self", _LARGE, "qwen2-audio-7b"),
    _cascade("whisper-large-v3-phi-4-adapters-off", _LARGE, "phi-4-multimodal"),
    _cascade("whisper-large-v3-voxtral-self", _LARGE, "voxtral-mini-3b-2507"),
    _cascade("whisper-small-llama-3.2-1b", _SMALL, _LLAMA_1B),
    _service(
        *("whisper-large-v3-turbo-endpoint", "Whisper large-v3-turbo -> LLM at an endpoint", "cascade"),
        *(TEXT_ENDPOINT, "endpoint", _TURBO),
    ),
    _service(
        *("mini-cascade-endpoint", "mini-Whisper -> LLM at an endpoint", "cascade"),
        *(TEXT_ENDPOINT, "endpoint", "mini-whisper"),
    ),
    *(_oracle(reader) for reader in (_LLAMA_8B, _LLAMA_1B, "qwen2-7b-instruct", "qwen2.5-7b-instruct")),
    _oracle("phi-4-mini-instruct"),
    *(
        _oracle(reader, f"{reader}-llm")  # whose folder holds a speech LLM too, which has its name
        for reader in (
            "qwen2-audio-7b-instruct",
            "qwen2-audio-7b",
            "phi-4-multimodal",
            "voxtral-mini-3b-2507",
        )
    ),
    _service("endpoint-text", "LLM at an endpoint, true transcript", "text_llm", TEXT_ENDPOINT),
)
SYSTEMS: dict[str, SystemSpec] = MINI_SYSTEMS | LAPTOP_SYSTEMS | PUBLISHED_SYSTEMS


def _pairs(*rows: tuple[str, str, str, str]) -> dict[str, Pair]:
    """Return pairs by key; each row is its key, its speech LLM, its cascade, and what that is in words.

    The oracle is the cascade's own text LLM on the true transcript.
    """
    oracles = {(s.backbone, s.service): s.key for s in SYSTEMS.values() if s.kind == "text_llm"}
    return {
        key: Pair(
            key,
            f"{SYSTEMS[speech_llm].name} and {words}",
            speech_llm,
            cascade,
            oracles[SYSTEMS[cascade].backbone, SYSTEMS[cascade].service],
        )
        for key, speech_llm, cascade, words in rows
    }


_ITS_CASCADE, _ITS_OWN, _WEAK = "its cascade", "a cascade into its own LLM", "a cascade with weak ears"
_OTHER, _AS_PUBLISHED = "another backbone's cascade", "a cascade into SmolLM2 as published"
_PAPERS, _SHIPPED = "the paper's cascade", "the small cascade that ships"
_SERVED = "a cascade into an endpoint's LLM"
MINI_PAIRS = _pairs(
    ("mini-ultravox", "mini-ultravox", "mini-cascade", _ITS_CASCADE),
    ("mini-ultravox-weak", "mini-ultravox", "mini-cascade-weak", _WEAK),
    ("mini-ultravox-other", "mini-ultravox", "mini-cascade-qwen2", _OTHER),
    ("mini-qwen2-audio", "mini-qwen2-audio", "mini-cascade-qwen2", "its ancestor's cascade"),
    ("mini-qwen2-audio-self", "mini-qwen2-audio", "mini-cascade-self", _ITS_OWN),
    ("mini-qwen2-audio-other", "mini-qwen2-audio", "mini-cascade", _OTHER),
)
LAPTOP_PAIRS = _pairs(
    ("ultravox-smollm2", "ultravox-smollm2", "cascade-whisper-base", _ITS_CASCADE),
    ("ultravox-smollm2-weak", "ultravox-smollm2", "cascade-whisper-tiny", _WEAK),
    ("ultravox-smollm2-other", "ultravox-smollm2", "cascade-other", _AS_PUBLISHED),
    ("bridge-smollm2", "bridge-smollm2", "cascade-whisper-base", _ITS_CASCADE),
    ("bridge-smollm2-soft", "bridge-smollm2-soft", "cascade-whisper-base", _ITS_CASCADE),
    ("bridge-smollm2-hard", "bridge-smollm2-hard", "cascade-whisper-base", _ITS_CASCADE),
    ("bridge-smollm2-weak", "bridge-smollm2", "cascade-whisper-tiny", _WEAK),
    ("bridge-smollm2-other", "bridge-smollm2", "cascade-other", _AS_PUBLISHED),
)
PUBLISHED_PAIRS = _pairs(
    ("ultravox-v0.6-8b", "ultravox-v0.6-8b", "whisper-large-v3-llama-3.1-8b", _ITS_CASCADE),
    (
        *("ultravox-v0.6-8b-turbo", "ultravox-v0.6-8b", "whisper-large-v3-turbo-llama-3.1-8b"),
        "its own Whisper's cascade",
    ),
    ("ultravox-v0.6-8b-other", "ultravox-v0.6-8b", "whisper-large-v3-qwen2.5-7b", _OTHER),
    ("ultravox-v0.5-8b", "ultravox-v0.5-8b", "whisper-large-v3-llama-3.1-8b", _ITS_CASCADE),
    ("ultravox-v0.5-1b", "ultravox-v0.5-1b", "whisper-small-llama-3.2-1b", _ITS_CASCADE),
    ("qwen2-audio-7b-instruct", "qwen2-audio-7b-instruct", "whisper-large-v3-qwen2-7b", _PAPERS),
    (
        *("qwen2-audio-7b-instruct-self", "qwen2-audio-7b-instruct", "whisper-large-v3-qwen2-audio-self"),
        _ITS_OWN,
    ),
    ("qwen2-audio-7b-self", "qwen2-audio-7b", "whisper-large-v3-qwen2-audio-base-self", _ITS_OWN),
    ("phi-4-multimodal", "phi-4-multimodal", "whisper-large-v3-phi-4-mini", _PAPERS),
    ("phi-4-multimodal-adapters-off", "phi-4-multimodal", "whisper-large-v3-phi-4-adapters-off", _ITS_OWN),
    ("voxtral-mini-3b-2507", "voxtral-mini-3b-2507", "whisper-large-v3-voxtral-self", _ITS_OWN),
    ("gemini", "gemini", "whisper-large-v3-qwen2.5-7b", "the paper's strong cascade"),
    ("gemini-mini", "gemini", "mini-cascade", _SHIPPED),
    ("endpoint", "endpoint-audio", "whisper-large-v3-turbo-endpoint", _SERVED),
    ("endpoint-mini", "endpoint-audio", "mini-cascade", _SHIPPED),
    ("gemini-endpoint-mini", "gemini", "mini-cascade-endpoint", _SERVED),
    ("mini-ultravox-endpoint", "mini-ultravox", "mini-cascade-endpoint", _SERVED),
)
PAIRS: dict[str, Pair] = MINI_PAIRS | LAPTOP_PAIRS | PUBLISHED_PAIRS


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

"""Profiles: which systems a page or a run is about, where their weights lie, and what they may use.

`laptop` is the default: real models that a CPU runs, fetched at the first start. `mini` ships, `small` and `paper`
fetch large published weights, and a YAML file makes one of one's own. Reading a profile loads no model; `preparation`
says what each system lacks before anything is fetched. A process runs by one profile, `profile_in_use`; another
process is handed it and takes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from engine.errors import ModelFilesError, PlacementError, UnknownKeyError
from engine.evaluation import human_errors
from engine.systems.catalogue import (
    LAPTOP_PAIRS,
    LAPTOP_SYSTEMS,
    MINI_PAIRS,
    MINI_SYSTEMS,
    PAIRS,
    SYSTEMS,
    Pair,
    SystemSpec,
    get_pair,
    get_spec,
    ready_pairs,
    systems,
)
from engine.systems.weights import MODELS, missing_weights, size_gb, use_folders

# Whisper's codes, as faster-whisper lists them; "yue" came with large-v3.
_CODES = (
    "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl "  # codespell:ignore fo
    "gu ha haw he hi hr ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg "
    "mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq "
    "sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo zh yue"  # codespell:ignore te
)
LANGUAGES = frozenset(_CODES.split())


@dataclass(frozen=True)
class WhisperSettings:
    """How a clip is transcribed.

    Attributes:
        language: of the speech, one of LANGUAGES. Every task of `engine.tasks` and every corpus of the paper is in
            English, hence the default; a profile names another for recordings of one's own. It is never guessed: a
            wrong guess is an error that is no system's own.
        beam_size: hypotheses kept; 5 is the library's own, and 1 is greedy.
        drop_silence: cut stretches without speech first (voice activity detection); words keep their times.
        device, compute_type: as CTranslate2 names them; "default" keeps the published weights' precision, where
            "auto" would take 8-bit integers if they are faster.

    Raises:
        UnknownKeyError: Whisper knows no such language.
    """

    language: str = "en"
    beam_size: int = 5
    drop_silence: bool = False
    device: str = "auto"
    compute_type: str = "default"

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise UnknownKeyError(
                f'Whisper knows no language "{self.language[:20]}"; give one of its codes, such as en, de or zh.'
            )

    @property
    def words(self) -> str:
        """What of this changes a transcript, as a run keeps it."""
        silence = "dropped" if self.drop_silence else "kept"
        return f"language {self.language}, beam of {self.beam_size}, silence {silence}"


USUAL = WhisperSettings()

# The nine systems of arXiv 2602.17598, Table 1: the paper's id -> ours.
PAPER_SYSTEMS: Mapping[str, str] = {
    "cascade_s": "whisper-large-v3-qwen2.5-7b",
    "cascade_w": "whisper-small-qwen2.5-7b",
    "casc_qwen2": "whisper-large-v3-qwen2-7b",
    "casc_llama31": "whisper-large-v3-llama-3.1-8b",
    "casc_phi4mini": "whisper-large-v3-phi-4-mini",
    "qwen2_audio": "qwen2-audio-7b-instruct",
    "ultravox": "ultravox-v0.6-8b",
    "phi4_mm": "phi-4-multimodal",
    "gemini": "gemini",
}
DEFAULT_PROFILE = "laptop"
# The laptop's real test opens the page if it hears people well enough; else its positive control does.
_REAL_TEST, _POSITIVE_CONTROL = "ultravox-smollm2", "bridge-smollm2"
MOST_HUMAN_ERROR = 0.30


@dataclass(frozen=True)
class Profile:
    """What a page offers and a run works through; a YAML file's keys are these.

    Attributes:
        systems: keys, in order.
        pairs: keys of the pairs that the page offers first.
        device: of published models: "" takes a GPU where there is one, else the processor; or a name such as "cpu" or
            "cuda:1".
        dtype: of their weights; "" is bfloat16.
        memory_gib: that models may take on the device at a time, in GiB; None for what is free.
        folders: model folder -> where it lies, for weights that are here already.
        language, drop_silence: how published transcribers hear, see `WhisperSettings`.

    Raises:
        PlacementError: the memory is none.
        UnknownKeyError: Whisper knows no such language.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    key: str
    name: str
    systems: tuple[str, ...]
    pairs: tuple[str, ...]
    device: str = ""
    dtype: Literal["", "bfloat16", "float32"] = ""
    memory_gib: Annotated[float, Field(strict=True)] | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)
    language: str = "en"
    drop_silence: Annotated[bool, Field(strict=True)] = False

    def __post_init__(self) -> None:
        if self.memory_gib is not None and not 0 < self.memory_gib < math.inf:
            raise PlacementError(f"A memory of {self.memory_gib:g} GiB cannot be used; give more than 0.")
        _ = self.hearing

    @property
    def hearing(self) -> WhisperSettings:
        """How published transcribers are run."""
        return WhisperSettings(self.language, drop_silence=self.drop_silence)


# What a file's value must be, where it is of another type.
_MUST_BE = {
    "systems": "a list of keys",
    "pairs": "a list of keys",
    "dtype": "bfloat16 or float32",
    "memory_gib": "a number above 0",
    "folders": "a map from a model folder to its path",
    "language": 'a code such as en; put "no", which YAML reads as false, in quotes',
    "drop_silence": "true or false",
}

PROFILES: Mapping[str, Profile] = {
    profile.key: profile
    for profile in (
        Profile(
            "laptop",
            "real models that a CPU runs: SmolLM2 on Whisper base",
            tuple(LAPTOP_SYSTEMS),
            tuple(LAPTOP_PAIRS),
        ),
        Profile("mini", "the small models that ship", tuple(MINI_SYSTEMS), tuple(MINI_PAIRS)),
        Profile(
            "small",
            "Ultravox on Llama-3.2-1B beside its cascade",
            ("ultravox-v0.5-1b", "whisper-small-llama-3.2-1b", "llama-3.2-1b-instruct"),
            ("ultravox-v0.5-1b",),
        ),
        Profile(
            "paper",
            "the nine systems of arXiv 2602.17598",
            tuple(PAPER_SYSTEMS.values()),
            ("ultravox-v0.6-8b", "qwen2-audio-7b-instruct", "phi-4-multimodal", "gemini"),
        ),
    )
}


def read_profile(named: str) -> Profile:
    """Return a profile by its key, or the one that a YAML file holds.

    `systems` a file must have; `pairs` are by default those whose systems it names.

    Raises:
        UnknownKeyError: there is no such profile, or the file names a system, pair or language that does not exist.
        ModelFilesError: the file cannot be read, or holds what a profile does not have.
        PlacementError: its memory is none.
    """
    if named in PROFILES:
        return PROFILES[named]
    file = Path(named)
    if file.suffix not in (".yaml", ".yml"):
        raise UnknownKeyError(
            f'There is no profile "{named[:60]}". Choose {", ".join(PROFILES)}, or a YAML file of your own.'
        )
    try:
        written = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelFilesError(
            f"The profile {file.name} cannot be read; see docs/guide.md for an example."
        ) from error
    if not isinstance(written, dict):
        raise ModelFilesError(f"The profile {file.name} holds no keys; see docs/guide.md for an example.")
    named_there = {str(key): value for key, value in written.items() if value is not None}
    found = _validated(file, {"key": file.stem, "name": file.stem, "systems": (), "pairs": (), **named_there})
    if not found.systems:
        raise ModelFilesError(f"The profile {file.name} names no systems; list their keys under systems.")
    for key in found.systems:
        get_spec(key)
    for key in found.pairs:
        get_pair(key)
    pairs = found.pairs or tuple(p.key for p in PAIRS.values() if set(p.systems) <= set(found.systems))
    # As in other files of settings: a path is told from where the file lies.
    folders = {name: file.parent / place.expanduser() for name, place in found.folders.items()}
    return replace(found, pairs=pairs, folders=folders)


def _validated(file: Path, written: Mapping[str, Any]) -> Profile:
    try:
        return TypeAdapter(Profile).validate_python(written)
    except ValidationError as error:
        first = error.errors()[0]
    where = str(first["loc"][0])
    if where not in (known := [one.name for one in fields(Profile)]):
        raise ModelFilesError(
            f'The profile {file.name} holds "{where[:40]}"; it may hold {", ".join(sorted(known))}.'
        )
    raise ModelFilesError(f"The profile {file.name}: {where} must be {_MUST_BE.get(where, 'a word')}.")


_IN_USE: list[Profile] = [PROFILES["mini"]]


def use_profile(profile: Profile) -> None:
    """Take this profile for this process: the places of its weights, and what it may use.

    Raises:
        ModelFilesError: a folder that it names does not exist.
    """
    use_folders(profile.folders)
    # Another process may have another working folder.
    places = {name: place.absolute() for name, place in profile.folders.items()}
    _IN_USE[0] = replace(profile, folders=places) if places else profile


def profile_in_use() -> Profile:
    """Return the profile of this process; `mini` until another is taken. Another process can `use_profile` it."""
    return _IN_USE[0]


def offered_pairs(models: Path = MODELS) -> dict[str, Pair]:
    """Return the pairs that a page offers: what can run here, the profile's first, and of them the default."""
    ready = ready_pairs(models)
    order = dict.fromkeys((*wanted_pairs(models), *ready))
    return {key: ready[key] for key in order if key in ready}


def wanted_pairs(models: Path = MODELS) -> tuple[str, ...]:
    """Return the profile's pairs, the one that its page opens on first, whether they can run yet or not."""
    wanted = profile_in_use().pairs
    if wanted == PROFILES[DEFAULT_PROFILE].pairs and not _hears_people(_REAL_TEST, models):
        return (_POSITIVE_CONTROL, *wanted)
    return wanted


def _hears_people(key: str, models: Path) -> bool:
    """Say whether a system was found to mishear people's words seldom enough, as the mean of all corpora."""
    with suppress(ModelFilesError):  # a damaged table is told where its figures would stand
        mean = [row.value for row in human_errors(key, models) if row.is_mean]
        return bool(mean) and mean[0] <= MOST_HUMAN_ERROR
    return False


@dataclass(frozen=True)
class Preparation:
    """What a profile's systems still need.

    Attributes:
        folders: model folders to be fetched, each once, in order.
        gb: their size, in 10^9 bytes.
        n_ready: systems that can run.
        lines: one sentence a system, its state and the remedy.
    """

    folders: tuple[str, ...]
    gb: float
    n_ready: int
    lines: tuple[str, ...]


def preparation(
    profile: Profile, failures: Mapping[str, str] | None = None, models: Path = MODELS
) -> Preparation:
    """Return what must be fetched or set before the profile's systems can run; fetches nothing.

    Args:
        profile: whose systems.
        failures: model folder -> why it could not be fetched, for the sentences.
        models: folder of the models.
    """
    state = {info.key: info for info in systems(models)}
    names = [folder for key in profile.systems for folder in SYSTEMS[key].folders]
    lines = tuple(_line(SYSTEMS[key], state[key].reason, failures or {}) for key in profile.systems)
    folders = missing_weights(names, models)
    n_ready = sum(not state[key].reason for key in profile.systems)
    return Preparation(folders, size_gb(folders), n_ready, lines)


def _line(spec: SystemSpec, reason: str, failures: Mapping[str, str]) -> str:
    if not reason:
        return f"{spec.name} is ready."
    failed = next((failures[folder] for folder in spec.folders if folder in failures), "")
    return f"{spec.name} cannot run yet: {failed or reason + '.'}"

"""Loading systems by key, each once: which models are in memory, where each goes, and in which precision.

Adapters and model libraries are imported only here and only when a system is first asked for; systems with one
backbone or one transcriber share its weights. The minis, and what is fetched file by file, run on the CPU in float32,
always: their erasers and shipped answers were made so. Any other published model runs in bfloat16, on a GPU where
there is one, unless the profile says otherwise. torch is imported when a model is placed, not before.
"""

from __future__ import annotations

import gc
import math
import os
import sys
import threading
import traceback
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from engine.errors import ModelFilesError, PlacementError, ServiceError, UnknownKeyError, is_out_of_memory
from engine.systems.catalogue import (
    FASTER_WHISPERS,
    GEMINI_KEYS,
    GEMINI_URL,
    HUBERT_CENTRES,
    SYSTEMS,
    SystemSpec,
    backbone_of,
    get_spec,
    get_unit_model,
    unset_variables,
)
from engine.systems.profiles import WhisperSettings, profile_in_use
from engine.systems.remote import (
    Caller,
    Endpoint,
    Gemini,
    GeminiSettings,
    endpoint_from,
    retry_policy_here,
    secret_from,
)
from engine.systems.weights import CHECKPOINTS, MODELS, PINNED, STANDS_ON, folder_of

if TYPE_CHECKING:
    import torch

    from engine.systems.base import BehaviourModel, SpeechLLM, Transcribes
    from engine.systems.cascade import Cascade, ServedCascade
    from engine.systems.text_llm import TextLLM
    from engine.systems.unit_lm import Interleaved
    from engine.systems.whisper import WhisperDecoding


@dataclass(frozen=True)
class Placement:
    """Where one model goes."""

    device: torch.device
    dtype: torch.dtype


def placement_of(folder: str) -> Placement:
    """Return where the model in this folder of the catalogue goes.

    Raises:
        PlacementError: the device that the settings name is not on this machine.
    """
    import torch

    if folder not in CHECKPOINTS or folder in PINNED:
        return Placement(torch.device("cpu"), torch.float32)
    settings = profile_in_use()
    dtype = torch.float32 if settings.dtype == "float32" else torch.bfloat16
    return Placement(_device(settings.device), dtype)


def _device(name: str) -> torch.device:
    import torch

    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise PlacementError(
            f'There is no device "{name[:40]}"; choose cpu or cuda, or leave it out.'
        ) from error
    module: Any = getattr(torch, device.type, None)
    n_devices = 1 if device.type == "cpu" else module.device_count() if module else 0
    if (device.index or 0) >= n_devices:
        raise PlacementError(f"There is no {name[:40]} on this machine; choose cpu, or leave it out.")
    return device


GIB = 2**30
RESERVE_BYTES = 2 * GIB  # left free on a GPU: states, caches and logits of a run, and the driver's own needs
REMEDY = "choose a smaller model, close other programs, or set --memory-gib"

T = TypeVar("T")


@dataclass
class _Part:
    """What is loaded under one key, and for how many runs it must stay."""

    value: Any
    name: str
    n_bytes: int
    needs: tuple[Hashable, ...]
    leases: int = 0


class ModelCache:
    """The parts that are loaded, least recently used first.

    Attributes:
        total_bytes: given what all parts take, how many bytes they may take; infinite where nothing limits them.
    """

    def __init__(self, total_bytes: Callable[[int], float]) -> None:
        self.total_bytes = total_bytes
        self._parts: dict[Hashable, _Part] = {}
        self._lock = threading.RLock()
        self._mine = threading.local()

    @property
    def loaded(self) -> tuple[Hashable, ...]:
        """Keys of what is loaded, least recently used first."""
        with self._lock:
            return tuple(self._parts)

    @property
    def held_bytes(self) -> int:
        """Estimated size of what is loaded."""
        return sum(part.n_bytes for part in self._parts.values())

    def get(
        self,
        key: Hashable,
        load: Callable[[], T],
        *,
        name: str = "",
        size: Callable[[], int] = lambda: 0,
        needs: Sequence[Hashable] = (),
    ) -> T:
        """Return the part with this key, loaded at first use.

        Args:
            key: one for each part.
            load: called where it is not in memory.
            name: of the system, for errors.
            size: tells how many bytes it will take, before it is loaded; not called where it is.
            needs: keys of parts that it holds on to; they must be loaded.

        Raises:
            PlacementError: it does not fit.
        """
        with self._lock:
            if key not in self._parts:
                free_memory()
                n_bytes = size()
                self._make_room(n_bytes, name, set(needs))
                self._parts[key] = _Part(load(), name, n_bytes, tuple(needs))
            part = self._parts[key]
            for used in (*part.needs, key):
                self._parts[used] = self._parts.pop(used)
                self._lease(used)
            found: T = part.value
            return found

    @property
    def is_leased(self) -> bool:
        """Whether this thread is inside a lease."""
        return getattr(self._mine, "keys", None) is not None

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Keep what this thread asks for inside the block loaded until the outermost such block ends."""
        if self.is_leased:
            yield
            return
        mine: set[str] = set()
        self._mine.keys = mine
        try:
            yield
        finally:
            self._mine.keys = None
            with self._lock:
                for key in mine:
                    self._parts[key].leases -= 1

    def drop_unused(self) -> None:
        """Unload everything that nobody uses now."""
        with self._lock:
            for key in [key for key in self._parts if self._is_free(key, set())]:
                self._drop(key)
            free_memory()

    def _lease(self, key: Hashable) -> None:
        mine: set[Hashable] | None = getattr(self._mine, "keys", None)
        if mine is not None and key not in mine:
            mine.add(key)
            self._parts[key].leases += 1

    def _make_room(self, n_bytes: int, name: str, keep: set[Hashable]) -> None:
        total = self.total_bytes(self.held_bytes)
        wanted = f"{name} needs about {n_bytes / GIB:.1f} GiB"
        if n_bytes > total:
            raise PlacementError(f"{wanted} and {max(0.0, total) / GIB:.1f} GiB may be used: {REMEDY}.")
        while self.held_bytes + n_bytes > self.total_bytes(self.held_bytes):
            oldest = next((key for key in self._parts if self._is_free(key, keep)), None)
            if oldest is None:
                others = ", ".join(dict.fromkeys(part.name for part in self._parts.values()))
                raise PlacementError(f"{wanted} beside what is in use ({others}): {REMEDY}.")
            self._drop(oldest)
            free_memory()

    def _is_free(self, key: Hashable, keep: set[Hashable]) -> bool:
        """Whether a part may go: nobody uses it, nor anything that holds on to it."""
        holders = (other for other, part in self._parts.items() if key in part.needs)
        return (
            key not in keep
            and not self._parts[key].leases
            and all(self._is_free(other, keep) for other in holders)
        )

    def _drop(self, key: Hashable) -> None:
        """Forget a part and all that hold on to it."""
        for other in [other for other, part in self._parts.items() if key in part.needs]:
            self._drop(other)
        self._parts.pop(key, None)


def free_memory() -> None:
    """Give back what nobody refers to any more; modules refer to themselves, so that counting does not do."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def total_bytes(held_bytes: int) -> float:
    """Return what the parts may take together: what the settings say, else what the GPU has for them.

    Without a GPU nothing is limited unless it is set: the system lends memory as it sees fit.
    """
    settings = profile_in_use()
    if settings.memory_gib is not None:
        return settings.memory_gib * GIB
    torch = sys.modules.get("torch")
    if torch is None or settings.device == "cpu" or not torch.cuda.is_available():
        return math.inf
    free, _ = torch.cuda.mem_get_info(torch.device(settings.device or "cuda"))
    return held_bytes + free - RESERVE_BYTES


@contextmanager
def using(given: ModelCache | None = None) -> Iterator[None]:
    """Run models inside the block: none of them is unloaded, and a lack of memory becomes one sentence.

    Where memory ran out, everything that nobody uses is unloaded, so that the next run finds room.

    Raises:
        PlacementError: memory ran out.
    """
    models = LOADED if given is None else given
    if models.is_leased:
        yield  # the outermost block frees what there is
        return
    try:
        with models.lease():
            yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        # The calls that failed hold tensors for as long as the error is looked at.
        traceback.clear_frames(error.__traceback__)
    else:
        return
    models.drop_unused()
    raise PlacementError(
        f"The memory did not suffice for this run: {REMEDY}, or take a shorter clip."
    ) from None


LOADED = ModelCache(total_bytes)

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
    backbone, needs = _text_llm(text, models), [(_TEXT, text, models)]
    if spec.family == "bridge":
        _whisper(spec.audio_base, models)  # those of other temperatures share it
        needs.append((_EARS, spec.audio_base, models))
    return LOADED.get(
        (_SPEECH, key, models),
        lambda: _new_speech_llm(spec, backbone, models),
        name=spec.name,
        size=lambda: _ears_bytes(spec, models),
        needs=needs,
    )


@LOADED.lease()
def load_cascade(key: str, models: Path = MODELS) -> Cascade:
    """Return the cascade with this key, loaded at first use; errors as `load_speech_llm`."""
    from engine.systems.cascade import Cascade

    spec = get_spec(key)
    assert spec.transcriber is not None
    text, hearing = backbone_of(spec, models), profile_in_use().hearing
    backbone, ears = _text_llm(text, models), load_transcriber(spec.transcriber, models, hearing)
    needs = [(_TEXT, text, models), (_EARS, spec.transcriber, models, hearing)]
    key_of = (_CASCADE, key, models, hearing)
    return LOADED.get(key_of, lambda: Cascade(spec, ears, backbone), name=spec.name, needs=needs)


def load_transcriber(
    folder: str, models: Path = MODELS, hearing: WhisperSettings | None = None
) -> Transcribes:
    """Return the transcriber in this folder, loaded at first use; errors as `load_speech_llm`.

    Args:
        folder: its name in the catalogue.
        models: folder of the models.
        hearing: how it is run if it is a published one; None for what the profile says.
    """
    from engine.systems.cascade import PublishedTranscriber, Transcriber

    place = folder_of(folder, models)
    hearing = hearing or profile_in_use().hearing

    def load() -> Transcribes:
        if folder not in FASTER_WHISPERS:
            return Transcriber(place, max_tokens=_TRANSCRIBER_TOKENS)
        device = profile_in_use().device.partition(":")[0]
        return PublishedTranscriber(place, replace(hearing, device=device or "auto"))

    return LOADED.get(
        (_EARS, folder, models, hearing),
        load,
        name=folder,
        size=lambda: sum(file.stat().st_size for file in place.glob("model.bin")),
    )


def load_text_llm(key: str, models: Path = MODELS) -> TextLLM:
    """Return the text LLM with this key, loaded at first use; errors as `load_speech_llm`."""
    return _text_llm(get_spec(key).backbone, models)


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


def _whisper(folder: str, models: Path) -> WhisperDecoding:
    def load() -> WhisperDecoding:
        from engine.systems.whisper import WhisperDecoding

        placement = placement_of(folder)
        return WhisperDecoding(folder_of(folder, models), dtype=placement.dtype, device=placement.device)

    return LOADED.get((_EARS, folder, models), load, name=folder, size=lambda: _tensor_bytes(folder, models))


def _tensor_bytes(folder: str, models: Path, *, inline: bool | None = None, below: str = "") -> int:
    """Return what a folder's tensors take.

    Args:
        folder: its name in the catalogue.
        models: folder of the models.
        inline: those of the language model that a speech LLM holds, or all but those; None for all.
        below: a folder below it.
    """
    from engine.systems.checkpoint import INLINE_PREFIX, tensor_bytes

    def wanted(name: str) -> bool:
        return inline is None or name.startswith(INLINE_PREFIX) == inline

    return tensor_bytes(folder_of(folder, models) / below, placement_of(folder).dtype.itemsize, wanted)


def _text_bytes(folder: str, models: Path) -> int:
    """Return what a folder's language model takes: all of it, or what a speech LLM holds under its prefix."""
    return _tensor_bytes(folder, models, inline=True) or _tensor_bytes(folder, models)


def _ears_bytes(spec: SystemSpec, models: Path) -> int:
    """Return what a speech LLM takes beside its language model."""
    if spec.folder is None:
        return 0
    if spec.family == "phi4_multimodal":
        from engine.systems.phi4_multimodal import ADAPTERS

        return _tensor_bytes(spec.folder, models, below=ADAPTERS)
    return _tensor_bytes(spec.folder, models, inline=False)


def _new_speech_llm(spec: SystemSpec, backbone: TextLLM, models: Path) -> SpeechLLM:
    if spec.family == "bridge":
        from engine.systems.bridge import Bridge
        from engine.systems.checkpoint import fingerprint

        ears_name = fingerprint([folder_of(spec.audio_base, models)])
        return Bridge(spec, _whisper(spec.audio_base, models), ears_name, backbone)
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
    if spec.family == "ultravox":
        from engine.systems.ultravox import Bases, Ultravox

        if not spec.audio_base:
            return Ultravox(spec, folder, backbone)
        bases = Bases(folder_of(spec.backbone, models), folder_of(spec.audio_base, models))
        return Ultravox(spec, folder, backbone, bases)
    raise ModelFilesError(f"No adapter loads the family {spec.family}; add it in engine/systems/loading.py.")


def load_behaviour(key: str) -> BehaviourModel:
    """Return the service with this key, made at first use from what the environment says; nothing is sent.

    Raises:
        UnknownKeyError: there is no such system, or it runs here.
        ServiceError: the environment lacks something, or holds what cannot be used.
    """
    with _LOADING:
        return _service(key)


def load_served_cascade(key: str, models: Path = MODELS) -> ServedCascade:
    """Return a transcriber here with the service that reads for it; errors as both loaders."""
    from engine.systems.cascade import ServedCascade

    spec = get_spec(key)
    assert spec.transcriber is not None
    reader = load_behaviour(key)
    return ServedCascade(load_transcriber(spec.transcriber, models), reader)


@cache
def _service(key: str) -> BehaviourModel:
    spec = get_spec(key)
    if not spec.is_remote:
        raise UnknownKeyError(f"{spec.name} runs here; it is no service.")
    if unset := unset_variables(spec):
        raise ServiceError(f"{spec.name} cannot be asked: {unset}.")
    if spec.service == "gemini":
        asked = GeminiSettings(
            os.environ[f"{spec.variables}_MODEL"].strip(),
            os.environ.get(GEMINI_URL, "").strip() or None,
            retry=retry_policy_here(),
        )
        return Gemini(spec, asked, secret_from(GEMINI_KEYS, "Gemini"), _caller("Gemini"))
    settings, key_of = endpoint_from(spec.variables)
    name = "The endpoint for sound" if spec.kind == "speech_llm" else "The endpoint for text"
    return Endpoint(spec, replace(settings, retry=retry_policy_here()), key_of, _caller(name))


@cache
def _caller(name: str) -> Caller:
    """Return the one caller of a service: a cascade and an oracle on one endpoint share its rate."""
    return Caller(name, retry_policy_here())


def load_unit_model(key: str, models: Path = MODELS) -> Interleaved:
    """Return the speech-text model with this key, loaded at first use.

    Raises:
        UnknownKeyError: there is no such model.
        ModelFilesError: its weights, or those of its unit encoder, are missing or damaged.
    """
    with _LOADING:
        return _unit_model(key, models)


def load_unit_checkpoint(folder: Path, models: Path = MODELS) -> Interleaved:
    """Return one of our own checkpoints from any folder, such as a control or a snapshot; its name is the folder's.

    Args:
        folder: in the mini's layout.
        models: where the text model and the unit encoder lie that its config names.

    Raises:
        ModelFilesError: something is missing or damaged.
    """
    from engine.systems.unit_lm import Interleaved, mini_parts

    spec = replace(get_unit_model("mini-interleaved"), name=f"{folder.parent.name}/{folder.name}")
    return Interleaved(spec, folder, mini_parts(folder, models))


@cache
def _unit_model(key: str, models: Path) -> Interleaved:
    from engine.systems.unit_lm import Interleaved, mini_parts, published_parts

    spec = get_unit_model(key)
    folder = folder_of(key, models)
    if spec.audio_base not in CHECKPOINTS:
        return Interleaved(spec, folder, mini_parts(folder, models))
    hubert = folder_of(spec.audio_base, models)
    parts = published_parts(folder_of(spec.backbone, models), hubert, hubert / HUBERT_CENTRES)
    return Interleaved(spec, folder, parts)

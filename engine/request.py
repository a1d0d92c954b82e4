"""What a run is asked to do, checked before anything is computed: readouts, erasures, noise and the question.

What can be erased and read is told by files' headers, so that the page needs neither torch nor a model for it.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from engine.audio import AudioClip
from engine.errors import ErasureError, LensError, NoiseError, PromptError, UnknownKeyError
from engine.noise import OWN, ROOM, Noisy, add_noise
from engine.systems.catalogue import (
    MINI_SYSTEMS,
    get_pair,
    get_spec,
    require_states,
)
from engine.systems.weights import MODELS, weights_home
from engine.tasks import Task, get_task, instruction_for, labels_for
from engine.words import SpokenWord

LOGIT, TUNED, DIFFERENCE = READOUTS = ("logit", "tuned", "difference")
NO_DIFFERENCE = (
    "The difference of two conditions needs a second one: switch an erasure or noise on, or choose the logit "
    "lens."
)
TUNED_LENS = "tuned_lens.safetensors"


def tuned_lens_file(key: str, models: Path = MODELS) -> Path:
    """Return where a system's tuned lens lies."""
    return models / key / TUNED_LENS


def why_no_tuned_lens(key: str, models: Path = MODELS) -> str:
    """Return why a system cannot be read by a tuned lens, as a sentence; "" where it can."""
    if tuned_lens_file(key, models).is_file():
        return ""
    return f"No tuned lens was fitted for {get_spec(key).name}; choose the logit lens."


def tuned_lens_note(key: str, models: Path = MODELS) -> str:
    """Return how near a system's tuned lens comes to its output on held-out clips, as sentences; "" without scores."""
    file = tuned_lens_file(key, models).with_suffix(".csv")
    if not file.is_file():
        return ""
    with file.open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["kind"] == "audio"]
    before, after = ([float(row[f"kl_{when}"]) for row in rows] for when in ("before", "after"))
    control = float(rows[0]["kl_control"])
    blind = [int(row["layer"]) for row, nats in zip(rows, after, strict=True) if nats >= control]
    said = (
        f"On {int(rows[0]['n_positions']):,} audio positions of held-out clips the tuned lens is {min(after):.1f} to "
        f"{max(after):.1f} nats off the model's output, the logit lens {min(before):.1f} to {max(before):.1f}, and "
        f"what is said without any state {control:.1f}."
    )
    return said + (f" So layers {layer_words(blind)} say nothing of the output here." if blind else "")


def why_no_readout(readout: str, pair: str, has_two_conditions: bool) -> str:
    """Return why a pair's states cannot be read so, as a sentence; "" where they can.

    Args:
        readout: one of READOUTS.
        pair: whose speech LLM.
        has_two_conditions: whether the run has an erasure that acts, or noise.
    """
    if readout == TUNED:
        return why_no_tuned_lens(get_pair(pair).speech_llm)
    return NO_DIFFERENCE if readout == DIFFERENCE and not has_two_conditions else ""


Method = Literal["linear", "affine"]
SCOPES = ("audio", "prompt", "all")
METHODS = ("linear", "affine")
FORMAT = "cascade-lens-eraser-2"


@dataclass(frozen=True)
class ConditionInfo:
    """What one condition erases, in words for the page."""

    key: str
    name: str
    what: str


CONDITIONS: dict[str, ConditionInfo] = {
    info.key: info
    for info in (
        ConditionInfo("text", "Text", "which word the clip begins with: the paper's proxy for its text"),
        ConditionInfo("ctc", "CTC", "the character a CTC head hears at the position"),
        ConditionInfo("boc", "Bag of characters", "which letters the word being spoken has"),
        ConditionInfo("acoustic", "Acoustic", "pitch and energy"),
    )
}


def preset_layers(n_layers: int) -> tuple[int, ...]:
    """Return nine layers spread over 0 to n_layers, both ends included: the paper's nine on another depth."""
    return tuple(sorted({round(index * n_layers / 8) for index in range(9)}))


def layer_words(layers: Sequence[int]) -> str:
    """Return rising layers in words: "0 to 30" without gaps, else all of them, "0, 4, 8"."""
    whole = list(layers) == list(range(layers[0], layers[-1] + 1))
    return f"{layers[0]} to {layers[-1]}" if whole else ", ".join(map(str, layers))


def erasers_folder(system: str, models: Path = MODELS) -> Path:
    """Return where a speech LLM's erasers lie: beside its weights, or for fetched ones beside those of the others."""
    beside = models / system / "erasers"
    return beside if system in MINI_SYSTEMS or beside.exists() else weights_home() / "erasers" / system


def eraser_file(pair: str, condition: str, models: Path = MODELS) -> Path:
    """Return where a pair's eraser lies."""
    return erasers_folder(get_pair(pair).speech_llm, models) / f"{condition}.safetensors"


def available_conditions(pair: str, models: Path = MODELS) -> dict[str, int]:
    """Return condition -> greatest kept rank over layers, for those that are fitted; reads headers only.

    Raises:
        ErasureError: a file is damaged or of another version.
    """
    return {
        condition: max(int(rank) for rank in record["kept_rank"].values())
        for condition, record in _records(pair, models).items()
    }


def fitted_layers(pair: str, models: Path = MODELS) -> tuple[int, ...]:
    """Return the layers for which all of a pair's erasers are fitted, rising; () where none is; headers only.

    Raises:
        ErasureError: a file is damaged or of another version.
    """
    layers = [{int(layer) for layer in record["layers"]} for record in _records(pair, models).values()]
    return tuple(sorted(set.intersection(*layers))) if layers else ()


def _records(pair: str, models: Path) -> dict[str, dict[str, Any]]:
    files = {condition: eraser_file(pair, condition, models) for condition in CONDITIONS}
    return {key: json.loads(eraser_metadata(file)["record"]) for key, file in files.items() if file.exists()}


def eraser_metadata(file: Path) -> dict[str, str]:
    """Return the header's texts; raises ErasureError for a file that breaks off or has another format."""
    try:
        with safe_open(file, framework="numpy") as stored:
            metadata: dict[str, str] = stored.metadata() or {}
    except SafetensorError as error:
        raise ErasureError(
            f'The eraser "{file.stem}" is damaged; run "python -m precompute erasers".'
        ) from error
    if metadata.get("format") != FORMAT:
        raise ErasureError(f"{file.name} is not an eraser of this version; fit it again.")
    return metadata


MAX_REFERENCE_CHARACTERS = 500
ERASURES = tuple(CONDITIONS)


@dataclass(frozen=True)
class RunRequest:
    """Everything a run depends on.

    Attributes:
        clip: as decoded, before noise.
        task, pair: keys.
        noise: "babble", "white", "own", "room" or None; without `snr_db` the clip stays clean, but for a room.
        noise_clip: the noise for "own".
        erasures: condition keys; each runs beside its random control.
        scope: positions that are edited: "audio", "prompt" or "all" (generated ones too).
        layers: edited layers; None is the nine of the preset.
        method: "linear" (the paper's setting) or "affine".
        strength: of the erasures and their controls: 0 leaves the states as they are, 1 erases fully.
        seed: of the noise and of the random control.
        prompt: choices of a commonsense question, or the free prompt.
        reference: what was really said, if known.
        reference_words: times of the reference's words, where they are known exactly.
        gold: the right answer, if known; aliases count as well.
        transcript_override: given to the cascade instead of what it heard.
        readout: how the states are read beside the logit lens: "logit" (nothing else), "tuned", or "difference":
            of the plain run and the first erasure, else of the clean clip and the noisy one.
    """

    clip: AudioClip
    task: str
    pair: str = "mini-ultravox"
    noise: str | None = None
    snr_db: float | None = None
    noise_clip: AudioClip | None = None
    erasures: tuple[str, ...] = ()
    scope: str = "audio"
    layers: tuple[int, ...] | None = None
    method: str = "linear"
    strength: float = 1.0
    seed: int = 0
    prompt: str = ""
    reference: str | None = None
    reference_words: tuple[SpokenWord, ...] = ()
    gold: str | None = None
    aliases: tuple[str, ...] = ()
    transcript_override: str | None = None
    readout: str = LOGIT


@dataclass(frozen=True)
class Question:
    """A task as asked of one clip: the words of the question and the answers it allows."""

    task: Task
    instruction: str
    labels: tuple[str, ...]


def check_request(request: RunRequest) -> Question:
    """Return the question, or say in one sentence what is wrong with the request.

    Raises:
        UnknownKeyError: a key does not exist here.
        PromptError: prompt, choices, reference or transcript cannot be used.
        NoiseError: own noise without a noise file.
        ErasureError: the strength is no number from 0 to 1.
        LensError: a tuned lens that was not fitted, or a difference without a second condition.
        ServiceError: an erasure or a readout for a speech LLM whose states stay with a service.
    """
    task = get_task(request.task)
    get_pair(request.pair)
    for what, value, allowed in (
        ("scope", request.scope, SCOPES),
        ("method", request.method, METHODS),
        ("readout", request.readout, READOUTS),
        *(("erasure", erasure, ERASURES) for erasure in request.erasures),
    ):
        if value not in allowed:
            raise UnknownKeyError(f'There is no {what} "{value[:40]}". Choose one of: {", ".join(allowed)}.')
    for what, text in (("reference", request.reference), ("transcript", request.transcript_override)):
        if text and len(text) > MAX_REFERENCE_CHARACTERS:
            raise PromptError(
                f"The {what} has {len(text):,} characters; the limit is {MAX_REFERENCE_CHARACTERS}. Shorten it."
            )
    if request.erasures:
        require_states(get_spec(get_pair(request.pair).speech_llm), "erasure")
    if request.readout != LOGIT:
        require_states(get_spec(get_pair(request.pair).speech_llm), "lens")
        reason = why_no_readout(request.readout, request.pair, has_second_condition(request))
        if reason:
            raise LensError(reason)
    if request.layers is not None and not request.layers:
        raise UnknownKeyError("No layer is chosen; choose at least one layer to erase at.")
    if not 0 <= request.strength <= 1:
        raise ErasureError("The strength of an erasure must be a number from 0 to 1.")
    if request.noise == OWN and request.snr_db is not None and request.noise_clip is None:
        raise NoiseError("Own noise needs a noise file; upload one, or choose babble or white noise.")
    return Question(task, instruction_for(task, request.prompt), labels_for(task, request.prompt))


def has_second_condition(request: RunRequest) -> bool:
    """Say whether the run has two conditions that can be told apart: an erasure that acts, or noise."""
    return bool(request.erasures and request.strength) or is_noisy(request)


def is_noisy(request: RunRequest) -> bool:
    """Say whether the models hear another sound than the clip."""
    return request.noise == ROOM or (request.noise is not None and request.snr_db is not None)


def noisy_clip(request: RunRequest) -> Noisy | None:
    """Return the request's clip with its noise in it; None where it stays clean."""
    if request.noise is None or not is_noisy(request):
        return None
    snr_db = math.nan if request.noise == ROOM or request.snr_db is None else request.snr_db
    return add_noise(request.clip, request.noise, snr_db, request.seed, request.noise_clip)


def clip_as_heard(request: RunRequest) -> AudioClip:
    """Return the request's clip with its noise, as the models hear it."""
    noisy = noisy_clip(request)
    return noisy.clip if noisy else request.clip

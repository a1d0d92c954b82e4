"""What a run is asked to do, checked before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass

from engine.audio import AudioClip
from engine.conditions import CONDITIONS, METHODS, SCOPES
from engine.errors import ErasureError, LensError, NoiseError, PromptError, UnknownKeyError
from engine.noise import OWN, ROOM
from engine.readouts import LOGIT, READOUTS, why_no_readout
from engine.result import SpokenWord
from engine.systems.catalogue import get_pair, get_spec, require_states
from engine.tasks import Task, get_task, instruction_for, labels_for

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

"""Did it hear? One clip and one question, asked again with silence, with another clip and without any sound.

A speech LLM that answers from the question alone gives the same answer whatever is played. The dashboard
calls `did_it_hear`; it looks at one clip (n = 1), so its numbers have no interval and speak of that clip only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from engine.answering import answer_arms
from engine.audio import AudioClip, load_clip
from engine.errors import ClipError
from engine.examples import EXAMPLES
from engine.precision import LOGIT_TOLERANCE
from engine.request import Question, RunRequest, check_request
from engine.result import Answer
from engine.run import clip_as_heard
from engine.spelling import normalise
from engine.systems.base import Heard, WhiteBoxSystem
from engine.systems.catalogue import get_pair, get_spec, require_states
from engine.systems.loading import load_speech_llm, using

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class HearingControl:
    """What one control changed against the clip itself.

    Attributes:
        name, given: the control, and what was given in the clip's place, in words.
        same_length: it fills as many positions as the clip, so a deaf model cannot tell the two apart.
        answer: the answer under the control.
        answer_changed: whether it is worded differently, case and punctuation aside.
        total_variation: between the two forced-choice distributions, 0 to 1; NaN for open tasks, which have none.
        logit_change: largest absolute difference of a first-token logit.
        divergence_nats: KL divergence of the first token's distribution, clip from control, in nats.
    """

    name: str
    given: str
    same_length: bool
    answer: Answer
    answer_changed: bool
    total_variation: float
    logit_change: float
    divergence_nats: float

    @property
    def changed(self) -> bool:
        """Whether answer or logits differ by more than rounding; NaN counts as no change."""
        return self.answer_changed or self.logit_change > LOGIT_TOLERANCE


@dataclass(frozen=True)
class Hearing:
    """The clip's own answer beside its controls.

    Attributes:
        clip_name, instruction: what was asked of what.
        answer: with the clip.
        controls: silence, another clip, text only.
        tolerance: of a logit; less is rounding.
        heard: whether a control of the clip's own length changed answer or logits.
        verdict: the same as a sentence, with what follows from it.
    """

    clip_name: str
    instruction: str
    answer: Answer
    controls: tuple[HearingControl, ...]
    tolerance: float
    heard: bool
    verdict: str


@using()
def did_it_hear(request: RunRequest, progress: Progress | None = None) -> Hearing:
    """Ask a request's question about its clip and under each control; nothing is erased.

    The other clip is a shipped example with other words, drawn by the request's seed. It and the silence are as
    long as the clip: they fill as many positions of the prompt, so whatever they change was heard; of a system whose
    positions are as long as words, what it made of them is repeated or cut to as many. Text only leaves
    the clip's place empty (not filled with a transcript: that would be a cascade). It shortens the
    prompt, which alone moves the logits of any model, deaf or not; it is shown and does not count.

    Args:
        request: clip, noise, task and pair; erasures are ignored.
        progress: called with a share of 1 and what is being done.

    Raises:
        EngineError: something in the request cannot be used, the speech LLM is behind a service, or no example
            clip ships here.
    """
    report = progress or (lambda share, what: None)
    question = check_request(replace(request, erasures=()))
    require_states(get_spec(get_pair(request.pair).speech_llm), "hearing")
    clip = clip_as_heard(request)
    other = _other_clip(request, clip)
    report(0.1, "loading the models")
    system = load_speech_llm(get_pair(request.pair).speech_llm)
    report(0.3, "the clip, silence and another clip")
    sounds = [clip, _silence(clip), other]
    return _judge(clip, other.name, question, *_ask(system, question, sounds))


def _ask(
    system: WhiteBoxSystem, question: Question, sounds: Sequence[AudioClip]
) -> tuple[list[Answer], list[Float[Tensor, "vocab"]]]:  # noqa: F821 - jaxtyping axis name
    """Return answer and first-token logits for each sound, and for the question alone."""
    heard = [system.hear(sound) for sound in sounds]
    heard = [heard[0], *(_with_positions_of(heard[0], one) for one in heard[1:])]
    nothing: Heard = replace(heard[0], embeddings=heard[0].embeddings[:0], position_ends_s=None)
    answers, logits = [], []
    for one in (*heard, nothing):
        passed, found, _ = answer_arms(system, system.prepare(one, question.instruction), question)
        answers.append(found[0])
        logits.append(passed.prompt_logits[0])
    return answers, logits


def _with_positions_of(clip: Heard, other: Heard) -> Heard:
    """Return what was heard of another sound in as many positions as the clip has, repeated or cut."""
    n_positions = len(clip.embeddings)
    if len(other.embeddings) == n_positions:
        return other
    repeats = -(-n_positions // len(other.embeddings))
    return replace(
        other,
        embeddings=other.embeddings.repeat(repeats, 1)[:n_positions],
        position_ends_s=clip.position_ends_s,
    )


def _judge(
    clip: AudioClip, other_name: str, question: Question, answers: Sequence[Answer], logits: Sequence[Tensor]
) -> Hearing:
    seconds = f"{clip.duration_s:.2f} s"
    given = (
        ("silence", f"{seconds} of silence", True),
        ("another clip", f"{other_name}, cut or filled with silence to {seconds}", True),
        ("text only", "the question alone, the clip's place left empty", False),
    )
    controls = tuple(
        HearingControl(
            name=name,
            given=words,
            same_length=same_length,
            answer=answers[row],
            answer_changed=normalise(answers[row].text) != normalise(answers[0].text),
            total_variation=total_variation(answers[0].forced_choice, answers[row].forced_choice),
            logit_change=float((logits[row] - logits[0]).abs().max()),
            divergence_nats=divergence_nats(logits[0], logits[row]),
        )
        for row, (name, words, same_length) in enumerate(given, start=1)
    )
    heard = any(control.changed for control in controls if control.same_length)
    return Hearing(
        clip_name=clip.name,
        instruction=question.instruction,
        answer=answers[0],
        controls=controls,
        tolerance=LOGIT_TOLERANCE,
        heard=heard,
        verdict=_verdict(controls, heard),
    )


def total_variation(one: dict[str, float], other: dict[str, float]) -> float:
    """Return half the summed absolute difference of two distributions over the same labels, 0 to 1.

    NaN without labels: an open task has no forced choice.
    """
    if not one:
        return float("nan")
    return 0.5 * sum(abs(one[label] - other[label]) for label in one)


def divergence_nats(
    logits: Float[Tensor, "vocab"],  # noqa: F821
    other: Float[Tensor, "vocab"],  # noqa: F821
) -> float:
    """Return KL(P || Q) in nats for the softmax P of `logits` and Q of `other`; at least 0, not symmetric."""
    log_p, log_q = (row.double().log_softmax(-1) for row in (logits, other))
    return float((log_p.exp() * (log_p - log_q)).sum().clamp(min=0.0))


def _verdict(controls: Sequence[HearingControl], heard: bool) -> str:
    counted = [control for control in controls if control.same_length]
    largest = max(control.logit_change for control in counted)
    if not heard:
        return (
            "It did not hear: silence and another clip of the same length leave its answer and its logits as "
            f"they are (largest change {largest:.1e}; {LOGIT_TOLERANCE:g} would be more than rounding)."
        )
    others = [control.name for control in counted if control.answer_changed]
    if others:
        return f"It heard: {' and '.join(others)} in place of the clip changes its answer."
    return (
        "It heard, but this answer does not depend on it: silence and another clip move its logits "
        f"(by up to {largest:.2f}) and not its answer."
    )


def _silence(clip: AudioClip) -> AudioClip:
    return AudioClip(np.zeros_like(clip.samples), "silence")


def _other_clip(request: RunRequest, clip: AudioClip) -> AudioClip:
    """Return a shipped example with other words, drawn by the request's seed, as long as the clip."""
    candidates = [example for example in EXAMPLES if example.reference != (request.reference or "").strip()]
    random.Random(request.seed).shuffle(candidates)
    for example in candidates:
        other = load_clip(example.file, example.title)
        # An example whose words the person took away is still the same sound.
        if other.fingerprint != request.clip.fingerprint:
            n_samples = len(clip.samples)
            samples = np.pad(other.samples[:n_samples], (0, max(0, n_samples - len(other.samples))))
            return AudioClip(samples, f'"{example.reference}"')
    raise ClipError("There is no other clip to compare with; restore assets/examples.")

"""What may be said of a clip's hearing: whether anybody speaks in it, and whether a system's answer depends on it.

Models that were trained on speech give words for a tone, too. Here a detector that is none of the systems judges
the clip (`judge_speech`). What needs more than the clip is judged once both systems have heard it (`judge_hearing`):
its language, the length of the clips of the speech LLM's training, and whether the two wrote the same words.

A speech LLM that answers from the question alone gives the same answer whatever is played. `did_it_hear` asks one
clip's question again with silence, with another clip and without any sound (n = 1): its numbers have no interval and
speak of that clip only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from engine.answers import answer_arms
from engine.audio import SAMPLE_RATE_HZ, AudioClip, load_clip
from engine.errors import ClipError
from engine.examples import EXAMPLES
from engine.lens import LOGIT_TOLERANCE
from engine.request import Question, RunRequest, check_request, clip_as_heard
from engine.results import Answer, HearingVerdict, OwnTranscript, SpokenLanguage
from engine.stats.scores import word_errors
from engine.systems.base import Heard, WhiteBoxSystem
from engine.systems.catalogue import get_pair, get_spec, require_states
from engine.systems.loading import load_speech_llm, using
from engine.words import normalise

# A lone window of 32 ms is a click or the start of a tone; speech goes on for longer.
_LEAST_SPEECH_MS = 64
_LEAST_PAUSE_MS = 100
# Word error rate up to which two transcripts are alike: one word in seven.
ALIKE_UP_TO = 0.15
_QUOTED_CHARACTERS = 160
# Nobody says more: the fastest talker on record (S. Woodmore, 1990) said 637 words in a minute.
_MOST_WORDS_PER_S = 11.0


def speech_s(clip: AudioClip) -> float:
    """Return the seconds in which Silero's detector (version 6, which comes with faster-whisper) finds speech.

    Pauses from 0.1 s on do not count. A shout, a laugh or a whisper may go unfound, and babble is found.
    """
    from faster_whisper.vad import get_speech_timestamps

    spans = get_speech_timestamps(
        clip.samples,
        min_speech_duration_ms=_LEAST_SPEECH_MS,
        min_silence_duration_ms=_LEAST_PAUSE_MS,
        speech_pad_ms=0,
    )
    return sum(span["end"] - span["start"] for span in spans) / SAMPLE_RATE_HZ


def judge_speech(clip: AudioClip) -> HearingVerdict:
    """Return "speech" or "no speech" for a clip as it was given, before noise is added."""
    found_s = speech_s(clip)
    numbers = {"speech_s": found_s, "duration_s": clip.duration_s}
    if found_s:
        sentence = f"{found_s:.1f} s of speech in {clip.duration_s:.1f} s, by a detector."
        return HearingVerdict("speech", sentence, numbers)
    return HearingVerdict(
        "no speech",
        "A detector finds no speech in this clip; the words and answers shown for it are probably made up.",
        numbers,
    )


def judge_language(verdict: HearingVerdict, language: SpokenLanguage | None) -> HearingVerdict:
    """Return "not English" for speech that another language explains better than English, else the verdict as it was.

    The likelier of two languages is the one to name when both mistakes weigh the same, so there is no threshold
    here. docs/training.md has how often this is wrong on people's English and misses other languages.

    Args:
        verdict: on the clip's speech; where there is none, it has no language.
        language: what the cascade's transcriber takes it for; None where it knows only one.
    """
    if verdict.kind != "speech" or language is None or language.code == "en":
        return verdict
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    name = LANGUAGES.get(language.code, language.code).title()
    found = (
        f"The cascade's Whisper takes this clip for {name} (probability {language.probability:.2f}) rather than "
        f"English ({language.english:.2f})"
    )
    if language.probability < 0.5:  # less likely than not
        found += ", and is not sure: it may be another language, music or noise"
    return HearingVerdict(
        "not English",
        f"{found}. The words and answers shown for it may be made up.",
        {
            **verdict.numbers,
            "language_probability": language.probability,
            "english_probability": language.english,
        },
    )


def judge_hearing(
    verdict: HearingVerdict, *, trained_s: float | None, own: OwnTranscript | None, cascade: str
) -> HearingVerdict:
    """Return what weighs most of a clip with English speech: its length, or whether both wrote the same words.

    Args:
        verdict: by `judge_speech` and `judge_language`; one that is a warning already stays.
        trained_s: length of the longest clip that the speech LLM was trained on, in seconds; None where none is told.
        own: the speech LLM's transcript; None where there is none to compare.
        cascade: the cascade's own transcript, not one edited by hand.
    """
    if verdict.is_warning:
        return verdict
    verdict = _too_many_words(verdict, own, cascade) or _compared(verdict, own, cascade)
    duration_s = verdict.numbers["duration_s"]
    if trained_s is None or duration_s <= trained_s:
        return verdict
    also = "" if verdict.kind == "speech" else f" {verdict.sentence}"
    return HearingVerdict(
        "longer than trained on",
        f"This clip lasts {duration_s:.1f} s; the speech LLM was trained on clips of up to {trained_s:g} s.{also}",
        {**verdict.numbers, "trained_on_up_to_s": trained_s},
    )


def _too_many_words(
    verdict: HearingVerdict, own: OwnTranscript | None, cascade: str
) -> HearingVerdict | None:
    """Return "heard otherwise" where one wrote more than can be said, though both may have written the same."""
    said_s = verdict.numbers["speech_s"]
    for name, text in (("cascade", cascade), ("speech LLM", own.text if own else "")):
        n_words = word_errors(text, "")[1]
        if n_words > _MOST_WORDS_PER_S * said_s + 1:  # one word may always be
            return HearingVerdict(
                "heard otherwise",
                f"The {name} writes {n_words} words for {said_s:.1f} s of speech, more than anybody can say: they "
                "are made up.",
                {**verdict.numbers, "words": float(n_words)},
            )
    return None


def _compared(verdict: HearingVerdict, own: OwnTranscript | None, cascade: str) -> HearingVerdict:
    if own is None:
        return verdict
    errors, n_words = word_errors(cascade, own.text)
    n_own = word_errors(own.text, "")[1]
    if own.is_cut and n_own <= n_words:
        return verdict  # what it would have gone on to write is not known
    numbers = {**verdict.numbers, "own_transcript_s": own.seconds}
    wrote = f"Asked to repeat the clip, the speech LLM writes \u201c{_cut(own.text)}\u201d"
    if not n_words:
        if not n_own:
            return replace(verdict, numbers=numbers)
        return HearingVerdict("heard otherwise", f"{wrote}; the cascade hears no words.", numbers)
    rate = errors / n_words
    numbers |= {"word_error_rate": rate, "word_errors": float(errors), "words": float(n_words)}
    counted = (
        f"{errors} word error{'' if errors == 1 else 's'} against the cascade's {n_words} "
        f"word{'' if n_words == 1 else 's'} (rate {rate:.2f}, alike up to {ALIKE_UP_TO:.2f})"
    )
    if rate <= ALIKE_UP_TO:
        return HearingVerdict(
            "heard alike", f"Asked to repeat the clip, the speech LLM makes {counted}.", numbers
        )
    return HearingVerdict("heard otherwise", f"{wrote}: {counted}.", numbers)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _QUOTED_CHARACTERS else f"{line[:_QUOTED_CHARACTERS].rstrip()} \u2026"


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

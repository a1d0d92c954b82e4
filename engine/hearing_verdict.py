"""What may be said of a clip's hearing as a whole, beside the answers: first of all, whether anybody speaks in it.

Models that were trained on speech give words for a tone, too. Here a detector that is none of the systems judges
the clip (`judge_speech`). What needs more than the clip is judged once both systems have heard it (`judge_hearing`):
its language, the length of the clips of the speech LLM's training, and whether the two wrote the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.stats.scores import word_errors

# In the order of their weight: where several hold, the first is the verdict.
VerdictKind = Literal[
    "no speech", "not English", "longer than trained on", "heard otherwise", "heard alike", "speech"
]
# A lone window of 32 ms is a click or the start of a tone; speech goes on for longer.
_LEAST_SPEECH_MS = 64
_LEAST_PAUSE_MS = 100
# Word error rate up to which two transcripts are alike: one word in seven.
ALIKE_UP_TO = 0.15
_QUOTED_CHARACTERS = 160
# Nobody says more: the fastest talker on record (S. Woodmore, 1990) said 637 words in a minute.
_MOST_WORDS_PER_S = 11.0


@dataclass(frozen=True)
class HearingVerdict:
    """A verdict on one clip.

    Attributes:
        kind: what holds; of several the one that weighs most.
        sentence: the same for a person, with its numbers; not escaped for HTML.
        numbers: what the verdict was reached by, each name with its unit: "speech_s" and "duration_s" of the clip
            always, whatever the verdict; what else was measured: "language_probability" and
            "english_probability", "trained_on_up_to_s", "word_error_rate", "word_errors" and "words",
            "own_transcript_s" (time that the speech LLM's transcription took).
    """

    kind: VerdictKind
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_warning(self) -> bool:
        """Whether answers to this clip are to be read with doubt."""
        return self.kind not in ("speech", "heard alike")


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


@dataclass(frozen=True)
class SpokenLanguage:
    """What a transcriber of several languages takes a clip for.

    Attributes:
        code: the likeliest language, as Whisper writes it, such as "de".
        probability: of this language among all that it knows, 0 to 1.
        english: probability of English among them, 0 to 1.
    """

    code: str
    probability: float
    english: float


@dataclass(frozen=True)
class OwnTranscript:
    """What a speech LLM writes when it is asked to repeat the clip.

    Attributes:
        text: as it was written.
        seconds: that asking took; 0.0 where the run's own question was this one.
        is_cut: it was stopped at the token limit.
    """

    text: str
    seconds: float = 0.0
    is_cut: bool = False


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

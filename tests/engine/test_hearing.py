"""A model that hears is told from a deaf one, and each number from its definition.

Whether anybody speaks in a clip, by a detector that is none of the systems.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine import hearing
from engine.audio import AudioClip, load_clip
from engine.examples import EXAMPLES
from engine.hearing import (
    did_it_hear,
    divergence_nats,
    judge_hearing,
    judge_language,
    judge_speech,
    speech_s,
    total_variation,
)
from engine.lens import LOGIT_TOLERANCE
from engine.noise import add_noise
from engine.request import RunRequest
from engine.results import HearingVerdict, OwnTranscript, SpokenLanguage
from engine.systems.base import Heard
from engine.systems.ultravox import Ultravox
from tests.engine.tiny_systems import sound

REQUEST = RunRequest(sound(1.7), "topic")
NAMES = ("silence", "another clip", "text only")


@pytest.fixture(autouse=True)
def tiny(ultravox: Ultravox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ultravox]:
    monkeypatch.setattr(hearing, "load_speech_llm", lambda _key: ultravox)
    yield ultravox


def put(system: Ultravox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "load_speech_llm", lambda _key: system)


def deaf(system: Ultravox) -> Ultravox:
    """The same model with its ears zeroed: as many positions as before, and nothing in them."""
    without_ears = copy.copy(system)

    def hear(clip: object) -> Heard:
        heard = system.hear(clip)
        return replace(heard, embeddings=torch.zeros_like(heard.embeddings))

    without_ears.hear = hear  # type: ignore[method-assign]
    return without_ears


def test_a_model_with_ears_hears() -> None:
    found = did_it_hear(REQUEST)
    assert found.heard and found.verdict.startswith("It heard")
    assert tuple(control.name for control in found.controls) == NAMES
    assert all(control.logit_change > LOGIT_TOLERANCE for control in found.controls)
    assert all(0 < control.total_variation <= 1 for control in found.controls)
    assert all(control.divergence_nats > 0 for control in found.controls)
    assert found.instruction and found.tolerance == LOGIT_TOLERANCE


def test_a_deaf_model_does_not_hear(tiny: Ultravox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving the clip out shortens the prompt, which moves a deaf model's logits too: it must not count."""
    put(deaf(tiny), monkeypatch)
    found = did_it_hear(REQUEST)
    assert not found.heard and found.verdict.startswith("It did not hear")
    silence, other, text_only = found.controls
    for control in (silence, other):
        assert control.same_length and not control.changed
        assert control.logit_change == control.total_variation == control.divergence_nats == 0.0
    assert not text_only.same_length and text_only.logit_change > LOGIT_TOLERANCE


@pytest.mark.parametrize(
    ("answers", "moved", "heard", "says"),
    [
        ((True, True), 3.0, True, "It heard: silence and another clip in place"),
        ((False, True), 3.0, True, "It heard: another clip in place"),
        ((False, False), 0.5, True, "does not depend on it"),
        ((False, False), 0.9e-3, False, "It did not hear"),
        ((False, False), math.nan, False, "It did not hear"),
    ],
)
def test_the_verdict_by_hand(answers: tuple[bool, bool], moved: float, heard: bool, says: str) -> None:
    """Logits that move under an answer that stays are heard and said to decide nothing; no number is no change."""
    own = did_it_hear(REQUEST)
    controls = tuple(
        replace(control, answer_changed=changed, logit_change=moved)
        for control, changed in zip(own.controls, answers, strict=False)
    )
    assert any(control.changed for control in controls) is heard
    assert says in hearing._verdict(controls, heard)


def test_every_control_is_as_long_as_the_clip(tiny: Ultravox, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    listening = copy.copy(tiny)

    def hear(clip):
        given.append(clip)
        return tiny.hear(clip)

    listening.hear = hear  # type: ignore[method-assign]
    put(listening, monkeypatch)
    for duration_s in (0.7, 9.0):
        given.clear()
        did_it_hear(replace(REQUEST, clip=sound(duration_s)))
        assert [len(clip.samples) for clip in given] == [round(duration_s * 16_000)] * 3
        assert not given[1].samples.any() and given[2].samples.any()
        assert not np.array_equal(given[0].samples, given[2].samples)


def test_the_other_clip_says_other_words_and_belongs_to_its_seed() -> None:
    own = EXAMPLES[0]
    request = RunRequest(load_clip(own.file), own.task, reference=own.reference)
    names = [hearing._other_clip(replace(request, seed=seed), request.clip).name for seed in range(12)]
    assert len(set(names)) > 1 and f'"{own.reference}"' not in names
    again = [hearing._other_clip(replace(request, seed=seed), request.clip).name for seed in range(12)]
    assert names == again
    # Without its words, the same sound is still no other clip.
    for seed in range(12):
        assert (
            own.reference
            not in hearing._other_clip(replace(request, reference=None, seed=seed), request.clip).name
        )


def test_an_open_task_has_no_forced_choice_and_says_so() -> None:
    found = did_it_hear(replace(REQUEST, task="transcribe"))
    assert all(math.isnan(control.total_variation) for control in found.controls)
    assert found.heard


def test_noise_is_part_of_what_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    clean, noisy = did_it_hear(REQUEST), did_it_hear(replace(REQUEST, noise="white", snr_db=0.0))
    assert clean.answer != noisy.answer


def test_total_variation_by_hand() -> None:
    assert total_variation({"a": 0.75, "b": 0.25}, {"a": 0.25, "b": 0.75}) == 0.5
    assert total_variation({"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0}) == 1.0
    assert total_variation({"a": 0.3, "b": 0.7}, {"a": 0.3, "b": 0.7}) == 0.0
    assert math.isnan(total_variation({}, {}))


def test_divergence_by_hand() -> None:
    """Half and half against a quarter and three: 0.5 ln 2 + 0.5 ln(2/3)."""
    one, other = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
    assert divergence_nats(one, other) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert divergence_nats(one, one) == 0.0
    assert divergence_nats(one, one + 7.0) == pytest.approx(0.0, abs=1e-6)


def test_steps_are_told() -> None:
    steps: list[tuple[float, str]] = []
    did_it_hear(REQUEST, lambda share, what: steps.append((share, what)))
    assert steps == sorted(steps) and all(what for _, what in steps)


def uneven(system: Ultravox, *, is_deaf: bool) -> Ultravox:
    """The same model with positions as long as words: fewer of them in silence than in the clip."""
    with_words = copy.copy(system)

    def hear(clip: AudioClip) -> Heard:
        heard = system.hear(clip)
        n_words = 3 if clip.samples.any() else 1
        vectors = torch.zeros_like(heard.embeddings) if is_deaf else heard.embeddings
        return replace(heard, embeddings=vectors[:n_words], position_ends_s=np.arange(1.0, n_words + 1))

    with_words.hear = hear  # type: ignore[method-assign]
    return with_words


@pytest.mark.parametrize("is_deaf", [True, False])
def test_a_number_of_positions_alone_is_not_hearing(
    tiny: Ultravox, monkeypatch: pytest.MonkeyPatch, is_deaf: bool
) -> None:
    """A bridge writes fewer words about silence; a shorter prompt moves any model's logits."""
    put(uneven(tiny, is_deaf=is_deaf), monkeypatch)
    assert did_it_hear(REQUEST).heard is not is_deaf


TIME_S = np.arange(4 * 16_000) / 16_000
RNG = np.random.default_rng(0)
NO_SPEECH = {
    "noise": 0.1 * RNG.standard_normal(len(TIME_S)),
    "tone": 0.3 * np.sin(2 * np.pi * 440 * TIME_S),
    "chord": 0.1 * sum(np.sin(2 * np.pi * pitch * TIME_S) for pitch in (220, 277, 330)),
    "bursts": 0.1 * RNG.standard_normal(len(TIME_S)) * (np.sin(2 * np.pi * 3 * TIME_S) > 0),
    "near silence": 1e-3 * RNG.standard_normal(len(TIME_S)),
    "a tenth of a second of noise": 0.1 * RNG.standard_normal(1600),
}


@pytest.mark.parametrize("kind", NO_SPEECH)
def test_sounds_without_a_voice_are_no_speech(kind: str) -> None:
    """Both systems give fluent words for these; the verdict must stand beside them."""
    verdict = judge_speech(AudioClip(NO_SPEECH[kind].astype(np.float32), kind))
    assert (verdict.kind, verdict.is_warning, verdict.numbers["speech_s"]) == ("no speech", True, 0.0)
    assert "no speech" in verdict.sentence


@pytest.mark.parametrize("example", EXAMPLES[:4], ids=lambda example: example.key)
def test_spoken_examples_are_speech_at_any_level_and_in_noise(example: object) -> None:
    clip = load_clip(example.file)  # type: ignore[attr-defined]
    quiet = AudioClip(clip.samples * np.float32(0.01), "quiet")
    for one in (clip, quiet, add_noise(clip, "white", 10, 0).clip):
        verdict = judge_speech(one)
        assert (verdict.kind, verdict.is_warning) == ("speech", False)
        assert 0.5 < verdict.numbers["speech_s"] <= verdict.numbers["duration_s"] == one.duration_s


def test_a_pause_is_no_speech() -> None:
    spoken = load_clip(EXAMPLES[0].file).samples
    padded = np.concatenate([spoken, np.zeros(3 * 16_000, np.float32), spoken])
    once, twice = speech_s(AudioClip(spoken, "a")), speech_s(AudioClip(padded, "b"))
    assert twice == pytest.approx(2 * once, abs=0.5)


@pytest.mark.parametrize(
    ("kind", "doubt"),
    [
        ("not English", True),
        ("longer than trained on", True),
        ("heard otherwise", True),
        ("heard alike", False),
    ],
)
def test_what_calls_for_doubt_is_a_warning(kind: str, doubt: bool) -> None:
    assert HearingVerdict(kind, "").is_warning == doubt  # type: ignore[arg-type]


SPOKEN = HearingVerdict("speech", "4.0 s of speech.", {"speech_s": 4.0, "duration_s": 5.0})
SILENT = HearingVerdict("no speech", "None.", {"speech_s": 0.0, "duration_s": 5.0})
SAID = "the quick brown fox jumps over the lazy dog"


def heard(own: str | None, cascade: str = SAID, trained_s: float | None = None) -> HearingVerdict:
    transcript = None if own is None else OwnTranscript(own, 0.5)
    return judge_hearing(SPOKEN, trained_s=trained_s, own=transcript, cascade=cascade)


GERMAN = SpokenLanguage("de", 0.98, 0.01)


def test_a_language_likelier_than_english_is_named_with_both_probabilities() -> None:
    german = judge_language(SPOKEN, GERMAN)
    assert (german.kind, german.is_warning) == ("not English", True)
    assert german.numbers == {**SPOKEN.numbers, "language_probability": 0.98, "english_probability": 0.01}
    assert "for German (probability 0.98) rather than English (0.01)." in german.sentence
    # A French clip at .66 was let through by a threshold of .7; there is none now.
    assert judge_language(SPOKEN, SpokenLanguage("fr", 0.66, 0.2)).kind == "not English"
    # A piano is "Javanese", at .28: said as what it is, a guess.
    piano = judge_language(SPOKEN, SpokenLanguage("jw", 0.28, 0.11))
    assert piano.kind == "not English" and "music or noise" in piano.sentence
    assert "music" not in german.sentence


@pytest.mark.parametrize("language", [None, SpokenLanguage("en", 0.99, 0.99), SpokenLanguage("en", 0.4, 0.4)])
def test_english_is_not_doubted_where_nothing_is_likelier(language: SpokenLanguage | None) -> None:
    """A person's whisper is English at .40, and no other language at more."""
    assert judge_language(SPOKEN, language) == SPOKEN


def test_where_nobody_speaks_there_is_no_language() -> None:
    assert judge_language(SILENT, SpokenLanguage("nn", 0.99, 0.0)) == SILENT


def test_the_same_words_are_heard_alike_however_they_are_written() -> None:
    alike = heard("The quick brown fox jumps, over the lazy dog!")
    assert (alike.kind, alike.numbers["word_error_rate"], alike.numbers["words"]) == ("heard alike", 0.0, 9.0)
    assert heard("the quick brown fox jumps over the lazy cat").kind == "heard alike"  # one of nine: .11
    assert "0 word errors against the cascade's 9 words (rate 0.00, alike up to 0.15)" in alike.sentence
    assert alike.numbers["own_transcript_s"] == 0.5 and not alike.is_warning


def test_other_words_are_heard_otherwise_and_both_figures_and_words_are_shown() -> None:
    """JFK's sentence became one about the songs of birds, and nothing beside it said so."""
    other = heard("engineers wrote a program that knows the songs of birds")
    assert other.kind == "heard otherwise" and other.numbers["word_error_rate"] == 1.0
    assert "songs of birds" in other.sentence and f"{other.numbers['word_error_rate']:.2f}" in other.sentence
    assert heard("the quick brown fox jumps over a lazy cat").kind == "heard otherwise"  # two of nine: .22


def test_words_for_what_the_cascade_heard_nothing_in_are_heard_otherwise() -> None:
    alone = heard("two words", cascade="[music]")
    assert alone.kind == "heard otherwise" and "word_error_rate" not in alone.numbers
    assert "hears no words" in alone.sentence
    assert heard("", cascade="").kind == "speech"
    assert heard("", cascade=SAID).numbers["word_error_rate"] == 1.0


def test_a_transcript_that_was_cut_counts_where_it_had_said_more_than_all() -> None:
    """One that ran on in circles to its limit had no verdict, and its answer stood there undoubted."""
    endless = judge_hearing(
        SPOKEN, trained_s=None, own=OwnTranscript("la la " * 20, is_cut=True), cascade=SAID
    )
    assert endless.kind == "heard otherwise"
    begun = OwnTranscript("the quick brown", is_cut=True)
    assert judge_hearing(SPOKEN, trained_s=None, own=begun, cascade=SAID) == SPOKEN


def test_more_words_than_can_be_said_are_called_made_up_even_where_both_agree() -> None:
    """A tenth of a second of JFK was "I'm sorry, I'm sorry, ..." in 132 words."""
    short = HearingVerdict("speech", "0.1 s of speech.", {"speech_s": 0.1, "duration_s": 0.1})
    sorry = "I'm sorry, " * 44
    for own, cascade, who in ((sorry, sorry, "cascade"), (sorry, "you", "speech LLM")):
        verdict = judge_hearing(short, trained_s=None, own=OwnTranscript(own), cascade=cascade)
        assert verdict.kind == "heard otherwise" and "made up" in verdict.sentence
        assert f"The {who} writes 132 words for 0.1 s" in verdict.sentence
    assert judge_hearing(short, trained_s=None, own=None, cascade=sorry).kind == "heard otherwise"
    word = judge_hearing(short, trained_s=None, own=OwnTranscript("and"), cascade="And.")
    assert word.kind == "heard alike"
    # As fast as anybody: 44 words in 4 s.
    assert heard("word " * 44, "word " * 44).kind == "heard alike"


def test_without_a_transcript_of_its_own_nothing_is_compared() -> None:
    assert heard(None) == SPOKEN


def test_a_clip_longer_than_those_of_the_training_says_so_first() -> None:
    assert heard(SAID, trained_s=5.0).kind == "heard alike"
    longer = heard(SAID, trained_s=4.9)
    assert (longer.kind, longer.numbers["trained_on_up_to_s"]) == ("longer than trained on", 4.9)
    assert longer.numbers["word_error_rate"] == 0.0 and "rate 0.00" in longer.sentence
    assert "5.0 s" in longer.sentence and "4.9 s" in longer.sentence
    assert heard(None, trained_s=1.0).numbers.keys() == {"speech_s", "duration_s", "trained_on_up_to_s"}


def test_what_weighs_more_stays() -> None:
    german = judge_language(SPOKEN, GERMAN)
    for verdict in (SILENT, german):
        own = OwnTranscript(SAID, 0.0)
        assert judge_hearing(verdict, trained_s=1.0, own=own, cascade="other") is verdict


def test_a_long_invention_is_quoted_by_its_beginning() -> None:
    assert len(heard("word " * 300).sentence) < 400

"""A model that hears is told from a deaf one, and each number from its definition."""

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
from engine.by_hand import LOGIT_TOLERANCE
from engine.examples import EXAMPLES
from engine.hearing import did_it_hear, divergence_nats, total_variation
from engine.request import RunRequest
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

"""Facts about the CTC probe: it reads what is plain to see, several characters to a position, and no noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine import probes
from engine.probes import CHARACTERS, CtcProbe, fit_ctc_probe, places_for, spell

TEXTS = ["ab", "ba", "abc", "cab", "bca", "acb"] * 4


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "STEPS", 120)


def sound(text: str, generator: np.random.Generator, directions: np.ndarray) -> np.ndarray:
    """Three rows of each character's own direction, then two of silence."""
    classes = [c for letter in text for c in (1 + CHARACTERS.index(letter),) * 3 + (0,) * 2]
    return directions[classes] + 0.05 * generator.standard_normal((len(classes), directions.shape[1]))


def test_characters_that_have_a_direction_are_read_and_the_same_each_time() -> None:
    generator = np.random.default_rng(0)
    directions = generator.standard_normal((len(CHARACTERS) + 1, 16))
    states = [sound(text, generator, directions) for text in TEXTS]
    probe, again = fit_ctc_probe(states, TEXTS, 1), fit_ctc_probe(states, TEXTS, 1)
    assert torch.equal(probe.weight, again.weight)
    assert probe.read(sound("bac", generator, directions)) == "bac"


def test_a_position_may_hold_several_characters() -> None:
    """Each state is a whole word of three letters: one place could give no more than one of them."""
    generator = np.random.default_rng(1)
    words = {"abc": generator.standard_normal(8), "bca": generator.standard_normal(8)}
    pairs = [("abc", "bca"), ("bca", "abc"), ("abc", "abc"), ("bca", "bca")] * 3
    texts = ["".join(pair) for pair in pairs]
    states = [np.stack([words[word] for word in pair]) for pair in pairs]
    probe = fit_ctc_probe(states, texts, 8)
    assert [probe.read(x) for x in states[:2]] == texts[:2]
    assert all(len(fit_ctc_probe(states, texts, 1).read(x)) <= 2 for x in states[:2])


def test_repeats_are_merged_unless_a_blank_parts_them() -> None:
    a, b = 1 + CHARACTERS.index("a"), 1 + CHARACTERS.index("b")
    n_classes = 1 + len(CHARACTERS)
    probe = CtcProbe(torch.eye(n_classes), torch.zeros(n_classes), torch.zeros(1), torch.ones(1), 1)
    assert probe.read(np.eye(n_classes)[[a, a, 0, a, b, b, 0]]) == "aab"


def test_places_follow_the_width_of_a_position() -> None:
    assert [places_for(width) for width in (0.02, 0.04, 0.16)] == [1, 1, 4]


def test_spelling_leaves_out_what_the_probe_cannot_write() -> None:
    assert spell("It's 3 o'clock,  Anna!") == "it's o'clock anna"

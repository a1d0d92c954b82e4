"""Facts about how units are fitted: what a unit tells about letters, and the rule that chooses the layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from engine.words import SpokenWord
from precompute.mini import unit_fit
from precompute.mini.unit_fit import (
    draw_texts,
    fit_centres,
    information_by_layer,
    letters_at,
    normalised_information,
)


def test_information_is_1_for_a_copy_0_for_noise_and_the_librarys_between() -> None:
    generator = np.random.default_rng(0)
    letters = generator.choice(list("abcd"), 4_000).tolist()
    codes = np.array([ord(letter) for letter in letters])
    assert normalised_information(codes, letters) == pytest.approx(1.0)
    assert normalised_information(generator.integers(0, 4, 4_000), letters) < 0.005
    mixed = np.where(generator.random(4_000) < 0.5, codes, 0)
    entropy = mutual_info_score(letters, letters)
    assert normalised_information(mixed, letters) == pytest.approx(
        mutual_info_score(letters, mixed) / entropy
    )
    assert np.isnan(normalised_information(codes, ["a"] * 4_000))


def test_a_words_time_is_shared_among_its_letters() -> None:
    words = (SpokenWord("ab", 0.04, 0.20), SpokenWord("c", 0.24, 0.28))
    # Frame centres: 0.02, 0.06, 0.10, 0.14, 0.18, 0.22, 0.26, 0.30.
    assert letters_at(words, 8) == ["", "a", "a", "b", "b", "", "c", ""]


def test_centres_lie_in_their_clusters_and_come_again_with_the_seed() -> None:
    generator = np.random.default_rng(1)
    truth = generator.standard_normal((4, 5)) * 10
    features = (truth[:, None] + 0.1 * generator.standard_normal((4, 100, 5))).reshape(-1, 5)
    found = fit_centres(features.astype(np.float32), 4)
    gaps = np.linalg.norm(found[:, None] - truth[None], axis=-1).min(0)
    assert (gaps < 0.2).all() and np.array_equal(found, fit_centres(features.astype(np.float32), 4))


class Planted:
    """Layer 1 spells the letter, layers 0 and 2 know nothing of it."""

    def every_layer(self, samples: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(len(samples)).standard_normal((len(samples), 3, 4))
        noise[:, 1] = np.eye(4)[samples.astype(int)]
        return noise


def test_the_layer_that_spells_has_the_most_information(monkeypatch: pytest.MonkeyPatch) -> None:
    def spell(text: str, seed: str) -> tuple[np.ndarray, tuple[SpokenWord, ...]]:
        return np.array(["abcd".index(letter) for letter in text]), (SpokenWord(text, 0.0, 0.04 * len(text)),)

    monkeypatch.setattr(unit_fit, "say_plain", spell)
    generator = np.random.default_rng(2)
    fit, judge = (["".join(generator.choice(list("abcd"), 60)) for _ in range(n)] for n in (12, 8))
    found = information_by_layer(Planted(), fit, judge, k=4)  # type: ignore[arg-type]
    assert max(found, key=lambda layer: found[layer]) == 1 and found[1] > 0.99
    assert max(found[0], found[2]) < 0.2


def test_texts_are_drawn_by_their_purpose(tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(50)]
    assert draw_texts(texts, 5, "layer") == draw_texts(texts, 5, "layer") != draw_texts(texts, 5, "judge")
    assert sorted(draw_texts(texts, 90, "layer")) == sorted(texts)

"""Boundaries on curves drawn by hand: where they lie, how sure they are, and what there is none of."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.stats.boundaries import NEVER, NO_UNITS, excess_of, first_phase, phase_boundaries

WORDS = 10.0


def groups_of(curve: tuple[float, ...], n: int = 30, spread: float = 0.0, seed: int = 0) -> np.ndarray:
    """Return hits, control's hits and words of each group: the curve, and noise of this spread."""
    noise = spread * np.random.default_rng(seed).normal(size=(n, len(curve)))
    hits = WORDS * (np.array(curve) + noise + 0.1)
    return np.stack([hits, np.full(hits.shape, 0.1 * WORDS), np.full(hits.shape, WORDS)], axis=-1)


def share_of(curve: tuple[float, ...], n: int = 30) -> np.ndarray:
    return np.stack([np.tile(np.array(curve) * 5.0, (n, 1)), np.full((n, len(curve)), 5.0)], axis=-1)


def test_peaks_and_the_return_to_speech_lie_where_they_were_drawn() -> None:
    current, following = groups_of((0.0, 0.5, 0.2, 0.1, 0.0)), groups_of((0.0, 0.1, 0.2, 0.6, 0.0))
    it = phase_boundaries(current, following, share_of((0.2, 0.9, 0.9, 0.9, 0.3)), seed=1)
    assert (it.current.value, it.following.value, it.speech.value, it.apart.value) == (1, 3, 4, 2)
    assert it.in_order == 1.0 and it.without_speech == 0.0 and it.current.n == 30


def test_a_share_that_was_low_before_does_not_count() -> None:
    """Below one half at layers 0 and 1, and after the peak never again."""
    flat = groups_of((0.0, 0.0, 0.5, 0.1))
    it = phase_boundaries(flat, flat, share_of((0.1, 0.2, 0.9, 0.9)), seed=1)
    assert math.isnan(it.speech.value) and it.speech.note == NEVER and it.without_speech == 1.0
    assert it.apart.value == 0 and it.in_order == 0.0


def test_without_units_there_is_no_return() -> None:
    flat = groups_of((0.0, 0.5))
    it = phase_boundaries(flat, flat, None, seed=1)
    assert math.isnan(it.speech.value) and it.speech.note == NO_UNITS


def test_two_layers_that_are_nearly_equal_are_not_told_apart() -> None:
    current = groups_of((0.0, 0.4, 0.41, 0.0), n=20, spread=0.2)
    it = phase_boundaries(current, groups_of((0.0, 0.1, 0.1, 0.5), n=20), None, seed=1)
    assert it.current.low == 1 and it.current.high == 2
    assert it.apart.low == 1 and it.apart.high == 2
    sure = phase_boundaries(groups_of((0.0, 0.4, 0.41, 0.0), n=20), current, None, seed=1)
    assert sure.current.low == sure.current.high == 2


def test_the_lowest_of_equal_layers_is_the_peak() -> None:
    flat = groups_of((0.0, 0.5, 0.5, 0.5))
    assert phase_boundaries(flat, flat, None, seed=1).current.value == 1


def test_one_group_has_no_interval() -> None:
    it = phase_boundaries(groups_of((0.0, 0.5), n=1), groups_of((0.0, 0.5), n=1), None, seed=1)
    assert it.current.value == 1 and math.isnan(it.current.low)


def test_r_is_hits_minus_control_over_words() -> None:
    assert excess_of(np.array([[6.0, 1.0, 10.0], [0.0, 0.0, 0.0]])) == pytest.approx(
        [0.5, math.nan], nan_ok=True
    )


@pytest.mark.parametrize(
    ("curve", "layers"),
    [
        ((0.0, 0.1, 0.3, 0.6, 0.5), (2, 3)),
        ((0.6, 0.1, 0.1), (0,)),
        ((0.0, -0.1, -0.2), ()),
        ((math.nan, 0.2, 0.1), (1,)),
    ],
)
def test_the_first_phase_is_from_half_the_peak_to_the_peak(
    curve: tuple[float, ...], layers: tuple[int, ...]
) -> None:
    assert first_phase(np.array(curve)) == layers

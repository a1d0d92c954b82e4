"""What each erasure condition is about, as numbers at a clip's audio positions.

`precompute erasers` fits erasers of them and proves on other clips that they are gone, or not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from engine.audio import SAMPLE_RATE_HZ
from engine.result import SpokenWord

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz'")
OTHER_WORD = "(another word)"
ENERGY_FLOOR_DB = -70.0


def overlapping(words: Sequence[SpokenWord], n_positions: int, width_s: float) -> tuple[tuple[int, ...], ...]:
    """Return for each position the indices of the words that are heard in it."""
    return tuple(
        tuple(
            index
            for index, word in enumerate(words)
            if word.start_s < (position + 1) * width_s and word.end_s > position * width_s
        )
        for position in range(n_positions)
    )


def letter_bags(
    words: Sequence[SpokenWord], n_positions: int, width_s: float
) -> Float[np.ndarray, "positions letters"]:
    """Return at each position the share of each letter of `LETTERS` in the words heard there; zeros in pauses."""
    bags = np.zeros((n_positions, len(LETTERS)))
    for position, here in enumerate(overlapping(words, n_positions, width_s)):
        letters = [LETTERS.index(c) for i in here for c in words[i].text.lower() if c in LETTERS]
        for letter in letters:
            bags[position, letter] += 1 / len(letters)
    return bags


def energy_db(
    samples: Float[np.ndarray, "samples"],  # noqa: F821 - jaxtyping axis name
    n_positions: int,
    width_s: float,
) -> Float[np.ndarray, "positions"]:  # noqa: F821
    """Return the level of each position in dB of full scale, floored at -70 dB."""
    width = round(width_s * SAMPLE_RATE_HZ)
    padded = np.pad(samples, (0, max(0, n_positions * width - len(samples))))[: n_positions * width]
    rms = np.sqrt((padded.reshape(n_positions, width).astype(np.float64) ** 2).mean(1))
    return np.maximum(20 * np.log10(rms + 1e-12), ENERGY_FLOOR_DB)


def first_word(words: Sequence[SpokenWord], targets: Sequence[str]) -> int:
    """Return the class of the clip's first word among `targets`, whose last is `OTHER_WORD`."""
    word = words[0].text.lower() if words else OTHER_WORD
    return targets.index(word) if word in targets else len(targets) - 1

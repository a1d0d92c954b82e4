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


Ends = Float[np.ndarray, "positions"]


def overlapping(words: Sequence[SpokenWord], ends_s: Ends) -> tuple[tuple[int, ...], ...]:
    """Return for each position the indices of the words that are heard in it.

    Args:
        words: on the clock.
        ends_s: when each position ends; it begins where the one before it ends, the first at 0.
    """
    return tuple(
        tuple(i for i, word in enumerate(words) if word.start_s < end and word.end_s > start)
        for start, end in zip((0.0, *ends_s[:-1]), ends_s, strict=True)
    )


def letter_bags(words: Sequence[SpokenWord], ends_s: Ends) -> Float[np.ndarray, "positions letters"]:
    """Return at each position the share of each letter of `LETTERS` in the words heard there; zeros in pauses."""
    bags = np.zeros((len(ends_s), len(LETTERS)))
    for position, here in enumerate(overlapping(words, ends_s)):
        letters = [LETTERS.index(c) for i in here for c in words[i].text.lower() if c in LETTERS]
        for letter in letters:
            bags[position, letter] += 1 / len(letters)
    return bags


def energy_db(
    samples: Float[np.ndarray, "samples"],  # noqa: F821 - jaxtyping axis name
    ends_s: Ends,
) -> Float[np.ndarray, "positions"]:  # noqa: F821
    """Return the level of each position in dB of full scale, floored at -70 dB; past the sound it is silence."""
    edges = np.round(np.array([0.0, *ends_s]) * SAMPLE_RATE_HZ).astype(int)
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    inside = np.minimum(edges, len(samples))
    rms = np.sqrt(np.diff(energy[inside]) / np.maximum(np.diff(edges), 1))
    return np.maximum(20 * np.log10(rms + 1e-12), ENERGY_FLOOR_DB)


def first_word(words: Sequence[SpokenWord], targets: Sequence[str]) -> int:
    """Return the class of the clip's first word among `targets`, whose last is `OTHER_WORD`."""
    word = words[0].text.lower() if words else OTHER_WORD
    return targets.index(word) if word in targets else len(targets) - 1

"""What each erasure condition is about, as numbers at a clip's audio positions.

Fitting (`precompute erasers`) and the live bench use the same definitions, so that a live score and a fitted
eraser speak of the same thing.
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


def concept_score(
    condition: str,
    predicted: Float[np.ndarray, "positions targets"],
    *,
    targets: Sequence[str],
    words: Sequence[SpokenWord],
    samples: Float[np.ndarray, "samples"],  # noqa: F821
    ends_s: Ends,
) -> float | None:
    """Return how well a probe's outputs over one clip match the clip.

    text: share of positions where the probe names the clip's first word; boc: correlation of read and true
    letter shares; acoustic: correlation of read and true level. None for ctc (its labels come from the
    transcriber's own head, which a run does not have) and where the clip gives nothing to compare.
    """
    if condition == "text" and words:
        return float((predicted.argmax(1) == first_word(words, targets)).mean())
    if condition == "boc" and words:
        return _correlation(predicted.ravel(), letter_bags(words, ends_s).ravel())
    if condition == "acoustic":
        return _correlation(predicted[:, targets.index("energy")], energy_db(samples, ends_s))
    return None


LIVE_MEASURES = {
    "text": "share of positions where a probe reads the first word",
    "ctc": "not scored on one clip",
    "boc": "correlation of read with true letters",
    "acoustic": "correlation of read with true loudness",
}


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    # A probe's rounding noise on erased states must not count as a reading.
    if len(a) < 3 or a.std() < 1e-6 or b.std() < 1e-9:
        return 0.0 if len(a) >= 3 and b.std() >= 1e-9 else None
    return float(np.corrcoef(a, b)[0, 1])

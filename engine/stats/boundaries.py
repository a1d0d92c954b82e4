"""Where the phases of an interleaved model begin, with their uncertainty over groups of clips.

After arXiv 2606.22473, which tells three phases in words; where each one lies is our definition: the layer with the
highest R of the current word, the one with the highest R of the next word, and the first layer after that at which
less than half of the probability is on text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from engine.stats.intervals import LEVEL, N_RESAMPLES, Estimate, resample_counts

SPEECH_BELOW = 0.5  # of the probability on text and unit tokens
FIRST_SHARE = 0.5  # of the peak: where the first phase is said to begin
METHOD = f"percentile bootstrap, {N_RESAMPLES:,} resamples of groups"
NO_UNITS = "The model has no units, so there is no return to speech."
NEVER = "No layer after the next word's peak has less than half of the probability on text."

Curves = Float[np.ndarray, "*resamples layers"]


@dataclass(frozen=True)
class Boundaries:
    """The phases' layers.

    Attributes:
        current, following: layer of the highest R of the current and the next word; the lowest of equals.
        speech: first layer after `following` with a text share below one half; NaN where there is none.
        apart: layers from `current` to `following`; negative where the order is the other way round.
        in_order: share of resamples in which `apart` is above 0.
        without_speech: share of resamples that have no such layer.
    """

    current: Estimate
    following: Estimate
    speech: Estimate
    apart: Estimate
    in_order: float
    without_speech: float


def excess_of(sums: Float[np.ndarray, "*places three"]) -> Float[np.ndarray, "*places"]:
    """Return R, (hits - control) / words, from sums of these three; NaN without words."""
    hits, control, n_words = (sums[..., column] for column in range(3))
    empty = np.full(np.shape(n_words), math.nan)
    return np.asarray(np.divide(hits - control, n_words, out=empty, where=n_words > 0))


def phase_boundaries(
    current: Float[np.ndarray, "groups layers three"],
    following: Float[np.ndarray, "groups layers three"],
    share: Float[np.ndarray, "groups layers two"] | None,
    *,
    seed: int,
) -> Boundaries:
    """Return the phases with 95 % intervals over resampled groups.

    A boundary is a layer, so its interval holds whole layers; it says where the layer would fall on other clips of
    the kind, not how flat the curve is.

    Args:
        current: hits, control's hits and words of each group at each layer, for the word being spoken.
        following: the same for the next word.
        share: sum of the text share over positions, and positions; None for a model without units.
        seed: of the resampling.
    """
    n_groups = len(current)
    counts = resample_counts(n_groups, N_RESAMPLES, seed)
    peaks, samples = [], []
    for sums in (current, following):
        peaks.append(float(_peak(excess_of(sums.sum(0)))))
        flat = counts @ sums.reshape(n_groups, -1)
        samples.append(_peak(excess_of(flat.reshape(-1, *sums.shape[1:]))))
    speech, speech_samples, why = math.nan, np.full(N_RESAMPLES, math.nan), NO_UNITS
    if share is not None:
        flat = (counts @ share.reshape(n_groups, -1)).reshape(-1, *share.shape[1:])
        speech = float(_first_speech(share.sum(0)[None], np.array([peaks[1]]))[0])
        speech_samples, why = _first_speech(flat, samples[1]), NEVER
    between = samples[1] - samples[0]
    return Boundaries(
        _estimate(peaks[0], samples[0], n_groups, ""),
        _estimate(peaks[1], samples[1], n_groups, ""),
        _estimate(speech, speech_samples, n_groups, why),
        _estimate(peaks[1] - peaks[0], between, n_groups, ""),
        in_order=float((between > 0).mean()),
        without_speech=float(np.isnan(speech_samples).mean()),
    )


def first_phase(excess: Curves) -> tuple[int, ...]:
    """Return the first phase: layers from the first with half of the peak's R up to the peak; () if R is never > 0."""
    peak = int(_peak(excess))
    if not excess[peak] > 0:
        return ()
    begin = next(layer for layer in range(peak + 1) if excess[layer] >= FIRST_SHARE * excess[peak])
    return tuple(range(begin, peak + 1))


def _peak(curves: Curves) -> np.ndarray:
    return np.asarray(np.nan_to_num(curves, nan=-math.inf).argmax(-1))


def _first_speech(
    sums: Float[np.ndarray, "resamples layers two"], after: np.ndarray
) -> Float[np.ndarray, "resamples"]:  # noqa: F821 - jaxtyping axis name
    share = sums[..., 0] / np.maximum(sums[..., 1], 1)
    later = np.arange(share.shape[-1])[None] > after[:, None]
    found = later & (share < SPEECH_BELOW)
    return np.where(found.any(-1), found.argmax(-1), math.nan)


def _estimate(value: float, samples: np.ndarray, n_groups: int, why: str) -> Estimate:
    known = samples[~np.isnan(samples)]
    if math.isnan(value) or n_groups < 2 or not len(known):
        return Estimate(value, math.nan, math.nan, n_groups, METHOD, why if math.isnan(value) else "")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), n_groups, METHOD)

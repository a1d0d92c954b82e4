"""Changes to training clips that widen a few synthetic voices towards all voices.

In time: speed with pitch, rooms, noise, babble, clipping. In the mel spectrum: vocal-tract length
(warped filters), equalisation, band limits, masks. Without them an unseen engine was not understood at all.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import soxr
import torch
from jaxtyping import Float
from scipy.signal import fftconvolve
from torch import Tensor
from transformers import WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from engine.audio import SAMPLE_RATE_HZ

N_MELS = 80
HOP_SAMPLES = 160
N_FFT = 400
WARPS = np.round(np.arange(0.82, 1.181, 0.04), 2)


@dataclass(frozen=True)
class Strength:
    """How hard to augment: 0 leaves clips as they are, 1 is the full recipe of the late training."""

    value: float

    def happens(self, chance: float, rng: random.Random) -> bool:
        """Draw whether a change of this full chance is made now."""
        return rng.random() < chance * self.value


@dataclass(frozen=True)
class Changed:
    """A changed clip at 16 kHz; what was at t seconds is now at t / speed + lead_s."""

    wave: Float[np.ndarray, "samples"]  # noqa: F821 - jaxtyping axis name
    speed: float
    lead_s: float


def change_waveform(
    samples: np.ndarray, rate_hz: int, others: list[np.ndarray], strength: Strength, rng: random.Random
) -> Changed:
    """Return the clip with speed, room, noise, silence and level drawn anew.

    `others` are clips to make babble of. The speed change also moves pitch and formants.
    """
    speed = rng.uniform(1 - 0.14 * strength.value, 1 + 0.14 * strength.value)
    wave = soxr.resample(samples.astype(np.float32), rate_hz, SAMPLE_RATE_HZ / speed, quality="LQ")
    if strength.happens(0.35, rng):
        wave = _in_a_room(wave, rng)
    lead = np.zeros(round(SAMPLE_RATE_HZ * rng.uniform(0, 0.5)), np.float32)
    tail = np.zeros(round(SAMPLE_RATE_HZ * rng.uniform(0, 0.4)), np.float32)
    wave = np.concatenate([lead, wave, tail])
    if strength.happens(0.6, rng):
        wave = wave + _noise(wave, others, rng)
    if strength.happens(0.1, rng):
        limit = np.quantile(np.abs(wave), 0.985) + 1e-4
        wave = np.clip(wave, -limit, limit)
    level = 10 ** rng.uniform(-1.3, -0.05)
    wave = (level * wave / (np.abs(wave).max() + 1e-6)).astype(np.float32)
    return Changed(wave, speed, len(lead) / SAMPLE_RATE_HZ)


def _in_a_room(wave: np.ndarray, rng: random.Random) -> np.ndarray:
    """Convolve with decaying noise behind a direct path: a room of 0.1 to 0.5 s reverberation time."""
    generator = np.random.default_rng(rng.getrandbits(32))
    decay_s = rng.uniform(0.1, 0.5)
    time_s = np.arange(round(decay_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tail = generator.standard_normal(len(time_s)) * 10 ** (-3 * time_s / decay_s)
    tail *= rng.uniform(0.15, 0.6) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    return fftconvolve(wave, tail.astype(np.float32))[: len(wave) + 1600].astype(np.float32)


def _noise(wave: np.ndarray, others: list[np.ndarray], rng: random.Random) -> np.ndarray:
    generator = np.random.default_rng(rng.getrandbits(32))
    kind = rng.choice(("white", "pink", "hum", "babble", "babble"))
    n = len(wave)
    if kind == "babble" and len(others) >= 3:
        talkers = rng.sample(others, rng.randint(2, min(6, len(others))))
        noise = np.sum([np.resize(talker, n) for talker in talkers], axis=0)
        snr_db = rng.uniform(3, 25)
    else:
        spectrum = np.fft.rfft(generator.standard_normal(n))
        slope = {"white": 0.0, "pink": 0.5}.get(kind, 1.0)
        noise = np.fft.irfft(spectrum / np.maximum(1, np.arange(len(spectrum))) ** slope, n)
        snr_db = rng.uniform(5, 35)
    scale = np.sqrt((wave**2).mean() / ((noise**2).mean() + 1e-12) / 10 ** (snr_db / 10))
    return (scale * noise).astype(np.float32)


class MelFront:
    """Log-mel features as Whisper computes them, with optional warps; equal to the library's when plain."""

    def __init__(self, window_s: int) -> None:
        extractor = WhisperFeatureExtractor(feature_size=N_MELS, chunk_length=window_s)
        self._plain = torch.tensor(extractor.mel_filters, dtype=torch.float32)
        self._warped = [torch.tensor(_warped_filters(warp), dtype=torch.float32) for warp in WARPS]
        self._window = torch.hann_window(N_FFT)

    def __call__(
        self, waves: Tensor, strength: Strength, rng: random.Random
    ) -> Float[Tensor, "clips mels frames"]:
        """Return features of waves [clips, samples]; samples must be a multiple of 160."""
        transform = torch.stft(waves, N_FFT, HOP_SAMPLES, window=self._window, return_complex=True)
        power = transform[..., :-1].abs() ** 2
        filters = torch.stack([self._draw_filters(strength, rng) for _ in range(len(waves))])
        mel = torch.einsum("cfm,cft->cmt", filters, power)
        if strength.value:
            mel = mel * self._equalisers(len(waves), strength, rng)
        logs = mel.clamp(min=1e-10).log10()
        logs = torch.maximum(logs, logs.amax((1, 2), keepdim=True) - 8.0)
        features = (logs + 4.0) / 4.0
        return _mask(features, strength, rng)

    def _draw_filters(self, strength: Strength, rng: random.Random) -> Tensor:
        if strength.happens(0.7, rng):
            return self._warped[rng.randrange(len(WARPS))]
        return self._plain

    def _equalisers(self, n_clips: int, strength: Strength, rng: random.Random) -> Tensor:
        """Smooth random gains of up to 12 dB over the mel bins, and at times a telephone's band."""
        gains = torch.ones(n_clips, N_MELS, 1)
        grid = np.linspace(0, 1, N_MELS)
        for clip in range(n_clips):
            if strength.happens(0.7, rng):
                knots = [rng.uniform(-12, 12) for _ in range(5)]
                decibels = np.interp(grid, np.linspace(0, 1, 5), knots)
                gains[clip, :, 0] = torch.tensor(10 ** (decibels / 10), dtype=torch.float32)
            if strength.happens(0.15, rng):
                gains[clip, : rng.randint(2, 8)] *= 1e-3
                gains[clip, rng.randint(58, 72) :] *= 1e-3
        return gains


def _warped_filters(warp: float) -> np.ndarray:
    """Return mel filters whose centres are moved by a vocal tract `warp` times as short."""
    bank = mel_filter_bank(
        num_frequency_bins=1 + N_FFT // 2,
        num_mel_filters=N_MELS,
        min_frequency=0.0,
        max_frequency=8000.0,
        sampling_rate=SAMPLE_RATE_HZ,
        norm="slaney",
        mel_scale="slaney",
    )
    bins = np.arange(bank.shape[0], dtype=float)
    source = np.minimum(bins * warp, bank.shape[0] - 1)
    return np.stack([np.interp(source, bins, bank[:, m]) for m in range(N_MELS)], axis=1)


def _mask(features: Tensor, strength: Strength, rng: random.Random) -> Tensor:
    """Hide up to two bands and two short spans (SpecAugment, arXiv 1904.08779) by each clip's mean."""
    n_frames = features.shape[-1]
    for clip in features:
        mean = clip.mean()
        for _ in range(2):
            if strength.happens(0.45, rng):
                low = rng.randrange(N_MELS - 12)
                clip[low : low + rng.randint(2, 12)] = mean
            if strength.happens(0.35, rng):
                start = rng.randrange(max(1, n_frames - 14))
                clip[:, start : start + rng.randint(3, 14)] = mean
    return features

"""Fitting the mini's speech units: which layer of the mini-Whisper's encoder, and its k-means centres.

The layer is chosen by a rule stated beforehand: the one whose units tell most about the letter being spoken, on
sentences that the centres were not fitted on (phone-normalised mutual information of HuBERT, arXiv 2106.07447,
section 4; letters for phones, a word's time shared evenly among its letters, because espeak-ng gives word times).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import MiniBatchKMeans

from engine.audio import clip_from_samples
from engine.systems.unit_lm import FRAME_S, WhisperFrames, nearest
from engine.words import SpokenWord
from precompute.mini.synth import render
from precompute.mini.voices import draw_prosody, train_voices

K_UNITS = 200
UNITS_SEED = 41
LAYER_FIT_CLIPS, LAYER_JUDGE_CLIPS, CENTRES_CLIPS = 300, 200, 1_500
SILENCE = ""


def say_plain(text: str, seed: str) -> tuple[np.ndarray, tuple[SpokenWord, ...]]:
    """Return 16 kHz samples and word times of a text in a training voice of espeak-ng drawn by this seed."""
    rng = random.Random(f"{UNITS_SEED}|{seed}|{text}")
    voice = rng.choice([voice for voice in train_voices() if voice.engine == "espeak"])
    rendering = render(text, voice, draw_prosody(rng))
    return clip_from_samples(rendering.samples, rendering.rate_hz, text).samples, rendering.words


def letters_at(words: Sequence[SpokenWord], n_frames: int) -> list[str]:
    """Return the letter being spoken at the centre of each frame; "" where there is no word."""
    letters = [SILENCE] * n_frames
    for word in words:
        length = max(word.end_s - word.start_s, 1e-6)
        for frame in range(n_frames):
            share = ((frame + 0.5) * FRAME_S - word.start_s) / length
            if 0 <= share < 1:
                letters[frame] = word.text[int(share * len(word.text))]
    return letters


def normalised_information(units: Int[np.ndarray, "frames"], letters: Sequence[str]) -> float:  # noqa: F821
    """Return I(letter; unit) / H(letter), 0 to 1; nan where only one letter occurs."""
    _, rows = np.unique(units, return_inverse=True)
    _, columns = np.unique(np.array(letters), return_inverse=True)
    if not columns.any():
        return float("nan")
    joint = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(joint, (rows, columns), 1 / len(units))
    of_unit, of_letter = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
    seen = joint > 0
    information = (joint[seen] * np.log(joint[seen] / (of_unit * of_letter)[seen])).sum()
    entropy = -(of_letter * np.log(of_letter)).sum()
    return float(information / entropy)


def fit_centres(
    features: Float[np.ndarray, "frames width"], k: int = K_UNITS
) -> Float[np.ndarray, "k width"]:
    """Return seeded k-means centres."""
    fitted = MiniBatchKMeans(k, batch_size=4_096, n_init=3, max_iter=200, random_state=UNITS_SEED).fit(
        features
    )
    return np.asarray(fitted.cluster_centers_, np.float32)


def information_by_layer(
    encoder: WhisperFrames, fit: Sequence[str], judge: Sequence[str], k: int = K_UNITS
) -> dict[int, float]:
    """Return what each layer's units tell about letters.

    Args:
        encoder: whose layers are compared.
        fit: texts whose speech the centres are fitted on.
        judge: texts whose speech they are judged on; none of the others.
        k: number of units.
    """
    fitted = np.concatenate([encoder.every_layer(say_plain(text, "layer")[0]) for text in fit])
    judged, letters = [], []
    for text in judge:
        samples, words = say_plain(text, "judge")
        judged.append(encoder.every_layer(samples))
        letters += letters_at(words, len(judged[-1]))
    held_out = np.concatenate(judged)
    return {
        layer: normalised_information(nearest(held_out[:, layer], fit_centres(fitted[:, layer], k)), letters)
        for layer in range(fitted.shape[1])
    }


def draw_texts(texts: Sequence[str], n: int, purpose: str) -> list[str]:
    """Return up to `n` texts drawn by this purpose's seed."""
    return random.Random(f"{UNITS_SEED}|{purpose}").sample(list(texts), min(n, len(texts)))

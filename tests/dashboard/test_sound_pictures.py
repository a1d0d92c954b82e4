"""The spectrogram of the view is librosa's, without the seconds that librosa compiles at its first use."""

from __future__ import annotations

import numpy as np
import pytest

from dashboard.components import sound_pictures
from dashboard.components.sound_pictures import FLOOR_DB, MEL_BANDS, mel_picture
from engine.compiled import import_librosa


@pytest.mark.parametrize("seconds", [0.1, 2.0, 30.0])
def test_the_picture_is_that_of_librosas_mel_bands(seconds: float) -> None:
    librosa = import_librosa()
    rng = np.random.default_rng(0)
    n = int(16_000 * seconds)
    waveform = (np.sin(np.arange(n) ** 1.2 / 50) * 0.3 + rng.standard_normal(n) * 0.01).astype(np.float32)
    picture = mel_picture(waveform)
    hop = max(80, -(-n // sound_pictures._count(n, 30, sound_pictures.MEL_COLUMNS)))
    window = int(2 ** np.ceil(np.log2(max(512, min(hop, 4096)))))
    power = librosa.feature.melspectrogram(
        y=waveform, sr=16_000, n_fft=window, hop_length=hop, n_mels=MEL_BANDS, fmax=8_000
    )
    decibel = 10 * np.log10(np.maximum(power, 1e-12))
    wanted = np.clip((decibel - decibel.max()) / -FLOOR_DB + 1, 0, 1) * 255
    assert picture.shape == wanted.shape
    assert np.abs(picture - wanted).max() < 1

"""A clip as a request carries it: the very samples to 16 bits, and never more than a service takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.audio import AudioClip, load_clip
from engine.errors import ServiceError
from engine.systems.remote import check_request_size, wav_of

LIMIT_BYTES = 14_998_500  # of a WAV: in base64 a third more, and 2,000 bytes around it


def test_the_file_holds_the_clip(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 4001).astype(np.float32)
    samples[:2] = (1.0, -1.0)
    file = tmp_path / "clip.wav"
    file.write_bytes(wav_of(AudioClip(samples, "clip.wav")))
    away = np.abs(load_clip(file).samples - samples)
    assert away[0] == 2**-15  # full scale itself is one step beyond 16 bits
    assert away[1:].max() <= 2**-16


def test_the_limit_counts_base64_and_the_words() -> None:
    check_request_size("Fake", bytes(LIMIT_BYTES), "")
    for wav, words in ((bytes(LIMIT_BYTES + 3), ""), (bytes(LIMIT_BYTES), "é")):
        with pytest.raises(ServiceError) as caught:
            check_request_size("Fake", wav, words)
        sentence = "The clip makes a request of 20.0 MB and Fake takes 20 MB; cut out the part you need."
        assert str(caught.value) == sentence

"""Facts about the transcriber's encoder read layer by layer: it is CTranslate2's own, to rounding."""

from __future__ import annotations

import ctranslate2
import numpy as np
import pytest
import torch

from engine.checks import probe_clip
from engine.systems.weights import MODELS
from engine.systems.whisper import WhisperEars

FOLDER = MODELS / "mini-whisper"
needs_weights = pytest.mark.skipif(not (FOLDER / "model.bin").exists(), reason="mini-whisper is not here")


@needs_weights
def test_the_last_layer_is_what_ctranslate2_encodes() -> None:
    ears = WhisperEars(FOLDER)
    samples = probe_clip(1.3).samples
    mel, n_frames = ears.features(samples)
    whole = ctranslate2.models.Whisper(str(FOLDER), device="cpu", compute_type="float32").encode(
        ctranslate2.StorageView.from_array(np.ascontiguousarray(mel[None].numpy()))
    )
    states = ears.layer_states(samples)
    assert sorted(states) == list(range(6)) and n_frames == 130 and len(states[5]) == 65
    with torch.inference_mode():
        ours = ears.encoder.layer_norm(states[5]).numpy()
    reference = np.array(whole)[0, :65]
    assert np.abs(ours - reference).max() < 1e-3 * np.abs(reference).max()
    assert np.abs(states[4].numpy() - states[5].numpy()).max() > 0.1, (
        "layers differ, so the last one was meant"
    )

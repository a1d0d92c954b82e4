"""The encoder of a shipped transcriber with its layers in reach: the control of the probes.

CTranslate2 hands out the encoder's last states alone: its file's weights are put into transformers' encoder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from engine.audio import SAMPLE_RATE_HZ
from engine.ctranslate2_file import read_arrays
from engine.systems.audio_tower import layer_states
from engine.systems.checkpoint import load_strictly
from engine.systems.whisper_weights import encoder_tensors, whisper_config

HOP_SAMPLES = 160


class WhisperEars:
    """A Whisper encoder, float32; it hears whole windows, silence included, as the transcriber does.

    Attributes:
        encoder: transformers' module with the transcriber's weights.
    """

    seconds_per_position = 2 * HOP_SAMPLES / SAMPLE_RATE_HZ

    def __init__(self, folder: Path) -> None:
        arrays = read_arrays(folder / "model.bin")
        self.encoder = WhisperEncoder(whisper_config(arrays))
        load_strictly(self.encoder, encoder_tensors(arrays), folder.name)
        self.encoder.float().eval().requires_grad_(False)
        self._features = WhisperFeatureExtractor.from_pretrained(folder)

    @torch.inference_mode()
    def layer_states(self, samples: np.ndarray) -> dict[int, Float[Tensor, "frames d_audio"]]:
        """Return the states of one clip of at most one window, 20 ms each: 0 is what the first layer receives."""
        mel, n_frames = self.features(samples)
        valid = (n_frames - 1) // 2 + 1
        return {n: states[0, :valid] for n, states in enumerate(layer_states(self.encoder, mel[None], None))}

    def features(self, samples: np.ndarray) -> tuple[Float[Tensor, "mels frames"], int]:
        """Return the whole window's log-mel features, and how many frames of 10 ms are the clip's."""
        features = self._features(
            samples, sampling_rate=SAMPLE_RATE_HZ, padding="max_length", return_tensors="pt"
        )
        return features.input_features[0], max(1, -(-len(samples) // HOP_SAMPLES))

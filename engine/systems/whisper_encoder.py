"""The encoder of a shipped transcriber with its layers in reach: the control of the probes.

CTranslate2 hands out the encoder's last states alone: its file's weights are put into transformers' encoder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from engine.audio import SAMPLE_RATE_HZ
from engine.ctranslate2_file import n_encoder_layers, read_arrays
from engine.systems.audio_tower import layer_states
from engine.systems.checkpoint import load_strictly

HOP_SAMPLES = 160
_NORM = {"gamma": "weight", "beta": "bias"}
_ATTENTION = ("q_proj", "k_proj", "v_proj")


class WhisperEars:
    """A Whisper encoder, float32; it hears whole windows, silence included, as the transcriber does.

    Attributes:
        encoder: transformers' module with the transcriber's weights.
    """

    seconds_per_position = 2 * HOP_SAMPLES / SAMPLE_RATE_HZ

    def __init__(self, folder: Path) -> None:
        arrays = read_arrays(folder / "model.bin")
        n_layers = n_encoder_layers(arrays)
        positions, width = arrays["encoder/position_encodings/encodings"].shape
        config = WhisperConfig(
            d_model=width,
            num_mel_bins=arrays["encoder/conv1/weight"].shape[1],
            encoder_layers=n_layers,
            encoder_attention_heads=int(arrays["encoder/num_heads"]),
            encoder_ffn_dim=arrays["encoder/layer_0/ffn/linear_0/weight"].shape[0],
            max_source_positions=positions,
        )
        self.encoder = WhisperEncoder(config)
        load_strictly(self.encoder, _tensors(arrays, n_layers), folder.name)
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


def _tensors(arrays: dict[str, np.ndarray], n_layers: int) -> dict[str, Tensor]:
    """Return the encoder's tensors under transformers' names; keys have no bias, there as here."""
    found = {"embed_positions.weight": arrays["encoder/position_encodings/encodings"]}
    for conv in ("conv1", "conv2"):
        found |= {f"{conv}.{part}": arrays[f"encoder/{conv}/{part}"] for part in ("weight", "bias")}
    norms = {"layer_norm": "encoder/layer_norm"}
    for layer in range(n_layers):
        ours, theirs = f"layers.{layer}", f"encoder/layer_{layer}"
        norms[f"{ours}.self_attn_layer_norm"] = f"{theirs}/self_attention/layer_norm"
        norms[f"{ours}.final_layer_norm"] = f"{theirs}/ffn/layer_norm"
        for part in ("weight", "bias"):
            joint = np.split(arrays[f"{theirs}/self_attention/linear_0/{part}"], 3)
            found |= {
                f"{ours}.self_attn.{name}.{part}": piece
                for name, piece in zip(_ATTENTION, joint, strict=True)
            }
            found[f"{ours}.self_attn.out_proj.{part}"] = arrays[f"{theirs}/self_attention/linear_1/{part}"]
            found[f"{ours}.fc1.{part}"] = arrays[f"{theirs}/ffn/linear_0/{part}"]
            found[f"{ours}.fc2.{part}"] = arrays[f"{theirs}/ffn/linear_1/{part}"]
        assert not found.pop(f"{ours}.self_attn.k_proj.bias").any(), "a key's bias would be lost"
    for ours, theirs in norms.items():
        found |= {f"{ours}.{_NORM[part]}": arrays[f"{theirs}/{part}"] for part in _NORM}
    return {name: torch.from_numpy(np.array(array, np.float32)) for name, array in found.items()}

"""The encoder of a shipped transcriber with its layers in reach: the control of the probes.

CTranslate2 hands out the encoder's last states alone. Its file is read here (version 6 of the format that
`ctranslate2.specs.model_spec` writes: names, shapes, numbers) and the weights are put into transformers' encoder.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from engine.audio import SAMPLE_RATE_HZ
from engine.errors import ModelFilesError
from engine.systems.audio_tower import layer_states
from engine.systems.checkpoint import load_strictly

FORMAT = 6
HOP_SAMPLES = 160
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
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
        n_layers = (
            len({name.split("/")[1] for name in arrays if name.startswith("encoder/layer_")}) - 1
        )  # layer_norm is none
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


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a CTranslate2 file by name; whole-number weights are scaled back to float32.

    Raises:
        ModelFilesError: the file is missing, cut off, or of another version.
    """
    try:
        data = file.read_bytes()
        arrays = _parse(data)
    except (OSError, struct.error, KeyError, ValueError) as error:
        raise ModelFilesError(
            f"{file.parent.name}/{file.name} cannot be read; restore the folder."
        ) from error
    scaled = {}
    for name, array in arrays.items():
        if (scale := arrays.get(f"{name}_scale")) is not None:
            array = array / scale.reshape(-1, *[1] * (array.ndim - 1))
        scaled[name] = array.astype(np.float32) if array.dtype.kind == "f" else array
    return scaled


def _parse(data: bytes) -> dict[str, np.ndarray]:
    place = 0

    def number(kind: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{kind}", data, place)
        place += struct.calcsize(f"<{kind}")
        return int(value)

    def text() -> str:
        nonlocal place
        length = number("H")
        place += length
        return data[place - length : place - 1].decode()

    if number("I") != FORMAT:
        raise ValueError("another version")
    text(), number("I")  # the kind of model and its revision
    arrays = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        dtype, n_bytes = _DTYPES[number("B")], number("I")
        arrays[name] = np.frombuffer(data, dtype, math.prod(shape), place).reshape(shape)
        place += n_bytes
    return arrays


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

"""Qwen2-Audio: a Whisper-like encoder, pooling by two, one linear map, and a language model trained further.

The published layout (Qwen/Qwen2-Audio-7B-Instruct): one folder with `audio_tower.*`, `multi_modal_projector.*`
and `language_model.*`. The text side is `text_llm`'s, so that a cascade can run the very same modules.
transformers' own forward is not called: it encodes whole windows and cuts clips after the first.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Qwen2AudioConfig, WhisperFeatureExtractor
from transformers.models.qwen2_audio.modeling_qwen2_audio import (
    Qwen2AudioEncoder,
    Qwen2AudioMultiModalProjector,
)

from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.errors import ModelFilesError
from engine.systems.base import CLIP_MARK, Heard
from engine.systems.catalogue import SystemSpec
from engine.systems.text_llm import USER_TEMPLATE, OnBackbone, TextLLM, make_ears, read_ears_beside
from engine.systems.whisper import HOP_SAMPLES, check_window, encode_mel, unnormed_states

POOLED_STATES = 2
SHORTEST_FRAMES = 3  # of 10 ms; a shorter clip has no position
# What the published processor writes around a clip, where the tokenizer knows the marks.
AUDIO_BEGINS, AUDIO_ENDS = "<|audio_bos|>", "<|audio_eos|>"
MARKED_TEMPLATE = f"Audio 1: {AUDIO_BEGINS}{CLIP_MARK}{AUDIO_ENDS}\n{{instruction}}"


class Qwen2AudioEars(nn.Module):
    """Audio tower and projector, in the checkpoint's own names."""

    def __init__(self, config: Any) -> None:  # a Qwen2AudioConfig, whose parts are typed too widely
        super().__init__()
        self.audio_tower = Qwen2AudioEncoder(config.audio_config)
        self.multi_modal_projector = Qwen2AudioMultiModalProjector(config)

    def forward(
        self,
        mel: Float[Tensor, "clips mels frames"],
        mel_lengths: Int[Tensor, "clips"],  # noqa: F821 - jaxtyping axis name
    ) -> Float[Tensor, "clips tokens d_text"]:
        """Return embeddings; a clip's own are its first `token_counts`."""
        states = unnormed_states(self.audio_tower, mel, mel_lengths)
        pooled = self.audio_tower.avg_pooler(states.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.multi_modal_projector(self.audio_tower.layer_norm(pooled))
        return out

    def token_counts(self, mel_lengths: Int[Tensor, "clips"]) -> Int[Tensor, "clips"]:  # noqa: F821
        """Return whole pairs of valid encoder states for each clip; an odd last state is dropped."""
        return ((mel_lengths - 1) // 2 + 1) // POOLED_STATES


class Qwen2Audio(OnBackbone):
    """A speech LLM with a language model of its own; see `engine.systems.base.WhiteBoxSystem`."""

    def __init__(self, spec: SystemSpec, folder: Path, backbone: TextLLM) -> None:
        super().__init__(spec, backbone)  # whose fingerprint is of this folder: the backbone lies in it
        try:
            config: Any = Qwen2AudioConfig.from_pretrained(folder)
            self._features = WhisperFeatureExtractor.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise ModelFilesError(f"{spec.name} could not be loaded: {type(error).__name__}.") from error
        tensors = read_ears_beside(folder)
        self.ears = make_ears(lambda: Qwen2AudioEars(config), tensors, backbone, spec.name)
        self._window_samples = int(config.audio_config.max_source_positions) * 2 * HOP_SAMPLES
        check_window(self._features.n_samples, self._window_samples, spec.name)
        marks = backbone.tokenizer.get_vocab()
        self.template = MARKED_TEMPLATE if AUDIO_BEGINS in marks else USER_TEMPLATE

    @property
    def seconds_per_position(self) -> float:
        """Clock width of one audio position: two mel frames a state, two states a position."""
        return 2 * POOLED_STATES * HOP_SAMPLES / SAMPLE_RATE_HZ

    @property
    def frames_per_position(self) -> int:
        """Encoder states that make one audio position."""
        return POOLED_STATES

    @torch.inference_mode()
    def hear(self, clip: AudioClip) -> Heard:
        """Return the projected embeddings of a clip; longer ones are heard window by window.

        The published processor cuts a clip at its first window, and what came after would be lost.
        """
        started = time.perf_counter()
        pieces = []
        for start in range(0, max(1, len(clip.samples)), self._window_samples):
            mel, n_frames = self.features(clip.samples[start : start + self._window_samples])
            length = torch.tensor([n_frames], device=mel.device)
            pieces.append(self.ears(mel[None], length)[0, : int(self.ears.token_counts(length)[0])])
        embeddings = torch.cat(pieces)
        return Heard(embeddings, self.seconds_per_position, "", (), time.perf_counter() - started)

    @torch.inference_mode()
    def frames(self, samples: np.ndarray) -> Float[Tensor, "frames d_audio"]:
        """Return the audio tower's normed states of one clip of at most one window, 20 ms each, not pooled."""
        mel, n_frames = self.features(samples)
        length = torch.tensor([n_frames], device=mel.device)
        states = encode_mel(self.ears.audio_tower, mel[None], length)[0]
        return states[: (n_frames - 1) // 2 + 1]

    def features(self, samples: np.ndarray) -> tuple[Float[Tensor, "mels frames"], int]:
        """Return log-mel features of at most one window of 16 kHz samples, and how many frames are the clip's.

        They are the whole window's, cut two frames behind the clip: masked states look no further.
        """
        padded = np.pad(samples, (0, max(0, SHORTEST_FRAMES * HOP_SAMPLES - len(samples))))
        features = self._features(
            padded, sampling_rate=SAMPLE_RATE_HZ, padding="max_length", return_tensors="pt"
        )
        n_frames = -(-len(padded) // HOP_SAMPLES)
        width = min(self._window_samples // HOP_SAMPLES, n_frames + 2 + n_frames % 2)
        weight = self.ears.audio_tower.conv1.weight
        return features.input_features[0][:, :width].to(weight.device, weight.dtype), n_frames

"""Voxtral: a Whisper encoder over whole windows, a projector that joins four states, and a language model.

The published layout (mistralai/Voxtral-Mini-3B-2507): one folder with `audio_tower.*`, `multi_modal_projector.*` and
`language_model.*`; the tokenizer is Mistral's own file. The text side is `text_llm`'s, for a cascade's use as well.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import VoxtralConfig, WhisperFeatureExtractor
from transformers.models.voxtral.modeling_voxtral import VoxtralEncoder, VoxtralMultiModalProjector

from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.errors import ModelFilesError
from engine.systems.base import CLIP_MARK, Heard
from engine.systems.catalogue import SystemSpec
from engine.systems.text_llm import OnBackbone, TextLLM, make_ears, read_ears_beside
from engine.systems.whisper import HOP_SAMPLES, check_window

AUDIO_BEGINS = "[BEGIN_AUDIO]"
MARKED_TEMPLATE = f"{AUDIO_BEGINS}{CLIP_MARK}{{instruction}}"


class VoxtralEars(nn.Module):
    """Audio tower and projector, in the checkpoint's own names."""

    def __init__(self, config: Any) -> None:  # a VoxtralConfig, whose parts are typed too widely
        super().__init__()
        self.audio_tower = VoxtralEncoder(config.audio_config)
        self.multi_modal_projector = VoxtralMultiModalProjector(config)
        # Four states side by side are as wide as the tower's inner layer, by which the published code names it.
        self.joined_width = int(config.audio_config.intermediate_size)

    def forward(self, mel: Float[Tensor, "windows mels frames"]) -> Float[Tensor, "tokens d_text"]:
        """Return the embeddings of whole windows, one behind the other."""
        states = self.audio_tower(mel).last_hidden_state
        out: Tensor = self.multi_modal_projector(states.reshape(-1, self.joined_width))
        return out


class Voxtral(OnBackbone):
    """A speech LLM with a language model of its own; see `engine.systems.base.WhiteBoxSystem`.

    Silence fills a clip's last window up to 30 s, and has positions like sound: the model hears it so.
    """

    def __init__(self, spec: SystemSpec, folder: Path, backbone: TextLLM) -> None:
        super().__init__(spec, backbone)  # whose fingerprint is of this folder: the backbone lies in it
        try:
            config: Any = VoxtralConfig.from_pretrained(folder)
            self._features = WhisperFeatureExtractor.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise ModelFilesError(f"{spec.name} could not be loaded: {type(error).__name__}.") from error
        tensors = read_ears_beside(folder)
        self.ears = make_ears(lambda: VoxtralEars(config), tensors, backbone, spec.name)
        self._window_frames = 2 * int(config.audio_config.max_source_positions)
        check_window(self._features.n_samples, self._window_frames * HOP_SAMPLES, spec.name)
        if AUDIO_BEGINS not in backbone.tokenizer.get_vocab():
            raise ModelFilesError(f"{spec.name}: its tokenizer lacks {AUDIO_BEGINS}; restore tekken.json.")
        self.template = MARKED_TEMPLATE

    @property
    def seconds_per_position(self) -> float:
        """Clock width of one audio position: two mel frames a state, four states a position."""
        return 2 * self.frames_per_position * HOP_SAMPLES / SAMPLE_RATE_HZ

    @property
    def frames_per_position(self) -> int:
        """Encoder states that make one audio position."""
        return self.ears.joined_width // int(self.ears.audio_tower.conv1.out_channels)

    @torch.inference_mode()
    def hear(self, clip: AudioClip) -> Heard:
        """Return the projected embeddings of a clip, those of the silence behind it included."""
        started = time.perf_counter()
        embeddings = self.ears(self._windows(clip.samples))
        return Heard(embeddings, self.seconds_per_position, "", (), time.perf_counter() - started)

    @torch.inference_mode()
    def frames(self, samples: np.ndarray) -> Float[Tensor, "frames d_audio"]:
        """Return the audio tower's normed states of one clip of at most one window, 20 ms each."""
        states: Tensor = self.ears.audio_tower(self._windows(samples)).last_hidden_state[0]
        n_frames = max(1, -(-len(samples) // HOP_SAMPLES))
        return states[: (n_frames - 1) // 2 + 1]

    def features(self, samples: np.ndarray) -> tuple[Float[Tensor, "mels frames"], int]:
        """Return log-mel features of at most one window, and how many frames of 10 ms are the clip's."""
        return self._windows(samples)[0], max(1, -(-len(samples) // HOP_SAMPLES))

    def _windows(self, samples: np.ndarray) -> Float[Tensor, "windows mels frames"]:
        """Return log-mel features of 16 kHz samples, padded to whole windows; scaled once over the whole clip."""
        padded = np.pad(samples, (0, 1)) if len(samples) == 0 else samples
        features = self._features(
            padded,
            sampling_rate=SAMPLE_RATE_HZ,
            padding="longest",
            pad_to_multiple_of=self._features.n_samples,
            truncation=False,
            return_tensors="pt",
        )
        mel = features.input_features[0]
        windows = mel.reshape(mel.shape[0], -1, self._window_frames).transpose(0, 1)
        weight = self.ears.audio_tower.conv1.weight
        return windows.to(weight.device, weight.dtype)

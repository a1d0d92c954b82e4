"""Ultravox: a Whisper encoder, a frame-stacking projector and a frozen text LLM that another system may share.

Our own implementation of the published architecture (fixie-ai/ultravox at 648efe7, v0.4 to v0.6). The minis have its
file layout; `ultravox_checkpoint` reads that and the older ones, and the base models from folders of their own.
ultravox-smollm2 has one thing more: its projector was taught letters, and `letter_readout` hands them to the LLM as
expected embeddings of its own tokens.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.errors import ModelFilesError
from engine.systems.audio_tower import encode_mel
from engine.systems.base import Heard, Prepared
from engine.systems.catalogue import SystemSpec
from engine.systems.expectation import expected_embeddings
from engine.systems.fingerprints import fingerprint
from engine.systems.letter_readout import SYMBOLS, LetterReadout
from engine.systems.text_llm import TextLLM, make_ears
from engine.systems.ultravox_checkpoint import LETTER_READOUT, Bases, read_ears, read_feature_extractor

HOP_SAMPLES = 160
SHORTEST_SAMPLES = 320
RMS_EPSILON = 1e-6


class RMSNorm(nn.Module):
    """x * weight / rms(x), computed in float32."""

    def __init__(self, width: int, init: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), init))

    def forward(self, states: Tensor) -> Tensor:
        """Return the normed states in their own dtype."""
        exact = states.float()
        normed = exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + RMS_EPSILON)
        return (self.weight * normed.to(self.weight.dtype)).to(states.dtype)


class UltravoxProjector(nn.Module):
    """Stacked encoder frames to backbone embeddings: norm, linear, SwiGLU, norm, linear (v0.5 order).

    With `ln_mid` False the last norm comes after the second linear map, as up to v0.4.1. No biases.
    """

    def __init__(
        self, d_audio: int, d_text: int, *, hidden: int, stack_factor: int, ln_mid: bool, norm_init: float
    ) -> None:
        super().__init__()
        self.stack_factor = stack_factor
        self.ln_pre = RMSNorm(d_audio * stack_factor, norm_init)
        self.linear_1 = nn.Linear(d_audio * stack_factor, hidden, bias=False)
        self.linear_2 = nn.Linear(hidden // 2, d_text, bias=False)
        self.ln_mid = RMSNorm(hidden // 2, norm_init) if ln_mid else None
        self.ln_post = None if ln_mid else RMSNorm(d_text, norm_init)

    def forward(self, frames: Float[Tensor, "clips frames d_audio"]) -> Float[Tensor, "clips tokens d_text"]:
        """Return ceil(frames / stack_factor) embeddings for each clip."""
        clips, n_frames, width = frames.shape
        frames = nn.functional.pad(frames, (0, 0, 0, -n_frames % self.stack_factor))
        stacked = frames.reshape(clips, -1, width * self.stack_factor)
        value, gate = self.linear_1(self.ln_pre(stacked)).chunk(2, dim=-1)
        hidden = nn.functional.silu(gate) * value
        if self.ln_mid is not None:
            hidden = self.ln_mid(hidden)
        out: Tensor = self.linear_2(hidden)
        return out if self.ln_post is None else self.ln_post(out)


class UltravoxEars(nn.Module):
    """Audio tower and projector: the part of Ultravox that is trained."""

    def __init__(self, config: dict[str, Any], d_text: int) -> None:
        super().__init__()
        audio = WhisperConfig(**config["audio_config"])
        self.audio_tower = WhisperEncoder(audio)
        # Encoder states, though the published training files speak of 10 ms frames: the code counts states.
        self.block: int | None = config.get("audio_latency_block_size")
        self.multi_modal_projector = UltravoxProjector(
            audio.d_model,
            d_text,
            hidden=config["hidden_size"],
            stack_factor=config["stack_factor"],
            # Checkpoints older than v0.5 do not have the key and norm after the second map.
            ln_mid=config.get("projector_ln_mid", False),
            norm_init=config.get("norm_init", 0.4),
        )
        if LETTER_READOUT in config:
            self.ctc_head = nn.Linear(d_text, SYMBOLS)

    def forward(
        self,
        mel: Float[Tensor, "clips mels frames"],
        mel_lengths: Int[Tensor, "clips"],  # noqa: F821
        *,
        keep_beyond: bool = False,
    ) -> Float[Tensor, "clips tokens d_text"]:
        """Return embeddings; a clip's own are its first `token_counts`.

        `keep_beyond` fills a clip's last stack with the states of the padding, as the published code does.
        """
        states = encode_mel(self.audio_tower, mel, mel_lengths, block=self.block)
        if keep_beyond:
            kept: Tensor = self.multi_modal_projector(states)
            return kept
        valid = (mel_lengths - 1) // 2 + 1
        beyond = torch.arange(states.shape[1], device=states.device)[None] >= valid[:, None]
        # Alone, a clip's last stack is filled with zeros; the same in a batch, so that batch equals single.
        out: Tensor = self.multi_modal_projector(states.masked_fill(beyond[..., None], 0.0))
        return out

    def token_counts(self, mel_lengths: Int[Tensor, "clips"]) -> Int[Tensor, "clips"]:  # noqa: F821
        """Return ceil(mel frames / (2 x stack factor)) for each clip."""
        per_token = 2 * self.multi_modal_projector.stack_factor
        return -(-mel_lengths // per_token)


class Ultravox:
    """A speech LLM on a shared backbone; see `engine.systems.base.WhiteBoxSystem` for the attributes.

    With `bases` it is a published checkpoint, whose base models lie there, and hears bit by bit as the published
    code does, which pads what follows the first window; without, one of ours, trained on padding of zeros.
    """

    def __init__(self, spec: SystemSpec, folder: Path, backbone: TextLLM, bases: Bases | None = None) -> None:
        self.spec = spec
        files = read_ears(folder, bases, spec.name)
        embedding = cast(Tensor, backbone.embedding.weight)
        self.ears = make_ears(
            lambda: UltravoxEars(files.config, int(embedding.shape[1])), files.tensors, backbone, spec.name
        )
        tower = self.ears.audio_tower
        self._features = read_feature_extractor(folder, bases, int(tower.conv1.in_channels))
        self._window_frames = 2 * int(tower.embed_positions.weight.shape[0])
        if self.ears.block is not None and self._window_frames % self.ears.block:
            raise ModelFilesError(
                f"{spec.name}: audio_latency_block_size {self.ears.block} does not divide the window of "
                f"{self._window_frames} frames; restore config.json."
            )
        settings = files.config.get(LETTER_READOUT)
        self._letters = settings and LetterReadout(
            backbone.tokenizer, prior_scale=settings["prior_scale"], token_bonus=settings["token_bonus"]
        )
        self.temperature = settings["temperature"] if settings else 1.0
        self._published = bases is not None and settings is None
        self._backbone = backbone
        self.tokenizer = backbone.tokenizer
        self.language_model = backbone.language_model
        self.decoder_layers = backbone.decoder_layers
        self.final_norm = backbone.final_norm
        self.unembedding = backbone.unembedding
        if settings is None:
            text = bases.text if bases else folder.parent / files.config["text_model_id"]
            self.fingerprint = fingerprint([*files.folders, text])
        else:  # the readout shapes the states too
            named = (
                f"{fingerprint(files.folders)}|{backbone.fingerprint}|{json.dumps(settings, sort_keys=True)}"
            )
            self.fingerprint = hashlib.sha256(named.encode()).hexdigest()

    @property
    def seconds_per_position(self) -> float:
        """Clock width of one audio position: two mel frames a state, `stack_factor` states a position."""
        return 2 * self.frames_per_position * HOP_SAMPLES / SAMPLE_RATE_HZ

    @property
    def frames_per_position(self) -> int:
        """Encoder states that make one audio position."""
        return self.ears.multi_modal_projector.stack_factor

    @torch.inference_mode()
    def hear(self, clip: AudioClip) -> Heard:
        """Return the projected embeddings of a clip; longer ones are heard window by window."""
        started = time.perf_counter()
        mel, n_frames = self.features(clip.samples)
        pieces = []
        for start in range(0, n_frames, self._window_frames):
            chunk = mel[:, start : min(n_frames, start + self._window_frames)]
            length = torch.tensor([chunk.shape[-1]], device=chunk.device)
            chunk = self._filled(chunk, is_first=start == 0)
            embedded = self.ears(chunk[None], length, keep_beyond=self._published)
            pieces.append(embedded[0, : int(self.ears.token_counts(length)[0])])
        projected = torch.cat(pieces)
        if self._letters is None:
            return Heard(projected, self.seconds_per_position, "", (), time.perf_counter() - started)
        embeddings, ends_s = self._read_letters(projected)
        # The mean width: positions are as long as words are said.
        width_s = clip.duration_s / len(ends_s)
        return Heard(embeddings, width_s, "", (), time.perf_counter() - started, ends_s)

    def _read_letters(self, projected: Tensor) -> tuple[Float[Tensor, "tokens d_text"], np.ndarray]:
        """Return what the letters' posterior says in the LLM's own tokens, and when each of these ends, in seconds."""
        assert self._letters is not None
        log_probabilities = self.ears.ctc_head(projected).float().log_softmax(-1)
        found = self._letters.read(log_probabilities.cpu().numpy(), temperature=self.temperature)
        table = cast(Tensor, self._backbone.embedding.weight)
        tokens, weights = (torch.from_numpy(one).to(table.device) for one in (found.tokens, found.weights))
        return expected_embeddings(table, tokens, weights), found.ends * self.seconds_per_position

    @torch.inference_mode()
    def frames(self, samples: np.ndarray) -> Float[Tensor, "frames d_audio"]:
        """Return the audio tower's normed states of one clip of at most one window, 20 ms each."""
        mel, n_frames = self.features(samples)
        filled = self._filled(mel, is_first=True)
        length = torch.tensor([n_frames], device=mel.device)
        return encode_mel(self.ears.audio_tower, filled[None], length, block=self.ears.block)[0]

    def prepare(self, heard: Heard, instruction: str) -> Prepared:
        """Return the prompt with the audio embeddings in the clip's place."""
        return self._backbone.prepare(heard, instruction)

    def features(self, samples: np.ndarray) -> tuple[Float[Tensor, "mels frames"], int]:
        """Return log-mel features of 16 kHz samples and their number of 10 ms frames; not padded to a window."""
        padded = np.pad(samples, (0, max(0, SHORTEST_SAMPLES - len(samples))))
        features = self._features(
            padded,
            sampling_rate=SAMPLE_RATE_HZ,
            padding="longest",
            pad_to_multiple_of=HOP_SAMPLES,
            truncation=False,
            return_attention_mask=True,
            return_tensors="pt",
        )
        n_frames = -(-len(padded) // HOP_SAMPLES)
        weight = self.ears.audio_tower.conv1.weight
        return features.input_features[0][:, :n_frames].to(weight.device, weight.dtype), n_frames

    def _filled(self, mel: Float[Tensor, "mels frames"], *, is_first: bool) -> Float[Tensor, "mels filled"]:
        """Return one window's features with the frames behind them that its encoder was trained to see."""
        n_frames = mel.shape[-1]
        if not self._published:
            return nn.functional.pad(mel, (0, n_frames % 2))
        return mel if is_first else nn.functional.pad(mel, (0, self._window_frames - n_frames))

"""Tiny real systems with random weights, on disk in the shipped layouts: a Llama, an Ultravox, erasers.

The weights are larger than a fresh model's, and the norms are not 1: a fault in layer order or a norm applied
twice would else change next to nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, WhisperFeatureExtractor

from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.probes import LETTERS, OTHER_WORD, energy_db, first_word, letter_bags
from engine.systems.cascade import Transcriber
from engine.systems.catalogue import get_spec
from engine.systems.text_llm import TextLLM
from engine.systems.ultravox import Ultravox, UltravoxEars
from engine.words import SpokenWord, even_ends
from precompute.mini.fit_erasers import LabelledClip, fit_and_prove
from precompute.mini.tokens import chat_tokenizer, train_text_tokenizer

D_MODEL, N_LAYERS = 32, 3
D_AUDIO, STACK_FACTOR, WINDOW_S = 16, 8, 2
SENTENCES = (
    "the queen scored three goals in the match today",
    "the market fell after the bank raised its rates",
    "which word is the last one in this line",
    "the new phone was great but the screen was dull",
    "Repeat what was said. Is this positive or negative?",
    "World, Sports, Business or Sci/Tech",
)
TARGET_WORDS = ("queen", "bank", OTHER_WORD)


WORDS = (SpokenWord("the", 0.0, 0.4), SpokenWord("queen", 0.4, 1.0))


class FixedWords(Transcriber):
    """Hears the same words in every clip; only the weights are faked."""

    def __init__(self) -> None:
        self.clips: list[AudioClip] = []

    def transcribe(self, clip: AudioClip) -> tuple[str, tuple[SpokenWord, ...]]:
        self.clips.append(clip)
        return "the queen", WORDS


class FromFolder(FixedWords):
    """The same, made as the registry makes a transcriber."""

    def __init__(self, folder: Path, *, max_tokens: int) -> None:
        super().__init__()
        assert folder.name == "mini-whisper" and max_tokens == 64


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """The minis' own kind of tokenizer, over a few sentences: about 400 ids."""
    return chat_tokenizer(train_text_tokenizer(SENTENCES))


def randomise_norms(module: nn.Module) -> None:
    for name, weight in module.named_parameters():
        if "norm" in name or ".ln_" in name:
            nn.init.uniform_(weight, 0.5, 1.5)


def write_backbone(folder: Path, seed: int = 1) -> Path:
    """A Llama of 3 layers with its tokenizer, float32."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=D_MODEL,
        intermediate_size=48,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    randomise_norms(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def ears_config(
    ln_mid: bool = True, window_s: int = WINDOW_S, text_model_id: str = "mini-llama"
) -> dict[str, Any]:
    """The published keys; without `projector_ln_mid` the norm comes last, as in checkpoints before v0.5."""
    config: dict[str, Any] = {
        "model_type": "ultravox",
        "audio_config": {
            "model_type": "whisper",
            "d_model": D_AUDIO,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "num_mel_bins": 80,
            "max_source_positions": window_s * 50,
        },
        "text_model_id": text_model_id,
        "hidden_size": 24,
        "stack_factor": STACK_FACTOR,
        "projector_act": "swiglu",
        "norm_init": 0.4,
    }
    return config | ({"projector_ln_mid": True} if ln_mid else {})


def write_ears(folder: Path, config: dict[str, Any], seed: int = 2) -> Path:
    """Audio tower and projector in the published layout, float32."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    ears = UltravoxEars(config, D_MODEL)
    for name, weight in ears.named_parameters():
        if weight.ndim > 1 and "embed_positions" not in name:
            nn.init.normal_(weight, std=0.2)
    randomise_norms(ears)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    WhisperFeatureExtractor(feature_size=80, chunk_length=WINDOW_S).save_pretrained(folder)
    save_file({name: t.contiguous() for name, t in ears.state_dict().items()}, folder / "model.safetensors")
    return folder


def load_ultravox(models: Path, backbone: TextLLM) -> Ultravox:
    return Ultravox(get_spec("mini-ultravox"), models / "mini-ultravox", backbone)


def sound(duration_s: float, seed: int = 0) -> AudioClip:
    """Noise that swells and fades, so that no two stretches are alike."""
    n_samples = round(duration_s * SAMPLE_RATE_HZ)
    swell = 0.6 + 0.4 * np.sin(np.arange(n_samples) / SAMPLE_RATE_HZ * 9 + seed)
    noise = np.random.default_rng(seed).standard_normal(n_samples)
    return AudioClip((0.05 * swell * noise).astype(np.float32), f"sound {seed}")


def write_erasers(system: Ultravox, folder: Path, n_clips: int = 24) -> None:
    """Fit all four conditions on the system's own states, over words drawn for each clip, and prove them on others."""
    fit, held = labelled(system, range(n_clips)), labelled(system, range(n_clips, n_clips + 12))
    fit_and_prove(system, fit, held, TARGETS, folder, ("tiny clips", "other tiny clips"), {"seed": 0})


TARGETS = {"text": TARGET_WORDS, "ctc": ("low", "high"), "boc": LETTERS, "acoustic": ("pitch", "energy")}


def labelled(system: Ultravox, seeds: range) -> list[LabelledClip]:
    clips = []
    for seed in seeds:
        clip = sound(1.7, seed)
        words = (SpokenWord(("queen", "bank", "last")[seed % 3], 0.0, 0.9), SpokenWord("match", 0.9, 1.7))
        prepared = system.prepare(system.hear(clip), "Repeat what was said.")
        start, stop = prepared.span
        width_s, n_positions = system.seconds_per_position, stop - start
        level = energy_db(clip.samples, even_ends(n_positions, width_s))
        labels = {
            "text": np.eye(len(TARGET_WORDS))[[first_word(words, TARGET_WORDS)] * n_positions],
            "ctc": np.eye(2)[(level > np.median(level)).astype(int)],
            "boc": letter_bags(words, even_ends(n_positions, width_s)),
            "acoustic": np.stack([np.sin(level), level], axis=1),
        }
        clips.append(LabelledClip(prepared, {key: torch.tensor(rows) for key, rows in labels.items()}, seed))
    return clips

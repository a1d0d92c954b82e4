"""Every published checkpoint by its folder's name in one models folder: tiny, with random weights, in its own layout.

What the registry loads by a published key, it loads from here by the same code. About 20 MB.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from transformers import Phi3Config, Phi3ForCausalLM

from engine.systems.catalogue import SYSTEMS
from engine.systems.weights import CHECKPOINTS, PINNED
from tests.engine.published import spread
from tests.engine.tiny_phi4 import phi4_tokenizer, write_phi4
from tests.engine.tiny_qwen2_audio import marked_tokenizer, write_qwen2, write_qwen2_audio
from tests.engine.tiny_systems import D_MODEL
from tests.engine.tiny_ultravox import write_llama, write_ultravox, write_whisper
from tests.engine.tiny_voxtral import write_voxtral
from tests.engine.tiny_whisper import write_faster_whisper

WINDOW_S = 30
WHISPER = "whisper-large-v3-turbo"
# Folder of an Ultravox -> the text model that its config names, as the hub calls it.
ULTRAVOX = {
    "ultravox-v0_6-llama-3_1-8b": "meta-llama/Llama-3.1-8B-Instruct",
    # The id that this model had when v0.5 was published.
    "ultravox-v0_5-llama-3_1-8b": "meta-llama/Meta-Llama-3.1-8B-Instruct",
    "ultravox-v0_5-llama-3_2-1b": "meta-llama/Llama-3.2-1B-Instruct",
}


def write_models_folder(models: Path) -> Path:
    """Write a folder for every name of `engine.systems.weights.CHECKPOINTS`, and return `models`."""
    models.mkdir(parents=True, exist_ok=True)
    _write_ultravoxes(models)
    for seed, name in enumerate(("llama-3.1-8b-instruct", "llama-3.2-1b-instruct")):
        write_llama(models / name, seed)
    for seed, name in enumerate(("qwen2-7b-instruct", "qwen2.5-7b-instruct")):
        write_qwen2(models / name, seed)
    write_phi3(models / "phi-4-mini-instruct")
    for seed, name in enumerate(("qwen2-audio-7b-instruct", "qwen2-audio-7b")):
        write_qwen2_audio(models / name, marked_tokenizer(), WINDOW_S, seed)
    write_phi4(models / "phi-4-multimodal")
    write_voxtral(models / "voxtral-mini-3b-2507")
    write_faster_whisper(models / "faster-whisper-small", n_mels=80)
    write_faster_whisper(models / "faster-whisper-large-v3", n_mels=128)
    # Of another size, and alike in its files.
    shutil.copytree(models / "faster-whisper-large-v3", models / "faster-whisper-large-v3-turbo")
    named = {folder for spec in SYSTEMS.values() for folder in spec.folders}
    assert {folder.name for folder in models.iterdir()} == named & (set(CHECKPOINTS) - set(PINNED))
    return models


def write_small_profile(models: Path) -> tuple[str, ...]:
    """Write what the profile `small` needs alone, in a third of the time, and return the folders' names."""
    models.mkdir(parents=True, exist_ok=True)
    _write_ultravoxes(models)
    write_llama(models / "llama-3.2-1b-instruct")
    write_faster_whisper(models / "faster-whisper-small")
    return "ultravox-v0_5-llama-3_2-1b", WHISPER, "llama-3.2-1b-instruct", "faster-whisper-small"


def write_phi3(folder: Path) -> Path:
    """A Phi-4-mini, which is of transformers' Phi-3 class, with the chat of Phi-4."""
    tokenizer = phi4_tokenizer()
    end = tokenizer.get_vocab()["<|endoftext|>"]
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=D_MODEL,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        original_max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=end,
        pad_token_id=end,
        eos_token_id=[end, tokenizer.get_vocab()["<|end|>"]],
    )
    torch.manual_seed(13)
    model = Phi3ForCausalLM(config)
    spread(model, 13)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _write_ultravoxes(models: Path) -> None:
    whisper = models / WHISPER
    encoder = write_whisper(whisper)
    for name, text_model in ULTRAVOX.items():
        write_ultravox(models / name, whisper, encoder, "merged")
        file = models / name / "config.json"
        config = json.loads(file.read_text(encoding="utf-8")) | {"text_model_id": text_model}
        file.write_text(json.dumps(config), encoding="utf-8")
    # Of this one the catalogue fetches no weights: a merged Ultravox holds its tower.
    for file in whisper.glob("*.safetensors"):
        file.unlink()
    (whisper / "generation_config.json").unlink(missing_ok=True)

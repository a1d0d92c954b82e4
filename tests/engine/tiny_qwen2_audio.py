"""A tiny Qwen2 and a tiny Qwen2-Audio with random weights, written by transformers in the published layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    WhisperFeatureExtractor,
)

from precompute.mini.tokens import AUDIO_MARK, chat_tokenizer, train_text_tokenizer
from tests.engine.published import spread
from tests.engine.tiny_systems import D_AUDIO, D_MODEL, N_LAYERS, SENTENCES, WINDOW_S, randomise_norms

MARKS = ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>")


def tiny_audio_tokenizer() -> PreTrainedTokenizerFast:
    """The minis' own kind of tokenizer with the mark that stands for a clip's positions."""
    return chat_tokenizer(train_text_tokenizer(SENTENCES), extra=(AUDIO_MARK,))


def marked_tokenizer() -> PreTrainedTokenizerFast:
    """The same with the published marks around a clip."""
    marks = (AUDIO_MARK, "<|audio_bos|>", "<|audio_eos|>")
    return chat_tokenizer(train_text_tokenizer(SENTENCES), extra=marks)


def text_config(tokenizer: PreTrainedTokenizerFast) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=D_MODEL,
        intermediate_size=48,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def write_qwen2(folder: Path, seed: int = 3) -> Path:
    """A Qwen2 of 3 layers with its tokenizer, float32."""
    tokenizer = tiny_audio_tokenizer()
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(text_config(tokenizer))
    randomise(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def new_qwen2_audio(
    tokenizer: PreTrainedTokenizerFast, *, window_s: int = WINDOW_S, seed: int = 4
) -> Qwen2AudioForConditionalGeneration:
    """transformers' own model, random; `window_s` seconds are its encoder's positions."""
    torch.manual_seed(seed)
    audio: dict[str, Any] = {
        "model_type": "qwen2_audio_encoder",
        "d_model": D_AUDIO,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "num_mel_bins": 80,
        "max_source_positions": window_s * 50,
        "initializer_range": 0.2,
    }
    config = Qwen2AudioConfig(
        audio_config=audio,
        text_config=text_config(tokenizer).to_dict(),
        audio_token_index=tokenizer.convert_tokens_to_ids(AUDIO_MARK),
    )
    model = Qwen2AudioForConditionalGeneration(config)
    randomise(model)
    return model.eval().requires_grad_(False)


def randomise(model: nn.Module) -> None:
    """Norms that are not 1, biases that are not 0, and an encoder whose output depends on what it is given."""
    randomise_norms(model)
    for name, weight in model.named_parameters():
        is_bias = name.endswith("bias") and "norm" not in name
        is_map = "audio_tower" in name and weight.ndim > 1 and "embed_positions" not in name
        if is_bias or is_map:
            nn.init.normal_(weight, std=0.2)


def write_qwen2_audio(
    folder: Path, tokenizer: PreTrainedTokenizerFast, window_s: int = WINDOW_S, seed: int = 4
) -> Path:
    """The published layout: one folder, in shards, with config, feature extractor and tokenizer."""
    model = new_qwen2_audio(tokenizer, window_s=window_s, seed=seed)
    model.save_pretrained(folder, max_shard_size="60KB")
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80, chunk_length=window_s).save_pretrained(folder)
    return folder


def write_published(folder: Path) -> Path:
    """The 7B model's own layout: shards with an index, and no chat template, which is in the processor's code."""
    tokenizer = chat_tokenizer(train_text_tokenizer(SENTENCES), extra=MARKS)
    tokenizer.chat_template, tokenizer.eos_token = None, "<|endoftext|>"
    audio = {
        "model_type": "qwen2_audio_encoder",
        "d_model": 16,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "num_mel_bins": 128,
        "max_source_positions": 1500,
    }
    text = {
        "model_type": "qwen2",
        "vocab_size": len(tokenizer) + 8,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000,
    }
    mark = tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    torch.manual_seed(10)
    model = Qwen2AudioForConditionalGeneration(
        Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=mark)
    )
    spread(model, 10)
    model.save_pretrained(folder, max_shard_size="60KB")
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=128).save_pretrained(folder)
    return folder

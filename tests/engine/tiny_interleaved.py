"""A tiny unit language model with random weights in the published layout, with a tiny HuBERT and its centres."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import HubertConfig, HubertModel, PreTrainedModel, Qwen2ForCausalLM

from engine.systems.text_llm import read_tokenizer
from engine.systems.unit_lm import PREFIX, UnitParts, published_parts
from tests.engine.tiny_qwen2_audio import text_config, write_qwen2
from tests.engine.tiny_systems import randomise_norms

K = 12
WIDTH = 16


def write_hubert(folder: Path, **changes: Any) -> Path:
    """A HuBERT of 11 layers with frames of 40 ms."""
    torch.manual_seed(5)
    settings: dict[str, Any] = {
        "hidden_size": WIDTH,
        "num_hidden_layers": 11,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "conv_dim": (8,) * 8,
        "conv_stride": (5, 2, 2, 2, 2, 2, 2, 2),
        "conv_kernel": (10, 3, 3, 3, 3, 2, 2, 2),
        "num_feat_extract_layers": 8,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
        "initializer_range": 0.5,
    }
    HubertModel(HubertConfig(**(settings | changes))).save_pretrained(folder)
    return folder


def write_centres(file: Path, k: int = K) -> Path:
    np.savez(file, centres=np.random.default_rng(3).standard_normal((k, WIDTH)).astype(np.float32))
    return file


def write_units_model(folder: Path, text: Path, *, k: int = K, tied: bool = False) -> PreTrainedModel:
    """Write the model as slamkit does and return it, the plain causal LM, as it was."""
    tokenizer: Any = read_tokenizer(text)
    inner = text_config(tokenizer).to_dict()
    config = text_config(tokenizer)
    config.vocab_size = len(tokenizer) + k + 2
    config.tie_word_embeddings = tied
    torch.manual_seed(6)
    model = Qwen2ForCausalLM(config).eval()
    randomise_norms(model)
    tensors = {PREFIX + name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if tied:
        del tensors[PREFIX + "lm_head.weight"]
    outer = {
        "model_type": "speech_language_model",
        "architectures": ["UnitLM"],
        "vocab_size": config.vocab_size,
        "base_config": inner | {"tie_word_embeddings": tied},
    }
    write_files(folder, outer, tensors)
    return model


def write_files(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(tensors, folder / "model.safetensors")


def write_parts(folder: Path, k: int = K) -> UnitParts:
    """Text model, HuBERT and centres, read as a published model's parts."""
    text = write_qwen2(folder / "text")
    hubert = write_hubert(folder / "hubert")
    return published_parts(text, hubert, write_centres(folder / "centres.npz", k))

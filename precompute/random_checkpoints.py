"""Checkpoints of the published shapes without their weights: files of holes, which take no room on the disk.

They have the published layout, so that the product's own loader reads them; `draw_weights` then fills the modules
with random numbers where they lie. Shapes are those of the published configs (Llama-3.1-8B with Ultravox v0.6,
Qwen2-Audio-7B, Phi-4-Multimodal); "tiny" is the same in small, for a machine without a GPU.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Phi4MultimodalConfig,
    Phi4MultimodalFeatureExtractor,
    Phi4MultimodalForCausalLM,
    Qwen2AudioConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    WhisperFeatureExtractor,
)

from engine.systems.catalogue import get_spec
from engine.systems.checkpoint import INLINE_PREFIX
from engine.systems.phi4_multimodal import ADAPTED, ADAPTERS
from engine.systems.qwen2_audio import Qwen2AudioEars
from engine.systems.ultravox import UltravoxEars
from precompute.mini.tokens import chat_tokenizer, train_text_tokenizer

Scale = Literal["full", "tiny"]
WEIGHT_STD = 0.02
STORED = {torch.bfloat16: "BF16", torch.float32: "F32", torch.int64: "I64", torch.bool: "BOOL"}
ONE_IN_BF16 = b"\x80\x3f"
N_MELS = 128
SPEECH_LORA_RANK = {"full": 320, "tiny": 4}
MARKS = ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<|audio|>", "<|image|>", "<|end|>", "<|endoftext|>")
SENTENCES = ("which word is the last one in this line", "the market fell after the bank raised its rates")
# Width, inner width, layers, heads and key-value heads of each text LLM; then of the audio towers.
TEXT = {
    "llama": {"full": (4096, 14336, 32, 32, 8, 128256), "tiny": (64, 96, 2, 4, 2, 512)},
    "qwen2": {"full": (4096, 11008, 32, 32, 32, 156032), "tiny": (64, 96, 2, 4, 4, 512)},
    "phi4": {"full": (3072, 8192, 32, 24, 8, 200064), "tiny": (64, 96, 2, 2, 2, 512)},
}
TOWER = {"full": (1280, 5120, 32, 20), "tiny": (32, 64, 2, 2)}


def _text(which: str, scale: Scale) -> dict[str, Any]:
    width, inner, layers, heads, kv_heads, vocabulary = TEXT[which][scale]
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "rms_norm_eps": 1e-5,
    }


def _tower(scale: Scale, kind: str) -> dict[str, Any]:
    width, inner, layers, heads = TOWER[scale]
    return {
        "model_type": kind,
        "d_model": width,
        "encoder_layers": layers,
        "encoder_attention_heads": heads,
        "encoder_ffn_dim": inner,
        "num_mel_bins": N_MELS,
        "max_source_positions": 1500,
    }


def write_ultravox(models: Path, key: str, scale: Scale) -> None:
    """Write Ultravox v0.6 8B, its Llama, and the Whisper folder that it names."""
    spec = get_spec(key)
    assert spec.folder is not None
    config = LlamaConfig(**_text("llama", scale), max_position_embeddings=131_072)
    ears = {
        "model_type": "ultravox",
        "audio_config": _tower(scale, "whisper"),
        "text_model_id": "meta-llama/Llama-3.1-8B-Instruct",
        "hidden_size": config.hidden_size,
        "stack_factor": 8,
        "projector_act": "swiglu",
        "projector_ln_mid": True,
    }
    _write(models / spec.backbone, config.to_dict(), _shapes(lambda: LlamaForCausalLM(config)))
    _write(models / spec.folder, ears, _shapes(lambda: UltravoxEars(ears, int(config.hidden_size))))
    WhisperFeatureExtractor(feature_size=N_MELS).save_pretrained(models / spec.folder)
    (models / spec.audio_base).mkdir(parents=True)
    (models / spec.audio_base / "config.json").write_text(json.dumps(ears["audio_config"]), encoding="utf-8")


def write_qwen2_audio(models: Path, key: str, scale: Scale) -> None:
    """Write Qwen2-Audio-7B, whose folder holds its language model."""
    text = _text("qwen2", scale)
    config = Qwen2AudioConfig(
        audio_config=_tower(scale, "qwen2_audio_encoder"), text_config={"model_type": "qwen2", **text}
    )
    llm = _shapes(lambda: Qwen2ForCausalLM(Qwen2Config(**text)))
    shapes = {INLINE_PREFIX + name: shape for name, shape in llm.items()}
    _write(models / key, config.to_dict(), shapes | _shapes(lambda: Qwen2AudioEars(config)))
    WhisperFeatureExtractor(feature_size=N_MELS).save_pretrained(models / key)


def write_phi4(models: Path, key: str, scale: Scale) -> None:
    """Write Phi-4-Multimodal and its speech adapters."""
    settings = _text("phi4", scale)
    n_angles = int(0.75 * settings["hidden_size"] / settings["num_attention_heads"]) // 2
    rotation = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "partial_rotary_factor": 0.75,
        "short_factor": [1.0] * n_angles,
        "long_factor": [1.0] * n_angles,
    }
    small: dict[str, Any] = {}
    if scale == "tiny":
        audio = {"hidden_size": 32, "intermediate_size": 48, "num_blocks": 2, "num_attention_heads": 2}
        audio |= {"ext_pw_out_channel": 32, "depthwise_separable_out_channel": 32, "nemo_conv_channels": 16}
        vision = {
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        }
        small = {"audio_config": audio, "vision_config": vision | {"image_size": 56, "crop_size": 56}}
    config = Phi4MultimodalConfig(
        **settings,
        **small,
        rope_parameters=rotation,
        tie_word_embeddings=True,
        original_max_position_embeddings=4096,
        max_position_embeddings=131_072,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=1,
    )
    shapes = _shapes(lambda: Phi4MultimodalForCausalLM(config))
    shapes.pop("lm_head.weight", None)  # tied, and so published
    _write(models / key, config.to_dict(), shapes)
    Phi4MultimodalFeatureExtractor().save_pretrained(models / key)
    _write_adapters(models / key / ADAPTERS, shapes, int(config.num_hidden_layers), SPEECH_LORA_RANK[scale])


WRITERS: Mapping[str, Callable[[Path, str, Scale], None]] = {
    "ultravox": write_ultravox,
    "qwen2_audio": write_qwen2_audio,
    "phi4_multimodal": write_phi4,
}


@torch.no_grad()
def draw_weights(module: nn.Module, seed: int) -> None:
    """Fill a module where it lies: Gaussian matrices, norms of 1, biases of 0; nothing is widened or moved."""
    torch.manual_seed(seed)
    for name, weight in module.named_parameters():
        if weight.ndim > 1:
            weight.normal_(0.0, WEIGHT_STD)
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)


Shapes = dict[str, tuple[tuple[int, ...], str]]


def _shapes(build: Callable[[], nn.Module]) -> Shapes:
    """Return name -> shape and stored type of a module's tensors; nothing is allocated."""
    with torch.device("meta"):
        module = build()
    return {
        name: (tuple(tensor.shape), "BF16" if tensor.is_floating_point() else STORED[tensor.dtype])
        for name, tensor in module.state_dict().items()
    }


def _write(folder: Path, config: Mapping[str, Any], shapes: Shapes) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = chat_tokenizer(train_text_tokenizer(SENTENCES), extra=MARKS)
    tokenizer.save_pretrained(folder)
    _write_holes(folder / "model.safetensors", shapes)


def _write_adapters(folder: Path, shapes: Shapes, n_layers: int, rank: int) -> None:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "lora_alpha": 2 * rank}))
    factors: Shapes = {}
    for name in (f"model.layers.{layer}.{part}" for layer in range(n_layers) for part in ADAPTED):
        d_out, d_in = shapes[f"{name}.weight"][0]
        factors[f"base_model.model.{name}.lora_A.weight"] = (rank, d_in), "BF16"
        factors[f"base_model.model.{name}.lora_B.weight"] = (d_out, rank), "BF16"
    # Adapters that change nothing are refused: one number is not zero.
    _write_holes(folder / "adapter_model.safetensors", factors, last=ONE_IN_BF16)


def _write_holes(file: Path, shapes: Shapes, last: bytes = b"") -> None:
    """Write a safetensors file whose numbers are holes, as the hub's cache keeps it: a link to a named blob.

    The name stands for what is in it, so that nothing hashes gigabytes of zeros.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (shape, stored) in shapes.items():
        begin, end = end, end + _n_bytes(shape, stored)
        header[name] = {"dtype": stored, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    blob = file.parent / "blobs" / hashlib.sha256(text).hexdigest()
    blob.parent.mkdir()
    with blob.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)
        if last:
            stream.seek(8 + len(text) + end - len(last))
            stream.write(last)
    file.symlink_to(blob)


def _n_bytes(shape: Sequence[int], stored: str) -> int:
    n_bytes = {"BF16": 2, "F32": 4, "I64": 8, "BOOL": 1}[stored]
    for size in shape:
        n_bytes *= size
    return n_bytes

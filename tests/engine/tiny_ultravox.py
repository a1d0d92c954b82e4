"""A tiny Ultravox in each of the published layouts, and the published formulas written out beside it.

The formulas are those of the reference code (fixie-ai/ultravox at 648efe7); they share no line with the product.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import (
    LlamaForCausalLM,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from tests.engine.published import spread
from tests.engine.tiny_systems import write_backbone

D_AUDIO, N_HEADS, N_MELS, D_TEXT, HIDDEN, RANK, ALPHA = 16, 2, 128, 32, 24, 2, 6
PEFT = "audio_tower.base_model.model."
LAYOUTS = ("merged", "post norm", "older prefix", "adapters alone", "adapters and base", "projector alone")


def write_llama(folder: Path, seed: int = 4) -> Path:
    """The base language model in a folder of its own."""
    model = LlamaForCausalLM.from_pretrained(write_backbone(folder))
    spread(model, seed)
    model.save_pretrained(folder)
    return folder


def write_whisper(folder: Path) -> dict[str, Tensor]:
    """A whole Whisper as published, decoder included; return its encoder's tensors by their own names."""
    config = WhisperConfig(
        d_model=D_AUDIO,
        encoder_layers=2,
        encoder_attention_heads=N_HEADS,
        encoder_ffn_dim=32,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        num_mel_bins=N_MELS,
        vocab_size=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
        decoder_start_token_id=2,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config)
    spread(model.model.encoder, 5)
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=N_MELS).save_pretrained(folder)
    return {name: tensor.clone() for name, tensor in model.model.encoder.state_dict().items()}


def write_ultravox(folder: Path, whisper: Path, encoder: dict[str, Tensor], layout: str) -> dict[str, Tensor]:
    """Write one layout; return what its tensors must come to: `tower.*` and `projector.*`, adapters added."""
    post = layout in ("post norm", "projector alone")
    generator = torch.Generator().manual_seed(6)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    projector = {
        "ln_pre.weight": torch.rand(8 * D_AUDIO, generator=generator) + 0.5,
        "linear_1.weight": draw(HIDDEN, 8 * D_AUDIO) * 0.1,
        "linear_2.weight": draw(D_TEXT, HIDDEN // 2) * 0.2,
        ("ln_post.weight" if post else "ln_mid.weight"): torch.rand(
            D_TEXT if post else HIDDEN // 2, generator=generator
        )
        + 0.5,
    }
    adapters: dict[str, Tensor] = {}
    tower = dict(encoder)
    if layout.startswith("adapters"):
        for layer in range(2):
            for name in ("k_proj", "q_proj"):
                target = f"layers.{layer}.self_attn.{name}"
                a, b = draw(RANK, D_AUDIO) * 0.2, draw(D_AUDIO, RANK) * 0.2
                adapters |= {f"{PEFT}{target}.lora_A.default.weight": a}
                adapters |= {f"{PEFT}{target}.lora_B.default.weight": b}
                tower[f"{target}.weight"] = encoder[f"{target}.weight"] + ALPHA / RANK * b @ a
    stored = {
        "merged": {f"audio_tower.{name}": tensor for name, tensor in encoder.items()},
        "post norm": {f"audio_tower.{name}": tensor for name, tensor in encoder.items()},
        "older prefix": {f"audio_tower.model.encoder.{name}": tensor for name, tensor in encoder.items()},
        "adapters alone": adapters,
        "adapters and base": adapters | {_wrapped(name): tensor for name, tensor in encoder.items()},
        "projector alone": {},
    }[layout]
    write_folder(folder, whisper, stored, projector, layout, post)
    return {f"tower.{name}": tensor for name, tensor in tower.items()} | {
        f"projector.{name}": tensor for name, tensor in projector.items()
    }


def write_folder(
    folder: Path,
    whisper: Path,
    stored: dict[str, Tensor],
    projector: dict[str, Tensor],
    layout: str,
    post: bool,
) -> None:
    folder.mkdir(parents=True)
    stored = stored | {f"multi_modal_projector.{name}": tensor for name, tensor in projector.items()}
    save_file({name: t.contiguous() for name, t in stored.items()}, folder / "model.safetensors")
    config: dict[str, Any] = {
        "model_type": "ultravox",
        "architectures": ["UltravoxModel"],
        "auto_map": {"AutoModel": "ultravox_model.UltravoxModel"},
        "audio_model_id": None,
        "text_model_id": "meta-llama/Llama-3.1-8B-Instruct",
        "hidden_size": HIDDEN,
        "stack_factor": 8,
        "projector_act": "swiglu",
        "norm_init": 0.4,
        "torch_dtype": "bfloat16",
    }
    if layout in ("merged", "post norm", "older prefix"):
        config["audio_config"] = json.loads((whisper / "config.json").read_text(encoding="utf-8"))
        WhisperFeatureExtractor(feature_size=N_MELS).save_pretrained(folder)
    else:
        config["audio_model_id"] = "openai/whisper-large-v3-turbo"
    if layout.startswith("adapters"):
        config["audio_model_lora_config"] = {"r": RANK, "lora_alpha": ALPHA, "target_modules": ["k_proj"]}
    (folder / "config.json").write_text(
        json.dumps(config if post else config | {"projector_ln_mid": True}), encoding="utf-8"
    )


def _wrapped(name: str) -> str:
    """A name inside peft's classes: an adapted map's own weight and bias lie in its base layer."""
    for part in (".k_proj.", ".q_proj."):
        name = name.replace(part, f"{part}base_layer.")
    return PEFT + name


def embeddings_by_formula(truth: dict[str, Tensor], samples: np.ndarray, block: int | None = None) -> Tensor:
    """What the published code puts in a clip's place."""
    samples = np.pad(samples, (0, max(0, 320 - len(samples))))
    features = WhisperFeatureExtractor(feature_size=N_MELS)(
        samples, sampling_rate=16_000, padding="longest", pad_to_multiple_of=160, truncation=False
    )
    mel = torch.tensor(np.asarray(features.input_features))[0]
    n_frames = math.ceil(len(samples) / 160)
    assert mel.shape == (N_MELS, n_frames)
    chunks = [mel[:, start : start + 3000] for start in range(0, n_frames, 3000)]
    rows = []
    for index, chunk in enumerate(chunks):
        length = chunk.shape[1]
        whole = functional.pad(chunk, (0, 3000 - length)) if index else chunk
        states = tower_by_formula(truth, whole, (length - 1) // 2 + 1, block)
        rows.append(projector_by_formula(truth, states)[: math.ceil(length / 16)])
    return torch.cat(rows)


def tower_by_formula(truth: dict[str, Tensor], mel: Tensor, n_valid: int, block: int | None) -> Tensor:
    """Whisper's encoder on any length; keys behind `n_valid` and in later blocks are hidden."""
    get = {name.removeprefix("tower."): tensor for name, tensor in truth.items()}
    x = functional.gelu(functional.conv1d(mel[None], get["conv1.weight"], get["conv1.bias"], padding=1))
    x = functional.gelu(functional.conv1d(x, get["conv2.weight"], get["conv2.bias"], stride=2, padding=1))
    n = x.shape[-1]
    x = x[0].T + get["embed_positions.weight"][:n]
    place = torch.arange(n)
    seen = (place[None, :] < n_valid).expand(n, n)
    if block:
        seen = seen & (place[None, :] // block <= place[:, None] // block)
    for layer in range(2):
        at = f"layers.{layer}."
        attention = attend(get, at + "self_attn.", norm(get, at + "self_attn_layer_norm", x), seen)
        x = x + attention
        inner = functional.gelu(linear(get, at + "fc1", norm(get, at + "final_layer_norm", x)))
        x = x + linear(get, at + "fc2", inner)
    return norm(get, "layer_norm", x)


def attend(get: dict[str, Tensor], at: str, x: Tensor, seen: Tensor) -> Tensor:
    size = D_AUDIO // N_HEADS
    heads = []
    q, k, v = (linear(get, at + name, x) for name in ("q_proj", "k_proj", "v_proj"))
    for head in range(N_HEADS):
        part = slice(head * size, (head + 1) * size)
        scores = (q[:, part] @ k[:, part].T / math.sqrt(size)).masked_fill(~seen, -math.inf)
        heads.append(scores.softmax(-1) @ v[:, part])
    return linear(get, at + "out_proj", torch.cat(heads, dim=1))


def linear(get: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ get[f"{name}.weight"].T + get.get(f"{name}.bias", torch.zeros(1))


def norm(get: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5)
    return scaled * get[f"{name}.weight"] + get[f"{name}.bias"]


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-6)


def projector_by_formula(truth: dict[str, Tensor], states: Tensor) -> Tensor:
    get = {name.removeprefix("projector."): tensor for name, tensor in truth.items()}
    states = torch.cat([states, torch.zeros(-len(states) % 8, D_AUDIO)])
    stacked = torch.stack([states[i : i + 8].flatten() for i in range(0, len(states), 8)])
    value, gate = torch.split(
        rms(stacked, get["ln_pre.weight"]) @ get["linear_1.weight"].T, HIDDEN // 2, dim=-1
    )
    hidden = gate * torch.sigmoid(gate) * value
    if "ln_mid.weight" in get:
        return rms(hidden, get["ln_mid.weight"]) @ get["linear_2.weight"].T
    return rms(hidden @ get["linear_2.weight"].T, get["ln_post.weight"])

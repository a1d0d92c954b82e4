"""A Llama in one GGUF file, written as the folder that transformers and the rest of the engine read.

The weights are dequantised once, by transformers' own functions, and kept in float32: a product of a scale and a
whole number does not fit float16. The file is read here and not through `from_pretrained`, which would need two more
packages for it and takes ten times as long.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.integrations.gguf import (  # type: ignore[attr-defined]
    GgufHeader,
    convert_gguf_tokenizer,
    get_gguf_tokenizer,
    load_gguf_state_dict,
    read_gguf_metadata,
)
from transformers.integrations.gguf.dequant import dequantize

from engine.errors import ModelFilesError
from engine.systems.checkpoint import load_strictly

ARCHITECTURE = "llama"
# What is known of the format's names of parts, as llama.cpp writes them.
_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_ENDS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


def write_transformers_folder(file: Path, target: Path) -> None:
    """Write the model of a GGUF file: config, weights in float32, tokenizer, chat template, generation settings.

    Args:
        file: of a Llama with a byte-level vocabulary.
        target: an empty folder.

    Raises:
        ModelFilesError: the file is damaged, or not of this kind.
    """
    try:
        config = _config(file)
        tensors = _tensors(file, config)
        tokenizer = _tokenizer(file)
    except (OSError, ValueError, KeyError, IndexError, RuntimeError, struct.error) as error:
        raise ModelFilesError(f"{file.name} cannot be read as a Llama; fetch it again.") from error
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    if config.tie_word_embeddings:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    load_strictly(model, tensors, file.name, assign=True)
    model.tie_weights()
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _config(file: Path) -> LlamaConfig:
    written, names = read_gguf_metadata(str(file))
    if written["general.architecture"] != ARCHITECTURE:
        raise ValueError("another architecture")
    return LlamaConfig(
        vocab_size=written["llama.vocab_size"],
        hidden_size=written["llama.embedding_length"],
        intermediate_size=written["llama.feed_forward_length"],
        num_hidden_layers=written["llama.block_count"],
        num_attention_heads=written["llama.attention.head_count"],
        num_key_value_heads=written["llama.attention.head_count_kv"],
        head_dim=written["llama.rope.dimension_count"],
        max_position_embeddings=written["llama.context_length"],
        rms_norm_eps=written["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": written["llama.rope.freq_base"]},
        tie_word_embeddings="output.weight" not in names,
        bos_token_id=written["tokenizer.ggml.bos_token_id"],
        eos_token_id=written["tokenizer.ggml.eos_token_id"],
        pad_token_id=written.get("tokenizer.ggml.padding_token_id"),
        dtype=torch.float32,
    )


def _tensors(file: Path, config: LlamaConfig) -> dict[str, Tensor]:
    """Return the weights in float32 under transformers' names."""
    groups = config.num_key_value_heads or config.num_attention_heads
    heads: dict[str, int] = {"attn_q": config.num_attention_heads, "attn_k": groups}
    header = GgufHeader.from_file(str(file))
    stored, found = load_gguf_state_dict(header), {}
    for info in header.tensors:
        name, raw = info.name, stored[info.name][...]
        tensor = raw.float() if raw.is_floating_point() else dequantize(raw, info.ggml_type)
        tensor = tensor.reshape(info.shape)
        if name in _ENDS:
            found[_ENDS[name]] = tensor
            continue
        _, layer, part, end = name.split(".")
        if part in heads:
            tensor = _halves_in_a_row(tensor, heads[part])
        found[f"model.layers.{layer}.{_PARTS[part]}.{end}"] = tensor
    return found


def _halves_in_a_row(weight: Tensor, n_heads: int) -> Tensor:
    """Undo the format's order of a head's rows: it rotates neighbours, transformers the two halves of a head."""
    pairs = weight.reshape(n_heads, weight.shape[0] // n_heads // 2, 2, *weight.shape[1:])
    return pairs.transpose(1, 2).reshape(weight.shape).contiguous()


def _tokenizer(file: Path) -> PreTrainedTokenizerFast:
    architecture, written, settings = get_gguf_tokenizer(str(file))
    backend: Any = convert_gguf_tokenizer(architecture, written)[0]
    if written.get("pre_tokenizer_type") == "smollm":
        # transformers 5.23 does not know this name: digits one by one, told apart before spaces are.
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=settings.get("chat_template"),
        clean_up_tokenization_spaces=False,
        **{name: settings[name] for name in _SPECIAL if settings.get(name) is not None},
    )

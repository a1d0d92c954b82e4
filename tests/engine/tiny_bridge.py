"""A tiny Whisper in transformers' layout and a tiny Llama, both with byte-level BPE: what a bridge is made of."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from engine.systems.catalogue import LAPTOP_SYSTEMS
from engine.systems.text_llm import TextLLM
from tests.engine.tiny_systems import randomise_norms

WINDOW_S, D_AUDIO, D_TEXT, RANK, ALPHA = 2, 16, 24, 2, 4
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("c", "a"), ("ca", "t"), ("Ġ", "cat")]
# Whisper's vocabulary holds numbers and words that the LLM spells with several tokens.
WHISPER_MERGES = [*MERGES, ("1", "9"), ("19", "9"), ("s", "the")]
WHISPER_MARKS = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|transcribe|>",
    "<|notimestamps|>",
    "<|0.00|>",
]
CHAT_MARKS = ["<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_level(merges: list[tuple[str, str]], marks: list[str], end: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE with these merges; the marks come last, as in Whisper."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate([*alphabet, *("".join(pair) for pair in merges)])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(marks)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=end, pad_token=end)


def write_whisper(folder: Path, seed: int = 3) -> Path:
    """A random Whisper of two layers and a window of two seconds; at most 12 tokens a window."""
    tokenizer = byte_level(WHISPER_MERGES, WHISPER_MARKS, "<|endoftext|>")
    ids = {mark: int(tokenizer.convert_tokens_to_ids(mark)) for mark in WHISPER_MARKS}
    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=D_AUDIO,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_mel_bins=20,
        max_source_positions=50 * WINDOW_S,
        max_target_positions=24,
        init_std=0.5,
        pad_token_id=ids["<|endoftext|>"],
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config).eval()
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tensors = {name: t.contiguous().clone() for name, t in model.model.state_dict().items()}
    save_file({f"model.{name}": t for name, t in tensors.items()}, folder / "model.safetensors")
    WhisperFeatureExtractor(feature_size=20, chunk_length=WINDOW_S).save_pretrained(folder)
    settings = {
        "eos_token_id": ids["<|endoftext|>"],
        "is_multilingual": True,
        "alignment_heads": [[0, 1], [1, 0]],
        "suppress_tokens": [0, 1],
        "begin_suppress_tokens": [2],
    }
    (folder / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def write_llm(folder: Path, seed: int = 5) -> Path:
    """A random Llama of three layers."""
    tokenizer = byte_level(MERGES, CHAT_MARKS, "<|im_end|>")
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=D_TEXT,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    randomise_norms(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_update(folder: Path, base: Path, seed: int = 6) -> Path:
    """A low-rank update of two of the Llama's maps, in the shipped layout."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (d_out, d_in) in {
        "model.layers.0.self_attn.q_proj": (D_TEXT, D_TEXT),
        "model.layers.2.mlp.down_proj": (D_TEXT, 48),
    }.items():
        tensors[f"{name}.lora_A.weight"] = torch.randn(RANK, d_in, generator=generator)
        tensors[f"{name}.lora_B.weight"] = torch.randn(d_out, RANK, generator=generator)
    save_file(tensors, folder / "adapter.safetensors")
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config |= {"base_model": base.name, "lora_rank": RANK, "lora_alpha": ALPHA}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def load_llm(folder: Path, base: Path | None = None) -> TextLLM:
    """The text LLM of a folder, or of its update beside a base."""
    return TextLLM(LAPTOP_SYSTEMS["smollm2-tuned"], folder, base=base)

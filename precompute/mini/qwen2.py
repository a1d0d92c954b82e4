"""The mini-Qwen2: a second backbone of another architecture, trained on text alone as the mini-Llama is."""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

QWEN2_SEED = 21


def new_qwen2(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """Return a randomly initialised Qwen2 of 8 layers; seeded, 4.5 million parameters."""
    torch.manual_seed(QWEN2_SEED)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=8,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            # Qwen2-Audio's class has a head of its own, so that its ancestor must have one too.
            tie_word_embeddings=False,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )

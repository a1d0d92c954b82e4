"""A bare text LLM: the second half of a cascade, and the oracle that is given the true transcript."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from engine.errors import ModelFilesError
from engine.result import SpokenWord
from engine.systems.base import CLIP_MARK, Heard, Prepared, prompt_frame
from engine.systems.catalogue import SystemSpec
from engine.systems.checkpoint import fingerprint, weight_files

# The clip or its transcript stands first: what a model makes of it does not depend on the question.
USER_TEMPLATE = CLIP_MARK + "{instruction}"


class TextLLM:
    """A causal LM that reads a transcript where a speech LLM has its audio positions.

    Attributes:
        spec: catalogue row.
        language_model, decoder_layers, final_norm, unembedding: the model and its own modules.
        fingerprint: sha256 of the weights.
    """

    def __init__(self, spec: SystemSpec, folder: Path) -> None:
        weight_files(folder)
        self.spec = spec
        try:
            self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True
            )
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelFilesError(f"{spec.name} could not be loaded: {type(error).__name__}.") from error
        model, loading = loaded
        # transformers fills a missing tensor with random numbers and only logs it.
        if missing := sorted(loading["missing_keys"]):
            raise ModelFilesError(f"{spec.name} lacks tensor {missing[0]} ({len(missing)} such in all).")
        self.language_model: nn.Module = model.eval().requires_grad_(False)
        decoder = model.get_decoder()
        self.decoder_layers: nn.ModuleList = decoder.layers
        self.final_norm: nn.Module = decoder.norm
        self.unembedding: nn.Module = model.get_output_embeddings()
        self.embedding: nn.Module = model.get_input_embeddings()
        self.fingerprint = fingerprint([folder])

    def hear_text(self, text: str, words: tuple[SpokenWord, ...] = (), seconds: float = 0.0) -> Heard:
        """Return a transcript as what was heard; an empty one leaves the clip's place empty."""
        started = time.perf_counter()
        ids = self.tokenizer.encode(text, add_special_tokens=False) if text.strip() else []
        embeddings = self.embedding(torch.tensor(ids, dtype=torch.long))
        return Heard(embeddings, 0.0, text, words, seconds + time.perf_counter() - started)

    def prepare(self, heard: Heard, instruction: str) -> Prepared:
        """Return the prompt with what was heard in the clip's place."""
        frame = prompt_frame(self.tokenizer, instruction, template=USER_TEMPLATE)
        before = self.embedding(torch.tensor(frame.before))
        after = self.embedding(torch.tensor(frame.after))
        embeddings = torch.cat([before, heard.embeddings, after])[None]
        start = len(frame.before)
        return Prepared(embeddings, (start, start + len(heard.embeddings)), heard)

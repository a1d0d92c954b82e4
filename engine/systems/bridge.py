"""The decoder bridge: Whisper's posterior over tokens becomes continuous vectors for a text LLM.

At each token that Whisper writes, the LLM is given the expectation of its own input embeddings under Whisper's
posterior, sum over the likeliest 50 tokens of p(w) e(w), in place of the embedding of the token itself. Where Whisper
hesitates the vector lies between words. It hears as well as Whisper, and it is a positive control: a cascade with real
weights, known to be one, which the instrument must find to be one. Its temperature is a dial from soft to hard.
Nothing is learned between the two: nearly every token of Whisper is spelled by exactly one of SmolLM2.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.systems.base import Heard
from engine.systems.catalogue import SystemSpec
from engine.systems.text_llm import OnBackbone, TextLLM, expected_embeddings, likeliest
from engine.systems.whisper import HOP_SAMPLES, SECONDS_PER_STATE, WhisperDecoding

CANDIDATES = 50


class BridgeSpelling:
    """How a text LLM's tokens spell those of a Whisper; both are byte-level BPE with leading spaces.

    Attributes:
        pieces: Whisper's text token -> the LLM's tokens that spell it, in order.
        shared: how many of Whisper's text tokens are one token of the LLM.
    """

    def __init__(self, whisper: PreTrainedTokenizerBase, reader: PreTrainedTokenizerBase) -> None:
        known = reader.get_vocab()
        special = set(whisper.added_tokens_decoder)
        bpe: Any = reader.backend_tokenizer.model  # type: ignore[attr-defined]
        self.pieces: dict[int, tuple[int, ...]] = {
            token: (known[spelt],) if spelt in known else tuple(piece.id for piece in bpe.tokenize(spelt))
            for spelt, token in whisper.get_vocab().items()
            if token not in special
        }
        self.shared = sum(len(pieces) == 1 for pieces in self.pieces.values())

    def table(
        self, embedding: Float[Tensor, "vocab d_model"], n_tokens: int
    ) -> Float[Tensor, "n_tokens d_model"]:
        """Return e(w) for each of Whisper's tokens: the mean of the embeddings that spell it; zeros for the others."""
        rows = torch.zeros(n_tokens, embedding.shape[1], dtype=embedding.dtype, device=embedding.device)
        tokens = torch.tensor(list(self.pieces), device=embedding.device)
        flat = torch.tensor([i for pieces in self.pieces.values() for i in pieces], device=embedding.device)
        lengths = torch.tensor([len(pieces) for pieces in self.pieces.values()], device=embedding.device)
        starts = lengths.cumsum(0) - lengths
        rows[tokens] = torch.nn.functional.embedding_bag(flat, embedding, starts, mode="mean")
        return rows


class Bridge(OnBackbone):
    """A speech LLM that hears with a whole Whisper; see `engine.systems.base.WhiteBoxSystem` for the attributes.

    Attributes:
        ears: the Whisper.
        temperature: of its posterior.
    """

    def __init__(self, spec: SystemSpec, ears: WhisperDecoding, ears_name: str, backbone: TextLLM) -> None:
        assert spec.temperature is not None, "a bridge has a temperature"
        super().__init__(spec, backbone)
        self.ears = ears
        self.temperature = spec.temperature
        self.spelling = BridgeSpelling(ears.tokenizer, backbone.tokenizer)
        weight: Any = backbone.embedding.weight
        self._table = self.spelling.table(weight, ears.n_tokens)
        named = f"{ears_name}|{backbone.fingerprint}|{CANDIDATES}|{self.temperature:g}"
        self.fingerprint = hashlib.sha256(named.encode()).hexdigest()

    @torch.inference_mode()
    def hear(self, clip: AudioClip) -> Heard:
        """Return one vector for each of the LLM's tokens that spell what Whisper writes; longer clips by windows."""
        started = time.perf_counter()
        vectors, ends = [], []
        for start in range(0, len(clip.samples), self.ears.window_samples):
            window = self.ears.hear(clip.samples[start : start + self.ears.window_samples])
            made, spread = self.vectors(window.tokens, window.logits, window.ends_s)
            vectors.append(made)
            ends.append(spread + start / SAMPLE_RATE_HZ)
        ends_s = np.concatenate(ends)
        # The mean width: positions are as long as words are said, see `position_ends_s`.
        width_s = clip.duration_s / len(ends_s)
        return Heard(torch.cat(vectors), width_s, "", (), time.perf_counter() - started, ends_s)

    def vectors(
        self,
        tokens: Int[Tensor, "tokens"],  # noqa: F821 - jaxtyping axis name
        logits: Float[Tensor, "tokens vocab"],
        ends_s: Float[np.ndarray, "tokens"],  # noqa: F821
    ) -> tuple[Float[Tensor, "positions d_model"], Float[np.ndarray, "positions"]]:  # noqa: F821
        """Return the LLM's input for what Whisper wrote, and when each position ends.

        A token that the LLM spells with several of its own (a number, a rare name) gets as many positions, or their
        order would be lost in a mean: each holds its own piece at the token's weight, and the other candidates.
        """
        device = self._table.device
        candidates, weights = likeliest(logits.to(device), CANDIDATES, self.temperature)
        weight: Any = self.backbone.embedding.weight
        expected = expected_embeddings(self._table, candidates, weights)
        rows: list[Tensor] = []
        ends: list[float] = []
        began = 0.0
        for at, token in enumerate(tokens.tolist()):
            pieces = self.spelling.pieces[token]
            share = weights[at][candidates[at] == token].sum()
            for n, piece in enumerate(pieces, start=1):
                rows.append(expected[at] + share * (weight[piece] - self._table[token]))
                ends.append(began + (float(ends_s[at]) - began) * n / len(pieces))
            began = float(ends_s[at])
        return torch.stack(rows), np.array(ends)

    def features(self, samples: np.ndarray) -> tuple[Float[Tensor, "mels frames"], int]:
        """Return the whole window's log-mel features, and how many frames of 10 ms are the clip's."""
        return self.ears.mel(samples), max(1, -(-len(samples) // HOP_SAMPLES))

    def frames(self, samples: np.ndarray) -> Float[Tensor, "frames d_audio"]:
        """Return the encoder's normed states of one clip of at most one window, 20 ms each."""
        n_states = max(1, round(len(samples) / SAMPLE_RATE_HZ / SECONDS_PER_STATE))
        return self.ears.states(samples)[:n_states]

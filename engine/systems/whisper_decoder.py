"""A whole Whisper with its decoder in reach: greedy transcripts, the posterior at every token, and when each was said.

CTranslate2 hands out the likeliest tokens alone; transformers' modules run here, without its generation. One window of
30 s at a time, silence included: padded by a second only, Whisper base mishears twice as many words.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperDecoder, WhisperEncoder

from engine.audio import SAMPLE_RATE_HZ
from engine.errors import ModelFilesError
from engine.systems.audio_tower import encode_mel
from engine.systems.checkpoint import load_strictly, read_tensors, under

SECONDS_PER_STATE = 0.02
MEDIAN_WIDTH = 7  # states, as Whisper's own word timestamps smooth attention
_ENCODER, _DECODER = "model.encoder.", "model.decoder."
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class WindowHeard:
    """One window's transcript as Whisper wrote it.

    Attributes:
        tokens: text tokens, in order; at least one, for Whisper may not end before it has begun.
        logits: at each of them, before it was chosen; -inf for all that is not text.
        ends_s: when each ends within the window; rising, at most the sound's length.
    """

    tokens: Int[Tensor, "positions"]  # noqa: F821 - jaxtyping axis name
    logits: Float[Tensor, "positions vocab"]
    ends_s: Float[np.ndarray, "positions"]  # noqa: F821


class WhisperDecoding(nn.Module):
    """Encoder and decoder of a multilingual or English Whisper in a transformers folder.

    Attributes:
        encoder, decoder: transformers' modules; the decoder's embedding is its head too.
        tokenizer: Whisper's own.
        window_samples: of one window.
        n_tokens: of the vocabulary, special tokens included.

    Raises:
        ModelFilesError: a file is missing or damaged.
    """

    def __init__(
        self, folder: Path, *, dtype: torch.dtype = torch.float32, device: torch.device = _CPU
    ) -> None:
        super().__init__()
        try:
            config = WhisperConfig.from_pretrained(folder)
            settings = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
            self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
            self.features = WhisperFeatureExtractor.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise ModelFilesError(f"{folder.name} lacks files of a Whisper; fetch it again.") from error
        with torch.device("meta"):
            self.encoder: WhisperEncoder = WhisperEncoder._from_config(config, attn_implementation="sdpa")
            self.decoder: WhisperDecoder = WhisperDecoder._from_config(config, attn_implementation="eager")
        tensors = {
            name: t.to(device, dtype) for name, t in read_tensors(folder).items() if name != "proj_out.weight"
        }
        load_strictly(self.encoder, under(tensors, _ENCODER), folder.name, assign=True)
        load_strictly(self.decoder, under(tensors, _DECODER), folder.name, assign=True)
        self.eval().requires_grad_(False)
        self.window_samples = int(self.features.n_samples)
        self.n_tokens = int(config.vocab_size)
        self._end = int(settings["eos_token_id"])
        self._prompt = _prompt(self.tokenizer, settings)
        self._never = torch.tensor(
            [*range(self._end + 1, config.vocab_size), *settings.get("suppress_tokens", ())]
        )
        self._not_first = torch.tensor([*settings.get("begin_suppress_tokens", ()), self._end])
        self._heads = [(int(layer), int(head)) for layer, head in settings["alignment_heads"]]
        self._limit = int(config.max_target_positions) // 2

    def mel(self, samples: Float[np.ndarray, "samples"]) -> Float[Tensor, "mels frames"]:  # noqa: F821
        """Return a whole window's log-mel features of at most one window of 16 kHz samples."""
        features = self.features(
            samples, sampling_rate=SAMPLE_RATE_HZ, padding="max_length", return_tensors="pt"
        )
        weight = self.encoder.conv1.weight
        mel: Tensor = features.input_features[0].to(weight.device, weight.dtype)
        return mel

    @torch.inference_mode()
    def states(self, samples: Float[np.ndarray, "samples"]) -> Float[Tensor, "states d_audio"]:  # noqa: F821
        """Return the encoder's normed states of a whole window, 20 ms each."""
        return encode_mel(self.encoder, self.mel(samples)[None])[0]

    @torch.inference_mode()
    def hear(self, samples: Float[np.ndarray, "samples"]) -> WindowHeard:  # noqa: F821
        """Return what Whisper writes about at most one window of samples, greedily."""
        states = self.states(samples)[None]
        tokens, logits = self._decode(states)
        limit_s = len(samples) / SAMPLE_RATE_HZ
        return WindowHeard(tokens.cpu(), logits.cpu(), self._ends(states, tokens, limit_s))

    def _decode(self, states: Tensor) -> tuple[Tensor, Tensor]:
        head = self.decoder.embed_tokens.weight
        given = torch.tensor([self._prompt], device=head.device)
        cache: Any = None
        tokens: list[int] = []
        kept: list[Tensor] = []
        while len(tokens) < self._limit:
            out = self.decoder(
                input_ids=given, encoder_hidden_states=states, past_key_values=cache, use_cache=True
            )
            cache = out.past_key_values
            logits = nn.functional.linear(out.last_hidden_state[0, -1], head).float()
            logits[self._never] = -torch.inf
            if not tokens:
                logits[self._not_first] = -torch.inf
            best = int(logits.argmax())
            if best == self._end:
                break
            logits[self._end] = -torch.inf
            tokens.append(best)
            kept.append(logits)
            given = torch.tensor([[best]], device=head.device)
        return torch.tensor(tokens, device=head.device), torch.stack(kept)

    def _ends(self, states: Tensor, tokens: Tensor, limit_s: float) -> np.ndarray:
        """Return when each token ends: where dynamic time warping over the alignment heads puts the next one."""
        prompt = torch.tensor(self._prompt, device=tokens.device)
        given = torch.cat([prompt, tokens])[None]
        out = self.decoder(
            input_ids=given, encoder_hidden_states=states, use_cache=False, output_attentions=True
        )
        n_states = max(1, min(round(limit_s / SECONDS_PER_STATE), states.shape[1]))
        # In the padded silence attention is arbitrary: only the sound's own states are aligned.
        heads = torch.stack([out.cross_attentions[layer][0, head] for layer, head in self._heads]).float()
        # A token is attended to where it is predicted; the last row predicts the end.
        heads = heads[:, len(prompt) - 1 :, :n_states]
        heads = (heads - heads.mean(-2, keepdim=True)) / (heads.std(-2, keepdim=True, unbiased=False) + 1e-6)
        cost = -_median(heads).mean(0).cpu().double().numpy()
        starts = _starts(cost) * SECONDS_PER_STATE
        return rising(starts[1:], limit_s)


def _prompt(tokenizer: PreTrainedTokenizerFast, settings: dict[str, Any]) -> list[int]:
    """Return the ids that begin a transcript without times; an English Whisper knows no language or task."""
    names = ["<|startoftranscript|>"]
    if settings.get("is_multilingual", True):
        names += ["<|en|>", "<|transcribe|>"]
    return [cast(int, tokenizer.convert_tokens_to_ids(name)) for name in (*names, "<|notimestamps|>")]


def _median(heads: Float[Tensor, "heads tokens states"]) -> Float[Tensor, "heads tokens states"]:
    """Smooth attention along time by a running median."""
    side = MEDIAN_WIDTH // 2
    if heads.shape[-1] <= side:
        return heads
    padded = nn.functional.pad(heads, (side, side), mode="reflect")
    return padded.unfold(-1, MEDIAN_WIDTH, 1).median(-1).values


def _starts(cost: Float[np.ndarray, "tokens states"]) -> Int[np.ndarray, "tokens"]:  # noqa: F821
    """Return the state at which each token begins on the cheapest monotonic path through all tokens and states."""
    n_tokens, n_states = cost.shape
    total = np.full((n_tokens + 1, n_states + 1), np.inf)
    total[0, 0] = 0.0
    step = np.zeros((n_tokens + 1, n_states + 1), np.int8)
    for j in range(1, n_states + 1):
        for i in range(1, n_tokens + 1):
            before = (total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])
            step[i, j] = best = int(np.argmin(before))
            total[i, j] = cost[i - 1, j - 1] + before[best]
    starts = np.zeros(n_tokens, int)
    i, j = n_tokens, n_states
    while i > 0:
        starts[i - 1] = j - 1
        if step[i, j] == 2 and j > 1:
            j -= 1
        elif step[i, j] == 1 or j == 1:
            i -= 1
        else:
            i, j = i - 1, j - 1
    return starts


def rising(ends_s: Float[np.ndarray, "positions"], limit_s: float) -> Float[np.ndarray, "positions"]:  # noqa: F821
    """Return ends that rise strictly and stay above 0 and within the limit, as near to those given as that allows.

    Tokens that share a state would have no width on the clock; each is given at least 5 ms, or an equal share of a
    clip too short for that.
    """
    width = min(0.005, limit_s / len(ends_s))
    places = np.arange(1, len(ends_s) + 1) * width
    rose = np.maximum.accumulate(np.maximum(ends_s - places, 0.0)) + places
    return np.minimum(rose, limit_s - (len(ends_s) * width - places))

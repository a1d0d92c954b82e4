"""A linear CTC head on the speech LLM's own audio tower: says which character is heard at each moment.

The paper's CTC condition takes each frame's class from such a probe (arXiv 2602.17598, section 5).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from precompute.mini.transcriber import CHARACTERS, ctc_targets

logger = logging.getLogger(__name__)

STEPS = 300
BATCH_CLIPS = 32
RATE = 1e-2
CTC_SEED = 13
FRAME_S = 0.02  # of an encoder's state


@dataclass(frozen=True)
class CtcHead:
    """Weight [1 + characters, d_audio] and bias over normed tower states; class 0 is the blank."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor

    def __call__(self, states: Float[Tensor, "frames d_audio"]) -> Float[Tensor, "frames classes"]:
        """Return logits of each 20 ms frame."""
        return functional.linear((states - self.mean) / self.scale, self.weight, self.bias)


def fit_ctc_head(states: Sequence[Tensor], texts: Sequence[str]) -> CtcHead:
    """Train the head by CTC on frozen states; seeded."""
    generator = torch.Generator().manual_seed(CTC_SEED)
    everything = torch.cat(list(states))
    mean, scale = everything.mean(0), everything.std(0).clamp(min=1e-6)
    head = nn.Linear(everything.shape[1], 1 + len(CHARACTERS))
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.Adam(head.parameters(), lr=RATE)
    loss = torch.tensor(float("nan"))
    for _ in range(STEPS):
        chosen = torch.randperm(len(states), generator=generator)[:BATCH_CLIPS].tolist()
        padded = pad_sequence([(states[i].clone() - mean) / scale for i in chosen], batch_first=True)
        targets, lengths = ctc_targets([texts[i] for i in chosen])
        frames = torch.tensor([len(states[i]) for i in chosen])
        scores = head(padded).log_softmax(-1).transpose(0, 1)
        loss = functional.ctc_loss(scores, targets, frames, lengths, zero_infinity=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    logger.info("CTC head: loss %.3f a character", float(loss.detach()))
    return CtcHead(head.weight.detach(), head.bias.detach(), mean, scale)


def position_characters(
    logits: Float[Tensor, "frames classes"],
    ends_s: Float[np.ndarray, "positions"],  # noqa: F821 - jaxtyping axis name
) -> Float[np.ndarray, "positions classes"]:
    """Return one-hot classes: the likeliest non-blank character among a position's frames, else the blank.

    Args:
        logits: a frame of 20 ms each.
        ends_s: when each position ends.
    """
    best = logits.argmax(-1)
    scores = logits.softmax(-1)
    out = np.zeros((len(ends_s), logits.shape[1]))
    edges = np.round(np.array([0.0, *ends_s]) / FRAME_S).astype(int)
    for position, (start, stop) in enumerate(pairwise(edges)):
        here = slice(start, stop)
        said = sorted({int(c) for c in best[here] if c != 0})
        out[position, said[int(scores[here][:, said].sum(0).argmax())] if said else 0] = 1
    return out

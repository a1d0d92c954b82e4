"""Training the audio encoder's upper layers and the projector of ultravox-smollm2 by CTC on letters.

Letters, not words: every word is made of them, so words that were never said in training can be heard, which was the
wall that whole-word targets met (docs/training.md). Data come from `precompute.training.speech`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from engine.systems.ultravox import SYMBOLS, UltravoxProjector
from precompute.mini.loop import LoopSettings, train
from precompute.training.speech import FROZEN_LAYERS, shard_file

BLANK = 0
STACK_FACTOR = 2
PROJECTOR_WIDTH = 2048
TEXT_WIDTH = 576


@dataclass(frozen=True)
class Batch:
    """Clips of about one length: states padded with zeros, letters one after the other (0 is CTC's blank)."""

    states: Tensor
    n_states: Tensor
    letters: Tensor
    n_letters: Tensor


class TrainedEars(nn.Module):
    """The encoder's upper layers, the projector, and the map from its vectors to letters."""

    def __init__(self, encoder: WhisperEncoder) -> None:
        super().__init__()
        self.layers = nn.ModuleList(encoder.layers[FROZEN_LAYERS:])
        self.layer_norm = encoder.layer_norm
        width = encoder.config.d_model
        self.projector = UltravoxProjector(
            width, TEXT_WIDTH, hidden=PROJECTOR_WIDTH, stack_factor=STACK_FACTOR, ln_mid=True, norm_init=1.0
        )
        self.ctc_head = nn.Linear(TEXT_WIDTH, SYMBOLS)

    def forward(self, states: Tensor, n_states: Tensor) -> Tensor:
        """Return log-probabilities [clips, positions, symbols] of the letters."""
        n = states.shape[1]
        keys = torch.arange(n)[None] < n_states[:, None]
        mask = keys[:, None, None, :].expand(-1, 1, n, -1)
        hidden = states
        for layer in self.layers:
            out = layer(hidden, mask)
            hidden = out if torch.is_tensor(out) else out[0]
        hidden = self.layer_norm(hidden).masked_fill(~keys[..., None], 0.0)
        return self.ctc_head(self.projector(hidden)).float().log_softmax(-1)


class Shards:
    """The shards of a folder, mapped from disk; those that are made while training goes on are found."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._loaded: dict[int, dict[str, Tensor]] = {}

    def batch(self, step: int, size: int) -> Batch:
        """Return the batch of a step: clips of one length class out of some shards, drawn by (seed, step)."""
        rng = random.Random(f"{self._seed}|{step}")
        self._find()
        shard = self._loaded[rng.choice(sorted(self._loaded))]
        lengths = shard["n_states"]
        order = torch.argsort(
            lengths
            + torch.rand(len(lengths), generator=torch.Generator().manual_seed(rng.getrandbits(31))) * 20
        )
        start = rng.randrange(max(1, len(order) - size))
        chosen = order[start : start + size].tolist()
        longest = int(lengths[chosen].max())
        states = torch.zeros(len(chosen), longest, shard["states"].shape[1])
        letters = []
        for row, clip in enumerate(chosen):
            first = int(shard["starts"][clip])
            states[row, : lengths[clip]] = shard["states"][first : first + lengths[clip]].float()
            begin = int(shard["letter_starts"][clip])
            letters.append(shard["letters"][begin : begin + shard["n_letters"][clip]].long() + 1)
        return Batch(states, lengths[chosen], torch.cat(letters), shard["n_letters"][chosen])

    def __len__(self) -> int:
        self._find()
        return len(self._loaded)

    def _find(self) -> None:
        while (file := shard_file(self._folder, len(self._loaded))).exists():
            shard = load_file(file)
            shard["starts"] = shard["n_states"].cumsum(0) - shard["n_states"]
            shard["letter_starts"] = shard["n_letters"].cumsum(0) - shard["n_letters"]
            self._loaded[len(self._loaded)] = shard


def masked(states: Tensor, n_states: Tensor, rng: torch.Generator) -> Tensor:
    """Hide two spans of up to a quarter of a second of each clip (SpecAugment, arXiv 1904.08779)."""
    out = states.clone()
    for row, length in enumerate(n_states.tolist()):
        for _ in range(2):
            width = int(torch.randint(0, 13, (), generator=rng))
            start = int(torch.randint(0, max(1, length - width), (), generator=rng))
            out[row, start : start + width] = 0.0
    return out


def ctc_loss(log_probabilities: Tensor, batch: Batch) -> Tensor:
    """Return the mean negative log-likelihood of a letter, in nats."""
    positions = -(-batch.n_states // STACK_FACTOR)
    loss: Tensor = nn.functional.ctc_loss(
        log_probabilities.transpose(0, 1),
        batch.letters,
        positions,
        batch.n_letters,
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )
    return loss / batch.n_letters.sum()


def train_ears(
    encoder: WhisperEncoder, shards: Shards, settings: LoopSettings, *, size: int, bfloat16: bool
) -> TrainedEars:
    """Return the trained modules; resumes from its checkpoint.

    Args:
        encoder: Whisper's, whose upper layers are trained in place.
        shards: training speech; may grow meanwhile.
        settings: steps, rate, folder of the checkpoint.
        size: clips a step.
        bfloat16: multiply in bfloat16, which some CPUs do twice as fast and others four times slower than float32.
    """
    ears = TrainedEars(encoder).requires_grad_(True)

    def loss_of_step(step: int) -> tuple[Tensor, dict[str, float]]:
        batch = shards.batch(step, size)
        generator = torch.Generator().manual_seed(step)
        states = masked(batch.states, batch.n_states, generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            log_probabilities = ears(states, batch.n_states)
        return ctc_loss(log_probabilities, batch), {"shards": float(len(shards))}

    train(ears, loss_of_step, settings)
    return ears.eval().requires_grad_(False)

"""What is planted: four networks, each a row of choices, and the clips that they are asked about.

A clip says one word over three positions, in a high or a low voice, drawn independently of each other. The
answer is the word's topic or the voice's pitch, by the plant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Reading = Literal[
    "a cascade inside",
    "answers from pitch",
    "carries text it does not use",
    "text out of linear reach",
    "undecided",
]

# Two words of each answer; the word's number in binary is (topic, which of the two).
WORDS = ("goal", "match", "bank", "vote")
ANSWERS = ("sports", "news")
N_POSITIONS = 3
SECONDS_PER_POSITION = 0.25  # a sum of quarters is exact, so that words end where positions do
SOUND_NOISE = 0.05
FILLER_NOISE = 0.3

# What each dimension of the residual stream means; the rest is filler, noise that no weight reads.
SOUND = slice(0, 4)
HIDDEN = slice(4, 8)
PITCH = 8
TEXT = slice(9, 13)
DECISION = slice(13, 15)
IS_CLIP, ASKED = 15, 16
FILLER = slice(17, 32)
D_MODEL = 32


@dataclass(frozen=True)
class Plant:
    """One network's truth.

    Attributes:
        name: for the page.
        truth: how it answers, as it was built.
        reading: what a true instrument must find.
        spells: the first block copies the word heard into the direction of its token, where a lens reads it.
        uses: what the answer is computed from.
        limit: where a method is known to fail on it, in words.
    """

    key: str
    name: str
    truth: str
    reading: Reading
    spells: bool
    uses: Literal["text", "pitch", "hidden"]
    limit: str = ""


PLANTS: tuple[Plant, ...] = (
    Plant(
        "cascade",
        "A cascade inside",
        "It spells the word it hears, and answers from what it spelt.",
        "a cascade inside",
        spells=True,
        uses="text",
    ),
    Plant(
        "pitch",
        "Pitch alone",
        "It never spells a word; it answers from the pitch of the voice.",
        "answers from pitch",
        spells=False,
        uses="pitch",
        limit="A linear probe reads the word here as well: it is in the sound. That something can be read does not "
        "say that it is used.",
    ),
    Plant(
        "idle-text",
        "Text carried and not used",
        "It spells the word it hears, and answers from the pitch of the voice.",
        "carries text it does not use",
        spells=True,
        uses="pitch",
        limit="The lens shows the text as clearly as in a cascade. By the lens alone this would pass for one.",
    ),
    Plant(
        "hidden-text",
        "Text that sits non-linearly",
        "It answers from the word, which lies in products of two signs, each by itself a coin toss.",
        "text out of linear reach",
        spells=False,
        uses="hidden",
        limit="LEACE misses it: it takes out only what a linear probe reads, and here that is nothing. By lens and "
        "erasure alone the text would count as unused, which is wrong. The quadratic probe finds it; a code of "
        "higher order would escape that probe too.",
    ),
)


@dataclass(frozen=True)
class Clips:
    """Clips of one word each.

    Attributes:
        words: [clips] index into WORDS.
        pitch: [clips] +1 for a high voice, -1 for a low one.
        states: [clips, positions, d_model] what the ears hand to the network.
    """

    words: Int[Tensor, "clips"]  # noqa: F821 - jaxtyping axis name
    pitch: Float[Tensor, "clips"]  # noqa: F821
    states: Float[Tensor, "clips positions d_model"]


def draw_clips(plant: Plant, n_clips: int, seed: int) -> Clips:
    """Return clips as this plant's ears hear them; the same words and voices for every plant of a seed."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(len(WORDS), (n_clips,), generator=generator)
    pitch = 2.0 * torch.randint(2, (n_clips,), generator=generator) - 1
    coins = 2.0 * torch.randint(2, (n_clips, N_POSITIONS, 2), generator=generator) - 1
    states = torch.zeros(n_clips, N_POSITIONS, D_MODEL)
    if plant.uses == "hidden":
        # (coin, coin x bit): each is a fair coin whatever the bit, and their product is the bit.
        states[..., HIDDEN] = torch.cat([coins, coins * bits_of(words)[:, None]], dim=-1)
    else:
        states[..., SOUND] = torch.eye(len(WORDS))[words][:, None]
    states[..., PITCH] = pitch[:, None]
    heard = slice(SOUND.start, PITCH + 1)
    noise = torch.randn(states.shape, generator=generator)
    states[..., heard] += SOUND_NOISE * noise[..., heard]
    states[..., FILLER] = FILLER_NOISE * noise[..., FILLER]
    states[..., IS_CLIP] = 1.0
    return Clips(words, pitch, states)


def bits_of(words: Int[Tensor, "clips"]) -> Float[Tensor, "clips 2"]:  # noqa: F821
    """Return each word's two bits as signs: +1 for 0, -1 for 1; the first is its topic."""
    return 1.0 - 2.0 * torch.stack([words // 2, words % 2], dim=-1).float()


def read_aloud(words: Int[Tensor, "clips"]) -> Float[Tensor, "clips positions d_model"]:  # noqa: F821
    """Return the word's own token in the clip's place, as a cascade's backbone is given a transcript."""
    states = torch.zeros(len(words), N_POSITIONS, D_MODEL)
    states[..., TEXT] = torch.eye(len(WORDS))[words][:, None]
    states[..., IS_CLIP] = 1.0
    return states

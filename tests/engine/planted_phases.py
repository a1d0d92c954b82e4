"""A network planted by hand in the way of `engine.planted`: it writes the current word at layer 3, the next one at
layer 5, and goes back to units at layer 6. Its next word comes from what it wrote, or from elsewhere.

A clip is a chain of words of two positions each; dimensions not named are noise that every token reads a little of,
or tokens would tie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from engine.interleaved import TokenKinds
from engine.systems.base import Heard, Prepared
from engine.systems.catalogue import SystemSpec
from engine.words import SpokenWord

N_WORDS, N_NEVER, N_FILLER, PER_WORD = 40, 40, 12, 2
WORDS = tuple(f"word{number}" for number in range(N_WORDS))
TEXT_TOKENS = (*WORDS, *(f"never{number}" for number in range(N_NEVER)), "<unknown>", "<end>")
UNITS = tuple(f"<Un{number}>" for number in range(N_WORDS))  # unit w begins word w
VOCABULARY = (*TEXT_TOKENS, *UNITS, "<speech>", "<text>")
KINDS = TokenKinds(range(len(TEXT_TOKENS)), range(len(TEXT_TOKENS), len(TEXT_TOKENS) + len(UNITS)))
N_LAYERS, WRITES_CURRENT, WRITES_NEXT, WRITES_UNIT = 7, 3, 5, 6
SOUND, TEXT, AHEAD, UNIT = (slice(N_WORDS * part, N_WORDS * (part + 1)) for part in range(4))
LEVEL = 4 * N_WORDS
FILLER = slice(LEVEL + 1, LEVEL + 1 + N_FILLER)
D_MODEL = FILLER.stop
LOGIT, UNIT_LOGIT, FILLER_GAIN, NOISE = 14.0, 6.0, 0.3, 0.05
S_PER_POSITION = 0.25
STEP = 7  # word w is followed by word w + 7 where the chain decides


@dataclass(frozen=True)
class PlantedClip:
    """One clip: its words and what the ears hand over."""

    words: tuple[int, ...]
    states: Tensor

    @property
    def spoken(self) -> tuple[SpokenWord, ...]:
        length = PER_WORD * S_PER_POSITION
        return tuple(
            SpokenWord(WORDS[w], place * length, (place + 1) * length) for place, w in enumerate(self.words)
        )

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        return tuple((PER_WORD * n, PER_WORD * (n + 1)) for n in range(len(self.words)))

    @property
    def texts(self) -> list[str]:
        return [WORDS[w] for w in self.words]


def draw_planted_clips(n_clips: int, seed: int, *, chain: bool, n_words: int = 6) -> list[PlantedClip]:
    """Return clips; with `chain` a word decides the next, else each is drawn and stands in AHEAD of the one before."""
    generator = torch.Generator().manual_seed(seed)
    clips = []
    for _ in range(n_clips):
        drawn = torch.randint(N_WORDS, (n_words,), generator=generator).tolist()
        words = [(drawn[0] + STEP * place) % N_WORDS for place in range(n_words)] if chain else drawn
        states = torch.zeros(n_words * PER_WORD, D_MODEL)
        for place, word in enumerate(words):
            rows = slice(PER_WORD * place, PER_WORD * (place + 1))
            states[rows, word] = 1.0
            if place + 1 < n_words:
                states[rows, AHEAD.start + words[place + 1]] = 1.0
        states[:, LEVEL] = 1.0
        noise = torch.randn(states.shape, generator=generator)
        states[:, FILLER] = NOISE * 6 * noise[:, FILLER]
        states[:, SOUND] += NOISE * noise[:, SOUND]
        clips.append(PlantedClip(tuple(words), states))
    return clips


class Linear(nn.Module):
    """A block: state + change @ state. The positions only tell a hook where the pass begins."""

    def __init__(self, change: Tensor) -> None:
        super().__init__()
        self.change = nn.Parameter(change, requires_grad=False)

    def forward(self, states: Tensor, position_ids: Tensor) -> Tensor:
        del position_ids
        return states + states @ self.change.T


def _change(block: int, *, from_text: bool) -> Tensor:
    change, same = torch.zeros(D_MODEL, D_MODEL), torch.eye(N_WORDS)
    if block == WRITES_CURRENT:
        change[TEXT, SOUND] = same
    if block == WRITES_NEXT:
        change[TEXT, TEXT] -= same
        if from_text:
            change[TEXT, TEXT] += same.roll(STEP, 0)
        else:
            change[TEXT, AHEAD] = same
    if block == WRITES_UNIT:
        change[UNIT, TEXT] = same
        change[TEXT, TEXT] = -same
    return change


class PlantedModel(nn.Module):
    def __init__(self, *, from_text: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Linear(_change(block, from_text=from_text)) for block in range(1, N_LAYERS + 1)
        )
        self.norm = nn.Identity()
        self.head = nn.Linear(D_MODEL, len(VOCABULARY), bias=False)
        weight = self.head.weight.requires_grad_(False).zero_()
        weight[:N_WORDS, TEXT] = LOGIT * torch.eye(N_WORDS)
        weight[KINDS.units, UNIT] = LOGIT * torch.eye(N_WORDS)
        weight[KINDS.units, LEVEL] = UNIT_LOGIT
        noise = torch.Generator().manual_seed(5)
        weight[:, FILLER] = FILLER_GAIN * torch.randn(len(VOCABULARY), N_FILLER, generator=noise)

    def forward(self, inputs_embeds: Tensor, **_options: Any) -> Tensor:
        states, places = inputs_embeds, torch.arange(inputs_embeds.shape[1])[None]
        for layer in self.layers:
            states = layer(states, position_ids=places)
        out: Tensor = self.head(self.norm(states))
        return out


class PlantedPhases:
    """See `engine.systems.base.WhiteBoxModel` for the attributes."""

    def __init__(self, *, from_text: bool = True) -> None:
        row = ("planted", "Planted", "unit_lm", "planted", None, "planted", None, ("lens",), 0.0, "MIT")
        self.spec = SystemSpec(*row)
        words = Tokenizer(WordLevel({t: n for n, t in enumerate(TEXT_TOKENS)}, unk_token="<unknown>"))
        words.normalizer = Lowercase()
        words.pre_tokenizer = Whitespace()
        self.tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
            tokenizer_object=words, eos_token="<end>", unk_token="<unknown>"
        )
        model = PlantedModel(from_text=from_text)
        self.language_model: nn.Module = model
        self.decoder_layers = model.layers
        self.final_norm: nn.Module = model.norm
        self.unembedding: nn.Module = model.head
        self.fingerprint = "planted"

    def prepare(self, heard: Heard, instruction: str) -> Prepared:
        """Return an empty position, then the clip."""
        del instruction
        embeddings = torch.cat([torch.zeros(1, D_MODEL), heard.embeddings])[None]
        return Prepared(embeddings, (1, embeddings.shape[1]), heard)

    def prompt(self, clip: PlantedClip) -> Prepared:
        return self.prepare(Heard(clip.states, S_PER_POSITION, "", (), 0.0), "")

"""The planted networks: two blocks with weights set by hand, behind the protocol of the real models.

Block 1 may copy what is heard into the directions of tokens; block 2 lets the last position gather evidence
from the clip. Hooks, lens and erasers see a residual stream like any other.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutput

from engine.systems.base import Heard, Prepared
from engine.systems.catalogue import SystemSpec
from engine.truths.plants import (
    ANSWERS,
    ASKED,
    D_MODEL,
    DECISION,
    FILLER,
    HIDDEN,
    IS_CLIP,
    N_POSITIONS,
    PITCH,
    SECONDS_PER_POSITION,
    SOUND,
    TEXT,
    WORDS,
    Plant,
)

NEVER_SAID = ("the", "of", "and", "to")
VOCABULARY = (*WORDS, *ANSWERS, *NEVER_SAID, "<end>", "<unknown>")
# Before the clip stands one empty position, after it the one that asks.
SPAN = (1, 1 + N_POSITIONS)
ATTENTION_GAIN = 12.0  # an empty position gets e to the -12 of a clip position's weight
LOGIT_GAIN = 10.0
# Every token also reads directions that mean nothing, as in any model: without it tokens would tie, and a tie
# counts as rank 1 for all.
FILLER_GAIN, FILLER_SEED = 0.5, 7
# Evidence for the first answer is positive: two of the four words, a high voice, or the first bit.
TOPIC_SIGNS = (1.0, 1.0, -1.0, -1.0)


class Speller(nn.Module):
    """Block 1: adds the word heard to the directions of its token, where the plant spells."""

    def __init__(self, spells: bool) -> None:
        super().__init__()
        copy = torch.zeros(D_MODEL, D_MODEL)
        if spells:
            copy[TEXT, SOUND] = torch.eye(len(WORDS))
        self.copy = nn.Parameter(copy, requires_grad=False)

    def forward(self, states: Tensor, position_ids: Tensor) -> Tensor:
        """Return states [rows, positions, d_model]; the positions only tell a hook where the pass begins."""
        del position_ids
        return states + states @ self.copy.T


class Gatherer(nn.Module):
    """Block 2: the position that asks adds the mean evidence of the clip's positions to the decision.

    Evidence of a position is outward @ relu(inward @ state): a linear read needs a pair of units, a product of
    two signs four, since xy = (|x + y| - |x - y|) / 2 there.
    """

    def __init__(self, uses: str) -> None:
        super().__init__()
        inward, outward = _evidence(uses)
        self.inward = nn.Parameter(inward, requires_grad=False)
        self.outward = nn.Parameter(outward, requires_grad=False)

    def forward(self, states: Tensor, position_ids: Tensor) -> Tensor:
        """Return states with the decision where something is asked."""
        scores = ATTENTION_GAIN * states[..., IS_CLIP]
        earlier = position_ids[:, :, None] >= position_ids[:, None, :]
        weights = (
            scores[:, None, :].expand(-1, states.shape[1], -1).masked_fill(~earlier, -torch.inf).softmax(-1)
        )
        evidence = weights @ (torch.relu(states @ self.inward.T) @ self.outward)[..., None]
        out = states.clone()
        out[..., DECISION] += states[..., ASKED, None] * evidence * torch.tensor([1.0, -1.0])
        return out


def _evidence(uses: str) -> tuple[Tensor, Tensor]:
    """Return inward [units, d_model] and outward [units] of what the answer is computed from."""
    if uses == "hidden":
        inward = torch.zeros(4, D_MODEL)
        inward[:, HIDDEN.start] = torch.tensor([1.0, -1.0, 1.0, -1.0])
        inward[:, HIDDEN.start + 2] = torch.tensor([1.0, -1.0, -1.0, 1.0])
        return inward, torch.tensor([0.5, 0.5, -0.5, -0.5])
    read = torch.zeros(D_MODEL)
    if uses == "text":
        read[TEXT] = torch.tensor(TOPIC_SIGNS)
    else:
        read[PITCH] = 1.0
    return torch.stack([read, -read]), torch.tensor([1.0, -1.0])


class PlantedModel(nn.Module):
    """The blocks and the unembedding: words are read in their token's direction, answers in the decision's."""

    def __init__(self, plant: Plant) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Speller(plant.spells), Gatherer(plant.uses)])
        self.norm = nn.Identity()
        self.head = nn.Linear(D_MODEL, len(VOCABULARY), bias=False)
        self.head.weight.requires_grad_(False).zero_()
        for row, dimension in enumerate((*range(D_MODEL)[TEXT], *range(D_MODEL)[DECISION])):
            self.head.weight[row, dimension] = LOGIT_GAIN
        noise = torch.Generator().manual_seed(FILLER_SEED)
        n_filler = FILLER.stop - FILLER.start
        self.head.weight[:, FILLER] = FILLER_GAIN * torch.randn(len(VOCABULARY), n_filler, generator=noise)

    def forward(self, inputs_embeds: Tensor, **_options: Any) -> CausalLMOutput:
        """Return logits [rows, positions, vocab]; nothing is cached, the answer is one token."""
        states = inputs_embeds
        position_ids = torch.arange(states.shape[1])[None]
        for layer in self.layers:
            states = layer(states, position_ids=position_ids)
        return CausalLMOutput(logits=self.head(self.norm(states)))


class PlantedSystem:
    """A planted network as a white-box model; see `engine.systems.base.WhiteBoxModel` for the attributes."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.spec = SystemSpec(
            plant.key,
            plant.name,
            "speech_llm",
            "planted",
            None,
            plant.key,
            None,
            ("lens", "erasure"),
            0.0,
            "MIT",
        )
        ids = {token: row for row, token in enumerate(VOCABULARY)}
        words = Tokenizer(WordLevel(ids, unk_token="<unknown>"))
        # The lens looks for a word capitalised too; a word that is not there must not pass for <unknown>.
        words.normalizer = Lowercase()
        words.pre_tokenizer = Whitespace()
        self.tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
            tokenizer_object=words, eos_token="<end>", unk_token="<unknown>"
        )
        model = PlantedModel(plant)
        self.language_model: nn.Module = model
        self.decoder_layers = model.layers
        self.final_norm: nn.Module = model.norm
        self.unembedding: nn.Module = model.head
        self.fingerprint = f"planted: {plant.key}"

    def prepare(self, heard: Heard, instruction: str) -> Prepared:
        """Return the prompt about one clip; the network knows one question, so its words play no part."""
        del instruction
        return Prepared(prompts(heard.embeddings[None]), SPAN, heard)


def prompts(clips: Tensor) -> Tensor:
    """Return prompts [clips, 1 + positions + 1, d_model]: an empty position, the clip, and the one that asks."""
    around = torch.zeros(len(clips), 1, D_MODEL)
    asks = around.clone()
    asks[..., ASKED] = 1.0
    return torch.cat([around, clips, asks], dim=1)


def heard_from(states: Tensor) -> Heard:
    """Return one clip's states [positions, d_model] as what the ears made of it."""
    return Heard(states, SECONDS_PER_POSITION, "", (), 0.0)

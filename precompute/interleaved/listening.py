"""A clip inside a model: its prompt, the ids that stand in it, and which positions are a word's; kept in the process.

Units depend on the encoder alone, which all checkpoints share: a clip is said and encoded once in each process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.utils import logging as transformers_logging

from engine.interleaved import TokenKinds
from engine.systems.base import Prepared, WhiteBoxModel
from engine.systems.loading import load_speech_llm
from engine.systems.loading import load_unit_checkpoint as load_checkpoint
from engine.systems.unit_lm import Interleaved, Units, mini_parts, word_positions
from engine.voice import Recipe, say_recipe
from engine.words import SpokenWord
from precompute import keys
from precompute.interleaved.units import Checkpoint
from precompute.mini.corpora.facts import Fact, all_facts
from precompute.mini.fact_clips import say_fact
from precompute.mini.world import WORLD_SEED

transformers_logging.disable_progress_bar()  # its bars would break ours
INSTRUCTION = "Repeat what was said."  # of a speech LLM; the clip stands before it, and does not see it
Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Listening:
    """One clip in a prompt.

    Attributes:
        prepared: the prompt; its span is the clip's.
        words, spans: the words and their positions, counted from the clip's first.
        ids: vocabulary ids at the clip's positions; None where they are no tokens.
    """

    prepared: Prepared
    words: tuple[SpokenWord, ...]
    spans: Spans
    ids: Tensor | None

    def own(self, states: dict[int, Tensor]) -> dict[int, Tensor]:
        """Return the states at the clip's positions, of states over the whole prompt."""
        return {layer: one[slice(*self.prepared.span)] for layer, one in states.items()}


@dataclass(frozen=True)
class UnitSource:
    """What makes units; equal for checkpoints whose centres are equal."""

    digest: str
    folder: Path = field(compare=False)
    models: Path = field(compare=False)


@lru_cache(maxsize=2)
def model_of(checkpoint: Checkpoint, models: Path) -> WhiteBoxModel:
    """Return a checkpoint's model; raises ModelFilesError for missing or damaged weights."""
    if checkpoint.folder is None:
        return load_speech_llm(checkpoint.model, models)
    return load_checkpoint(checkpoint.folder, models)


def kinds_of(system: WhiteBoxModel) -> TokenKinds:
    """Return which ids of a model's vocabulary are text and units; all of a speech LLM's are text."""
    if isinstance(system, Interleaved):
        return TokenKinds(system.text_ids, system.unit_ids)
    head: Any = system.unembedding
    return TokenKinds(range(int(head.weight.shape[0])), None)


def listen(checkpoint: Checkpoint, models: Path, recipe: Recipe) -> Listening:
    """Return a clip as this checkpoint is given it."""
    system: Any = model_of(checkpoint, models)
    if isinstance(system, Interleaved):
        units, words = _units(source_of(checkpoint, models), recipe)
        return listen_to_units(system, units, words)
    spoken = say_recipe(recipe)
    prepared = system.prepare(system.hear(spoken.clip), INSTRUCTION)
    start, stop = prepared.span
    ends = (np.arange(stop - start) + 1) * system.seconds_per_position
    return Listening(prepared, spoken.words, word_positions(spoken.words, ends), None)


def listen_to_units(system: Interleaved, units: Units, words: tuple[SpokenWord, ...]) -> Listening:
    """Return units as the model is given them; it goes on in speech."""
    prepared = system.prepare_speech(system.hear_units(units))
    ids = torch.from_numpy(units.ids) + system.unit_ids.start
    return Listening(prepared, words, word_positions(words, units.ends_s), ids)


def source_of(checkpoint: Checkpoint, models: Path) -> UnitSource:
    """Return what makes a unit model's units."""
    assert checkpoint.folder is not None, "a speech LLM has no units"
    return UnitSource(keys.folder_hash(checkpoint.folder / "units"), checkpoint.folder, models)


@lru_cache(maxsize=4)
def _encoder(source: UnitSource) -> Any:
    return mini_parts(source.folder, source.models).encoder


@lru_cache(maxsize=4096)
def _units(source: UnitSource, recipe: Recipe) -> tuple[Units, tuple[SpokenWord, ...]]:
    spoken = say_recipe(recipe)
    return _encoder(source).encode(spoken.clip.samples), spoken.words


@dataclass(frozen=True)
class FactUnits:
    """A fact's two statements: right first, then wrong.

    Attributes:
        n_prompt_words: words that both begin with.
    """

    units: tuple[Units, Units]
    words: tuple[tuple[SpokenWord, ...], tuple[SpokenWord, ...]]
    n_prompt_words: int


@lru_cache(maxsize=1024)
def fact_units(source: UnitSource, key: str) -> FactUnits:
    """Return a fact, by its key, said with either end."""
    said = say_fact(_facts()[key])
    encoder = _encoder(source)
    units = (encoder.encode(said.right.samples), encoder.encode(said.wrong.samples))
    return FactUnits(units, (said.right_words, said.wrong_words), said.n_prompt_words)


@lru_cache(maxsize=1)
def _facts() -> dict[str, Fact]:
    return {fact.key: fact for fact in all_facts(WORLD_SEED)}

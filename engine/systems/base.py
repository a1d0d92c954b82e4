"""What an adapter fills, and nothing more: the white-box protocols, and the one for a service that sends text only.

`engine.run` knows systems only through these protocols. Deliberately not here: hooks (engine.hooks), the lens
(engine.lens), decoding (engine.generate) and anything that keeps the last run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from engine.audio import AudioClip
from engine.results import SpokenLanguage
from engine.systems.catalogue import SystemSpec
from engine.systems.remote import Reply, Tell
from engine.words import SpokenWord, even_ends

CUT = "\ufdd0"  # a code point that no text may hold (Unicode, "noncharacters")


def as_text(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Return a person's words with a `CUT` in every control token's name; others come back as they are."""
    text = text.replace(CUT, "")
    places: set[int] = set()
    for name in _control_tokens(tokenizer):
        start = text.find(name)
        while start >= 0:
            places.add(start + 1)
            start = text.find(name, start + 1)
    ends = [0, *sorted(places), len(text)]
    return CUT.join(text[a:b] for a, b in pairwise(ends)) if places else text


def cut_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of a text that may hold cuts, no special token added; the pieces are tokenised apart."""
    first, *others = text.split(CUT)
    return [
        *tokenizer.encode(first, add_special_tokens=False),
        *(i for piece in others for i in _ids_within(tokenizer, piece)),
    ]


def _ids_within(tokenizer: PreTrainedTokenizerBase, piece: str) -> list[int]:
    """Return the ids of a piece that goes on in the middle of a word.

    Some tokenizers, the mini systems' among them, begin every text with a blank. Here that falls before a line break,
    which no pre-tokeniser joins to what follows, and both are left out again.
    """
    read = tokenizer("\n" + piece, add_special_tokens=False, return_offsets_mapping=True)
    return [i for i, (_, end) in zip(read["input_ids"], read["offset_mapping"], strict=True) if end > 1]


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of a person's words: no special token is added, and none is read out of them."""
    return cut_ids(tokenizer, as_text(tokenizer, text))


def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    return _named(tuple(token.content for token in tokenizer.added_tokens_decoder.values()))


@lru_cache(maxsize=64)
def _named(added: tuple[str, ...]) -> tuple[str, ...]:
    """Return the added tokens that are marks; runs of blanks, which some vocabularies add too, are plain text."""
    return tuple(name for name in added if len(name) > 1 and re.search(r"[^\W_]", name))


@dataclass(frozen=True)
class Heard:
    """What the ears of a system made of a clip, before any question: computed once per clip.

    Attributes:
        embeddings: what stands in the prompt for the clip, at the backbone's embedding width.
        seconds_per_position: clock width of one of these positions; 0.0 for a transcript's tokens.
        text: the transcript for a cascade or an oracle, "" for a speech LLM.
        words: the transcript's words with times, where there are any.
        seconds: wall time of this step.
        position_ends_s: when each position ends, where they are not all of one width (merged speech units, the
            tokens of a bridge); `seconds_per_position` is then a frame's, or their mean. None where they are.
        language: what a cascade's transcriber takes the clip for, where it knows several languages.
    """

    embeddings: Float[Tensor, "positions d_model"]
    seconds_per_position: float
    text: str
    words: tuple[SpokenWord, ...]
    seconds: float
    position_ends_s: Float[np.ndarray, "positions"] | None = None  # noqa: F821 - jaxtyping axis name
    language: SpokenLanguage | None = None

    @property
    def ends_s(self) -> Float[np.ndarray, "positions"]:  # noqa: F821
        """When each position ends, in seconds; it begins where the one before it ends."""
        if self.position_ends_s is not None:
            return self.position_ends_s
        return even_ends(len(self.embeddings), self.seconds_per_position)


def words_alone(text: str, words: tuple[SpokenWord, ...] = (), seconds: float = 0.0) -> Heard:
    """Return a transcript as a service is given it: it makes its own prompt, so there are no positions of ours."""
    return Heard(torch.empty(0, 0), 0.0, text, words, seconds)


@dataclass(frozen=True)
class Prepared:
    """A whole prompt as the backbone's input.

    Attributes:
        embeddings: the prompt, ready for `language_model(inputs_embeds=...)`.
        span: first position of the clip (or transcript) and the one after its last.
    """

    embeddings: Float[Tensor, "1 positions d_model"]
    span: tuple[int, int]
    heard: Heard


@runtime_checkable
class WhiteBoxModel(Protocol):
    """A model whose states can be read and edited, whatever it was given.

    Attributes:
        spec: its catalogue row.
        tokenizer: of the backbone.
        language_model: the backbone with its head; called with `inputs_embeds` and a cache.
        decoder_layers, final_norm, unembedding: the backbone's own modules, in order.
        fingerprint: sha256 over the weights that its states depend on.
    """

    spec: SystemSpec
    tokenizer: PreTrainedTokenizerBase
    language_model: nn.Module
    decoder_layers: nn.ModuleList
    final_norm: nn.Module
    unembedding: nn.Module
    fingerprint: str

    def prepare(self, heard: Heard, instruction: str) -> Prepared:
        """Return the prompt that asks `instruction` about what was heard."""
        ...


@runtime_checkable
class WhiteBoxSystem(WhiteBoxModel, Protocol):
    """A white-box model with ears; the text oracle is one without."""

    def hear(self, clip: AudioClip) -> Heard:
        """Return what stands in the prompt for this clip."""
        ...


@runtime_checkable
class SpeechLLM(WhiteBoxSystem, Protocol):
    """A system that hears without a transcript: what fitting its erasers and probing its layers needs beside."""

    @property
    def ears(self) -> nn.Module:
        """The modules before the backbone; a control draws their weights anew."""
        ...

    def features(
        self,
        samples: Float[np.ndarray, "samples"],  # noqa: F821 - jaxtyping axis name
    ) -> tuple[Float[Tensor, "mels frames"], int]:
        """Return log-mel features of at most one window, and how many frames of 10 ms are the clip's."""
        ...

    def frames(
        self,
        samples: Float[np.ndarray, "samples"],  # noqa: F821 - jaxtyping axis name
    ) -> Float[Tensor, "frames d_audio"]:
        """Return the audio tower's normed states of one clip of at most one window, 20 ms each."""
        ...


@runtime_checkable
class Transcribes(Protocol):
    """The ears of a cascade."""

    def transcribe(self, clip: AudioClip) -> tuple[str, tuple[SpokenWord, ...]]:
        """Return what is said in a clip, and its words with times in seconds."""
        ...


@runtime_checkable
class TellsLanguage(Transcribes, Protocol):
    """A transcriber that may know several languages."""

    def transcribe_and_tell(
        self, clip: AudioClip
    ) -> tuple[str, tuple[SpokenWord, ...], SpokenLanguage | None]:
        """Return what `transcribe` does, and the language of the first window where it knows several."""
        ...


@runtime_checkable
class BehaviourModel(Protocol):
    """A model behind a service: it can be asked, and nothing inside it can be read or edited.

    Attributes:
        spec: its catalogue row; a speech LLM is asked about a clip, a text LLM about a transcript.
        fingerprint: sha256 over the service, the model id and the settings that shape an answer. Which weights
            answer is known only afterwards: `Reply.model_version`.
    """

    spec: SystemSpec
    fingerprint: str

    def ask(self, given: AudioClip | str, instruction: str, tell: Tell | None = None) -> Reply:
        """Return the reply to `instruction` about a clip, or about a transcript.

        Args:
            given: the clip or the transcript.
            instruction: the question's words.
            tell: told several times a second what is waited for; what it raises ends the waiting.

        Raises:
            ServiceError: no reply was to be had; its sentence says what to do.
        """
        ...


def end_ids(system: WhiteBoxModel) -> tuple[int, ...]:
    """Return the ids at which an answer ends: first the end of a turn, then what the model's own settings add.

    Llama-3.1-Instruct names three; a base model's end of a document ends a chat's answer as well.
    """
    turn = int(system.tokenizer.eos_token_id)
    settings = getattr(system.language_model, "generation_config", None)
    named = getattr(settings, "eos_token_id", None)
    others = named if isinstance(named, list) else [] if named is None else [named]
    return tuple(dict.fromkeys((turn, *map(int, others))))


@dataclass(frozen=True)
class PromptFrame:
    """The chat template's ids before and after the clip, for one instruction."""

    before: Sequence[int]
    after: Sequence[int]


CLIP_MARK = "<|audio|>"
# Llama 3.2's template writes today's date unless it is given one; 3.1's has this one written in.
DATE_STRING = "26 Jul 2024"


def prompt_frame(tokenizer: PreTrainedTokenizerBase, instruction: str, *, template: str) -> PromptFrame:
    """Split the chat prompt at the clip; the pieces are tokenised apart, as Ultravox does.

    Control tokens are the template's alone: in the instruction they are text (`as_text`).

    Args:
        tokenizer: with a chat template.
        instruction: the question's words.
        template: user turn with "<|audio|>" for the clip and "{instruction}" for the words.

    Returns:
        Ids before and after the clip, no special token added beyond the template's own.
    """
    content = template.replace("{instruction}", as_text(tokenizer, instruction))
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=False,
        add_generation_prompt=True,
        date_string=DATE_STRING,
    )
    # The template's own mark comes first; a mark typed into the words stays words.
    before, after = str(prompt).split(CLIP_MARK, 1)
    return PromptFrame(cut_ids(tokenizer, before), cut_ids(tokenizer, after))

"""Where training works: folders, sentences, tokenizers, the flite pool, and what earlier stages left behind."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2ForCausalLM

from engine.errors import ModelFilesError
from engine.matching import read_config
from engine.systems.checkpoint import read_tensors, under
from engine.tasks import FREE_FORMS, TASKS
from precompute.mini.backbone import TextSource, new_backbone
from precompute.mini.loop import LoopSettings
from precompute.mini.qwen2 import new_qwen2
from precompute.mini.sentence import Sentence
from precompute.mini.speech_batch import SpeechSource
from precompute.mini.speech_llm import ENCODER_SIZES
from precompute.mini.synth import FlitePool
from precompute.mini.tokens import AUDIO_MARK, chat_tokenizer, train_text_tokenizer, whisper_tokenizer
from precompute.mini.transcriber import TrainedTranscriber
from precompute.mini.world import build_world

logger = logging.getLogger(__name__)

FLITE_SEED = 5
TOWER = "audio_tower."


@dataclass(frozen=True)
class Recipe:
    """How long each stage trains, how many flite clips it draws from, and how many clips judge a transcriber.

    `unit_texts` limits the texts that the interleaved minis hear, and their facts.
    """

    backbone_steps: int
    transcriber_steps: int
    speech_llm_steps: int
    qwen2_steps: int
    qwen2_audio_steps: int
    weak_asr_steps: int
    interleaved_steps: int
    flite_clips: int
    held_out_clips: int
    unit_texts: int


@dataclass(frozen=True)
class Encoder:
    """A trained audio encoder that another model may begin with: sizes, tensors, and whose it was."""

    sizes: dict[str, Any]
    tensors: dict[str, Tensor]
    origin: str


@dataclass(frozen=True)
class Workshop:
    """What every stage works with; costly parts are made when first asked for.

    Attributes:
        build: folder of checkpoints and of the flite pool.
        models: folder that receives the finished models.
    """

    build: Path
    models: Path
    recipe: Recipe

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """Training sentences."""
        return build_world().train

    @cached_property
    def words(self) -> list[str]:
        """Every word of the training sentences, in alphabetical order."""
        return sorted({word for sentence in self.sentences for word in sentence.text.split()})

    @cached_property
    def _text_tokenizer(self) -> Any:
        fixed = [task.instruction.replace("{choices}", "") for task in TASKS.values()] + list(FREE_FORMS)
        texts = [sentence.text for sentence in self.sentences]
        texts += fixed * 200  # so that the words of the instructions become tokens too
        texts += [sentence.label for sentence in self.sentences]
        texts += [", ".join(sentence.choices) for sentence in self.sentences]
        return train_text_tokenizer(texts)

    @cached_property
    def chat(self) -> PreTrainedTokenizerFast:
        """The mini-Llama's tokenizer."""
        return chat_tokenizer(self._text_tokenizer)

    @cached_property
    def audio_chat(self) -> PreTrainedTokenizerFast:
        """The same ids and one more, the mark of an audio position: the mini-Qwen2's and mini-Qwen2-Audio's."""
        return chat_tokenizer(self._text_tokenizer, extra=(AUDIO_MARK,))

    @cached_property
    def whisper(self) -> PreTrainedTokenizerFast:
        """The transcribers' tokenizer."""
        return whisper_tokenizer(self._text_tokenizer)

    @cached_property
    def pool(self) -> FlitePool:
        """Clips by flite, made at first use."""
        logger.info("flite pool: %d clips", self.recipe.flite_clips)
        return FlitePool(self.build / "flite", self.sentences, self.recipe.flite_clips, FLITE_SEED)

    def speech(self, seed: int) -> SpeechSource:
        """Return batches of augmented speech."""
        return SpeechSource(self.sentences, self.pool, seed)

    def text(self, tokenizer: PreTrainedTokenizerFast) -> TextSource:
        """Return batches of questions and answers as text."""
        return TextSource(tokenizer, self.sentences)

    def settings(self, stage: str, peak_rate: float, weight_decay: float = 0.01) -> LoopSettings:
        """Return a stage's loop; its steps are the recipe's."""
        steps = getattr(self.recipe, f"{stage}_steps")
        logger.info("%s: %d steps", stage, steps)
        return LoopSettings(stage, steps, peak_rate, self.build, weight_decay=weight_decay)

    def backbone(self) -> LlamaForCausalLM:
        """Return the mini-Llama of its checkpoint; raises ModelFilesError when there is none."""
        model = new_backbone(self.chat)
        model.load_state_dict(self._checkpoint("backbone"))
        return model

    def transcriber(self) -> TrainedTranscriber:
        """Return the strong transcriber of its checkpoint; raises ModelFilesError when there is none."""
        model = TrainedTranscriber(self.whisper, self.words)
        model.load_state_dict(self._checkpoint("transcriber"))
        return model

    def qwen2(self) -> Qwen2ForCausalLM:
        """Return the mini-Qwen2 as it ships, in half precision's rounding: what it is an ancestor by.

        Raises:
            ModelFilesError: it is not there yet, or is of another world.
        """
        model = new_qwen2(self.audio_chat)
        try:
            model.load_state_dict(read_tensors(self.models / "mini-qwen2"))
        except ModelFilesError as error:
            raise ModelFilesError(f'{error} Or run "python -m precompute train --stage qwen2".') from error
        except RuntimeError as error:
            raise ModelFilesError("mini-qwen2 is of other sizes; train it again: --stage qwen2.") from error
        return model

    def encoder(self) -> Encoder:
        """Return the strong transcriber's encoder; without its checkpoint, the tower that mini-Ultravox made of it.

        Raises:
            ModelFilesError: neither is there.
        """
        if self.checkpoint_file("transcriber").exists():
            whisper = self.transcriber().whisper
            sizes = {key: getattr(whisper.config, key) for key in ENCODER_SIZES}
            return Encoder(sizes, whisper.model.encoder.state_dict(), "mini-whisper")
        logger.info("no checkpoint of the transcriber in %s: the tower begins as mini-Ultravox's", self.build)
        folder = self.models / "mini-ultravox"
        sizes = {key: read_config(folder)["audio_config"][key] for key in ENCODER_SIZES}
        tensors = read_tensors(folder, lambda name: name.startswith(TOWER))
        return Encoder(sizes, under(tensors, TOWER), "mini-ultravox")

    def checkpoint_file(self, stage: str) -> Path:
        """Return where a stage's checkpoint lies."""
        return self.build / f"{stage}.checkpoint.safetensors"

    def keep_origin(self, stage: str, origin: dict[str, str]) -> None:
        """Write down what a stage begins with; a stage that goes on must have begun with the same.

        Raises:
            ModelFilesError: its checkpoint was begun with other weights.
        """
        file = self.build / f"{stage}.origin.json"
        if self.checkpoint_file(stage).exists() and file.exists():
            if json.loads(file.read_text(encoding="utf-8")) != origin:
                raise ModelFilesError(
                    f"The checkpoint of {stage} was begun with other weights than those there are now; "
                    f"remove {self.checkpoint_file(stage).name} to train it anew."
                )
            return
        file.write_text(json.dumps(origin) + "\n", encoding="utf-8")

    def _checkpoint(self, stage: str) -> dict[str, Tensor]:
        file = self.checkpoint_file(stage)
        if not file.exists():
            raise ModelFilesError(
                f'There is no {file.name}; run "python -m precompute train --stage {stage}" first.'
            )
        return under(load_file(file), "model.")


def count_words(sentences: Iterable[Sentence]) -> int:
    """Return how many different words these sentences have."""
    return len({word for sentence in sentences for word in sentence.text.split()})

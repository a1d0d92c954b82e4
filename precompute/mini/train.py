"""Training all minis from random initialisation: tokenizer, backbone, transcriber, speech LLM, export.

`python -m precompute train` runs it; each stage resumes from its checkpoint, and a finished stage is not
repeated. `--quick` proves that every stage works in two minutes; its weights know nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from engine.systems.checkpoint import under
from engine.systems.ultravox import UltravoxEars
from engine.tasks import FREE_FORMS, TASKS
from precompute.mini.backbone import BATCH_EXCHANGES, new_backbone, train_backbone
from precompute.mini.export import export_backbone, export_ears, export_transcriber
from precompute.mini.loop import LoopSettings, count_parameters
from precompute.mini.sentence import Sentence
from precompute.mini.speech_batch import SpeechSource
from precompute.mini.speech_llm import new_ears, train_speech_llm, ultravox_config
from precompute.mini.synth import FlitePool
from precompute.mini.tokens import chat_tokenizer, train_text_tokenizer, whisper_tokenizer
from precompute.mini.transcriber import BATCH_CLIPS, TrainedTranscriber, train_transcriber
from precompute.mini.world import WORLD_SEED, build_world, write_split

logger = logging.getLogger(__name__)

FLITE_SEED, SOURCE_SEED, SPEECH_SOURCE_SEED = 5, 7, 8


@dataclass(frozen=True)
class Recipe:
    """How long each stage trains."""

    backbone_steps: int
    transcriber_steps: int
    speech_llm_steps: int
    flite_clips: int


FULL = Recipe(backbone_steps=8_900, transcriber_steps=7_900, speech_llm_steps=5_300, flite_clips=2_500)
QUICK = Recipe(backbone_steps=25, transcriber_steps=20, speech_llm_steps=12, flite_clips=10)


def train_all(build: Path, models: Path, recipe: Recipe) -> dict[str, dict[str, float]]:
    """Train and export everything.

    Args:
        build: folder of checkpoints; a second call resumes from them.
        models: folder that receives mini-llama, mini-whisper and mini-ultravox.
        recipe: steps of each stage.

    Returns:
        Each stage's record: steps, seconds, last training numbers, parameters.
    """
    build.mkdir(parents=True, exist_ok=True)
    world = build_world()
    write_split(build / "split.json")
    chat, whisper = _tokenizers(world.train)
    backbone, backbone_record = _backbone_stage(build, models, recipe, chat, world.train)
    logger.info("flite pool: %d clips", recipe.flite_clips)
    pool = FlitePool(build / "flite", world.train, recipe.flite_clips, FLITE_SEED)
    transcriber, transcriber_record = _transcriber_stage(build, models, recipe, whisper, world.train, pool)
    ears, speech_record = _speech_llm_stage(
        build, models, recipe, chat, world.train, pool, transcriber, backbone
    )
    counts = {
        "mini-llama": (backbone_record, backbone),
        "mini-whisper": (transcriber_record, transcriber.whisper),
        "mini-ultravox": (speech_record, ears),
    }
    records = {
        key: {**record, "parameters": count_parameters(model.parameters())}
        for key, (record, model) in counts.items()
    }
    _write_record(models / "training.json", records, recipe, world.train)
    return records


def _backbone_stage(
    build: Path, models: Path, recipe: Recipe, chat: PreTrainedTokenizerFast, sentences: tuple[Sentence, ...]
) -> tuple[LlamaForCausalLM, dict[str, float]]:
    logger.info("backbone: %d steps", recipe.backbone_steps)
    settings = LoopSettings("backbone", recipe.backbone_steps, 1.5e-3, build, weight_decay=0.05)
    backbone, record = train_backbone(chat, sentences, settings)
    export_backbone(backbone, chat, models / "mini-llama")
    return backbone, record


def _transcriber_stage(
    build: Path,
    models: Path,
    recipe: Recipe,
    whisper: PreTrainedTokenizerFast,
    sentences: tuple[Sentence, ...],
    pool: FlitePool,
) -> tuple[TrainedTranscriber, dict[str, float]]:
    logger.info("transcriber: %d steps", recipe.transcriber_steps)
    source = SpeechSource(sentences, pool, SOURCE_SEED)
    settings = LoopSettings("transcriber", recipe.transcriber_steps, 1e-3, build)
    transcriber, record = train_transcriber(whisper, words_of(sentences), source, settings)
    export_transcriber(transcriber, whisper, models / "mini-whisper")
    return transcriber, record


def _speech_llm_stage(
    build: Path,
    models: Path,
    recipe: Recipe,
    chat: PreTrainedTokenizerFast,
    sentences: tuple[Sentence, ...],
    pool: FlitePool,
    transcriber: TrainedTranscriber,
    backbone: LlamaForCausalLM,
) -> tuple[UltravoxEars, dict[str, float]]:
    logger.info("speech LLM: %d steps", recipe.speech_llm_steps)
    config = ultravox_config(transcriber, "mini-llama")
    ears = new_ears(config, transcriber, backbone)
    source = SpeechSource(sentences, pool, SPEECH_SOURCE_SEED)
    settings = LoopSettings("speech_llm", recipe.speech_llm_steps, 1e-3, build)
    record = train_speech_llm(ears, backbone, chat, source, settings)
    export_ears(ears, config, models / "mini-ultravox")
    return ears, record


def load_backbone(build: Path, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return the backbone of a checkpoint."""
    backbone = new_backbone(tokenizer)
    backbone.load_state_dict(under(load_file(build / "backbone.checkpoint.safetensors"), "model."))
    return backbone


def load_transcriber(
    build: Path, tokenizer: PreTrainedTokenizerFast, words: Sequence[str]
) -> TrainedTranscriber:
    """Return the transcriber of a checkpoint."""
    transcriber = TrainedTranscriber(tokenizer, words)
    transcriber.load_state_dict(under(load_file(build / "transcriber.checkpoint.safetensors"), "model."))
    return transcriber


def words_of(sentences: Iterable[Sentence]) -> list[str]:
    """Return every word of these sentences, in alphabetical order."""
    return sorted({word for sentence in sentences for word in sentence.text.split()})


def _tokenizers(
    sentences: Iterable[Sentence],
) -> tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast]:
    sentences = tuple(sentences)
    fixed = [task.instruction.replace("{choices}", "") for task in TASKS.values()] + list(FREE_FORMS)
    texts = [sentence.text for sentence in sentences]
    texts += fixed * 200  # so that the words of the instructions become tokens too
    texts += [sentence.label for sentence in sentences]
    texts += [", ".join(sentence.choices) for sentence in sentences]
    text_tokenizer = train_text_tokenizer(texts)
    return chat_tokenizer(text_tokenizer), whisper_tokenizer(text_tokenizer)


def _write_record(
    file: Path, records: dict[str, dict[str, float]], recipe: Recipe, sentences: tuple[Sentence, ...]
) -> None:
    record = {
        "world_seed": WORLD_SEED,
        "training_sentences": len(sentences),
        "training_texts": len({sentence.text for sentence in sentences}),
        "vocabulary_words": len(words_of(sentences)),
        "batch": {"backbone": BATCH_EXCHANGES, "transcriber": BATCH_CLIPS, "speech_llm": BATCH_CLIPS},
        "recipe": vars(recipe),
        "torch": torch.__version__,
        "models": records,
    }
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

"""Training the minis from random initialisation, stage by stage, and writing the folders that ship.

`python -m precompute train` runs it. Each stage resumes from its checkpoint, and a finished one is not repeated;
it needs what the stages before it left behind, nothing else. `--quick` proves that every stage works in a few
minutes; its weights know nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.errors import UnknownKeyError
from engine.matching import LANGUAGE_MODEL
from engine.systems.checkpoint import fingerprint
from precompute.mini import interleaved_job, qwen2_audio, speech_llm, transcriber
from precompute.mini.backbone import BATCH_EXCHANGES, new_backbone, train_backbone
from precompute.mini.export import export_backbone, export_ears, export_qwen2_audio, export_transcriber
from precompute.mini.interleaving import ROWS
from precompute.mini.loop import count_parameters
from precompute.mini.qwen2 import QWEN2_SEED, new_qwen2
from precompute.mini.word_errors import word_error_rate
from precompute.mini.workshop import Recipe, Workshop, count_words
from precompute.mini.world import WORLD_SEED, write_split

logger = logging.getLogger(__name__)

SOURCE_SEED, SPEECH_SOURCE_SEED, QWEN2_AUDIO_SOURCE_SEED, WEAK_SOURCE_SEED = 7, 8, 23, 24
TEXT_DECAY = 0.05
RECORD = "training.json"

FULL = Recipe(
    backbone_steps=8_900,
    transcriber_steps=7_900,
    speech_llm_steps=5_300,
    qwen2_steps=6_000,
    qwen2_audio_steps=3_200,
    weak_asr_steps=4_000,
    interleaved_steps=2_400,
    flite_clips=2_500,
    held_out_clips=60,
    unit_texts=20_000,
)
QUICK = Recipe(
    backbone_steps=25,
    transcriber_steps=20,
    speech_llm_steps=12,
    qwen2_steps=25,
    qwen2_audio_steps=12,
    weak_asr_steps=20,
    interleaved_steps=8,
    flite_clips=10,
    held_out_clips=3,
    unit_texts=12,
)

Record = dict[str, float]


@dataclass(frozen=True)
class Stage:
    """One model's training.

    Attributes:
        folder: that receives the model.
        batch: examples a step.
        train: trains, exports, and returns (record, the model whose parameters count).
    """

    folder: str
    batch: Callable[[], int]
    train: Callable[[Workshop, Path], tuple[Record, nn.Module]]


def _backbone(shop: Workshop, folder: Path) -> tuple[Record, nn.Module]:
    model = new_backbone(shop.chat)
    settings = shop.settings("backbone", 1.5e-3, TEXT_DECAY)
    record = train_backbone(model, shop.text(shop.chat), settings)
    export_backbone(model, shop.chat, folder)
    return record, model


def _transcriber(shop: Workshop, folder: Path) -> tuple[Record, nn.Module]:
    return _ears_that_write(shop, folder, "transcriber", transcriber.STRONG, SOURCE_SEED)


def _weak_asr(shop: Workshop, folder: Path) -> tuple[Record, nn.Module]:
    return _ears_that_write(shop, folder, "weak_asr", transcriber.WEAK, WEAK_SOURCE_SEED)


def _ears_that_write(
    shop: Workshop, folder: Path, stage: str, size: transcriber.Size, seed: int
) -> tuple[Record, nn.Module]:
    model = transcriber.TrainedTranscriber(shop.whisper, shop.words, size)
    settings = shop.settings(stage, 1e-3)
    record = transcriber.train_transcriber(model, shop.whisper, shop.speech(seed), settings)
    export_transcriber(model, shop.whisper, folder)
    heard = word_error_rate(folder, shop.recipe.held_out_clips)
    return {**record, "word_error_rate": heard}, model.whisper


def _speech_llm(shop: Workshop, folder: Path) -> tuple[Record, nn.Module]:
    ears_of, backbone = shop.transcriber(), shop.backbone()
    config = speech_llm.ultravox_config(ears_of, STAGES["backbone"].folder)
    ears = speech_llm.new_ears(config, ears_of, backbone)
    settings = shop.settings("speech_llm", 1e-3)
    record = speech_llm.train_speech_llm(ears, backbone, shop.chat, shop.speech(SPEECH_SOURCE_SEED), settings)
    export_ears(ears, config, folder)
    return record, ears


def _qwen2(shop: Workshop, folder: Path) -> tuple[Record, nn.Module]:
    model = new_qwen2(shop.audio_chat)
    settings = shop.settings("qwen2", 1.5e-3, TEXT_DECAY)
    source = shop.text(shop.audio_chat)
    record = train_backbone(model, source, settings, seed=QWEN2_SEED, echo_from_step=0)
    export_backbone(model, shop.audio_chat, folder)
    return record, model


def _qwen2_audio(shop: Workshop, folder: Path) -> tuple[Record, nn.Module]:
    backbone, encoder = shop.qwen2(), shop.encoder()
    origin = {
        LANGUAGE_MODEL: fingerprint([shop.models / STAGES["qwen2"].folder]),
        "audio_tower": encoder.origin,
    }
    shop.keep_origin("qwen2_audio", origin)
    config = qwen2_audio.qwen2_audio_config(encoder.sizes, backbone, shop.audio_chat, origin)
    model = qwen2_audio.new_qwen2_audio(config, encoder.tensors, backbone)
    record = qwen2_audio.train_qwen2_audio(
        model,
        shop.audio_chat,
        shop.speech(QWEN2_AUDIO_SOURCE_SEED),
        shop.text(shop.audio_chat),
        shop.settings("qwen2_audio", 1e-3),
    )
    export_qwen2_audio(model, shop.audio_chat, folder)
    return record, model


def _interleaved(shop: Workshop, folder: Path) -> tuple[Record, nn.Module]:
    logger.info("interleaved: %d steps", shop.recipe.interleaved_steps)
    return interleaved_job.train_grid(shop, folder)


# In the order in which they need one another.
STAGES: dict[str, Stage] = {
    "backbone": Stage("mini-llama", lambda: BATCH_EXCHANGES, _backbone),
    "transcriber": Stage("mini-whisper", lambda: transcriber.BATCH_CLIPS, _transcriber),
    "speech_llm": Stage("mini-ultravox", lambda: speech_llm.BATCH_CLIPS, _speech_llm),
    "qwen2": Stage("mini-qwen2", lambda: BATCH_EXCHANGES, _qwen2),
    "qwen2_audio": Stage("mini-qwen2-audio", lambda: qwen2_audio.BATCH_CLIPS, _qwen2_audio),
    "weak_asr": Stage("mini-whisper-weak", lambda: transcriber.BATCH_CLIPS, _weak_asr),
    "interleaved": Stage("mini-interleaved", lambda: ROWS, _interleaved),
}


def choose_stages(names: Sequence[str], models: Path) -> list[str]:
    """Return the stages to be run, in order: those named, all for "all", those whose model is missing for none.

    Raises:
        UnknownKeyError: a name is no stage's.
    """
    for name in names:
        if name not in {*STAGES, "all"}:
            raise UnknownKeyError(f'There is no stage "{name[:40]}". Choose from: {", ".join(STAGES)}, all.')
    if not names:
        return [
            name for name, stage in STAGES.items() if not (models / stage.folder / "config.json").exists()
        ]
    return [name for name in STAGES if "all" in names or name in names]


def train_all(build: Path, models: Path, recipe: Recipe, names: Sequence[str] = ()) -> dict[str, Record]:
    """Train and export.

    Args:
        build: folder of checkpoints; a second call resumes from them.
        models: folder that receives the models, one folder each.
        recipe: steps of each stage.
        names: as for `choose_stages`.

    Returns:
        For each model its record: steps, seconds, last training numbers, parameters.

    Raises:
        UnknownKeyError: there is no such stage.
        ModelFilesError: what a stage builds upon is not there.
    """
    chosen = choose_stages(names, models)
    build.mkdir(parents=True, exist_ok=True)
    write_split(build / "split.json")
    shop = Workshop(build, models, recipe)
    records = {}
    for name in chosen:
        stage = STAGES[name]
        record, model = stage.train(shop, models / stage.folder)
        records[stage.folder] = {**record, "parameters": count_parameters(model.parameters())}
        _add_to_record(models / RECORD, shop, name, records[stage.folder])
    return records


def _add_to_record(file: Path, shop: Workshop, name: str, numbers: Record) -> None:
    """Write down what one stage did beside what others did before; each is known as soon as it has ended."""
    known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    steps = f"{name}_steps"
    shared = {key: value for key, value in vars(shop.recipe).items() if not key.endswith("_steps")}
    record = {
        "world_seed": WORLD_SEED,
        "training_sentences": len(shop.sentences),
        "training_texts": len({sentence.text for sentence in shop.sentences}),
        "vocabulary_words": count_words(shop.sentences),
        "batch": {**known.get("batch", {}), name: STAGES[name].batch()},
        "recipe": {**known.get("recipe", {}), **shared, steps: getattr(shop.recipe, steps)},
        "torch": torch.__version__,
        "models": {**known.get("models", {}), STAGES[name].folder: numbers},
    }
    part = file.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    part.replace(file)

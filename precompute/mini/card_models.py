"""The model card's sections on the models themselves: shapes and training, for every model that is there.

Shapes are read from configs and weights, training from training.json; a model that was not trained has no row.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.errors import ModelFilesError
from engine.systems.checkpoint import from_eight_bits, read_tensors
from engine.systems.qwen2_audio import POOLED_STATES
from engine.systems.unit_lm import FRAME_S
from precompute.mini.backbone import BACKBONE_SEED
from precompute.mini.ctc_head import CTC_SEED
from precompute.mini.evaluate import BOOTSTRAP_SEED
from precompute.mini.fit_erasers import ERASER_SEED
from precompute.mini.held_out import HELD_OUT_SEED
from precompute.mini.interleaved import INTERLEAVED_SEED
from precompute.mini.interleaving import ROW_TOKENS
from precompute.mini.qwen2 import QWEN2_SEED
from precompute.mini.qwen2_audio import QWEN2_AUDIO_SEED
from precompute.mini.speech_llm import SPEECH_LLM_SEED
from precompute.mini.train import (
    QWEN2_AUDIO_SOURCE_SEED,
    SOURCE_SEED,
    SPEECH_SOURCE_SEED,
    STAGES,
    WEAK_SOURCE_SEED,
)
from precompute.mini.transcriber import STRONG, TRANSCRIBER_SEED, WEAK, Size
from precompute.mini.unit_fit import UNITS_SEED
from precompute.mini.unit_voice_job import VOICE_SEED
from precompute.mini.voices import test_voices, train_voices, unseen_engine_voices
from precompute.mini.workshop import FLITE_SEED
from precompute.mini.world import World

HALF = "float16 on disk, run in float32"
EIGHT_BIT = "8-bit on disk, run in float32"
STATE_MS = 20  # of one encoder state

# Stage -> what it learns from, and the unit of its batch.
_DATA = {
    "backbone": ("sentences with questions and answers, as text", "exchanges"),
    "transcriber": ("sentences said by synthetic voices, augmented", "clips"),
    "speech_llm": ("the same, towards the text-prompted backbone", "clips"),
    "qwen2": ("sentences with questions and answers, as text", "exchanges"),
    "qwen2_audio": ("the same clips with their answers, and text; all of its language model learns", "clips"),
    "weak_asr": ("sentences said by synthetic voices, augmented", "clips"),
    "interleaved": (
        "sentences and facts as text, as speech units, and as spans of both in turn",
        f"rows of {ROW_TOKENS} ids",
    ),
}


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def read_json(file: Path, remedy: str) -> dict[str, Any]:
    """Return a JSON file's object; raises ModelFilesError with the remedy when it cannot be read."""
    try:
        loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ModelFilesError(f"{file.parent.name} has no readable {file.name}; {remedy}.") from error
    return loaded


def architecture(models: Path, record: dict[str, Any]) -> str:
    """Return the section of sizes, from the configs and the weights themselves."""
    shape_of: dict[str, Callable[[Path], str]] = {
        "backbone": _text_llm,
        "transcriber": lambda folder: _transcriber(folder, STRONG),
        "speech_llm": _ultravox,
        "qwen2": _text_llm,
        "qwen2_audio": _qwen2_audio,
        "weak_asr": lambda folder: _transcriber(folder, WEAK),
        "interleaved": _interleaved,
    }
    rows = [
        (
            folder,
            shape_of[stage](models / folder),
            f"{_parameters(models / folder, record):,}",
            EIGHT_BIT if stage in ("transcriber", "weak_asr", "interleaved") else HALF,
        )
        for stage, folder in _trained(record)
    ]
    return "## Architecture\n\n" + markdown_table(("model", "shape", "parameters", "numbers"), rows)


def _trained(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (stage, folder) of the models that were trained, in the order in which they need one another."""
    for name, stage in STAGES.items():
        if stage.folder in record["models"]:
            yield name, stage.folder


def _config(folder: Path) -> dict[str, Any]:
    return read_json(folder / "config.json", "restore it")


def _text_llm(folder: Path) -> str:
    return _layers(_config(folder))


def _layers(text: dict[str, Any]) -> str:
    heads = f"{text['num_attention_heads']} heads, {text['num_key_value_heads']} of keys"
    return (
        f"{text['num_hidden_layers']} layers of width {text['hidden_size']} (inner "
        f"{text['intermediate_size']}), {heads}, {text['vocab_size']:,} token ids, untied head"
    )


def _tower(audio: dict[str, Any]) -> str:
    return (
        f"audio tower of {audio['encoder_layers']} encoder layers of width {audio['d_model']} (inner "
        f"{audio['encoder_ffn_dim']}), window {audio['max_source_positions'] * STATE_MS / 1000:g} s"
    )


def _ultravox(folder: Path) -> str:
    config = _config(folder)
    stack = config["stack_factor"]
    return (
        f"{_tower(config['audio_config'])}, projector of {stack} states a position ({stack * STATE_MS} ms) "
        f"with {config['hidden_size']} hidden units; the backbone is not counted"
    )


def _qwen2_audio(folder: Path) -> str:
    config = _config(folder)
    return (
        f"{_tower(config['audio_config'])}, {POOLED_STATES} states pooled to a position "
        f"({POOLED_STATES * STATE_MS} ms), one linear layer; its own language model: "
        f"{_layers(config['text_config'])}"
    )


def _interleaved(folder: Path) -> str:
    config = _config(folder)
    ears = config["unit_encoder"]
    return (
        f"{_layers(config['base_config'])}; speech units of {round(1000 * FRAME_S)} ms from layer {ears['layer']} of "
        f"{ears['model']}'s encoder"
    )


def _transcriber(folder: Path, size: Size) -> str:
    return (
        f"{size.encoder_layers} encoder layers of width {size.d_model}, {_decoder_layers(folder)} decoder "
        f"layers (inner {size.inner}); converted by CTranslate2"
    )


def _parameters(folder: Path, record: dict[str, Any]) -> int:
    """Count the scalars in a folder's safetensors, those of scales left out; CTranslate2's are as recorded."""
    if (folder / "model.bin").exists():
        return int(record["models"][folder.name]["parameters"])
    return sum(tensor.numel() for tensor in from_eight_bits(read_tensors(folder)).values())


def _decoder_layers(folder: Path) -> int:
    """Count the decoder layers of a CTranslate2 model by its variables' names: its config has no sizes."""
    try:
        names = set(re.findall(rb"decoder/layer_(\d+)/", (folder / "model.bin").read_bytes()))
    except OSError as error:
        raise ModelFilesError(f"{folder.name} lacks model.bin; restore the folder.") from error
    return len(names)


def training(record: dict[str, Any], world: World) -> str:
    """Return the section of data, steps, minutes and seeds."""
    rows = []
    for stage, folder in _trained(record):
        numbers, size = record["models"][folder], record["batch"][stage]
        steps, minutes = int(numbers["steps"]), numbers["seconds"] / 60
        data, unit = _DATA[stage]
        rows.append((folder, data, f"{steps:,}", f"{size} {unit}", f"{steps * size:,}", f"{minutes:.0f}"))
    sides = [Counter(s.task for s in side) for side in (world.train, world.validation, world.test)]
    splits = [(task, *(f"{side[task]:,}" for side in sides)) for task in sorted(sides[0])]
    splits.append(("all", *(f"{side.total():,}" for side in sides)))
    return (
        f"## Training\n\nOn CPU, torch {record['torch']}.\n\n"
        + markdown_table(("model", "data", "steps", "batch", "examples seen", "minutes"), rows)
        + f"\nSentences by task ({record['training_texts']:,} different texts in training; the split is by "
        "sentence group, no text stands on two sides):\n\n"
        + markdown_table(("task", "train", "validation", "test"), splits)
        + f"\nVoices: {len(train_voices())} in training (espeak-ng variants in several accents, and flite's "
        f"five), with random rate, pitch and range; {len(test_voices())} other espeak-ng variants for "
        f"testing, and Festival's {len(unseen_engine_voices())}, an engine that is never trained on.\n\n"
        "Seeds: " + ", ".join(f"{what} {seed}" for what, seed in _seeds(record).items()) + ".\n"
    )


def _seeds(record: dict[str, Any]) -> dict[str, object]:
    speech = (SOURCE_SEED, SPEECH_SOURCE_SEED, QWEN2_AUDIO_SOURCE_SEED, WEAK_SOURCE_SEED)
    return {
        "world and split": record["world_seed"],
        "backbones": f"{BACKBONE_SEED} and {QWEN2_SEED}",
        "transcribers": TRANSCRIBER_SEED,
        "speech LLMs": f"{SPEECH_LLM_SEED} and {QWEN2_AUDIO_SEED}",
        "interleaved, its units and their voice": f"{INTERLEAVED_SEED}, {UNITS_SEED} and {VOICE_SEED}",
        "flite pool": FLITE_SEED,
        "speech batches": ", ".join(map(str, speech)),
        "erasers": f"{ERASER_SEED} (CTC head {CTC_SEED})",
        "held-out clips": HELD_OUT_SEED,
        "bootstrap": BOOTSTRAP_SEED,
    }

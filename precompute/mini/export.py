"""Writing trained minis as the folders that ship: published layouts, half precision, shards of 8 MB at most."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ctranslate2.converters import TransformersConverter
from huggingface_hub import save_torch_state_dict
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast, WhisperFeatureExtractor

from engine.systems.checkpoint import to_eight_bits
from engine.systems.ultravox import UltravoxEars
from engine.systems.unit_lm import CENTRES_FILE, MODEL_TYPE, PREFIX, UNITS_FOLDER
from engine.systems.weights import REVISION_DIGITS, REVISION_FILE
from precompute.mini.qwen2_audio import TrainedQwen2Audio
from precompute.mini.speech_batch import WINDOW_S
from precompute.mini.transcriber import TrainedTranscriber

# Spaces refuse larger files without large-file storage.
SHARD_BYTES = 8_000_000


def export_backbone(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a text LLM with tokenizer and chat template; float16 on disk, read back as float32."""
    _empty(folder)
    model.config.dtype = torch.float16
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_halves(model.state_dict(), folder)


def export_ears(ears: UltravoxEars, config: dict[str, Any], folder: Path) -> None:
    """Write the mini-Ultravox: `audio_tower.*` and `multi_modal_projector.*`, its config and feature extractor."""
    _empty(folder)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    WhisperFeatureExtractor(feature_size=80, chunk_length=WINDOW_S).save_pretrained(folder)
    save_halves(ears.state_dict(), folder)


def export_qwen2_audio(model: TrainedQwen2Audio, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the mini-Qwen2-Audio: ears and language model in one folder, as transformers itself reads it."""
    _empty(folder)
    model.config.architectures = ["Qwen2AudioForConditionalGeneration"]
    model.config.dtype = torch.float16
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80, chunk_length=WINDOW_S).save_pretrained(folder)
    save_halves(model.published(), folder)


def export_interleaved(
    model: PreTrainedModel,
    description: Mapping[str, Any],
    centres: Path,
    folder: Path,
    *,
    eight_bits: bool = False,
) -> None:
    """Write a unit language model in the published layout, its units' centres in a folder beside.

    Args:
        model: the causal LM.
        description: what the config says beside the model's own settings: text model and unit encoder.
        centres: file of the units' centres.
        folder: to be filled.
        eight_bits: 8 bits a weight with a scale for each row, instead of float16.
    """
    _empty(folder)
    base = model.config.to_dict()
    config = {"model_type": MODEL_TYPE, "vocab_size": base["vocab_size"], "base_config": base, **description}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / UNITS_FOLDER).mkdir(exist_ok=True)
    shutil.copyfile(centres, folder / UNITS_FOLDER / CENTRES_FILE)
    tensors = {PREFIX + name: tensor for name, tensor in model.state_dict().items()}
    if not eight_bits:
        return save_halves(tensors, folder)
    save_torch_state_dict(to_eight_bits(tensors), folder, max_shard_size=SHARD_BYTES, safe_serialization=True)
    _write_revision(sorted(folder.glob("*.safetensors")), folder)


def export_transcriber(model: TrainedTranscriber, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a mini-Whisper for faster-whisper: converted by CTranslate2, 8-bit weights."""
    _empty(folder)
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "source"
        model.whisper.generation_config = GenerationConfig.from_model_config(model.whisper.config)
        model.whisper.save_pretrained(source)
        tokenizer.save_pretrained(source)
        WhisperFeatureExtractor(feature_size=80, chunk_length=WINDOW_S).save_pretrained(source)
        converter = TransformersConverter(
            str(source), copy_files=["tokenizer.json", "preprocessor_config.json"]
        )
        converter.convert(str(folder), quantization="int8", force=True)
    _write_revision([folder / "model.bin"], folder)


def _empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("model*"):
        file.unlink()


def save_halves(tensors: dict[str, Tensor], folder: Path) -> None:
    """Write tensors in float16 as shards that a Space takes, and the revision that their content gives."""
    halves = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in tensors.items()}
    save_torch_state_dict(halves, folder, max_shard_size=SHARD_BYTES, safe_serialization=True)
    _write_revision(sorted(folder.glob("*.safetensors")), folder)


def _write_revision(files: list[Path], folder: Path) -> None:
    """Name the weights by their content, so that every result can say which it came from."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    name = digest.hexdigest()[:REVISION_DIGITS]
    (folder / REVISION_FILE).write_text(name + "\n", encoding="utf-8")

"""A CTranslate2 Whisper put into transformers' modules: the encoder alone, or the whole model as a folder.

CTranslate2 hands out the encoder's last states and the decoder's tokens alone. In transformers' modules every layer
is in reach, and the decoder's posterior and cross-attention with it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from engine.ctranslate2_file import n_layers, read_arrays
from engine.errors import ModelFilesError
from engine.systems.checkpoint import load_strictly

_NORM = {"gamma": "weight", "beta": "bias"}
_END, _START = "<|endoftext|>", "<|startoftranscript|>"


def whisper_config(arrays: dict[str, np.ndarray]) -> WhisperConfig:
    """Return the shape of a Whisper as its arrays have it; special tokens are left to the tokenizer."""
    positions, width = arrays["encoder/position_encodings/encodings"].shape
    shape: dict[str, Any] = {}
    for side in ("encoder", "decoder"):
        shape |= {
            f"{side}_layers": n_layers(arrays, side),
            f"{side}_attention_heads": int(arrays[f"{side}/num_heads"]),
            f"{side}_ffn_dim": arrays[f"{side}/layer_0/ffn/linear_0/weight"].shape[0],
        }
    return WhisperConfig(
        d_model=width,
        num_mel_bins=arrays["encoder/conv1/weight"].shape[1],
        max_source_positions=positions,
        max_target_positions=arrays["decoder/position_encodings/encodings"].shape[0],
        vocab_size=arrays["decoder/embeddings/weight"].shape[0],
        **shape,
    )


def encoder_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Return the encoder's tensors, float32, under the names of transformers' WhisperEncoder."""
    found = _layers(arrays, "encoder")
    for conv in ("conv1", "conv2"):
        found |= {f"{conv}.{part}": arrays[f"encoder/{conv}/{part}"] for part in ("weight", "bias")}
    return _as_tensors(found)


def decoder_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Return the decoder's tensors, float32, under the names of transformers' WhisperDecoder."""
    return _as_tensors(
        _layers(arrays, "decoder") | {"embed_tokens.weight": arrays["decoder/embeddings/weight"]}
    )


def write_transformers_folder(source: Path, target: Path) -> None:
    """Write a whole Whisper as transformers keeps it: config, weights, tokenizer, features, generation settings.

    The weights are those of the file, number for number: float16 where all of them are, else float32.

    Args:
        source: folder of a CTranslate2 Whisper with its config.json and tokenizer.json.
        target: an empty folder.

    Raises:
        ModelFilesError: a file is missing or damaged, or does not fit the others.
    """
    arrays = read_arrays(source / "model.bin")
    settings = _read_json(source / "config.json")
    tokens = {
        token["content"]: int(token["id"]) for token in _read_json(source / "tokenizer.json")["added_tokens"]
    }
    try:
        end, start = tokens[_END], tokens[_START]
        generation = _generation_settings(settings, tokens)
    except KeyError as error:
        raise ModelFilesError(f"{source.name} lacks {error.args[0]}; fetch it again.") from error
    config = whisper_config(arrays)
    config.bos_token_id = config.eos_token_id = config.pad_token_id = end
    config.decoder_start_token_id = start
    config.suppress_tokens = config.begin_suppress_tokens = None
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    tensors = {f"model.encoder.{name}": tensor for name, tensor in encoder_tensors(arrays).items()}
    tensors |= {f"model.decoder.{name}": tensor for name, tensor in decoder_tensors(arrays).items()}
    if all(torch.equal(tensor.half().float(), tensor) for tensor in tensors.values()):
        tensors = {name: tensor.half() for name, tensor in tensors.items()}
    tied = {"proj_out.weight": tensors["model.decoder.embed_tokens.weight"]}
    load_strictly(model, tensors | tied, source.name, assign=True)
    model.tie_weights()
    model.config.dtype = next(iter(tensors.values())).dtype
    model.generation_config = GenerationConfig(**generation)
    model.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(target)
    shutil.copyfile(source / "tokenizer.json", target / "tokenizer.json")
    names = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), _END)
    described = {"tokenizer_class": "WhisperTokenizer", "clean_up_tokenization_spaces": False, **names}
    (target / "tokenizer_config.json").write_text(json.dumps(described, indent=2), encoding="utf-8")


def _generation_settings(settings: dict[str, Any], tokens: dict[str, int]) -> dict[str, Any]:
    """Return what transformers' Whisper needs to decode as its makers do."""
    languages = {name: index for name, index in tokens.items() if index in set(settings["lang_ids"])}
    # A vocabulary of English alone has the marks of languages too; its prompt names none.
    is_multilingual = tokens[_END] != ENGLISH_END
    found: dict[str, Any] = {
        "alignment_heads": settings["alignment_heads"],
        "suppress_tokens": settings["suppress_ids"],
        "begin_suppress_tokens": settings["suppress_ids_begin"],
        "no_timestamps_token_id": tokens["<|notimestamps|>"],
        "prev_sot_token_id": tokens["<|startofprev|>"],
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "return_timestamps": False,
        "is_multilingual": is_multilingual,
        "bos_token_id": tokens[_END],
        "eos_token_id": tokens[_END],
        "pad_token_id": tokens[_END],
        "decoder_start_token_id": tokens[_START],
    }
    if is_multilingual:
        found["lang_to_id"] = languages
        found["task_to_id"] = {task: tokens[f"<|{task}|>"] for task in ("transcribe", "translate")}
    return found


ENGLISH_END = 50_256  # the end token of the vocabulary of English alone; the other's is one piece behind


def _layers(arrays: dict[str, np.ndarray], side: str) -> dict[str, np.ndarray]:
    """Return one side's blocks, positions and last norm under transformers' names; keys have no bias in either."""
    found = {"embed_positions.weight": arrays[f"{side}/position_encodings/encodings"]}
    norms = {"layer_norm": f"{side}/layer_norm"}
    for layer in range(n_layers(arrays, side)):
        ours, theirs = f"layers.{layer}", f"{side}/layer_{layer}"
        norms[f"{ours}.self_attn_layer_norm"] = f"{theirs}/self_attention/layer_norm"
        norms[f"{ours}.final_layer_norm"] = f"{theirs}/ffn/layer_norm"
        found |= _attention(arrays, f"{ours}.self_attn", f"{theirs}/self_attention", (3,))
        if side == "decoder":
            norms[f"{ours}.encoder_attn_layer_norm"] = f"{theirs}/attention/layer_norm"
            found |= _attention(arrays, f"{ours}.encoder_attn", f"{theirs}/attention", (1, 2))
        for part in ("weight", "bias"):
            found[f"{ours}.fc1.{part}"] = arrays[f"{theirs}/ffn/linear_0/{part}"]
            found[f"{ours}.fc2.{part}"] = arrays[f"{theirs}/ffn/linear_1/{part}"]
    for ours, theirs in norms.items():
        found |= {f"{ours}.{_NORM[part]}": arrays[f"{theirs}/{part}"] for part in _NORM}
    return found


def _attention(
    arrays: dict[str, np.ndarray], ours: str, theirs: str, joined: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Return one attention's maps; `joined` says how many of query, key and value each array holds in a row."""
    found: dict[str, np.ndarray] = {}
    for part in ("weight", "bias"):
        pieces = [
            piece
            for place, n_pieces in enumerate(joined)
            for piece in np.split(arrays[f"{theirs}/linear_{place}/{part}"], n_pieces)
        ]
        names = ("q_proj", "k_proj", "v_proj")
        found |= {f"{ours}.{name}.{part}": piece for name, piece in zip(names, pieces, strict=True)}
        found[f"{ours}.out_proj.{part}"] = arrays[f"{theirs}/linear_{len(joined)}/{part}"]
    assert not found.pop(f"{ours}.k_proj.bias").any(), "a key's bias would be lost"
    return found


def _as_tensors(found: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array, np.float32)) for name, array in found.items()}


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFilesError(f"{file.parent.name} has no readable {file.name}; fetch it again.") from error
    return found

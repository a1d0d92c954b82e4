"""Interleaved speech-text language models: a causal LM whose vocabulary holds text tokens and speech units.

The published layout (slamkit at 388b402, `UnitLM`): config.json of type "speech_language_model" with the text model's
config inside, all tensors under `lm.`, the vocabulary that of the text model, then <Un0>.., <speech>, <text>. Read
here as the plain causal LM it is. Our minis have the same layout, and name their parts' folders in the config.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AddedToken, AutoConfig, PreTrainedTokenizerBase

from engine.audio import AudioClip
from engine.errors import ModelFilesError
from engine.systems.base import Heard, Prepared
from engine.systems.checkpoint import read_tensors, under
from engine.systems.control_tokens import text_ids
from engine.systems.eight_bit import from_eight_bits
from engine.systems.fingerprints import fingerprint
from engine.systems.spec import SystemSpec
from engine.systems.speech_units import (
    FRAME_S,
    HubertFrames,
    UnitEncoder,
    Units,
    WhisperFrames,
    read_centres,
)
from engine.systems.text_llm import build_causal_lm, refuse_what_does_not_fit
from engine.systems.tokenizer import read_tokenizer
from engine.systems.weights import MODELS

MODEL_TYPE = "speech_language_model"
PREFIX = "lm."
SPEECH_TAG, TEXT_TAG = "<speech>", "<text>"
UNITS_FOLDER, CENTRES_FILE = "units", "centres.safetensors"


@dataclass(frozen=True)
class UnitParts:
    """What a unit language model needs beside its own folder.

    Attributes:
        tokenizer: folder of the text model whose vocabulary was extended.
        encoder: makes units of sound.
    """

    tokenizer: Path
    encoder: UnitEncoder


def mini_parts(folder: Path, models: Path = MODELS) -> UnitParts:
    """Return the parts that one of our own checkpoints names in its config; `models` holds their folders.

    Raises:
        ModelFilesError: the config or a part is missing or damaged.
    """
    config = read_unit_config(folder)
    try:
        tokenizer = models / str(config["text_model_id"])
        ears, layer = models / str(config["unit_encoder"]["model"]), int(config["unit_encoder"]["layer"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFilesError(
            f"{folder.name}/config.json does not name its unit encoder; restore it."
        ) from error
    centres = read_centres(folder / UNITS_FOLDER / CENTRES_FILE)
    return UnitParts(tokenizer, UnitEncoder(WhisperFrames(ears, layer), centres))


def published_parts(tokenizer: Path, hubert: Path, centres: Path) -> UnitParts:
    """Return the parts of a SIMS checkpoint.

    Args:
        tokenizer: folder of its text model (Qwen2.5-7B, Llama-3.2-3B).
        hubert: folder of slprl/mhubert-base-25hz.
        centres: its 500 centres of layer 11, converted once from the published pickle to .npz or .safetensors.

    Raises:
        ModelFilesError: a part is missing or damaged.
    """
    return UnitParts(tokenizer, UnitEncoder(HubertFrames(hubert), read_centres(centres)))


class Interleaved:
    """A unit language model; see `engine.systems.base.WhiteBoxSystem` for the attributes not named here.

    Attributes:
        text_ids: vocabulary ids of text, the text model's special tokens included.
        unit_ids: ids of the units; unit u has `unit_ids[u]`.
        speech_tag, text_tag: ids that say what follows.
        units: makes units of sound.
    """

    def __init__(
        self, spec: SystemSpec, folder: Path, parts: UnitParts, *, dtype: torch.dtype = torch.float32
    ) -> None:
        self.spec = spec
        self.units = parts.encoder
        n_units = len(parts.encoder.centres)
        try:
            self.tokenizer: PreTrainedTokenizerBase = read_tokenizer(parts.tokenizer)
            base = extend_vocabulary(self.tokenizer, n_units)
            model, loading = _load(folder, dtype)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelFilesError(f"{spec.name} could not be loaded: {type(error).__name__}.") from error
        refuse_what_does_not_fit(spec.name, loading)
        self.text_ids = range(base)
        self.unit_ids = range(base, base + n_units)
        self.speech_tag, self.text_tag = base + n_units, base + n_units + 1
        if model.config.vocab_size <= self.text_tag:
            raise ModelFilesError(
                f"{spec.name} has {model.config.vocab_size} rows for {self.text_tag + 1} tokens: its tokenizer or "
                f"its {n_units} units belong to another model."
            )
        self.language_model: nn.Module = model.eval().requires_grad_(False)
        decoder = model.get_decoder()
        self.decoder_layers: nn.ModuleList = decoder.layers
        self.final_norm: nn.Module = decoder.norm
        self.unembedding: nn.Module = model.get_output_embeddings()
        self.embedding: nn.Module = model.get_input_embeddings()
        own_units = [folder / UNITS_FOLDER] if (folder / UNITS_FOLDER).is_dir() else []
        self.fingerprint = fingerprint([folder, *own_units])

    def encode(self, clip: AudioClip) -> Units:
        """Return a clip's units, repeats merged."""
        return self.units.encode(clip.samples)

    def hear(self, clip: AudioClip) -> Heard:
        """Return the embeddings of a clip's units, with the time at which each ends."""
        started = time.perf_counter()
        return self.hear_units(self.encode(clip), time.perf_counter() - started)

    @torch.inference_mode()
    def hear_units(self, units: Units, seconds: float = 0.0) -> Heard:
        """Return units as what was heard; `seconds` is what making them took."""
        started = time.perf_counter()
        ids = torch.from_numpy(units.ids) + self.unit_ids.start
        embeddings = self.embedding(ids)
        return Heard(embeddings, FRAME_S, "", (), seconds + time.perf_counter() - started, units.ends_s)

    def prepare(self, heard: Heard, instruction: str) -> Prepared:
        """Return "<speech> units <text> instruction"; an empty instruction leaves the text to the model."""
        words = text_ids(self.tokenizer, instruction) if instruction else []
        return self._around(heard, [self.text_tag, *words])

    def prepare_speech(self, heard: Heard) -> Prepared:
        """Return "<speech> units": the model goes on in speech, and states are read as it listens."""
        return self._around(heard, [])

    @torch.inference_mode()
    def _around(self, heard: Heard, after: list[int]) -> Prepared:
        # As the published tokenizers do: the base's own special tokens come first (Llama has one, Qwen none).
        before = [*self.tokenizer.encode("", add_special_tokens=True), self.speech_tag]
        pieces = (
            self.embedding(torch.tensor(before)),
            heard.embeddings,
            self.embedding(torch.tensor(after, dtype=torch.long)),
        )
        stop = len(before) + len(heard.embeddings)
        return Prepared(torch.cat(pieces)[None], (len(before), stop), heard)


def extend_vocabulary(tokenizer: PreTrainedTokenizerBase, n_units: int) -> int:
    """Append <Un0>.. and the two tags to a tokenizer unless it has them; returns the id of <Un0>.

    Raises:
        ValueError: it has some of them, in other places.
    """
    marks = [*(f"<Un{unit}>" for unit in range(n_units)), SPEECH_TAG, TEXT_TAG]
    known = tokenizer.get_vocab()
    if marks[0] not in known:
        tokenizer.add_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
        known = tokenizer.get_vocab()
    base = int(known[marks[0]])
    if [known.get(mark) for mark in marks] != list(range(base, base + len(marks))):
        raise ValueError("the units are not in a row")
    return base


def read_unit_config(folder: Path) -> dict[str, Any]:
    """Return the config of a unit language model.

    Raises:
        ModelFilesError: it is missing, damaged or of another kind.
    """
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ModelFilesError(f"{folder.name} has no readable config.json; restore the folder.") from error
    if config.get("model_type") != MODEL_TYPE or not isinstance(config.get("base_config"), dict):
        raise ModelFilesError(
            f"{folder.name}/config.json is not that of a {MODEL_TYPE} with its base_config; restore it."
        )
    return config


def _load(folder: Path, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """Return the plain causal LM, and what transformers says about the loading."""
    outer = read_unit_config(folder)
    base = {key: value for key, value in outer["base_config"].items() if key != "model_type"}
    # The inner size is that of the text model before it was given units.
    base["vocab_size"] = int(outer.get("vocab_size") or base["vocab_size"])
    config = AutoConfig.for_model(outer["base_config"]["model_type"], **base)
    tensors = from_eight_bits(read_tensors(folder))
    stray = [name for name in tensors if not name.startswith(PREFIX)]
    model, loading = build_causal_lm(config, under(tensors, PREFIX), dtype)
    return model, {**loading, "unexpected_keys": [*loading["unexpected_keys"], *stray]}

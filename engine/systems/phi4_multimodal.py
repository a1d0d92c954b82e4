"""Phi-4-Multimodal: a conformer, two linear maps, and a frozen text LLM that hears through low-rank adapters.

The layout of microsoft/Phi-4-multimodal-instruct at refs/pr/70, which transformers' own class reads: one folder with
all three towers, the speech adapters below it. The text LLM is that folder without adapters, the cascade's as well.
"""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import Phi4MultimodalFeatureExtractor

from engine.audio import SAMPLE_RATE_HZ, AudioClip
from engine.errors import ModelFilesError, PromptError
from engine.systems.base import Heard, Prepared
from engine.systems.catalogue import SystemSpec
from engine.systems.checkpoint import LoraLinear, fingerprint, is_silent, read_tensors, shape_fits
from engine.systems.text_llm import OnBackbone, TextLLM
from engine.systems.whisper import HOP_SAMPLES
from engine.tasks import LONG_ANSWER_TOKENS

SHORTEST_SAMPLES = 400  # one window of the features; a shorter clip has none
FRAMES_PER_POSITION = 8  # of 10 ms
LONGEST_ANSWER = LONG_ANSWER_TOKENS  # kept free behind a prompt
ADAPTERS = "speech-lora"
ADAPTED = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
FACTOR = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])\.(?:\w+\.)?weight")
NOT_BUILT = ("use_rslora", "use_dora", "modules_to_save", "rank_pattern", "alpha_pattern")


class Phi4Multimodal(OnBackbone):
    """A speech LLM on a shared backbone; see `engine.systems.base.WhiteBoxSystem` for the attributes.

    It never answers without its speech adapters: deaf, it would still say something.
    """

    def __init__(
        self, spec: SystemSpec, folder: Path, backbone: TextLLM, adapters: Path | None = None
    ) -> None:
        require_native(folder, spec.name)
        adapters = adapters or folder / ADAPTERS
        super().__init__(spec, backbone)
        try:
            self._features = Phi4MultimodalFeatureExtractor.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise ModelFilesError(
                f"{spec.name} has no readable preprocessor_config.json; restore the folder."
            ) from error
        plain: Any = backbone.language_model
        factors, scale = read_adapters(adapters, plain, spec.name)
        model: Any = with_adapters(plain, factors, scale)
        decoder = model.get_decoder()
        self.ears = decoder.embed_tokens_extend.audio_embed
        self._longest_prompt = int(model.config.original_max_position_embeddings) - LONGEST_ANSWER
        self.language_model: nn.Module = model
        self.decoder_layers: nn.ModuleList = decoder.layers
        self.final_norm: nn.Module = decoder.norm
        self.unembedding: nn.Module = model.get_output_embeddings()
        self.fingerprint = fingerprint([folder, adapters])

    @property
    def seconds_per_position(self) -> float:
        """Clock width of one audio position: eight frames of 10 ms."""
        return FRAMES_PER_POSITION * HOP_SAMPLES / SAMPLE_RATE_HZ

    @property
    def frames_per_position(self) -> int:
        """One: this tower brings the rate down before its first layer, so that a state is a position's own."""
        return 1

    @torch.inference_mode()
    def hear(self, clip: AudioClip) -> Heard:
        """Return the projected embeddings of a clip of any length; the tower itself cuts beyond 40 s."""
        started = time.perf_counter()
        projected = self.ears.up_proj_for_speech(self.frames(clip.samples))
        embeddings = self.ears.down_proj_for_speech(nn.functional.gelu(projected))
        return Heard(embeddings, self.seconds_per_position, "", (), time.perf_counter() - started)

    @torch.inference_mode()
    def frames(self, samples: np.ndarray) -> Float[Tensor, "frames d_audio"]:
        """Return the audio tower's normed states of one clip, 80 ms each, one for each position."""
        mel, n_frames = self.features(samples)
        states: Tensor = self.ears.encoder(mel.T[None], None)
        return states[0, : -(-n_frames // FRAMES_PER_POSITION)]

    def features(self, samples: np.ndarray) -> tuple[Float[Tensor, "mels frames"], int]:
        """Return log-mel features of 16 kHz samples of any length, and how many frames of 10 ms they are."""
        padded = np.pad(samples, (0, max(0, SHORTEST_SAMPLES - len(samples))))
        features = self._features(padded, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        mel: Tensor = features["audio_input_features"][0].to(self.ears.up_proj_for_speech.weight)
        return mel.T, len(mel)

    def prepare(self, heard: Heard, instruction: str) -> Prepared:
        """Return the prompt with the audio embeddings in the clip's place.

        Raises:
            PromptError: it is longer than the positions whose rotation does not change within an answer.
        """
        prepared = super().prepare(heard, instruction)
        n_positions = prepared.embeddings.shape[1]
        if n_positions > self._longest_prompt:
            raise PromptError(
                f"{self.spec.name} takes prompts of {self._longest_prompt:,} positions, this one has "
                f"{n_positions:,}; take a shorter clip."
            )
        return prepared


def require_native(folder: Path, name: str) -> None:
    """Refuse the main revision, which only runs with the model's own remote code.

    Raises:
        ModelFilesError: the folder is of another kind than transformers' own class.
    """
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelFilesError(f"{name} has no readable config.json; restore the folder.") from error
    if kind != "phi4_multimodal":
        raise ModelFilesError(
            f"{name} is of type {str(kind)[:40]}, which needs code from the repository; take revision refs/pr/70."
        )


def read_adapters(
    folder: Path, model: nn.Module, name: str
) -> tuple[dict[str, tuple[Tensor, Tensor]], float]:
    """Return the speech adapters' factors for each adapted map of the language model, and their scale.

    Raises:
        ModelFilesError: they are missing, do not fit all layers, or change nothing.
    """
    settings = _read_adapter_settings(folder, name)
    rank = int(settings["r"])
    stored: dict[tuple[str, str], Tensor] = {}
    for key, tensor in read_tensors(folder).items():
        match = FACTOR.fullmatch(key)
        if match is None:
            raise ModelFilesError(f"{name} has an unexpected tensor {key} in {folder.name}.")
        stored[match.group(1), match.group(2)] = tensor
    factors = {}
    for target, linear in _adapted_maps(model).items():
        for factor in "AB":
            if (target, factor) not in stored:
                raise ModelFilesError(f"{name} lacks tensor {target}.lora_{factor}.weight in {folder.name}.")
        factors[target] = stored.pop((target, "A")), stored.pop((target, "B"))
        if not shape_fits(linear, *factors[target], rank):
            raise ModelFilesError(f"{name} does not fit its config: {target}.lora_A or lora_B is reshaped.")
    for target, factor in stored:
        raise ModelFilesError(f"{name} has an unexpected tensor {target}.lora_{factor}.weight.")
    if is_silent([up for _, up in factors.values()]):
        raise ModelFilesError(f"{name}: its speech adapters are all zero and hear nothing; restore them.")
    return factors, float(settings["lora_alpha"]) / rank


def with_adapters(model: nn.Module, factors: Mapping[str, tuple[Tensor, Tensor]], scale: float) -> nn.Module:
    """Return the model with adapters on these maps; every other weight is the given model's own, in one copy."""
    shared = (*model.parameters(), *model.buffers())
    adapted: nn.Module = copy.deepcopy(model, {id(tensor): tensor for tensor in shared})
    for target, (down, up) in factors.items():
        parent, _, child = target.rpartition(".")
        linear = adapted.get_submodule(target)
        assert isinstance(linear, nn.Linear)
        setattr(adapted.get_submodule(parent), child, LoraLinear(linear, down, up, scale))
    return adapted.eval()


def _adapted_maps(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the maps that the speech adapters are for: four in every layer."""
    n_layers = int(model.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
    names = [f"model.layers.{layer}.{part}" for layer in range(n_layers) for part in ADAPTED]
    maps: dict[str, Any] = {name: model.get_submodule(name) for name in names}
    return maps


def _read_adapter_settings(folder: Path, name: str) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        int(settings["r"]), float(settings["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFilesError(
            f"{name} lacks its speech adapters, without which it cannot hear and would answer all the same; "
            f"put the folder {ADAPTERS} of the repository beside its weights."
        ) from error
    if unknown := next((key for key in NOT_BUILT if settings.get(key)), None):
        raise ModelFilesError(f"{name}: its speech adapters use {unknown}, which is not known here.")
    return settings

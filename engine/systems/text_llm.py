"""A bare text LLM: the second half of a cascade, and the oracle that is given the true transcript."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from engine.errors import ModelFilesError
from engine.matching import read_config
from engine.result import SpokenWord
from engine.systems.base import CLIP_MARK, Heard, Prepared, prompt_frame
from engine.systems.catalogue import SystemSpec
from engine.systems.checkpoint import (
    INLINE_PREFIX,
    load_strictly,
    read_tensors,
    under,
    weight_files,
)
from engine.systems.control_tokens import text_ids
from engine.systems.fingerprints import fingerprint
from engine.systems.lora import fold, shape_fits
from engine.systems.residency import is_out_of_memory
from engine.systems.tokenizer import read_tokenizer

# The clip or its transcript stands first: what a model makes of it does not depend on the question.
USER_TEMPLATE = CLIP_MARK + "{instruction}"
CPU = torch.device("cpu")
# A tensor of another shape is reported and refused here by name; transformers' own error does not name it.
REPORTED: dict[str, Any] = {"output_loading_info": True, "ignore_mismatched_sizes": True}
Ears = TypeVar("Ears", bound=nn.Module)


class TextLLM:
    """A causal LM that reads a transcript where a speech LLM has its audio positions.

    Its folder is a text model's, or that of a speech LLM with a language model of its own: then only that part
    is read, and the speech LLM runs on these very modules. With `base` it holds a low-rank update of the model in
    that folder, which is folded into the weights.

    `dtype` and `device` are those of its weights, which a speech LLM's ears on it take too; states are recorded in
    float32. Weights that are stored in this precision are mapped from their files, and each goes to a GPU by itself:
    a model is never in memory twice, nor in a wider precision on the way.

    Attributes:
        spec: catalogue row.
        language_model, decoder_layers, final_norm, unembedding: the model and its own modules.
        fingerprint: sha256 of the weights.
    """

    def __init__(
        self,
        spec: SystemSpec,
        folder: Path,
        *,
        base: Path | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device = CPU,
    ) -> None:
        folders = [folder] if base is None else [base, folder]
        for one in folders:
            weight_files(one)
        self.spec = spec
        whole = folders[0]
        try:
            self.tokenizer: PreTrainedTokenizerBase = read_tokenizer(whole)
            model, loading = _load(whole, dtype)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            if is_out_of_memory(error):
                raise
            raise ModelFilesError(f"{spec.name} could not be loaded: {type(error).__name__}.") from error
        refuse_what_does_not_fit(spec.name, loading)
        if base is not None:
            fold_update(model, folder)
        model.generation_config.eos_token_id = _end_ids_in(whole)
        self.language_model: nn.Module = model.eval().requires_grad_(False).to(device)
        decoder = model.get_decoder()
        self.decoder_layers: nn.ModuleList = decoder.layers
        self.final_norm: nn.Module = decoder.norm
        self.unembedding: nn.Module = model.get_output_embeddings()
        self.embedding: nn.Module = model.get_input_embeddings()
        self.fingerprint = fingerprint(folders)

    def hear_text(self, text: str, words: tuple[SpokenWord, ...] = (), seconds: float = 0.0) -> Heard:
        """Return a transcript as what was heard, all of it text; an empty one leaves the clip's place empty."""
        started = time.perf_counter()
        ids = text_ids(self.tokenizer, text) if text.strip() else []
        return Heard(self._embed(ids), 0.0, text, words, seconds + time.perf_counter() - started)

    def prepare(self, heard: Heard, instruction: str, *, template: str = USER_TEMPLATE) -> Prepared:
        """Return the prompt with what was heard in the clip's place; `template` is as for `prompt_frame`."""
        frame = prompt_frame(self.tokenizer, instruction, template=template)
        parts = [self._embed(frame.before), heard.embeddings, self._embed(frame.after)]
        embeddings = torch.cat(parts)[None]
        start = len(frame.before)
        return Prepared(embeddings, (start, start + len(heard.embeddings)), heard)

    def _embed(self, ids: Sequence[int]) -> Float[Tensor, "ids d_model"]:
        weight: Any = self.embedding.weight
        embedded: Tensor = self.embedding(torch.tensor(ids, dtype=torch.long, device=weight.device))
        return embedded


def _load(folder: Path, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """Return the causal LM of a folder, and what transformers says about the loading."""
    config = AutoConfig.from_pretrained(folder)
    text_config = getattr(config, "text_config", None)
    if text_config is not None:
        tensors = read_tensors(folder, lambda name: name.startswith(INLINE_PREFIX))
        return build_causal_lm(text_config, under(tensors, INLINE_PREFIX), dtype)
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **REPORTED)
    model, loading = loaded
    return model, loading


@torch.no_grad()
def fold_update(model: nn.Module, folder: Path) -> None:
    """Fold a folder's low-rank update into a model's linear maps, in place.

    Raises:
        ModelFilesError: a factor is missing, or belongs to no map of the model.
    """
    try:
        scale = float(read_config(folder)["lora_alpha"]) / float(read_config(folder)["lora_rank"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelFilesError(f"{folder.name}/config.json names no rank and alpha; restore it.") from error
    tensors = read_tensors(folder)
    names = sorted({name.rpartition(".lora_")[0] for name in tensors})
    maps = dict(model.named_modules())
    for name in names:
        linear = maps.get(name)
        down, up = (tensors.get(f"{name}.lora_{factor}.weight") for factor in "AB")
        if (
            not isinstance(linear, nn.Linear)
            or down is None
            or up is None
            or not shape_fits(linear, down, up, len(down))
        ):
            raise ModelFilesError(f"{folder.name} does not fit its base at {name}; restore both folders.")
        linear.weight.copy_(
            fold(linear.weight, down.to(linear.weight.device), up.to(linear.weight.device), scale)
        )


def build_causal_lm(
    config: PretrainedConfig, tensors: dict[str, Tensor], dtype: torch.dtype
) -> tuple[Any, dict[str, Any]]:
    """Return the plain causal LM of a text config with these tensors, and what transformers says about the loading."""
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    model, loading = model_class.from_pretrained(
        None, config=config, state_dict=tensors, dtype=dtype, **REPORTED
    )
    return model, loading


def refuse_what_does_not_fit(name: str, loading: dict[str, Any]) -> None:
    """Refuse what transformers only logs: it makes up a missing or reshaped tensor and drops an unexpected one.

    Raises:
        ModelFilesError: names the first such tensor.
    """
    for kind, keys in (("lacks", "missing_keys"), ("has an unexpected", "unexpected_keys")):
        if found := sorted(loading[keys]):
            raise ModelFilesError(f"{name} {kind} tensor {found[0]} ({len(found)} such in all).")
    if reshaped := sorted(key[0] for key in loading["mismatched_keys"]):
        raise ModelFilesError(f"{name} does not fit its config: {reshaped[0]} has another shape.")


def _end_ids_in(folder: Path) -> Any:
    """Return the end tokens that a folder's own settings name: an id, a list of ids, or None.

    Those that transformers makes up where the file is missing are a class's defaults, not the model's.
    """
    file = folder / "generation_config.json"
    return json.loads(file.read_text(encoding="utf-8")).get("eos_token_id") if file.exists() else None


def make_ears(build: Callable[[], Ears], tensors: Mapping[str, Tensor], backbone: TextLLM, name: str) -> Ears:
    """Return a system's ears with these weights, where its language model is and in that precision.

    Args:
        build: makes the modules; nothing is drawn for them, for every weight comes from the file.
        tensors: by the modules' names.
        backbone: the language model.
        name: of the system, for errors.

    Raises:
        ModelFilesError: a tensor is missing, unexpected or of another shape; the message names it.
    """
    weight: Any = backbone.embedding.weight
    with torch.device("meta"):
        ears = build()
    placed = {key: tensor.to(weight.device, weight.dtype) for key, tensor in tensors.items()}
    load_strictly(ears, placed, name, assign=True)
    return ears.eval().requires_grad_(False)


def read_ears_beside(folder: Path) -> dict[str, Tensor]:
    """Return what a folder holds beside its language model; raises ModelFilesError as `read_tensors`."""
    return read_tensors(folder, lambda tensor: not tensor.startswith(INLINE_PREFIX))

"""The tuned lens: a low-rank affine map for each layer, before the model's own final norm and unembedding.

h' = h + up (down h) + bias (Belrose et al., arXiv 2303.08112, the translator's residual form cut to a low rank). The
maps are fitted by `precompute.training.tuned_lens` and refuse to load on other weights than those they were fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import LensError
from engine.readouts import tuned_lens_file, why_no_tuned_lens
from engine.systems.weights import MODELS

FORMAT = "cascade-lens tuned lens 1"


@dataclass(frozen=True)
class Translator:
    """One layer's map.

    Attributes:
        down, up: [rank, d_model], [d_model, rank].
        bias: [d_model].
    """

    down: Float[Tensor, "rank d_model"]
    up: Float[Tensor, "d_model rank"]
    bias: Float[Tensor, "d_model"]  # noqa: F821 - jaxtyping axis name

    def apply(self, states: Float[Tensor, "positions d_model"]) -> Float[Tensor, "positions d_model"]:
        """Return the translated states, in float32."""
        states = states.float()
        down, up, bias = (part.to(states.device, torch.float32) for part in (self.down, self.up, self.bias))
        return states + states @ down.T @ up.T + bias


@dataclass(frozen=True)
class TunedLens:
    """The maps of one model by layer; the output of the last block needs none and is read as it is."""

    translators: Mapping[int, Translator]

    def apply(
        self, layer: int, states: Float[Tensor, "positions d_model"]
    ) -> Float[Tensor, "positions d_model"]:
        """Return the states of a layer as the final norm is to get them."""
        translator = self.translators.get(layer)
        return states if translator is None else translator.apply(states)


def load_tuned_lens(key: str, fingerprint: str, n_layers: int, models: Path = MODELS) -> TunedLens:
    """Return a system's tuned lens.

    Args:
        key: of the system.
        fingerprint: of the weights that are loaded.
        n_layers: blocks of its backbone; layers 0 to n_layers - 1 have maps.
        models: the models' folder.

    Raises:
        LensError: it was not fitted, is damaged, or belongs to other weights.
    """
    reason = why_no_tuned_lens(key, models)
    if reason:
        raise LensError(reason)
    file = tuned_lens_file(key, models)
    return _read(file, fingerprint, n_layers, file.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read(file: Path, fingerprint: str, n_layers: int, _modified: int) -> TunedLens:
    try:
        with safe_open(file, framework="pt") as stored:
            metadata = stored.metadata() or {}
            names = set(stored.keys())
            wanted = {_name(layer, part) for layer in range(n_layers) for part in ("down", "up", "bias")}
            if metadata.get("format") != FORMAT or not wanted <= names:
                raise LensError("The tuned lens has another layout than this version reads; fit it again.")
            if metadata.get("fingerprint") != fingerprint:
                raise LensError("The tuned lens was fitted on other weights than those loaded; fit it again.")
            return TunedLens(
                {
                    layer: Translator(
                        *(stored.get_tensor(_name(layer, part)) for part in ("down", "up", "bias"))
                    )
                    for layer in range(n_layers)
                }
            )
    except SafetensorError as error:
        raise LensError("The file of the tuned lens is damaged; fit it again.") from error


def save_tuned_lens(file: Path, translators: Sequence[Translator], fingerprint: str) -> None:
    """Write the maps of layers 0, 1, ... in float16, with the fingerprint of the weights that they belong to."""
    tensors = {
        _name(layer, part): getattr(translator, part).detach().to("cpu", torch.float16).contiguous()
        for layer, translator in enumerate(translators)
        for part in ("down", "up", "bias")
    }
    save_file(tensors, file, metadata={"format": FORMAT, "fingerprint": fingerprint})


def _name(layer: int, part: str) -> str:
    return f"layer_{layer}.{part}"

"""Erasers: linear concept erasure (LEACE, arXiv 2306.03819) of the residual stream, beside a random control.

Erasers are fitted by `python -m precompute erasers`, stored as low-rank safetensors and refuse to load on
another model than the one they were fitted on. The random control removes as many directions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.conditions import CONDITIONS, FORMAT, Method, eraser_file, eraser_metadata, layer_words
from engine.errors import ErasureError, UnknownKeyError
from engine.hooks import Projection
from engine.proof import Proof
from engine.systems.weights import MODELS

PLAIN_STATES, EDITED_STATES = "plain states", "states edited below"  # what an eraser was fitted on
_FACTORS = ("left", "right", "mean")


@dataclass(frozen=True)
class Factors:
    """Erasers of some layers: x - left @ (right @ (x - mean)).

    Attributes:
        left, right, mean: layer -> [d_model, rank], [rank, d_model], [d_model].
    """

    left: Mapping[int, Tensor]
    right: Mapping[int, Tensor]
    mean: Mapping[int, Tensor]

    @property
    def layers(self) -> tuple[int, ...]:
        """Return the fitted layers, rising."""
        return tuple(sorted(self.left))


@dataclass(frozen=True)
class Eraser:
    """One condition's erasers for all layers of one model.

    Attributes:
        layers: fitted layers.
        left, right, mean: of erasers fitted on plain states: layer -> [d_model, rank], [rank, d_model], [d_model].
        kept_rank: layer -> directions removed by these.
        targets: what is erased, such as words or letters.
        fit: what it was fitted on, in words.
        chained: method -> erasers of the preset's layers, each fitted on states that those below it had edited.
        proof: what fresh probes read of the concept on other clips; None where it was not measured.
        clips: of the fit, so that anyone can fit it again: seed, number, and hashes of recipes, sound and labels.
    """

    condition: str
    layers: tuple[int, ...]
    left: Mapping[int, Tensor]
    right: Mapping[int, Tensor]
    mean: Mapping[int, Tensor]
    kept_rank: Mapping[int, int]
    targets: tuple[str, ...]
    fit: str
    chained: Mapping[str, Factors] = field(default_factory=dict)
    proof: Proof | None = None
    clips: Mapping[str, Any] = field(default_factory=dict)

    def fitted_on(self, layers: Sequence[int], method: Method) -> str:
        """Return what the erasers that these layers get were fitted on.

        Several layers get erasers fitted on the states that those below them leave, where the layers are the lowest
        of the preset (all nine of them, mostly); any others get the ones fitted on plain states.
        """
        chain = self.chained.get(method)
        return (
            EDITED_STATES
            if chain and len(layers) > 1 and tuple(layers) == chain.layers[: len(layers)]
            else PLAIN_STATES
        )

    def factors(self, layers: Sequence[int], method: Method) -> Factors:
        """Return the erasers that these layers get.

        Raises:
            ErasureError: a layer has no eraser.
        """
        if self.fitted_on(layers, method) == EDITED_STATES:
            return self.chained[method]
        unknown = [layer for layer in layers if layer not in self.left]
        if unknown:
            raise ErasureError(
                f'The eraser "{self.condition}" has no layer {unknown[0]}; '
                f"it has layers {layer_words(self.layers)}."
            )
        return Factors(self.left, self.right, self.mean)

    def rank(self, layers: Sequence[int], method: Method) -> int:
        """Return how many directions are taken out at these layers, the most over them."""
        factors = self.factors(layers, method)
        return max(int(factors.right[layer].shape[0]) for layer in layers)

    def projections(
        self, layers: Sequence[int], method: Method, strength: float = 1.0
    ) -> dict[int, Projection]:
        """Return what to apply at these layers; "affine" keeps the training mean, "linear" does not.

        Args:
            layers: where, all at once.
            method: which.
            strength: as in `Projection`, 0 to 1.

        Raises:
            ErasureError: a layer has no eraser.
        """
        factors = self.factors(layers, method)
        return {
            layer: Projection(
                factors.left[layer],
                factors.right[layer],
                factors.mean[layer] if method == "affine" else None,
                strength=strength,
            )
            for layer in layers
        }

    def random_control(
        self, layers: Sequence[int], method: Method, seed: int, strength: float = 1.0
    ) -> dict[int, Projection]:
        """Return random orthogonal projections of the same kept rank and strength at the same layers."""
        factors, controls = self.factors(layers, method), {}
        for layer in layers:
            d_model, rank = factors.left[layer].shape
            basis = random_subspace(d_model, rank, seed * 1000 + layer)
            mean = factors.mean[layer] if method == "affine" else None
            controls[layer] = Projection(basis, basis.T, mean, strength=strength)
        return controls


def random_subspace(d_model: int, rank: int, seed: int) -> Float[Tensor, "d_model rank"]:
    """Return an orthonormal basis of a random subspace of this rank; the same seed gives the same one."""
    # The generator takes 64 bits; a request's seed may be any whole number.
    generator = torch.Generator().manual_seed(seed % 2**63)
    gaussian = torch.randn(d_model, rank, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(gaussian).Q.float()


def load_eraser(pair: str, condition: str, fingerprint: str, models: Path = MODELS) -> Eraser:
    """Return a fitted eraser.

    Raises:
        UnknownKeyError: there is no such condition.
        ErasureError: it is not fitted, damaged, or was fitted on other weights than `fingerprint` names.
    """
    if condition not in CONDITIONS:
        raise UnknownKeyError(
            f'There is no erasure "{condition[:40]}". Choose from: {", ".join(CONDITIONS)}, or none.'
        )
    file = eraser_file(pair, condition, models)
    if not file.exists():
        raise ErasureError(
            f'The eraser "{condition}" is not fitted for this model; run "python -m precompute erasers".'
        )
    return _read(file, fingerprint, file.stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _read(file: Path, fingerprint: str, _modified: int) -> Eraser:
    metadata = eraser_metadata(file)
    if metadata["fingerprint"] != fingerprint:
        raise ErasureError(
            f'The eraser "{file.stem}" was fitted on other weights than those loaded; '
            'run "python -m precompute erasers".'
        )
    record = json.loads(metadata["record"])
    layers = tuple(record["layers"])
    with safe_open(file, framework="pt") as stored:

        def factors(prefix: str, fitted: Sequence[int]) -> Factors:
            return Factors(
                *(
                    {layer: stored.get_tensor(f"{prefix}{name}.{layer}").float() for layer in fitted}
                    for name in _FACTORS
                )
            )

        plain = factors("", layers)
        chained = {method: factors(f"{method}.", fitted) for method, fitted in record["chained"].items()}
    return Eraser(
        condition=record["condition"],
        layers=layers,
        left=plain.left,
        right=plain.right,
        mean=plain.mean,
        kept_rank={int(layer): rank for layer, rank in record["kept_rank"].items()},
        targets=tuple(record["targets"]),
        fit=record["fit"],
        chained=chained,
        proof=Proof.from_json(record["proof"]) if record["proof"] else None,
        clips=record["clips"],
    )


def save_eraser(eraser: Eraser, fingerprint: str, folder: Path) -> None:
    """Write an eraser where `load_eraser` finds it, whole or not at all; factors in float32.

    Args:
        eraser: what was fitted.
        fingerprint: of the weights that it was fitted on.
        folder: of the model's erasers.
    """
    sets = {"": Factors(eraser.left, eraser.right, eraser.mean)}
    sets |= {f"{method}.": factors for method, factors in eraser.chained.items()}
    tensors = {
        f"{prefix}{name}.{layer}": getattr(factors, name)[layer].float().contiguous()
        for prefix, factors in sets.items()
        for layer in factors.layers
        for name in _FACTORS
    }
    record = {
        "condition": eraser.condition,
        "layers": eraser.layers,
        "targets": eraser.targets,
        "fit": eraser.fit,
        "clips": dict(eraser.clips),
        "scope": "audio positions",
        "kept_rank": dict(eraser.kept_rank),
        "chained": {method: factors.layers for method, factors in eraser.chained.items()},
        "proof": eraser.proof.to_json() if eraser.proof else None,
    }
    metadata = {"format": FORMAT, "fingerprint": fingerprint, "record": json.dumps(record)}
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{eraser.condition}.part"
    save_file(tensors, part, metadata=metadata)
    part.replace(folder / f"{eraser.condition}.safetensors")

"""Erasers: linear concept erasure (LEACE, arXiv 2306.03819) of the residual stream, beside its random controls.

Erasers are fitted by `python -m precompute erasers` in float64 (theorem 4.2), stored as low-rank safetensors and
refuse to load on another model than the one they were fitted on. One random control removes as many directions.

The other moves states as far as the eraser did. A random projection of equal rank often takes less out of a state
than the eraser does, and an eraser could destroy answers for that alone. `MatchedStep` lengthens (or shortens) the
random step to the share of the state that the eraser's run moved at this layer, in each group of positions by itself:
an eraser fitted on audio moves the prompt's text much further than the audio, and a control that moved both alike
would be milder where it matters. What the eraser would do to the control's own states is no measure: they still hold
the concept at every layer, and the control would be moved several times as far.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from concept_erasure import LeaceFitter
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import ErasureError, UnknownKeyError
from engine.hooks import ByGroup, Group, Projection
from engine.request import CONDITIONS, FORMAT, Method, eraser_file, eraser_metadata, layer_words
from engine.results import Proof
from engine.systems.weights import MODELS


@dataclass(frozen=True)
class Moments:
    """Counts, means and centred products of states x and labels z, in float64.

    Attributes:
        n: rows.
        mean_x, mean_z: over the rows.
        xx: sum over rows of (x - mean_x)(x - mean_x)'.
        xz: sum over rows of (x - mean_x)(z - mean_z)'.
    """

    n: int
    mean_x: Float[Tensor, "d_model"]  # noqa: F821 - jaxtyping axis name
    mean_z: Float[Tensor, "targets"]  # noqa: F821
    xx: Float[Tensor, "d_model d_model"]
    xz: Float[Tensor, "d_model targets"]

    @classmethod
    def of(cls, x: Float[Tensor, "n d_model"], z: Float[Tensor, "n targets"]) -> Moments:
        """Return the moments of at least one row; no NaN."""
        x, z = x.double(), z.double()
        mean_x, mean_z = x.mean(0), z.mean(0)
        centred = x - mean_x
        return cls(len(x), mean_x, mean_z, centred.T @ centred, centred.T @ (z - mean_z))

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both shards' rows (Chan, Golub and LeVeque 1983, equation 2.1)."""
        n = self.n + other.n
        step_x, step_z = other.mean_x - self.mean_x, other.mean_z - self.mean_z
        weight = self.n * other.n / n
        return Moments(
            n,
            self.mean_x + step_x * (other.n / n),
            self.mean_z + step_z * (other.n / n),
            self.xx + other.xx + weight * torch.outer(step_x, step_x),
            self.xz + other.xz + weight * torch.outer(step_x, step_z),
        )


SMALLEST = 1e-9  # of a step: a state that the random subspace does not see is not moved


@dataclass(frozen=True)
class MatchedStep(Projection):
    """The random projection's step, at a given share of the state's length.

    A state that is moved further than the random projection would is pushed past zero in that subspace: the
    control disturbs as much, it does not erase the same.

    Attributes:
        share: |change| / |state|, at least 0.
    """

    share: float = field(default=0.0, kw_only=True)

    def __call__(self, states: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Return the moved states, in their own dtype; arithmetic in float32."""
        exact = states.float()
        step = super().__call__(exact) - exact
        length = step.norm(dim=-1, keepdim=True)
        wanted = self.share * exact.norm(dim=-1, keepdim=True)
        moved = step * (wanted / length.clamp(min=SMALLEST))
        return (exact + torch.where(length > SMALLEST, moved, torch.zeros_like(moved))).to(states.dtype)


def match_changes(
    controls: Mapping[int, Projection], shares: Mapping[int, Mapping[Group, float]]
) -> dict[int, ByGroup]:
    """Return at each layer, for each group of positions, the random control's step at the share the eraser moved it.

    Args:
        controls: random projections by layer.
        shares: of the eraser's run, as `RowEdits.change_by_group` gives them.
    """
    return {
        layer: {
            group: MatchedStep(control.left, control.right, control.mean, share=share)
            for group, share in shares[layer].items()
        }
        for layer, control in controls.items()
    }


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


SVD_TOLERANCE = 1e-5  # 0.01, the library's default, leaves rare classes readable
LEAK_TOLERANCE = 1e-6  # correlation of the erased states with the concept, on the states of the fit


class Leace(NamedTuple):
    """x - left @ (right @ (x - mean)); float64."""

    left: Float[Tensor, "d_model rank"]
    right: Float[Tensor, "rank d_model"]
    mean: Float[Tensor, "d_model"]  # noqa: F821 - jaxtyping axis name

    def __call__(self, states: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
        """Return the states without the concept."""
        return states - ((states - self.mean) @ self.right.T) @ self.left.T


def fit_leace(x: Float[Tensor, "n d_model"], z: Float[Tensor, "n targets"]) -> Leace:
    """Return the eraser after which no linear probe reads z from x, on these very states.

    Args:
        x: float64 states.
        z: float64 labels: one-hot rows for classes, numbers otherwise; no NaN.

    Raises:
        AssertionError: the erased states still correlate with the concept.
    """
    fitted = leace_of(Moments.of(x, z))
    leak = cross_correlation(fitted(x), z)
    assert leak < LEAK_TOLERANCE, f"the erased states still correlate with the concept: {leak:.2e}"
    return fitted


def leace_of(moments: Moments) -> Leace:
    """Return the eraser of the rows behind these moments.

    Raises:
        AssertionError: erased, those rows would still correlate with the concept.
    """
    fitter = LeaceFitter(
        *moments.xz.shape,
        affine=True,
        constrain_cov_trace=False,
        shrinkage=False,
        dtype=torch.float64,
        svd_tol=SVD_TOLERANCE,
    )
    fitter.n = torch.tensor(moments.n)
    fitter.mean_x, fitter.mean_z = moments.mean_x, moments.mean_z
    fitter.sigma_xx_, fitter.sigma_xz_ = moments.xx, moments.xz
    eraser = fitter.eraser
    assert eraser.bias is not None
    # The library keeps a row of zeros for each direction under its tolerance; they are no rank.
    kept = eraser.proj_right.abs().amax(1) > 0
    fitted = Leace(eraser.proj_left[:, kept], eraser.proj_right[kept], eraser.bias)
    spread = moments.xx.diagonal().sqrt()[:, None]
    spread = spread.clamp(
        min=float(spread.max()) * 1e-6 + 1e-9
    )  # a dimension that does not vary holds rounding only
    before, after = (
        float((cross / spread).abs().amax())
        for cross in (moments.xz, moments.xz - fitted.left @ (fitted.right @ moments.xz))
    )
    assert after <= 10 * SVD_TOLERANCE * before, (
        f"the erased states still correlate with the concept: {after:.2e} of {before:.2e}"
    )
    return fitted


def bare_eraser(condition: str, found: Mapping[int, Leace], targets: tuple[str, ...], fit: str) -> Eraser:
    """Return erasers just fitted, layer by layer, on plain states, as an Eraser that proves nothing yet."""
    return Eraser(
        condition=condition,
        layers=tuple(sorted(found)),
        left={layer: one.left.float() for layer, one in found.items()},
        right={layer: one.right.float() for layer, one in found.items()},
        mean={layer: one.mean.float() for layer, one in found.items()},
        kept_rank={layer: len(one.right) for layer, one in found.items()},
        targets=targets,
        fit=fit,
    )


def cross_correlation(x: Float[Tensor, "n d_model"], z: Float[Tensor, "n targets"]) -> float:
    """Return the largest absolute correlation of any state dimension with any label, 0 to 1."""
    x = (x - x.mean(0)) / x.std(0).clamp(min=1e-9)
    z = (z - z.mean(0)) / z.std(0).clamp(min=1e-9)
    return float((x.T @ z / len(x)).abs().max())

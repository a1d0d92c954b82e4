"""Whether a system's erasers fit it: weights, rank, the algebra of a projection, and its effect inside the model.

That the concept is gone was asserted when they were fitted (cross-covariance of erased states and labels) and
is recorded as a fresh probe's score; the clips of the fit do not ship, so here the record is judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import cast

import torch

from engine.check import Finding
from engine.conditions import available_conditions
from engine.decode import run_arms
from engine.erasure import Eraser, load_eraser
from engine.errors import ErasureError
from engine.hooks import RowEdits
from engine.precision import unit_roundoff
from engine.systems.base import Prepared, WhiteBoxModel
from engine.systems.catalogue import MODELS

IDEMPOTENCE_TOLERANCE = 1e-4  # relative, of factors that are stored in float32
LEFT_OVER_TOLERANCE = 1e-3  # cosine of an erased state with a direction that was taken out of it
PROBE_TOLERANCE = 0.05  # score above chance of a probe fitted after the erasure, on held-out clips


def check_erasers(
    system: WhiteBoxModel, prepared: Prepared, pair: str, models: Path = MODELS
) -> list[Finding]:
    """Return what was found for all erasers of a pair's speech LLM; nothing where none is fitted.

    Args:
        system: the speech LLM.
        prepared: a prompt about a clip, in which the erasers are tried.
        pair: whose erasers are meant.
        models: folder of the models.

    Raises:
        ErasureError: a file is damaged or of another version.
    """
    conditions = available_conditions(pair, models)
    if not conditions:
        return []
    erasers: dict[str, Eraser] = {}
    for condition in conditions:
        # Of a file that is whole, only one fitted on other weights is refused here.
        with suppress(ErasureError):
            erasers[condition] = load_eraser(pair, condition, system.fingerprint, models)
    fitted = f"{len(erasers)} of {len(conditions)} fitted on these weights"
    findings = [Finding("erasers fit the weights", fitted, len(conditions) - len(erasers), 0)]
    if erasers:
        findings += [
            _worst("erasers have their recorded rank", erasers, _rank_off, 0),
            _worst("an eraser applied twice is itself", erasers, _not_idempotent, IDEMPOTENCE_TOLERANCE),
            _worst("no probe reads an erased concept", erasers, _still_read, PROBE_TOLERANCE),
            _left_over(system, prepared, erasers),
        ]
    return findings


def _worst(
    name: str, erasers: Mapping[str, Eraser], measure: Callable[[Eraser, int], float], tolerance: float
) -> Finding:
    values = {
        (key, layer): measure(eraser, layer) for key, eraser in erasers.items() for layer in eraser.layers
    }
    return _farthest(name, values, tolerance)


def _farthest(name: str, values: Mapping[tuple[str, int], float], tolerance: float) -> Finding:
    """Return the finding of the condition and layer that are farthest from what must hold."""
    # A NaN is worse than any number.
    condition, layer = max(values, key=lambda place: (math.isnan(values[place]), values[place]))
    worst = values[condition, layer]
    return Finding(
        name, f"worst of {len(values)}: {worst:.1e}, {condition} at layer {layer}", worst, tolerance
    )


def _rank_off(eraser: Eraser, layer: int) -> float:
    """How far the rank of the projection is from the record: an idempotent matrix's rank is its trace."""
    trace = float((eraser.right[layer].double() @ eraser.left[layer].double()).trace())
    return abs(round(trace) - eraser.kept_rank[layer])


def _not_idempotent(eraser: Eraser, layer: int) -> float:
    """|PP - P| over |P|, Frobenius, in float64."""
    projection = eraser.left[layer].double() @ eraser.right[layer].double()
    return float((projection @ projection - projection).norm() / projection.norm())


def _still_read(eraser: Eraser, layer: int) -> float:
    """Recorded when it was fitted: what a probe fitted after the erasure reads above chance."""
    return eraser.probe_after[layer] - eraser.probe_chance[layer]


@torch.inference_mode()
def _left_over(system: WhiteBoxModel, prepared: Prepared, erasers: Mapping[str, Eraser]) -> Finding:
    """Erase inside the running model, record the states, and look for what should be gone from them."""
    start, stop = prepared.span
    left: dict[tuple[str, int], float] = {}
    for condition, eraser in erasers.items():
        rows = [eraser.projections(eraser.layers, "linear")]
        edits = RowEdits(rows, prepared.span, prepared.embeddings.shape[1], "audio")
        passed = run_arms(system, prepared, edits=edits, record_layers=eraser.layers, max_new_tokens=1)
        for layer, states in passed.states.items():
            erased, taken = states[0, start:stop].cpu(), eraser.right[layer]
            cosines = (erased @ taken.T).abs() / erased.norm(dim=1, keepdim=True).clamp(min=1e-9)
            left[condition, layer] = float((cosines / taken.norm(dim=1)).max())
    dtype = cast(torch.Tensor, system.unembedding.weight).dtype
    # What is erased is rounded to the model's precision, which puts back at most that share of the state.
    tolerance = max(LEFT_OVER_TOLERANCE, unit_roundoff(dtype))
    return _farthest("erased directions are gone from the states", left, tolerance)

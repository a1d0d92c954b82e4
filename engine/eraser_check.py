"""Whether a system's erasers fit it: weights, rank, the algebra of a projection, and its effect inside the model.

Whether the concept is gone was measured when they were fitted, by fresh probes on other clips inside erased runs; the
clips do not ship, so here the record is judged: it must be there, and of probes that could have failed. What it says
is shown, and is no fault of the eraser's: an erasure that leaves something is told as one that does.
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
from engine.erasure import EDITED_STATES, Eraser, Factors, load_eraser
from engine.errors import ErasureError
from engine.hooks import RowEdits
from engine.precision import unit_roundoff
from engine.proof import SINGLE, VERDICTS, setting_name
from engine.systems.base import Prepared, WhiteBoxModel
from engine.systems.catalogue import MODELS

IDEMPOTENCE_TOLERANCE = 1e-4  # relative, of factors that are stored in float32
LEFT_OVER_TOLERANCE = 1e-3  # cosine of an erased state with a direction that was taken out of it


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
            _proven(erasers),
            _left_over(system, prepared, erasers),
        ]
    return findings


Measure = Callable[[torch.Tensor, torch.Tensor, int], float]  # of left, right and the recorded rank


def _worst(name: str, erasers: Mapping[str, Eraser], measure: Measure, tolerance: float) -> Finding:
    values = {}
    for key, eraser in erasers.items():
        sets = {"": (Factors(eraser.left, eraser.right, eraser.mean), eraser.kept_rank)}
        for method, factors in eraser.chained.items():
            ranks = {layer: len(factors.right[layer]) for layer in factors.layers}
            sets[f" ({method}, fitted on {EDITED_STATES})"] = (factors, ranks)
        for which, (factors, ranks) in sets.items():
            for layer in factors.layers:
                left, right = factors.left[layer].double(), factors.right[layer].double()
                values[key + which, layer] = measure(left, right, ranks[layer])
    return _farthest(name, values, tolerance)


def _farthest(name: str, values: Mapping[tuple[str, int], float], tolerance: float) -> Finding:
    """Return the finding of the condition and layer that are farthest from what must hold."""
    # A NaN is worse than any number.
    condition, layer = max(values, key=lambda place: (math.isnan(values[place]), values[place]))
    worst = values[condition, layer]
    return Finding(
        name, f"worst of {len(values)}: {worst:.1e}, {condition} at layer {layer}", worst, tolerance
    )


def _rank_off(left: torch.Tensor, right: torch.Tensor, rank: int) -> float:
    """How far the rank of the projection is from the record: an idempotent matrix's rank is its trace."""
    return abs(round(float((right @ left).trace())) - rank)


def _not_idempotent(left: torch.Tensor, right: torch.Tensor, _rank: int) -> float:
    """|PP - P| over |P|, Frobenius, in float64."""
    projection = left @ right
    return float((projection @ projection - projection).norm() / projection.norm())


def _proven(erasers: Mapping[str, Eraser]) -> Finding:
    """A proof has a reading for every layer alone and every chain, each a number beside plain states and chance.

    What it reads is told and is no fault; an eraser without a proof claims nothing, which is told as well.
    """
    missing, found = 0, []
    proofs = {key: eraser.proof for key, eraser in erasers.items() if eraser.proof}
    for key, proof in proofs.items():
        wanted = {SINGLE: erasers[key].layers} | {
            setting_name(method, scope): factors.layers
            for method, factors in erasers[key].chained.items()
            for scope in ("audio", "all")
        }
        for setting, layers in wanted.items():
            measured = proof.settings.get(setting, {})
            here = [measured[layer] for layer in layers if layer in measured]
            whole = [one for one in here if not math.isnan(one.erased + one.plain + one.random + one.chance)]
            missing += len(layers) - len(whole)
            found += [one.verdict for one in whole]
    counts = ", ".join(f"{found.count(verdict)} {verdict}" for verdict in VERDICTS)
    without = len(erasers) - len(proofs)
    said = [f"{len(found)} readings: {counts}"] if proofs else []
    said += [f"{missing} missing"] if missing else []
    said += [f"{without} of {len(erasers)} erasers carry no proof and claim nothing"] if without else []
    return Finding("what an erasure leaves is measured on other clips", "; ".join(said), missing, 0)


@torch.inference_mode()
def _left_over(system: WhiteBoxModel, prepared: Prepared, erasers: Mapping[str, Eraser]) -> Finding:
    """Erase inside the running model, record the states, and look for what should be gone from them."""
    start, stop = prepared.span
    left: dict[tuple[str, int], float] = {}
    for condition, eraser in erasers.items():
        taken_out = eraser.factors(eraser.layers, "linear").right
        rows = [eraser.projections(eraser.layers, "linear")]
        edits = RowEdits(rows, prepared.span, prepared.embeddings.shape[1], "audio")
        passed = run_arms(system, prepared, edits=edits, record_layers=eraser.layers, max_new_tokens=1)
        for layer, states in passed.states.items():
            erased, taken = states[0, start:stop].cpu(), taken_out[layer]
            cosines = (erased @ taken.T).abs() / erased.norm(dim=1, keepdim=True).clamp(min=1e-9)
            left[condition, layer] = float((cosines / taken.norm(dim=1)).max())
    dtype = cast(torch.Tensor, system.unembedding.weight).dtype
    # What is erased is rounded to the model's precision, which puts back at most that share of the state.
    tolerance = max(LEFT_OVER_TOLERANCE, unit_roundoff(dtype))
    return _farthest("erased directions are gone from the states", left, tolerance)

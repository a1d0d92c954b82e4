"""Erasers that fit pass; each way in which one can fail to fit is found, and only that."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine import checks
from engine.checks import FIT, GONE, IDEMPOTENT, PROVEN, RANKS, check_erasers
from engine.erasure import Eraser, Factors, load_eraser, random_subspace
from engine.hooks import Projection
from engine.results import LayerProof
from engine.systems.base import Prepared
from engine.systems.ultravox import Ultravox

PAIR = "mini-ultravox"
ALGEBRA = (RANKS, IDEMPOTENT, PROVEN, GONE)


def failures(system: Ultravox, prepared: Prepared, models: Path) -> set[str]:
    found = check_erasers(system, prepared, PAIR, models, names=ALGEBRA)
    return {one.name for one in found if not one.passed}


def exact(eraser: Eraser) -> Eraser:
    """The same with orthonormal factors: a fit on 24 clips of random ears is looser."""
    bases = {layer: random_subspace(32, eraser.kept_rank[layer], layer) for layer in eraser.layers}
    transposed = {layer: basis.T.contiguous() for layer, basis in bases.items()}
    chained = {method: Factors(bases, transposed, eraser.mean) for method in eraser.chained}
    return replace(eraser, left=bases, right=transposed, chained=chained)


def longer(eraser: Eraser) -> Eraser:
    """The same with one layer's factors too long."""
    left, right = at_one_layer(eraser.left, 1.01), at_one_layer(eraser.right, 1.01)
    return replace(eraser, left=left, right=right, chained={})


def with_reading(eraser: Eraser, setting: str, layer: int, reading: LayerProof | None) -> Eraser:
    """The same with one reading of its proof in place of the measured one, or without it."""
    assert eraser.proof is not None
    at = {one: found for one, found in eraser.proof.settings[setting].items() if one != layer}
    at |= {layer: reading} if reading else {}
    return replace(eraser, proof=replace(eraser.proof, settings={**eraser.proof.settings, setting: at}))


def spoil(monkeypatch: pytest.MonkeyPatch, change: Callable[[Eraser], Eraser]) -> None:
    """Hand over every eraser exact but for this change."""
    monkeypatch.setattr(checks, "load_eraser", lambda *of: change(exact(load_eraser(*of))))


def at_one_layer(values: Mapping[int, Tensor], factor: float) -> dict[int, Tensor]:
    return {layer: factor * value if layer == 2 else value for layer, value in values.items()}


def test_erasers_of_this_model_pass(
    ultravox: Ultravox, prepared: Prepared, models_with_erasers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, lambda eraser: eraser)
    findings = check_erasers(ultravox, prepared, PAIR, models_with_erasers, names=ALGEBRA)
    assert [one.name for one in findings] == [FIT, *ALGEBRA]
    assert all(one.passed for one in findings), findings
    assert findings[0].measured == "4 of 4 fitted on these weights"


def test_a_system_without_erasers_has_nothing_to_check(
    ultravox: Ultravox, prepared: Prepared, tmp_path: Path
) -> None:
    assert check_erasers(ultravox, prepared, PAIR, tmp_path) == []


def test_erasers_of_other_weights_are_found(
    ultravox: Ultravox, prepared: Prepared, models_with_erasers: Path
) -> None:
    other = copy.copy(ultravox)
    other.fingerprint = "0" * 64
    findings = check_erasers(other, prepared, PAIR, models_with_erasers)
    assert [(one.name, one.passed, one.value) for one in findings] == [(FIT, False, 4)]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda e: replace(e, kept_rank={**e.kept_rank, 1: e.kept_rank[1] + 1}), RANKS),
        (longer, IDEMPOTENT),
        (lambda e: with_reading(e, "each layer alone", 3, None), PROVEN),
        (lambda e: with_reading(e, "linear, all", 0, LayerProof(*[math.nan] * 8)), PROVEN),
    ],
    ids=["rank", "not idempotent", "a layer without a reading", "a reading that is no number"],
)
def test_an_eraser_that_does_not_do_its_work_is_found(
    ultravox: Ultravox,
    prepared: Prepared,
    models_with_erasers: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Eraser], Eraser],
    found: str,
) -> None:
    spoil(monkeypatch, change)
    # What does not take a direction out once does not find it gone either.
    expected = {found, GONE} if found == IDEMPOTENT else {found}
    assert failures(ultravox, prepared, models_with_erasers) == expected


def test_directions_that_an_edit_leaves_behind_are_found(
    ultravox: Ultravox, prepared: Prepared, models_with_erasers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A projection that is right on disk and never reaches the states."""
    spoil(monkeypatch, lambda eraser: eraser)
    idle = Projection(torch.zeros(32, 0), torch.zeros(0, 32))
    monkeypatch.setattr(Eraser, "projections", lambda self, layers, method: dict.fromkeys(layers, idle))
    assert failures(ultravox, prepared, models_with_erasers) == {GONE}


def test_an_eraser_without_a_proof_claims_nothing_and_one_that_leaves_something_says_so(
    ultravox: Ultravox, prepared: Prepared, models_with_erasers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe at chance on the fit's own rows was taken for a proof, and no eraser could fail it."""
    spoil(monkeypatch, lambda eraser: replace(eraser, proof=None))
    found = {one.name: one for one in check_erasers(ultravox, prepared, PAIR, models_with_erasers)}
    assert (
        found[PROVEN].passed and "4 of 4 erasers carry no proof and claim nothing" in found[PROVEN].measured
    )
    leaves = LayerProof(0.9, 0.85, 0.95, 0.6, 0.55, 0.65, 0.9, 0.2)
    spoil(monkeypatch, lambda eraser: with_reading(eraser, "each layer alone", 2, leaves))
    found = {one.name: one for one in check_erasers(ultravox, prepared, PAIR, models_with_erasers)}
    assert "still read" in found[PROVEN].measured and " 0 still read" not in found[PROVEN].measured

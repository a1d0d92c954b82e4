"""Facts about the control of equal change: as far as the eraser, in the random subspace, at equal rank."""

from __future__ import annotations

import torch

from engine.erasure import random_subspace
from engine.hooks import Projection
from engine.matched_step import MatchedStep, match_steps

D_MODEL = 24


def eraser() -> Projection:
    """Oblique and affine, as LEACE's are: it does not take out what it reads."""
    generator = torch.Generator().manual_seed(0)
    basis = random_subspace(D_MODEL, 3, 1)
    skew = basis + 0.4 * torch.randn(D_MODEL, 3, generator=generator)
    return Projection(skew, basis.T, torch.full((D_MODEL,), 0.3))


def control() -> Projection:
    basis = random_subspace(D_MODEL, 3, 2)
    return Projection(basis, basis.T)


def states() -> torch.Tensor:
    return 5 * torch.randn(7, 11, D_MODEL, generator=torch.Generator().manual_seed(3))


def test_each_state_moves_as_far_as_the_eraser_moves_it() -> None:
    x, step = states(), match_steps({4: eraser()}, {4: control()})[4]
    wanted, found = (eraser()(x) - x).norm(dim=-1), (step(x) - x).norm(dim=-1)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    plain = (control()(x) - x).norm(dim=-1)
    assert (plain - wanted).abs().mean() > 0.1 * wanted.mean(), "a control of equal rank alone does not"


def test_it_moves_along_the_random_directions_only_and_keeps_their_rank() -> None:
    x, step = states(), match_steps({0: eraser()}, {0: control()})[0]
    moved = (step(x) - x).reshape(-1, D_MODEL)
    basis = control().left
    torch.testing.assert_close(moved @ basis @ basis.T, moved, atol=1e-4, rtol=1e-4)
    assert step.rank == 3 and int(torch.linalg.matrix_rank(moved, tol=1e-3)) == 3


def test_a_state_that_the_random_directions_do_not_see_stays() -> None:
    basis = control().left
    x = states()
    unseen = x - x @ basis @ basis.T
    unseen = unseen - unseen @ basis @ basis.T
    step = MatchedStep(torch.eye(D_MODEL)[:, :1], torch.eye(D_MODEL)[:1], None, eraser())
    flat = unseen.clone()
    flat[..., 0] = 0.0
    torch.testing.assert_close(step(flat), flat)
    assert torch.isfinite(step(torch.zeros(2, D_MODEL))).all()

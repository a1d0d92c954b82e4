"""Facts about the control of equal change: as far as the eraser, in the random subspace, at equal rank."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.erasure import MatchedStep, load_eraser, match_changes, random_subspace
from engine.generate import run_arms
from engine.hooks import GROUPS, Projection, RowEdits
from engine.systems.base import Prepared
from engine.systems.ultravox import Ultravox

D_MODEL = 24


def control() -> Projection:
    basis = random_subspace(D_MODEL, 3, 2)
    return Projection(basis, basis.T)


def states() -> torch.Tensor:
    return 5 * torch.randn(7, 11, D_MODEL, generator=torch.Generator().manual_seed(3))


SHARE = 0.4


def test_each_state_moves_by_its_share() -> None:
    x, step = states(), match_changes({4: control()}, {4: {"audio": SHARE}})[4]["audio"]
    moved = (step(x) - x).norm(dim=-1) / x.norm(dim=-1)
    torch.testing.assert_close(moved, torch.full_like(moved, SHARE), rtol=1e-4, atol=1e-5)
    plain = (control()(x) - x).norm(dim=-1) / x.norm(dim=-1)
    assert (plain - SHARE).abs().mean() > 0.1 * SHARE, "a control of equal rank alone does not"


def test_it_moves_along_the_random_directions_only_and_keeps_their_rank() -> None:
    x, step = states(), match_changes({0: control()}, {0: {"audio": SHARE}})[0]["audio"]
    moved = (step(x) - x).reshape(-1, D_MODEL)
    basis = control().left
    torch.testing.assert_close(moved @ basis @ basis.T, moved, atol=1e-4, rtol=1e-4)
    assert (
        isinstance(step, MatchedStep)
        and step.rank == 3
        and int(torch.linalg.matrix_rank(moved, tol=1e-3)) == 3
    )


def test_a_state_that_the_random_directions_do_not_see_stays() -> None:
    step = MatchedStep(torch.eye(D_MODEL)[:, :1], torch.eye(D_MODEL)[:1], share=SHARE)
    flat = states()
    flat[..., 0] = 0.0
    torch.testing.assert_close(step(flat), flat)
    assert torch.isfinite(step(torch.zeros(2, D_MODEL))).all()


@pytest.mark.parametrize("batched", [True, False])
def test_each_group_of_positions_moves_as_far_as_under_the_eraser(
    ultravox: Ultravox, prepared: Prepared, models_with_erasers: Path, *, batched: bool
) -> None:
    """The eraser moved the prompt's text by .61 and the audio by .38, and the control both by .43."""
    eraser = load_eraser("mini-ultravox", "text", ultravox.fingerprint, models_with_erasers)
    layers, n_prompt = (1, 2, 3), prepared.embeddings.shape[1]
    erased = RowEdits([None, eraser.projections(layers, "linear")], prepared.span, n_prompt, "all")
    run_arms(ultravox, prepared, edits=erased, continuations=("queen",), max_new_tokens=3, batched=batched)
    shares = erased.change_by_group(1)
    assert all(set(shares[layer]) == set(GROUPS) for layer in layers)
    far = [abs(shares[layer]["audio"] - shares[layer]["prompt text"]) for layer in layers]
    assert max(far) > 0.05, "where both groups move alike, a match of the average would pass as well"
    steps = match_changes(eraser.random_control(layers, "linear", 0), shares)
    matched = RowEdits([None, steps], prepared.span, n_prompt, "all")
    run_arms(ultravox, prepared, edits=matched, continuations=("queen",), max_new_tokens=3, batched=batched)
    for layer in layers:
        assert matched.change_by_group(1)[layer] == pytest.approx(shares[layer], rel=1e-4)


def test_a_group_that_the_eraser_did_not_reach_stays() -> None:
    steps = match_changes({1: control()}, {1: {"audio": SHARE}})
    edits = RowEdits([steps], (2, 5), 8, "all")
    moved = (edits.apply(1, states(), 0)[:1] - states()[:1]).norm(dim=-1)[0] > 1e-6
    assert moved.nonzero().ravel().tolist() == [2, 3, 4]

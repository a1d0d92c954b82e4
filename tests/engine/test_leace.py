"""The guarantee of LEACE on planted data, and its own refusal where the guarantee does not hold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine import erasure
from engine.erasure import cross_correlation, fit_leace


def planted() -> tuple[Tensor, Tensor]:
    """Three classes whose means lie three standard deviations apart, in eight dimensions."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(3, (500,), generator=generator)
    noise = torch.randn(500, 8, generator=generator)
    return (3.0 * torch.eye(8)[:3][labels] + noise).double(), torch.eye(3)[labels].double()


def test_the_erased_states_are_uncorrelated_with_the_concept_and_were_correlated_before() -> None:
    x, z = planted()
    erase = fit_leace(x, z)
    assert cross_correlation(x, z) > 0.5
    assert cross_correlation(erase(x), z) < 1e-9


def test_the_rank_is_the_classes_less_one_the_mean_stays_and_twice_is_once() -> None:
    x, z = planted()
    erase = fit_leace(x, z)
    assert erase.right.shape == (2, 8) and erase.left.shape == (8, 2)
    torch.testing.assert_close(erase(x).mean(0), x.mean(0))
    torch.testing.assert_close(erase(erase(x)), erase(x))


def test_it_is_the_closed_form_of_the_theorem() -> None:
    """The slow reference: whiten, project out the whitened cross-covariance, and undo the whitening (theorem 4.2)."""
    x, z = planted()
    mean = x.mean(0)
    centred, labels = x - mean, z - z.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(x))
    whiten, unwhiten = (vectors * values**power @ vectors.T for power in (-0.5, 0.5))
    directions, sizes, _ = torch.linalg.svd(whiten @ centred.T @ labels / len(x), full_matrices=False)
    directions = directions[:, sizes > 1e-9]
    expected = x - centred @ (unwhiten @ directions @ directions.T @ whiten).T
    torch.testing.assert_close(fit_leace(x, z)(x), expected, atol=1e-8, rtol=0)


def test_a_fit_that_leaks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coarse tolerance drops a direction that the concept needs: here every one but the first."""
    monkeypatch.setattr(erasure, "SVD_TOLERANCE", 0.99)
    with pytest.raises(AssertionError, match="still correlate"):
        fit_leace(*planted())


def test_correlation_by_hand() -> None:
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]).double()
    z = torch.tensor([[2.0], [4.0], [6.0]]).double()
    # n - 1 under the standard deviations and n under the mean leave (n - 1) / n of a perfect correlation.
    assert cross_correlation(x, z) == pytest.approx(2 / 3)

"""Erasers: the LEACE guarantee on planted data, fair random controls, and files that must be refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.erasure import (
    EDITED_STATES,
    PLAIN_STATES,
    Eraser,
    Leace,
    cross_correlation,
    fit_leace,
    load_eraser,
    random_subspace,
)
from engine.errors import ErasureError, UnknownKeyError
from engine.generate import read_states
from engine.hooks import Projection, RowEdits
from engine.request import CONDITIONS, FORMAT, Method, available_conditions, eraser_file, preset_layers
from engine.systems.ultravox import Ultravox
from tests.engine.tiny_systems import labelled

PAIR = "mini-ultravox"
D_MODEL, N_CLASSES, N_ROWS = 16, 3, 900


def planted(seed: int) -> tuple[Tensor, Tensor]:
    """Three classes whose means lie three standard deviations apart, in 16 dimensions far from the origin."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(N_CLASSES, (N_ROWS,), generator=generator)
    means = 5.0 + 3.0 * torch.eye(D_MODEL)[:N_CLASSES]
    return means[labels] + torch.randn(N_ROWS, D_MODEL, generator=generator), torch.eye(N_CLASSES)[labels]


@pytest.fixture(scope="module")
def fitted() -> Leace:
    x, z = planted(1)
    return fit_leace(x.double(), z.double())


def accuracy(x: Tensor, z: Tensor) -> float:
    """Of logistic regression on the very rows it is fitted on."""
    x, z = (x.double() - x.double().mean(0)) / x.double().std(0), z.double()
    weight = torch.zeros(D_MODEL, N_CLASSES, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(N_CLASSES, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(x @ weight + bias, z.argmax(1)).backward()
        optimizer.step()
    return float(((x @ weight + bias).argmax(1) == z.argmax(1)).double().mean())


def test_on_the_rows_of_the_fit_no_classifier_learns_anything(fitted: Leace) -> None:
    """The theorem, whatever the loss; it holds of these rows alone, so it is no proof of an erasure."""
    x, z = planted(1)
    commonest = float(z.mean(0).max())
    assert accuracy(x, z) > 0.9
    assert accuracy(fitted(x.double()), z) == pytest.approx(commonest, abs=0.02)


def test_the_rank_is_one_less_than_the_classes_at_most_and_the_mean_stays(fitted: Leace) -> None:
    """Three one-hot columns sum to one, so they span two directions."""
    x, _ = planted(1)
    assert fitted.right.shape[0] == N_CLASSES - 1
    erase = Projection(fitted.left.float(), fitted.right.float(), fitted.mean.float())
    torch.testing.assert_close(erase(x).mean(0), x.mean(0), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(erase(erase(x)), erase(x), atol=1e-3, rtol=1e-4)


def test_a_random_control_of_the_same_rank_leaves_the_concept_readable(fitted: Leace) -> None:
    x, z = planted(1)
    basis = random_subspace(D_MODEL, fitted.right.shape[0], seed=3)
    assert accuracy(Projection(basis, basis.T, x.mean(0))(x), z) > 0.8


@pytest.mark.parametrize("rank", [4, 16, 48])
def test_random_directions_take_their_share_of_isotropic_states_and_of_what_they_carry(rank: int) -> None:
    """Theory: of 64 equal directions k hold k/64 of the state, and a linear probe loses k/64 of its R2."""
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(2000, 64, generator=generator)
    targets = states @ torch.randn(64, 200, generator=generator)
    basis = random_subspace(64, rank, seed=7)
    erased = Projection(basis, basis.T)(states)
    share = ((erased - states).norm(dim=1) ** 2 / states.norm(dim=1) ** 2).mean()
    assert float(share) == pytest.approx(rank / 64, abs=0.01)
    # Rounding leaves traces of what is erased; a fit that magnified them would read it all.
    weight = torch.linalg.lstsq(erased, targets, rcond=1e-4, driver="gelsd").solution
    left = targets - erased @ weight
    r2 = 1 - left.var(dim=0) / targets.var(dim=0)
    assert float(r2.mean()) == pytest.approx(1 - rank / 64, abs=0.03)


@pytest.mark.parametrize("rank", [0, 1, 7, D_MODEL])
def test_random_subspaces_are_orthonormal_and_belong_to_their_seed(rank: int) -> None:
    basis = random_subspace(D_MODEL, rank, seed=5)
    torch.testing.assert_close(basis.T @ basis, torch.eye(rank), atol=1e-5, rtol=0)
    assert torch.equal(basis, random_subspace(D_MODEL, rank, seed=5))
    if rank > 0:
        assert not torch.allclose(basis, random_subspace(D_MODEL, rank, seed=6))


@pytest.mark.parametrize("seed", [-1, 2**62, 10**30])
def test_any_whole_number_is_a_seed(models_with_erasers: Path, ultravox: Ultravox, seed: int) -> None:
    eraser = load_eraser(PAIR, "ctc", ultravox.fingerprint, models_with_erasers)
    basis = eraser.random_control([1], "linear", seed)[1].left
    torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1]), atol=1e-5, rtol=0)


def test_the_preset_has_nine_layers_spread_over_the_depth() -> None:
    assert preset_layers(32) == (0, 4, 8, 12, 16, 20, 24, 28, 32)
    assert preset_layers(12) == (0, 2, 3, 4, 6, 8, 9, 10, 12)
    assert preset_layers(8) == tuple(range(9))
    for n_layers in range(8, 80):
        layers = preset_layers(n_layers)
        assert len(layers) == 9 and (layers[0], layers[-1]) == (0, n_layers)
    assert preset_layers(3) == (0, 1, 2, 3)


@pytest.fixture(scope="module")
def erasers(models_with_erasers: Path, ultravox: Ultravox) -> dict[str, Eraser]:
    return {key: load_eraser(PAIR, key, ultravox.fingerprint, models_with_erasers) for key in CONDITIONS}


def test_what_was_fitted_is_what_is_loaded(models_with_erasers: Path, erasers: dict[str, Eraser]) -> None:
    for key, eraser in erasers.items():
        stored = load_file(eraser_file(PAIR, key, models_with_erasers))
        assert eraser.condition == key and eraser.layers == (0, 1, 2, 3) and eraser.fit == "tiny clips"
        for layer in eraser.layers:
            assert torch.equal(eraser.left[layer], stored[f"left.{layer}"])
            assert eraser.right[layer].shape == (eraser.kept_rank[layer], 32)


def test_several_layers_get_erasers_fitted_on_what_those_below_leave(erasers: dict[str, Eraser]) -> None:
    """The lowest of the preset's layers, and all of them; other choices get the ones of plain states, and say so."""
    eraser = erasers["text"]
    for lowest in ((0, 1), (0, 1, 2, 3)):
        assert eraser.fitted_on(lowest, "linear") == EDITED_STATES
        found = eraser.projections(lowest, "linear")
        assert torch.equal(found[0].left, eraser.left[0]), "below the lowest nothing is edited"
        assert torch.equal(found[1].left, eraser.chained["linear"].left[1])
        assert not torch.allclose(found[1].left, eraser.left[1], atol=1e-3)
        control = eraser.random_control(lowest, "affine", 0)
        assert {one: p.rank for one, p in control.items()} == {
            one: p.rank for one, p in eraser.projections(lowest, "affine").items()
        }
    others: tuple[tuple[int, ...], ...] = ((1,), (0,), (1, 2), (0, 2), (0, 1, 3))
    for layers in others:
        assert eraser.fitted_on(layers, "linear") == PLAIN_STATES
        assert torch.equal(eraser.projections(layers, "linear")[layers[-1]].left, eraser.left[layers[-1]])


@torch.inference_mode()
@pytest.mark.parametrize("method", ["linear", "affine"])
def test_in_a_run_of_several_layers_a_chained_eraser_erases_what_is_there(
    erasers: dict[str, Eraser], ultravox: Ultravox, method: Method
) -> None:
    """On the clips of its fit the concept is gone inside the run; with the erasers of plain states it is not."""
    eraser, layers = erasers["text"], (0, 1, 2, 3)
    clips = labelled(ultravox, range(24))
    z = torch.cat([clip.labels["text"] for clip in clips])

    def leak(arm: dict[int, Projection]) -> float:
        states = []
        for clip in clips:
            edits = RowEdits([arm], clip.prepared.span, clip.prepared.embeddings.shape[1], "prompt")
            states.append(read_states(ultravox, clip.prepared, edits)[0][3][slice(*clip.prepared.span)])
        return cross_correlation(torch.cat(states).double(), z)

    plain = replace(eraser, chained={}).projections(layers, method)
    assert leak(eraser.projections(layers, method)) < 0.01 < leak(plain)


def test_linear_is_affine_without_the_mean(erasers: dict[str, Eraser]) -> None:
    eraser = erasers["boc"]
    linear, affine = eraser.projections([1, 3], "linear"), eraser.projections([1, 3], "affine")
    assert set(linear) == set(affine) == {1, 3}
    assert linear[3].mean is None and torch.equal(affine[3].mean, eraser.mean[3])  # type: ignore[arg-type]
    assert torch.equal(linear[1].left, affine[1].left) and torch.equal(linear[1].left, eraser.left[1])


def test_the_random_control_has_the_kept_rank_and_the_method_of_its_condition(
    erasers: dict[str, Eraser],
) -> None:
    ranks = set()
    for eraser in erasers.values():
        control = eraser.random_control([0, 2], "affine", seed=1)
        for layer, projection in control.items():
            assert (
                projection.rank
                == eraser.kept_rank[layer]
                == eraser.projections([layer], "affine")[layer].rank
            )
            assert torch.equal(projection.left, projection.right.T)
            assert torch.equal(projection.mean, eraser.mean[layer])  # type: ignore[arg-type]
            ranks.add(projection.rank)
    assert len(ranks) > 1, "the conditions should differ in rank for this test to tell anything"


def test_controls_differ_between_layers_and_seeds_but_not_between_calls(erasers: dict[str, Eraser]) -> None:
    eraser = erasers["acoustic"]
    one, again = (eraser.random_control([0, 1], "linear", seed=1) for _ in range(2))
    other = eraser.random_control([0, 1], "linear", seed=2)
    assert torch.equal(one[0].left, again[0].left)
    assert not torch.allclose(one[0].left, one[1].left) and not torch.allclose(one[0].left, other[0].left)


def test_a_layer_without_an_eraser_is_refused(erasers: dict[str, Eraser]) -> None:
    for ask in (
        lambda: erasers["text"].projections([1, 9], "linear"),
        lambda: erasers["text"].random_control([9], "linear", 0),
    ):
        with pytest.raises(ErasureError, match='"text" has no layer 9; it has layers 0 to 3'):
            ask()


@pytest.fixture
def own_models(models_with_erasers: Path, tmp_path: Path) -> Path:
    """A copy of the erasers that a test may spoil."""
    shutil.copytree(models_with_erasers / PAIR / "erasers", tmp_path / PAIR / "erasers")
    return tmp_path


def refusal(condition: str, fingerprint: str, models: Path) -> str:
    with pytest.raises((ErasureError, UnknownKeyError)) as caught:
        load_eraser(PAIR, condition, fingerprint, models)
    message = str(caught.value)
    assert str(models) not in message and "\n" not in message
    return message


def test_an_eraser_of_other_weights_is_refused_and_of_these_accepted(
    own_models: Path, ultravox: Ultravox
) -> None:
    assert load_eraser(PAIR, "text", ultravox.fingerprint, own_models).condition == "text"
    assert "other weights" in refusal("text", "0" * 64, own_models)
    assert load_eraser(PAIR, "text", ultravox.fingerprint, own_models).condition == "text"


def test_a_file_of_another_format_is_refused(own_models: Path, ultravox: Ultravox) -> None:
    file = eraser_file(PAIR, "text", own_models)
    with safe_open(file, framework="pt") as stored:
        metadata = stored.metadata()
    save_file(load_file(file), file, metadata=metadata | {"format": "another"})
    assert "not an eraser of this version" in refusal("text", ultravox.fingerprint, own_models)
    save_file({"left.0": torch.zeros(2, 2)}, file)
    assert "not an eraser of this version" in refusal("text", ultravox.fingerprint, own_models)


@pytest.mark.parametrize("n_bytes", [0, 5, 3000])
def test_a_file_that_breaks_off_is_refused(own_models: Path, ultravox: Ultravox, n_bytes: int) -> None:
    file = eraser_file(PAIR, "boc", own_models)
    file.write_bytes(file.read_bytes()[:n_bytes])
    assert "damaged" in refusal("boc", ultravox.fingerprint, own_models)
    with pytest.raises(ErasureError, match="damaged"):
        available_conditions(PAIR, own_models)


def test_missing_and_unknown_conditions_are_refused(own_models: Path, ultravox: Ultravox) -> None:
    eraser_file(PAIR, "ctc", own_models).unlink()
    assert "is not fitted" in refusal("ctc", ultravox.fingerprint, own_models)
    unknown = refusal("mood" * 1000, ultravox.fingerprint, own_models)
    assert all(key in unknown for key in CONDITIONS) and len(unknown) < 200


def test_available_conditions_are_those_on_disk_with_their_greatest_rank(
    own_models: Path, erasers: dict[str, Eraser]
) -> None:
    eraser_file(PAIR, "ctc", own_models).unlink()
    greatest = {key: max(eraser.kept_rank.values()) for key, eraser in erasers.items()}
    del greatest["ctc"]
    assert available_conditions(PAIR, own_models) == greatest


def test_a_record_written_by_fitting_is_plain_json(models_with_erasers: Path, ultravox: Ultravox) -> None:
    with safe_open(eraser_file(PAIR, "acoustic", models_with_erasers), framework="pt") as stored:
        metadata = stored.metadata()
    assert metadata["format"] == FORMAT and metadata["fingerprint"] == ultravox.fingerprint
    assert json.loads(metadata["record"])["targets"] == ["pitch", "energy"]

"""Erasers: the LEACE guarantee on planted data, fair random controls, and files that must be refused.

The guarantee of LEACE on planted data, and its own refusal where the guarantee does not hold.

Facts about moments: shards in any order, summed in any grouping, give what one pass over all rows gives.

Facts about the control of equal change: as far as the eraser, in the random subspace, at equal rank.

Facts about fitting erasers: a fit that anyone can make again, and a proof that is kept whole.
"""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine import erasure
from engine.erasure import (
    EDITED_STATES,
    PLAIN_STATES,
    Eraser,
    Leace,
    MatchedStep,
    Moments,
    cross_correlation,
    fit_leace,
    leace_of,
    load_eraser,
    match_changes,
    random_subspace,
)
from engine.errors import ErasureError, UnknownKeyError
from engine.generate import read_states, run_arms
from engine.hooks import GROUPS, Projection, RowEdits
from engine.probes import fit_ridge
from engine.request import CONDITIONS, FORMAT, Method, available_conditions, eraser_file, preset_layers
from engine.systems.base import Prepared
from engine.systems.ultravox import Ultravox
from engine.voice import is_available
from precompute.mini.ctc_head import CtcHead
from precompute.mini.fit_erasers import TARGETS, choose_first_words, draw_recipes, fit_and_prove, label_clips
from precompute.mini.sentence import Sentence
from precompute.mini.transcriber import CHARACTERS
from precompute.mini.voices import train_voices
from tests.engine.tiny_systems import D_AUDIO, labelled

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


def planted_of_leace() -> tuple[Tensor, Tensor]:
    """Three classes whose means lie three standard deviations apart, in eight dimensions."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(3, (500,), generator=generator)
    noise = torch.randn(500, 8, generator=generator)
    return (3.0 * torch.eye(8)[:3][labels] + noise).double(), torch.eye(3)[labels].double()


def test_the_erased_states_are_uncorrelated_with_the_concept_and_were_correlated_before() -> None:
    x, z = planted_of_leace()
    erase = fit_leace(x, z)
    assert cross_correlation(x, z) > 0.5
    assert cross_correlation(erase(x), z) < 1e-9


def test_the_rank_is_the_classes_less_one_the_mean_stays_and_twice_is_once() -> None:
    x, z = planted_of_leace()
    erase = fit_leace(x, z)
    assert erase.right.shape == (2, 8) and erase.left.shape == (8, 2)
    torch.testing.assert_close(erase(x).mean(0), x.mean(0))
    torch.testing.assert_close(erase(erase(x)), erase(x))


def test_it_is_the_closed_form_of_the_theorem() -> None:
    """The slow reference: whiten, project out the whitened cross-covariance, and undo the whitening (theorem 4.2)."""
    x, z = planted_of_leace()
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
        fit_leace(*planted_of_leace())


def test_correlation_by_hand() -> None:
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]).double()
    z = torch.tensor([[2.0], [4.0], [6.0]]).double()
    # n - 1 under the standard deviations and n under the mean leave (n - 1) / n of a perfect correlation.
    assert cross_correlation(x, z) == pytest.approx(2 / 3)


FAR = 1e4  # a mean that dwarfs the spread: sums of squares, subtracted in the end, would lose it


def rows(n: int = 700, far: float = 0.0) -> tuple[Tensor, Tensor]:
    """Three classes that shift eight dimensions of noise."""
    generator = torch.Generator().manual_seed(7)
    z = torch.eye(3, dtype=torch.float64)[torch.randint(3, (n,), generator=generator)]
    noise = torch.randn(n, 8, generator=generator, dtype=torch.float64)
    return far + 2.0 * torch.nn.functional.pad(z, (0, 5)) + noise, z


def sharded(x: Tensor, z: Tensor, seed: int) -> Moments:
    """Uneven shards, one of a single row, added up in an order of their own."""
    cuts = [1, 2, 130, 131, 400]
    shards = list(zip(x.tensor_split(cuts), z.tensor_split(cuts), strict=True))
    random.Random(seed).shuffle(shards)
    return reduce(add, (Moments.of(*shard) for shard in shards))


def assert_alike(found: Moments, expected: Moments, rtol: float) -> None:
    assert found.n == expected.n
    for name in ("mean_x", "mean_z", "xx", "xz"):
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == torch.float64
        assert (a - b).abs().max() <= rtol * b.abs().max(), name


def test_two_rows_by_hand() -> None:
    x, z = torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0], [1.0]])
    both = Moments.of(x[:1], z[:1]) + Moments.of(x[1:], z[1:])
    assert both.n == 2 and both.mean_x.tolist() == [2.0, 2.0] and both.mean_z.tolist() == [0.5]
    assert both.xx.tolist() == [[2.0, 4.0], [4.0, 8.0]] and both.xz.tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("far", [0.0, FAR])
def test_shards_in_any_order_give_the_single_pass(seed: int, far: float) -> None:
    """Rounding of the means, of size far * 2e-16, is all that may differ beside the sums' own."""
    x, z = rows(far=far)
    assert_alike(sharded(x, z, seed), Moments.of(x, z), 1e-13 + far * 1e-14)


def test_grouping_does_not_matter() -> None:
    x, z = rows()
    a, b, c = (Moments.of(*shard) for shard in zip(x.split(300), z.split(300), strict=True))
    assert_alike((a + b) + c, a + (b + c), 1e-13)


@pytest.mark.parametrize("seed", range(3))
def test_fits_from_shards_are_those_from_all_rows(seed: int) -> None:
    x, z = rows()
    moments = sharded(x, z, seed)
    whole, parts = fit_leace(x, z), leace_of(moments)
    assert whole.right.shape == parts.right.shape
    torch.testing.assert_close(parts(x), whole(x), rtol=0, atol=1e-11)
    for found, expected in zip(fit_ridge(moments, 1e-3), fit_ridge(Moments.of(x, z), 1e-3), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_float32_states_are_summed_in_float64() -> None:
    x, z = rows()
    assert_alike(Moments.of(x.float(), z.float()), Moments.of(x.float().double(), z), 0.0)


D_MODEL_MATCHED_STEP = 24


def control() -> Projection:
    basis = random_subspace(D_MODEL_MATCHED_STEP, 3, 2)
    return Projection(basis, basis.T)


def states() -> torch.Tensor:
    return 5 * torch.randn(7, 11, D_MODEL_MATCHED_STEP, generator=torch.Generator().manual_seed(3))


SHARE = 0.4


def test_each_state_moves_by_its_share() -> None:
    x, step = states(), match_changes({4: control()}, {4: {"audio": SHARE}})[4]["audio"]
    moved = (step(x) - x).norm(dim=-1) / x.norm(dim=-1)
    torch.testing.assert_close(moved, torch.full_like(moved, SHARE), rtol=1e-4, atol=1e-5)
    plain = (control()(x) - x).norm(dim=-1) / x.norm(dim=-1)
    assert (plain - SHARE).abs().mean() > 0.1 * SHARE, "a control of equal rank alone does not"


def test_it_moves_along_the_random_directions_only_and_keeps_their_rank() -> None:
    x, step = states(), match_changes({0: control()}, {0: {"audio": SHARE}})[0]["audio"]
    moved = (step(x) - x).reshape(-1, D_MODEL_MATCHED_STEP)
    basis = control().left
    torch.testing.assert_close(moved @ basis @ basis.T, moved, atol=1e-4, rtol=1e-4)
    assert (
        isinstance(step, MatchedStep)
        and step.rank == 3
        and int(torch.linalg.matrix_rank(moved, tol=1e-3)) == 3
    )


def test_a_state_that_the_random_directions_do_not_see_stays() -> None:
    step = MatchedStep(
        torch.eye(D_MODEL_MATCHED_STEP)[:, :1], torch.eye(D_MODEL_MATCHED_STEP)[:1], share=SHARE
    )
    flat = states()
    flat[..., 0] = 0.0
    torch.testing.assert_close(step(flat), flat)
    assert torch.isfinite(step(torch.zeros(2, D_MODEL_MATCHED_STEP))).all()


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


@pytest.mark.skipif(not is_available(), reason="no synthesiser here")
def test_the_record_lets_anyone_fit_the_same_eraser_again(
    ultravox: Ultravox, models_with_erasers: Path, tmp_path: Path
) -> None:
    """The synthesiser differs from call to call: no second fit gave the shipped text eraser."""
    texts = (
        "the queen won",
        "the bank fell",
        "my phone broke",
        "the match ended",
        "the bank won",
        "my queen fell",
    )
    sentences = [Sentence("topic", text, "", f"g{n}") for n, text in enumerate(texts)]
    voices = [voice for voice in train_voices() if voice.engine == "espeak"][:3]
    first_words = choose_first_words(sentences)
    n_characters = 1 + len(CHARACTERS)
    weight = torch.randn(n_characters, D_AUDIO, generator=torch.Generator().manual_seed(0))
    head = CtcHead(weight, torch.zeros(n_characters), torch.zeros(D_AUDIO), torch.ones(D_AUDIO))
    records, factors = [], []
    for name in ("one", "again"):
        clips, about = label_clips(ultravox, head, sentences, draw_recipes(sentences, voices, 5), first_words)
        targets = {"text": first_words, "boc": TARGETS["boc"]}
        fit_and_prove(ultravox, clips, clips, targets, tmp_path / name, ("six sentences", "the same"), about)
        with safe_open(tmp_path / name / "text.safetensors", framework="pt") as stored:
            records.append(json.loads(stored.metadata()["record"]))
            factors.append(stored.get_tensor("left.2") @ stored.get_tensor("right.2"))
    assert records[0] == records[1] and set(records[0]["clips"]) == {
        "n_clips", "recipes_sha256", "sound_sha256", "text_labels_sha256",
    }  # fmt: skip
    torch.testing.assert_close(factors[0], factors[1], atol=1e-5, rtol=0)
    _, other = label_clips(ultravox, head, sentences, draw_recipes(sentences, voices, 6), first_words)
    assert other["sound_sha256"] != records[0]["clips"]["sound_sha256"]


def test_what_is_proven_is_what_is_read_back(ultravox: Ultravox, models_with_erasers: Path) -> None:
    for condition in ("text", "acoustic"):
        eraser = load_eraser("mini-ultravox", condition, ultravox.fingerprint, models_with_erasers)
        assert eraser.proof is not None and eraser.clips == {"seed": 0}
        assert (
            eraser.proof.clips == "other tiny clips" and eraser.proof.n_clips == eraser.proof.n_groups == 12
        )
        assert set(eraser.proof.settings) == {
            "each layer alone", "linear, audio", "linear, all", "affine, audio", "affine, all",
        }  # fmt: skip
        assert all(set(layers) == {0, 1, 2, 3} for layers in eraser.proof.settings.values())

"""The proof of an erasure: it fails where a fresh probe still reads, and holds where nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.erasure import cross_correlation, fit_leace, random_subspace
from engine.hooks import Projection
from engine.probes import Reading, layer_proof, read_concept
from engine.results import LayerProof, Proof, RunProof, setting_name

D_MODEL, N_CLASSES, N_POSITIONS = 32, 4, 6
Clips = tuple[list[Tensor], list[Tensor], np.ndarray]


def draw(n_clips: int, seed: int, shift: int = 0) -> Clips:
    """Clips of four classes; each class has a direction of its own, and two clips share a sentence."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(N_CLASSES, (n_clips,), generator=generator)
    directions = 3.0 * torch.eye(D_MODEL)[shift : shift + N_CLASSES]
    noise = torch.randn(n_clips, N_POSITIONS, D_MODEL, generator=generator)
    labels = torch.eye(N_CLASSES, dtype=torch.float64)[classes]
    z = [one.expand(N_POSITIONS, -1) for one in labels]
    return list(directions[classes][:, None] + noise), z, np.arange(n_clips) // 2


def read(clips: Clips, edit: Callable[[Tensor], Tensor] = lambda x: x) -> Reading:
    states, labels, groups = clips
    return read_concept([edit(x) for x in states], labels, groups, classes=True)


def proof_of(fit: Clips, probed: Clips) -> tuple[LayerProof, Callable[[Tensor], Tensor]]:
    eraser = fit_leace(torch.cat(fit[0]).double(), torch.cat(fit[1]))
    erase = Projection(eraser.left.float(), eraser.right.float(), eraser.mean.float())
    basis = random_subspace(D_MODEL, len(eraser.right), 1)
    return layer_proof(read(probed), read(probed, erase), read(probed, Projection(basis, basis.T))), erase


def test_an_erasure_that_holds_is_found_to_hold() -> None:
    """The positive control: clips of the same directions, none of them in the fit."""
    proof, _ = proof_of(draw(1500, 0), draw(400, 1))
    assert proof.plain > 0.9 and proof.random > 0.8
    assert proof.erased == pytest.approx(proof.chance, abs=0.06) and proof.verdict == "not found"


def test_an_erasure_that_missed_is_found_out_where_the_old_proof_says_chance() -> None:
    """On other clips the classes lie in other directions: the fit's rows are clean by theorem, and prove nothing."""
    fit, probed = draw(300, 0), draw(300, 1, shift=2)
    proof, erase = proof_of(fit, probed)
    x, z = erase(torch.cat(fit[0])).double(), torch.cat(fit[1])
    assert cross_correlation(x, z) < 1e-4, "the old way: a probe of these rows has no weights and says chance"
    assert proof.plain > 0.9 and proof.low > proof.chance + 0.1 and proof.verdict == "still read"


def test_an_eraser_fitted_on_few_rows_leaves_what_a_fresh_probe_reads() -> None:
    """Eight clips do not tell the directions: a fresh probe reads on, though their own rows are clean."""
    proof, _ = proof_of(draw(8, 0), draw(400, 1))
    assert proof.verdict == "still read" and proof.chance + 0.1 < proof.low


def test_nothing_is_claimed_where_the_probe_could_not_have_read_it() -> None:
    clips = draw(200, 3)
    noise = [torch.randn(x.shape, generator=torch.Generator().manual_seed(n)) for n, x in enumerate(clips[0])]
    nothing = read((noise, clips[1], clips[2]))
    assert layer_proof(nothing, nothing, nothing).verdict == "cannot be said"


def test_numbers_are_read_as_r2_and_clips_of_a_sentence_are_never_on_both_sides() -> None:
    """What marks a sentence alone must not help: its other clip is out of the fit, too."""
    generator = torch.Generator().manual_seed(2)
    states = [torch.randn(N_POSITIONS, D_MODEL, generator=generator) for _ in range(120)]
    direction = torch.randn(D_MODEL, 1, generator=generator)
    groups = np.arange(120) // 2
    found = read_concept(states, [(x @ direction).double() for x in states], groups, classes=False)
    assert found.score.value > 0.95 and found.chance == 0.0
    marks = torch.randn(60, D_MODEL, generator=generator)
    own = [marks[n // 2].expand(N_POSITIONS, -1) for n in range(120)]
    drawn = torch.eye(2, dtype=torch.float64)[torch.randint(2, (60,), generator=generator)]
    labels = [drawn[n // 2].expand(N_POSITIONS, -1) for n in range(120)]
    apart = read_concept(own, labels, groups, classes=True)
    split = read_concept(own, labels, np.arange(120), classes=True)
    assert apart.score.value < apart.chance + 0.15 < split.score.value


def test_rows_without_a_label_are_left_out() -> None:
    states, labels, groups = draw(60, 4)
    holes = [torch.where(torch.arange(N_POSITIONS)[:, None] < 3, torch.nan, z) for z in labels]
    holed = read_concept(states, holes, groups, classes=True)
    cut = read_concept([x[3:] for x in states], [z[3:] for z in labels], groups, classes=True)
    assert holed == cut


READ = LayerProof(0.8, 0.75, 0.85, 0.46, 0.43, 0.49, 0.78, 0.2)
GONE = replace(READ, erased=0.21, low=0.18, high=0.24)
BLIND = replace(GONE, plain=0.21, plain_low=0.18, plain_high=0.24)


@pytest.mark.parametrize(
    ("layers", "verdict", "worst", "said"),
    [
        ({1: GONE, 2: GONE}, "not found", 1, "not found again"),
        ({1: GONE, 2: READ, 3: BLIND}, "still read", 2, "not all gone"),
        ({1: GONE, 2: BLIND}, "cannot be said", 2, "too little of the plain states"),
    ],
)
def test_removal_is_claimed_only_where_no_layer_reads_and_each_could_have(
    layers: dict[int, LayerProof], verdict: str, worst: int, said: str
) -> None:
    proof = RunProof("accuracy of the word", "other clips", 500, layers)
    assert (proof.verdict, proof.worst) == (verdict, worst)
    one = layers[worst]
    for figure in (one.erased, one.plain, one.random, one.chance):
        assert f"{figure:.2f}" in proof.sentence
    assert said in proof.sentence and "500 other clips" in proof.sentence


def test_a_run_has_its_own_proof_or_none() -> None:
    nine = {layer: replace(READ, erased=0.3 + 0.01 * layer) for layer in (0, 2, 4)}
    settings = {"each layer alone": dict.fromkeys(range(5), GONE), setting_name("linear", "all"): nine}
    proof = Proof("accuracy", "other clips", 500, 250, settings)
    assert Proof.from_json(proof.to_json()) == proof
    alone = proof.of_run([3], "affine", "audio")
    assert alone is not None and dict(alone.layers) == {3: GONE}
    for scope in ("all", "prompt"):
        lowest = proof.of_run([0, 2], "linear", scope)
        assert lowest is not None and dict(lowest.layers) == {0: nine[0], 2: nine[2]}
    assert proof.of_run([2, 4], "linear", "all") is None, "layer 0 was erased where these were measured"
    assert proof.of_run([0, 2], "linear", "audio") is None and proof.of_run([0, 2], "affine", "all") is None
    assert proof.of_run([9], "linear", "all") is None

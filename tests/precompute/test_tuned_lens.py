"""Fitting a tuned lens on a tiny random model: held-out KL falls, what is fitted is kept, other weights are refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from engine.audio import AudioClip
from engine.errors import ModelFilesError
from engine.lens import load_tuned_lens
from engine.systems.base import Prepared
from engine.systems.catalogue import get_spec
from engine.systems.text_llm import TextLLM
from engine.systems.ultravox import Ultravox
from precompute.training.tuned_lens import LensSettings, fit_tuned_lens, make_tuned_lens
from tests.engine.tiny_systems import N_LAYERS, ears_config, load_ultravox, write_backbone, write_ears

FAST = LensSettings(rank=8, steps=120, positions=64, rate=1e-2, positions_a_prompt=12)


def tiny_ultravox(models: Path, seed: int) -> Ultravox:
    write_backbone(models / "mini-llama", seed)
    write_ears(models / "mini-ultravox", ears_config())
    return load_ultravox(models, TextLLM(get_spec("mini-llama"), models / "mini-llama"))


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Ultravox:
    return tiny_ultravox(tmp_path_factory.mktemp("tiny"), 1)


def prompts(system: Ultravox, first: int, n: int) -> list[Prepared]:
    found = []
    for seed in range(first, first + n):
        noise = np.random.default_rng(seed).standard_normal(16_000).astype(np.float32) * 0.1
        found.append(
            system.prepare(system.hear(AudioClip(noise, f"{seed}")), "World, Sports, Business or Sci/Tech")
        )
    return found


def test_held_out_divergence_falls_below_the_logit_lens_and_the_file_loads(
    system: Ultravox, tmp_path: Path
) -> None:
    file = tmp_path / "models" / system.spec.key / "tuned_lens.safetensors"
    scores = make_tuned_lens(
        system, prompts(system, 0, 30), prompts(system, 100, 6), tmp_path / "build", file, FAST
    )
    assert {(score.layer, score.kind) for score in scores} == {
        (layer, kind) for layer in range(N_LAYERS) for kind in ("audio", "text")
    }
    for score in scores:
        assert score.kl_after < 0.7 * score.kl_before, score
        assert score.n_positions > 10 and score.kl_control > 0
    tuned = load_tuned_lens(system.spec.key, system.fingerprint, N_LAYERS, tmp_path / "models")
    assert sorted(tuned.translators) == list(range(N_LAYERS))
    with file.with_suffix(".csv").open() as table:
        assert len(list(csv.DictReader(table))) == len(scores)


def test_what_is_fitted_is_not_fitted_again_and_other_weights_are_refused(
    system: Ultravox, tmp_path: Path
) -> None:
    build, file = tmp_path / "build", tmp_path / "t.safetensors"
    few = LensSettings(rank=4, steps=3, positions=16, positions_a_prompt=8)
    make_tuned_lens(system, prompts(system, 0, 3), prompts(system, 100, 2), build, file, few)
    kept = {path.name: path.read_bytes() for path in build.rglob("*.safetensors")}
    (build / "tuned_lens_01.checkpoint.safetensors").unlink()
    maps = fit_tuned_lens(system, build / "fitted", build, few)
    assert len(maps) == N_LAYERS
    # The layer that was lost comes back to the bit; the others were not touched.
    assert {path.name: path.read_bytes() for path in build.rglob("*.safetensors")} == kept
    other = tiny_ultravox(tmp_path / "other", 2)
    with pytest.raises(ModelFilesError, match="other weights"):
        fit_tuned_lens(other, build / "fitted", build, few)
    with pytest.raises(ModelFilesError, match="no prompts"):
        make_tuned_lens(system, [], [], tmp_path / "empty", file, few)

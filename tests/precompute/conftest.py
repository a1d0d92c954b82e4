"""What the tests of the jobs share: a flite pool without flite, and minis trained for two steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import PreTrainedTokenizerFast

from engine.systems.profiles import PROFILES, Profile, profile_in_use, use_profile
from precompute.mini.synth import FlitePool
from precompute.mini.tokens import chat_tokenizer, train_text_tokenizer, whisper_tokenizer
from precompute.mini.train import train_all
from precompute.mini.workshop import FLITE_SEED, Recipe
from precompute.mini.world import build_world
from precompute.stages.summary import summarize
from tests.precompute.fake_cluster import cluster_of
from tests.precompute.fake_family import fake_plan, run_fake, write_models
from tests.precompute.test_workers import LLAMA

torch.set_num_threads(1)

POOL_CLIPS = 6
TINY = Recipe(
    backbone_steps=2,
    transcriber_steps=2,
    speech_llm_steps=2,
    qwen2_steps=2,
    qwen2_audio_steps=2,
    weak_asr_steps=2,
    interleaved_steps=2,
    flite_clips=POOL_CLIPS,
    held_out_clips=1,
    unit_texts=12,
)


def fill_pool(folder: Path) -> None:
    """Put noise where flite's clips would lie: the pool says only those that are not there."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(POOL_CLIPS):
        noise = 0.05 * generator.standard_normal(16_000)
        soundfile.write(folder / f"{index:05d}.wav", noise, 16_000, subtype="PCM_16")


@pytest.fixture(scope="session")
def flite_pool(tmp_path_factory: pytest.TempPathFactory) -> FlitePool:
    folder = tmp_path_factory.mktemp("pool") / "flite"
    fill_pool(folder)
    return FlitePool(folder, build_world().train, POOL_CLIPS, FLITE_SEED)


@pytest.fixture(scope="session")
def tokenizers() -> tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast]:
    """(chat, whisper) over a few hundred sentences of the mini world."""
    texts = [sentence.text for sentence in build_world().train[:400]]
    text_tokenizer = train_text_tokenizer(texts)
    return chat_tokenizer(text_tokenizer), whisper_tokenizer(text_tokenizer)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(build, models) of all minis at their real size after two steps each, over small batches."""
    pytest.importorskip("espeakng_loader")
    build = tmp_path_factory.mktemp("build")
    models = tmp_path_factory.mktemp("shipped")
    fill_pool(build / "flite")
    with pytest.MonkeyPatch.context() as patch:
        make_batches_small(patch)
        train_all(build, models, TINY)
    return build, models


def make_batches_small(patch: pytest.MonkeyPatch) -> None:
    """Two examples a step instead of 16 or 32: what is tested does not depend on how many there are."""
    clips = [f"{name}.BATCH_CLIPS" for name in ("transcriber", "speech_llm", "qwen2_audio")]
    for name in ("backbone.BATCH_EXCHANGES", "qwen2_audio.BATCH_EXCHANGES", *clips):
        patch.setattr(f"precompute.mini.{name}", 2)
    patch.setattr("precompute.mini.interleaved_job.PROCESSES", 1)


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A cluster of one node with two cores, for every test that needs no more."""
    with cluster_of({"num_cpus": 2}) as cluster:
        yield cluster.address


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("fake") / "models")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    run_fake(fake_plan(models), out)
    summarize(out)
    return out


@pytest.fixture
def own_profile(tmp_path: Path) -> Iterator[str]:
    """A profile of one's own, taken when clusters of the tests are there already; what a worker under it says."""
    own = Profile("own", "mine", (), (), "cpu", "float32", 3.5, {LLAMA: tmp_path})
    use_profile(own)
    yield f"{profile_in_use()}, {tmp_path}"
    use_profile(PROFILES["mini"])

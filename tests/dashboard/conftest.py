"""A small finished run, and an engine whose models are replaced by it: everything else stays real."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dashboard.tables import use_results
from engine.request import RunRequest, check_request
from engine.results import (
    Agreement,
    Answer,
    ArmResult,
    ErasureOutcome,
    Lane,
    LayerProof,
    LensReadout,
    RunProof,
    RunResult,
)
from engine.words import SpokenWord
from tests.dashboard.made_interleaved import add_interleaved
from tests.dashboard.made_layers import add_layers, add_probe_clips
from tests.dashboard.made_mechanism import make_mechanism
from tests.dashboard.made_run import make_run

N_LAYERS, N_POSITIONS, TOP_K = 4, 6, 3

Run = Callable[..., RunResult]


def _answer(label: str, probability: float) -> Answer:
    return Answer(label, label, "parsed", {"Sports": probability, "World": 1 - probability}, -0.5)


def _lens() -> LensReadout:
    rng = np.random.default_rng(0)
    shape = (N_LAYERS, N_POSITIONS)
    return LensReadout(
        layers=tuple(range(N_LAYERS)),
        seconds_per_position=0.16,
        top_ids=rng.integers(0, 5, (*shape, TOP_K)),
        top_probabilities=np.full((*shape, TOP_K), 0.2),
        entropy_nats=rng.uniform(0, 3, shape),
        token_text={0: " the", 1: " team", 2: " <b>", 3: " won", 4: " game"},
        spoken=((0,),) * N_POSITIONS,
        words=(SpokenWord("team", 0.0, 0.9),),
        words_from="reference",
        word_rank=np.ones(shape, dtype=np.int64),
        precision=(0.0, 0.25, float("nan"), 0.75),
        control=(0.1, 0.1, 0.1, 0.1),
        n_control_clips=5,
        degenerate_layers=(0,),
    )


def _arm(change: float) -> ArmResult:
    return ArmResult(_answer("Sports", 0.6), change, None, abs(change))


def _outcome(condition: str, strength: float) -> ErasureOutcome:
    arms = (_arm(0.0), _arm(-2.0), _arm(-0.1))
    layers = {layer: LayerProof(0.9, 0.85, 0.95, 0.4, 0.35, 0.45, 0.88, 0.1) for layer in (0, 3)}
    proof = RunProof("accuracy of the word", "held-out sentences", 500, layers)
    return ErasureOutcome(
        condition, 7, (0, 3), "audio", "linear", *arms, "states edited below", proof, "", strength
    )


@pytest.fixture
def result() -> RunResult:
    lanes = (
        Lane(
            "mini-ultravox", "speech_llm", "U", "the team", "lens", (), _answer("Sports", 0.9), 0.2, 0.1, "r"
        ),
        Lane("mini-cascade", "cascade", "C", "the team", "W", (), _answer("World", 0.2), 0.3, 0.1, "r"),
    )
    return RunResult(
        task="topic",
        instruction="Which topic?",
        pair="mini-ultravox",
        match="exact",
        audio_name="clip.wav",
        audio_changes=(),
        warnings=(),
        noise=None,
        snr_db=None,
        snr_db_achieved=None,
        seed=0,
        waveform=np.full(16_000, 0.1, dtype=np.float32),
        lanes=lanes,
        agreement=Agreement("different answers", "They differ."),
        lens=_lens(),
        erasures=(),
        reference=None,
        gold=None,
        seconds=0.5,
    )


@pytest.fixture
def stand_in_models(monkeypatch: pytest.MonkeyPatch, result: RunResult) -> RunResult:
    """Put a finished result where the models would run; requests are still checked by the engine."""

    def run(request: RunRequest, progress: Callable[[float, str], None], answered: Any = None) -> RunResult:
        check_request(request)
        progress(0.5, "answering")
        return replace(
            result,
            task=request.task,
            noise=request.noise,
            snr_db=request.snr_db,
            snr_db_achieved=request.snr_db,
            seed=request.seed,
            reference=request.reference,
            erasures=tuple(_outcome(condition, request.strength) for condition in request.erasures),
        )

    monkeypatch.setattr("engine.run.run", run)
    return result


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished results folder with made-up answers of six systems."""
    return make_run(tmp_path_factory.mktemp("results") / "made")


@pytest.fixture
def own_run(made_run: Path) -> Iterator[Path]:
    """The made-up run as the page's own run."""
    assert use_results(made_run) == ""
    yield made_run
    use_results(None)


@pytest.fixture(scope="session")
def interleaved_run(made_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up run with made-up tables of interleaved models."""
    out = tmp_path_factory.mktemp("interleaved") / "run"
    shutil.copytree(made_run, out)
    return add_interleaved(out)


@pytest.fixture
def own_interleaved(interleaved_run: Path) -> Iterator[Path]:
    """That run as the page's own run."""
    assert use_results(interleaved_run) == ""
    yield interleaved_run
    use_results(None)


@pytest.fixture(scope="session")
def mechanism_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up tables and clip tables of mini-Qwen2-Audio's implicit cascade, erasures, damage and probes."""
    return make_mechanism(tmp_path_factory.mktemp("mechanism"))


@pytest.fixture
def own_mechanism(mechanism_run: Path) -> Iterator[Path]:
    """Those as the page's own run; whatever a test puts in its place is gone after it."""
    assert use_results(mechanism_run) == ""
    yield mechanism_run
    use_results(None)


@pytest.fixture(scope="session")
def layered_run(made_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up run with made-up lens and probes, and the clips that the probes read."""
    out = tmp_path_factory.mktemp("layers") / "run"
    shutil.copytree(made_run, out)
    return add_probe_clips(add_layers(out))


@pytest.fixture
def own_layers(layered_run: Path) -> Iterator[Path]:
    """That run as the page's own run."""
    assert use_results(layered_run) == ""
    yield layered_run
    use_results(None)

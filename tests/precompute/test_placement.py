"""Facts about what a model takes of a node."""

from __future__ import annotations

import math

import pytest

from engine.systems.catalogue import SYSTEMS
from precompute.placement import CONTEXT_GB, ROOM, Needs, needs_of
from precompute.units import Load


def test_what_needs_no_model_needs_no_gpu() -> None:
    assert needs_of(Load("")) == Needs()
    assert Needs().gpu_share(80.0) == 0.0 and Needs().gpu_share(math.nan) == 0.0


def test_a_system_needs_its_weights_and_room() -> None:
    spec = SYSTEMS["ultravox-v0.6-8b"]
    assert needs_of(Load(spec.key)).gpu_gb == pytest.approx(ROOM * 2e-3 * spec.parameters_m + CONTEXT_GB)
    assert needs_of(Load(spec.key, "memory")) == needs_of(Load(spec.key))


def test_a_service_needs_leave_to_ask_and_no_gpu() -> None:
    assert needs_of(Load("gemini")) == Needs(asks_service=True)
    assert needs_of(Load("endpoint-text", "read")) == Needs(asks_service=True)


def test_a_part_of_a_cascade_needs_less_than_the_whole() -> None:
    cascade = SYSTEMS["whisper-large-v3-qwen2-audio-self"]
    ears = needs_of(Load("faster-whisper-large-v3", "transcribe"))
    text_llm = needs_of(Load(cascade.backbone, "read"))
    assert ears.gpu_gb == pytest.approx(ROOM * 2 * 1.543 + CONTEXT_GB)
    # The folder holds a speech LLM of that name too, which is larger.
    assert text_llm.gpu_gb < needs_of(Load(cascade.backbone)).gpu_gb
    both = ears.gpu_gb + text_llm.gpu_gb - 2 * CONTEXT_GB
    assert both == pytest.approx(ROOM * cascade.bf16_gb)


def test_every_system_of_the_catalogue_can_be_placed() -> None:
    for spec in SYSTEMS.values():
        needs = needs_of(Load(spec.key))
        assert needs.asks_service == spec.is_remote
        assert needs.asks_service or 0 < needs.gpu_gb < 80
        if spec.transcriber:
            assert 0 < needs_of(Load(spec.transcriber, "transcribe")).gpu_gb < 8


def test_shares_of_a_gpu() -> None:
    assert Needs(gpu_gb=20).gpu_share(80.0) == pytest.approx(0.25)
    assert Needs(gpu_gb=1).gpu_share(81.0) * 81.0 >= 1, "rounded up to what Ray counts"
    assert Needs(gpu_gb=90).gpu_share(80.0) == 1.0
    assert Needs(gpu_gb=20).gpu_share(math.nan) == 1.0, "of a GPU that nothing is known of it gets all"
    assert needs_of(Load("own-model")).gpu_share(80.0) == 1.0

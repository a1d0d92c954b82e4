"""Facts about what a model takes of a node."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.systems.catalogue import LAPTOP_SYSTEMS, MINI_SYSTEMS, SYSTEMS
from engine.systems.profiles import Profile, Settings, settings_in_use, use
from precompute.placement import CONTEXT_GB, ROOM, Needs, needs_of, profile_within
from precompute.units import Load


@pytest.fixture
def restored() -> Iterator[None]:
    before = settings_in_use()
    yield
    use(before)


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
        if spec.key in MINI_SYSTEMS | LAPTOP_SYSTEMS:  # these run on the processor
            assert needs == Needs(), "minis run on the processor, always"
            assert all(needs_of(Load(name, "read")) == Needs() for name in spec.folders)
        else:
            assert needs.asks_service or 0 < needs.gpu_gb < 80
            if spec.transcriber and not spec.transcriber.startswith("mini-"):
                assert 0 < needs_of(Load(spec.transcriber, "transcribe")).gpu_gb < 8


def test_who_reads_for_a_cascade_has_room_for_its_ears_too() -> None:
    """A text LLM is loaded by any system that has it, and a cascade brings its transcriber."""
    cascades = [spec for spec in SYSTEMS.values() if spec.kind == "cascade" and not spec.is_remote]
    for spec in (spec for spec in cascades if spec.key not in MINI_SYSTEMS | LAPTOP_SYSTEMS):
        assert spec.transcriber is not None
        parts = (Load(spec.backbone, "read"), Load(spec.transcriber, "transcribe"))
        text_gb, ears_gb = ((needs_of(part).gpu_gb - CONTEXT_GB) / ROOM for part in parts)
        assert ROOM * text_gb > text_gb + ears_gb


def test_the_text_llm_of_phi_4_multimodal_is_loaded_with_all_its_towers() -> None:
    assert needs_of(Load("phi-4-multimodal", "read")) == needs_of(Load("phi-4-multimodal"))


def test_needs_follow_the_settings(restored: None) -> None:
    llama, ears = Load("llama-3.1-8b-instruct", "read"), Load("faster-whisper-small", "transcribe")
    half = needs_of(llama).gpu_gb - CONTEXT_GB
    ears_gb = needs_of(ears).gpu_gb
    use(Settings(dtype="float32"))
    assert needs_of(llama).gpu_gb - CONTEXT_GB == pytest.approx(2 * half)
    assert needs_of(ears).gpu_gb == ears_gb, "its file says its precision"
    use(Settings(device="cpu"))
    assert needs_of(llama) == Needs() and needs_of(Load("gemini")).asks_service


def test_an_actor_keeps_within_its_share_of_a_gpu() -> None:
    """Half of 81 GB is 40.5, of which CUDA takes one; a gibibyte is 2**30 bytes."""
    own = Profile("own", "mine", (), (), device="cuda:1", dtype="float32")
    within = profile_within(0.5, 81.0, own)
    assert within.device == "cuda" and within.memory_gib == pytest.approx(39.5e9 / 2**30)
    assert within == replace(own, device="cuda", memory_gib=within.memory_gib)
    assert profile_within(0.5, 81.0, replace(own, memory_gib=10.0)).memory_gib == 10.0
    assert profile_within(0.5, 81.0, replace(own, memory_gib=60.0)) == within
    for share, device_gb in ((1.0, 81.0), (1.0, math.nan), (0.0, 0.0)):
        assert profile_within(share, device_gb, own).memory_gib is None, "what is free"
    assert profile_within(0.0, 0.0, replace(own, device="cpu")).device == "cpu"


def test_the_budget_of_a_share_holds_the_weights_that_it_was_made_for() -> None:
    published = [
        spec for spec in SYSTEMS.values() if not spec.is_remote and needs_of(Load(spec.key)) != Needs()
    ]
    for spec in published:
        share = needs_of(Load(spec.key)).gpu_share(80.0)
        budget_gib = profile_within(share, 80.0, Profile("own", "mine", (), ())).memory_gib
        assert budget_gib is not None and budget_gib * 2**30 > 1.2 * spec.bf16_gb * 1e9


def test_shares_of_a_gpu() -> None:
    assert Needs(gpu_gb=20).gpu_share(80.0) == pytest.approx(0.25)
    assert Needs(gpu_gb=1).gpu_share(81.0) * 81.0 >= 1, "rounded up to what Ray counts"
    assert Needs(gpu_gb=90).gpu_share(80.0) == 1.0
    assert Needs(gpu_gb=20).gpu_share(math.nan) == 1.0, "of a GPU that nothing is known of it gets all"
    assert needs_of(Load("own-model")).gpu_share(80.0) == 1.0

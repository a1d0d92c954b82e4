"""The minis are exact on the CPU whatever is set; published models go where the settings say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine.errors import PlacementError
from engine.systems import profiles
from engine.systems.catalogue import MINI_SYSTEMS
from engine.systems.loading import Placement, placement_of
from engine.systems.profiles import (
    MEMORY_VARIABLE,
    PROFILES,
    Profile,
    Settings,
    settings_in_use,
    use,
    use_profile,
)

ROOT = Path(__file__).resolve().parents[3]
LLAMA = "llama-3.1-8b-instruct"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = settings_in_use()
    yield
    use(before)


def gpu(monkeypatch: pytest.MonkeyPatch, n_devices: int = 1) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_devices)


def test_minis_are_exact_on_the_cpu_whatever_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch)
    use(Settings(device="cuda", dtype="bfloat16"))
    for folder in {spec.backbone for spec in MINI_SYSTEMS.values()}:
        assert placement_of(folder) == Placement(CPU, torch.float32)


def test_published_models_take_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    use(Settings())
    assert placement_of(LLAMA) == Placement(CPU, torch.bfloat16)
    gpu(monkeypatch)
    assert placement_of(LLAMA) == Placement(torch.device("cuda"), torch.bfloat16)


def test_the_settings_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, 2)
    use(Settings(device="cuda:1", dtype="float32"))
    assert placement_of(LLAMA) == Placement(torch.device("cuda", 1), torch.float32)
    use(Settings(device="cpu"))
    assert placement_of(LLAMA).device == CPU


@pytest.mark.parametrize(
    ("device", "words"), [("cuda:2", "There is no cuda:2 on"), ("gpu", 'no device "gpu"')]
)
def test_a_device_that_is_not_here_is_refused(
    monkeypatch: pytest.MonkeyPatch, device: str, words: str
) -> None:
    gpu(monkeypatch, 2)
    use(Settings(device=device))
    with pytest.raises(PlacementError, match=words):
        placement_of(LLAMA)


@pytest.mark.parametrize("wrong", [{"dtype": "int4"}, {"memory_gib": 0}, {"memory_gib": float("nan")}])
def test_settings_that_cannot_be_used_are_refused(wrong: dict) -> None:
    with pytest.raises(PlacementError, match=r"choose|give more than 0"):
        Settings(**wrong)


def test_a_number_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MEMORY_VARIABLE, "lots")
    with pytest.raises(PlacementError, match=f'{MEMORY_VARIABLE} is "lots"; give a number of GiB'):
        settings_in_use()


def test_a_profile_sets_them_and_the_next_takes_its_place() -> None:
    own = Profile("own", "mine", (), (), device="cpu", dtype="float32", memory_gib=12.5)
    use_profile(own)
    assert settings_in_use() == Settings("cpu", "float32", 12.5)
    use_profile(PROFILES["mini"])
    assert settings_in_use() == Settings()


def test_processes_started_from_here_have_them() -> None:
    use(Settings("cpu", "float32", 3.0))
    script = (
        "import sys; from engine.systems.profiles import *; print(settings_in_use(), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"{Settings('cpu', 'float32', 3.0)} False"
    assert profiles.settings_in_use().memory_gib == 3.0

"""Tiny systems that the engine's tests share; each is built once and never changed by a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from engine.systems.base import Prepared
    from engine.systems.qwen2_audio import Qwen2Audio
    from engine.systems.text_llm import TextLLM
    from engine.systems.ultravox import Ultravox

# Fixtures import what they build: tests without a model are collected without torch.


def pytest_collection_finish() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a tiny backbone and a tiny Ultravox; tests only read it."""
    from tests.engine.tiny_systems import ears_config, write_backbone, write_ears

    folder = tmp_path_factory.mktemp("models")
    write_backbone(folder / "mini-llama")
    write_ears(folder / "mini-ultravox", ears_config())
    return folder


@pytest.fixture(scope="session")
def text_llm(models: Path) -> TextLLM:
    from engine.systems.catalogue import get_spec
    from engine.systems.text_llm import TextLLM

    return TextLLM(get_spec("mini-llama"), models / "mini-llama")


@pytest.fixture(scope="session")
def ultravox(models: Path, text_llm: TextLLM) -> Ultravox:
    from tests.engine.tiny_systems import load_ultravox

    return load_ultravox(models, text_llm)


@pytest.fixture(scope="session")
def qwen_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a tiny Qwen2 and a tiny Qwen2-Audio; tests only read it."""
    from tests.engine.tiny_qwen2_audio import tiny_audio_tokenizer, write_qwen2, write_qwen2_audio

    folder = tmp_path_factory.mktemp("qwen")
    write_qwen2(folder / "mini-qwen2")
    write_qwen2_audio(folder / "mini-qwen2-audio", tiny_audio_tokenizer())
    return folder


@pytest.fixture(scope="session")
def qwen2_audio(qwen_models: Path) -> Qwen2Audio:
    from engine.systems.catalogue import get_spec
    from engine.systems.qwen2_audio import Qwen2Audio
    from engine.systems.text_llm import TextLLM

    folder = qwen_models / "mini-qwen2-audio"
    backbone = TextLLM(get_spec("mini-qwen2-audio-llm"), folder)
    return Qwen2Audio(get_spec("mini-qwen2-audio"), folder, backbone)


@pytest.fixture(scope="session")
def published_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with every published checkpoint, tiny and random; tests only read it."""
    from tests.engine.tiny_models_folder import write_models_folder

    return write_models_folder(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="session")
def prepared(ultravox: Ultravox) -> Prepared:
    """A prompt about 1.7 seconds of sound: 11 audio positions inside."""
    from tests.engine.tiny_systems import sound

    return ultravox.prepare(ultravox.hear(sound(1.7)), "Repeat what was said.")


@pytest.fixture(scope="session")
def models_with_erasers(models: Path, ultravox: Ultravox) -> Path:
    """The same folder after the four erasers were fitted."""
    from tests.engine.tiny_systems import write_erasers

    write_erasers(ultravox, models / "mini-ultravox" / "erasers")
    return models


@pytest.fixture
def tiny_models(models_with_erasers: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make `run` load everything from the tiny folder; the transcriber hears the same words in every clip."""
    from engine import answers, interventions, run
    from engine.systems import cascade
    from tests.engine.tiny_systems import FromFolder

    monkeypatch.setattr(cascade, "Transcriber", FromFolder)
    loaders = "load_speech_llm load_cascade load_text_llm load_eraser batch_is_exact match_of revision_of"
    for module in (run, answers, interventions):
        for name in (*loaders.split(), "load_served_cascade"):
            if hasattr(module, name):
                found = partial(getattr(module, name), models=models_with_erasers)
                monkeypatch.setattr(module, name, found)
    answers._heard.clear()
    yield models_with_erasers
    answers._heard.clear()

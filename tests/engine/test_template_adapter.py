"""The template in the docs is an adapter: it loads a tiny random model and passes every check."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import WhisperConfig, WhisperFeatureExtractor

from engine.checks import check_adapter
from engine.errors import ModelFilesError
from engine.systems.base import SpeechLLM
from engine.systems.catalogue import get_spec
from engine.systems.text_llm import TextLLM
from tests.engine.published import change_tensors
from tests.engine.tiny_systems import sound

FILE = Path(__file__).resolve().parents[2] / "docs" / "template_adapter.py"


@pytest.fixture(scope="module")
def template() -> Any:
    found = importlib.util.spec_from_file_location("template_adapter", FILE)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def folder(template: Any, tmp_path: Path) -> Path:
    """A checkpoint of its own kind: config, feature extractor, and the tensors of its ears."""
    config = WhisperConfig(
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        num_mel_bins=80,
        max_source_positions=100,
    )
    config.save_pretrained(tmp_path)
    WhisperFeatureExtractor(feature_size=80, chunk_length=2).save_pretrained(tmp_path)
    torch.manual_seed(5)
    ears = template.Ears(config, 32)
    for name, weight in ears.named_parameters():
        if weight.ndim > 1 and "embed_positions" not in name:
            nn.init.normal_(weight, std=0.2)
    save_file({name: t.contiguous() for name, t in ears.state_dict().items()}, tmp_path / "model.safetensors")
    return tmp_path


def test_it_is_short() -> None:
    assert len(FILE.read_text(encoding="utf-8").splitlines()) < 60


def test_it_passes_every_check_and_fills_the_protocol(template: Any, folder: Path, text_llm: TextLLM) -> None:
    system = template.TemplateModel(get_spec("mini-ultravox"), folder, text_llm)
    assert isinstance(system, SpeechLLM)
    failed = [finding for finding in check_adapter(system) if not finding.passed]
    assert not failed, failed
    assert [len(system.hear(sound(s)).embeddings) for s in (0.01, 1.7, 2.0, 3.0)] == [1, 85, 100, 150]


def test_it_refuses_what_does_not_fit(template: Any, folder: Path, text_llm: TextLLM) -> None:
    change_tensors(folder, {"projector.bias": None})
    with pytest.raises(ModelFilesError, match=r"lacks tensor projector\.bias"):
        template.TemplateModel(get_spec("mini-ultravox"), folder, text_llm)

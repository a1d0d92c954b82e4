"""Checkpoints of holes have the published shapes, cost no disk, and are read by the product's own loader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.systems.catalogue import get_spec
from engine.systems.checkpoint import tensor_bytes
from engine.systems.loading import LOADED, load_speech_llm
from engine.systems.phi4_multimodal import ADAPTERS
from precompute.random_checkpoints import WRITERS, draw_weights
from precompute.speed_full_size import SYSTEMS


@pytest.mark.parametrize("key", SYSTEMS)
def test_full_size_is_the_published_number_of_parameters_and_no_disk(key: str, tmp_path: Path) -> None:
    """The catalogue counts them from the published configs. Nothing of that size is allocated or read here."""
    spec = get_spec(key)
    WRITERS[spec.family](tmp_path, key, "full")
    folders = {tmp_path / name for name in (spec.folder, spec.backbone) if name}
    n_adapters = tensor_bytes(tmp_path / key / ADAPTERS, 1)
    n_parameters = sum(tensor_bytes(folder, 1) for folder in folders) + n_adapters
    # Phi-4 is published with adapters for pictures as well, of rank 256 beside 320 for speech; none are loaded here.
    elsewhere = n_adapters * 256 / 320
    assert (n_parameters + elsewhere) / 1e6 == pytest.approx(spec.parameters_m, rel=0.01)
    taken = sum(file.stat().st_blocks * 512 for file in tmp_path.rglob("*") if file.is_file())
    assert taken < 20e6 < 2 * n_parameters


@pytest.mark.parametrize("key", SYSTEMS)
def test_the_products_loader_reads_them_and_weights_are_drawn_in_place(key: str, tmp_path: Path) -> None:
    WRITERS[get_spec(key).family](tmp_path, key, "tiny")
    system = load_speech_llm(key, tmp_path)
    head = system.unembedding.weight
    assert isinstance(head, torch.Tensor) and head.dtype == torch.bfloat16 and not head.any()
    for part in (system.ears, system.language_model):
        draw_weights(part, 1)
    assert system.unembedding.weight is head and float(head.float().std()) == pytest.approx(0.02, rel=0.1)
    LOADED.drop_unused()

"""The minis' rows against the weights that ship."""

from __future__ import annotations

import pytest

from engine.ctranslate2_file import read_arrays
from engine.systems.catalogue import MINI_PAIRS, MINI_SYSTEMS, MINI_TRANSCRIBERS
from engine.systems.checkpoint import read_tensors
from engine.systems.weights import CHECKPOINTS, MODELS, missing_weights


def weights_m(folder: str) -> float:
    """Millions of weights in a folder that ships."""
    if folder in MINI_TRANSCRIBERS:
        arrays = read_arrays(MODELS / folder / "model.bin")
        parts = ("weight", "bias", "gamma", "beta")
        return sum(array.size for name, array in arrays.items() if name.endswith(parts)) / 1e6
    return sum(tensor.numel() for tensor in read_tensors(MODELS / folder).values()) / 1e6


@pytest.mark.parametrize("key", MINI_SYSTEMS)
def test_parameters_are_those_of_the_weights(key: str) -> None:
    spec = MINI_SYSTEMS[key]
    if spec.backbone == "mini-qwen2-audio" and spec.kind != "speech_llm":
        pytest.skip("its language model is a part of a folder; the speech LLM's row counts the whole")
    assert spec.parameters_m == pytest.approx(sum(map(weights_m, spec.folders)), abs=0.15)


def test_everything_of_theirs_ships() -> None:
    folders = [folder for spec in MINI_SYSTEMS.values() for folder in spec.folders]
    assert missing_weights(folders) == () and not set(folders) & set(CHECKPOINTS)
    assert all(set(pair.systems) <= set(MINI_SYSTEMS) for pair in MINI_PAIRS.values())

"""Voxtral against transformers' own forward on one random checkpoint in the published layout."""

from __future__ import annotations

import json
import shutil
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import VoxtralForConditionalGeneration, WhisperFeatureExtractor

from engine.audio import AudioClip
from engine.systems.catalogue import get_spec
from engine.systems.checkpoint import fingerprint, read_tensors
from engine.systems.text_llm import TextLLM
from engine.systems.voxtral import Voxtral
from tests.engine.published import (
    QUESTION,
    TOLERANCE,
    change_tensors,
    sentence_of_refusal,
)
from tests.engine.tiny_systems import sound
from tests.engine.tiny_voxtral import write_voxtral

LINEAR_2 = "multi_modal_projector.linear_2.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voxtral(tmp_path_factory.mktemp("hub") / "Voxtral-Mini-3B-2507")


def load(folder: Path) -> Voxtral:
    return Voxtral(get_spec("mini-qwen2-audio"), folder, TextLLM(get_spec("mini-qwen2-audio-llm"), folder))


@pytest.fixture(scope="module")
def voxtral(folder: Path) -> Voxtral:
    return load(folder)


@pytest.fixture(scope="module")
def own(folder: Path) -> Any:
    return VoxtralForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def inputs(system: Voxtral, folder: Path, clip: AudioClip) -> dict[str, Tensor]:
    """The published prompt by its ids: <s>[INST][BEGIN_AUDIO][AUDIO]...text[/INST]."""
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    n_windows = ceil(len(clip.samples) / 480_000)
    whole = np.pad(clip.samples, (0, n_windows * 480_000 - len(clip.samples)))
    mel = torch.tensor(extractor(whole, sampling_rate=16_000, truncation=False).input_features[0])
    text = system.tokenizer.encode(QUESTION, add_special_tokens=False)
    ids = [1, 3, 25, *[24] * (375 * n_windows), *text, 4]
    return {"input_ids": torch.tensor([ids]), "input_features": torch.stack(mel.split(3000, dim=1))}


@pytest.mark.parametrize("duration_s", [0.01, 1.234, 31.0])
@torch.inference_mode()
def test_the_logits_are_those_of_transformers_own_forward(
    voxtral: Voxtral, own: Any, folder: Path, duration_s: float
) -> None:
    clip = sound(duration_s)
    given = inputs(voxtral, folder, clip)
    prepared = voxtral.prepare(voxtral.hear(clip), QUESTION)
    found = voxtral.language_model(inputs_embeds=prepared.embeddings).logits
    torch.testing.assert_close(found, own(**given).logits, atol=TOLERANCE, rtol=0)
    assert prepared.span == (3, 3 + 375 * ceil(duration_s / 30))


@torch.inference_mode()
def test_another_clip_has_other_logits(voxtral: Voxtral) -> None:
    """Else the test above would pass for ears that hear nothing."""
    first, second = (
        voxtral.language_model(
            inputs_embeds=voxtral.prepare(voxtral.hear(sound(2.0, n)), QUESTION).embeddings
        )
        for n in (0, 1)
    )
    assert (first.logits[0, -1] - second.logits[0, -1]).abs().max() > 100 * TOLERANCE


def test_nothing_at_all_is_a_window_of_silence(voxtral: Voxtral) -> None:
    heard = voxtral.hear(AudioClip(np.zeros(0, np.float32), "nothing"))
    assert heard.embeddings.shape == (375, 32) and heard.embeddings.isfinite().all()


def test_frames_are_the_clips_own_states(voxtral: Voxtral) -> None:
    assert voxtral.frames(sound(1.01).samples).shape == (51, 16) and voxtral.frames_per_position == 4


def test_the_weights_are_read_once_and_in_transformers_form(voxtral: Voxtral, folder: Path) -> None:
    assert voxtral.fingerprint == fingerprint([folder])
    parts = {name.split(".")[0] for name in read_tensors(folder)}
    assert parts == {"audio_tower", "multi_modal_projector", "language_model"}


@pytest.fixture
def spoilt(folder: Path, tmp_path: Path) -> Path:
    """A copy in one file, which a test may spoil."""
    copy = Path(shutil.copytree(folder, tmp_path / folder.name))
    (copy / "consolidated.safetensors").unlink()
    (copy / "model.safetensors.index.json").unlink(missing_ok=True)
    tensors: dict[str, Tensor] = {}
    for file in copy.glob("*.safetensors"):
        tensors |= load_file(file)
        file.unlink()
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def refusal(folder: Path) -> str:
    return sentence_of_refusal(folder, lambda: load(folder))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({LINEAR_2: None}, f"lacks tensor {LINEAR_2}"),
        ({LINEAR_2: torch.zeros(3, 3)}, f"size mismatch for {LINEAR_2}"),
        ({"audio_tower.conv1.bias": None}, "lacks tensor audio_tower.conv1.bias"),
        ({"extra.weight": torch.zeros(2)}, "has an unexpected tensor extra.weight"),
        ({"language_model.model.norm.weight": None}, "lacks tensor model.norm.weight"),
        ({"language_model.lm_head.weight": torch.zeros(3, 3)}, "lm_head.weight has another shape"),
        ({"language_model.extra.weight": torch.zeros(2)}, "has an unexpected tensor extra.weight"),
    ],
)
def test_tensors_must_fit_exactly(spoilt: Path, change: dict[str, Tensor | None], words: str) -> None:
    change_tensors(spoilt, change)
    assert words in refusal(spoilt)


@pytest.mark.parametrize("name", [LINEAR_2, "language_model.lm_head.weight"])
def test_a_renamed_tensor_is_named(spoilt: Path, name: str) -> None:
    change_tensors(spoilt, {}, renamed=(name, name + "2"))
    assert f"lacks tensor {name.removeprefix('language_model.')}" in refusal(spoilt)


def test_files_that_do_not_belong_together_are_refused(spoilt: Path) -> None:
    WhisperFeatureExtractor(feature_size=128, chunk_length=20).save_pretrained(spoilt)
    assert "window is 320,000 samples, the audio tower's 480,000" in refusal(spoilt)
    (spoilt / "preprocessor_config.json").unlink()
    assert "could not be loaded" in refusal(spoilt)


def test_a_tokenizer_without_the_mark_is_refused(spoilt: Path) -> None:
    file = spoilt / "tekken.json"
    file.write_text(file.read_text(encoding="utf-8").replace("[BEGIN_AUDIO]", "[BEGIN]"), encoding="utf-8")
    assert "its tokenizer lacks [BEGIN_AUDIO]; restore tekken.json" in refusal(spoilt)
    vocabulary = json.loads(file.read_text(encoding="utf-8"))
    del vocabulary["config"]
    file.write_text(json.dumps(vocabulary), encoding="utf-8")
    assert "could not be loaded: ValueError" in refusal(spoilt)

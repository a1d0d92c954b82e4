"""Qwen2-Audio-7B-Instruct's folder as it is published, at a tiny size, against transformers' own forward.

What the mini's folder leaves out: the marks around a clip, a tokenizer without a chat template, whose end token is a
document's, 128 mel bands and a window of 30 s.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

from engine.audio import AudioClip
from engine.systems.catalogue import get_spec
from engine.systems.qwen2_audio import Qwen2Audio
from engine.systems.text_llm import TextLLM
from tests.engine.published import (
    QUESTION,
    TOLERANCE,
    change_tensors,
    sentence_of_refusal,
)
from tests.engine.tiny_qwen2_audio import write_published
from tests.engine.tiny_systems import sound

LINEAR = "multi_modal_projector.linear.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("hub") / "Qwen2-Audio-7B-Instruct")


def load(folder: Path) -> Qwen2Audio:
    backbone = TextLLM(get_spec("mini-qwen2-audio-llm"), folder)
    return Qwen2Audio(get_spec("mini-qwen2-audio"), folder, backbone)


@pytest.fixture(scope="module")
def qwen(folder: Path) -> Qwen2Audio:
    return load(folder)


@pytest.fixture(scope="module")
def own(folder: Path) -> Any:
    return Qwen2AudioForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def inputs(system: Qwen2Audio, folder: Path, clip: AudioClip) -> dict[str, Tensor]:
    """The published processor on the published conversation, by its own template."""
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    processor = Qwen2AudioProcessor(extractor, system.tokenizer)
    content = [{"type": "audio", "audio_url": "clip.wav"}, {"type": "text", "text": QUESTION}]
    text = system.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}],
        chat_template=processor.default_chat_template,
        tokenize=False,
        add_generation_prompt=True,
    )
    return dict(processor(text=text, audio=clip.samples, sampling_rate=16_000, return_tensors="pt"))


@pytest.mark.parametrize("duration_s", [0.03, 1.01, 6.0, 30.0])
@torch.inference_mode()
def test_the_logits_are_those_of_transformers_own_forward(
    qwen: Qwen2Audio, own: Any, folder: Path, duration_s: float
) -> None:
    clip = sound(duration_s)
    given = inputs(qwen, folder, clip)
    prepared = qwen.prepare(qwen.hear(clip), QUESTION)
    found = qwen.language_model(inputs_embeds=prepared.embeddings).logits
    torch.testing.assert_close(found, own(**given).logits, atol=TOLERANCE, rtol=0)
    marks = (given["input_ids"][0] == own.config.audio_token_id).nonzero()[:, 0]
    assert prepared.span == (int(marks[0]), int(marks[-1]) + 1)


@torch.inference_mode()
def test_another_clip_has_other_logits(qwen: Qwen2Audio) -> None:
    """Else the test above would pass for ears that hear nothing."""
    first, second = (
        qwen.language_model(inputs_embeds=qwen.prepare(qwen.hear(sound(2.0, n)), QUESTION).embeddings)
        for n in (0, 1)
    )
    assert (first.logits[0, -1] - second.logits[0, -1]).abs().max() > 100 * TOLERANCE


def test_generation_stops_at_the_end_of_the_turn(qwen: Qwen2Audio) -> None:
    assert qwen.tokenizer.eos_token == "<|im_end|>"


@pytest.fixture
def spoilt(folder: Path, tmp_path: Path) -> Path:
    """A copy in one file, which a test may spoil."""
    copy = Path(shutil.copytree(folder, tmp_path / folder.name))
    (copy / "model.safetensors.index.json").unlink(missing_ok=True)
    tensors: dict[str, Tensor] = {}
    for file in copy.glob("*.safetensors"):
        tensors |= load_file(file)
        file.unlink()
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({LINEAR: None}, f"lacks tensor {LINEAR}"),
        ({LINEAR: torch.zeros(3, 3)}, f"size mismatch for {LINEAR}"),
        ({"audio_tower.extra.weight": torch.zeros(2)}, "has an unexpected tensor audio_tower.extra.weight"),
        ({"language_model.model.norm.weight": None}, "lacks tensor model.norm.weight"),
        ({"language_model.model.norm.weight": torch.zeros(3)}, "model.norm.weight has another shape"),
        ({"language_model.extra.weight": torch.zeros(2)}, "has an unexpected tensor extra.weight"),
    ],
)
def test_tensors_must_fit_exactly(spoilt: Path, change: dict[str, Tensor | None], words: str) -> None:
    change_tensors(spoilt, change)
    assert words in sentence_of_refusal(spoilt, lambda: load(spoilt))


@pytest.mark.parametrize("name", [LINEAR, "language_model.lm_head.weight"])
def test_a_renamed_tensor_is_named(spoilt: Path, name: str) -> None:
    change_tensors(spoilt, {}, renamed=(name, name + "2"))
    message = sentence_of_refusal(spoilt, lambda: load(spoilt))
    assert f"lacks tensor {name.removeprefix('language_model.')}" in message
